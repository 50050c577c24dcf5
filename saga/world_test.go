package saga_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
)

// world is what really happened: a source with settings and a running
// application, a target with principals, a network with rules. Each of its
// methods is one effect, and tells the simulation before and after it.
type world struct {
	settings   map[string]string
	app        map[string]string // the settings that the application has read
	principals map[string]principal
	rules      map[string]bool
	minted     int
	log        []string // "source operation" of each effect
	event      func(what string, effect func())
}

type principal struct {
	password string
	granted  bool
}

func newWorld() *world {
	return &world{
		settings:   map[string]string{"OTHER": "# kept", "PGHOST": "by hand"},
		app:        map[string]string{"OTHER": "# kept", "PGHOST": "by hand"},
		principals: map[string]principal{"admin": {"root", true}},
		rules:      map[string]bool{"ssh": true},
	}
}

func (w *world) String() string {
	return fmt.Sprintf("settings %v, app %v, principals %v, rules %v", w.settings, w.app, w.principals, w.rules)
}

// decision is what the plan step journals.
type decision struct {
	UID      string             `json:"uid"`
	Password string             `json:"password"`
	Before   map[string]*string `json:"before"`
}

// memory is what a connection's record remembers, sealed in real life.
type memory struct {
	UID      string             `json:"uid"`
	Gen      int                `json:"gen"`
	Replaced map[string]*string `json:"replaced"`
	Values   map[string]string  `json:"values"`
}

var ours = []string{"PGHOST", "PGUSER"}

func role(uid string, gen int) string { return fmt.Sprintf("pb_%s_g%d", uid, gen) }
func rule(uid string, gen int) string { return fmt.Sprintf("pb_%s_r%d", uid, gen) }

func values(uid string, gen int) map[string]string {
	return map[string]string{"PGHOST": "db of " + uid, "PGUSER": role(uid, gen)}
}

func (w *world) capture() map[string]*string {
	before := map[string]*string{}
	for _, k := range ours {
		before[k] = nil
		if v, ok := w.settings[k]; ok {
			before[k] = &v
		}
	}
	return before
}

// set writes the source's settings one by one: between two the process can die.
func (w *world) set(values map[string]*string) {
	for _, k := range ours {
		w.event("set "+k, func() {
			if v := values[k]; v != nil {
				w.settings[k] = *v
			} else {
				delete(w.settings, k)
			}
		})
	}
}

func (w *world) restart() {
	w.event("restart", func() { w.app = maps.Clone(w.settings) })
}

func (w *world) ensure(name, password string) {
	w.event("create "+name, func() { w.principals[name] = principal{password, w.principals[name].granted} })
	w.event("grant "+name, func() { w.principals[name] = principal{password, true} })
}

func (w *world) remove(name string) {
	w.event("revoke "+name, func() {
		if p, ok := w.principals[name]; ok {
			w.principals[name] = principal{p.password, false}
		}
	})
	w.event("drop "+name, func() { delete(w.principals, name) })
}

func (w *world) open(name string)  { w.event("open "+name, func() { w.rules[name] = true }) }
func (w *world) close(name string) { w.event("close "+name, func() { delete(w.rules, name) }) }
func (w *world) look(what string)  { w.event("look at "+what, func() {}) }

// gap says what is wrong at this instant with what the application holds:
// nothing may take a credential away that it still uses.
func (w *world) gap() string {
	if user := w.app["PGUSER"]; user != "" && !w.principals[user].granted {
		return fmt.Sprintf("the application's login %s is refused", user)
	}
	return ""
}

func pointers(m map[string]string) map[string]*string {
	p := map[string]*string{}
	for k, v := range m {
		p[k] = &v
	}
	return p
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encode(v any) []byte { return must(json.Marshal(v)) }

func decode[T any](b []byte) (v T) {
	if err := json.Unmarshal(b, &v); err != nil {
		panic(fmt.Sprintf("%v of %q", err, b))
	}
	return v
}

const (
	simSource = patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web")
	simLinker = simSource + "/providers/Microsoft.ServiceLinker/linkers/db"
)

// flaw are the seeded bugs of the workflows, as opposed to the engine's.
type flaw struct {
	captureLate bool // "before" is read by the step that writes
	noPivot     bool // revoking counts as something that can be undone
}

// workflows are the model's create, update and delete. before is called when
// an attempt begins and says what goes wrong: an error now, or after the effect.
func (w *world) workflows(before func(op *saga.Op, step string, undo bool) (now, after error), f flaw) []saga.Workflow {
	plan := func(op *saga.Op) decision { return decode[decision](op.Output("plan")) }
	known := func(op *saga.Op) memory { return decode[memory](op.Input) }
	step := func(name string, kind saga.Kind, where saga.Where, do func(*saga.Op) []byte, undo func(*saga.Op), park func(*saga.Op) string) saga.Step {
		guard := func(op *saga.Op, isUndo bool, effect func()) error {
			now, after := before(op, name, isUndo)
			if now != nil {
				return now
			}
			effect()
			if errors.Is(after, errKills) {
				runtime.Goexit()
			}
			return after
		}
		s := saga.Step{Name: name, Kind: kind, Where: where}
		s.Do = func(_ context.Context, op *saga.Op) (out []byte, err error) {
			err = guard(op, false, func() { out = do(op) })
			return out, err
		}
		if undo != nil {
			s.Undo = func(_ context.Context, op *saga.Op) error {
				return guard(op, true, func() { undo(op) })
			}
		}
		if park != nil {
			s.Park = func(op *saga.Op, _ error) (patchbay.Leftover, error) {
				return patchbay.Leftover{What: park(op)}, nil
			}
		}
		return s
	}
	retriable := saga.Retriable
	if f.noPivot {
		retriable = saga.Compensatable
	}
	restart := step("restart", saga.Pivot, saga.OnSource, func(*saga.Op) []byte { w.restart(); return nil }, nil, nil)
	if f.noPivot {
		restart.Kind = saga.Compensatable
	}
	makePlan := func(uid func(*saga.Op) string) saga.Step {
		return step("plan", saga.Compensatable, saga.Nowhere, func(op *saga.Op) []byte {
			w.look("the world")
			w.minted++
			return encode(decision{UID: uid(op), Password: fmt.Sprint("p", w.minted), Before: w.capture()})
		}, nil, nil)
	}
	settings := func(gen func(*saga.Op) int) saga.Step {
		return step("settings", saga.Compensatable, saga.OnSource, func(op *saga.Op) []byte {
			out := encode(w.capture())
			w.set(pointers(values(plan(op).UID, gen(op))))
			return out
		}, func(op *saga.Op) {
			back := plan(op).Before
			if f.captureLate {
				back = nil
				if out := op.Output("settings"); out != nil {
					back = decode[map[string]*string](out)
				}
			}
			w.set(back)
			w.restart()
		}, nil)
	}
	put := func(op *saga.Op, state patchbay.State, m memory) *patchbay.Connection {
		return &patchbay.Connection{
			ID: op.Connection, Source: op.Source, State: state, Generation: int64(m.Gen), Operation: op.ID,
			ETag: fmt.Sprint(op.ID, op.Version), Sealed: encode(m),
		}
	}
	finish := func(done func(*saga.Op) saga.Commit, undone func(*saga.Op) saga.Commit) func(context.Context, *saga.Op, patchbay.OperationState) (saga.Commit, error) {
		return func(_ context.Context, op *saga.Op, outcome patchbay.OperationState) (saga.Commit, error) {
			if outcome == patchbay.Done {
				return done(op), nil
			}
			return undone(op), nil
		}
	}
	next := func(op *saga.Op) int { return known(op).Gen + 1 }
	return []saga.Workflow{
		{
			Kind: patchbay.OpCreate,
			Steps: []saga.Step{
				makePlan(func(*saga.Op) string { return fmt.Sprint("u", w.minted) }),
				step("rule", saga.Compensatable, saga.OnNetwork,
					func(op *saga.Op) []byte { w.open(rule(plan(op).UID, 1)); return nil },
					func(op *saga.Op) { w.close(rule(plan(op).UID, 1)) },
					func(op *saga.Op) string { return rule(plan(op).UID, 1) }),
				step("principal", saga.Compensatable, saga.OnTarget,
					func(op *saga.Op) []byte { w.ensure(role(plan(op).UID, 1), plan(op).Password); return nil },
					func(op *saga.Op) { w.remove(role(plan(op).UID, 1)) },
					func(op *saga.Op) string { return role(plan(op).UID, 1) }),
				step("probe", saga.Compensatable, saga.Nowhere, func(*saga.Op) []byte { w.look("the login"); return nil }, nil, nil),
				settings(func(*saga.Op) int { return 1 }),
				restart,
			},
			Finish: finish(func(op *saga.Op) saga.Commit {
				p := plan(op)
				return saga.Commit{PutConnection: put(op, patchbay.Succeeded, memory{p.UID, 1, p.Before, values(p.UID, 1)})}
			}, func(op *saga.Op) saga.Commit {
				return saga.Commit{PutConnection: put(op, patchbay.Failed, memory{})}
			}),
		},
		{
			Kind: patchbay.OpUpdate,
			Steps: []saga.Step{
				makePlan(func(op *saga.Op) string { return known(op).UID }),
				step("rule", saga.Compensatable, saga.OnNetwork,
					func(op *saga.Op) []byte { w.open(rule(known(op).UID, next(op))); return nil },
					func(op *saga.Op) { w.close(rule(known(op).UID, next(op))) },
					func(op *saga.Op) string { return rule(known(op).UID, next(op)) }),
				step("principal", saga.Compensatable, saga.OnTarget,
					func(op *saga.Op) []byte { w.ensure(role(known(op).UID, next(op)), plan(op).Password); return nil },
					func(op *saga.Op) { w.remove(role(known(op).UID, next(op))) },
					func(op *saga.Op) string { return role(known(op).UID, next(op)) }),
				settings(next),
				restart,
				step("revoke", retriable, saga.OnTarget,
					func(op *saga.Op) []byte { w.remove(role(known(op).UID, known(op).Gen)); return nil }, nil,
					func(op *saga.Op) string { return role(known(op).UID, known(op).Gen) }),
				step("close", retriable, saga.OnNetwork,
					func(op *saga.Op) []byte { w.close(rule(known(op).UID, known(op).Gen)); return nil }, nil,
					func(op *saga.Op) string { return rule(known(op).UID, known(op).Gen) }),
			},
			Finish: finish(func(op *saga.Op) saga.Commit {
				m := known(op)
				return saga.Commit{PutConnection: put(op, patchbay.Succeeded, memory{m.UID, m.Gen + 1, m.Replaced, values(m.UID, m.Gen+1)})}
			}, func(op *saga.Op) saga.Commit {
				return saga.Commit{PutConnection: put(op, patchbay.Succeeded, known(op))}
			}),
		},
		{
			Kind: patchbay.OpDelete,
			Steps: []saga.Step{
				makePlan(func(op *saga.Op) string { return known(op).UID }),
				step("settings", saga.Compensatable, saga.OnSource,
					func(op *saga.Op) []byte { w.set(known(op).Replaced); return nil },
					func(op *saga.Op) { w.set(plan(op).Before); w.restart() }, nil),
				restart,
				step("revoke", retriable, saga.OnTarget,
					func(op *saga.Op) []byte { w.remove(role(known(op).UID, known(op).Gen)); return nil }, nil,
					func(op *saga.Op) string { return role(known(op).UID, known(op).Gen) }),
				step("close", retriable, saga.OnNetwork,
					func(op *saga.Op) []byte { w.close(rule(known(op).UID, known(op).Gen)); return nil }, nil,
					func(op *saga.Op) string { return rule(known(op).UID, known(op).Gen) }),
			},
			Finish: finish(func(op *saga.Op) saga.Commit {
				return saga.Commit{DeleteConnection: op.Connection}
			}, func(op *saga.Op) saga.Commit {
				return saga.Commit{PutConnection: put(op, patchbay.Succeeded, known(op))}
			}),
		},
	}
}

// names are the steps of a workflow, in order.
func names(w saga.Workflow) (plan []string) {
	for _, s := range w.Steps {
		plan = append(plan, s.Name)
	}
	return plan
}

// marks are the objects of the world that bear our mark.
func (w *world) marks() (marks []string) {
	for name := range w.principals {
		marks = append(marks, name)
	}
	for name := range w.rules {
		marks = append(marks, name)
	}
	marks = slices.DeleteFunc(marks, func(m string) bool { return !strings.HasPrefix(m, "pb_") })
	slices.Sort(marks)
	return marks
}
