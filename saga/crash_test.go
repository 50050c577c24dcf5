package saga_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/storetest"
)

// mode is what happens at one instant of a simulation.
type mode int

const (
	dieBefore mode = iota // the process is gone before the effect or commit
	dieAfter              // and after it, before anybody hears of it
	lostAck               // the commit is durable, and its answer is an error
	failed                // the commit is not, and its answer is an error
	lostReply             // as lostAck, and reading the row fails too
	cancel                // an operator cancels
	sweepNow              // the engine looks for what was forgotten
	modes
)

func (m mode) String() string {
	return [...]string{"die before", "die after", "lost ack", "failed commit", "lost reply", "cancel", "sweep"}[m]
}

type fault struct {
	at int // the number of the instant, over all lives
	mode
}

// class is how a step fails.
type class int

const (
	never           class = iota
	refuses               // always, before its effect
	refusesAfter          // always, after its effect
	refusesOnce           // the first time, after its effect
	refusesLater          // every time but the first
	stumbles              // transiently, once, after its effect
	stumblesTwice         // transiently, twice, after its effect
	stumblesForever       // transiently, before its effect, ten times
	panics                // the first time
	classes
	kills      // the process, before its effect
	killsAfter // and after it
)

func (c class) String() string {
	return [...]string{"never", "refuses", "refuses after the effect", "refuses once", "refuses later", "stumbles", "stumbles twice", "stumbles for ever", "panics",
		"", "kills", "kills after the effect"}[c]
}

// weak says which step fails, and how; step "*" is every step.
type weak struct {
	step string
	undo bool
	class
}

func (f fault) String() string { return fmt.Sprintf("%s %d", f.mode, f.at) }

func (w weak) String() string {
	if w.undo {
		return fmt.Sprintf("undo of %s %s", w.step, w.class)
	}
	return fmt.Sprintf("%s %s", w.step, w.class)
}

// mostKills is how often a step may end the process on its way forward and on
// its way back.
const mostKills = 6

// maxInstants is far above what the longest scenario takes: whoever gets there
// goes in circles.
const maxInstants = 500

type scenario struct {
	kinds  []patchbay.OperationKind // one operation each, submitted in this order on one source
	weak   []weak
	faults []fault
}

func (s scenario) String() string {
	return fmt.Sprintf("%v failing %v faults %v", s.kinds, s.weak, s.faults)
}

// bug changes what is between the engine and its store, or the workflows: a
// seeded mistake that the simulation has to notice.
type bug struct {
	name  string
	flaw  flaw
	store func(*simStore) saga.Store
	// deaths says that only deaths have to notice it: other faults meet what the
	// bug is seeded with before the bug.
	deaths bool
}

// sim runs one scenario.
type sim struct {
	scenario
	bug   *bug
	store saga.Store // under the life's own wrapper: the memory, or SQLite
	// restart, when there is one, gives the store as the next process finds it.
	restart func(saga.Store) saga.Store
	w       *world
	at      int // instants so far
	fired   int // faults that came to happen
	calls   map[string]int
	life    *saga.Sequence
	in      map[string]bool // operations with an attempt in flight
	wrong   []string
	// deaf makes the next read of the journal fail.
	deaf     bool
	canceled map[string]bool
}

func (s *sim) complain(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf("instant %d: ", s.at)+fmt.Sprintf(format, args...))
}

// instant is one effect or commit, with what the scenario has in store for it.
func (s *sim) instant(commit bool, do func() error) error {
	n := s.at
	s.at++
	if s.at > maxInstants {
		s.complain("it goes in circles")
		runtime.Goexit()
	}
	m := mode(-1)
	for _, f := range s.faults {
		if f.at == n {
			m = f.mode
		}
	}
	if m >= 0 && (commit || m == dieBefore || m == dieAfter || m == cancel || m == sweepNow) {
		s.fired++
	}
	lost := errors.New("the connection was lost")
	switch m {
	case dieBefore:
		runtime.Goexit()
	case failed:
		if commit {
			return lost
		}
	case cancel:
		for i, kind := range s.kinds {
			op, err := s.life.Cancel(context.Background(), id(i, kind))
			if err == nil && !op.State.Ended() {
				s.canceled[id(i, kind)] = true
			}
		}
	case sweepNow:
		s.life.Sweep(context.Background())
		s.life.Drain()
	}
	err := do()
	switch m {
	case dieAfter:
		runtime.Goexit()
	case lostAck:
		if commit {
			return lost
		}
	case lostReply:
		if commit {
			s.deaf = true
			return lost
		}
	}
	return err
}

// simStore is the store as one life of the engine sees it.
type simStore struct {
	saga.Store
	s *sim
}

func (d *simStore) Submit(ctx context.Context, life saga.Life, sub saga.Submission, limits saga.Limits, now time.Time) (op saga.Op, fresh bool, err error) {
	err = d.s.instant(true, func() (err error) {
		op, fresh, err = d.Store.Submit(ctx, life, sub, limits, now)
		return err
	})
	return op, fresh, err
}

func (d *simStore) Advance(ctx context.Context, life saga.Life, a saga.Advance) (promoted string, err error) {
	err = d.s.instant(true, func() (err error) {
		promoted, err = d.Store.Advance(ctx, life, a)
		return err
	})
	if err != nil {
		return "", err
	}
	return promoted, nil
}

func (d *simStore) Load(ctx context.Context, id string) (saga.Op, error) {
	if d.s.deaf {
		d.s.deaf = false
		return saga.Op{}, errors.New("the connection is still lost")
	}
	return d.Store.Load(ctx, id)
}

func id(i int, kind patchbay.OperationKind) string { return fmt.Sprintf("%s-%d", kind, i) }

// errKills stands for the end of the process after an effect.
var errKills = errors.New("the process has ended")

func linkerOf(i int) patchbay.ID { return simLinker + patchbay.ID(fmt.Sprint(i)) }

// before is called when an attempt of a step begins.
func (s *sim) before(op *saga.Op, step string, undo bool) (now, after error) {
	key := fmt.Sprint(op.ID, step, undo)
	if len(s.w.log) == 0 || s.w.log[len(s.w.log)-1] != op.ID {
		s.w.log = append(s.w.log, op.ID)
	}
	for _, w := range s.weak {
		if w.step != step && w.step != "*" || w.undo != undo {
			continue
		}
		s.calls[key]++
		n := s.calls[key]
		refusal := patchbay.Errorf(patchbay.AdminRights, "%s refuses", step)
		stumble := patchbay.Errorf(patchbay.Timeout, "%s stumbles", step).AsTransient()
		switch {
		case w.class == refuses, w.class == refusesLater && n > 1:
			return refusal, nil
		case w.class == refusesAfter, w.class == refusesOnce && n == 1:
			return nil, refusal
		case w.class == stumbles && n == 1, w.class == stumblesTwice && n <= 2:
			return nil, stumble
		case w.class == stumblesForever && n <= 10:
			return stumble, nil
		case w.class == panics && n == 1:
			panic("the step's own mistake")
		case w.class == kills, w.class == killsAfter:
			if n > 3 {
				s.complain("%s of %s is run after it has ended the process three times", step, op.ID)
			}
			if w.class == kills {
				runtime.Goexit()
			}
			return nil, errKills
		}
	}
	return nil, nil
}

func (s *sim) event(_ string, effect func()) {
	_ = s.instant(false, func() error {
		effect()
		if g := s.w.gap(); g != "" {
			s.complain("%s", g)
		}
		return nil
	})
}

// guarded notes that an operation's attempts don't overlap.
func (s *sim) guarded(wfs []saga.Workflow) []saga.Workflow {
	for i := range wfs {
		for j := range wfs[i].Steps {
			do, undo := wfs[i].Steps[j].Do, wfs[i].Steps[j].Undo
			enter := func(op *saga.Op) func() {
				if s.in[op.ID] {
					s.complain("two attempts of %s at a time", op.ID)
				}
				s.in[op.ID] = true
				return func() { delete(s.in, op.ID) }
			}
			wfs[i].Steps[j].Do = func(ctx context.Context, op *saga.Op) ([]byte, error) {
				defer enter(op)()
				return do(ctx, op)
			}
			if undo != nil {
				wfs[i].Steps[j].Undo = func(ctx context.Context, op *saga.Op) error {
					defer enter(op)()
					return undo(ctx, op)
				}
			}
		}
	}
	return wfs
}

// submission is the i-th operation of the scenario.
func (s *sim) submission(i int, wfs []saga.Workflow) saga.Submission {
	kind := s.kinds[i]
	sub := saga.Submission{ID: id(i, kind), RequestHash: []byte("h"), Kind: kind, Connection: linkerOf(i), Source: simSource}
	for _, w := range wfs {
		if w.Kind == kind {
			sub.Plan = names(w)
		}
	}
	begin := &patchbay.Connection{ID: linkerOf(i), Source: simSource, State: patchbay.Accepted, ETag: "begun"}
	if kind != patchbay.OpCreate {
		m := encode(existing)
		sub.Input, begin.Sealed = m, m
	}
	sub.Begin.PutConnection = begin
	return sub
}

// existing is what an update or a delete finds.
var existing = memory{UID: "u0", Gen: 1, Replaced: newWorld().capture(), Values: values("u0", 1)}

func newSim(sc scenario, b *bug, store saga.Store) *sim {
	s := &sim{scenario: sc, bug: b, store: store, w: newWorld(), calls: map[string]int{}, canceled: map[string]bool{}}
	if sc.kinds[0] != patchbay.OpCreate {
		maps.Copy(s.w.settings, existing.Values)
		s.w.app = maps.Clone(s.w.settings)
		s.w.principals[role("u0", 1)] = principal{"p0", true}
		s.w.rules[rule("u0", 1)] = true
	}
	s.w.event = s.event
	return s
}

// live is one process from its start until it dies or has nothing left to do.
func (s *sim) live() (died bool) {
	died = true
	ended := make(chan struct{})
	s.in = map[string]bool{}
	var life saga.Life
	go func() {
		defer close(ended)
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		var under saga.Store = &simStore{s.store, s}
		f := flaw{}
		if s.bug != nil {
			f = s.bug.flaw
			if s.bug.store != nil {
				under = s.bug.store(under.(*simStore))
			}
		}
		wfs := s.guarded(s.w.workflows(s.before, f))
		e, err := saga.New(under, wfs, saga.Options{LeaseTTL: time.Hour})
		if err != nil {
			s.complain("%v", err)
			return
		}
		life = saga.LifeOf(e)
		s.life = saga.Sequential(ctx, e)
		s.life.Begin(ctx)
		s.life.Sweep(ctx)
		for i := range s.kinds {
			if _, err := s.store.Load(ctx, id(i, s.kinds[i])); err != nil {
				_, _ = e.Submit(ctx, s.submission(i, wfs)) // an error is the client's; it asks again when nothing was accepted
				if _, err := s.store.Load(ctx, id(i, s.kinds[i])); err != nil {
					_, _ = e.Submit(ctx, s.submission(i, wfs))
				}
			}
		}
		for range 20 {
			n := s.life.Drain()
			s.life.Sweep(ctx)
			if n+s.life.Drain() == 0 {
				break
			}
		}
		died = false
	}()
	<-ended
	if !died {
		_ = s.store.Release(context.Background(), life, false)
	} else if lapsing, ok := s.store.(interface{ Lapse(saga.Life) }); ok {
		lapsing.Lapse(life)
	}
	return died
}

// run runs the scenario to its end and says what was wrong.
func (s *sim) run() []string {
	for range len(s.faults) + 1 + mostKills {
		died := s.live()
		if s.restart != nil {
			s.store = s.restart(s.store)
		}
		if !died {
			break
		}
	}
	s.verify()
	return s.wrong
}

// verify compares the world with what it should be after these outcomes.
func (s *sim) verify() {
	ctx := context.Background()
	records := s.store.(storetest.Store)
	want := newWorld()
	var expect []string
	if s.kinds[0] != patchbay.OpCreate {
		maps.Copy(want.settings, existing.Values)
		expect = []string{role("u0", 1), rule("u0", 1)}
	}
	for i, kind := range s.kinds {
		op, err := records.Load(ctx, id(i, kind))
		if err != nil {
			s.complain("%s is lost: %v", id(i, kind), err)
			return
		}
		if !op.State.Ended() {
			s.complain("%s does not end: %s at step %d, attempt %d of %q", op.ID, op.State, op.Step, op.Attempt, op.Owner)
			return
		}
		if why := s.outcome(op); why != "" {
			s.complain("%s is %s, but %s", op.ID, op.State, why)
		}
		if op.Sealed != nil || op.Outputs != nil || op.Attention {
			s.complain("%s keeps what only its steps needed", op.ID)
		}
		c, err := records.Connection(ctx, op.Connection)
		done := op.State == patchbay.Done
		if gone := kind == patchbay.OpDelete && done; gone != (err != nil) {
			s.complain("the record after %s %s: %v", kind, op.State, err)
			return
		}
		state := patchbay.Succeeded
		if kind == patchbay.OpCreate && !done {
			state = patchbay.Failed
		}
		if err == nil && (c.State != state || c.Operation != op.ID) {
			s.complain("the record after %s %s is %s of %q", kind, op.State, c.State, c.Operation)
			return
		}
		switch {
		case !done:
		case kind == patchbay.OpDelete:
			expect = nil
			want = newWorld()
		default:
			m := decode[memory](c.Sealed)
			if kind == patchbay.OpUpdate {
				expect = nil
			}
			expect = append(expect, role(m.UID, m.Gen), rule(m.UID, m.Gen))
			maps.Copy(want.settings, m.Values)
		}
	}
	if !maps.Equal(s.w.settings, want.settings) {
		s.complain("the source has %v, want %v", s.w.settings, want.settings)
	}
	if !maps.Equal(s.w.app, s.w.settings) {
		s.complain("the application has %v, its source %v", s.w.app, s.w.settings)
	}
	leftovers, _, err := records.Leftovers(ctx, "", 0)
	if err != nil {
		s.complain("%v", err)
	}
	tracked := map[string]bool{}
	for _, l := range leftovers {
		tracked[l.What] = true
	}
	for _, m := range expect {
		if tracked[m] {
			s.complain("%s is in use and a leftover", m)
		}
	}
	marks := slices.DeleteFunc(s.w.marks(), func(m string) bool { return tracked[m] })
	slices.Sort(expect)
	if !slices.Equal(marks, expect) {
		s.complain("marked: %v, want %v; leftovers %v", marks, expect, tracked)
	}
	for _, m := range expect {
		if strings.Contains(m, "_g") && !s.w.principals[m].granted {
			s.complain("%s has no rights", m)
		}
	}
	if s.w.principals["admin"] != (principal{"root", true}) || !s.w.rules["ssh"] {
		s.complain("what is not ours was touched")
	}
	if log := slices.Compact(slices.Clone(s.w.log)); len(log) > len(s.kinds) {
		s.complain("operations of one source interleave: %v", log)
	}
}

// outcome says why the operation could not end as it did, "" when it could.
func (s *sim) outcome(op saga.Op) string {
	// Whether a step on the way forward fails for good.
	sure, perhaps := false, false
	for _, w := range s.weak {
		if w.undo {
			continue
		}
		behind := op.Kind != patchbay.OpCreate && (w.step == "revoke" || w.step == "close")
		switch {
		case behind || !slices.Contains(op.Plan, w.step) && w.step != "*":
		case w.class == refuses, w.class == refusesAfter, w.class == kills, w.class == killsAfter:
			sure = true
		case w.class == stumblesForever: // attempts are counted over crashes
			sure = true
		case w.class == refusesOnce, w.class == refusesLater, w.class == panics:
			perhaps = true
		}
	}
	ends := func(w weak) bool { return w.class == kills || w.class == killsAfter }
	ended := func(r patchbay.StepRun) bool { return r.Error != nil && r.Error.Code == patchbay.StepEndsProcess }
	switch {
	case !slices.ContainsFunc(s.weak, ends) && slices.ContainsFunc(op.Trail, ended):
		return "no step of it ends the process"
	case op.State == patchbay.Abandoned:
		return "nobody abandoned it"
	case sure && op.State == patchbay.Done:
		return "a step of it refuses"
	case s.canceled[op.ID] && op.State == patchbay.Done:
		return "its cancel was accepted"
	case op.State == patchbay.Undone && !sure && !perhaps && !s.canceled[op.ID] && !op.Cancel:
		return "no step of it refuses: " + op.Error.Error()
	}
	return ""
}

// configurations are all the ways in which one operation's steps may fail.
func configurations(kind patchbay.OperationKind) (all [][]weak) {
	var plan, undos []string
	for _, w := range newWorld().workflows(nil, flaw{}) {
		if w.Kind != kind {
			continue
		}
		plan = names(w)
		for _, s := range w.Steps {
			if s.Undo != nil {
				undos = append(undos, s.Name)
			}
		}
	}
	all = append(all, nil, []weak{{"*", false, stumblesTwice}}, []weak{{"*", false, stumbles}})
	for _, step := range plan {
		for c := refuses; c < classes; c++ {
			all = append(all, []weak{{step, false, c}})
		}
		for _, undo := range undos {
			if slices.Index(plan, undo) > slices.Index(plan, step) {
				continue
			}
			for _, c := range []class{refusesOnce, stumbles, stumblesForever, refuses} {
				if c == refuses && undo == "settings" {
					continue // a source that refuses for ever is never done with
				}
				all = append(all, []weak{{step, false, refusesAfter}, {undo, true, c}})
			}
		}
	}
	return all
}

// explore runs a configuration with every fault and, behind each of the modes
// in twice, with a death at every later instant. (A death after an instant
// leaves what a death before the next one leaves, so the second needs only
// one.) judge gets what was wrong with each scenario, and says whether to go on.
func explore(kinds []patchbay.OperationKind, w []weak, twice []mode, run func(scenario) *sim, judge func(scenario, []string) bool) {
	try := func(faults ...fault) (instants int, all, goOn bool) {
		sc := scenario{kinds, w, faults}
		s := run(sc)
		wrong := s.run()
		if s.fired < len(faults) {
			return s.at, false, true // not another scenario: some fault did not come to happen
		}
		return s.at, true, judge(sc, wrong)
	}
	n, _, goOn := try()
	for i := 0; i < n && goOn; i++ {
		for m := range modes {
			var (
				last int
				all  bool
			)
			if last, all, goOn = try(fault{i, m}); !goOn {
				return
			}
			for j := i + 1; all && j < last && slices.Contains(twice, m); j++ {
				if _, _, goOn = try(fault{i, m}, fault{j, dieBefore}); !goOn {
					return
				}
			}
		}
	}
}

// twice says behind which faults a configuration is crashed again. All of them
// for all configurations are some million scenarios, a quarter of an hour: set
// PATCHBAY_EXHAUSTIVE for those.
func twice(kinds []patchbay.OperationKind, w []weak) []mode {
	if os.Getenv("PATCHBAY_EXHAUSTIVE") != "" {
		return []mode{dieBefore, dieAfter, lostAck, failed, lostReply, cancel, sweepNow}
	}
	if testing.Short() || len(kinds) > 1 && len(w) > 0 {
		return nil
	}
	for _, w := range w {
		switch {
		case !w.undo && w.class != refusesAfter && w.class != stumblesForever,
			w.undo && w.class != stumbles && w.class != stumblesForever:
			return nil
		}
	}
	if len(w) == 0 {
		return []mode{dieBefore, lostAck, lostReply, cancel}
	}
	return []mode{dieBefore}
}

// TestAStepThatEndsItsProcessIsGivenUp: each step and each undo ends the
// process whenever it is run, before or after its effect, and the process dies,
// loses answers and is canceled besides. It is run three times at most.
func TestAStepThatEndsItsProcessIsGivenUp(t *testing.T) {
	n := 0
	for _, kinds := range [][]patchbay.OperationKind{{patchbay.OpCreate}, {patchbay.OpUpdate}, {patchbay.OpDelete}, {patchbay.OpCreate, patchbay.OpCreate}} {
		var all [][]weak
		for _, w := range newWorld().workflows(nil, flaw{}) {
			if w.Kind != kinds[0] {
				continue
			}
			last := slices.IndexFunc(w.Steps, func(s saga.Step) bool { return s.Kind != saga.Compensatable })
			for _, step := range w.Steps {
				for _, c := range []class{kills, killsAfter} {
					all = append(all, []weak{{step.Name, false, c}})
					if step.Undo != nil && step.Where != saga.OnSource { // a source is never given up
						all = append(all, []weak{{w.Steps[last].Name, false, refuses}, {step.Name, true, c}})
					}
				}
			}
		}
		for _, w := range all {
			explore(kinds, w, nil, func(sc scenario) *sim { return newSim(sc, nil, storetest.NewMemory()) },
				func(sc scenario, wrong []string) bool {
					n++
					if len(wrong) > 0 {
						t.Errorf("%v:\n%s", sc, strings.Join(wrong, "\n"))
					}
					return len(wrong) == 0
				})
		}
	}
	fmt.Printf("crash simulation: %d scenarios with a step that ends the process\n", n)
}

// TestEveryCrashEndsInOneOfTwoWorlds stops the engine before and after every
// effect and every commit, loses answers, fails commits, cancels, and stops it
// again at every instant of the recovery, for each step that may fail and each
// undo that may, and compares what really happened with what the journal says.
func TestEveryCrashEndsInOneOfTwoWorlds(t *testing.T) {
	var once, again atomic.Int64
	t.Run("all", func(t *testing.T) {
		for _, kinds := range [][]patchbay.OperationKind{{patchbay.OpCreate}, {patchbay.OpUpdate}, {patchbay.OpDelete}, {patchbay.OpCreate, patchbay.OpCreate}} {
			t.Run(fmt.Sprint(kinds), func(t *testing.T) {
				t.Parallel()
				for i, w := range configurations(kinds[0]) {
					if testing.Short() && i%4 != 0 {
						continue // the race detector has enough of them
					}
					explore(kinds, w, twice(kinds, w), func(sc scenario) *sim { return newSim(sc, nil, storetest.NewMemory()) },
						func(sc scenario, wrong []string) bool {
							if len(sc.faults) == 2 {
								again.Add(1)
							} else {
								once.Add(1)
							}
							if len(wrong) > 0 {
								t.Errorf("%v:\n%s", sc, strings.Join(wrong, "\n"))
							}
							return len(wrong) == 0
						})
					if t.Failed() {
						return
					}
				}
			})
		}
	})
	fmt.Printf("crash simulation: %d scenarios, %d of them with a second crash\n", once.Load()+again.Load(), again.Load())
}
