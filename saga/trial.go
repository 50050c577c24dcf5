package saga

import (
	"context"
	"errors"
	"maps"
	"slices"

	"patchbay.dev/patchbay"
)

// Trial is what the journal says of the attempt of a step at which a process
// has died. Before the first death nothing is noted: it would be a commit more
// for each step.
type Trial int

const (
	Untried   Trial = iota // no attempt is in flight
	Watched                // one may be, beside those of others
	Alone                  // one may be, and no other is
	Convicted              // a process died of it, and the step is not run again
)

const (
	// suspect is how many deaths make an operation wait for its turn.
	suspect = 2
	// enough is how many end it, whoever else was about: whatever the
	// circumstances, a crash loop ends.
	enough = 8
)

// TakeOver is what becomes of the row when its owner's life is over, by death
// or in order. Of the first death it can't be known whether an attempt was in
// flight; behind it, one is counted only where an attempt was.
func (op *Op) TakeOver(died bool) {
	switch {
	case op.Trial == Convicted:
	case died && (op.Trial == Alone || op.Trial == Watched && op.Deaths+1 >= enough):
		op.Deaths, op.Trial = op.Deaths+1, Convicted
	case died && (op.Trial == Watched || op.Deaths == 0):
		op.Deaths, op.Trial = op.Deaths+1, Untried
	default:
		op.Trial = Untried
	}
}

// isolate takes over what dead processes left, and tries the steps at which
// they died twice: the one with the most deaths first, one attempt of one at a
// time, and nothing else runs. A process that dies now died of that step. When
// Options.Isolate has passed the others run all the same, beside the one that
// is in flight, and what was not tried still waits for its turn ([Engine.enter]).
func (e *Engine) isolate(ctx, base context.Context) {
	orphans := e.claim(ctx)
	slices.SortStableFunc(orphans, func(a, b Orphan) int { return b.Deaths - a.Deaths })
	patience, cancel := context.WithTimeout(ctx, e.opts.Isolate)
	defer cancel()
	for _, o := range orphans {
		if o.Deaths < suspect || patience.Err() != nil {
			return
		}
		h := e.take(o.ID)
		if h == nil {
			continue
		}
		h.once, h.alone = true, true
		tried := make(chan struct{})
		e.drives.Add(1)
		e.spawn(func() {
			defer e.drives.Done()
			defer close(tried)
			defer e.letGo(h)
			e.drive(base, h, nil)
		})
		select {
		case <-tried:
		case <-patience.Done():
			e.endIsolation(ctx, h)
			return
		}
	}
}

// endIsolation notes that the attempt which h drives is not alone any more; when
// ctx has ended it stays so until the engine has stopped.
func (e *Engine) endIsolation(ctx context.Context, h *hold) {
	h.marking.Lock()
	h.alone = false
	h.marking.Unlock()
	for n := 1; ctx.Err() == nil; n++ {
		_, err := e.rewrite(ctx, h.id, func(op Op) (*Advance, error) {
			if op.Trial != Alone || op.Owner != e.life.ID {
				return nil, nil
			}
			op.Trial = Watched
			return &Advance{Op: op}, nil
		})
		if err == nil {
			return
		}
		if err := e.pause(ctx, h, e.opts.Backoff(n)); err != nil && !errors.Is(err, errAsked) {
			return
		}
	}
}

// Ending says that the process is to end in order. However it ends then, it is
// no death: who stops it may kill it before its steps have ended.
func (e *Engine) Ending(ctx context.Context) {
	e.ending.Store(true)
	e.mu.Lock()
	held := slices.Collect(maps.Values(e.held))
	e.mu.Unlock()
	for _, h := range held {
		h.marking.Lock() // what is being noted is noted before
		_, err := e.rewrite(ctx, h.id, func(op Op) (*Advance, error) {
			if op.Trial != Watched && op.Trial != Alone || op.Owner != e.life.ID {
				return nil, nil
			}
			op.Trial = Untried
			return &Advance{Op: op}, nil
		})
		h.marking.Unlock()
		e.complain(ctx, "note that the process ends", err)
	}
}

// mark notes that an attempt of op begins. errAsked says that the row has to be
// read again: it is another by now, or could not be written.
func (e *Engine) mark(ctx context.Context, h *hold, op *Op) (*Op, error) {
	h.marking.Lock()
	defer h.marking.Unlock()
	if e.ending.Load() {
		return op, nil
	}
	a := Advance{Op: op.Clone()}
	a.Op.Trial, a.Op.Updated = Watched, e.now()
	if h.alone {
		a.Op.Trial = Alone
	}
	call, cancel := context.WithTimeout(ctx, e.opts.StepTimeout)
	defer cancel()
	switch _, err := e.store.Advance(call, e.life, a); {
	case errors.Is(err, ErrStale):
		return op, errAsked
	case err != nil:
		e.log.Error("an attempt could not be noted", "operation", op.ID, "error", err)
		if err := e.pause(ctx, h, e.opts.Backoff(1)); err != nil {
			return op, err
		}
		return op, errAsked
	}
	a.Op.Version++
	h.knows(&a.Op)
	e.watch.publish(a.Op.Operation)
	return &a.Op, nil
}

// heldBack reports whether op waits until an operator says what to do: its step
// ended the process, and can be neither undone nor parked.
func heldBack(w *workflow, op *Op) bool {
	return op.Trial == Convicted && op.Attempt > 0 && op.Error != nil && op.Error.Code == patchbay.StepEndsProcess && !turnsBack(w, op)
}

// endsProcess is why the step that op is at is not run again.
func endsProcess(w *workflow, op *Op) error {
	step, verb := op.Plan[op.Step], "ran"
	if op.State == patchbay.Undoing {
		verb = "undid"
	}
	err := patchbay.Errorf(patchbay.StepEndsProcess,
		"the server ended %d times while it %s the step %s of operation %s; it does not do so again by itself", op.Deaths, verb, step, op.ID)
	if op.State == patchbay.Running && !w.behind(op) {
		return err.WithFix("find the cause in the server's log, before each of its starts; then ask again")
	}
	return err.WithFix("find the cause in the server's log, before each of its starts; then patchbay operation retry %s, or patchbay operation abandon %s", op.ID, op.ID)
}
