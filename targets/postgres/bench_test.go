package postgres_test

import (
	"fmt"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// BenchmarkLogin makes and removes a login: through the driver, with
// and without another one on the database, and by hand, with the statements of
// somebody who grants each login its rights.
func BenchmarkLogin(b *testing.B) {
	s := sharedServer(b, 15)
	target := openTarget(b, config(s))
	request := func(i int) driver.LoginRequest {
		r := driver.LoginRequest{
			Mark: driver.Mark{UID: fmt.Sprintf("bench%d", i), Generation: 1}, Name: fmt.Sprintf("pb_bench%d_g1", i),
			Sub: "orders", Auth: patchbay.AuthSecret, Access: patchbay.Writer,
		}
		r.Credential, _ = target.NewCredential(b.Context(), r)
		return r
	}
	cycle := func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			r := request(i)
			if err := target.EnsureLogin(b.Context(), r); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			remove(b, target, r)
			b.StartTimer()
		}
	}
	b.Run("first of the database", cycle)
	standing := login(b, target, "orders", patchbay.Writer)
	b.Run("beside another", cycle)
	remove(b, target, standing)
	b.Run("by hand", func(b *testing.B) {
		conn, err := s.Connect(b.Context(), "orders")
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close(b.Context()) }()
		run := func(statements ...string) {
			for _, statement := range statements {
				if _, err := conn.Exec(b.Context(), statement); err != nil {
					b.Fatal(err)
				}
			}
		}
		for b.Loop() {
			run("create role by_hand login password 'secret'", "comment on role by_hand is 'web to orders'",
				"grant connect, temporary on database orders to by_hand", "grant usage on schema public, app to by_hand",
				"grant select, insert, update, delete on all tables in schema public, app to by_hand", "grant usage, select on all sequences in schema public, app to by_hand",
				"grant execute on all routines in schema public, app to by_hand",
				"alter default privileges for role app_owner grant select, insert, update, delete on tables to by_hand",
				"alter default privileges for role app_owner grant usage, select on sequences to by_hand",
				"alter default privileges for role app_owner grant execute on routines to by_hand")
			b.StopTimer()
			run("drop owned by by_hand", "drop role by_hand")
			b.StartTimer()
		}
	})
}
