package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
)

// failed says what err means, which statements met in the session. What the server
// has to be asked for that is asked in the same session.
func (s *session) failed(ctx context.Context, statements string, err error) error {
	if err != nil && pgconnect.Misbehaved(s.conn) != nil {
		return pgconnect.Misbehaved(s.conn) // the library forgets it
	}
	var pg *pgconn.PgError
	if err == nil || ctx.Err() != nil || !errors.As(err, &pg) {
		return s.t.adminError(ctx, "", err)
	}
	switch pg.Code {
	case lockTimeout:
		return s.locked(ctx, statements, pg)
	case readOnlyTransaction, featureNotSupported:
		var standby bool
		b := &pgx.Batch{}
		b.Queue("select pg_catalog.pg_is_in_recovery()").QueryRow(func(row pgx.Row) error { return row.Scan(&standby) })
		s.rollback(ctx)
		if s.ask(ctx, b) == nil && standby {
			return patchbay.Errorf(patchbay.TargetUnreachable, "%s is a standby, and nothing can be changed there", s.t.settings.Address()).
				WithFix("register the primary").AsTransient().WithSaid(pg.Message)
		}
	}
	return s.t.adminError(ctx, "", err)
}

// holder is who has a lock.
type holder struct {
	pid               int32
	on                string
	user, application string
	state, since      string // "" when the administrator may not see it
	doing             string
	others            int
}

// holderQuery finds who has the lock that was not to be had. The wait is over, and
// with it what the server knew of it; but what was wanted is known. In this order:
// our own lock, the transaction that changed the row, tables that are named in the
// statements, other tables, the catalogue.
const holderQuery = `
with held as (
	select l.pid, case l.locktype when 'advisory' then 1 when 'transactionid' then 2 else
			case when c.oid is null or c.oid < 16384 then 5 when pg_catalog.strpos($3, pg_catalog.format('%I.%I', n.nspname, c.relname)) > 0 then 3 else 4 end end as rank,
		case l.locktype when 'advisory' then 'the logins of this database' when 'transactionid' then 'a row of the catalogue'
			else coalesce(pg_catalog.format('%I.%I', n.nspname, c.relname), 'the catalogue') end as what
	from pg_catalog.pg_locks l join pg_catalog.pg_database d on d.datname = pg_catalog.current_database()
		left join pg_catalog.pg_class c on c.oid = l.relation left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	where l.granted and l.pid <> pg_catalog.pg_backend_pid() and (
		l.locktype = 'advisory' and $3 = '' and l.database = d.oid and l.objsubid = 1 and (l.classid::bigint << 32) + l.objid::bigint = $1
		or l.locktype = 'transactionid' and l.transactionid::text = $2
		or l.locktype = 'relation' and l.database in (0, d.oid) and (l.mode = any(array['ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'])
			or pg_catalog.strpos($3, ' owned by ') > 0 and c.oid >= 16384
			or l.relation = any(array['pg_catalog.pg_authid'::pg_catalog.regclass, 'pg_catalog.pg_auth_members'::pg_catalog.regclass]::pg_catalog.oid[]) and l.mode = 'RowExclusiveLock'))
)
select h.pid, h.what, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), coalesce(a.state, ''),
	coalesce(pg_catalog.to_char(a.xact_start at time zone 'UTC', 'HH24:MI:SS "UTC"'), ''),
	coalesce(pg_catalog.upper(pg_catalog.substring(a.query, '(?i)^\s*((?:(?:create|alter|drop|lock|vacuum|refresh)\s+)?[[:alpha:]]+)(?![[:alpha:]])')), ''),
	(select count(distinct o.pid) - 1 from held o where o.rank = h.rank)
from held h left join pg_catalog.pg_stat_activity a on a.pid = h.pid order by h.rank, a.xact_start nulls last, h.pid limit 1`

// rowIn finds the row of the catalogue that a statement waited for.
var rowIn = regexp.MustCompile(`\((\d+,\d+)\)\D* "(pg_[a-z_]+)"`)

// locked says who has the lock that was waited for.
func (s *session) locked(ctx context.Context, statements string, pg *pgconn.PgError) error {
	s.rollback(ctx)
	var changed string
	if row := rowIn.FindStringSubmatch(pg.Where); row != nil {
		b := &pgx.Batch{}
		b.Queue("select coalesce((select xmax::text from pg_catalog." + row[2] + " where ctid = '(" + row[1] + ")'), '')").
			QueryRow(func(r pgx.Row) error { return r.Scan(&changed) })
		_ = s.ask(ctx, b) // not every administrator may read each
	}
	var h holder
	b := &pgx.Batch{}
	b.Queue(holderQuery, lockKey, changed, statements).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			return rows.Scan(&h.pid, &h.on, &h.user, &h.application, &h.state, &h.since, &h.doing, &h.others)
		})
	})
	wait := tableLockWait
	if statements == "" {
		wait = ourLockWait
	}
	at := s.t.settings.Address()
	if s.ask(ctx, b) != nil || h.pid == 0 {
		return patchbay.Errorf(patchbay.Timeout, "%s: a lock was not to be had within %s, and whoever had it has it no longer, or is not to be seen", at, wait).
			WithFix("ask again; while it waits, this names who is in the way: select pid, pg_blocking_pids(pid) from pg_stat_activity where application_name = 'patchbay'").
			AsTransient().WithSaid(pg.Message)
	}
	e := patchbay.Errorf(patchbay.Timeout, "%s: a lock on %s was not to be had within %s: %s has it", at, driver.Quoted(h.on), wait, h).AsTransient().WithSaid(pg.Message)
	if h.application == pgconnect.ApplicationName {
		return e.WithFix("another Patchbay changes logins of this database: wait until it has ended")
	}
	return e.WithFix("let it end, or end it: select pg_terminate_backend(%d); then ask again", h.pid)
}

func (h holder) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "process %d (user %s", h.pid, driver.Quoted(h.user))
	if h.application != "" {
		fmt.Fprintf(&b, ", application %s", driver.Quoted(h.application))
	}
	if h.state != "" {
		fmt.Fprintf(&b, ", %s", driver.Quoted(h.state))
	}
	if h.since != "" {
		fmt.Fprintf(&b, ", in a transaction since %s", h.since)
	}
	if h.doing != "" && h.state != "" {
		fmt.Fprintf(&b, ", last with %s", driver.Quoted(h.doing))
	}
	b.WriteString(")")
	if h.others > 0 {
		fmt.Fprintf(&b, ", and %d more", h.others)
	}
	return b.String()
}
