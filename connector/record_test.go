package connector

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
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

// An update is given up while its settings are on the source, and its undo is a
// leftover. What comes back is what the connection has on record by then.
func TestAnUpdateThatWasAbandonedBringsNothingBackThatIsNobodys(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		w := newWorld(t)
		w.want(w.put(w.spec()), patchbay.Done, "")
		settings := w.app.read()
		spec := w.spec()
		spec.Client = "nodejs"
		w.app.afterRestart = func() {
			w.broker.mu.Lock()
			defer w.broker.mu.Unlock()
			w.broker.failProbe = patchbay.Errorf(patchbay.RightsExcess, "too much")
			w.app.down = patchbay.Errorf(patchbay.SettingsUnwritable, "no way in")
		}
		b, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller})
		if err != nil {
			t.Fatal(err)
		}
		for op := b.Operation; !op.Attention; {
			if op, err = w.Wait(t.Context(), op.ID, op.Version); err != nil || op.State.Ended() {
				t.Fatalf("%+v, %v", op, err)
			}
		}
		if _, err := w.Abandon(t.Context(), b.Operation.ID, w.caller); err != nil {
			t.Fatal(err)
		}
		if op := w.end(b, nil); op.State != patchbay.Abandoned {
			t.Fatalf("the update is %s", op.State)
		}
		restarts := w.app.restarts
		if _, err := w.Sweep(t.Context()); err != nil || w.app.restarts > restarts {
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
