package postgres_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/pgconnect"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/postgres"
)

// hostileAdmin is the name of an administrator that somebody may have made.
const hostileAdmin = `ad"min'; drop role postgres; --`

func signingInAs(c driver.Config, username, password string) driver.Config {
	c.Admin = driver.Secrets{"username": patchbay.NewSecret(username), "password": patchbay.NewSecret(password)}
	return c
}

func TestAdminRotation(t *testing.T) {
	for _, version := range append(one(t, 13, 18), 0) { // and the system's
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := server(t, testenv.PostgresOptions{Version: version})
			exec(t, s, "postgres", "create role "+quoted(hostileAdmin)+" login createrole password 'first-password'", "grant connect on database postgres to "+quoted(hostileAdmin))
			drivertest.AdminRotation(t, postgres.Driver(), signingInAs(config(s), hostileAdmin, "first-password"))
		})
	}
}

// The server logs every statement; a password is in none of them, and what is kept of it
// afterwards is SCRAM's.
func TestAReplacedPasswordIsInNoLog(t *testing.T) {
	s := server(t, testenv.PostgresOptions{Settings: map[string]string{"log_statement": "'all'"}})
	target := openTarget(t, signingInAs(config(s), "admin", s.Password)).Administrator.(driver.AdminRotator)
	next, err := target.NewAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := target.RotateAdmin(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log, `alter role "admin" password`) {
		t.Error("the server does not log statements: the test shows nothing")
	}
	if strings.Contains(log, "there is no transaction in progress") {
		t.Error("it is done outside of a transaction, without the lock and the time limits of one")
	}
	if strings.Contains(log, next["password"].Reveal()) {
		t.Error("the password is in the server's log")
	}
	exec(t, s, "postgres", `do $$ begin if (select rolpassword not like 'SCRAM-SHA-256$%' from pg_authid where rolname = 'admin') then raise 'it is kept otherwise'; end if; end $$`)
}

// Where a new password would prove nothing, or is not the server's alone, it is refused
// before anything is changed.
func TestWhereAnAdministratorsPasswordCantBeReplaced(t *testing.T) {
	s := server(t, testenv.PostgresOptions{HBA: []string{
		"host all trusted 127.0.0.1/32 trust",
		"host all cleartext 127.0.0.1/32 password",
		"host all all 127.0.0.1/32 scram-sha-256",
	}})
	for _, name := range []string{"trusted", "cleartext"} {
		exec(t, s, "postgres", "create role "+name+" login superuser password 'theirs'")
	}
	pooled := config(s)
	pooled.Endpoint = testenv.PgBouncer(t, s, "session", false).Addr()
	clear := withProperties(signingInAs(config(s), "cleartext", "theirs"), pgconnect.Properties{WeakestAuth: "password"})
	nameless := config(s)
	nameless.Admin = driver.Secrets{"username": patchbay.NewSecret("trusted")}
	for what, c := range map[string]struct {
		config    driver.Config
		says, fix string
	}{
		"anybody is let in":         {signingInAs(config(s), "trusted", "theirs"), "without its password", "pg_hba.conf"},
		"no password is registered": {nameless, "signs in to", "register the server again"},
		"it may be a directory's":   {clear, "in the clear", "scram-sha-256"},
		"a pooler may keep it too":  {pooled, "connection pooler", "register the server itself"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := openTarget(t, c.config).Administrator.(driver.AdminRotator).NewAdmin(t.Context())
			if e := patchbay.AsError(err); e == nil || e.Code != patchbay.NotSupported || e.Transient || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Fix, c.fix) {
				t.Errorf("NewAdmin = %v (fix %q)", err, e.Fix)
			}
		})
	}
}

// What an attempt left under way, whose caller is gone, does not come true behind the one
// that takes it back.
func TestAReplacementThatHangsDoesNotComeTrueLater(t *testing.T) {
	s := server(t, testenv.PostgresOptions{})
	c := signingInAs(config(s), "admin", s.Password)
	next, err := openTarget(t, c).Administrator.(driver.AdminRotator).NewAdmin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Somebody has the role's row.
	blocker, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = blocker.Close(context.WithoutCancel(t.Context())) }()
	tx, err := blocker.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "alter role admin connection limit 50"); err != nil {
		t.Fatal(err)
	}
	looker, err := pgx.Connect(t.Context(), s.URL("postgres")) // in a transaction what is seen stays
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = looker.Close(context.WithoutCancel(t.Context())) }()
	var began time.Time
	waits := func() (n int) {
		if err := looker.QueryRow(t.Context(), "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and backend_start > $1", began).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// rotate begins a call, and returns when it waits for a lock.
	rotate := func(ctx context.Context, next driver.Secrets) <-chan error {
		if err := looker.QueryRow(t.Context(), "select clock_timestamp()").Scan(&began); err != nil {
			t.Fatal(err)
		}
		target, ended := openTarget(t, c).Administrator.(driver.AdminRotator), make(chan error, 1)
		go func() { ended <- target.RotateAdmin(ctx, next) }()
		for waits() == 0 && len(ended) == 0 && t.Context().Err() == nil {
			runtime.Gosched()
		}
		return ended
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := rotate(ctx, next)
	cancel()
	if err := <-ended; err == nil {
		t.Error("it says that it has succeeded")
	}
	back := rotate(t.Context(), c.Admin)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-back; err != nil {
		t.Fatalf("taking it back: %v", err)
	}
	if _, err := openTarget(t, c).Inspect(t.Context(), ""); err != nil {
		t.Errorf("the old one: %v", err)
	}
	c.Admin = next
	if _, err := openTarget(t, c).Inspect(t.Context(), ""); patchbay.CodeOf(err) != patchbay.AdminRefused {
		t.Errorf("the new one: %v", err)
	}
}
