package sqlite

import (
	"context"
	"encoding/json"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// Dryrun implements [store.Dryruns].
func (s *Store) Dryrun(ctx context.Context, id patchbay.ID) (patchbay.Dryrun, error) {
	items, err := list[patchbay.Dryrun](ctx, s, nil, `SELECT record, NULL FROM dryrun WHERE key = ?`, id.Key())
	return one(items, err, notFound(id, "dryrun"))
}

// Dryruns implements [store.Dryruns].
func (s *Store) Dryruns(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Dryrun, string, error) {
	limit = pageSizeOf(limit)
	from, to := below(strings.TrimSuffix(store.DryrunsOf(source).Key(), "/"))
	items, err := list[patchbay.Dryrun](ctx, s, nil,
		`SELECT record, NULL FROM dryrun WHERE key > ? AND key < ? ORDER BY key LIMIT ?`, max(from, after), to, limit+1)
	items, next := page(items, limit, func(d patchbay.Dryrun) string { return d.ID.Key() })
	return items, next, err
}

// PutDryrun implements [store.Dryruns].
func (s *Store) PutDryrun(ctx context.Context, d patchbay.Dryrun, ifMatch string) error {
	record, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return s.lane.do(ctx, func(tx *txn) error {
		if err := tx.matchRow("dryrun", d.ID, ifMatch, `SELECT etag FROM dryrun WHERE key = ?`, d.ID.Key()); err != nil {
			return err
		}
		if err := tx.needsRecord(store.HomeOf(d.ID)); err != nil {
			return err
		}
		if _, err := tx.exec(`INSERT INTO dryrun (key, etag, record) VALUES (?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET etag = excluded.etag, record = excluded.record`, d.ID.Key(), d.ETag, string(record)); err != nil {
			return err
		}
		tx.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.ServiceLinker/dryruns/write", Resource: d.ID})
		return nil
	})
}

// DeleteDryrun implements [store.Dryruns].
func (s *Store) DeleteDryrun(ctx context.Context, id patchbay.ID) error {
	return s.lane.do(ctx, func(tx *txn) error {
		n, err := tx.exec(`DELETE FROM dryrun WHERE key = ?`, id.Key())
		switch {
		case err != nil:
			return err
		case n == 0:
			tx.wrote = false
			return notFound(id, "dryrun")
		}
		tx.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.ServiceLinker/dryruns/delete", Resource: id})
		return nil
	})
}
