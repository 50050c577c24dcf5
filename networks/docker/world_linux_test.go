package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

const guardID patchbay.ID = "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/guards/net1"

// world is an engine, with eyes of its own on it.
type world struct {
	*testdocker.Engine
	client http.Client
}

func newWorld(t testing.TB, args ...string) *world {
	t.Helper()
	w := &world{Engine: testdocker.StartWith(t, testdocker.Docker, testdocker.Options{Args: args})}
	w.client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.Socket)
	}}
	return w
}

// own gives a network to a container of the test's, whose way to others is refused at once:
// the engine would drop it, and everybody would wait.
func (w *world) own(t testing.TB, name string) {
	t.Helper()
	w.Must(t, "network", "create", "--opt", "com.docker.network.bridge.name=own-"+name, "own-"+name)
	w.noWay(t, "own-"+name)
}

func (w *world) noWay(t testing.TB, bridge string) {
	t.Helper()
	_, err := w.Inside("iptables", "--insert", "DOCKER-USER", "--in-interface", bridge, "!", "--out-interface", bridge, "--protocol", "tcp", "--jump", "REJECT", "--reject-with", "tcp-reset")
	must(t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) ask(method, path string, body, answer any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, "http://engine/v1.40"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	b, err = io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %s, %w", method, path, response.StatusCode, b, err)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(b, answer)
}

type seen struct {
	ID    string `json:"Id"`
	Name  string
	State struct{ Pid int }

	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

func (w *world) container(name string) (c seen, err error) {
	err = w.ask(http.MethodGet, "/containers/"+name+"/json", nil, &c)
	return c, err
}

// patience is how long is waited for an answer that should not come.
const patience = 5 * time.Second

// reaches reports whether a container reaches a port of another one's, by whatever address
// that has.
func (w *world) reaches(ctx context.Context, from, to string, port uint16) (bool, error) {
	f, err := w.container(from)
	if err != nil {
		return false, err
	}
	t, err := w.container(to)
	if err != nil {
		return false, err
	}
	network, err := hosts.NewLocal(hosts.DialRules{}).Network(fmt.Sprintf("/proc/%d/ns/net", f.State.Pid))
	if err != nil {
		return false, err
	}
	defer func() { _ = network.Close() }()
	dial := func(address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, patience) // what is dropped is not answered
		defer cancel()
		return network.DialContext(ctx, "tcp", address)
	}
	for _, at := range t.NetworkSettings.Networks {
		a, err := netip.ParseAddr(at.IPAddress)
		if err != nil {
			continue
		}
		conn, err := dial(netip.AddrPortFrom(a, port).String())
		if err == nil {
			return true, conn.Close()
		}
		if op := (*net.OpError)(nil); !errors.As(err, &op) && !errors.Is(err, context.DeadlineExceeded) {
			return false, err
		}
	}
	return false, nil
}

// content is all networks, and who is on them, in words that a container that is made anew
// or a network that comes back does not change.
func (w *world) content() (string, error) {
	var all []struct {
		ID       string `json:"Id"`
		Name     string
		Driver   string
		Internal bool
		Labels   map[string]string
	}
	if err := w.ask(http.MethodGet, "/networks", nil, &all); err != nil {
		return "", err
	}
	var listed []struct{ ID string }
	if err := w.ask(http.MethodGet, "/containers/json?all=1", nil, &listed); err != nil {
		return "", err
	}
	on := map[string][]string{}
	for _, l := range listed {
		c, err := w.container(l.ID)
		if err != nil {
			return "", err
		}
		for name := range c.NetworkSettings.Networks {
			on[name] = append(on[name], c.Name)
		}
	}
	var lines []string
	for _, n := range all {
		slices.Sort(on[n.Name])
		line := fmt.Sprintf("%s %s internal=%t %q: %s", n.Name, n.Driver, n.Internal, slices.Sorted(maps.Values(n.Labels)), strings.Join(on[n.Name], " "))
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

// config is the guard's registration.
func (w *world) config(more map[string]string) driver.Config {
	p := map[string]string{"engine": "unix://" + w.Socket}
	maps.Copy(p, more)
	text, _ := json.Marshal(p)
	return driver.Config{ID: guardID, Properties: text, Host: hosts.NewLocal(hosts.DialRules{})}
}

func (w *world) open(t testing.TB, more map[string]string) *network {
	t.Helper()
	opened, err := Driver().Open(t.Context(), w.config(more), driver.Config{})
	must(t, err)
	t.Cleanup(func() { _ = opened.Close() })
	return opened.(*network)
}

// place is what the engine's containers say of where they are.
func (w *world) place(t testing.TB) string {
	t.Helper()
	place, err := w.open(t, nil).engine.Place(t.Context())
	must(t, err)
	return place
}

func ruleOf(uid, from string, servers ...string) driver.Rule {
	r := driver.Rule{Name: "pb_" + uid + "_g1", Peer: &driver.Peer{Platform: "docker", Name: from}, Servers: servers}
	r.Mark.UID, r.Mark.Generation = uid, 1
	r.Mark.Connection = patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/" + from).Linker("orders")
	return r
}

func (w *world) anywhere() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24")}
}
