package postgres

import (
	"context"
	"crypto/tls"
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

// copyQuery lists the databases that nobody can sign in to and where a group
// role of another one has rights: copies of it.
const copyQuery = `
select db.datname from pg_catalog.pg_shdepend d join pg_catalog.pg_roles r on r.oid = d.refobjid join pg_catalog.pg_database db on db.oid = d.dbid
where d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and r.rolname = any($1) and db.datname <> $2 and not db.datallowconn
group by 1 order by 1`

// poolerWarning: that it works does not say that its logins do.
const poolerWarning = "there is a connection pooler in front of the server: it has to let the logins in that are made (PgBouncer: auth_query), and the application has to do without what it does not keep from one transaction to the next"

// tlsVersion names the protocol of a session, "" when it is in the clear.
func tlsVersion(c *pgx.Conn) string {
	if t, ok := c.PgConn().Conn().(*tls.Conn); ok {
		return tls.VersionName(t.ConnectionState().Version)
	}
	return ""
}

func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	s, release, err := t.acquire(ctx, sub, false)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	defer release()
	info := driver.TargetInfo{
		Version: s.conn.PgConn().ParameterStatus("server_version"),
		TLS:     tlsVersion(s.conn),
		Values: map[string]string{
			"host": t.settings.Host, "port": strconv.Itoa(int(t.settings.Port)), "sslmode": string(t.settings.TLS.Mode),
		},
	}
	var super, createRole, standby bool
	var creatable, open, copies []string
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
	if sub != "" {
		groups := []string{}
		for _, a := range accesses {
			groups = append(groups, groupName(a, sub))
		}
		b.Queue(copyQuery, groups, sub).Query(func(rows pgx.Rows) error {
			return each(rows, func() error {
				var name string
				err := rows.Scan(&name)
				copies = append(copies, name)
				return err
			})
		})
	}
	var others []*role
	b.Queue(fmt.Sprintf(foreignQuery, administrationColumns(s.version()))).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			r := &role{}
			err := rows.Scan(&r.name, &r.administered, &r.remedy)
			if err == nil && !r.administered {
				others = append(others, r)
			}
			return err
		})
	})
	var many bool
	b.Queue("select pg_catalog.count(*) > $1 from (select from pg_catalog.pg_largeobject_metadata limit $1 + 1) l", maxLarge).QueryRow(func(row pgx.Row) error { return row.Scan(&many) })
	if err := s.ask(ctx, b); err != nil {
		return driver.TargetInfo{}, err
	}
	warn := func(format string, args ...any) { info.Warnings = append(info.Warnings, fmt.Sprintf(format, args...)) }
	if s.version() < oldest {
		warn("PostgreSQL %s is older than %d, the oldest that is tested", driver.Quoted(info.Version), oldest)
	}
	if link(t.link.Load()) == pooler {
		// One that allows no transactions lets pass what is asked in one breath.
		if err := s.exec(ctx, "begin"); err != nil {
			return driver.TargetInfo{}, err
		}
		if err := s.exec(ctx, "commit"); err != nil {
			return driver.TargetInfo{}, err
		}
		warn("%s", poolerWarning)
	}
	if standby {
		warn("the server is a standby: nothing can be changed on it")
	}
	if !super && !createRole {
		return driver.TargetInfo{}, patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not create roles", t.settings.Admin.Username).
			WithFix("ALTER ROLE %s CREATEROLE", ident(t.settings.Admin.Username))
	}
	if len(others) > 0 && !super {
		warn("%s", warnOfOthers(t.settings.Admin.Username, others))
	}
	// What the application is told to do is what was seen to work.
	if t.settings.TLS.Mode == driver.TLSPrefer {
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
	if many {
		warn("there are more than %d large objects in %s: Patchbay gives rights on them to nobody but the connection that stored them", maxLarge, driver.Quoted(sub))
	}
	for _, name := range copies {
		warn("the database %s, which takes no connections, has rights of the logins of %s, as a copy has: they count as soon as it takes some; take them away then, with patchbay connection validate --fix, or drop it", driver.Quoted(name), driver.Quoted(sub))
	}
	if len(creatable) > 0 {
		names := driver.Quoted(strings.Join(creatable, ", "))
		warn("every login may create objects in schema %s: REVOKE CREATE ON SCHEMA %s FROM PUBLIC", names, names)
	}
	if open = slices.DeleteFunc(open, func(name string) bool { return name == sub }); len(open) > 0 {
		const most = 5
		shown := slices.Clone(open[:min(len(open), most)])
		for i, name := range shown {
			shown[i] = ident(name)
		}
		warn("every login may connect to %d other databases too: REVOKE CONNECT, TEMPORARY ON DATABASE %s FROM PUBLIC", len(open), driver.Quoted(strings.Join(shown, ", ")))
	}
	return info, nil
}
