package saga

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/failpoint"
)

// parked is a step that became a leftover.
type parked struct{ step, leftover string }

// turn works out the row that follows from op and one attempt of the step that
// it is at. It has no effects.
type turn struct {
	e      *Engine
	w      *workflow
	now    time.Time
	op     Op // becomes the row
	a      attempt
	commit Commit
	parked []parked
}

// next is all of the saga's semantics: forward, back, repeated, parked, ended.
func (e *Engine) next(ctx context.Context, w *workflow, op *Op, a attempt) (Advance, []parked) {
	t := e.turn(w, op, a)
	if err := t.decide(ctx); err != nil {
		// The end could not be made. On the way forward, before the point of no
		// return, that is the step's failure; otherwise the step is repeated until
		// the end can be made.
		if op.State == patchbay.Running && a.err == nil && !w.behind(op) {
			a.err = err
			t = e.turn(w, op, a)
			err = t.decide(ctx)
		}
		if err != nil {
			t = e.turn(w, op, a)
			t.hold(err)
		}
	}
	t.op.Version++
	t.op.Updated = t.now
	t.op.Attention = !t.op.State.Ended() && t.givenUp()
	if t.op.Trial != Convicted {
		t.op.Trial = Untried // the attempt has ended
	}
	return Advance{Op: t.op, Commit: t.commit}, t.parked
}

func (e *Engine) turn(w *workflow, op *Op, a attempt) *turn {
	// The journal keeps wall time, in UTC, so that a row reads as it was written.
	a.started, a.ended = a.started.UTC().Round(0), a.ended.UTC().Round(0)
	return &turn{e: e, w: w, now: e.now(), op: op.Clone(), a: a}
}

func (t *turn) decide(ctx context.Context) error {
	switch {
	case t.op.Abandon:
		return t.abandon(ctx)
	case t.op.State == patchbay.Undoing:
		return t.back(ctx)
	case t.a.err == nil:
		return t.forward(ctx)
	}
	return t.failed(ctx)
}

// forward: the step succeeded.
func (t *turn) forward(ctx context.Context) error {
	t.op.Outputs = append(t.op.Outputs[:min(t.op.Step, len(t.op.Outputs))], make([][]byte, max(0, t.op.Step-len(t.op.Outputs)))...)
	t.op.Outputs = append(t.op.Outputs, t.a.output)
	t.trail(nil)
	if t.op.Cancel && !t.w.behind(&t.op) {
		return t.undo(ctx, canceled(t.op.ID), t.op.Step)
	}
	return t.step(ctx)
}

// step goes on to the next step, or ends.
func (t *turn) step(ctx context.Context) error {
	t.anew()
	t.op.Error = nil
	if t.op.Step+1 == len(t.op.Plan) {
		return t.end(ctx, patchbay.Done)
	}
	t.op.Step++
	return nil
}

// failed: the step failed on its way forward.
func (t *turn) failed(ctx context.Context) error {
	step := t.w.step(&t.op, t.op.Step)
	switch {
	case step == nil:
		t.hold(t.a.err) // whether it has to be undone can't be known here
		return nil
	case t.w.behind(&t.op):
		t.hold(t.a.err)
		if t.parks(step) && t.leave(step, t.a.err) {
			return t.step(ctx)
		}
		return nil
	case t.op.Cancel:
		if !errors.Is(t.a.err, errAsked) {
			t.trail(t.a.err)
		}
		return t.undo(ctx, canceled(t.op.ID), t.op.Step)
	case patchbay.IsTransient(t.a.err) && t.op.Attempt+1 < t.e.opts.MaxAttempts:
		t.hold(t.a.err)
		return nil
	}
	t.trail(t.a.err)
	return t.undo(ctx, patchbay.AsError(t.a.err), t.op.Step)
}

// undo turns back, for that reason, beginning with step i itself: it may have
// happened in part.
func (t *turn) undo(ctx context.Context, reason *patchbay.Error, i int) error {
	t.anew()
	t.op.State = patchbay.Undoing
	t.op.Reason, t.op.Error = reason, reason
	if i = t.w.lastToUndo(&t.op, i); i < 0 {
		return t.end(ctx, patchbay.Undone)
	}
	t.op.Step = i
	return nil
}

// back: the undo of a step succeeded or failed.
func (t *turn) back(ctx context.Context) error {
	if t.a.err == nil {
		t.trail(nil)
	} else {
		t.hold(t.a.err)
		step := t.w.step(&t.op, t.op.Step)
		if step == nil || !t.parks(step) || !t.leave(step, t.a.err) {
			return nil
		}
	}
	return t.undo(ctx, t.op.Reason, t.op.Step-1)
}

// givenUp reports whether the step has been tried as often as it is by itself.
func (t *turn) givenUp() bool {
	return t.op.Attempt >= t.e.opts.ParkAfter || t.op.Trial == Convicted
}

// anew forgets what is counted for a step in a direction.
func (t *turn) anew() { t.op.Attempt, t.op.Deaths, t.op.Trial = 0, 0, Untried }

// hold stays at the step, to repeat it.
func (t *turn) hold(err error) {
	t.op.Attempt++
	t.op.Error = patchbay.AsError(err)
}

// parks reports whether the step is to be parked, if it can be. What is on a
// source stays the operation's unless the step itself asks: a source in an unknown
// state must not be forgotten.
func (t *turn) parks(step *Step) bool {
	return Asked(t.a.err) || t.givenUp() && step.Where != OnSource
}

// leave makes a leftover of the step wherever it is.
func (t *turn) leave(step *Step, cause error) bool {
	if step.Park == nil {
		return false
	}
	l, err := guardPark(step, t.op.Clone(), cause)
	if err != nil {
		t.op.Error = patchbay.AsError(err)
		return false
	}
	// What Park leaves out follows from the operation; the id does not change
	// when the turn is worked out again.
	l.ID = orElse(l.ID, t.op.ID+"."+step.Name)
	l.Connection = orElse(l.Connection, t.op.Connection)
	l.Operation = orElse(l.Operation, t.op.ID)
	l.What = orElse(l.What, step.Name)
	l.Why = orElse(l.Why, patchbay.AsError(cause).Message)
	l.Attempts = orElse(l.Attempts, t.op.Attempt)
	l.Created = orElse(l.Created, t.now)
	l.NextTry = orElse(l.NextTry, t.now)
	t.commit.Leftovers = append(t.commit.Leftovers, l)
	t.parked = append(t.parked, parked{step.Name, l.ID})
	t.op.Trail = append(t.op.Trail, patchbay.StepRun{
		Name: step.Name, Undo: t.op.State == patchbay.Undoing, Started: t.a.started, Ended: t.a.ended,
		Attempts: t.op.Attempt, Parked: true, Error: patchbay.AsError(cause),
	})
	return true
}

func guardPark(step *Step, op Op, cause error) (l patchbay.Leftover, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = patchbay.Errorf(patchbay.Internal, "parking step %s panicked: %v", step.Name, p)
		}
	}()
	return step.Park(&op, cause)
}

// abandon ends the operation where it is. What it leaves behind is parked.
func (t *turn) abandon(ctx context.Context) error {
	cause := orElse(t.op.Error, canceled(t.op.ID))
	left := func(i int) {
		step := t.w.step(&t.op, i)
		if step == nil || t.op.State == patchbay.Undoing && step.Undo == nil || t.leave(step, cause) {
			return
		}
		t.op.Trail = append(t.op.Trail, patchbay.StepRun{
			Name: step.Name, Undo: t.op.State == patchbay.Undoing, Started: t.a.started, Ended: t.a.ended,
			Attempts: t.op.Attempt, Error: patchbay.Errorf(patchbay.Canceled, "abandoned; what it left is not tracked"),
		})
	}
	if t.w.behind(&t.op) {
		for i := t.op.Step; i < len(t.op.Plan); i++ {
			left(i)
		}
	} else {
		for i := t.op.Step; i >= 0; i-- {
			left(i)
		}
	}
	t.op.Error = cause
	return t.end(ctx, patchbay.Abandoned)
}

// end makes the end: what the records become, in the same transaction.
func (t *turn) end(ctx context.Context, outcome patchbay.OperationState) (err error) {
	t.anew()
	t.op.State, t.op.Ended = outcome, t.now
	if outcome == patchbay.Undone {
		t.op.Error = t.op.Reason
	}
	if err := failpoint.Hit(ctx, fmt.Sprintf("%s/finish/before-commit", t.op.Kind)); err != nil {
		return err
	}
	if t.w.Finish != nil {
		leftovers := t.commit.Leftovers
		seen := t.op.Clone()
		if t.commit, err = t.finish(ctx, &seen, outcome); err != nil {
			return err
		}
		t.commit.Leftovers = append(leftovers, t.commit.Leftovers...)
	}
	t.op.Result = orElse(t.commit.Result, t.op.Result)
	t.op.Swept = orElse(t.commit.Swept, t.op.Swept)
	t.op.Message = orElse(t.commit.Message, t.op.Message)
	// What the steps needed is sealed, and is not needed any more.
	t.op.Outputs, t.op.Sealed = nil, nil
	return nil
}

func (t *turn) finish(ctx context.Context, op *Op, outcome patchbay.OperationState) (c Commit, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = patchbay.Errorf(patchbay.Internal, "the end of operation %s panicked: %v", op.ID, p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, t.e.opts.StepTimeout)
	defer cancel()
	return t.w.Finish(ctx, op, outcome)
}

// trail notes that the step has ended, in its direction.
func (t *turn) trail(err error) {
	t.op.Trail = append(slices.Clip(t.op.Trail), patchbay.StepRun{
		Name: t.op.Plan[t.op.Step], Undo: t.op.State == patchbay.Undoing,
		Started: t.a.started, Ended: t.a.ended, Attempts: t.op.Attempt + 1, Error: patchbay.AsError(err),
	})
}

func canceled(id string) *patchbay.Error {
	return &patchbay.Error{Code: patchbay.Canceled, Subject: id, Message: "it was canceled"}
}
