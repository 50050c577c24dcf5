package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Whoever holds a lock is named, as far as the administrator may see it, and what is
// said to do about it helps.
func TestWhoHoldsALockIsNamed(t *testing.T) {
	const advisory = "select pg_advisory_lock(8097881575290724729)" // "patchbay"
	ensure := func(target driver.Administrator, r driver.LoginRequest) error {
		return target.EnsureLogin(t.Context(), r)
	}
	for _, version := range one(t, 13, 15, 18) {
		for _, admin := range []string{"postgres", "admin"} {
			if version < 15 && admin != "postgres" {
				continue // the schema public is not its own there
			}
			for name, c := range map[string]struct {
				hold    []string // by somebody else
				do      func(driver.Administrator, driver.LoginRequest) error
				on      string
				since   int // the first version in which anything waits for it
				another bool
			}{
				"a table, whole":          {hold: []string{"lock table items in access exclusive mode"}, do: ensure, on: "public.items", since: 18},
				"a GRANT on a table":      {hold: []string{"grant select on items to somebody"}, do: ensure},
				"a GRANT on the database": {hold: []string{"grant create on database orders to somebody"}, do: ensure},
				"another Patchbay":        {hold: []string{advisory}, do: ensure, on: "the logins of this database", another: true},
				"a role that is changed": {hold: []string{"alter role {login} connection limit 7"}, do: func(target driver.Administrator, r driver.LoginRequest) error {
					return target.RemoveLogin(t.Context(), r)
				}},
			} {
				if c.another && (version < 18 || admin != "admin") && !*everyVersion {
					continue // ours is waited for longer than all others
				}
				t.Run(fmt.Sprint(version, " ", admin, " ", name), func(t *testing.T) {
					s := sharedServer(t, version)
					config := config(s)
					config.Admin["username"] = patchbay.NewSecret(admin)
					target := openTarget(t, config)
					stays := login(t, target, "orders", patchbay.Reader)
					defer remove(t, target, stays)
					serial++
					r := driver.LoginRequest{
						Mark: driver.Mark{UID: fmt.Sprintf("test%d", serial), Generation: 1}, Name: fmt.Sprintf("pb_test%d_g1", serial), Sub: "orders",
						Auth: patchbay.AuthSecret, Access: patchbay.Writer, // whose group is not there yet
					}
					r.Credential, _ = target.NewCredential(t.Context(), r)
					if strings.Contains(strings.Join(c.hold, ""), "{login}") {
						if err := target.EnsureLogin(t.Context(), r); err != nil {
							t.Fatal(err)
						}
					}
					defer remove(t, target, r)

					config2, err := pgx.ParseConfig(s.URL("orders"))
					if err != nil {
						t.Fatal(err)
					}
					config2.RuntimeParams["application_name"] = "a DBA's psql"
					if c.another {
						config2.RuntimeParams["application_name"] = "patchbay"
					}
					dba, err := pgx.ConnectConfig(t.Context(), config2)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = dba.Close(context.Background()) }()
					for _, statement := range append([]string{"begin"}, c.hold...) {
						if _, err := dba.Exec(t.Context(), strings.ReplaceAll(statement, "{login}", r.Name)); err != nil {
							t.Fatal(err)
						}
					}

					err = c.do(target, r)
					if version < c.since {
						if err != nil {
							t.Error(err)
						}
						return
					}
					e := patchbay.AsError(err)
					pid := fmt.Sprintf("process %d (user postgres, application %s", dba.PgConn().PID(), config2.RuntimeParams["application_name"])
					if e.Code != patchbay.Timeout || !e.Transient || !strings.Contains(e.Message, pid) || !strings.Contains(e.Message, c.on) {
						t.Fatalf("%v (fix: %s), want %s and %s", err, e.Fix, pid, c.on)
					}
					if seen := strings.Contains(e.Message, "idle in transaction, in a transaction since "); seen != (admin == "postgres") {
						t.Errorf("what only some may see: %v", err)
					}
					if strings.Contains(e.Message, "somebody") {
						t.Errorf("the message shows a statement: %v", err)
					}
					if c.another {
						if !strings.Contains(e.Fix, "another Patchbay") {
							t.Errorf("fix: %s", e.Fix)
						}
						_ = dba.Close(t.Context())
					} else {
						end := fmt.Sprintf("select pg_terminate_backend(%d)", dba.PgConn().PID())
						if !strings.Contains(e.Fix, end) {
							t.Fatalf("fix: %s", e.Fix)
						}
						exec(t, s, "postgres", end)
					}
					for {
						if err = c.do(target, r); !patchbay.IsTransient(err) {
							break
						}
					}
					if err != nil {
						t.Errorf("when it has ended: %v", err)
					}
				})
			}
		}
	}
}

// Where all rights are in place a create touches no table.
func TestALockedTableIsNothingToALoginWhoseGroupIsThere(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	first := login(t, target, "orders", patchbay.Writer)
	dba, err := s.Connect(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dba.Close(context.Background()) }()
	for _, statement := range []string{"begin", "lock table items, app.parted in access exclusive mode", "lock table pg_namespace in share row exclusive mode"} {
		if _, err := dba.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	reader := login(t, target, "bills", patchbay.Reader) // nor is another database's
	remove(t, target, reader)
	second := login(t, target, "orders", patchbay.Writer)
	if state, err := target.InspectLogin(t.Context(), second); err != nil || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("InspectLogin = %+v, %v", state, err)
	}
	remove(t, target, first)
	if _, err := dba.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	remove(t, target, second)
	nothingLeft(t, s)
}
