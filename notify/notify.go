// Package notify delivers the events that wait in the outbox to a receiver of the
// operator's: by HTTP, as CloudEvents, signed as Standard Webhooks says, until it
// has them.
//
// Each event arrives at least once, under an id that tells a repetition, and those
// of one subject arrive in their order. Whoever puts an event waits for nobody
// here: a receiver that is slow or dead only lets the outbox grow, and that is
// bounded.
package notify

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// How events are delivered.
const (
	// MaxAge is how old an event gets: then nobody wants to be woken by it any more.
	MaxAge = 3 * 24 * time.Hour
	// attemptTime bounds one attempt, from looking the name up to the answer's head.
	attemptTime = 15 * time.Second
	// atOnce is how many subjects' events are on their way at a time.
	atOnce = 4
	// An attempt that failed is repeated after firstPause, doubled each time up to
	// maxDelay. While nothing gets through, there is one attempt at a time, and
	// between two at most maxPause.
	firstPause = 5 * time.Second
	maxDelay   = 15 * time.Minute
	maxPause   = 5 * time.Minute
	// maxRetryAfter bounds what a receiver asks for with Retry-After.
	maxRetryAfter = time.Hour
	// maxRefusals is how often an event is sent that the receiver says it can't take.
	maxRefusals = 5
	// lookAgain is how long the outbox is believed to be empty, where nobody says
	// that something was added.
	lookAgain = time.Minute
)

// Outcome is how an attempt, or an event, ended.
type Outcome string

const (
	Sent    Outcome = "sent"    // the receiver has it
	Failed  Outcome = "failed"  // the attempt did; it is repeated
	Dropped Outcome = "dropped" // the receiver will not get it: it is too old, refused, or gave way to newer ones
)

// Options say where events go.
type Options struct {
	Outbox   store.Outbox
	Receiver Receiver
	// Keys gives the keys to sign with, at every attempt: a file that is changed
	// counts at once.
	Keys func() (Keys, error)
	// Source is who sends: a URI, CloudEvents' source.
	Source string
	// Dialer makes the connections to the receiver; nil: a plain one.
	Dialer *net.Dialer
	Log    *slog.Logger
	// Ended is called for each attempt and each event that is dropped; nil: nobody is.
	Ended func(Outcome)
	// Clock is the time; nil: [time.Now].
	Clock patchbay.Clock
}

// Notifier delivers events. It is safe for concurrent use.
type Notifier struct {
	o      Options
	client *http.Client
	poke   chan struct{} // a test got through: look at once

	mu    sync.Mutex
	count store.EventCount
	// failures counts rounds in which nothing got through, since one did; until
	// paused, nothing is tried.
	failures int
	paused   time.Time
	gone     bool // the receiver wants no events any more
}

// New makes one. It does nothing until [Notifier.Run].
func New(o Options) *Notifier {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ended == nil {
		o.Ended = func(Outcome) {}
	}
	return &Notifier{o: o, client: newClient(o.Dialer), poke: make(chan struct{}, 1)}
}

// Run delivers until ctx ends. An attempt that is in flight then is made again at
// the next start.
func (n *Notifier) Run(ctx context.Context) error {
	defer n.client.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-n.o.Outbox.EventAdded():
		case <-n.poke:
		}
		timer.Reset(max(0, n.round(ctx)))
	}
}

// Waiting is how many events wait, and how long ago the oldest of them happened.
func (n *Notifier) Waiting() (events int, oldest time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.count.Oldest.IsZero() {
		return n.count.Waiting, 0
	}
	return n.count.Waiting, max(0, n.o.Clock().Sub(n.count.Oldest))
}

// round sends what is due, if now is a time to, and says when to look again.
func (n *Notifier) round(ctx context.Context) (wait time.Duration) {
	now := n.o.Clock()
	if err := n.tidy(ctx, now); err != nil {
		return n.storeFailed(ctx, err)
	}
	n.mu.Lock()
	limit, pause, gone := atOnce, n.paused.Sub(now), n.gone
	if n.failures > 0 {
		limit = 1
	}
	n.mu.Unlock()
	if gone {
		return lookAgain
	}
	if pause > 0 {
		return min(pause, lookAgain)
	}
	due, err := n.o.Outbox.DueEvents(ctx, now, limit)
	if err != nil {
		return n.storeFailed(ctx, err)
	}
	if len(due) > 0 {
		n.sendAll(ctx, due)
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if next := n.count.Next; !next.IsZero() {
		return min(lookAgain, next.Sub(now))
	}
	return lookAgain
}

func (n *Notifier) storeFailed(ctx context.Context, err error) time.Duration {
	if ctx.Err() == nil {
		n.o.Log.ErrorContext(ctx, "the events that wait can't be read or written", "error", err)
	}
	return firstPause
}

// tidy drops what is too old, and counts what waits.
func (n *Notifier) tidy(ctx context.Context, now time.Time) error {
	old, err := n.o.Outbox.DropEvents(ctx, now.Add(-MaxAge))
	if err != nil {
		return err
	}
	count, err := n.o.Outbox.CountEvents(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	gaveWay := int(count.Gone - n.count.Gone)
	n.count = count
	n.mu.Unlock()
	for _, d := range []struct {
		events int
		why    string
	}{{old, "they waited for " + MaxAge.String()}, {gaveWay, "too many wait"}} {
		for range d.events {
			n.o.Ended(Dropped)
		}
		if d.events > 0 {
			n.o.Log.ErrorContext(ctx, "events were dropped", "events", d.events, "why", d.why)
		}
	}
	return nil
}

// sendAll sends events of different subjects side by side, and decides by how
// that went when the next are sent.
func (n *Notifier) sendAll(ctx context.Context, due []store.WaitingEvent) {
	results := make([]result, len(due))
	var sending sync.WaitGroup
	for i, e := range due {
		sending.Go(func() {
			results[i] = n.send(ctx, e.Event)
			if ctx.Err() == nil || results[i].err == nil {
				results[i].unkept = n.settle(context.WithoutCancel(ctx), e, results[i]) != nil
			}
		})
	}
	sending.Wait()
	if ctx.Err() == nil {
		n.judge(ctx, results)
	}
}

// settle keeps how an attempt went.
func (n *Notifier) settle(ctx context.Context, e store.WaitingEvent, r result) error {
	log := n.o.Log.With("event", e.ID, "type", string(e.Type), "subject", string(e.Subject), "attempt", e.Attempts+1)
	var err error
	switch {
	case r.err == nil:
		log.DebugContext(ctx, "an event was delivered", "status", r.status, "took", r.took)
		n.o.Ended(Sent)
		err = n.o.Outbox.EventDone(ctx, e.ID)
	case r.refused() && e.Attempts+1 >= maxRefusals:
		log.ErrorContext(ctx, "an event was dropped: the receiver refuses it", "error", r.err)
		n.o.Ended(Dropped)
		err = n.o.Outbox.EventDone(ctx, e.ID)
	default:
		wait := max(backoff(e.Attempts, maxDelay), r.after)
		log.WarnContext(ctx, "an event was not delivered", "error", r.err, "again_in", wait.Round(time.Second))
		n.o.Ended(Failed)
		err = n.o.Outbox.EventLater(ctx, e.ID, n.o.Clock().Add(wait), r.err.Message)
	}
	if err != nil {
		// What was delivered is delivered again: its receiver knows the id.
		n.storeFailed(ctx, err)
	}
	return err
}

// judge pauses when nothing got through: it is the receiver then, and not an event.
// It does, too, when that can't be kept: the same would be sent over and over.
func (n *Notifier) judge(ctx context.Context, results []result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	through, unkept, after := false, false, time.Duration(0)
	for _, r := range results {
		through = through || r.err == nil
		unkept = unkept || r.unkept
		after = max(after, r.after)
		n.gone = n.gone || r.gone()
	}
	switch {
	case n.gone:
		n.o.Log.ErrorContext(ctx, "the receiver of events wants none any more (410): nothing is sent to it until the server is started again, or patchbay events test gets through",
			"receiver", n.o.Receiver.String())
	case through && !unkept:
		n.throughLocked(ctx)
	default:
		n.paused = n.o.Clock().Add(max(backoff(n.failures, maxPause), after))
		n.failures++
	}
}

func (n *Notifier) throughLocked(ctx context.Context) {
	if n.failures > 0 || n.gone {
		n.o.Log.InfoContext(ctx, "events are delivered again", "receiver", n.o.Receiver.String())
	}
	n.failures, n.paused, n.gone = 0, time.Time{}, false
}

// Test sends an event of type [patchbay.EventTest] now, past those that wait, and
// once. When it arrives, those that wait are sent at once too.
func (n *Notifier) Test(ctx context.Context) (patchbay.Delivery, error) {
	id, err := NewID()
	if err != nil {
		return patchbay.Delivery{}, err
	}
	r := n.send(ctx, patchbay.Event{ID: id, Type: patchbay.EventTest, Time: n.o.Clock(), Data: []byte(`{}`)})
	if r.err != nil {
		n.o.Ended(Failed)
		return patchbay.Delivery{}, r.err
	}
	n.o.Ended(Sent)
	n.mu.Lock()
	n.throughLocked(ctx)
	n.mu.Unlock()
	select {
	case n.poke <- struct{}{}:
	default:
	}
	waiting, _ := n.Waiting()
	return patchbay.Delivery{
		Receiver: n.o.Receiver.String(), Event: id, Status: r.status, Milliseconds: r.took.Milliseconds(), Waiting: waiting,
	}, nil
}

// NewID makes the id of an event: they sort by time.
func NewID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// backoff is how long to wait after the attempt with that number, from 0 on: over
// its upper half by chance, so that many servers do not come back together.
func backoff(n int, most time.Duration) time.Duration {
	d := most
	if n < 12 {
		d = min(d, firstPause<<n)
	}
	return d/2 + rand.N(d/2) // #nosec G404 -- nobody gains by knowing it
}
