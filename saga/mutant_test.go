package saga_test

import (
	"context"
	"errors"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/storetest"
)

// liar is a store that keeps something else than it is told, and so makes the
// engine above it one with a bug. Where the engine must act on the lie at once
// the answer is lost, and the engine reads the row.
type liar struct {
	*simStore
	advance func(l *liar, life saga.Life, a saga.Advance) (string, error)
	mine    func(l *liar, life saga.Life) (map[string]int64, error)
	claim   func(l *liar, life saga.Life, limit int) ([]saga.Orphan, error)
	// held are rows that were acknowledged and are in no store: they are gone
	// when the process is.
	held map[string]saga.Advance
}

func (l *liar) Advance(ctx context.Context, life saga.Life, a saga.Advance) (string, error) {
	if l.advance == nil {
		return l.simStore.Advance(ctx, life, a)
	}
	return l.advance(l, life, a)
}

func (l *liar) honest(life saga.Life, a saga.Advance) (string, error) {
	return l.simStore.Advance(context.Background(), life, a)
}

func (l *liar) Load(ctx context.Context, id string) (saga.Op, error) {
	if a, ok := l.held[id]; ok {
		op := a.Op.Clone()
		op.Version++
		return op, nil
	}
	return l.simStore.Load(ctx, id)
}

func (l *liar) Mine(ctx context.Context, life saga.Life) (map[string]int64, error) {
	if l.mine == nil {
		return l.simStore.Mine(ctx, life)
	}
	return l.mine(l, life)
}

func (l *liar) Claim(ctx context.Context, life saga.Life, limit int) ([]saga.Orphan, error) {
	if l.claim == nil {
		return l.simStore.Claim(ctx, life, limit)
	}
	return l.claim(l, life, limit)
}

// hold acknowledges a row without keeping it; a row that was held before is
// dropped, or kept now.
func (l *liar) hold(life saga.Life, a saga.Advance, keep bool) (string, error) {
	if old, ok := l.held[a.Op.ID]; ok {
		if a.Op.Version != old.Op.Version+1 {
			return "", saga.ErrStale
		}
		if !keep {
			a.Op.Version = old.Op.Version
		} else if err := l.keep(life, old); err != nil {
			return "", err
		}
	}
	l.held[a.Op.ID] = a
	return "", nil
}

// keep writes what was held, whether or not the answer is lost.
func (l *liar) keep(life saga.Life, old saga.Advance) error {
	_, err := l.honest(life, old)
	if err != nil {
		if op, loadErr := l.simStore.Load(context.Background(), old.Op.ID); loadErr == nil && op.Version == old.Op.Version+1 {
			return nil
		}
	}
	return err
}

// release writes the row, and what is held before it if that is to be kept.
func (l *liar) release(life saga.Life, a saga.Advance, keep bool) (string, error) {
	if old, ok := l.held[a.Op.ID]; ok {
		if !keep {
			a.Op.Version = old.Op.Version
		} else if err := l.keep(life, old); err != nil {
			return "", err
		}
		delete(l.held, a.Op.ID)
	}
	return l.honest(life, a)
}

var errNoAnswer = errors.New("no answer")

func lying(l liar) func(*simStore) saga.Store {
	return func(s *simStore) saga.Store {
		l := l
		l.simStore, l.held = s, map[string]saga.Advance{}
		return &l
	}
}

// bugs are mistakes that somebody could make in the engine, each of which the
// simulation must notice.
var bugs = []bug{
	{name: "undo begins with the step before the one that failed", store: lying(liar{
		advance: func(l *liar, life saga.Life, a saga.Advance) (string, error) {
			was, err := l.simStore.Load(context.Background(), a.Op.ID)
			if err != nil || was.State != patchbay.Running || a.Op.State != patchbay.Undoing || a.Op.Step == 0 {
				return l.honest(life, a)
			}
			a.Op.Step--
			if _, err := l.honest(life, a); err != nil {
				return "", err
			}
			return "", errNoAnswer
		},
	})},
	{name: "what a write replaces is captured by the write", flaw: flaw{captureLate: true}},
	{name: "the commit comes after the next effect", deaths: true, store: lying(liar{
		advance: func(l *liar, life saga.Life, a saga.Advance) (string, error) {
			if a.Op.State.Ended() {
				return l.release(life, a, true)
			}
			return l.hold(life, a, true)
		},
	})},
	{name: "the end and its records are two transactions", store: lying(liar{
		advance: func(l *liar, life saga.Life, a saga.Advance) (string, error) {
			if !a.Op.State.Ended() {
				return l.honest(life, a)
			}
			c := a.Commit
			a.Commit = saga.Commit{}
			promoted, err := l.honest(life, a)
			if err != nil {
				return "", err
			}
			a.Commit = c
			a.Op.Version++
			_, err = l.honest(life, a)
			return promoted, err
		},
	})},
	{name: "nobody looks for what this process forgot", store: lying(liar{
		mine: func(*liar, saga.Life) (map[string]int64, error) { return nil, nil },
	})},
	{name: "a claim includes the own life's operations", store: lying(liar{
		claim: func(l *liar, life saga.Life, limit int) ([]saga.Orphan, error) {
			orphans, err := l.simStore.Claim(context.Background(), life, limit)
			own, err2 := l.simStore.Mine(context.Background(), life)
			for id := range own {
				orphans = append(orphans, saga.Orphan{ID: id})
			}
			if len(own) > 0 {
				l.s.life.Forget() // and what it claims it drives, whether it does already or not
				l.claim = nil
			}
			return orphans, errors.Join(err, err2)
		},
	})},
	{name: "that it undoes is not persisted", store: lying(liar{
		advance: func(l *liar, life saga.Life, a saga.Advance) (string, error) {
			switch {
			case a.Op.State == patchbay.Undoing:
				return l.hold(life, a, false)
			case a.Op.State.Ended():
				return l.release(life, a, false)
			}
			return l.honest(life, a)
		},
	})},
	{name: "attempts go on counting at the next step", store: lying(liar{
		advance: func(l *liar, life saga.Life, a saga.Advance) (string, error) {
			was, err := l.simStore.Load(context.Background(), a.Op.ID)
			if err != nil || was.Step == a.Op.Step || a.Op.State.Ended() || was.Attempt == 0 {
				return l.honest(life, a)
			}
			a.Op.Attempt = was.Attempt
			if _, err := l.honest(life, a); err != nil {
				return "", err
			}
			return "", errNoAnswer
		},
	})},
	{name: "outputs are not journalled", store: lying(liar{
		advance: func(l *liar, life saga.Life, a saga.Advance) (string, error) {
			a.Op.Outputs = nil
			return l.honest(life, a)
		},
	})},
	{name: "what comes behind the pivot is undone like the rest", flaw: flaw{noPivot: true}},
	{name: "a failed step ends the operation without undoing the others", store: lying(liar{
		advance: func(l *liar, life saga.Life, a saga.Advance) (string, error) {
			if a.Op.State != patchbay.Undoing {
				return l.honest(life, a)
			}
			a.Op.State, a.Op.Ended, a.Op.Outputs, a.Op.Sealed = patchbay.Undone, a.Op.Updated, nil, nil
			if _, err := l.honest(life, a); err != nil {
				return "", err
			}
			return "", errNoAnswer
		},
	})},
}

// TestSeededBugsAreNoticed proves the simulation: each bug makes some scenario
// end in a wrong world.
func TestSeededBugsAreNoticed(t *testing.T) {
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			n, caught := 0, ""
		search:
			for _, kinds := range [][]patchbay.OperationKind{{patchbay.OpUpdate}, {patchbay.OpCreate}, {patchbay.OpDelete}, {patchbay.OpCreate, patchbay.OpCreate}} {
				for _, w := range configurations(kinds[0]) {
					explore(kinds, w, nil, func(sc scenario) *sim { return newSim(sc, &b, storetest.NewMemory()) },
						func(sc scenario, wrong []string) bool {
							n++
							for _, f := range sc.faults {
								if b.deaths && f.mode != dieBefore && f.mode != dieAfter {
									return true
								}
							}
							if len(wrong) > 0 {
								caught = sc.String() + ": " + wrong[0]
							}
							return caught == ""
						})
					if caught != "" {
						break search
					}
				}
			}
			if caught == "" {
				t.Fatalf("%d scenarios did not notice", n)
			}
			t.Logf("scenario %d: %s", n, caught)
		})
	}
}

// TestTheSimulationAcceptsAnHonestStore keeps the wrapper that the bugs are
// seeded with from being what is noticed.
func TestTheSimulationAcceptsAnHonestStore(t *testing.T) {
	b := bug{name: "none", store: lying(liar{})}
	for _, w := range configurations(patchbay.OpUpdate)[:8] {
		explore([]patchbay.OperationKind{patchbay.OpUpdate}, w, nil, func(sc scenario) *sim { return newSim(sc, &b, storetest.NewMemory()) },
			func(sc scenario, wrong []string) bool {
				if len(wrong) > 0 {
					t.Errorf("%v: %v", sc, wrong)
				}
				return len(wrong) == 0
			})
	}
}
