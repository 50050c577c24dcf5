package postgres_test

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/testenv"
)

// A copy of a database has the rights of its logins' groups: what is wrong with it
// is nothing to the connections of the other one.
func TestACopyThatCantBeEnteredStopsNothingElse(t *testing.T) {
	everybody := "host all all 127.0.0.1/32 scram-sha-256"
	for name, c := range map[string]struct {
		admin      string
		shut, open []string // as the superuser
		hba        []string
		why        string // of what stays, "" when nothing has to
		fix        string
	}{
		"takes no connections": {
			shut: []string{"alter database copy allow_connections false"}, open: []string{"alter database copy allow_connections true"},
			why: "which takes no connections", fix: "ALTER DATABASE \"copy\" ALLOW_CONNECTIONS true",
		},
		"a limit of none, for an administrator of limited rights": {
			admin: "admin", shut: []string{"alter database copy connection limit 0"}, open: []string{"alter database copy connection limit -1"},
			why: "superusers alone", fix: "ALTER DATABASE \"copy\" CONNECTION LIMIT -1",
		},
		"a limit of none, for a superuser": {
			shut: []string{"alter database copy connection limit 0"},
		},
		"half dropped": {
			shut: []string{"update pg_database set datconnlimit = -2 where datname = 'copy'"}, open: []string{"drop database copy", "create database copy"},
			why: "cut short", fix: "DROP DATABASE \"copy\"",
		},
		"not for us, in pg_hba.conf": {
			hba: []string{"host copy all 127.0.0.1/32 reject", everybody},
			why: "does not let the administrator", fix: "pg_hba.conf",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, testenv.PostgresOptions{})
			config := config(s)
			if c.admin != "" {
				config.Admin["username"] = patchbay.NewSecret(c.admin)
			}
			target := openTarget(t, config)
			first := login(t, target, "orders", patchbay.Writer)
			owner := login(t, target, "orders", patchbay.Owner)
			as(t, s, owner, "create table made (n int)")
			if err := target.Close(); err != nil { // its sessions are in the way of a copy
				t.Fatal(err)
			}
			target = openTarget(t, config)
			exec(t, s, "postgres", "create database copy template orders owner alien")
			exec(t, s, "postgres", c.shut...)
			if c.hba != nil {
				if err := s.SetHBA(t.Context(), c.hba...); err != nil {
					t.Fatal(err)
				}
			}

			second := login(t, target, "orders", patchbay.Writer) // a rotation: the next one, and the first goes
			remove(t, target, first)
			if err := target.EnsureLogin(t.Context(), second); err != nil {
				t.Fatal(err)
			}
			as(t, s, second, "insert into items (name) values ('x')")
			info, err := target.Inspect(t.Context(), "orders")
			if err != nil {
				t.Fatal(err)
			}
			if warned := strings.Contains(strings.Join(info.Warnings, "\n"), "database copy, which takes no connections"); warned != (name == "takes no connections") {
				t.Errorf("warnings: %q", info.Warnings)
			}

			err = target.RemoveLogin(t.Context(), second)
			if left := column(t, s, "postgres", "select rolname::text from pg_roles where rolname = $1", second.Name); len(left) > 0 {
				t.Errorf("the login is still there: %v", err)
			}
			if c.why == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e := patchbay.AsError(err)
			if e == nil || !strings.Contains(e.Message, c.why) || !strings.Contains(e.Message, "database copy") || !strings.Contains(e.Fix, c.fix) || e.Code == patchbay.Internal {
				t.Fatalf("RemoveLogin = %v (fix: %s)", err, e.Fix)
			}
			// What has something there itself can't be dropped, and signs in no more.
			stays := login(t, target, "orders", patchbay.Reader)
			if c.hba != nil {
				if err := s.SetHBA(t.Context(), everybody); err != nil {
					t.Fatal(err)
				}
			}
			exec(t, s, "postgres", c.open...)
			exec(t, s, "copy", "create table theirs (n int)", "alter table theirs owner to "+stays.Name)
			if c.hba != nil {
				if err := s.SetHBA(t.Context(), c.hba...); err != nil {
					t.Fatal(err)
				}
			}
			exec(t, s, "postgres", c.shut...)
			err = target.RemoveLogin(t.Context(), stays)
			if e := patchbay.AsError(err); e == nil || !strings.Contains(e.Message, stays.Name+" may not sign in any more") || !strings.Contains(e.Message, "owns something in the database copy") {
				t.Fatalf("RemoveLogin = %v", err)
			}
			if got := column(t, s, "postgres", "select rolcanlogin::text from pg_roles where rolname = $1", stays.Name); got[0] != "false" {
				t.Error("it may still sign in")
			}
			// The fix is true: what is left goes when it was followed.
			exec(t, s, "postgres", c.open...)
			if c.hba != nil {
				if err := s.SetHBA(t.Context(), everybody); err != nil {
					t.Fatal(err)
				}
			}
			remove(t, target, stays)
			remove(t, target, second)
			remove(t, target, owner)
			exec(t, s, "orders", "drop table made")
			exec(t, s, "postgres", "drop database copy with (force)")
			for _, role := range column(t, s, "postgres", `select rolname::text from pg_roles where rolname like 'pb\_owner\_copy%'`) {
				exec(t, s, "postgres", "drop role "+role) // it owned what was handed over
			}
			remove(t, target, login(t, target, "orders", patchbay.Owner))
			nothingLeft(t, s)
		})
	}
}

// Its own database may let nobody in: its login is taken away all the same.
func TestALoginGoesWhoseDatabaseTakesNoConnections(t *testing.T) {
	s := server(t, testenv.PostgresOptions{})
	target := openTarget(t, config(s))
	r := login(t, target, "orders", patchbay.Writer)
	exec(t, s, "postgres", "alter database orders allow_connections false")
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
	target = openTarget(t, config(s))
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.TargetUnreachable || !strings.Contains(patchbay.AsError(err).Fix, "ALLOW_CONNECTIONS true") {
		t.Errorf("EnsureLogin = %v", err)
	}
	err := target.RemoveLogin(t.Context(), r)
	if patchbay.CodeOf(err) != patchbay.TargetUnreachable || !strings.Contains(err.Error(), "database orders, which takes no connections") {
		t.Errorf("RemoveLogin = %v", err)
	}
	if left := column(t, s, "postgres", "select rolname::text from pg_roles where rolname = $1", r.Name); len(left) > 0 {
		t.Error("the login is still there")
	}
	exec(t, s, "postgres", "alter database orders allow_connections true")
	remove(t, target, r)
	nothingLeft(t, s)
}
