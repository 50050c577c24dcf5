package sqlserver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/sqlserver"
)

// hostileNames are databases that somebody may make.
var hostileNames = []string{
	"or]ders'; drop login sa; --", "line\nbreak\ttab", "Größe 名前 %s $1", `back\slash ${HOME} {}`, `"`, "[[]]", strings.Repeat("x", 123), "MiXed",
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

func login(t *testing.T, c driver.Credential) driver.UserPassword {
	t.Helper()
	l, err := driver.Secrets(c.Values()).UserPassword()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// openSession stays in a statement that takes long.
func (w *world) openSession(t *testing.T) func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
	return func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
		conn, done, err := w.as(ctx, login(t, c), sub)
		if err != nil {
			return nil, err
		}
		asking, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		open := &session{ended: make(chan struct{}), end: cancel}
		go func() {
			defer close(open.ended)
			_, _ = conn.ExecContext(asking, "waitfor delay '00:01:00'")
			done()
		}()
		return open, nil
	}
}

var (
	all     = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers = []patchbay.Access{patchbay.Writer, patchbay.Owner}
	owners  = []patchbay.Access{patchbay.Owner}
)

func (w *world) actions(t *testing.T) []drivertest.Action {
	a := func(name string, allowed []patchbay.Access, statements ...string) drivertest.Action {
		return drivertest.Action{Name: name, Allowed: allowed, Do: func(ctx context.Context, sub string, c driver.Credential) error {
			l := login(t, c)
			conn, done, err := w.as(ctx, l, sub)
			if err != nil {
				return err
			}
			defer done()
			for _, statement := range statements {
				if _, err := conn.ExecContext(ctx, strings.ReplaceAll(statement, "{login}", quoted(l.Username))); err != nil {
					return refusal(fmt.Errorf("%s: %w", statement, err))
				}
			}
			return nil
		}}
	}
	actions := []drivertest.Action{
		a("read", all, "select * from dbo.items", "select * from dbo.names"),
		a("insert", writers, "insert into dbo.items (name) values (N'two')"),
		a("update", writers, "update dbo.items set name = name"),
		a("delete", writers, "delete from dbo.items where name = N'two'"),
		a("call", writers, "exec dbo.work"),
		a("make and change everything", owners, "create table dbo.made (id int primary key)", "alter table dbo.made add w int", "create view dbo.made_v as select id from dbo.made",
			"create procedure dbo.made_p as select 1 as one", "create function dbo.made_f() returns int as begin return 1 end", "create type dbo.made_t from int", "create synonym dbo.made_s for dbo.items",
			"create trigger dbo.made_r on dbo.made after insert as set nocount on", "insert into dbo.made (id) values (1)", "exec dbo.made_p",
			"drop trigger dbo.made_r", "drop synonym dbo.made_s", "drop type dbo.made_t", "drop function dbo.made_f", "drop procedure dbo.made_p", "drop view dbo.made_v", "drop table dbo.made"),
		a("make a schema, and leave it behind", owners, "create schema {login}", "create table {login}.things (id int)"),
		a("make a user", nil, "create user mine without login"),
		a("make a role", nil, "create role mine"),
		a("become a db_owner", nil, "alter role db_owner add member {login}"),
		a("become somebody else", nil, "execute as user = N'dbo'"),
		a("pass its rights on", nil, "grant select on schema::dbo to public"),
		a("run something when an administrator changes something", nil, "create trigger caught on database for create_table as set nocount on"),
		a("alter the database", nil, "alter database current set read_only"),
		a("end another session", nil, "kill 51"),
		a("read another database", nil, "select * from "+quoted(w.yours)+".dbo.items"),
	}
	if !w.azure {
		actions = append(actions, a("make a login", nil, "create login mine with password = N'Aa1-mine-mine'"),
			a("make a database", nil, "create database mine"), a("back the database up", nil, "backup database "+quoted(w.mine)+" to disk = N'nul'"))
	}
	return actions
}

// password is the statement that gives a login another one.
func (w *world) password(to string) string {
	if w.contained || w.azure {
		return "alter user {login} with password = N'" + to + "'"
	}
	return "alter login {login} with password = N'" + to + "'"
}

func (w *world) drifts() []drivertest.Drift {
	type which struct{ missing, excess bool }
	missing, excess, both, neither := which{missing: true}, which{excess: true}, which{true, true}, which{}
	drift := func(name string, access patchbay.Access, is which, statements ...string) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: is.missing, Excess: is.excess, Make: func(ctx context.Context, r driver.LoginRequest) error {
			for _, statement := range statements {
				if err := w.exec(ctx, r.Sub, strings.ReplaceAll(statement, "{login}", quoted(r.Name))); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	drifts := []drivertest.Drift{
		drift("another password", patchbay.Writer, neither, w.password("Aa1-other-other")),
		drift("may not sign in", patchbay.Writer, both, "deny connect to {login}"),
		drift("select revoked", patchbay.Reader, missing, "revoke select from {login}"),
		drift("a right denied", patchbay.Writer, both, "deny insert to {login}"),
		drift("another right denied", patchbay.Reader, excess, "deny execute to {login}"),
		drift("a right granted", patchbay.Reader, excess, "grant delete to {login}"),
		drift("the whole database granted", patchbay.Reader, excess, "grant control to {login}"),
		drift("the right to pass one on", patchbay.Writer, which{true, true}, "grant select to {login} with grant option"),
		drift("a schema granted", patchbay.Reader, excess, "grant insert on schema::dbo to {login}"),
		drift("an object granted", patchbay.Reader, excess, "grant update on object::dbo.items to {login}"),
		drift("a column granted", patchbay.Reader, excess, "grant update on object::dbo.items(name) to {login}"),
		drift("a role's control granted", patchbay.Owner, excess, "grant control on role::strangers to {login}"),
		drift("a fixed role", patchbay.Writer, excess, "alter role db_ddladmin add member {login}"),
	}
	if !w.contained && !w.azure {
		drifts = append(drifts,
			drift("disabled", patchbay.Writer, missing, "alter login {login} disable"),
			drift("renamed", patchbay.Reader, missing, "alter login {login} with name = [pb_renamed]"))
	}
	return drifts
}

// wrong are credentials that must be refused.
func wrong(c driver.Credential) map[string]driver.Credential {
	password := c.Secret["password"].Reveal()
	with := func(username, password string) driver.Credential {
		return driver.Credential{Public: map[string]string{"username": username}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
	}
	return map[string]driver.Credential{
		"another password": with(c.Public["username"], "0"+password[1:]), // a letter is what it begins with
		"a longer one":     with(c.Public["username"], password+"x"),
		"another name":     with("patchbay_nobody", password),
	}
}

// foreign makes a login of that name that is not ours.
func (w *world) foreign(t testing.TB, sub, name string) func() error {
	who := quoted(name)
	if w.contained || w.azure {
		w.run(t, sub, "create user "+who+" with password = N'Aa1-theirs-theirs'", "grant select to "+who)
		t.Cleanup(func() { w.run(t, sub, "drop user "+who) })
	} else {
		w.run(t, sub, "create login "+who+" with password = N'Aa1-theirs-theirs'", "create user "+who+" for login "+who, "grant select to "+who)
		t.Cleanup(func() { w.run(t, sub, "drop user "+who, "drop login "+who) })
	}
	before := w.looks(t, name)
	return func() error {
		if after := w.looks(t, name); after != before {
			return fmt.Errorf("it was\n%s\nand is\n%s", before, after)
		}
		return nil
	}
}

func (w *world) suite(t *testing.T) {
	t.Helper()
	hostile := hostileNames
	if w.azure && w.model == nil { // which takes a minute for a database, and no such signs
		hostile = []string{"or]ders'; drop login sa; --", "Größe 名前"}
	}
	for _, name := range hostile {
		w.make(t, name)
	}
	w.run(t, w.mine, "create role strangers")
	t.Cleanup(func() {
		if left := w.looks(t, "pb_"); left != "" {
			t.Errorf("left behind: %s", left)
		}
	})
	drivertest.Target(t, drivertest.TargetHarness{
		Driver: sqlserver.Driver(), Product: w.product, Release: 1, Model: w.stands, Config: w.config(),
		Subs: []string{w.mine, "b]lls"}, HostileSubs: hostile, MissingSub: "nosuch",
		SignIn: func(ctx context.Context, sub string, c driver.Credential) error {
			_, done, err := w.as(ctx, login(t, c), sub)
			if err == nil {
				done()
			}
			return err
		},
		OpenSession: w.openSession(t), Actions: w.actions(t), Wrong: wrong, Foreign: w.foreign, Drifts: w.drifts(), Quick: w.contained,
	})
}

func TestTargetWithLoginsOfTheServer(t *testing.T) {
	modelled(t, withLogins, testenv.SQLServerOptions{}).suite(t)
}

func TestTargetWithContainedDatabases(t *testing.T) {
	modelled(t, contained, testenv.SQLServerOptions{}).suite(t)
}

func TestTargetOnAzure(t *testing.T) {
	modelled(t, azure, testenv.SQLServerOptions{}).suite(t)
}

// What the two above show of a model, these show of the product.
func TestRealServer(t *testing.T) { actual(t, false).suite(t) }

func TestRealServerWithContainedDatabases(t *testing.T) { actual(t, true).suite(t) }
