package access

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// Bounds of a tenant.
const (
	MaxAssignments = 50_000
	MaxDescription = 1024 // bytes
)

// What callers need for roles themselves.
const (
	ReadAssignments   = "Microsoft.Authorization/roleAssignments/read"
	WriteAssignments  = "Microsoft.Authorization/roleAssignments/write"
	DeleteAssignments = "Microsoft.Authorization/roleAssignments/delete"
	ReadDefinitions   = "Microsoft.Authorization/roleDefinitions/read"
	WriteDefinitions  = "Microsoft.Authorization/roleDefinitions/write"
	DeleteDefinitions = "Microsoft.Authorization/roleDefinitions/delete"
)

// AssignmentFilter narrows a list of assignments. Zero fields do not.
type AssignmentFilter struct {
	// AtScope leaves out what is below the scope.
	AtScope   bool
	Principal string // its object id
	// AssignedTo is a principal whose groups count too, as far as they are known:
	// those of the caller itself.
	AssignedTo string
}

// Assignments lists those at the scope, above and below it that who may read,
// by scope and id: who may read them at a scope sees those from above too,
// because they hold there. An operator sees every tenant's at the root.
func (c *Control) Assignments(ctx context.Context, who patchbay.Subject, scope patchbay.ID, f AssignmentFilter) ([]patchbay.RoleAssignment, error) {
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
	here := c.May(ctx, who, ReadAssignments, scope)
	var list []patchbay.RoleAssignment
	for _, a := range s.assignments {
		at, ok := scopeKey(a.Scope)
		switch {
		case !ok || tenant != "" && !strings.EqualFold(a.Tenant, tenant),
			!covers(at, key) && (f.AtScope || !covers(key, at)),
			f.Principal != "" && !strings.EqualFold(a.Principal, f.Principal),
			f.AssignedTo != "" && !assignedTo(a, who, f.AssignedTo),
			(!here || !covers(at, key)) && !c.May(ctx, who, ReadAssignments, a.Scope):
			continue
		}
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b patchbay.RoleAssignment) int {
		if d := strings.Compare(a.Scope.Key(), b.Scope.Key()); d != 0 {
			return d
		}
		return strings.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID))
	})
	return list, nil
}

func assignedTo(a patchbay.RoleAssignment, who patchbay.Subject, to string) bool {
	if strings.EqualFold(a.Principal, to) {
		return true
	}
	return strings.EqualFold(who.ID, to) &&
		slices.ContainsFunc(who.Groups, func(g string) bool { return strings.EqualFold(g, a.Principal) })
}

// Assignment is one, by its id and exactly its scope.
func (c *Control) Assignment(ctx context.Context, who patchbay.Subject, scope patchbay.ID, id string) (patchbay.RoleAssignment, error) {
	s, err := c.snapshot(ctx)
	if err != nil {
		return patchbay.RoleAssignment{}, err
	}
	key, ok := scopeKey(scope)
	for _, a := range s.assignments {
		at, _ := scopeKey(a.Scope)
		if ok && at == key && strings.EqualFold(a.ID, id) && (who.Operator || strings.EqualFold(a.Tenant, who.Tenant)) {
			return a, nil
		}
	}
	return patchbay.RoleAssignment{}, &patchbay.Error{
		Code: patchbay.ResourceNotFound, Subject: id, Message: "there is no role assignment " + plain(id),
	}
}

// PutAssignment gives a role to a principal. Its Tenant, PrincipalKind when it
// is "", Created and CreatedBy are filled in. created is false for one that is
// there under that id; only its description may change. The scope has to be
// there, in the principal's tenant; the role has to be assignable there.
func (c *Control) PutAssignment(ctx context.Context, who patchbay.Subject, a patchbay.RoleAssignment) (stored patchbay.RoleAssignment, created bool, err error) {
	if err := checkID("role assignment", a.ID); err != nil {
		return a, false, err
	}
	if err := checkText("description", a.Description, MaxDescription); err != nil {
		return a, false, err
	}
	if a.Scope == "" {
		a.Scope = patchbay.RootScope
	}
	key, ok := scopeKey(a.Scope)
	if !ok {
		return a, false, noScope(a.Scope)
	}
	if a.Tenant, err = c.visibleTenant(ctx, who, key); err != nil {
		return a, false, err
	}
	if err := c.exists(ctx, a.Scope); err != nil {
		return a, false, err
	}
	if err := c.checkPrincipal(ctx, who, &a); err != nil {
		return a, false, err
	}
	s, err := c.snapshot(ctx)
	if err != nil {
		return a, false, err
	}
	d, ok := s.definition(a.Tenant, a.Role)
	if !ok {
		return a, false, patchbay.Errorf(patchbay.RoleNotFound, "there is no role definition %s", plain(a.Role)).
			WithFix("patchbay role definition list")
	}
	if !compileRole(d).assignableAt(key) {
		return a, false, patchbay.Errorf(patchbay.InvalidArgument, "the role %s can't be assigned at %s; its assignable scopes are %s", d.Name, a.Scope, join(d.Scopes))
	}
	a.Role = d.ID
	if old, ok := s.assignmentOf(a.Tenant, a.ID); ok {
		return c.describe(ctx, old, a)
	}
	builtin := d.Tenant == ""
	n := 0
	for _, other := range s.assignments {
		if !strings.EqualFold(other.Tenant, a.Tenant) {
			continue
		}
		n++
		if sameGrant(a, other) {
			return a, false, alreadyThere(other.ID)
		}
	}
	if n >= MaxAssignments {
		return a, false, patchbay.Errorf(patchbay.QuotaExceeded, "a tenant has at most %d role assignments", MaxAssignments)
	}
	a.Created, a.CreatedBy = c.now().UTC(), who.Name
	// The store looks again, in the write: two at once make one assignment, and
	// none is made of what is being removed.
	if err := c.roles.PutRoleAssignment(toldTo(ctx, a.Tenant), a, builtin); err != nil {
		if patchbay.CodeOf(err) != patchbay.Conflict {
			return a, false, err
		}
		s, readErr := c.snapshot(ctx)
		if readErr != nil {
			return a, false, readErr
		}
		if old, ok := s.assignmentOf(a.Tenant, a.ID); ok { // the same request was there twice at once
			return c.describe(ctx, old, a)
		}
		return a, false, alreadyThere(patchbay.AsError(err).Subject)
	}
	return a, true, nil
}

// describe changes the description of an assignment, which is all that may.
func (c *Control) describe(ctx context.Context, old, a patchbay.RoleAssignment) (patchbay.RoleAssignment, bool, error) {
	if !sameGrant(old, a) {
		return a, false, patchbay.Errorf(patchbay.Conflict, "the role assignment %s is another one: its role, principal and scope stay as they are", plain(a.ID)).
			WithFix("delete it, or make one under another id")
	}
	if old.Description == a.Description {
		return old, false, nil
	}
	old.Description = a.Description
	return old, false, c.roles.DescribeRoleAssignment(toldTo(ctx, old.Tenant), old.Tenant, old.ID, old.Description)
}

// alreadyThere has the words that az looks for in it.
func alreadyThere(id string) error {
	return &patchbay.Error{
		Code: patchbay.RoleAssignmentExists, Subject: id,
		Message: "the role assignment already exists, under the id " + id,
	}
}

func sameGrant(a, b patchbay.RoleAssignment) bool {
	return a.Scope.Equal(b.Scope) && strings.EqualFold(a.Role, b.Role) && strings.EqualFold(a.Principal, b.Principal)
}

// assignmentOf finds one of a tenant: what another calls by the same id is its
// own.
func (s *snapshot) assignmentOf(tenant, id string) (patchbay.RoleAssignment, bool) {
	for _, a := range s.assignments {
		if strings.EqualFold(a.ID, id) && strings.EqualFold(a.Tenant, tenant) {
			return a, true
		}
	}
	return patchbay.RoleAssignment{}, false
}

// DeleteAssignment takes a role away, and gives the assignment that was. The
// scope has to be exactly its own: who may take roles away in one resource
// group must not reach one of the subscription by its id.
func (c *Control) DeleteAssignment(ctx context.Context, who patchbay.Subject, scope patchbay.ID, id string) (patchbay.RoleAssignment, error) {
	a, err := c.Assignment(ctx, who, scope, id)
	if err != nil {
		return a, err
	}
	return a, c.roles.DeleteRoleAssignment(toldTo(ctx, a.Tenant), a.Tenant, a.ID)
}

// toldTo is the context in which a write has a line in that tenant's audit log:
// what the operator does at the root is in no tenant's by itself.
func toldTo(ctx context.Context, tenant string) context.Context {
	a := patchbay.ActOf(ctx)
	if tenant == "" || a.Action == "" || slices.ContainsFunc(a.Tenants, func(t string) bool { return strings.EqualFold(t, tenant) }) {
		return ctx
	}
	a.Tenants = append(slices.Clone(a.Tenants), tenant)
	return patchbay.WithAct(ctx, a)
}

// checkPrincipal wants the principal to be there, in the tenant of the scope.
// At the root an operator gives a role in the principal's own tenant.
func (c *Control) checkPrincipal(ctx context.Context, who patchbay.Subject, a *patchbay.RoleAssignment) error {
	missing := patchbay.Errorf(patchbay.PrincipalNotFound, "there is no principal %s in this tenant", plain(a.Principal)).
		WithFix("patchbay principal list")
	p, err := c.people.Principal(ctx, strings.ToLower(a.Principal))
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		return missing
	case err != nil:
		return err
	case a.Tenant == "" && who.Operator:
		a.Tenant = p.Tenant
	case !strings.EqualFold(p.Tenant, a.Tenant):
		return missing
	}
	if a.PrincipalKind != "" && !strings.EqualFold(string(a.PrincipalKind), string(p.Kind)) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the principal %s is a %s, not a %s", p.ID, p.Kind, plain(string(a.PrincipalKind)))
	}
	a.Principal, a.PrincipalKind = p.ID, p.Kind
	return nil
}

// visibleTenant is the tenant whose roles at key are meant: the scope's, or
// the caller's at the root; "" of an operator there.
func (c *Control) visibleTenant(ctx context.Context, who patchbay.Subject, key string) (string, error) {
	if key == rootKey {
		return who.Tenant, nil
	}
	tenant, known, err := c.tenantOf(ctx, key)
	if err != nil {
		return "", err
	}
	if !known || !who.Operator && !strings.EqualFold(tenant, who.Tenant) {
		return "", noScope(patchbay.ID(key))
	}
	return tenant, nil
}

// exists wants the scope to be there: a subscription, a resource group, a
// resource or what is below one, a connection.
func (c *Control) exists(ctx context.Context, scope patchbay.ID) error {
	if scope == patchbay.RootScope {
		return nil
	}
	id, err := patchbay.ParseID(string(scope))
	if err != nil {
		return err
	}
	holder, ids := store.HeldBy(id)
	for _, at := range ids {
		switch holder {
		case store.Tenancy, store.InSubscription:
			return nil // its tenant is known, so it is there
		case store.InGroup:
			_, err = c.places.ResourceGroup(ctx, at)
		case store.AtConnection:
			_, err = c.places.Connection(ctx, at)
		case store.OnResource:
			_, err = c.places.Resource(ctx, at)
		}
		if patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			return err
		}
	}
	return noScope(scope)
}

func noScope(scope patchbay.ID) error {
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: string(scope), Message: "there is no scope " + plain(string(scope))}
}

func checkID(what, id string) error {
	if u, err := uuid.Parse(id); err != nil || !strings.EqualFold(u.String(), id) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the id of a %s is a GUID, not %q", what, plain(id))
	}
	return nil
}

func checkText(what, s string, limit int) error {
	if len(s) > limit || s != strings.ToValidUTF8(s, "") {
		return patchbay.Errorf(patchbay.InvalidArgument, "the %s has to be text of at most %d bytes", what, limit)
	}
	return nil
}

func join(scopes []patchbay.ID) string {
	list := make([]string, len(scopes))
	for i, s := range scopes {
		list[i] = string(s)
	}
	return strings.Join(list, ", ")
}
