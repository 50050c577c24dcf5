package connector

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
)

// leave makes a leftover: the login of a connection whose target was away when
// it was deleted.
func (w *world) leave() {
	w.t.Helper()
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.broker.fail(patchbay.Errorf(patchbay.TargetUnreachable, "nobody there").AsTransient())
	w.want(w.end(w.Delete(w.t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	w.broker.fail(nil)
	if left := w.left(); len(left) != 1 {
		w.t.Fatalf("leftovers = %+v", left)
	}
}

func (w *world) left() []patchbay.Leftover {
	w.t.Helper()
	left, _, err := w.Leftovers(w.t.Context(), "", 10)
	if err != nil {
		w.t.Fatal(err)
	}
	return left
}

// TestALeftoverThatEndsTheServerIsNotTriedForEver: after three deaths it waits,
// with the reason, for somebody who asks.
func TestALeftoverThatEndsTheServerIsNotTriedForEver(t *testing.T) {
	w := newWorld(t)
	w.leave()
	later := func() time.Time { return time.Now().Add(time.Hour) }
	for range 3 {
		w.now = later
		w.gate.holdAt(1)
		go func(dead *Service) { _, _ = dead.sweepLeftovers(t.Context(), false) }(w.Service)
		<-w.gate.held // and never comes back: another process has the records now
		w.restart()
	}
	w.now = later
	result, err := w.sweepLeftovers(t.Context(), false)
	if err != nil || len(result.Removed)+len(result.Left) > 0 {
		t.Fatalf("it is tried again: %+v, %v", result, err)
	}
	if l := w.left()[0]; l.Deaths != 3 || l.Trying || !strings.HasPrefix(l.Why, string(patchbay.StepEndsProcess)) {
		t.Errorf("%+v", l)
	}
	if result, err = w.sweep(); err != nil || len(result.Removed) != 1 || len(w.left()) > 0 {
		t.Errorf("when somebody asks: %+v, %v", result, err)
	}
}

// A server that is stopped has not died of what it tried.
func TestAStoppedSweepIsNoDeath(t *testing.T) {
	w := newWorld(t)
	w.leave()
	before := w.left()[0]
	ctx, stop := context.WithCancel(t.Context())
	w.gate.holdAt(1)
	ended := make(chan error, 1)
	go func() {
		_, err := w.sweepLeftovers(ctx, true)
		ended <- err
	}()
	<-w.gate.held
	stop()
	if err := <-ended; err == nil {
		t.Error("the sweep says that it has ended")
	}
	if l := w.left()[0]; l.Trying || l.Deaths != 0 || l.Attempts != before.Attempts {
		t.Errorf("%+v", l)
	}
}

// forgetful has somebody strike a leftover off the list while it is tried.
type forgetful struct{ Records }

func (f forgetful) UpdateLeftover(ctx context.Context, l patchbay.Leftover) error {
	if err := f.Records.UpdateLeftover(ctx, l); err != nil || !l.Trying {
		return err
	}
	return f.DeleteLeftover(ctx, l.ID)
}

func TestAForgottenLeftoverDoesNotComeBack(t *testing.T) {
	for name, refusal := range map[string]error{
		"it could be removed": nil, "it could not": patchbay.Errorf(patchbay.TargetUnreachable, "nobody there").AsTransient(),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.leave()
			w.broker.fail(refusal)
			w.records = forgetful{w.records}
			if _, err := w.sweepLeftovers(t.Context(), true); err != nil {
				t.Errorf("the sweep ends: %v", err)
			}
			if left := w.left(); len(left) > 0 {
				t.Errorf("it is back: %+v", left)
			}
		})
	}
}

// TestOneTenantsLeftoversKeepNobodyWaiting: of those whose target does not
// answer one is tried in a sweep, and then another's.
func TestOneTenantsLeftoversKeepNobodyWaiting(t *testing.T) {
	w := newWorld(t)
	target := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
	other := patchbay.ID("/subscriptions/other/resourceGroups/g/providers/Microsoft.Web/sites/web")
	for id, source := range map[string]patchbay.ID{"1": w.linker, "2": w.linker, "3": other.Linker("c")} {
		op := &saga.Op{Operation: patchbay.Operation{ID: id, Connection: source, Source: other + patchbay.ID(id)}}
		l, err := w.newLeftover(op, stepLogin, target, "principal", nil, work{Login: &driver.LoginRequest{Name: "pb_" + id}})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.records.(saga.Store).Submit(t.Context(), saga.Life{ID: "ended"}, saga.Submission{
			ID: id, Kind: patchbay.OpRotate, Connection: op.Source.Linker("c"), Source: op.Source, Plan: []string{"x"}, RequestHash: []byte("h"),
			Begin: saga.Commit{Leftovers: []patchbay.Leftover{l}},
		}, saga.Limits{Queued: 1}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	w.broker.fail(patchbay.Errorf(patchbay.TargetUnreachable, "nobody there").AsTransient())
	w.now = func() time.Time { return time.Now().Add(time.Minute) }
	var tried [][]string
	for range 3 {
		result, err := w.sweepLeftovers(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, l := range result.Left {
			ids = append(ids, l.Operation)
		}
		tried = append(tried, ids)
	}
	if !slices.EqualFunc(tried, [][]string{{"1", "3"}, {"2"}, nil}, slices.Equal) {
		t.Errorf("tried in three sweeps: %v", tried)
	}
}

// unlisted fails a test that reads the leftovers of all tenants.
type unlisted struct {
	Records
	t *testing.T
}

func (u unlisted) Leftovers(context.Context, string, int) ([]patchbay.Leftover, string, error) {
	u.t.Error("the leftovers of all are read")
	return nil, "", nil
}

// TestOneTenantsLeftoversAreNotReadForOthers: whoever has a target that lets
// nothing be removed has as many as it likes.
func TestOneTenantsLeftoversAreNotReadForOthers(t *testing.T) {
	w := newWorld(t)
	w.records = unlisted{w.records, t}
	w.want(w.put(w.spec()), patchbay.Done, "")
	for _, fix := range []bool{false, true} {
		w.want(w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: fix})), patchbay.Done, "")
	}
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
}
