package networkpolicy

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// between stands between the driver and the API server, and cuts one request: before it is
// there, or after, when its answer is lost.
type between struct {
	*httptest.Server
	mu   sync.Mutex
	n    int // requests so far
	cut  int // the one that is cut, counted from 1; with it the process dies
	late bool
	die  context.CancelFunc
}

func newBetween(w *world) *between {
	b := &between{}
	to, err := url.Parse(w.cluster.Server())
	must(w.t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: w.client.Transport, ErrorLog: log.New(io.Discard, "", 0)}
	b.Server = httptest.NewTLSServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.n++
		n, cut, late, die := b.n, b.cut, b.late, b.die
		b.mu.Unlock()
		if cut > 0 && n >= cut {
			if n == cut && late {
				proxy.ServeHTTP(httptest.NewRecorder(), r)
			}
			die() // whose client would try again
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(a, r)
	}))
	w.t.Cleanup(b.Close)
	return b
}

// arm says which request is cut, and counts anew. The context is of who dies with it.
func (b *between) arm(cut int, late bool) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n, b.cut, b.late, b.die = 0, cut, late, cancel
	return ctx
}

func (b *between) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// TestADeathAtEachRequest: whatever is left, the target is not open for one connection and
// closed for nobody; who goes on makes it whole, and a removal leaves what closes.
func TestADeathAtEachRequest(t *testing.T) {
	w := newWorld(t)
	b := newBetween(w)
	c := w.config(nil)
	c.Endpoint, c.Dialer = b.URL, &net.Dialer{}
	var properties object
	must(t, json.Unmarshal(c.Properties, &properties))
	properties["tls"] = object{"ca": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw}))}
	var err error
	c.Properties, err = json.Marshal(properties)
	must(t, err)
	open := func() driver.Network {
		t.Helper()
		n, err := Driver().Open(t.Context(), c, w.guarded(""))
		must(t, err)
		t.Cleanup(func() { _ = n.Close() })
		return n
	}
	r := w.rule("aaaa", "web", w.server("db", 5432), w.server("events", 5433))
	whole := driver.RuleState{Exists: true, Ours: true, Exact: true}
	wipe := func() { w.must("DELETE", w.policies(w.shop), nil) }

	n := open()
	b.arm(0, false)
	must(t, n.EnsureRule(t.Context(), r))
	ensures := b.count()
	opened, err := w.content()
	must(t, err)
	b.arm(0, false)
	must(t, n.RemoveRule(t.Context(), r))
	removes := b.count()
	closed, err := w.content()
	must(t, err)
	if strings.Count(closed, "patchbay-closed-") != 2 || strings.Count(opened, `"name": "patchbay-`) != 4 {
		t.Fatalf("with the rule\n%s\nwithout\n%s", opened, closed)
	}
	for _, late := range []bool{false, true} {
		for cut := 1; cut <= ensures; cut++ {
			wipe()
			n := open()
			if err := n.EnsureRule(b.arm(cut, late), r); err == nil {
				t.Errorf("EnsureRule without its request %d of %d succeeds", cut, ensures)
			}
			left, err := w.content()
			must(t, err)
			if strings.Contains(left, `"patchbay-aaaa-g1`) && strings.Count(left, `"name": "patchbay-closed-`) != 2 {
				t.Errorf("a death at %d leaves open what is not closed: %s", cut, left)
			}
			b.arm(0, false)
			must(t, open().EnsureRule(t.Context(), r))
			if now, err := w.content(); err != nil || now != opened {
				t.Errorf("who goes on after a death at %d makes %s, %v", cut, now, err)
			}
		}
		for cut := 1; cut <= removes; cut++ {
			b.arm(0, false)
			n := open()
			must(t, n.EnsureRule(t.Context(), r))
			if err := n.RemoveRule(b.arm(cut, late), r); err == nil {
				t.Errorf("RemoveRule without its request %d of %d succeeds", cut, removes)
			}
			if left, err := w.content(); err != nil || strings.Count(left, `"name": "patchbay-closed-`) != 2 {
				t.Errorf("a death at %d opens it: %s, %v", cut, left, err)
			}
			b.arm(0, false)
			again := open()
			if state, err := again.InspectRule(t.Context(), r); err != nil || state == whole && cut > removes-1 && late {
				t.Errorf("after a death at %d InspectRule = %+v, %v", cut, state, err)
			}
			must(t, again.RemoveRule(t.Context(), r))
			if now, err := w.content(); err != nil || now != closed {
				t.Errorf("who goes on after a death at %d leaves %s, %v", cut, now, err)
			}
		}
	}
}

// TestWhatTheServerSays when it can't or won't: a code that is true, and no word of ours left.
func TestWhatTheServerSays(t *testing.T) {
	w := newWorld(t)
	c := w.config(nil)
	c.Admin = driver.Secrets{"token": patchbay.NewSecret("canary-of-nobody")}
	n, err := Driver().Open(t.Context(), c, w.guarded(""))
	must(t, err)
	defer func() { _ = n.Close() }()
	if err := n.EnsureRule(t.Context(), w.rule("aaaa", "web")); patchbay.CodeOf(err) != patchbay.AdminRefused {
		t.Errorf("with a credential of nobody: %v", err)
	}
	gone := w.open(nil, "")
	r := w.rule("aaaa", "web", "db.no-such-namespace.svc:5432")
	if err := gone.EnsureRule(t.Context(), r); patchbay.CodeOf(err) != patchbay.TargetNotFound {
		t.Errorf("in a namespace that is not there: %v", err)
	}
	if err := gone.RemoveRule(t.Context(), r); err != nil {
		t.Errorf("RemoveRule in a namespace that is not there: %v", err)
	}
	// What it guarded has gone: the rule goes all the same.
	rule := w.rule("bbbb", "web")
	must(t, gone.EnsureRule(t.Context(), rule))
	w.must("DELETE", w.core(w.shop, "services")+"/db", nil)
	if state, err := gone.InspectRule(t.Context(), rule); err != nil || !state.Ours || state.Exact {
		t.Errorf("InspectRule of a rule to what has gone = %+v, %v", state, err)
	}
	must(t, gone.RemoveRule(t.Context(), rule))
	if state, err := gone.InspectRule(t.Context(), rule); err != nil || state.Exists {
		t.Errorf("InspectRule after its removal = %+v, %v", state, err)
	}
}
