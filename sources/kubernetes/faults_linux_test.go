package kubernetes

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// middle is a server between the driver and the API server, which has bad days.
type middle struct {
	*httptest.Server
	mu    sync.Mutex
	calls int
	// fault decides what becomes of a call, by its number from 1.
	fault func(call int, r *http.Request) fault
}

type fault int

const (
	fine        fault = iota
	cutBefore         // the request never arrives
	cutAfter          // its answer never arrives
	tooMany           // 429
	unavailable       // 503
	gateway           // 504, after the effect
)

func between(t testing.TB, e *eyes) *middle {
	t.Helper()
	to, err := url.Parse(e.cluster.Server())
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: e.cluster.Client().Transport,
	}
	m.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.calls++
		f := fine
		if m.fault != nil {
			f = m.fault(m.calls, r)
		}
		m.mu.Unlock()
		status := func(code int, reason string) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_ = json.NewEncoder(w).Encode(object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "not now"})
		}
		switch f {
		case cutBefore:
			panic(http.ErrAbortHandler)
		case cutAfter:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case tooMany:
			w.Header().Set("Retry-After", "1")
			status(http.StatusTooManyRequests, "TooManyRequests")
		case unavailable:
			status(http.StatusServiceUnavailable, "ServiceUnavailable")
		case gateway:
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			status(http.StatusGatewayTimeout, "Timeout")
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(m.Close)
	return m
}

// through is the configuration of a source whose calls go through the middle.
func (m *middle) through(e *eyes, c driver.Config) driver.Config {
	var p object
	if err := json.Unmarshal(c.Properties, &p); err != nil {
		panic(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Certificate().Raw})
	p["tls"] = object{"ca": string(ca)}
	c.Properties, c.Endpoint, c.Dialer = marshal(p), m.URL, plainDialer
	return c
}

// TestAnyCallMayFail: a write, a restore and a release are interrupted at each
// single call, before it and after its effect, and done again by another process:
// the result is the same as without.
func TestAnyCallMayFail(t *testing.T) {
	for name, f := range map[string]fault{"before": cutBefore, "after": cutAfter, "unavailable": unavailable, "gateway": gateway} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEyes(t)
			e.must("POST", e.apps("deployments"), "", deployment(0, object{"env": []any{object{"name": "THEIRS", "value": "1"}}}))
			m := between(t, e)
			a := &app{eyes: e, s: e.open(nil), id: e.id()}
			first := a.change("aaaa", 1, "PB_A", "1", "PB_B", "1")
			next := a.change("aaaa", 2, "PB_B", "2", "PB_C", "2", "THEIRS", "taken over")
			next.Had, next.Back = first.Set, []patchbay.Setting{{Name: "THEIRS", Value: patchbay.NewSecret("1"), Secret: true}}
			a.write(first)
			a.release(first)
			before, _ := e.content()
			a.write(next)
			kept, _ := e.content()
			a.release(next)
			after, _ := e.content()
			a.restore(next)
			a.same(before, "without faults, taken back")

			// do does a call with a fault at one place, and again until there is none.
			do := func(what string, call func(context.Context, *source) error, check func(at int), undo func()) {
				for at := 1; ; at++ {
					hit, calls := false, 0
					m.mu.Lock()
					m.calls = 0
					m.fault = func(n int, _ *http.Request) fault {
						calls++
						if n == at && !hit {
							hit = true
							return f
						}
						return fine
					}
					m.mu.Unlock()
					err := call(bounded(t), e.openAs(m.through(e, e.config(nil))))
					if err != nil && !patchbay.IsTransient(err) {
						t.Errorf("%s with a fault at call %d: %v, which is not transient", what, at, err)
					}
					if err != nil {
						if err := call(bounded(t), e.openAs(m.through(e, e.config(nil)))); err != nil {
							t.Errorf("%s again after a fault at call %d: %v", what, at, err)
						}
					}
					check(at)
					undo()
					if !hit || t.Failed() {
						return
					}
				}
			}
			version := a.before.Version
			do("a write", func(ctx context.Context, s *source) error {
				_, err := s.WriteSettings(ctx, next, version)
				return err
			}, func(at int) { a.same(kept, fmt.Sprintf("with a fault at call %d of a write", at)) }, func() { a.restore(next) })
			a.write(next)
			do("a restore", func(ctx context.Context, s *source) error {
				return s.RestoreSettings(ctx, next, a.before)
			}, func(at int) { a.same(before, fmt.Sprintf("with a fault at call %d of a restore", at)) }, func() { a.write(next) })
			do("a release", func(ctx context.Context, s *source) error {
				return s.Release(ctx, next)
			}, func(at int) { a.same(after, fmt.Sprintf("with a fault at call %d of a release", at)) }, func() { a.restore(next); a.write(next) })
			// A delete that gives a name back.
			gone := driver.Change{Mark: next.Mark, Name: next.Name, Had: next.Set, Back: next.Back}
			a.release(next)
			a.write(gone)
			deleted, _ := e.content()
			version = a.before.Version
			a.restore(gone)
			do("a delete", func(ctx context.Context, s *source) error {
				_, err := s.WriteSettings(ctx, gone, version)
				return err
			}, func(at int) { a.same(deleted, fmt.Sprintf("with a fault at call %d of a delete", at)) }, func() { a.restore(gone) })
		})
	}
}

// TestTooManyRequests are waited for, as long as the server says.
func TestTooManyRequests(t *testing.T) {
	a := deploy(t, 0, nil)
	m := between(t, a.eyes)
	refused := 0
	m.fault = func(call int, _ *http.Request) fault {
		if call%5 == 1 {
			refused++
			return tooMany
		}
		return fine
	}
	a.s = a.openAs(m.through(a.eyes, a.config(nil)))
	a.write(a.change("aaaa", 1, "PB_A", "1"))
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// TestAConflictIsNoAnswer: controllers write all the time, and that is not somebody
// else's change; a change of settings is.
func TestAConflictIsNoAnswer(t *testing.T) {
	a := deploy(t, 0, nil)
	m := between(t, a.eyes)
	patches := 0
	change := func() {
		a.must("PATCH", a.apps("deployments")+"/web", merging, object{"metadata": object{"annotations": object{"n": fmt.Sprint(patches)}}})
	}
	m.fault = func(_ int, r *http.Request) fault {
		if r.Method == http.MethodPatch && !strings.Contains(r.URL.RawQuery, "dryRun") && patches < 3 {
			patches++
			change()
		}
		return fine
	}
	a.s = a.openAs(m.through(a.eyes, a.config(nil)))
	a.write(a.change("aaaa", 1, "PB_A", "1"))
	if patches != 3 {
		t.Errorf("the workload was written %d times in between", patches)
	}
	patches, change = 0, func() {
		patches = 3
		if err := a.set("LATER", "1"); err != nil {
			t.Error(err)
		}
		a.must("PATCH", a.apps("deployments")+"/web", merging, object{"metadata": object{"annotations": object{"n": "x"}}})
	}
	now, err := a.s.ReadSettings(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.s.WriteSettings(bounded(t), a.change("bbbb", 1, "PB_B", "1"), now.Version)
	if patchbay.CodeOf(err) != patchbay.SettingsChanged {
		t.Errorf("a write to what somebody has changed in between = %v", err)
	}
}

// TestTheServerRestartsInTheMiddleOfARollout, which goes on.
func TestTheServerRestartsInTheMiddleOfARollout(t *testing.T) {
	a := deploy(t, 2, object{"wait": object{"limit": "100s", "steady": "1s"}})
	a.write(a.change("aaaa", 1, "PB_A", "1", "APP_SLOW", "2"))
	done := make(chan error, 1)
	go func() { done <- a.s.Restart(bounded(t)) }()
	a.cluster.StopProgram("kube-apiserver", syscall.SIGKILL)
	if err := a.cluster.Apiserver(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Restart = %v", err)
	}
	a.reads(2, "PB_A", "1")
}

// TestTheRoleIsEnough, and no right of it is too many.
func TestTheRoleIsEnough(t *testing.T) {
	for i, one := range []struct {
		kind  string
		relay bool // it is spoken from
	}{{"Deployment", false}, {"StatefulSet", false}, {"CronJob", false}, {"Deployment", true}, {"DaemonSet", true}, {"CronJob", true}} {
		kind := one.kind
		t.Run(fmt.Sprintf("%s, relay %v", kind, one.relay), func(t *testing.T) {
			e := newEyes(t)
			path, resource := e.others(kind)
			e.must("POST", path, "", of(kind, nil))
			properties := object{"kind": kind}
			if one.relay {
				properties = relaying(t, properties)
			}
			c := e.config(properties)
			c.Admin = driver.Secrets{"token": patchbay.NewSecret(e.cluster.UserToken(i))}
			s := e.openAs(c)
			_, err := s.Inspect(bounded(t))
			if patchbay.CodeOf(err) != patchbay.AdminRights || !strings.Contains(err.Error(), "patch "+resource) {
				t.Fatalf("Inspect with no right = %v", err)
			}
			said := strings.SplitN(patchbay.AsError(err).Fix, "'", 3)
			if len(said) != 3 || len(patchbay.AsError(err).Fix) > 2000 {
				t.Fatalf("the fix has no Role: %s", patchbay.AsError(err).Fix)
			}
			var whole object
			if err := json.Unmarshal([]byte(said[1]), &whole); err != nil {
				t.Fatal(err)
			}
			roles := "/apis/rbac.authorization.k8s.io/v1/namespaces/" + e.namespace + "/"
			e.must("POST", roles+"roles", "", whole)
			e.must("POST", roles+"rolebindings", "", object{
				"metadata": object{"name": "patchbay"}, "roleRef": object{"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patchbay"},
				"subjects": []any{object{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": fmt.Sprintf("user%d", i)}},
			})
			a := &app{eyes: e, s: s, id: e.id()}
			for range 100 { // the authorizer hears of it in a moment
				if _, err = s.Inspect(bounded(t)); err == nil {
					break
				}
			}
			if err != nil {
				t.Fatalf("Inspect with the whole Role = %v", err)
			}
			first := a.change("aaaa", 1, "PB_A", "1")
			a.write(first)
			a.up()
			a.release(first)
			if owned, err := s.Owned(bounded(t)); err != nil || len(owned) != 1 {
				t.Errorf("Owned = %v, %v", owned, err)
			}
			if one.relay {
				from, err := s.Dialer(bounded(t))
				if err != nil {
					t.Fatalf("Dialer with the whole Role = %v", err)
				}
				if err := from.Close(); err != nil {
					t.Errorf("Close with the whole Role = %v", err)
				}
			}
			if kind != "CronJob" {
				bad := a.change("aaaa", 2, "APP_CRASH", "no luck")
				bad.Had = first.Set
				a.write(bad)
				if err := s.Restart(bounded(t)); patchbay.CodeOf(err) != patchbay.RestartFailed || !strings.Contains(err.Error(), "it last said") {
					t.Errorf("Restart = %v", err)
				}
				a.restore(bad)
				a.up()
			}
			for at, one := range list(whole, "rules") {
				for _, verb := range list(one, "verbs") {
					var less object
					if err := json.Unmarshal([]byte(said[1]), &less); err != nil {
						t.Fatal(err)
					}
					var verbs []any
					for _, other := range list(one, "verbs") {
						if other != verb {
							verbs = append(verbs, other)
						}
					}
					rules := list(less, "rules")
					if rules[at].(object)["verbs"] = verbs; len(verbs) == 0 {
						less["rules"] = append(rules[:at:at], rules[at+1:]...)
					}
					e.must("PUT", roles+"roles/patchbay", "", less)
					want := fmt.Sprintf("may not %s %s in", verb, text(one, "resources", 0))
					refused := func() bool {
						_, err := s.Inspect(bounded(t))
						return patchbay.CodeOf(err) == patchbay.AdminRights && strings.Contains(err.Error(), want)
					}
					for range 100 { // the authorizer hears of it in a moment
						if refused() {
							break
						}
					}
					if !refused() {
						_, err := s.Inspect(bounded(t))
						t.Errorf("without %s %s: %v", verb, text(one, "resources", 0), err)
					}
				}
			}
		})
	}
}

// TestRefusalsOfTheServer: a quota and an unknown caller are told as they are, and
// nothing is left.
func TestRefusalsOfTheServer(t *testing.T) {
	a := deploy(t, 0, nil)
	before, _ := a.content()
	a.must("POST", a.core("resourcequotas"), "", object{"metadata": object{"name": "few"}, "spec": object{"hard": object{"secrets": "0"}}})
	c := a.change("aaaa", 1, "PB_A", "1")
	var err error
	for range 100 { // a quota counts from when its controller has counted
		if err = a.s.CheckChange(bounded(t), c); err != nil && strings.Contains(err.Error(), "ResourceQuota") {
			break
		}
	}
	if patchbay.CodeOf(err) != patchbay.SettingsUnwritable || !strings.Contains(err.Error(), "ResourceQuota") {
		t.Errorf("CheckChange with a quota of no Secrets = %v", err)
	}
	a.same(before, "after it is refused")

	unknown := a.config(nil)
	unknown.Admin = driver.Secrets{"token": patchbay.NewSecret("nobody's")}
	if _, err := a.openAs(unknown).Inspect(bounded(t)); patchbay.CodeOf(err) != patchbay.AdminRefused {
		t.Errorf("Inspect as nobody = %v", err)
	}
	cert, key, err := a.cluster.ClientCertificate("user30")
	if err != nil {
		t.Fatal(err)
	}
	unknown.Admin = driver.Secrets{"certificate": patchbay.NewSecret(string(cert)), "key": patchbay.NewSecret(string(key))}
	if _, err := a.openAs(unknown).Inspect(bounded(t)); patchbay.CodeOf(err) != patchbay.AdminRights {
		t.Errorf("Inspect with a client certificate = %v", err)
	}
	elsewhere := a.config(nil)
	elsewhere.Endpoint = "https://127.0.0.1:1"
	if _, err := a.openAs(elsewhere).Inspect(bounded(t)); patchbay.CodeOf(err) != patchbay.PortClosed || !patchbay.IsTransient(err) {
		t.Errorf("Inspect of a server that is not there = %v", err)
	}
	elsewhere = a.config(object{"tls": object{}})
	if _, err := a.openAs(elsewhere).Inspect(bounded(t)); patchbay.CodeOf(err) != patchbay.CertificateInvalid {
		t.Errorf("Inspect of a server that nobody vouches for = %v", err)
	}
}
