package connector

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// The steps of a sweep. They are stored in plans: never rename one.
const (
	stepRetry = "retry" // every leftover
	stepMarks = "marks" // on every resource, those that no connection owns
)

const (
	// sweepers is at how many resources sweeps are at once.
	sweepers = 32
	// maxSweep is how long each step of a sweep may take, whatever hangs.
	maxSweep = time.Hour
	// maxSwept is how many of what was removed, and of what is left, a sweep lists.
	maxSwept = 500
	// maxDeaths is how often the server may end while it tries a leftover, before
	// it does so only when it is asked to.
	maxDeaths = 3
)

// errWaits is the cause of a leftover that stays because of another.
var errWaits = errors.New("another leftover has to go first")

// sweepWorkflow is what an operator asks for. It has nothing to undo: what is
// removed was nobody's.
func (s *Service) sweepWorkflow() saga.Workflow {
	return saga.Workflow{Kind: patchbay.OpSweep, Finish: s.finishSweep, Steps: []saga.Step{
		{Name: stepRetry, Do: swept(s.retryAll), Timeout: maxSweep},
		{Name: stepMarks, Kind: saga.Pivot, Do: swept(s.sweepMarks), Timeout: maxSweep},
	}}
}

// swept is a step of a sweep, on behalf of who asked for it.
func swept(do func(context.Context, *saga.Op) (patchbay.Sweep, error)) func(context.Context, *saga.Op) ([]byte, error) {
	return func(ctx context.Context, op *saga.Op) ([]byte, error) {
		if op.Act != nil {
			ctx = patchbay.WithAct(ctx, *op.Act)
		}
		result, err := do(ctx, op)
		if err != nil {
			return nil, err
		}
		return json.Marshal(result)
	}
}

// Sweep implements [API].
func (s *Service) Sweep(ctx context.Context, caller Caller) (patchbay.Operation, error) {
	act := patchbay.ActOf(ctx)
	if act.Action == "" { // nobody's request: a caller in this process
		act.Caller, act.Action = caller.Name, string(patchbay.OpSweep)
	}
	for {
		op, err := s.engine.Submit(ctx, saga.Submission{
			ID: uuid.NewString(), RequestHash: []byte(patchbay.OpSweep), Kind: patchbay.OpSweep,
			Connection: patchbay.AllLeftovers, Source: patchbay.AllLeftovers,
			Plan: []string{stepRetry, stepMarks}, Input: []byte(s.life), By: caller.Name, Act: act,
		})
		if patchbay.CodeOf(err) != patchbay.OperationInProgress {
			return op, err
		}
		op, err = s.records.Operation(ctx, patchbay.AsError(err).Subject)
		if err != nil || !op.State.Ended() {
			return op, err
		}
	}
}

// finishSweep says what the sweep did, also when it did not come to its end.
func (s *Service) finishSweep(_ context.Context, op *saga.Op, outcome patchbay.OperationState) (saga.Commit, error) {
	all := patchbay.Sweep{Removed: []patchbay.Leftover{}, Left: []patchbay.Leftover{}}
	for _, step := range op.Plan {
		if output := op.Output(step); output != nil {
			var part patchbay.Sweep
			if err := json.Unmarshal(output, &part); err != nil {
				return saga.Commit{}, patchbay.Errorf(patchbay.Internal, "the output of step %s is not what this version wrote: %w", step, err)
			}
			all.Removed, all.MoreRemoved = first(append(all.Removed, part.Removed...), all.MoreRemoved+part.MoreRemoved)
			all.Left, all.MoreLeft = first(append(all.Left, part.Left...), all.MoreLeft+part.MoreLeft)
		}
	}
	c := saga.Commit{Swept: &all}
	switch {
	case outcome != patchbay.Done:
		c.Message = "what it had removed by then is gone; the audit log has all of it"
	case string(op.Input) != s.life:
		c.Message = "the server was restarted meanwhile; what it had removed before, the audit log has"
	}
	return c, nil
}

// first are those that a sweep lists, and how many more there are.
func first(all []patchbay.Leftover, more int) ([]patchbay.Leftover, int) {
	n := min(len(all), maxSwept)
	return all[:n:n], more + len(all) - n
}

// sweep is one in progress, at many resources at once.
type sweep struct {
	*Service
	asked bool // somebody asked for it: everything is tried, due or not
	// careful leaves alone what may be why the server died in this sweep.
	careful bool

	mu      sync.Mutex
	removed []patchbay.Leftover
	left    map[string]patchbay.Leftover // by id and resource
	waiting map[string]patchbay.ID       // for another leftover; by id, where they are
}

func (w *sweep) goes(l patchbay.Leftover) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.left, placed(l))
	w.removed = append(w.removed, l)
}

func (w *sweep) stays(l patchbay.Leftover) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left == nil {
		w.left = map[string]patchbay.Leftover{}
	}
	w.left[placed(l)] = l
}

// awaits notes what is tried again as soon as what it waits for is gone.
func (w *sweep) awaits(l patchbay.Leftover, cause error) {
	if errors.Is(cause, errWaits) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waiting[l.ID] = l.Resource
	}
}

// placed tells apart what two targets say of one login.
func placed(l patchbay.Leftover) string { return l.ID + " " + l.Resource.Key() }

func (w *sweep) result() (r patchbay.Sweep) {
	byID := func(a, b patchbay.Leftover) int { return cmp.Compare(a.ID, b.ID) }
	r.Removed, r.MoreRemoved = first(slices.SortedFunc(slices.Values(w.removed), byID), 0)
	r.Left, r.MoreLeft = first(slices.SortedFunc(maps.Values(w.left), byID), 0)
	return r
}

// everywhere does work at each of the resources, one at a time at each. When
// somebody is there already, it waits if it was asked for, and passes by if not.
func (w *sweep) everywhere(ctx context.Context, resources []patchbay.ID, work func(context.Context, patchbay.ID) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, id := range resources {
		g.Go(func() error {
			leave, err := w.turns.take(ctx, id.Key(), w.asked)
			if leave == nil {
				return err
			}
			defer leave()
			leavePlace, err := w.places.Acquire(ctx, w.share(ctx, id, id, "")...)
			if err != nil {
				return err
			}
			defer leavePlace()
			return work(ctx, id)
		})
	}
	return g.Wait()
}

// turns lets one at a time be at a resource.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // closed when it is free
}

// take waits for the turn, or gives no way to leave when somebody else has it.
func (t *turns) take(ctx context.Context, key string, waits bool) (leave func(), err error) {
	for {
		t.mu.Lock()
		busy, ok := t.taken[key]
		if !ok {
			if t.taken == nil {
				t.taken = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			t.taken[key] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.taken, key)
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		if !waits {
			return nil, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// retryAll is the step that tries every leftover.
func (s *Service) retryAll(ctx context.Context, op *saga.Op) (patchbay.Sweep, error) {
	w := &sweep{Service: s, asked: true, careful: op.Deaths > 0}
	err := w.leftovers(ctx)
	return w.result(), err
}

// sweepLeftovers tries those that are due, or all.
func (s *Service) sweepLeftovers(ctx context.Context, all bool) (patchbay.Sweep, error) {
	w := &sweep{Service: s, asked: all}
	err := w.leftovers(ctx)
	return w.result(), err
}

func (w *sweep) leftovers(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !w.asked {
		return w.try(ctx, func(l patchbay.Leftover) bool { return !feared(l) && !w.now().Before(l.NextTry) })
	}
	if err := w.try(ctx, func(l patchbay.Leftover) bool { return !feared(l) && (!w.careful || l.Deaths == 0) }); err != nil {
		return err
	}
	if !w.careful {
		// The others are done with, should it end the server again.
		if err := w.try(ctx, feared); err != nil {
			return err
		}
	}
	return w.stillLeft(ctx)
}

func feared(l patchbay.Leftover) bool { return l.Deaths >= maxDeaths }

// try tries those that are meant. When somebody asked for it, what waited for
// another leftover of its operation is tried again once that is gone.
func (w *sweep) try(ctx context.Context, meant func(patchbay.Leftover) bool) error {
	at := map[string]patchbay.ID{}
	err := w.eachLeftover(ctx, func(l patchbay.Leftover) error {
		if l.Trying || w.careful || meant(l) {
			at[l.Resource.Key()] = l.Resource
		}
		return nil
	})
	for err == nil && len(at) > 0 {
		before := len(w.removed)
		w.waiting = map[string]patchbay.ID{}
		err = w.everywhere(ctx, slices.Collect(maps.Values(at)), func(ctx context.Context, id patchbay.ID) error {
			return w.tryAt(ctx, id, meant)
		})
		again := w.waiting
		if !w.asked || len(w.removed) == before {
			break
		}
		clear(at)
		for _, resource := range again {
			at[resource.Key()] = resource
		}
		meant = func(l patchbay.Leftover) bool { return again[l.ID] != "" }
	}
	return err
}

// stillLeft strikes from what is left that which is not any more: somebody forgot
// it, or the restart for one was that for another.
func (w *sweep) stillLeft(ctx context.Context) error {
	for key, l := range w.left {
		_, err := w.records.Leftover(ctx, l.ID)
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			delete(w.left, key)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// tryAt tries those at one resource, one after the other: of a subscription that
// it keeps waiting, the first.
func (w *sweep) tryAt(ctx context.Context, resource patchbay.ID, meant func(patchbay.Leftover) bool) error {
	all, err := w.records.LeftoversAt(ctx, resource)
	if err != nil {
		return err
	}
	waited := map[string]bool{}
	for _, l := range all {
		if l.Trying { // and we have the turn: the process that tried it is dead
			l.Trying, l.Deaths = false, l.Deaths+1
			if feared(l) {
				l.Why = patchbay.Errorf(patchbay.StepEndsProcess,
					"the server ended %d times while it tried to remove this, and tries again only when it is asked to (patchbay leftovers --sweep)", l.Deaths).Error()
			}
			if err := unlessForgotten(w.records.UpdateLeftover(ctx, l)); err != nil {
				return err
			}
		}
		whose := strings.ToLower(l.Connection.Subscription())
		switch {
		case !meant(l) && w.careful:
			w.stays(l)
		case !meant(l):
		case waited[whose] && w.asked:
			w.stays(l)
		case !waited[whose]:
			cause, err := w.retry(ctx, l)
			if err != nil {
				return err
			}
			waited[whose] = patchbay.IsTransient(cause) || patchbay.CodeOf(cause) == patchbay.Timeout
		}
	}
	return nil
}

// retry tries one, notes before that it does, and what came of it. One that
// somebody strikes off the list meanwhile stays struck off. cause is why it is
// still there.
func (w *sweep) retry(ctx context.Context, l patchbay.Leftover) (cause, err error) {
	if l.Deaths >= maxDeaths-1 {
		// Of those that the next death is laid to, one at a time is tried.
		leave, err := w.suspects.Acquire(ctx, w.share(ctx, l.Resource, l.Resource, "")...)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	l.Trying = true
	if err := w.records.UpdateLeftover(ctx, l); err != nil {
		return nil, unlessForgotten(err)
	}
	cause = w.tryLeftover(ctx, l)
	note := context.WithoutCancel(ctx) // or a stop looks like a death
	l.Trying = false
	if w.asked {
		l.Deaths = 0
	}
	if cause == nil {
		w.goes(l)
		return nil, unlessForgotten(w.records.DeleteLeftover(note, l.ID))
	}
	stopped := ctx.Err()
	if stopped == nil {
		l.Attempts++
		l.Why, l.NextTry = patchbay.AsError(cause).Error(), w.now().UTC().Add(retryAfter(l.Attempts))
	}
	err = w.records.UpdateLeftover(note, l)
	if err == nil && stopped == nil {
		w.stays(l)
		w.awaits(l, cause)
	}
	return cause, cmp.Or(unlessForgotten(err), stopped)
}

// unlessForgotten passes over that a leftover is not on the list any more.
func unlessForgotten(err error) error {
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return nil
	}
	return err
}

// sweepMarks is the step that removes logins that bear our mark and that no
// record knows: what a lost database or a paused process may leave. Settings of
// that kind it only names: an application may read them, and their mark does not
// say whose Patchbay wrote them.
func (s *Service) sweepMarks(ctx context.Context, _ *saga.Op) (patchbay.Sweep, error) {
	var all []patchbay.ID
	err := s.eachResource(ctx, func(r patchbay.Resource) error {
		all = append(all, r.ID)
		return nil
	})
	if err != nil {
		return patchbay.Sweep{}, err
	}
	w := &sweep{Service: s, asked: true}
	err = w.everywhere(ctx, all, w.marksAt)
	return w.result(), err
}

// marksAt looks at one resource. What keeps it from that is a part of the result.
func (w *sweep) marksAt(ctx context.Context, id patchbay.ID) error {
	r, err := w.records.Resource(ctx, id)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return nil // it was removed meanwhile
	}
	if err != nil {
		return err
	}
	look := w.lookAtSource
	if _, ok := w.catalog.Targets[r.Driver]; ok {
		look = w.sweepTarget
	} else if _, ok := w.catalog.Networks[r.Driver]; ok {
		look = w.sweepGuard
	}
	err = look(ctx, r)
	if err != nil && ctx.Err() == nil {
		now := w.now().UTC()
		w.stays(patchbay.Leftover{
			ID: "sweep." + r.ID.Name(), Resource: r.ID, What: "not looked at",
			Why: patchbay.AsError(err).Error(), Created: now, NextTry: now,
		})
	}
	return ctx.Err()
}

// sweepTarget removes strays of one target. Its tenant is told of each before. A
// mark is the target's word: what it says of a connection is believed of one that
// has this target, and of one that is gone from the target's own subscription.
func (w *sweep) sweepTarget(ctx context.Context, r patchbay.Resource) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	act, err := w.seenBy(ctx, patchbay.ActOf(ctx), r.ID)
	if err != nil {
		return err
	}
	ctx = patchbay.WithAct(ctx, act)
	target, done, err := w.targetOf(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	owned, err := target.Owned(ctx)
	if err != nil {
		return err
	}
	strays, err := w.strays(ctx, owned)
	if err != nil {
		return err
	}
	for _, o := range strays {
		name := driver.Quoted(o.Name)
		l := patchbay.Leftover{
			ID: "stray." + name, Resource: r.ID, What: "principal " + name, Why: "no connection owns it", Created: w.now().UTC(),
		}
		if l.Connection, err = w.believed(ctx, o.Mark, r.ID); err != nil {
			return err
		}
		request := driver.LoginRequest{Mark: o.Mark, Name: o.Name, Sub: o.Sub}
		err = w.idle(ctx, r, target, request)
		if err == nil {
			err = w.tell(ctx, patchbay.AuditEntry{Resource: r.ID, Detail: l.What + ", which no connection owns"})
		}
		if err == nil {
			err = target.RemoveLogin(ctx, request)
		}
		if err != nil {
			l.Why = patchbay.AsError(err).Error()
			w.stays(l)
			continue
		}
		w.goes(l)
	}
	return nil
}

// sweepGuard removes openings that no connection owns, for each target that is behind
// the guard.
func (w *sweep) sweepGuard(ctx context.Context, r patchbay.Resource) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	act, err := w.seenBy(ctx, patchbay.ActOf(ctx), r.ID)
	if err != nil {
		return err
	}
	ctx = patchbay.WithAct(ctx, act)
	return w.eachResource(ctx, func(target patchbay.Resource) error {
		if !slices.ContainsFunc(target.Guards, r.ID.Equal) {
			return nil
		}
		guard, done, err := w.guardOf(ctx, r, target)
		if err != nil {
			return err
		}
		defer done()
		owned, err := guard.Owned(ctx)
		if err != nil {
			return err
		}
		for _, o := range owned {
			stray, err := w.isStray(ctx, o, r.ID)
			if err != nil {
				return err
			}
			if !stray {
				continue
			}
			name := driver.Quoted(o.Name)
			l := patchbay.Leftover{
				ID: "stray." + name, Resource: r.ID, What: "opening " + name, Why: "no connection owns it", Created: w.now().UTC(),
			}
			if l.Connection, err = w.believed(ctx, o.Mark, target.ID); err != nil {
				return err
			}
			err = w.tell(ctx, patchbay.AuditEntry{Resource: r.ID, Detail: l.What + ", which no connection owns"})
			if err == nil {
				err = guard.RemoveRule(ctx, driver.Rule{Mark: o.Mark, Name: o.Name, Sub: o.Sub})
			}
			if err != nil {
				l.Why = patchbay.AsError(err).Error()
				w.stays(l)
				continue
			}
			w.goes(l)
		}
		return nil
	})
}

// isStray reports whether an opening at a guard belongs to nothing: as strays.
func (s *Service) isStray(ctx context.Context, o driver.Owned, guard patchbay.ID) (bool, error) {
	c, err := s.records.Connection(ctx, o.Mark.Connection)
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		if known, err := s.knows(ctx, o.Mark.Connection.Subscription()); err != nil || !known {
			return false, err
		}
	case err != nil:
		return false, err
	default:
		if busy, err := s.busy(ctx, c); err != nil || busy {
			return false, err
		}
		// Read again: what was busy may have ended in between.
		if c, err = s.records.Connection(ctx, c.ID); err != nil {
			return false, err
		}
		held, err := s.openHolding(c)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(held.Openings, func(has opening) bool { return has.Rule.Name == o.Name && has.Guard.Equal(guard) }) {
			return false, nil
		}
	}
	left, err := s.records.LeftoversOf(ctx, o.Mark.Connection)
	return !slices.ContainsFunc(left, func(l patchbay.Leftover) bool { return l.Resource.Equal(guard) }), err
}

// tell puts a line into the audit log of what is about to be done, and writes no
// record.
func (s *Service) tell(ctx context.Context, e patchbay.AuditEntry) error {
	e.Time, e.Result = s.now().UTC(), patchbay.AuditSucceeded
	for _, line := range store.Lines(patchbay.ActOf(ctx), e) {
		if err := s.records.AppendAudit(ctx, line); err != nil {
			return patchbay.Errorf(patchbay.Internal, "the audit log can't be written: %w", err)
		}
	}
	return nil
}

// strays are those of what bears a mark that belong to nothing: the connection is
// gone or has another generation, no operation of it is under way, and no
// leftover waits for it. The leftovers are read after the connections: an
// operation that ends in between leaves its own before.
func (s *Service) strays(ctx context.Context, owned []driver.Owned) ([]driver.Owned, error) {
	var unowned []driver.Owned
	for _, o := range owned {
		is, err := s.unowned(ctx, o)
		if err != nil {
			return nil, err
		}
		if is {
			unowned = append(unowned, o)
		}
	}
	waiting := map[string]map[string]bool{} // by connection
	var strays []driver.Owned
	for _, o := range unowned {
		key := o.Mark.Connection.Key()
		if waiting[key] == nil {
			left, err := s.records.LeftoversOf(ctx, o.Mark.Connection)
			if err != nil {
				return nil, err
			}
			waiting[key] = map[string]bool{}
			for _, l := range left {
				waiting[key][l.What] = true
			}
		}
		if !waiting[key]["principal "+o.Name] {
			strays = append(strays, o)
		}
	}
	return strays, nil
}

// unowned reports whether no connection owns what bears the mark, and no
// operation is about to.
func (s *Service) unowned(ctx context.Context, o driver.Owned) (bool, error) {
	c, err := s.records.Connection(ctx, o.Mark.Connection)
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		// Another Patchbay may administer the same target: its connections are
		// below subscriptions that this one does not have.
		return s.knows(ctx, o.Mark.Connection.Subscription())
	case err != nil:
		return false, err
	case changing(c):
		return false, nil
	}
	return c.UID != o.Mark.UID || c.Login != o.Name, nil
}

func (s *Service) knows(ctx context.Context, subscription string) (bool, error) {
	sub, err := s.subscription(ctx, subscription)
	return sub.ID != "", err
}

// believed is the connection that a mark at a target names, "" when it can't be
// one of that target's.
func (s *Service) believed(ctx context.Context, m driver.Mark, target patchbay.ID) (patchbay.ID, error) {
	id, _ := patchbay.ParseID(string(m.Connection))
	if id == "" { // it names none: somebody else made it
		return "", nil
	}
	c, err := s.records.Connection(ctx, id)
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound && strings.EqualFold(id.Subscription(), target.Subscription()):
		return id, nil
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		return "", nil
	case err != nil:
		return "", err
	}
	held, err := s.openHolding(c)
	if err != nil || !held.Target.Equal(target) {
		return "", err
	}
	return c.ID, nil
}

// idle fails while a stray of a connection that is there has sessions: when the
// records are older than the world, it is what the application uses.
func (s *Service) idle(ctx context.Context, at patchbay.Resource, target *driver.GuardedTarget, r driver.LoginRequest) error {
	c, alive, err := s.lives(ctx, r.Mark.Connection, r.Mark.UID)
	if err != nil || !alive {
		return err
	}
	if logins := s.catalog.Targets[at.Driver].Logins; logins != nil && !logins.Sessions {
		return patchbay.Errorf(patchbay.StillInUse, "%s does not say who is signed in, so %s may be in use; %s should use %s, and when it does, this one can be removed by hand", at.ID.Name(), r.Name, application(c), c.Login)
	}
	// A driver looks for what was asked for, which a mark does not say: the connection's own
	// login is of the same kind.
	held, err := s.openHolding(c)
	if err != nil {
		return err
	}
	if held.Login != nil {
		asked := *held.Login
		asked.Mark, asked.Name, asked.Sub, asked.Credential = r.Mark, r.Name, r.Sub, driver.Credential{}
		r = asked
	}
	state, err := target.InspectLogin(ctx, r)
	if err != nil || state.Sessions == 0 {
		return err
	}
	return patchbay.Errorf(patchbay.StillInUse, "%s has %d open sessions, and %s should use %s", r.Name, state.Sessions, application(c), c.Login)
}

// lookAtSource lists settings that no connection owns.
func (w *sweep) lookAtSource(ctx context.Context, r patchbay.Resource) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	source, done, err := w.sourceIn(ctx, r, "")
	if err != nil {
		return err
	}
	defer done()
	owned, err := source.Owned(ctx)
	if err != nil {
		return absentIsSuccess(err)
	}
	now := w.now().UTC()
	seen := map[string]bool{}
	err = w.eachLeftoverAt(ctx, r.ID, func(l patchbay.Leftover) error {
		seen[l.Connection.Key()] = true // it is listed already
		return nil
	})
	if err != nil {
		return err
	}
	for _, o := range owned {
		_, alive, err := w.lives(ctx, o.Mark.Connection, o.Mark.UID)
		if err != nil {
			return err
		}
		if alive || seen[o.Mark.UID] || seen[o.Mark.Connection.Key()] {
			continue
		}
		seen[o.Mark.UID], seen[o.Mark.Connection.Key()] = true, true
		w.stays(patchbay.Leftover{
			ID: "stray." + o.Mark.UID, Connection: o.Mark.Connection, Resource: r.ID,
			What: whatSettings, Why: "no connection owns them; if no other Patchbay does, remove them by hand", Created: now, NextTry: now,
		})
	}
	return nil
}
