package postgres

import (
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// script is statements that are sent as one.
type script struct {
	b    strings.Builder
	made map[string]bool // roles of other databases, by it
}

func (s *script) add(format string, args ...any) {
	fmt.Fprintf(&s.b, format, args...)
	s.b.WriteString(";\n")
}

func (s *script) String() string { return s.b.String() }

// groups makes the group roles in needed that are not there, and takes from
// those that are what no group role has.
func (s *script) groups(c *catalogue, database string, needed []patchbay.Access) {
	for _, a := range accesses {
		name := groupName(a, database)
		g := c.roles[name]
		switch {
		case g == nil && slices.Contains(needed, a):
			s.add("create role %s nologin", ident(name))
			s.add("comment on role %s is %s", ident(name), literal(groupComment(a, database)))
			s.join(c, name)
		case g != nil && (g.login || len(g.flags) > 0):
			s.add("alter role %s nologin%s", ident(name), noFlags(g.flags))
		}
		if g != nil && !g.usable {
			s.join(c, name) // another administrator made it
		}
	}
	for _, m := range c.members {
		switch {
		case !slices.ContainsFunc(accesses, func(a patchbay.Access) bool { return groupName(a, database) == m.member }):
		case m.handedOver(database):
		case m.admin && m.mayBe(database):
			m.option = "admin option for "
			s.revokeMembership(m)
		default:
			s.revokeMembership(m)
		}
	}
}

// join gives an administrator who is no superuser the privileges of a role
// that it made: to change the role's default privileges, end its sessions,
// hand over what it owns.
func (s *script) join(c *catalogue, name string) {
	switch {
	case c.super:
	case c.version >= 16:
		s.add("grant %s to current_user with inherit true, set true", ident(name))
	default:
		// The option tells administrators from users of the role; since version
		// 16 a role's maker has it anyway.
		s.add("grant %s to current_user with admin option", ident(name))
	}
}

// mayBe reports whether the membership is one of the owner role in a role that owns
// things: by it a database's administrator lets the owner role do with them as their
// owner does. One in a superuser, or in a role of the server's, gives more than that.
func (m membership) mayBe(database string) bool {
	return m.member == groupName(patchbay.Owner, database) && !m.servers && !strings.HasPrefix(m.comment, "patchbay ")
}

// handedOver reports whether it is that, and no more.
func (m membership) handedOver(database string) bool { return m.mayBe(database) && !m.admin }

func (s *script) revokeMembership(m membership) {
	by := ""
	if m.grantor != "" {
		by = " granted by " + ident(m.grantor)
	}
	s.add("revoke %s%s from %s%s cascade", m.option, ident(m.group), ident(m.member), by)
}

// workAs has an owner's sessions act as the owner role, so that what they make
// belongs to it; nobody else's act as another role.
func (s *script) workAs(c *catalogue, r driver.LoginRequest, group string) {
	for database, role := range c.roleConfig {
		switch {
		case database == "":
			s.add("alter role %s reset role", ident(r.Name))
		case r.Access != patchbay.Owner || database != r.Sub || role != group:
			s.add("alter role %s in database %s reset role", ident(r.Name), ident(database))
		}
	}
	if r.Access == patchbay.Owner && c.roleConfig[r.Sub] != group {
		s.add("alter role %s in database %s set role = %s", ident(r.Name), ident(r.Sub), literal(group))
	}
}

// giveLarge gives a role's large objects to another. REASSIGN OWNED would lock them
// all, in some versions more than there is room for.
func (s *script) giveLarge(c *catalogue, name, to string) {
	if slices.ContainsFunc(c.depends, func(d dependency) bool { return d.role == name && d.owns && d.place == toGroup }) {
		s.add(`do $do$ declare o oid; begin for o in select oid from pg_catalog.pg_largeobject_metadata where lomowner = %s::pg_catalog.regrole loop
			execute pg_catalog.format('alter large object %%s owner to %%I', o, %s); end loop; end $do$`, literal(ident(name)), literal(to))
	}
}

// reassign gives all that a role owns to another.
func (s *script) reassign(c *catalogue, name, to string) {
	s.giveLarge(c, name, to)
	s.add("reassign owned by %s to %s", ident(name), ident(to))
}

// dropOwned takes all rights from a role. Those on large objects go first, many at
// once: up to version 13 DROP OWNED takes a time that grows with their square.
func (s *script) dropOwned(name string) {
	s.add(`do $do$ declare list text; begin for list in select pg_catalog.string_agg(oid::text, ', ') from (
			select distinct l.oid, (pg_catalog.dense_rank() over (order by l.oid)) / 500 as part
			from pg_catalog.pg_largeobject_metadata l, pg_catalog.aclexplode(l.lomacl) a where a.grantee = %s::pg_catalog.regrole and l.lomowner <> a.grantee) o group by part loop
		execute 'revoke all on large object ' || list || %s; end loop; end $do$`, literal(ident(name)), literal(" from "+ident(name)))
	s.add("drop owned by %s", ident(name))
}

// repair gives the rights that are missing, and takes those that are too much.
// What can be said of many objects at once is one statement.
func (s *script) repair(differs []difference) {
	type key struct {
		missing, grantable         bool
		role, kind, detail, rights string
		maker                      string // of default privileges
	}
	type object struct {
		missing, grantable         bool
		role, kind, object, detail string
	}
	rights := map[object][]string{}
	var order []object
	for _, d := range differs {
		o := object{d.missing, d.grantable, d.role, d.kind, d.object, d.detail}
		if rights[o] == nil {
			order = append(order, o)
		}
		rights[o] = append(rights[o], d.right)
	}
	objects := map[key][]string{}
	var keys []key
	for _, o := range order {
		k := key{missing: o.missing, grantable: o.grantable, role: o.role, kind: o.kind, detail: o.detail, rights: strings.Join(rights[o], ", ")}
		if o.kind != onDatabase && strings.HasPrefix(o.kind, "d") {
			k.maker = o.object
		}
		if objects[k] == nil {
			keys = append(keys, k)
		}
		objects[k] = append(objects[k], o.object)
	}
	const most = 500
	for _, k := range keys {
		verb, to, end := "grant "+k.rights, "to", ""
		if k.kind == "c" {
			verb = "grant " + strings.ReplaceAll(k.rights, ", ", " ("+k.detail+"), ") + " (" + k.detail + ")"
		}
		if !k.missing {
			option := ""
			if k.grantable {
				option = "grant option for "
			}
			verb, to, end = "revoke "+option+strings.TrimPrefix(verb, "grant "), "from", " cascade"
		}
		if k.maker != "" {
			in := ""
			if k.detail != "" {
				in = " in schema " + k.detail
			}
			s.add("alter default privileges for role %s%s %s on %s %s %s%s", k.maker, in, verb, kindWords[k.kind], to, ident(k.role), end)
			continue
		}
		size := most
		if k.kind == onLarge { // each of them is many
			size = 1
		}
		for chunk := range slices.Chunk(objects[k], size) {
			s.add("%s on %s %s %s %s%s", verb, kindWords[k.kind], strings.Join(chunk, ", "), to, ident(k.role), end)
		}
	}
}
