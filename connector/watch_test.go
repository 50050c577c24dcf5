package connector

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/store"
)

// watched is a watch over a world, whose time passes when the test says so.
type watched struct {
	*world
	eyes   *watch
	mu     sync.Mutex
	later  time.Duration
	paused func() // what happens while it waits
	told   []string
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	return watchOver(t, newWorld(t))
}

func watchOver(t *testing.T, over *world) *watched {
	t.Helper()
	w := &watched{world: over}
	w.world.Service.now = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Add(w.later)
	}
	w.world.Service.watched = w
	w.eyes = newWatch(w.world.Service, time.Hour)
	w.eyes.pause = func(context.Context, time.Duration) error {
		if w.paused != nil {
			w.paused()
		}
		return nil
	}
	return w
}

func (w *watched) tell(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, text)
}

func (w *watched) Looked(cause patchbay.Cause, health patchbay.Health, _ time.Duration) {
	w.tell(string(cause) + " " + string(health))
}

func (w *watched) Repaired(stopped bool) {
	if stopped {
		w.tell("stopped")
		return
	}
	w.tell("put back")
}

func (w *watched) Health(map[patchbay.Health]int) {}

// after lets time pass, and everything be looked at whose time has come.
func (w *watched) after(d time.Duration) {
	w.t.Helper()
	w.mu.Lock()
	w.later += d
	w.mu.Unlock()
	w.eyes.budget = lookers
	w.eyes.begin(w.t.Context())
	w.eyes.wait.Wait()
}

func (w *watched) says(want ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.told, want) {
		w.t.Errorf("the watch did %q, want %q", w.told, want)
	}
	w.told = nil
}

func (w *watched) health() patchbay.Verdict {
	w.t.Helper()
	c, err := w.Get(w.t.Context(), w.linker)
	if err != nil || c.Health == nil {
		w.t.Fatalf("%+v, %v", c.Health, err)
	}
	return *c.Health
}

// TestEachConnectionIsLookedAtInTurn, and a moment's weakness is no news.
func TestEachConnectionIsLookedAtInTurn(t *testing.T) {
	w := newWatched(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	if v := w.health(); v.Health != patchbay.Healthy || v.Cause != patchbay.CauseOperation {
		t.Errorf("a connection that was made is %+v", v)
	}
	w.after(30 * time.Minute)
	w.says()
	w.after(31 * time.Minute)
	w.says("schedule healthy")
	w.after(time.Minute)
	w.says()

	w.broker.failProbe = patchbay.Errorf(patchbay.LoginRefused, "no")
	w.paused = func() { w.broker.failProbe = nil }
	w.after(2 * time.Hour)
	w.says("schedule healthy")
	w.paused = nil
	w.broker.failProbe = patchbay.Errorf(patchbay.LoginRefused, "no")
	w.after(2 * time.Hour)
	w.says("schedule unhealthy")
	bad := w.health()
	if bad.Health != patchbay.Unhealthy || len(bad.Checks) == 0 || bad.Checks[len(bad.Checks)-1].Code != patchbay.LoginRefused {
		t.Errorf("it is %+v", bad)
	}
	w.after(2 * time.Hour)
	if v := w.health(); v.Times != 2 || !v.Since.Equal(bad.Since) {
		t.Errorf("what is found twice is %+v", v)
	}
	w.broker.failProbe = nil
	w.after(2 * time.Hour)
	if v := w.health(); v.Health != patchbay.Healthy || !v.Since.After(bad.Last) {
		t.Errorf("it is %+v", v)
	}
	all, err := w.History(t.Context(), w.linker)
	if err != nil || len(all) != 3 {
		t.Errorf("its history is %+v, %v", all, err)
	}
	w.want(w.delete(), patchbay.Done, "")
	w.told = nil
	w.after(2 * time.Hour)
	w.says()
}

// TestNobodyLooksBetweenTwoSteps: what is found there is neither what was nor what will be.
func TestNobodyLooksBetweenTwoSteps(t *testing.T) {
	w := newWatched(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	c, _ := w.Get(t.Context(), w.linker)
	w.later = time.Hour
	a := appointment{Glance: store.Glance{ID: c.ID, Source: c.Source}, cause: patchbay.CauseSchedule}
	// An operation begins and ends within the look.
	before, err := w.eyes.atRest(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	after, err := w.eyes.atRest(t.Context(), c)
	if err != nil || after == before {
		t.Errorf("an operation in between is not seen: %q, %q, %v", before, after, err)
	}
	// One that runs is waited for.
	entered, let := make(chan struct{}), make(chan struct{})
	w.app.restart = func() error {
		close(entered)
		<-let
		return nil
	}
	begun, err := w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	w.eyes.look(t.Context(), a)
	w.says()
	if _, ok := w.eyes.due[c.ID.Key()]; !ok {
		t.Error("it is not looked at again")
	}
	close(let)
	w.want(w.end(begun, nil), patchbay.Done, "")
	w.after(time.Minute)
	w.says("schedule healthy")
}

// TestWhatDriftsIsPutBackOnce, where the connection asks for that.
func TestWhatDriftsIsPutBackOnce(t *testing.T) {
	w := newWatched(t)
	spec := w.spec()
	w.want(w.put(spec), patchbay.Done, "")
	good := w.app.read()
	var name string
	for one := range good {
		if one != "THEIRS" {
			name = one
		}
	}
	drift := func() {
		defer w.app.lock()()
		w.app.settings[name] = patchbay.NewSecret("theirs")
		w.app.touch()
	}
	drift()
	w.after(2 * time.Hour)
	w.after(2 * time.Hour)
	w.says("schedule unhealthy", "schedule unhealthy") // it is reported, and no more
	w.want(w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, Fix: true})), patchbay.Done, "")

	spec.Drift = patchbay.DriftRepair
	w.want(w.put(spec), patchbay.Done, "")
	w.told = nil
	drift()
	w.after(2 * time.Hour)
	w.says("schedule unhealthy")
	w.after(30 * time.Second)
	w.says() // whoever is at work there has a minute
	w.after(time.Minute)
	w.says("schedule unhealthy")
	ended := w.lastOperation()
	w.says("put back")
	if ended.State != patchbay.Done || ended.By != repairer || w.app.read()[name] != good[name] {
		t.Errorf("the repair is %+v", ended)
	}
	if v := w.health(); v.Health != patchbay.Healthy || v.Operation != ended.ID {
		t.Errorf("afterwards it is %+v", v)
	}
	all, err := w.History(t.Context(), w.linker)
	if err != nil || all[1].Repair != ended.ID || !slices.Equal(all[0].PutBack, []string{name}) {
		t.Errorf("its history is %+v, %v", all, err)
	}

	drift() // they mean it
	w.after(2 * time.Hour)
	w.after(2 * time.Hour)
	w.says("stopped", "schedule unhealthy", "schedule unhealthy")
	if v := w.health(); !strings.Contains(v.Kept, "changed it again") || w.app.read()[name] != "theirs" {
		t.Errorf("it is %+v", v)
	}
	w.after(25 * time.Hour) // it is another story by then
	w.after(2 * time.Minute)
	if w.app.read()[name] != good[name] {
		w.lastOperation()
	}
	if w.app.read()[name] != good[name] {
		t.Error("a day later it is not put back")
	}
}

// lastOperation waits for the connection's last operation.
func (w *watched) lastOperation() patchbay.Operation {
	w.t.Helper()
	page, _, err := w.Operations(w.t.Context(), store.OperationFilter{Connection: w.linker}, "", 1)
	if err != nil || len(page) == 0 {
		w.t.Fatalf("%v, %v", page, err)
	}
	return w.end(Begun{Operation: page[0]}, nil)
}

// TestLooksAreBounded, of one source and at one target.
func TestLooksAreBounded(t *testing.T) {
	w := newWatched(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	c, _ := w.Get(t.Context(), w.linker)
	a := appointment{Glance: store.Glance{ID: c.ID, Source: c.Source, Target: "/t"}}
	for _, full := range []func(){
		func() { w.eyes.running = lookers },
		func() { w.eyes.looking[c.Source.Key()] = true },
		func() { w.eyes.at["/t"] = atTarget },
	} {
		full()
		if w.eyes.start(t.Context(), a) {
			t.Error("a look more than there is room for has begun")
		}
		w.eyes.running = 0
		clear(w.eyes.looking)
		clear(w.eyes.at)
	}
	if !w.eyes.start(t.Context(), a) {
		t.Error("nothing may begin")
	}
	w.eyes.wait.Wait()
	if w.eyes.running != 0 || len(w.eyes.looking) != 0 || len(w.eyes.at) != 0 {
		t.Errorf("afterwards there are %d %v %v", w.eyes.running, w.eyes.looking, w.eyes.at)
	}
}

// telling is a source whose platform says when it changed.
type telling struct {
	*app
	began chan func()
}

func (s *telling) Watch(ctx context.Context, changed func()) error {
	select {
	case s.began <- changed:
	case <-ctx.Done():
		return nil
	}
	<-ctx.Done()
	return nil
}

// TestAChangeOfTheSourceIsLookedAt soon, and followed for as long as it has connections.
func TestAChangeOfTheSourceIsLookedAt(t *testing.T) {
	w := newWatched(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	source := &telling{app: w.app, began: make(chan func())}
	w.world.open = func(context.Context, driver.Config) (driver.Source, error) { return source, nil }
	w.restart() // which opens it anew
	w.eyes = newWatch(w.world.Service, time.Hour)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	settled := make(chan time.Duration)
	w.eyes.pause = func(ctx context.Context, d time.Duration) error {
		select {
		case settled <- d:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.eyes.follow(ctx)
	changed := <-source.began
	for i, change := range []string{"the beginning", "an edit"} {
		changed()
		if d := <-settled; d != settling {
			t.Errorf("%s: it waited %s", change, d)
		}
		if d := <-settled; d != rest {
			t.Errorf("%s: it rested %s", change, d)
		}
		w.eyes.mu.Lock()
		a, ok := w.eyes.due[w.linker.Key()]
		clear(w.eyes.due)
		w.eyes.mu.Unlock()
		if !ok || a.cause != patchbay.CauseChange || i == 1 && a.when.After(w.world.Service.now()) {
			t.Errorf("%s: it is looked at %+v", change, a)
		}
	}
	w.eyes.pause = func(context.Context, time.Duration) error { return nil }
	w.want(w.delete(), patchbay.Done, "")
	w.eyes.follow(ctx)
	if len(w.eyes.followed) != 0 {
		t.Error("a source without connections is followed")
	}
	stop()
	w.eyes.wait.Wait()
}

// crowded has many connections to one target before the others in line.
type crowded struct{ Records }

func (r crowded) Unseen(ctx context.Context, since time.Time, limit int) ([]store.Glance, error) {
	found, err := r.Records.Unseen(ctx, since, limit)
	var all []store.Glance
	for i := range 200 {
		all = append(all, store.Glance{ID: patchbay.ID(fmt.Sprintf("/crowd/%d", i)), Source: patchbay.ID(fmt.Sprintf("/source/%d", i)), Target: "/crowded"})
	}
	all = append(all, found...)
	return all[:min(len(all), limit)], err
}

// TestATargetThatHangsHidesNoOther.
func TestATargetThatHangsHidesNoOther(t *testing.T) {
	w := newWatched(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.world.Service.records = crowded{w.world.Service.records}
	w.eyes.at["/crowded"] = atTarget
	w.after(2 * time.Hour)
	w.says("schedule healthy")
}

// TestARepairThatFailsIsNobodysChange: it is tried again, and nobody is said to have
// changed anything.
func TestARepairThatFailsIsNobodysChange(t *testing.T) {
	w := newWatched(t)
	spec := w.spec()
	spec.Drift = patchbay.DriftRepair
	w.want(w.put(spec), patchbay.Done, "")
	good := w.app.read()
	func() {
		defer w.app.lock()()
		for name := range w.app.settings {
			if name != "THEIRS" {
				delete(w.app.settings, name)
			}
		}
		w.app.failWrite = patchbay.Errorf(patchbay.SettingsUnwritable, "the disk is full")
		w.app.touch()
	}()
	w.after(2 * time.Hour)
	w.after(2 * time.Minute)
	failed := w.lastOperation()
	w.want(failed, patchbay.Undone, patchbay.SettingsUnwritable)
	w.says("schedule unhealthy", "schedule unhealthy", "stopped")
	if v := w.health(); v.Kept != "it could not be put back: the disk is full" || v.Stopped != patchbay.StopFailed || v.Operation != failed.ID {
		t.Errorf("it is %+v", v)
	}
	w.after(2 * time.Hour)
	w.want(w.lastOperation(), patchbay.Undone, patchbay.SettingsUnwritable)
	w.says("schedule unhealthy") // that it fails is no news
	w.app.failWrite = nil
	w.after(2 * time.Hour)
	w.want(w.lastOperation(), patchbay.Done, "")
	w.says("schedule unhealthy", "put back")
	if now := w.app.read(); !maps.Equal(now, good) {
		t.Errorf("there is %v", now)
	}
	if v := w.health(); v.Kept != "" || v.Stopped != "" {
		t.Errorf("afterwards it is %+v", v)
	}
}
