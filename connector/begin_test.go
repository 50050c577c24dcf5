package connector

import (
	"context"
	"slices"
	"strings"
	"testing"

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
	for _, first := range []patchbay.Spec{reader, w.spec(), reader} {
		engine.first = func() { w.want(w.put(first), patchbay.Done, "") }
		second := w.spec()
		if first.Access == "" {
			second = reader
		}
		w.want(w.put(second), patchbay.Done, "")
		if got := w.broker.names(); !slices.Equal(got, []string{mustGet(t, w).Principal}) {
			t.Errorf("the target has %v", got)
		}
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
	before := mustGet(t, w).Principal
	another := w.group.Child("providers/Microsoft.DBforPostgreSQL/flexibleServers", "another")
	w.register(patchbay.Resource{ID: another}, driver.Secrets{"password": patchbay.NewSecret("admin's")})
	moved := w.spec()
	moved.Target.ID = another.Child("databases", "shop")
	w.want(w.put(moved), patchbay.Done, "")
	if now := mustGet(t, w).Principal; now == before || !slices.Equal(w.broker.names(), []string{now}) {
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
