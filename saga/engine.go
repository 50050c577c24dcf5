package saga

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/failpoint"
	"patchbay.dev/patchbay/internal/fairshare"
)

// Options tune an [Engine]. The zero value of each means its default.
type Options struct {
	Logger   *slog.Logger
	Observer Observer
	Clock    patchbay.Clock

	MaxQueued   int // operations that wait per source; 64
	MaxTarget   int // operations per target that have not ended (see Limits); 2,000
	MaxActive   int // steps in flight at a time, divided as package fairshare says; 256
	MaxAttempts int // attempts of a step on its way forward that fails transiently; 3
	ParkAfter   int // attempts of a step on its way back or behind the pivot; 8

	StepTimeout  time.Duration // of one attempt of a step that names none; 30 s
	LeaseTTL     time.Duration // how long a dead process keeps its operations; 10 s
	Isolate      time.Duration // how long, at a start, steps that may have ended the process keep the others waiting; 10 s
	SweepEvery   time.Duration // between looks for what was forgotten; 1 s
	DrainTimeout time.Duration // that steps in flight get when Run's context ends; 20 s
	Retain       time.Duration // how long ended operations are kept; 7 days, negative: for ever

	// Backoff is the wait before the attempt after n failed ones (n ≥ 1); by
	// default 100 ms · 2ⁿ, jittered, at most 5 min.
	Backoff func(n int) time.Duration
}

func (o Options) withDefaults() Options {
	o.Logger = orElse(o.Logger, slog.New(slog.DiscardHandler))
	if o.Observer == nil {
		o.Observer = silent{}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Backoff == nil {
		o.Backoff = backoff
	}
	o.MaxQueued = orElse(o.MaxQueued, 64)
	o.MaxTarget = orElse(o.MaxTarget, 2000)
	o.MaxActive = orElse(o.MaxActive, 256)
	o.MaxAttempts = orElse(o.MaxAttempts, 3)
	o.ParkAfter = orElse(o.ParkAfter, 8)
	o.StepTimeout = orElse(o.StepTimeout, 30*time.Second)
	o.LeaseTTL = orElse(o.LeaseTTL, 10*time.Second)
	o.Isolate = orElse(o.Isolate, 10*time.Second)
	o.SweepEvery = orElse(o.SweepEvery, time.Second)
	o.DrainTimeout = orElse(o.DrainTimeout, 20*time.Second)
	o.Retain = orElse(o.Retain, 7*24*time.Hour)
	return o
}

func orElse[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

const maxBackoff = 5 * time.Minute

// backoff is jittered over its upper half, so that what failed together does
// not come back together.
func backoff(n int) time.Duration {
	d := maxBackoff
	if n < 12 {
		d = min(d, 100*time.Millisecond<<n)
	}
	return d/2 + rand.N(d/2)
}

// claimBatch bounds what one look at the store takes over, and retireBatch what
// one deletes, so that neither holds up other writers.
const (
	claimBatch  = 256
	retireBatch = 500
	maxSteps    = 64
)

// Why a drive stops without a word in the journal: whoever drives the
// operation next goes on from the row.
var (
	errStopping = errors.New("saga: the engine is stopping")
	errLease    = errors.New("saga: the lease is lost")
	errAsked    = errors.New("saga: an operator asked for something else")
)

// Engine runs operations. Make one with [New], and let [Engine.Run] run for as
// long as the process should drive any.
type Engine struct {
	store     Store
	workflows map[patchbay.OperationKind]*workflow
	opts      Options
	log       *slog.Logger
	life      Life
	tracer    trace.Tracer

	slots    *fairshare.Pool // one place per step in flight
	turns    *fairshare.Pool // one place, for a step that may end the process
	started  atomic.Bool
	stopping context.Context // ends when nothing new begins any more
	halt     context.CancelFunc
	drives   sync.WaitGroup

	opened chan struct{} // closed when drives may begin
	ending atomic.Bool   // see [Engine.Ending]

	mu   sync.Mutex
	held map[string]*hold // what this process drives
	base context.Context  // of every drive; nil before there are any

	renewMu sync.Mutex
	renewed time.Time // when the lease was last known to hold, monotonic

	watch watchers

	// spawn starts a drive, and pause waits between attempts; tests replace them
	// to make an engine run one step after the other.
	spawn func(func())
	pause func(ctx context.Context, h *hold, d time.Duration) error
}

// hold is one operation that this process drives. While it is in the engine's
// map nobody else in the process touches the operation.
type hold struct {
	id     string
	poke   chan struct{} // the row changed under us, or an operator wants it now
	parent trace.SpanContext
	once   bool // drive it by one attempt, and let it go
	// marking is held while the journal is told of an attempt, and alone says
	// what it is told: see [Engine.isolate].
	marking sync.Mutex
	alone   bool
	// latest is the row as this process last knew it to be durable.
	latest atomic.Pointer[patchbay.Operation]
	// interrupt ends the attempt in flight, or the wait for its place; nil
	// between attempts.
	mu        sync.Mutex
	interrupt context.CancelCauseFunc
}

// knows notes the row.
func (h *hold) knows(op *Op) {
	known := op.Operation
	h.latest.Store(&known)
}

// version is that of the row as last known, 0 before.
func (h *hold) version() int64 {
	if op := h.latest.Load(); op != nil {
		return op.Version
	}
	return 0
}

func (h *hold) wake() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// New makes an engine of the workflows. It does nothing before [Engine.Run];
// an operation that is submitted earlier waits for it.
func New(store Store, workflows []Workflow, opts Options) (*Engine, error) {
	opts = opts.withDefaults()
	e := &Engine{
		store: store, opts: opts, log: opts.Logger,
		workflows: map[patchbay.OperationKind]*workflow{},
		life:      Life{ID: uuid.NewString()},
		tracer:    otel.Tracer("patchbay.dev/patchbay/saga"),
		slots:     fairshare.New(opts.MaxActive, 0),
		turns:     fairshare.New(1, 0),
		opened:    make(chan struct{}),
		held:      map[string]*hold{},
	}
	e.stopping, e.halt = context.WithCancel(context.Background())
	e.spawn = func(f func()) { go f() }
	e.pause = e.wait
	for _, w := range workflows {
		c, err := compile(w)
		if err != nil {
			return nil, err
		}
		if e.workflows[w.Kind] != nil {
			return nil, patchbay.Errorf(patchbay.Internal, "two workflows of kind %s", w.Kind)
		}
		e.workflows[w.Kind] = c
		e.life.Kinds = append(e.life.Kinds, w.Kind)
	}
	slices.Sort(e.life.Kinds)
	return e, nil
}

// Run takes over what a dead process left, drives it and everything that is
// submitted, and returns when ctx has ended and the steps that were in flight
// have. Steps that outlive Options.DrainTimeout are told to stop, and run again
// at the next start. It can be called once.
func (e *Engine) Run(ctx context.Context) error {
	if e.started.Swap(true) {
		return patchbay.Errorf(patchbay.Internal, "the engine runs already, or has run")
	}
	base, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(errStopping)
	if err := e.renew(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	heart := make(chan struct{})
	go func() {
		defer close(heart)
		e.heartbeat(base)
	}()
	e.isolate(ctx, base)
	if ctx.Err() == nil {
		e.open(base)
		e.sweep(ctx)
	}
	sweeps := time.NewTicker(e.opts.SweepEvery)
	defer sweeps.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-sweeps.C:
			e.sweep(ctx)
		}
	}
	err := e.drain(stop)
	stop(errStopping)
	<-heart
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opts.StepTimeout)
	defer cancel()
	return errors.Join(err, e.store.Release(release, e.life, err != nil))
}

// open lets drives begin.
func (e *Engine) open(base context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.base = base
	close(e.opened)
}

// Opened is closed when no step is tried alone any more: before, whatever else
// may end the process has to wait, or the step is taken for the culprit.
func (e *Engine) Opened() <-chan struct{} { return e.opened }

// drain lets the steps in flight end.
func (e *Engine) drain(stop context.CancelCauseFunc) error {
	e.mu.Lock()
	e.halt() // under mu: no drive begins after this
	e.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		e.drives.Wait()
		close(ended)
	}()
	bound := time.NewTimer(e.opts.DrainTimeout)
	defer bound.Stop()
	select {
	case <-ended:
		return nil
	case <-bound.C:
	}
	e.log.Warn("steps are still in flight; telling them to stop", "after", e.opts.DrainTimeout)
	stop(errStopping)
	bound.Reset(2 * time.Second)
	select {
	case <-ended:
		return nil
	case <-bound.C:
		return patchbay.Errorf(patchbay.Timeout, "%d operations still have a step that does not stop; they go on at the next start", e.driving())
	}
}

func (e *Engine) driving() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.held)
}

// now is the time as the journal keeps it.
func (e *Engine) now() time.Time { return e.opts.Clock().UTC().Round(0) }

// Life is the id of this process's life, for logs.
func (e *Engine) Life() string { return e.life.ID }

// renew extends the lease. The time that counts is the one before the call: the
// store may have answered late. What was in flight while the lease had lapsed
// is interrupted: another process may be at it.
func (e *Engine) renew(ctx context.Context) error {
	if !e.leaseHolds() {
		e.interruptAll(errLease)
	}
	at := e.opts.Clock()
	if err := e.store.Renew(ctx, e.life, e.opts.LeaseTTL); err != nil {
		return err
	}
	e.renewMu.Lock()
	defer e.renewMu.Unlock()
	e.renewed = at
	return nil
}

// leaseHolds reports whether no other process can have taken over yet, with a
// quarter of the lease to spare.
func (e *Engine) leaseHolds() bool {
	e.renewMu.Lock()
	defer e.renewMu.Unlock()
	return e.opts.Clock().Sub(e.renewed) < e.opts.LeaseTTL*3/4
}

// heartbeat renews the lease. When it could not for ¾ of its time every attempt
// in flight is interrupted: by the time that others may take over, nothing here
// runs any more.
func (e *Engine) heartbeat(ctx context.Context) {
	beat := time.NewTicker(e.opts.LeaseTTL / 4)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		call, cancel := context.WithTimeout(ctx, e.opts.LeaseTTL/4)
		err := e.renew(call)
		cancel()
		if err != nil && ctx.Err() == nil {
			e.log.Error("the lease is not renewed", "error", err)
		}
	}
}

func (e *Engine) interruptAll(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.held {
		h.stopAttempt(cause)
	}
}

func (h *hold) stopAttempt(cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.interrupt != nil {
		h.interrupt(cause)
	}
}

// sweep is the one mechanism for everything that can be forgotten: operations
// of dead processes, promotions that lost a race, commits whose answer was
// lost, submissions that timed out.
func (e *Engine) sweep(ctx context.Context) {
	if !e.leaseHolds() {
		return
	}
	for _, o := range e.claim(ctx) {
		e.start(o.ID, nil, nil)
	}
	promoted, err := e.store.Promote(ctx, e.life, e.now(), claimBatch)
	e.complain(ctx, "promote", err)
	for _, id := range promoted {
		e.start(id, nil, nil)
	}
	mine, err := e.store.Mine(ctx, e.life)
	e.complain(ctx, "reconcile", err)
	for id, version := range mine {
		e.mu.Lock()
		h := e.held[id]
		e.mu.Unlock()
		switch {
		case h == nil:
			e.start(id, nil, nil)
		case version > h.version():
			h.wake()
		}
	}
	waiting, err := e.store.Waiting(ctx)
	e.complain(ctx, "count", err)
	if err == nil {
		e.opts.Observer.Load(e.driving(), waiting)
	}
	if e.opts.Retain > 0 {
		_, err = e.store.Retire(ctx, e.now().Add(-e.opts.Retain), retireBatch)
		e.complain(ctx, "retire", err)
	}
}

func (e *Engine) complain(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		e.log.Error("the journal does not answer", "tried", what, "error", err)
	}
}

// claim takes over what dead processes left.
func (e *Engine) claim(ctx context.Context) (all []Orphan) {
	for {
		orphans, err := e.store.Claim(ctx, e.life, claimBatch)
		e.complain(ctx, "claim", err)
		if err != nil || len(orphans) == 0 {
			return all
		}
		e.log.Info("took over operations", "count", len(orphans))
		all = append(all, orphans...)
	}
}

// take reserves the operation for one drive of this process; nil when there is
// one already.
func (e *Engine) take(id string) *hold {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held[id] != nil {
		return nil
	}
	h := &hold{id: id, poke: make(chan struct{}, 1)}
	e.held[id] = h
	return h
}

func (e *Engine) letGo(h *hold) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.held[h.id] == h {
		delete(e.held, h.id)
	}
}

// start begins a drive. h is the reservation, nil to make one; op is the row,
// nil to read it. A row may be handed over only if it was written after the
// reservation was made: an older one may have been driven to its end meanwhile.
func (e *Engine) start(id string, h *hold, op *Op) {
	if h == nil {
		if h = e.take(id); h == nil {
			return
		}
	}
	e.mu.Lock()
	base := e.base
	if e.stopping.Err() != nil {
		base = nil
	}
	if base != nil {
		e.drives.Add(1)
	}
	e.mu.Unlock()
	if base == nil {
		e.letGo(h) // before drives may begin, or after: the next sweep finds it
		return
	}
	e.spawn(func() {
		defer e.drives.Done()
		defer e.letGo(h)
		e.drive(base, h, op)
	})
}

// Submit begins an operation. The same id with the same hash again is answered
// with the operation that it made. The refusals are those of [Store.Submit].
func (e *Engine) Submit(ctx context.Context, s Submission) (patchbay.Operation, error) {
	w := e.workflows[s.Kind]
	if w == nil {
		return patchbay.Operation{}, patchbay.Errorf(patchbay.Internal, "no workflow of kind %q", s.Kind)
	}
	if err := w.check(s); err != nil {
		return patchbay.Operation{}, err
	}
	if e.stopping.Err() != nil {
		return patchbay.Operation{}, patchbay.Errorf(patchbay.Internal, "the server is stopping").AsTransient()
	}
	if !e.leaseHolds() { // or another process takes the operation for an orphan
		if err := e.renew(ctx); err != nil {
			return patchbay.Operation{}, err
		}
	}
	h := e.take(s.ID) // before the write, so that a sweep in between does not drive it too
	if h != nil {
		h.parent = trace.SpanContextFromContext(ctx)
	}
	op, fresh, err := e.store.Submit(ctx, e.life, s, Limits{Queued: e.opts.MaxQueued, Target: e.opts.MaxTarget}, e.now())
	if err == nil && fresh {
		err = failpoint.Hit(ctx, fmt.Sprintf("%s/begin/after-commit", s.Kind))
	}
	if err != nil && !refused(err) {
		op, err = e.submitted(ctx, s, err)
		fresh = false
	}
	switch {
	case h == nil: // it is driven already
	case err == nil && fresh && op.State == patchbay.Running:
		e.start(op.ID, h, &op)
	default:
		e.letGo(h)
		if err == nil && op.Owner == e.life.ID {
			e.start(op.ID, nil, nil)
		}
	}
	if err != nil {
		return patchbay.Operation{}, err
	}
	if fresh {
		e.log.Info("operation begins", "operation", op.ID, "kind", op.Kind, "connection", op.Connection, "state", op.State)
	}
	return op.Operation, nil
}

// submitted finds out what became of a submission whose answer was lost. When
// that can't be known either, the cause is the answer, and the sweep drives
// what there is.
func (e *Engine) submitted(ctx context.Context, s Submission, cause error) (Op, error) {
	op, err := e.store.Load(ctx, s.ID)
	if err != nil {
		return Op{}, cause
	}
	return op, s.Same(op)
}

// refused reports whether err says for certain that nothing was written.
func refused(err error) bool {
	switch patchbay.CodeOf(err) {
	case patchbay.Conflict, patchbay.OperationInProgress, patchbay.PreconditionFailed, patchbay.TooManyRequests:
		return true
	}
	return errors.Is(err, ErrStale)
}

// Get is the operation as it stands; ResourceNotFound when it is not known.
func (e *Engine) Get(ctx context.Context, id string) (patchbay.Operation, error) {
	op, err := e.store.Load(ctx, id)
	return op.Operation, err
}
