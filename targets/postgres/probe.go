package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
)

// probeLimit bounds a probe whose caller sets no deadline.
const probeLimit = 30 * time.Second

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = []string{t.settings.Address()}
	return r, nil
}

// tryLogin is the driver's Probe.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	settings, err := pgconnect.ParsePlace(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	settings.TLS = settings.TLS.ReadBy(r.Reading)
	l, err := driver.Secrets(r.Credential.Values()).UserPassword()
	switch {
	case err != nil:
		return driver.ProbeResult{}, err
	case r.Sub == "" || strings.ContainsRune(r.Sub, 0):
		return driver.ProbeResult{}, invalid("a probe of PostgreSQL needs a database")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, probeLimit)
		defer cancel()
	}
	config, err := settings.Config(r.Sub, l, r.Dialer)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	config.RuntimeParams["application_name"] = "patchbay probe"
	p := &probe{settings: settings, login: l}
	p.conn, err = pgx.ConnectConfig(ctx, config)
	if err != nil {
		return driver.ProbeResult{}, p.error(ctx, err)
	}
	defer p.close()
	p.result.TLS = tlsVersion(p.conn)
	p.allowed("sign in to " + r.Sub)
	if r.Access != "" {
		err = p.try(ctx, r.Access)
	}
	p.result.Took = time.Since(started)
	return p.result, err
}

// probe is one sign-in as the application.
type probe struct {
	settings *pgconnect.Server
	login    driver.UserPassword
	conn     *pgx.Conn
	result   driver.ProbeResult
}

// close says goodbye, for a moment: the caller's time may be over.
func (p *probe) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx)
}

func (p *probe) allowed(what string) { p.result.Allowed = append(p.result.Allowed, what) }
func (p *probe) refused(what string) { p.result.Refused = append(p.result.Refused, what) }
func (p *probe) notChecked(format string, args ...any) {
	p.result.NotChecked = append(p.result.NotChecked, fmt.Sprintf(format, args...))
}

// begin opens the probe's transaction. What it relies on it sets for itself, before
// anything else: what somebody set for the database or the login is the
// application's affair. Those are named that the version has.
func (p *probe) begin(ctx context.Context, mode string) error {
	own := []string{"statement_timeout = 0", "idle_in_transaction_session_timeout = 0", "lock_timeout = '" + tryLimit + "'", "search_path = ''", "default_tablespace = ''", "row_security = on", "jit = off"}
	if version := majorVersion(p.conn); version >= 17 {
		own = append(own, "transaction_timeout = 0")
	}
	statements := "begin isolation level read committed not deferrable " + mode + "; set local " + strings.Join(own, "; set local ")
	_, err := p.conn.PgConn().Exec(ctx, statements).ReadAll()
	return err
}

const (
	// tryLimit is how long a trial waits for a lock: there are other tables.
	tryLimit = "100ms"
	// most tables that a right is tried on before it counts as not checked.
	maxTries = 5
)

// probeQuery is who the server takes us for, and what it says of our rights on
// what is no table. PUBLIC's rights are not the login's.
const probeQuery = `
select session_user::text, pg_catalog.current_setting('default_transaction_read_only') = 'on',
	pg_catalog.has_database_privilege(d.oid, 'CREATE'),
	exists (select from pg_catalog.aclexplode(d.datacl) a where a.grantee = 0 and a.privilege_type = 'CREATE'),
	exists (select from pg_catalog.pg_roles r where r.rolname in (session_user, current_user) and (r.rolsuper or r.rolcreaterole))
from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()`

// candidateQuery asks the server of each right on which tables, outside of
// extensions, the login has it otherwise than its access says (not by PUBLIC), and
// finds some on which it has it so, to try it. A thousand tables are enough: what is
// asked of each table is the administrator's to read. Those of the same owner and
// access list are judged together. Those on which others made something that a statement
// would run into, and those that somebody locks, come last.
const candidateQuery = `
with wanted(priv, wanted, locks) as materialized (
	select u.*, case u.priv when 'SELECT' then '{AccessExclusiveLock}'::text[] else '{ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}' end
	from unnest($1::text[], $2::bool[]) u(priv, wanted)
), extension as materialized (
	select classid, objid from pg_catalog.pg_depend where refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and deptype = 'e'
), ns as materialized (
	select n.oid, pg_catalog.has_schema_privilege(n.oid, 'USAGE') as enters
	from pg_catalog.pg_namespace n where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
		and n.oid not in (select objid from extension where classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass)
), alike as materialized (
	select enters, acl, odd, pg_catalog.array_agg(id) as ids
	from (
		select n.enters, c.relowner as owner, c.relacl as acl, c.oid as id,
			c.relkind = 'p' or c.relrowsecurity or c.relhasrules or c.relhassubclass or c.relispartition or c.relpersistence <> 'p' as odd
		from pg_catalog.pg_class c join ns n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p') and c.oid not in (select objid from extension where classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
		limit 1000
	) c
	group by enters, owner, acl, odd
), judged as materialized (
	select w.priv, w.wanted, w.locks, a.odd, a.ids[1:200] as ids, a.enters and pg_catalog.has_table_privilege(a.ids[1], w.priv) as has,
		exists (select from pg_catalog.aclexplode(a.acl) e where e.grantee = 0 and e.privilege_type = w.priv) as public
	from wanted w cross join alike a
), locked as materialized (
	select relation, mode from pg_catalog.pg_locks
	where locktype = 'relation' and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
)
select w.priv, t.wrong, c.id, c.name, c.has
from wanted w cross join (values (true), (false)) t(wrong) cross join lateral (
	select i.id, j.has, (select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = i.id) as name
	from judged j, unnest(j.ids) i(id)
	where j.priv = w.priv and case when t.wrong then j.has <> j.wanted and not (j.has and j.public) else j.has = j.wanted end
	order by j.odd, exists (select from locked l where l.relation = i.id and l.mode = any(j.locks)), i.id limit $3
) c where c.name is not null`

// candidate is a table to try a right on.
type candidate struct {
	id   uint32
	name string
	has  bool // the right, as the server says
}

// tries are statements that show a right on a table without doing anything:
// EXPLAIN checks the rights of a statement and runs no trigger or sequence.
var tries = map[string]string{
	"SELECT": "explain select from %s",
	"INSERT": "explain insert into %s default values",
	"DELETE": "explain delete from %s",
}

// try does what the access allows and what it does not, in a transaction that
// is rolled back. Whether the login has a right is the server's to say, in so many
// words and by SQLSTATE 42501. What else a trial meets is somebody's policy, rule,
// event trigger, lock: it says nothing of our rights, and what can't be tried
// because of it is not checked.
func (p *probe) try(ctx context.Context, access patchbay.Access) error {
	var wanted []bool
	privileges := []string{"SELECT", "INSERT", "DELETE"}
	for _, name := range privileges {
		wanted = append(wanted, name == "SELECT" || access != patchbay.Reader)
	}
	var session string
	var readOnly, creates, everyoneCreates, makesRoles bool
	wrong, right := map[string][]candidate{}, map[string][]candidate{}
	err := p.begin(ctx, "read write")
	if standby := (*pgconn.PgError)(nil); errors.As(err, &standby) && standby.Code == featureNotSupported {
		// What a standby says to that.
		if access != patchbay.Reader {
			return patchbay.Errorf(patchbay.RightsMissing, "%s may not write: %s is a standby", p.login.Username, p.settings.Address()).
				WithFix("register the primary, not a standby")
		}
		if _, err = p.conn.Exec(ctx, "rollback"); err == nil {
			err = p.begin(ctx, "read only")
		}
	}
	if err != nil {
		return p.error(ctx, err)
	}
	b := &pgx.Batch{}
	b.Queue(probeQuery).QueryRow(func(row pgx.Row) error {
		return row.Scan(&session, &readOnly, &creates, &everyoneCreates, &makesRoles)
	})
	b.Queue(candidateQuery, privileges, wanted, maxTries).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var name string
			var differs bool
			var c candidate
			err := rows.Scan(&name, &differs, &c.id, &c.name, &c.has)
			if differs {
				wrong[name] = append(wrong[name], c)
			} else {
				right[name] = append(right[name], c)
			}
			return err
		})
	})
	b.Queue("savepoint probe")
	if err := p.conn.SendBatch(ctx, b).Close(); err != nil {
		return p.error(ctx, err)
	}
	if session != p.login.Username {
		return patchbay.Errorf(patchbay.LoginRefused, "%s lets %s in as somebody else", p.settings.Address(), p.login.Username).
			WithFix("look at the user name map in pg_ident.conf")
	}
	if readOnly && access != patchbay.Reader {
		return p.readOnly(ctx)
	}
	for i, name := range privileges {
		if err := p.onTable(ctx, name, wanted[i], wrong[name], right[name]); err != nil {
			return err
		}
	}
	// A schema of its own, because PUBLIC may create in others.
	name := "pb_probe_" + strings.ToLower(rand.Text()[:12])
	create := trial{what: "CREATE SCHEMA and TABLE", statement: "create schema " + name + "; create table " + name + ".t (n int)", wanted: access == patchbay.Owner, has: creates}
	if everyoneCreates && !create.wanted {
		p.notChecked("%s: PUBLIC may in this database, so that it is not seen what %s may by itself", create.what, p.login.Username)
	} else if err := p.once(ctx, create); err != nil {
		return err
	}
	if create.wanted && slices.Contains(p.result.Allowed, create.what) {
		var own bool
		err := p.conn.QueryRow(ctx, "select exists (select from pg_catalog.pg_class where oid = pg_catalog.to_regclass('"+name+".t') and relowner = session_user::pg_catalog.regrole)").Scan(&own)
		switch {
		case err != nil:
			return p.error(ctx, err)
		case own:
			return patchbay.Errorf(patchbay.RightsMissing, "what %s makes on %s would belong to it, not to the database's owner role", p.login.Username, p.settings.Address())
		}
	}
	if access == patchbay.Owner {
		if err := p.changes(ctx); err != nil {
			return err
		}
	}
	return p.once(ctx, trial{what: "CREATE ROLE", statement: "create role " + name, has: makesRoles})
}

// readOnly says why the login's sessions may not write, and what to do where that
// was set.
func (p *probe) readOnly(ctx context.Context) error {
	var source, database string
	err := p.conn.QueryRow(ctx, "select source, pg_catalog.current_database() from pg_catalog.pg_settings where name = 'default_transaction_read_only'").Scan(&source, &database)
	if err != nil {
		return p.error(ctx, err)
	}
	// Whoever mends it may be in a session that may not write either.
	where, end := "SYSTEM", "; SELECT pg_reload_conf()"
	switch source {
	case "database":
		where, end = "DATABASE "+ident(database), ""
	case "user":
		where, end = "ROLE "+ident(p.login.Username), ""
	case "database user":
		where, end = "ROLE "+ident(p.login.Username)+" IN DATABASE "+ident(database), ""
	case "global":
		where, end = "ROLE ALL", ""
	}
	return patchbay.Errorf(patchbay.RightsMissing, "%s may not write: default_transaction_read_only is on for it on %s", p.login.Username, p.settings.Address()).
		WithFix("SET default_transaction_read_only = off; ALTER %s SET default_transaction_read_only = off%s", where, end)
}

// onTable judges a right on tables: wrong are some on which the server says that the
// login has it otherwise than wanted, right some on which it says so.
func (p *probe) onTable(ctx context.Context, name string, wanted bool, wrong, right []candidate) error {
	what := name + " on a table"
	if len(wrong) > 0 {
		if wanted {
			return p.missing(name + " on " + driver.Quoted(wrong[0].name))
		}
		return p.excess(name + " on " + driver.Quoted(wrong[0].name))
	}
	var met []string
	for _, table := range right {
		t := trial{what: what, statement: fmt.Sprintf(tries[name], table.name), wanted: wanted, has: table.has}
		found, why, err := p.one(ctx, t)
		if found || err != nil {
			return err
		}
		if why == lockTimeout {
			met = append(met, driver.Quoted(table.name)+" is locked"+p.holders(ctx, table, name))
			continue
		}
		met = append(met, "on "+driver.Quoted(table.name)+" something else "+why.met())
	}
	if len(met) > 0 {
		p.notChecked("%s: %s", what, strings.Join(met, "; "))
	}
	return nil // no table yet
}

// holders names who keeps others from a table, as far as an application is told.
func (p *probe) holders(ctx context.Context, table candidate, name string) string {
	modes := []string{"AccessExclusiveLock"}
	if name != "SELECT" {
		modes = append(modes, "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock")
	}
	var who string
	if _, err := p.conn.Exec(ctx, "rollback to savepoint probe"); err != nil {
		return ""
	}
	err := p.conn.QueryRow(ctx, `select coalesce(pg_catalog.string_agg(distinct case when l.pid is null then 'a prepared transaction'
			else pg_catalog.concat('process ', l.pid, ' of ' || a.usename) end, ', '), '')
		from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid
		where l.locktype = 'relation' and l.relation = $1 and l.mode = any($2) and l.pid is distinct from pg_catalog.pg_backend_pid()`, table.id, modes).Scan(&who)
	if err != nil || who == "" {
		return ""
	}
	return " by " + driver.Quoted(who)
}

func (p *probe) missing(what string) error {
	return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s: %s", p.login.Username, p.settings.Address(), what)
}

func (p *probe) excess(what string) error {
	return patchbay.Errorf(patchbay.RightsExcess, "%s may do more than it should on %s: %s", p.login.Username, p.settings.Address(), what)
}

// trial is a statement that shows a right.
type trial struct {
	what      string
	statement string
	wanted    bool
	has       bool // the right that it takes, as the server says
}

// sqlState is what a trial met; "" when it went through.
type sqlState string

func (s sqlState) met() string {
	if s == "" {
		return "makes something else of it"
	}
	return "stops it: " + driver.SQLState(string(s))
}

// once judges a right that there is one way to try.
func (p *probe) once(ctx context.Context, t trial) error {
	switch {
	case t.wanted && !t.has:
		return p.missing(t.what)
	case !t.wanted && t.has:
		return p.excess(t.what)
	}
	found, why, err := p.one(ctx, t)
	if err == nil && !found {
		p.notChecked("%s: something else in the database %s", t.what, why.met())
	}
	return err
}

// one tries a statement, after undoing the one before. It is found out when what
// happens is what the server says of the right; else something else got in
// between: why.
func (p *probe) one(ctx context.Context, t trial) (found bool, why sqlState, err error) {
	_, err = p.conn.PgConn().Exec(ctx, "rollback to savepoint probe; "+t.statement).ReadAll()
	var pg *pgconn.PgError
	switch {
	case err == nil && t.has:
		p.allowed(t.what)
		return true, "", nil
	case err == nil:
		return false, "", nil
	case !errors.As(err, &pg), p.conn.IsClosed(), ctx.Err() != nil:
		return false, "", p.error(ctx, err)
	case pg.Code == insufficientPrivilege && !t.has:
		p.refused(t.what)
		return true, "", nil
	}
	return false, sqlState(pg.Code), nil
}

// error says what err means when the application met it, in our words alone: who
// may try a login need not be who administers the server.
func (p *probe) error(ctx context.Context, err error) error {
	if p.conn != nil {
		if e := pgconnect.Misbehaved(p.conn); e != nil {
			return e // the library forgets it
		}
	}
	if e := p.settings.Lost(ctx, err); e != nil {
		return e
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		return e
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return p.settings.Unreachable(err)
	}
	text := driver.SQLState(pg.Code)
	switch pg.Code {
	case invalidPassword, invalidAuthorization:
		return patchbay.Errorf(patchbay.LoginRefused, "%s does not let %s in: %s", p.settings.Address(), p.login.Username, text).
			WithFix("%s", pgconnect.HBAFix(pg, p.login.Username, ""))
	case invalidCatalogName:
		return patchbay.Errorf(patchbay.ChildMissing, "there is no such database on %s", p.settings.Address())
	case insufficientPrivilege:
		return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s", p.login.Username, p.settings.Address())
	}
	return p.settings.Refusal(pg, text)
}
