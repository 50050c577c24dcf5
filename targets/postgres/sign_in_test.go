package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/postgres"
)

func probeRequest(r driver.LoginRequest) driver.ProbeRequest {
	return driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: r.Sub, Access: r.Access}
}

// The server logs every statement, every sign-in and every error with its
// statement; no password comes into it.
func TestNoPasswordReachesTheServersLog(t *testing.T) {
	for _, version := range one(t, 15, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := server(t, testenv.PostgresOptions{Version: version, Settings: map[string]string{
				"log_statement": "'all'", "log_min_error_statement": "'debug5'", "log_connections": "on", "log_min_duration_statement": "0",
				"log_parameter_max_length": "-1", "log_parameter_max_length_on_error": "-1", "debug_print_parse": "off",
			}})
			target := openTarget(t, config(s))
			var secrets []string
			for _, access := range all {
				r := login(t, target, "orders", access)
				secrets = append(secrets, r.Credential.Secret["password"].Reveal())
				if err := target.EnsureLogin(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				if _, err := target.Probe(t.Context(), probeRequest(r)); err != nil {
					t.Fatal(err)
				}
				// A failing statement is logged whole.
				missing := r
				missing.Sub = "nowhere"
				_ = target.EnsureLogin(t.Context(), missing)
				remove(t, target, r)
			}
			log, err := s.Log()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(log, "create role") || !strings.Contains(log, "SCRAM-SHA-256$4096:") {
				t.Error("the server does not log statements: the test shows nothing")
			}
			for _, secret := range append(secrets, s.Password) {
				if at := strings.Index(log, secret); at >= 0 {
					t.Errorf("a password is in the server's log: …%s", log[max(0, at-200):at+60])
				}
			}
		})
	}
}

func withProperties(c driver.Config, p pgconnect.Properties) driver.Config {
	c.Properties, _ = json.Marshal(p)
	return c
}

func TestTLSModes(t *testing.T) {
	s := server(t, testenv.PostgresOptions{TLS: true, HBA: []string{
		"hostssl all certified 127.0.0.1/32 cert",
		"hostssl all all 127.0.0.1/32 scram-sha-256",
	}})
	other := testenv.Postgres(t, testenv.PostgresOptions{TLS: true})
	plain := sharedServer(t, 18)
	cases := []struct {
		name   string
		server *testenv.PostgresServer
		p      pgconnect.Properties
		want   patchbay.Code
		mode   string // the application's
		tls    bool
	}{
		{"default", s, pgconnect.Properties{}, "", "require", true},
		{"require", s, pgconnect.Properties{SSLMode: "require"}, "", "require", true},
		{"require with another authority", s, pgconnect.Properties{SSLMode: "require", CA: string(other.CA)}, patchbay.CertificateInvalid, "", false},
		{"verify-ca", s, pgconnect.Properties{SSLMode: "verify-ca", CA: string(s.CA)}, "", "verify-ca", true},
		{"verify-ca ignores the name", s, pgconnect.Properties{SSLMode: "verify-ca", CA: string(s.CA), TLSServerName: "elsewhere.example"}, "", "verify-ca", true},
		{"verify-ca with another authority", s, pgconnect.Properties{SSLMode: "verify-ca", CA: string(other.CA)}, patchbay.CertificateInvalid, "", false},
		{"verify-ca without one", s, pgconnect.Properties{SSLMode: "verify-ca"}, patchbay.CertificateInvalid, "", false},
		{"verify-full", s, pgconnect.Properties{SSLMode: "verify-full", CA: string(s.CA)}, "", "verify-full", true},
		{"verify-full by another name", s, pgconnect.Properties{SSLMode: "verify-full", CA: string(s.CA), TLSServerName: "localhost"}, "", "verify-full", true},
		{"verify-full with a wrong name", s, pgconnect.Properties{SSLMode: "verify-full", CA: string(s.CA), TLSServerName: "elsewhere.example"}, patchbay.CertificateInvalid, "", false},
		{"disable where TLS is a must", s, pgconnect.Properties{SSLMode: "disable"}, patchbay.AdminRefused, "", false},
		{"default without TLS", plain, pgconnect.Properties{}, "", "disable", false},
		{"require without TLS", plain, pgconnect.Properties{SSLMode: "require"}, patchbay.CertificateInvalid, "", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			target := openTarget(t, withProperties(config(c.server), c.p))
			info, err := target.Inspect(t.Context(), "orders")
			if patchbay.CodeOf(err) != c.want || patchbay.IsTransient(err) {
				t.Fatalf("Inspect = %v, want %q", err, c.want)
			}
			if err != nil {
				return
			}
			if info.Values["sslmode"] != c.mode || c.tls != strings.HasPrefix(info.TLS, "TLS 1.") {
				t.Errorf("sslmode %q, TLS %q", info.Values["sslmode"], info.TLS)
			}
			r := login(t, target, "orders", patchbay.Reader)
			result, err := target.Probe(t.Context(), probeRequest(r))
			if err != nil || result.TLS != info.TLS {
				t.Errorf("Probe = %+v, %v", result, err)
			}
			if c.tls {
				// A library that verifies by the system's authorities knows none of ours.
				strict, want := probeRequest(r), patchbay.Code("")
				strict.Reading = driver.Reading{Mode: driver.TLSVerifyFull}
				if c.p.CA == "" {
					want = patchbay.CertificateInvalid
				}
				if _, err := target.Probe(t.Context(), strict); patchbay.CodeOf(err) != want {
					t.Errorf("as a library that verifies, Probe = %v, want %q", err, want)
				}
			}
			remove(t, target, r)
		})
	}

	t.Run("client certificate", func(t *testing.T) {
		exec(t, s, "postgres", "create role certified superuser login")
		cert, key, err := s.ClientCertificate("certified")
		if err != nil {
			t.Fatal(err)
		}
		c := withProperties(config(s), pgconnect.Properties{SSLMode: "verify-full", CA: string(s.CA)})
		c.Admin = driver.Secrets{"username": patchbay.NewSecret("certified"), "clientCert": patchbay.NewSecret(string(cert)), "clientKey": patchbay.NewSecret(string(key))}
		target := openTarget(t, c)
		r := login(t, target, "orders", patchbay.Writer)
		if _, err := target.Probe(t.Context(), probeRequest(r)); err != nil {
			t.Error(err)
		}
		remove(t, target, r)
		c.Admin = driver.Secrets{"username": patchbay.NewSecret("certified")}
		if _, err := openTarget(t, c).Inspect(t.Context(), ""); patchbay.CodeOf(err) != patchbay.AdminRefused {
			t.Errorf("without its certificate: %v", err)
		}
	})
}

func TestConfigurationIsStrict(t *testing.T) {
	base := func() driver.Config {
		return driver.Config{Endpoint: "db.example:5432", Dialer: &net.Dialer{}, Admin: driver.Secrets{"username": patchbay.NewSecret("a"), "password": patchbay.NewSecret("canary-canary")}}
	}
	for name, change := range map[string]func(*driver.Config){
		"unknown property": func(c *driver.Config) { c.Properties = json.RawMessage(`{"sslMod":"require"}`) },
		"wrong type":       func(c *driver.Config) { c.Properties = json.RawMessage(`{"sslmode":1}`) },
		"two objects":      func(c *driver.Config) { c.Properties = json.RawMessage(`{} {}`) },
		"unknown sslmode":  func(c *driver.Config) { c.Properties = json.RawMessage(`{"sslmode":"maybe"}`) },
		"ca without PEM":   func(c *driver.Config) { c.Properties = json.RawMessage(`{"ca":"x"}`) },
		"certificates in the clear": func(c *driver.Config) {
			c.Properties = json.RawMessage(`{"sslmode":"disable","ca":"x"}`)
		},
		"unknown secret":      func(c *driver.Config) { c.Admin["token"] = patchbay.NewSecret("t") },
		"no username":         func(c *driver.Config) { delete(c.Admin, "username") },
		"zero byte":           func(c *driver.Config) { c.Admin["username"] = patchbay.NewSecret("a\x00b") },
		"key without a cert":  func(c *driver.Config) { c.Admin["clientKey"] = patchbay.NewSecret("canary-canary") },
		"no endpoint":         func(c *driver.Config) { c.Endpoint = "" },
		"endpoint with login": func(c *driver.Config) { c.Endpoint = "postgres://u:canary-canary@h/db" },
		"endpoint unreadable": func(c *driver.Config) { c.Endpoint = "postgres://u:canary-canary@h:port%zz/db" },
		"another scheme":      func(c *driver.Config) { c.Endpoint = "mysql://h" },
		"parameter":           func(c *driver.Config) { c.Endpoint = "postgres://h?options=-c%20x" },
		"port":                func(c *driver.Config) { c.Endpoint = "h:99999" },
		"several hosts":       func(c *driver.Config) { c.Endpoint = "a,b:5432" },
		"newline":             func(c *driver.Config) { c.Endpoint = "a\nb:5432" },
	} {
		c := base()
		change(&c)
		_, err := postgres.Driver().Open(t.Context(), c)
		if patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", name, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
	for _, endpoint := range []string{"h", "h:1", "[::1]:5432", "::1", "postgres://h", "postgresql://h:1/db?sslmode=require"} {
		c := base()
		c.Endpoint = endpoint
		if _, err := postgres.Driver().Open(t.Context(), c); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// The environment of the server process says nothing about other servers.
func TestPGVariablesAreIgnored(t *testing.T) {
	s := sharedServer(t, 15)
	for name, value := range map[string]string{"PGHOST": "elsewhere.example", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "nowhere",
		"PGOPTIONS": "-c search_path=evil", "PGSSLMODE": "verify-full", "PGTARGETSESSIONATTRS": "standby", "PGAPPNAME": "evil"} {
		t.Setenv(name, value)
	}
	target := openTarget(t, config(s))
	if _, err := target.Inspect(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	r := login(t, target, "orders", patchbay.Writer)

	t.Run("pg_hba.conf", func(t *testing.T) {
		if err := s.SetHBA(t.Context(), "host all postgres 127.0.0.1/32 scram-sha-256"); err != nil {
			t.Fatal(err)
		}
		var err error
		for range 1000 { // the server reads it a moment later
			if _, err = target.Probe(t.Context(), probeRequest(r)); err != nil {
				break
			}
		}
		e := patchbay.AsError(err)
		if e == nil || e.Code != patchbay.LoginRefused || !strings.Contains(e.Fix, "pg_hba.conf") {
			t.Errorf("Probe = %+v", e)
		}
		if err := s.SetHBA(t.Context(), "host all all 127.0.0.1/32 scram-sha-256"); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if _, err = target.Probe(t.Context(), probeRequest(r)); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("wrong admin password", func(t *testing.T) {
		c := config(s)
		c.Admin["password"] = patchbay.NewSecret("canary-of-the-administrator")
		_, err := openTarget(t, c).Inspect(t.Context(), "")
		if patchbay.CodeOf(err) != patchbay.AdminRefused || patchbay.IsTransient(err) || strings.Contains(err.Error(), "canary") {
			t.Errorf("Inspect = %v", err)
		}
	})
	t.Run("read-only", func(t *testing.T) {
		exec(t, s, "orders", "alter database orders set default_transaction_read_only = on")
		if _, err := target.Probe(t.Context(), probeRequest(r)); patchbay.CodeOf(err) != patchbay.RightsMissing {
			t.Errorf("Probe = %v", err)
		}
		exec(t, s, "postgres", "alter database orders reset default_transaction_read_only")
	})
	t.Run("requests", func(t *testing.T) {
		for name, change := range map[string]func(*driver.LoginRequest){
			"access":  func(r *driver.LoginRequest) { r.Access = "god" },
			"auth":    func(r *driver.LoginRequest) { r.Auth = patchbay.AuthUserIdentity },
			"roles":   func(r *driver.LoginRequest) { r.Roles = []string{"postgres"} },
			"options": func(r *driver.LoginRequest) { r.Options = map[string]string{"schema": "x"} },
			"sub":     func(r *driver.LoginRequest) { r.Sub = "" },
			"secret":  func(r *driver.LoginRequest) { r.Credential = driver.Credential{} },
			"mark":    func(r *driver.LoginRequest) { r.Mark = driver.Mark{} },
		} {
			wrong := r
			change(&wrong)
			if err := target.EnsureLogin(t.Context(), wrong); err == nil || patchbay.IsTransient(err) {
				t.Errorf("%s: EnsureLogin = %v", name, err)
			}
		}
	})
	remove(t, target, r)
}

// A server that dies in the middle of a statement, and comes back.
func TestAServerThatDiesInTheMiddle(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	r := login(t, target, "orders", patchbay.Writer)
	// Somebody holds the database's lock: our next call waits inside of a
	// statement when the server dies.
	conn, err := s.Connect(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), "select pg_advisory_lock(8097881575290724729)"); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() { failed <- target.EnsureLogin(context.Background(), r) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(column(t, s, "orders", "select pid::text from pg_locks where locktype = 'advisory' and not granted")) == 0 {
		if ctx.Err() != nil {
			t.Fatal("nobody waits for the lock")
		}
	}
	if err := s.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !patchbay.IsTransient(err) {
		t.Errorf("EnsureLogin = %v, want a transient error", err)
	}
	if err := target.EnsureLogin(t.Context(), r); !patchbay.IsTransient(err) {
		t.Errorf("EnsureLogin on a dead server = %v, want a transient error", err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for err = target.EnsureLogin(t.Context(), r); patchbay.IsTransient(err); err = target.EnsureLogin(t.Context(), r) {
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	remove(t, target, r)
}

// hangingDialer lets a number of bytes of the server's through, and then
// nothing more.
type hangingDialer struct{ after int64 }

func (d hangingDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	var once sync.Once
	shut := func() { once.Do(func() { _ = c.Close() }) }
	go func() { defer shut(); _, _ = io.Copy(c, theirs) }()
	go func() { _, _ = io.CopyN(theirs, c, d.after) }()
	return ours, nil
}

func TestAProbeOfAServerThatHangsEndsWithItsTime(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	r := login(t, target, "orders", patchbay.Writer)
	for _, after := range []int64{0, 1, 10, 60, 200, 600, 900} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		p := probeRequest(r)
		p.Dialer = hangingDialer{after}
		_, err := target.Probe(ctx, p)
		cancel()
		if patchbay.CodeOf(err) != patchbay.Timeout || !patchbay.IsTransient(err) {
			t.Errorf("after %d bytes: Probe = %v, want a transient Timeout", after, err)
		}
	}
	remove(t, target, r)
}

func TestWarnings(t *testing.T) {
	s := testenv.Postgres(t, testenv.PostgresOptions{Version: 14})
	exec(t, s, "postgres", "create database orders", "create database bills")
	info, err := openTarget(t, config(s)).Inspect(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(info.Warnings, "\n")
	for _, want := range []string{"not encrypted", "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "bills"} {
		if !strings.Contains(text, want) {
			t.Errorf("no warning says %q:\n%s", want, text)
		}
	}
	if info.Values["database"] != "orders" || info.Values["host"] != "127.0.0.1" {
		t.Errorf("values %v", info.Values)
	}
}
