package postgres

import (
	"context"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// A role is the server's, and may have rights in every database of it: CREATE
// DATABASE … TEMPLATE copies those of the group roles. Another database is not
// what a request is about, so that it can't be entered or cleared stops nothing
// that does not need it.

// leftAlone are the other databases where something of a role could not be
// cleared, and why.
type leftAlone map[string]error

func (l leftAlone) has(d dependency) bool { return d.shut != "" || l[d.database] != nil }

// shuts are why nobody can sign in to a database, or no administrator of limited
// rights, and what to do about it.
var shuts = map[string]struct{ why, fix string }{
	"closed":  {"takes no connections", "ALTER DATABASE %s ALLOW_CONNECTIONS true"},
	"limited": {"takes connections of superusers alone", "ALTER DATABASE %s CONNECTION LIMIT -1"},
	"invalid": {"is what a DROP DATABASE left when it was cut short", "DROP DATABASE %s"},
}

// kept is why a role can't be dropped: what it has in a database that is left
// alone. It is nil when there is nothing.
func (c *catalogue) kept(name string, left leftAlone) error {
	for _, d := range c.depends {
		if d.role != name || d.database == "" || !left.has(d) {
			continue
		}
		who, what := "the role "+name+" can't be dropped", "has rights"
		if c.roles[name] != nil && strings.HasPrefix(c.roles[name].comment, loginMark) {
			who = name + " may not sign in any more, and can't be dropped"
		}
		if d.owns {
			what = "owns something"
		}
		database := driver.Quoted(d.database)
		if shut, ok := shuts[d.shut]; ok {
			return patchbay.Errorf(patchbay.TargetUnreachable, "%s: it %s in the database %s, which %s", who, what, database, shut.why).
				WithFix(shut.fix+"; then: patchbay leftovers --sweep", ident(database))
		}
		cause := patchbay.AsError(left[d.database])
		e := patchbay.Errorf(cause.Code, "%s: it %s in the database %s, where that can't be taken away: %s", who, what, database, cause.Message).
			WithFix("%s", cause.Fix)
		e.Transient = cause.Transient
		return e
	}
	return nil
}

// strip takes from a role of ours all that it has in a database: what it owns
// goes to that database's owner role, its rights go. A database that is gone
// has nothing; where it can't be done now, the database is left alone.
func (t *target) strip(ctx context.Context, database, name string, left leftAlone) error {
	err := t.change(ctx, database, func(s *session) (string, error) {
		c, err := s.lookAtRoles(ctx, name, database)
		if err != nil || c.roles[name] == nil {
			return "", err
		}
		var b script
		if !c.roles[name].usable {
			b.join(c, name)
		}
		if c.owns(name) {
			if c, err = s.needOwner(ctx, c, driver.LoginRequest{Name: name, Sub: database}, &b); err != nil {
				return "", err
			}
			if err := s.handOver(ctx, &b, c, name, database, groupName(patchbay.Owner, database)); err != nil {
				return "", err
			}
		}
		b.add("drop owned by %s", ident(name))
		return b.String(), nil
	})
	switch {
	case err == nil, absent(err):
		return nil
	case ctx.Err() != nil:
		return err
	}
	left[database] = err
	return nil
}
