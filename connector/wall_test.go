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
	warns   []string // what its Check says
	trail   []string // what was done, in order
	// of are the walls of guards, by name; a guard that is not among them is this one.
	of map[string]*wall
	// trouble, when there is one, is asked by each call that changes something, before
	// its effect and after it.
	trouble func(after bool) error
	// changed, when there is one, is told of what is there after a change.
	changed func(rules map[string]driver.Rule)
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

// driver is one of guards that stand for those ways; where they know no logins, for both
// unless it is told.
func (w *wall) driver(name string, logins bool, solutions ...string) driver.NetworkDriver {
	if !logins && len(solutions) == 0 {
		solutions = []string{driver.ServiceEndpoint, driver.PrivateLink}
	}
	return driver.NetworkDriver{
		Driver: patchbay.Driver{Name: name, Noun: "wall", Types: []string{"Patchbay.Services/guards"}, Solutions: solutions, Properties: []patchbay.Field{driver.HostField()}},
		Logins: logins, AnyTo: logins, // as PostgreSQL's
		Open: func(_ context.Context, c driver.Config, _ driver.Config) (driver.Network, error) {
			if one := w.of[c.ID.Name()]; one != nil {
				return one, nil
			}
			return w, nil
		},
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
	return w.change(func() {
		w.rules[r.Name] = r
		w.trail = append(w.trail, "open "+texts(r.From))
	})
}

// change does f, which changes the rules, unless there is trouble.
func (w *wall) change(f func()) error {
	if w.trouble != nil {
		if err := w.trouble(false); err != nil {
			return err
		}
	}
	f()
	if w.changed != nil {
		w.changed(w.rules)
	}
	if w.trouble != nil {
		return w.trouble(true)
	}
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
	return w.change(func() {
		if has, ok := w.rules[r.Name]; ok {
			w.trail = append(w.trail, "close "+texts(has.From))
		}
		delete(w.rules, r.Name)
	})
}

func (w *wall) Owned(context.Context) ([]driver.Owned, error) {
	defer w.lock()()
	var all []driver.Owned
	for _, name := range slices.Sorted(maps.Keys(w.rules)) {
		all = append(all, driver.Owned{Mark: w.rules[name].Mark, Name: name})
	}
	return all, w.down
}

// Check implements [driver.NetworkChecker].
func (w *wall) Check(context.Context) ([]string, error) {
	defer w.lock()()
	if w.down != nil {
		return nil, w.down
	}
	return w.warns, nil
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
