package postgres

import (
	"context"
	"fmt"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// handOver gives all that a role owns here to the role to, but for what belongs
// elsewhere.
func (s *session) handOver(ctx context.Context, b *script, c *catalogue, name, home, to string) error {
	if err := s.takeBack(ctx, b, c, name, home, to); err != nil {
		return err
	}
	b.reassign(c, name, to)
	return nil
}

// takeBack takes from a role what it owns and can't have made: a database goes to its
// own owner role, so that no connection to another one has it; what the server has
// one of, and what only a superuser may own, to the administrator; the rest to the
// owner role of home. That which goes to rest anyway is left to REASSIGN OWNED, which
// asks for fewer rights.
func (s *session) takeBack(ctx context.Context, b *script, c *catalogue, name, home, rest string) error {
	if p := c.roles[name]; p != nil && !p.usable {
		b.join(c, name)
	}
	for _, d := range c.depends {
		if d.role != name || !d.owns || d.database != "" {
			continue
		}
		switch d.place {
		case withOthers, toGroup:
		case toAdmin:
			b.add("alter %s owner to current_user", d.alter)
		case toOwner:
			if rest == groupName(patchbay.Owner, home) {
				continue
			}
			b.add("alter %s owner to %s", d.alter, ident(groupName(patchbay.Owner, home)))
		case toDatabase:
			if !c.super && !c.createDB {
				return patchbay.Errorf(patchbay.AdminRights, "%s owns the %s, and the administrator %q may not give it to anybody", name, driver.Quoted(d.alter), c.admin).
					WithFix("ALTER ROLE %s CREATEDB", ident(c.admin))
			}
			owner, err := s.ownerOf(ctx, b, c, d, home)
			if err != nil {
				return err
			}
			b.add("alter %s owner to %s", d.alter, ident(owner))
		}
	}
	return nil
}

// ownerOf is the owner role of the database that d is, which is made if it is not
// there. The role of home is the caller's.
func (s *session) ownerOf(ctx context.Context, b *script, c *catalogue, d dependency, home string) (string, error) {
	var database string
	if err := s.conn.QueryRow(ctx, "select datname from pg_catalog.pg_database where pg_catalog.format('database %I', datname) = $1", d.alter).Scan(&database); err != nil {
		return "", s.failed(ctx, "", err)
	}
	name := groupName(patchbay.Owner, database)
	if database == home || b.made[name] {
		return name, nil
	}
	var owner *role
	rows, err := s.conn.Query(ctx, fmt.Sprintf(roleQuery, administrationColumns(c.version)), []string{name})
	if err == nil {
		err = each(rows, func() (err error) {
			owner, err = scanRole(rows)
			return err
		})
	}
	if err != nil {
		return "", s.failed(ctx, "", err)
	}
	there := *c
	there.roles = map[string]*role{}
	if owner != nil {
		there.roles[name] = owner
	}
	if err := there.checkGroups(database); err != nil {
		return "", err
	}
	if err := there.administers(name); err != nil {
		return "", err
	}
	there.members = nil
	b.groups(&there, database, []patchbay.Access{patchbay.Owner})
	if b.made == nil {
		b.made = map[string]bool{}
	}
	b.made[name] = true
	return name, nil
}

// leaves reports whether something that the role owns goes to the owner role of this
// database, or to an heir.
func (c *catalogue) leaves(name string) bool {
	for _, d := range c.depends {
		if d.role == name && d.owns && d.database == "" && (d.place == withOthers || d.place == toGroup || d.place == toOwner || d.what == "database "+c.database) {
			return true
		}
	}
	return false
}
