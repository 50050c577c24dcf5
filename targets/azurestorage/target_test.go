package azurestorage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/azurestorage"
)

// session polls: HTTP has no sessions, and a service tells nobody of an end.
type session struct{ try func(context.Context) error }

func (s session) Close() {}

func (s session) Wait(ctx context.Context) error {
	for {
		err := s.try(ctx)
		switch {
		case errors.Is(err, drivertest.ErrRefused):
			return nil
		case err != nil:
			return err
		}
	}
}

func harness(t *testing.T, s *testenv.AzuriteServer, e eyes, product string, names ...string) drivertest.TargetHarness {
	t.Helper()
	var subs []string
	for _, name := range names {
		subs = append(subs, e.made(t, name))
	}
	// The suite is for the accesses that the service has.
	d := azurestorage.Driver()
	logins := *d.Logins
	logins.Accesses = e.access
	d.Logins = &logins

	edit := func(change func(*listed)) func(context.Context, driver.LoginRequest) error {
		return func(ctx context.Context, r driver.LoginRequest) error {
			return e.change(ctx, id(r.Sub), func(all []listed) []listed {
				for i := range all {
					if strings.HasPrefix(all[i].id, r.Name+".") {
						change(&all[i])
					}
				}
				return all
			})
		}
	}
	h := drivertest.TargetHarness{
		Driver: d, Config: register(s, nil), Subs: subs, MissingSub: e.sub("missing"),
		Product: product, Release: 2, Model: "Microsoft's emulator of Azure Storage",
		SignIn: func(ctx context.Context, sub string, c driver.Credential) error {
			return e.signIn(ctx, id(sub), c.Secret["sas"].Reveal())
		},
		OpenSession: func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
			try := func(ctx context.Context) error { return e.signIn(ctx, id(sub), c.Secret["sas"].Reveal()) }
			return session{try}, try(ctx)
		},
		Actions: e.actions,
		Drifts: []drivertest.Drift{
			{Name: "may write", Access: patchbay.Reader, Excess: true, Make: edit(func(l *listed) { l.permission += "a" })},
			{Name: "may read only", Access: patchbay.Writer, Missing: true, Make: edit(func(l *listed) { l.permission = "r" })},
			{Name: "may something else", Access: patchbay.Reader, Missing: true, Excess: true, Make: edit(func(l *listed) { l.permission = "a" })},
			{Name: "has expired", Access: patchbay.Writer, Missing: true, Make: edit(func(l *listed) { l.expiry = to.Ptr(time.Now().Add(-time.Hour)) })},
			{Name: "has a start", Access: patchbay.Writer, Missing: true, Make: edit(func(l *listed) { l.start = to.Ptr(time.Now().Add(time.Hour)) })},
			{Name: "its policy is gone", Access: patchbay.Writer, Make: func(ctx context.Context, r driver.LoginRequest) error {
				return e.change(ctx, id(r.Sub), func(all []listed) []listed {
					return slices.DeleteFunc(all, func(l listed) bool { return strings.HasPrefix(l.id, r.Name+".") })
				})
			}},
		},
		Foreign: func(t testing.TB, sub, name string) func() error {
			expiry := to.Ptr(time.Now().Add(time.Hour).Truncate(time.Second).UTC())
			err := e.change(t.Context(), id(sub), func(all []listed) []listed {
				return append(all, listed{id: name, permission: "r", start: to.Ptr(time.Unix(1e9, 0).UTC()), expiry: expiry})
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				err := e.change(context.Background(), id(sub), func(all []listed) []listed {
					return slices.DeleteFunc(all, func(l listed) bool { return l.id == name })
				})
				if err != nil {
					t.Error(err)
				}
			})
			return func() error {
				all, err := e.policies(context.Background(), id(sub))
				if err == nil && !slices.ContainsFunc(all, func(l listed) bool { return l.id == name && l.permission == "r" && l.expiry.Equal(*expiry) }) {
					err = fmt.Errorf("the list has %+v", all)
				}
				return err
			}
		},
		Wrong: func(c driver.Credential) map[string]driver.Credential {
			sas := c.Secret["sas"].Reveal()
			with := func(old, new string) driver.Credential {
				return driver.Credential{Secret: driver.Secrets{"sas": patchbay.NewSecret(strings.Replace(sas, old, new, 1))}}
			}
			return map[string]driver.Credential{
				"an altered signature": with("sig=", "sig=A"),
				"another's policy":     with("si=pb_", "si=pb_x"),
				"no signature":         {Secret: driver.Secrets{"sas": patchbay.NewSecret("nothing")}},
				"nothing":              {},
			}
		},
	}
	if !e.whole {
		h.Drifts = append(h.Drifts,
			drivertest.Drift{Name: "has no expiry", Access: patchbay.Writer, Missing: true, Make: edit(func(l *listed) { l.expiry = nil })},
			drivertest.Drift{Name: "has no start", Access: patchbay.Writer, Missing: true, Make: edit(func(l *listed) { l.start = nil })})
	}
	return h
}

func TestBlobsPassTheSuite(t *testing.T) {
	s := shared(t)
	drivertest.Target(t, harness(t, s, blobs(s), "Azurite's blobs", "invoices", "receipts", "offers"))
}

func TestQueuesPassTheSuite(t *testing.T) {
	s := shared(t)
	queues(s).made(t, "others")
	drivertest.Target(t, harness(t, s, queues(s), "Azurite's queues", "jobs", "mails", "events"))
}

func TestTablesPassTheSuite(t *testing.T) {
	s := shared(t)
	tables(s).made(t, "others")
	drivertest.Target(t, harness(t, s, tables(s), "Azurite's tables", "Stock", "prices", "people"))
}
