package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/postgres"
)

// ours waits until there are no sessions of ours on the server.
func ours(t *testing.T, s *testenv.PostgresServer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		left := column(t, s, "postgres", "select datname::text || ' ' || application_name from pg_stat_activity where application_name like 'patchbay%'")
		if len(left) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("sessions that stay: %q", left)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// The server counts: it lets no more sessions of the administrator in than the
// registration says. Two registrations of one server share them.
func TestManyDatabasesTakeFewSessions(t *testing.T) {
	const many = 9
	for _, limits := range [][]int{{3}, {1}, {3, 2}} {
		t.Run(fmt.Sprint(limits), func(t *testing.T) {
			s := server(t, testenv.PostgresOptions{})
			exec(t, s, "postgres", fmt.Sprintf("alter role admin connection limit %d", slices.Max(limits)))
			var targets []driver.Administrator
			for _, n := range limits {
				c := withProperties(config(s), pgconnect.Properties{MaxSessions: fmt.Sprint(n)})
				c.Admin["username"] = patchbay.NewSecret("admin")
				targets = append(targets, openTarget(t, c))
			}
			var logins []driver.LoginRequest
			for i := range many {
				name := fmt.Sprintf("app%d", i)
				exec(t, s, "postgres", "create database "+name+" owner admin")
				r := driver.LoginRequest{
					Mark: driver.Mark{UID: name, Generation: 1}, Name: fmt.Sprintf("pb_%s_g1", name), Sub: name, Auth: patchbay.AuthSecret, Access: patchbay.Owner,
				}
				if i%3 == 0 { // several of one database
					r.Sub = "app0"
				}
				r.Credential, _ = targets[0].NewCredential(t.Context(), r)
				logins = append(logins, r)
			}
			each := func(f func(driver.Administrator, driver.LoginRequest) error) {
				t.Helper()
				var all sync.WaitGroup
				for i, r := range logins {
					all.Go(func() {
						if err := f(targets[i%len(targets)], r); err != nil {
							t.Errorf("%s: %v", r.Name, err)
						}
					})
				}
				all.Wait()
			}
			each(func(a driver.Administrator, r driver.LoginRequest) error { return a.EnsureLogin(t.Context(), r) })
			// One that has something elsewhere needs sessions in both databases.
			exec(t, s, "app1", "create table theirs (n int)", "alter table theirs owner to admin", "grant select on theirs to "+logins[2].Name)
			each(func(a driver.Administrator, r driver.LoginRequest) error { return a.EnsureLogin(t.Context(), r) })
			each(func(a driver.Administrator, r driver.LoginRequest) error {
				state, err := a.InspectLogin(t.Context(), r)
				if err == nil && len(state.Missing)+len(state.Excess) > 0 {
					err = fmt.Errorf("%+v", state)
				}
				return err
			})
			each(func(_ driver.Administrator, r driver.LoginRequest) error {
				_, err := postgres.Driver().ProbeHere(t.Context(), withProperties(config(s), pgconnect.Properties{}), targets[0], driver.ProbeRequest{Credential: r.Credential, Dialer: config(s).Dialer, Sub: r.Sub, Access: r.Access})
				return err
			})
			ours(t, s)
			each(func(a driver.Administrator, r driver.LoginRequest) error { return a.RemoveLogin(t.Context(), r) })
			for i := 2; i < many; i++ { // at once: PostgreSQL waits a moment for sessions to end
				exec(t, s, "postgres", fmt.Sprintf("drop database app%d", i))
			}
			for _, target := range targets {
				if err := target.Close(); err != nil {
					t.Error(err)
				}
			}
			if left := column(t, s, "postgres", "select datname::text from pg_stat_activity where application_name like 'patchbay%'"); len(left) > 0 {
				t.Errorf("sessions of targets that are closed, in %q", left)
			}
		})
	}
}
