package connector

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/store/storetest"
)

// An application runs with what it last read. Its restarts fail, with and without
// having had their effect, and it restarts by itself at any time; operations fail
// behind it, are canceled, and their process ends. Whatever happens, as long as a
// connection lives the application runs with a login of it that is there, and when
// it restarts again nothing is left over.
func TestWhatTheApplicationRunsWithIsThere(t *testing.T) {
	lives := 200
	if testing.Short() {
		lives = 30
	}
	for range lives {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			r := &running{world: newAppWorld(t, Limits{}, storetest.NewMemory()), chance: rand.New(rand.NewPCG(seed, 0)), moody: true}
			r.app.restart, r.app.touched, r.app.answer = r.restarts, r.byItself, r.answers
			for range 20 {
				if err := r.live(); err != nil {
					t.Fatalf("%v; what happened: %q", err, r.happened)
				}
			}
			r.calm()
			r.restartable()
			for _, name := range r.broker.names() {
				if !slices.ContainsFunc(r.all(), func(c patchbay.Connection) bool { return c.Login == name }) {
					t.Errorf("%s is left; what happened: %q", name, r.happened)
				}
			}
		})
	}
}

type running struct {
	*world
	mu       sync.Mutex // of chance and of what happened
	chance   *rand.Rand
	moody    bool // restarts fail, and happen
	mood     int  // they work, fail, or fail without any effect, for a while
	with     map[string]patchbay.Secret
	happened []string
}

// random is a number below n.
func (r *running) random(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.chance.IntN(n)
}

func (r *running) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.happened = append(r.happened, fmt.Sprintf(format, args...))
}

// restarts is the application's restart, whose lock is held.
func (r *running) restarts() error {
	if r.random(3) == 0 {
		r.mood = r.random(3)
	}
	failed := r.moody && r.mood > 0
	effect := !failed || r.mood == 1
	r.note("restart fails=%v effect=%v", failed, effect)
	if effect {
		r.with = maps.Clone(r.app.settings)
	}
	if failed {
		return notUp
	}
	return nil
}

// byItself is told of each change of the settings.
func (r *running) byItself() {
	if r.moody && r.random(8) == 0 {
		r.note("restarts by itself")
		r.with = maps.Clone(r.app.settings)
	}
}

// answers loses the answer to a write.
func (r *running) answers() error {
	if r.moody && r.random(6) == 0 {
		r.note("the write's answer is lost")
		return patchbay.Errorf(patchbay.SettingsUnwritable, "no answer")
	}
	return nil
}

func (r *running) calm() {
	defer r.app.lock()()
	r.moody = false
}

func (r *running) all() (list []patchbay.Connection) {
	for _, name := range []string{"orders", "beside"} {
		if c, err := r.Get(r.t.Context(), r.app.id.Linker(name)); err == nil {
			list = append(list, c)
		}
	}
	return list
}

// live is one thing that happens.
func (r *running) live() error {
	ctx := r.t.Context()
	id := r.app.id.Linker([]string{"orders", "beside"}[r.random(2)])
	_, err := r.Get(ctx, id)
	there := err == nil
	spec := r.spec()
	spec.Access = []patchbay.Access{patchbay.Reader, patchbay.Writer}[r.random(2)]
	if r.random(3) == 0 {
		spec.Client = "nodejs"
	}
	what := r.random(6)
	if there && (what == 5 || what == 4 && r.random(4) > 0) {
		_, err := r.sweep()
		r.note("sweep")
		return cmp.Or(err, r.check())
	}
	fails, crash, cancels := r.random(3) == 0, r.random(4) == 0, r.random(4) == 0
	if fails { // behind a restart that succeeds
		r.app.afterRestart = func() {
			defer r.broker.lock()()
			r.broker.failProbe = patchbay.Errorf(patchbay.RightsExcess, "too much")
		}
	}
	if crash {
		r.gate.holdAt(1 + r.random(9))
	}
	atWrite := cancels && r.random(2) == 0
	if atWrite {
		r.cancelAfterWrite(func() {})
	}
	var b Begun
	switch {
	case !there || what < 2:
		b, err = r.Put(ctx, PutRequest{ID: id, Spec: spec, Caller: r.caller})
	case what == 2:
		b, err = r.Rotate(ctx, RotateRequest{ID: id, Caller: r.caller})
	case what == 3:
		b, err = r.Validate(ctx, ValidateRequest{ID: id, Caller: r.caller, Fix: true})
	default:
		b, err = r.Delete(ctx, id, r.caller, "")
	}
	if err != nil {
		return err
	}
	if cancels && !atWrite {
		_, _ = r.Cancel(ctx, b.Operation.ID, r.caller)
	}
	r.note("%s %s: fails %v, crashes %v, cancels %v", b.Operation.Kind, id.Name(), fails, crash, cancels)
	if op, held := r.endedOrHeld(b); held {
		r.note("the process ends at %s", op.State)
		r.gate.holdAt(0)
		r.restart()
	}
	op := r.end(b, nil)
	r.note("%s: %v", op.State, op.Error)
	r.gate.holdAt(0)
	func() {
		defer r.broker.lock()()
		r.broker.failProbe = nil
	}()
	r.app.afterRestart, r.app.afterWrite = nil, nil
	return r.check()
}

// endedOrHeld waits until the operation has ended or a call of it is held.
func (r *running) endedOrHeld(b Begun) (op patchbay.Operation, held bool) {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	ended := make(chan patchbay.Operation, 1)
	go func() {
		op := b.Operation
		for !op.State.Ended() && ctx.Err() == nil {
			var err error
			if op, err = r.Wait(ctx, op.ID, op.Version); err != nil {
				break
			}
		}
		ended <- op
	}()
	select {
	case <-r.gate.held:
		cancel()
		return <-ended, true
	case op := <-ended:
		return op, false
	}
}

// check wants each login of a live connection that the application has to be
// there.
func (r *running) check() error {
	defer r.app.lock()()
	there := r.broker.names()
	for _, c := range r.all() {
		for name, value := range r.with {
			for _, login := range loginNames.FindAllString(value.Reveal(), -1) {
				if of(login, c) && !slices.Contains(there, login) {
					return fmt.Errorf("the application runs with %s of %s, and there are %v", name, login, there)
				}
			}
		}
	}
	return nil
}

// of reports whether a login is one of c's.
func of(login string, c patchbay.Connection) bool {
	for g := range c.Generation + 10 {
		if login == loginName(driver.Mark{UID: c.UID, Generation: g}) {
			return true
		}
	}
	return false
}
