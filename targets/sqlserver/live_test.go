package sqlserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/sqlserver"
)

func (w *world) open(t *testing.T) drivertest.Opened {
	t.Helper()
	return drivertest.OpenTarget(t, sqlserver.Driver(), w.config())
}

// request is one whose name and password are always the same.
func request(sub string, access patchbay.Access) driver.LoginRequest {
	uid := "aaaaaaaaaa"
	return driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/it's"},
		Name: "pb_" + uid + "_g1", Sub: sub, Auth: patchbay.AuthSecret, Access: access,
		Credential: driver.Credential{Public: map[string]string{"username": "pb_" + uid + "_g1"}, Secret: driver.Secrets{"password": patchbay.NewSecret("Aa1-password-password")}},
	}
}

func ensure(t *testing.T, target drivertest.Opened, r driver.LoginRequest) {
	t.Helper()
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatalf("EnsureLogin: %v", said(err))
	}
	whole(t, target, r)
}

func whole(t *testing.T, target drivertest.Opened, r driver.LoginRequest) {
	t.Helper()
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Exists || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Fatalf("InspectLogin = %+v, %v", state, said(err))
	}
}

// said is an error with what the server said beside it.
func said(err error) error {
	if e := patchbay.AsError(err); e != nil {
		return fmt.Errorf("%w (%s; fix: %s)", err, e.Said, e.Fix)
	}
	return err
}

func (w *world) do(t *testing.T, r driver.LoginRequest, statements ...string) error {
	t.Helper()
	conn, done, err := w.as(t.Context(), login(t, r.Credential), r.Sub)
	if err != nil {
		return err
	}
	defer done()
	for _, statement := range statements {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			return refusal(fmt.Errorf("%s: %w", statement, err))
		}
	}
	return nil
}

var update = os.Getenv("UPDATE_SQL") != ""

var (
	passwords = regexp.MustCompile(`(with password = N')[^']+'`)
	kills     = regexp.MustCompile(`^kill [0-9]+$`)
)

// Every statement that the driver sends stands in testdata/*.sql, in the order in which
// it is sent, so that whoever has a server can read and run it. UPDATE_SQL=1 writes them.
func TestStatementsAreThoseThatAreKept(t *testing.T) {
	for kind, name := range map[int]string{withLogins: "login", contained: "contained", azure: "azure"} {
		t.Run(name, func(t *testing.T) {
			w := modelled(t, kind, testenv.SQLServerOptions{})
			target := w.open(t)
			var b strings.Builder
			op := func(what string, call func() error) {
				t.Helper()
				w.model.Said()
				if err := call(); err != nil {
					t.Fatalf("%s: %v", what, said(err))
				}
				fmt.Fprintf(&b, "-- %s\n", what)
				for _, batch := range w.model.Said() {
					b.WriteString(kills.ReplaceAllString(passwords.ReplaceAllString(batch, "${1}<password>'"), "kill <session>") + "\nGO\n")
				}
				b.WriteString("\n")
			}
			r := request(w.mine, patchbay.Owner)
			ctx := t.Context()
			op("the server is looked at", func() error { _, err := target.Inspect(ctx, ""); return err })
			op("the database is looked at", func() error { _, err := target.Inspect(ctx, w.mine); return err })
			op("an owner's login is made", func() error { return target.EnsureLogin(ctx, r) })
			op("it is made again", func() error { return target.EnsureLogin(ctx, r) })
			who := quoted(r.Name)
			w.run(t, w.mine, "deny insert to "+who, "grant update on object::dbo.items(name) to "+who, "grant insert on schema::dbo to "+who, "alter role db_ddladmin add member "+who)
			op("it is repaired", func() error { return target.EnsureLogin(ctx, r) })
			op("it is looked at", func() error { _, err := target.InspectLogin(ctx, r); return err })
			op("all logins are listed", func() error { _, err := target.Owned(ctx); return err })
			op("what a login can do besides is asked", func() error { _, err := target.Administrator.(driver.WarnedLogins).Beyond(ctx, r); return err })
			if err := w.do(t, r, "create schema left_over", "create table left_over.things (id int)", "create procedure dbo.kept with execute as self as select 1 as one"); err != nil {
				t.Fatal(err)
			}
			w.model.Await(r.Name, 0)
			open, err := w.openSession(t)(ctx, w.mine, r.Credential)
			if err != nil {
				t.Fatal(err)
			}
			op("it is removed; it is signed in, owns a schema, and a procedure runs as it", func() error { return target.RemoveLogin(ctx, r) })
			if err := open.Wait(ctx); err != nil {
				t.Errorf("its session goes on: %v", err)
			}
			w.run(t, w.mine, "drop procedure dbo.kept", "drop table left_over.things", "drop schema left_over")
			op("it is removed again, and nothing keeps its user", func() error { return target.RemoveLogin(ctx, r) })
			roles := request(w.mine, "")
			roles.Roles = []string{"db_datareader"}
			op("a login with roles is made", func() error { return target.EnsureLogin(ctx, roles) })
			op("a reader's rights are tried", func() error {
				w.run(t, w.mine, "alter role db_datareader drop member "+who)
				reader := request(w.mine, patchbay.Reader)
				if err := target.EnsureLogin(ctx, reader); err != nil {
					return err
				}
				_, err := target.Probe(ctx, driver.ProbeRequest{Credential: reader.Credential, Dialer: &net.Dialer{}, Sub: w.mine, Access: patchbay.Reader})
				return err
			})
			if err := target.RemoveLogin(ctx, roles); err != nil {
				t.Fatal(err)
			}
			if left := w.looks(t, "p"); strings.Contains(left, "pb_") || strings.Contains(left, "user shop.patchbay ") {
				t.Errorf("left: %s", left)
			}
			file := filepath.Join("testdata", name+".sql")
			head := "-- What the driver sends, as TestStatementsAreThoseThatAreKept has seen it. Run it with sqlcmd.\n\n"
			if update {
				if err := os.WriteFile(file, []byte(head+b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			kept, err := os.ReadFile(file)
			if err != nil || string(kept) != head+b.String() {
				t.Errorf("%s is not what the driver sends (%v): UPDATE_SQL=1 go test -run %s", file, err, t.Name())
			}
		})
	}
}

// What a login made stays where it is, and its next generation goes on with it.
func TestWhatALoginMadeStaysUsable(t *testing.T) {
	for _, kind := range []int{withLogins, contained, azure} {
		w := modelled(t, kind, testenv.SQLServerOptions{})
		target := w.open(t)
		one := request(w.mine, patchbay.Owner)
		ensure(t, target, one)
		if err := w.do(t, one, "create schema app", "create table app.things (id int)", "create procedure dbo.kept with execute as self as select 1 as one"); err != nil {
			t.Fatal(err)
		}
		two := request(w.mine, patchbay.Owner)
		two.Mark.Generation, two.Name = 2, "pb_aaaaaaaaaa_g2"
		two.Credential.Public = map[string]string{"username": two.Name}
		ensure(t, target, two)
		for range 2 {
			if err := target.RemoveLogin(t.Context(), one); err != nil {
				t.Fatal(said(err))
			}
		}
		state, err := target.InspectLogin(t.Context(), one)
		if err != nil || state.Exists {
			t.Errorf("the login whose user is kept = %+v, %v, want it gone", state, err)
		}
		if err := w.do(t, one); !errors.Is(err, drivertest.ErrRefused) {
			t.Errorf("its sign-in = %v, want it refused", err)
		}
		owned, err := target.Owned(t.Context())
		if err != nil || len(owned) != 1 || owned[0].Name != two.Name {
			t.Errorf("Owned = %+v, %v, want the second alone", owned, err)
		}
		if err := w.do(t, two, "select * from app.things", "insert into app.things (id) values (1)", "alter table app.things add w int", "exec dbo.kept"); err != nil {
			t.Errorf("the next one with what was left: %v", err)
		}
		// A login that is asked for again finds its user, and is whole.
		ensure(t, target, one)
		if err := w.do(t, one, "select * from app.things"); err != nil {
			t.Error(err)
		}
		if err := w.do(t, two, "drop procedure dbo.kept", "drop table app.things", "drop schema app"); err != nil {
			t.Error(err)
		}
		for _, r := range []driver.LoginRequest{one, two} {
			if err := target.RemoveLogin(t.Context(), r); err != nil {
				t.Error(said(err))
			}
		}
		if left := w.looks(t, "p"); strings.Contains(left, "pb_") || strings.Contains(left, "shop.patchbay ") {
			t.Errorf("left: %s", left)
		}
	}
}

// A user of ours that somebody dropped and made anew is theirs, and so is one that bears
// a copy of a mark.
func TestAMarkIsOfOneUser(t *testing.T) {
	for _, kind := range []int{withLogins, contained} {
		w := modelled(t, kind, testenv.SQLServerOptions{})
		target := w.open(t)
		r := request(w.mine, patchbay.Writer)
		ensure(t, target, r)
		before := w.looks(t, r.Name)
		mark := before[strings.Index(before, "{"):strings.LastIndex(before, "}")]
		mark = mark[:strings.Index(mark, "} ")+1]
		who := quoted(r.Name)
		w.run(t, w.mine, "drop user "+who)
		make := "create user " + who + " with password = N'Aa1-theirs-theirs'"
		if kind == withLogins {
			w.run(t, w.mine, "create login [strangers] with password = N'Aa1-theirs-theirs'")
			make = "create user " + who + " for login [strangers]"
		}
		w.run(t, w.mine, make, "exec sys.sp_addextendedproperty @name = N'patchbay', @value = N'"+strings.ReplaceAll(mark, "'", "''")+"#0x00112233445566778899AABBCCDDEEFF', @level0type = N'USER', @level0name = N'"+r.Name+"'")
		for what, err := range map[string]error{"EnsureLogin": target.EnsureLogin(t.Context(), r), "RemoveLogin": target.RemoveLogin(t.Context(), r)} {
			if patchbay.CodeOf(err) != patchbay.NotOurs {
				t.Errorf("%s = %v, want NotOurs", what, err)
			}
		}
		if owned, err := target.Owned(t.Context()); err != nil || len(owned) > 0 {
			t.Errorf("Owned = %+v, %v, want none", owned, err)
		}
	}
}

// A login that was made without its user, by a process that died or by hand, has our SID:
// it is ours.
func TestALoginWithoutItsUserIsFound(t *testing.T) {
	w := modelled(t, withLogins, testenv.SQLServerOptions{})
	target := w.open(t)
	r := request(w.mine, patchbay.Writer)
	ensure(t, target, r)
	w.run(t, w.mine, "drop user "+quoted(r.Name))
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Exists || !state.Ours || len(state.Missing) == 0 {
		t.Errorf("InspectLogin = %+v, %v", state, err)
	}
	ensure(t, target, r)
	w.model.DropDatabase(w.mine)
	if state, err = target.InspectLogin(t.Context(), r); err != nil || !state.Exists || !state.Ours {
		t.Errorf("InspectLogin without the database = %+v, %v", state, err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(said(err))
	}
	if left := w.looks(t, "pb_"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// What somebody gave a login on the whole server, an administrator that is no sysadmin
// can't take away: it is said, with the statement.
func TestRightsOnTheServerAreFound(t *testing.T) {
	w := modelled(t, withLogins, testenv.SQLServerOptions{})
	target := w.open(t)
	r := request(w.mine, patchbay.Reader)
	who := quoted(r.Name)
	for give, want := range map[string]string{
		"alter server role [sysadmin] add member " + who:      "drop member " + who,
		"grant view server state to " + who:                   "revoke VIEW SERVER STATE from " + who,
		"deny connect sql to " + who:                          "grant CONNECT SQL to " + who,
		"grant alter any login to " + who:                     "revoke ALTER ANY LOGIN from " + who,
		"alter server role [securityadmin] add member " + who: "alter server role [securityadmin] drop member " + who,
	} {
		ensure(t, target, r)
		w.run(t, "master", give)
		state, err := target.InspectLogin(t.Context(), r)
		if err != nil || len(state.Missing)+len(state.Excess) == 0 {
			t.Errorf("%s: InspectLogin = %+v, %v", give, state, err)
		}
		err = target.EnsureLogin(t.Context(), r)
		if e := patchbay.AsError(err); e == nil || !slices.Contains([]patchbay.Code{patchbay.AdminRights}, e.Code) {
			t.Errorf("%s: EnsureLogin = %v, want AdminRights", give, err)
		} else if !strings.Contains(strings.ToLower(e.Fix), strings.ToLower(want)) && !strings.Contains(give, "sysadmin") {
			t.Errorf("%s: the fix is %q, without %q", give, e.Fix, want)
		}
		w.run(t, w.mine, "drop user "+who, "drop login "+who)
	}
}

// The administrator's rights may be taken away at any time.
func TestTheAdministratorsRightsAreNamed(t *testing.T) {
	for _, tt := range []struct {
		kind         int
		take, lacked string
		inspects     bool // without a database too
	}{
		{withLogins, "alter role db_owner drop member [patchbay_admin]", "ALTER ROLE db_owner ADD MEMBER [patchbay_admin]", false},
		{withLogins, "revoke alter any connection from [patchbay_admin]", "GRANT ALTER ANY CONNECTION TO [patchbay_admin]", true},
		{withLogins, "revoke view server state from [patchbay_admin]", "GRANT VIEW SERVER STATE TO [patchbay_admin]", true},
		{withLogins, "revoke alter any login from [patchbay_admin]", "GRANT ALTER ANY LOGIN TO [patchbay_admin]", false},
		{contained, "alter role db_owner drop member [patchbay_admin]", "ALTER ROLE db_owner ADD MEMBER [patchbay_admin]", false},
		{azure, "alter role db_owner drop member [patchbay_admin]", "GRANT KILL DATABASE CONNECTION TO [patchbay_admin]", false},
		{withLogins, "drop user [patchbay_admin]", "CREATE USER [patchbay_admin] FOR LOGIN [patchbay_admin]", false},
	} {
		w := modelled(t, tt.kind, testenv.SQLServerOptions{})
		target := w.open(t)
		r := request(w.mine, patchbay.Writer)
		ensure(t, target, r)
		before := w.looks(t, r.Name)
		database := w.mine
		if strings.HasPrefix(tt.take, "revoke ") { // of the server's
			database = "master"
		}
		w.run(t, database, tt.take)
		target = w.open(t) // a session that is open is let go on
		calls := map[string]error{"EnsureLogin": nil, "Inspect of the database": nil, "CheckRemoval": nil}
		_, calls["Inspect of the database"] = target.Inspect(t.Context(), w.mine)
		if tt.inspects {
			_, calls["Inspect"] = target.Inspect(t.Context(), "")
		}
		calls["CheckRemoval"] = target.Administrator.(driver.RemovalChecker).CheckRemoval(t.Context(), r)
		delete(calls, "EnsureLogin") // a repair need not meet what lacks
		for name, err := range calls {
			e := patchbay.AsError(err)
			if e == nil || e.Code != patchbay.AdminRights || !strings.Contains(e.Fix, tt.lacked) {
				t.Errorf("%s: %s = %v, want AdminRights with %q", tt.take, name, said(err), tt.lacked)
			}
		}
		if after := w.looks(t, r.Name); after != before {
			t.Errorf("%s: it was %s and is %s", tt.take, before, after)
		}
	}
}

// A removal whose sessions the administrator may not end says so, and leaves a login that
// signs in no more.
func TestARemovalWithoutTheRightToEndSessions(t *testing.T) {
	w := modelled(t, withLogins, testenv.SQLServerOptions{})
	target := w.open(t)
	r := request(w.mine, patchbay.Writer)
	ensure(t, target, r)
	open, err := w.openSession(t)(t.Context(), w.mine, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	w.run(t, "master", "revoke alter any connection from [patchbay_admin]")
	e := patchbay.AsError(target.RemoveLogin(t.Context(), r))
	if e == nil || e.Code != patchbay.AdminRights || !strings.Contains(e.Fix, "GRANT ALTER ANY CONNECTION") {
		t.Errorf("RemoveLogin = %v", e)
	}
	if err := w.do(t, r); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("it signs in: %v", err)
	}
	w.run(t, "master", "grant alter any connection to [patchbay_admin]")
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(said(err))
	}
	if err := open.Wait(t.Context()); err != nil {
		t.Errorf("its session goes on: %v", err)
	}
}

// What a server says by number means the same wherever it says it.
func TestErrorsOfTheServer(t *testing.T) {
	w := modelled(t, withLogins, testenv.SQLServerOptions{})
	target := w.open(t)
	r := request(w.mine, patchbay.Writer)
	for number, want := range map[int]struct {
		code      patchbay.Code
		transient bool
	}{
		1205: {patchbay.Conflict, true}, 1222: {patchbay.Timeout, true}, 40613: {patchbay.TargetUnreachable, true}, 40197: {patchbay.TargetUnreachable, true}, 40501: {patchbay.TargetUnreachable, true},
		3906: {patchbay.TargetUnreachable, false}, 229: {patchbay.AdminRights, false}, 15151: {patchbay.AdminRights, false}, 15247: {patchbay.AdminRights, false},
		15116: {patchbay.AdminRights, false}, 15118: {patchbay.AdminRights, false}, 15119: {patchbay.AdminRights, false}, 15025: {patchbay.Conflict, true}, 15434: {patchbay.Conflict, true},
		18456: {patchbay.AdminRefused, false}, 50000: {patchbay.Internal, false},
	} {
		for _, at := range []string{"create login", "select cast(p.principal_id", "sp_getapplock"} {
			w.model.Refuse(func(batch string) int {
				if strings.Contains(batch, at) {
					return number
				}
				return 0
			})
			err := target.EnsureLogin(t.Context(), r)
			e := patchbay.AsError(err)
			if e == nil || e.Code != want.code || patchbay.IsTransient(err) != want.transient {
				t.Errorf("error %d of %q = %v, transient %t", number, at, err, patchbay.IsTransient(err))
			} else if !strings.Contains(e.Said, "made up by the test") || strings.Contains(e.Message, "made up") || strings.Contains(e.Said, "Aa1-password") {
				t.Errorf("error %d of %q says %q beside %q", number, at, e.Said, e.Message)
			}
		}
	}
	w.model.Refuse(nil)
	ensure(t, target, r)
}

// A database may be away, or be read alone.
func TestDatabasesThatCantBeWorkedIn(t *testing.T) {
	for _, kind := range []int{withLogins, contained, azure} {
		w := modelled(t, kind, testenv.SQLServerOptions{})
		target := w.open(t)
		r := request(w.mine, patchbay.Writer)
		ensure(t, target, r)
		before := w.looks(t, r.Name)
		w.model.Set(w.mine, "READ_ONLY")
		for what, err := range map[string]error{"EnsureLogin": target.EnsureLogin(t.Context(), r), "RemoveLogin": target.RemoveLogin(t.Context(), r)} {
			if e := patchbay.AsError(err); e == nil || e.Code != patchbay.TargetUnreachable || !strings.Contains(e.Message, "read-only") {
				t.Errorf("%s in a read-only database = %v", what, err)
			}
		}
		if info, err := target.Inspect(t.Context(), w.mine); err != nil || !slices.ContainsFunc(info.Warnings, func(s string) bool { return strings.Contains(s, "read-only") }) {
			t.Errorf("Inspect of a read-only database = %v, %v", info.Warnings, err)
		}
		whole(t, target, r)
		w.model.Set(w.mine, "READ_WRITE")
		w.model.Set(w.mine, "OFFLINE")
		other := w.open(t) // whoever has a session is not asked again
		for what, err := range map[string]error{"EnsureLogin": other.EnsureLogin(t.Context(), r), "RemoveLogin": other.RemoveLogin(t.Context(), r)} {
			if e := patchbay.AsError(err); e == nil || e.Code != patchbay.TargetUnreachable || !strings.Contains(e.Message, "not online") || !patchbay.IsTransient(err) {
				t.Errorf("%s in a database that is offline = %v", what, err)
			}
		}
		if _, err := other.Owned(t.Context()); err != nil {
			t.Errorf("Owned with a database that is offline: %v", err)
		}
		w.model.Set(w.mine, "ONLINE")
		if after := w.looks(t, r.Name); after != before {
			t.Errorf("it was %s and is %s", before, after)
		}
		if err := target.RemoveLogin(t.Context(), r); err != nil {
			t.Fatal(said(err))
		}
	}
}

// A login that somebody let into another database has too much; a database that lets
// everybody in is not its fault.
func TestOtherDatabasesAreTried(t *testing.T) {
	w := modelled(t, withLogins, testenv.SQLServerOptions{})
	target := w.open(t)
	r := request(w.mine, patchbay.Reader)
	ensure(t, target, r)
	probe := func() (driver.ProbeResult, error) {
		return target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: w.mine, Access: patchbay.Reader})
	}
	if result, err := probe(); err != nil || !slices.Contains(result.Refused, "CONNECT to another database") {
		t.Errorf("Probe = %+v, %v", result, said(err))
	}
	w.run(t, "b]lls", "grant connect to guest")
	if result, err := probe(); err != nil || len(result.NotChecked) != 1 || !strings.Contains(result.NotChecked[0], "b]lls") {
		t.Errorf("Probe with a guest = %+v, %v", result, said(err))
	}
	if info, err := target.Inspect(t.Context(), "b]lls"); err != nil || !slices.ContainsFunc(info.Warnings, func(s string) bool { return strings.Contains(s, "guest") }) {
		t.Errorf("Inspect of a database with a guest = %v, %v", info.Warnings, err)
	}
	w.run(t, w.yours, "create user [app] for login "+quoted(r.Name))
	if _, err := probe(); patchbay.CodeOf(err) != patchbay.RightsExcess || !strings.Contains(err.Error(), w.yours) {
		t.Errorf("Probe of a login with a user elsewhere = %v", err)
	}
}

// Somebody who tries passwords locks a login, and a repair lets it in again.
func TestALockedLoginIsRepaired(t *testing.T) {
	w := modelled(t, withLogins, testenv.SQLServerOptions{})
	target := w.open(t)
	r := request(w.mine, patchbay.Writer)
	ensure(t, target, r)
	w.model.Lock(r.Name)
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !slices.Contains(state.Missing, "sign-in: it is locked") {
		t.Errorf("InspectLogin = %+v, %v", state, err)
	}
	ensure(t, target, r)
	if err := w.do(t, r); err != nil {
		t.Error(err)
	}
}

// The roles of the database in place of an access.
func TestRolesOfTheDatabase(t *testing.T) {
	w := modelled(t, withLogins, testenv.SQLServerOptions{})
	target := w.open(t)
	r := request(w.mine, "")
	r.Roles = []string{"DB_DataReader"} // as whoever asks writes it
	ensure(t, target, r)
	if err := w.do(t, r, "select * from dbo.items"); err != nil {
		t.Error(err)
	}
	if err := w.do(t, r, "insert into dbo.items (name) values (N'x')"); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("a reader's insert = %v", err)
	}
	r.Roles = []string{"db_datawriter"}
	ensure(t, target, r)
	if err := w.do(t, r, "select * from dbo.items"); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("a role that was taken away = %v", err)
	}
	r.Roles = []string{"nosuch"}
	if e := patchbay.AsError(target.EnsureLogin(t.Context(), r)); e == nil || e.Code != patchbay.AdminRights || !strings.Contains(e.Message, "nosuch") {
		t.Errorf("a role that is not there = %v", e)
	}
}

// Nobody is told a password who was not proven to be the server, unless the registration
// says so by name.
func TestWhoIsToldThePassword(t *testing.T) {
	secured, plain := modelled(t, withLogins, testenv.SQLServerOptions{TLS: true}), modelled(t, withLogins, testenv.SQLServerOptions{})
	other, err := testenv.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		w          *world
		properties map[string]string
		want       patchbay.Code
		told       bool
	}{
		{"the authority and the name", secured, map[string]string{"ca": string(secured.model.CA), "tlsServerName": "sqlserver.test"}, "", true},
		{"the authority and the address", secured, map[string]string{"ca": string(secured.model.CA)}, "", true},
		{"the authority alone", secured, map[string]string{"sslmode": "verify-ca", "ca": string(secured.model.CA), "tlsServerName": "another.test"}, "", true},
		{"whoever answers", secured, map[string]string{"sslmode": "require"}, "", true},
		{"the system's authorities", secured, map[string]string{}, patchbay.CertificateInvalid, false},
		{"another authority", secured, map[string]string{"ca": string(other.PEM())}, patchbay.CertificateInvalid, false},
		{"another name", secured, map[string]string{"ca": string(secured.model.CA), "tlsServerName": "another.test"}, patchbay.CertificateInvalid, false},
		{"no TLS with one that insists", secured, map[string]string{"sslmode": "disable"}, patchbay.CertificateInvalid, false},
		{"TLS with one that has none", plain, map[string]string{"sslmode": "require"}, patchbay.CertificateInvalid, false},
		{"no TLS at all", plain, map[string]string{"sslmode": "disable"}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.w.config()
			c.Properties = jsonOf(t, tt.properties)
			heard := &listening{Dialer: c.Dialer}
			c.Dialer = heard
			target := drivertest.OpenTarget(t, sqlserver.Driver(), c)
			tt.w.model.Said()
			info, err := target.Inspect(t.Context(), tt.w.mine)
			if patchbay.CodeOf(err) != tt.want {
				t.Fatalf("Inspect = %v, want %q", said(err), tt.want)
			}
			if told := len(tt.w.model.Said()) > 0; told != tt.told {
				t.Errorf("it was signed in to: %t", told)
			}
			if err != nil {
				if patchbay.AsError(err).Fix == "" {
					t.Errorf("%v has no fix", err)
				}
				return
			}
			if want := fmt.Sprint(tt.w == secured); info.Values["encrypt"] != want || (info.TLS != "") != (tt.w == secured) {
				t.Errorf("Inspect says encrypt=%s, TLS %q", info.Values["encrypt"], info.TLS)
			}
			r := request(tt.w.mine, patchbay.Writer)
			ensure(t, target, r)
			if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: heard, Sub: tt.w.mine, Access: patchbay.Writer}); err != nil {
				t.Error(said(err))
			}
			// A library that checks certificates gets no further than that allows.
			strict := driver.ProbeRequest{Credential: r.Credential, Dialer: heard, Sub: tt.w.mine, Access: patchbay.Writer, Reading: driver.Reading{Mode: driver.TLSVerifyFull, Named: true}}
			if _, err := target.Probe(t.Context(), strict); (err == nil) != (tt.properties["ca"] != "" && tt.properties["tlsServerName"] != "another.test") {
				t.Errorf("as a library that checks: %v", err)
			}
		})
	}
}

// A gateway of Azure's may send on, once, to whom its certificate proves.
func TestAGatewaySendsOn(t *testing.T) {
	w, gateway := modelled(t, withLogins, testenv.SQLServerOptions{}), modelled(t, withLogins, testenv.SQLServerOptions{})
	gateway.model.SendOn(w.model.Addr())
	c := w.config()
	c.Endpoint = gateway.model.Addr()
	target := drivertest.OpenTarget(t, sqlserver.Driver(), c)
	if _, err := target.Inspect(t.Context(), w.mine); err != nil {
		t.Errorf("Inspect by a gateway: %v", said(err))
	}
	gateway.model.SendOn(gateway.model.Addr())
	if _, err := target.Inspect(t.Context(), "b]lls"); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
		t.Errorf("Inspect by one that sends on to itself: %v", err)
	}
}

// listening is a dialer.
type listening struct{ driver.Dialer }

func TestRegistrationsThatAreRefused(t *testing.T) {
	w := modelled(t, withLogins, testenv.SQLServerOptions{})
	for name, change := range map[string]func(*driver.Config){
		"an instance":            func(c *driver.Config) { c.Endpoint = `10.0.0.5\SQLEXPRESS` },
		"prefer":                 func(c *driver.Config) { c.Properties = []byte(`{"sslmode":"prefer"}`) },
		"trust":                  func(c *driver.Config) { c.Properties = []byte(`{"trustServerCertificate":"true"}`) },
		"a login of Windows":     func(c *driver.Config) { c.Admin["username"] = patchbay.NewSecret(`CORP\admin`) },
		"no password":            func(c *driver.Config) { delete(c.Admin, "password") },
		"too many sessions":      func(c *driver.Config) { c.Properties = []byte(`{"maxSessions":"51"}`) },
		"a name of emoji":        func(c *driver.Config) { c.Admin["username"] = patchbay.NewSecret("admin\U0001F600") },
		"authorities for no TLS": func(c *driver.Config) { c.Properties = jsonOf(t, map[string]string{"sslmode": "disable", "ca": "x"}) },
	} {
		c := w.config()
		change(&c)
		if _, err := sqlserver.Driver().Open(context.Background(), c); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	target := w.open(t)
	for name, change := range map[string]func(*driver.LoginRequest){
		"master":       func(r *driver.LoginRequest) { r.Sub = "Master" },
		"a role":       func(r *driver.LoginRequest) { r.Roles = []string{"public"} },
		"an option":    func(r *driver.LoginRequest) { r.Options = map[string]string{"x": "y"} },
		"a name":       func(r *driver.LoginRequest) { r.Name = "patchbay" },
		"a mark":       func(r *driver.LoginRequest) { r.Mark.UID = "" },
		"a long mark":  func(r *driver.LoginRequest) { r.Mark.Connection = patchbay.ID("/" + strings.Repeat("x", 4000)) },
		"an emoji":     func(r *driver.LoginRequest) { r.Sub = "shop\U0001F600" },
		"no such word": func(r *driver.LoginRequest) { r.Access = "admin" },
	} {
		r := request(w.mine, patchbay.Reader)
		change(&r)
		w.model.Said()
		if err := target.EnsureLogin(t.Context(), r); err == nil {
			t.Errorf("%s is taken", name)
		}
		if said := w.model.Said(); len(said) > 0 {
			t.Errorf("%s is told to the server", name)
		}
	}
}
