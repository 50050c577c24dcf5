package docker

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
	dockersource "patchbay.dev/patchbay/sources/docker"
)

// every says how many of the deaths are tried: one in so many.
var every = flag.Int("every", 3, "try every so many-th death; 1: all")

// application is a container as its source driver has it.
func (w *world) application(t testing.TB, name string) driver.Source {
	t.Helper()
	properties, _ := json.Marshal(map[string]any{"engine": "unix://" + w.Socket, "wait": map[string]string{"limit": "20s", "steady": "20ms"}})
	id := patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/" + name)
	s, err := dockersource.Driver().Open(t.Context(), driver.Config{ID: id, Endpoint: name, Properties: properties, Host: hosts.NewLocal(hosts.DialRules{})})
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// dials reports whether an application finds a server, through its own name server.
func dials(t testing.TB, s driver.Source, server string) bool {
	t.Helper()
	d, err := s.(driver.Vantage).Dialer(t.Context())
	must(t, err)
	defer func() { _ = d.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience) // what is dropped is not answered
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", server)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// TestALife of a connection between containers that share no network.
func TestALife(t *testing.T) {
	w := newWorld(t)
	image := w.Image(t, testdocker.App)
	w.Must(t, "network", "create", "own-db")
	runDB := func() {
		w.Must(t, "run", "--detach", "--name", "orders-db", "--network", "own-db", "--publish", "127.0.0.1:5432:8080", image)
	}
	runDB()
	w.own(t, "web")
	// Behind Docker's own name server: nobody, at once.
	w.Must(t, "run", "--detach", "--name", "web", "--network", "own-web", "--dns", "127.0.0.1", image)
	w.Must(t, "run", "--detach", "--name", "bystander", "--dns", "127.0.0.1", image)
	begin, err := w.content()
	must(t, err)
	web, bystander := w.application(t, "web"), w.application(t, "bystander")
	n := w.open(t, nil)

	peer, err := web.(driver.Platformed).Peer(t.Context())
	must(t, err)
	if known, err := n.Knows(t.Context(), *peer); err != nil || !known {
		t.Fatalf("its own container is not known: %v", err)
	}
	if known, err := n.Knows(t.Context(), driver.Peer{Platform: "docker", Place: "another", Name: "web"}); err != nil || known {
		t.Errorf("another engine's container is known: %v", err)
	}
	r := ruleOf("life", "web", "127.0.0.1:5432")
	r.Peer = peer
	reach, err := n.Reach(t.Context(), r)
	if err != nil || len(reach) != 1 || reach["127.0.0.1:5432"] != "orders-db:8080" {
		t.Fatalf("it is found at %q, %v", reach, err)
	}
	const at = "orders-db:8080"
	refused := func(when string, s driver.Source) {
		t.Helper()
		if dials(t, s, at) {
			t.Errorf("%s, %s lets it through", when, at)
		}
	}
	passes := func(when string) {
		t.Helper()
		if !dials(t, web, at) {
			t.Errorf("%s, %s is not reached", when, at)
		}
		if state, err := n.InspectRule(t.Context(), r); err != nil || !state.Exact {
			t.Errorf("%s, %+v, %v", when, state, err)
		}
		refused(when, bystander)
		if ok, err := w.reaches(t.Context(), "bystander", "orders-db", 8080); err != nil || ok {
			t.Errorf("%s, a bystander reaches an address of the target: %v", when, err)
		}
	}
	refused("before", web)
	route := w.wayOut(t, "web")
	must(t, n.EnsureRule(t.Context(), r))
	if now := w.wayOut(t, "web"); now != route {
		t.Errorf("its way out was %q, and is %q", route, now)
	}
	// This once the engine itself keeps the bystander off, also by the address on the network.
	if ok, err := w.reaches(t.Context(), "bystander", "orders-db", 8080); err != nil || ok {
		t.Errorf("a bystander reaches an address of the target: %v", err)
	}
	w.noWay(t, "docker0")
	passes("after it is opened")

	// The source's container is made anew, and what had its place is kept beside it.
	change := driver.Change{Mark: r.Mark, Name: "orders", Set: []patchbay.Setting{{Name: "A", Value: patchbay.NewSecret("b")}}}
	before, err := web.ReadSettings(t.Context())
	must(t, err)
	_, err = web.WriteSettings(t.Context(), change, before.Version)
	must(t, err)
	passes("with a container that is to take its place")
	must(t, web.(driver.Restarter).Restart(t.Context()))
	passes("when it was made anew")
	must(t, web.RestoreSettings(t.Context(), change, before))
	must(t, web.(driver.Restarter).Restart(t.Context()))
	passes("when that was taken back")

	// A second connection of the same pair, and one of another application.
	second := ruleOf("second", "web", "127.0.0.1:5432")
	other := ruleOf("other", "bystander", "127.0.0.1:5432")
	must(t, n.EnsureRule(t.Context(), second))
	must(t, n.RemoveRule(t.Context(), second))
	passes("after the second of two is removed")
	must(t, n.EnsureRule(t.Context(), other))
	if ok, err := w.reaches(t.Context(), "bystander", "web", 8080); err != nil || ok {
		t.Errorf("two applications of one target reach each other: %v", err)
	}
	must(t, n.RemoveRule(t.Context(), other))
	passes("after another application's is removed")

	// Whoever owns the target makes it anew.
	w.Must(t, "rm", "--force", "orders-db")
	if state, err := n.InspectRule(t.Context(), r); err != nil || !state.Exists || state.Exact {
		t.Errorf("without a target, %+v, %v", state, err)
	}
	runDB()
	if state, err := n.InspectRule(t.Context(), r); err != nil || !state.Exists || state.Exact {
		t.Errorf("with a new target that is not on the network, %+v, %v", state, err)
	}
	refused("before the repair", web)
	must(t, n.EnsureRule(t.Context(), r))
	passes("after the repair")

	// Open sessions are cut.
	d, err := web.(driver.Vantage).Dialer(t.Context())
	must(t, err)
	defer func() { _ = d.Close() }()
	conn, err := d.DialContext(t.Context(), "tcp", at)
	must(t, err)
	defer func() { _ = conn.Close() }()
	if !answers(conn) {
		t.Fatal("an open session is not answered")
	}
	must(t, n.RemoveRule(t.Context(), r))
	if answers(conn) {
		t.Error("an open session goes on")
	}
	refused("after it is closed", web)
	if state, err := n.InspectRule(t.Context(), r); err != nil || state.Exists {
		t.Errorf("%+v, %v", state, err)
	}
	if now, err := w.content(); err != nil || now != begin {
		t.Errorf("the engine has\n%s\nand had\n%s\n%v", now, begin, err)
	}
}

// wayOut is a container's default route.
func (w *world) wayOut(t testing.TB, name string) string {
	t.Helper()
	c, err := w.container(name)
	must(t, err)
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(c.State.Pid), "-n", "ip", "route", "show", "default").CombinedOutput()
	must(t, err)
	return string(out)
}

// answers asks over a session that is open.
func answers(conn net.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(patience)) // what is cut is not answered
	if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: db\r\n\r\n"); err != nil {
		return false
	}
	n, err := conn.Read(make([]byte, 1<<16))
	return n > 0 && err == nil
}

// TestADeathAtEachCall: whoever comes next ends what was begun, in one way or the other.
func TestADeathAtEachCall(t *testing.T) {
	w := newWorld(t)
	image := w.Image(t, testdocker.App)
	for _, name := range []string{"web", "db"} {
		w.own(t, name)
		w.Must(t, "run", "--detach", "--name", name, "--network", "own-"+name, image)
	}
	begin, err := w.content()
	must(t, err)
	death := w.Death(t)
	n := w.open(t, nil)
	dying := w.open(t, map[string]string{"engine": "unix://" + death.Socket})
	r := ruleOf("death", "web", "db:8080")
	must(t, n.EnsureRule(t.Context(), r))
	good, err := w.content()
	must(t, err)
	must(t, n.RemoveRule(t.Context(), r))
	tried := 0
	for name, call := range map[string]func(context.Context, driver.Rule) error{"open": dying.EnsureRule, "close": dying.RemoveRule} {
		for _, after := range []bool{false, true} {
			for at, more := 1, true; more; at++ {
				if tried++; tried%*every != 0 && at > 1 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%d after=%t", name, at, after), func(t *testing.T) {
					death.Arm(testdocker.Moment{})
					if name == "close" {
						must(t, n.EnsureRule(t.Context(), r))
					}
					death.Arm(testdocker.Moment{Call: at, After: after})
					err := call(t.Context(), r)
					more = death.Came()
					if more == (err == nil) {
						t.Fatalf("it died: %t, and the call gives %v", more, err)
					}
					state, err := n.InspectRule(t.Context(), r)
					must(t, err)
					if content, _ := w.content(); state.Exact != (content == good) {
						t.Errorf("InspectRule = %+v of\n%s", state, content)
					}
					if owned, err := n.Owned(t.Context()); err != nil || (len(owned) == 1) != state.Exists {
						t.Errorf("what is left over is not listed: %v, %v", owned, err)
					}
					if at%2 == 0 {
						must(t, n.EnsureRule(t.Context(), r))
						if content, err := w.content(); err != nil || content != good {
							t.Errorf("after the next EnsureRule there is\n%s\nwant\n%s", content, good)
						}
					}
					must(t, n.RemoveRule(t.Context(), r))
					if content, err := w.content(); err != nil || content != begin {
						t.Errorf("after the next RemoveRule there is\n%s\nwant\n%s", content, begin)
					}
				})
			}
		}
	}
}

// TestWhatCantBeOnANetwork is refused, with what helps.
func TestWhatCantBeOnANetwork(t *testing.T) {
	w := newWorld(t)
	image := w.Image(t, testdocker.App)
	run := func(name string, args ...string) {
		w.Must(t, append(append([]string{"run", "--detach", "--name", name}, args...), image)...)
	}
	w.Must(t, "network", "create", "shared")
	run("web", "--network", "shared")
	run("db", "--network", "shared")
	run("host", "--network", "host", "--env", "PORT=18080")
	run("none", "--network", "none")
	run("composed", "--label", "com.docker.compose.project=shop")
	run("published", "--publish", "127.0.0.1:5432:8080")
	run("namesake", "--network", "shared", "--network-alias", "orders")
	with := func(from, server string, change func(*driver.Rule)) driver.Rule {
		r := ruleOf("no", from, server)
		if change != nil {
			change(&r)
		}
		return r
	}
	n := w.open(t, nil)
	for _, test := range []struct {
		name string
		n    *network
		rule driver.Rule
		says []string
	}{
		{"no container", n, with("", "db:8080", func(r *driver.Rule) { r.Peer, r.From = nil, nil }), []string{"its own engine"}},
		{"addresses besides", n, with("web", "db:8080", func(r *driver.Rule) { r.From = w.anywhere() }), []string{"ipRanges"}},
		{"a source of Compose's", n, with("composed", "db:8080", nil), []string{"project shop", "opt-out"}},
		{"a source on the machine's network", n, with("host", "db:8080", nil), []string{"--network host"}},
		{"a target on none", n, with("web", "none:8080", nil), []string{"--network none"}},
		{"nobody publishes it", n, with("web", "127.0.0.1:5433", nil), []string{"--container"}},
		{"elsewhere", n, with("web", "198.51.100.7:5432", nil), []string{"--container"}},
		{"its own container", n, with("web", "web:8080", nil), []string{"own container"}},
		{"a container that is gone", w.open(t, map[string]string{"container": "nobody"}), with("web", "127.0.0.1:5432", nil), []string{"nobody", "docker ps"}},
		{"another has the name", w.open(t, map[string]string{"container": "db", "alias": "orders"}), with("web", "127.0.0.1:5432", nil), []string{"namesake", "--alias"}},
	} {
		_, err := test.n.Reach(t.Context(), test.rule)
		if err == nil {
			t.Errorf("%s: it is not refused", test.name)
			continue
		}
		e := patchbay.AsError(err)
		for _, want := range test.says {
			if !strings.Contains(e.Message+" "+e.Fix, want) {
				t.Errorf("%s: %q, fix %q; want %q", test.name, e.Message, e.Fix, want)
			}
		}
		if e.Fix == "" {
			t.Errorf("%s: %q says nothing that helps", test.name, e.Message)
		}
	}
	named := w.open(t, map[string]string{"container": "published", "alias": "orders.example"})
	r := ruleOf("named", "web", "127.0.0.1:5432")
	if reach, err := named.Reach(t.Context(), r); err != nil || reach["127.0.0.1:5432"] != "orders.example:8080" {
		t.Errorf("%q, %v", reach, err)
	}
	must(t, named.EnsureRule(t.Context(), r))
	if !dials(t, w.application(t, "web"), "orders.example:8080") {
		t.Error("it is not found by its alias")
	}
	if state, err := n.InspectRule(t.Context(), r); err != nil || !state.Exists {
		t.Errorf("%+v, %v", state, err)
	}
	must(t, named.RemoveRule(t.Context(), r))
}

// TestPodmanIsRefused: who is on another network of its, reaches this one.
func TestPodmanIsRefused(t *testing.T) {
	e := testdocker.Start(t, testdocker.Podman)
	n := (&world{Engine: e}).open(t, nil)
	for _, err := range []error{n.EnsureRule(t.Context(), ruleOf("podman", "web", "db:8080")), func() error {
		_, err := n.Reach(t.Context(), ruleOf("podman", "web", "db:8080"))
		return err
	}()} {
		if patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(err.Error(), "Podman") {
			t.Error(err)
		}
	}
	if list := e.Must(t, "network", "ls", "--quiet", "--filter", "label="+ruleLabel); list != "" {
		t.Errorf("it made %s", list)
	}
}

// TestAddressesOutOfAPool, and what an engine without any says.
func TestAddressesOutOfAPool(t *testing.T) {
	w := newWorld(t, "--default-address-pool", "base=10.99.0.0/24,size=25")
	image := w.Image(t, testdocker.App)
	w.Must(t, "network", "create", "n1") // with the engine's own, that is all
	for _, name := range []string{"web", "db"} {
		w.Must(t, "run", "--detach", "--name", name, image)
	}
	one, two, three := ruleOf("one", "web", "db:8080"), ruleOf("two", "web", "db:8080"), ruleOf("three", "web", "db:8080")
	err := w.open(t, nil).EnsureRule(t.Context(), one)
	if patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(patchbay.AsError(err).Fix, "--pool") {
		t.Errorf("without addresses: %v", err)
	}
	n := w.open(t, map[string]string{"pool": "10.98.0.0/27"})
	must(t, n.EnsureRule(t.Context(), one))
	must(t, n.EnsureRule(t.Context(), two))
	if err := n.EnsureRule(t.Context(), three); patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(patchbay.AsError(err).Fix, "larger") {
		t.Errorf("with a pool that is full: %v", err)
	}
	must(t, n.RemoveRule(t.Context(), one))
	must(t, n.EnsureRule(t.Context(), three))
	for _, r := range []driver.Rule{two, three} {
		if subnet := w.Must(t, "network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", r.Name); !strings.HasPrefix(subnet, "10.98.0.") || !strings.HasSuffix(subnet, "/28") {
			t.Errorf("%s has %s", r.Name, subnet)
		}
		must(t, n.RemoveRule(t.Context(), r))
	}
}
