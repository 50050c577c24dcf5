package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// probeLimit bounds a probe whose caller sets no deadline.
const probeLimit = 30 * time.Second

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = []string{t.settings.address()}
	return r, nil
}

// tryLogin is the driver's Probe.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	settings, err := parsePlace(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	settings.tls = settings.tls.ReadBy(r.Reading)
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
	config, err := settings.connect(r.Sub, l, r.Dialer)
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
	settings *settings
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

// candidateQuery finds tables to try rights on, outside of extensions: for
// each right a table on which the login lacks it, if there is one (there the
// trial shows what is missing), else one on which it has it. Of a right that
// it must not have, one that it has and PUBLIC has not, else one that it lacks.
const candidateQuery = `
with tables as (
	select pg_catalog.format('%I.%I', n.nspname, c.relname) as name, c.oid, c.relacl
	from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
		and not exists (select from pg_catalog.pg_depend d where d.deptype = 'e'
			and (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid or d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and d.objid = n.oid))
)
select w.priv, coalesce(
	(select name from tables t where pg_catalog.has_table_privilege(t.oid, w.priv) <> w.wanted
		and not exists (select from pg_catalog.aclexplode(t.relacl) a where t.relacl is not null and a.grantee = 0 and a.privilege_type = w.priv) limit 1),
	(select name from tables t where pg_catalog.has_table_privilege(t.oid, w.priv) = w.wanted limit 1), '')
from unnest($1::text[], $2::bool[]) w(priv, wanted)`

// tries are statements that show a right on a table without doing anything:
// EXPLAIN checks the rights of a statement and runs no trigger, default or
// sequence.
var tries = map[string]string{
	"SELECT": "select from %s limit 1",
	"INSERT": "explain insert into %s default values",
	"DELETE": "explain delete from %s",
}

// try does what the access allows and what it does not, in a transaction that
// is rolled back.
func (p *probe) try(ctx context.Context, access patchbay.Access) error {
	var wanted []bool
	privileges := []string{"SELECT", "INSERT", "DELETE"}
	for _, name := range privileges {
		wanted = append(wanted, name == "SELECT" || access != patchbay.Reader)
	}
	var session, current, readOnly string
	tables := map[string]string{}
	b := &pgx.Batch{}
	b.Queue("begin")
	b.Queue("select set_config('search_path', '', true), session_user::text, current_user::text, pg_catalog.current_setting('transaction_read_only')").QueryRow(func(row pgx.Row) error {
		var path string
		return row.Scan(&path, &session, &current, &readOnly)
	})
	b.Queue(candidateQuery, privileges, wanted).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var name, table string
			err := rows.Scan(&name, &table)
			tables[name] = table
			return err
		})
	})
	b.Queue("savepoint probe")
	if err := p.conn.SendBatch(ctx, b).Close(); err != nil {
		return p.error(ctx, err)
	}
	if session != p.login.Username {
		return patchbay.Errorf(patchbay.LoginRefused, "%s lets %s in as somebody else", p.settings.address(), p.login.Username).
			WithFix("look at the user name map in pg_ident.conf")
	}
	if readOnly == "on" && access != patchbay.Reader {
		return patchbay.Errorf(patchbay.RightsMissing, "%s may not write: %s is read-only", p.login.Username, p.settings.address()).
			WithFix("register the primary, not a standby, or: ALTER DATABASE … SET default_transaction_read_only = off")
	}
	for i, name := range privileges {
		table := tables[name]
		if table == "" {
			continue // no table yet
		}
		if err := p.one(ctx, wanted[i], name+" on a table", fmt.Sprintf(tries[name], table)); err != nil {
			return err
		}
	}
	// A schema of its own, because PUBLIC may create in others.
	name := "pb_probe_" + strings.ToLower(rand.Text()[:12])
	create := "create schema " + name + "; create table " + name + ".t (n int)"
	if access == patchbay.Owner {
		// It divides by zero when the table is the login's own.
		create += "; select 1 / count(*) from pg_catalog.pg_class where oid = '" + name + ".t'::pg_catalog.regclass and relowner <> session_user::pg_catalog.regrole"
	}
	if err := p.one(ctx, access == patchbay.Owner, "CREATE SCHEMA and TABLE", create); err != nil {
		return err
	}
	return p.one(ctx, false, "CREATE ROLE", "create role "+name)
}

// one tries a statement and undoes it.
func (p *probe) one(ctx context.Context, wanted bool, what, statement string) error {
	_, err := p.conn.PgConn().Exec(ctx, "rollback to savepoint probe; "+statement).ReadAll()
	var pg *pgconn.PgError
	switch {
	case err == nil && wanted:
		p.allowed(what)
		return nil
	case err == nil:
		return patchbay.Errorf(patchbay.RightsExcess, "%s may do more than it should on %s: %s", p.login.Username, p.settings.address(), what)
	case errors.As(err, &pg) && pg.Code == insufficientPrivilege && !wanted:
		p.refused(what)
		return nil
	case errors.As(err, &pg) && pg.Code == insufficientPrivilege:
		return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s: %s", p.login.Username, p.settings.address(), what)
	case errors.As(err, &pg) && pg.Code == divisionByZero:
		return patchbay.Errorf(patchbay.RightsMissing, "what %s makes on %s would belong to it, not to the database's owner role", p.login.Username, p.settings.address())
	}
	return p.error(ctx, err)
}

// error says what err means when the application met it, in our words alone: who
// may try a login need not be who administers the server.
func (p *probe) error(ctx context.Context, err error) error {
	if e := p.settings.lost(ctx, err); e != nil {
		return e
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		return e
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return p.settings.unreachable(err)
	}
	text := driver.SQLState(pg.Code)
	switch pg.Code {
	case invalidPassword, invalidAuthorization:
		return patchbay.Errorf(patchbay.LoginRefused, "%s does not let %s in: %s", p.settings.address(), p.login.Username, text).
			WithFix("%s", hbaFix(pg, p.login.Username, ""))
	case invalidCatalogName:
		return patchbay.Errorf(patchbay.ChildMissing, "there is no such database on %s", p.settings.address())
	case insufficientPrivilege:
		return patchbay.Errorf(patchbay.RightsMissing, "%s lacks a right on %s", p.login.Username, p.settings.address())
	}
	return p.settings.refusal(pg, text)
}
