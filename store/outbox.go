package store

import (
	"context"
	"time"

	"patchbay.dev/patchbay"
)

// MaxEvents is how many events wait at a time. When one more comes, the oldest of
// its subject gives way; where there is none, the oldest of all.
const MaxEvents = 10_000

// Outbox keeps events until their receiver has them. Its writes are nobody's acts:
// they leave no line in the audit log.
type Outbox interface {
	// PutEvent keeps e, which is due at once. One whose id is there already changes
	// nothing. An event that goes with a change is put by the write that makes the
	// change; this is for what changes nothing else.
	PutEvent(ctx context.Context, e patchbay.Event) error
	// EventAdded has a value soon after an event was put. Only one receives it, and it
	// is a hint: what another process put is found by looking.
	EventAdded() <-chan struct{}
	// DueEvents are those that are due, the longest due first, at most limit. Of each
	// subject it is the first alone: the next one waits until that is done.
	DueEvents(ctx context.Context, now time.Time, limit int) ([]WaitingEvent, error)
	// EventDone strikes one off, which was delivered or given up. Absent is done.
	EventDone(ctx context.Context, id string) error
	// EventLater counts an attempt, and has the event due at a time. Absent is done.
	EventLater(ctx context.Context, id string, at time.Time, why string) error
	// DropEvents strikes off what happened before a time, and says how many.
	DropEvents(ctx context.Context, before time.Time) (int, error)
	CountEvents(ctx context.Context) (EventCount, error)
}

// WaitingEvent is an event that has not been delivered.
type WaitingEvent struct {
	patchbay.Event
	Attempts int    // that failed
	Why      string // the last one did
}

// EventCount is what waits.
type EventCount struct {
	Waiting int
	Oldest  time.Time // when the oldest of them happened; zero: none waits
	Next    time.Time // when one is due; zero: none waits
	Gone    int64     // how many gave way, since this store was opened
}
