package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// below bounds the keys of everything under an id: they begin with it and a
// slash, and '0' is the character behind the slash.
func below(key string) (from, to string) { return key + "/", key + "0" }

func notFound(id patchbay.ID, what string) error {
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: string(id), Message: "there is no " + what + " " + string(id)}
}

func pageSizeOf(limit int) int {
	if limit <= 0 || limit > store.MaxPage {
		return store.MaxPage
	}
	return limit
}

// page cuts a list that was read with one row more than was asked for; what
// that shows is whether there is a next page.
func page[T any](items []T, limit int, cursor func(T) string) ([]T, string) {
	if len(items) <= limit {
		return items, ""
	}
	items = items[:limit]
	return items, cursor(items[limit-1])
}

// list reads records of one table into values, each with its sealed column.
func list[T any](ctx context.Context, s *Store, seal func(*T, []byte), query string, args ...any) (items []T, err error) {
	err = s.rows(ctx, func(r *sql.Rows) error {
		item, err := scanRecord(r, seal)
		items = append(items, item)
		return err
	}, query, args...)
	return items, err
}

func scanRecord[T any](r *sql.Rows, seal func(*T, []byte)) (item T, err error) {
	var record, sealed sql.RawBytes
	if err := r.Scan(&record, &sealed); err != nil {
		return item, storeError(err)
	}
	if err := json.Unmarshal(record, &item); err != nil {
		return item, unreadable("record", err)
	}
	if seal != nil && len(sealed) > 0 {
		seal(&item, append([]byte(nil), sealed...))
	}
	return item, nil
}

func one[T any](items []T, err error, missing error) (item T, _ error) {
	switch {
	case err != nil:
		return item, err
	case len(items) == 0:
		return item, missing
	}
	return items[0], nil
}

func sealResource(r *patchbay.Resource, sealed []byte) { r.Admin = sealed }
func sealLeftover(l *patchbay.Leftover, sealed []byte) { l.Sealed = sealed }

// connections reads records, each with its sealed and its health column.
func (s *Store) connections(ctx context.Context, query string, args ...any) (items []patchbay.Connection, err error) {
	err = s.rows(ctx, func(r *sql.Rows) error {
		var record, sealed, health sql.RawBytes
		if err := r.Scan(&record, &sealed, &health); err != nil {
			return storeError(err)
		}
		var c patchbay.Connection
		if err := json.Unmarshal(record, &c); err != nil {
			return unreadable("record", err)
		}
		if len(sealed) > 0 {
			c.Sealed = append([]byte(nil), sealed...)
		}
		c.Health, err = readVerdict(health)
		items = append(items, c)
		return err
	}, query, args...)
	return items, err
}

// Connection implements [store.Records].
func (s *Store) Connection(ctx context.Context, id patchbay.ID) (patchbay.Connection, error) {
	items, err := s.connections(ctx, `SELECT record, sealed, health FROM connection WHERE key = ?`, id.Key())
	return one(items, err, notFound(id, "connection"))
}

// Connections implements [store.Records]. The connections of a source are
// those whose key begins with the source's, in the order of their names; so are
// the local ones of a location.
func (s *Store) Connections(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Connection, string, error) {
	limit = pageSizeOf(limit)
	from, to := "", "0" // every key begins with a slash
	if source != "" {
		first := source.Linker("")
		if source.Local("x").IsLocal() {
			first = source.Local("")
		}
		from, to = below(strings.TrimSuffix(first.Key(), "/"))
	}
	items, err := s.connections(ctx,
		`SELECT record, sealed, health FROM connection WHERE key > ? AND key < ? ORDER BY key LIMIT ?`, max(from, after), to, limit+1)
	items, next := page(items, limit, func(c patchbay.Connection) string { return c.ID.Key() })
	return items, next, err
}

// connectionsOf is a query of the resource's key, the bounds of what is below
// it, and a limit, which each part has for itself: a server may be the target
// of a hundred thousand.
const connectionsOf = `WITH found (key) AS (
		SELECT key FROM (SELECT key FROM connection WHERE key > ?2 AND key < ?3 LIMIT ?4)
		UNION SELECT key FROM (SELECT key FROM connection WHERE target_key <> '' AND target_key = ?1 LIMIT ?4)
		UNION SELECT key FROM (SELECT key FROM connection WHERE target_key <> '' AND target_key > ?2 AND target_key < ?3 LIMIT ?4))
	SELECT record, sealed, health FROM connection WHERE key IN (SELECT key FROM found) LIMIT ?4`

// ConnectionsOf implements [store.Records].
func (s *Store) ConnectionsOf(ctx context.Context, resource patchbay.ID, limit int) ([]patchbay.Connection, error) {
	from, to := below(resource.Key())
	return s.connections(ctx, connectionsOf, resource.Key(), from, to, pageSizeOf(limit))
}

func (tx *txn) putConnection(c patchbay.Connection) error {
	record, err := json.Marshal(c)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO connection (key, target_key, state, etag, record, sealed, seen) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET target_key = excluded.target_key, state = excluded.state, etag = excluded.etag,
			record = excluded.record, sealed = excluded.sealed`,
		c.ID.Key(), c.Spec.Target.ID.Key(), string(c.State), c.ETag, string(record), []byte(c.Sealed), formatTime(tx.l.now()))
	return err
}

// Resource implements [store.Records].
func (s *Store) Resource(ctx context.Context, id patchbay.ID) (patchbay.Resource, error) {
	items, err := list(ctx, s, sealResource, `SELECT record, sealed FROM resource WHERE key = ?`, id.Key())
	return one(items, err, notFound(id, "resource"))
}

// Resources implements [store.Records].
func (s *Store) Resources(ctx context.Context, scope patchbay.ID, after string, limit int) ([]patchbay.Resource, string, error) {
	limit = pageSizeOf(limit)
	from, to := below(scope.Key())
	if scope == "" {
		from, to = "", "0"
	}
	items, err := list(ctx, s, sealResource,
		`SELECT record, sealed FROM resource WHERE (key = ?1 OR key > ?2 AND key < ?3) AND key > ?4 ORDER BY key LIMIT ?5`,
		scope.Key(), from, to, after, limit+1)
	items, next := page(items, limit, func(r patchbay.Resource) string { return r.ID.Key() })
	return items, next, err
}

// PutResource implements [store.Records].
func (s *Store) PutResource(ctx context.Context, r patchbay.Resource, ifMatch string) error {
	record, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.lane.do(ctx, func(tx *txn) error {
		if ifMatch != "" {
			if err := tx.matchResource(r.ID, ifMatch); err != nil {
				return err
			}
		}
		if err := tx.needsRecord(store.GroupOf(r.ID)); err != nil {
			return err
		}
		_, err := tx.exec(`INSERT INTO resource (key, driver, etag, record, sealed) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET driver = excluded.driver, etag = excluded.etag, record = excluded.record, sealed = excluded.sealed`,
			r.ID.Key(), r.Driver, r.ETag, string(record), []byte(r.Admin))
		if err == nil {
			tx.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/resources/write", Resource: r.ID})
		}
		return err
	})
}

func (tx *txn) matchResource(id patchbay.ID, ifMatch string) error {
	var etag string
	found, err := tx.row([]any{&etag}, `SELECT etag FROM resource WHERE key = ?`, id.Key())
	if err != nil {
		return err
	}
	return saga.MatchETag(id, ifMatch, etag, found)
}

// DeleteResource implements [store.Records].
func (s *Store) DeleteResource(ctx context.Context, id patchbay.ID, ifMatch string) error {
	return s.lane.do(ctx, func(tx *txn) error {
		found, err := tx.row([]any{new(int)}, `SELECT 1 FROM resource WHERE key = ?`, id.Key())
		if err != nil {
			return err
		}
		if !found {
			return notFound(id, "resource")
		}
		if err := tx.matchResource(id, ifMatch); err != nil {
			return err
		}
		from, to := below(id.Key())
		var record, sealed []byte
		used, err := tx.row([]any{&record, &sealed, new(string)}, connectionsOf, id.Key(), from, to, 1)
		if err != nil {
			return err
		}
		if used {
			var c patchbay.Connection
			if err := json.Unmarshal(record, &c); err != nil {
				return unreadable("connection", err)
			}
			return &patchbay.Error{
				Code: patchbay.Conflict, Subject: string(c.ID),
				Message: "the connection " + string(c.ID) + " needs " + string(id),
				Fix:     "patchbay connection delete " + string(c.ID),
			}
		}
		if _, err := tx.exec(`DELETE FROM resource WHERE key = ?`, id.Key()); err != nil {
			return err
		}
		tx.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/resources/delete", Resource: id})
		return tx.forgetScope(id)
	})
}

// Subscriptions implements [store.Records].
func (s *Store) Subscriptions(ctx context.Context) ([]patchbay.Subscription, error) {
	return list[patchbay.Subscription](ctx, s, nil, `SELECT record, NULL FROM subscription ORDER BY key`)
}

// PutSubscription implements [store.Records].
func (s *Store) PutSubscription(ctx context.Context, sub patchbay.Subscription) error {
	record, err := json.Marshal(sub)
	if err != nil {
		return err
	}
	return s.lane.do(ctx, func(tx *txn) error {
		_, err := tx.exec(`INSERT INTO subscription (key, record) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET record = excluded.record`,
			strings.ToLower(sub.ID), string(record))
		if err == nil {
			tx.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Resources/subscriptions/write", Resource: store.SubscriptionID(sub.ID)})
		}
		return err
	})
}

// ResourceGroups implements [store.Records].
func (s *Store) ResourceGroups(ctx context.Context, subscription string) ([]patchbay.ResourceGroup, error) {
	return list[patchbay.ResourceGroup](ctx, s, nil,
		`SELECT record, NULL FROM resource_group WHERE ?1 = '' OR subscription = ?1 ORDER BY key`, strings.ToLower(subscription))
}

// ResourceGroup implements [store.Records].
func (s *Store) ResourceGroup(ctx context.Context, id patchbay.ID) (patchbay.ResourceGroup, error) {
	items, err := list[patchbay.ResourceGroup](ctx, s, nil, `SELECT record, NULL FROM resource_group WHERE key = ?`, id.Key())
	return one(items, err, notFound(id, "resource group"))
}

// PutResourceGroup implements [store.Records].
func (s *Store) PutResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error {
	return s.putResourceGroup(ctx, g, false)
}

// UpdateResourceGroup implements [store.Records].
func (s *Store) UpdateResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error {
	return s.putResourceGroup(ctx, g, true)
}

func (s *Store) putResourceGroup(ctx context.Context, g patchbay.ResourceGroup, there bool) error {
	record, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return s.lane.do(ctx, func(tx *txn) error {
		if there {
			found, err := tx.row([]any{new(int)}, `SELECT 1 FROM resource_group WHERE key = ?`, g.ID.Key())
			if err != nil {
				return err
			}
			if !found {
				return notFound(g.ID, "resource group")
			}
		}
		_, err := tx.exec(`INSERT INTO resource_group (key, subscription, record) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET record = excluded.record`,
			g.ID.Key(), strings.ToLower(g.ID.Subscription()), string(record))
		if err == nil {
			tx.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Resources/subscriptions/resourceGroups/write", Resource: g.ID})
		}
		return err
	})
}

// DeleteResourceGroup implements [store.Records].
func (s *Store) DeleteResourceGroup(ctx context.Context, id patchbay.ID) error {
	return s.lane.do(ctx, func(tx *txn) error {
		from, to := below(id.Key())
		var key string
		found, err := tx.row([]any{&key}, `SELECT key FROM resource WHERE key > ? AND key < ? LIMIT 1`, from, to)
		if err != nil {
			return err
		}
		if !found {
			found, err = tx.row([]any{&key}, `SELECT key FROM connection WHERE key > ? AND key < ? LIMIT 1`, from, to)
			if err != nil {
				return err
			}
		}
		if found {
			return store.InUse(id, key)
		}
		if found, err = tx.row([]any{&key}, `SELECT key FROM resource_group WHERE key = ?`, id.Key()); err != nil {
			return err
		}
		if !found {
			return notFound(id, "resource group")
		}
		if _, err := tx.exec(`DELETE FROM resource_group WHERE key = ?`, id.Key()); err != nil {
			return err
		}
		tx.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Resources/subscriptions/resourceGroups/delete", Resource: id})
		return tx.forgetScope(id)
	})
}

// Operation implements [store.Records].
func (s *Store) Operation(ctx context.Context, id string) (patchbay.Operation, error) {
	op, err := s.Load(ctx, id)
	return op.Operation, err
}

// Operations implements [store.Records]. The cursor is the number of the last
// operation of the page.
func (s *Store) Operations(ctx context.Context, f store.OperationFilter, after string, limit int) ([]patchbay.Operation, string, error) {
	limit = pageSizeOf(limit)
	where, args := []string{"1"}, []any{}
	if f.Connection != "" {
		where, args = append(where, "connection_key = ?"), append(args, f.Connection.Key())
	}
	if f.Source != "" {
		where, args = append(where, "source_key = ?"), append(args, f.Source.Key())
	}
	if f.Active {
		where = append(where, "state IN ('queued', 'running', 'undoing')")
	}
	if after != "" {
		seq, err := strconv.ParseInt(after, 10, 64)
		if err != nil {
			return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "%q is no page of the operations", after)
		}
		where, args = append(where, "seq < ?"), append(args, seq)
	}
	type numbered struct {
		op  patchbay.Operation
		seq int64
	}
	var items []numbered
	err := s.rows(ctx, func(r *sql.Rows) error {
		var n numbered
		op, err := scanOp(r, &n.seq)
		n.op = op.Operation
		items = append(items, n)
		return err
	}, `SELECT `+opColumns+`, seq FROM operation WHERE `+strings.Join(where, " AND ")+` ORDER BY seq DESC LIMIT ?`, append(args, limit+1)...)
	if err != nil {
		return nil, "", err
	}
	items, next := page(items, limit, func(n numbered) string { return strconv.FormatInt(n.seq, 10) })
	ops := make([]patchbay.Operation, len(items))
	for i, n := range items {
		ops[i] = n.op
	}
	return ops, next, nil
}

// Leftovers implements [store.Records], in the order of their ids.
func (s *Store) Leftovers(ctx context.Context, after string, limit int) ([]patchbay.Leftover, string, error) {
	limit = pageSizeOf(limit)
	items, err := list(ctx, s, sealLeftover, `SELECT record, sealed FROM leftover WHERE id > ? ORDER BY id LIMIT ?`, after, limit+1)
	items, next := page(items, limit, func(l patchbay.Leftover) string { return l.ID })
	return items, next, err
}

// Leftover implements [store.Records].
func (s *Store) Leftover(ctx context.Context, id string) (patchbay.Leftover, error) {
	items, err := list(ctx, s, sealLeftover, `SELECT record, sealed FROM leftover WHERE id = ?`, id)
	return one(items, err, noLeftover(id))
}

// LeftoversOf implements [store.Records].
func (s *Store) LeftoversOf(ctx context.Context, connection patchbay.ID) ([]patchbay.Leftover, error) {
	return list(ctx, s, sealLeftover, `SELECT record, sealed FROM leftover WHERE connection_key = ? ORDER BY id`, connection.Key())
}

// LeftoversAt implements [store.Records].
func (s *Store) LeftoversAt(ctx context.Context, resource patchbay.ID) ([]patchbay.Leftover, error) {
	return list(ctx, s, sealLeftover, `SELECT record, sealed FROM leftover WHERE resource_key = ? ORDER BY id`, resource.Key())
}

// UpdateLeftover implements [store.Records].
func (s *Store) UpdateLeftover(ctx context.Context, l patchbay.Leftover) error {
	return s.lane.do(ctx, func(tx *txn) error {
		found, err := tx.row([]any{new(int)}, `SELECT 1 FROM leftover WHERE id = ?`, l.ID)
		if err != nil {
			return err
		}
		if !found {
			return noLeftover(l.ID)
		}
		return tx.putLeftover(l)
	})
}

func noLeftover(id string) error {
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: "there is no leftover " + id}
}

func (tx *txn) putLeftover(l patchbay.Leftover) error {
	record, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO leftover (id, record, sealed, resource_key, connection_key) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET record = excluded.record, sealed = excluded.sealed,
			resource_key = excluded.resource_key, connection_key = excluded.connection_key`,
		l.ID, string(record), []byte(l.Sealed), l.Resource.Key(), l.Connection.Key())
	return err
}

// DeleteLeftover implements [store.Records].
func (s *Store) DeleteLeftover(ctx context.Context, id string) error {
	return s.lane.do(ctx, func(tx *txn) error {
		var record []byte
		found, err := tx.row([]any{&record}, `SELECT record FROM leftover WHERE id = ?`, id)
		if err != nil {
			return err
		}
		if !found {
			return noLeftover(id)
		}
		var l patchbay.Leftover
		if err := json.Unmarshal(record, &l); err != nil {
			return unreadable("leftover", err)
		}
		if _, err := tx.exec(`DELETE FROM leftover WHERE id = ?`, id); err != nil {
			return err
		}
		tx.tell(ctx, store.LeftoverGone(l))
		return nil
	})
}
