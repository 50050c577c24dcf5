package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/postgres"
)

// hostileNames are databases that PostgreSQL lets somebody make.
var hostileNames = []string{
	`or"ders'; drop role postgres; --`, "line\nbreak\ttab", "Größe 名前 %s $1", `back\slash ${HOME} {}`, strings.Repeat("x", 63),
}

// fixture is what an application's database has before we come.
var fixture = []string{
	`revoke create on schema public from public`,
	`grant create on schema public to admin`,
	`set role admin`,
	`create table items (id serial primary key, name text not null, made timestamptz default now())`,
	`insert into items (name) values ('one'), ('two')`,
	`create view names as select name from items`,
	`create materialized view counted as select count(*) from items`,
	`create schema app authorization app_owner`,
	`set role app_owner`,
	`create table app.parted (id int, at date) partition by range (at)`,
	`create table app."odd ""name'" (id int generated always as identity, "c o l" text)`,
	`create function app.twice(int) returns int language sql as 'select $1 * 2'`,
	`create procedure app.work() language sql as 'select 1'`,
	`revoke execute on function app.twice(int) from public`,
	`create type app.mood as enum ('fine')`,
	`create domain app.score as int`,
}

func exec(t testing.TB, s *testenv.PostgresServer, database string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Exec(ctx, database, statements...); err != nil {
		t.Fatal(err)
	}
}

// This package's tests are two packages, with one choice of versions.
var some, one, turn, everyVersion = postgres.SomeVersions, postgres.OneVersion, postgres.Turn, postgres.EveryVersion

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// shared are servers that several tests use, one for each version; every test
// leaves its as it was.
var shared = map[int]*testenv.PostgresServer{}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range shared {
		if err := s.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// sharedServer is the one of that version, 0 for the system's.
func sharedServer(t testing.TB, version int) *testenv.PostgresServer {
	t.Helper()
	if s := shared[version]; s != nil {
		return s
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := testenv.StartPostgres(ctx, testenv.PostgresOptions{Version: version, TLS: version%2 == 1, Settings: map[string]string{"max_prepared_transactions": "5"}})
	if errors.Is(err, testenv.ErrNotInstalled) {
		// The other way to start one knows whether that is a failure.
		s = testenv.Postgres(t, testenv.PostgresOptions{Version: version})
	} else if err != nil {
		t.Fatal(err)
	}
	shared[version] = s
	furnish(t, s)
	return s
}

// server starts one for a test of its own.
func server(t testing.TB, o testenv.PostgresOptions) *testenv.PostgresServer {
	t.Helper()
	s := testenv.Postgres(t, o)
	furnish(t, s)
	return s
}

// furnish makes the databases orders, bills and private. They belong to a
// role admin, who may make roles but is no superuser.
func furnish(t testing.TB, s *testenv.PostgresServer) {
	t.Helper()
	exec(t, s, "postgres", `set log_statement = 'none'`, `set log_min_duration_statement = -1`, `create role app_owner`, `create role alien`, `create role somebody login`,
		`create role admin login createrole password '`+s.Password+`'`, `grant app_owner to admin`)
	for _, name := range []string{"orders", "bills", "private"} {
		database(t, s, name)
	}
	exec(t, s, "postgres", "revoke connect on database postgres from public", "grant connect on database postgres to admin")
	for _, name := range []string{"orders", "bills"} {
		exec(t, s, name, fixture...)
	}
}

func database(t testing.TB, s *testenv.PostgresServer, name string) {
	t.Helper()
	exec(t, s, "postgres", "create database "+quoted(name)+" owner admin", "revoke all on database "+quoted(name)+" from public",
		"grant create on database "+quoted(name)+" to app_owner")
}

// hostile makes the databases of hostile names, until the test ends.
func hostile(t testing.TB, s *testenv.PostgresServer) {
	t.Helper()
	for _, name := range hostileNames {
		database(t, s, name)
		t.Cleanup(func() { exec(t, s, "postgres", "drop database "+quoted(name)+" with (force)") })
	}
}

func config(s *testenv.PostgresServer) driver.Config {
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders",
		Endpoint: s.Addr(),
		Admin:    driver.Secrets{"username": patchbay.NewSecret(s.User), "password": patchbay.NewSecret(s.Password)},
		Dialer:   &net.Dialer{},
	}
}

// application signs in as an application does: with pgx and nothing of ours.
func application(ctx context.Context, s *testenv.PostgresServer, database string, c driver.Credential) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d sslmode=prefer", s.Host, s.Port))
	if err != nil {
		return nil, err
	}
	config.Database = database
	values := c.Values()
	config.User, config.Password = values["username"].Reveal(), values["password"].Reveal()
	conn, err := pgx.ConnectConfig(ctx, config)
	return conn, refusal(err)
}

// refusal marks what the server itself said no to.
func refusal(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && slices.Contains([]string{"28P01", "28000", "42501"}, pg.Code) {
		return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
	}
	return err
}

type session struct {
	conn  *pgx.Conn
	ended chan struct{}
	stop  context.CancelFunc
}

func (s *session) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) Close() {
	s.stop()
	<-s.ended
}

func openSession(s *testenv.PostgresServer) func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
	return func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
		conn, err := application(ctx, s, sub, c)
		if err != nil {
			return nil, err
		}
		listen, cancel := context.WithCancel(context.Background())
		open := &session{conn: conn, ended: make(chan struct{}), stop: cancel}
		go func() {
			defer close(open.ended)
			_, _ = conn.WaitForNotification(listen)
			_ = conn.Close(context.Background())
		}()
		return open, nil
	}
}

// action runs statements as the login; before them, prepare as the
// superuser.
func action(s *testenv.PostgresServer, name string, allowed []patchbay.Access, prepare []string, statements ...string) drivertest.Action {
	return drivertest.Action{Name: name, Allowed: allowed, Do: func(ctx context.Context, sub string, c driver.Credential) error {
		if err := s.Exec(ctx, sub, prepare...); err != nil {
			return err
		}
		conn, err := application(ctx, s, sub, c)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		for _, statement := range statements {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return refusal(fmt.Errorf("%s: %w", statement, err))
			}
		}
		return nil
	}}
}

var (
	all     = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers = []patchbay.Access{patchbay.Writer, patchbay.Owner}
	owners  = []patchbay.Access{patchbay.Owner}
)

func actions(s *testenv.PostgresServer) []drivertest.Action {
	fresh := []string{`drop table if exists app.later`, `drop schema if exists later cascade`, `set role app_owner`,
		`create table app.later (id serial, v text)`, `create schema later`, `create table later.t (id int)`,
		`create function later.f() returns int language sql as 'select 1'`, `revoke execute on function later.f() from public`}
	a := func(name string, allowed []patchbay.Access, statements ...string) drivertest.Action {
		return action(s, name, allowed, nil, statements...)
	}
	return []drivertest.Action{
		a("read", all, "select * from items", "select * from names", "select * from counted", `select * from app."odd ""name'"`, "select * from app.parted", "select last_value from items_id_seq"),
		action(s, "read what is made later", all, fresh, "select * from app.later", "select * from later.t"),
		action(s, "write what is made later", writers, fresh, "insert into app.later (v) values ('x')", "insert into later.t values (1)"),
		action(s, "call what is made later", writers, fresh, "select later.f()"),
		a("insert", writers, "insert into items (name) values ('three')"),
		a("insert with identity", writers, `insert into app."odd ""name'" ("c o l") values ('x')`),
		a("update", writers, "update items set name = name"),
		a("delete", writers, "delete from items where name = 'three'"),
		a("take from a sequence", writers, "select nextval('items_id_seq')"),
		a("set a sequence", owners, "select setval('items_id_seq', 1000)"),
		a("call a function", writers, "select app.twice(2)"),
		a("make a temporary table", writers, "create temporary table t (n int)"),
		a("truncate", owners, "truncate app.parted"),
		a("make a table", owners, "create table public.made (n int)", "drop table public.made"),
		a("make and change everything", owners,
			"create schema own", "create table own.t (id serial primary key, v text)", "alter table own.t add column w int", "create index on own.t (v)",
			"create view own.v as select * from own.t", "create function own.f() returns int language sql as 'select 1'", "create type own.e as enum ('a')",
			"insert into own.t (v) values ('a')", "drop schema own cascade"),
		a("drop somebody else's", nil, "drop table items"),
		a("make a role", nil, "create role mine"),
		a("make a database", nil, "create database mine"),
		a("set the system", nil, "alter system set work_mem = '1MB'"),
		a("read a file", nil, "select pg_read_file('/etc/hostname')"),
		a("run a program", nil, "copy items from program 'true'"),
		a("become the administrator", nil, "set role postgres"),
		a("become another owner", nil, "set role app_owner"),
		a("read passwords", nil, "select rolpassword from pg_authid"),
		{Name: "use another database", Do: func(ctx context.Context, _ string, c driver.Credential) error {
			conn, err := application(ctx, s, "private", c)
			if err == nil {
				_ = conn.Close(ctx)
			}
			return err
		}},
	}
}

// group is the name of a group role, looked up from outside.
func group(ctx context.Context, s *testenv.PostgresServer, access patchbay.Access, database string) (string, error) {
	conn, err := s.Connect(ctx, "postgres")
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	var name string
	err = conn.QueryRow(ctx, "select rolname from pg_roles where shobj_description(oid, 'pg_authid') = $1",
		fmt.Sprintf(`patchbay group {"access":%q,"database":%q}`, access, database)).Scan(&name)
	return name, err
}

func drifts(s *testenv.PostgresServer) []drivertest.Drift {
	const missing, excess = true, false
	drift := func(name string, access patchbay.Access, miss bool, statements ...string) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: miss, Excess: !miss, Make: func(ctx context.Context, r driver.LoginRequest) error {
			g, err := group(ctx, s, access, r.Sub)
			if err != nil {
				return err
			}
			for _, statement := range statements {
				statement = strings.NewReplacer("{login}", r.Name, "{group}", g).Replace(statement)
				if err := s.Exec(ctx, r.Sub, statement); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	list := []drivertest.Drift{
		drift("no login", patchbay.Writer, missing, "alter role {login} nologin"),
		drift("no inherit and no membership", patchbay.Writer, missing, "revoke {group} from {login}", "alter role {login} noinherit"),
		drift("expired", patchbay.Writer, missing, "alter role {login} valid until '2020-01-01'"),
		drift("connection limit", patchbay.Reader, missing, "alter role {login} connection limit 0"),
		drift("left its group", patchbay.Owner, missing, "revoke {group} from {login}"),
		drift("table revoked", patchbay.Writer, missing, "revoke update on items from {group}"),
		drift("schema revoked", patchbay.Reader, missing, "revoke usage on schema app from {group}"),
		drift("routine revoked", patchbay.Writer, missing, "revoke execute on function app.twice(int) from {group}"),
		drift("sequence revoked", patchbay.Writer, missing, "revoke all on all sequences in schema public from {group}"),
		drift("connect revoked", patchbay.Owner, missing, "revoke connect on database orders from {group}"),
		drift("future tables revoked", patchbay.Reader, missing, "alter default privileges for role app_owner revoke select on tables from {group}"),
		drift("does not work as the owner", patchbay.Owner, missing, "alter role {login} in database orders reset role"),
		drift("table by another owner after us", patchbay.Reader, missing, "drop table if exists alien",
			"create table alien (n int)", "alter table alien owner to alien"),
		drift("superuser", patchbay.Reader, excess, "alter role {login} superuser createdb createrole replication bypassrls"),
		drift("member of another role", patchbay.Reader, excess, "grant app_owner to {login}"),
		drift("member of a predefined role", patchbay.Writer, excess, "grant pg_read_all_settings to {login}"),
		drift("admin option", patchbay.Writer, excess, "grant {group} to {login} with admin option"),
		drift("table granted to the login", patchbay.Reader, excess, "grant insert on items to {login}"),
		drift("table granted with grant option", patchbay.Writer, excess, "grant select on items to {group} with grant option"),
		drift("table granted to the group", patchbay.Reader, excess, "grant delete, truncate on items, app.parted to {group}"),
		drift("column granted", patchbay.Reader, excess, "grant update (name, id) on items to {group}"),
		drift("schema granted", patchbay.Writer, excess, "grant create on schema public to {login}"),
		drift("database granted", patchbay.Writer, excess, "grant create on database orders to {group}"),
		drift("another database granted", patchbay.Writer, excess, "grant connect on database private to {login}"),
		drift("routine granted", patchbay.Reader, excess, "grant execute on function app.twice(int), pg_read_file(text) to {group}"),
		drift("type and language granted", patchbay.Writer, excess, "grant usage on type app.mood to {login}", "grant usage on language sql to {group}"),
		{Name: "large object by another owner after us, and granted", Access: patchbay.Reader, Missing: true, Excess: true, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return s.Exec(ctx, r.Sub, "select lo_unlink(oid) from pg_largeobject_metadata where oid = 4711", "select lo_create(4711)", "grant update on large object 4711 to "+r.Name)
		}},
		drift("tablespace granted", patchbay.Owner, excess, "grant create on tablespace pg_default to {login}"),
		drift("future objects granted", patchbay.Reader, excess, "alter default privileges for role app_owner grant insert on tables to {group}",
			"alter default privileges for role app_owner in schema app grant usage on sequences to {login}"),
		drift("works as another role", patchbay.Writer, excess, "alter role {login} set role = app_owner"),
		{Name: "owns a table", Access: patchbay.Writer, Missing: true, Excess: true, Make: func(ctx context.Context, r driver.LoginRequest) error {
			g, err := group(ctx, s, patchbay.Writer, r.Sub)
			if err != nil {
				return err
			}
			return s.Exec(ctx, r.Sub, "drop table if exists stray", "create table stray (n int)", "revoke all on stray from "+g, "alter table stray owner to "+r.Name)
		}},
		drift("the group may sign in", patchbay.Writer, excess, "alter role {group} login createdb"),
		drift("the group is a member", patchbay.Writer, excess, "grant app_owner to {group}"),
		{Name: "another password", Access: patchbay.Writer, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return s.Exec(ctx, r.Sub, "alter role "+r.Name+" password 'other'")
		}},
		{Name: "something in another database", Access: patchbay.Writer, Excess: true, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return s.Exec(ctx, "bills", "grant select on items to "+r.Name, "drop table if exists stray", "create table stray (n int)", "alter table stray owner to "+r.Name)
		}},
	}
	if s.Version >= 15 {
		list = append(list, drift("parameter granted", patchbay.Writer, excess, "grant set on parameter session_replication_role to {login}"))
	}
	if s.Version >= 16 {
		list = append(list, drift("may become its group", patchbay.Writer, excess, "grant {group} to {login} with set true"),
			drift("does not inherit", patchbay.Writer, missing, "grant {group} to {login} with inherit false"))
	}
	return list
}

func harness(s *testenv.PostgresServer) drivertest.TargetHarness {
	return drivertest.TargetHarness{
		Driver:      postgres.Driver(),
		Config:      config(s),
		Subs:        []string{"orders", "bills"},
		HostileSubs: hostileNames,
		MissingSub:  "nowhere",
		SignIn: func(ctx context.Context, sub string, c driver.Credential) error {
			conn, err := application(ctx, s, sub, c)
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		},
		OpenSession: openSession(s),
		Actions:     actions(s),
		Drifts:      drifts(s),
		Wrong: func(c driver.Credential) map[string]driver.Credential {
			with := func(username, password string) driver.Credential {
				return driver.Credential{Public: map[string]string{"username": username}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
			}
			return map[string]driver.Credential{
				"password":    with(c.Public["username"], "wrong-password-0123456789"),
				"no password": with(c.Public["username"], ""),
				"user":        with("pb_nobody_g1", c.Secret["password"].Reveal()),
			}
		},
		Foreign: func(t testing.TB, _, name string) func() error {
			exec(t, s, "postgres", "create role "+name+" login password 'theirs' createdb")
			t.Cleanup(func() { exec(t, s, "postgres", "drop role "+name) })
			return func() error {
				conn, err := s.Connect(context.Background(), "postgres")
				if err != nil {
					return err
				}
				defer func() { _ = conn.Close(context.Background()) }()
				var whole bool
				err = conn.QueryRow(context.Background(), `select rolcanlogin and rolcreatedb and shobj_description(oid, 'pg_authid') is null
					and not exists (select from pg_auth_members where member = r.oid and roleid <> r.oid) from pg_roles r where rolname = $1`, name).Scan(&whole)
				if err == nil && !whole {
					err = errors.New("it was changed")
				}
				return err
			}
		},
	}
}

func TestTarget(t *testing.T) {
	for i, version := range one(t, 13, 14, 15, 16, 17, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			hostile(t, s)
			h := harness(s)
			h.Product, h.Release = "PostgreSQL", 1
			h.Quick = i > 0 // one of them is cut with every access
			drivertest.Target(t, h)
			tidy(t, s)
			nothingLeft(t, s)
		})
	}
}

// An administrator of a hosted database is no superuser. Roles are another
// matter since version 16.
func TestTargetWithoutSuperuser(t *testing.T) {
	for _, version := range one(t, 18, 15) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			hostile(t, s)
			h := harness(s)
			h.Quick = true
			h.Config.Admin["username"] = patchbay.NewSecret("admin")
			mendable := []string{"no login", "expired", "table revoked", "schema revoked", "routine revoked", "sequence revoked",
				"connect revoked", "future tables revoked", "does not work as the owner", "table granted to the login", "table granted to the group",
				"column granted", "another password", "owns a table", "future objects granted", "something in another database"}
			h.Drifts = slices.DeleteFunc(h.Drifts, func(d drivertest.Drift) bool { return !slices.Contains(mendable, d.Name) })
			drivertest.Target(t, h)
			tidy(t, s)
			nothingLeft(t, s)
		})
	}
}

// tidy removes what the harness and its logins made.
func tidy(t *testing.T, s *testenv.PostgresServer) {
	t.Helper()
	for _, name := range []string{"orders", "bills"} {
		exec(t, s, name, "drop table if exists alien, stray, app.later", "drop schema if exists later cascade",
			"select lo_unlink(oid) from pg_largeobject_metadata")
		// With what it owned, the owner role goes when the next login does.
		target := openTarget(t, config(s))
		remove(t, target, login(t, target, name, patchbay.Reader))
	}
}

// nothingLeft fails when a role of ours is still there, but for owner roles
// that own something.
func nothingLeft(t *testing.T, s *testenv.PostgresServer) {
	t.Helper()
	conn, err := s.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), `select rolname from pg_roles r where rolname like 'pb\_%' and not (rolname like 'pb\_owner\_%'
		and exists (select from pg_shdepend d where d.refobjid = r.oid and d.deptype = 'o' and d.classid <> 'pg_default_acl'::regclass))`)
	if err != nil {
		t.Fatal(err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
