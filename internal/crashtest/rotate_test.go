package crashtest

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
)

var rotations = flag.Int("rotations", 3, "how often each target's credential is rotated")

// A client that reads the settings and signs in with them, without a pause, is
// never refused.
func TestRotationHasNoGap(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program")
	}
	rotated(t, slices.Concat([]ground{{start: startPostgres}, {start: startNATS}, {start: startMySQL}}, heavy()))
}

// rotated rotates on each of these grounds under such a client.
func rotated(t *testing.T, grounds []ground) {
	t.Helper()
	for i, g := range grounds {
		t.Run(fmt.Sprintf("ground %d %s", i, g.on), func(t *testing.T) {
			place, tg := g.open(t)
			w := g.world(t, place, tg)
			s := w.boot("", "", "--rotation-overlap", "1s")
			w.register(s)
			if status := s.put(w, "writer"); status != 201 {
				t.Fatalf("PUT = %d", status)
			}
			s.settle()

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var wg sync.WaitGroup
			users, signIns := map[string]bool{}, 0
			wg.Go(func() {
				for ctx.Err() == nil {
					env, err := w.source.settings()
					if err != nil {
						t.Errorf("the application has no settings: %v", err)
						return
					}
					who, err := tg.signsIn(env)
					if err != nil {
						t.Errorf("I6: refused after %d sign-ins: %v", signIns, err)
						return
					}
					users[who] = true
					signIns++
				}
			})
			w.rotate(s)
			cancel()
			wg.Wait()
			t.Logf("%d sign-ins with %d logins during %d rotations, none refused", signIns, len(users), *rotations)
			if len(users) < *rotations {
				t.Errorf("the client saw %d logins in %d rotations", len(users), *rotations)
			}
			if marked := tg.marked(); len(marked) != 1 {
				t.Errorf("I1: after the last rotation there are %v", marked)
			}
			w.cleanUp(s)
		})
	}
}

// rotate does so as often as it is asked for.
func (w *world) rotate(s *server) {
	w.t.Helper()
	for range *rotations {
		status, _ := s.call("POST", w.linker+"/providers/Patchbay.Connector/rotate", own, map[string]any{})
		if status != 202 {
			w.t.Fatalf("rotate = %d", status)
		}
		if op := s.settle(); op["state"] != "done" {
			w.t.Fatalf("rotate: %v", op)
		}
	}
}
