package server

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
)

// A second tenant, beside the fake's own.
const (
	otherTenant = "00000000-0000-0000-0000-0000000000ff"
	otherSub    = "00000000-0000-0000-0000-000000000002"
	otherRG     = "/subscriptions/" + otherSub + "/resourceGroups/rg"
	otherPG     = otherRG + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"
	sideRG      = "/subscriptions/" + testSub + "/resourceGroups/side"
)

// people are the callers of tests, their roles, and the audit log: what the
// packages identity, access and audit are to the server.
type people struct {
	mu          sync.Mutex
	fake        *fake
	version     int64
	subjects    map[string]patchbay.Subject // by token
	definitions []patchbay.RoleDefinition
	assignments []patchbay.RoleAssignment
	audit       []patchbay.AuditEntry
	verified    int
}

// withPeople is a server that knows callers by their tokens, and an access
// control of the real thing.
func withPeople(t testing.TB, with ...func(*Options)) (*bench, *people) {
	t.Helper()
	p := &people{subjects: map[string]patchbay.Subject{}}
	b := newBench(t, append([]func(*Options){func(o *Options) {
		o.Identity, o.Audit = p, p
		o.Access = lazily{p}
	}}, with...)...)
	p.fake = b.fake
	b.fake.tenants = append(b.fake.tenants, patchbay.Tenant{ID: otherTenant, DisplayName: "other"})
	b.fake.subs = append(b.fake.subs, patchbay.Subscription{ID: otherSub, TenantID: otherTenant, DisplayName: "other"})
	for _, id := range []patchbay.ID{otherRG, sideRG} {
		b.fake.groups[id.Key()] = patchbay.ResourceGroup{ID: id, Location: "local"}
	}
	c, err := access.New(t.Context(), access.Options{Roles: p, Places: places{b.fake}, People: p, Clock: func() time.Time { return b.fake.now }})
	if err != nil {
		t.Fatal(err)
	}
	b.opts.Access = c
	return b, p
}

// lazily stands for the access control until the server, which it asks about
// the inventory, is made.
type lazily struct{ *people }

func (lazily) Check(context.Context, patchbay.Subject, string, patchbay.ID) error { panic("too early") }
func (lazily) Within(context.Context, patchbay.Subject, string, patchbay.ID) bool { panic("too early") }
func (lazily) TenantOf(context.Context, patchbay.ID) (string, bool, error)        { panic("too early") }

// places are the fake's inventory.
type places struct{ *fake }

func (p places) Connection(ctx context.Context, id patchbay.ID) (patchbay.Connection, error) {
	return p.Get(ctx, id)
}

// caller makes a principal, whose token is its name.
func (p *people) caller(name, tenant string, groups ...string) patchbay.Subject {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := patchbay.Subject{
		ID: fmt.Sprintf("20000000-0000-0000-0000-%012x", len(p.subjects)+1), Tenant: tenant, Name: name, Kind: patchbay.ServicePrincipal, Groups: groups,
	}
	p.subjects["token-of-"+name] = s
	return s
}

// give assigns a role, past all checks.
func (p *people) give(who patchbay.Subject, role string, scope patchbay.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	p.assignments = append(p.assignments, patchbay.RoleAssignment{
		ID: fmt.Sprintf("30000000-0000-0000-0000-%012x", p.version), Tenant: who.Tenant, Scope: scope, Role: role, Principal: who.ID, PrincipalKind: who.Kind,
	})
}

func (p *people) Verify(_ context.Context, token patchbay.Secret, audience string) (patchbay.Subject, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.verified++
	s, ok := p.subjects[token.Reveal()]
	if !ok || audience != "https://patchbay.test" {
		return s, patchbay.Errorf(patchbay.Unauthenticated, "the token is not good")
	}
	return s, nil
}

func (p *people) AppendAudit(_ context.Context, e patchbay.AuditEntry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.audit = append(p.audit, e)
	return nil
}

// heard is what the audit log got since it was asked last.
func (p *people) heard() []patchbay.AuditEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.audit
	p.audit = nil
	return list
}

func (p *people) Tenants(ctx context.Context) ([]patchbay.Tenant, error) { return p.fake.Tenants(ctx) }

func (p *people) Principal(_ context.Context, id string) (patchbay.Principal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.subjects {
		if s.ID == id {
			return patchbay.Principal{ID: id, Tenant: s.Tenant, Name: s.Name, Kind: s.Kind}, nil
		}
	}
	return patchbay.Principal{}, notFound("principal " + id)
}

func (p *people) RolesVersion() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

func (p *people) RoleDefinitions(context.Context, string) ([]patchbay.RoleDefinition, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]patchbay.RoleDefinition{}, p.definitions...), nil
}

func (p *people) PutRoleDefinition(_ context.Context, d patchbay.RoleDefinition, _ string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	for i, old := range p.definitions {
		if old.ID == d.ID {
			p.definitions[i] = d
			return nil
		}
	}
	p.definitions = append(p.definitions, d)
	return nil
}

func (p *people) DeleteRoleDefinition(_ context.Context, _, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	for i, d := range p.definitions {
		if d.ID == id {
			p.definitions = append(p.definitions[:i:i], p.definitions[i+1:]...)
		}
	}
	return nil
}

func (p *people) RoleAssignments(context.Context, string) ([]patchbay.RoleAssignment, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]patchbay.RoleAssignment{}, p.assignments...), nil
}

func (p *people) PutRoleAssignment(_ context.Context, a patchbay.RoleAssignment, _ bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	p.assignments = append(p.assignments, a)
	return nil
}

func (p *people) DescribeRoleAssignment(_ context.Context, _, id, description string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	for i, a := range p.assignments {
		if strings.EqualFold(a.ID, id) {
			p.assignments[i].Description = description
		}
	}
	return nil
}

func (p *people) DeleteRoleAssignment(_ context.Context, _, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	for i, a := range p.assignments {
		if strings.EqualFold(a.ID, id) {
			p.assignments = append(p.assignments[:i:i], p.assignments[i+1:]...)
		}
	}
	return nil
}
