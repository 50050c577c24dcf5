package connector

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"patchbay.dev/patchbay"
)

// The process ends in the middle of any call of a target, or just after it,
// and the next one goes on: for every kind of connection and operation.
func TestAProcessThatEndsAnywhereIsContinued(t *testing.T) {
	kinds := map[string]func(w *world) patchbay.Spec{
		"administered": (*world).spec,
		"registered":   func(w *world) patchbay.Spec { return w.cache(registered()) },
		"given":        func(w *world) patchbay.Spec { return w.cache(givenAuth("dba", "named-pass")) },
		"identity":     func(w *world) patchbay.Spec { return w.cache(servicePrincipal("sp-secret")) },
		"behind guards": func(w *world) patchbay.Spec {
			if w.app.egress == nil {
				w.walled("wall", "hba")
			}
			return w.spec()
		},
		"endpoint": func(w *world) patchbay.Spec {
			return selfHosted("redis://"+w.away.listener.Addr().String(), givenAuth("dba", "named-pass"))
		},
	}
	operations := map[string]func(w *world, spec patchbay.Spec) (Begun, error){
		"create": nil,
		"update": func(w *world, spec patchbay.Spec) (Begun, error) {
			spec.Client = "none"
			return w.Put(w.t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
		},
		"rotate": func(w *world, spec patchbay.Spec) (Begun, error) {
			r := RotateRequest{ID: w.linker, Caller: w.caller}
			if h, err := w.openHolding(mustGet(w.t, w)); err != nil || len(h.Given) > 0 {
				r.Secret = patchbay.NewSecret("newer-pass")
			}
			return w.Rotate(w.t.Context(), r)
		},
		"delete": func(w *world, _ patchbay.Spec) (Begun, error) {
			return w.Delete(w.t.Context(), w.linker, w.caller, "")
		},
	}
	for _, local := range []bool{false, true} {
		for kind, spec := range kinds {
			for name, begin := range operations {
				t.Run(fmt.Sprintf("%s of %s, local %v", name, kind, local), func(t *testing.T) {
					for n := 1; interruptedAt(t, n, local, spec, begin); n++ {
						if n > 30 {
							t.Fatal("it never ends without an interruption")
						}
					}
				})
			}
		}
	}
}

// interruptedAt ends the process at the n-th call of an operation. It is false
// when the operation has fewer.
func interruptedAt(t *testing.T, n int, local bool, form func(*world) patchbay.Spec, begin func(*world, patchbay.Spec) (Begun, error)) bool {
	w := newWorld(t)
	w.registerRedis("registered-pass")
	w.away.accept("", "registered-pass", true)
	w.away.accept("dba", "named-pass", true)
	w.away.accept("dba", "newer-pass", true)
	if local {
		w.local("dev")
	}
	spec := form(w)
	if begin == nil {
		begin = func(w *world, spec patchbay.Spec) (Begun, error) {
			return w.Put(w.t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
		}
	} else {
		w.want(w.put(spec), patchbay.Done, "")
	}
	w.gate.holdAt(n)
	b, err := begin(w, form(w))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan struct{})
	go func(s *Service) {
		for op := b.Operation; ctx.Err() == nil; {
			var err error
			if op, err = s.Wait(ctx, op.ID, op.Version); err != nil {
				return
			}
			if op.State.Ended() {
				close(ended)
				return
			}
		}
	}(w.Service)
	interrupted := false
	select {
	case <-w.gate.held:
		interrupted = true
		stop()
		w.restart()
	case <-ended:
	}
	w.gate.holdAt(0)
	op := w.end(b, nil)
	w.want(op, patchbay.Done, "")
	if op.Kind != patchbay.OpDelete {
		c := mustGet(t, w)
		if names := w.broker.names(); c.State != patchbay.Succeeded || len(names) > 1 || len(names) == 1 && names[0] != c.Login {
			t.Errorf("%+v; the target has %v", c, names)
		}
		if open := w.wall.opened(); len(open) != len(c.Guards) {
			t.Errorf("open is %q, and %q are on record", open, c.Guards)
		}
		if r := w.validated(false); !r.Available() {
			t.Errorf("%+v", r.Checks)
		}
		w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	}
	if got := w.app.read(); !maps.Equal(got, untouched) || len(w.broker.names())+len(w.wall.opened()) > 0 {
		t.Errorf("interrupted at call %d, left: %v, %v, %v", n, got, w.broker.names(), w.wall.opened())
	}
	return interrupted
}
