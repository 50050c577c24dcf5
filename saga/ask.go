package saga

import (
	"context"
	"errors"

	"patchbay.dev/patchbay"
)

// change is what becomes of a row; nil: nothing is to be done.
type change func(op Op) (*Advance, error)

// ask writes what an operator wants, and tells who drives the operation.
func (e *Engine) ask(ctx context.Context, id string, c change) (patchbay.Operation, error) {
	act, changed := patchbay.ActOf(ctx), false
	op, err := e.rewrite(ctx, id, func(op Op) (*Advance, error) {
		a, err := c(op)
		if a != nil {
			a.Asked, changed = &act, true
		}
		return a, err
	})
	if err == nil && changed {
		if op.State.Ended() {
			e.opts.Observer.OperationEnded(op.Kind, op.State, op.Ended.Sub(op.Created))
		}
		e.nudge(id, op.Cancel || op.Abandon)
	}
	return op.Operation, err
}

// rewrite writes a change over whatever else is written meanwhile.
func (e *Engine) rewrite(ctx context.Context, id string, c change) (Op, error) {
	for {
		op, err := e.store.Load(ctx, id)
		if err != nil {
			return Op{}, err
		}
		a, err := c(op.Clone())
		if err != nil || a == nil {
			return op, err
		}
		a.Op.Updated = e.now()
		_, err = e.store.Advance(ctx, e.life, *a)
		if errors.Is(err, ErrStale) {
			continue
		}
		if err != nil {
			return Op{}, err
		}
		a.Op.Version++
		e.watch.publish(a.Op.Operation)
		return a.Op, nil
	}
}

// nudge makes the drive of the operation look at its row again, at once if it
// is in this process; another's looks at its next sweep. interrupt ends the
// attempt in flight as well.
func (e *Engine) nudge(id string, interrupt bool) {
	e.mu.Lock()
	h := e.held[id]
	e.mu.Unlock()
	if h != nil {
		h.wake()
		if interrupt {
			h.stopAttempt(errAsked)
		}
	}
}

// Cancel makes the operation roll back; one that still waits ends at once. It
// is a Conflict when the operation has ended, or is past the point of no
// return. An operation that rolls back already is answered as it is.
func (e *Engine) Cancel(ctx context.Context, id string) (patchbay.Operation, error) {
	return e.ask(ctx, id, func(op Op) (*Advance, error) {
		w := e.workflows[op.Kind]
		switch {
		case op.State == patchbay.Undone && op.Cancel, op.State == patchbay.Undoing, op.State == patchbay.Running && op.Cancel:
			return nil, nil
		case op.State.Ended():
			return nil, ended(op, "canceled")
		case w == nil:
			return nil, unknownKind(op.Kind)
		case op.State == patchbay.Queued:
			op.Cancel = true
			t := e.turn(w, &op, attempt{})
			t.op.Reason = canceled(id)
			if err := t.end(ctx, patchbay.Undone); err != nil {
				return nil, err
			}
			return &Advance{Op: t.op, Commit: t.commit}, nil
		case w.behind(&op):
			return nil, &patchbay.Error{
				Code: patchbay.Conflict, Subject: id,
				Message: "operation " + id + " is past the point of no return (step " + op.Plan[op.Step] + "); it can only go forward",
			}
		}
		op.Cancel = true
		return &Advance{Op: op}, nil
	})
}

// Retry makes a step that waits for its next attempt try again at once, with
// its attempts counted anew. It is a Conflict when the operation has ended.
func (e *Engine) Retry(ctx context.Context, id string) (patchbay.Operation, error) {
	return e.ask(ctx, id, func(op Op) (*Advance, error) {
		switch {
		case op.State.Ended():
			return nil, ended(op, "retried")
		case op.State == patchbay.Queued || op.Attempt == 0 && op.Trial != Convicted:
			return nil, nil
		}
		op.Attempt, op.Attention = 0, false
		if op.Trial == Convicted {
			op.Deaths, op.Trial = suspect, Untried // it is tried, and not trusted
		}
		return &Advance{Op: op}, nil
	})
}

// Abandon gives up an operation that is on its way back or behind the point of
// no return: the steps that it leaves behind are parked as leftovers, and it
// ends Abandoned. It is a Conflict when the operation has ended, waits, or can
// still be canceled. The answer is the end, or, when a step in flight does not
// stop before ctx ends, the operation as it is by then.
func (e *Engine) Abandon(ctx context.Context, id string) (patchbay.Operation, error) {
	op, err := e.ask(ctx, id, func(op Op) (*Advance, error) {
		w := e.workflows[op.Kind]
		switch {
		case op.State == patchbay.Abandoned || op.Abandon:
			return nil, nil
		case op.State.Ended():
			return nil, ended(op, "abandoned")
		case w == nil:
			return nil, unknownKind(op.Kind)
		case op.State == patchbay.Queued,
			op.State == patchbay.Running && !w.behind(&op) && w.step(&op, op.Step) != nil:
			return nil, &patchbay.Error{
				Code: patchbay.Conflict, Subject: id,
				Message: "operation " + id + " can still be rolled back: cancel it instead",
			}
		}
		op.Abandon = true
		return &Advance{Op: op}, nil
	})
	for err == nil && !op.State.Ended() && ctx.Err() == nil {
		op, err = e.Wait(ctx, id, op.Version)
	}
	return op, err
}

func ended(op Op, what string) error {
	return &patchbay.Error{
		Code: patchbay.Conflict, Subject: op.ID,
		Message: "operation " + op.ID + " has ended (" + string(op.State) + ") and can't be " + what,
	}
}

func unknownKind(kind patchbay.OperationKind) error {
	return patchbay.Errorf(patchbay.NotSupported, "this release of Patchbay does not know operations of kind %s", kind)
}
