package attacktest

import (
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/sandbox"
	"patchbay.dev/patchbay/internal/testenv/hostile"
	"patchbay.dev/patchbay/settings"
)

//go:embed testdata/killers.txt
var killersText string

// killers are attacks that ended a process with the client in it.
var killers = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(killersText) {
		if name := strings.TrimSpace(line); !strings.HasPrefix(name, "#") {
			names[name] = true
		}
	}
	return names
})

// Bounds on a sign-in: on one that an attack may leave waiting, on one that has to
// find out, and on one that should have ended by then whatever the machine does.
const (
	waiting = 2 * time.Second
	finding = 30 * time.Second
	late    = 2 * time.Minute
)

// findings are what a sign-in may end with when the server is none.
var findings = []patchbay.Code{
	patchbay.TargetMisbehaved, patchbay.TargetUnreachable, patchbay.Timeout, patchbay.LoginRefused, patchbay.CertificateInvalid,
}

// honest are attacks in which there is an honest answer, to which something is
// added that no client here reads, or none would miss: signing in may succeed, and
// of a login with an access it may be said that it has another.
var honest = []string{
	"the-answer-and-noise", "the-answer-for-ever", "one-byte-a-second",
	"mysql/question/a-packet-that-never-ends-behind-one", "postgres/question/ready-again", "kafka/question/topics-of-2^31", // as a number of 32 bits, it says that there are none
	"nats/sign-in/pongs", "nats/question/a-text", "nats/question/answers-for-ever", "nats/question/empty-values", "nats/question/pings-behind-the-answer",
	// The status is the answer, and what is below it has no need to end.
	"http/question/a-body-that-never-ends", "http/question/a-chunk-that-never-ends", "http/question/chunks",
	"http/question/gzip-of-ten-gibibyte", "http/question/lists-in-lists",
}

// attempt is one attack on one client.
type attempt struct {
	client
	hostile.Attack
}

// attempts are all that make sense. Of a client that asks nothing once it has
// signed in, no question can be answered.
func attempts(t testing.TB) []attempt {
	t.Helper()
	var all []attempt
	for _, c := range clients(t) {
		for _, a := range hostile.Attacks() {
			if slices.Contains(a.Kinds, c.kind) && (!c.silent || !strings.Contains(a.Name, "/question/")) {
				all = append(all, attempt{c, a})
			}
		}
	}
	return all
}

// share is every so many-th attempt, and each killer once.
func share(all []attempt, every int) []attempt {
	var some []attempt
	tried := map[string]bool{}
	for i, a := range all {
		once := killers()[a.Attack.Name] && !tried[a.Attack.Name]
		if once || i%every == 0 {
			tried[a.Attack.Name] = true
			some = append(some, a)
		}
	}
	return some
}

// Every client library that talks to what a caller names, as the product has it do
// so, against every attack.
func TestNoServerHurtsWhoHasALoginTried(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) }) // when the attackers are gone
	tried := attempts(t)
	if !*whole {
		tried = share(tried, 29)
	}
	byClient := map[string][]attempt{}
	for _, a := range tried {
		byClient[a.client.name] = append(byClient[a.client.name], a)
	}
	s := newSandbox(t)
	before := resident(t)
	r := newRun()
	t.Run("clients", func(t *testing.T) {
		for _, name := range slices.Sorted(maps.Keys(byClient)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r.all(t, s, byClient[name])
			})
		}
	})
	s.Close()
	// Nearly all of it is the attackers', who are in this process and say up to 50 MiB
	// at once. Of what they announce, each one is more.
	const most = 1 << 30
	peak := peakOf(t)
	if peak > before+most {
		t.Errorf("%d MiB were needed, beside the %d that were before", peak>>20, before>>20)
	}
	if after := resident(t); after > before+most/16 {
		t.Errorf("%d MiB stay, of %d that were before", after>>20, before>>20)
	}
	if left := probing(); len(left) > 0 {
		t.Errorf("the processes %v are left", left)
	}
	t.Logf("%d sign-ins; %d MiB before, %d at most", len(tried), before>>20, peak>>20)
}

// The clients do sign in where nobody attacks them: what they say of the others is
// about the attack.
func TestEveryClientSignsInToAnHonestServer(t *testing.T) {
	s := newSandbox(t)
	t.Cleanup(s.Close)
	// What these ask last, the honest servers have no answer to: a proof that they
	// know the password, a row about themselves, a token, rights.
	limits := map[string]patchbay.Code{
		"external/cosmos-mongo": patchbay.LoginRefused, "external/mongodb-atlas": patchbay.LoginRefused, "external/mongodb": patchbay.LoginRefused,
		"external/cosmos-cassandra": patchbay.TargetUnreachable, "external/vault-approle": patchbay.TargetUnreachable,
		"postgres": patchbay.TargetUnreachable, "nats/writer": patchbay.TargetUnreachable,
	}
	for _, c := range clients(t) {
		_, err := c.signIn(t.Context(), s, "tenant", hostile.Listen(t, hostile.Fuzz(c.kind, nil)), false)
		if patchbay.CodeOf(err) != limits[c.name] {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A kind that is not attacked is one that nobody signs in to: a server that never
// answers is not even asked.
func TestEveryKindThatSignsInIsAttacked(t *testing.T) {
	s := newSandbox(t)
	t.Cleanup(s.Close)
	attacked := map[string]bool{}
	for _, e := range externals {
		attacked[e.kind] = true
	}
	address := hostile.Listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for _, k := range settings.Kinds() {
		if attacked[k.Name] {
			continue
		}
		login := driver.Credential{Secret: driver.Secrets{}}
		for _, v := range k.Values {
			if v.Secret {
				login.Secret[v.Name] = patchbay.NewSecret("cmlnaHQ=")
			}
		}
		clear := withoutTLS
		for _, v := range k.Values {
			switch {
			case v.Name == "sslmode" && slices.Contains(v.Words, "disable"):
				clear = inTheClear(v.Name, "disable")
			case v.Name == "ssl":
				clear = inTheClear(v.Name, "false")
			}
		}
		c := client{driver: "external", request: driver.ProbeRequest{Credential: login}, config: func(string, bool) driver.Config {
			return driver.Config{ID: patchbay.ID(inGroup + "Patchbay.Services/" + k.Name + "/silent"), Endpoint: "127.0.0.1", Properties: properties(clear)}
		}}
		result, err := c.signIn(t.Context(), s, "tenant", address, false)
		if err != nil || len(result.Allowed) > 0 {
			t.Errorf("%s: %v, %v", k.Name, result.Allowed, err)
		}
	}
}

// TLS ends in the child: what is announced behind it meets the same bounds.
func TestNoAttackIsHiddenByTLS(t *testing.T) {
	s := newSandbox(t)
	t.Cleanup(s.Close)
	web := httptest.NewTLSServer(nil) // for its certificate
	t.Cleanup(web.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	all := clients(t)
	redis := all[slices.IndexFunc(all, func(c client) bool { return c.kind == "redis" })]
	plain := redis.config
	redis.config = func(address string, secure bool) driver.Config {
		c := plain(address, secure)
		c.Properties = properties(map[string]any{"tls": map[string]any{"ca": string(authority)}})
		return c
	}
	for _, a := range hostile.Some(hostile.Against("redis"), 1<<20, "question/string-of-2^36", "question/letters-for-ever", "question/string-of-2^63-1") {
		if !killers()[a.Name] {
			continue
		}
		address := hostile.Listen(t, func(c net.Conn) { a.Serve(tls.Server(c, web.TLS)) })
		if _, err := redis.signIn(t.Context(), s, "tenant", address, true); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
			t.Errorf("%s: %v", a.Name, err)
		}
	}
}

// run is attempts that share the machine.
type run struct {
	places chan int     // their numbers are tenants'
	alone  sync.RWMutex // held for writing by an attempt that has the machine for itself
}

func newRun() *run {
	const atOnce = 8
	r := &run{places: make(chan int, atOnce)}
	for i := range atOnce {
		r.places <- i
	}
	return r
}

// all makes the attempts on one client, and tells of them.
func (r *run) all(t *testing.T, s *sandbox.Sandbox, tried []attempt) {
	var mu sync.Mutex
	var attempts sync.WaitGroup
	codes := map[patchbay.Code]int{}
	for _, a := range tried {
		place := <-r.places
		attempts.Go(func() {
			code := r.one(t, s, a, fmt.Sprint("tenant-", place))
			r.places <- place
			mu.Lock()
			codes[code]++
			mu.Unlock()
		})
	}
	attempts.Wait()
	var said []string
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		name := string(code)
		if name == "" {
			name = "signed in"
		}
		said = append(said, fmt.Sprint(codes[code], " ", name))
	}
	t.Logf("%-26s %3d attacks: %s", tried[0].client.name, len(tried), strings.Join(said, ", "))
}

func (r *run) one(t *testing.T, s *sandbox.Sandbox, a attempt, tenant string) patchbay.Code {
	address := hostile.Listen(t, a.Serve)
	kills := killers()[a.Attack.Name]
	limit := waiting
	if kills {
		limit = finding
	}
	try := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := a.signIn(ctx, s, tenant, address, strings.HasPrefix(a.Attack.Name, "tls/"))
			done <- err
		}()
		select {
		case err := <-done:
			return err
		case <-time.After(late):
			return patchbay.Errorf(patchbay.Internal, "the sign-in goes on %s after its time", late-limit)
		}
	}
	r.alone.RLock()
	err := try()
	r.alone.RUnlock()
	for again := 0; kills && patchbay.CodeOf(err) == patchbay.Timeout && again < 3; again++ { // beside others, the machine may be too slow to find out
		r.alone.Lock()
		err = try()
		r.alone.Unlock()
	}
	code := patchbay.CodeOf(err)
	switch {
	case kills && code == patchbay.CertificateInvalid: // it asked for the password, and was not heard any further
	case kills && code != patchbay.TargetMisbehaved:
		t.Errorf("%s: %v, and not %s", a.Attack.Name, err, patchbay.TargetMisbehaved)
	case slices.Contains(findings, code):
	case (code == "" || code == patchbay.RightsExcess && a.request.Access != "") && slices.ContainsFunc(honest, func(name string) bool {
		return a.Attack.Name == name || strings.HasSuffix(a.Attack.Name, "/"+name)
	}):
	default:
		t.Errorf("%s: %q, %v", a.Attack.Name, code, err)
	}
	if err != nil && (len(err.Error()) > 1<<10 || strings.Contains(err.Error(), a.login[1])) {
		t.Errorf("%s: it says too much: %.2000v", a.Attack.Name, err)
	}
	return code
}

// resident is how much memory this process has, from where on [peakOf] counts.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // where it fails, there is no such count
	return memoryOf(t, os.Getpid(), "VmRSS:")
}

// peakOf is the most that it has had.
func peakOf(t *testing.T) int {
	t.Helper()
	return memoryOf(t, os.Getpid(), "VmHWM:")
}

// memoryOf is a line of a process' status, in bytes.
func memoryOf(t *testing.T, pid int, line string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // another system than Linux
	}
	_, rest, _ := strings.Cut(string(text), line)
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// probing are the children of this process that probe.
func probing() []int {
	return slices.DeleteFunc(childrenOf(os.Getpid()), func(pid int) bool {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err != nil || !strings.Contains(string(line), sandbox.Command)
	})
}

// Every client library against answers that were changed as the seed says.
func FuzzAHostileServerOfEveryKind(f *testing.F) {
	all := slices.DeleteFunc(clients(f), func(c client) bool { return !slices.Contains(hostile.Kinds(), c.kind) })
	for _, seed := range [][]byte{
		{},
		{3, 0, 1, 10, 0x80, 0, 0, 0, 9, 0, 1, 4}, // a length in the first answer, a part of the second one many times
		{0x80, 0, 0, 0, 6, 0, 0, 14, 0x80, 0, 0, 0, 5, 0, 4, 14},
		{0x80, 0, 0, 0, 0x80, 0, 0, 0, 4, 0, 0, 12, 8, 0, 9, 200},
		{7, 0, 5, 0}, {11, 0, 0, 0},
	} {
		f.Add(seed)
	}
	s := newSandbox(f)
	f.Cleanup(func() {
		s.Close()
		if left := probing(); len(left) > 0 {
			f.Errorf("the processes %v are left", left)
		}
	})
	f.Fuzz(func(t *testing.T, seed []byte) {
		var tried sync.WaitGroup
		defer tried.Wait()
		for _, c := range all {
			address := hostile.Listen(t, hostile.Fuzz(c.kind, seed))
			tried.Go(func() {
				// What does not answer is given up soon: there are so many to be tried.
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				defer cancel()
				_, err := c.signIn(ctx, s, c.name, address, false)
				if code := patchbay.CodeOf(err); code == patchbay.Internal || err != nil && (len(err.Error()) > 1<<10 || strings.Contains(err.Error(), c.login[1])) {
					t.Errorf("%s: %q, %.2000v", c.name, code, err)
				}
			})
		}
	})
}
