package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver of the raw commits

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/sqlite"
)

const (
	measured = 5 * time.Second // each line of the table
	arrivals = 500             // a second, in the open loop
)

// benchEngine measures operations of five steps that do nothing, each step durable
// before the next begins: six commits an operation.
func benchEngine(ctx context.Context, out io.Writer, dir string) error {
	raw, err := rawCommits(ctx, filepath.Join(dir, "raw.db"))
	if err != nil {
		return err
	}
	t := newTable(out, "engine on SQLite, 5 steps", "operations", "p50", "p99", "per raw commit")
	t.row("one row, one commit, alone", fmt.Sprintf("%.0f /s", raw), "", "", "")
	for _, line := range []struct {
		name string
		load func(context.Context, *saga.Engine) ([]time.Duration, time.Duration, error)
	}{
		{"1 in flight", closedLoop(1)},
		{"16 in flight", closedLoop(16)},
		{"64 in flight", closedLoop(64)},
		{fmt.Sprint(arrivals, " arrivals a second"), openLoop},
	} {
		took, wall, err := withEngine(ctx, filepath.Join(dir, line.name+".db"), line.load)
		if err != nil {
			return err
		}
		t.row(line.name, perSecond(len(took), wall), ms(quantile(took, .5)), ms(quantile(took, .99)),
			fmt.Sprintf("%.2f", float64(len(took))/wall.Seconds()/raw))
	}
	return t.flush()
}

// rawCommits is how many transactions of one row this disk and driver do in a
// second, one after the other: what the rest is measured against.
func rawCommits(ctx context.Context, path string) (float64, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=fullfsync(1)")
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"); err != nil {
		return 0, err
	}
	insert, err := db.PrepareContext(ctx, "INSERT INTO t (v) VALUES (?)")
	if err != nil {
		return 0, err
	}
	defer func() { _ = insert.Close() }()
	n, start := 0, time.Now()
	for ; time.Since(start) < measured/2; n++ {
		if _, err := insert.ExecContext(ctx, "about as long as a step's row would be, give or take"); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

func withEngine(ctx context.Context, path string, load func(context.Context, *saga.Engine) ([]time.Duration, time.Duration, error)) ([]time.Duration, time.Duration, error) {
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = store.Close() }()
	nothing := func(context.Context, *saga.Op) ([]byte, error) { return nil, nil }
	w := saga.Workflow{Kind: patchbay.OpCreate}
	for _, name := range plan {
		w.Steps = append(w.Steps, saga.Step{Name: name, Do: nothing})
	}
	w.Finish = func(_ context.Context, op *saga.Op, _ patchbay.OperationState) (saga.Commit, error) {
		return saga.Commit{PutConnection: &patchbay.Connection{ID: op.Connection, Source: op.Source, State: patchbay.Succeeded}}, nil
	}
	e, err := saga.New(store, []saga.Workflow{w}, saga.Options{})
	if err != nil {
		return nil, 0, err
	}
	run, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- e.Run(run) }()
	if err := one(ctx, e); err != nil { // when it has ended the engine runs
		stop()
		return nil, 0, errors.Join(err, <-ended)
	}
	took, wall, err := load(ctx, e)
	stop()
	return took, wall, errors.Join(err, <-ended)
}

var (
	plan = []string{"plan", "rule", "principal", "settings", "probe"}
	last atomic.Int64
)

// one runs an operation on a source of its own to its end.
func one(ctx context.Context, e *saga.Engine) error {
	n := last.Add(1)
	source := patchbay.ID(fmt.Sprintf("/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/bench/providers/Microsoft.Web/sites/web%08d", n))
	op, err := e.Submit(ctx, saga.Submission{
		ID: fmt.Sprintf("op-%08d", n), RequestHash: []byte("12345678901234567890123456789012"), Kind: patchbay.OpCreate,
		Connection: source.Linker("db"), Source: source, Plan: plan, Input: make([]byte, 256), By: "bench",
	})
	for err == nil && !op.State.Ended() {
		op, err = e.Wait(ctx, op.ID, op.Version)
	}
	if err == nil && op.State != patchbay.Done {
		err = fmt.Errorf("operation %s is %s: %w", op.ID, op.State, op.Error)
	}
	return err
}

func closedLoop(inFlight int) func(context.Context, *saga.Engine) ([]time.Duration, time.Duration, error) {
	return func(ctx context.Context, e *saga.Engine) (all []time.Duration, wall time.Duration, _ error) {
		var mu sync.Mutex
		var errs []error
		var wg sync.WaitGroup
		start := time.Now()
		for range inFlight {
			wg.Go(func() {
				var took []time.Duration
				var err error
				for err == nil && time.Since(start) < measured {
					begun := time.Now()
					err = one(ctx, e)
					took = append(took, time.Since(begun))
				}
				mu.Lock()
				defer mu.Unlock()
				all, errs = append(all, took...), append(errs, err)
			})
		}
		wg.Wait()
		return all, time.Since(start), errors.Join(errs...)
	}
}

// openLoop lets operations arrive at fixed instants, whatever became of those
// before; the time that counts is from the instant that was planned.
func openLoop(ctx context.Context, e *saga.Engine) (all []time.Duration, wall time.Duration, _ error) {
	n := int(measured.Seconds() * arrivals)
	all = make([]time.Duration, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	arrival := time.NewTimer(0)
	defer arrival.Stop()
	<-arrival.C
	start := time.Now()
	for i := range n {
		planned := start.Add(time.Duration(i) * time.Second / arrivals)
		arrival.Reset(time.Until(planned))
		<-arrival.C
		wg.Go(func() {
			errs[i] = one(ctx, e)
			all[i] = time.Since(planned)
		})
	}
	wg.Wait()
	return all, time.Since(start), errors.Join(errs...)
}
