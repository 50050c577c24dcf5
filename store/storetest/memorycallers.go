package storetest

import (
	"context"
	"maps"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// Tenants implements [store.Directory].
func (m *Memory) Tenants(context.Context) ([]patchbay.Tenant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return inKeyOrder(m.tenants, func(patchbay.Tenant) bool { return true }), nil
}

func inKeyOrder[T any](all map[string]T, keep func(T) bool) (list []T) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if keep(all[key]) {
			list = append(list, all[key])
		}
	}
	return list
}

// PutTenant implements [store.Directory].
func (m *Memory) PutTenant(ctx context.Context, t patchbay.Tenant) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tenants[strings.ToLower(t.ID)] = t
	m.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/tenants/write", Resource: store.TenantID(t.ID), Detail: t.DisplayName})
	return nil
}

// Principals implements [store.Directory].
func (m *Memory) Principals(_ context.Context, tenant, after string, limit int) ([]patchbay.Principal, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, next := pick(m.principals, after, limit, func(_ string, p patchbay.Principal) bool {
		return tenant == "" || strings.EqualFold(p.Tenant, tenant)
	})
	return page, next, nil
}

// Principal implements [store.Directory].
func (m *Memory) Principal(_ context.Context, id string) (patchbay.Principal, error) {
	return get(m, m.principals, strings.ToLower(id), id, "principal")
}

func (m *Memory) principalWith(what, id string, is func(patchbay.Principal) bool) (patchbay.Principal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.principals {
		if is(p) {
			return p, nil
		}
	}
	return patchbay.Principal{}, missing(id, what)
}

// PrincipalByApp implements [store.Directory].
func (m *Memory) PrincipalByApp(_ context.Context, appID string) (patchbay.Principal, error) {
	return m.principalWith("principal with the client id", appID, func(p patchbay.Principal) bool {
		return p.AppID != "" && strings.EqualFold(p.AppID, appID)
	})
}

// PrincipalBySubject implements [store.Directory].
func (m *Memory) PrincipalBySubject(_ context.Context, provider string, kind patchbay.PrincipalKind, subject string) (patchbay.Principal, error) {
	return m.principalWith("principal of "+provider, subject, func(p patchbay.Principal) bool {
		return p.Subject != "" && p.Provider == provider && p.Kind == kind && p.Subject == subject
	})
}

// PutPrincipal implements [store.Directory].
func (m *Memory) PutPrincipal(ctx context.Context, p patchbay.Principal, ifMatch string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.ToLower(p.ID)
	stored, found := m.principals[key]
	if err := saga.MatchETag(patchbay.ID("principal "+p.ID), ifMatch, stored.ETag, found); err != nil {
		return err
	}
	for other, o := range m.principals {
		if other != key && (p.AppID != "" && strings.EqualFold(p.AppID, o.AppID) ||
			p.Subject != "" && p.Provider == o.Provider && p.Kind == o.Kind && p.Subject == o.Subject) {
			return store.PrincipalTaken(p, other)
		}
	}
	m.principals[key] = p
	m.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/principals/write", Resource: store.PrincipalID(p.ID), Detail: p.Name})
	return nil
}

// DeletePrincipal implements [store.Directory].
func (m *Memory) DeletePrincipal(ctx context.Context, id string, ifMatch string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.ToLower(id)
	stored, found := m.principals[key]
	if !found {
		return missing(id, "principal")
	}
	if err := saga.MatchETag(patchbay.ID("principal "+id), ifMatch, stored.ETag, found); err != nil {
		return err
	}
	delete(m.principals, key)
	m.unassign(func(a patchbay.RoleAssignment) bool { return strings.EqualFold(a.Principal, id) })
	m.tell(ctx, patchbay.AuditEntry{Action: "Patchbay.Connector/principals/delete", Resource: store.PrincipalID(id), Detail: stored.Name})
	return nil
}

// SigningKeys implements [store.Directory].
func (m *Memory) SigningKeys(context.Context) ([]patchbay.SigningKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := inKeyOrder(m.keys, func(patchbay.SigningKey) bool { return true })
	slices.SortStableFunc(all, func(a, b patchbay.SigningKey) int { return a.Created.Compare(b.Created) })
	return all, nil
}

// PutSigningKey implements [store.Directory].
func (m *Memory) PutSigningKey(_ context.Context, k patchbay.SigningKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys[k.ID] = k
	m.tell(context.Background(), patchbay.AuditEntry{Action: "Patchbay.Connector/signingKeys/write", Resource: store.SigningKeyID(k.ID)})
	return nil
}

// DeleteSigningKey implements [store.Directory].
func (m *Memory) DeleteSigningKey(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.keys[id]; !ok {
		return missing(id, "signing key")
	}
	delete(m.keys, id)
	m.tell(context.Background(), patchbay.AuditEntry{Action: "Patchbay.Connector/signingKeys/delete", Resource: store.SigningKeyID(id)})
	return nil
}

// inTenant is the key of what each tenant has its own of.
func inTenant(tenant, id string) string { return strings.ToLower(tenant + "/" + id) }

// RolesVersion implements [store.Roles].
func (m *Memory) RolesVersion() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roles
}

// RoleDefinitions implements [store.Roles].
func (m *Memory) RoleDefinitions(_ context.Context, tenant string) ([]patchbay.RoleDefinition, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return inKeyOrder(m.definitions, func(d patchbay.RoleDefinition) bool { return tenant == "" || strings.EqualFold(d.Tenant, tenant) }), nil
}

// PutRoleDefinition implements [store.Roles].
func (m *Memory) PutRoleDefinition(ctx context.Context, d patchbay.RoleDefinition, ifMatch string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := inTenant(d.Tenant, d.ID)
	stored, found := m.definitions[key]
	if err := saga.MatchETag(patchbay.ID("role definition "+d.ID), ifMatch, stored.ETag, found); err != nil {
		return err
	}
	for other, o := range m.definitions {
		if other != key && strings.EqualFold(o.Tenant, d.Tenant) && strings.EqualFold(o.Name, d.Name) {
			return store.RoleNameTaken(d, strings.ToLower(o.ID))
		}
	}
	for _, a := range m.assignments {
		if strings.EqualFold(a.Tenant, d.Tenant) && strings.EqualFold(a.Role, d.ID) && !store.Covers(d.Scopes, a.Scope) {
			return store.StillAssigned(d, a.Scope)
		}
	}
	m.definitions[key] = d
	m.roles++
	m.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Authorization/roleDefinitions/write", Resource: store.RoleDefinitionID(d.ID), Detail: d.Name})
	return nil
}

// DeleteRoleDefinition implements [store.Roles].
func (m *Memory) DeleteRoleDefinition(ctx context.Context, tenant, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.definitions[inTenant(tenant, id)]
	if !ok {
		return missing(id, "role definition")
	}
	for _, a := range m.assignments {
		if strings.EqualFold(a.Tenant, tenant) && strings.EqualFold(a.Role, id) {
			return store.RoleInUse(d.Name, strings.ToLower(a.ID))
		}
	}
	delete(m.definitions, inTenant(tenant, id))
	m.roles++
	m.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.Authorization/roleDefinitions/delete", Resource: store.RoleDefinitionID(id), Detail: d.Name})
	return nil
}

// RoleAssignments implements [store.Roles].
func (m *Memory) RoleAssignments(_ context.Context, tenant string) ([]patchbay.RoleAssignment, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return inKeyOrder(m.assignments, func(a patchbay.RoleAssignment) bool { return tenant == "" || strings.EqualFold(a.Tenant, tenant) }), nil
}

// PutRoleAssignment implements [store.Roles].
func (m *Memory) PutRoleAssignment(ctx context.Context, a patchbay.RoleAssignment, builtin bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.assignments {
		if strings.EqualFold(o.Tenant, a.Tenant) && (strings.EqualFold(o.ID, a.ID) || o.Scope.Key() == a.Scope.Key() &&
			strings.EqualFold(o.Role, a.Role) && strings.EqualFold(o.Principal, a.Principal)) {
			return store.AssignedAlready(a, o.ID)
		}
	}
	if !m.has(a.Scope) {
		return store.NoScope(a.Scope)
	}
	if p, ok := m.principals[strings.ToLower(a.Principal)]; !ok || !strings.EqualFold(p.Tenant, a.Tenant) {
		return store.NoPrincipal(a)
	}
	if d, ok := m.definitions[inTenant(a.Tenant, a.Role)]; !builtin && !ok {
		return store.NoRole(a)
	} else if !builtin && !store.Covers(d.Scopes, a.Scope) {
		return store.NotAssignable(d, a)
	}
	m.assignments[inTenant(a.Tenant, a.ID)] = a
	m.roles++
	m.tell(ctx, store.AssignmentLine("Microsoft.Authorization/roleAssignments/write", a))
	return nil
}

// has reports whether there is such a scope.
func (m *Memory) has(scope patchbay.ID) bool {
	holder, ids := store.HeldBy(scope)
	return holder == store.Tenancy || slices.ContainsFunc(ids, m.hasRecord)
}

// hasRecord reports whether there is a record of that very id.
func (m *Memory) hasRecord(id patchbay.ID) (there bool) {
	switch holder, _ := store.HeldBy(id); holder {
	case store.InSubscription:
		_, there = m.subscriptions[strings.ToLower(id.Subscription())]
	case store.InGroup:
		_, there = m.groups[id.Key()]
	case store.AtConnection:
		_, there = m.connections[id.Key()]
	case store.Tenancy, store.OnResource:
		_, there = m.resources[id.Key()]
	}
	return there
}

// DescribeRoleAssignment implements [store.Roles].
func (m *Memory) DescribeRoleAssignment(ctx context.Context, tenant, id, description string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.assignments[inTenant(tenant, id)]
	if !ok {
		return missing(id, "role assignment")
	}
	a.Description = description
	m.assignments[inTenant(tenant, id)] = a
	m.roles++
	m.tell(ctx, store.AssignmentLine("Microsoft.Authorization/roleAssignments/write", a))
	return nil
}

// DeleteRoleAssignment implements [store.Roles].
func (m *Memory) DeleteRoleAssignment(ctx context.Context, tenant, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.assignments[inTenant(tenant, id)]
	if !ok {
		return missing(id, "role assignment")
	}
	delete(m.assignments, inTenant(tenant, id))
	m.roles++
	m.tell(ctx, store.AssignmentLine("Microsoft.Authorization/roleAssignments/delete", a))
	return nil
}

func (m *Memory) unassign(is func(patchbay.RoleAssignment) bool) {
	for key, a := range m.assignments {
		if is(a) {
			delete(m.assignments, key)
			m.roles++
		}
	}
}

// forgetScope removes the assignments at what is gone, and below it, and the
// dryruns there.
func (m *Memory) forgetScope(id patchbay.ID) {
	maps.DeleteFunc(m.dryruns, func(key string, _ patchbay.Dryrun) bool { return isOrBelow(key, id.Key()) })
	m.unassign(func(a patchbay.RoleAssignment) bool { return isOrBelow(a.Scope.Key(), id.Key()) })
}

// Dryrun implements [store.Dryruns].
func (m *Memory) Dryrun(_ context.Context, id patchbay.ID) (patchbay.Dryrun, error) {
	return get(m, m.dryruns, id.Key(), string(id), "dryrun")
}

// Dryruns implements [store.Dryruns].
func (m *Memory) Dryruns(_ context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Dryrun, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	page, next := pick(m.dryruns, after, limit, func(_ string, d patchbay.Dryrun) bool {
		of, _, _ := d.ID.DryrunSource()
		return of.Equal(source)
	})
	return page, next, nil
}

// PutDryrun implements [store.Dryruns].
func (m *Memory) PutDryrun(ctx context.Context, d patchbay.Dryrun, ifMatch string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, found := m.dryruns[d.ID.Key()]
	if err := saga.MatchETag(patchbay.ID("dryrun "+d.ID.Name()), ifMatch, stored.ETag, found); err != nil {
		return err
	}
	if home := store.HomeOf(d.ID); !m.hasRecord(home) {
		return store.NoScope(home)
	}
	m.dryruns[d.ID.Key()] = d
	m.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.ServiceLinker/dryruns/write", Resource: d.ID})
	return nil
}

// DeleteDryrun implements [store.Dryruns].
func (m *Memory) DeleteDryrun(ctx context.Context, id patchbay.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.dryruns[id.Key()]; !ok {
		return missing(string(id), "dryrun")
	}
	delete(m.dryruns, id.Key())
	m.tell(ctx, patchbay.AuditEntry{Action: "Microsoft.ServiceLinker/dryruns/delete", Resource: id})
	return nil
}
