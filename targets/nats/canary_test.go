package nats_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/nats"
)

// A server's own words are beside an administrator's error, made harmless, and
// nowhere else: who may only connect sees its steps, and a probe's findings.
func TestWhatTheServerSaysIsForWhoAdministersIt(t *testing.T) {
	const canary = "CANARYinTheMine"
	real := testenv.NATS(t, natsserver.Config{})
	login := request(t, opened(t, register(real, scope)), "u1", patchbay.Reader, nil).Credential
	info := `INFO {"server_id":"` + canary + `","version":"` + canary + `","host":"` + canary + `","proto":1,"headers":true,"max_payload":1048576,"connect_urls":["` + canary + `:1"],"nonce":"` + canary + `"}` + "\r\n"
	for i, tt := range []struct {
		answer string
		heard  bool
	}{
		{info + "-ERR '" + canary + "\x1b[2J'\r\n", true},
		{info + "-ERR 'Authorization Violation " + canary + "'\r\n", true},
		{info + "-ERR 'User Authentication Revoked " + canary + "'\r\n", true},
		{"INFO {" + canary + "\r\n", false},
		{canary + "\r\n", false},
		{"-ERR '" + canary + "'\r\n", false},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte(tt.answer))
					_, _ = c.Read(make([]byte, 4096))
					_ = c.Close()
				}
			}()
			c := register(real, scope)
			c.Endpoint, c.Dialer = l.Addr().String(), &net.Dialer{}
			target, err := driver.Guard{Admin: c.Admin}.OpenTarget(t.Context(), nats.Driver(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = target.Close() }()
			silent := func(err error) *patchbay.Error {
				e := patchbay.AsError(err)
				if e == nil {
					t.Fatal("no error")
				}
				if shown := fmt.Sprintf("%v %+v %s %s %s", err, err, e.Message, e.Fix, e.Subject); strings.Contains(strings.ToLower(shown), strings.ToLower(canary)) {
					t.Errorf("the caller is told what the server said: %s", shown)
				}
				return e
			}
			_, err = target.Inspect(t.Context(), "")
			e := silent(err)
			if heard := strings.Contains(strings.ToLower(e.Said), strings.ToLower(canary)); heard != tt.heard || strings.Contains(e.Said, "\x1b") {
				t.Errorf("the administrator hears %q", e.Said)
			}
			_, err = target.Probe(t.Context(), driver.ProbeRequest{Credential: login, Dialer: &net.Dialer{}, Access: patchbay.Reader})
			if e := silent(err); e.Said != "" {
				t.Errorf("a probe's caller hears %q", e.Said)
			}
		})
	}
}
