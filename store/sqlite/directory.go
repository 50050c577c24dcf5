package sqlite

import (
	"context"
	"encoding/json"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

func absent(what, id string) error {
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: "there is no " + what + " " + id}
}

// Tenants implements [store.Directory].
func (s *Store) Tenants(ctx context.Context) ([]patchbay.Tenant, error) {
	return list[patchbay.Tenant](ctx, s, nil, `SELECT record, NULL FROM tenant ORDER BY key`)
}

// PutTenant implements [store.Directory].
func (s *Store) PutTenant(ctx context.Context, t patchbay.Tenant) error {
	record, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return s.lane.do(ctx, func(tx *txn) error {
		_, err := tx.exec(`INSERT INTO tenant (key, record) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET record = excluded.record`,
			strings.ToLower(t.ID), string(record))
		if err == nil {
			tx.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/tenants/write", Resource: store.TenantID(t.ID), Detail: t.DisplayName})
		}
		return err
	})
}

// Principals implements [store.Directory].
func (s *Store) Principals(ctx context.Context, tenant, after string, limit int) ([]patchbay.Principal, string, error) {
	limit = pageSizeOf(limit)
	query, args := `SELECT record, NULL FROM principal WHERE key > ? ORDER BY key LIMIT ?`, []any{after, limit + 1}
	if tenant != "" {
		query = `SELECT record, NULL FROM principal WHERE tenant = ? AND key > ? ORDER BY key LIMIT ?`
		args = append([]any{strings.ToLower(tenant)}, args...)
	}
	items, err := list[patchbay.Principal](ctx, s, nil, query, args...)
	items, next := page(items, limit, func(p patchbay.Principal) string { return strings.ToLower(p.ID) })
	return items, next, err
}

// Principal implements [store.Directory].
func (s *Store) Principal(ctx context.Context, id string) (patchbay.Principal, error) {
	items, err := list[patchbay.Principal](ctx, s, nil, `SELECT record, NULL FROM principal WHERE key = ?`, strings.ToLower(id))
	return one(items, err, absent("principal", id))
}

// PrincipalByApp implements [store.Directory].
func (s *Store) PrincipalByApp(ctx context.Context, appID string) (patchbay.Principal, error) {
	items, err := list[patchbay.Principal](ctx, s, nil, `SELECT record, NULL FROM principal WHERE app <> '' AND app = ?`, strings.ToLower(appID))
	return one(items, err, absent("principal with the client id", appID))
}

// PrincipalBySubject implements [store.Directory].
func (s *Store) PrincipalBySubject(ctx context.Context, provider string, kind patchbay.PrincipalKind, subject string) (patchbay.Principal, error) {
	items, err := list[patchbay.Principal](ctx, s, nil,
		`SELECT record, NULL FROM principal WHERE subject <> '' AND provider = ? AND kind = ? AND subject = ?`, provider, string(kind), subject)
	return one(items, err, absent("principal of "+provider, subject))
}

// PutPrincipal implements [store.Directory].
func (s *Store) PutPrincipal(ctx context.Context, p patchbay.Principal, ifMatch string) error {
	record, err := json.Marshal(p)
	if err != nil {
		return err
	}
	key, app := strings.ToLower(p.ID), strings.ToLower(p.AppID)
	return s.lane.do(ctx, func(tx *txn) error {
		if err := tx.matchRow("principal", store.PrincipalID(p.ID), ifMatch, `SELECT etag FROM principal WHERE key = ?`, key); err != nil {
			return err
		}
		var other string
		taken, err := tx.row([]any{&other}, `SELECT key FROM principal WHERE key <> ?1 AND app <> '' AND app = ?2 UNION ALL
			SELECT key FROM principal WHERE key <> ?1 AND subject <> '' AND provider = ?3 AND kind = ?4 AND subject = ?5 LIMIT 1`,
			key, app, p.Provider, string(p.Kind), p.Subject)
		if err != nil {
			return err
		}
		if taken {
			return store.PrincipalTaken(p, other)
		}
		if _, err := tx.exec(`INSERT INTO principal (key, tenant, app, provider, kind, subject, etag, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (key) DO UPDATE SET tenant = excluded.tenant, app = excluded.app, provider = excluded.provider, kind = excluded.kind,
				subject = excluded.subject, etag = excluded.etag, record = excluded.record`,
			key, strings.ToLower(p.Tenant), app, p.Provider, string(p.Kind), p.Subject, p.ETag, string(record)); err != nil {
			return err
		}
		tx.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/principals/write", Resource: store.PrincipalID(p.ID), Detail: p.Name})
		return nil
	})
}

// matchRow checks a condition against the ETag that the query reads.
func (tx *txn) matchRow(what string, id patchbay.ID, ifMatch, query string, args ...any) error {
	if ifMatch == "" {
		return nil
	}
	var etag string
	found, err := tx.row([]any{&etag}, query, args...)
	if err != nil {
		return err
	}
	return saga.MatchETag(patchbay.ID(what+" "+id.Name()), ifMatch, etag, found)
}

// DeletePrincipal implements [store.Directory].
func (s *Store) DeletePrincipal(ctx context.Context, id string, ifMatch string) error {
	key := strings.ToLower(id)
	return s.lane.do(ctx, func(tx *txn) error {
		var etag, name string
		found, err := tx.row([]any{&etag, &name}, `SELECT etag, record ->> '$.name' FROM principal WHERE key = ?`, key)
		if err != nil {
			return err
		}
		if !found {
			return absent("principal", id)
		}
		if err := saga.MatchETag(patchbay.ID("principal "+id), ifMatch, etag, found); err != nil {
			return err
		}
		if _, err := tx.exec(`DELETE FROM principal WHERE key = ?`, key); err != nil {
			return err
		}
		gone, err := tx.exec(`DELETE FROM role_assignment WHERE principal = ?`, key)
		if err != nil {
			return err
		}
		tx.l.roleWrites = tx.l.roleWrites || gone > 0
		tx.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/principals/delete", Resource: store.PrincipalID(id), Detail: name})
		return nil
	})
}

// SigningKeys implements [store.Directory].
func (s *Store) SigningKeys(ctx context.Context) ([]patchbay.SigningKey, error) {
	return list(ctx, s, func(k *patchbay.SigningKey, sealed []byte) { k.Sealed = sealed },
		`SELECT record, sealed FROM signing_key ORDER BY created, id`)
}

// serverItself is who makes and retires signing keys, whoever's request it is
// that finds them old.
var serverItself = patchbay.ActOf(context.Background())

// PutSigningKey implements [store.Directory].
func (s *Store) PutSigningKey(ctx context.Context, k patchbay.SigningKey) error {
	record, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return s.lane.do(ctx, func(tx *txn) error {
		_, err := tx.exec(`INSERT INTO signing_key (id, created, record, sealed) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET created = excluded.created, record = excluded.record, sealed = excluded.sealed`,
			k.ID, formatTime(k.Created), string(record), []byte(k.Sealed))
		if err == nil {
			tx.tellOf(serverItself, patchbay.AuditEntry{Action: "Patchbay.Connector/signingKeys/write", Resource: store.SigningKeyID(k.ID)})
		}
		return err
	})
}

// DeleteSigningKey implements [store.Directory].
func (s *Store) DeleteSigningKey(ctx context.Context, id string) error {
	return s.lane.do(ctx, func(tx *txn) error {
		n, err := tx.exec(`DELETE FROM signing_key WHERE id = ?`, id)
		switch {
		case err != nil:
			return err
		case n == 0:
			tx.wrote = false
			return absent("signing key", id)
		}
		tx.tellOf(serverItself, patchbay.AuditEntry{Action: "Patchbay.Connector/signingKeys/delete", Resource: store.SigningKeyID(id)})
		return nil
	})
}
