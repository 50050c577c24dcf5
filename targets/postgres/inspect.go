package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// oldest is the oldest major version that the driver is tested with.
const oldest = 13

const databaseQuery = `
select d.datname, d.datname <> pg_catalog.current_database() and exists (
	select from pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a where a.grantee = 0 and a.privilege_type = 'CONNECT')
from pg_catalog.pg_database d where d.datallowconn and not d.datistemplate order by 1`

const adminQuery = `
select r.rolsuper, r.rolcreaterole, pg_catalog.pg_is_in_recovery(),
	array(select pg_catalog.quote_ident(n.nspname) from pg_catalog.pg_namespace n, pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
		where a.grantee = 0 and a.privilege_type = 'CREATE' and n.nspname !~ '^pg_' order by 1)
from pg_catalog.pg_roles r where r.rolname = current_user`

func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	c, release, err := t.acquire(ctx, sub)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	defer release()
	s := &session{t: t, conn: c.Conn()}
	info := driver.TargetInfo{
		Version: c.Conn().PgConn().ParameterStatus("server_version"),
		TLS:     tlsVersion(c.Conn()),
		Values: map[string]string{
			"host": t.settings.host, "port": strconv.Itoa(int(t.settings.port)), "sslmode": string(t.settings.tls.Mode),
		},
	}
	var super, createRole, standby bool
	var creatable, open []string
	b := &pgx.Batch{}
	b.Queue(adminQuery).QueryRow(func(row pgx.Row) error { return row.Scan(&super, &createRole, &standby, &creatable) })
	b.Queue(databaseQuery).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var name string
			var public bool
			err := rows.Scan(&name, &public)
			info.Subs = append(info.Subs, name)
			if public {
				open = append(open, name)
			}
			return err
		})
	})
	if err := t.adminError(ctx, "inspect", c.SendBatch(ctx, b).Close()); err != nil {
		return driver.TargetInfo{}, err
	}
	warn := func(format string, args ...any) { info.Warnings = append(info.Warnings, fmt.Sprintf(format, args...)) }
	if s.version() < oldest {
		warn("PostgreSQL %s is older than %d, the oldest that is tested", driver.Quoted(info.Version), oldest)
	}
	if standby {
		warn("the server is a standby: nothing can be changed on it")
	}
	if !super && !createRole {
		return driver.TargetInfo{}, patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not create roles", t.settings.admin.Username).
			WithFix("ALTER ROLE %s CREATEROLE", ident(t.settings.admin.Username))
	}
	others, err := warnOfOthers(ctx, c, s.version(), t.settings.admin.Username)
	if err != nil {
		return driver.TargetInfo{}, t.adminError(ctx, "inspect", err)
	}
	if others != "" && !super {
		warn("%s", others)
	}
	// What the application is told to do is what was seen to work.
	if t.settings.tls.Mode == driver.TLSPrefer {
		info.Values["sslmode"] = "require"
		if info.TLS == "" {
			info.Values["sslmode"] = "disable"
		}
	}
	if info.TLS == "" {
		warn("the connection is not encrypted: turn ssl on in postgresql.conf")
	}
	if sub == "" {
		return info, nil
	}
	info.Values["database"] = sub
	var many bool
	if err := c.QueryRow(ctx, "select count(*) > $1 from (select from pg_catalog.pg_largeobject_metadata limit $1 + 1) l", maxLarge).Scan(&many); err != nil {
		return driver.TargetInfo{}, t.adminError(ctx, "inspect", err)
	}
	if many {
		warn("there are more than %d large objects in %s: Patchbay gives rights on them to nobody but the connection that stored them", maxLarge, driver.Quoted(sub))
	}
	if len(creatable) > 0 {
		names := driver.Quoted(strings.Join(creatable, ", "))
		warn("every login may create objects in schema %s: REVOKE CREATE ON SCHEMA %s FROM PUBLIC", names, names)
	}
	if open = slices.DeleteFunc(open, func(name string) bool { return name == sub }); len(open) > 0 {
		const most = 5
		shown := open
		if len(shown) > most {
			shown = shown[:most]
		}
		warn("every login may connect to %d other databases too (%s): REVOKE CONNECT, TEMPORARY ON DATABASE … FROM PUBLIC", len(open), driver.Quoted(strings.Join(shown, ", ")))
	}
	return info, nil
}
