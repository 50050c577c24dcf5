package nats_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
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

// calls are what a driver is asked, about a login with a credential.
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
		"INFO {\"server_id\":\"x\",\"version\":\"2.11.0\",\"proto\":1,\"tls_available\":true,\"nonce\":\"AAAA\"}", "INFO {\"server_id\":\"x\",\"version\":\"2.11.0\",\"proto\":1,\"nonce\":\"AAAA\"}",
	} {
		for _, way := range []string{"%s", "tls://%s", "nats://%s,tls://127.0.0.1:1"} {
			address, heard := greets(t, greeting)
			c := register(s, nil)
			if way == "%s" {
				c = register(s, map[string]any{"tls": "require"})
			}
			c.Endpoint, c.Dialer = fmt.Sprintf(way, address), &net.Dialer{}
			target, err := nats.Driver().Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := target.(driver.Administrator).Owned(t.Context()); err == nil {
				t.Errorf("%q, %s: it signs in", greeting, way)
			}
			_ = target.Close()
			const handshake = 0x16 // the first byte of TLS
			if said := heard(); len(said) > 0 && said[0] != handshake {
				t.Errorf("%q, %s: it says %q", greeting, way, said)
			}
		}
	}
}

// greets is a server that says one line, and hears the beginning of the answer.
func greets(t *testing.T, greeting string) (address string, heard func() []byte) {
	first := make(chan []byte, 1)
	return hostile.Listen(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, greeting+"\r\n")
		b := make([]byte, 256)
		n, _ := conn.Read(b)
		select {
		case first <- b[:n]:
		default: // it was tried before
		}
	}), func() []byte { return <-first }
}

// A key signs what the server says, and a password is said as it is: that is for
// TLS, or for who said that there is none.
func TestAPasswordIsNotSaidInTheClear(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	for name, c := range map[string]struct {
		properties map[string]any
		credential driver.Credential
		said       bool
	}{
		"password":      {nil, driver.Credential{Public: map[string]string{"username": "app"}, Secret: driver.Secrets{"password": patchbay.NewSecret("canary")}}, false},
		"token":         {nil, driver.Credential{Secret: driver.Secrets{"token": patchbay.NewSecret("canary")}}, false},
		"auto":          {map[string]any{"tls": "auto"}, driver.Credential{Secret: driver.Secrets{"token": patchbay.NewSecret("canary")}}, false},
		"off":           {map[string]any{"tls": "off"}, driver.Credential{Secret: driver.Secrets{"token": patchbay.NewSecret("canary")}}, true},
		"a key":         {nil, request(t, opened(t, register(s, scope)), "aaaaaaaaaaaa", patchbay.Writer, nil).Credential, true},
		"a key, by TLS": {map[string]any{"tls": "require"}, request(t, opened(t, register(s, scope)), "aaaaaaaaaaaa", patchbay.Writer, nil).Credential, false},
	} {
		config := register(s, c.properties)
		address, heard := greets(t, `INFO {"server_id":"x","version":"2.11.0","proto":1,"nonce":"AAAA"}`)
		config.Endpoint, config.Dialer = address, &net.Dialer{}
		target := opened(t, config)
		_, err := nats.Driver().ProbeHere(t.Context(), config, target, driver.ProbeRequest{Credential: c.credential, Dialer: &net.Dialer{}})
		if said := string(heard()); strings.HasPrefix(said, "CONNECT") != c.said {
			t.Errorf("%s: it says %q", name, said)
		}
		if e := patchbay.AsError(err); e == nil || !c.said && (e.Code != patchbay.CertificateInvalid || e.Transient) {
			t.Errorf("%s: %v", name, err)
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
