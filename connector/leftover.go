package connector

import (
	"context"
	"slices"
	"sync"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// work is what it takes to remove a leftover. It is stored sealed.
type work struct {
	Login    *driver.LoginRequest `json:"principal,omitempty"`
	Written  *written             `json:"written,omitempty"`
	Openings []opening            `json:"openings,omitempty"`
	Restart  bool                 `json:"restart,omitempty"` // behind Written, if there is both
	Release  bool                 `json:"release,omitempty"` // what was kept of before Written goes
	// Held says that the application may sign in with the login until the
	// operation has left nothing over on the source.
	Held bool `json:"held,omitempty"`
	// Idle asks that the login have no open sessions while its connection lives,
	// and After that its overlap has passed.
	Idle  bool      `json:"idle,omitempty"`
	After time.Time `json:"after,omitzero"`
	// Admin is a replacement of a credential of which it is not known how it ended.
	Admin *adminPlan  `json:"admin,omitempty"`
	UID   string      `json:"uid"`
	Of    patchbay.ID `json:"source"`
	Scope string      `json:"scope,omitempty"` // the part of Of
}

func leftoverContext(id string) string { return "leftover " + id }

// leftoverIn names it: one step leaves at most one thing, so parking twice is parking
// once.
func leftoverIn(operation, step string) string { return operation + "." + step }

func (s *Service) newLeftover(op *saga.Op, step string, on patchbay.ID, what string, cause error, w work) (patchbay.Leftover, error) {
	if cause == nil {
		cause = errNothing
	}
	now := s.now().UTC()
	l := patchbay.Leftover{
		ID:         leftoverIn(op.ID, step),
		Connection: op.Connection, Operation: op.ID, Resource: on,
		What: what, Why: patchbay.AsError(cause).Error(),
		Created: now, NextTry: now.Add(retryAfter(0)),
	}
	at, _ := onSource(op) // what keeps something from being parked would hold its source for ever
	w.Of, w.Scope = at.id, at.scope
	var err error
	l.Sealed, err = s.seal(w, leftoverContext(l.ID))
	return l, err
}

func (s *Service) parkLogin(op *saga.Op, cause error) (patchbay.Leftover, error) {
	p, err := s.outlineOf(op)
	if err != nil || !p.Made {
		return patchbay.Leftover{}, err
	}
	w := work{Login: p.Login, UID: p.Login.Mark.UID}
	if in, err := readInput(op); err == nil {
		w.Held, w.Idle = mayHold(op, in) != "", !in.Created
	}
	return s.newLeftover(op, stepLogin, p.Target, "principal "+p.Login.Name, cause, w)
}

// What leftovers on a source are called.
const (
	whatSettings = "settings"
	whatRestart  = "restart"
	whatKept     = "what was replaced"
)

func (s *Service) parkRestart(op *saga.Op, cause error) (patchbay.Leftover, error) {
	in, err := readInput(op)
	if err != nil {
		return patchbay.Leftover{}, err
	}
	return s.newLeftover(op, stepRestart, op.Source, whatRestart, cause, work{Restart: true, UID: in.Want.UID})
}

func (s *Service) parkOld(op *saga.Op, cause error) (patchbay.Leftover, error) {
	p, err := s.outlineOf(op)
	if err != nil || p.Old == nil {
		return patchbay.Leftover{}, err
	}
	w := work{Login: p.Old, UID: p.Old.Mark.UID}
	if in, err := readInput(op); err == nil && op.Kind != patchbay.OpDelete && !in.RevokeNow {
		w.Idle, w.After = true, s.overlapEnds(op)
	}
	return s.newLeftover(op, stepRevoke, p.OldTarget, "principal "+p.Old.Name, cause, w)
}

func (s *Service) parkSettings(op *saga.Op, cause error) (patchbay.Leftover, error) {
	if saga.Asked(cause) { // the settings are back (see undoSettings)
		return s.parkRestart(op, cause)
	}
	wrote, err := s.writeOf(op, partChange)
	if err != nil || wrote == nil {
		return patchbay.Leftover{}, err
	}
	return s.newLeftover(op, stepSettings, op.Source, whatSettings, cause, work{
		Written: wrote.kept(), UID: wrote.Change.Mark.UID,
		Restart: op.Kind != patchbay.OpDelete && op.Plan[op.Step] == stepSettings, // otherwise it is a leftover of its own
	})
}

func (s *Service) parkRelease(op *saga.Op, cause error) (patchbay.Leftover, error) {
	wrote, err := s.writeOf(op, partChange)
	if err != nil || wrote == nil {
		return patchbay.Leftover{}, err
	}
	return s.newLeftover(op, stepRelease, op.Source, whatKept, cause, work{
		Written: &written{Change: hideChange(releasedBy(op, *wrote))}, Release: true, UID: wrote.Change.Mark.UID,
	})
}

// retryAfter backs off from 5 s to 10 min.
func retryAfter(attempts int) time.Duration {
	return min(5*time.Second<<min(attempts, 10), 10*time.Minute)
}

// Run tries leftovers in the background until ctx ends. A resource that hangs
// keeps nobody waiting: the next look passes it by.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	var looks sync.WaitGroup
	defer looks.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			looks.Go(func() {
				if _, err := s.sweepLeftovers(ctx, false); err != nil && ctx.Err() == nil {
					s.log.WarnContext(ctx, "sweep failed", "code", patchbay.CodeOf(err))
				}
			})
		}
	}
}

// Leftovers implements [API].
func (s *Service) Leftovers(ctx context.Context, after string, limit int) ([]patchbay.Leftover, string, error) {
	return s.records.Leftovers(ctx, after, limit)
}

// Leftover implements [API].
func (s *Service) Leftover(ctx context.Context, id string) (patchbay.Leftover, error) {
	return s.records.Leftover(ctx, id)
}

// Forget implements [API].
func (s *Service) Forget(ctx context.Context, id string, caller Caller) error {
	if err := s.records.DeleteLeftover(ctx, id); err != nil {
		return err
	}
	s.log.WarnContext(ctx, "a leftover was forgotten, not removed", "leftover", id, "by", caller.Name)
	return nil
}

func (s *Service) tryLeftover(ctx context.Context, l patchbay.Leftover) error {
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	var w work
	if err := s.unseal(l.Sealed, leftoverContext(l.ID), &w); err != nil {
		return err
	}
	if w.Admin != nil {
		return s.settleAdmin(ctx, l, *w.Admin)
	}
	c, alive, err := s.lives(ctx, l.Connection, w.UID)
	if err != nil {
		return err
	}
	switch {
	case w.Login != nil:
		if alive && c.Login == w.Login.Name {
			return nil // it is in use: nothing is left over
		}
		if w.Held && (alive || !w.Idle) { // a connection that was deleted has no say
			waits, err := s.waits(ctx, l.Operation, stepSettings, stepRestart)
			if err != nil {
				return err
			}
			if waits {
				e := patchbay.Errorf(patchbay.StillInUse, "%s could not be restarted, and may still sign in with it", w.Of.Name()).
					WithFix("restart %s", w.Of.Name())
				e.Err = errWaits
				return e
			}
		}
		if w.Idle && alive {
			if s.now().Before(w.After) {
				return patchbay.Errorf(patchbay.StillInUse, "the old login may be used until %s", w.After.Format(time.RFC3339))
			}
			if err := s.unused(ctx, l.Resource, *w.Login, w.Of); err != nil {
				return err
			}
		}
		return s.removeLogin(ctx, l.Resource, *w.Login)
	case len(w.Openings) > 0:
		return s.closeLeft(ctx, l, c, alive, w.Openings)
	case w.Release:
		return s.releaseKept(ctx, sourceRef{l.Resource, w.Scope}, w.Written.open())
	case w.Written != nil:
		left, err := s.leftBehind(ctx, l, *w.Written, w.Scope)
		if err == nil {
			err = s.change(ctx, sourceRef{l.Resource, w.Scope}, left)
		}
		if err == nil && w.Restart {
			err = s.restartLeft(ctx, sourceRef{l.Resource, w.Scope})
		}
		return absentIsSuccess(err)
	case w.Restart:
		if alive && changing(c) {
			return patchbay.Errorf(patchbay.OperationInProgress, "an operation of the connection %s has not ended", c.Name)
		}
		// An operation that was abandoned left settings too, and those come first.
		waits, err := s.waits(ctx, l.Operation, stepSettings)
		if err != nil {
			return err
		}
		if waits {
			e := patchbay.Errorf(patchbay.RestartFailed, "the settings that it should read are not back yet")
			e.Err = errWaits
			return e
		}
		return absentIsSuccess(s.restartLeft(ctx, sourceRef{l.Resource, w.Scope}))
	}
	return nil
}

// restartLeft restarts an application, if it still has a way to be told.
func (s *Service) restartLeft(ctx context.Context, at sourceRef) error {
	err := s.restartSource(ctx, at)
	if patchbay.CodeOf(err) == patchbay.NotSupported {
		return nil
	}
	return err
}

// lives gives the connection and whether it is there and still the one of that
// uid.
func (s *Service) lives(ctx context.Context, id patchbay.ID, uid string) (patchbay.Connection, bool, error) {
	c, err := s.records.Connection(ctx, id)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return c, false, nil
	}
	return c, err == nil && c.UID == uid, err
}

// leftBehind is the change that leaves nothing of w but what its connection has
// on record, if it is still there, and what another has come to own since: one
// that was made again under the same name may have settings of the same names
// and values.
func (s *Service) leftBehind(ctx context.Context, l patchbay.Leftover, w written, scope string) (driver.Change, error) {
	d, err := s.driverOf(ctx, l.Resource)
	if err != nil {
		return driver.Change{}, err
	}
	left, owned := w.removal(), map[string]bool{}
	err = s.eachOf(ctx, l.Resource, func(c patchbay.Connection) error {
		if changing(c) {
			return patchbay.Errorf(patchbay.OperationInProgress, "an operation of the connection %s has not ended", c.Name)
		}
		if d.Part != "" && apart(c.Spec.Scope, scope) {
			return nil
		}
		held, err := s.openHolding(c)
		if err != nil || held.Written == nil {
			return err
		}
		change := held.Written.open()
		if c.UID == left.Mark.UID {
			left.Mark, left.Set = change.Mark, change.Set
			return nil
		}
		for _, set := range change.Set {
			owned[change.Key(set)] = true
		}
		return nil
	})
	left.Had = slices.DeleteFunc(left.Had, func(set patchbay.Setting) bool { return owned[left.Key(set)] })
	return left, err
}

// waits reports whether a step of the operation has left something over that
// still is.
func (s *Service) waits(ctx context.Context, operation string, steps ...string) (bool, error) {
	for _, step := range steps {
		_, err := s.records.Leftover(ctx, leftoverIn(operation, step))
		if patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			return err == nil, err
		}
	}
	return false, nil
}

// eachLeftoverAt calls do for the leftovers at a resource until it fails.
func (s *Service) eachLeftoverAt(ctx context.Context, resource patchbay.ID, do func(patchbay.Leftover) error) error {
	at, err := s.records.LeftoversAt(ctx, resource)
	for _, l := range at {
		if err := do(l); err != nil {
			return err
		}
	}
	return err
}

// eachLeftover calls do for all leftovers until it fails.
func (s *Service) eachLeftover(ctx context.Context, do func(patchbay.Leftover) error) error {
	for after := ""; ; {
		page, next, err := s.records.Leftovers(ctx, after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, l := range page {
			if err := do(l); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}
