package mysql_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
)

func properties(t testing.TB, p map[string]string) []byte {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Where the registration insists on TLS, the login does; the application is told what
// was registered.
func TestWhoInsistsOnTLSHasTheServerInsist(t *testing.T) {
	s := sharedServer(t)
	c := config(s, "admin")
	c.Properties = properties(t, map[string]string{"sslmode": "verify-full", "ca": string(s.CA)})
	target := open(t, c)
	info, err := target.Inspect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(info.TLS, "TLS 1.") || info.Values["sslmode"] != "verify-full" || info.Values["ca"] != string(s.CA) {
		t.Errorf("%+v", info)
	}
	r := ensured(t, target, "shop", patchbay.Writer)
	result, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: "shop", Access: patchbay.Writer})
	if err != nil || result.TLS == "" {
		t.Errorf("%+v, %v", result, err)
	}
	if err := as(t, s, r, "select 1"); err != nil {
		t.Error(err)
	}
	clear := *s
	clear.CA = nil
	if err := as(t, &clear, r, "select 1"); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("in the clear: %v, want it refused", err)
	}
	run(t, s, "alter user "+who(r)+" require none")
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || len(state.Missing) != 1 || !strings.Contains(state.Missing[0], "without TLS") {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestACertificateOfAnotherAuthorityIsRefused(t *testing.T) {
	s := sharedServer(t)
	other := testenv.MariaDB(t, true)
	for name, p := range map[string]map[string]string{
		"another authority": {"sslmode": "verify-full", "ca": string(other.CA)},
		"the system's":      {"sslmode": "verify-full"},
		"another name":      {"sslmode": "verify-full", "ca": string(s.CA), "tlsServerName": "db.example.org"},
	} {
		c := config(s, "admin")
		c.Properties = properties(t, p)
		_, err := open(t, c).Inspect(t.Context(), "")
		if e := patchbay.AsError(err); e == nil || e.Code != patchbay.CertificateInvalid || e.Fix == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A probe is as strict as the application's library: no less than it, whatever was registered.
	target := open(t, config(s, "admin"))
	r := ensured(t, target, "shop", patchbay.Reader)
	p := driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: "shop", Access: patchbay.Reader}
	if _, err := target.Probe(t.Context(), p); err != nil {
		t.Error(err)
	}
	p.Reading = driver.Reading{Mode: driver.TLSVerifyFull}
	_, err := target.Probe(t.Context(), p)
	_ = mustBe(t, err, patchbay.CertificateInvalid)
	// And who does not speak TLS is not spoken to where that is insisted on.
	c := config(testenv.MariaDB(t, false), "keeper")
	c.Properties = properties(t, map[string]string{"sslmode": "require"})
	_, err = open(t, c).Inspect(t.Context(), "")
	_ = mustBe(t, err, patchbay.CertificateInvalid, "does not speak TLS")
}

// Registrations that can't be are refused before anything is reached.
func TestRegistrationsThatCantBe(t *testing.T) {
	good := driver.Config{Endpoint: "db.test:3306", Dialer: &net.Dialer{}, Admin: driver.Secrets{"username": patchbay.NewSecret("root"), "password": patchbay.NewSecret("x")}}
	for name, bad := range map[string]func(*driver.Config){
		"a mode of nobody's":   func(c *driver.Config) { c.Properties = []byte(`{"sslmode":"maybe"}`) },
		"a plugin of nobody's": func(c *driver.Config) { c.Properties = []byte(`{"passwordPlugin":"dialog"}`) },
		"too many sessions":    func(c *driver.Config) { c.Properties = []byte(`{"maxSessions":"51"}`) },
		"a login in it":        func(c *driver.Config) { c.Endpoint = "mysql://root:x@db.test" },
		"another parameter":    func(c *driver.Config) { c.Endpoint = "mysql://db.test?allowAllFiles=true" },
		"two servers":          func(c *driver.Config) { c.Endpoint = "a.test,b.test" },
		"no administrator":     func(c *driver.Config) { c.Admin = nil },
		"half a certificate":   func(c *driver.Config) { c.Admin["clientCert"] = patchbay.NewSecret("x") },
	} {
		c := good
		c.Admin = driver.Secrets{"username": good.Admin["username"], "password": good.Admin["password"]}
		bad(&c)
		if _, err := openOnly(t.Context(), c); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, endpoint := range []string{"db.test", "mysql://[fd00::1]:3307", "mariadb://10.0.0.1?sslmode=require", "::1"} {
		c := good
		c.Endpoint = endpoint
		if _, err := openOnly(t.Context(), c); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

func openOnly(ctx context.Context, c driver.Config) (driver.Target, error) {
	target, err := mysqltargetDriver.Open(ctx, c)
	if err == nil {
		_ = target.Close()
	}
	return target, err
}
