package sandbox_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.IsChild(os.Args[1:]) {
		os.Exit(sandbox.Main(drivers))
	}
	os.Exit(m.Run())
}

// drivers do what a client library may be brought to do.
var drivers = map[string]driver.TargetDriver{
	"greets": {Probe: func(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
		conn, err := r.Dialer.DialContext(ctx, "tcp", r.Servers[0])
		if err != nil {
			return driver.ProbeResult{}, driver.DialError(err, r.Servers[0])
		}
		defer func() { _ = conn.Close() }()
		if _, err := fmt.Fprintf(conn, "%s %s\n", r.Credential.Public["username"], r.Credential.Secret["password"].Reveal()); err != nil {
			return driver.ProbeResult{}, err
		}
		line := make([]byte, 64)
		n, err := conn.Read(line)
		return driver.ProbeResult{
			Allowed: []string{string(line[:n]), string(c.ID), c.Endpoint, string(r.Access), r.Options["o"], string(r.Facts), fmt.Sprint(os.Getpid())},
			Refused: []string{string(c.Properties)}, NotChecked: []string{"locked"}, TLS: "TLS 1.3", Took: 5,
		}, err
	}},
	"allocates": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		return driver.ProbeResult{Took: time.Duration(len(make([]byte, announced)))}, nil
	}},
	"grows": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
			for i := range all[len(all)-1] {
				all[len(all)-1][i] = 1
			}
		}
	}},
	"reserves": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		_, err := syscall.Mmap(-1, 0, 1<<30, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		return driver.ProbeResult{Allowed: []string{fmt.Sprint(err)}}, nil
	}},
	"panics": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		go func() { panic("hunter2") }()
		select {}
	}},
	"panics itself": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		panic("hunter2")
	}},
	"computes": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		for n := uint(0); ; n++ {
			runtime.KeepAlive(n)
		}
	}},
	"hangs": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) { select {} }},
	"drinks": {Probe: func(ctx context.Context, _ driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
		conn, err := r.Dialer.DialContext(ctx, "tcp", r.Servers[0])
		if err != nil {
			return driver.ProbeResult{}, err
		}
		_, err = io.Copy(io.Discard, conn)
		return driver.ProbeResult{}, err
	}},
	"prints": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		fmt.Println("what a library has to say")
		return driver.ProbeResult{}, nil
	}},
	"verifies": {Probe: func(ctx context.Context, _ driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
		conn, err := r.Dialer.DialContext(ctx, "tcp", r.Servers[0])
		if err != nil {
			return driver.ProbeResult{}, err
		}
		if err := tls.Client(conn, &tls.Config{ServerName: "example.com"}).HandshakeContext(ctx); err != nil {
			return driver.ProbeResult{}, driver.DialError(err, r.Servers[0])
		}
		return driver.ProbeResult{}, nil
	}},
	"poisons": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		poisoned.Store(true)
		return driver.ProbeResult{}, nil
	}},
	"is poisoned": {Probe: func(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
		if poisoned.Load() {
			go func() { panic("what the one before left") }()
			select {}
		}
		conn, err := r.Dialer.DialContext(ctx, "tcp", r.Servers[0])
		if err != nil {
			return driver.ProbeResult{}, err
		}
		return driver.ProbeResult{}, conn.Close()
	}},
	"is killed": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}},
	"exits": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		os.Exit(3)
		select {}
	}},
	"indexes": {Probe: func(_ context.Context, _ driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
		go func() { runtime.KeepAlive(r.Servers[len(r.Servers)]) }()
		select {}
	}},
	"reports": {Probe: func(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
		return driver.ProbeResult{Allowed: []string{strings.Repeat("a", 8<<20)}}, nil
	}},
	"does not read": {Probe: func(ctx context.Context, _ driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
		conn, err := r.Dialer.DialContext(ctx, "tcp", r.Servers[0])
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		return driver.ProbeResult{}, err
	}},
	"dials": {Probe: func(ctx context.Context, _ driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
		for {
			conn, err := r.Dialer.DialContext(ctx, "tcp", r.Servers[0])
			if err != nil {
				return driver.ProbeResult{}, err
			}
			_ = conn.Close()
		}
	}},
	"reaches": {Probe: func(ctx context.Context, _ driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
		_, file := os.ReadFile(r.Options["file"])
		_, etc := os.ReadDir("/etc")
		written := os.WriteFile(filepath.Join(filepath.Dir(r.Options["file"]), "written"), []byte("x"), 0o600)
		var d net.Dialer
		_, tcp := d.DialContext(ctx, "tcp", r.Options["elsewhere"])
		_, other := r.Dialer.DialContext(ctx, "tcp", r.Options["elsewhere"])
		_, udp := d.DialContext(ctx, "udp", r.Options["elsewhere"])
		_, unix := d.DialContext(ctx, "unix", r.Options["socket"])
		removed := os.Remove(r.Options["file"])
		var told []string
		for _, err := range []error{file, etc, written, tcp, other, udp, unix, removed} {
			told = append(told, fmt.Sprint(err))
		}
		return driver.ProbeResult{Allowed: told, Refused: os.Environ()}, nil
	}},
}

// announced is more than any machine has.
var announced = 1 << 46

// poisoned is what a probe leaves behind in its child.
var poisoned atomic.Bool

type config struct{ sandbox.Options }

func (c config) new(t *testing.T) *sandbox.Sandbox {
	s, err := sandbox.New(c.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// listener serves connections until the test ends.
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

func greet(c net.Conn) {
	line := make([]byte, 64)
	n, _ := c.Read(line)
	_, _ = fmt.Fprintf(c, "hello %s", line[:n])
}

func request(address, tenant string) driver.ProbeRequest {
	return driver.ProbeRequest{
		Credential: driver.Credential{Public: map[string]string{"username": "app"}, Secret: driver.Secrets{"password": patchbay.NewSecret("pw")}},
		Dialer:     &net.Dialer{}, Servers: []string{address}, Share: []string{tenant, address},
	}
}

func TestAProbeHasItsRequestAndNothingElse(t *testing.T) {
	s := config{}.new(t)
	r := request(listener(t, greet), "t")
	r.Access, r.Options, r.Facts = patchbay.Writer, map[string]string{"o": "v"}, []byte(`{"a":1}`)
	c := driver.Config{ID: "/subscriptions/s", Endpoint: "e", Properties: []byte(`{"p":2}`)}
	result, err := s.Probe(t.Context(), "greets", drivers["greets"], c, r)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"hello app pw\n", "/subscriptions/s", "e", "writer", "v", `{"a":1}`}
	for i, w := range want {
		if result.Allowed[i] != w {
			t.Errorf("%q, want %q", result.Allowed[i], w)
		}
	}
	if result.Refused[0] != `{"p":2}` || result.NotChecked[0] != "locked" || result.TLS != "TLS 1.3" || result.Took != 5 {
		t.Errorf("%+v", result)
	}
}

func TestWhatEndsAClientEndsItsProbeAlone(t *testing.T) {
	s := config{}.new(t)
	address := listener(t, greet)
	for name, says := range map[string]string{
		"allocates": "more memory", "grows": "more memory", "panics": "crashes", "panics itself": "crashes", "indexes": "crashes", "exits": "exit status", "computes": "without an end",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.Probe(t.Context(), name, drivers[name], driver.Config{}, request(address, name))
			e := patchbay.AsError(err)
			if e.Code != patchbay.TargetMisbehaved || e.Transient || !strings.Contains(e.Message, says) || strings.Contains(e.Message+e.Fix, "hunter2") {
				t.Errorf("%v", err)
			}
			if _, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(address, name)); err != nil {
				t.Errorf("the next probe: %v", err)
			}
		})
	}
}

// What an earlier server left in a child, or what somebody else did to it, is not
// the fault of the one that is asked.
func TestNoServerIsBlamedForWhatItDidNotDo(t *testing.T) {
	s := config{}.new(t)
	r := request(listener(t, greet), "t")
	if _, err := s.Probe(t.Context(), "poisons", drivers["poisons"], driver.Config{}, r); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Probe(t.Context(), "is poisoned", drivers["is poisoned"], driver.Config{}, r); err != nil {
		t.Errorf("after another's poison: %v", err)
	}
	for _, name := range []string{"is killed", "reports"} {
		_, err := s.Probe(t.Context(), name, drivers[name], driver.Config{}, r)
		if e := patchbay.AsError(err); e.Code != patchbay.Internal || e.Transient != (name == "is killed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Probe(t.Context(), "prints", drivers["prints"], driver.Config{}, r); err != nil {
		t.Errorf("a library that prints: %v", err)
	}
	r.Options = map[string]string{"o": strings.Repeat("a", 8<<20)}
	if _, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, r); patchbay.CodeOf(err) != patchbay.Internal {
		t.Errorf("a long request: %v", err)
	}
}

func TestWhatAServerSendsToNobodyHoldsNothing(t *testing.T) {
	s := config{}.new(t)
	closed := make(chan struct{})
	address := listener(t, func(c net.Conn) {
		defer close(closed)
		_, _ = c.Write(make([]byte, 8<<20))
	})
	if _, err := s.Probe(t.Context(), "does not read", drivers["does not read"], driver.Config{}, request(address, "t")); err != nil {
		t.Fatal(err)
	}
	<-closed
}

func TestFewChildrenWaitAndAllComeLast(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks at /proc")
	}
	s := config{sandbox.Options{Children: 2}}.new(t)
	address := listener(t, greet)
	var pids []string
	for tenant := range 5 {
		result, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(address, fmt.Sprint(tenant)))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, result.Allowed[6])
	}
	for i, pid := range pids {
		score, err := os.ReadFile(filepath.Join("/proc", pid, "oom_score_adj"))
		threads, _ := filepath.Glob(filepath.Join("/proc", pid, "task", "*", "stat"))
		for _, thread := range threads {
			if stat, err := os.ReadFile(thread); err == nil && strings.Fields(string(stat))[18] != "10" {
				t.Errorf("a thread's niceness is %s", strings.Fields(string(stat))[18])
			}
		}
		if waits := err == nil; waits != (i >= 3) {
			t.Errorf("child %d of 5: it is there: %t", i, waits)
		}
		if err == nil && string(score) != "1000\n" {
			t.Errorf("when memory is short, its score to be ended is %s", score)
		}
	}
}

// A server is right to hang up on a client that waits in a line.
func TestAConnectionThatWaitedIsMadeAnew(t *testing.T) {
	sandbox.SetFresh(t, 0)
	s := config{}.new(t)
	var connections atomic.Int64
	address := listener(t, func(c net.Conn) {
		if connections.Add(1) > 1 {
			greet(c)
		}
	})
	if _, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(address, "t")); err != nil {
		t.Error(err)
	}
}

func TestAProbeThatWaitsForAPlaceIsStopped(t *testing.T) {
	s := config{sandbox.Options{Children: 1}}.new(t)
	reached := make(chan struct{}, 2)
	silent := listener(t, func(c net.Conn) { reached <- struct{}{}; _, _ = io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	var probes sync.WaitGroup
	for _, tenant := range []string{"a", "b"} {
		probes.Go(func() {
			if _, err := s.Probe(ctx, "hangs", drivers["hangs"], driver.Config{}, request(silent, tenant)); patchbay.CodeOf(err) != patchbay.Canceled {
				t.Error(err)
			}
		})
	}
	<-reached
	<-reached
	cancel()
	probes.Wait()
}

// An upgrade puts another program where this one was; its children may speak
// another language.
func TestAChildIsOfTheProgramThatRuns(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere a program can only be started by its name")
	}
	if os.Getenv("PATCHBAY_REPLACED") == "" {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(program, content, 0o700); err != nil {
			t.Fatal(err)
		}
		again := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), "PATCHBAY_REPLACED="+program)
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if err := os.Remove(os.Getenv("PATCHBAY_REPLACED")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(os.Getenv("PATCHBAY_REPLACED"), []byte("#!/bin/false\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := (config{}.new(t)).Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(listener(t, greet), "t")); err != nil {
		t.Error(err)
	}
}

func TestAServerThatNeverEndsIsCutOff(t *testing.T) {
	s := config{}.new(t)
	address := listener(t, func(c net.Conn) {
		block := make([]byte, 1<<16)
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	_, err := s.Probe(t.Context(), "drinks", drivers["drinks"], driver.Config{}, request(address, "t"))
	if e := patchbay.AsError(err); e.Code != patchbay.TargetMisbehaved || !strings.Contains(e.Message, "MiB") {
		t.Errorf("%v", err)
	}
	_, err = s.Probe(t.Context(), "dials", drivers["dials"], driver.Config{}, request(listener(t, greet), "t"))
	if e := patchbay.AsError(err); e.Code != patchbay.TargetMisbehaved || !strings.Contains(e.Message, "again and again") {
		t.Errorf("%v", err)
	}
}

func TestAProbeThatHangsEndsWithItsContext(t *testing.T) {
	s := config{}.new(t)
	reached := make(chan struct{}, 2)
	address := listener(t, func(c net.Conn) { reached <- struct{}{}; _, _ = io.Copy(io.Discard, c) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	_, err := s.Probe(ctx, "hangs", drivers["hangs"], driver.Config{}, request(address, "t"))
	if !errors.Is(err, context.Canceled) || !patchbay.IsTransient(err) {
		t.Errorf("%v", err)
	}
}

func TestAChildReachesNoFileAndNoAddress(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has Landlock")
	}
	if b, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil && !strings.Contains(string(b), "landlock") {
		t.Skip("this kernel runs without Landlock, and a child opens files and connections only if it tries")
	}
	secret := filepath.Join(t.TempDir(), "sealing.key")
	if err := os.WriteFile(secret, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATCHBAY_TOKEN", "hunter2")
	s := config{}.new(t)
	r := request(listener(t, greet), "t")
	socket, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	r.Options = map[string]string{"file": secret, "elsewhere": listener(t, greet), "socket": socket.Addr().String()}
	r.Dialer = onlyTo(r.Servers[0])
	result, err := s.Probe(t.Context(), "reaches", drivers["reaches"], driver.Config{}, r)
	if err != nil {
		t.Fatal(err)
	}
	for i, what := range []string{"a file", "a directory", "a new file", "another address", "another address through its parent", "a name server", "a socket", "what is in a directory"} {
		if result.Allowed[i] == "<nil>" {
			t.Errorf("it reaches %s", what)
		}
	}
	if env := strings.Join(result.Refused, " "); strings.Contains(env, "hunter2") || strings.Contains(env, "PATH=") {
		t.Errorf("it has the environment %s", env)
	}
}

func TestAChildKnowsTheSystemsAuthorities(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	probe := func() error {
		r := request(server.Listener.Addr().String(), "t")
		_, err := config{}.new(t).Probe(t.Context(), "verifies", drivers["verifies"], driver.Config{}, r)
		return err
	}
	if err := probe(); patchbay.CodeOf(err) != patchbay.CertificateInvalid {
		t.Errorf("an authority of nobody: %v", err)
	}
	file := filepath.Join(t.TempDir(), "authorities.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	if err := probe(); err != nil {
		t.Errorf("the system's: %v", err)
	}
}

// What the server was started with open, by a shell or a service manager, every
// program that it starts has too.
func TestAChildHasNoFileThatWasOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("looks at /proc")
	}
	secret, err := os.CreateTemp(t.TempDir(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = secret.Close() }()
	handed, err := syscall.Dup(int(secret.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(handed) }()
	result, err := config{}.new(t).Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(listener(t, greet), "t"))
	if err != nil {
		t.Fatal(err)
	}
	open, err := filepath.Glob(filepath.Join("/proc", result.Allowed[6], "fd", "*"))
	if err != nil || len(open) < 3 {
		t.Fatal(open, err)
	}
	for _, fd := range open {
		if name, err := os.Readlink(fd); err != nil || name == secret.Name() {
			t.Errorf("it has %s: %s, %v", fd, name, err)
		}
	}
}

// What is reserved counts as nothing while it can't be used, and what is then used
// of it need not count either: a gibibyte that was announced was had at once.
func TestAChildReservesNoMoreThanItMayUse(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux bounds memory")
	}
	s := config{}.new(t)
	result, err := s.Probe(t.Context(), "reserves", drivers["reserves"], driver.Config{}, request(listener(t, greet), "t"))
	if err != nil || result.Allowed[0] == "<nil>" {
		t.Errorf("a child reserves a gibibyte: %v, %v", result, err)
	}
}

// onlyTo is a dialer as the guard makes it of a target's servers.
type onlyTo string

func (o onlyTo) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if address != string(o) {
		return nil, errors.New("another address")
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

func TestAChildServesOneTenantAlone(t *testing.T) {
	s := config{}.new(t)
	address := listener(t, greet)
	pid := func(tenant string) string {
		t.Helper()
		result, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(address, tenant))
		if err != nil {
			t.Fatal(err)
		}
		return result.Allowed[6]
	}
	first := pid("a")
	if again := pid("a"); again != first {
		t.Error("a second probe of a tenant has another child")
	}
	if other := pid("b"); other == first {
		t.Error("two tenants have one child")
	}
	_, err := s.Probe(t.Context(), "panics", drivers["panics"], driver.Config{}, request(address, "a"))
	if patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
		t.Error(err)
	}
	if after := pid("a"); after == first {
		t.Error("a child outlives what ended its probe")
	}
}

func TestProbesOfATenantLeaveRoomForAnothers(t *testing.T) {
	s := config{sandbox.Options{Children: 4}}.new(t)
	var mu sync.Mutex
	connected := 0
	all := make(chan struct{})
	silent := listener(t, func(c net.Conn) {
		mu.Lock()
		if connected++; connected == 12 {
			close(all)
		}
		mu.Unlock()
		_, _ = io.Copy(io.Discard, c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var probes sync.WaitGroup
	for range 12 {
		probes.Go(func() { _, _ = s.Probe(ctx, "hangs", drivers["hangs"], driver.Config{}, request(silent, "flood")) })
	}
	<-all
	if _, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(listener(t, greet), "bystander")); err != nil {
		t.Error(err)
	}
	cancel()
	probes.Wait()
}

func TestAServerThatCannotBeReachedCostsNoChild(t *testing.T) {
	s := config{sandbox.Options{Command: []string{"/nonexistent"}}}.new(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(l.Addr().String(), "t")); patchbay.CodeOf(err) != patchbay.PortClosed {
		t.Errorf("%v", err)
	}
	_, err = s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(listener(t, greet), "t"))
	if e := patchbay.AsError(err); e.Code != patchbay.Internal || !e.Transient || !strings.Contains(e.Message, "no process can be started") {
		t.Errorf("%v", err)
	}
}

func TestAProgramThatIsNoChildIsNotTakenForOne(t *testing.T) {
	s := config{sandbox.Options{Command: []string{"/bin/sh", "-c", "echo hello"}}}.new(t)
	_, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(listener(t, greet), "t"))
	if patchbay.CodeOf(err) != patchbay.Internal {
		t.Errorf("%v", err)
	}
}

// What a probe costs more than its work: a child that waits, and one that has to
// be started.
func BenchmarkProbe(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { greet(c); _ = c.Close() }()
		}
	}()
	address := l.Addr().String()
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			if _, err := drivers["greets"].Probe(b.Context(), driver.Config{}, request(address, "t")); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, how := range []string{"in a child that waits", "in a new child"} {
		b.Run(how, func(b *testing.B) {
			s, err := sandbox.New(sandbox.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			n := 0
			for b.Loop() {
				tenant := "t"
				if how == "in a new child" {
					n++
					tenant = fmt.Sprint(n)
				}
				if _, err := s.Probe(b.Context(), "greets", drivers["greets"], driver.Config{}, request(address, tenant)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A program that does not know that it is a child would start children, and they
// theirs.
func TestAChildStartsNoChild(t *testing.T) {
	t.Setenv("PATCHBAY_PROBE_CHILD", "1")
	s := config{}.new(t)
	_, err := s.Probe(t.Context(), "greets", drivers["greets"], driver.Config{}, request(listener(t, greet), "t"))
	if e := patchbay.AsError(err); e.Code != patchbay.Internal || !strings.Contains(e.Message, "starts no other") {
		t.Errorf("%v", err)
	}
}
