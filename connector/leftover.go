package connector

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// work is what it takes to remove a leftover. It is stored sealed.
type work struct {
	Principal *driver.PrincipalRequest `json:"principal,omitempty"`
	Written   *written                 `json:"written,omitempty"`
	Restart   bool                     `json:"restart,omitempty"` // behind Written, if there is both
	// Held says that the application may sign in with the principal until the
	// operation has left nothing over on the source.
	Held bool `json:"held,omitempty"`
	// Idle asks that the login have no open sessions while its connection lives,
	// and After that its overlap has passed.
	Idle  bool        `json:"idle,omitempty"`
	After time.Time   `json:"after,omitzero"`
	UID   string      `json:"uid"`
	Of    patchbay.ID `json:"source"`
}

func leftoverContext(id string) string { return "leftover " + id }

// leftoverID: one step leaves at most one thing, so parking twice is parking
// once.
func leftoverID(op *saga.Op, step string) string { return op.ID + "." + step }

func (s *Service) newLeftover(op *saga.Op, step string, on patchbay.ID, what string, cause error, w work) (patchbay.Leftover, error) {
	if cause == nil {
		cause = errNothing
	}
	now := s.now().UTC()
	l := patchbay.Leftover{
		ID:         leftoverID(op, step),
		Connection: op.Connection, Operation: op.ID, Resource: on,
		What: what, Why: patchbay.AsError(cause).Error(),
		Created: now, NextTry: now.Add(retryAfter(0)),
	}
	w.Of = op.Source
	var err error
	l.Sealed, err = s.seal(w, leftoverContext(l.ID))
	return l, err
}

func (s *Service) parkPrincipal(op *saga.Op, cause error) (patchbay.Leftover, error) {
	p, err := s.outlineOf(op)
	if err != nil || !p.Made {
		return patchbay.Leftover{}, err
	}
	w := work{Principal: p.Principal, UID: p.Principal.Mark.UID}
	if in, err := readInput(op); err == nil {
		w.Held, w.Idle = mayHold(op, in) != "", !in.Created
	}
	return s.newLeftover(op, stepPrincipal, p.Target, "principal "+p.Principal.Name, cause, w)
}

// What leftovers on a source are called.
const (
	whatSettings = "settings"
	whatRestart  = "restart"
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
	w := work{Principal: p.Old, UID: p.Old.Mark.UID}
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

// retryAfter backs off from 5 s to 10 min.
func retryAfter(attempts int) time.Duration {
	return min(5*time.Second<<min(attempts, 10), 10*time.Minute)
}

// Run tries leftovers in the background until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if _, err := s.sweepLeftovers(ctx, false); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "sweep failed", "code", patchbay.CodeOf(err))
			}
		}
	}
}

// Leftovers implements [API].
func (s *Service) Leftovers(ctx context.Context, after string, limit int) ([]patchbay.Leftover, string, error) {
	return s.records.Leftovers(ctx, after, limit)
}

// Forget implements [API].
func (s *Service) Forget(ctx context.Context, id string, caller Caller) error {
	if err := s.records.DeleteLeftover(ctx, id); err != nil {
		return err
	}
	s.log.WarnContext(ctx, "a leftover was forgotten, not removed", "leftover", id, "by", caller.Name)
	return nil
}

// Sweep implements [API].
func (s *Service) Sweep(ctx context.Context, caller Caller) (SweepResult, error) {
	result, err := s.sweepLeftovers(ctx, true)
	if err != nil {
		return result, err
	}
	strays, err := s.sweepStrays(ctx, caller)
	result.Removed = append(result.Removed, strays.Removed...)
	result.Left = append(result.Left, strays.Left...)
	return result, err
}

// sweepLeftovers tries those that are due, or all.
func (s *Service) sweepLeftovers(ctx context.Context, all bool) (SweepResult, error) {
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	result := SweepResult{Removed: []patchbay.Leftover{}, Left: []patchbay.Leftover{}}
	if err := s.sweepThose(ctx, func(l patchbay.Leftover) bool { return !feared(l) && (all || !s.now().Before(l.NextTry)) }, all, &result); err != nil || !all {
		return result, err
	}
	return result, s.sweepThose(ctx, feared, all, &result) // the others are done with, should it end the server again
}

// maxDeaths is how often the server may end while it tries a leftover, before
// it does so only when it is asked to.
const maxDeaths = 3

func feared(l patchbay.Leftover) bool { return l.Deaths >= maxDeaths }

// sweepThose tries those that are due, one after the other: of a subscription
// whose target keeps it waiting, one in each sweep that nobody asked for.
func (s *Service) sweepThose(ctx context.Context, due func(patchbay.Leftover) bool, asked bool, result *SweepResult) error {
	waited := map[string]bool{}
	for after := ""; ; {
		page, next, err := s.records.Leftovers(ctx, after, 100)
		if err != nil {
			return err
		}
		for _, l := range page {
			whose := strings.ToLower(l.Connection.Subscription())
			if l.Trying { // one sweep runs at a time: the process that tried it is dead
				l.Trying, l.Deaths = false, l.Deaths+1
				if feared(l) {
					l.Why = patchbay.Errorf(patchbay.StepEndsProcess,
						"the server ended %d times while it tried to remove this, and tries again only when it is asked to (patchbay leftovers --sweep)", l.Deaths).Error()
				}
				if err := unlessForgotten(s.records.UpdateLeftover(ctx, l)); err != nil {
					return err
				}
			}
			if !due(l) || waited[whose] && !asked {
				continue
			}
			cause, err := s.retryLeftover(ctx, l, asked, result)
			if err != nil {
				return err
			}
			waited[whose] = patchbay.IsTransient(cause)
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// retryLeftover tries one, notes before that it does, and what came of it. One
// that somebody strikes off the list meanwhile stays struck off. cause is why it
// is still there.
func (s *Service) retryLeftover(ctx context.Context, l patchbay.Leftover, asked bool, result *SweepResult) (cause, err error) {
	l.Trying = true
	if err := s.records.UpdateLeftover(ctx, l); err != nil {
		return nil, unlessForgotten(err)
	}
	cause = s.tryLeftover(ctx, l)
	note := context.WithoutCancel(ctx) // or a stop looks like a death
	l.Trying = false
	if asked {
		l.Deaths = 0
	}
	switch {
	case cause == nil:
		result.Removed = append(result.Removed, l)
		return nil, unlessForgotten(s.records.DeleteLeftover(note, l.ID))
	case ctx.Err() == nil:
		l.Attempts++
		l.Why, l.NextTry = patchbay.AsError(cause).Error(), s.now().UTC().Add(retryAfter(l.Attempts))
		result.Left = append(result.Left, l)
	}
	return cause, cmp.Or(unlessForgotten(s.records.UpdateLeftover(note, l)), ctx.Err())
}

// unlessForgotten passes over that a leftover is not on the list any more.
func unlessForgotten(err error) error {
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return nil
	}
	return err
}

func (s *Service) tryLeftover(ctx context.Context, l patchbay.Leftover) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var w work
	if err := s.unseal(l.Sealed, leftoverContext(l.ID), &w); err != nil {
		return err
	}
	c, alive, err := s.lives(ctx, l.Connection, w.UID)
	if err != nil {
		return err
	}
	switch {
	case w.Principal != nil:
		if alive && c.Principal == w.Principal.Name {
			return nil // it is in use: nothing is left over
		}
		if w.Held && (alive || !w.Idle) { // a connection that was deleted has no say
			waits, err := s.waits(ctx, func(r patchbay.Leftover) bool {
				return r.Operation == l.Operation && (r.What == whatSettings || r.What == whatRestart)
			})
			if err != nil {
				return err
			}
			if waits {
				return patchbay.Errorf(patchbay.StillInUse, "%s could not be restarted, and may still sign in with it", w.Of.Name()).
					WithFix("restart %s", w.Of.Name())
			}
		}
		if w.Idle && alive {
			if s.now().Before(w.After) {
				return patchbay.Errorf(patchbay.StillInUse, "the old login may be used until %s", w.After.Format(time.RFC3339))
			}
			if err := s.unused(ctx, l.Resource, *w.Principal, w.Of); err != nil {
				return err
			}
		}
		return s.removePrincipal(ctx, l.Resource, *w.Principal)
	case w.Written != nil:
		left, err := s.leftBehind(ctx, l, *w.Written)
		if err == nil {
			err = s.change(ctx, l.Resource, left)
		}
		if err == nil && w.Restart {
			err = s.restartLeft(ctx, l.Resource)
		}
		return absentIsSuccess(err)
	case w.Restart:
		if alive && changing(c) {
			return patchbay.Errorf(patchbay.OperationInProgress, "an operation of the connection %s has not ended", c.Name)
		}
		// An operation that was abandoned left settings too, and those come first.
		waits, err := s.waits(ctx, func(r patchbay.Leftover) bool { return r.Operation == l.Operation && r.What == whatSettings })
		if err != nil {
			return err
		}
		if waits {
			return patchbay.Errorf(patchbay.RestartFailed, "the settings that it should read are not back yet")
		}
		return absentIsSuccess(s.restartLeft(ctx, l.Resource))
	}
	return nil
}

// restartLeft restarts an application, if it still has a way to be told.
func (s *Service) restartLeft(ctx context.Context, id patchbay.ID) error {
	err := s.restartSource(ctx, id)
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
func (s *Service) leftBehind(ctx context.Context, l patchbay.Leftover, w written) (driver.Change, error) {
	left, owned := w.removal(), map[string]bool{}
	err := s.eachOf(ctx, l.Resource, func(c patchbay.Connection) error {
		if changing(c) {
			return patchbay.Errorf(patchbay.OperationInProgress, "an operation of the connection %s has not ended", c.Name)
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

// sweepStrays removes principals that bear our mark and that no record knows:
// what a lost database or a paused process may leave. Settings of that kind it
// only names: an application may read them, and their mark does not say whose
// Patchbay wrote them.
func (s *Service) sweepStrays(ctx context.Context, caller Caller) (SweepResult, error) {
	var result SweepResult
	for after := ""; ; {
		page, next, err := s.records.Resources(ctx, "", after, 100)
		if err != nil {
			return result, err
		}
		for _, r := range page {
			look := func(ctx context.Context, r patchbay.Resource, result *SweepResult) error {
				return s.sweepTarget(ctx, caller, r, result)
			}
			if _, ok := s.catalog.Targets[r.Driver]; !ok {
				look = s.lookAtSource
			}
			if err := look(ctx, r, &result); err != nil {
				now := s.now().UTC()
				result.Left = append(result.Left, patchbay.Leftover{
					ID: "sweep." + r.ID.Name(), Resource: r.ID, What: "not looked at",
					Why: patchbay.AsError(err).Error(), Created: now, NextTry: now,
				})
			}
		}
		if next == "" {
			return result, nil
		}
		after = next
	}
}

// sweepTarget removes strays of one target. Its tenant is told of each before. A
// mark is the target's word: what it says of a connection is believed of one that
// has this target, and of one that is gone from the target's own subscription.
func (s *Service) sweepTarget(ctx context.Context, caller Caller, r patchbay.Resource, result *SweepResult) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	act, err := s.seenBy(ctx, patchbay.ActOf(ctx), r.ID)
	if err != nil {
		return err
	}
	ctx = patchbay.WithAct(ctx, act)
	target, done, err := s.targets.get(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	owned, err := target.Owned(ctx)
	if err != nil {
		return err
	}
	for _, o := range owned {
		stray, err := s.stray(ctx, o)
		if err != nil {
			return err
		}
		if !stray {
			continue
		}
		name := driver.Quoted(o.Name)
		l := patchbay.Leftover{
			ID: "stray." + name, Resource: r.ID, What: "principal " + name, Why: "no connection owns it", Created: s.now().UTC(),
		}
		if l.Connection, err = s.believed(ctx, o.Mark, r.ID); err != nil {
			return err
		}
		request := driver.PrincipalRequest{Mark: o.Mark, Name: o.Name, Sub: o.Sub}
		err = s.idle(ctx, target, request)
		if err == nil {
			err = caller.tell(ctx, patchbay.AuditEntry{Resource: r.ID, Detail: l.What + ", which no connection owns"})
		}
		if err == nil {
			err = target.RemovePrincipal(ctx, request)
		}
		if err != nil {
			l.Why = patchbay.AsError(err).Error()
			result.Left = append(result.Left, l)
			continue
		}
		result.Removed = append(result.Removed, l)
	}
	return nil
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
func (s *Service) idle(ctx context.Context, target *driver.GuardedTarget, r driver.PrincipalRequest) error {
	c, alive, err := s.lives(ctx, r.Mark.Connection, r.Mark.UID)
	if err != nil || !alive {
		return err
	}
	state, err := target.InspectPrincipal(ctx, r)
	if err != nil || state.Sessions == 0 {
		return err
	}
	return patchbay.Errorf(patchbay.StillInUse, "%s has %d open sessions, and %s should use %s", r.Name, state.Sessions, application(c), c.Principal)
}

// lookAtSource lists settings that no connection owns.
func (s *Service) lookAtSource(ctx context.Context, r patchbay.Resource, result *SweepResult) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	source, done, err := s.sources.get(ctx, r)
	if err != nil {
		return err
	}
	defer done()
	owned, err := source.Owned(ctx)
	if err != nil {
		return absentIsSuccess(err)
	}
	now := s.now().UTC()
	seen := map[string]bool{}
	for _, o := range owned {
		_, alive, err := s.lives(ctx, o.Mark.Connection, o.Mark.UID)
		if err != nil {
			return err
		}
		if alive || seen[o.Mark.UID] || slices.ContainsFunc(result.Left, func(l patchbay.Leftover) bool {
			return l.Resource.Equal(r.ID) && l.Connection.Equal(o.Mark.Connection)
		}) {
			continue
		}
		seen[o.Mark.UID] = true
		result.Left = append(result.Left, patchbay.Leftover{
			ID: "stray." + o.Mark.UID, Connection: o.Mark.Connection, Resource: r.ID,
			What: whatSettings, Why: "no connection owns them; if no other Patchbay does, remove them by hand", Created: now, NextTry: now,
		})
	}
	return nil
}

// stray reports whether what bears the mark belongs to nothing: its connection
// is gone or has another generation, no operation of it is under way, and no
// leftover waits for it.
func (s *Service) stray(ctx context.Context, o driver.Owned) (bool, error) {
	c, err := s.records.Connection(ctx, o.Mark.Connection)
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		// Another Patchbay may administer the same target: its connections are
		// below subscriptions that this one does not have.
		if known, err := s.knows(ctx, o.Mark.Connection.Subscription()); err != nil || !known {
			return false, err
		}
	case err != nil:
		return false, err
	case changing(c):
		return false, nil
	case c.UID == o.Mark.UID && c.Principal == o.Name:
		return false, nil
	}
	waiting, err := s.waits(ctx, func(l patchbay.Leftover) bool { return l.What == "principal "+o.Name })
	return !waiting, err
}

func (s *Service) knows(ctx context.Context, subscription string) (bool, error) {
	subs, err := s.records.Subscriptions(ctx)
	for _, sub := range subs {
		if strings.EqualFold(sub.ID, subscription) {
			return true, err
		}
	}
	return false, err
}

// waits reports whether there is such a leftover.
func (s *Service) waits(ctx context.Context, is func(patchbay.Leftover) bool) (found bool, err error) {
	err = s.eachLeftover(ctx, func(l patchbay.Leftover) error {
		found = found || is(l)
		return nil
	})
	return found, err
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
