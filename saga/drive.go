package saga

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/failpoint"
)

// attempt is what one attempt of a step gave.
type attempt struct {
	output         []byte
	err            error
	started, ended time.Time
}

// drive runs one operation until it ends, another process has it, or the
// engine stops. The row that names a step is durable before the step begins,
// so that after a crash exactly one step is in doubt.
func (e *Engine) drive(ctx context.Context, h *hold, op *Op) {
	if op == nil {
		if op = e.reload(ctx, h); op == nil {
			return
		}
	}
	h.knows(op)
	rest := false // after an attempt that failed here; a restart tries at once
	for !op.State.Ended() && op.State != patchbay.Queued && op.Owner == e.life.ID {
		w := e.workflows[op.Kind]
		if w == nil {
			return // not claimed by us: a row of the past that names this life can't be
		}
		if held := heldBack(w, op); held || rest && op.Attempt > 0 {
			backoff := untilAsked
			if !held {
				backoff = e.opts.Backoff(op.Attempt)
			} else if h.once {
				return
			}
			if err := e.pause(ctx, h, backoff); err != nil {
				if errors.Is(err, errAsked) {
					if op = e.reload(ctx, h); op == nil {
						return
					}
					rest = false
					continue
				}
				return
			}
		}
		a := attempt{err: errAsked, started: e.opts.Clock(), ended: e.opts.Clock()}
		switch {
		case turnsBack(w, op):
		case op.Trial == Convicted:
			a.err = endsProcess(w, op)
		default:
			a, op = e.try(ctx, h, w, op)
			if stopped(a.err) || !e.leaseHolds() {
				return
			}
			if errors.Is(a.err, errAsked) {
				if op = e.reload(ctx, h); op == nil {
					return
				}
				if !turnsBack(w, op) {
					rest = false
					continue
				}
			}
		}
		if op = e.commit(ctx, h, w, op, a); op == nil || h.once {
			return
		}
		rest = true
	}
}

// turnsBack reports whether an operator's wish decides what comes next, without
// another attempt.
func turnsBack(w *workflow, op *Op) bool {
	return op.Abandon || op.Cancel && op.State == patchbay.Running && !w.behind(op)
}

// stopped reports whether an attempt ended because it must leave no trace: the
// lease is lost or the engine is stopping.
func stopped(err error) bool { return errors.Is(err, errStopping) || errors.Is(err, errLease) }

// try is an attempt of the step that op is at, as soon as there is a place for
// it and the journal says what it must. now is the row by then.
func (e *Engine) try(ctx context.Context, h *hold, w *workflow, op *Op) (a attempt, now *Op) {
	leave, err := e.enter(ctx, h, op)
	if err != nil {
		return attempt{err: err}, op
	}
	defer leave()
	if op.Deaths > 0 {
		if op, err = e.mark(ctx, h, op); err != nil {
			return attempt{err: err}, op
		}
	}
	return e.attempt(ctx, h, w, op), op
}

// enter waits for a place among the steps in flight and, when the process died
// at the step more than once, for the operation's turn: of those one at a time
// is in flight.
func (e *Engine) enter(ctx context.Context, h *hold, op *Op) (leave func(), err error) {
	if e.stopping.Err() != nil {
		return nil, errStopping
	}
	ctx, done := h.interruptible(ctx)
	defer done()
	defer context.AfterFunc(e.stopping, func() { h.stopAttempt(errStopping) })()
	if h.asked() {
		return nil, errAsked
	}
	leave, err = e.slots.Acquire(ctx, op.Share...)
	if err == nil && op.Deaths >= suspect {
		place := leave
		var turn func()
		if turn, err = e.turns.Acquire(ctx, op.Share...); err != nil {
			place()
		}
		leave = func() { turn(); place() }
	}
	if err != nil && !errors.Is(err, errAsked) {
		err = errStopping
	}
	return leave, err
}

// interruptible is a context that [hold.stopAttempt] ends, until done.
func (h *hold) interruptible(ctx context.Context) (_ context.Context, done func()) {
	ctx, interrupt := context.WithCancelCause(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.interrupt = interrupt
	return ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.interrupt = nil
		interrupt(nil)
	}
}

// asked reports whether an operator has asked for something since the row was
// read.
func (h *hold) asked() bool {
	select {
	case <-h.poke:
		return true
	default:
		return false
	}
}

// untilAsked is a pause that only an operator ends.
const untilAsked = time.Duration(math.MaxInt64)

// wait is the pause between attempts. It ends early with errAsked when the
// operation is poked.
func (e *Engine) wait(ctx context.Context, h *hold, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-h.poke:
		return errAsked
	case <-e.stopping.Done():
		return errStopping
	case <-ctx.Done():
		return errStopping
	}
}

// reload reads the row until the store answers; nil when the engine stops or
// the row is gone or is another's.
func (e *Engine) reload(ctx context.Context, h *hold) *Op {
	for n := 1; ; n++ {
		call, cancel := context.WithTimeout(ctx, e.opts.StepTimeout)
		op, err := e.store.Load(call, h.id)
		cancel()
		switch {
		case err == nil && op.Owner != e.life.ID && !op.State.Ended():
			return nil
		case err == nil:
			h.knows(&op)
			return &op
		case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
			return nil
		}
		if err := e.pause(ctx, h, e.opts.Backoff(n)); err != nil && !errors.Is(err, errAsked) {
			return nil
		}
	}
}

// attempt runs the step that op is at, once, in its direction.
func (e *Engine) attempt(ctx context.Context, h *hold, w *workflow, op *Op) (a attempt) {
	name, undo := op.Plan[op.Step], op.State == patchbay.Undoing
	step := w.step(op, op.Step)
	a.started = e.opts.Clock()
	defer func() { a.ended = e.opts.Clock() }()
	if step == nil {
		a.err = unknownStep(name)
		return a
	}
	if undo && step.Undo == nil {
		return a
	}
	limit := step.Timeout
	if limit == 0 {
		limit = e.opts.StepTimeout
	}
	ctx, done := h.interruptible(ctx)
	defer done()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errOutOfTime)
	defer cancel()
	if h.asked() { // between the last commit and now
		a.err = errAsked
		return a
	}
	if !e.leaseHolds() {
		a.err = errLease
		return a
	}
	ctx, span := e.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, h.parent), "step "+name, trace.WithAttributes(
		attribute.String("patchbay.operation", op.ID), attribute.String("patchbay.kind", string(op.Kind)),
		attribute.String("patchbay.step", name), attribute.Bool("patchbay.undo", undo), attribute.Int("patchbay.attempt", op.Attempt+1),
	))
	defer span.End()

	seen := op.Clone()
	a.output, a.err = e.run(ctx, step, &seen, undo)
	if a.err != nil {
		switch cause := context.Cause(ctx); {
		case stopped(cause):
			a.err = cause
		case errors.Is(cause, errAsked):
			a.err = fmt.Errorf("%w: %w", errAsked, a.err)
		case errors.Is(cause, errOutOfTime) && patchbay.CodeOf(a.err) == patchbay.Internal:
			a.err = patchbay.Errorf(patchbay.Timeout, "step %s did not end within %s", name, limit).AsTransient()
		}
	}
	outcome := OutcomeOK
	switch {
	case patchbay.IsTransient(a.err):
		outcome = OutcomeTransient
	case a.err != nil:
		outcome = OutcomeFailed
	}
	span.SetAttributes(attribute.String("patchbay.outcome", outcome))
	if a.err != nil {
		span.SetStatus(codes.Error, string(patchbay.CodeOf(a.err)))
	}
	e.opts.Observer.StepEnded(op.Kind, name, undo, outcome, e.opts.Clock().Sub(a.started))
	return a
}

var errOutOfTime = errors.New("saga: the step is out of time")

// run calls the step between its two instants. A panic becomes an error: one
// bad step must not take the other operations along, nor, after a takeover,
// the next process.
func (e *Engine) run(ctx context.Context, step *Step, op *Op, undo bool) (output []byte, err error) {
	instant := func(when string) error {
		verb := "do"
		if undo {
			verb = "undo"
		}
		return failpoint.Hit(ctx, fmt.Sprintf("%s/%s/%s-%s", op.Kind, step.Name, when, verb))
	}
	defer func() {
		if p := recover(); p != nil {
			e.log.ErrorContext(ctx, "a step panicked", "operation", op.ID, "step", step.Name, "stack", string(debug.Stack()))
			output, err = nil, patchbay.Errorf(patchbay.Internal, "step %s panicked; the log has the stack", step.Name)
		}
	}()
	if err := instant("before"); err != nil {
		return nil, err
	}
	if undo {
		err = step.Undo(ctx, op)
	} else {
		output, err = step.Do(ctx, op)
	}
	if err == nil {
		err = instant("after")
	}
	return output, err
}

// commit writes what follows from the attempt, and returns the row to go on
// from; nil when the operation is not this process's any more, or the engine
// stops. It does not give up otherwise: the attempt had an effect, and the
// journal must say so before anything else happens.
func (e *Engine) commit(ctx context.Context, h *hold, w *workflow, op *Op, a attempt) *Op {
	for n := 1; ; n++ {
		next, told := e.next(ctx, w, op, a)
		promoted, err := e.advance(ctx, w, op, next)
		if err == nil {
			e.committed(h, op, &next.Op, told)
			if promoted != "" {
				e.start(promoted, nil, nil)
			}
			return &next.Op
		}
		if !errors.Is(err, ErrStale) {
			e.log.Error("a commit has an unknown outcome", "operation", op.ID, "error", err)
			if n > 1 {
				if err := e.pause(ctx, h, e.opts.Backoff(n)); err != nil && !errors.Is(err, errAsked) {
					return nil // the step runs again at the next start
				}
			}
		}
		row := e.reload(ctx, h)
		if row == nil || !e.leaseHolds() {
			return nil
		}
		switch {
		case row.Version == op.Version:
			// It was not applied.
		case row.Version == next.Op.Version && row.State == next.Op.State && row.Step == next.Op.Step && row.Attempt == next.Op.Attempt:
			// It was, and only the answer was lost; a promotion with it, which the
			// sweep finds.
			e.committed(h, op, row, told)
			return row
		case row.State == op.State && row.Step == op.Step:
			op = row // an operator asked for something meanwhile; the attempt still counts
		default:
			return row
		}
	}
}

// advance is one call of the store, with the instants around it.
func (e *Engine) advance(ctx context.Context, w *workflow, op *Op, next Advance) (promoted string, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.StepTimeout)
	defer cancel()
	a := next
	a.Op.Version = op.Version
	promoted, err = e.store.Advance(ctx, e.life, a)
	if err != nil {
		return "", err
	}
	instant := op.Plan[op.Step] + "/after-commit"
	switch {
	case next.Op.State.Ended():
		instant = "finish/after-commit"
	case op.State == patchbay.Undoing:
		instant = op.Plan[op.Step] + "/after-undo-commit"
	}
	return promoted, failpoint.Hit(ctx, fmt.Sprintf("%s/%s", op.Kind, instant))
}

// committed tells everybody who listens.
func (e *Engine) committed(h *hold, from, to *Op, told []parked) {
	h.knows(to)
	defer e.watch.publish(to.Operation)
	for _, p := range told {
		e.opts.Observer.LeftoverParked(to.Kind, p.step)
		e.log.Warn("a step is parked: what it should have removed is a leftover", "operation", to.ID, "step", p.step, "leftover", p.leftover)
	}
	if to.Attention && !from.Attention {
		e.log.Error("operation needs attention", "operation", to.ID, "connection", to.Connection, "step", to.Plan[to.Step], "attempts", to.Attempt, "error", to.Error)
	}
	if to.Attempt > 0 {
		e.log.Warn("step failed", "operation", to.ID, "step", to.Plan[to.Step], "state", to.State, "attempt", to.Attempt, "error", to.Error)
	}
	if to.State.Ended() {
		e.opts.Observer.OperationEnded(to.Kind, to.State, to.Ended.Sub(to.Created))
		e.log.Info("operation ended", "operation", to.ID, "kind", to.Kind, "connection", to.Connection, "state", to.State, "took", to.Ended.Sub(to.Created))
	}
}
