package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
)

const opColumns = `id, request_hash, kind, connection, source, plan, state, step, attempt, cancel, abandon,
	attention, owner, version, input, sealed, outputs, trail, error, reason, result, message, by, created, updated, ended, target_key, act,
	share, deaths, trial, swept`

// scanner is a row of [database/sql].
type scanner interface{ Scan(dest ...any) error }

// scanOp reads opColumns, and into more what the query has behind them.
func scanOp(row scanner, more ...any) (saga.Op, error) {
	var op saga.Op
	var plan, outputs, trail, errorText, reason, result, created, updated, ended, act, share, swept string
	err := row.Scan(append([]any{
		&op.ID, &op.RequestHash, &op.Kind, &op.Connection, &op.Source, &plan, &op.State, &op.Step, &op.Attempt,
		&op.Cancel, &op.Abandon, &op.Attention, &op.Owner, &op.Version, &op.Input, (*[]byte)(&op.Sealed),
		&outputs, &trail, &errorText, &reason, &result, &op.Message, &op.By, &created, &updated, &ended, &op.Target, &act,
		&share, &op.Deaths, &op.Trial, &swept,
	}, more...)...)
	if err != nil {
		return op, err
	}
	for _, f := range []struct {
		text string
		into any
	}{
		{plan, &op.Plan}, {outputs, &op.Outputs}, {trail, &op.Trail},
		{errorText, &op.Error}, {reason, &op.Reason}, {result, &op.Result}, {act, &op.Act}, {share, &op.Share}, {swept, &op.Swept},
	} {
		if f.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(f.text), f.into); err != nil {
			return op, unreadable("operation "+op.ID, err)
		}
	}
	for _, f := range []struct {
		text string
		into *time.Time
	}{{created, &op.Created}, {updated, &op.Updated}, {ended, &op.Ended}} {
		if *f.into, err = parseTime(f.text); err != nil {
			return op, unreadable("operation "+op.ID, err)
		}
	}
	return op, nil
}

func unreadable(what string, err error) error {
	return &patchbay.Error{Code: patchbay.Internal, Subject: what, Message: "the stored " + what + " can't be read: " + err.Error(), Err: err}
}

const timeFormat = "2006-01-02T15:04:05.000000000Z"

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(timeFormat, s)
}

// asJSON is "" for what is not there, so that an empty column looks empty.
func asJSON[T any](v *T) (string, error) {
	if v == nil {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func asJSONList[T any](v []T) (string, error) {
	if len(v) == 0 {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// Submit implements [saga.Store].
func (s *Store) Submit(ctx context.Context, life saga.Life, sub saga.Submission, limits saga.Limits, now time.Time) (op saga.Op, fresh bool, err error) {
	err = s.lane.do(writtenFor(ctx, sub.Share), func(tx *txn) error {
		op, fresh = saga.Op{}, false
		found, err := tx.op(&op, sub.ID)
		if err != nil {
			return err
		}
		if found {
			return sub.Same(op)
		}
		if saga.Changes(sub.Kind) {
			var other string
			var kind patchbay.OperationKind
			busy, err := tx.row([]any{&other, &kind},
				`SELECT id, kind FROM operation WHERE connection_key = ? AND kind <> 'validate' AND state IN ('queued', 'running', 'undoing')`,
				sub.Connection.Key())
			if err != nil {
				return err
			}
			if busy {
				return saga.InProgress(sub.Connection, other, kind)
			}
		}
		if sub.IfMatch != "" {
			var etag string
			found, err := tx.row([]any{&etag}, `SELECT etag FROM connection WHERE key = ?`, sub.Connection.Key())
			if err != nil {
				return err
			}
			if err := saga.MatchETag(sub.Connection, sub.IfMatch, etag, found); err != nil {
				return err
			}
		}
		if err := tx.prepared(sub); err != nil {
			return err
		}
		var active bool
		var waiting int
		if _, err := tx.row([]any{&active, &waiting},
			`SELECT EXISTS (SELECT 1 FROM operation WHERE source_key = ?1 AND state IN ('running', 'undoing')),
				(SELECT count(*) FROM operation WHERE source_key = ?1 AND state = 'queued')`, sub.Source.Key()); err != nil {
			return err
		}
		state := patchbay.Running
		if active || waiting > 0 {
			state = patchbay.Queued
			if waiting >= limits.Queued {
				return saga.QueueFull(sub.Source, limits.Queued)
			}
		}
		if err := tx.roomAt(sub, limits); err != nil {
			return err
		}
		op, fresh = saga.NewOp(ctx, life, sub, state, now), true
		if err := tx.insertOp(op); err != nil {
			return err
		}
		if err := tx.commit(sub.Begin); err != nil {
			return err
		}
		if line, told := op.BeginLine(); told {
			tx.tellOf(*op.Act, line)
		}
		return nil
	})
	if err != nil {
		return saga.Op{}, false, err
	}
	return op, fresh, nil
}

// prepared refuses a submission without what it needs.
func (tx *txn) prepared(sub saga.Submission) error {
	for _, id := range sub.Needs {
		err := tx.needsRecord(id)
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			return saga.Missing(id)
		}
		if err != nil {
			return err
		}
	}
	for _, r := range sub.Room {
		from, to := below(r.Below.Key())
		var n int
		if _, err := tx.row([]any{&n}, `SELECT count(*) FROM connection WHERE key > ? AND key < ?`, from, to); err != nil {
			return err
		}
		if n >= r.Most {
			return saga.NoRoom(r)
		}
	}
	return nil
}

// roomAt refuses one operation more of a target that has as many as it may.
func (tx *txn) roomAt(sub saga.Submission, limits saga.Limits) error {
	if sub.Target == "" {
		return nil
	}
	// The column is a list in JSON: those of the same share begin alike.
	first, err := json.Marshal(sub.Share[:min(len(sub.Share), 1)])
	if err != nil {
		return err
	}
	alike := strings.TrimRight(string(first), "]")
	if len(sub.Share) == 0 {
		alike = "nobody's"
	}
	var open, own int
	_, err = tx.row([]any{&open, &own}, `SELECT count(*), count(CASE WHEN substr(share, 1, length(?1)) = ?1 THEN 1 END) FROM operation
		WHERE target_key <> '' AND target_key = ?2 AND state IN ('queued', 'running', 'undoing')`, alike, sub.Target.Key())
	if err == nil && !limits.Room(open, own) {
		err = saga.TargetFull(sub.Target, open)
	}
	return err
}

func (tx *txn) op(op *saga.Op, id string) (found bool, err error) {
	stmt, err := tx.l.stmt(`SELECT ` + opColumns + ` FROM operation WHERE id = ?`)
	if err != nil {
		return false, err
	}
	o, err := scanOp(stmt.QueryRowContext(context.Background(), id))
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	*op = o
	return err == nil, err
}

func (tx *txn) insertOp(op saga.Op) error {
	plan, err := asJSONList(op.Plan)
	if err != nil {
		return err
	}
	result, err := asJSON(op.Result)
	if err != nil {
		return err
	}
	act, err := asJSON(op.Act)
	if err != nil {
		return err
	}
	share, err := asJSONList(op.Share)
	if err != nil {
		return err
	}
	hash := op.RequestHash
	if hash == nil {
		hash = []byte{}
	}
	_, err = tx.exec(`INSERT INTO operation (id, request_hash, kind, connection, connection_key, source, source_key, plan, state,
			step, attempt, cancel, abandon, attention, owner, version, input, sealed, outputs, trail, error, reason, result, message, by, created, updated, ended, target_key, act, share, deaths, trial)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, ?, ?, ?, ?, '', '', '', '', ?, ?, ?, ?, ?, '', ?, ?, ?, 0, 0)`,
		op.ID, hash, string(op.Kind), string(op.Connection), op.Connection.Key(), string(op.Source), op.Source.Key(), plan, string(op.State),
		op.Owner, op.Version, op.Input, []byte(op.Sealed), result, op.Message, op.By, formatTime(op.Created), formatTime(op.Updated),
		op.Target.Key(), act, share)
	return err
}

// Advance implements [saga.Store].
func (s *Store) Advance(ctx context.Context, life saga.Life, a saga.Advance) (promoted string, err error) {
	op := a.Op
	outputs, err := asJSONList(op.Outputs)
	if err != nil {
		return "", err
	}
	trail, err := asJSONList(op.Trail)
	if err != nil {
		return "", err
	}
	errorText, err := asJSON(op.Error)
	if err != nil {
		return "", err
	}
	reason, err := asJSON(op.Reason)
	if err != nil {
		return "", err
	}
	result, err := asJSON(op.Result)
	if err != nil {
		return "", err
	}
	swept, err := asJSON(op.Swept)
	if err != nil {
		return "", err
	}
	kinds, err := json.Marshal(life.Kinds)
	if err != nil {
		return "", err
	}
	err = s.lane.do(writtenFor(ctx, op.Share), func(tx *txn) error {
		promoted = ""
		n, err := tx.exec(`UPDATE operation SET state = ?, step = ?, attempt = ?, cancel = ?, abandon = ?, attention = ?,
				version = version + 1, sealed = ?, outputs = ?, trail = ?, error = ?, reason = ?, result = ?, message = ?, updated = ?, ended = ?,
				deaths = ?, trial = ?, swept = ?
			WHERE id = ? AND version = ? AND owner = ?`,
			string(op.State), op.Step, op.Attempt, op.Cancel, op.Abandon, op.Attention,
			[]byte(op.Sealed), outputs, trail, errorText, reason, result, op.Message, formatTime(op.Updated), formatTime(op.Ended),
			op.Deaths, op.Trial, swept, op.ID, op.Version, op.Owner)
		if err != nil {
			return err
		}
		if n == 0 {
			tx.wrote = false // nothing: the transaction may go on
			return saga.ErrStale
		}
		if err := tx.commit(a.Commit); err != nil {
			return err
		}
		if op.State.Ended() && op.Owner != "" {
			ids, err := tx.promote(life, string(kinds), op.Source.Key(), op.Updated)
			if err != nil {
				return err
			}
			for _, id := range ids {
				promoted = id
			}
		}
		tx.tellAdvance(a)
		return nil
	})
	if err != nil {
		return "", err
	}
	return promoted, nil
}

// tellAdvance appends the lines of an operation's end, and of what somebody
// asked of it.
func (tx *txn) tellAdvance(a saga.Advance) {
	if a.Asked != nil {
		tx.tellOf(*a.Asked, a.Op.AskedLine())
	}
	if line, told := a.Op.EndLine(); told && a.Op.State.Ended() {
		tx.tellOf(*a.Op.Act, line)
	}
}

// promote makes the source's longest waiting operation Running.
func (tx *txn) promote(life saga.Life, kinds, sourceKey string, now time.Time) ([]string, error) {
	return tx.changed(`UPDATE operation SET state = 'running', owner = ?, version = version + 1, updated = ?
		WHERE seq = (SELECT seq FROM operation WHERE source_key = ? AND state = 'queued' ORDER BY seq LIMIT 1)
			AND kind IN (SELECT value FROM json_each(?)) RETURNING id`,
		life.ID, formatTime(now), sourceKey, kinds)
}

// commit applies what an operation's begin or end makes of the records.
func (tx *txn) commit(c saga.Commit) error {
	if c.PutConnection != nil {
		if err := tx.putConnection(*c.PutConnection); err != nil {
			return err
		}
	}
	if c.DeleteConnection != "" {
		if _, err := tx.exec(`DELETE FROM connection WHERE key = ?`, c.DeleteConnection.Key()); err != nil {
			return err
		}
		if _, err := tx.exec(`DELETE FROM verdict WHERE key = ?`, c.DeleteConnection.Key()); err != nil {
			return err
		}
		if err := tx.forgetScope(c.DeleteConnection); err != nil {
			return err
		}
	}
	for _, l := range c.Leftovers {
		if err := tx.putLeftover(l); err != nil {
			return err
		}
	}
	if c.Verdict != nil { // of one that is gone, nothing is kept
		if err := tx.putVerdict(*c.Verdict); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			return err
		}
	}
	return nil
}

// Load implements [saga.Store].
func (s *Store) Load(ctx context.Context, id string) (saga.Op, error) {
	var op saga.Op
	found := false
	err := s.rows(ctx, func(r *sql.Rows) (err error) {
		op, err = scanOp(r)
		found = true
		return err
	}, `SELECT `+opColumns+` FROM operation WHERE id = ?`, id)
	if err == nil && !found {
		err = saga.NoOperation(id)
	}
	return op, err
}

// Renew implements [saga.Store]. The lock on the database is the lease: no
// other process can have it.
func (s *Store) Renew(context.Context, saga.Life, time.Duration) error { return nil }

// Release implements [saga.Store]. [Store.Close] gives the lock back: before,
// nobody takes anything over, whether or not a step is still in flight.
func (s *Store) Release(ctx context.Context, life saga.Life, _ bool) error {
	return s.lane.do(ctx, func(tx *txn) error {
		_, err := tx.exec(`UPDATE operation SET owner = '', version = version + 1 WHERE state IN ('running', 'undoing') AND owner = ?`, life.ID)
		return err
	})
}

// Claim implements [saga.Store]. Every other life is over, since the lock
// admits one. Who has no owner was released.
func (s *Store) Claim(ctx context.Context, life saga.Life, limit int) (orphans []saga.Orphan, err error) {
	const query = `FROM operation WHERE state IN ('running', 'undoing') AND owner <> ? AND kind IN (SELECT value FROM json_each(?))`
	kinds, err := json.Marshal(life.Kinds)
	if err != nil {
		return nil, err
	}
	any := false
	err = s.rows(ctx, func(*sql.Rows) error { any = true; return nil }, `SELECT 1 `+query+` LIMIT 1`, life.ID, string(kinds))
	if err != nil || !any {
		return nil, err
	}
	err = s.lane.do(ctx, func(tx *txn) error {
		orphans = nil
		var found []saga.Op
		err := tx.rows(func(r *sql.Rows) error {
			var op saga.Op
			err := r.Scan(&op.ID, &op.Owner, &op.Deaths, &op.Trial)
			found = append(found, op)
			return err
		}, `SELECT id, owner, deaths, trial `+query+` ORDER BY seq LIMIT ?`, life.ID, string(kinds), limit)
		if err != nil {
			return err
		}
		for _, op := range found {
			op.TakeOver(op.Owner != "")
			if _, err := tx.exec(`UPDATE operation SET owner = ?, version = version + 1, deaths = ?, trial = ? WHERE id = ?`, life.ID, op.Deaths, op.Trial, op.ID); err != nil {
				return err
			}
			orphans = append(orphans, saga.Orphan{ID: op.ID, Deaths: op.Deaths})
		}
		return nil
	})
	return orphans, err
}

// Promote implements [saga.Store].
func (s *Store) Promote(ctx context.Context, life saga.Life, now time.Time, limit int) (ids []string, err error) {
	kinds, err := json.Marshal(life.Kinds)
	if err != nil {
		return nil, err
	}
	// The first in each idle source's line. What this process can't run is left
	// out before it is counted: it would take the places of the others for good.
	const idle = `FROM (SELECT source_key, min(seq) AS seq FROM operation WHERE state = 'queued' GROUP BY source_key) AS q
		WHERE NOT EXISTS (SELECT 1 FROM operation AS a WHERE a.source_key = q.source_key AND a.state IN ('running', 'undoing'))
		AND (SELECT kind FROM operation AS o WHERE o.seq = q.seq) IN (SELECT value FROM json_each(?))`
	any := false
	err = s.rows(ctx, func(*sql.Rows) error { any = true; return nil }, `SELECT 1 `+idle+` LIMIT 1`, string(kinds))
	if err != nil || !any {
		return nil, err
	}
	err = s.lane.do(ctx, func(tx *txn) (err error) {
		ids, err = tx.changed(`UPDATE operation SET state = 'running', owner = ?, version = version + 1, updated = ?
			WHERE seq IN (SELECT seq `+idle+` LIMIT ?) RETURNING id`, life.ID, formatTime(now), string(kinds), limit)
		return err
	})
	return ids, err
}

// Mine implements [saga.Store].
func (s *Store) Mine(ctx context.Context, life saga.Life) (map[string]int64, error) {
	mine := map[string]int64{}
	err := s.rows(ctx, func(r *sql.Rows) error {
		var id string
		var version int64
		err := r.Scan(&id, &version)
		mine[id] = version
		return err
	}, `SELECT id, version FROM operation WHERE state IN ('running', 'undoing') AND owner = ?`, life.ID)
	return mine, err
}

// Waiting implements [saga.Store].
func (s *Store) Waiting(ctx context.Context) (n int, err error) {
	err = s.rows(ctx, func(r *sql.Rows) error { return r.Scan(&n) }, `SELECT count(*) FROM operation WHERE state = 'queued'`)
	return n, err
}

// Retire implements [saga.Store].
func (s *Store) Retire(ctx context.Context, before time.Time, limit int) (n int, err error) {
	const old = `SELECT seq FROM operation WHERE ended <> '' AND ended < ? ORDER BY ended LIMIT ?`
	any := false
	err = s.rows(ctx, func(*sql.Rows) error { any = true; return nil }, old, formatTime(before), 1)
	if err != nil || !any {
		return 0, err
	}
	err = s.lane.do(ctx, func(tx *txn) error {
		deleted, err := tx.exec(`DELETE FROM operation WHERE seq IN (`+old+`)`, formatTime(before), limit)
		n = int(deleted)
		return err
	})
	return n, err
}
