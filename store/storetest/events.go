package storetest

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

func event(id string, subject patchbay.ID, at time.Time) patchbay.Event {
	return patchbay.Event{ID: id, Type: patchbay.EventUnhealthy, Subject: subject, Time: at, Data: json.RawMessage(`{"a":"\u00e9 <&"}`)}
}

func putEvents(t *testing.T, s Store, events ...patchbay.Event) {
	t.Helper()
	for _, e := range events {
		if err := s.PutEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func wantDue(t *testing.T, s Store, now time.Time, limit int, want ...string) []store.WaitingEvent {
	t.Helper()
	due, err := s.DueEvents(t.Context(), now, limit)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range due {
		got = append(got, e.ID)
	}
	same(t, got, want)
	return due
}

func wantEvents(t *testing.T, s Store, want store.EventCount) {
	t.Helper()
	got, err := s.CountEvents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

func done(t *testing.T, s Store, id string) {
	t.Helper()
	if err := s.EventDone(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func eventOrder(t *testing.T, s Store) {
	wantDue(t, s, start, 10)
	wantEvents(t, s, store.EventCount{})
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	a, b, c := linker(source, "a"), linker(source, "b"), linker(source, "c")
	first := event("a1", a, at(1))
	putEvents(t, s, first, event("a2", patchbay.ID("/SUBSCRIPTIONS"+string(a[len("/subscriptions"):])), at(2)), event("b1", b, at(3)), event("c1", c, at(9)))
	wantEvents(t, s, store.EventCount{Waiting: 4, Oldest: at(1), Next: at(1)})
	wantDue(t, s, at(0), 10)
	wantDue(t, s, at(3), 1, "a1")
	due := wantDue(t, s, at(3), 10, "a1", "b1") // a2 is behind a1
	same(t, due[0], store.WaitingEvent{Event: first})

	if err := s.EventLater(t.Context(), "a1", at(20), "503"); err != nil {
		t.Fatal(err)
	}
	wantDue(t, s, at(10), 10, "b1", "c1") // and still is
	wantEvents(t, s, store.EventCount{Waiting: 4, Oldest: at(1), Next: at(3)})
	due = wantDue(t, s, at(20), 10, "b1", "c1", "a1") // the longest due first
	same(t, due[2], store.WaitingEvent{Event: first, Attempts: 1, Why: "503"})
	for _, id := range []string{"a1", "a1", "b1"} {
		done(t, s, id)
	}
	wantDue(t, s, at(20), 10, "a2", "c1")
	if err := s.EventLater(t.Context(), "a1", at(30), "gone"); err != nil { // it changes nothing
		t.Fatal(err)
	}
	wantEvents(t, s, store.EventCount{Waiting: 2, Oldest: at(2), Next: at(2)})
}

func eventOnce(t *testing.T, s Store) {
	e := event("e", linker(source, "a"), start)
	putEvents(t, s, e)
	e.Type = patchbay.EventHealthy
	putEvents(t, s, e)
	if got := wantDue(t, s, start, 10, "e"); got[0].Type != patchbay.EventUnhealthy {
		t.Errorf("the second changed it: %+v", got[0])
	}
	wantEvents(t, s, store.EventCount{Waiting: 1, Oldest: start, Next: start})
}

func eventAdded(t *testing.T, s Store) {
	select {
	case <-s.EventAdded():
		t.Fatal("nothing was put")
	default:
	}
	for i := range 3 { // nobody waits, and nothing waits for them
		putEvents(t, s, event(fmt.Sprint(i), "", start))
	}
	select {
	case <-s.EventAdded():
	case <-t.Context().Done():
		t.Fatal("it is not told")
	}
	wantDue(t, s, start, 10, "0")
}

func eventRoom(t *testing.T, s Store) {
	a, b, c := linker(source, "a"), linker(source, "b"), linker(source, "c")
	putEvents(t, s, event("b0", b, start), event("a1", a, start))
	var wg sync.WaitGroup
	ids := make(chan int)
	for range 64 {
		wg.Go(func() {
			for i := range ids {
				if err := s.PutEvent(t.Context(), event(fmt.Sprintf("b%d", i), b, start)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range store.MaxEvents - 2 {
		ids <- i + 1
	}
	close(ids)
	wg.Wait()
	full := store.EventCount{Waiting: store.MaxEvents, Oldest: start, Next: start}
	wantEvents(t, s, full)
	wantDue(t, s, start, 10, "b0", "a1")
	putEvents(t, s, event("a1", a, start)) // known: nobody gives way
	wantEvents(t, s, full)
	putEvents(t, s, event("a2", a, start))
	full.Gone = 1
	wantEvents(t, s, full)
	wantDue(t, s, start, 10, "b0", "a2")
	putEvents(t, s, event("c1", c, start)) // of c there is none: the oldest of all
	full.Gone = 2
	wantEvents(t, s, full)
	if due := wantDueOf(t, s, start); due["b0"] || !due["a2"] || !due["c1"] || len(due) != 3 {
		t.Errorf("%v are due", due)
	}
}

func wantDueOf(t *testing.T, s Store, now time.Time) map[string]bool {
	t.Helper()
	due, err := s.DueEvents(t.Context(), now, 10)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, e := range due {
		ids[e.ID] = true
	}
	return ids
}

func eventAge(t *testing.T, s Store) {
	a := linker(source, "a")
	putEvents(t, s, event("old", a, start), event("older", a, start.Add(-time.Hour)), event("new", a, start.Add(time.Nanosecond)))
	for _, want := range []int{2, 0} {
		if n, err := s.DropEvents(t.Context(), start.Add(time.Nanosecond)); err != nil || n != want {
			t.Fatalf("%d dropped, %v; want %d", n, err, want)
		}
	}
	wantDue(t, s, start.Add(time.Hour), 10, "new")
	wantEvents(t, s, store.EventCount{Waiting: 1, Oldest: start.Add(time.Nanosecond), Next: start.Add(time.Nanosecond)})
}
