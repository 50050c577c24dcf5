package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/failpoint"
)

// maxBatch bounds how many writes share one commit, and maxShare how many of
// them are one tenant's: whoever writes with them waits for theirs too.
const (
	maxBatch = 256
	maxShare = 64
)

// lane does all writes, on one connection, one transaction after the other.
// Whatever waits when a transaction begins shares it, and its one fsync.
type lane struct {
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	line  *line
	ended chan struct{}

	audit auditLog
	now   patchbay.Clock
	told  bool // somebody is told of turns of health
	// roles is [store.Roles].RolesVersion; roleWrites says that the open
	// transaction changes it.
	roles      atomic.Int64
	roleWrites bool
	events     *outbox
}

// job is one caller's write. apply may be called again, in another
// transaction, when the first did not commit.
type job struct {
	ctx   context.Context // of who waits for it
	apply func(*txn) error
	// alone, when there is one, runs in place of apply, outside of a transaction.
	alone func(*sql.Conn) error
	err   error
	done  chan struct{}
}

// txn is the open transaction as one job sees it.
type txn struct {
	l *lane
	// wrote says that the job has changed something: its error then spoils the
	// transaction. Before, an error is a plain refusal.
	wrote bool
}

func startLane(ctx context.Context, db *sql.DB, audit auditLog, now patchbay.Clock, told bool) (*lane, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, storeError(err)
	}
	l := &lane{conn: conn, stmts: map[string]*sql.Stmt{}, line: newLine(), ended: make(chan struct{}), audit: audit, now: now, events: newOutbox(), told: told}
	go l.run()
	return l, nil
}

// do applies a write durably. When ctx ends first the outcome is unknown.
func (l *lane) do(ctx context.Context, apply func(*txn) error) error {
	return l.send(ctx, &job{apply: apply})
}

// between runs something on the lane's connection while it has no transaction.
func (l *lane) between(ctx context.Context, f func(*sql.Conn) error) error {
	return l.send(ctx, &job{apply: func(*txn) error { return nil }, alone: f})
}

func (l *lane) send(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j.ctx, j.done = ctx, make(chan struct{})
	if !l.line.add(writer(ctx), j) {
		return errClosed
	}
	select {
	case <-j.done:
		return storeError(j.err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *lane) close() error {
	l.line.close()
	<-l.ended
	var errs []error
	for _, s := range l.stmts {
		errs = append(errs, s.Close())
	}
	l.stmts = map[string]*sql.Stmt{}
	return errors.Join(append(errs, l.conn.Close())...)
}

func (l *lane) run() {
	defer close(l.ended)
	batch := make([]*job, 0, maxBatch)
	for {
		if batch = l.line.take(batch[:0]); len(batch) == 0 {
			return
		}
		if !l.transact(batch) {
			for _, j := range batch { // whoever spoils a transaction fails alone
				if one := []*job{j}; !l.transact(one) && j.err == nil {
					j.err = patchbay.Errorf(patchbay.Internal, "the store: the write was rolled back")
				}
			}
		}
		for _, j := range batch {
			if j.alone != nil {
				j.err = j.alone(l.conn)
			}
			close(j.done)
		}
	}
}

// transact applies the jobs in one transaction. It is false when nothing was
// kept; a job that stands for it then has its error.
func (l *lane) transact(batch []*job) bool {
	ctx := context.Background()
	fail := func(err error) bool {
		// Of a transaction that SQLite has rolled back by itself there is nothing
		// to roll back; that is no error.
		_, _ = l.conn.ExecContext(ctx, "ROLLBACK")
		if len(batch) == 1 {
			batch[0].err = err
		}
		return false
	}
	l.audit.lines, l.roleWrites = l.audit.lines[:0], false
	l.events.begin()
	if err := l.exec("BEGIN IMMEDIATE"); err != nil {
		return fail(err)
	}
	for _, j := range batch {
		tx := &txn{l: l}
		if j.err = j.apply(tx); j.err != nil && tx.wrote {
			return fail(j.err)
		}
	}
	head, err := l.writeAudit()
	if err != nil {
		return fail(err)
	}
	if err := l.instant("before-commit"); err != nil {
		return fail(err)
	}
	if err := l.exec("COMMIT"); err != nil {
		return fail(err)
	}
	l.audit.head = head
	_ = l.instant("after-commit") // what is committed can't fail any more
	if l.roleWrites {
		l.roles.Add(1)
	}
	l.events.committed()
	return true
}

// instant is a failpoint for each line that the transaction adds to the audit
// log: they say what it is about.
func (l *lane) instant(when string) error {
	for i := range l.audit.lines {
		e := &l.audit.lines[i]
		if err := failpoint.Hit(context.Background(), "store/"+e.Action+"/"+string(e.Result)+"/"+when); err != nil {
			return err
		}
	}
	return nil
}

func (l *lane) stmt(query string) (*sql.Stmt, error) {
	if s := l.stmts[query]; s != nil {
		return s, nil
	}
	s, err := l.conn.PrepareContext(context.Background(), query)
	if err == nil {
		l.stmts[query] = s
	}
	return s, err
}

func (l *lane) exec(query string) error {
	s, err := l.stmt(query)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(context.Background())
	return err
}

// exec changes something, and says how many rows.
func (tx *txn) exec(query string, args ...any) (int64, error) {
	s, err := tx.l.stmt(query)
	if err != nil {
		return 0, err
	}
	tx.wrote = true
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// row reads one row within the transaction; found is false when there is none.
func (tx *txn) row(dest []any, query string, args ...any) (found bool, err error) {
	s, err := tx.l.stmt(query)
	if err != nil {
		return false, err
	}
	err = s.QueryRowContext(context.Background(), args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// column reads one value of each row within the transaction.
func (tx *txn) column(query string, args ...any) (values []string, err error) {
	err = tx.rows(func(r *sql.Rows) error {
		var v string
		err := r.Scan(&v)
		values = append(values, v)
		return err
	}, query, args...)
	return values, err
}

// rows reads within the transaction, and hands each row to scan.
func (tx *txn) rows(scan func(*sql.Rows) error, query string, args ...any) error {
	s, err := tx.l.stmt(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// changed is rows for a statement that changes something and returns one value
// for each row that it changed.
func (tx *txn) changed(query string, args ...any) (values []string, err error) {
	tx.wrote = true
	return tx.column(query, args...)
}
