package connector

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
)

// asOne is a plan as earlier releases journalled it.
func (w *world) asOne(op *saga.Op, p plan) []byte {
	w.t.Helper()
	sealed, err := w.seal(p, "plan "+op.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return sealed
}

// whole reads all of a plan.
func (w *world) whole(op *saga.Op, output []byte) plan {
	w.t.Helper()
	op = &saga.Op{Operation: patchbay.Operation{ID: op.ID, Plan: []string{stepPlan}}, Outputs: [][]byte{output}}
	a, err := w.agreedOf(op)
	if err != nil {
		w.t.Fatal(err)
	}
	wrote, err := w.writeOf(op, partChange, partBefore)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan{agreed: a, Write: wrote}
}

// every operation, done and undone, from its plan on.
func everyOperation(w *world) {
	w.t.Helper()
	refused := patchbay.Errorf(patchbay.RestartFailed, "it does not come up")
	failing := func(put func() patchbay.Operation) {
		w.t.Helper()
		before := w.app.read()
		w.app.restartErr = refused
		w.app.afterRestart = func() { w.app.restartErr = nil }
		w.want(put(), patchbay.Undone, patchbay.RestartFailed)
		if got := w.app.read(); !maps.Equal(got, before) {
			w.t.Errorf("the source has %v, had %v", got, before)
		}
	}
	reader := w.spec()
	reader.Access = patchbay.Reader
	rotate := func() patchbay.Operation {
		return w.end(w.Rotate(w.t.Context(), RotateRequest{ID: w.linker, Caller: w.caller}))
	}
	failing(func() patchbay.Operation { return w.put(w.spec()) })
	w.want(w.put(w.spec()), patchbay.Done, "")
	failing(func() patchbay.Operation { return w.put(reader) })
	w.want(w.put(reader), patchbay.Done, "")
	failing(rotate)
	w.want(rotate(), patchbay.Done, "")
	delete(w.app.settings, key)
	if r := w.validated(true); !r.Available() || !slices.Equal(r.Fixed, []string{stepSettings}) {
		w.t.Errorf("%+v", r)
	}
	if got := w.broker.names(); !slices.Equal(got, []string{mustGet(w.t, w).Login}) {
		w.t.Errorf("the target has %v", got)
	}
	w.want(w.end(w.Delete(w.t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if got := w.broker.names(); len(got) > 0 || !maps.Equal(w.app.read(), untouched) {
		w.t.Errorf("the target has %v, the source %v", got, w.app.read())
	}
}

// What an earlier release planned, and did not come to end, is ended here.
func TestAPlanOfAnEarlierReleaseIsGoneOnWith(t *testing.T) {
	w := newWorld(t)
	plans := 0
	w.planned = func(op *saga.Op, output []byte) []byte {
		p := w.whole(op, output)
		p.Spec, p.Writes = nil, nil
		plans++
		return w.asOne(op, p)
	}
	everyOperation(w)
	if plans != 8 {
		t.Errorf("%d plans", plans)
	}
}

// A step opens what it needs of a plan: the copies of files, only what puts them
// back; the login, only what signs in with it.
func TestAStepOpensThePartsOfThePlanThatItNeeds(t *testing.T) {
	w := newWorld(t)
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.planned = func(_ *saga.Op, plan []byte) []byte { return without(t, plan, partBefore) }
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.want(w.put(reader), patchbay.Done, "")
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")

	var op *saga.Op
	w.planned = func(planned *saga.Op, plan []byte) []byte {
		op = &saga.Op{Operation: planned.Operation, Input: planned.Input, Outputs: [][]byte{plan}}
		return plan
	}
	w.want(w.put(w.spec()), patchbay.Done, "")
	whole := op.Outputs[0]
	for _, c := range []struct {
		step    string
		broken  part
		run     func(context.Context, *saga.Op) error
		refused bool
	}{
		{"may it", partSecrets, doing(w.entitled(func(context.Context, *saga.Op) ([]byte, error) { return nil, nil })), false},
		{"principal", partChange, doing(w.ensureLogin), false},
		{"principal", partSecrets, doing(w.ensureLogin), true},
		{"settings", partSecrets, doing(w.writeSettings), false},
		{"restart", partSecrets, doing(w.Service.restart), false},
		{"restart", partChange, doing(w.Service.restart), false},
		{"undo of the settings", partSecrets, w.undoSettings, false},
		{"undo of the settings", partBefore, w.undoSettings, true},
		{"undo of the login", partSecrets, w.undoLogin, false},
		{"undo of the login", partOutline, w.undoLogin, true},
	} {
		op.Outputs[0] = without(t, whole, c.broken)
		if err := c.run(t.Context(), op); (err != nil) != c.refused {
			t.Errorf("%s without the %s of the plan = %v", c.step, partNames[c.broken], err)
		}
	}
}

func doing(step func(context.Context, *saga.Op) ([]byte, error)) func(context.Context, *saga.Op) error {
	return func(ctx context.Context, op *saga.Op) error {
		_, err := step(ctx, op)
		return err
	}
}

// A part belongs where it is, and what is cut off is no plan.
func TestAPlanThatWasTamperedWithIsNotRead(t *testing.T) {
	w := newWorld(t)
	op := w.step(input{}, &plan{Write: &written{}})
	output := op.Outputs[0]
	for n := range output {
		op.Outputs[0] = output[:n]
		if _, err := w.writeOf(op, partChange, partBefore); err == nil && n > 0 {
			t.Fatalf("%d of %d bytes are a plan", n, len(output))
		}
	}
	size, n := binary.Uvarint(output[1:])
	outline := output[:1+n+int(size)]
	op.Outputs[0] = slices.Concat(outline, outline[1:], outline[1:], outline[1:])
	if _, err := w.agreedOf(op); err == nil {
		t.Error("one part is read as another")
	}
	op.Outputs[0], op.ID = output, "another"
	if _, err := w.outlineOf(op); err == nil {
		t.Error("another operation's plan is read")
	}
}

// without is a plan whose parts of those kinds do not open.
func without(t *testing.T, plan []byte, broken ...part) []byte {
	t.Helper()
	plan = slices.Clone(plan)
	at := 1
	for p := range parts {
		size, n := binary.Uvarint(plan[at:])
		if slices.Contains(broken, p) && size > 0 {
			plan[at+n+int(size)-1] ^= 1
		}
		at += n + int(size)
	}
	return plan
}

// A target may come to have another driver while an operation waits in line. What
// the plan then decides is what the record says.
func TestWhatThePlanDecidesIsOnRecord(t *testing.T) {
	w := newWorld(t)
	source, name, _ := w.linker.ConnectionSource()
	asked := w.spec() // as it is for a target that was not administered: without an access
	op := w.step(input{Created: true, Want: patchbay.Connection{ID: w.linker, UID: newUID(), Source: source, Name: name, Spec: asked}}, nil)
	output, err := w.plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	op.Outputs = [][]byte{output}
	end, err := w.finishChange(t.Context(), op, patchbay.Done)
	if err != nil || end.PutConnection.Spec.Access != patchbay.Writer {
		t.Errorf("%+v, %v", end.PutConnection, err)
	}
}
