package sqlite

import (
	"context"
	"database/sql"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

var _ store.Counter = (*Store)(nil)

// CountConnections implements [store.Counter].
func (s *Store) CountConnections(ctx context.Context, scope patchbay.ID) (int, error) {
	return s.count(ctx, `SELECT count(*) FROM connection WHERE key > ? AND key < ?`, scope)
}

// CountResources implements [store.Counter].
func (s *Store) CountResources(ctx context.Context, scope patchbay.ID) (int, error) {
	return s.count(ctx, `SELECT count(*) FROM resource WHERE key > ? AND key < ?`, scope)
}

// count reads nothing but the index of the keys.
func (s *Store) count(ctx context.Context, query string, scope patchbay.ID) (n int, err error) {
	from, to := below(scope.Key())
	err = s.rows(ctx, func(r *sql.Rows) error { return r.Scan(&n) }, query, from, to)
	return n, err
}
