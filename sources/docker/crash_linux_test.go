package docker

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay/driver"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// every says how many of the crashes are tried: one in so many.
var every = flag.Int("every", 40, "try every so many-th death; 1: all")

// A life is what happens to an application, one call after the other; each may be
// repeated.
type life struct {
	begin   func(l *lived) // before anything dies
	calls   []func(ctx context.Context, s *source, l *lived) error
	undo    bool // whoever goes on takes it back
	stopped bool
	policy  string
}

type lived struct {
	*world
	t      *testing.T
	name   string
	id     string // of the application's first container
	change driver.Change
	before driver.Snapshot
}

var lives = map[string]life{
	"create":              {calls: []func(context.Context, *source, *lived) error{write, restart, release}, policy: "always"},
	"create of a stopped": {calls: []func(context.Context, *source, *lived) error{write, restart, release}, stopped: true, policy: "always"},
	"undo":                {calls: []func(context.Context, *source, *lived) error{write, restart, restore, restart}, policy: "unless-stopped"},
	"undo of a stopped":   {calls: []func(context.Context, *source, *lived) error{write, restart, restore, restart}, stopped: true, policy: "always"},
	"died, then undone":   {calls: []func(context.Context, *source, *lived) error{write, restart}, undo: true, policy: "always"},
	"delete": {
		begin: func(l *lived) {
			s := l.open(l.t, l.name)
			apply(l.t, s, l.change)
			must(l.t, s.Release(l.t.Context(), l.change))
			l.change = gone(l.change)
		},
		calls: []func(context.Context, *source, *lived) error{write, restart, release}, policy: "on-failure",
	},
}

func write(ctx context.Context, s *source, l *lived) error {
	_, err := s.WriteSettings(ctx, l.change, l.before.Version)
	return err
}
func restart(ctx context.Context, s *source, _ *lived) error { return s.Restart(ctx) }
func release(ctx context.Context, s *source, l *lived) error { return s.Release(ctx, l.change) }
func restore(ctx context.Context, s *source, l *lived) error {
	return s.RestoreSettings(ctx, l.change, l.before)
}

func TestWhereverItDiesTheNextCallGoesOn(t *testing.T) {
	for _, engine := range testdocker.Engines {
		t.Run(engine, func(t *testing.T) {
			if engine == testdocker.Podman && !*whole {
				t.Skip("it takes minutes on Podman: make test-containers runs it")
			}
			w := &world{Engine: testdocker.Start(t, engine)}
			image := w.Image(t, testdocker.App)
			w.Must(t, "network", "create", "n1")
			w.Must(t, "network", "create", "n2")
			n := 0
			for _, what := range slices.Sorted(maps.Keys(lives)) {
				l := lives[what]
				for _, after := range []bool{false, true} {
					for at, more := 1, true; more && at <= maxCalls; at++ {
						if n++; n%*every != 0 {
							continue
						}
						t.Run(fmt.Sprintf("%s/%d after=%t", what, at, after), func(t *testing.T) {
							more = l.live(t, w, image, testdocker.Moment{Call: at, After: after})
						})
					}
				}
			}
		})
	}
}

// maxCalls is more than any life has.
const maxCalls = 14

// TestTheEngineDies is the same, with an engine that is killed along with us, and
// starts what its restart policies say when it is back.
func TestTheEngineDies(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, testdocker.App)
	w.Must(t, "network", "create", "n1")
	w.Must(t, "network", "create", "n2")
	n := 5 // in the middle first: what is stopped is not started yet
	for _, what := range []string{"create", "undo"} {
		l := lives[what]
		// With unless-stopped, Docker 20.10 takes what it ends itself at such a start
		// for stopped by somebody.
		l.policy = "always"
		for at, more := 1, true; more && at <= maxCalls; at++ {
			if n++; n%*every != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", what, at), func(t *testing.T) {
				more = l.live(t, w, image, testdocker.Moment{Call: at, After: true, Upon: func() {
					w.Kill()
					must(t, w.Up())
				}})
			})
		}
	}
}

// live lives a life with a death in it, and reports whether it came to that call.
func (f life) live(t *testing.T, w *world, image string, at testdocker.Moment) bool {
	t.Helper()
	l := &lived{world: w, t: t, name: fmt.Sprintf("web%d", w.names.Add(1)), change: change(1, "PB_A", "1")}
	w.Must(t, "run", "--detach", "--name", l.name, "--restart", f.policy, "--network", "n1", image)
	w.Must(t, "network", "connect", "n2", l.name)
	defer func() {
		_, _ = w.Docker(append([]string{"rm", "--force"}, w.ours(t, l.name)...)...)
	}()
	if f.stopped {
		w.Must(t, "stop", l.name)
	}
	if f.begin != nil {
		f.begin(l)
	}
	l.id = w.Must(t, "inspect", "--format", "{{.Id}}", l.name)
	was, err := w.portrait(t, l.name)
	must(t, err)

	d := w.Death(t)
	d.Arm(at)
	config := w.config(l.name)
	properties := map[string]any{}
	must(t, json.Unmarshal(config.Properties, &properties))
	properties["engine"] = "unix://" + d.Socket
	config.Properties, _ = json.Marshal(properties)
	opened, err := Driver().Open(t.Context(), config)
	must(t, err)
	defer func() { _ = opened.Close() }()
	mortal, next := opened.(*source), w.open(t, l.name)
	l.before, err = mortal.ReadSettings(t.Context())
	must(t, err)
	calls, undoing := f.calls, false
	for i := 0; i < len(calls); i++ {
		err := calls[i](t.Context(), mortal, l)
		if err == nil {
			continue
		}
		if !d.Came() {
			t.Fatalf("call %d: %v", i+1, err)
		}
		// Somebody else goes on, who knows nothing but the plan.
		if running := w.running(t, l.name); running > 1 && at.Upon == nil {
			t.Errorf("%d containers run when it died in call %d of %q", running, i+1, d.Calls())
		}
		mortal = next
		if f.undo && !undoing {
			undoing = true
			calls, i = []func(context.Context, *source, *lived) error{restore, restart}, -1
			continue
		}
		i--
	}
	if err := next.Release(t.Context(), l.change); err != nil {
		t.Error(err)
	}
	f.check(t, l, was, d)
	return d.Came()
}

func (f life) check(t *testing.T, l *lived, was string, d *testdocker.Death) {
	t.Helper()
	if left := l.ours(t, l.name); len(left) != 1 || left[0] != l.name {
		t.Errorf("after %q there are %v", d.Calls(), left)
		return
	}
	want := 1
	if f.stopped {
		want = 0
	}
	if running := l.running(t, l.name); running != want {
		t.Errorf("after %q %d containers run, want %d", d.Calls(), running, want)
	}
	now, err := l.portrait(t, l.name)
	must(t, err)
	undone := len(f.calls) == 4 || f.undo && d.Came()
	if id := l.Must(t, "inspect", "--format", "{{.Id}}", l.name); undone && id != l.id {
		t.Errorf("after %q another container is back", d.Calls())
	}
	if has := strings.Contains(now, "PB_A=1") && strings.Contains(now, markPrefix); has != (!undone && len(l.change.Set) > 0) {
		t.Errorf("after %q it has the connection: %t", d.Calls(), has)
	}
	compare(t, fmt.Sprintf("after %q", d.Calls()), was, now, "PB_A=1", "")
}

// running counts those that run of an application's container and those beside it.
func (w *world) running(t *testing.T, name string) int {
	t.Helper()
	n := 0
	for _, other := range w.ours(t, name) {
		if out, err := w.Docker("inspect", "--format", "{{.State.Running}}", other); err == nil && out == "true" {
			n++
		}
	}
	return n
}
