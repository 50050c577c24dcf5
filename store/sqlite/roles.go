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
		scopes, err := tx.column(`SELECT record ->> '$.scope' FROM role_assignment WHERE tenant = ? AND role = ?`, tenant, key)
		if err != nil {
			return err
		}
		for _, scope := range scopes {
			if !store.Covers(d.Scopes, patchbay.ID(scope)) {
				return store.StillAssigned(d, patchbay.ID(scope))
			}
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
func (s *Store) PutRoleAssignment(ctx context.Context, a patchbay.RoleAssignment, builtin bool) error {
	record, err := json.Marshal(a)
	if err != nil {
		return err
	}
	tenant, key, role, principal := strings.ToLower(a.Tenant), strings.ToLower(a.ID), strings.ToLower(a.Role), strings.ToLower(a.Principal)
	return s.lane.do(ctx, func(tx *txn) error {
		var other string
		taken, err := tx.row([]any{&other}, `SELECT record ->> '$.id' FROM role_assignment
			WHERE tenant = ?1 AND (scope_key = ?2 AND role = ?3 AND principal = ?4 OR key = ?5)`, tenant, a.Scope.Key(), role, principal, key)
		if err != nil {
			return err
		}
		if taken {
			return store.AssignedAlready(a, other)
		}
		if err := tx.mayStand(a, builtin); err != nil {
			return err
		}
		if _, err := tx.exec(`INSERT INTO role_assignment (tenant, key, scope_key, role, principal, record) VALUES (?, ?, ?, ?, ?, ?)`,
			tenant, key, a.Scope.Key(), role, principal, string(record)); err != nil {
			return err
		}
		tx.l.roleWrites = true
		tx.tell(ctx, store.AssignmentLine("Microsoft.Authorization/roleAssignments/write", a))
		return nil
	})
}

// mayStand wants everything that an assignment is about to be there.
func (tx *txn) mayStand(a patchbay.RoleAssignment, builtin bool) error {
	if err := tx.needs(a.Scope); err != nil {
		return err
	}
	found, err := tx.row([]any{new(int)}, `SELECT 1 FROM principal WHERE key = ? AND tenant = ?`, strings.ToLower(a.Principal), strings.ToLower(a.Tenant))
	switch {
	case err != nil:
		return err
	case !found:
		return store.NoPrincipal(a)
	case builtin:
		return nil
	}
	var record []byte
	found, err = tx.row([]any{&record}, `SELECT record FROM role_definition WHERE tenant = ? AND key = ?`, strings.ToLower(a.Tenant), strings.ToLower(a.Role))
	if err != nil {
		return err
	}
	if !found {
		return store.NoRole(a)
	}
	var d patchbay.RoleDefinition
	if err := json.Unmarshal(record, &d); err != nil {
		return unreadable("role definition", err)
	}
	if !store.Covers(d.Scopes, a.Scope) {
		return store.NotAssignable(d, a)
	}
	return nil
}

// needs fails with ResourceNotFound when there is no such scope.
func (tx *txn) needs(scope patchbay.ID) error {
	holder, ids := store.HeldBy(scope)
	if holder == store.Tenancy {
		return nil
	}
	for _, id := range ids {
		if found, err := tx.has(holder, id); found || err != nil {
			return err
		}
	}
	return store.NoScope(scope)
}

// needsRecord is needs for what has to have a record of its own.
func (tx *txn) needsRecord(id patchbay.ID) error {
	holder, _ := store.HeldBy(id)
	found, err := tx.has(holder, id)
	if err == nil && !found {
		err = store.NoScope(id)
	}
	return err
}

func (tx *txn) has(holder store.Holder, id patchbay.ID) (bool, error) {
	query, key := `SELECT 1 FROM resource WHERE key = ?`, id.Key()
	switch holder {
	case store.InSubscription:
		query, key = `SELECT 1 FROM subscription WHERE key = ?`, strings.ToLower(id.Subscription())
	case store.InGroup:
		query = `SELECT 1 FROM resource_group WHERE key = ?`
	case store.AtConnection:
		query = `SELECT 1 FROM connection WHERE key = ?`
	case store.Tenancy, store.OnResource:
	}
	return tx.row([]any{new(int)}, query, key)
}

// DescribeRoleAssignment implements [store.Roles].
func (s *Store) DescribeRoleAssignment(ctx context.Context, tenant, id, description string) error {
	of, key := strings.ToLower(tenant), strings.ToLower(id)
	return s.lane.do(ctx, func(tx *txn) error {
		a, err := tx.assignment(of, key, id)
		if err != nil {
			return err
		}
		a.Description = description
		record, err := json.Marshal(a)
		if err != nil {
			return err
		}
		if _, err := tx.exec(`UPDATE role_assignment SET record = ? WHERE tenant = ? AND key = ?`, string(record), of, key); err != nil {
			return err
		}
		tx.l.roleWrites = true
		tx.tell(ctx, store.AssignmentLine("Microsoft.Authorization/roleAssignments/write", a))
		return nil
	})
}

func (tx *txn) assignment(tenant, key, id string) (a patchbay.RoleAssignment, err error) {
	var record []byte
	found, err := tx.row([]any{&record}, `SELECT record FROM role_assignment WHERE tenant = ? AND key = ?`, tenant, key)
	if err != nil {
		return a, err
	}
	if !found {
		return a, absent("role assignment", id)
	}
	if err := json.Unmarshal(record, &a); err != nil {
		return a, unreadable("role assignment", err)
	}
	return a, nil
}

// DeleteRoleAssignment implements [store.Roles].
func (s *Store) DeleteRoleAssignment(ctx context.Context, tenant, id string) error {
	of, key := strings.ToLower(tenant), strings.ToLower(id)
	return s.lane.do(ctx, func(tx *txn) error {
		a, err := tx.assignment(of, key, id)
		if err != nil {
			return err
		}
		if _, err := tx.exec(`DELETE FROM role_assignment WHERE tenant = ? AND key = ?`, of, key); err != nil {
			return err
		}
		tx.l.roleWrites = true
		tx.tell(ctx, store.AssignmentLine("Microsoft.Authorization/roleAssignments/delete", a))
		return nil
	})
}

// forgetScope removes the assignments at what is gone, and below it, and the
// dryruns there.
func (tx *txn) forgetScope(id patchbay.ID) error {
	from, to := below(id.Key())
	if _, err := tx.exec(`DELETE FROM dryrun WHERE key > ? AND key < ?`, from, to); err != nil {
		return err
	}
	gone, err := tx.exec(`DELETE FROM role_assignment WHERE scope_key = ? OR scope_key > ? AND scope_key < ?`, id.Key(), from, to)
	tx.l.roleWrites = tx.l.roleWrites || gone > 0
	return err
}
