package sqlite

import (
	"context"
	"encoding/json"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// RolesVersion implements [store.Roles].
func (s *Store) RolesVersion() int64 { return s.lane.roles.Load() }

// RoleDefinitions implements [store.Roles].
func (s *Store) RoleDefinitions(ctx context.Context, tenant string) ([]patchbay.RoleDefinition, error) {
	return list[patchbay.RoleDefinition](ctx, s, nil,
		`SELECT record, NULL FROM role_definition WHERE ?1 = '' OR tenant = ?1 ORDER BY tenant, key`, strings.ToLower(tenant))
}

// PutRoleDefinition implements [store.Roles].
func (s *Store) PutRoleDefinition(ctx context.Context, d patchbay.RoleDefinition, ifMatch string) error {
	record, err := json.Marshal(d)
	if err != nil {
		return err
	}
	tenant, key, name := strings.ToLower(d.Tenant), strings.ToLower(d.ID), strings.ToLower(d.Name)
	return s.lane.do(ctx, func(tx *txn) error {
		if err := tx.matchRow("role definition", store.RoleDefinitionID(d.ID), ifMatch,
			`SELECT etag FROM role_definition WHERE tenant = ? AND key = ?`, tenant, key); err != nil {
			return err
		}
		var other string
		taken, err := tx.row([]any{&other}, `SELECT key FROM role_definition WHERE tenant = ? AND name = ? AND key <> ?`, tenant, name, key)
		if err != nil {
			return err
		}
		if taken {
			return store.RoleNameTaken(d, other)
		}
		if _, err := tx.exec(`INSERT INTO role_definition (tenant, key, name, etag, record) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (tenant, key) DO UPDATE SET name = excluded.name, etag = excluded.etag, record = excluded.record`,
			tenant, key, name, d.ETag, string(record)); err != nil {
			return err
		}
		tx.l.roleWrites = true
		tx.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Authorization/roleDefinitions/write", Resource: store.RoleDefinitionID(d.ID), Detail: d.Name})
		return nil
	})
}

// DeleteRoleDefinition implements [store.Roles].
func (s *Store) DeleteRoleDefinition(ctx context.Context, tenant, id string) error {
	of, key := strings.ToLower(tenant), strings.ToLower(id)
	return s.lane.do(ctx, func(tx *txn) error {
		var name, assignment string
		found, err := tx.row([]any{&name}, `SELECT record ->> '$.name' FROM role_definition WHERE tenant = ? AND key = ?`, of, key)
		if err != nil {
			return err
		}
		if !found {
			return absent("role definition", id)
		}
		used, err := tx.row([]any{&assignment}, `SELECT key FROM role_assignment WHERE tenant = ? AND role = ? LIMIT 1`, of, key)
		if err != nil {
			return err
		}
		if used {
			return store.RoleInUse(name, assignment)
		}
		if _, err := tx.exec(`DELETE FROM role_definition WHERE tenant = ? AND key = ?`, of, key); err != nil {
			return err
		}
		tx.l.roleWrites = true
		tx.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Authorization/roleDefinitions/delete", Resource: store.RoleDefinitionID(id), Detail: name})
		return nil
	})
}

// RoleAssignments implements [store.Roles].
func (s *Store) RoleAssignments(ctx context.Context, tenant string) ([]patchbay.RoleAssignment, error) {
	return list[patchbay.RoleAssignment](ctx, s, nil,
		`SELECT record, NULL FROM role_assignment WHERE ?1 = '' OR tenant = ?1 ORDER BY tenant, key`, strings.ToLower(tenant))
}

// PutRoleAssignment implements [store.Roles].
func (s *Store) PutRoleAssignment(ctx context.Context, a patchbay.RoleAssignment) error {
	record, err := json.Marshal(a)
	if err != nil {
		return err
	}
	tenant, key, role, principal := strings.ToLower(a.Tenant), strings.ToLower(a.ID), strings.ToLower(a.Role), strings.ToLower(a.Principal)
	return s.lane.do(ctx, func(tx *txn) error {
		var other string
		taken, err := tx.row([]any{&other}, `SELECT record ->> '$.id' FROM role_assignment
			WHERE tenant = ? AND scope_key = ? AND role = ? AND principal = ? AND key <> ?`, tenant, a.Scope.Key(), role, principal, key)
		if err != nil {
			return err
		}
		if taken {
			return store.AssignedAlready(a, other)
		}
		if _, err := tx.exec(`INSERT INTO role_assignment (tenant, key, scope_key, role, principal, record) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (tenant, key) DO UPDATE SET scope_key = excluded.scope_key, role = excluded.role, principal = excluded.principal, record = excluded.record`,
			tenant, key, a.Scope.Key(), role, principal, string(record)); err != nil {
			return err
		}
		tx.l.roleWrites = true
		tx.tell(ctx, store.AssignmentLine("Microsoft.Authorization/roleAssignments/write", a))
		return nil
	})
}

// DeleteRoleAssignment implements [store.Roles].
func (s *Store) DeleteRoleAssignment(ctx context.Context, tenant, id string) error {
	of, key := strings.ToLower(tenant), strings.ToLower(id)
	return s.lane.do(ctx, func(tx *txn) error {
		var record []byte
		found, err := tx.row([]any{&record}, `SELECT record FROM role_assignment WHERE tenant = ? AND key = ?`, of, key)
		if err != nil {
			return err
		}
		if !found {
			return absent("role assignment", id)
		}
		var a patchbay.RoleAssignment
		if err := json.Unmarshal(record, &a); err != nil {
			return unreadable("role assignment", err)
		}
		if _, err := tx.exec(`DELETE FROM role_assignment WHERE tenant = ? AND key = ?`, of, key); err != nil {
			return err
		}
		tx.l.roleWrites = true
		tx.tell(ctx, store.AssignmentLine("Microsoft.Authorization/roleAssignments/delete", a))
		return nil
	})
}

// forgetScope removes the assignments at what is gone, and below it.
func (tx *txn) forgetScope(id patchbay.ID) error {
	from, to := below(id.Key())
	gone, err := tx.exec(`DELETE FROM role_assignment WHERE scope_key = ? OR scope_key > ? AND scope_key < ?`, id.Key(), from, to)
	tx.l.roleWrites = tx.l.roleWrites || gone > 0
	return err
}
