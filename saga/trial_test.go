package saga_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/storetest"
)

// mortal is a store as a process sees it: when the process has died nothing
// that it still does reaches the journal.
type mortal struct {
	saga.Store
	dead atomic.Bool
}

var errDead = errors.New("the process is dead")

func (m *mortal) Advance(ctx context.Context, life saga.Life, a saga.Advance) (string, error) {
	if m.dead.Load() {
		return "", errDead
	}
	return m.Store.Advance(ctx, life, a)
}

func (m *mortal) Release(ctx context.Context, life saga.Life, still bool) error {
	if m.dead.Load() {
		return errDead
	}
	return m.Store.Release(ctx, life, still)
}

// lives is one process after the other on one store.
type lives struct {
	t     *testing.T
	m     *storetest.Memory
	wfs   []saga.Workflow
	opts  saga.Options
	kill  chan struct{} // a step sends when it ends the process
	count int
	stop  func() error
	life  saga.Life
	store *mortal
}

func newLives(t *testing.T, opts saga.Options, steps func(l *lives) []saga.Step) *lives {
	l := &lives{t: t, m: storetest.NewMemory(), kill: make(chan struct{}), opts: opts}
	l.opts.SweepEvery = 5 * time.Millisecond
	l.wfs = workflow(steps(l)...)
	return l
}

// start starts the next process.
func (l *lives) start() *saga.Engine {
	l.t.Helper()
	l.count++
	l.store = &mortal{Store: l.m}
	e, stop := run(l.t, l.store, l.wfs, l.opts)
	l.stop, l.life = stop, saga.LifeOf(e)
	return e
}

// die waits until a step ends the process, and takes it away.
func (l *lives) die() {
	<-l.kill
	l.dieNow()
}

func (l *lives) dieNow() {
	l.store.dead.Store(true)
	l.m.Lapse(l.life)
	stopped := make(chan struct{})
	go func() {
		_ = l.stop() // its steps are told to stop when the drain has lasted too long
		close(stopped)
	}()
	<-stopped
	l.m.Lapse(l.life)
}

// end ends the process from within a step.
func (l *lives) end(ctx context.Context) error {
	select {
	case l.kill <- struct{}{}:
	case <-ctx.Done():
	}
	<-ctx.Done()
	return ctx.Err()
}

func (l *lives) request(id string) saga.Submission {
	s := request(id, l.wfs)
	s.Source += patchbay.ID(id)
	s.Connection = s.Source.Linker("c")
	return s
}

// TestOnlyTheStepThatEndsTheProcessIsGivenUp: what was in flight beside it both
// times is tried alone as well, and goes on.
func TestOnlyTheStepThatEndsTheProcessIsGivenUp(t *testing.T) {
	const innocents = 5
	var mu sync.Mutex
	var in, beside, runs int
	var undone atomic.Int32
	all := make(chan struct{}, 100)
	l := newLives(t, saga.Options{DrainTimeout: time.Millisecond}, func(l *lives) []saga.Step {
		return []saga.Step{{Name: "look", Do: ok}, {
			Name: "probe",
			Do: func(ctx context.Context, op *saga.Op) ([]byte, error) {
				mu.Lock()
				in++
				guilty := op.ID == "guilty"
				if guilty {
					runs++
					if op.Deaths >= 2 {
						beside += in - 1
					}
				}
				mu.Unlock()
				defer func() { mu.Lock(); in--; mu.Unlock() }()
				switch {
				case guilty && op.Deaths < 2:
					for range innocents {
						<-all
					}
					return nil, l.end(ctx)
				case guilty:
					return nil, l.end(ctx)
				case op.Deaths < 2: // it is slow, and in flight both times
					all <- struct{}{}
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return nil, nil
			},
			Undo: func(context.Context, *saga.Op) error { undone.Add(1); return nil },
		}}
	})
	e := l.start()
	begin(t, e, l.request("guilty"))
	for i := range innocents {
		begin(t, e, l.request(fmt.Sprint("innocent", i)))
	}
	for range 3 {
		l.die()
		e = l.start()
	}
	op := ends(t, e, "guilty")
	if op.State != patchbay.Undone || op.Error.Code != patchbay.StepEndsProcess || op.Error.Fix == "" ||
		!strings.Contains(op.Error.Message, "ended 3 times while it ran the step probe of operation guilty") || undone.Load() != 1 {
		t.Errorf("%s, %d undone: %v", op.State, undone.Load(), op.Error)
	}
	for i := range innocents {
		if op := ends(t, e, fmt.Sprint("innocent", i)); op.State != patchbay.Done {
			t.Errorf("an innocent is %s: %v", op.State, op.Error)
		}
	}
	if runs != 3 || beside != 0 {
		t.Errorf("it ran %d times, and %d others ran beside it when it was to be alone", runs, beside)
	}
}

// A step on the source is never given up: the operation says so, is not run
// again, and an operator decides.
func TestASourceThatEndsTheProcessWaitsForAnOperator(t *testing.T) {
	for _, ask := range []string{"retry", "abandon"} {
		t.Run(ask, func(t *testing.T) {
			var healed atomic.Bool
			var runs atomic.Int32
			l := newLives(t, saga.Options{}, func(l *lives) []saga.Step {
				return []saga.Step{{
					Name: "settings", Where: saga.OnSource, Do: failing(refusal), Park: leave("settings"),
					Undo: func(ctx context.Context, _ *saga.Op) error {
						runs.Add(1)
						if healed.Load() {
							return nil
						}
						return l.end(ctx)
					},
				}}
			})
			l.opts.DrainTimeout = time.Millisecond
			e := l.start()
			begin(t, e, l.request("op"))
			for range 3 {
				l.die()
				e = l.start()
			}
			held := func(op patchbay.Operation) bool { return op.Attention }
			op := until(t, e, "op", held)
			if op.State != patchbay.Undoing || op.Error.Code != patchbay.StepEndsProcess || !strings.Contains(op.Error.Fix, "retry op") {
				t.Fatalf("%s: %v", op.State, op.Error)
			}
			if err := l.stop(); err != nil { // a restart in order does not run it either
				t.Fatal(err)
			}
			e = l.start()
			if op := until(t, e, "op", held); op.State != patchbay.Undoing || runs.Load() != 3 {
				t.Fatalf("%s after %d runs", op.State, runs.Load())
			}
			healed.Store(true)
			want := patchbay.Undone
			if ask == "retry" {
				_, err := e.Retry(t.Context(), "op")
				if err != nil {
					t.Fatal(err)
				}
			} else {
				want = patchbay.Abandoned
				if _, err := e.Abandon(t.Context(), "op"); err != nil {
					t.Fatal(err)
				}
			}
			if op := ends(t, e, "op"); op.State != want || op.Attention {
				t.Fatalf("%s, attention %v: %v", op.State, op.Attention, op.Error)
			}
		})
	}
}

// Whoever must not end is stopped in order: that is no death, however often.
func TestAStopInOrderIsNoDeath(t *testing.T) {
	began := make(chan struct{}, 1)
	var stops atomic.Int32
	l := newLives(t, saga.Options{DrainTimeout: time.Millisecond}, func(*lives) []saga.Step {
		return []saga.Step{{Name: "a", Do: func(ctx context.Context, _ *saga.Op) ([]byte, error) {
			if stops.Load() == 5 {
				return nil, nil
			}
			began <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}}}
	})
	e := l.start()
	begin(t, e, l.request("op"))
	for range 5 {
		<-began
		stops.Add(1)
		if err := l.stop(); err != nil {
			t.Fatal(err)
		}
		if op, err := l.m.Load(t.Context(), "op"); err != nil || op.Deaths != 0 || op.Trial != saga.Untried {
			t.Fatalf("%d deaths, trial %d, %v", op.Deaths, op.Trial, err)
		}
		e = l.start()
	}
	if op := ends(t, e, "op"); op.State != patchbay.Done {
		t.Fatalf("%s: %v", op.State, op.Error)
	}
}

// TestAStopThatIsCutShortIsNoDeath: whoever stops the server and has no patience
// kills it while its steps end; no step did that, in its time alone or not.
func TestAStopThatIsCutShortIsNoDeath(t *testing.T) {
	began := make(chan struct{}, 1)
	var over atomic.Bool
	l := newLives(t, saga.Options{DrainTimeout: time.Millisecond, StepTimeout: time.Hour}, func(*lives) []saga.Step {
		return []saga.Step{{Name: "a", Do: func(ctx context.Context, _ *saga.Op) ([]byte, error) {
			if over.Load() {
				return nil, nil
			}
			began <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}}}
	})
	e := l.start()
	begin(t, e, l.request("op"))
	for i := range 10 {
		for len(began) == 0 {
			if op, err := l.m.Load(t.Context(), "op"); err != nil || op.State != patchbay.Running {
				t.Fatalf("after %d ends: %s, %d deaths, %v, %v", i, op.State, op.Deaths, op.Error, err)
			}
			runtime.Gosched()
		}
		<-began
		if i >= 2 { // two crashes, and now it is tried alone
			e.Ending(t.Context())
		}
		l.dieNow()
		over.Store(i == 9)
		e = l.start()
	}
	if op := ends(t, e, "op"); op.State != patchbay.Done {
		t.Fatalf("%s: %v", op.State, op.Error)
	}
}

// TestSuspectsKeepNobodyWaitingForLong: a step that hangs where it is tried
// alone lets the others begin after a while. That a process dies then is no
// proof against it, and one that waited for its turn is not counted a death.
func TestSuspectsKeepNobodyWaitingForLong(t *testing.T) {
	hangs := make(chan string, 100)
	l := newLives(t, saga.Options{DrainTimeout: time.Millisecond, Isolate: time.Millisecond, StepTimeout: time.Hour}, func(*lives) []saga.Step {
		return []saga.Step{{Name: "a", Do: func(ctx context.Context, op *saga.Op) ([]byte, error) {
			if op.ID == "bystander" {
				return nil, nil
			}
			hangs <- op.ID
			<-ctx.Done()
			return nil, ctx.Err()
		}}}
	})
	e := l.start()
	suspects := []string{"x", "y", "z"}
	for _, id := range suspects {
		begin(t, e, l.request(id))
	}
	for range 2 {
		for range suspects {
			<-hangs
		}
		l.dieNow()
		e = l.start()
	}
	first := <-hangs
	begin(t, e, l.request("bystander"))
	ends(t, e, "bystander")
	for { // that it is not alone any more is noted
		op, err := l.m.Load(t.Context(), first)
		if err != nil {
			t.Fatal(err)
		}
		if op.Trial == saga.Watched {
			break
		}
	}
	for saga.Suspects(e)+len(hangs) < 2 { // until the others are where they go
		runtime.Gosched()
	}
	if len(hangs) > 0 {
		t.Fatal("another did not wait for its turn")
	}
	l.dieNow()
	l.start()
	next := <-hangs // has the most deaths
	var deaths []int
	for _, id := range suspects {
		op, err := l.m.Load(t.Context(), id)
		if err != nil || op.Trial == saga.Convicted {
			t.Fatalf("%s: trial %d, %v", id, op.Trial, err)
		}
		deaths = append(deaths, op.Deaths)
	}
	slices.Sort(deaths)
	if !slices.Equal(deaths, []int{2, 2, 3}) || next != first {
		t.Fatalf("deaths %v; %s was tried first, and then %s", deaths, first, next)
	}
}

// TestACancelDoesNotWaitForAPlace: what waits for a place among the steps in
// flight ends at once when it is canceled.
func TestACancelDoesNotWaitForAPlace(t *testing.T) {
	began, gate := make(chan struct{}, 9), make(chan struct{})
	wfs := workflow(saga.Step{Name: "a", Do: func(context.Context, *saga.Op) ([]byte, error) {
		began <- struct{}{}
		<-gate
		return nil, nil
	}})
	e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{MaxActive: 1})
	defer close(gate)
	begin(t, e, request("first", wfs))
	<-began
	s := request("second", wfs)
	s.Source += "2"
	begin(t, e, s)
	if _, err := e.Cancel(t.Context(), "second"); err != nil {
		t.Fatal(err)
	}
	if op := ends(t, e, "second"); op.State != patchbay.Undone || op.Error.Code != patchbay.Canceled {
		t.Fatalf("%s: %v", op.State, op.Error)
	}
}

// TestOneTenantsHangingStepsKeepNobodyWaiting: four hundred operations of one
// tenant at one dead target, and another tenant's, and another target's, begin.
func TestOneTenantsHangingStepsKeepNobodyWaiting(t *testing.T) {
	began, gate := make(chan string, 1000), make(chan struct{})
	wfs := workflow(saga.Step{Name: "a", Do: func(_ context.Context, op *saga.Op) ([]byte, error) {
		began <- op.Share[0] + " " + op.Share[1]
		<-gate
		return nil, nil
	}})
	e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{})
	submit := func(id, tenant, target string) {
		s := request(id, wfs)
		s.Source += patchbay.ID(id)
		s.Share = []string{tenant, target}
		begin(t, e, s)
	}
	for i := range 400 {
		submit(fmt.Sprint("flood", i), "a", "dead")
	}
	for range 256 / 3 { // as many as it gets
		<-began
	}
	submit("other target", "a", "alive")
	submit("other tenant", "b", "dead")
	seen := map[string]int{}
	for seen["a alive"] == 0 || seen["b dead"] == 0 {
		seen[<-began]++
	}
	close(gate)
	for i := range 400 {
		if op := ends(t, e, fmt.Sprint("flood", i)); op.State != patchbay.Done {
			t.Fatal(op.State)
		}
	}
}
