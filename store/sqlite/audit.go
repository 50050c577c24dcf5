package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// auditLog is the lane's part of the audit log: where it ends, and the lines of
// the open transaction, which are written when all its jobs are applied.
type auditLog struct {
	chain store.Chain
	head  store.AuditHead
	lines []patchbay.AuditEntry
}

// tell appends the audit lines of what the job does, by whom ctx says. It is
// the last thing that a job does: a refusal leaves no line.
func (tx *txn) tell(ctx context.Context, e patchbay.AuditEntry) {
	tx.tellOf(patchbay.ActOf(ctx), e)
}

func (tx *txn) tellOf(act patchbay.Act, e patchbay.AuditEntry) {
	if e.Result == "" {
		e.Result = patchbay.AuditSucceeded
	}
	if e.Time.IsZero() {
		e.Time = tx.l.now()
	}
	for _, line := range store.Lines(act, e) {
		tx.append(line)
	}
}

func (tx *txn) append(e patchbay.AuditEntry) {
	tx.wrote = true
	tx.l.audit.lines = append(tx.l.audit.lines, e)
}

// writeAudit chains the transaction's lines and writes them with the new head;
// the lane takes that over when the transaction is committed.
func (l *lane) writeAudit() (store.AuditHead, error) {
	head := l.audit.head
	if len(l.audit.lines) == 0 {
		return head, nil
	}
	insert, err := l.stmt(`INSERT INTO audit (seq, time, tenant, action, resource, result, code, operation, caller, caller_id, kind,
		origin, address, request, detail, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return head, err
	}
	for i := range l.audit.lines {
		e := &l.audit.lines[i]
		head = store.Append(l.audit.chain, head, e)
		if _, err := insert.ExecContext(context.Background(), e.Seq, formatTime(e.Time), e.Tenant, e.Action, string(e.Resource), string(e.Result),
			string(e.Code), e.Operation, e.Caller, e.CallerID, string(e.Kind), e.From, e.Address, e.Request, e.Detail, e.Previous, e.Hash); err != nil {
			return head, err
		}
	}
	head.Seal = l.audit.chain.Head(head.Seq, head.Hash)
	note, err := l.stmt(`INSERT INTO audit_head (one, seq, hash, seal) VALUES (1, ?, ?, ?)
		ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, seal = excluded.seal`)
	if err != nil {
		return head, err
	}
	_, err = note.ExecContext(context.Background(), head.Seq, head.Hash, head.Seal)
	return head, err
}

// The actions of the audit log itself.
const (
	auditBegins = "Patchbay.Connector/audit/begin"
	auditBroken = "Patchbay.Connector/audit/break"
)

// openAudit finds where the log ends. A log that is new says so in its first
// line. One whose end is not as it was noted goes on all the same, behind all
// that was ever noted, with a line that says so: the gap stays to be found.
func (s *Store) openAudit(ctx context.Context, chain store.Chain) (auditLog, *patchbay.AuditEntry, error) {
	log := auditLog{chain: chain}
	var last store.AuditHead
	if err := optionalRow(s.write.QueryRowContext(ctx, `SELECT seq, hash, seal FROM audit_head`), &log.head.Seq, &log.head.Hash, &log.head.Seal); err != nil {
		return log, nil, err
	}
	if err := optionalRow(s.write.QueryRowContext(ctx, `SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1`), &last.Seq, &last.Hash); err != nil {
		return log, nil, err
	}
	line := patchbay.AuditEntry{Action: auditBroken, Result: patchbay.AuditFailed, Code: patchbay.Internal}
	switch {
	case log.head.Seq == 0 && last.Seq == 0:
		line.Action, line.Result, line.Code = auditBegins, patchbay.AuditSucceeded, ""
		var connections, resources int
		if err := s.write.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM connection), (SELECT count(*) FROM resource)`).Scan(&connections, &resources); err != nil {
			return log, nil, storeError(err)
		}
		line.Detail = "the log begins"
		if connections+resources > 0 {
			line.Detail = fmt.Sprintf("the log begins here: what was done before is not in it (%d connections, %d resources are there)", connections, resources)
		}
	case log.head.Seq == 0:
		log.head = last
		line.Detail = fmt.Sprintf("the note of where the log ends was gone at the start; its last line was %d", last.Seq)
	case log.head.Seal != chain.Head(log.head.Seq, log.head.Hash):
		line.Detail = fmt.Sprintf("the note of where the log ends (line %d) was not written by this server; the last line was %d", log.head.Seq, last.Seq)
		if last.Seq > log.head.Seq {
			log.head = last
		}
	case last.Seq != log.head.Seq || last.Hash != log.head.Hash:
		line.Detail = fmt.Sprintf("the log should have ended in line %d at the start; its last line was %d", log.head.Seq, last.Seq)
		if last.Seq > log.head.Seq {
			log.head.Seq = last.Seq // its numbers are taken; the chain goes on from what was noted
		}
	default:
		return log, nil, nil
	}
	return log, &line, nil
}

func optionalRow(row *sql.Row, dest ...any) error {
	if err := row.Scan(dest...); !errors.Is(err, sql.ErrNoRows) {
		return storeError(err)
	}
	return nil
}

// AppendAudit implements [store.Audit].
func (s *Store) AppendAudit(ctx context.Context, e patchbay.AuditEntry) error {
	return s.lane.do(ctx, func(tx *txn) error {
		if e.Time.IsZero() {
			e.Time = tx.l.now()
		}
		tx.append(e)
		return nil
	})
}

// AuditEntries implements [store.Audit]. It reads the lines in their order and
// passes over what is not asked for: the log has no other index.
func (s *Store) AuditEntries(ctx context.Context, f store.AuditFilter, after int64, limit int) (page []patchbay.AuditEntry, err error) {
	limit = pageSizeOf(limit)
	where, args := []string{"seq > ?"}, []any{after}
	narrow := func(condition string, arg any) { where, args = append(where, condition), append(args, arg) }
	if f.Tenant != nil {
		narrow("tenant = ? COLLATE NOCASE", *f.Tenant)
	}
	if f.Caller != "" {
		where, args = append(where, "(caller = ? OR caller_id = ? COLLATE NOCASE)"), append(args, f.Caller, f.Caller)
	}
	if f.Result != "" {
		narrow("result = ?", string(f.Result))
	}
	if !f.Since.IsZero() {
		narrow("time >= ?", formatTime(f.Since))
	}
	if !f.Until.IsZero() {
		narrow("time < ?", formatTime(f.Until))
	}
	err = s.rows(ctx, func(r *sql.Rows) error {
		e, err := scanAudit(r)
		if err != nil {
			return err
		}
		if f.Match(e) {
			page = append(page, e)
		}
		if len(page) == limit {
			return errEnough
		}
		return nil
	}, `SELECT seq, time, tenant, action, resource, result, code, operation, caller, caller_id, kind,
		origin, address, request, detail, previous, hash FROM audit WHERE `+strings.Join(where, " AND ")+` ORDER BY seq`, args...)
	if errors.Is(err, errEnough) {
		err = nil
	}
	return page, err
}

var errEnough = errors.New("enough rows")

func scanAudit(r *sql.Rows) (e patchbay.AuditEntry, err error) {
	var at string
	if err := r.Scan(&e.Seq, &at, &e.Tenant, &e.Action, &e.Resource, &e.Result, &e.Code, &e.Operation, &e.Caller, &e.CallerID, &e.Kind,
		&e.From, &e.Address, &e.Request, &e.Detail, &e.Previous, &e.Hash); err != nil {
		return e, storeError(err)
	}
	// A time that can't be read is an edited line; its hash tells.
	e.Time, _ = parseTime(at)
	return e, nil
}

// AuditHead implements [store.Audit].
func (s *Store) AuditHead(ctx context.Context) (head store.AuditHead, err error) {
	err = s.rows(ctx, func(r *sql.Rows) error { return r.Scan(&head.Seq, &head.Hash, &head.Seal) }, `SELECT seq, hash, seal FROM audit_head`)
	return head, err
}
