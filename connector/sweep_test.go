package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
)

// sweep asks for one and waits for its end.
func (w *world) sweep() (patchbay.Sweep, error) {
	w.t.Helper()
	op, err := w.Sweep(w.t.Context(), w.caller)
	op = w.end(Begun{Operation: op}, err)
	if op.Swept == nil {
		w.t.Fatalf("it did not say what it did: %+v", op)
	}
	return *op.Swept, errOf(op)
}

// leftAt makes a leftover at a target: a login with that name.
func (w *world) leftAt(operation string, target patchbay.ID, of patchbay.ID) patchbay.Leftover {
	w.t.Helper()
	op := &saga.Op{Operation: patchbay.Operation{ID: operation, Connection: of, Source: of.Parent() + patchbay.ID(operation)}}
	l, err := w.newLeftover(op, stepLogin, target, "principal pb_"+operation, nil, work{Login: &driver.LoginRequest{Name: "pb_" + operation}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.park(l)
	return l
}

// park puts leftovers on record.
func (w *world) park(left ...patchbay.Leftover) {
	w.t.Helper()
	id := left[0].Operation
	if _, _, err := w.records.(saga.Store).Submit(w.t.Context(), saga.Life{ID: "ended"}, saga.Submission{
		ID: id, Kind: patchbay.OpRotate, Connection: patchbay.ID("/of/" + id).Linker("c"), Source: patchbay.ID("/of/" + id), Plan: []string{"x"}, RequestHash: []byte("h"),
		Begin: saga.Commit{Leftovers: left},
	}, saga.Limits{Queued: 1}, time.Now()); err != nil {
		w.t.Fatal(err)
	}
}

// gone tells which leftovers are taken off the list.
type gone struct {
	Records
	ids chan string
}

func (g gone) DeleteLeftover(ctx context.Context, id string) error {
	err := g.Records.DeleteLeftover(ctx, id)
	g.ids <- id
	return err
}

func (w *world) anotherTarget() patchbay.ID {
	id := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/other"
	w.register(patchbay.Resource{ID: id}, driver.Secrets{"password": patchbay.NewSecret("admin's")})
	return id
}

func TestATargetThatHangsHoldsUpOnlyItsOwnLeftovers(t *testing.T) {
	for name, asked := range map[string]bool{"in the background": false, "when somebody asks": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.leftAt("a", w.group+"/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", w.linker)
			w.leftAt("b", w.anotherTarget(), w.linker)
			w.now = func() time.Time { return time.Now().Add(time.Minute) }
			removed := make(chan string, 2)
			w.records = gone{w.records, removed}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			w.gate.holdAt(1)
			ended := make(chan error, 1)
			go func() {
				_, err := w.sweepLeftovers(ctx, asked)
				ended <- err
			}()
			<-w.gate.held
			id := <-removed
			if left := w.left(); len(left) != 1 || left[0].ID == id || !left[0].Trying {
				t.Errorf("%s was removed when the other had had its turn: %+v", id, left)
			}
			stop()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("a sweep that was stopped: %v", err)
			}
			if left := w.left(); len(left) != 1 || left[0].Trying || left[0].Deaths > 0 {
				t.Errorf("a stop looks like a death: %+v", left)
			}
		})
	}
}

func TestASweepEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	w.leave()
	long, stop := context.WithCancel(t.Context())
	defer stop()
	w.gate.holdAt(1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = w.sweepLeftovers(long, true)
	}()
	<-w.gate.held
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.sweepLeftovers(short, true); !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
	select {
	case <-ended:
		t.Error("it waited until another had ended")
	default:
	}
	stop()
	<-ended
}

// pageCounted counts how often a page of all leftovers is read.
type pageCounted struct {
	Records
	pages *atomic.Int64
}

func (c pageCounted) Leftovers(ctx context.Context, after string, limit int) ([]patchbay.Leftover, string, error) {
	c.pages.Add(1)
	return c.Records.Leftovers(ctx, after, limit)
}

// Whatever a leftover waits for is looked up, not searched for among all.
func TestASweepReadsAllLeftoversAsOftenForManyAsForFew(t *testing.T) {
	reads := func(n int) int64 {
		w := newWorld(t)
		target := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
		for i := range n {
			op := &saga.Op{Operation: patchbay.Operation{ID: fmt.Sprint("op", i), Connection: w.linker, Source: w.app.id}}
			login, err := w.newLeftover(op, stepLogin, target, "principal", nil, work{Held: true, Login: &driver.LoginRequest{Name: op.ID}})
			if err != nil {
				t.Fatal(err)
			}
			settings, err := w.newLeftover(op, stepSettings, "/gone", whatSettings, nil, work{Written: &written{}})
			if err != nil {
				t.Fatal(err)
			}
			// It is not due, and keeps the login.
			settings.NextTry = time.Now().Add(time.Hour)
			w.park(login, settings)
		}
		var pages atomic.Int64
		w.records = pageCounted{w.records, &pages}
		w.now = func() time.Time { return time.Now().Add(time.Minute) }
		if result, err := w.sweepLeftovers(t.Context(), false); err != nil || len(result.Left) != n {
			t.Fatalf("%+v, %v", result, err)
		}
		return pages.Load()
	}
	if few, many := reads(2), reads(20); few != many {
		t.Errorf("all leftovers are read %d times for 2, %d times for 20", few, many)
	}
}

func TestTwoSweepsAtOnceAreOneAndItCanBeCanceled(t *testing.T) {
	w := newWorld(t)
	w.leave()
	w.gate.holdAt(1)
	first, err := w.Sweep(t.Context(), w.caller)
	if err != nil {
		t.Fatal(err)
	}
	<-w.gate.held
	second, err := w.Sweep(t.Context(), w.caller)
	if err != nil || second.ID != first.ID {
		t.Errorf("the second is %+v, %v", second, err)
	}
	if _, err := w.Cancel(t.Context(), first.ID, w.caller); err != nil {
		t.Fatal(err)
	}
	op := w.end(Begun{Operation: first}, nil)
	w.want(op, patchbay.Undone, patchbay.Canceled)
	if op.Swept == nil || op.Message == "" || len(w.left()) != 1 {
		t.Errorf("it says %+v %q; left over: %v", op.Swept, op.Message, w.left())
	}
	if third, err := w.sweep(); err != nil || len(third.Removed) != 1 {
		t.Errorf("the next one: %+v, %v", third, err)
	}
}

func TestASweepGoesOnAfterARestartAndSaysSo(t *testing.T) {
	w := newWorld(t)
	w.leave()
	w.gate.holdAt(1)
	op, err := w.Sweep(t.Context(), w.caller)
	if err != nil {
		t.Fatal(err)
	}
	<-w.gate.held
	w.restart()
	op = w.end(Begun{Operation: op}, nil)
	w.want(op, patchbay.Done, "")
	if op.Swept == nil || len(op.Swept.Removed) != 1 || !strings.Contains(op.Message, "restarted") || len(w.left()) > 0 {
		t.Errorf("it says %+v %q; left over: %v", op.Swept, op.Message, w.left())
	}
}

// What may be why the server died is not tried once more by the same sweep.
func TestASweepThatTheServerDiedOfLeavesThatAlone(t *testing.T) {
	w := newWorld(t)
	bad := w.leftAt("bad", w.anotherTarget(), w.linker)
	good := w.leftAt("good", w.group+"/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", w.linker)
	bad.Trying = true
	if err := w.records.UpdateLeftover(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	result, err := w.retryAll(t.Context(), &saga.Op{Deaths: 1})
	if err != nil || len(result.Removed) != 1 || result.Removed[0].ID != good.ID || len(result.Left) != 1 || result.Left[0].Deaths != 1 {
		t.Errorf("%+v, %v", result, err)
	}
}
