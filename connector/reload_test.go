package connector

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/sources/envfile"
	"patchbay.dev/patchbay/store/storetest"
)

// restartable makes the application restart again, and tries what is left over.
func (w *world) restartable() {
	w.t.Helper()
	func() {
		defer w.app.lock()()
		w.app.restartErr = nil
	}()
	w.broker.failProbe = nil
	if _, err := w.sweep(); err != nil { // a login waits for the restart, and that for the settings
		w.t.Fatal(err)
	}
	if left := w.leftBehind(); len(left) > 0 {
		w.t.Errorf("left over: %v", left)
	}
}

// leftBehind is what is left over, each with its reason.
func (w *world) leftBehind() []string {
	w.t.Helper()
	list, _, err := w.Leftovers(w.t.Context(), "", 10)
	if err != nil {
		w.t.Fatal(err)
	}
	var left []string
	for _, l := range list {
		left = append(left, l.What+": "+l.Why)
	}
	return left
}

var notUp = patchbay.Errorf(patchbay.RestartFailed, "it does not come up")

// stuck is an update to reader access that fails once the application has taken
// its settings over, which does not restart from then on.
func (w *world) stuck(spec patchbay.Spec) patchbay.Operation {
	w.t.Helper()
	w.app.afterRestart = func() {
		w.broker.mu.Lock()
		defer w.broker.mu.Unlock()
		w.broker.failProbe = patchbay.Errorf(patchbay.RightsExcess, "too much")
		w.app.restartErr = notUp
	}
	op := w.put(spec)
	w.want(op, patchbay.Undone, patchbay.RightsExcess)
	w.broker.failProbe = nil
	return op
}

func TestALoginThatTheApplicationMayHoldStaysUntilItHasRestarted(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	before, settings := mustGet(t, w), w.app.read()
	reader := w.spec()
	reader.Access = patchbay.Reader
	op := w.stuck(reader)
	if got := w.app.read(); !maps.Equal(got, settings) {
		t.Errorf("the source has %v, had %v", got, settings)
	}
	taken := loginName(driver.Mark{UID: before.UID, Generation: 2})
	if names := w.broker.names(); !slices.Equal(names, []string{before.Login, taken}) {
		t.Errorf("the target has %v", names)
	}
	if !strings.Contains(op.Message, "web could not be restarted") || !strings.Contains(op.Message, "it does not come up") {
		t.Errorf("the operation says %q", op.Message)
	}
	left := w.leftBehind()
	if len(left) != 2 || !strings.HasPrefix(left[0], "principal "+taken) || !strings.Contains(left[0], "StillInUse") || !strings.HasPrefix(left[1], "restart: ") {
		t.Errorf("left over: %q", left)
	}
	finds := func(r patchbay.Report) bool {
		return slices.ContainsFunc(r.Checks, func(c patchbay.Check) bool {
			return c.Group == patchbay.CheckConfiguration && c.Result == patchbay.Failure && c.Code == patchbay.RestartFailed && c.Fix != ""
		})
	}
	if r := w.validated(false); !finds(r) || r.Available() {
		t.Errorf("validate finds %+v", r.Checks)
	}
	// It stays as long as that is so, whatever is tried.
	if result, err := w.sweep(); err != nil || len(result.Removed) > 0 || len(w.broker.names()) != 2 {
		t.Errorf("a sweep removed %+v, %v", result.Removed, err)
	}
	// And then not under the sessions of those that end slowly.
	w.broker.sessions[taken] = 1
	w.app.restartErr = nil
	for range 2 {
		if _, err := w.sweep(); err != nil || len(w.broker.names()) != 2 {
			t.Errorf("a sweep left %v, %v", w.broker.names(), err)
		}
	}
	if r := w.validated(false); finds(r) || !r.Available() {
		t.Errorf("after the restart validate finds %+v", r.Checks)
	}
	delete(w.broker.sessions, taken)
	w.restartable()
	if names := w.broker.names(); !slices.Equal(names, []string{before.Login}) {
		t.Errorf("the target has %v", names)
	}
}

func TestAnyRestartThatSucceedsIsTheOneThatIsLeftOver(t *testing.T) {
	for name, restart := range map[string]func(*world) patchbay.Operation{
		"a fix": func(w *world) patchbay.Operation {
			return w.end(w.Validate(w.t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: true}))
		},
		"another update": func(w *world) patchbay.Operation { return w.put(w.spec()) },
		"another connection": func(w *world) patchbay.Operation {
			return w.end(w.Put(w.t.Context(), PutRequest{ID: w.linker.Parent().Linker("beside"), Spec: w.spec(), Caller: w.caller}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.want(w.put(w.spec()), patchbay.Done, "")
			reader := w.spec()
			reader.Access = patchbay.Reader
			w.stuck(reader)
			w.app.restartErr = nil
			w.want(restart(w), patchbay.Done, "")
			if r := w.validated(false); !r.Available() {
				t.Errorf("validate finds %+v", r.Checks)
			}
			if left := w.leftBehind(); len(left) != 1 || !strings.HasPrefix(left[0], "principal ") {
				t.Errorf("left over: %q", left)
			}
			w.restartable()
		})
	}
}

func TestTheLoginOfACreateThatFailedStaysUntilTheApplicationHasRestarted(t *testing.T) {
	w := newWorld(t)
	op := w.stuck(w.spec())
	if _, err := w.Get(t.Context(), w.linker); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("GET = %v", err)
	}
	if !strings.Contains(op.Message, "could not be restarted") || len(w.broker.names()) != 1 {
		t.Errorf("the operation says %q, the target has %v", op.Message, w.broker.names())
	}
	if result, err := w.sweep(); err != nil || len(result.Removed) > 0 {
		t.Errorf("a sweep removed %+v, %v", result.Removed, err)
	}
	w.restartable()
	if names := w.broker.names(); len(names) > 0 {
		t.Errorf("the target has %v", names)
	}
}

// A delete is a revocation: whatever the application holds, no login stays.
func TestADeleteTakesTheLoginsWhetherTheApplicationRestartsOrNot(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.stuck(reader)
	op := w.end(w.Delete(t.Context(), w.linker, w.caller, ""))
	w.want(op, patchbay.Done, "")
	if !strings.Contains(op.Message, "web could not be restarted") {
		t.Errorf("the operation says %q", op.Message)
	}
	if _, err := w.sweep(); err != nil || len(w.broker.names()) > 0 {
		t.Errorf("the target has %v, %v", w.broker.names(), err)
	}
	if left := w.leftBehind(); len(left) != 1 || !strings.HasPrefix(left[0], "restart: ") {
		t.Errorf("left over: %q", left)
	}
	w.restartable()
}

// newFileWorld is a world whose sources are real settings files; none is registered.
func newFileWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOver(t, Limits{}, storetest.NewMemory(), func(ctx context.Context, c driver.Config) (driver.Source, error) {
		return envfile.Driver().Open(ctx, c)
	})
}

// The whole of it on a real file, with a real command: it takes effect twice,
// and then no more.
func TestAnUpdateIsCanceledWhenItsReloadHasTakenEffect(t *testing.T) {
	dir := t.TempDir()
	env, told := filepath.Join(dir, "env"), filepath.Join(dir, "told")
	w := newFileWorld(t)
	properties, err := json.Marshal(map[string]any{"reload": map[string]any{
		"command": []string{"sh", "-c", `echo told >>"$0"; test $(wc -l <"$0") -le 2`, told},
	}})
	if err != nil {
		t.Fatal(err)
	}
	web := w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.Web/sites/web", Endpoint: env, Properties: properties}, nil)
	w.linker = web.Linker("orders")
	w.want(w.put(w.spec()), patchbay.Done, "")
	before, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.gate.holdAt(5) // inspect, ensure twice, probe; then verify
	b, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: reader, Caller: w.caller})
	if err != nil {
		t.Fatal(err)
	}
	<-w.gate.held
	if _, err := w.Cancel(t.Context(), b.Operation.ID, w.caller); err != nil {
		t.Fatal(err)
	}
	op := w.end(b, nil)
	w.want(op, patchbay.Undone, patchbay.Canceled)
	if now, err := os.ReadFile(env); err != nil || string(now) != string(before) {
		t.Errorf("the file has\n%s, %v", now, err)
	}
	if len(w.broker.names()) != 2 || !strings.Contains(op.Message, "exit code 1") {
		t.Errorf("the target has %v; the operation says %q", w.broker.names(), op.Message)
	}
	if r := w.validated(false); r.Available() {
		t.Errorf("validate finds %+v", r.Checks)
	}
	if err := os.Remove(told); err != nil { // it reloads again
		t.Fatal(err)
	}
	if r := w.validated(true); !r.Available() {
		t.Errorf("after a fix validate finds %+v", r.Checks)
	}
	if _, err := w.sweep(); err != nil || len(w.broker.names()) != 1 {
		t.Errorf("the target has %v, %v", w.broker.names(), err)
	}
}

// An update is canceled right behind its write. Whatever restarted the
// application in between (its supervisor, another leftover) gave it the new
// login, so it is restarted before that goes.
func TestAnApplicationThatReadTheSettingsByItselfReadsThemAgain(t *testing.T) {
	for name, up := range map[string]bool{"and restarts": true, "and does not": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.want(w.put(w.spec()), patchbay.Done, "")
			before := mustGet(t, w)
			if !up {
				w.app.restartErr = notUp
			}
			w.cancelAfterWrite(func() {})
			reader := w.spec()
			reader.Access = patchbay.Reader
			restarts := w.app.restarts
			op := w.put(reader)
			w.want(op, patchbay.Undone, patchbay.Canceled)
			if w.app.restarts == restarts {
				t.Error("the application goes on with what it read")
			}
			if up {
				if names := w.broker.names(); !slices.Equal(names, []string{before.Login}) || op.Message != "" {
					t.Errorf("the target has %v; the operation says %q", names, op.Message)
				}
				return
			}
			if names := w.broker.names(); len(names) != 2 || !strings.Contains(op.Message, "could not be restarted") {
				t.Errorf("the target has %v; the operation says %q", names, op.Message)
			}
			w.restartable()
			if names := w.broker.names(); !slices.Equal(names, []string{before.Login}) {
				t.Errorf("the target has %v", names)
			}
		})
	}
}

// An abandoned update left its settings on the source. A restart by another
// connection has the application read just those: it is not the one that waits.
func TestARestartBeforeTheSettingsAreBackIsNotTheOneThatIsLeftOver(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	before := mustGet(t, w)
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.abandoned(reader)
	if names := w.broker.names(); len(names) != 2 {
		t.Fatalf("the target has %v", names)
	}
	func() {
		defer w.app.lock()()
		w.app.down = nil
	}()
	beside := w.end(w.Put(t.Context(), PutRequest{ID: w.linker.Parent().Linker("beside"), Spec: w.spec(), Caller: w.caller}))
	w.want(beside, patchbay.Done, "")
	if left := w.leftBehind(); !slices.ContainsFunc(left, func(l string) bool { return strings.HasPrefix(l, "restart: ") }) {
		t.Errorf("left over: %q", left)
	}
	w.restartable()
	if names := w.broker.names(); !slices.Contains(names, before.Login) || len(names) != 2 {
		t.Errorf("the target has %v", names)
	}
}

// The same when it was canceled before it came to restart the application, which
// may do so by itself at any time.
func TestALoginThatTheSourceHoldsStaysUntilItsSettingsAreBack(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	before := mustGet(t, w)
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.cancelAfterWrite(func() { w.app.down = noWayIn })
	w.giveUp(w.Put(t.Context(), PutRequest{ID: w.linker, Spec: reader, Caller: w.caller}))
	if result, err := w.sweep(); err != nil || len(result.Removed) > 0 || len(w.broker.names()) != 2 {
		t.Errorf("a sweep removed %+v, %v", result.Removed, err)
	}
	func() {
		defer w.app.lock()()
		w.app.down, w.app.restartErr = nil, notUp
	}()
	restarts := w.app.restarts
	if _, err := w.sweep(); err != nil || len(w.broker.names()) != 2 || w.app.restarts == restarts {
		t.Errorf("after %d restarts the target has %v, %v", w.app.restarts-restarts, w.broker.names(), err)
	}
	w.restartable()
	if names := w.broker.names(); !slices.Equal(names, []string{before.Login}) {
		t.Errorf("the target has %v", names)
	}
}

// A source that can't be told may have restarted by itself while a change was
// there: its sessions say so.
func TestALoginInUseStaysWhereNobodyCanBeToldToRestart(t *testing.T) {
	w := newWorld(t)
	w.app.untold = true
	w.want(w.put(w.spec()), patchbay.Done, "")
	before := mustGet(t, w)
	taken := loginName(driver.Mark{UID: before.UID, Generation: 2})
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.cancelAfterWrite(func() {
		defer w.broker.lock()()
		w.broker.sessions[taken] = 1
	})
	w.want(w.put(reader), patchbay.Undone, patchbay.Canceled)
	for range 2 {
		if left := w.leftBehind(); len(w.broker.names()) != 2 || len(left) != 1 || !strings.Contains(left[0], "StillInUse") {
			t.Errorf("the target has %v; left over: %q", w.broker.names(), left)
		}
		if _, err := w.sweep(); err != nil {
			t.Fatal(err)
		}
	}
	delete(w.broker.sessions, taken)
	w.restartable()
	if names := w.broker.names(); !slices.Equal(names, []string{before.Login}) {
		t.Errorf("the target has %v", names)
	}
}
