package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	mysqltarget "patchbay.dev/patchbay/targets/mysql"
)

// hostileNames are databases that MariaDB lets somebody make.
var hostileNames = []string{
	"or`ders'; drop user root; --", "line\nbreak\ttab", "Größe 名前 %s $1", `back\slash\% ${HOME} {}`, `"`, strings.Repeat("x", 64), "per%cent_under", "MiXed",
}

// shared is a server that several tests use; every test leaves it as it was.
var shared *testenv.MariaDBServer

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func sharedServer(t testing.TB) *testenv.MariaDBServer {
	t.Helper()
	if shared != nil {
		return shared
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := testenv.StartMariaDB(ctx, true, "--event-scheduler=on")
	if errors.Is(err, testenv.ErrNotInstalled) {
		// The other way to start one knows whether that is a failure.
		s = testenv.MariaDB(t, true)
	} else if err != nil {
		t.Fatal(err)
	}
	shared = s
	furnish(t, s)
	return s
}

// rights are what docs/security.md asks for of an administrator who is no superuser.
func rights(databases ...string) []string {
	all := []string{"grant create user, process, connection admin on *.* to admin@'127.0.0.1'", "grant select on mysql.* to admin@'127.0.0.1'", "grant all privileges on patchbay.* to admin@'127.0.0.1' with grant option"}
	for _, name := range databases {
		all = append(all, "grant all privileges on "+pattern(name)+".* to admin@'127.0.0.1' with grant option")
	}
	return all
}

func quoted(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func pattern(name string) string {
	return quoted(strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(name))
}

// furnish makes the databases shop, bills and private, and an administrator of them who
// is no superuser.
func furnish(t testing.TB, s *testenv.MariaDBServer) {
	t.Helper()
	run(t, s, "create user admin@'127.0.0.1' identified by '"+s.Password+"'")
	for _, name := range []string{"shop", "b_lls", "private"} {
		run(t, s, "create database if not exists "+name, "create table "+name+".items (id int auto_increment primary key, name text)", "insert into "+name+".items (name) values ('one')",
			"create view "+name+".names as select name from "+name+".items", "create procedure "+name+".work() sql security invoker select 1",
			"create function "+name+".twice(n int) returns int deterministic return 2 * n")
	}
	run(t, s, "create database bxlls", "create table bxlls.items (id int)")
	run(t, s, rights("shop", "b_lls", "private")...)
}

func run(t testing.TB, s *testenv.MariaDBServer, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Exec(ctx, statements...); err != nil {
		t.Fatal(err)
	}
}

func config(s *testenv.MariaDBServer, admin string) driver.Config {
	return driver.Config{
		ID:         "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforMySQL/flexibleServers/orders",
		Endpoint:   s.Addr(),
		Properties: []byte(`{"sslmode":"prefer"}`),
		Admin:      driver.Secrets{"username": patchbay.NewSecret(admin), "password": patchbay.NewSecret(s.Password)},
		Dialer:     &net.Dialer{},
	}
}

// application signs in as an application does: with the usual library and nothing of ours.
func application(ctx context.Context, s *testenv.MariaDBServer, database string, c driver.Credential) (*sql.Conn, func(), error) {
	values := c.Values()
	db, err := s.Open(values["username"].Reveal(), values["password"].Reveal(), database)
	if err != nil {
		return nil, nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, nil, refusal(err)
	}
	return conn, func() { _ = conn.Close(); _ = db.Close() }, nil
}

// refusal marks what the server itself said no to.
func refusal(err error) error {
	var said *mysql.MySQLError
	if errors.As(err, &said) && slices.Contains([]uint16{1044, 1045, 1142, 1143, 1227, 1370, 1698, 4151, 1130}, said.Number) {
		return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
	}
	return err
}

type session struct {
	end   func()
	ended chan struct{}
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
	s.end()
	<-s.ended
}

// openSession stays in a statement that takes long.
func openSession(s *testenv.MariaDBServer) func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
	return func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
		conn, done, err := application(ctx, s, sub, c)
		if err != nil {
			return nil, err
		}
		asking, cancel := context.WithCancel(context.Background())
		open := &session{ended: make(chan struct{}), end: cancel}
		go func() {
			defer close(open.ended)
			_, _ = conn.ExecContext(asking, "select sleep(300)")
			done()
		}()
		return open, nil
	}
}

func action(s *testenv.MariaDBServer, name string, allowed []patchbay.Access, statements ...string) drivertest.Action {
	return drivertest.Action{Name: name, Allowed: allowed, Do: func(ctx context.Context, sub string, c driver.Credential) error {
		conn, done, err := application(ctx, s, sub, c)
		if err != nil {
			return err
		}
		defer done()
		for _, statement := range statements {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
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

func actions(s *testenv.MariaDBServer) []drivertest.Action {
	a := func(name string, allowed []patchbay.Access, statements ...string) drivertest.Action {
		return action(s, name, allowed, statements...)
	}
	return []drivertest.Action{
		a("read", all, "select * from items", "select * from names", "show create view names"),
		a("insert", writers, "insert into items (name) values ('two')"),
		a("update", writers, "update items set name = name"),
		a("delete", writers, "delete from items where name = 'two'"),
		a("call", writers, "call work()", "do twice(2)"),
		a("make a temporary table", writers, "create temporary table t (n int)", "insert into t values (1)"),
		a("truncate", owners, "create table emptied (n int)", "truncate emptied", "drop table emptied"),
		a("lock tables", owners, "lock tables items write", "unlock tables"),
		a("make and change everything", owners, "create table made (id int primary key, v text)", "alter table made add column w int", "create index i on made (w)",
			"create view made_v as select * from made", "create procedure made_p() select 1", "create function made_f() returns int deterministic return 1",
			"create trigger made_t before insert on made for each row set new.w = 1", "create event made_e on schedule every 1 year do select 1",
			"insert into made (id) values (1)", "drop event made_e", "drop function made_f", "drop procedure made_p", "drop view made_v", "drop table made"),
		a("make a user", nil, "create user mine"),
		a("make a role", nil, "create role mine"),
		a("make a database", nil, "create database mine"),
		a("pass its rights on", nil, "grant select on items to app@'127.0.0.1'"),
		a("set a global variable", nil, "set global max_connections = 10"),
		a("read a file", nil, "load data infile '/etc/hostname' into table items (name)"),
		a("write a file", nil, "select * from items into outfile '/tmp/patchbay-mysql-out'"),
		a("read passwords", nil, "select * from mysql.global_priv"),
		a("read the marks", nil, "select * from patchbay.logins"),
		a("write the marks", nil, "delete from patchbay.logins"),
		a("read another database", nil, "select * from private.items"),
		a("use another database", nil, "use private"),
		a("read a database with a similar name", nil, "select * from bxlls.items"),
		a("make something run as somebody else", nil, "create definer = 'keeper'@'127.0.0.1' procedure stolen() select 1"),
	}
}

func drifts(s *testenv.MariaDBServer) []drivertest.Drift {
	type which struct{ missing, excess bool }
	missing, excess, neither := which{missing: true}, which{excess: true}, which{}
	drift := func(name string, access patchbay.Access, w which, statements ...string) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: w.missing, Excess: w.excess, Make: func(ctx context.Context, r driver.LoginRequest) error {
			for _, statement := range statements {
				if err := s.Exec(ctx, strings.NewReplacer("{login}", "'"+r.Name+"'@'%'", "{name}", r.Name).Replace(statement)); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	return []drivertest.Drift{
		drift("locked", patchbay.Writer, missing, "alter user {login} account lock"),
		drift("expired", patchbay.Writer, missing, "alter user {login} password expire"),
		drift("another password", patchbay.Writer, neither, "set password for {login} = password('other')"),
		drift("another plugin", patchbay.Reader, missing, "alter user {login} identified via unix_socket"),
		drift("another way to sign in besides", patchbay.Reader, missing, "alter user {login} identified via mysql_native_password using '*9B500343BC52E2911172EB52AE5CF4847604C6E5' or unix_socket"),
		drift("a certificate", patchbay.Reader, missing, "alter user {login} require x509"),
		drift("select revoked", patchbay.Reader, missing, "revoke select on shop.* from {login}"),
		drift("the server granted", patchbay.Reader, excess, "grant super, process on *.* to {login}"),
		drift("grant option", patchbay.Writer, excess, "grant select on shop.* to {login} with grant option"),
		drift("a right granted", patchbay.Reader, excess, "grant delete on shop.* to {login}"),
		drift("a table granted", patchbay.Reader, excess, "grant insert on shop.items to {login}"),
		drift("a column granted", patchbay.Reader, excess, "grant update (name) on shop.items to {login}"),
		drift("a routine granted", patchbay.Reader, excess, "grant execute on function shop.twice to {login}"),
		drift("another database granted", patchbay.Writer, excess, "grant select on private.* to {login}"),
		drift("a pattern granted", patchbay.Writer, excess, "grant select on `b_lls`.* to {login}"),
		drift("a role granted", patchbay.Writer, excess, "create or replace role strangers", "grant strangers to {login}"),
		drift("a role with admin option, by default", patchbay.Writer, which{true, true}, "create or replace role strangers", "grant strangers to {login} with admin option", "set default role strangers for {login}"),
		drift("a proxy granted", patchbay.Writer, excess, "grant proxy on keeper@'127.0.0.1' to {login}"),
		drift("a mark's use granted", patchbay.Writer, excess, "grant select on patchbay.logins to {login}"),
	}
}

// wrong are credentials that must be refused.
func wrong(c driver.Credential) map[string]driver.Credential {
	password := c.Secret["password"].Reveal()
	with := func(username, password string) driver.Credential {
		return driver.Credential{Public: map[string]string{"username": username}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
	}
	return map[string]driver.Credential{
		"another password":   with(c.Public["username"], "0"+password[1:]), // a letter is what it begins with
		"a longer one":       with(c.Public["username"], password+"x"),
		"another name":       with("admin", password),
		"a name in capitals": with(strings.ToUpper(c.Public["username"]), password),
	}
}

// foreign makes an account of a login's name that is not ours.
func foreign(s *testenv.MariaDBServer) func(t testing.TB, sub, name string) func() error {
	return func(t testing.TB, sub, name string) func() error {
		who := "'" + name + "'@'%'"
		run(t, s, "create user "+who+" identified by 'theirs'", "grant select on "+pattern(sub)+".* to "+who)
		t.Cleanup(func() { run(t, s, "drop user "+who) })
		before := grants(t, s, who)
		return func() error {
			if after := grants(t, s, who); after != before {
				return fmt.Errorf("it was\n%s\nand is\n%s", before, after)
			}
			return nil
		}
	}
}

// grants is what the server says of an account.
func grants(t testing.TB, s *testenv.MariaDBServer, who string) string {
	t.Helper()
	return strings.Join(list(t, s, "show grants for "+who), "\n")
}

// list is the first column of what a statement gives, past the driver.
func list(t testing.TB, s *testenv.MariaDBServer, statement string) []string {
	t.Helper()
	db, err := s.Open(s.Super, s.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(context.Background(), statement)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// nothingLeft fails when an account or a mark of ours is still there.
func nothingLeft(t testing.TB, s *testenv.MariaDBServer) {
	t.Helper()
	if left := list(t, s, `select concat(User, '@', Host) from mysql.global_priv where User like 'pb\\_%'`); len(left) > 0 {
		t.Errorf("accounts are left: %q", left)
	}
	if len(list(t, s, "select 1 from information_schema.tables where table_schema = 'patchbay'")) > 0 {
		if left := list(t, s, "select concat(user, '@', host, ' ', kind) from patchbay.logins"); len(left) > 0 {
			t.Errorf("marks are left: %q", left)
		}
	}
}

func TestTarget(t *testing.T) {
	s := sharedServer(t)
	for _, name := range hostileNames {
		run(t, s, "create database "+quoted(name))
		t.Cleanup(func() { run(t, s, "drop database "+quoted(name)) })
	}
	run(t, s, rights(hostileNames...)...)
	t.Cleanup(func() { nothingLeft(t, s) })
	drivertest.Target(t, drivertest.TargetHarness{
		Driver:  mysqltarget.Driver(),
		Product: "MariaDB", Release: 2, Config: config(s, "admin"),
		Subs: []string{"shop", "b_lls"}, HostileSubs: hostileNames, MissingSub: "nosuch",
		SignIn: func(ctx context.Context, sub string, c driver.Credential) error {
			_, done, err := application(ctx, s, sub, c)
			if err == nil {
				done()
			}
			return err
		},
		OpenSession: openSession(s), Actions: actions(s), Wrong: wrong, Foreign: foreign(s), Drifts: drifts(s),
	})
}
