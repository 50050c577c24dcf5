package saga_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ok(context.Context, *saga.Op) ([]byte, error) { return nil, nil }
func back(context.Context, *saga.Op) error         { return nil }

func leave(what string) func(*saga.Op, error) (patchbay.Leftover, error) {
	return func(*saga.Op, error) (patchbay.Leftover, error) { return patchbay.Leftover{What: what}, nil }
}

var refusal = patchbay.Errorf(patchbay.AdminRights, "no")

// workflow is a create of these steps.
func workflow(steps ...saga.Step) []saga.Workflow {
	return []saga.Workflow{{Kind: patchbay.OpCreate, Steps: steps}}
}

func at(once time.Duration) func(int) time.Duration { return func(int) time.Duration { return once } }

// run starts an engine, and stops it when the test ends or stop is called,
// which gives what Run gave.
func run(t *testing.T, store saga.Store, wfs []saga.Workflow, opts saga.Options) (e *saga.Engine, stop func() error) {
	t.Helper()
	if opts.Backoff == nil {
		opts.Backoff = at(0)
	}
	e, err := saga.New(store, wfs, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return e, stop
}

func request(id string, wfs []saga.Workflow) saga.Submission {
	return saga.Submission{ID: id, RequestHash: []byte("h"), Kind: wfs[0].Kind, Plan: names(wfs[0]), Connection: simSource.Linker(id), Source: simSource}
}

func begin(t *testing.T, e *saga.Engine, s saga.Submission) patchbay.Operation {
	t.Helper()
	op, err := e.Submit(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return op
}

// until waits for an operation to be as cond says.
func until(t *testing.T, e *saga.Engine, id string, cond func(patchbay.Operation) bool) patchbay.Operation {
	t.Helper()
	op, err := e.Get(t.Context(), id)
	for err == nil && !cond(op) && !op.State.Ended() {
		op, err = e.Wait(t.Context(), id, op.Version)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !cond(op) {
		t.Fatalf("operation %s ended %s: %v", id, op.State, op.Error)
	}
	return op
}

func ends(t *testing.T, e *saga.Engine, id string) patchbay.Operation {
	t.Helper()
	return until(t, e, id, func(op patchbay.Operation) bool { return op.State.Ended() })
}

func wantCode(t *testing.T, err error, code patchbay.Code) {
	t.Helper()
	if patchbay.CodeOf(err) != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func wantError(t *testing.T, err error, code patchbay.Code) *patchbay.Error {
	t.Helper()
	wantCode(t, err, code)
	return patchbay.AsError(err)
}

func trail(op patchbay.Operation) string {
	var steps []string
	for _, r := range op.Trail {
		s := r.Name
		if r.Undo {
			s = "undo " + s
		}
		if r.Attempts > 1 {
			s += fmt.Sprint(" ×", r.Attempts)
		}
		if r.Parked {
			s += " parked"
		}
		if r.Error != nil {
			s += " (" + string(r.Error.Code) + ")"
		}
		steps = append(steps, s)
	}
	return strings.Join(steps, ", ")
}

func failing(err error) func(context.Context, *saga.Op) ([]byte, error) {
	return func(context.Context, *saga.Op) ([]byte, error) { return nil, err }
}

func failingUndo(err error) func(context.Context, *saga.Op) error {
	return func(context.Context, *saga.Op) error { return err }
}

func TestTheTrailSaysWhatHappened(t *testing.T) {
	transient := patchbay.Errorf(patchbay.Timeout, "slow").AsTransient()
	var stumbled atomic.Int32
	stumble := func(context.Context, *saga.Op) ([]byte, error) {
		if stumbled.Add(1) < 3 {
			return nil, transient
		}
		return nil, nil
	}
	panicking := func(context.Context, *saga.Op) ([]byte, error) { panic("oops") }
	for name, c := range map[string]struct {
		steps []saga.Step
		state patchbay.OperationState
		trail string
		code  patchbay.Code
	}{
		"all is well": {
			[]saga.Step{{Name: "a", Do: ok, Undo: back}, {Name: "b", Kind: saga.Pivot, Do: ok}, {Name: "c", Kind: saga.Retriable, Do: ok}},
			patchbay.Done, "a, b, c", "",
		},
		"a stumble": {
			[]saga.Step{{Name: "a", Do: stumble, Undo: back}}, patchbay.Done, "a ×3", "",
		},
		"a refusal is undone from the step itself": {
			[]saga.Step{{Name: "a", Do: ok, Undo: back}, {Name: "look", Do: ok}, {Name: "b", Do: failing(refusal), Undo: back}, {Name: "c", Do: ok}},
			patchbay.Undone, "a, look, b (AdminRightsMissing), undo b, undo a", patchbay.AdminRights,
		},
		"nothing to undo": {
			[]saga.Step{{Name: "a", Do: failing(errors.New("plain"))}}, patchbay.Undone, "a (InternalServerError)", patchbay.Internal,
		},
		"it stumbles too often": {
			[]saga.Step{{Name: "a", Do: failing(transient), Undo: back}}, patchbay.Undone, "a ×3 (Timeout), undo a", patchbay.Timeout,
		},
		"a panic is an error": {
			[]saga.Step{{Name: "a", Do: panicking, Undo: back}}, patchbay.Undone, "a (InternalServerError), undo a", patchbay.Internal,
		},
		"an undo that can't be is parked": {
			[]saga.Step{
				{Name: "a", Do: ok, Undo: back},
				{Name: "b", Where: saga.OnTarget, Do: failing(refusal), Undo: failingUndo(transient), Park: leave("b's")},
			},
			patchbay.Undone, "a, b (AdminRightsMissing), undo b ×8 parked (Timeout), undo a", patchbay.AdminRights,
		},
		"what is behind the pivot is parked, and the rest goes on": {
			[]saga.Step{
				{Name: "a", Kind: saga.Pivot, Do: ok},
				{Name: "b", Kind: saga.Retriable, Where: saga.OnTarget, Do: failing(patchbay.Errorf(patchbay.StillInUse, "sessions")), Park: leave("b's")},
				{Name: "c", Kind: saga.Retriable, Do: ok},
			},
			patchbay.Done, "a, b ×8 parked (StillInUse), c", "",
		},
		"out of time is transient": {
			[]saga.Step{{Name: "a", Timeout: time.Millisecond, Undo: back, Do: func(ctx context.Context, _ *saga.Op) ([]byte, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}}},
			patchbay.Undone, "a ×3 (Timeout), undo a", patchbay.Timeout,
		},
	} {
		t.Run(name, func(t *testing.T) {
			wfs := workflow(c.steps...)
			e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{})
			begin(t, e, request("op", wfs))
			op := ends(t, e, "op")
			if op.State != c.state || trail(op) != c.trail {
				t.Errorf("%s by %s\nwant %s by %s", op.State, trail(op), c.state, c.trail)
			}
			var got patchbay.Code
			if op.Error != nil {
				got = op.Error.Code
			}
			if got != c.code {
				t.Errorf("its error is %v, want code %q", op.Error, c.code)
			}
			if op.Ended.IsZero() || op.Attention || op.Attempt != 0 {
				t.Errorf("ended %v, attention %v, attempt %d", op.Ended, op.Attention, op.Attempt)
			}
		})
	}
}

func TestALeftoverSaysWhatWhereAndWhy(t *testing.T) {
	m := storetest.NewMemory()
	wfs := workflow(saga.Step{Name: "principal", Where: saga.OnTarget, Do: failing(refusal), Undo: failingUndo(refusal), Park: leave("principal pb_x_g1")})
	e, _ := run(t, m, wfs, saga.Options{})
	begin(t, e, request("op", wfs))
	ends(t, e, "op")
	left, _, err := m.Leftovers(t.Context(), "", 0)
	if err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
	l := left[0]
	if l.ID == "" || l.What != "principal pb_x_g1" || l.Why != "no" || l.Operation != "op" || l.Attempts != 8 ||
		!l.Connection.Equal(simSource.Linker("op")) || l.Created.IsZero() || l.NextTry.IsZero() {
		t.Fatalf("%+v", l)
	}
}

// Repeating at once would mend nothing, on the way back as behind the pivot.
func TestAStepThatAsksForItIsLeftAtOnce(t *testing.T) {
	undo := func(context.Context, *saga.Op) error { return saga.Leave(refusal) }
	for name, c := range map[string]struct {
		steps []saga.Step
		state patchbay.OperationState
	}{
		"undo":             {[]saga.Step{{Name: "a", Do: failing(refusal), Undo: undo, Park: leave("a")}}, patchbay.Undone},
		"undo on a source": {[]saga.Step{{Name: "a", Where: saga.OnSource, Do: failing(refusal), Undo: undo, Park: leave("a")}}, patchbay.Undone},
		"behind the pivot": {[]saga.Step{{Name: "p", Kind: saga.Pivot, Do: failing(nil)}, {Name: "a", Kind: saga.Retriable, Do: failing(saga.Leave(refusal)), Park: leave("a")}}, patchbay.Done},
	} {
		t.Run(name, func(t *testing.T) {
			m := storetest.NewMemory()
			wfs := workflow(c.steps...)
			e, _ := run(t, m, wfs, saga.Options{})
			begin(t, e, request("op", wfs))
			op := ends(t, e, "op")
			left, _, err := m.Leftovers(t.Context(), "", 0)
			if err != nil || op.State != c.state || len(left) != 1 || left[0].Attempts != 1 || left[0].Why != "no" {
				t.Errorf("%s by %s; left %+v, %v", op.State, trail(op), left, err)
			}
		})
	}
}

// A source that does not let go is never given up: the operation stays, says
// so, and heals when the source does.
func TestASourceThatFailsNeedsAttentionUntilItHeals(t *testing.T) {
	var healed atomic.Bool
	wfs := workflow(saga.Step{Name: "settings", Where: saga.OnSource, Do: failing(refusal), Park: leave("settings"), Undo: func(context.Context, *saga.Op) error {
		if healed.Load() {
			return nil
		}
		return patchbay.Errorf(patchbay.SettingsUnwritable, "read-only file system")
	}})
	e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{Backoff: at(time.Millisecond)})
	begin(t, e, request("op", wfs))
	op := until(t, e, "op", func(op patchbay.Operation) bool { return op.Attention })
	if op.State != patchbay.Undoing || op.Attempt < 8 || op.Error.Code != patchbay.SettingsUnwritable {
		t.Fatalf("%s, attempt %d: %v", op.State, op.Attempt, op.Error)
	}
	healed.Store(true)
	if op = ends(t, e, "op"); op.State != patchbay.Undone || op.Attention || op.Error.Code != patchbay.AdminRights {
		t.Fatalf("%s, attention %v: %v", op.State, op.Attention, op.Error)
	}
}

func TestRetryTriesAtOnceAndCountsAnew(t *testing.T) {
	var up atomic.Bool
	wfs := workflow(saga.Step{Name: "revoke", Kind: saga.Retriable, Do: func(context.Context, *saga.Op) ([]byte, error) {
		if up.Load() {
			return nil, nil
		}
		return nil, refusal
	}})
	e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{Backoff: at(time.Hour)})
	begin(t, e, request("op", wfs))
	for range 2 { // the second time it fails again, and is at its first attempt again
		op := until(t, e, "op", func(op patchbay.Operation) bool { return op.Attempt > 0 })
		if op.Attempt != 1 {
			t.Fatalf("attempt %d", op.Attempt)
		}
		if _, err := e.Retry(t.Context(), "op"); err != nil {
			t.Fatal(err)
		}
	}
	until(t, e, "op", func(op patchbay.Operation) bool { return op.Attempt > 0 })
	up.Store(true)
	if _, err := e.Retry(t.Context(), "op"); err != nil {
		t.Fatal(err)
	}
	if op := ends(t, e, "op"); op.State != patchbay.Done || op.Trail[0].Attempts != 1 {
		t.Fatalf("%s by %s", op.State, trail(op))
	}
	_, err := e.Retry(t.Context(), "op")
	wantCode(t, err, patchbay.Conflict)
	_, err = e.Retry(t.Context(), "nobody")
	wantCode(t, err, patchbay.ResourceNotFound)
}

func TestAbandonParksWhatItLeavesAndFreesTheSource(t *testing.T) {
	for name, c := range map[string]struct {
		steps []saga.Step
		trail string
	}{
		"on its way back": {[]saga.Step{
			{Name: "a", Where: saga.OnTarget, Do: ok, Undo: back, Park: leave("a's")},
			{Name: "b", Do: ok, Undo: back},
			{Name: "c", Where: saga.OnSource, Do: failing(refusal), Undo: failingUndo(refusal), Park: leave("c's")},
		}, "a, b, c (AdminRightsMissing), undo c ×1 parked (AdminRightsMissing), undo b (Canceled), undo a parked (AdminRightsMissing)"},
		"behind the pivot": {[]saga.Step{
			{Name: "a", Kind: saga.Pivot, Do: ok},
			{Name: "b", Kind: saga.Retriable, Where: saga.OnTarget, Do: failing(refusal), Park: leave("b's")},
			{Name: "c", Kind: saga.Retriable, Where: saga.OnSource, Do: ok, Park: leave("c's")},
		}, "a, b parked (AdminRightsMissing), c parked (AdminRightsMissing)"},
	} {
		t.Run(name, func(t *testing.T) {
			m := storetest.NewMemory()
			wfs := workflow(c.steps...)
			wfs = append(wfs, saga.Workflow{Kind: patchbay.OpValidate, Steps: []saga.Step{{Name: "look", Do: ok}}})
			var outcome atomic.Value
			wfs[0].Finish = func(_ context.Context, op *saga.Op, o patchbay.OperationState) (saga.Commit, error) {
				outcome.Store(o)
				return saga.Commit{PutConnection: &patchbay.Connection{ID: op.Connection, State: patchbay.Failed}}, nil
			}
			e, _ := run(t, m, wfs, saga.Options{Backoff: at(time.Hour)})
			begin(t, e, request("op", wfs))
			next := request("next", wfs[1:])
			if op := begin(t, e, next); op.State != patchbay.Queued {
				t.Fatalf("the next is %s", op.State)
			}
			_, err := e.Abandon(t.Context(), "next")
			wantCode(t, err, patchbay.Conflict)
			until(t, e, "op", func(op patchbay.Operation) bool {
				return op.Attempt > 0 && (op.State == patchbay.Undoing || op.Plan[op.Step] == "b")
			})
			op, err := e.Abandon(t.Context(), "op")
			if err != nil || op.State != patchbay.Abandoned || strings.ReplaceAll(trail(op), " ×1", "") != strings.ReplaceAll(c.trail, " ×1", "") {
				t.Fatalf("%s by %s, %v", op.State, trail(op), err)
			}
			left, _, _ := m.Leftovers(t.Context(), "", 0)
			if len(left) != 2 || outcome.Load() != patchbay.Abandoned {
				t.Fatalf("leftovers %v; the end was told %v", left, outcome.Load())
			}
			if op := ends(t, e, "next"); op.State != patchbay.Done {
				t.Fatalf("the next is %s", op.State)
			}
			for _, ask := range []func(context.Context, string) (patchbay.Operation, error){e.Cancel, e.Retry} {
				_, err := ask(t.Context(), "op")
				wantCode(t, err, patchbay.Conflict)
			}
			if _, err := e.Abandon(t.Context(), "op"); err != nil {
				t.Fatalf("again: %v", err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	began := make(chan struct{}, 1)
	hang := func(ctx context.Context, _ *saga.Op) ([]byte, error) {
		began <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	t.Run("a step in flight is interrupted and undone", func(t *testing.T) {
		var undone atomic.Int32
		count := func(context.Context, *saga.Op) error { undone.Add(1); return nil }
		wfs := workflow(saga.Step{Name: "a", Do: ok, Undo: count}, saga.Step{Name: "b", Kind: saga.Pivot, Do: hang, Undo: count})
		e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{})
		begin(t, e, request("op", wfs))
		<-began
		op, err := e.Cancel(t.Context(), "op")
		if err != nil || !op.Cancel {
			t.Fatalf("%+v, %v", op, err)
		}
		if op = ends(t, e, "op"); op.State != patchbay.Undone || op.Error.Code != patchbay.Canceled || undone.Load() != 2 {
			t.Fatalf("%s: %v, %d undone", op.State, op.Error, undone.Load())
		}
		if _, err = e.Cancel(t.Context(), "op"); err != nil {
			t.Fatalf("again: %v", err)
		}
		_, err = e.Abandon(t.Context(), "op")
		wantCode(t, err, patchbay.Conflict)
	})
	t.Run("between attempts", func(t *testing.T) {
		wfs := workflow(saga.Step{Name: "a", Do: failing(patchbay.Errorf(patchbay.Timeout, "slow").AsTransient()), Undo: back})
		e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{Backoff: at(time.Hour)})
		begin(t, e, request("op", wfs))
		until(t, e, "op", func(op patchbay.Operation) bool { return op.Attempt == 1 })
		if _, err := e.Cancel(t.Context(), "op"); err != nil {
			t.Fatal(err)
		}
		if op := ends(t, e, "op"); op.State != patchbay.Undone || trail(op) != "undo a" {
			t.Fatalf("%s by %s", op.State, trail(op))
		}
	})
	t.Run("behind the pivot there is no way back", func(t *testing.T) {
		go1 := make(chan struct{})
		wfs := workflow(saga.Step{Name: "a", Kind: saga.Pivot, Do: ok}, saga.Step{Name: "b", Kind: saga.Retriable, Do: func(context.Context, *saga.Op) ([]byte, error) {
			began <- struct{}{}
			<-go1
			return nil, nil
		}})
		e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{})
		begin(t, e, request("op", wfs))
		<-began
		_, err := e.Cancel(t.Context(), "op")
		if refused := wantError(t, err, patchbay.Conflict); !strings.Contains(refused.Message, "point of no return") {
			t.Fatal(refused)
		}
		close(go1)
		if op := ends(t, e, "op"); op.State != patchbay.Done || op.Cancel {
			t.Fatalf("%s, cancel %v", op.State, op.Cancel)
		}
		_, err = e.Cancel(t.Context(), "op")
		wantCode(t, err, patchbay.Conflict)
	})
	t.Run("what waits ends at once", func(t *testing.T) {
		m := storetest.NewMemory()
		wfs := workflow(saga.Step{Name: "a", Do: hang})
		wfs[0].Finish = func(_ context.Context, op *saga.Op, o patchbay.OperationState) (saga.Commit, error) {
			return saga.Commit{PutConnection: &patchbay.Connection{ID: op.Connection, State: patchbay.Failed}}, nil
		}
		e, _ := run(t, m, wfs, saga.Options{})
		begin(t, e, request("first", wfs))
		<-began
		begin(t, e, request("second", wfs))
		op, err := e.Cancel(t.Context(), "second")
		if err != nil || op.State != patchbay.Undone || op.Error.Code != patchbay.Canceled || len(op.Trail) > 0 {
			t.Fatalf("%+v, %v", op, err)
		}
		if c, err := m.Connection(t.Context(), op.Connection); err != nil || c.State != patchbay.Failed {
			t.Fatalf("%v, %v", c, err)
		}
		if _, err := e.Cancel(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
		ends(t, e, "first")
	})
}

func TestARepeatedSubmissionIsTheSameOperation(t *testing.T) {
	var runs atomic.Int32
	wfs := workflow(saga.Step{Name: "a", Do: func(context.Context, *saga.Op) ([]byte, error) { runs.Add(1); return nil, nil }})
	e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if op, err := e.Submit(t.Context(), request("op", wfs)); err != nil || op.ID != "op" {
				t.Errorf("%v, %v", op, err)
			}
		})
	}
	wg.Wait()
	ends(t, e, "op")
	if _, err := e.Submit(t.Context(), request("op", wfs)); err != nil || runs.Load() != 1 {
		t.Fatalf("%d runs, %v", runs.Load(), err)
	}
	other := request("op", wfs)
	other.RequestHash = []byte("other")
	_, err := e.Submit(t.Context(), other)
	wantCode(t, err, patchbay.Conflict)
}

func TestRefusedPlansAndWorkflows(t *testing.T) {
	steps := []saga.Step{{Name: "a", Do: ok}, {Name: "pivot", Kind: saga.Pivot, Do: ok}, {Name: "r", Kind: saga.Retriable, Do: ok}}
	wfs := workflow(steps...)
	e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{})
	for _, plan := range [][]string{nil, {"x"}, {"a", "a"}, {"pivot", "a"}, {"r", "a"}, {"r", "pivot"}, make([]string, 100)} {
		s := request("op", wfs)
		s.Plan = plan
		_, err := e.Submit(t.Context(), s)
		wantCode(t, err, patchbay.Internal)
	}
	s := request("op", wfs)
	s.Kind = patchbay.OpRotate
	_, err := e.Submit(t.Context(), s)
	wantCode(t, err, patchbay.Internal)
	s = request("", wfs)
	_, err = e.Submit(t.Context(), s)
	wantCode(t, err, patchbay.Internal)
	for _, wfs := range [][]saga.Workflow{
		workflow(saga.Step{Name: "a"}), workflow(saga.Step{Do: ok}), workflow(steps[0], steps[0]),
		{{Steps: steps}}, append(workflow(steps[0]), workflow(steps[0])...),
	} {
		if _, err := saga.New(storetest.NewMemory(), wfs, saga.Options{}); err == nil {
			t.Errorf("taken: %+v", wfs)
		}
	}
}

func TestASourceRunsOneOperationAtATimeInTheOrderOfSubmission(t *testing.T) {
	var mu sync.Mutex
	var order []string
	busy := false
	gate := make(chan struct{})
	wfs := workflow(saga.Step{Name: "a", Do: func(_ context.Context, op *saga.Op) ([]byte, error) {
		mu.Lock()
		if busy {
			t.Error("two at a time")
		}
		busy = true
		mu.Unlock()
		<-gate
		mu.Lock()
		defer mu.Unlock()
		busy = false
		order = append(order, op.ID)
		return nil, nil
	}})
	e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{MaxQueued: 9})
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprint("op", 9-i))
		begin(t, e, request(want[i], wfs))
	}
	_, err := e.Submit(t.Context(), request("too many", wfs))
	wantCode(t, err, patchbay.TooManyRequests)
	close(gate)
	ends(t, e, want[9])
	if !slices.Equal(order, want) {
		t.Fatalf("%v", order)
	}
}

func TestAtMostSoManyStepsAreInFlight(t *testing.T) {
	var in, most atomic.Int32
	gate := make(chan struct{})
	entered := make(chan struct{}, 100)
	wfs := workflow(saga.Step{Name: "a", Do: func(context.Context, *saga.Op) ([]byte, error) {
		n := in.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		entered <- struct{}{}
		<-gate
		in.Add(-1)
		return nil, nil
	}})
	e, _ := run(t, storetest.NewMemory(), wfs, saga.Options{MaxActive: 4})
	for i := range 20 { // each of another source; accepting them takes no slot
		s := request(fmt.Sprint(i), wfs)
		s.Source += patchbay.ID(fmt.Sprint(i))
		if op := begin(t, e, s); op.State != patchbay.Running {
			t.Fatal(op.State)
		}
	}
	for range 4 {
		<-entered
	}
	close(gate)
	for i := range 20 {
		ends(t, e, fmt.Sprint(i))
	}
	if most.Load() != 4 {
		t.Fatalf("%d in flight", most.Load())
	}
}

// TestDrain: what was in flight ends, nothing begins, and the next process
// goes on where this one stopped.
func TestDrain(t *testing.T) {
	m := storetest.NewMemory()
	began, gate := make(chan struct{}, 9), make(chan struct{})
	var second atomic.Int32
	wfs := workflow(
		saga.Step{Name: "a", Undo: failingUndo(refusal), Do: func(context.Context, *saga.Op) ([]byte, error) {
			began <- struct{}{}
			<-gate
			return []byte("a's"), nil
		}},
		saga.Step{Name: "b", Do: func(context.Context, *saga.Op) ([]byte, error) { second.Add(1); return nil, nil }},
	)
	e, stop := run(t, m, wfs, saga.Options{})
	begin(t, e, request("op", wfs))
	<-began
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	for { // until it drains
		_, err := e.Submit(t.Context(), request("op", wfs))
		if err != nil {
			wantCode(t, err, patchbay.Internal)
			break
		}
	}
	close(gate)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	op, err := m.Load(t.Context(), "op")
	if err != nil || op.Step != 1 || string(op.Output("a")) != "a's" || second.Load() != 0 {
		t.Fatalf("at step %d, %d runs of the next, %v", op.Step, second.Load(), err)
	}
	next, _ := run(t, m, wfs, saga.Options{})
	if op := ends(t, next, "op"); op.State != patchbay.Done || second.Load() != 1 {
		t.Fatalf("%s, %d runs", op.State, second.Load())
	}
	if err := e.Run(t.Context()); err == nil {
		t.Fatal("it runs twice")
	}
}

// A step that is told to stop when the drain has lasted too long has not
// failed: it runs again, nothing is undone.
func TestAStepThatOutlivesTheDrainRunsAgain(t *testing.T) {
	m := storetest.NewMemory()
	began := make(chan struct{}, 1)
	var runs atomic.Int32
	wfs := workflow(saga.Step{Name: "a", Undo: failingUndo(refusal), Do: func(ctx context.Context, _ *saga.Op) ([]byte, error) {
		if runs.Add(1) > 1 {
			return nil, nil
		}
		began <- struct{}{}
		<-ctx.Done()
		return nil, refusal
	}})
	e, stop := run(t, m, wfs, saga.Options{DrainTimeout: time.Millisecond})
	begin(t, e, request("op", wfs))
	<-began
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	next, _ := run(t, m, wfs, saga.Options{})
	if op := ends(t, next, "op"); op.State != patchbay.Done || trail(op) != "a" {
		t.Fatalf("%s by %s", op.State, trail(op))
	}
}

// bent is a clock that a test moves.
type bent struct{ offset atomic.Int64 }

func (b *bent) now() time.Time { return time.Now().Add(time.Duration(b.offset.Load())) }

// mute is a store whose leases this process can't renew any more.
type mute struct {
	saga.Store
	muted atomic.Bool
}

func (m *mute) Renew(ctx context.Context, life saga.Life, ttl time.Duration) error {
	if m.muted.Load() {
		return errors.New("unreachable")
	}
	return m.Store.Renew(ctx, life, ttl)
}

// TestAZombieWritesNothing: a process is paused in a step until its lease has
// lapsed and another has ended the operation. When it wakes, its commit is
// refused, even if by its own clock no time has passed.
func TestAZombieWritesNothing(t *testing.T) {
	for _, notices := range []bool{false, true} {
		t.Run(fmt.Sprintf("notices=%v", notices), func(t *testing.T) {
			m := storetest.NewMemory()
			var clock bent
			m.Clock = clock.now
			opts := saga.Options{SweepEvery: 5 * time.Millisecond, LeaseTTL: time.Minute}
			if notices {
				opts.Clock = clock.now
			}
			began, gate := make(chan struct{}), make(chan struct{})
			plan := func(do func() ([]byte, error)) []saga.Workflow {
				return workflow(saga.Step{Name: "a", Undo: back, Do: func(context.Context, *saga.Op) ([]byte, error) { return do() }}, saga.Step{Name: "b", Do: ok})
			}
			zombies := plan(func() ([]byte, error) {
				close(began)
				<-gate
				return nil, refusal
			})
			store := &mute{Store: m}
			zombie, stop := run(t, store, zombies, opts)
			begin(t, zombie, request("op", zombies))
			<-began
			store.muted.Store(true)
			clock.offset.Store(int64(2 * time.Minute))
			opts.Clock = clock.now
			healthy, _ := run(t, m, plan(func() ([]byte, error) { return nil, nil }), opts)
			op := ends(t, healthy, "op")
			if op.State != patchbay.Done {
				t.Fatalf("%s: %v", op.State, op.Error)
			}
			close(gate)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			after, err := m.Load(t.Context(), "op")
			if err != nil || after.Version != op.Version || after.State != patchbay.Done {
				t.Fatalf("the zombie wrote: %s, version %d, %v", after.State, after.Version, err)
			}
		})
	}
}

// A process that can't renew stops its steps before others may take over.
func TestALostLeaseInterruptsTheSteps(t *testing.T) {
	m := storetest.NewMemory()
	var clock bent
	began := make(chan struct{}, 1)
	var runs atomic.Int32
	wfs := workflow(saga.Step{Name: "a", Undo: failingUndo(refusal), Do: func(ctx context.Context, _ *saga.Op) ([]byte, error) {
		if runs.Add(1) > 1 {
			return nil, nil
		}
		began <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	store := &mute{Store: m}
	e, _ := run(t, store, wfs, saga.Options{Clock: clock.now, LeaseTTL: 20 * time.Millisecond, SweepEvery: time.Millisecond})
	begin(t, e, request("op", wfs))
	<-began
	store.muted.Store(true)
	clock.offset.Store(int64(time.Second))
	// It has stopped when a submission finds that the lease can't be had.
	for {
		if _, err := e.Submit(t.Context(), request("op", wfs)); err != nil {
			break
		}
	}
	store.muted.Store(false) // and goes on by itself when it can renew again
	if op := ends(t, e, "op"); op.State != patchbay.Done || trail(op) != "a" {
		t.Fatalf("%s by %s", op.State, trail(op))
	}
}

// TestAnOldPlanRunsOnANewBinary: a plan names its steps; new steps that a newer
// binary would put between are not for it, and its own are kept.
func TestAnOldPlanRunsOnANewBinary(t *testing.T) {
	m := storetest.NewMemory()
	oldSteps := workflow(saga.Step{Name: "plan", Do: ok}, saga.Step{Name: "retired", Do: ok, Undo: back})
	old, err := saga.New(m, oldSteps, saga.Options{}) // is never run: it died
	if err != nil {
		t.Fatal(err)
	}
	begin(t, old, request("op", oldSteps))
	m.Lapse(saga.LifeOf(old))

	// A binary that does not know a step holds the operation, and undoes nothing.
	ignorant := workflow(saga.Step{Name: "plan", Do: ok, Undo: failingUndo(refusal)})
	e, stop := run(t, m, ignorant, saga.Options{Backoff: at(time.Millisecond)})
	op := until(t, e, "op", func(op patchbay.Operation) bool { return op.Attention })
	if op.State != patchbay.Running || op.Error.Code != patchbay.NotSupported || op.Error.Fix == "" {
		t.Fatalf("%s: %v", op.State, op.Error)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	newer := workflow(saga.Step{Name: "plan", Do: ok}, saga.Step{Name: "added", Do: failing(refusal)}, saga.Step{Name: "retired", Do: ok})
	e, _ = run(t, m, newer, saga.Options{})
	if op := ends(t, e, "op"); op.State != patchbay.Done || !strings.HasPrefix(trail(op), "plan, retired") {
		t.Fatalf("%s by %s", op.State, trail(op))
	}
}

func TestAnEndThatCannotBeMadeIsAFailure(t *testing.T) {
	for name, c := range map[string]struct {
		steps []saga.Step
		fails func(o patchbay.OperationState, n int32) error
		state patchbay.OperationState
	}{
		"forward":          {[]saga.Step{{Name: "a", Do: ok, Undo: back}}, func(o patchbay.OperationState, _ int32) error { return when(o == patchbay.Done) }, patchbay.Undone},
		"behind the pivot": {[]saga.Step{{Name: "a", Kind: saga.Retriable, Do: ok, Park: leave("a")}}, func(_ patchbay.OperationState, n int32) error { return when(n < 20) }, patchbay.Done},
		"back":             {[]saga.Step{{Name: "a", Do: failing(refusal), Undo: back, Park: leave("a")}}, func(_ patchbay.OperationState, n int32) error { return when(n < 20) }, patchbay.Undone},
		"it panics": {[]saga.Step{{Name: "a", Do: ok}}, func(o patchbay.OperationState, _ int32) error {
			if o == patchbay.Done {
				panic("oops")
			}
			return nil
		}, patchbay.Undone},
	} {
		t.Run(name, func(t *testing.T) {
			m := storetest.NewMemory()
			var n atomic.Int32
			wfs := workflow(c.steps...)
			wfs[0].Finish = func(_ context.Context, op *saga.Op, o patchbay.OperationState) (saga.Commit, error) {
				return saga.Commit{Message: "warned", Result: &patchbay.Report{Connection: op.Connection}}, c.fails(o, n.Add(1))
			}
			e, _ := run(t, m, wfs, saga.Options{})
			begin(t, e, request("op", wfs))
			op := ends(t, e, "op")
			if op.State != c.state || op.Message != "warned" || op.Result == nil {
				t.Fatalf("%s %q %v by %s", op.State, op.Message, op.Result, trail(op))
			}
			if left, _, _ := m.Leftovers(t.Context(), "", 0); len(left) > 0 {
				t.Fatalf("%v", left)
			}
		})
	}
}

func when(fails bool) error {
	if fails {
		return errors.New("no record")
	}
	return nil
}

func TestWaitAnswersWithWhatIsKnown(t *testing.T) {
	m := storetest.NewMemory()
	gate := make(chan struct{})
	wfs := workflow(saga.Step{Name: "a", Do: func(context.Context, *saga.Op) ([]byte, error) { <-gate; return nil, nil }})
	e, _ := run(t, m, wfs, saga.Options{})
	op := begin(t, e, request("op", wfs))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if op, err := e.Wait(ctx, "op", op.Version); err != nil || op.State != patchbay.Running {
		t.Fatalf("%v, %v", op, err)
	}
	if op, err := e.Wait(t.Context(), "op", op.Version-1); err != nil || op.Version < 1 {
		t.Fatalf("%v, %v", op, err)
	}
	_, err := e.Wait(t.Context(), "none", 0)
	wantCode(t, err, patchbay.ResourceNotFound)
	// Another process's operations are seen by polling.
	other, _ := run(t, m, wfs, saga.Options{})
	ended := make(chan patchbay.Operation)
	go func() {
		op, _ := other.Wait(t.Context(), "op", op.Version)
		ended <- op
	}()
	close(gate)
	if op := <-ended; op.State != patchbay.Done {
		t.Fatal(op.State)
	}
}

func TestEndedOperationsAreForgottenAfterAWhile(t *testing.T) {
	m := storetest.NewMemory()
	var clock bent
	wfs := workflow(saga.Step{Name: "a", Do: ok})
	e, stop := run(t, m, wfs, saga.Options{Clock: clock.now})
	begin(t, e, request("op", wfs))
	ends(t, e, "op")
	_ = stop()
	clock.offset.Store(int64(8 * 24 * time.Hour))
	keeper, stop := run(t, m, wfs, saga.Options{Clock: clock.now, Retain: -1})
	begin(t, keeper, request("later", wfs))
	ends(t, keeper, "later") // it has run a sweep by then, or was stopped before any
	_ = stop()
	if _, err := m.Load(t.Context(), "op"); err != nil {
		t.Fatalf("kept for ever: %v", err)
	}
	run(t, m, wfs, saga.Options{Clock: clock.now})
	var err error
	for err == nil {
		_, err = m.Load(t.Context(), "op")
	}
	wantCode(t, err, patchbay.ResourceNotFound)
}

// counter is an [saga.Observer].
type counter struct {
	mu  sync.Mutex
	got map[string]int
}

func (c *counter) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got[fmt.Sprintf(format, args...)]++
}

func (c *counter) StepEnded(k patchbay.OperationKind, step string, undo bool, outcome string, _ time.Duration) {
	c.add("%s/%s undo=%v %s", k, step, undo, outcome)
}

func (c *counter) OperationEnded(k patchbay.OperationKind, s patchbay.OperationState, _ time.Duration) {
	c.add("%s %s", k, s)
}
func (c *counter) LeftoverParked(k patchbay.OperationKind, step string) {
	c.add("%s/%s parked", k, step)
}
func (c *counter) Load(int, int) {}

func TestMetricsAndSpansPerStep(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(provider)
	defer otel.SetTracerProvider(before)
	seen := &counter{got: map[string]int{}}
	wfs := workflow(saga.Step{Name: "a", Do: failing(refusal), Where: saga.OnTarget, Undo: failingUndo(refusal), Park: leave("a")})
	e, stop := run(t, storetest.NewMemory(), wfs, saga.Options{Observer: seen})
	begin(t, e, request("first", wfs)) // when it has ended the engine runs
	ends(t, e, "first")
	seen.mu.Lock()
	clear(seen.got)
	seen.mu.Unlock()
	spans.Reset()
	ctx, parent := otel.Tracer("test").Start(t.Context(), "request")
	if _, err := e.Submit(ctx, request("op", wfs)); err != nil {
		t.Fatal(err)
	}
	parent.End()
	ends(t, e, "op")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for what, n := range map[string]int{"create/a undo=false failed": 1, "create/a undo=true failed": 8, "create undone": 1, "create/a parked": 1} {
		if seen.got[what] != n {
			t.Errorf("%s: %d times, want %d (%v)", what, seen.got[what], n, seen.got)
		}
	}
	n := 0
	for _, s := range spans.GetSpans() {
		if s.Name != "step a" {
			continue
		}
		n++
		if s.SpanContext.TraceID() != parent.SpanContext().TraceID() {
			t.Error("a step's span is not in the trace of its request")
		}
		have := map[string]string{}
		for _, kv := range s.Attributes {
			have[string(kv.Key)] = kv.Value.String()
		}
		if have["patchbay.outcome"] != "failed" || have["patchbay.kind"] != "create" || have["patchbay.attempt"] == "" {
			t.Errorf("%v", have)
		}
	}
	if n != 9 {
		t.Errorf("%d spans", n)
	}
}
