package docker

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/relay"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// TestSpokenFromInside asks, through the dialer, the application next door by its
// name, which only the container's own name server knows, and itself at loopback.
func TestSpokenFromInside(t *testing.T) {
	for _, engine := range engines() {
		t.Run(engine, func(t *testing.T) {
			w := &world{Engine: testdocker.Start(t, engine)}
			image := w.Image(t, testdocker.App)
			w.Must(t, "network", "create", "n1")
			w.Must(t, "run", "-d", "--name", "db", "--hostname", "the-database", "--network", "n1", "--network-alias", "database", image)
			args := []string{"run", "-d", "--name", "web", "--hostname", "the-web", "--network", "n1", "--add-host", "by-file:127.0.0.1"}
			if engine == testdocker.Docker {
				args = append(args, "--dns", "127.0.0.1") // behind Docker's own: nobody, at once
			}
			w.Must(t, append(args, image)...)
			s := w.open(t, "web")
			d, err := s.Dialer(t.Context())
			must(t, err)
			speaks(t, d)
			must(t, d.Close())

			// From elsewhere, a helper does it.
			relayProgram = staticRelay(t)
			s.local = false
			d, err = s.Dialer(t.Context())
			must(t, err)
			if out := w.Must(t, "ps", "--quiet", "--filter", "label="+helperLabel); out == "" {
				t.Error("there is no helper")
			}
			speaks(t, d)
			if _, err := s.Inspect(t.Context()); err != nil {
				t.Errorf("Inspect beside a helper: %v", err)
			}
			must(t, d.Close())
			none := func(when string) {
				t.Helper()
				deadline := time.Now().Add(time.Minute)
				for w.Must(t, "ps", "--all", "--quiet", "--filter", "label="+helperLabel) != "" {
					if time.Now().After(deadline) {
						t.Fatalf("a helper is left %s", when)
					}
				}
			}
			none("after Close")
			d, err = s.Dialer(t.Context())
			must(t, err)
			must(t, d.(*relay.Dialer).Network.(*relayed).Remote.Close()) // as a process that dies: the connection is gone
			none("by one that died")
			s.local = true

			address := func(name string) netip.Addr {
				return netip.MustParseAddr(w.Must(t, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name))
			}
			if from, err := s.Egress(t.Context(), address("db")); err != nil || len(from) != 1 || from[0].Addr() != address("web") || !from[0].IsSingleIP() {
				t.Errorf("to its neighbour it speaks from %v, %v; want %v", from, err, address("web"))
			}

			w.Must(t, "stop", "web")
			if _, err := s.Dialer(t.Context()); patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(err.Error(), "does not run") {
				t.Errorf("from a stopped one: %v", err)
			}
		})
	}
}

// speaks tries what a container's network has and has not.
func speaks(t *testing.T, d driver.Dialer) {
	t.Helper()
	for address, want := range map[string]string{
		"database:8080": "the-database", "db:8080": "the-database", "127.0.0.1:8080": "the-web", "by-file:8080": "the-web",
	} {
		if got, err := hostnameAt(t, d, address); got != want {
			t.Errorf("at %s is %q (%v), want %s", address, got, err, want)
		}
	}
	if _, err := d.DialContext(t.Context(), "tcp", "nobody.invalid:8080"); patchbay.CodeOf(driver.DialError(err, "nobody.invalid:8080")) != patchbay.NameNotResolved {
		t.Errorf("a name that nobody has: %v", err)
	}
	if _, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:1"); patchbay.CodeOf(driver.DialError(err, "127.0.0.1:1")) != patchbay.PortClosed {
		t.Errorf("a closed port: %v", err)
	}
	if _, err := d.DialContext(t.Context(), "tcp", "169.254.169.254:80"); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("the cloud's metadata: %v", err)
	}
}

// staticRelay is a program that does nothing but relay, and needs no library.
func staticRelay(t *testing.T) func() (string, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "relay")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "patchbay.dev/patchbay/internal/relay/alone")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return func() (string, error) { return program, nil }
}

// hostnameAt asks the application there how its machine is called.
func hostnameAt(t *testing.T, d driver.Dialer, address string) (string, error) {
	t.Helper()
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		return "", err
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() && lines.Text() != "" {
		continue // the header
	}
	lines.Scan()
	return lines.Text(), lines.Err()
}
