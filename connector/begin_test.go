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

// What a caller gave is used for what it was given for, and until another is given.
func TestAGivenSecretIsThatOfItsLogin(t *testing.T) {
	w := newWorld(t)
	w.broker.passwords["dba"] = "first pass"
	w.want(w.put(w.given("dba", "first pass")), patchbay.Done, "")
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.given("another", ""), Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("another login without its secret = %v", err)
	}
	w.want(w.put(w.given("dba", "")), patchbay.Done, "")
	w.broker.passwords["dba"] = "second pass"
	w.want(w.put(w.given("dba", "second pass")), patchbay.Done, "")
	if got := w.app.read()[key]; !strings.Contains(got, "second pass") {
		t.Errorf("the source has %s", got)
	}
}

// What an operation goes back to, and what it revokes, is what it found: one that
// another came before begins again.
func TestARequestThatAnotherWasFasterThanBeginsFromWhatThatMade(t *testing.T) {
	w := newWorld(t)
	engine := &late{Engine: w.engine, admits: true}
	w.Bind(engine)
	reader := w.spec()
	reader.Access = patchbay.Reader
	engine.first = func() { w.want(w.put(reader), patchbay.Done, "") } // both make it
	w.want(w.put(w.spec()), patchbay.Done, "")
	engine.first = func() { w.want(w.put(reader), patchbay.Done, "") }
	w.want(w.put(w.spec()), patchbay.Done, "")
	if c := mustGet(t, w); c.Generation != 4 || !slices.Equal(w.broker.names(), []string{c.Login}) {
		t.Errorf("generation %d; the target has %v", c.Generation, w.broker.names())
	}
}

func TestADeleteThatRunsIsTheOneThatIsAskedFor(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.gate.holdAt(1)
	first, err := w.Delete(t.Context(), w.linker, w.caller, "")
	if err != nil {
		t.Fatal(err)
	}
	<-w.gate.held
	second, err := w.Delete(t.Context(), w.linker, w.caller, "")
	if err != nil || second.Operation.ID != first.Operation.ID {
		t.Errorf("DELETE = %+v, %v", second, err)
	}
	_, err = w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
	if patchbay.CodeOf(err) != patchbay.OperationInProgress || patchbay.AsError(err).Subject != first.Operation.ID {
		t.Errorf("PUT = %v", err)
	}
	w.restart()
	w.want(w.end(first, nil), patchbay.Done, "")
}

func TestALoginIsOfTheServerThatItIsOn(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	before := mustGet(t, w).Login
	another := w.group.Child("providers/Microsoft.DBforPostgreSQL/flexibleServers", "another")
	w.register(patchbay.Resource{ID: another}, driver.Secrets{"password": patchbay.NewSecret("admin's")})
	moved := w.spec()
	moved.Target.ID = another.Child("databases", "shop")
	w.want(w.put(moved), patchbay.Done, "")
	if now := mustGet(t, w).Login; now == before || !slices.Equal(w.broker.names(), []string{now}) {
		t.Errorf("%s became %s; the target has %v", before, now, w.broker.names())
	}
}

// A name that a connection has on record is its own although somebody took the
// setting out of the file.
func TestANameOnRecordIsTaken(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	first := mustGet(t, w).Keys
	delete(w.app.settings, key)
	w.linker = w.app.id.Linker("second")
	w.want(w.put(w.spec()), patchbay.Done, "")
	if second := mustGet(t, w).Keys; slices.Equal(first, second) {
		t.Errorf("both have %v", second)
	}
}

// told keeps what an engine is asked for.
type told struct {
	Engine
	last saga.Submission
}

func (e *told) Submit(ctx context.Context, sub saga.Submission) (patchbay.Operation, error) {
	e.last = sub
	return e.Engine.Submit(ctx, sub)
}

// A target that many wait for has no say in a delete that does nothing there.
func TestADeleteTakesRoomAtItsTargetForALoginAlone(t *testing.T) {
	w := newWorld(t)
	engine := &told{Engine: w.engine}
	w.Bind(engine)
	w.broker.passwords["dba"] = "pass"
	for spec, waits := range map[string]bool{"own": true, "given": false} {
		put := w.spec()
		if spec == "given" {
			put = w.given("dba", "pass")
		}
		w.want(w.put(put), patchbay.Done, "")
		w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
		if got := engine.last.Target != ""; got != waits {
			t.Errorf("the delete with a login of its %s waits for %q", spec, engine.last.Target)
		}
	}
}

// Somebody's edit of a setting that the plan replaces is not lost: neither written
// over, nor "put back" to what the plan saw.
func TestAnEditBetweenThePlanAndTheWriteStays(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.app.beforeWrite = func() {
		w.app.settings[key] = patchbay.NewSecret("somebody's")
		w.app.version++
	}
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.want(w.put(reader), patchbay.Undone, patchbay.Conflict)
	if got := w.app.read()[key]; got != "somebody's" {
		t.Errorf("the source has %s", got)
	}
}

// An application that read what was written is told once that it is taken back, also
// when somebody has replaced it by then.
func TestWhatWasWrittenIsRestartedForOnceOnTheWayBack(t *testing.T) {
	for name, replaced := range map[string]bool{"still there": false, "replaced": true} {
		w := newWorld(t)
		w.want(w.put(w.spec()), patchbay.Done, "")
		before := w.app.restarts
		w.app.restartErr = patchbay.Errorf(patchbay.RestartFailed, "it does not come up")
		w.app.afterRestart = func() {
			w.app.restartErr = nil
			if replaced {
				w.app.settings[key] = patchbay.NewSecret("somebody's")
			}
		}
		reader := w.spec()
		reader.Access = patchbay.Reader
		w.want(w.put(reader), patchbay.Undone, patchbay.RestartFailed)
		if got := w.app.restarts - before; got != 2 {
			t.Errorf("%s: %d restarts", name, got)
		}
	}
}

func TestTheOverlapBeginsWithTheNewSettings(t *testing.T) {
	w := newWorld(t)
	op := w.step(input{}, nil)
	verified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	op.Updated = verified.Add(time.Hour)
	op.Trail = []patchbay.StepRun{{Name: stepVerify, Ended: verified}}
	if got := w.overlapEnds(op); !got.Equal(verified.Add(w.overlap)) {
		t.Errorf("it ends at %s", got)
	}
}

// A clock that was set back must not make of an overlap a wait for an hour.
func TestNoWaitIsLongerThanTheOverlap(t *testing.T) {
	w := newWorld(t)
	if err := w.waitUntil(t.Context(), w.now().Add(time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestADriverDoesNotChangeUnderAnOperation(t *testing.T) {
	w := newWorld(t)
	w.gate.holdAt(1)
	b, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: w.spec(), Caller: w.caller})
	if err != nil {
		t.Fatal(err)
	}
	<-w.gate.held
	db := patchbay.Resource{ID: w.spec().Target.ID.Parent(), Driver: "away", Endpoint: "postgres://db:5432"}
	_, _, _, err = w.PutResource(t.Context(), ResourceRequest{Resource: db, Caller: w.caller, NoCheck: true})
	if patchbay.CodeOf(err) != patchbay.Conflict || !strings.Contains(err.Error(), "has not ended") {
		t.Errorf("another driver = %v", err)
	}
	w.restart()
	w.want(w.end(b, nil), patchbay.Done, "")
}
