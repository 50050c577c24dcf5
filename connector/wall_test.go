package connector

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// wall is a guard in memory: closed but for its rules.
type wall struct {
	gate *gate

	mu      sync.Mutex
	rules   map[string]driver.Rule
	down    error // every call fails with it
	despite string
	trail   []string // what was done, in order
}

func (w *wall) lock() func() {
	w.mu.Lock()
	return w.mu.Unlock
}

func (w *wall) fail(err error) {
	defer w.lock()()
	w.down = err
}

// opened are the rules' names, less the connection's uid, each with where it is from.
func (w *wall) opened() []string {
	defer w.lock()()
	var all []string
	for _, r := range w.rules {
		all = append(all, strings.TrimPrefix(r.Name, "pb_"+r.Mark.UID+"_")+" "+texts(r.From)+" "+r.Login)
	}
	slices.Sort(all)
	return all
}

func (w *wall) driver(name string, logins bool) driver.NetworkDriver {
	return driver.NetworkDriver{
		Driver: patchbay.Driver{Name: name, Noun: "wall", Types: []string{"Patchbay.Services/guards"}, Properties: []patchbay.Field{driver.HostField()}},
		Logins: logins,
		Open:   func(context.Context, driver.Config, driver.Config) (driver.Network, error) { return w, nil },
	}
}

func (w *wall) EnsureRule(ctx context.Context, r driver.Rule) error {
	if err := w.gate.pass(ctx); err != nil {
		return err
	}
	if err := w.ensure(r); err != nil {
		return err
	}
	return w.gate.pass(ctx)
}

func (w *wall) ensure(r driver.Rule) error {
	defer w.lock()()
	if w.down != nil {
		return w.down
	}
	w.rules[r.Name] = r
	w.trail = append(w.trail, "open "+texts(r.From))
	return nil
}

func (w *wall) InspectRule(_ context.Context, r driver.Rule) (driver.RuleState, error) {
	defer w.lock()()
	has, ok := w.rules[r.Name]
	return driver.RuleState{Exists: ok, Ours: ok, Exact: ok && reflect.DeepEqual(has, r), Despite: w.despite}, w.down
}

func (w *wall) RemoveRule(ctx context.Context, r driver.Rule) error {
	if err := w.gate.pass(ctx); err != nil {
		return err
	}
	if err := w.remove(r); err != nil {
		return err
	}
	return w.gate.pass(ctx)
}

func (w *wall) remove(r driver.Rule) error {
	defer w.lock()()
	if w.down != nil {
		return w.down
	}
	if has, ok := w.rules[r.Name]; ok {
		w.trail = append(w.trail, "close "+texts(has.From))
	}
	delete(w.rules, r.Name)
	return nil
}

func (w *wall) Owned(context.Context) ([]driver.Owned, error) {
	defer w.lock()()
	var all []driver.Owned
	for _, name := range slices.Sorted(maps.Keys(w.rules)) {
		all = append(all, driver.Owned{Mark: w.rules[name].Mark, Name: name})
	}
	return all, w.down
}

func (w *wall) Close() error { return nil }

// walled puts the target behind a guard, and another that knows logins.
func (w *world) walled(guards ...string) []patchbay.ID {
	w.t.Helper()
	w.app.egress = []netip.Prefix{netip.MustParsePrefix("10.0.3.7/32")}
	ids := []patchbay.ID{}
	for _, name := range guards {
		id := w.group.Child("providers/Patchbay.Services/guards", name)
		w.register(patchbay.Resource{ID: id, Driver: name}, nil)
		ids = append(ids, id)
	}
	w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Guards: ids}, nil)
	return ids
}
