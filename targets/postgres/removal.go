package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/failpoint"
)

// RemoveLogin works in steps of one transaction each, and each of them
// finds done what an earlier call did: no sign-in any more; end the sessions;
// hand over and revoke in other databases; hand over, revoke and drop here.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, false); err != nil {
		return err
	}
	home, left := r.Sub, leftAlone{}
	for range 3 {
		err := t.remove(ctx, home, r, left)
		if home == r.Sub && (absent(err) || noSession(err)) {
			// The database is gone, or lets us not in; the role is the server's.
			home = ""
			err = t.remove(ctx, home, r, left)
		}
		if !errors.Is(err, errElsewhere) {
			return err
		}
	}
	return patchbay.Errorf(patchbay.Conflict, "somebody keeps giving %s rights in other databases", r.Name).AsTransient()
}

// lookAtRoles is look without their rights, which a removal does not ask for:
// whatever they are, they go.
func (s *session) lookAtRoles(ctx context.Context, login, database string) (*catalogue, error) {
	c := &catalogue{}
	if err := s.begin(ctx, true, c.roleQueries(login, database, s.version())); err != nil {
		return nil, err
	}
	return c, c.checkGroups(database)
}

// errElsewhere says that a role has got something in another database since
// it was looked for.
var errElsewhere = errors.New("has something in another database")

func (t *target) remove(ctx context.Context, home string, r driver.LoginRequest, left leftAlone) error {
	var p *role
	var others map[string][]string
	var kept error
	err := t.change(ctx, home, func(s *session) (string, error) {
		c, err := s.lookAtRoles(ctx, r.Name, r.Sub)
		if err != nil {
			return "", err
		}
		if p, err = c.owned(r); err != nil {
			return "", err
		}
		others = map[string][]string{}
		for name := range c.roles {
			if o := c.elsewhere(name, left); len(o) > 0 && (name == r.Name || c.unused(name, r)) {
				others[name] = o
			}
		}
		switch {
		case p == nil && len(others) > 0:
			return "", nil
		case p == nil:
			// Its groups may be there: their rights in another database could not be
			// cleared when it went.
			statements, err := s.dropGroups(ctx, c, r, left)
			kept = s.kept
			return statements, err
		}
		if err := c.administers(r.Name); err != nil {
			return "", err
		}
		var b script
		b.add("alter role %s nologin", ident(r.Name))
		if !p.usable {
			b.join(c, r.Name)
		}
		return b.String(), nil
	})
	if err != nil || p == nil && len(others) == 0 {
		return cmp.Or(err, kept)
	}
	if p != nil {
		if err := t.disable(ctx, home, p); err != nil {
			return err
		}
	}
	for name, databases := range others {
		for _, database := range databases {
			if err := t.strip(ctx, database, name, left); err != nil {
				return err
			}
			if err := failpoint.Hit(ctx, "postgres/remove/after-other-database"); err != nil {
				return err
			}
		}
	}
	err = t.change(ctx, home, func(s *session) (string, error) {
		statements, err := s.drop(ctx, r, left)
		kept = s.kept
		return statements, err
	})
	if err != nil {
		return err
	}
	return cmp.Or(failpoint.Hit(ctx, "postgres/remove/after-drop"), kept)
}

// disable ends the sessions of a role that may not sign in any more.
func (t *target) disable(ctx context.Context, home string, p *role) error {
	if err := failpoint.Hit(ctx, "postgres/remove/after-nologin"); err != nil {
		return err
	}
	if err := t.endSessions(ctx, home, p.oid); err != nil {
		return err
	}
	return failpoint.Hit(ctx, "postgres/remove/after-sessions")
}

// drop hands over what the login owns and drops it, and with the last
// login of a group the group.
func (s *session) drop(ctx context.Context, r driver.LoginRequest, left leftAlone) (string, error) {
	c, err := s.lookAtRoles(ctx, r.Name, r.Sub)
	if err != nil {
		return "", err
	}
	p, err := c.owned(r)
	if err != nil {
		return "", err
	}
	if p == nil {
		return s.dropGroups(ctx, c, r, left)
	}
	if len(c.prepared) > 0 {
		// Its outcome is its coordinator's to decide.
		return "", patchbay.Errorf(patchbay.StillInUse, "%s has prepared transactions: %s", r.Name, driver.Quoted(strings.Join(c.prepared, ", "))).
			WithFix("end them in their database: COMMIT PREPARED or ROLLBACK PREPARED")
	}
	if len(c.elsewhere(r.Name, left)) > 0 {
		return "", errElsewhere
	}
	if e := c.kept(r.Name, left); e != nil {
		return "", e
	}
	var b script
	if c.owns(r.Name) {
		if err := s.bequeath(ctx, &b, c, r); err != nil {
			return "", err
		}
	}
	b.add("drop owned by %s", ident(r.Name))
	b.add("drop role %s", ident(r.Name))
	if err := s.exec(ctx, b.String()); err != nil {
		return "", err
	}
	c = &catalogue{}
	if err := s.conn.SendBatch(ctx, c.roleQueries(r.Name, r.Sub, s.version())).Close(); err != nil {
		return "", s.failed(ctx, "", err)
	}
	return s.dropGroups(ctx, c, r, left)
}

// bequeath gives what the login made to the next generation, which goes on with it, or
// where there is none of the same rights to the database's owner role. A writer's
// large objects go to the writers' group role, and with that to all its generations
// once and for all: there may be many, and to give each of them to each generation
// would make every rotation slower than the one before. Writers may write and empty
// each other's anyway.
func (s *session) bequeath(ctx context.Context, b *script, c *catalogue, r driver.LoginRequest) error {
	heir, err := s.heir(ctx, c, r)
	if err != nil {
		return err
	}
	to := groupName(patchbay.Owner, c.database)
	if heir == nil && c.leaves(r.Name) || c.given(r.Name) && c.leaves(r.Name) {
		if c, err = s.needOwner(ctx, c, r, b); err != nil {
			return err
		}
	}
	if heir != nil {
		to = heir.name
		if !heir.usable {
			b.join(c, heir.name)
		}
	}
	if err := s.takeBack(ctx, b, c, r.Name, c.database, to); err != nil {
		return err
	}
	writers := groupName(patchbay.Writer, r.Sub)
	if heir != nil && c.roles[writers] != nil && slices.Contains(heir.groups, writers) {
		if !c.roles[writers].usable {
			b.join(c, writers)
		}
		b.giveLarge(c, r.Name, writers)
	}
	if c.leaves(r.Name) {
		b.reassign(c, r.Name, to)
	}
	return nil
}

// needOwner makes the owner role of the session's database, with its rights,
// unless it is there.
func (s *session) needOwner(ctx context.Context, c *catalogue, r driver.LoginRequest, b *script) (*catalogue, error) {
	if c.roles[groupName(patchbay.Owner, c.database)] != nil {
		return c, nil
	}
	here := r
	here.Sub = c.database
	c, err := s.again(ctx, here, []patchbay.Access{patchbay.Owner})
	if err != nil {
		return nil, err
	}
	if err := c.checkGroups(here.Sub); err != nil {
		return nil, err
	}
	b.groups(c, here.Sub, []patchbay.Access{patchbay.Owner})
	b.repair(c.differs)
	return c, nil
}

// unused reports whether a group role has no members but administrators, the
// login that goes aside.
func (c *catalogue) unused(name string, r driver.LoginRequest) bool {
	var admins []string
	for _, m := range c.members {
		if m.group == name && m.admin {
			admins = append(admins, m.member)
		}
	}
	return name != r.Name && !slices.ContainsFunc(c.members, func(m membership) bool {
		return m.group == name && m.member != r.Name && m.member != c.admin && !slices.Contains(admins, m.member)
	})
}

// dropGroups drops the group roles that nobody is a member of any more; the
// owner role stays while it owns something.
func (s *session) dropGroups(ctx context.Context, c *catalogue, r driver.LoginRequest, left leftAlone) (string, error) {
	var b script
	var drop []string
	handOver := false
	for _, a := range accesses {
		name := groupName(a, r.Sub)
		switch {
		case c.roles[name] == nil, !c.unused(name, r), a == patchbay.Owner && (handOver || c.owns(name)):
		case c.kept(name, left) != nil:
			s.kept = c.kept(name, left)
		case len(c.elsewhere(name, left)) > 0:
			// Its database has another name now, or somebody gave it something
			// there: that is theirs to clear.
		default:
			if c.owns(name) {
				handOver = true
				var err error
				if c, err = s.needOwner(ctx, c, r, &b); err != nil {
					return "", err
				}
				if err := s.handOver(ctx, &b, c, name, c.database, groupName(patchbay.Owner, c.database)); err != nil {
					return "", err
				}
			}
			drop = append(drop, name)
		}
	}
	for _, name := range drop {
		if g := c.roles[name]; g != nil && !g.usable {
			b.join(c, name)
		}
		b.dropOwned(name)
		b.add("drop role %s", ident(name))
	}
	return b.String(), nil
}

// sessionQuery ends a role's sessions, and lists the server processes that
// have not said yet whose they are: one of them may have passed the check for
// LOGIN an instant before it went. A session in its start has a transaction,
// seen in pg_locks, and is not in pg_stat_activity under a name. (The type of a
// backend is hidden from an administrator of limited rights.)
const sessionQuery = `
select (select count(pg_catalog.pg_terminate_backend(pid)) from pg_catalog.pg_stat_activity where usesysid = $1 and backend_type in ('client backend', 'walsender')),
	array(select l.pid from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
		where l.locktype = 'virtualxid' and l.mode = 'ExclusiveLock' and (a.pid is null or a.usesysid is null and coalesce(a.backend_type, 'client backend') = 'client backend'))`

// startLimit is how long a session that starts is waited for. One that takes
// longer waits for its client's password, and finds NOLOGIN after it.
const startLimit = time.Second

// endSessions ends the role's sessions, and returns when they are gone.
func (t *target) endSessions(ctx context.Context, database string, oid uint32) error {
	s, release, err := t.acquire(ctx, database, false)
	if err != nil {
		return err
	}
	defer release()
	var starting []int32 // when we first looked
	deadline := time.Now().Add(startLimit)
	wait := time.Millisecond
	for first := true; ; first = false {
		var sessions int
		var now []int32
		b := &pgx.Batch{}
		b.Queue(sessionQuery, oid).QueryRow(func(row pgx.Row) error { return row.Scan(&sessions, &now) })
		if err := s.ask(ctx, b); err != nil {
			return err
		}
		if first {
			starting = now
		}
		starting = slices.DeleteFunc(starting, func(pid int32) bool { return !slices.Contains(now, pid) })
		if sessions == 0 && (len(starting) == 0 || time.Now().After(deadline)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return t.adminError(ctx, "end its sessions", ctx.Err())
		case <-time.After(wait):
			wait = min(2*wait, 50*time.Millisecond)
		}
	}
}
