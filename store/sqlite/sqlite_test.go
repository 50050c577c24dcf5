package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/sqlite"
	"patchbay.dev/patchbay/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string, opts sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func dbPath(t *testing.T) string { return filepath.Join(t.TempDir(), "patchbay.db") }

func wantCode(t *testing.T, err error, code patchbay.Code) {
	t.Helper()
	if patchbay.CodeOf(err) != code {
		t.Fatalf("got %v, want %s", err, code)
	}
}

func wantError(t *testing.T, err error, code patchbay.Code) *patchbay.Error {
	t.Helper()
	wantCode(t, err, code)
	return patchbay.AsError(err)
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store {
		return open(t, dbPath(t), sqlite.Options{})
	})
}

func TestOneProcessHasTheDatabase(t *testing.T) {
	path := dbPath(t)
	s := open(t, path, sqlite.Options{})
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if e := wantError(t, err, patchbay.Conflict); e.Fix == "" {
		t.Error("no fix")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyItsOwnerReadsTheDatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "on the way")
	s := open(t, filepath.Join(dir, "patchbay.db"), sqlite.Options{})
	if err := s.PutSubscription(t.Context(), patchbay.Subscription{ID: "s"}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
}

func TestAPathMayHoldAnything(t *testing.T) {
	for _, name := range []string{"a b", "50%.db", "what?.db", "#1", "a&b=c;d", "ünï"} {
		path := filepath.Join(t.TempDir(), name)
		s := open(t, path, sqlite.Options{})
		if err := s.PutSubscription(t.Context(), patchbay.Subscription{ID: "s"}); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%q: the database is somewhere else (%v)", name, err)
		}
	}
}

func TestWhatWasAcknowledgedIsThereAfterReopening(t *testing.T) {
	path := dbPath(t)
	s := open(t, path, sqlite.Options{})
	group := patchbay.ID("/subscriptions/s/resourceGroups/g")
	if err := s.PutResourceGroup(t.Context(), patchbay.ResourceGroup{ID: group}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutResource(t.Context(), patchbay.Resource{ID: group + "/a/b", ETag: "e"}, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, sqlite.Options{})
	if r, err := again.Resource(t.Context(), "/subscriptions/S/resourceGroups/G/a/B"); err != nil || r.ETag != "e" {
		t.Fatalf("%v, %v", r, err)
	}
	if err := s.PutSubscription(t.Context(), patchbay.Subscription{ID: "s"}); err == nil {
		t.Fatal("a closed store writes")
	}
	if _, err := s.Subscriptions(t.Context()); err == nil {
		t.Fatal("a closed store reads")
	}
}

// raw opens the file beside the store, as an operator's tool does.
func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestTheSettingsThatDurabilityNeeds(t *testing.T) {
	path := dbPath(t)
	open(t, path, sqlite.Options{})
	var mode string
	if err := raw(t, path).QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Fatalf("%s, %v", mode, err)
	}
}

func TestANewerSchemaIsRefused(t *testing.T) {
	path := dbPath(t)
	if err := open(t, path, sqlite.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := raw(t, path).Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if e := wantError(t, err, patchbay.NotSupported); !strings.Contains(e.Message, "newer release") || e.Fix == "" {
		t.Fatal(e)
	}
}

func TestWhatIsNoDatabaseIsRefused(t *testing.T) {
	path := dbPath(t)
	if err := os.WriteFile(path, []byte(strings.Repeat("no database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), path, sqlite.Options{}); err == nil {
		t.Fatal("opened")
	}
	if _, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{}); err == nil {
		t.Fatal("a directory opened")
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was written to")
	}
}

const big = 64 << 10

var plenty = saga.Limits{Queued: 64, Target: 1000}

func submission(i int) saga.Submission {
	source := patchbay.ID(fmt.Sprintf("/subscriptions/s/providers/A.B/c/%d", i))
	return saga.Submission{
		ID: fmt.Sprint("op", i), RequestHash: []byte("h"), Kind: patchbay.OpCreate, Connection: source.Linker("db"), Source: source,
		Plan: []string{"a", "b"}, Input: make([]byte, big),
		Begin: saga.Commit{PutConnection: &patchbay.Connection{ID: source.Linker("db"), State: patchbay.Accepted}},
	}
}

// TestAFullDisk: what does not fit is refused whole, what is running goes on,
// and everything continues when there is room again.
func TestAFullDisk(t *testing.T) {
	s := open(t, dbPath(t), sqlite.Options{MaxBytes: 2 << 20})
	grow := make(chan struct{})
	wfs := []saga.Workflow{{Kind: patchbay.OpCreate, Steps: []saga.Step{
		{Name: "a", Do: func(context.Context, *saga.Op) ([]byte, error) { <-grow; return make([]byte, big), nil }},
		{Name: "b", Do: func(context.Context, *saga.Op) ([]byte, error) { return nil, nil }},
	}}}
	e, err := saga.New(s, wfs, saga.Options{Backoff: func(int) time.Duration { return time.Millisecond }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	accepted := 0
	for ; ; accepted++ {
		_, err := e.Submit(ctx, submission(accepted))
		if err == nil {
			continue
		}
		full := wantError(t, err, patchbay.Internal)
		if full.Message != "no space left in the data directory" || !full.Transient || full.Fix == "" {
			t.Fatal(full)
		}
		break
	}
	if accepted < 5 {
		t.Fatalf("only %d fitted", accepted)
	}
	_, err = s.Operation(ctx, fmt.Sprint("op", accepted))
	wantCode(t, err, patchbay.ResourceNotFound)
	_, err = s.Connection(ctx, submission(accepted).Connection)
	wantCode(t, err, patchbay.ResourceNotFound)

	close(grow) // the steps end, and their ends don't fit
	if err := s.Resize(ctx, 64<<20); err != nil {
		t.Fatal(err)
	}
	for i := range accepted {
		op, err := e.Get(ctx, fmt.Sprint("op", i))
		for err == nil && !op.State.Ended() {
			op, err = e.Wait(ctx, op.ID, op.Version)
		}
		if err != nil || op.State != patchbay.Done {
			t.Fatalf("operation %d is %s (%v), %v", i, op.State, op.Error, err)
		}
	}
	if _, err := e.Submit(ctx, submission(accepted)); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestAFailingWriteFailsAlone: of many writes that share a commit, one that
// can't be made spoils no other.
func TestAFailingWriteFailsAlone(t *testing.T) {
	s := open(t, dbPath(t), sqlite.Options{MaxBytes: 4 << 20})
	var wg sync.WaitGroup
	const n = 200
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			sub := submission(i)
			sub.Input = nil
			if i%10 == 3 {
				sub.Input = make([]byte, 8<<20) // more than there will ever be
			}
			_, _, errs[i] = s.Submit(t.Context(), saga.Life{ID: "me"}, sub, plenty, time.Now())
		})
	}
	wg.Wait()
	for i, err := range errs {
		_, loadErr := s.Load(t.Context(), fmt.Sprint("op", i))
		if i%10 == 3 {
			wantCode(t, err, patchbay.Internal)
			wantCode(t, loadErr, patchbay.ResourceNotFound)
		} else if err != nil || loadErr != nil {
			t.Fatalf("writer %d: %v, %v", i, err, loadErr)
		}
	}
}

// TestReadersSeeWhatWasAcknowledged while others write.
func TestReadersSeeWhatWasAcknowledged(t *testing.T) {
	s := open(t, dbPath(t), sqlite.Options{})
	group := patchbay.ID("/subscriptions/s/resourceGroups/g")
	if err := s.PutResourceGroup(t.Context(), patchbay.ResourceGroup{ID: group}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			id := group + patchbay.ID(fmt.Sprintf("/a/%d", w))
			for i := range 100 {
				etag := fmt.Sprint(i)
				if err := s.PutResource(t.Context(), patchbay.Resource{ID: id, ETag: etag}, ""); err != nil {
					t.Error(err)
					return
				}
				if r, err := s.Resource(t.Context(), id); err != nil || r.ETag != etag {
					t.Errorf("wrote %s, read %s, %v", etag, r.ETag, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestAnOperatorCanReadTheTables with plain SQL, while the server runs.
func TestAnOperatorCanReadTheTables(t *testing.T) {
	path := dbPath(t)
	s := open(t, path, sqlite.Options{})
	if _, _, err := s.Submit(t.Context(), saga.Life{ID: "me"}, submission(1), plenty, time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	var state, plan, created, provisioning string
	err := raw(t, path).QueryRow(`SELECT o.state, o.plan, o.created, c.record ->> '$.state' FROM operation o JOIN connection c ON c.key = o.connection_key`).
		Scan(&state, &plan, &created, &provisioning)
	if err != nil || state != "running" || plan != `["a","b"]` || created != "2026-11-01T00:00:00.000000000Z" || provisioning != "Accepted" {
		t.Fatalf("%s %s %s %s, %v", state, plan, created, provisioning, err)
	}
}

func TestListsUseTheirIndexes(t *testing.T) {
	path := dbPath(t)
	open(t, path, sqlite.Options{})
	db := raw(t, path)
	for _, q := range []string{
		`SELECT record FROM connection WHERE key = 'x'`,
		`SELECT record FROM connection WHERE key > 'a' AND key < 'b' ORDER BY key LIMIT 10`,
		`SELECT key FROM connection WHERE target_key <> '' AND target_key = 'a' LIMIT 1`,
		`SELECT key FROM connection WHERE target_key <> '' AND target_key > 'b' AND target_key < 'c' LIMIT 1`,
		`SELECT key FROM connection WHERE seen < 'x' ORDER BY seen LIMIT 10`,
		`SELECT healthy, count(*) FROM connection GROUP BY healthy`,
		`SELECT record FROM verdict WHERE key = 'x' ORDER BY seq DESC`,
		`SELECT id FROM operation WHERE id = 'x'`,
		`SELECT id FROM operation WHERE connection_key = 'x' AND seq < 5 ORDER BY seq DESC LIMIT 10`,
		`SELECT id FROM operation WHERE source_key = 'x' AND seq < 5 ORDER BY seq DESC LIMIT 10`,
		`SELECT id FROM operation WHERE 1 AND state IN ('queued', 'running', 'undoing') ORDER BY seq DESC LIMIT 10`,
		`SELECT id, version FROM operation WHERE state IN ('running', 'undoing') AND owner = 'x'`,
		`SELECT count(*) FROM operation WHERE state = 'queued'`,
		`SELECT count(*) FROM operation WHERE source_key = 'x' AND state = 'queued'`,
		`SELECT 1 FROM operation WHERE source_key = 'x' AND state IN ('running', 'undoing')`,
		`SELECT id FROM operation WHERE connection_key = 'x' AND kind <> 'validate' AND state IN ('queued', 'running', 'undoing')`,
		`SELECT seq FROM operation WHERE ended <> '' AND ended < 'x' ORDER BY ended LIMIT 5`,
	} {
		rows, err := db.Query("EXPLAIN QUERY PLAN " + q)
		if err != nil {
			t.Fatal(err)
		}
		var plan []string
		for rows.Next() {
			var detail string
			if err := rows.Scan(new(int), new(int), new(int), &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil { //nolint:sqlclosecheck // one for each query of the loop
			t.Fatal(err)
		}
		if got := strings.Join(plan, "; "); strings.Contains(got, "TEMP B-TREE") || strings.Contains(got, "SCAN") && !strings.Contains(got, "INDEX") {
			t.Errorf("%s\n  %s", q, got)
		}
	}
}
