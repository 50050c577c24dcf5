package access_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/sqlite"
)

// TestRolesGoWithWhatTheyAreAbout runs on the real records, which remove
// assignments by themselves: a decision must know of it at once.
func TestRolesGoWithWhatTheyAreAbout(t *testing.T) {
	const (
		tenant = "00000000-0000-0000-0000-0000000000a0"
		sub    = "00000000-0000-0000-0000-00000000000a"
		ann    = "10000000-0000-0000-0000-000000000001"
		read   = "Patchbay.Connector/resources/read"
	)
	group := patchbay.ID("/subscriptions/" + sub + "/resourceGroups/shop")
	web := group + "/providers/Microsoft.Web/sites/web"
	ctx := t.Context()
	records, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "x.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	resource := patchbay.Resource{ID: web, Driver: "envfile", State: patchbay.Succeeded, ETag: `"1"`, Created: now, Modified: now}
	principal := patchbay.Principal{ID: ann, Tenant: tenant, Name: "ann", Kind: patchbay.UserPrincipal, Provider: "corp", Subject: "ann", ETag: `"1"`, Created: now, Modified: now}
	must(records.PutTenant(ctx, patchbay.Tenant{ID: tenant, DisplayName: "default"}))
	must(records.PutSubscription(ctx, patchbay.Subscription{ID: sub, TenantID: tenant}))
	must(records.PutResourceGroup(ctx, patchbay.ResourceGroup{ID: group, Location: "local"}))
	must(records.PutResource(ctx, resource, ""))
	must(records.PutPrincipal(ctx, principal, store.Absent))

	c, err := access.New(ctx, access.Options{Roles: records, Places: records, People: records})
	must(err)
	who := patchbay.Subject{ID: ann, Tenant: tenant, Name: "ann", Kind: patchbay.UserPrincipal}
	operator := patchbay.Subject{Operator: true, Name: "admin"}
	give := func(n string, scope patchbay.ID) {
		t.Helper()
		_, _, err := c.PutAssignment(ctx, operator, patchbay.RoleAssignment{ID: "30000000-0000-0000-0000-00000000000" + n, Scope: scope, Role: access.Reader, Principal: ann})
		must(err)
	}
	may := func() bool { return c.May(ctx, who, read, web) }

	give("1", web)
	if !may() {
		t.Fatal("the role does not count")
	}
	if _, _, err := c.PutAssignment(ctx, operator, patchbay.RoleAssignment{ID: "30000000-0000-0000-0000-00000000000f", Scope: web, Role: access.Reader, Principal: ann}); patchbay.CodeOf(err) != patchbay.RoleAssignmentExists {
		t.Errorf("a second one: %v", err)
	}
	must(records.DeleteResource(ctx, web, ""))
	must(records.PutResource(ctx, resource, ""))
	if may() {
		t.Error("a resource of the same name has the roles of the one before")
	}

	give("2", group)
	must(records.DeleteResource(ctx, web, ""))
	must(records.DeleteResourceGroup(ctx, group))
	must(records.PutResourceGroup(ctx, patchbay.ResourceGroup{ID: group, Location: "local"}))
	if may() {
		t.Error("a group of the same name has the roles of the one before")
	}

	give("3", "/")
	if !may() {
		t.Fatal("a role at the root does not count")
	}
	must(records.DeletePrincipal(ctx, ann, ""))
	must(records.PutPrincipal(ctx, principal, store.Absent))
	if may() {
		t.Error("a principal of the same id has the roles of the one before")
	}
}

// What the operator gives or takes at a tenant's root is in that tenant's audit
// log: its owners see who else became one.
func TestATenantsLogTellsWhatTheOperatorDidAtItsRoot(t *testing.T) {
	const tenant, ann = "00000000-0000-0000-0000-0000000000a0", "10000000-0000-0000-0000-000000000001"
	records, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	must(records.PutTenant(t.Context(), patchbay.Tenant{ID: tenant, DisplayName: "default"}))
	must(records.PutPrincipal(t.Context(), patchbay.Principal{
		ID: ann, Tenant: tenant, Name: "ann", Kind: patchbay.UserPrincipal, Provider: "corp", Subject: "ann", ETag: `"1"`, Created: now, Modified: now,
	}, store.Absent))
	c, err := access.New(t.Context(), access.Options{Roles: records, Places: records, People: records})
	must(err)
	operator := patchbay.Subject{Operator: true, Name: "admin"}
	as := func(action string) context.Context {
		return patchbay.WithAct(t.Context(), patchbay.Act{Caller: "admin", Action: action})
	}
	owner := patchbay.RoleAssignment{ID: "30000000-0000-0000-0000-000000000001", Scope: "/", Role: access.Owner, Principal: ann}
	_, _, err = c.PutAssignment(as("give"), operator, owner)
	must(err)
	owner.Description = "for a while"
	_, _, err = c.PutAssignment(as("describe"), operator, owner)
	must(err)
	_, err = c.DeleteAssignment(as("take"), operator, "/", owner.ID)
	must(err)
	role := patchbay.RoleDefinition{ID: "40000000-0000-0000-0000-000000000001", Name: "Mine", Actions: []string{"*/read"}, Scopes: []patchbay.ID{"/"}}
	_, _, err = c.PutDefinition(as("define"), operator, role, "")
	must(err)
	_, err = c.DeleteDefinition(as("undefine"), operator, role.ID)
	must(err)
	for _, action := range []string{"give", "describe", "take", "define", "undefine"} {
		named := tenant
		lines, err := records.AuditEntries(t.Context(), store.AuditFilter{Tenant: &named, Action: action}, 0, 10)
		if err != nil || len(lines) != 1 || lines[0].Caller != "admin" {
			t.Errorf("%s: the tenant's lines are %+v, %v", action, lines, err)
		}
	}
}

// A role is given at a group at the very moment at which the group is removed:
// the one that is made under its name afterwards has nobody's roles.
func TestNoRoleOutlivesItsGroup(t *testing.T) {
	const tenant, sub, ann = "00000000-0000-0000-0000-0000000000a0", "00000000-0000-0000-0000-00000000000a", "10000000-0000-0000-0000-000000000001"
	group := patchbay.ID("/subscriptions/" + sub + "/resourceGroups/shop")
	ctx := t.Context()
	records, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "x.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(records.PutTenant(ctx, patchbay.Tenant{ID: tenant}))
	must(records.PutSubscription(ctx, patchbay.Subscription{ID: sub, TenantID: tenant}))
	must(records.PutPrincipal(ctx, patchbay.Principal{ID: ann, Tenant: tenant, Name: "ann", Kind: patchbay.ServicePrincipal}, ""))
	c, err := access.New(ctx, access.Options{Roles: records, Places: records, People: records})
	must(err)
	who := patchbay.Subject{ID: ann, Tenant: tenant, Name: "ann"}
	operator := patchbay.Subject{Operator: true, Name: "admin"}
	for try := range 60 {
		must(records.PutResourceGroup(ctx, patchbay.ResourceGroup{ID: group}))
		var all sync.WaitGroup
		for n := range 4 {
			all.Go(func() {
				_, _, err := c.PutAssignment(ctx, operator, patchbay.RoleAssignment{ID: fmt.Sprintf("30000000-0000-0000-0000-%06d%06d", try, n), Scope: group, Role: access.Owner, Principal: ann})
				switch patchbay.CodeOf(err) {
				case "", patchbay.RoleAssignmentExists, patchbay.ResourceNotFound:
				default:
					t.Error(err)
				}
			})
		}
		all.Go(func() { must(records.DeleteResourceGroup(ctx, group)) })
		all.Wait()
		must(records.PutResourceGroup(ctx, patchbay.ResourceGroup{ID: group}))
		if c.May(ctx, who, "Patchbay.Connector/resources/write", group) {
			t.Fatalf("try %d: the new group has the old one's owner", try)
		}
		must(records.DeleteResourceGroup(ctx, group))
	}
}
