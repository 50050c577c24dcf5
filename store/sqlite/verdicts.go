package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// PutVerdict implements [store.Verdicts].
func (s *Store) PutVerdict(ctx context.Context, v patchbay.Verdict) error {
	return s.lane.do(ctx, func(tx *txn) error { return tx.putVerdict(v) })
}

func (tx *txn) putVerdict(v patchbay.Verdict) error {
	key := v.Connection.Key()
	var stored, health string
	found, err := tx.row([]any{&stored, &health}, `SELECT record, health FROM connection WHERE key = ?`, key)
	if err != nil {
		return err
	}
	var c patchbay.Connection
	if found {
		if err := json.Unmarshal([]byte(stored), &c); err != nil {
			return unreadable("record", err)
		}
	}
	if !found || c.UID != v.UID {
		return notFound(v.Connection, "connection")
	}
	before, err := readVerdict([]byte(health))
	if err != nil {
		return err
	}
	turned, givesUp, repaired := v.Turned(before), v.GivesUp(before), len(v.PutBack) > 0
	v, another := v.Behind(before)
	record, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if another {
		_, err = tx.exec(`INSERT INTO verdict (key, record) VALUES (?, ?)`, key, string(record))
	} else {
		_, err = tx.exec(`UPDATE verdict SET record = ?2 WHERE seq = (SELECT max(seq) FROM verdict WHERE key = ?1)`, key, string(record))
	}
	if err != nil {
		return err
	}
	if another {
		if _, err := tx.exec(`DELETE FROM verdict WHERE key = ?1 AND seq <= (SELECT seq FROM verdict WHERE key = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)`, key, store.MaxVerdicts); err != nil {
			return err
		}
	}
	if tx.l.told {
		// In the order in which it came about.
		err = tx.tellOfHealth(repaired, func(id string) (patchbay.Event, error) { return patchbay.NewRepairedEvent(id, c, v) })
		if err == nil {
			err = tx.tellOfHealth(turned, func(id string) (patchbay.Event, error) {
				return patchbay.NewHealthEvent(id, c, v.Checks, v.Since, v.Last)
			})
		}
		if err == nil {
			err = tx.tellOfHealth(givesUp, func(id string) (patchbay.Event, error) { return patchbay.NewRepairStoppedEvent(id, c, v) })
		}
		if err != nil {
			return err
		}
	}
	_, err = tx.exec(`UPDATE connection SET health = ?, healthy = ?, seen = ? WHERE key = ?`, string(record), string(v.Health), formatTime(v.Last), key)
	return err
}

// tellOfHealth puts an event where there is one to tell.
func (tx *txn) tellOfHealth(is bool, event func(id string) (patchbay.Event, error)) error {
	if !is {
		return nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	e, err := event(id.String())
	if err != nil {
		return err
	}
	return tx.putEvent(e)
}

// readVerdict gives nil for none.
func readVerdict(data []byte) (*patchbay.Verdict, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var v patchbay.Verdict
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, unreadable("verdict", err)
	}
	return &v, nil
}

// Verdicts implements [store.Verdicts].
func (s *Store) Verdicts(ctx context.Context, connection patchbay.ID) ([]patchbay.Verdict, error) {
	return list[patchbay.Verdict](ctx, s, nil, `SELECT record, NULL FROM verdict WHERE key = ? ORDER BY seq DESC`, connection.Key())
}

// Unseen implements [store.Verdicts].
func (s *Store) Unseen(ctx context.Context, since time.Time, limit int) (all []store.Glance, err error) {
	err = s.rows(ctx, func(r *sql.Rows) error {
		var g store.Glance
		var seen string
		if err := r.Scan(&g.ID, &g.Source, &g.Target, &seen); err != nil {
			return storeError(err)
		}
		if seen != "" {
			if g.Last, err = parseTime(seen); err != nil {
				return err
			}
		}
		all = append(all, g)
		return nil
	}, `SELECT json_extract(record, '$.id'), coalesce(json_extract(record, '$.source'), ''), target_key, seen FROM connection WHERE seen < ? ORDER BY seen LIMIT ?`,
		formatTime(since), pageSizeOf(limit))
	return all, err
}

// CountHealth implements [store.Verdicts].
func (s *Store) CountHealth(ctx context.Context) (map[patchbay.Health]int, error) {
	counts := map[patchbay.Health]int{}
	err := s.rows(ctx, func(r *sql.Rows) error {
		var health patchbay.Health
		var n int
		if err := r.Scan(&health, &n); err != nil {
			return storeError(err)
		}
		if health == "" {
			health = patchbay.Unsure
		}
		counts[health] += n
		return nil
	}, `SELECT healthy, count(*) FROM connection GROUP BY healthy`)
	return counts, err
}
