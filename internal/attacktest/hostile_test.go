package attacktest

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
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
		_, _ = fmt.Fprintf(c, "%%%d\r\n", 1<<29) // some twenty gigabytes
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

// running reports whether a process is there, and is more than its exit status.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}
