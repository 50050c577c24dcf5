package storetest

import (
	"context"
	"slices"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

type memoryEvent struct {
	store.WaitingEvent
	due time.Time
}

// PutEvent implements [store.Outbox].
func (m *Memory) PutEvent(ctx context.Context, e patchbay.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(m.events, func(w memoryEvent) bool { return w.ID == e.ID }) {
		return nil
	}
	if len(m.events) >= store.MaxEvents {
		i := slices.IndexFunc(m.events, func(w memoryEvent) bool { return w.Subject.Equal(e.Subject) })
		m.events = slices.Delete(m.events, max(i, 0), max(i, 0)+1)
		m.eventsGone++
	}
	m.events = append(m.events, memoryEvent{WaitingEvent: store.WaitingEvent{Event: e}, due: e.Time})
	select {
	case m.eventAdded <- struct{}{}:
	default:
	}
	return nil
}

// EventAdded implements [store.Outbox].
func (m *Memory) EventAdded() <-chan struct{} { return m.eventAdded }

// firstEvents are the first of each subject, the longest due first.
func (m *Memory) firstEvents() (first []memoryEvent) {
	seen := map[string]bool{}
	for _, e := range m.events {
		if !seen[e.Subject.Key()] {
			first = append(first, e)
		}
		seen[e.Subject.Key()] = true
	}
	slices.SortStableFunc(first, func(a, b memoryEvent) int { return a.due.Compare(b.due) })
	return first
}

// DueEvents implements [store.Outbox].
func (m *Memory) DueEvents(_ context.Context, now time.Time, limit int) (due []store.WaitingEvent, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.firstEvents() {
		if !e.due.After(now) && len(due) < limit {
			due = append(due, e.WaitingEvent)
		}
	}
	return due, nil
}

// EventDone implements [store.Outbox].
func (m *Memory) EventDone(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = slices.DeleteFunc(m.events, func(e memoryEvent) bool { return e.ID == id })
	return nil
}

// EventLater implements [store.Outbox].
func (m *Memory) EventLater(_ context.Context, id string, at time.Time, why string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.events {
		if e := &m.events[i]; e.ID == id {
			e.Attempts, e.due, e.Why = e.Attempts+1, at, why
		}
	}
	return nil
}

// DropEvents implements [store.Outbox].
func (m *Memory) DropEvents(_ context.Context, before time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.events)
	m.events = slices.DeleteFunc(m.events, func(e memoryEvent) bool { return e.Time.Before(before) })
	return n - len(m.events), nil
}

// CountEvents implements [store.Outbox].
func (m *Memory) CountEvents(context.Context) (store.EventCount, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := store.EventCount{Waiting: len(m.events), Gone: m.eventsGone}
	for _, e := range m.events {
		if c.Oldest.IsZero() || e.Time.Before(c.Oldest) {
			c.Oldest = e.Time
		}
	}
	if first := m.firstEvents(); len(first) > 0 {
		c.Next = first[0].due
	}
	return c, nil
}
