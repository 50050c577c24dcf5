package attacktest

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/hostile"
)

// listener serves connections on loopback until the test ends.
func listener(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer func() { _ = c.Close() }(); serve(c) }()
		}
	}()
	return l.Addr().String()
}

// One short answer of Redis ended the process, and again at every restart.
func TestAServerThatEndsItsClientEndsNothingElse(t *testing.T) {
	s := start(t)
	n := s.tenant("attacked")
	source, _ := n.source("web")
	who := n.with("Service Connector Contributor", "")
	address := listener(t, func(c net.Conn) {
		b := make([]byte, 512)
		_, _ = c.Read(b)
		_, _ = fmt.Fprintf(c, "*%d\r\n", 1<<30) // some sixteen gigabytes
		_, _ = io.Copy(io.Discard, c)
	})
	id := linker(source, "cache")
	s.must(2, who.token, "PUT", id, linkers, toEndpoint("redis://"+address))
	op := s.operation(s.token, id)
	if code := text(op, "error", "code"); op["state"] != "undone" || !slices.Contains([]string{"TargetMisbehaved"}, code) {
		t.Errorf("the operation is %v", op)
	}
	if message := text(op, "error", "message"); strings.Contains(message, "pw-of-the-application") {
		t.Errorf("the message has the login in it: %s", message)
	}
	s.alive()
}

func TestAProbeEndsWithItsServer(t *testing.T) {
	s := start(t)
	n := s.tenant("shop")
	source, _ := n.source("web")
	who := n.with("Service Connector Contributor", "")
	connected := make(chan struct{}, 8)
	address := listener(t, func(c net.Conn) {
		b := make([]byte, 512)
		if n, _ := c.Read(b); n > 0 { // it signs in, and is not answered
			connected <- struct{}{}
			_, _ = io.Copy(io.Discard, c)
		}
	})
	s.must(2, who.token, "PUT", linker(source, "cache"), linkers, toEndpoint("redis://"+address))
	<-connected
	children := childrenOf(s.cmd.Process.Pid)
	if len(children) != 1 {
		t.Fatalf("the probe has %d processes", len(children))
	}
	_ = s.cmd.Process.Kill()
	<-s.exited
	until(t, "the child is gone", func() bool { return !running(children[0]) })
}

// endpoints are how a caller names servers of a kind, in the clear.
var endpoints = map[string]string{
	"redis": "redis://%s", "nats": "nats://%s", "s3": "s3+http://%s?bucket=invoices",
	"postgresql": "postgres://%s/shop?sslmode=disable", "mysql": "mysql://%s/shop?sslmode=disable",
}

// The same through the front door, beside a tenant who has done nothing.
func TestHostileServersOfOneTenantAreNotAnothersTrouble(t *testing.T) {
	s := start(t)
	bystander := s.tenant("bystander").onRedis(testenv.Redis(t, false))
	n := s.tenant("attacker")
	who := n.with("Service Connector Contributor", "")
	before := memoryOf(t, s.cmd.Process.Pid, "VmHWM:")
	every := 8
	if *whole {
		every = 1
	}
	var sources, attacks []string
	for range 4 {
		source, _ := n.source(fmt.Sprint("web", len(sources)))
		sources = append(sources, source)
	}
	for _, a := range hostile.Attacks() {
		// Those that compute for seconds may be out of time instead, on a busy machine.
		kills := killers()[a.Name] && (a.Kinds[0] != "nats" || strings.Contains(a.Name, "/message-of-"))
		if endpoints[a.Kinds[0]] == "" || !kills {
			continue
		}
		if attacks = append(attacks, a.Name); len(attacks)%every != 0 {
			continue
		}
		i := len(attacks)
		id := linker(sources[i%len(sources)], fmt.Sprint("c", i))
		s.must(2, who.token, "PUT", id, linkers, toEndpoint(fmt.Sprintf(endpoints[a.Kinds[0]], hostile.Listen(t, a.Serve))))
		bystander.works()
		if op := s.operation(s.token, id); op["state"] != "undone" || text(op, "error", "code") != "TargetMisbehaved" {
			t.Errorf("%s: the operation is %v", a.Name, op)
		}
	}
	if len(attacks) < 40 {
		t.Errorf("only %d attacks are known to kill", len(attacks))
	}
	bystander.works()
	s.alive()
	if peak := memoryOf(t, s.cmd.Process.Pid, "VmHWM:"); peak > before+128<<20 {
		t.Errorf("the server needed %d MiB, beside %d", peak>>20, before>>20)
	}
	if left := childrenOf(s.cmd.Process.Pid); len(left) > 1 { // the bystander's, which waits for another probe
		t.Errorf("the processes %v are left", left)
	}
}

// worker is a connection that works.
type worker struct {
	*tenant
	caller
	linker string
}

// onRedis connects a source to a healthy server.
func (n *tenant) onRedis(r *testenv.RedisServer) worker {
	n.s.t.Helper()
	target := n.group + "/providers/Microsoft.Cache/redis/cache"
	n.s.must(2, n.s.token, "PUT", target, own, map[string]any{"properties": map[string]any{
		"driver": "external", "endpoint": "redis://" + r.Addr(), "admin": map[string]any{"username": r.User, "secret": r.Password},
	}})
	source, _ := n.source("web")
	w := worker{n, n.with("Service Connector Contributor", ""), linker(source, "cache")}
	n.s.must(2, w.token, "PUT", w.linker, linkers, toResource(target+"/databases/0"))
	if op := n.s.operation(w.token, w.linker); op["state"] != "done" {
		n.s.t.Fatalf("%v", op)
	}
	return w
}

// works validates the connection, and gives the time that it took.
func (w worker) works() time.Duration {
	w.s.t.Helper()
	began := time.Now()
	w.s.must(2, w.token, "POST", w.linker+"/providers/Patchbay.Connector/validate", own, map[string]any{})
	op := w.s.operation(w.token, w.linker)
	if op["kind"] != "validate" || op["state"] != "done" {
		w.s.t.Errorf("a bystander's connection is not validated: %v", op)
	}
	return time.Since(began)
}

// running reports whether a process is there, and is more than its exit status.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}
