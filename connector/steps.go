package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
)

func (s *Service) ensureLogin(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.agreedOf(op)
	if err != nil || p.Login == nil {
		return nil, err
	}
	target, done, err := s.target(ctx, p.Target)
	if err != nil {
		return nil, err
	}
	defer done()
	r := *p.Login
	r.Credential = p.Credential.open()
	return nil, target.EnsureLogin(ctx, r)
}

func (s *Service) undoLogin(ctx context.Context, op *saga.Op) error {
	p, err := s.outlineOf(op)
	if err != nil || !p.Made {
		return err
	}
	in, err := readInput(op)
	if err != nil {
		return err
	}
	if why := mayHold(op, in); why != "" {
		return saga.Leave(patchbay.Errorf(patchbay.StillInUse, "%s", why).WithFix("restart %s", op.Source.Name()))
	}
	if !in.Created && !p.Restarts && op.Output(stepSettings) != nil { // it may have read them by itself
		if err := s.unused(ctx, p.Target, *p.Login, op.Source); err != nil {
			if patchbay.CodeOf(err) == patchbay.StillInUse {
				err = saga.Leave(err)
			}
			return err
		}
	}
	return s.removeLogin(ctx, p.Target, *p.Login)
}

func (s *Service) removeLogin(ctx context.Context, id patchbay.ID, r driver.LoginRequest) error {
	target, done, err := s.target(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	return target.RemoveLogin(ctx, r)
}

// probe signs in as the application before its settings change: a login that
// does not work never reaches a source.
func (s *Service) probe(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.agreedOf(op)
	if err != nil {
		return nil, err
	}
	in, err := readInput(op)
	if err != nil {
		return nil, err
	}
	// An identity signs in from its source alone, with rights that others grant:
	// what is tried is whether there is a way.
	if p.LoginKind == loginIdentity && optsOutOfNetwork(in.Want.Spec) {
		return []byte("true"), nil
	}
	result, err := s.signIn(ctx, sourceOf(in.Want), p.outline, p.Credential.open())
	if err != nil && p.Denied && !in.Rotate {
		err = s.unopened(ctx, err, p.outline, in.Want)
	}
	if err != nil || len(result.Warnings) == 0 {
		return []byte("true"), err
	}
	return json.Marshal(result.Warnings)
}

// warningsOf is what the probe of op warned of.
func warningsOf(op *saga.Op) string {
	var list []string
	if json.Unmarshal(op.Output(stepProbe), &list) != nil {
		return "" // it did not warn
	}
	return strings.Join(list, "; ")
}

// signIn signs in as the application, from where it runs.
func (s *Service) signIn(ctx context.Context, at sourceRef, p outline, c driver.Credential) (driver.ProbeResult, error) {
	source, doneSource, err := s.source(ctx, at)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer doneSource()
	from, err := source.Dialer(ctx)
	if patchbay.CodeOf(err) == patchbay.NotSupported {
		return driver.ProbeResult{Warnings: []string{noVantage(at.id, err)}}, nil
	}
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer func() { _ = from.Close() }()
	return s.signInFrom(ctx, from, at.id, p, c)
}

// signInFrom does so through a dialer that is open: what speaks from there may have to
// be started.
func (s *Service) signInFrom(ctx context.Context, from driver.Dialer, source patchbay.ID, p outline, c driver.Credential) (driver.ProbeResult, error) {
	target, doneTarget, err := s.openRef(ctx, p.ref)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer doneTarget()
	r := driver.ProbeRequest{Credential: c, Dialer: from, Sub: p.Sub, Share: s.shareOf(ctx, source, p.ref)}
	if p.Login != nil {
		r.Options = p.Login.Options
		if len(p.Login.Roles) == 0 { // what others' roles give is not ours to judge
			r.Access = p.Login.Access
		}
	}
	r.Reading = probing(p.Reading)
	result, err := target.Probe(ctx, r)
	if patchbay.CodeOf(err) == patchbay.CertificateInvalid && p.Reading != nil && p.Reading.Verifies() {
		return result, refused(err, *p.Reading, source, p.Target.Name())
	}
	if err != nil && p.Login == nil && patchbay.CodeOf(err) == patchbay.LoginRefused {
		// A login that was given: Azure's code and words for it (contract 4.10).
		refused := patchbay.Errorf(patchbay.InvalidDbSecret, "Error in username or password. %w", err)
		refused.Fix = "check the login that was given with --secret"
		if p.LoginKind == loginRegistered {
			refused.Fix = "check the login that was given with the registration of " + p.Target.Name()
		}
		return result, refused
	}
	return result, err
}

// onSource is where op's connection is configured.
func onSource(op *saga.Op) (sourceRef, error) {
	in, err := readInput(op)
	return sourceRef{op.Source, in.Want.Spec.Scope}, err
}

// wroteSettings is the output of the step that wrote the settings.
var wroteSettings = []byte("written")

func (s *Service) writeSettings(ctx context.Context, op *saga.Op) ([]byte, error) {
	planned, err := s.writeOf(op, partChange)
	if err != nil || planned == nil {
		return nil, err
	}
	at, err := onSource(op)
	if err != nil {
		return nil, err
	}
	source, done, err := s.source(ctx, at)
	if err != nil {
		return nil, err
	}
	defer done()
	change, version := planned.open(), planned.Before.Version
	for try := 0; ; try++ {
		_, err = source.WriteSettings(ctx, change, version)
		if err == nil {
			return wroteSettings, nil
		}
		if patchbay.CodeOf(err) != patchbay.SettingsChanged || try == 3 {
			return nil, err
		}
		// Somebody else wrote between the plan and now. Their edit stays: what we
		// put back on a failure is then decided name by name.
		now, readErr := source.ReadSettings(ctx)
		if readErr != nil {
			return nil, readErr
		}
		if planned, err = s.writeOf(op, partChange, partBefore); err != nil {
			return nil, err
		}
		if name := overtaken(change, planned.Before.Settings, now.Settings); name != "" {
			return nil, patchbay.Errorf(patchbay.Conflict, "somebody changed %s on %s meanwhile", name, op.Source.Name()).
				WithFix("try again: what is decided is then decided from what is there now")
		}
		version = now.Version
	}
}

// overtaken names a setting that is neither what it was when the change was
// planned nor what the change makes of it: writing over it, and then putting
// back what was planned, would lose what somebody did.
func overtaken(c driver.Change, before map[string]string, now map[string]patchbay.Secret) string {
	for _, set := range c.Set {
		was, had := before[c.Key(set)]
		is, has := now[c.Key(set)]
		if done := has && is == set.Value; !done && (has != had || is.Reveal() != was) {
			return set.Name
		}
	}
	return ""
}

// undoSettings puts back what was there, and then makes the application read it:
// whether this operation came to restart it or it restarted by itself, it may have
// read what goes. It is the undo of both steps. When the application does not
// restart, it may go on with what was taken away: then that stays for as long (see
// undoLogin).
func (s *Service) undoSettings(ctx context.Context, op *saga.Op) error {
	planned, err := s.writeOf(op, partChange, partBefore)
	if err != nil || planned == nil {
		return err
	}
	p, err := s.outlineOf(op)
	if err != nil {
		return err
	}
	at, err := onSource(op)
	if err != nil {
		return err
	}
	wrote, err := s.restoreSettings(ctx, at, *planned)
	if err != nil {
		return err
	}
	wrote = wrote || op.Output(stepSettings) != nil || op.Attempt > 0
	back := slices.ContainsFunc(op.Trail, func(run patchbay.StepRun) bool { return run.Name == stepRestart && run.Undo })
	if back || !wrote || !p.Restarts {
		return nil
	}
	err = s.restartSource(ctx, at)
	if err != nil && op.Attempt+1 >= restartAttempts {
		return saga.Leave(err)
	}
	return err
}

// restoreSettings takes w back. wrote says that there was something to take back.
func (s *Service) restoreSettings(ctx context.Context, at sourceRef, w written) (wrote bool, err error) {
	source, done, err := s.source(ctx, at)
	if err != nil {
		return false, err
	}
	defer done()
	if now, err := source.ReadSettings(ctx); err == nil { // else the driver knows what to do
		wrote = w.isIn(now)
	}
	return wrote, source.RestoreSettings(ctx, w.open(), w.Before.open())
}

// restartAttempts is how often an undo tries to restart the application before
// it leaves that to the background.
const restartAttempts = 3

func (s *Service) restart(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.outlineOf(op)
	if err != nil || !p.Restarts || p.Writes == nil {
		return nil, err
	}
	at, err := onSource(op)
	if err != nil {
		return nil, err
	}
	return nil, s.restartSource(ctx, at)
}

// restartSource restarts the application. With that, no restart is left over
// there: of those that were before it began, and whose settings were back.
func (s *Service) restartSource(ctx context.Context, at sourceRef) error {
	source, done, err := s.source(ctx, at)
	if err != nil {
		return err
	}
	defer done()
	due, early := map[string]string{}, []string{} // by operation
	err = s.eachLeftoverAt(ctx, at.id, func(l patchbay.Leftover) error {
		switch l.What {
		case whatRestart:
			due[l.Operation] = l.ID
		case whatSettings:
			early = append(early, l.Operation)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := source.Restart(ctx); err != nil {
		return err
	}
	for operation, leftover := range due {
		if slices.Contains(early, operation) || at.scope != "" { // of a part, another may wait for another part
			continue
		}
		if err := unlessForgotten(s.records.DeleteLeftover(ctx, leftover)); err != nil {
			return err
		}
	}
	return nil
}

// notRestarted is why the application may still run with what op took away, ""
// when it was made to read its settings anew.
func notRestarted(op *saga.Op) string {
	for _, run := range op.Trail {
		if run.Parked && (run.Name == stepRestart || run.Name == stepSettings) {
			return fmt.Sprintf("%s could not be restarted, and may still use what was taken back until it is: %s", op.Source.Name(), patchbay.AsError(run.Error).Message)
		}
	}
	return ""
}

// mayHold is why the application may run with the login that op made, and would
// be worse off without it than it was before. A create whose application was never
// seen to restart takes its login back all the same: nothing worked with it yet.
func mayHold(op *saga.Op, in input) string {
	restarted := slices.ContainsFunc(op.Trail, func(run patchbay.StepRun) bool {
		return run.Name == stepRestart && !run.Undo && run.Error == nil
	})
	if in.Created && !restarted {
		return ""
	}
	return notRestarted(op)
}

// verify is the pivot: the source holds what was planned, and what it holds
// signs in.
func (s *Service) verify(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.agreedOf(op)
	if err != nil {
		return nil, err
	}
	in, err := readInput(op)
	if err != nil {
		return nil, err
	}
	wrote, err := s.writeOf(op, partChange)
	if err != nil {
		return nil, err
	}
	if wrote != nil {
		found, _, err := s.settingsHeld(ctx, sourceOf(in.Want), wrote.open())
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			return nil, patchbay.Errorf(f.Code, "%s", f.Message)
		}
	}
	if !authenticates(in.Want.Spec) || p.LoginKind == loginIdentity || !p.Restarts && op.Output(stepProbe) != nil {
		// Nothing has run since the probe that could have changed its outcome:
		// what the source holds is, to the byte, what signed in from there.
		return nil, nil
	}
	_, err = s.signIn(ctx, sourceOf(in.Want), p.outline, p.Credential.open())
	return nil, err
}

// finding is one setting that is not as it was written.
type finding struct {
	Code    patchbay.Code
	Message string
}

// settingsHeld compares what the source holds with what was written there.
func (s *Service) settingsHeld(ctx context.Context, at sourceRef, c driver.Change) ([]finding, driver.Snapshot, error) {
	source, done, err := s.source(ctx, at)
	if err != nil {
		return nil, driver.Snapshot{}, err
	}
	defer done()
	now, err := source.ReadSettings(ctx)
	if err != nil {
		return nil, now, err
	}
	var found []finding
	for _, want := range c.Set {
		have, ok := now.Settings[c.Key(want)]
		switch {
		case !ok:
			found = append(found, finding{patchbay.SettingMissing, fmt.Sprintf("the setting %s is not on %s any more", want.Name, at.id.Name())})
		case have != want.Value:
			found = append(found, finding{patchbay.SettingChanged, fmt.Sprintf("the setting %s on %s is not the one that was written", want.Name, at.id.Name())})
		}
	}
	return found, now, nil
}

// revokeOld ends the login that the new settings replace, once nothing uses it
// any more: first the overlap passes, then its sessions end.
func (s *Service) revokeOld(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.outlineOf(op)
	if err != nil || p.Old == nil {
		return nil, err
	}
	in, err := readInput(op)
	if err != nil {
		return nil, err
	}
	if !in.RevokeNow {
		if err := s.waitUntil(ctx, s.overlapEnds(op)); err != nil {
			return nil, err
		}
		if err := s.unused(ctx, p.OldTarget, *p.Old, op.Source); err != nil {
			return nil, err
		}
	}
	return nil, s.removeLogin(ctx, p.OldTarget, *p.Old)
}

// overlapEnds is when the overlap has passed since the new settings were in
// place: a process that read the old ones just before may sign in with them
// until then.
func (s *Service) overlapEnds(op *saga.Op) time.Time {
	since := op.Updated
	for _, run := range op.Trail {
		if run.Name == stepVerify && !run.Undo {
			since = run.Ended
		}
	}
	return since.Add(s.overlap)
}

func (s *Service) waitUntil(ctx context.Context, end time.Time) error {
	left := min(end.Sub(s.now()), s.overlap) // at most, should the clock be set back
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return patchbay.Errorf(patchbay.Timeout, "wait for the overlap: %w", ctx.Err()).AsTransient()
	}
}

// unused fails with StillInUse while the login has open sessions.
func (s *Service) unused(ctx context.Context, id patchbay.ID, r driver.LoginRequest, source patchbay.ID) error {
	target, done, err := s.target(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	state, err := target.InspectLogin(ctx, r)
	if err != nil || state.Sessions == 0 {
		return err
	}
	return patchbay.Errorf(patchbay.StillInUse, "the login %s, which goes, has %d open sessions", r.Name, state.Sessions).
		AsTransient().WithFix("restart %s, so that it signs in with the one in its settings", source.Name())
}

func (s *Service) planDelete(ctx context.Context, op *saga.Op) ([]byte, error) {
	in, err := readInput(op)
	if err != nil {
		return nil, err
	}
	if err := s.actsFor(op, in).allow(ctx, actionOf(op.Kind, in.Want.ID), in.Want.ID); err != nil {
		return nil, err
	}
	held, err := s.openHolding(in.Connection)
	if err != nil {
		return nil, err
	}
	if held.Login != nil {
		if err := s.removable(ctx, held.Target, *held.Login); err != nil {
			return nil, err
		}
	}
	p := plan{Write: held.Written}
	p.outline = outline{Shut: held.Openings, ref: held.ref, Generation: in.Connection.Generation, Old: held.Login, OldTarget: held.Target}
	return s.sealPlan(op, p)
}

// removableLimit is how long a target is asked before a delete whether it would
// let the login be removed.
const removableLimit = 5 * time.Second

// removable fails when the target answers that it would not let the login be
// removed: then nothing has been taken away yet, and the error says what helps.
// One that does not answer is nothing that a delete waits for.
func (s *Service) removable(ctx context.Context, id patchbay.ID, r driver.LoginRequest) error {
	ctx, cancel := context.WithTimeout(ctx, removableLimit)
	defer cancel()
	target, done, err := s.target(ctx, id)
	if err != nil {
		return nil // it is gone, or can't be opened: the login becomes a leftover
	}
	defer done()
	if err := target.CheckRemoval(ctx, r); patchbay.CodeOf(err) == patchbay.AdminRights {
		return err
	}
	return nil
}

func (s *Service) removeSettings(ctx context.Context, op *saga.Op) ([]byte, error) {
	wrote, err := s.writeOf(op, partChange)
	if err != nil || wrote == nil {
		return nil, err
	}
	at, err := onSource(op)
	if err != nil {
		return nil, err
	}
	if err := s.change(ctx, at, wrote.removal()); err != nil {
		return nil, absentIsSuccess(err)
	}
	if remains := s.remains(ctx, at, wrote.removal()); remains != "" {
		return []byte(remains), nil
	}
	return nil, nil
}

// remains says which secrets of c are still on the source, with a value that is
// somebody's edit as far as can be known, "" for none. Whoever deletes may know
// better: a merge brings old values back, too.
func (s *Service) remains(ctx context.Context, at sourceRef, c driver.Change) string {
	source, done, err := s.source(ctx, at)
	if err != nil {
		return ""
	}
	defer done()
	now, err := source.ReadSettings(ctx)
	if err != nil {
		return ""
	}
	var names []string
	for _, had := range c.Had {
		if _, there := now.Settings[c.Key(had)]; there && had.Secret {
			names = append(names, had.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%s stays on %s, with a value that the connection did not write: if nobody else needs it, take it out", strings.Join(names, ", "), at.id.Name())
}

// change makes a change to whatever settings are there.
func (s *Service) change(ctx context.Context, at sourceRef, c driver.Change) error {
	source, done, err := s.source(ctx, at)
	if err != nil {
		return err
	}
	defer done()
	for try := 0; ; try++ {
		now, err := source.ReadSettings(ctx)
		if err != nil {
			return err
		}
		_, err = source.WriteSettings(ctx, c, now.Version)
		if patchbay.CodeOf(err) != patchbay.SettingsChanged || try == 3 {
			return err
		}
	}
}

func absentIsSuccess(err error) error {
	switch patchbay.CodeOf(err) {
	case patchbay.SourceNotFound, patchbay.ResourceNotFound:
		return nil
	}
	return err
}

// restartAfterDelete lets the application see that its settings are gone. That
// it then does not start is what a delete may do, so it never fails: its output
// is what to tell whoever deletes. The login goes all the same.
func (s *Service) restartAfterDelete(ctx context.Context, op *saga.Op) ([]byte, error) {
	at, err := onSource(op)
	if err != nil {
		return nil, err
	}
	err = absentIsSuccess(s.restartSource(ctx, at))
	if err == nil || patchbay.CodeOf(err) == patchbay.NotSupported {
		return nil, nil
	}
	return fmt.Appendf(nil, "%s could not be restarted, and may go on with settings that are gone until it is: %s", op.Source.Name(), patchbay.AsError(err).Message), nil
}

func (s *Service) revokeOwn(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.outlineOf(op)
	if err != nil || p.Old == nil {
		return nil, err
	}
	return nil, s.removeLogin(ctx, p.OldTarget, *p.Old)
}

// release lets go of what the source kept of before: nothing goes back to it.
func (s *Service) release(ctx context.Context, op *saga.Op) ([]byte, error) {
	wrote, err := s.writeOf(op, partChange)
	if err != nil || wrote == nil {
		return nil, err
	}
	at, err := onSource(op)
	if err != nil {
		return nil, err
	}
	return nil, s.releaseKept(ctx, at, releasedBy(op, *wrote))
}

// releasedBy is the change that op has made: a delete's is that of what went.
func releasedBy(op *saga.Op, w written) driver.Change {
	if op.Kind == patchbay.OpDelete {
		return w.removal()
	}
	return w.open()
}

func (s *Service) releaseKept(ctx context.Context, at sourceRef, c driver.Change) error {
	source, done, err := s.source(ctx, at)
	if err != nil {
		return absentIsSuccess(err)
	}
	defer done()
	return absentIsSuccess(source.Release(ctx, c))
}

// passedPivot reports whether op's new state holds although it was given up
// later.
func passedPivot(op *saga.Op, pivot string) bool {
	for i, name := range op.Plan {
		if name == pivot {
			return op.Step > i
		}
	}
	return false
}

func (s *Service) finishChange(_ context.Context, op *saga.Op, outcome patchbay.OperationState) (saga.Commit, error) {
	in, err := readInput(op)
	if err != nil {
		return saga.Commit{}, err
	}
	if outcome != patchbay.Done && !(outcome == patchbay.Abandoned && passedPivot(op, stepVerify)) {
		message := notRestarted(op)
		if in.Created {
			return saga.Commit{DeleteConnection: in.Want.ID, Message: message}, nil
		}
		back := in.Connection
		back.Operation, back.ETag = op.ID, newETag()
		if back.Sealed, err = s.spend(op, back); err != nil {
			return saga.Commit{}, err
		}
		return saga.Commit{PutConnection: &back, Message: message}, nil
	}
	p, err := s.agreedOf(op)
	if err != nil {
		return saga.Commit{}, err
	}
	wrote, err := s.writeOf(op, partChange)
	if err != nil {
		return saga.Commit{}, err
	}
	c := in.Want
	if p.Spec != nil {
		c.Spec = *p.Spec
	}
	message := joined(p.Message, warningsOf(op))
	c.State, c.Generation, c.ETag, c.Message = patchbay.Succeeded, p.Generation, newETag(), message
	h := holding{ref: p.ref, Last: p.Last, Given: p.Given, Where: p.Where, Login: p.Login, LoginKind: p.LoginKind, Credential: p.Credential, Reading: p.Reading, Denied: p.Denied}
	h.Openings, c.Guards = recorded(p.Open)
	c.Login = ""
	if p.Login != nil {
		c.Login = p.Login.Name
	}
	c.Keys = nil
	if h.Written = wrote.kept(); h.Written != nil {
		for _, set := range h.Written.Change.Set {
			c.Keys = append(c.Keys, set.Name)
		}
	}
	c.Sealed, err = s.seal(h, "connection "+c.UID)
	if err != nil {
		return saga.Commit{}, err
	}
	return saga.Commit{PutConnection: &c, Message: message, Verdict: proven(op, p.LoginKind, c, s.now().UTC())}, nil
}

// proven is what a change that came to its end says of the connection's health: that the
// application can sign in. nil when that was not tried.
func proven(op *saga.Op, login loginKind, c patchbay.Connection, now time.Time) *patchbay.Verdict {
	if string(op.Output(stepProbe)) != "true" || login == loginIdentity {
		return nil
	}
	return &patchbay.Verdict{Connection: c.ID, UID: c.UID, Health: patchbay.Healthy, Cause: patchbay.CauseOperation, Operation: op.ID, Last: now}
}

// joined are the messages that say something, as one.
func joined(messages ...string) string {
	return strings.Join(slices.DeleteFunc(messages, func(m string) bool { return m == "" }), "; ")
}

// spend is what c holds, with the generation that op used counted as used
// although op was undone.
func (s *Service) spend(op *saga.Op, c patchbay.Connection) (patchbay.Sealed, error) {
	p, err := s.outlineOf(op)
	if err != nil || p.Last == 0 {
		return c.Sealed, err
	}
	held, err := s.openHolding(c)
	if err != nil || held.Last >= p.Last {
		return c.Sealed, err
	}
	held.Last = p.Last
	return s.seal(held, "connection "+c.UID)
}

func (s *Service) finishDelete(_ context.Context, op *saga.Op, outcome patchbay.OperationState) (saga.Commit, error) {
	in, err := readInput(op)
	if err != nil {
		return saga.Commit{}, err
	}
	if outcome == patchbay.Undone || outcome == patchbay.Abandoned && !passedPivot(op, stepPlan) {
		back := in.Connection
		back.Operation, back.ETag = op.ID, newETag()
		return saga.Commit{PutConnection: &back}, nil
	}
	return saga.Commit{DeleteConnection: in.Want.ID, Message: joined(string(op.Output(stepSettings)), string(op.Output(stepRestart)), notRevoked(op, in.Connection.Login))}, nil
}

// notRevoked says that the login of a connection that was deleted is still there, ""
// when it is gone.
func notRevoked(op *saga.Op, login string) string {
	for _, run := range op.Trail {
		if run.Parked && run.Name == stepRevoke {
			return fmt.Sprintf("the login %s could not be removed yet, and may still sign in: %s", login, patchbay.AsError(run.Error).Message)
		}
	}
	return ""
}

func (s *Service) finishValidate(ctx context.Context, op *saga.Op, outcome patchbay.OperationState) (saga.Commit, error) {
	if outcome != patchbay.Done {
		verdict, err := s.unrepaired(ctx, op)
		return saga.Commit{Message: notRestarted(op), Verdict: verdict}, err
	}
	var report patchbay.Report
	if err := unmarshalReport(op.Output(stepValidate), &report); err != nil {
		return saga.Commit{}, err
	}
	in, err := readInput(op)
	if err != nil {
		return saga.Commit{}, err
	}
	moved, err := s.moved(ctx, op)
	end := saga.Commit{Result: &report, PutConnection: moved}
	if in.From == patchbay.FromSource { // what others see says nothing of the application
		verdict := report.Verdict(in.Want.UID, patchbay.CauseOperation)
		verdict.Operation = op.ID
		end.Verdict = &verdict
		if in.Fix && err == nil {
			err = s.repaired(ctx, op, &verdict)
		}
	}
	return end, err
}

// errNothing is the cause of a leftover that an operator's abandon makes.
var errNothing = errors.New("the operation was abandoned")
