package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	mysqltarget "patchbay.dev/patchbay/targets/mysql"
)

func open(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	return drivertest.OpenTarget(t, mysqltarget.Driver(), c)
}

// mysqltargetDriver is the driver.
var mysqltargetDriver = mysqltarget.Driver()

var logins struct {
	sync.Mutex
	n int
}

// request is for a login that nobody has, with its credential, and removed when the test
// ends.
func request(t testing.TB, target drivertest.Opened, sub string, access patchbay.Access) driver.LoginRequest {
	t.Helper()
	logins.Lock()
	logins.n++
	uid := fmt.Sprintf("live%dx", logins.n)
	logins.Unlock()
	r := driver.LoginRequest{Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/x"}, Name: "pb_" + uid + "_g1", Sub: sub, Auth: patchbay.AuthSecret, Access: access}
	c, err := target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := target.RemoveLogin(ctx, r); err != nil && patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("clean up: %v", err)
		}
	})
	return r
}

func ensured(t testing.TB, target drivertest.Opened, sub string, access patchbay.Access) driver.LoginRequest {
	t.Helper()
	r := request(t, target, sub, access)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func remove(t testing.TB, target drivertest.Opened, r driver.LoginRequest) {
	t.Helper()
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// as runs statements as a login.
func as(t testing.TB, s *testenv.MariaDBServer, r driver.LoginRequest, statements ...string) error {
	t.Helper()
	return action(s, "", nil, statements...).Do(t.Context(), r.Sub, r.Credential)
}

func who(r driver.LoginRequest) string { return "'" + r.Name + "'@'%'" }

func accounts(t testing.TB, s *testenv.MariaDBServer, r driver.LoginRequest) []string {
	t.Helper()
	return list(t, s, "select concat(User, '@', Host) from mysql.global_priv where User = '"+r.Name+"' order by 1")
}

func mustBe(t testing.TB, err error, code patchbay.Code, words ...string) *patchbay.Error {
	t.Helper()
	e := patchbay.AsError(err)
	if e == nil || e.Code != code {
		t.Fatalf("%v, want %s", err, code)
	}
	for _, w := range words {
		if !strings.Contains(e.Message+" fix: "+e.Fix, w) {
			t.Errorf("%s fix: %s\ndoes not say %q", e.Message, e.Fix, w)
		}
	}
	return e
}

// fixed runs what an error advises as who may do everything, statement by statement.
func fixed(t testing.TB, s *testenv.MariaDBServer, e *patchbay.Error) {
	t.Helper()
	run(t, s, strings.Split(e.Fix, "; ")...)
}

// Views, routines, triggers and events run as whoever defined them: they go on when
// that login has gone, whoever uses them, and can still be changed.
func TestWhatALoginDefinedGoesOnWithoutIt(t *testing.T) {
	s := sharedServer(t)
	target := open(t, config(s, "admin"))
	one := ensured(t, target, "shop", patchbay.Owner)
	reader := ensured(t, target, "shop", patchbay.Reader)
	writer := ensured(t, target, "shop", patchbay.Writer)
	t.Cleanup(func() {
		run(t, s, "use shop", "drop view if exists def_v", "drop procedure if exists def_p", "drop function if exists def_f", "drop event if exists def_e", "drop table if exists def_t, def_log")
	})
	if err := as(t, s, one, "create table def_t (id int auto_increment primary key, v text)", "create table def_log (at datetime, what text)",
		"create view def_v as select count(*) n from def_log", "create procedure def_p() insert into def_log values (now(), 'procedure')",
		"create function def_f() returns int reads sql data return (select count(*) from def_log)",
		"create trigger def_tr after insert on def_t for each row insert into def_log values (now(), 'trigger')",
		"create event def_e on schedule every 1 second do insert into def_log values (now(), 'event')"); err != nil {
		t.Fatal(err)
	}
	remove(t, target, one)
	state, err := target.InspectLogin(t.Context(), one)
	if err != nil || state.Exists {
		t.Fatalf("%+v, %v", state, err)
	}
	if err := as(t, s, one, "select 1"); !errors.Is(err, drivertest.ErrRefused) {
		t.Fatalf("signs in after its removal: %v", err)
	}
	if err := as(t, s, reader, "select * from def_v"); err != nil {
		t.Error(err)
	}
	if err := as(t, s, writer, "call def_p()", "insert into def_t (v) values ('x')", "select def_f()"); err != nil {
		t.Error(err)
	}
	before := list(t, s, "select count(*) from shop.def_log where what = 'event'")[0]
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for list(t, s, "select count(*) from shop.def_log where what = 'event'")[0] == before {
		<-tick.C // until the test's own end
	}
	// The next generation changes and drops them.
	two := ensured(t, target, "shop", patchbay.Owner)
	if err := as(t, s, two, "create or replace view def_v as select 1 as n", "drop procedure def_p", "drop function def_f", "drop trigger def_tr", "alter event def_e disable"); err != nil {
		t.Error(err)
	}
	if got := accounts(t, s, one); len(got) != 0 && len(list(t, s, "select 1 from mysql.event where definer = '"+one.Name+"@%'")) == 0 {
		// What still runs as it keeps it; nothing does.
		remove(t, target, ensured(t, target, "shop", patchbay.Reader))
		if got := accounts(t, s, one); len(got) != 0 {
			t.Errorf("%q is kept, and defines nothing", got)
		}
	}
	run(t, s, "drop event if exists shop.def_e", "drop view shop.def_v")
	remove(t, target, two)
	remove(t, target, ensured(t, target, "shop", patchbay.Reader))
	if got := accounts(t, s, one); len(got) != 0 {
		t.Errorf("%q is kept, and defines nothing", got)
	}
	if got := list(t, s, "select user from patchbay.logins where kind = 'definer'"); len(got) != 0 {
		t.Errorf("marks of %q are kept", got)
	}
}

// What is kept for what it defined is nobody's way in: it is locked, and the password
// that the application had is not its any more.
func TestADefinerLetsNobodyIn(t *testing.T) {
	s := sharedServer(t)
	target := open(t, config(s, "admin"))
	r := ensured(t, target, "shop", patchbay.Owner)
	t.Cleanup(func() { run(t, s, "drop view if exists shop.def_only") })
	if err := as(t, s, r, "create view def_only as select 1"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		remove(t, target, r)
	}
	if got := accounts(t, s, r); len(got) != 1 {
		t.Fatalf("%q", got)
	}
	run(t, s, "alter user "+who(r)+" account unlock")
	if err := as(t, s, r, "select 1"); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("the old password lets in: %v", err)
	}
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) > 0 {
		t.Errorf("Owned = %+v, %v", owned, err)
	}
	// A login of that name can be there again.
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := as(t, s, r, "select * from def_only"); err != nil {
		t.Error(err)
	}
	run(t, s, "drop view shop.def_only")
	remove(t, target, r)
	if got := accounts(t, s, r); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// An account that somebody dropped and made anew has the name of ours, and is not ours.
func TestAnAccountMadeAnewIsNotOurs(t *testing.T) {
	s := sharedServer(t)
	target := open(t, config(s, "admin"))
	r := ensured(t, target, "shop", patchbay.Writer)
	run(t, s, "create or replace user "+who(r)+" identified by 'theirs'")
	t.Cleanup(func() { run(t, s, "drop user if exists "+who(r)) })
	before := grants(t, s, who(r))
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Exists || state.Ours {
		t.Errorf("%+v, %v", state, err)
	}
	_ = mustBe(t, target.EnsureLogin(t.Context(), r), patchbay.NotOurs, "DROP USER")
	_ = mustBe(t, target.RemoveLogin(t.Context(), r), patchbay.NotOurs)
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 0 {
		t.Errorf("Owned = %+v, %v", owned, err)
	}
	if after := grants(t, s, who(r)); after != before {
		t.Errorf("it was %s and is %s", before, after)
	}
	// Dropped for good, the way is free, and the old mark counts for nothing.
	run(t, s, "drop user "+who(r))
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// Names that are nearly a login's, or the login's at another address, are left alone.
func TestDecoysAreLeftAlone(t *testing.T) {
	s := sharedServer(t)
	target := open(t, config(s, "admin"))
	r := ensured(t, target, "shop", patchbay.Writer)
	decoys := []string{"'" + r.Name + "0'@'%'", "'x" + r.Name + "'@'%'", "'" + strings.ToUpper(r.Name) + "'@'%'", "'" + strings.Replace(r.Name, "_", "x", 1) + "'@'%'"}
	var before []string
	for _, d := range decoys {
		run(t, s, "create user "+d+" identified by 'theirs'", "grant delete on private.* to "+d)
		t.Cleanup(func() { run(t, s, "drop user "+d) })
		before = append(before, grants(t, s, d))
	}
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("%+v, %v", state, err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
	remove(t, target, r)
	for i, d := range decoys {
		if after := grants(t, s, d); after != before[i] {
			t.Errorf("%s was %s and is %s", d, before[i], after)
		}
	}
	// At another address it is somebody's own account by this name: ours goes, theirs stays.
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	theirs := "'" + r.Name + "'@'192.0.2.1'"
	run(t, s, "create user "+theirs)
	t.Cleanup(func() { run(t, s, "drop user "+theirs) })
	_ = mustBe(t, target.EnsureLogin(t.Context(), r), patchbay.NotOurs, "192.0.2.1")
	remove(t, target, r)
	if got := accounts(t, s, r); len(got) != 1 || got[0] != r.Name+"@192.0.2.1" {
		t.Errorf("%q", got)
	}
}

// Between the look and the making somebody may make an account of that name.
func TestAnAccountThatAppearsMeanwhileIsNotTaken(t *testing.T) {
	s := sharedServer(t)
	c := config(s, "admin")
	r := request(t, open(t, c), "shop", patchbay.Writer)
	c.Properties = []byte(`{"sslmode":"disable"}`)
	c.Dialer = meanwhile(func() { run(t, s, "create user if not exists "+who(r)+" identified by 'theirs'") })
	t.Cleanup(func() { run(t, s, "drop user if exists "+who(r)) })
	err := open(t, c).EnsureLogin(t.Context(), r)
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.Conflict || !e.Transient {
		t.Fatalf("%v, want a transient Conflict", err)
	}
	_ = mustBe(t, open(t, config(s, "admin")).EnsureLogin(t.Context(), r), patchbay.NotOurs)
	if got := grants(t, s, who(r)); strings.Contains(got, "shop") {
		t.Errorf("it was given rights: %s", got)
	}
}

// Each right that the administrator lacks is named with the statement that gives it,
// which ends the finding.
func TestWhatTheAdministratorLacksIsNamedWithWhatGivesIt(t *testing.T) {
	s := sharedServer(t)
	run(t, s, "create user lesser@'127.0.0.1' identified by '"+s.Password+"'")
	t.Cleanup(func() { run(t, s, "drop user lesser@'127.0.0.1'") })
	target := open(t, config(s, "lesser"))
	for _, sub := range []string{"", "b_lls"} {
		_, err := target.Inspect(t.Context(), sub)
		if sub == "" {
			_ = mustBe(t, err, patchbay.AdminRights, "GRANT CREATE USER ON *.* TO 'lesser'@'127.0.0.1'", "GRANT SELECT ON mysql.* TO", "GRANT ALL PRIVILEGES ON `patchbay`.* TO 'lesser'@'127.0.0.1' WITH GRANT OPTION")
		} else { // which it is not even shown
			_ = mustBe(t, err, patchbay.ChildMissing, "GRANT ALL PRIVILEGES ON `b\\_lls`.* TO 'lesser'@'127.0.0.1' WITH GRANT OPTION")
		}
		fixed(t, s, patchbay.AsError(err))
		info, err := target.Inspect(t.Context(), sub)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(info.Warnings, "\n"), "GRANT PROCESS ON *.* TO 'lesser'@'127.0.0.1'") {
			t.Errorf("the warnings are %q", info.Warnings)
		}
	}
	// Without PROCESS and CONNECTION ADMIN, a login is removed with its sessions all the same.
	r := ensured(t, target, "b_lls", patchbay.Owner)
	session, err := openSession(s)(t.Context(), r.Sub, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	remove(t, target, r)
	if err := session.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if got := accounts(t, s, r); len(got) > 0 {
		t.Errorf("%q is left", got)
	}
	// One that lets in from elsewhere only can't be ended so: it is locked, and said what helps.
	r = request(t, target, "b_lls", patchbay.Writer)
	r.Sources = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if session, err = openSession(s)(t.Context(), r.Sub, r.Credential); err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	e := mustBe(t, target.RemoveLogin(t.Context(), r), patchbay.AdminRights, "GRANT PROCESS, CONNECTION ADMIN ON *.* TO 'lesser'@'127.0.0.1'")
	if err := as(t, s, r, "select 1"); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("it still signs in: %v", err)
	}
	fixed(t, s, e)
	again := open(t, config(s, "lesser")) // rights on the server are those of the sign-in
	remove(t, again, r)
	if err := session.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// Rights that are taken away later: a clear error, and nothing half done.
func TestAnAdministratorThatLostItsRights(t *testing.T) {
	s := sharedServer(t)
	run(t, s, "create user loser@'127.0.0.1' identified by '"+s.Password+"'", "grant create user, process, connection admin on *.* to loser@'127.0.0.1'",
		"grant select on mysql.* to loser@'127.0.0.1'", "grant all privileges on patchbay.* to loser@'127.0.0.1' with grant option", "grant all privileges on shop.* to loser@'127.0.0.1' with grant option")
	t.Cleanup(func() { run(t, s, "drop user loser@'127.0.0.1'") })
	target := open(t, config(s, "loser"))
	kept := ensured(t, target, "shop", patchbay.Reader)
	run(t, s, "revoke grant option on shop.* from loser@'127.0.0.1'")
	r := request(t, target, "shop", patchbay.Writer)
	e := mustBe(t, target.EnsureLogin(t.Context(), r), patchbay.AdminRights, "GRANT ALL PRIVILEGES ON `shop`.* TO 'loser'@'127.0.0.1' WITH GRANT OPTION")
	if err := as(t, s, kept, "select * from items"); err != nil {
		t.Error(err)
	}
	remove(t, target, r) // what had been made goes
	if got := accounts(t, s, r); len(got) > 0 {
		t.Errorf("%q is left", got)
	}
	fixed(t, s, e)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// A delete asks beforehand whether the login could be removed.
	checks := func() error {
		return open(t, config(s, "loser")).Administrator.(driver.RemovalChecker).CheckRemoval(t.Context(), r)
	}
	if err := checks(); err != nil {
		t.Error(err)
	}
	run(t, s, "revoke create user on *.* from loser@'127.0.0.1'")
	e = mustBe(t, checks(), patchbay.AdminRights, "GRANT CREATE USER ON *.* TO 'loser'@'127.0.0.1'")
	_ = mustBe(t, open(t, config(s, "loser")).RemoveLogin(t.Context(), r), patchbay.AdminRights, "GRANT CREATE USER")
	if err := as(t, s, r, "select 1"); err != nil {
		t.Errorf("half of its removal was done: %v", err)
	}
	fixed(t, s, e)
	if err := checks(); err != nil {
		t.Error(err)
	}
	run(t, s, "alter user loser@'127.0.0.1' identified by 'another'")
	_ = mustBe(t, open(t, config(s, "loser")).EnsureLogin(t.Context(), r), patchbay.AdminRefused, "loser")
	run(t, s, "alter user loser@'127.0.0.1' identified by '"+s.Password+"'")
}

// A login may be bound to several networks, and they may change.
func TestALoginIsBoundToItsSourcesNetworks(t *testing.T) {
	s := sharedServer(t)
	target := open(t, config(s, "admin"))
	r := request(t, target, "shop", patchbay.Writer)
	r.Sources = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/20"), netip.MustParsePrefix("fd00::7/128")}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(accounts(t, s, r)); got != fmt.Sprintf("[%[1]s@10.1.0.0/255.255.240.0 %[1]s@127.0.0.1 %[1]s@fd00::7]", r.Name) {
		t.Errorf("%s", got)
	}
	if err := as(t, s, r, "select * from items"); err != nil {
		t.Error(err)
	}
	session, err := openSession(s)(t.Context(), r.Sub, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 1 {
		t.Errorf("Owned = %+v, %v: it is one login", owned, err)
	}
	r.Sources = r.Sources[1:]
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || len(state.Excess) != 1 || !strings.Contains(state.Excess[0], "127.0.0.1") {
		t.Errorf("%+v, %v", state, err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := session.Wait(t.Context()); err != nil {
		t.Errorf("a session from where it may not speak any more: %v", err)
	}
	if err := as(t, s, r, "select 1"); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("%v, want it refused", err)
	}
	r.Sources = []netip.Prefix{netip.MustParsePrefix("fd00::/64")}
	_ = mustBe(t, target.EnsureLogin(t.Context(), r), patchbay.NotSupported, "/128")
}

// A role of the server's own in place of an access.
func TestALoginHasTheRoleThatWasAskedFor(t *testing.T) {
	s := sharedServer(t)
	run(t, s, "create role `it's a role` with admin admin@'127.0.0.1'", "grant select on private.* to `it's a role`", "create role hidden", "grant update on mysql.* to admin@'127.0.0.1'")
	t.Cleanup(func() {
		run(t, s, "drop role `it's a role`", "drop role hidden", "revoke update on mysql.* from admin@'127.0.0.1'")
	})
	target := open(t, config(s, "admin"))
	r := request(t, target, "private", patchbay.Reader)
	r.Roles = []string{"it's a role"}
	for range 2 {
		if err := target.EnsureLogin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("%+v, %v", state, err)
	}
	if err := as(t, s, r, "select * from private.items"); err != nil {
		t.Error(err)
	}
	if err := as(t, s, r, "delete from private.items"); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("%v, want it refused", err)
	}
	remove(t, target, r)
	r = request(t, target, "private", patchbay.Reader)
	r.Roles = []string{"hidden"}
	_ = mustBe(t, target.EnsureLogin(t.Context(), r), patchbay.AdminRights, "GRANT `hidden` TO 'admin'@'127.0.0.1' WITH ADMIN OPTION")
	r.Roles = []string{"a", "b"}
	_ = mustBe(t, target.EnsureLogin(t.Context(), r), patchbay.NotSupported, "CREATE ROLE")
}

// A table of somebody else's under the name of ours is not written to.
func TestATableOfSomebodyElsesIsNotTaken(t *testing.T) {
	s := testenv.MariaDB(t, false)
	run(t, s, "create database patchbay", "create table patchbay.logins (user varchar(80), precious text)", "insert into patchbay.logins values ('a', 'b')")
	c := config(s, s.Super)
	target := open(t, c)
	r := request(t, target, "shop", patchbay.Reader)
	e := mustBe(t, target.EnsureLogin(t.Context(), r), patchbay.NotOurs, "RENAME TABLE")
	if got := list(t, s, "select precious from patchbay.logins"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	fixed(t, s, &patchbay.Error{Fix: strings.TrimPrefix(e.Fix, "rename it: ")})
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// In the clear, as this server is, nothing insists on TLS.
	info, err := target.Inspect(t.Context(), "shop")
	if err != nil || info.TLS != "" || info.Values["sslmode"] != "disable" || info.Values["database"] != "shop" {
		t.Errorf("%+v, %v", info, err)
	}
	// What was made is there when the server comes back.
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("after a restart: %+v, %v", state, err)
	}
	if err := as(t, s, r, "select 1"); err != nil {
		t.Error(err)
	}
	// A server that lets nobody write says so, and nothing is done by halves.
	run(t, s, "set global read_only = 1")
	replica := open(t, c)
	two := request(t, target, "shop", patchbay.Writer)
	_ = mustBe(t, replica.EnsureLogin(t.Context(), two), patchbay.TargetUnreachable, "read_only")
	_ = mustBe(t, replica.RemoveLogin(t.Context(), r), patchbay.TargetUnreachable, "read_only")
	if info, err := replica.Inspect(t.Context(), ""); err != nil || !strings.Contains(strings.Join(info.Warnings, "\n"), "read-only") {
		t.Errorf("%+v, %v", info, err)
	}
	run(t, s, "set global read_only = 0")
}

// An account without a name lets in whoever comes from where it is for.
func TestAnAccountWithoutANameIsFound(t *testing.T) {
	s := testenv.MariaDB(t, false)
	target := open(t, config(s, s.Super))
	r := ensured(t, target, "shop", patchbay.Reader)
	run(t, s, "create user ''@'127.0.0.1'", "grant select on shop.* to ''@'127.0.0.1'")
	info, err := target.Inspect(t.Context(), "")
	if err != nil || !strings.Contains(strings.Join(info.Warnings, "\n"), "DROP USER ''@'127.0.0.1'") {
		t.Errorf("%+v, %v", info, err)
	}
	_, err = target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: config(s, "").Dialer, Sub: "shop", Access: patchbay.Reader})
	_ = mustBe(t, err, patchbay.LoginRefused)
}

// A routine does what its definer may: that is said before somebody gets a login that
// may call it.
func TestRoutinesOfAnAdministratorAreWarnedOf(t *testing.T) {
	s := sharedServer(t)
	target := open(t, config(s, "admin")).Administrator.(driver.WarnedLogins)
	beyond := func(access patchbay.Access) string {
		all, err := target.Beyond(t.Context(), driver.LoginRequest{Sub: "private", Access: access})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, "\n")
	}
	before := beyond(patchbay.Writer)
	run(t, s, "create procedure private.strong() select * from mysql.user")
	t.Cleanup(func() { run(t, s, "drop procedure private.strong") })
	if after := beyond(patchbay.Writer); after == before || !strings.Contains(after, "SQL SECURITY INVOKER") || beyond(patchbay.Reader) != "" {
		t.Errorf("before %q, after %q, of a reader %q", before, after, beyond(patchbay.Reader))
	}
	// Invokers' routines are nothing to warn of.
	run(t, s, "alter procedure private.strong sql security invoker")
	if again := beyond(patchbay.Writer); again != before {
		t.Errorf("%q", again)
	}
}
