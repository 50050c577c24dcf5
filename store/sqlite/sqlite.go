// Package sqlite is the embedded store: the records and the journal of
// operations in one SQLite file that one process has open.
//
// Every write goes through one lane, which commits many at a time; reads have
// connections of their own and never wait for a write. The tables are plain
// and may be read with the sqlite3 tool while the server runs.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// Options tune a [Store]. The zero value of each means its default.
type Options struct {
	// Readers is how many reads run at a time; by default twice the number of
	// processors, at least 4.
	Readers int
	// MaxBytes bounds the database file, 0: only the disk does. A write over it
	// fails as on a full disk.
	MaxBytes int64
	// Chain computes the hashes of the audit log; by default [store.NewChain]
	// without a key, which proves nothing against who can write the database.
	Chain store.Chain
	// Clock is the time of audit lines; by default [time.Now].
	Clock patchbay.Clock
	// Events says that somebody is told when a connection turns bad or good again.
	Events bool
}

// Store is the open database. It is safe for concurrent use.
type Store struct {
	path  string
	lock  *flock.Flock
	lane  *lane
	write *sql.DB // the lane's one connection
	read  *sql.DB
	check *checkpointer

	mu    sync.Mutex
	stmts map[string]*sql.Stmt // of read

	closing sync.Once
	closed  error
}

var (
	_ saga.Store      = (*Store)(nil)
	_ store.Records   = (*Store)(nil)
	_ store.Directory = (*Store)(nil)
	_ store.Roles     = (*Store)(nil)
	_ store.Dryruns   = (*Store)(nil)
	_ store.Audit     = (*Store)(nil)
)

//go:embed migrations/*.sql
var migrations embed.FS

// minVersion is the first release without the WAL-reset corruption bug.
const minVersion = "3.51.3"

// pageSize is SQLite's default; Options.MaxBytes is counted in it.
const pageSize = 4096

// Open opens the database at path, and makes it, readable by its owner only,
// when there is none. It is a Conflict while another process has it open, and
// NotSupported when a newer release has written it.
func Open(ctx context.Context, path string, opts Options) (_ *Store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("the data directory: %w", err)
	}
	s := &Store{path: path, lock: flock.New(path+".lock", flock.SetPermissions(0o600)), stmts: map[string]*sql.Stmt{}}
	switch got, err := s.lock.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("the lock of the data directory: %w", err)
	case !got:
		return nil, patchbay.Errorf(patchbay.Conflict, "another process has %s open", path).
			WithFix("stop it, or choose another data directory with --data")
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	// SQLite gives its WAL and shared memory the mode of the database.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if opts.Readers <= 0 {
		opts.Readers = max(4, 2*runtime.NumCPU())
	}
	if s.write, err = s.pool(1, "wal_autocheckpoint(0)", "cache_size(-8000)"); err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, err
	}
	if s.read, err = s.pool(opts.Readers, "query_only(1)", "cache_size(-2000)"); err != nil {
		return nil, err
	}
	if s.check, err = s.startCheckpoints(ctx); err != nil {
		return nil, err
	}
	if opts.Chain == nil {
		opts.Chain = store.NewChain(nil)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	log, line, err := s.openAudit(ctx, opts.Chain)
	if err != nil {
		return nil, err
	}
	if s.lane, err = startLane(ctx, s.write, log, opts.Clock, opts.Events); err != nil {
		return nil, err
	}
	if line != nil {
		line.Caller = patchbay.ActOf(context.Background()).Caller
		if err := s.AppendAudit(ctx, *line); err != nil {
			return nil, err
		}
	}
	if opts.MaxBytes > 0 {
		err = s.Resize(ctx, opts.MaxBytes)
	}
	return s, err
}

// Resize changes Options.MaxBytes. A database that is larger already stays so.
func (s *Store) Resize(ctx context.Context, maxBytes int64) error {
	return s.lane.between(ctx, func(conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA max_page_count=%d", maxBytes/pageSize))
		return err
	})
}

// pool opens connections to the database. fullfsync matters on macOS, where a
// plain fsync does not reach the disk, and is ignored elsewhere.
func (s *Store) pool(size int, pragmas ...string) (*sql.DB, error) {
	pragmas = append([]string{
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)",
		"fullfsync(1)", "checkpoint_fullfsync(1)", "temp_store(MEMORY)",
	}, pragmas...)
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(s.path), RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

func (s *Store) migrate(ctx context.Context) error {
	var version string
	if err := s.write.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return storeError(err)
	}
	if older(version, minVersion) {
		return patchbay.Errorf(patchbay.NotSupported, "SQLite %s can corrupt its log; %s or later is needed", version, minVersion)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.write, files)
	if err != nil {
		return err
	}
	has, knows, err := p.GetVersions(ctx)
	if err != nil {
		return storeError(err)
	}
	if has > knows {
		return patchbay.Errorf(patchbay.NotSupported, "%s was written by a newer release of Patchbay (schema %d; this one knows %d)", s.path, has, knows).
			WithFix("start the newer release, or restore a backup that this one has made")
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating %s: %w", s.path, storeError(err))
	}
	return nil
}

// older compares two dotted version numbers of three parts.
func older(a, b string) bool {
	var x, y [3]int
	_, _ = fmt.Sscanf(a, "%d.%d.%d", &x[0], &x[1], &x[2])
	_, _ = fmt.Sscanf(b, "%d.%d.%d", &y[0], &y[1], &y[2])
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return false
}

// Close ends the writes that were begun and closes the database. Again, it
// answers as it did.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closed = s.close() })
	return s.closed
}

func (s *Store) close() error {
	var errs []error
	if s.lane != nil {
		errs = append(errs, s.lane.close())
	}
	if s.check != nil {
		errs = append(errs, s.check.close())
	}
	s.mu.Lock()
	for _, stmt := range s.stmts { // before their database, or file descriptors leak
		errs = append(errs, stmt.Close())
	}
	s.stmts = nil
	s.mu.Unlock()
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// stmt prepares a read once.
func (s *Store) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.stmts[query]; stmt != nil {
		return stmt, nil
	}
	if s.stmts == nil {
		return nil, errClosed
	}
	stmt, err := s.read.PrepareContext(ctx, query)
	if err != nil {
		return nil, storeError(err)
	}
	s.stmts[query] = stmt
	return stmt, nil
}

// rows runs a read and hands each of its rows to scan.
func (s *Store) rows(ctx context.Context, scan func(*sql.Rows) error, query string, args ...any) error {
	stmt, err := s.stmt(ctx, query)
	if err != nil {
		return err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return storeError(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return storeError(rows.Err())
}

var errClosed = patchbay.Errorf(patchbay.Internal, "the store is closed")

// storeError makes an error of SQLite one that people can use. Refusals, which
// have a code already, and ends of contexts pass.
func storeError(err error) error {
	var known *patchbay.Error
	var lite *driver.Error
	switch {
	case err == nil, errors.As(err, &known), errors.Is(err, saga.ErrStale),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &lite) && lite.Code()&0xff == sqlite3.SQLITE_FULL:
		return (&patchbay.Error{
			Code: patchbay.Internal, Message: "no space left in the data directory", Err: err,
			Fix: "make room on the disk that holds it; nothing has to be restarted",
		}).AsTransient()
	}
	return &patchbay.Error{Code: patchbay.Internal, Message: "the store: " + err.Error(), Err: err}
}
