package postgres_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/targets/postgres"
)

// A server's own words are beside an administrator's error, made harmless, and
// nowhere else: who may only connect sees its steps, and a probe's findings.
func TestWhatTheServerSaysIsForWhoAdministersIt(t *testing.T) {
	const canary = "CANARYinTheMine"
	for _, code := range []string{"28P01", "28000", "3D000", "42501", "2BP01", "25006", "53300", "42P01", "XX000", canary} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			said := canary + "\x1b[2J\n\u202e hunter2hunter2 " + strings.Repeat("x", 5000)
			body := "SFATAL\x00V" + canary + "\x00C" + code + "\x00M" + said + "\x00D" + canary + "\x00H" + canary + "\x00W" + canary + "\x00t" + canary + "\x00\x00"
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Read(make([]byte, 4096))
					_, _ = c.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(body)+4)), body...))
					_ = c.Close()
				}
			}()
			c := driver.Config{
				ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders", Endpoint: l.Addr().String(), Dialer: &net.Dialer{},
				Properties: []byte(`{"sslmode":"disable"}`), Admin: driver.Secrets{"username": patchbay.NewSecret("root"), "password": patchbay.NewSecret("hunter2hunter2")},
			}
			target, err := driver.Guard{Admin: c.Admin}.OpenTarget(t.Context(), postgres.Driver(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = target.Close() }()
			silent := func(err error) *patchbay.Error {
				e := patchbay.AsError(err)
				if e == nil {
					t.Fatal("no error")
				}
				if shown := fmt.Sprintf("%v %+v %s %s %s", err, err, e.Message, e.Fix, e.Subject); strings.Contains(shown, canary) {
					t.Errorf("the caller is told what the server said: %s", shown)
				}
				return e
			}
			_, err = target.Inspect(t.Context(), "")
			e := silent(err)
			if want := canary + `\x1b[2J\n\u202e [redacted] xxx`; !strings.HasPrefix(e.Said, want) || len(e.Said) > 210 {
				t.Errorf("the administrator hears %q", e.Said)
			}
			login := driver.Credential{Public: map[string]string{"username": "app"}, Secret: driver.Secrets{"password": patchbay.NewSecret("wrong")}}
			_, err = target.Probe(t.Context(), driver.ProbeRequest{Credential: login, Dialer: &net.Dialer{}, Sub: "orders"})
			if e := silent(err); e.Said != "" {
				t.Errorf("a probe's caller hears %q", e.Said)
			}
		})
	}
}
