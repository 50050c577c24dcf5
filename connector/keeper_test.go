package connector

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// keeper is an application whose source keeps what a change replaces.
type keeper struct {
	*app

	mu       sync.Mutex
	released []driver.Mark
	sets     int // of the last one
	fails    error
}

func (k *keeper) Release(_ context.Context, c driver.Change) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fails != nil {
		return k.fails
	}
	k.released = append(k.released, c.Mark)
	k.sets = len(c.Set)
	return nil
}

func (k *keeper) failWith(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fails = err
}

// generations are those that were released, since it was last asked.
func (k *keeper) generations() []int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []int64
	for _, m := range k.released {
		list = append(list, m.Generation)
	}
	k.released = nil
	return list
}

func newKeeperWorld(t *testing.T) (*world, *keeper) {
	w := newWorld(t)
	k := &keeper{app: w.app}
	w.keeps = true
	w.open = func(context.Context, driver.Config) (driver.Source, error) { return k, nil }
	w.Service.Close()
	w.restart()
	return w, k
}

// What a change replaced is kept until nothing goes back to it, and then it goes:
// behind the pivot, behind the old login, and also behind a delete.
func TestWhatWasReplacedGoesAtTheEnd(t *testing.T) {
	w, k := newKeeperWorld(t)
	op := w.put(w.spec())
	w.want(op, patchbay.Done, "")
	if op.Plan[len(op.Plan)-1] != stepRelease {
		t.Errorf("the plan is %q", op.Plan)
	}
	if got := k.generations(); !slices.Equal(got, []int64{1}) {
		t.Errorf("a create releases %v", got)
	}
	op = w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller}))
	w.want(op, patchbay.Done, "")
	if revoke, release := slices.Index(op.Plan, stepRevoke), slices.Index(op.Plan, stepRelease); revoke < 0 || release < revoke {
		t.Errorf("the plan of a rotation is %q", op.Plan)
	}
	if got := k.generations(); !slices.Equal(got, []int64{2}) {
		t.Errorf("a rotation releases %v", got)
	}
	w.want(w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: true})), patchbay.Done, "")
	if got := k.generations(); !slices.Equal(got, []int64{2}) {
		t.Errorf("a fix releases %v", got)
	}
	w.want(w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	if got := k.generations(); got != nil {
		t.Errorf("a validation releases %v", got)
	}
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if got := k.generations(); !slices.Equal(got, []int64{2}) {
		t.Errorf("a delete releases %v", got)
	}
	if k.sets != 0 {
		t.Errorf("what a delete releases sets %d settings", k.sets)
	}
}

// An undo goes back to what was kept.
func TestWhatAnUndoGoesBackToIsNotReleased(t *testing.T) {
	w, k := newKeeperWorld(t)
	k.restartErr = patchbay.Errorf(patchbay.RestartFailed, "it does not come up")
	w.want(w.put(w.spec()), patchbay.Undone, patchbay.RestartFailed)
	if got := k.generations(); got != nil {
		t.Errorf("an undone create releases %v", got)
	}
}

// What can't be let go of is a leftover, and the connection works.
func TestWhatStaysKeptIsALeftover(t *testing.T) {
	w, k := newKeeperWorld(t)
	k.failWith(patchbay.Errorf(patchbay.SettingsUnwritable, "the engine is away"))
	w.want(w.put(w.spec()), patchbay.Done, "")
	left := w.left()
	if len(left) != 1 || left[0].What != whatKept || !left[0].Resource.Equal(k.id) {
		t.Fatalf("left over: %+v", left)
	}
	k.failWith(nil)
	if _, err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if got := k.generations(); !slices.Equal(got, []int64{1}) || len(w.left()) != 0 {
		t.Errorf("a sweep releases %v; left over: %+v", got, w.left())
	}
	if len(k.read()) == 0 {
		t.Error("the settings went with it")
	}
}

// A scope names a part of a source: what is written there is that part's alone, and
// two parts may have settings of the same names.
func TestPartsOfASourceAreApart(t *testing.T) {
	w := newWorld(t)
	all := map[string]*app{"": w.app}
	for _, name := range []string{"web", "worker"} {
		all[name] = &app{settings: map[string]patchbay.Secret{}, id: w.app.id}
	}
	w.part = "container"
	w.open = func(_ context.Context, c driver.Config) (driver.Source, error) {
		if a, ok := all[c.Scope]; ok {
			return a, nil
		}
		return nil, patchbay.Errorf(patchbay.SourceNotFound, "there is no container %s", c.Scope)
	}
	w.restart()
	spec := w.spec()
	spec.Scope = "web"
	w.want(w.put(spec), patchbay.Done, "")
	other := w.spec()
	other.Scope = "worker"
	second := w.app.id.Linker("second")
	w.want(w.end(w.Put(t.Context(), PutRequest{ID: second, Spec: other, Caller: w.caller})), patchbay.Done, "")
	web, worker := all["web"].read(), all["worker"].read()
	if len(web) == 0 || len(web) != len(worker) {
		t.Errorf("web has %v, worker %v", web, worker)
	}
	for name := range web {
		if _, same := worker[name]; !same {
			t.Errorf("worker has not %s: two parts stand in each other's way", name)
		}
	}
	if got := w.app.read(); len(got) != 1 {
		t.Errorf("the whole has %v", got)
	}
	for _, c := range w.validated(false).Checks {
		if c.Result != patchbay.Success {
			t.Errorf("%+v", c)
		}
	}
	_, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: other, Caller: w.caller})
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.InvalidArgument || !strings.Contains(e.Message, "container web") || e.Fix == "" {
		t.Errorf("a connection moves to another part: %v", err)
	}
	none := w.spec()
	none.Access = patchbay.Reader
	w.want(w.put(none), patchbay.Done, "") // who says nothing of it leaves it
	if c, err := w.Get(t.Context(), w.linker); err != nil || c.Spec.Scope != "web" {
		t.Errorf("its scope is %q, %v", c.Spec.Scope, err)
	}
	missing := w.spec()
	missing.Scope = "cron"
	op := w.end(w.Put(t.Context(), PutRequest{ID: w.app.id.Linker("third"), Spec: missing, Caller: w.caller}))
	w.want(op, patchbay.Undone, patchbay.SourceNotFound)
	for _, id := range []patchbay.ID{w.linker, second} {
		w.want(w.end(w.Delete(t.Context(), id, w.caller, "")), patchbay.Done, "")
	}
	if web, worker := all["web"].read(), all["worker"].read(); len(web)+len(worker) > 0 {
		t.Errorf("after the deletes web has %v, worker %v", web, worker)
	}
}

// silent is a source that for the moment has no place to speak from.
type silent struct{ *app }

func (s silent) Dialer(context.Context) (driver.ClosingDialer, error) {
	return nil, patchbay.Errorf(patchbay.NotSupported, "the container is stopped")
}

func (s silent) Egress(context.Context, netip.Addr) ([]netip.Prefix, error) { return nil, nil }

// Who can't speak from there now says why, and it is neither a success nor a failure.
func TestWhyNobodyCanSpeakFromThereIsSaid(t *testing.T) {
	w := newWorld(t)
	w.open = func(context.Context, driver.Config) (driver.Source, error) { return silent{w.app}, nil }
	w.restart()
	w.broker.failProbe = patchbay.Errorf(patchbay.PortClosed, "somebody tried it from here")
	op := w.put(w.spec())
	w.want(op, patchbay.Done, "")
	if c, err := w.Get(t.Context(), w.linker); err != nil || !strings.Contains(c.Message, "the container is stopped") {
		t.Errorf("its message is %q, %v", c.Message, err)
	}
	for _, c := range w.validated(false).Checks {
		if (c.Group == patchbay.CheckNetwork || c.Group == patchbay.CheckAuthentication) &&
			(c.Result != patchbay.NotChecked || !strings.Contains(c.Message, "the container is stopped")) {
			t.Errorf("%+v", c)
		}
	}
}
