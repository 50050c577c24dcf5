package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// administration is what an administrator of limited rights may do with a role.
// Since version 16 CREATEROLE is a right to one's own: whoever makes a role, or is a
// member of its maker, may change, grant and drop it, and nobody else.
type administration struct {
	administered bool
	// remedy is the statement that lets the administrator, "" when nobody who could be
	// joined may either.
	remedy string
}

// administrationColumns are of the role r.
func administrationColumns(version int) string {
	if version < 16 {
		return "true, ''"
	}
	return `exists (select from pg_catalog.pg_auth_members a where a.roleid = r.oid and a.admin_option and pg_catalog.pg_has_role(a.member, 'USAGE')),
	coalesce((select pg_catalog.format('GRANT %I TO %I%s', h.rolname, me.rolname, case when pg_catalog.pg_has_role(h.oid, 'MEMBER') or not me.rolinherit then ' WITH INHERIT TRUE' end)
		from pg_catalog.pg_auth_members a join pg_catalog.pg_roles h on h.oid = a.member, pg_catalog.pg_roles me
		where a.roleid = r.oid and a.admin_option and not h.rolsuper and me.rolname = current_user and not pg_catalog.pg_has_role(h.oid, me.oid, 'MEMBER')
		order by h.oid limit 1), '')`
}

// administers fails when one of the roles, of those that are there, is another
// administrator's to change.
func (c *catalogue) administers(names ...string) error {
	var others []*role
	for _, name := range names {
		if r := c.roles[name]; r != nil && !r.administered && !c.super {
			others = append(others, r)
		}
	}
	if len(others) == 0 {
		return nil
	}
	return patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not change %s, which another administrator made", c.admin, theirs(others)).
		WithFix("%s", remedy(c.admin, others))
}

// theirs names roles of another administrator, a few of them.
func theirs(roles []*role) string {
	const most = 5
	var names []string
	for i, r := range roles {
		if i == most {
			names = append(names, fmt.Sprintf("%d more", len(roles)-most))
			break
		}
		names = append(names, r.name)
	}
	return driver.Quoted(strings.Join(names, ", "))
}

// remedy is what lets the administrator change the roles: one statement, unless
// several administrators made them.
func remedy(admin string, roles []*role) string {
	var statements, rest []string
	for _, r := range roles {
		switch {
		case r.remedy == "":
			rest = append(rest, ident(r.name))
		case !slices.Contains(statements, r.remedy):
			statements = append(statements, r.remedy)
		}
	}
	if len(rest) > 0 {
		statements = append(statements, fmt.Sprintf("GRANT %s TO %s WITH ADMIN OPTION", strings.Join(rest, ", "), ident(admin)))
	}
	return driver.Quoted(strings.Join(statements, "; "))
}

// CheckRemoval implements [driver.RemovalChecker].
func (t *target) CheckRemoval(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, false); err != nil {
		return err
	}
	c := &catalogue{}
	if err := t.read(ctx, "", func(s *session) *pgx.Batch { return c.roleQueries(r.Name, r.Sub, s.version()) }); err != nil {
		return err
	}
	if p, err := c.owned(r); p == nil || err != nil {
		return nil //nolint:nilerr // somebody else's: RemoveLogin says so
	}
	return c.administers(r.Name)
}

// foreignQuery lists the roles of ours that the administrator may not change.
const foreignQuery = `
select r.rolname, %s
from pg_catalog.pg_shdescription d join pg_catalog.pg_roles r on r.oid = d.objoid
where d.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.description ~ '^patchbay (principal|group) \{'
order by r.oid`

// warnOfOthers says that another administrator made these roles of ours.
func warnOfOthers(admin string, others []*role) string {
	return fmt.Sprintf("%q may not change or remove %d roles that Patchbay made here as another administrator (%s): %s", admin, len(others), theirs(others), remedy(admin, others))
}
