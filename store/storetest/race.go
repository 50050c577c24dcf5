package storetest

import (
	"fmt"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// needs: what a submission takes is looked at in its write.
func needs(t *testing.T, s Store) {
	local := group.Location("here").Local("c")
	ask := func(id string, c patchbay.ID, room ...saga.Room) error {
		sub := submission(id, c)
		if c.IsLocal() {
			sub.Source = c
		}
		made := connection(c, "e")
		made.ID = c
		sub.Needs, sub.Room, sub.Begin.PutConnection = []patchbay.ID{store.HomeOf(c)}, room, &made
		if !c.IsLocal() {
			sub.Needs = append(sub.Needs, server)
		}
		_, _, err := s.Submit(t.Context(), me, sub, plenty, start)
		return err
	}
	wantCode(t, ask("1", local), patchbay.PreconditionFailed)
	settle(t, s, group)
	if err := ask("1", local); err != nil {
		t.Fatal(err)
	}
	for _, missing := range []patchbay.ID{source, server} {
		wantCode(t, ask("2", linker(source, "c")), patchbay.PreconditionFailed)
		if err := s.PutResource(t.Context(), patchbay.Resource{ID: missing}, ""); err != nil {
			t.Fatal(err)
		}
	}
	// What is below one that is there is another.
	wantCode(t, ask("2", linker(source+"/slots/blue", "c")), patchbay.PreconditionFailed)
	wantCode(t, s.PutDryrun(t.Context(), patchbay.Dryrun{ID: store.DryrunsOf(source+"/slots/blue") + "d"}, ""), patchbay.ResourceNotFound)
	if err := ask("2", linker(source, "c"), saga.Room{Below: patchbay.ID("/subscriptions/S1"), Most: 2}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, ask("3", linker(source, "d"), saga.Room{Below: patchbay.ID("/subscriptions/s1"), Most: 2}), patchbay.PreconditionFailed)
	wantCode(t, ask("3", linker(source, "d"), saga.Room{Below: linker(source, "d").Parent(), Most: 9}, saga.Room{Below: source, Most: 1}), patchbay.PreconditionFailed)
	_, err := s.Load(t.Context(), "3")
	wantCode(t, err, patchbay.ResourceNotFound)
	wantCode(t, s.DeleteResourceGroup(t.Context(), group), patchbay.Conflict)
}

// together begins all at one moment, and waits for them.
func together(all ...func()) {
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for _, f := range all {
		wg.Go(func() {
			<-begin
			f()
		})
	}
	close(begin)
	wg.Wait()
}

// rolesRace: an assignment that races the end of its scope, its principal or its
// role is refused, or goes with it; what is made again under the name has none.
func rolesRace(t *testing.T, s Store) {
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	settle(t, s, group)
	for i := range 40 {
		it := patchbay.ID(fmt.Sprint(i))
		shop, web := group+"-"+it, source+it
		db := linker(source, string(it))
		settle(t, s, shop)
		must(s.PutResource(ctx, patchbay.Resource{ID: web}, ""))
		put(t, s, connection(db, "e"))
		person := patchbay.Principal{ID: "p", Tenant: "t"}
		leaver := patchbay.Principal{ID: "leaver" + string(it), Tenant: "t"}
		must(s.PutPrincipal(ctx, person, ""))
		must(s.PutPrincipal(ctx, leaver, ""))
		role := patchbay.RoleDefinition{ID: "r" + string(it), Tenant: "t", Name: "r" + string(it), Scopes: []patchbay.ID{group}, ETag: "e"}
		must(s.PutRoleDefinition(ctx, role, ""))
		gone := submit(t, s, submission("delete "+string(it), db))
		give := func(n string, scope patchbay.ID, role, principal string, builtin bool) func() {
			return func() {
				err := s.PutRoleAssignment(ctx, patchbay.RoleAssignment{ID: n + string(it), Tenant: "t", Scope: scope, Role: role, Principal: principal}, builtin)
				switch patchbay.CodeOf(err) {
				case "", patchbay.ResourceNotFound, patchbay.PrincipalNotFound, patchbay.RoleNotFound:
				default:
					t.Error(err)
				}
			}
		}
		remove := func(f func() error) func() {
			return func() {
				if err := f(); err != nil && patchbay.CodeOf(err) != patchbay.Conflict {
					t.Error(err)
				}
			}
		}
		together(
			give("a", shop, "b", "p", true), give("b", web, "b", "p", true), give("c", web+"/slots/blue", "b", "p", true), give("d", db, "b", "p", true),
			give("e", patchbay.RootScope, "b", leaver.ID, true), give("f", group, role.ID, "p", false),
			remove(func() error { return s.DeleteResourceGroup(ctx, shop) }),
			remove(func() error { return s.DeleteResource(ctx, web, "") }),
			remove(func() error { return s.DeletePrincipal(ctx, leaver.ID, "") }),
			remove(func() error { return s.DeleteRoleDefinition(ctx, "t", role.ID) }),
			func() {
				gone.State, gone.Ended = patchbay.Done, start
				if _, err := s.Advance(ctx, me, saga.Advance{Op: gone, Commit: saga.Commit{DeleteConnection: db}}); err != nil {
					t.Error(err)
				}
			},
			func() { // what is taken away and described at once stays away
				_ = s.DeleteRoleAssignment(ctx, "t", "f"+string(it))
				_ = s.DescribeRoleAssignment(ctx, "t", "f"+string(it), "again")
			},
		)
		settle(t, s, shop)
		must(s.PutResource(ctx, patchbay.Resource{ID: web}, ""))
		put(t, s, connection(db, "e2"))
		must(s.PutPrincipal(ctx, leaver, ""))
		list, err := s.RoleAssignments(ctx, "t")
		must(err)
		roles, err := s.RoleDefinitions(ctx, "t")
		must(err)
		defined := map[string]bool{"b": true}
		for _, d := range roles {
			defined[d.ID] = true
		}
		for _, a := range list {
			if a.Scope != group || !defined[a.Role] {
				t.Fatalf("try %d: the role %s of %s stands at %s", i, a.Role, a.Principal, a.Scope)
			}
		}
	}
}

// endsRace: a connection whose source or target is removed at the same moment is
// refused, or keeps it; so are a local connection and a dryrun with their resource
// group, and a resource with its own.
func endsRace(t *testing.T, s Store) {
	ctx := t.Context()
	for i := range 40 {
		g := group + patchbay.ID(fmt.Sprint("-", i))
		web, db := g.Child("providers/Microsoft.Web/sites", "web"), g.Child("providers/A.B/servers", "db")
		settle(t, s, g)
		for _, id := range []patchbay.ID{web, db} {
			if err := s.PutResource(ctx, patchbay.Resource{ID: id}, ""); err != nil {
				t.Fatal(err)
			}
		}
		empty := g + "-empty"
		settle(t, s, empty)
		local := empty.Location("here").Local("c")
		connect := func(c patchbay.ID, ends ...patchbay.ID) func() {
			return func() {
				sub := submission("of "+string(c), c)
				made := connection(c, "e")
				made.ID, made.Spec.Target.ID = c, db
				sub.Source, sub.Needs, sub.Begin.PutConnection = c, ends, &made
				if _, _, err := s.Submit(ctx, me, sub, plenty, start); err != nil && patchbay.CodeOf(err) != patchbay.PreconditionFailed {
					t.Error(err)
				}
			}
		}
		preview := patchbay.Dryrun{ID: store.DryrunsOf(empty.Location("here")) + "d"}
		other := empty.Child("providers/A.B/servers", "other")
		ignore := func(err error) {
			switch patchbay.CodeOf(err) {
			case "", patchbay.Conflict, patchbay.ResourceNotFound:
			default:
				t.Error(err)
			}
		}
		together(
			connect(web.Linker("c"), web, db), connect(local, empty),
			func() { ignore(s.DeleteResource(ctx, web, "")) }, func() { ignore(s.DeleteResource(ctx, db, "")) },
			func() { ignore(s.DeleteResourceGroup(ctx, empty)) },
			func() { ignore(s.PutDryrun(ctx, preview, "")) },
			func() { ignore(s.PutResource(ctx, patchbay.Resource{ID: other}, "")) },
		)
		there := func(err error) bool { return patchbay.CodeOf(err) != patchbay.ResourceNotFound }
		_, c := s.Connection(ctx, web.Linker("c"))
		_, source := s.Resource(ctx, web)
		_, target := s.Resource(ctx, db)
		if there(c) && (!there(source) || !there(target)) {
			t.Fatalf("try %d: a connection has lost an end: %v, %v", i, source, target)
		}
		_, home := s.ResourceGroup(ctx, empty)
		_, l := s.Connection(ctx, local)
		_, d := s.Dryrun(ctx, preview.ID)
		_, r := s.Resource(ctx, other)
		if !there(home) && (there(l) || there(d) || there(r)) {
			t.Fatalf("try %d: in no resource group: %v, %v, %v", i, l, d, r)
		}
	}
}
