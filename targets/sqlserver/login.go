package sqlserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func (t *target) NewCredential(_ context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := check(r, true); err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": r.Name},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, nil
}

func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, true); err != nil {
		return err
	}
	secret := r.Credential.Secret["password"]
	if secret.IsZero() || !isText(secret.Reveal()) {
		return invalid("the login %s has no password to sign in with", r.Name)
	}
	s, release, err := t.enter(ctx, r.Sub)
	if err != nil {
		return err
	}
	defer release()
	err = s.locked(ctx, r.Name, func() error { return s.ensure(ctx, r, secret.Reveal()) })
	return redacted(t.explained(ctx, s, err), secret)
}

// redacted takes a secret out of the server's words.
func redacted(err error, secret patchbay.Secret) error {
	if e := patchbay.AsError(err); e != nil {
		e.Said = strings.ReplaceAll(e.Said, secret.Reveal(), secret.String())
	}
	return err
}

// ensure makes the login whole. After each of its statements all that is there is ours,
// and each may come again.
func (s *session) ensure(ctx context.Context, r driver.LoginRequest, password string) error {
	if s.product.readOnly {
		return s.server.readOnly()
	}
	found, err := s.look(ctx, r)
	if err != nil {
		return err
	}
	if !found.ours(r) {
		return notOurs(s.server.address(), r, found)
	}
	if found.user != nil && s.unrepairable(found) {
		// What can't be taken from a user goes with it.
		if err := s.dropUser(ctx, r, found); err != nil {
			return err
		}
		found.user = nil
	}
	if err := s.makeLogin(ctx, r, found, password); err != nil {
		return err
	}
	if found, err = s.look(ctx, r); err != nil {
		return err
	}
	if found.user == nil || !found.ours(r) { // somebody is at it, too
		return patchbay.Errorf(patchbay.Conflict, "the login %s on %s was changed while it was made", r.Name, s.server.address()).AsTransient()
	}
	if err := s.repair(ctx, r, found); err != nil {
		return err
	}
	// The server may say yes, and do less.
	if found, err = s.look(ctx, r); err != nil {
		return err
	}
	var now driver.LoginState
	if found.user != nil {
		s.compare(r, found, &now)
	}
	if found.user == nil || len(now.Missing)+len(now.Excess) > 0 {
		return patchbay.Errorf(patchbay.AdminRights, "%s has not made the login %s what it should be: %s", s.server.address(), r.Name, strings.Join(append(few("it lacks ", now.Missing), few("it has ", now.Excess)...), "; ")).
			WithFix("see what it has: SELECT * FROM sys.database_permissions WHERE grantee_principal_id = USER_ID(%s); as a sysadmin: SELECT * FROM sys.server_permissions p JOIN sys.server_principals l ON l.principal_id = p.grantee_principal_id WHERE l.name = %s", literal(r.Name), literal(r.Name))
	}
	return nil
}

// few are some of the texts, each with words before it.
func few(words string, all []string) []string {
	const most = 3
	var some []string
	for i, text := range all {
		if i == most {
			return append(some, fmt.Sprintf("and %d more", len(all)-most))
		}
		some = append(some, words+text)
	}
	return some
}

// unrepairable reports whether a user has what no statement of ours can name.
func (s *session) unrepairable(found *state) bool {
	return slices.ContainsFunc(found.user.grants, func(g grant) bool { return !g.revocable() })
}

// markStatements write the mark of a user that was just made, with its SID.
func markStatements(m mark, procedure string) string {
	name := literal(m.Name)
	if m.Kind == kindOwner {
		name = literal(markName)
	}
	return "declare @mark nvarchar(3750) = " + literal(m.text()+bound) + " + (select convert(nvarchar(180), p.sid, 1) from sys.database_principals p where p.name = " + name + "); " +
		"exec sys." + procedure + " @name = N'" + markName + "', @value = @mark, @level0type = N'USER', @level0name = " + name
}

const (
	addMark    = "sp_addextendedproperty"
	changeMark = "sp_updateextendedproperty"
)

// makeLogin makes what one signs in with: both a login of the server and its user where
// there are two, with the mark, as one.
func (s *session) makeLogin(ctx context.Context, r driver.LoginRequest, found *state, password string) error {
	who, secret := ident(r.Name), literal(password)
	k := kindLogin
	switch {
	case found.user != nil && found.user.auth == byDatabase:
		k = kindUser
	case found.user == nil && s.product.contained && found.login == nil:
		k = kindUser
	}
	var steps []string
	step := func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }
	switch {
	case k == kindLogin && s.product.azure():
		return patchbay.Errorf(patchbay.Conflict, "the user %s on %s is not one that signs in by itself any more", who, s.server.address()).
			WithFix("if nobody needs it: DROP USER %s", who)
	case k == kindLogin && found.login == nil:
		// What its password has to be is the server's policy; when it ends, Patchbay's.
		step("create login %s with password = %s, sid = %s, check_expiration = off, check_policy = on", who, secret, sidOf(r))
	case k == kindLogin:
		if found.login.name != r.Name {
			step("alter login %s with name = %s", ident(found.login.name), who)
		}
		step("alter login %s with password = %s unlock", who, secret)
		step("alter login %s enable", who)
	}
	switch {
	case found.user == nil && k == kindUser:
		step("create user %s with password = %s, default_schema = [dbo]", who, secret)
		step("%s", markStatements(markOf(r, k), addMark))
	case found.user == nil:
		step("create user %s for login %s with default_schema = [dbo]", who, who)
		step("%s", markStatements(markOf(r, k), addMark))
	case k == kindUser:
		step("alter user %s with password = %s", who, secret)
	}
	if found.user != nil && found.user.mark.Kind != k {
		step("%s", markStatements(markOf(r, k), changeMark))
	}
	return s.exec(ctx, together(steps))
}

// together are statements that happen as one, or not at all.
func together(steps []string) string {
	if len(steps) == 1 {
		return steps[0]
	}
	return "begin transaction;\n" + strings.Join(steps, ";\n") + ";\ncommit transaction"
}

// repair takes from a login what it should not have, and gives it what it lacks.
func (s *session) repair(ctx context.Context, r driver.LoginRequest, found *state) error {
	who := ident(r.Name)
	wanted := rights(r)
	missing, excess := found.user.compare(wanted)
	for _, e := range excess {
		as := ""
		if e.grantor != "dbo" && e.grantor != s.product.user {
			as = " as " + ident(e.grantor) // nobody takes back what another gave
		}
		if err := s.exec(ctx, "revoke "+e.right+e.on()+" from "+who+" cascade"+as); err != nil {
			return err
		}
	}
	less, more := found.user.compareRoles(r.Roles, sameName(s.product.collation))
	for _, role := range more {
		if err := s.exec(ctx, "alter role "+ident(role)+" drop member "+who); err != nil {
			return err
		}
	}
	if l := found.login; l != nil {
		if err := s.repairServer(ctx, r, l); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		if err := s.exec(ctx, "grant "+strings.Join(missing, ", ")+" to "+who); err != nil {
			return err
		}
	}
	for _, role := range less {
		if err := s.exec(ctx, "alter role "+ident(role)+" add member "+who); err != nil {
			return s.roleError(err, role)
		}
	}
	return nil
}

// repairServer is the same of what a login has on the server. An administrator who is no
// sysadmin may not take that away.
func (s *session) repairServer(ctx context.Context, r driver.LoginRequest, l *login) error {
	who := ident(r.Name)
	var statements []string
	for _, role := range l.roles {
		statements = append(statements, "alter server role "+ident(role)+" drop member "+who)
	}
	for _, right := range l.rights {
		statements = append(statements, "revoke "+strings.TrimPrefix(right, "DENY of ")+" from "+who+" cascade")
	}
	if slices.Contains(l.faults, "it lacks "+connectSQL) {
		statements = append(statements, "grant "+connectSQL+" to "+who)
	}
	for _, statement := range statements {
		// What is the server's is given and taken in master alone.
		err := s.exec(ctx, "exec master.sys.sp_executesql "+literal(statement))
		if mayNot(err) {
			return patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not take from the login %s what somebody gave it on the server %s", s.server.admin.Username, r.Name, s.server.address()).
				WithFix("as a sysadmin, in master: %s", driver.Quoted(strings.Join(statements, "; "))).WithSaid(said(err))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	if err := check(r, false); err != nil {
		return driver.LoginState{}, err
	}
	s, release, err := t.enter(ctx, r.Sub)
	if patchbay.CodeOf(err) == patchbay.ChildMissing {
		return t.inspectAlone(ctx, r, err)
	}
	if err != nil {
		return driver.LoginState{}, err
	}
	defer release()
	found, err := s.look(ctx, r)
	if err != nil {
		return driver.LoginState{}, t.explained(ctx, s, err)
	}
	if !found.exists() {
		return driver.LoginState{}, nil
	}
	now := driver.LoginState{Exists: true, Ours: found.ours(r), Sessions: len(found.sessions)}
	if now.Ours {
		s.compare(r, found, &now)
	}
	return now, nil
}

// inspectAlone looks for the login of the server whose database is gone.
func (t *target) inspectAlone(ctx context.Context, r driver.LoginRequest, missing error) (driver.LoginState, error) {
	s, release, err := t.acquire(ctx, "")
	if err != nil {
		return driver.LoginState{}, t.adminError(ctx, err)
	}
	defer release()
	found, err := s.lookAlone(ctx, r)
	switch {
	case err != nil:
		return driver.LoginState{}, t.adminError(ctx, err)
	case found.login == nil:
		return driver.LoginState{}, nil
	}
	return driver.LoginState{Exists: true, Ours: true, Missing: []string{"the database " + driver.Quoted(r.Sub)}}, nil
}

func (s *session) lookAlone(ctx context.Context, r driver.LoginRequest) (*state, error) {
	found := &state{}
	if s.product.azure() {
		return found, nil
	}
	all, err := s.ask(ctx, loginsOf(r), 7, 2, 1)
	if err == nil {
		found.readLogins(r, all)
	}
	return found, err
}

// enter is a session of the administrator in a database. Where it is not let in, it is
// asked why.
func (t *target) enter(ctx context.Context, database string) (*session, func(), error) {
	s, release, err := t.acquire(ctx, database)
	if err == nil {
		return s, release, nil
	}
	if !notThere(err) {
		return nil, nil, t.adminError(ctx, err)
	}
	return nil, nil, t.whyNot(ctx, database, err)
}

// Owned lists the logins of all databases that the administrator gets into.
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	s, release, err := t.acquire(ctx, "")
	if err != nil {
		return nil, t.adminError(ctx, err)
	}
	databases, err := s.databases(ctx)
	var owned []driver.Owned
	if err == nil && !s.product.azure() {
		for _, d := range databases {
			if !d.enters || d.state != online {
				continue
			}
			all, err := s.marked(ctx, ident(d.name)+".")
			if gone(err) {
				continue // meanwhile
			}
			if err != nil {
				release()
				return nil, t.adminError(ctx, err)
			}
			owned = append(owned, ownedOf(all)...)
		}
	}
	azure := s.product.azure()
	release()
	if err != nil || !azure {
		return owned, t.adminError(ctx, err)
	}
	for _, d := range databases {
		if d.state != online || !isName(d.name) {
			continue
		}
		all, err := t.markedIn(ctx, d.name)
		if err != nil && !notThere(err) {
			return nil, t.adminError(ctx, err)
		}
		owned = append(owned, ownedOf(all)...)
	}
	return owned, nil
}

func (t *target) markedIn(ctx context.Context, database string) ([]mark, error) {
	s, release, err := t.acquire(ctx, database)
	if err != nil {
		return nil, err
	}
	defer release()
	return s.marked(ctx, "")
}

func ownedOf(all []mark) []driver.Owned {
	var owned []driver.Owned
	for _, m := range all {
		if m.Kind == kindUser || m.Kind == kindLogin {
			owned = append(owned, driver.Owned{Mark: m.Mark, Name: m.Name, Sub: m.Database})
		}
	}
	return owned
}

// marked lists the marks of a database's users; in is "[database]." or "" for the
// session's own.
func (s *session) marked(ctx context.Context, in string) ([]mark, error) {
	all, err := s.ask(ctx, "select cast(p.name as nvarchar(128)), convert(nvarchar(180), p.sid, 1), cast(x.value as nvarchar(3750)) from "+in+"sys.database_principals p join "+in+"sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 where x.name = N'patchbay' order by p.principal_id", 3)
	if err != nil {
		return nil, err
	}
	var marks []mark
	for _, row := range all[0] {
		if m := readMark(row[2], row[1]); m != nil && (m.Name == row[0] || m.Kind == kindOwner) {
			marks = append(marks, *m)
		}
	}
	return marks, nil
}
