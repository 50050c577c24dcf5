package external_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/targets/external"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// It ends a moment after its pool was closed.
		goleak.IgnoreAnyFunction("database/sql.(*DB).connectionOpener"))
}

const group = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/"

// product is the driver as the build has it.
func product() driver.TargetDriver { return external.Driver(settings.Kinds(), settings.Variant) }

// here dials this machine. No name is asked of a server elsewhere: to tests, none
// is known.
type here struct{}

func (here) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		unknown := &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		return nil, &net.OpError{Op: "dial", Net: network, Err: unknown}
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// registration is what a test tells the driver.
type registration struct {
	typ        string // "": of the kind's own
	name       string // "": orders
	kind       string // the resource's
	location   string
	endpoint   string
	properties map[string]any
	admin      map[string]string
	dialer     driver.Dialer
}

func (r registration) open(t testing.TB) (*driver.GuardedTarget, error) {
	t.Helper()
	if r.name == "" {
		r.name = "orders"
	}
	c := driver.Config{ID: patchbay.ID(group + r.typ + "/" + r.name), Kind: r.kind, Location: r.location, Endpoint: r.endpoint, Dialer: r.dialer, Admin: driver.Secrets{}}
	if c.Dialer == nil {
		c.Dialer = here{}
	}
	if r.properties != nil {
		b, err := json.Marshal(r.properties)
		if err != nil {
			t.Fatal(err)
		}
		c.Properties = b
	}
	for name, value := range r.admin {
		c.Admin[name] = patchbay.NewSecret(value)
	}
	return driver.Guard{Name: "external", Admin: c.Admin}.OpenTarget(t.Context(), product(), c)
}

func (r registration) opened(t testing.TB) *driver.GuardedTarget {
	t.Helper()
	target, err := r.open(t)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target
}

// given is a login that a caller gave.
func given(t testing.TB, target *driver.GuardedTarget, sub, name, secret string) driver.Credential {
	t.Helper()
	c, err := target.Given(sub, name, patchbay.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func probe(t testing.TB, target *driver.GuardedTarget, sub string, c driver.Credential) (driver.ProbeResult, error) {
	t.Helper()
	return target.Probe(t.Context(), driver.ProbeRequest{Credential: c, Dialer: here{}, Sub: sub})
}

// signsIn wants the login let in, and one with another secret refused.
func signsIn(t *testing.T, target *driver.GuardedTarget, sub, name, secret, wrong string) driver.ProbeResult {
	t.Helper()
	result, err := probe(t, target, sub, given(t, target, sub, name, secret))
	if err != nil {
		t.Fatalf("the login is refused: %v", err)
	}
	if len(result.Allowed) == 0 {
		t.Error("it does not say that it signed in")
	}
	_, err = probe(t, target, sub, given(t, target, sub, name, wrong))
	wantCode(t, err, patchbay.LoginRefused)
	if err != nil && strings.Contains(err.Error(), wrong) {
		t.Errorf("the error shows the secret: %v", err)
	}
	return result
}

func wantCode(t testing.TB, err error, code patchbay.Code) {
	t.Helper()
	if patchbay.CodeOf(err) != code {
		t.Errorf("the error is %v, want %s", err, code)
	}
}

// nobody refuses every connection.
type nobody struct{}

func (nobody) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("nobody is dialed in this test")
}

// listener accepts and has each connection handled until the test ends.
func listener(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, handle)
	return l.Addr().String()
}

func serve(t testing.TB, l net.Listener, handle func(net.Conn)) {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		running := make(chan struct{}, 64)
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			running <- struct{}{}
			go func() {
				defer func() { _ = conn.Close(); <-running }()
				go func() { // a handler that waits for the other side ends with the test
					<-done
					_ = conn.Close()
				}()
				handle(conn)
			}()
		}
	}()
	t.Cleanup(func() {
		close(done)
		_ = l.Close()
		<-ended
	})
}

// closedPort is one that nobody listens on.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// soon is a context that is over before a server that never answers would be
// given up.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}
