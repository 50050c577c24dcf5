package connector

import (
	"cmp"
	"context"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

const (
	// lookers is how many connections are looked at at once, atTarget how many of one
	// target. Of one source it is one: its operations come one at a time too.
	lookers  = 8
	atTarget = 2
	// maxLook bounds one look, whatever hangs.
	maxLook = 2 * time.Minute
	// again is when a connection that turned bad is looked at once more before that is
	// news, and when one that an operation was at is looked at instead.
	again = 5 * time.Second
	// settling is for how long a source's changes are one change, and rest how long
	// passes between two looks for their sake.
	settling = 2 * time.Second
	rest     = 10 * time.Second
	// grace is how long what drifted is left alone, for whoever is at work there.
	grace = time.Minute
	// maxRepairs is how often the settings of one connection are put back in repairHours.
	maxRepairs  = 3
	repairHours = time.Hour
	// memory is for how long what was put back is not put back again: whoever changed it
	// a second time means it.
	memory = 24 * time.Hour
)

// WatchObserver is told of what a watch does. Its methods return at once.
type WatchObserver interface {
	Looked(cause patchbay.Cause, health patchbay.Health, took time.Duration)
	// Repaired says that what drifted was put back, or (stopped) that it is left as it is.
	Repaired(stopped bool)
	// Health is how many connections are of which health.
	Health(counts map[patchbay.Health]int)
}

// Watch looks at each connection once in every, spread out, and at those of a source soon
// after its platform says that something changed. It returns when ctx ends. every 0 is
// never.
func (s *Service) Watch(ctx context.Context, every time.Duration) error {
	if every <= 0 {
		return nil
	}
	w := newWatch(s, every)
	defer w.wait.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		// To count is cheap; who is to be followed is read when that says so, and once a
		// minute for what is registered anew.
		if n%5 == 0 && w.count(ctx) || n%60 == 0 {
			w.follow(ctx)
		}
		w.begin(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func newWatch(s *Service, every time.Duration) *watch {
	return &watch{
		Service: s, every: every, pause: pause,
		looking: map[string]bool{}, at: map[string]int{}, due: map[string]appointment{}, followed: map[sourceRef]follower{},
	}
}

// watch looks at connections.
type watch struct {
	*Service
	every time.Duration
	// pause waits so long, or fails as ctx does.
	pause func(ctx context.Context, d time.Duration) error
	wait  sync.WaitGroup

	mu       sync.Mutex
	looking  map[string]bool        // by source
	at       map[string]int         // looks at a target
	running  int                    // looks in all
	due      map[string]appointment // out of turn, by connection
	budget   float64                // looks in turn that may begin
	total    int                    // connections
	followed map[sourceRef]follower
}

// appointment is a look that does not wait for its turn.
type appointment struct {
	store.Glance
	when  time.Time
	cause patchbay.Cause
}

// count asks how many there are, says so, and reports whether they are more or less.
func (w *watch) count(ctx context.Context) (other bool) {
	counts, err := w.records.CountHealth(ctx)
	if err != nil {
		w.log.WarnContext(ctx, "connections can't be counted", "code", patchbay.CodeOf(err))
		return false
	}
	before := w.total
	w.total = 0
	for _, n := range counts {
		w.total += n
	}
	if w.watched != nil {
		w.watched.Health(counts)
	}
	return w.total != before
}

// begin begins the looks whose time has come, as far as there is room. All of those in
// turn are begun in half of the time that there is: after a pause, no crowd.
func (w *watch) begin(ctx context.Context) {
	now := w.now()
	w.budget = min(w.budget+2*float64(w.total+1)/w.every.Seconds(), lookers)
	w.mu.Lock()
	var soon []appointment
	for _, a := range w.due {
		if !a.when.After(now) {
			soon = append(soon, a)
		}
	}
	w.mu.Unlock()
	slices.SortFunc(soon, func(a, b appointment) int { return a.when.Compare(b.when) })
	for _, a := range soon {
		w.start(ctx, a)
	}
	if w.budget < 1 {
		return
	}
	// Many, for those that wait for one target must not hide the others.
	unseen, err := w.records.Unseen(ctx, now.Add(-w.every), store.MaxPage)
	if err != nil {
		w.log.WarnContext(ctx, "connections can't be listed", "code", patchbay.CodeOf(err))
		return
	}
	for _, g := range unseen {
		w.mu.Lock()
		_, later := w.due[g.ID.Key()]
		w.mu.Unlock()
		if w.budget >= 1 && !later && w.start(ctx, appointment{g, now, patchbay.CauseSchedule}) {
			w.budget--
		}
	}
}

// start begins a look, if there is room for it.
func (w *watch) start(ctx context.Context, a appointment) bool {
	source, target := string(a.ID), a.Target.Key()
	if a.Source != "" {
		source = a.Source.Key()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running >= lookers || w.looking[source] || target != "" && w.at[target] >= atTarget {
		return false
	}
	delete(w.due, a.ID.Key())
	w.running++
	w.looking[source] = true
	w.at[target]++
	w.wait.Go(func() {
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.running--
			delete(w.looking, source)
			if w.at[target]--; w.at[target] == 0 {
				delete(w.at, target)
			}
		}()
		w.look(ctx, a)
	})
	return true
}

// appoint has a connection looked at then, if not before.
func (w *watch) appoint(g store.Glance, cause patchbay.Cause, when time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a, ok := w.due[g.ID.Key()]; !ok || when.Before(a.when) {
		w.due[g.ID.Key()] = appointment{g, when, cause}
	}
}

// look looks at one connection, and records what it found.
func (w *watch) look(ctx context.Context, a appointment) {
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	c, v, err := w.verdict(ctx, a)
	if err == nil && v.Health == patchbay.Unhealthy && v.Turned(c.Health) && w.pause(ctx, again) == nil {
		c, v, err = w.verdict(ctx, a) // a moment's weakness is no news
	}
	if err == nil {
		err = w.judge(ctx, a, c, v)
	}
	switch code := patchbay.CodeOf(err); {
	case err == nil:
		if w.watched != nil {
			w.watched.Looked(a.cause, v.Health, v.Took)
		}
	case ctx.Err() != nil && ctx.Err() != context.DeadlineExceeded, code == patchbay.ResourceNotFound:
	case code == patchbay.OperationInProgress:
		w.appoint(a.Glance, a.cause, w.now().Add(again))
	default:
		w.log.WarnContext(ctx, "a connection can't be looked at", "connection", string(a.ID), "code", code)
		w.appoint(a.Glance, a.cause, w.now().Add(time.Minute))
	}
}

// verdict looks at a connection while no operation is at its source: what is found
// between two steps of one is neither what was nor what will be.
func (w *watch) verdict(ctx context.Context, a appointment) (patchbay.Connection, patchbay.Verdict, error) {
	c, err := w.records.Connection(ctx, a.ID)
	if err != nil {
		return c, patchbay.Verdict{}, err
	}
	before, err := w.atRest(ctx, c)
	if err != nil {
		return c, patchbay.Verdict{}, err
	}
	held, err := w.openHolding(c)
	if err != nil {
		return c, patchbay.Verdict{}, err
	}
	report := w.examine(ctx, c, held, patchbay.FromSource)
	if err := ctx.Err(); err != nil {
		return c, patchbay.Verdict{}, err
	}
	after, err := w.atRest(ctx, c)
	if err == nil && after != before {
		err = patchbay.Errorf(patchbay.OperationInProgress, "an operation was at %s meanwhile", c.Name)
	}
	return c, report.Verdict(c.UID, a.cause), err
}

// atRest is the last operation at c's source; OperationInProgress when one has not ended.
func (w *watch) atRest(ctx context.Context, c patchbay.Connection) (string, error) {
	at := store.OperationFilter{Source: runsOn(c)}
	last, _, err := w.records.Operations(ctx, at, "", 1)
	if err != nil {
		return "", err
	}
	at.Active = true
	active, _, err := w.records.Operations(ctx, at, "", 1)
	if err == nil && (len(active) > 0 || changing(c)) {
		err = patchbay.Errorf(patchbay.OperationInProgress, "an operation is at the source of %s", c.Name)
	}
	if err != nil || len(last) == 0 {
		return "", err
	}
	return last[0].ID, nil
}

// repairer is who puts back what drifted.
const repairer = "patchbay"

// judge records a verdict, and has what drifted put back where the connection asks for
// that. The verdict is on record before the repair begins: none is forgotten.
func (w *watch) judge(ctx context.Context, a appointment, c patchbay.Connection, v patchbay.Verdict) error {
	drifted := v.Drifted()
	if c.Spec.Drift != patchbay.DriftRepair || len(drifted) == 0 {
		return w.records.PutVerdict(ctx, v)
	}
	since := v.Last
	if h := c.Health; h != nil && h.UID == c.UID && h.Repair == "" && slices.Equal(h.Drifted(), drifted) {
		since = h.First
	}
	var err error
	switch v.Stopped, v.Kept, err = w.whyNot(ctx, v, drifted); {
	case err != nil:
		return err
	case v.Kept != "":
		w.gaveUp(v, c.Health)
		return w.records.PutVerdict(ctx, v)
	case v.Last.Sub(since) < grace:
		w.appoint(a.Glance, a.cause, since.Add(grace))
		return w.records.PutVerdict(ctx, v)
	}
	v.Repair = uuid.NewString()
	if err := w.records.PutVerdict(ctx, v); err != nil {
		return err
	}
	switch _, err := w.mend(ctx, c, Trusted(repairer), v.Repair); {
	case patchbay.CodeOf(err) == patchbay.OperationInProgress:
		return err // no operation of that id is no repair
	case err != nil:
		v.Repair = ""
		v.Stopped, v.Kept = notPutBack(patchbay.AsError(err))
		w.gaveUp(v, c.Health)
		return w.records.PutVerdict(ctx, v)
	}
	w.log.InfoContext(ctx, "settings that drifted are being put back", "connection", string(c.ID), "operation", v.Repair)
	return nil
}

func notPutBack(why *patchbay.Error) (patchbay.RepairStop, string) {
	return patchbay.StopFailed, "it could not be put back: " + why.Message
}

// gaveUp counts a verdict that leaves what drifted as it is, if that is news.
func (s *Service) gaveUp(v patchbay.Verdict, before *patchbay.Verdict) {
	if s.watched != nil && v.GivesUp(before) {
		s.watched.Repaired(true)
	}
}

// repaired adds to a verdict what op has put back, if it is a repair.
func (s *Service) repaired(ctx context.Context, op *saga.Op, v *patchbay.Verdict) error {
	if found, err := s.repairOf(ctx, op); err != nil || found == nil {
		return err
	}
	p, err := s.outlineOf(op)
	if err != nil {
		return err
	}
	if v.PutBack = p.PutBack; s.watched != nil && len(v.PutBack) > 0 {
		s.watched.Repaired(false)
	}
	return nil
}

// unrepaired is the verdict of a repair that came to nothing: what was found before it
// still holds. nil for any other operation.
func (s *Service) unrepaired(ctx context.Context, op *saga.Op) (*patchbay.Verdict, error) {
	found, err := s.repairOf(ctx, op)
	if err != nil || found == nil || passedPivot(op, stepValidate) {
		return nil, err
	}
	why := cmp.Or(op.Error, op.Reason)
	if why == nil {
		why = patchbay.Errorf(patchbay.Canceled, "the operation was given up")
	}
	v := patchbay.Verdict{
		Connection: found.Connection, UID: found.UID, Health: found.Health, Checks: found.Checks,
		Cause: patchbay.CauseOperation, Operation: op.ID, Last: s.now().UTC(),
	}
	v.Stopped, v.Kept = notPutBack(why)
	s.gaveUp(v, found)
	return &v, nil
}

// repairOf is the verdict that led to op, nil when none did.
func (s *Service) repairOf(ctx context.Context, op *saga.Op) (*patchbay.Verdict, error) {
	if op.By != repairer {
		return nil, nil
	}
	all, err := s.records.Verdicts(ctx, op.Connection)
	if i := slices.IndexFunc(all, func(v patchbay.Verdict) bool { return v.Repair == op.ID }); i >= 0 {
		return &all[i], err
	}
	return nil, err
}

// whyNot says why what drifted is left as it is; "" when nothing speaks against putting
// it back: not often, and never against somebody who does it again.
func (w *watch) whyNot(ctx context.Context, v patchbay.Verdict, drifted []patchbay.Check) (patchbay.RepairStop, string, error) {
	all, err := w.records.Verdicts(ctx, v.Connection)
	if err != nil {
		return "", "", err
	}
	repairs := 0
	for _, before := range all {
		if before.Repair == "" || before.UID != v.UID || v.Last.Sub(before.Last) > memory {
			continue
		}
		op, err := w.records.Operation(ctx, before.Repair)
		switch {
		case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
			continue // the server ended before it began
		case err != nil:
			return "", "", err
		}
		failed := op.State.Ended() && op.State != patchbay.Done // then nobody changed anything again
		if !failed && slices.ContainsFunc(before.Drifted(), func(one patchbay.Check) bool { return slices.Contains(drifted, one) }) {
			return patchbay.StopChangedAgain, "it was put back at " + before.Last.UTC().Format(time.RFC3339) + ", and somebody changed it again: it is left to them", nil
		}
		if v.Last.Sub(before.Last) < repairHours {
			repairs++
		}
	}
	if repairs >= maxRepairs {
		return patchbay.StopTooOften, "it had enough repairs for an hour", nil
	}
	return "", "", nil
}

// follower is who follows a source.
type follower struct {
	etag string // of its registration
	stop context.CancelFunc
}

// follow follows the sources of all connections, and no others.
func (w *watch) follow(ctx context.Context) {
	wanted := map[sourceRef]bool{}
	err := w.eachOf(ctx, "", func(c patchbay.Connection) error {
		if !c.ID.IsLocal() {
			wanted[sourceRef{patchbay.ID(c.Source.Key()), c.Spec.Scope}] = true
		}
		return nil
	})
	if err != nil {
		return
	}
	for ref, f := range w.followed {
		r, err := w.records.Resource(ctx, ref.id)
		if !wanted[ref] || err == nil && r.ETag != f.etag || patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			f.stop()
			delete(w.followed, ref)
		}
	}
	for ref := range wanted {
		if _, ok := w.followed[ref]; ok {
			continue
		}
		r, err := w.records.Resource(ctx, ref.id)
		if err != nil {
			continue
		}
		following, stop := context.WithCancel(ctx)
		w.followed[ref] = follower{r.ETag, stop}
		w.wait.Go(func() { w.attend(following, ref) })
	}
}

// attend has the connections of a source looked at after each of its changes, until ctx
// ends or its platform does not say.
func (w *watch) attend(ctx context.Context, ref sourceRef) {
	changed := make(chan struct{}, 1)
	// What changed while nobody followed is found in turn, or soon: not all at once.
	begun := false
	var group sync.WaitGroup
	defer group.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			if w.pause(ctx, settling) != nil {
				return
			}
			select { // what came meanwhile is the same change
			case <-changed:
			default:
			}
			var delay time.Duration
			if !begun {
				begun, delay = true, spread(ref, min(w.every/10, 5*time.Minute))
			}
			w.changed(ctx, ref, w.now().Add(delay))
			if w.pause(ctx, rest) != nil {
				return
			}
		}
	})
	for delay := time.Second; ; delay = min(2*delay, 5*time.Minute) {
		began := w.now()
		err := w.watchSource(ctx, ref, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		code := patchbay.CodeOf(err)
		if ctx.Err() != nil || code == patchbay.NotSupported {
			return
		}
		if w.now().Sub(began) > 5*time.Minute {
			delay = time.Second
		}
		w.log.DebugContext(ctx, "a source can't be followed", "source", string(ref.id), "code", code)
		if w.pause(ctx, delay) != nil {
			return
		}
	}
}

// spread is a moment within d, for each source its own.
func spread(ref sourceRef, d time.Duration) time.Duration {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(ref.id.Key() + " " + ref.scope))
	return d / 1000 * time.Duration(sum.Sum32()%1000)
}

func (w *watch) watchSource(ctx context.Context, ref sourceRef, changed func()) error {
	source, done, err := w.source(ctx, ref)
	if err != nil {
		return err
	}
	defer done()
	return source.Watch(ctx, changed)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// changed has the connections of a source looked at then.
func (w *watch) changed(ctx context.Context, ref sourceRef, when time.Time) {
	_ = w.eachOf(ctx, ref.id, func(c patchbay.Connection) error {
		if c.Spec.Scope == ref.scope {
			w.appoint(store.Glance{ID: c.ID, Source: c.Source, Target: patchbay.ID(c.Spec.Target.ID.Key())}, patchbay.CauseChange, when)
		}
		return nil
	})
}

// History implements [API].
func (s *Service) History(ctx context.Context, id patchbay.ID) ([]patchbay.Verdict, error) {
	if _, err := s.records.Connection(ctx, id); err != nil {
		return nil, err
	}
	all, err := s.records.Verdicts(ctx, id)
	for i := range all {
		all[i].Seen = nil // a name server's answers are nobody's
	}
	return all, err
}
