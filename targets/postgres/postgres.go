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
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Driver is PostgreSQL's target driver.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "postgresql", Children: []string{"databases"},
		Open: open, Probe: tryLogin,
	}
}

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	s, err := parseSettings(c)
	if err != nil {
		return nil, err
	}
	t := &target{settings: s}
	t.pools = driver.NewPools(maxPools, t.open, (*pgxpool.Pool).Close)
	return t, nil
}

// target administers one server. It keeps one pool for each database that it
// works in: a session of PostgreSQL is bound to one.
type target struct {
	settings *settings
	pools    *driver.Pools[*pgxpool.Pool]
}

const (
	poolSize = 4
	// An idle session of ours is in the way of DROP DATABASE, so it does not
	// stay for long.
	poolIdle = time.Minute
	// A server says in which databases a role of ours has rights: it may name as
	// many as it likes.
	maxPools = 32
)

// pool is that of the named database, "" for the maintenance database.
func (t *target) pool(database string) (*pgxpool.Pool, error) {
	return t.pools.Get(cmp.Or(database, t.settings.database))
}

// open makes the pool of a database.
func (t *target) open(database string) (*pgxpool.Pool, error) {
	c, err := t.settings.connect(database, t.settings.admin, t.settings.dialer)
	if err != nil {
		return nil, err
	}
	pc, err := pgxpool.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the environment has PostgreSQL settings that can't be used")
	}
	pc.ConnConfig = c
	pc.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		watch(c, t.settings.gate(), t.settings.dialer) // each session on its own
		return nil
	}
	pc.MaxConns = poolSize
	pc.MaxConnIdleTime = poolIdle
	pc.MaxConnLifetime = time.Hour
	pc.HealthCheckPeriod = poolIdle / 2
	p, err := pgxpool.NewWithConfig(context.Background(), pc)
	if err != nil {
		return nil, t.adminError(context.Background(), "prepare the connection", err)
	}
	return p, nil
}

// acquire is an administrator's session in the named database, until release.
func (t *target) acquire(ctx context.Context, database string) (c *pgxpool.Conn, release func(), err error) {
	p, err := t.pool(database)
	if err != nil {
		return nil, nil, err
	}
	if c, err = p.Acquire(ctx); err != nil {
		return nil, nil, t.adminError(ctx, "sign in", err)
	}
	end := beginCall(ctx, c.Conn())
	return c, func() { end(); c.Release() }, nil
}

func (t *target) Close() error {
	t.pools.Close()
	return nil
}

// change runs f in a transaction of the named database that holds its lock,
// and commits what f returns as statements. Each method of the driver that
// changes something is made of these.
func (t *target) change(ctx context.Context, database string, f func(*session) (string, error)) error {
	c, release, err := t.acquire(ctx, database)
	if err != nil {
		return err
	}
	defer release()
	s := &session{t: t, conn: c.Conn()}
	statements, err := f(s)
	if err == nil {
		if statements != "" {
			err = s.exec(ctx, statements+"commit")
		} else {
			err = s.exec(ctx, "commit")
		}
	}
	if err != nil {
		// The transaction is over whatever happens: a session whose rollback
		// fails is not used again.
		if c.Conn().PgConn().TxStatus() != 'I' {
			rollback, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if _, e := c.Conn().Exec(rollback, "rollback"); e != nil {
				_ = c.Conn().Close(rollback)
			}
		}
		return err
	}
	return nil
}

// session is an administrator's session inside of a transaction.
type session struct {
	t    *target
	conn *pgx.Conn
}

// exec runs statements, separated by semicolons, in one round trip. Rows that
// come nevertheless are not kept.
func (s *session) exec(ctx context.Context, statements string) error {
	results := s.conn.PgConn().Exec(ctx, statements)
	for results.NextResult() {
		_, _ = results.ResultReader().Close() // its error is that of them all
	}
	return s.t.adminError(ctx, "", results.Close())
}

// lockKey is of the advisory lock under which a database's logins are
// changed: "patchbay" in bytes. PostgreSQL keeps such locks per database.
const lockKey int64 = 0x7061746368626179

// quickPlans: the queries of the catalogue are long, and what they find is
// small. To plan them anew, or compile them, takes longer than to run them.
// And no name is looked up through a search path that somebody else could set.
const quickPlans = "set_config('search_path', '', true), set_config('plan_cache_mode', 'force_generic_plan', true), set_config('jit', 'off', true)"

// begin opens a transaction and reads from it, in one round trip; change
// transactions wait for the database's lock first.
func (s *session) begin(ctx context.Context, lock bool, queries *pgx.Batch) error {
	b := &pgx.Batch{}
	if lock {
		b.Queue("begin")
		b.Queue("select "+quickPlans+", set_config('lock_timeout', '10s', true), pg_advisory_xact_lock($1)", lockKey)
	} else {
		b.Queue("begin read only")
		b.Queue("select " + quickPlans)
	}
	b.QueuedQueries = append(b.QueuedQueries, queries.QueuedQueries...)
	return s.t.adminError(ctx, "", s.conn.SendBatch(ctx, b).Close())
}

// read runs queries in a transaction of their own.
func (t *target) read(ctx context.Context, database string, queries func(*session) *pgx.Batch) error {
	c, release, err := t.acquire(ctx, database)
	if err != nil {
		return err
	}
	defer release()
	s := &session{t: t, conn: c.Conn()}
	b := queries(s)
	b.Queue("commit")
	if err := s.begin(ctx, false, b); err != nil {
		if c.Conn().PgConn().TxStatus() != 'I' {
			_ = c.Conn().Close(context.WithoutCancel(ctx))
		}
		return err
	}
	return nil
}

// absent reports that the database is not there (any more).
func absent(err error) bool { return errors.Is(err, &patchbay.Error{Code: patchbay.ChildMissing}) }
