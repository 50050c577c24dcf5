package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
)

// Two tenants: ours with two subscriptions, and theirs.
const (
	ours    = "00000000-0000-0000-0000-0000000000a0"
	theirs  = "00000000-0000-0000-0000-0000000000b0"
	subA    = "/subscriptions/00000000-0000-0000-0000-00000000000a"
	subA2   = "/subscriptions/00000000-0000-0000-0000-0000000000a2"
	subB    = "/subscriptions/00000000-0000-0000-0000-00000000000b"
	groupA  = subA + "/resourceGroups/Shop"
	webA    = groupA + "/providers/Microsoft.Web/sites/web"
	linkerA = webA + "/providers/Microsoft.ServiceLinker/linkers/db"
	pgA     = groupA + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"
	groupB  = subB + "/resourceGroups/Shop"
	webB    = groupB + "/providers/Microsoft.Web/sites/web"

	linkersRead   = "Microsoft.ServiceLinker/linkers/read"
	linkersWrite  = "Microsoft.ServiceLinker/linkers/write"
	linkersSecret = "Microsoft.ServiceLinker/linkers/listConfigurations/action"
)

// world is the records, in memory.
type world struct {
	mu          sync.Mutex
	version     atomic.Int64
	definitions map[string]patchbay.RoleDefinition
	assignments map[string]patchbay.RoleAssignment
	principals  map[string]patchbay.Principal
	failing     error
	looked      atomic.Int64 // how often the subscriptions were read
}

func newWorld() *world {
	w := &world{
		definitions: map[string]patchbay.RoleDefinition{}, assignments: map[string]patchbay.RoleAssignment{},
		principals: map[string]patchbay.Principal{},
	}
	for _, p := range []patchbay.Principal{
		{ID: guid(1), Tenant: ours, Name: "deployer", Kind: patchbay.ServicePrincipal},
		{ID: guid(2), Tenant: ours, Name: "ann", Kind: patchbay.UserPrincipal},
		{ID: guid(3), Tenant: ours, Name: "team", Kind: patchbay.GroupPrincipal},
		{ID: guid(4), Tenant: theirs, Name: "stranger", Kind: patchbay.ServicePrincipal},
	} {
		w.principals[p.ID] = p
	}
	return w
}

func guid(n int) string { return fmt.Sprintf("10000000-0000-0000-0000-%012x", n) }

func (w *world) subject(n int, groups ...string) patchbay.Subject {
	p := w.principals[guid(n)]
	return patchbay.Subject{ID: p.ID, Tenant: p.Tenant, Name: p.Name, Kind: p.Kind, Groups: groups}
}

func (w *world) RolesVersion() int64 { return w.version.Load() }

func (w *world) RoleDefinitions(context.Context, string) ([]patchbay.RoleDefinition, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []patchbay.RoleDefinition
	for _, d := range w.definitions {
		list = append(list, d)
	}
	return list, w.failing
}

func (w *world) PutRoleDefinition(_ context.Context, d patchbay.RoleDefinition, ifMatch string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range w.definitions {
		if other.Tenant == d.Tenant && other.ID != d.ID && strings.EqualFold(other.Name, d.Name) {
			return patchbay.Errorf(patchbay.Conflict, "there is a role %s", d.Name)
		}
	}
	if old, ok := w.definitions[d.ID]; ifMatch != "" && (!ok || ifMatch != "*" && ifMatch != old.ETag) {
		return patchbay.Errorf(patchbay.PreconditionFailed, "the role changed")
	}
	w.definitions[d.ID] = d
	w.version.Add(1)
	return nil
}

func (w *world) DeleteRoleDefinition(_ context.Context, _, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.assignments {
		if a.Role == id {
			return patchbay.Errorf(patchbay.Conflict, "it is assigned")
		}
	}
	delete(w.definitions, id)
	w.version.Add(1)
	return nil
}

func (w *world) RoleAssignments(context.Context, string) ([]patchbay.RoleAssignment, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []patchbay.RoleAssignment
	for _, a := range w.assignments {
		list = append(list, a)
	}
	return list, w.failing
}

func (w *world) PutRoleAssignment(_ context.Context, a patchbay.RoleAssignment, _ bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, other := range w.assignments {
		if other.ID != a.ID && sameGrant(a, other) {
			return &patchbay.Error{Code: patchbay.Conflict, Subject: other.ID}
		}
	}
	w.assignments[a.ID] = a
	w.version.Add(1)
	return nil
}

func (w *world) DescribeRoleAssignment(_ context.Context, _, id, description string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, ok := w.assignments[id]
	if !ok {
		return errAbsent
	}
	a.Description = description
	w.assignments[id] = a
	w.version.Add(1)
	return nil
}

func (w *world) DeleteRoleAssignment(_ context.Context, _, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.assignments, id)
	w.version.Add(1)
	return nil
}

// give assigns a role, past all checks.
func (w *world) give(principal int, role string, scope patchbay.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.principals[guid(principal)]
	id := guid(1000 + len(w.assignments))
	w.assignments[id] = patchbay.RoleAssignment{ID: id, Tenant: p.Tenant, Scope: scope, Role: role, Principal: p.ID, PrincipalKind: p.Kind}
	w.version.Add(1)
}

func (w *world) Subscriptions(context.Context) ([]patchbay.Subscription, error) {
	w.looked.Add(1)
	sub := func(scope, tenant string) patchbay.Subscription {
		return patchbay.Subscription{ID: patchbay.ID(scope).Subscription(), TenantID: tenant}
	}
	return []patchbay.Subscription{sub(subA, ours), sub(subA2, ours), sub(subB, theirs)}, w.failing
}

var errAbsent = patchbay.Errorf(patchbay.ResourceNotFound, "it is not there")

func (w *world) ResourceGroup(_ context.Context, id patchbay.ID) (patchbay.ResourceGroup, error) {
	if !slices.ContainsFunc([]patchbay.ID{groupA, groupB}, id.Equal) {
		return patchbay.ResourceGroup{}, errAbsent
	}
	return patchbay.ResourceGroup{ID: id}, nil
}

func (w *world) Resource(_ context.Context, id patchbay.ID) (patchbay.Resource, error) {
	if !slices.ContainsFunc([]patchbay.ID{webA, pgA, webB}, id.Equal) {
		return patchbay.Resource{}, errAbsent
	}
	return patchbay.Resource{ID: id}, nil
}

func (w *world) Connection(_ context.Context, id patchbay.ID) (patchbay.Connection, error) {
	if !id.Equal(linkerA) {
		return patchbay.Connection{}, errAbsent
	}
	return patchbay.Connection{ID: id}, nil
}

func (w *world) Tenants(context.Context) ([]patchbay.Tenant, error) {
	return []patchbay.Tenant{{ID: ours}, {ID: theirs}}, nil
}

func (w *world) Principal(_ context.Context, id string) (patchbay.Principal, error) {
	p, ok := w.principals[id]
	if !ok {
		return p, errAbsent
	}
	return p, nil
}

func (w *world) control(t testing.TB) *Control {
	t.Helper()
	c, err := New(t.Context(), Options{
		Roles: w, Places: w, People: w,
		Clock: func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
