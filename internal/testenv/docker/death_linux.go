package docker

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Death is a socket of an engine at which somebody dies, in the middle of what he does:
// at one of his calls that have an effect. Nothing of him arrives from then on.
type Death struct {
	Socket string
	mu     sync.Mutex
	at     Moment
	calls  []string
	dead   bool
}

// Moment says when and how. The zero Moment never comes.
type Moment struct {
	Call  int    // which one, from 1
	After bool   // its effect happens, and nobody hears of it
	Upon  func() // what else happens then
	// Alone leaves it at Upon: the call arrives, and what follows.
	Alone bool
}

// Death makes one, which ends with the test.
func (e *Engine) Death(t testing.TB) *Death {
	t.Helper()
	d := &Death{Socket: filepath.Join(t.TempDir(), "s.sock")}
	listener, err := net.Listen("unix", d.Socket)
	if err != nil {
		t.Fatal(err)
	}
	engine := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "engine" },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", e.Socket)
		}},
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.comes(engine, r)
		if d.dead {
			panic(http.ErrAbortHandler)
		}
		engine.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return d
}

func (d *Death) comes(engine http.Handler, r *http.Request) {
	if d.dead || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return
	}
	d.calls = append(d.calls, r.Method+" "+r.URL.Path)
	if len(d.calls) != d.at.Call {
		return
	}
	d.dead = !d.at.Alone
	if d.at.After {
		engine.ServeHTTP(httptest.NewRecorder(), r)
	}
	if d.at.Upon != nil {
		d.at.Upon()
	}
}

// Arm has it come, counted from now. Whoever has died is forgotten.
func (d *Death) Arm(at Moment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.calls, d.dead = at, nil, false
}

// Came reports whether it has.
func (d *Death) Came() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// Calls are those that had an effect, since it was armed.
func (d *Death) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.calls...)
}
