package access

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
)

// Bounds of custom roles.
const (
	MaxDefinitions     = 1000 // of a tenant
	MaxDefinitionName  = 128  // bytes
	MaxAssignableScope = 100
)

// DefinitionFilter narrows a list of definitions. Zero fields do not.
type DefinitionFilter struct {
	Name string // in any case
	// Type is BuiltInRole or CustomRole, in any case.
	Type string
	// Below adds those that can be assigned only below the scope.
	Below bool
}

// The types of roles, in ARM's words.
const (
	BuiltInRole = "BuiltInRole"
	CustomRole  = "CustomRole"
)

// TypeOf says whether a role is built in or somebody's own.
func TypeOf(d patchbay.RoleDefinition) string {
	if d.Tenant == "" {
		return BuiltInRole
	}
	return CustomRole
}

// Definitions lists the roles that can be assigned at the scope: the built-in
// ones, smallest first, and then the tenant's own by name.
func (c *Control) Definitions(ctx context.Context, who patchbay.Subject, scope patchbay.ID, f DefinitionFilter) ([]patchbay.RoleDefinition, error) {
	key, ok := scopeKey(scope)
	if !ok {
		return nil, noScope(scope)
	}
	tenant, err := c.visibleTenant(ctx, who, key)
	if err != nil {
		return nil, err
	}
	s, err := c.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	wanted := func(d patchbay.RoleDefinition) bool {
		return (f.Name == "" || strings.EqualFold(f.Name, d.Name)) && (f.Type == "" || strings.EqualFold(f.Type, TypeOf(d)))
	}
	var list, custom []patchbay.RoleDefinition
	for _, d := range Builtin() {
		if wanted(d) {
			list = append(list, d)
		}
	}
	for _, d := range s.definitions {
		if d.Tenant != "" && (tenant == "" || strings.EqualFold(d.Tenant, tenant)) && wanted(d) && c.listed(ctx, who, d, key, f.Below) {
			custom = append(custom, d)
		}
	}
	slices.SortFunc(custom, func(a, b patchbay.RoleDefinition) int {
		return strings.Compare(strings.ToLower(a.Name+"/"+a.ID), strings.ToLower(b.Name+"/"+b.ID))
	})
	return append(list, custom...), nil
}

// listed reports whether a role belongs into the list at key.
func (c *Control) listed(ctx context.Context, who patchbay.Subject, d patchbay.RoleDefinition, key string, below bool) bool {
	r := compileRole(d)
	// At the root of a tenant all its roles are listed: each can be assigned in it.
	if r.assignableAt(key) || key == rootKey {
		return true
	}
	return below && slices.ContainsFunc(d.Scopes, func(s patchbay.ID) bool {
		at, ok := scopeKey(s)
		return ok && covers(key, at) && c.May(ctx, who, ReadDefinitions, s)
	})
}

// Definition is one role by its id.
func (c *Control) Definition(ctx context.Context, who patchbay.Subject, id string) (patchbay.RoleDefinition, error) {
	s, err := c.snapshot(ctx)
	if err != nil {
		return patchbay.RoleDefinition{}, err
	}
	if d, ok := s.definition(who.Tenant, id); ok {
		return d, nil
	}
	if who.Operator {
		for _, d := range s.definitions {
			if strings.EqualFold(d.ID, id) {
				return d, nil
			}
		}
	}
	return patchbay.RoleDefinition{}, noDefinition(id)
}

func noDefinition(id string) error {
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: "there is no role definition " + plain(id)}
}

// PutDefinition makes a custom role, or changes one. Who does needs the right
// to write roles at every scope where it may be assigned, now and before:
// otherwise an owner of one resource group could widen what others were given
// elsewhere.
func (c *Control) PutDefinition(ctx context.Context, who patchbay.Subject, d patchbay.RoleDefinition, ifMatch string) (stored patchbay.RoleDefinition, created bool, err error) {
	if _, ok := builtinOf(d.ID); ok {
		return d, false, patchbay.Errorf(patchbay.InvalidArgument, "the built-in roles stay as they are").
			WithFix("make a custom role under another id")
	}
	if err := c.checkDefinition(ctx, who, &d); err != nil {
		return d, false, err
	}
	s, err := c.snapshot(ctx)
	if err != nil {
		return d, false, err
	}
	now := c.now().UTC()
	old, exists := s.definitions[definitionKey(d.Tenant, d.ID)]
	switch {
	case exists:
		if err := c.checkScopes(ctx, who, WriteDefinitions, old.Scopes); err != nil {
			return d, false, err
		}
		if err := s.checkStillAssignable(old, d); err != nil {
			return d, false, err
		}
		d.ID, d.Created, d.CreatedBy = old.ID, old.Created, old.CreatedBy
	case s.definitionsOf(d.Tenant) >= MaxDefinitions:
		return d, false, patchbay.Errorf(patchbay.QuotaExceeded, "a tenant has at most %d custom roles", MaxDefinitions)
	default:
		d.Created, d.CreatedBy = now, who.Name
	}
	d.Modified, d.ModifiedBy, d.ETag = now, who.Name, `"`+uuid.NewString()+`"`
	if err := c.roles.PutRoleDefinition(toldTo(ctx, d.Tenant), d, ifMatch); err != nil {
		return d, false, err
	}
	return d, !exists, nil
}

// checkDefinition checks what can be seen from the role alone, and finds its
// tenant.
func (c *Control) checkDefinition(ctx context.Context, who patchbay.Subject, d *patchbay.RoleDefinition) error {
	if err := checkID("role definition", d.ID); err != nil {
		return err
	}
	if d.Name == "" || plain(d.Name) != d.Name || len(d.Name) > MaxDefinitionName {
		return patchbay.Errorf(patchbay.InvalidArgument, "a role's name is one line of 1 to %d bytes", MaxDefinitionName)
	}
	for _, b := range builtin {
		if strings.EqualFold(b.Name, d.Name) {
			return patchbay.Errorf(patchbay.Conflict, "%s is a built-in role's name", b.Name)
		}
	}
	if err := checkText("description", d.Description, MaxDescription); err != nil {
		return err
	}
	if err := checkActions(*d); err != nil {
		return err
	}
	if len(d.Scopes) == 0 || len(d.Scopes) > MaxAssignableScope {
		return patchbay.Errorf(patchbay.InvalidArgument, "a role needs 1 to %d assignable scopes", MaxAssignableScope)
	}
	return c.findTenant(ctx, who, d)
}

// findTenant wants all assignable scopes in one tenant.
func (c *Control) findTenant(ctx context.Context, who patchbay.Subject, d *patchbay.RoleDefinition) error {
	d.Tenant = who.Tenant
	for i, scope := range d.Scopes {
		key, ok := scopeKey(scope)
		if !ok {
			return noScope(scope)
		}
		tenant, err := c.visibleTenant(ctx, who, key)
		if err != nil {
			return err
		}
		if key == rootKey && who.Operator {
			if tenant, err = c.onlyTenant(ctx); err != nil {
				return err
			}
		}
		if i > 0 && !strings.EqualFold(tenant, d.Tenant) {
			return patchbay.Errorf(patchbay.InvalidArgument, "the assignable scopes of a role are in one tenant")
		}
		d.Tenant = tenant
		// First whether who may: what is there is not told to who may not.
		if err := c.Check(ctx, who, WriteDefinitions, scope); err != nil {
			return err
		}
		if err := c.exists(ctx, scope); err != nil {
			return err
		}
	}
	return nil
}

// onlyTenant is the tenant whose root an operator, who is in none, means.
func (c *Control) onlyTenant(ctx context.Context) (string, error) {
	list, err := c.people.Tenants(ctx)
	if err != nil {
		return "", err
	}
	if len(list) != 1 {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "there are %d tenants, and the root is that of each", len(list)).
			WithFix("name subscriptions of one tenant as assignable scopes")
	}
	return list[0].ID, nil
}

func (c *Control) checkScopes(ctx context.Context, who patchbay.Subject, action string, scopes []patchbay.ID) error {
	for _, s := range scopes {
		if err := c.Check(ctx, who, action, s); err != nil {
			return err
		}
	}
	return nil
}

// checkStillAssignable refuses to take a scope away that the role is assigned
// at.
func (s *snapshot) checkStillAssignable(old, d patchbay.RoleDefinition) error {
	r := compileRole(d)
	for _, a := range s.assignments {
		key, ok := scopeKey(a.Scope)
		if ok && strings.EqualFold(a.Role, old.ID) && strings.EqualFold(a.Tenant, old.Tenant) && !r.assignableAt(key) {
			return patchbay.Errorf(patchbay.Conflict, "the role %s is assigned at %s, which would be no assignable scope any more", old.Name, a.Scope)
		}
	}
	return nil
}

func (s *snapshot) definitionsOf(tenant string) int {
	n := 0
	for _, d := range s.definitions {
		if d.Tenant != "" && strings.EqualFold(d.Tenant, tenant) {
			n++
		}
	}
	return n
}

// DeleteDefinition removes a custom role that nobody has, and gives what it
// was. Who does needs the right at every scope where it may be assigned.
func (c *Control) DeleteDefinition(ctx context.Context, who patchbay.Subject, id string) (patchbay.RoleDefinition, error) {
	d, err := c.Definition(ctx, who, id)
	if err != nil {
		return d, err
	}
	if d.Tenant == "" {
		return d, patchbay.Errorf(patchbay.InvalidArgument, "the built-in roles stay as they are")
	}
	if err := c.checkScopes(ctx, who, DeleteDefinitions, d.Scopes); err != nil {
		return d, err
	}
	return d, c.roles.DeleteRoleDefinition(toldTo(ctx, d.Tenant), d.Tenant, d.ID)
}

// Permissions are the actions of who at the scope, one entry for each
// assignment that counts there.
func (c *Control) Permissions(ctx context.Context, who patchbay.Subject, scope patchbay.ID) ([]patchbay.RoleDefinition, error) {
	if who.Operator {
		d, _ := builtinOf(Owner)
		return []patchbay.RoleDefinition{d}, nil
	}
	key, ok := scopeKey(scope)
	if !ok {
		return nil, noScope(scope)
	}
	if _, err := c.visibleTenant(ctx, who, key); err != nil {
		return nil, err
	}
	s, err := c.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var list []patchbay.RoleDefinition
	for _, a := range s.assignments {
		at, ok := scopeKey(a.Scope)
		mine := strings.EqualFold(a.Principal, who.ID) ||
			slices.ContainsFunc(who.Groups, func(g string) bool { return strings.EqualFold(g, a.Principal) })
		if !ok || !mine || !strings.EqualFold(a.Tenant, who.Tenant) || !covers(at, key) {
			continue
		}
		if d, ok := s.definition(a.Tenant, a.Role); ok {
			list = append(list, d)
		}
	}
	return list, nil
}
