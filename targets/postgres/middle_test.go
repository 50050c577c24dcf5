package postgres_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
	"patchbay.dev/patchbay/internal/testenv"
	attack "patchbay.dev/patchbay/internal/testenv/hostile"
	"patchbay.dev/patchbay/targets/postgres"
)

const canary = "canary-0123456789abcdef"

// What somebody in the middle may ask for (PostgreSQL manual, section 54.7).
var asks = map[string]string{
	"password":    "\x00\x00\x00\x03",
	"md5":         "\x00\x00\x00\x05salt",
	"scram":       "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00",
	"scram-plus":  "\x00\x00\x00\x0aSCRAM-SHA-256-PLUS\x00SCRAM-SHA-256\x00\x00",
	"nothing-yet": "\x00\x00\x00\x07", // GSSAPI
}

// middle is somebody between us and the server, who asks as it likes and keeps
// what it is told. A nil certificate refuses TLS.
type middle struct {
	certificate *tls.Config
	ask         string
	rounds      string // of SCRAM; "" hangs up once it knows that it was begun

	mu   sync.Mutex
	told []string // messages of type p, which answer
}

func (m *middle) serve(c net.Conn) {
	head := make([]byte, 8)
	for {
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		if binary.BigEndian.Uint32(head[4:]) != 80877103 { // no wish for TLS
			break
		}
		if m.certificate == nil {
			_, _ = c.Write([]byte("N"))
			continue
		}
		_, _ = c.Write([]byte("S"))
		c = tls.Server(c, m.certificate)
	}
	if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head))-8); err != nil {
		return
	}
	say := func(body string) {
		_, _ = c.Write(append(binary.BigEndian.AppendUint32([]byte{'R'}, uint32(len(body)+4)), body...))
	}
	say(m.ask)
	for {
		if _, err := io.ReadFull(c, head[:5]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		if head[0] != 'p' { // a client that gives up says so, when it comes to it
			return
		}
		m.mu.Lock()
		m.told = append(m.told, string(body))
		m.mu.Unlock()
		_, nonce, _ := bytes.Cut(body, []byte("r="))
		if m.rounds == "" || !bytes.HasPrefix(body, []byte("SCRAM")) {
			return
		}
		say("\x00\x00\x00\x0br=" + string(nonce) + "more,s=" + base64.StdEncoding.EncodeToString([]byte("salt")) + ",i=" + m.rounds)
	}
}

// answers are what it was told, "" when nothing.
func (m *middle) answers() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.told, "|")
}

// signIns are the two who sign in: the administrator, and a login that is tried.
var signIns = map[string]func(ctx context.Context, c driver.Config) error{
	"admin": func(ctx context.Context, c driver.Config) error {
		t, err := postgres.Driver().Open(ctx, c)
		if err != nil {
			return err
		}
		defer func() { _ = t.Close() }()
		_, err = t.(driver.Administrator).Owned(ctx)
		return err
	},
	"probe": func(ctx context.Context, c driver.Config) error {
		t, err := postgres.Driver().Open(ctx, c)
		if err != nil {
			return err
		}
		defer func() { _ = t.Close() }()
		_, err = postgres.Driver().ProbeHere(ctx, c, t, driver.ProbeRequest{
			Credential: driver.Credential{Public: map[string]string{"username": "app"}, Secret: driver.Secrets{"password": patchbay.NewSecret(canary)}},
			Dialer:     &net.Dialer{}, Sub: "orders",
		})
		return err
	},
}

func atMiddle(t *testing.T, m *middle, properties string) driver.Config {
	t.Helper()
	return driver.Config{
		ID: hostileID, Endpoint: attack.Listen(t, m.serve), Properties: []byte(properties), Dialer: &net.Dialer{},
		Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret(canary)},
	}
}

// Whoever is in the middle may refuse TLS or give it with a certificate of its own,
// and asks for the password in the clear, or as MD5: it hears nothing.
func TestNobodyInTheMiddleIsToldThePassword(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	for _, c := range []struct {
		properties string
		secure     bool
		told       string // the asks that are answered
	}{
		{``, false, "scram scram-plus"},
		{``, true, "scram scram-plus"},
		{`{"sslmode":"prefer"}`, false, "scram scram-plus"},
		{`{"sslmode":"disable"}`, false, "scram scram-plus"},
		{`{"sslmode":"require"}`, true, "scram-plus"},
		{`{"sslmode":"require"}`, false, ""},
		{`{"sslmode":"verify-full"}`, true, ""},
		{`{"sslmode":"verify-full"}`, false, ""},
		{`{"sslmode":"verify-ca"}`, true, ""},
		{fmt.Sprintf(`{"sslmode":"prefer","ca":%q}`, ca), true, "scram scram-plus"}, // prefer does not look
		// What the operator says by name.
		{`{"weakestAuth":"scram-sha-256-plus"}`, false, ""},
		{`{"weakestAuth":"scram-sha-256-plus"}`, true, "scram-plus"},
		{`{"sslmode":"require","weakestAuth":"scram-sha-256"}`, true, "scram scram-plus"},
		{`{"sslmode":"disable","weakestAuth":"md5"}`, false, "md5 scram scram-plus"},
		{`{"sslmode":"disable","weakestAuth":"password"}`, false, "md5 password scram scram-plus"},
		// And a server that is who it says may ask for anything.
		{fmt.Sprintf(`{"sslmode":"verify-full","ca":%q}`, ca), true, "md5 password scram scram-plus"},
		{fmt.Sprintf(`{"sslmode":"verify-ca","ca":%q}`, ca), true, "md5 password scram scram-plus"},
		{fmt.Sprintf(`{"sslmode":"require","ca":%q}`, ca), true, "md5 password scram scram-plus"},
		{fmt.Sprintf(`{"sslmode":"verify-full","ca":%q,"weakestAuth":"scram-sha-256"}`, ca), true, "scram scram-plus"},
	} {
		for name, ask := range asks {
			for who, signIn := range signIns {
				m := &middle{ask: ask}
				if c.secure {
					m.certificate = web.TLS
				}
				err := signIn(t.Context(), atMiddle(t, m, c.properties))
				told, may := m.answers(), strings.Contains(" "+c.told+" ", " "+name+" ")
				switch {
				case err == nil:
					t.Errorf("%s, %.60s, TLS %v, asked for %s: it signed in", who, c.properties, c.secure, name)
				case told != "" && !may, told == "" && may:
					t.Errorf("%s, %.60s, TLS %v, asked for %s: told %q, %v", who, c.properties, c.secure, name, told, err)
				case strings.HasPrefix(name, "scram") && strings.Contains(told, canary):
					t.Errorf("%s, %.60s, TLS %v, asked for %s: told the password", who, c.properties, c.secure, name)
				case strings.Contains(err.Error()+patchbay.AsError(err).Fix, canary):
					t.Errorf("%s: the error shows the password: %v", who, err)
				}
			}
		}
	}
}

// What is refused says what to do, and does not come again by itself.
func TestARefusedWayToSignInSaysWhatToDo(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	for ask, want := range map[string]string{
		"password": "weakestAuth=password", "md5": "weakestAuth=md5", "scram": "weakestAuth=scram-sha-256",
	} {
		for who, signIn := range signIns {
			err := signIn(t.Context(), atMiddle(t, &middle{ask: asks[ask], certificate: web.TLS}, `{"sslmode":"require"}`))
			e := patchbay.AsError(err)
			if e.Code != patchbay.CertificateInvalid || e.Transient || !strings.Contains(e.Fix, want) || !strings.Contains(e.Fix, "verify-full") {
				t.Errorf("%s, asked for %s: %v (fix: %s)", who, ask, e, e.Fix)
			}
		}
	}
}

// With few rounds a proof is a cheap way to try passwords.
func TestNobodyInTheMiddleMakesTheProofCheap(t *testing.T) {
	for rounds, answers := range map[string]int{"1": 1, "4095": 1, "4096": 2} {
		for who, signIn := range signIns {
			m := &middle{ask: asks["scram"], rounds: rounds}
			err := signIn(t.Context(), atMiddle(t, m, ""))
			if got := strings.Count(m.answers(), "|") + 1; got != answers {
				t.Errorf("%s, %s rounds: %d answers, %v", who, rounds, got, err)
			}
		}
	}
}

// RFC 5929 binds to no certificate of this kind: the client library goes on without.
func TestAChannelThatCantBeBoundIsRefused(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	for who, signIn := range signIns {
		m := &middle{ask: asks["scram-plus"], certificate: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}}
		err := signIn(t.Context(), atMiddle(t, m, `{"sslmode":"require"}`))
		if patchbay.CodeOf(err) != patchbay.CertificateInvalid || m.answers() != "" {
			t.Errorf("%s: told %q, %v", who, m.answers(), err)
		}
	}
}

func TestTheWeakestWayIsOneOfAList(t *testing.T) {
	for properties, ok := range map[string]bool{
		`{}`: true, `{"weakestAuth":"md5"}`: true, `{"weakestAuth":"maybe"}`: false, `{"weakestAuth":"md5,password"}`: false,
		`{"sslmode":"disable","weakestAuth":"scram-sha-256-plus"}`: false, // there is no channel to bind to
	} {
		c := driver.Config{ID: hostileID, Endpoint: "h", Properties: []byte(properties), Dialer: &net.Dialer{}, Admin: driver.Secrets{"username": patchbay.NewSecret("admin")}}
		if _, err := postgres.Driver().Open(t.Context(), c); (err == nil) != ok || !ok && patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", properties, err)
		}
	}
}

// relay hands a sign-in on to the real server in the clear, whatever it speaks with
// the client.
func relay(t *testing.T, to string, certificate *tls.Config) (address string, relayed func() bool) {
	var mu sync.Mutex
	done := false
	return attack.Listen(t, func(c net.Conn) {
		head := make([]byte, 8)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		var first io.Reader = bytes.NewReader(head)
		if binary.BigEndian.Uint32(head[4:]) == 80877103 {
			first = strings.NewReader("")
			if certificate == nil {
				_, _ = c.Write([]byte("N"))
			} else {
				_, _ = c.Write([]byte("S"))
				c = tls.Server(c, certificate)
			}
		}
		server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", to)
		if err != nil {
			return
		}
		defer func() { _ = server.Close() }()
		go func() { _, _ = io.Copy(server, io.MultiReader(first, c)); _ = server.Close() }()
		b := make([]byte, 64<<10)
		for {
			n, err := server.Read(b)
			if bytes.HasPrefix(b[:n], []byte("R\x00\x00\x00\x36\x00\x00\x00\x0c")) || bytes.Contains(b[:n], []byte("server_version")) {
				mu.Lock()
				done = true
				mu.Unlock()
			}
			if _, e := c.Write(b[:n]); err != nil || e != nil {
				return
			}
		}
	}), func() bool { mu.Lock(); defer mu.Unlock(); return done }
}

// Who hands SCRAM on to the real server has its session in the hand, unless the
// channel is bound.
func TestASessionOverTLSIsNotHandedOn(t *testing.T) {
	s := sharedServer(t, 15)
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	for _, c := range []struct {
		properties string
		in         bool
	}{
		{`{"sslmode":"require"}`, false},
		{`{"sslmode":"require","weakestAuth":"scram-sha-256"}`, true}, // named: the test's own check
	} {
		address, relayed := relay(t, s.Addr(), web.TLS)
		config := withProperties(config(s), pgconnect.Properties{})
		config.Endpoint, config.Properties = address, []byte(c.properties)
		if err := signIns["admin"](t.Context(), config); (err == nil) != c.in || relayed() != c.in {
			t.Errorf("%s: %v, relayed %v", c.properties, err, relayed())
		}
	}
}

// What a real server asks for, by the lines of its pg_hba.conf.
func TestWaysToSignIn(t *testing.T) {
	lines := []string{
		"hostssl all certified 127.0.0.1/32 cert", "host all md5er 127.0.0.1/32 md5", "host all clear 127.0.0.1/32 password",
		"host all trusted 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256",
	}
	for _, secure := range []bool{false, true} {
		o := testenv.PostgresOptions{HBA: lines, TLS: secure}
		if !secure {
			o.HBA = lines[1:]
		}
		s := server(t, o)
		exec(t, s, "postgres", "set log_statement = 'none'", "create role certified superuser login", "create role clear superuser login password '"+canary+"'",
			"create role scram superuser login password '"+canary+"'", "create role trusted superuser login")
		exec(t, s, "postgres", "alter system set password_encryption = 'md5'", "select pg_reload_conf()")
		for range 1000 { // the server reads it a moment later
			exec(t, s, "postgres", "drop role if exists md5er", "create role md5er superuser login password '"+canary+"'")
			if column(t, s, "postgres", "select left(rolpassword, 3) from pg_authid where rolname = 'md5er'")[0] == "md5" {
				break
			}
		}
		full := pgconnect.Properties{SSLMode: "verify-full", CA: string(s.CA)}
		for _, c := range []struct {
			user    string
			p       pgconnect.Properties
			onlyTLS bool
			ok      bool
		}{
			{"scram", pgconnect.Properties{}, false, true},
			{"scram", pgconnect.Properties{SSLMode: "disable"}, false, true},
			{"scram", pgconnect.Properties{SSLMode: "require"}, true, true},
			{"scram", pgconnect.Properties{WeakestAuth: "scram-sha-256-plus"}, true, true},
			{"scram", full, true, true},
			{"md5er", pgconnect.Properties{}, false, false},
			{"md5er", pgconnect.Properties{SSLMode: "require"}, true, false},
			{"md5er", pgconnect.Properties{SSLMode: "disable", WeakestAuth: "md5"}, false, true},
			{"md5er", full, true, true},
			{"clear", pgconnect.Properties{}, false, false},
			{"clear", pgconnect.Properties{WeakestAuth: "md5"}, false, false},
			{"clear", pgconnect.Properties{SSLMode: "disable", WeakestAuth: "password"}, false, true},
			{"clear", full, true, true},
			{"trusted", pgconnect.Properties{}, false, true},
			{"certified", pgconnect.Properties{SSLMode: "require"}, true, true},
			{"certified", full, true, true},
		} {
			if c.onlyTLS && !secure {
				continue
			}
			config := withProperties(driver.Config{ID: hostileID, Endpoint: s.Addr(), Dialer: &net.Dialer{}}, c.p)
			config.Admin = driver.Secrets{"username": patchbay.NewSecret(c.user), "password": patchbay.NewSecret(canary)}
			if c.user == "certified" {
				cert, key, err := s.ClientCertificate("certified")
				if err != nil {
					t.Fatal(err)
				}
				config.Admin = driver.Secrets{"username": patchbay.NewSecret("certified"), "clientCert": patchbay.NewSecret(string(cert)), "clientKey": patchbay.NewSecret(string(key))}
			}
			if err := signIns["admin"](t.Context(), config); (err == nil) != c.ok || !c.ok && patchbay.CodeOf(err) != patchbay.CertificateInvalid {
				t.Errorf("TLS %v, %s, %.80s: %v", secure, c.user, config.Properties, err)
			}
		}
		log, err := s.Log()
		if err != nil || strings.Contains(log, canary) {
			t.Errorf("the server's log has the password, or %v", err)
		}
	}
}
