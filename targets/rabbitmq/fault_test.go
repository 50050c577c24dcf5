package rabbitmq_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/rabbitmq"
)

// administrator makes another administrator of the node, with those tags.
func administrator(t testing.TB, s *testenv.RabbitMQServer, name, tags string) driver.Secrets {
	t.Helper()
	do(t, s, http.MethodPut, "/api/users/"+esc(name), map[string]string{"password": "s3cret-of-the-other", "tags": tags}, nil)
	t.Cleanup(func() { do(t, s, http.MethodDelete, "/api/users/"+esc(name), nil, nil) })
	return driver.Secrets{"username": patchbay.NewSecret(name), "password": patchbay.NewSecret("s3cret-of-the-other")}
}

// Every tag below administrator is found at registration, and the fix ends the finding.
func TestAnAdministratorHasToBeOne(t *testing.T) {
	s := shared(t)
	for _, tags := range []string{"", "management", "policymaker", "monitoring"} {
		name := "other " + tags
		c := register(s)
		c.Admin = administrator(t, s, name, tags)
		target := opened(t, c)
		_, err := target.Inspect(t.Context(), "")
		e := patchbay.AsError(err)
		if e == nil || e.Code != patchbay.AdminRights || !strings.Contains(e.Fix, "rabbitmqctl set_user_tags 'other ") {
			t.Fatalf("with the tags %q Inspect = %v (fix %q)", tags, err, e.Fix)
		}
		if tags != "monitoring" {
			continue // once is enough: rabbitmqctl takes seconds
		}
		if out, err := s.Control(t.Context(), e.Fix); err != nil {
			t.Fatalf("%s: %v\n%s", e.Fix, err, out)
		}
		if _, err := target.Inspect(t.Context(), ""); err != nil {
			t.Errorf("after the fix Inspect = %v", err)
		}
	}
}

// What the administrator may is taken away later, or its password is another.
func TestAnAdministratorWhoseRightsAreGone(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "rightless")
	c := register(s)
	c.Admin = administrator(t, s, "fallen", "administrator")
	target := opened(t, c)
	r := made(t, opened(t, register(s)), "rightless", at, patchbay.Reader, nil)
	for _, now := range []struct {
		password, tags string
		want           patchbay.Code
	}{{"s3cret-of-the-other", "monitoring", patchbay.AdminRights}, {"another", "administrator", patchbay.AdminRefused}} {
		do(t, s, http.MethodPut, "/api/users/fallen", map[string]string{"password": now.password, "tags": now.tags}, nil)
		another := request(t, target, "another", at, patchbay.Reader, nil)
		for what, err := range map[string]error{
			"EnsureLogin": target.EnsureLogin(t.Context(), another), "RemoveLogin": target.RemoveLogin(t.Context(), r),
			"Inspect": func() error { _, err := target.Inspect(t.Context(), at); return err }(), "Owned": func() error { _, err := target.Owned(t.Context()); return err }(),
		} {
			e := patchbay.AsError(err)
			if e == nil || e.Code != now.want || e.Fix == "" || e.Transient {
				t.Errorf("%s = %v, want %s and what helps", what, err, now.want)
			}
		}
	}
	exact(t, opened(t, register(s)), r)
	var users []struct{ Name string }
	do(t, s, http.MethodGet, "/api/users", nil, &users)
	if len(users) != 3 {
		t.Errorf("something was made: %v", users)
	}
}

// proxied is the node behind something that answers for it; nil passes on.
func proxied(t testing.TB, s *testenv.RabbitMQServer, answer func(http.ResponseWriter, *http.Request) bool) driver.Config {
	t.Helper()
	behind, err := url.Parse(s.Management)
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(behind)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answer(w, r) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return register(s, "management", front.URL)
}

// A server that says yes and forgets is found out, whichever of its writes it loses.
func TestAServerThatForgets(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "forgotten")
	for _, lost := range []string{"/api/users/", "/api/permissions/", "/api/topic-permissions/"} {
		target := opened(t, proxied(t, s, func(w http.ResponseWriter, r *http.Request) bool {
			forgets := r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, lost)
			if forgets {
				w.WriteHeader(http.StatusNoContent)
			}
			return forgets
		}))
		r := request(t, target, "forgotten", at, patchbay.Writer, nil)
		if err := target.EnsureLogin(t.Context(), r); err == nil || !patchbay.IsTransient(err) {
			t.Errorf("a server that forgets %s: %v, want a transient error", lost, err)
		}
		good := opened(t, register(s))
		if err := good.EnsureLogin(t.Context(), r); err != nil {
			t.Error(err)
		}
		exact(t, good, r)
		if err := good.RemoveLogin(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
}

// RabbitMQ 3.10 may list a connection for ever that ended in the moment in which it began.
// It holds nothing up; one that is there, and does not end, does.
func TestAConnectionThatIsListedAndIsNone(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "ghosts")
	for name, there := range map[string]bool{"a ghost": false, "a connection that stays": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const connection = "192.0.2.1:53660 -> 192.0.2.2:5672"
			target := opened(t, proxied(t, s, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.HasPrefix(r.URL.Path, "/api/connections/username/"):
					if r.Method == http.MethodDelete {
						w.WriteHeader(http.StatusNoContent)
						return true
					}
					_, _ = fmt.Fprintf(w, `[{"name": %q, "vhost": %q}]`, connection, at)
				case r.URL.Path == "/api/connections/"+connection && there:
					_, _ = fmt.Fprintf(w, `{"name": %q, "state": "running"}`, connection)
				default:
					return false // which knows of none
				}
				return true
			}))
			r := made(t, opened(t, register(s)), strings.ReplaceAll(name, " ", ""), at, patchbay.Writer, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
			defer cancel()
			if err := target.RemoveLogin(ctx, r); there != (patchbay.CodeOf(err) == patchbay.TargetUnreachable || patchbay.CodeOf(err) == patchbay.Timeout) {
				t.Errorf("RemoveLogin: %v", err)
			}
		})
	}
}

// What answers like no management API is called by its name, costs little, and hears no
// second time who asks.
func TestAManagementAPIThatIsNone(t *testing.T) {
	s := shared(t)
	const canary = "CanaryInTheMine"
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   patchbay.Code
	}{
		"a page":         {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>"+canary) }, patchbay.TargetUnreachable},
		"a redirection":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, patchbay.TargetUnreachable},
		"nothing there":  {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canary, http.StatusNotFound) }, patchbay.TargetUnreachable},
		"a minority":     {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, canary, http.StatusServiceUnavailable) }, patchbay.TargetUnreachable},
		"another JSON":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `["`+canary+`"]`) }, patchbay.TargetUnreachable},
		"an old version": {about(`{"name":"admin","tags":"administrator"}`, `{"rabbitmq_version":"3.8.9"}`), patchbay.NotSupported},
		"no version":     {about(`{"name":"admin","tags":["administrator"]}`, `{}`), patchbay.TargetUnreachable},
		"no end": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.WriteString(w, strings.Repeat(`{"name":`, 1<<16)); err != nil {
					return
				}
			}
		}, patchbay.TargetMisbehaved},
	} {
		t.Run(name, func(t *testing.T) {
			target := opened(t, proxied(t, s, func(w http.ResponseWriter, r *http.Request) bool { c.answer(w, r); return true }))
			_, err := target.Inspect(t.Context(), "")
			e := patchbay.AsError(err)
			if e == nil || e.Code != c.want {
				t.Fatalf("Inspect = %v, want %s", err, c.want)
			}
			if shown := fmt.Sprintf("%v %s", err, e.Fix); strings.Contains(shown, canary) {
				t.Errorf("it tells what the server said: %s", shown)
			}
		})
	}
	if elsewhere.Load() > 0 {
		t.Error("the administrator's password went elsewhere")
	}
}

// about answers what Inspect asks first.
func about(whoami, overview string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/whoami" {
			_, _ = io.WriteString(w, whoami)
			return
		}
		_, _ = io.WriteString(w, overview)
	}
}

// Of a cluster's servers the next one is asked when one can't be connected to, and none
// twice for what may have been done.
func TestSeveralServers(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "cluster")
	closed := closedPort(t)
	c := register(s, "management", "http://"+closed+","+s.Management)
	c.Endpoint = "amqp://" + closed + "," + s.Addr()
	target := opened(t, c)
	r := made(t, target, "cluster", at, patchbay.Writer, nil)
	exact(t, target, r)
	if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: dialer, Sub: at, Access: r.Access}); err != nil {
		t.Error(err)
	}
	info, err := target.Inspect(t.Context(), at)
	if err != nil || info.Values["servers"] != closed+","+s.Addr() {
		t.Errorf("Inspect = %+v, %v", info, err)
	}
}

func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// secured is the node as somebody registers it with TLS.
func secured(s *testenv.RabbitMQServer, host string, properties ...string) driver.Config {
	p := map[string]string{"management": strings.Replace(s.SecureURL, s.Host, host, 1)}
	for i := 0; i+1 < len(properties); i += 2 {
		p[properties[i]] = properties[i+1]
	}
	b, _ := json.Marshal(p)
	c := register(s)
	c.Endpoint, c.Properties = "amqps://"+net.JoinHostPort(host, strconv.Itoa(s.Secure)), b
	return c
}

func TestWithTLS(t *testing.T) {
	s := shared(t)
	at := vhost(t, s, "secured")
	ca := string(s.CA)
	another, err := testenv.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config driver.Config
		want   patchbay.Code
		fix    string
	}{
		"its authority":                     {config: secured(s, "127.0.0.1", "ca", ca)},
		"its name":                          {config: secured(s, "127.0.0.2", "ca", ca, "tlsServerName", "localhost")},
		"its authority and no name":         {config: secured(s, "127.0.0.2", "ca", ca, "sslmode", "verify-ca")},
		"another name":                      {config: secured(s, "127.0.0.2", "ca", ca), want: patchbay.CertificateInvalid, fix: "tlsServerName"},
		"no authority":                      {config: secured(s, "127.0.0.1"), want: patchbay.CertificateInvalid, fix: "ca"},
		"another authority":                 {config: secured(s, "127.0.0.1", "ca", string(another.PEM())), want: patchbay.CertificateInvalid, fix: "ca"},
		"a server that speaks in the clear": {config: secured(s, "127.0.0.1", "ca", ca, "management", strings.Replace(s.Management, "http:", "https:", 1)), want: patchbay.CertificateInvalid, fix: "http://"},
	} {
		t.Run(name, func(t *testing.T) {
			// The node listens on one address; the other is this machine's too.
			c.config.Dialer = anyLoopback{}
			target := opened(t, c.config)
			info, err := target.Inspect(t.Context(), at)
			if patchbay.CodeOf(err) != c.want && (err != nil || c.want != "") {
				t.Fatalf("Inspect = %v, want %q", err, c.want)
			}
			if err != nil {
				if e := patchbay.AsError(err); !strings.Contains(e.Fix, c.fix) {
					t.Errorf("the fix is %q, without %q", e.Fix, c.fix)
				}
				return
			}
			if info.TLS == "" || info.Values["ssl"] != "true" || info.Values["ca"] != ca {
				t.Errorf("Inspect = %+v", info)
			}
			r := made(t, target, "secured", at, patchbay.Writer, nil)
			probe := driver.ProbeRequest{Credential: r.Credential, Dialer: anyLoopback{}, Sub: at, Access: r.Access}
			result, err := target.Probe(t.Context(), probe)
			if err != nil || result.TLS == "" {
				t.Errorf("Probe = %+v, %v", result, err)
			}
			// A library that checks the name, and was told none, does not get in.
			if strings.Contains(c.config.Endpoint, "127.0.0.2") {
				probe.Reading = driver.Reading{Mode: driver.TLSVerifyFull}
				if _, err := target.Probe(t.Context(), probe); patchbay.CodeOf(err) != patchbay.CertificateInvalid {
					t.Errorf("Probe as a stricter library = %v", err)
				}
			}
		})
	}
}

// anyLoopback is a dialer to whom every address of this machine is the node's.
type anyLoopback struct{}

func (anyLoopback) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return dialer.DialContext(ctx, network, strings.Replace(address, "127.0.0.2:", "127.0.0.1:", 1))
}

// A registration whose endpoint nobody answers at, or answers otherwise, is told so.
func TestAnEndpointThatIsNoneIsAWarning(t *testing.T) {
	s := shared(t)
	for endpoint, warns := range map[string]string{
		"amqp://" + s.Addr():      "",
		"amqp://" + closedPort(t): "nothing listens",
		s.Addr():                  "does not speak TLS",
		"amqps://" + net.JoinHostPort(s.Host, strconv.Itoa(s.Secure)): "no authority",
	} {
		c := register(s)
		c.Endpoint = endpoint
		info, err := opened(t, c).Inspect(t.Context(), "")
		if said := strings.Join(info.Warnings, "\n"); err != nil || (said == "") != (warns == "") || !strings.Contains(said, warns) {
			t.Errorf("%s: %q, %v, want it to say %q", endpoint, said, err, warns)
		}
	}
}

// Whoever is not proven to be the server hears no password, also where nobody said how
// it is spoken to.
func TestAPasswordIsForTheServerAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	heard := make(chan []byte, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			_ = c.Close()
			heard <- b[:n]
		}
	}()
	c := driver.Config{ID: resourceID, Endpoint: l.Addr().String(), Properties: []byte(`{"management":"https://` + l.Addr().String() + `"}`), Dialer: dialer,
		Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("hunter2hunter2")}}
	target := opened(t, c)
	if _, err := target.Inspect(t.Context(), ""); err == nil {
		t.Error("Inspect succeeds")
	}
	credential := driver.Credential{Public: map[string]string{"username": "app"}, Secret: driver.Secrets{"password": patchbay.NewSecret("hunter2hunter2")}}
	if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: credential, Dialer: dialer, Sub: "~2F"}); err == nil {
		t.Error("Probe succeeds")
	}
	for range 2 {
		if b := <-heard; len(b) == 0 || b[0] != 22 { // a handshake of TLS
			t.Errorf("somebody heard %q", b)
		}
	}
}

// A server that speaks AMQP without an end is cut off, and one that does not speak it is
// called so; neither is quoted.
func TestABrokerThatIsNone(t *testing.T) {
	const start = "\x01\x00\x00" // a frame of a method, on channel 0
	for name, c := range map[string]struct {
		says string
		want patchbay.Code
	}{
		"heartbeats without end": {"\x08\x00\x00\x00\x00\x00\x00\xce", patchbay.TargetMisbehaved},
		"zeros":                  {strings.Repeat("\x00", 4096), patchbay.TargetUnreachable},
		"a frame of 4 GiB":       {start + "\xff\xff\xff\xff" + strings.Repeat("Canary", 1000), patchbay.TargetUnreachable},
		"another protocol":       {"HTTP/1.1 400 Canary\r\n\r\n", patchbay.TargetUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					for err == nil {
						_, err = io.WriteString(conn, c.says)
					}
					_ = conn.Close()
				}
			}()
			config := driver.Config{ID: resourceID, Endpoint: "amqp://" + l.Addr().String(), Dialer: dialer,
				Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("hunter2hunter2")}}
			credential := driver.Credential{Public: map[string]string{"username": "app"}, Secret: driver.Secrets{"password": patchbay.NewSecret("hunter2hunter2")}}
			_, err = opened(t, config).Probe(t.Context(), driver.ProbeRequest{Credential: credential, Dialer: dialer, Sub: "~2F"})
			if patchbay.CodeOf(err) != c.want || strings.Contains(err.Error(), "Canary") {
				t.Errorf("Probe = %v, want %s", err, c.want)
			}
		})
	}
}

func TestRegistrationsThatCanNotBeAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ endpoint, properties, says string }{
		"no endpoint":                 {"", `{}`, "empty"},
		"another scheme":              {"http://broker", `{}`, "scheme"},
		"a login in it":               {"amqp://app:hunter2@broker", `{}`, "login"},
		"a virtual host in it":        {"amqp://broker/shop", `{}`, "behind host and port"},
		"in the clear and with TLS":   {"amqp://a,amqps://b", `{}`, "with TLS"},
		"management that is both":     {"amqps://a", `{"management":"http://a,https://b"}`, "with TLS"},
		"management without a scheme": {"amqps://a", `{"management":"a:15672"}`, "scheme"},
		"TLS where there is none":     {"amqp://a", `{"ca":"x"}`, "in the clear"},
		"an authority that is none":   {"amqps://a", `{"ca":"x"}`, "no certificate"},
		"nobody's word":               {"amqps://a", `{"sslmode":"require"}`, "verify-full"},
		"a name that proves nothing":  {"amqps://a", `{"sslmode":"verify-ca"}`, "proves nothing"},
		"a property of nobody":        {"amqps://a", `{"vhost":"/"}`, "no property"},
		"a name that is no name":      {"amqps://a", `{"tlsServerName":"a b"}`, "can't be one"},
	} {
		_, err := rabbitmq.Driver().Open(t.Context(), driver.Config{ID: resourceID, Endpoint: c.endpoint, Properties: []byte(c.properties), Dialer: dialer,
			Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("hunter2hunter2")}})
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
	}
	for _, admin := range []driver.Secrets{nil, {"username": patchbay.NewSecret("admin")}, {"username": patchbay.NewSecret("a"), "password": patchbay.NewSecret("x\x00")}, {"username": patchbay.NewSecret("a"), "password": patchbay.NewSecret("x"), "token": patchbay.NewSecret("x")}} {
		if _, err := rabbitmq.Driver().Open(t.Context(), driver.Config{ID: resourceID, Endpoint: "amqps://a", Dialer: dialer, Admin: admin}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("the administrator %v: %v", slices.Sorted(maps.Keys(admin)), err)
		}
	}
}
