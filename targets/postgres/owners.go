package postgres

import (
	"context"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// lacksRights is advice for an administrator of whom no more is known than that the
// server refused what it did.
const lacksRights = "use a superuser, or a role with CREATEROLE that owns the database and is a member of the roles that own its objects"

// ownerQuery names whose objects the administrator may not grant rights on.
const ownerQuery = `
select pg_catalog.quote_ident(r.rolname), r.rolsuper
from (
	select datdba as oid from pg_catalog.pg_database where datname = pg_catalog.current_database()
	union
	select nspowner from pg_catalog.pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
	union
	select c.relowner from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
	union
	select p.proowner from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
) o join pg_catalog.pg_roles r on r.oid = o.oid
where not pg_catalog.pg_has_role(r.oid, 'USAGE')
order by 1`

// advised is err with what lets the administrator give rights in that database, when
// that is what it may not: the statement that is missing, not a list of what may be.
func (t *target) advised(ctx context.Context, database string, err error) error {
	e := patchbay.AsError(err)
	if e == nil || e.Code != patchbay.AdminRights || e.Fix != lacksRights {
		return err
	}
	told := *e
	told.Fix = t.ownersFix(ctx, database)
	return &told
}

// ownersFix is what lets the administrator grant rights on everything in the
// database: to be a member of its owners. Nobody is advised to make one of a
// superuser.
func (t *target) ownersFix(ctx context.Context, database string) string {
	admin := ident(t.settings.admin.Username)
	c, release, err := t.acquire(ctx, database)
	if patchbay.CodeOf(err) == patchbay.AdminRights {
		return driver.Quoted("GRANT CONNECT ON DATABASE " + ident(database) + " TO " + admin)
	}
	if err != nil {
		return lacksRights
	}
	defer release()
	rows, err := c.Query(ctx, ownerQuery)
	if err != nil {
		return lacksRights
	}
	var owners []string
	reserved := false
	err = each(rows, func() error {
		var name string
		var super bool
		err := rows.Scan(&name, &super)
		if reserved = reserved || super; !super {
			owners = append(owners, name)
		}
		return err
	})
	if err != nil || reserved || len(owners) == 0 {
		return "register the server with a superuser, or give what belongs to one to a role that the administrator is a member of"
	}
	return driver.Quoted("GRANT " + strings.Join(owners, ", ") + " TO " + admin)
}
