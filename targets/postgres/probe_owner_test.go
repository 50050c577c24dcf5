package postgres_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

// probed is what a probe of the login finds.
func probed(t testing.TB, target drivertest.Opened, r driver.LoginRequest) driver.ProbeResult {
	t.Helper()
	result, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: r.Sub, Access: r.Access})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// An owner's login may change what its owner role owns; of the rest the probe says
// whose it is, and what it names is what helps, and stays.
func TestAProbeSaysWhatAnOwnerMayNotChange(t *testing.T) {
	for _, version := range one(t, 13, 15, 16, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			target := openTarget(t, config(s))
			exec(t, s, "orders", "create table public.supers (n int)")
			r := login(t, target, "orders", patchbay.Owner)
			for range 5 {
				result := probed(t, target, r)
				if len(result.Warnings) == 0 {
					break
				}
				warning := result.Warnings[0]
				_, fix, ok := strings.Cut(warning, "to hand it over: ")
				if !ok || !strings.Contains(warning, "may use, and not alter or drop") || !slices.Contains(result.Refused, "ALTER TABLE") {
					t.Fatalf("Probe = %+v", result)
				}
				exec(t, s, "orders", strings.TrimSuffix(fix, ", and so on"))
				if err := target.EnsureLogin(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				if again := probed(t, target, r); slices.Contains(again.Warnings, warning) {
					t.Fatalf("%q did not help, or did not stay", fix)
				}
			}
			result := probed(t, target, r)
			if len(result.Warnings) > 0 || !slices.Contains(result.Allowed, "ALTER TABLE") {
				t.Errorf("Probe = %+v", result)
			}
			as(t, s, r, "alter table supers add column m int", "alter table app.parted add column x int", "alter table app.parted drop column x", "alter table items alter column name set statistics -1")

			// A lock of somebody's is neither waited for nor taken for a missing right, and
			// nothing that an event trigger does outlives the probe.
			holder, err := s.Connect(t.Context(), "orders")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = holder.Close(context.Background()) }()
			for _, statement := range []string{"begin", "lock table supers, items, app.parted, app.\"odd \"\"name'\" in share update exclusive mode"} {
				if _, err := holder.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			result = probed(t, target, r)
			if len(result.Warnings) > 0 || !strings.Contains(strings.Join(result.NotChecked, " "), "ALTER TABLE") {
				t.Errorf("with a lock: Probe = %+v", result)
			}
			if _, err := holder.Exec(t.Context(), "rollback"); err != nil {
				t.Fatal(err)
			}
			owner, err := group(t.Context(), s, patchbay.Owner, "orders")
			if err != nil {
				t.Fatal(err)
			}
			exec(t, s, "orders", "create sequence fired", "create function note() returns event_trigger language plpgsql security definer as 'begin perform nextval(''public.fired''); end'",
				"alter sequence fired owner to "+owner, "alter function note() owner to "+owner, "create event trigger noting on ddl_command_start when tag in ('ALTER TABLE') execute function note()")
			result = probed(t, target, r)
			if got := column(t, s, "orders", "select is_called::text from fired"); got[0] != "false" || len(result.Warnings) > 0 {
				t.Errorf("an event trigger ran: %q; Probe = %+v", got, result)
			}
			exec(t, s, "orders", "drop event trigger noting", "drop function note()", "drop sequence fired", "drop table supers")
			for _, role := range []string{"admin", "app_owner"} {
				exec(t, s, "orders", "revoke "+role+" from "+owner)
			}
			remove(t, target, r)
			nothingLeft(t, s)
		})
	}
}
