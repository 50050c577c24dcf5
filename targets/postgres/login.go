package postgres

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/failpoint"
)

var loginName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// check refuses a request that can't be carried out whatever the server says.
// A removal needs less than a making.
func check(r driver.LoginRequest, making bool) error {
	switch {
	case !loginName.MatchString(r.Name) || strings.HasPrefix(r.Name, "pg_"):
		return invalid("the login's name %.60q is not of lower-case letters, digits and underscores, at most 40", r.Name)
	case r.Sub == "" || strings.ContainsRune(r.Sub, 0) || len(r.Sub) > 63:
		return invalid("the database's name %.80q can't be one of PostgreSQL", r.Sub)
	case r.Mark.UID == "":
		return invalid("the login has no mark")
	case !making:
		return nil
	case r.Auth != patchbay.AuthSecret:
		return patchbay.Errorf(patchbay.NotSupported, "a PostgreSQL login signs in with a secret, not by %s", r.Auth)
	case len(r.Roles) > 0:
		return patchbay.Errorf(patchbay.NotSupported, "roles of the server's own are not given to PostgreSQL logins").
			WithFix("ask for access reader, writer or owner")
	case !slices.Contains(accesses, r.Access):
		return invalid("access %q is not one of reader, writer, owner", r.Access)
	case len(r.Sources) > 0:
		return patchbay.Errorf(patchbay.NotSupported, "a PostgreSQL login is not bound to addresses").WithFix("use pg_hba.conf")
	}
	for name := range r.Options {
		return invalid("PostgreSQL logins have no option %q", name)
	}
	return nil
}

func (t *target) NewCredential(_ context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := check(r, true); err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": r.Name},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, nil
}

// look reads the catalogue in a transaction that holds the lock.
func (s *session) look(ctx context.Context, r driver.LoginRequest, needed []patchbay.Access) (*catalogue, error) {
	c := &catalogue{}
	if err := s.begin(ctx, true, c.queries(r, s.version(), needed)); err != nil {
		return nil, err
	}
	return c, c.checkGroups(r.Sub)
}

// version is the server's major version.
func (s *session) version() int { return majorVersion(s.conn) }

func majorVersion(c *pgx.Conn) int {
	text := c.PgConn().ParameterStatus("server_version")
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, _ := strconv.Atoi(text[:end])
	return n
}

// checkGroups fails when a group role of ours has a namesake.
func (c *catalogue) checkGroups(database string) error {
	for _, a := range accesses {
		name := groupName(a, database)
		if g := c.roles[name]; g != nil && g.comment != groupComment(a, database) {
			return patchbay.Errorf(patchbay.NotOurs, "the role %s is there and does not bear Patchbay's mark", name).
				WithFix("rename it: ALTER ROLE %s RENAME TO %s", ident(name), ident(name+"_before"))
		}
	}
	return nil
}

// owned is the login's role when it bears the request's mark, nil when
// there is none.
func (c *catalogue) owned(r driver.LoginRequest) (*role, error) {
	p := c.roles[r.Name]
	if p == nil {
		return nil, nil
	}
	if m, ok := parseLogin(p.comment); !ok || m.UID != r.Mark.UID || m.Generation != r.Mark.Generation {
		return nil, patchbay.Errorf(patchbay.NotOurs, "the role %s is there and does not bear this connection's mark", r.Name).
			WithFix("look at it: \\du+ %s", r.Name)
	}
	return p, nil
}

// elsewhere are the other databases in which the role has something, each once,
// but for those that it was found not to be cleared in.
func (c *catalogue) elsewhere(name string, left leftAlone) []string {
	var all []string
	for _, d := range c.depends {
		if d.role == name && d.database != "" && !left.has(d) && !slices.Contains(all, d.database) {
			all = append(all, d.database)
		}
	}
	return all
}

// owns reports whether the role owns something here or on the whole server.
func (c *catalogue) owns(name string) bool {
	return slices.ContainsFunc(c.depends, func(d dependency) bool { return d.role == name && d.database == "" && d.owns })
}

// given reports whether the role owns something here or on the whole server that it
// can't have made itself.
func (c *catalogue) given(name string) bool {
	return slices.ContainsFunc(c.depends, func(d dependency) bool {
		return d.role == name && d.database == "" && d.owns && d.place != withOthers && d.place != toGroup
	})
}

// strays reports whether a group role owns something here that it should not: the
// writers' has the large objects of its logins.
func (c *catalogue) strays(name, database string) bool {
	return slices.ContainsFunc(c.depends, func(d dependency) bool {
		return d.role == name && d.database == "" && d.owns && (d.place != toGroup || name != groupName(patchbay.Writer, database))
	})
}

func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, true); err != nil {
		return err
	}
	password := r.Credential.Secret["password"]
	if password.IsZero() {
		return invalid("the login %s has no password to sign in with", r.Name)
	}
	secret, err := verifier(password)
	if err != nil {
		return err
	}
	// What it has in other databases is taken away first: that needs sessions
	// there, and may touch rights on shared objects.
	left := leftAlone{}
	for range 3 {
		var others map[string][]string
		err := t.change(ctx, r.Sub, func(s *session) (string, error) {
			statements, o, err := s.ensure(ctx, r, secret, left)
			others = o
			return statements, err
		})
		if err != nil {
			return redacted(t.advised(ctx, r.Sub, err), password, secret)
		}
		if len(others) == 0 {
			return failpoint.Hit(ctx, "postgres/ensure/after-commit")
		}
		for role, databases := range others {
			for _, database := range databases {
				if err := t.strip(ctx, database, role, left); err != nil {
					return redacted(err, password, secret)
				}
			}
		}
	}
	return patchbay.Errorf(patchbay.Conflict, "somebody keeps giving %s rights in other databases", r.Name).AsTransient()
}

// redacted takes secrets, which the guard does not all know, out of the server's
// words.
func redacted(err error, secrets ...patchbay.Secret) error {
	if e := patchbay.AsError(err); e != nil {
		for _, s := range secrets {
			if v := s.Reveal(); v != "" {
				e.Said = strings.ReplaceAll(e.Said, v, s.String())
			}
		}
	}
	return err
}

// ensure decides what makes the login whole, and does all but the
// committing. others are databases where a role of ours must lose something
// first.
func (s *session) ensure(ctx context.Context, r driver.LoginRequest, secret patchbay.Secret, left leftAlone) (statements string, others map[string][]string, err error) {
	needed := []patchbay.Access{r.Access}
	c, err := s.look(ctx, r, needed)
	if err != nil {
		return "", nil, err
	}
	p, err := c.owned(r)
	if err == nil {
		err = c.administers(slices.Sorted(maps.Keys(c.roles))...)
	}
	if err != nil {
		return "", nil, err
	}
	all, err := s.kin(ctx, r)
	if err != nil {
		return "", nil, err
	}
	before := elders(all, r, c.super)
	others = map[string][]string{}
	handOver := c.given(r.Name)
	names := []string{r.Name}
	for _, a := range accesses {
		name := groupName(a, r.Sub)
		if c.roles[name] == nil {
			continue
		}
		names = append(names, name)
		handOver = handOver || a != patchbay.Owner && c.strays(name, r.Sub)
	}
	for _, name := range names {
		// What the owner role owns elsewhere was given to it by somebody.
		if o := c.elsewhere(name, left); len(o) > 0 && name != groupName(patchbay.Owner, r.Sub) {
			others[name] = o
		}
	}
	if len(others) > 0 {
		return "", others, nil
	}
	if handOver && r.Access != patchbay.Owner {
		needed = append(needed, patchbay.Owner)
		if c, err = s.again(ctx, r, needed); err != nil {
			return "", nil, err
		}
	}

	var b script
	b.groups(c, r.Sub, needed)
	group := groupName(r.Access, r.Sub)
	name := ident(r.Name)
	if p == nil {
		b.add("create role %s login inherit password %s", name, literal(secret.Reveal()))
		b.add("comment on role %s is %s", name, literal(loginComment(r.Mark, r.Sub)))
	} else {
		b.add("alter role %s login inherit %s password %s%s", name, reopened(p.shut), literal(secret.Reveal()), noFlags(p.flags))
		if p.comment != loginComment(r.Mark, r.Sub) {
			b.add("comment on role %s is %s", name, literal(loginComment(r.Mark, r.Sub)))
		}
	}
	member := map[string]bool{}
	for _, m := range c.members {
		switch {
		case m.member != r.Name:
		case m.group == group && c.rightMembership(m, r.Access) && !member[group],
			slices.Contains(before, m.group) && c.rightMembership(m, patchbay.Reader) && !member[m.group]:
			member[m.group] = true
		default:
			b.revokeMembership(m)
		}
	}
	if !member[group] {
		b.add("grant %s to %s%s", ident(group), name, membershipOptions(c.version, r.Access))
	}
	for _, elder := range before {
		if !member[elder] {
			b.add("grant %s to %s%s", ident(elder), name, membershipOptions(c.version, patchbay.Reader))
		}
	}
	b.workAs(c, r, group)
	if p == nil {
		if err := s.exec(ctx, b.String()); err != nil {
			return "", nil, err
		}
		b = script{}
		if err := s.inherit(ctx, c, all, r); err != nil {
			return "", nil, err
		}
	}
	if err := s.joinMakers(ctx, &b, c); err != nil {
		return "", nil, err
	}
	b.repair(c.differs)
	// Only now has the owner role the right to create that a new owner must have.
	owner := groupName(patchbay.Owner, r.Sub)
	for _, n := range names {
		switch {
		case n == owner:
		case n == r.Name && c.given(n):
			err = s.takeBack(ctx, &b, c, n, r.Sub, "")
		case n != r.Name && c.strays(n, r.Sub):
			err = s.handOver(ctx, &b, c, n, r.Sub, owner)
		}
		if err != nil {
			return "", nil, err
		}
	}
	if len(c.differs) == 0 || c.super && !slices.ContainsFunc(c.differs, func(d difference) bool { return !d.missing }) {
		return b.String(), nil, nil
	}
	// What an administrator of limited rights may not give, PostgreSQL passes
	// over with a warning: look whether it is there.
	if err := s.exec(ctx, b.String()); err != nil {
		return "", nil, err
	}
	if c, err = s.again(ctx, r, nil); err != nil {
		return "", nil, err
	}
	if len(c.differs) > 0 {
		fix, err := s.ownersFix(ctx, c)
		if err != nil {
			return "", nil, err
		}
		return "", nil, patchbay.Errorf(patchbay.AdminRights, "the administrator %q can't bring about: %s", c.admin, driver.Quoted(list(c.differs))).WithFix("%s", fix)
	}
	return "", nil, nil
}

// ownersQuery lists who owns something here and is not joined by the administrator; a
// superuser can't be.
const ownersQuery = `
select distinct r.rolname, pg_catalog.pg_has_role(r.oid, 'MEMBER') or not me.rolinherit
from pg_catalog.pg_shdepend d join pg_catalog.pg_roles r on r.oid = d.refobjid, pg_catalog.pg_roles me
where d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.deptype = 'o' and not r.rolsuper and not pg_catalog.pg_has_role(r.oid, 'USAGE')
	and me.rolname = current_user and not pg_catalog.pg_has_role(r.oid, me.oid, 'MEMBER')
	and (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()) in (d.dbid, case when d.classid = 'pg_catalog.pg_database'::pg_catalog.regclass then d.objid end)
order by 1`

// ownersFix is what lets the administrator give rights on what others own: to be a
// member of those that it is not a member of yet.
func (s *session) ownersFix(ctx context.Context, c *catalogue) (string, error) {
	rows, err := s.conn.Query(ctx, ownersQuery)
	if err != nil {
		return "", s.failed(ctx, "", err)
	}
	var owners []string
	option := ""
	err = each(rows, func() error {
		var name string
		var inherit bool
		err := rows.Scan(&name, &inherit)
		owners = append(owners, ident(name))
		if inherit && c.version >= 16 {
			option = " WITH INHERIT TRUE"
		}
		return err
	})
	if err != nil || len(owners) == 0 {
		return "a superuser owns them, or they are the server's own: register a superuser as the administrator", s.failed(ctx, "", err)
	}
	return driver.Quoted(fmt.Sprintf("GRANT %s TO %s%s", strings.Join(owners, ", "), ident(c.admin), option)), nil
}

// joinMakers makes the administrator a member of those logins of ours that own
// something here on which rights are to be given.
func (s *session) joinMakers(ctx context.Context, b *script, c *catalogue) error {
	if c.super || len(c.differs) == 0 {
		return nil
	}
	rows, err := s.conn.Query(ctx, fmt.Sprintf(makerQuery, administrationColumns(c.version)), loginMark)
	if err != nil {
		return s.failed(ctx, "", err)
	}
	err = each(rows, func() error {
		var r role
		err := rows.Scan(&r.name, &r.administered, &r.remedy)
		if err == nil && r.administered {
			b.join(c, r.name)
		}
		return err
	})
	return s.failed(ctx, "", err)
}

const makerQuery = `
select r.rolname, %s
from pg_catalog.pg_roles r join pg_catalog.pg_shdescription d on d.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.objoid = r.oid
where pg_catalog.starts_with(d.description, $1) and not pg_catalog.pg_has_role(r.oid, 'USAGE') and exists (
	select from pg_catalog.pg_shdepend o where o.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and o.refobjid = r.oid and o.deptype = 'o'
		and o.dbid = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()))`

// again reads the catalogue anew within the transaction.
func (s *session) again(ctx context.Context, r driver.LoginRequest, needed []patchbay.Access) (*catalogue, error) {
	c := &catalogue{}
	err := s.conn.SendBatch(ctx, c.queries(r, s.version(), needed)).Close()
	return c, s.failed(ctx, "", err)
}

func list(differs []difference) string {
	const most = 5
	var all []string
	for i, d := range differs {
		if i == most {
			all = append(all, fmt.Sprintf("and %d more", len(differs)-most))
			break
		}
		verb := "keep from "
		if d.missing {
			verb = "give "
		}
		all = append(all, verb+d.role+" "+d.String())
	}
	return strings.Join(all, ", ")
}

// rightMembership says whether m is how a login should be a member.
func (c *catalogue) rightMembership(m membership, access patchbay.Access) bool {
	if m.admin || !m.inherit {
		return false
	}
	// Before version 16 every member may SET ROLE.
	return c.version < 16 || m.set == (access == patchbay.Owner)
}

func membershipOptions(version int, access patchbay.Access) string {
	switch {
	case version < 16:
		return ""
	case access == patchbay.Owner:
		return " with inherit true, set true"
	}
	return " with inherit true, set false"
}

// reopened lets a login in that is shut out by its limits. Others are somebody's own
// choice.
func reopened(shut bool) string {
	if shut {
		return "connection limit -1 valid until 'infinity'"
	}
	return ""
}

// noFlags takes attributes away. They are named only if they are there: to
// name some of them at all takes a superuser.
func noFlags(flags []string) string {
	s := ""
	for _, f := range flags {
		s += " no" + strings.ToLower(f)
	}
	return s
}

func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	if err := check(r, false); err != nil {
		return driver.LoginState{}, err
	}
	c, err := t.inspect(ctx, r.Sub, r)
	if absent(err) {
		// Its database is gone; it may still be there.
		c, err = t.inspect(ctx, "", r)
	}
	if err != nil {
		return driver.LoginState{}, err
	}
	p := c.roles[r.Name]
	if p == nil {
		return driver.LoginState{}, nil
	}
	state := driver.LoginState{Exists: true, Sessions: c.sessions}
	if _, err := c.owned(r); err != nil {
		return state, nil //nolint:nilerr // somebody else's: that is the answer
	}
	state.Ours = true
	c.compare(r, p, &state)
	return state, nil
}

// inspect reads the catalogue, from the database home, without changing
// anything.
func (t *target) inspect(ctx context.Context, home string, r driver.LoginRequest) (*catalogue, error) {
	c := &catalogue{}
	return c, t.read(ctx, home, func(s *session) *pgx.Batch { return c.queries(r, s.version(), nil) })
}

// compare says in what the login is not as the request has it.
func (c *catalogue) compare(r driver.LoginRequest, p *role, state *driver.LoginState) {
	missing := func(format string, args ...any) { state.Missing = append(state.Missing, fmt.Sprintf(format, args...)) }
	excess := func(format string, args ...any) { state.Excess = append(state.Excess, fmt.Sprintf(format, args...)) }
	group := groupName(r.Access, r.Sub)

	if c.database != r.Sub {
		missing("database %s", r.Sub)
		c.differs = nil
	}
	if !p.login {
		missing("LOGIN")
	}
	if !p.inherit {
		missing("INHERIT")
	}
	if p.shut {
		missing("sign-in: no connections are allowed to it, or it is not valid any more")
	}
	for _, f := range p.flags {
		excess("%s", f)
	}
	if g := c.roles[group]; g != nil {
		if g.login {
			excess("LOGIN of the group role %s", group)
		}
		for _, f := range g.flags {
			excess("%s of the group role %s", f, group)
		}
	}
	member := false
	for _, m := range c.members {
		switch {
		case m.member == r.Name && m.group == group && c.rightMembership(m, r.Access):
			member = true
		case m.member == r.Name && m.group == group && !m.inherit:
			// It does not help; that it is missing is said below.
		case m.member == r.Name && m.group == group && m.admin:
			member = true
			excess("member of %s with admin option", m.group)
		case m.member == r.Name && m.group == group && m.set:
			member = true
			excess("SET ROLE %s", m.group)
		case m.isElder(r) || m.handedOver(r.Sub):
		case m.member == r.Name && m.group != group, m.member == group:
			excess("member of %s", m.group)
		}
	}
	if !member {
		missing("member of %s", group)
	}
	for database, role := range c.roleConfig {
		if r.Access != patchbay.Owner || database != r.Sub || role != group {
			excess("works as role %s in %s", role, cmp.Or(database, "every database"))
		}
	}
	if r.Access == patchbay.Owner && c.roleConfig[r.Sub] != group {
		missing("works as role %s", group)
	}
	for _, d := range c.differs {
		switch {
		case d.role != r.Name && d.role != group:
		case d.missing:
			missing("%s", d)
		default:
			excess("%s", d)
		}
	}
	for _, d := range c.depends {
		if d.role != r.Name && (d.role != group || r.Access == patchbay.Owner) {
			continue
		}
		switch {
		case d.shut != "": // nothing that it could use; Inspect warns of it
		case d.database != "" && d.owns:
			excess("owns something in database %s", d.database)
		case d.database != "":
			excess("has rights in database %s", d.database)
		case d.owns && d.place == toGroup && (d.role == r.Name || r.Access == patchbay.Writer):
		case d.owns && (d.place != withOthers || d.role == group):
			excess("owns %s", d.what)
		}
	}
}

func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	var owned []driver.Owned
	err := t.read(ctx, "", func(*session) *pgx.Batch {
		b := &pgx.Batch{}
		b.Queue(`select r.rolname, d.description from pg_catalog.pg_shdescription d join pg_catalog.pg_roles r on r.oid = d.objoid
			where d.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass and pg_catalog.starts_with(d.description, $1) order by 1`, loginMark).Query(func(rows pgx.Rows) error {
			return each(rows, func() error {
				var name, comment string
				err := rows.Scan(&name, &comment)
				if m, ok := parseLogin(comment); ok {
					owned = append(owned, driver.Owned{Mark: m.Mark, Name: name, Sub: m.Database})
				}
				return err
			})
		})
		return b
	})
	return owned, err
}
