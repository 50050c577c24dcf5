package postgres_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/postgres"
)

// A pooler gives each transaction to whichever session is free.
func TestThroughAPooler(t *testing.T) {
	for _, mode := range []string{"transaction", "session"} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprint(mode, " TLS ", secure), func(t *testing.T) {
				s := server(t, testenv.PostgresOptions{})
				pooler := testenv.PgBouncer(t, s, mode, secure)
				c := config(s)
				p := pgconnect.Properties{MaxSessions: "16"}
				if secure {
					p.SSLMode, p.CA = "verify-full", string(pooler.CA)
				}
				c = withProperties(c, p)
				c.Endpoint = pooler.Addr()
				target := openTarget(t, c)
				info, err := target.Inspect(t.Context(), "orders")
				if err != nil || !strings.Contains(strings.Join(info.Warnings, "\n"), "there is a connection pooler") {
					t.Fatalf("%v, warnings %q", err, info.Warnings)
				}
				var all sync.WaitGroup
				for i := range 8 {
					all.Go(func() {
						uid := fmt.Sprintf("pooled%d", i)
						r := driver.LoginRequest{
							Mark: driver.Mark{UID: uid, Generation: 1}, Name: "pb_" + uid + "_g1", Sub: []string{"orders", "bills"}[i%2],
							Auth: patchbay.AuthSecret, Access: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}[i%3],
						}
						r.Credential, _ = target.NewCredential(t.Context(), r)
						for range 2 {
							if err := target.EnsureLogin(t.Context(), r); err != nil {
								t.Errorf("EnsureLogin: %v", err)
								return
							}
						}
						if _, err := postgres.Driver().ProbeHere(t.Context(), c, target, driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: r.Sub, Access: r.Access}); err != nil {
							t.Errorf("probe: %v", err)
						}
						if state, err := target.InspectLogin(t.Context(), r); err != nil || len(state.Missing)+len(state.Excess) > 0 {
							t.Errorf("InspectLogin = %+v, %v", state, err)
						}
						application, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=prefer&default_query_exec_mode=exec", r.Name, r.Credential.Secret["password"].Reveal(), pooler.Addr(), r.Sub))
						if err != nil {
							t.Errorf("the application: %v", err)
							return
						}
						defer func() { _ = application.Close(t.Context()) }()
						if _, err := application.Exec(t.Context(), "select * from items"); err != nil {
							t.Errorf("the application: %v", err)
						}
						if err := target.RemoveLogin(t.Context(), r); err != nil {
							t.Errorf("RemoveLogin: %v", err)
						}
						// The pooler tries to sign in again and again, and keeps it waiting.
						ctx, cancel := context.WithTimeout(t.Context(), time.Second)
						defer cancel()
						if _, err := application.Exec(ctx, "select * from items"); err == nil {
							t.Error("the application goes on with a login that was removed")
						}
					})
				}
				all.Wait()
				nothingLeft(t, s)
			})
		}
	}
}

// Where no transaction may have two statements nothing can be administered.
func TestAPoolerOfSingleStatementsIsRefused(t *testing.T) {
	s := server(t, testenv.PostgresOptions{})
	c := config(s)
	c.Endpoint = testenv.PgBouncer(t, s, "statement", false).Addr()
	target := openTarget(t, c)
	_, err := target.Inspect(t.Context(), "orders")
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.NotSupported || e.Transient || !strings.Contains(e.Fix, "pool_mode") {
		t.Errorf("Inspect = %v (fix: %s)", err, e.Fix)
	}
}
