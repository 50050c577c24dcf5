package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"sync/atomic"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

var _ store.Outbox = (*Store)(nil)

// outbox is the lane's part of the events: what its open transaction puts, and
// who is told of it afterwards.
type outbox struct {
	added chan struct{}
	gone  atomic.Int64

	puts, gives int64 // of the open transaction
}

func newOutbox() *outbox { return &outbox{added: make(chan struct{}, 1)} }

func (o *outbox) begin() { o.puts, o.gives = 0, 0 }

func (o *outbox) committed() {
	o.gone.Add(o.gives)
	if o.puts > 0 {
		select {
		case o.added <- struct{}{}:
		default:
		}
	}
}

// putEvent keeps e in the transaction of what it tells, and makes room for it.
func (tx *txn) putEvent(e patchbay.Event) error {
	var there bool
	var waiting int
	if _, err := tx.row([]any{&there, &waiting}, `SELECT EXISTS (SELECT 1 FROM event WHERE id = ?), (SELECT count(*) FROM event)`, e.ID); err != nil || there {
		return err
	}
	if waiting >= store.MaxEvents {
		n, err := tx.exec(`DELETE FROM event WHERE seq = coalesce((SELECT min(seq) FROM event WHERE subject_key = ?), (SELECT min(seq) FROM event))`, e.Subject.Key())
		if err != nil {
			return err
		}
		tx.l.events.gives += n
	}
	tx.l.events.puts++
	// seq is one more than the largest that there is: the order within a subject.
	_, err := tx.exec(`INSERT INTO event (id, type, subject, subject_key, time, data, due) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		e.ID, string(e.Type), string(e.Subject), e.Subject.Key(), formatTime(e.Time), string(e.Data), formatTime(e.Time))
	return err
}

// PutEvent implements [store.Outbox].
func (s *Store) PutEvent(ctx context.Context, e patchbay.Event) error {
	return s.lane.do(ctx, func(tx *txn) error { return tx.putEvent(e) })
}

// EventAdded implements [store.Outbox].
func (s *Store) EventAdded() <-chan struct{} { return s.lane.events.added }

// firstOfItsSubject is a condition on event AS e.
const firstOfItsSubject = `NOT EXISTS (SELECT 1 FROM event AS f WHERE f.subject_key = e.subject_key AND f.seq < e.seq)`

// DueEvents implements [store.Outbox].
func (s *Store) DueEvents(ctx context.Context, now time.Time, limit int) (due []store.WaitingEvent, err error) {
	err = s.rows(ctx, func(r *sql.Rows) error {
		var e store.WaitingEvent
		var at, data string
		if err := r.Scan(&e.ID, &e.Type, &e.Subject, &at, &data, &e.Attempts, &e.Why); err != nil {
			return storeError(err)
		}
		var err error
		if e.Time, err = parseTime(at); err != nil {
			return unreadable("event "+e.ID, err)
		}
		e.Data = json.RawMessage(data)
		due = append(due, e)
		return nil
	}, `SELECT id, type, subject, time, data, attempts, why FROM event AS e WHERE due <= ? AND `+firstOfItsSubject+` ORDER BY due, seq LIMIT ?`,
		formatTime(now), pageSizeOf(limit))
	return due, err
}

// EventDone implements [store.Outbox].
func (s *Store) EventDone(ctx context.Context, id string) error {
	return s.lane.do(ctx, func(tx *txn) error {
		_, err := tx.exec(`DELETE FROM event WHERE id = ?`, id)
		return err
	})
}

// EventLater implements [store.Outbox].
func (s *Store) EventLater(ctx context.Context, id string, at time.Time, why string) error {
	return s.lane.do(ctx, func(tx *txn) error {
		_, err := tx.exec(`UPDATE event SET attempts = attempts + 1, due = ?, why = ? WHERE id = ?`, formatTime(at), why, id)
		return err
	})
}

// DropEvents implements [store.Outbox].
func (s *Store) DropEvents(ctx context.Context, before time.Time) (n int, err error) {
	any := false
	err = s.rows(ctx, func(*sql.Rows) error { any = true; return nil }, `SELECT 1 FROM event WHERE time < ? LIMIT 1`, formatTime(before))
	if err != nil || !any {
		return 0, err
	}
	err = s.lane.do(ctx, func(tx *txn) error {
		dropped, err := tx.exec(`DELETE FROM event WHERE time < ?`, formatTime(before))
		n = int(dropped)
		return err
	})
	return n, err
}

// CountEvents implements [store.Outbox].
func (s *Store) CountEvents(ctx context.Context) (store.EventCount, error) {
	c := store.EventCount{Gone: s.lane.events.gone.Load()}
	var oldest, next string
	err := s.rows(ctx, func(r *sql.Rows) error { return r.Scan(&c.Waiting, &oldest, &next) },
		`SELECT (SELECT count(*) FROM event), coalesce((SELECT min(time) FROM event), ''),
			coalesce((SELECT due FROM event AS e WHERE `+firstOfItsSubject+` ORDER BY due, seq LIMIT 1), '')`)
	if err != nil {
		return c, err
	}
	if c.Oldest, err = parseTime(oldest); err != nil {
		return c, unreadable("time of an event", err)
	}
	if c.Next, err = parseTime(next); err != nil {
		return c, unreadable("time of an event", err)
	}
	return c, nil
}
