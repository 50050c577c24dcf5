// Package postgres is the target driver for PostgreSQL 13 to 18.
//
// A connection's login is a role with login that bears a comment as our
// mark, and gets its rights from one group role:
//
//	pb_reader_{db}  CONNECT; USAGE on schemas; SELECT on tables, views, sequences, large objects
//	pb_writer_{db}  and INSERT, UPDATE, DELETE; USAGE on sequences; EXECUTE; TEMPORARY
//	pb_owner_{db}   and all other rights on what is there, and CREATE; it owns
//	                what its logins make
//
// There is one set of group roles for each database, made with the first
// login that needs it and removed with the last; a pb_owner role stays as
// long as it owns something. Logins of access owner work as pb_owner (ALTER
// ROLE … IN DATABASE … SET role), so what they create survives them. What others
// make, and what was given to a login by name, is its next generation's (see
// [session.bequeath], [session.inherit] and decision 0014).
//
// The group roles hold their rights on everything outside system schemas and
// extensions, and by default privileges on what is created later by: the
// pb_owner role, the database's owner, each role that owns something in it, and
// each role that may create in one of its schemas. What some other role makes
// later is found as a missing right, and given by the next EnsureLogin.
// Rights that PUBLIC has are the database owner's affair: they are neither
// taken away nor counted, but Inspect warns of the wide ones.
//
// All changes to one database's logins are made under an advisory lock of
// that database, in one transaction each; only removal needs several, and each
// of them may be repeated.
package postgres

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
)

// Driver is PostgreSQL's target driver.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "postgresql", Children: []string{"databases"},
		Open: open, Probe: tryLogin,
	}
}

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	s, err := pgconnect.Parse(c)
	if err != nil {
		return nil, err
	}
	return &target{settings: s, admin: c.Admin, line: joinLine(s.Address())}, nil
}

// target administers one server.
type target struct {
	settings *pgconnect.Server
	admin    driver.Secrets
	line     *line
	link     atomic.Int32
	closed   atomic.Bool
}

// change runs f in a transaction of the named database that holds its lock,
// and commits what f returns as statements. Each method of the driver that
// changes something is made of these.
func (t *target) change(ctx context.Context, database string, f func(*session) (string, error)) error {
	s, release, err := t.acquire(ctx, database, true)
	if err != nil {
		return err
	}
	defer release()
	statements, err := f(s)
	if err == nil {
		err = s.exec(ctx, statements+"commit")
	}
	if err != nil {
		s.rollback(ctx)
	}
	return err
}

// session is an administrator's session inside of a transaction.
type session struct {
	t    *target
	conn *pgx.Conn
	kept error // why a group role that nobody needs is still there
}

// rollback ends the transaction whatever happens: a session whose rollback fails is
// not used again.
func (s *session) rollback(ctx context.Context) {
	if s.conn.IsClosed() || s.conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if _, err := s.conn.PgConn().Exec(ctx, "rollback").ReadAll(); err != nil {
		_ = s.conn.Close(ctx)
	}
}

// exec runs statements, separated by semicolons, in one round trip. Rows that
// come nevertheless are not kept.
func (s *session) exec(ctx context.Context, statements string) error {
	results := s.conn.PgConn().Exec(ctx, statements)
	for results.NextResult() {
		_, _ = results.ResultReader().Close() // its error is that of them all
	}
	return s.failed(ctx, statements, results.Close())
}

// lockKey is of the advisory lock under which a database's logins are
// changed: "patchbay" in bytes. PostgreSQL keeps such locks per database.
const lockKey int64 = 0x7061746368626179

// How long a lock is waited for, as PostgreSQL writes it. Who waits for a table's
// makes all wait that come after, the application among them; for ours, other
// Patchbays alone.
const (
	tableLockWait = "2s"
	ourLockWait   = "10s"
)

// The settings that a session relies on are its own: an ALTER ROLE or ALTER
// DATABASE … SET may have changed any. They are for a transaction, so that they are
// right behind a pooler too.
//
// Names are looked up in no path that somebody else could set. The administrator is
// itself, if it may make roles. What we ask is bounded by the call; a session that
// nobody can end any more, because the network is cut, ends itself and its locks.
// The queries of the catalogue are long, and what they find is small: to plan them
// anew, or compile them, takes longer than to run them.
const (
	ownSettings = `set_config('role', case when (select r.rolsuper or r.rolcreaterole from pg_catalog.pg_roles r where r.rolname = session_user) then 'none' else pg_catalog.current_setting('role') end, true),
	set_config('standard_conforming_strings', 'on', true), set_config('client_min_messages', 'error', true),
	set_config('statement_timeout', '60s', true), set_config('idle_in_transaction_session_timeout', '60s', true),
	set_config('lock_timeout', '` + ourLockWait + `', true),
	set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true)`
	// What began to run can be stopped, not made longer.
	since17 = `, set_config('transaction_timeout', '0', true)`
)

// begin opens a transaction and reads from it, in one round trip; change
// transactions wait for the database's lock first.
func (s *session) begin(ctx context.Context, lock bool, queries *pgx.Batch) error {
	b := &pgx.Batch{}
	if lock {
		b.Queue("begin isolation level read committed read write")
	} else {
		b.Queue("begin isolation level read committed read only")
	}
	b.Queue("set local search_path = ''") // before anything is looked up
	settings := ownSettings
	if s.version() >= 17 {
		settings += since17
	}
	b.Queue("select pg_catalog.pg_backend_pid(), pg_catalog.cardinality(array[" + settings + "])").QueryRow(func(row pgx.Row) error {
		var pid uint32
		var n int
		err := row.Scan(&pid, &n)
		if err == nil {
			s.t.seen(s.conn, pid)
		}
		return err
	})
	if lock {
		b.Queue("select pg_catalog.pg_advisory_xact_lock($1)", lockKey)
		b.Queue("select pg_catalog.set_config('lock_timeout', '" + tableLockWait + "', true)")
	}
	b.QueuedQueries = append(b.QueuedQueries, queries.QueuedQueries...)
	return s.failed(ctx, "", s.conn.SendBatch(ctx, b).Close())
}

// ask runs queries in a transaction of their own, in one round trip.
func (s *session) ask(ctx context.Context, queries *pgx.Batch) error {
	queries.Queue("commit")
	err := s.begin(ctx, false, queries)
	if err != nil {
		s.rollback(ctx)
	}
	return err
}

// read runs queries in a transaction of their own.
func (t *target) read(ctx context.Context, database string, queries func(*session) *pgx.Batch) error {
	s, release, err := t.acquire(ctx, database, false)
	if err != nil {
		return err
	}
	defer release()
	return s.ask(ctx, queries(s))
}

// noSession reports that the database could not be signed in to.
func noSession(err error) bool { return errors.As(err, new(notEntered)) }

// absent reports that the database is not there (any more).
func absent(err error) bool { return errors.Is(err, &patchbay.Error{Code: patchbay.ChildMissing}) }
