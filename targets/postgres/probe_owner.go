package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay/driver"
)

// ownerQuery lists, by their owner, the objects outside of extensions: how many, one
// of them, and whether the login's sessions are their owner. Of the tables it has one
// column, to be changed into what it is.
const ownerQuery = `
with extension as materialized (
	select classid, objid from pg_catalog.pg_depend where refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and deptype = 'e'
), ns as materialized (
	select n.oid, n.nspname from pg_catalog.pg_namespace n where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
		and n.oid not in (select objid from extension where classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass)
), owned as materialized (
	select owner, pg_catalog.sum(n)::bigint as n, pg_catalog.max(relation) as relation, pg_catalog.max(plain) as plain, pg_catalog.max(routine) as routine from (
		select c.relowner as owner, pg_catalog.count(*) as n, pg_catalog.max(c.oid) as relation, pg_catalog.max(c.oid) filter (where c.relkind in ('r', 'p')) as plain, null::oid as routine
		from pg_catalog.pg_class c join ns on ns.oid = c.relnamespace
		where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.oid not in (select objid from extension where classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
		group by 1
		union all
		select p.proowner, pg_catalog.count(*), null, null, pg_catalog.max(p.oid)
		from pg_catalog.pg_proc p join ns on ns.oid = p.pronamespace where p.oid not in (select objid from extension where classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
		group by 1) o
	group by 1
)
select r.rolname, r.rolsuper, current_user::text, pg_catalog.pg_has_role(current_user, o.owner, 'USAGE'), o.n,
	coalesce((select case c.relkind when 'v' then 'VIEW' when 'm' then 'MATERIALIZED VIEW' when 'f' then 'FOREIGN TABLE' when 'S' then 'SEQUENCE' else 'TABLE' end || pg_catalog.format(' %I.%I', n.nspname, c.relname)
			from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = coalesce(o.plain, o.relation)),
		'ROUTINE ' || o.routine::pg_catalog.regprocedure::text),
	coalesce((select pg_catalog.format('alter table only %I.%I alter column %I set statistics -1', n.nspname, c.relname, a.attname)
		from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace join pg_catalog.pg_attribute a on a.attrelid = c.oid
		where c.oid = o.plain and a.attnum > 0 and not a.attisdropped order by a.attnum limit 1), ''),
	exists (select from pg_catalog.pg_event_trigger where evtenabled in ('O', 'A') and evtevent in ('ddl_command_start', 'ddl_command_end') and (evttags is null or 'ALTER TABLE' = any(evttags)))
from owned o join pg_catalog.pg_roles r on r.oid = o.owner
order by o.n desc, 1`

// belongings are what one role owns.
type belongings struct {
	owner     string
	super     bool
	ours      string // whom the login's sessions work as
	has       bool   // the login does with them as their owner
	n         int64
	example   string // as ALTER names it
	statement string // changes nothing; "" when there is no table
	triggers  bool   // somebody's function would run at it
}

// changes tries to change what is there already, as an owner does. PostgreSQL lets
// nobody but an object's owner do that, and whose it is is for others to say: what is
// somebody else's is a warning, with how it is handed over.
//
// The statement is one that checks the owner before it waits for a lock, takes one
// that no reader or writer minds, and leaves all as it is. Where it would run
// somebody's event trigger, whose effects need not be undone with ours, the server's
// word is enough.
func (p *probe) changes(ctx context.Context) error {
	if _, err := p.conn.Exec(ctx, "rollback to savepoint probe"); err != nil {
		return p.error(ctx, err)
	}
	var all []belongings
	b := &pgx.Batch{}
	b.Queue(ownerQuery).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var o belongings
			err := rows.Scan(&o.owner, &o.super, &o.ours, &o.has, &o.n, &o.example, &o.statement, &o.triggers)
			all = append(all, o)
			return err
		})
	})
	if err := p.conn.SendBatch(ctx, b).Close(); err != nil {
		return p.error(ctx, err)
	}
	const what = "ALTER TABLE"
	tried := map[bool]bool{}
	for _, o := range all {
		if o.statement != "" && !o.triggers && !tried[o.has] {
			found, why, err := p.one(ctx, trial{what: what, statement: o.statement, wanted: true, has: o.has})
			if err != nil {
				return err
			}
			if !found && o.has {
				p.notChecked("%s: on %s something else %s", what, driver.Quoted(strings.TrimPrefix(o.example, "TABLE ")), why.met())
			}
			tried[o.has] = found
		}
		if !o.has {
			p.warn(o)
		}
	}
	return nil
}

// warn says whose things the login may not change, and how they are handed over.
func (p *probe) warn(o belongings) {
	_, name, _ := strings.Cut(o.example, " ")
	some := name + " belongs"
	if o.n > 1 {
		some = fmt.Sprintf("%s and %d more belong", name, o.n-1)
	}
	how := fmt.Sprintf("GRANT %s TO %s", ident(o.owner), ident(o.ours))
	if o.super {
		how = fmt.Sprintf("ALTER %s OWNER TO %s", o.example, ident(o.ours))
		if o.n > 1 {
			how += ", and so on"
		}
	}
	p.result.Warnings = append(p.result.Warnings, driver.Quoted(fmt.Sprintf("%s to %s: %s may use, and not alter or drop, what is there; to hand it over: %s", some, o.owner, p.login.Username, how)))
}
