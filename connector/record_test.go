package connector

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

func TestWhatAConnectionKeepsIsItsOwn(t *testing.T) {
	w := newWorld(t)
	w.app.set("OTHERS_PASSWORD", "a secret of somebody else")
	w.want(w.put(w.spec()), patchbay.Done, "")
	c := mustGet(t, w)
	var held json.RawMessage
	if err := w.unseal(c.Sealed, "connection "+c.UID, &held); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(held), "somebody else") || strings.Contains(string(held), "OTHERS_PASSWORD") {
		t.Error("its record holds what others have on the source")
	}
}

// earlierWrite is what an earlier release kept of a write: all that was there
// before the first one, and of what was removed since the names alone.
func earlierWrite(c change, before map[string]string, removed ...string) written {
	c.Remove = removed
	return written{Change: c, Before: snapshot{Version: "1", Settings: before, Content: []byte("all of it")}}
}

func TestARecordOfAnEarlierReleaseIsDeletedWithoutWhatItRemembers(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	c := mustGet(t, w)
	held, err := w.openHolding(c)
	if err != nil {
		t.Fatal(err)
	}
	old := earlierWrite(held.Written.Change, map[string]string{"THEIRS": "older", "GONE": "of a connection that is gone", key: "theirs once"}, "GONE")
	held.Written = &old
	in := input{Want: c, Connection: c}
	if in.Sealed, err = w.seal(held, "connection "+c.UID); err != nil {
		t.Fatal(err)
	}
	op := w.step(in, nil)
	output, err := w.planDelete(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	op.Outputs = [][]byte{output}
	for range 2 {
		if _, err := w.removeSettings(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		if got := w.app.read(); !maps.Equal(got, untouched) {
			t.Errorf("the source has %v", got)
		}
	}
}

// An operation of an earlier release that this one goes on with knows only the
// names of what it removes.
func TestAWriteOfAnEarlierReleaseIsGoneOnWith(t *testing.T) {
	w := newWorld(t)
	w.app.set("OLD", "of this connection")
	before := w.app.read()
	p := plan{Write: &written{}}
	*p.Write = earlierWrite(change{Name: "orders", Set: []setting{{Setting: patchbay.Setting{Name: "NEW"}, Plain: "new"}}}, before, "OLD")
	p.Write.Before.Version = "1"
	op := w.step(input{}, &p)
	op.Outputs[0] = w.asOne(op, p)
	if _, err := w.writeSettings(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	if got := w.app.read(); !maps.Equal(got, map[string]string{"THEIRS": "kept", "NEW": "new"}) {
		t.Errorf("the source has %v", got)
	}
	if err := w.undoSettings(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	if got := w.app.read(); !maps.Equal(got, before) {
		t.Errorf("the source has %v, had %v", got, before)
	}
}

// step is an operation at some step, with that plan.
func (w *world) step(in input, p *plan) *saga.Op {
	w.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		w.t.Fatal(err)
	}
	op := &saga.Op{Operation: patchbay.Operation{ID: "an-operation", Connection: w.linker, Plan: []string{stepPlan}}, Input: body}
	if source, _, ok := w.linker.ConnectionSource(); ok {
		op.Source = source
	}
	if p != nil {
		sealed, err := w.sealPlan(op, *p)
		if err != nil {
			w.t.Fatal(err)
		}
		op.Outputs = [][]byte{sealed}
	}
	return op
}

// abandoned is an update to spec that is given up with its settings on the source,
// which lets nobody in from then on.
func (w *world) abandoned(spec patchbay.Spec) {
	w.t.Helper()
	w.app.afterRestart = func() {
		w.broker.mu.Lock()
		defer w.broker.mu.Unlock()
		w.broker.failProbe = patchbay.Errorf(patchbay.RightsExcess, "too much")
		w.app.down = noWayIn
	}
	w.giveUp(w.Put(w.t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller}))
	w.broker.failProbe = nil
}

var noWayIn = patchbay.Errorf(patchbay.SettingsUnwritable, "no way in")

// giveUp abandons what was begun when it needs attention.
func (w *world) giveUp(b Begun, err error) {
	w.t.Helper()
	for op := b.Operation; err == nil && !op.Attention; {
		if op, err = w.Wait(w.t.Context(), op.ID, op.Version); op.State.Ended() {
			w.t.Fatalf("%+v, %v", op, err)
		}
	}
	if err == nil {
		_, err = w.Abandon(w.t.Context(), b.Operation.ID, w.caller)
	}
	if op := w.end(b, err); op.State != patchbay.Abandoned {
		w.t.Fatalf("the update is %s", op.State)
	}
}

// cancelAfterWrite cancels the one operation there is right behind its write.
func (w *world) cancelAfterWrite(and func()) {
	w.app.afterWrite = func() {
		ops, _, err := w.Operations(w.t.Context(), store.OperationFilter{Active: true}, "", 10)
		if err != nil || len(ops) != 1 {
			w.t.Errorf("%v, %v", ops, err)
			return
		}
		if _, err := w.Cancel(w.t.Context(), ops[0].ID, w.caller); err != nil && ops[0].Kind != patchbay.OpDelete {
			w.t.Error(err)
		}
		and()
	}
}

// An update is given up while its settings are on the source, and its undo is a
// leftover. What comes back is what the connection has on record by then.
func TestAnUpdateThatWasAbandonedBringsNothingBackThatIsNobodys(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		w := newWorld(t)
		w.want(w.put(w.spec()), patchbay.Done, "")
		settings := w.app.read()
		spec := w.spec()
		spec.Client = "nodejs"
		w.abandoned(spec)
		restarts := w.app.restarts
		if _, err := w.Sweep(t.Context(), w.caller); err != nil || w.app.restarts > restarts {
			t.Errorf("the application was restarted before its settings were back; %v", err)
		}
		func() {
			defer w.app.lock()()
			w.app.down = nil
		}()
		want := settings
		if deleted {
			w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
			want = untouched
		}
		w.restartable()
		if got := w.app.read(); !maps.Equal(got, want) {
			t.Errorf("deleted: %v; the source has %v, should have %v", deleted, got, want)
		}
	}
}
