package nats_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/hostile"
	"patchbay.dev/patchbay/targets/nats"
)

// The attacks are many, and some leave a call waiting: every so many-th is
// tried, and all of them in the suite that is about nothing else.
var every = flag.Int("every", 12, "try every so many-th attack on the administering driver")

// misbehaviour is what the driver has to call by its name. What is not here the
// client library refuses, or waits for.
var misbehaviour = []string{
	"a-greeting-that-never-ends", "a-line-that-never-ends", "an-error-that-never-ends", "a-cluster-of-a-million",
	"message-of-2^31", "message-of-2^46", "message-of-2^62", "message-of-2^63-1", "message-of-2^63", "message-of-2^64+1", "message-of-minus-1",
}

// administered opens targets that s's own administrator would, elsewhere.
func administered(s *testenv.NATSServer) func(string) (*driver.GuardedTarget, error) {
	return func(address string) (*driver.GuardedTarget, error) {
		c := register(s, scope)
		c.Endpoint, c.Dialer = address, &net.Dialer{}
		return driver.Guard{Name: "nats", Admin: c.Admin}.OpenTarget(context.Background(), nats.Driver(), c)
	}
}

// calls are what a driver is asked, about a principal with a credential.
func calls(t *testing.T, s *testenv.NATSServer) []hostile.Call {
	t.Helper()
	return hostile.Calls("", request(t, opened(t, register(s, scope)), "aaaaaaaaaaaa", patchbay.Writer, nil))
}

func TestAHostileServerCostsItsAdministratorLittle(t *testing.T) {
	if !hostile.Confined(t, 512<<20) {
		return
	}
	s := testenv.NATS(t, natsserver.Config{})
	attacks := hostile.Some(hostile.Against("nats"), *every, misbehaviour...)
	hostile.Administer(t, attacks, administered(s), calls(t, s), misbehaviour...)
}

func TestAServerThatTurnsHostileCostsItsAdministratorLittle(t *testing.T) {
	if !hostile.Confined(t, 768<<20) { // the server is in this process too
		return
	}
	s := testenv.NATS(t, natsserver.Config{})
	stream(t, s)
	asked := calls(t, s)
	_, address, _ := strings.Cut(s.URL(), "://")
	// A sign-in is two answers; the calls ask five questions or more.
	for answers := 2; answers < 10; answers++ {
		if answers%3 != 0 && *every > 1 {
			continue
		}
		attacks := hostile.Some(hostile.Behind("nats", address, answers), *every, "message-of-2^46", "empty-values")
		hostile.Administer(t, attacks, administered(s), asked, "behind-3/message-of-2^46") // which every call asks
	}
}

// What is announced below TLS is seen where TLS is read, not before.
func TestTheBoundsAreBehindTLS(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	secure, ca := certificate(t)
	huge := attackOf("nats/sign-in/message-of-2^46")
	for mode, serve := range map[string]func(net.Conn){
		"first": func(c net.Conn) { huge.Serve(tls.Server(c, secure)) },
		"auto": func(c net.Conn) {
			if _, err := io.WriteString(c, "INFO {\"tls_required\":true,\"version\":\"2.11.0\",\"proto\":1,\"nonce\":\"AAAA\"}\r\n"); err != nil {
				return
			}
			c = tls.Server(c, secure)
			r := bufio.NewReader(c)
			for line := ""; line != "PING\r\n"; {
				var err error
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			_, _ = io.WriteString(c, "PONG\r\nMSG a 1 70368744177664\r\nAAAA")
			_, _ = io.Copy(io.Discard, r)
		},
	} {
		c := register(s, map[string]any{"tls": mode, "ca": ca})
		c.Endpoint, c.Dialer = hostile.Listen(t, serve), &net.Dialer{}
		target, err := nats.Driver().Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.(driver.Administrator).Owned(t.Context()); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
			t.Errorf("tls %s: %v", mode, err)
		}
		_ = target.Close()
	}
}

// The client library answers pings with its lock held.
func TestAServerThatPingsAndDoesNotReadHoldsNoCall(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target, err := administered(s)(hostile.Listen(t, attackOf("nats/sign-in/pings-behind-the-answer").Serve))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := target.Owned(ctx)
		_ = target.Close()
		done <- err
	}()
	select {
	case err := <-done:
		if code := patchbay.CodeOf(err); code != patchbay.Timeout && code != patchbay.TargetMisbehaved {
			t.Error(err)
		}
	case <-time.After(40 * time.Second): // it was a minute
		t.Error("the call outlives its context")
	}
}

func attackOf(name string) hostile.Attack {
	all := hostile.Against("nats")
	return all[slices.IndexFunc(all, func(a hostile.Attack) bool { return a.Name == name })]
}

// A greeting that one reads as an offer of TLS and another does not would have
// the credential sent in the clear.
func TestNothingIsSaidInTheClearWhereTLSIsWanted(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	for _, greeting := range []string{
		"INFO {\"tls_required\":true}", "INFO\t {\"tls_required\":true,\"tls_available\":true}", " INFO {\"tls_available\":true}", "INFO  {\"tls_available\":true}", "info {\"tls_available\":true}",
		"INFO {\"TLS_Required\":true}", "INFO {\"tls_required\":true,\"tls_required\":false,\"tls_available\":true}", "INFO {\"tls_available\":true,\"port\":\"x\"}",
		"INFO {\"tls_available\":true} x", "INFO {}", "INFO", "", "INFO {\"tls_available\":true}\r\nINFO {}",
	} {
		heard := make(chan []byte, 1)
		c := register(s, map[string]any{"tls": "require"})
		c.Dialer = &net.Dialer{}
		c.Endpoint = hostile.Listen(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, greeting+"\r\n")
			first := make([]byte, 64)
			n, _ := conn.Read(first)
			heard <- first[:n]
		})
		target, err := nats.Driver().Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.(driver.Administrator).Owned(t.Context()); err == nil {
			t.Errorf("%q: it signs in", greeting)
		}
		_ = target.Close()
		const handshake = 0x16 // the first byte of TLS
		if said := <-heard; len(said) > 0 && said[0] != handshake {
			t.Errorf("%q: it says %q", greeting, said)
		}
	}
}

func FuzzAHostileServer(f *testing.F) {
	s := testenv.NATS(f, natsserver.Config{})
	f.Add([]byte{6, 0, 120, 2, 0x80, 0, 0, 0, 9, 0, 1, 4})
	f.Fuzz(func(t *testing.T, seed []byte) {
		hostile.Answer(t, hostile.Fuzz("nats", seed), administered(s))
	})
}
