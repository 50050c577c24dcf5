package storetest

import (
	"fmt"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

func principals(t *testing.T, s Store) {
	ctx := t.Context()
	for i := range 5 {
		p := patchbay.Principal{ID: fmt.Sprint("P", i), AppID: fmt.Sprint("App", i), Tenant: fmt.Sprint("T", i%2), Name: "n", Kind: patchbay.ServicePrincipal, ETag: "e",
			Secrets: []patchbay.ClientSecret{{ID: "s", Hash: "h", Created: start}}, TokensFrom: start, Created: start}
		if err := s.PutPrincipal(ctx, p, store.Absent); err != nil {
			t.Fatal(err)
		}
		got, err := s.PrincipalByApp(ctx, fmt.Sprint("aPP", i))
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, p)
	}
	// Two without a client id or subject are no conflict; the same subject of two
	// providers, or of two kinds, neither.
	for i, p := range []patchbay.Principal{
		{Provider: "corp", Kind: patchbay.UserPrincipal, Subject: "Ann"}, {Provider: "corp", Kind: patchbay.GroupPrincipal, Subject: "Ann"},
		{Provider: "other", Kind: patchbay.UserPrincipal, Subject: "Ann"}, {Provider: "corp", Kind: patchbay.UserPrincipal, Subject: "ann"}, {}, {},
	} {
		p.ID, p.Tenant = fmt.Sprint("q", i), "t9"
		if err := s.PutPrincipal(ctx, p, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, limit := range []int{1, 2, 0} {
		got := pages(t, limit, func(after string, limit int) ([]patchbay.Principal, string, error) {
			return s.Principals(ctx, "t0", after, limit)
		},
			func(p patchbay.Principal) string { return p.ID })
		same(t, got, []string{"P0", "P2", "P4"})
		got = pages(t, limit, func(after string, limit int) ([]patchbay.Principal, string, error) {
			return s.Principals(ctx, "", after, limit)
		},
			func(p patchbay.Principal) string { return p.ID })
		if len(got) != 11 {
			t.Fatalf("%v", got)
		}
	}
	if p, err := s.PrincipalBySubject(ctx, "corp", patchbay.GroupPrincipal, "Ann"); err != nil || p.ID != "q1" {
		t.Fatalf("%v, %v", p, err)
	}
	for _, subject := range []string{"", "ANN", "' OR 1=1 --"} {
		_, err := s.PrincipalBySubject(ctx, "corp", patchbay.UserPrincipal, subject)
		wantCode(t, err, patchbay.ResourceNotFound)
	}
	_, err := s.PrincipalByApp(ctx, "")
	wantCode(t, err, patchbay.ResourceNotFound)
	wantCode(t, s.PutPrincipal(ctx, patchbay.Principal{ID: "new", Provider: "corp", Kind: patchbay.UserPrincipal, Subject: "Ann"}, ""), patchbay.Conflict)

	version := s.RolesVersion()
	for i, who := range []string{"p0", "P0", "P1"} {
		sub := fmt.Sprint(i)
		if err := s.PutSubscription(ctx, patchbay.Subscription{ID: sub}); err != nil {
			t.Fatal(err)
		}
		if err := s.PutRoleAssignment(ctx, patchbay.RoleAssignment{ID: sub, Tenant: []string{"t0", "t0", "t1"}[i], Scope: store.SubscriptionID(sub), Role: "r", Principal: who}, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeletePrincipal(ctx, "p0", "*"); err != nil {
		t.Fatal(err)
	}
	left, err := s.RoleAssignments(ctx, "")
	if err != nil || len(left) != 1 || left[0].Principal != "P1" || s.RolesVersion() == version {
		t.Fatalf("%v, %v", left, err)
	}
	_, err = s.Principal(ctx, "P0")
	wantCode(t, err, patchbay.ResourceNotFound)
	wantCode(t, s.DeletePrincipal(ctx, "P0", ""), patchbay.ResourceNotFound)
	if err := s.PutTenant(ctx, patchbay.Tenant{ID: "T1", DisplayName: "one"}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutTenant(ctx, patchbay.Tenant{ID: "t1", DisplayName: "renamed"}); err != nil {
		t.Fatal(err)
	}
	tenants, err := s.Tenants(ctx)
	if err != nil {
		t.Fatal(err)
	}
	same(t, tenants, []patchbay.Tenant{{ID: "t1", DisplayName: "renamed"}})
}

// rolesGoWithWhatTheyAreAbout: one of the same name starts with none.
func rolesGoWithWhatTheyAreAbout(t *testing.T, s Store) {
	ctx := t.Context()
	give := func(scopes ...patchbay.ID) {
		t.Helper()
		for _, scope := range scopes {
			if err := s.PutRoleAssignment(ctx, patchbay.RoleAssignment{ID: string(scope), Tenant: "t", Scope: scope, Role: "r", Principal: "p", Created: start}, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	settle(t, s, group, group+"2")
	for _, id := range []patchbay.ID{source, source + "2", server} {
		if err := s.PutResource(ctx, patchbay.Resource{ID: id}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutPrincipal(ctx, patchbay.Principal{ID: "P", Tenant: "T"}, ""); err != nil {
		t.Fatal(err)
	}
	left := func(want ...patchbay.ID) {
		t.Helper()
		list, err := s.RoleAssignments(ctx, "T")
		if err != nil {
			t.Fatal(err)
		}
		got := map[patchbay.ID]bool{}
		for _, a := range list {
			got[a.Scope] = true
		}
		for _, scope := range want {
			if !got[scope] {
				t.Errorf("%s is gone", scope)
			}
		}
		if len(got) != len(want) {
			t.Errorf("left: %v, want %v", got, want)
		}
	}
	db := linker(source, "db")
	put(t, s, connection(db, "e"))
	put(t, s, connection(linker(source, "db2"), "e"))
	give(patchbay.RootScope, "/subscriptions/S1", group, group+"2", source, source+"2", db, linker(source, "db2"), server, target)
	version := s.RolesVersion()
	end(t, s, submit(t, s, submission("delete", db)), saga.Commit{DeleteConnection: db})
	if s.RolesVersion() == version {
		t.Error("the version stays")
	}
	left(patchbay.RootScope, "/subscriptions/S1", group, group+"2", source, source+"2", linker(source, "db2"), server, target)
	end(t, s, submit(t, s, submission("delete 2", linker(source, "db2"))), saga.Commit{DeleteConnection: linker(source, "db2")})
	for _, id := range []patchbay.ID{server, source} {
		preview := patchbay.Dryrun{ID: store.DryrunsOf(id) + "x"}
		if err := s.PutDryrun(ctx, preview, ""); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteResource(ctx, id, ""); err != nil {
			t.Fatal(err)
		}
		_, err := s.Dryrun(ctx, preview.ID)
		wantCode(t, err, patchbay.ResourceNotFound)
	}
	left(patchbay.RootScope, "/subscriptions/S1", group, group+"2", source+"2")
	if err := s.DeleteResource(ctx, source+"2", ""); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteResourceGroup(ctx, group); err != nil {
		t.Fatal(err)
	}
	left(patchbay.RootScope, "/subscriptions/S1", group+"2")
}

// settle makes the resource groups, and their subscriptions.
func settle(t *testing.T, s Store, groups ...patchbay.ID) {
	t.Helper()
	for _, id := range groups {
		if err := s.PutSubscription(t.Context(), patchbay.Subscription{ID: id.Subscription()}); err != nil {
			t.Fatal(err)
		}
		if err := s.PutResourceGroup(t.Context(), patchbay.ResourceGroup{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
}

func roleDefinitions(t *testing.T, s Store) {
	ctx := t.Context()
	d := patchbay.RoleDefinition{ID: "R1", Tenant: "T1", Name: "Deployer", Actions: []string{"*/read"}, Scopes: []patchbay.ID{group}, ETag: "e1", Created: start}
	if err := s.PutRoleDefinition(ctx, d, store.Absent); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.PutRoleDefinition(ctx, d, "e0"), patchbay.PreconditionFailed)
	elsewhere := d
	elsewhere.Tenant = "T2" // the same id and name in another tenant is another
	if err := s.PutRoleDefinition(ctx, elsewhere, ""); err != nil {
		t.Fatal(err)
	}
	for tenant, n := range map[string]int{"t1": 1, "": 2, "t3": 0} {
		list, err := s.RoleDefinitions(ctx, tenant)
		if err != nil || len(list) != n {
			t.Fatalf("%q: %v, %v", tenant, list, err)
		}
		if tenant == "t1" {
			same(t, list[0], d)
		}
	}
	settle(t, s, group)
	for _, p := range []patchbay.Principal{{ID: "P", Tenant: "T1"}, {ID: "other's", Tenant: "T2"}} {
		if err := s.PutPrincipal(ctx, p, ""); err != nil {
			t.Fatal(err)
		}
	}
	a := patchbay.RoleAssignment{ID: "A1", Tenant: "t1", Scope: group, Role: "r1", Principal: "p", Created: start.Add(time.Second)}
	if err := s.PutRoleAssignment(ctx, a, false); err != nil {
		t.Fatal(err)
	}
	again := a
	again.ID = "other"
	for _, twice := range []patchbay.RoleAssignment{a, again} {
		if e := wantError(t, s.PutRoleAssignment(ctx, twice, false), patchbay.Conflict); e.Subject != "A1" {
			t.Fatalf("the subject is %q", e.Subject)
		}
	}
	// What it is about has to be there, and to be its tenant's.
	for _, c := range []struct {
		change  func(*patchbay.RoleAssignment)
		builtin bool
		code    patchbay.Code
	}{
		{func(a *patchbay.RoleAssignment) { a.Scope = group + "2" }, false, patchbay.ResourceNotFound},
		{func(a *patchbay.RoleAssignment) { a.Scope = server }, false, patchbay.ResourceNotFound},
		{func(a *patchbay.RoleAssignment) { a.Scope = linker(source, "db") }, true, patchbay.ResourceNotFound},
		{func(a *patchbay.RoleAssignment) { a.Scope = "/subscriptions/s2" }, true, patchbay.ResourceNotFound},
		{func(a *patchbay.RoleAssignment) { a.Principal = "nobody" }, false, patchbay.PrincipalNotFound},
		{func(a *patchbay.RoleAssignment) { a.Principal = "other's" }, false, patchbay.PrincipalNotFound},
		{func(a *patchbay.RoleAssignment) { a.Role = "r2" }, false, patchbay.RoleNotFound},
		{func(a *patchbay.RoleAssignment) { a.Tenant, a.Principal = "t3", "p" }, false, patchbay.PrincipalNotFound},
		{func(a *patchbay.RoleAssignment) { a.Scope = "/subscriptions/s1" }, false, patchbay.InvalidArgument}, // no scope of the role
		{func(a *patchbay.RoleAssignment) { a.Scope = "/subscriptions/s1" }, true, ""},
	} {
		other := again
		c.change(&other)
		wantCode(t, s.PutRoleAssignment(ctx, other, c.builtin), c.code)
	}
	if err := s.DeleteRoleAssignment(ctx, "t1", "other"); err != nil {
		t.Fatal(err)
	}
	if err := s.DescribeRoleAssignment(ctx, "T1", "a1", "why"); err != nil {
		t.Fatal(err)
	}
	a.Description = "why"
	list, err := s.RoleAssignments(ctx, "t1")
	if err != nil {
		t.Fatal(err)
	}
	same(t, list[0], a)
	wantCode(t, s.DescribeRoleAssignment(ctx, "t2", "a1", "why"), patchbay.ResourceNotFound)
	narrower := d
	narrower.Scopes = []patchbay.ID{group + "2", source}
	wantCode(t, s.PutRoleDefinition(ctx, narrower, ""), patchbay.Conflict)
	wantCode(t, s.DeleteRoleDefinition(ctx, "T1", "R1"), patchbay.Conflict)
	if err := s.DeleteRoleDefinition(ctx, "T2", "R1"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.DeleteRoleAssignment(ctx, "t2", "a1"), patchbay.ResourceNotFound)
	if err := s.DeleteRoleAssignment(ctx, "T1", "a1"); err != nil {
		t.Fatal(err)
	}
	// What was taken away does not come back by being described.
	wantCode(t, s.DescribeRoleAssignment(ctx, "t1", "a1", "again"), patchbay.ResourceNotFound)
	if err := s.DeleteRoleDefinition(ctx, "t1", "r1"); err != nil {
		t.Fatal(err)
	}
}

func dryruns(t *testing.T, s Store) {
	ctx := t.Context()
	location := group.Location("west")
	wantCode(t, s.PutDryrun(ctx, patchbay.Dryrun{ID: store.DryrunsOf(source) + "a"}, ""), patchbay.ResourceNotFound)
	wantCode(t, s.PutDryrun(ctx, patchbay.Dryrun{ID: store.DryrunsOf(location) + "a"}, ""), patchbay.ResourceNotFound)
	settle(t, s, group)
	for _, id := range []patchbay.ID{source, source + "2", source + "/slots/blue"} {
		if err := s.PutResource(ctx, patchbay.Resource{ID: id}, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, of := range []patchbay.ID{source, source + "2", source + "/slots/blue", location, group.Location("west2")} {
		for _, name := range []string{"a", "B", "z"} {
			d := patchbay.Dryrun{ID: patchbay.ID(string(store.DryrunsOf(of)) + name), ETag: "e", Steps: []patchbay.DryrunPreview{{Name: "x", Scope: of}}}
			if err := s.PutDryrun(ctx, d, store.Absent); err != nil {
				t.Fatal(err)
			}
			got, err := s.Dryrun(ctx, patchbay.ID(d.ID.Key()))
			if err != nil {
				t.Fatal(err)
			}
			same(t, got, d)
		}
	}
	for _, of := range []patchbay.ID{source, patchbay.ID(source.Key()), location} {
		for _, limit := range []int{1, 2, 0} {
			got := pages(t, limit, func(after string, limit int) ([]patchbay.Dryrun, string, error) {
				return s.Dryruns(ctx, of, after, limit)
			},
				func(d patchbay.Dryrun) string { return d.ID.Name() })
			same(t, got, []string{"a", "B", "z"})
		}
	}
	_, err := s.Dryrun(ctx, source)
	wantCode(t, err, patchbay.ResourceNotFound)
}

// targetLimit: what has ended makes room; other targets, and what has none, are
// not in the way.
func targetLimit(t *testing.T, s Store) {
	limits := plenty
	limits.Target = 2
	ask := func(id string, at patchbay.ID) error {
		sub := submission(id, linker(source+patchbay.ID(id), "c"))
		sub.Target = at
		_, _, err := s.Submit(t.Context(), me, sub, limits, start)
		return err
	}
	for id, at := range map[string]patchbay.ID{"1": target, "2": patchbay.ID(target.Key()), "3": server, "4": "", "5": "", "6": ""} {
		if err := ask(id, at); err != nil {
			t.Fatal(err)
		}
	}
	before := auditEnd(t, s)
	if e := wantError(t, ask("7", target), patchbay.TooManyRequests); e.Fix == "" || !e.Transient {
		t.Errorf("%+v", e)
	}
	if auditEnd(t, s) != before {
		t.Error("the refused one is a line")
	}
	end(t, s, load(t, s, "2"), saga.Commit{})
	if err := ask("7", target); err != nil {
		t.Fatal(err)
	}
}

// targetShare: who is alone at a target has half of its places, and leaves half
// of what is left to whoever comes next.
func targetShare(t *testing.T, s Store) {
	limits := plenty
	limits.Target = 8
	ask := func(who string, n int) error {
		sub := submission(fmt.Sprint(who, " ", n), linker(source+patchbay.ID(fmt.Sprint(who, n)), "c"))
		sub.Target, sub.Share = target, []string{who, "a target"}
		if who == "" {
			sub.Share = nil
		}
		_, _, err := s.Submit(t.Context(), me, sub, limits, start)
		return err
	}
	for _, c := range []struct {
		who  string
		room int
	}{{"a", 4}, {`a"`, 2}, {"b", 1}, {"", 1}} {
		for n := range c.room {
			if err := ask(c.who, n); err != nil {
				t.Fatalf("%q, %d: %v", c.who, n, err)
			}
		}
		wantCode(t, ask(c.who, c.room), patchbay.TooManyRequests)
	}
}
