package access

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
)

func TestARoleHoldsAtItsScopeAndBelowAndNowhereElse(t *testing.T) {
	scopes := []patchbay.ID{
		"/", subA, subA2, groupA, groupA + "x", webA, webA + "2", webA + "/slots/blue", linkerA, linkerA + "2", pgA, pgA + "/databases/app",
		subB, groupB, webB, subA + "/resourceGroups", patchbay.ID(subA[:len(subA)-1]),
	}
	for _, at := range []patchbay.ID{"/", subA, groupA, webA, linkerA} {
		w := newWorld()
		w.give(1, Reader, at)
		c := w.control(t)
		for _, scope := range scopes {
			// The oracle: what is assigned at a path holds for it and what begins
			// with it and a slash, in this tenant.
			inTenant := scope == "/" || strings.HasPrefix(string(scope)+"/", subA+"/") || strings.HasPrefix(string(scope)+"/", subA2+"/")
			want := inTenant && (at == "/" || strings.HasPrefix(string(scope)+"/", string(at)+"/"))
			for _, spelled := range []patchbay.ID{scope, patchbay.ID(strings.ToUpper(string(scope))), patchbay.ID(strings.ToLower(string(scope)))} {
				if got := c.May(t.Context(), w.subject(1), linkersRead, spelled); got != want {
					t.Errorf("a role at %s, asked at %s: %t, want %t", at, spelled, got, want)
				}
			}
			if c.May(t.Context(), w.subject(1), linkersWrite, scope) || c.May(t.Context(), w.subject(2), linkersRead, scope) || c.May(t.Context(), w.subject(4), linkersRead, scope) {
				t.Errorf("somebody else, or something else, is allowed at %s", scope)
			}
		}
	}
}

func TestNothingIsAllowedWithoutAnAssignment(t *testing.T) {
	w := newWorld()
	c := w.control(t)
	for _, who := range []patchbay.Subject{{}, {ID: guid(1)}, {Tenant: ours}, w.subject(1), {ID: "*", Tenant: "*"}, {Groups: []string{""}, Tenant: ours, ID: "x"}} {
		for _, action := range []string{linkersRead, "", "*", "*/read"} {
			if c.May(t.Context(), who, action, groupA) || c.Reach(t.Context(), who, action) || c.Within(t.Context(), who, action, subA) {
				t.Errorf("%+v may %q", who, action)
			}
		}
	}
	if err := c.Check(t.Context(), patchbay.Subject{Operator: true}, "Any/thing/at/all", "/nonsense"); err != nil {
		t.Errorf("the operator: %v", err)
	}
}

func TestTenantsAreWalls(t *testing.T) {
	w := newWorld()
	w.give(1, Owner, "/")
	w.give(4, Owner, "/")
	// A forged assignment that names the other tenant's scope, or its principal.
	w.give(1, Owner, groupB)
	w.assignments["x"] = patchbay.RoleAssignment{ID: "x", Tenant: theirs, Scope: "/", Role: Owner, Principal: guid(2)}
	w.version.Add(1)
	c := w.control(t)
	for scope, allowed := range map[patchbay.ID][2]bool{"/": {true, true}, groupA: {true, false}, webA: {true, false}, groupB: {false, true}, webB: {false, true}} {
		for i, n := range []int{1, 4} {
			if got := c.May(t.Context(), w.subject(n), linkersWrite, scope); got != allowed[i] {
				t.Errorf("%s at %s: %t", w.subject(n).Name, scope, got)
			}
		}
		if c.May(t.Context(), w.subject(2), linkersRead, scope) {
			t.Errorf("an assignment in one tenant is one for the principal of another, at %s", scope)
		}
	}
	// Nor is a group of the other tenant's, however it got into a token.
	if c.May(t.Context(), w.subject(1, guid(4)), linkersRead, webB) {
		t.Error("a group of another tenant counts")
	}
}

func TestNotActionsAreTakenFromTheirRoleAloneAndRolesAdd(t *testing.T) {
	w := newWorld()
	w.give(1, Contributor, groupA)
	c := w.control(t)
	write := "microsoft.authorization/ROLEassignments/write"
	if c.May(t.Context(), w.subject(1), write, groupA) || !c.May(t.Context(), w.subject(1), linkersSecret, linkerA) {
		t.Error("Contributor gives roles, or can't read secrets")
	}
	w.definitions[guid(50)] = patchbay.RoleDefinition{ID: guid(50), Tenant: ours, Name: "granter", Actions: []string{"Microsoft.Authorization/*"}, Scopes: []patchbay.ID{"/"}}
	w.give(1, guid(50), webA)
	if !c.May(t.Context(), w.subject(1), write, webA) || c.May(t.Context(), w.subject(1), write, pgA) {
		t.Error("another role's notActions take away what a second one gives")
	}
}

func TestGroupsGiveTheirRolesToTheirMembers(t *testing.T) {
	w := newWorld()
	w.give(3, Reader, webA)
	c := w.control(t)
	many := make([]string, 20_000)
	for i := range many {
		many[i] = fmt.Sprintf("20000000-0000-0000-0000-%012x", i)
	}
	if c.May(t.Context(), w.subject(2, many...), linkersRead, webA) {
		t.Error("groups that nobody gave a role give one")
	}
	if !c.May(t.Context(), w.subject(2, slices.Concat(many, []string{strings.ToUpper(guid(3))})...), linkersRead, webA) {
		t.Error("the last of many groups does not count")
	}
}

func TestAContainerShowsItselfWithWhatIsInIt(t *testing.T) {
	const readSub = "Microsoft.Resources/subscriptions/read"
	w := newWorld()
	w.give(1, ConnectionSecretsReader, linkerA)
	c := w.control(t)
	for scope, want := range map[patchbay.ID]bool{"/": true, subA: true, groupA: true, linkerA: true, subA2: false, pgA: false, subB: false, groupB: false} {
		if got := c.Within(t.Context(), w.subject(1), readSub, scope); got != want {
			t.Errorf("%s: %t", scope, got)
		}
	}
	if c.May(t.Context(), w.subject(1), readSub, subA) {
		t.Error("what is below a scope holds at it")
	}
	if c.Reach(t.Context(), w.subject(1), linkersWrite) {
		t.Error("a reader reaches a write")
	}
}

func TestHostileScopesAllowNothing(t *testing.T) {
	w := newWorld()
	w.give(1, Owner, groupA)
	c := w.control(t)
	for _, scope := range []patchbay.ID{
		groupA + "/", groupA + "//x", groupA + "/../Other", groupA + "/./x", "//" + subA, patchbay.ID(subA[1:]), "*", "/*", "/subscriptions/*", "/subscriptions/", "/subscriptions",
		groupA + "/../../../" + subB, patchbay.ID(strings.Repeat("/subscriptions/a", 1000)), "\x00", groupA + "\x00", " " + groupA,
		"/providers/Microsoft.Management/managementGroups/x",
	} {
		if c.May(t.Context(), w.subject(1), linkersRead, scope) || c.Within(t.Context(), w.subject(1), linkersRead, scope) {
			t.Errorf("%.80q is allowed", scope)
		}
	}
}

func TestARefusalNamesCallerActionScopeAndTheSmallestRole(t *testing.T) {
	w := newWorld()
	c := w.control(t)
	for action, role := range map[string]string{
		linkersRead: "Reader", linkersSecret: "'Connection Secrets Reader'", linkersWrite: "'Service Connector Contributor'",
		"Patchbay.Connector/targets/connect/action": "'Service Connector Contributor'", "Patchbay.Connector/resources/write": "Contributor",
		WriteAssignments: "Owner", "Patchbay.Connector/principals/write": "Owner", "Patchbay.Connector/sources/environment/action": "Contributor",
	} {
		e := patchbay.AsError(c.Check(t.Context(), w.subject(1), action, webA))
		if e.Code != patchbay.Forbidden || !strings.Contains(e.Message, "deployer ("+guid(1)+")") || !strings.Contains(e.Message, action) || !strings.Contains(e.Message, webA) {
			t.Errorf("%s: %v", action, e)
		}
		if want := "patchbay role assign " + role + " --to " + guid(1) + " --scope " + webA; e.Fix != want {
			t.Errorf("%s: the fix is %s, want %s", action, e.Fix, want)
		}
	}
	who := w.subject(1)
	who.Name = "x\n\x1b[31m$(reboot)"
	e := patchbay.AsError(c.Check(t.Context(), who, linkersRead, groupA+"/providers/a/b/$(reboot) 'x'"))
	if strings.ContainsAny(e.Message, "\n\x1b") || !strings.HasSuffix(e.Fix, `/providers/a/b/$(reboot) '\''x'\'''`) {
		t.Errorf("%s / %s", e.Message, e.Fix)
	}
}

func TestEveryWriteCountsFromTheNextDecisionOn(t *testing.T) {
	w := newWorld()
	c := w.control(t)
	if c.May(t.Context(), w.subject(1), linkersRead, webA) {
		t.Fatal("at the start")
	}
	// Not through this Control: another part of the program removed or added it.
	w.give(1, Reader, webA)
	if !c.May(t.Context(), w.subject(1), linkersRead, webA) {
		t.Error("a new assignment does not count")
	}
	for id := range w.assignments {
		if err := w.DeleteRoleAssignment(t.Context(), ours, id); err != nil {
			t.Fatal(err)
		}
	}
	if c.May(t.Context(), w.subject(1), linkersRead, webA) {
		t.Error("what was taken away counts")
	}
}

func TestWhatCanNotBeReadIsNotAllowed(t *testing.T) {
	w := newWorld()
	w.give(1, Owner, "/")
	c := w.control(t)
	w.failing = errors.New("disk gone")
	w.version.Add(1)
	if c.May(t.Context(), w.subject(1), linkersRead, "/") {
		t.Error("allowed by what could not be read")
	}
	if err := c.Check(t.Context(), w.subject(1), linkersRead, "/"); err == nil || patchbay.CodeOf(err) == patchbay.Forbidden {
		t.Errorf("a failure is told as a refusal: %v", err)
	}
	w.failing = nil
	if !c.May(t.Context(), w.subject(1), linkersRead, "/") {
		t.Error("it does not get over it")
	}
}

func TestKnownSubscriptionsAreNotLookedUpAgain(t *testing.T) {
	w := newWorld()
	w.give(1, Reader, subA)
	c := w.control(t)
	for range 100 {
		c.May(t.Context(), w.subject(1), linkersRead, webA)
		c.May(t.Context(), w.subject(1), linkersRead, webB)
	}
	if n := w.looked.Load(); n != 1 {
		t.Errorf("the subscriptions were read %d times", n)
	}
}

func TestDecisionsWhileRolesChange(t *testing.T) {
	w := newWorld()
	w.give(1, Reader, subA)
	c := w.control(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 300 {
				if !c.May(t.Context(), w.subject(1), linkersRead, webA) {
					t.Error("what is always there was not there for a moment")
					return
				}
			}
		})
	}
	for range 100 {
		w.give(2, Reader, subA2)
	}
	wg.Wait()
}

func TestBuiltInRolesDoWhatTheirNameSays(t *testing.T) {
	may := func(role, action string) bool {
		d, ok := builtinOf(role)
		return ok && compileRole(d).grants(strings.ToLower(action))
	}
	for _, tt := range []struct {
		action string
		roles  string // which may: R, S(ecrets), L(inkers), C, O
	}{
		{linkersRead, "RSLCO"},
		{linkersWrite, "LCO"},
		{linkersSecret, "SLCO"},
		{"Microsoft.ServiceLinker/linkers/generateConfigurations/action", "SLCO"},
		{"Microsoft.ServiceLinker/locations/connectors/generateConfigurations/action", "SLCO"},
		{"Microsoft.ServiceLinker/locations/connectors/write", "LCO"},
		{"Microsoft.ServiceLinker/dryruns/write", "LCO"},
		{"Patchbay.Connector/linkers/rotate/action", "LCO"},
		{"Patchbay.Connector/targets/connect/action", "LCO"},
		{"Patchbay.Connector/endpoints/connect/action", "LCO"},
		{"Patchbay.Connector/sources/environment/action", "CO"},
		{"Patchbay.Connector/resources/read", "RLCO"},
		{"Patchbay.Connector/resources/write", "CO"},
		{"Patchbay.Connector/operations/abandon/action", "CO"},
		{"Patchbay.Connector/principals/read", "RCO"},
		{"Patchbay.Connector/principals/write", "O"},
		{"Patchbay.Connector/principals/resetSecret/action", "O"},
		{"Patchbay.Connector/tenants/write", "O"},
		{"Patchbay.Connector/hosts/use/action", "O"},
		{ReadAssignments, "RCO"}, {WriteAssignments, "O"}, {DeleteAssignments, "O"}, {WriteDefinitions, "O"},
		{"Microsoft.Resources/subscriptions/read", "RSLCO"},
		{"Microsoft.Resources/subscriptions/resourceGroups/write", "CO"},
	} {
		got := ""
		for i, role := range []string{Reader, ConnectionSecretsReader, ServiceConnectorContributor, Contributor, Owner} {
			if may(role, tt.action) {
				got += string("RSLCO"[i])
			}
		}
		if got != tt.roles {
			t.Errorf("%s: %s, want %s", tt.action, got, tt.roles)
		}
	}
	seen := map[string]bool{}
	for _, d := range Builtin() {
		if err := checkActions(d); err != nil || seen[d.ID] || seen[d.Name] || checkID("role", d.ID) != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
		seen[d.ID], seen[d.Name] = true, true
	}
}

// matchSlow is what a pattern means, by another way.
func matchSlow(p, action string) bool {
	parts := strings.Split(p, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("(?is)^" + strings.Join(parts, ".*") + "$").MatchString(action)
}

func TestWildcards(t *testing.T) {
	for _, tt := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "Any/thing", true}, {"*/read", "A/b/read", true}, {"*/read", "read", false}, {"*/read", "A/b/reader", false},
		{"A/*/read", "a/B/c/READ", true}, {"A/*/read", "A/read", false}, {"A/b/*", "A/b/c/d/action", true}, {"A/b/*", "A/b", false},
		{"A/b*", "A/bc/read", true}, {"", "", true}, {"", "A/b", false}, {"**", "A/b", true}, {"*/", "A/b", false}, {"*a*a*", "aa", true}, {"*a*a*", "a", false},
		{"A/*b/*b", "A/b/b", true}, {"a.b/c", "axb/c", false},
	} {
		if got := compile(tt.pattern).matches(strings.ToLower(tt.action)); got != tt.want || got != matchSlow(tt.pattern, tt.action) {
			t.Errorf("%q on %q: %t", tt.pattern, tt.action, got)
		}
	}
	for _, bad := range []string{"", "**", "a/**", "*/", "/a", "a//b", "a/b c", "a/b\n", "a", "a/ü", "a/b?", "a/[b]", strings.Repeat("a/", 200) + "b"} {
		if badAction(bad) == "" {
			t.Errorf("%q is taken for an action", bad)
		}
	}
}

func FuzzActionMatching(f *testing.F) {
	for _, s := range [][2]string{{"*/read", "A/b/read"}, {"a*b*c", "abcabc"}, {"**", ""}, {"*", "x"}, {"A/b", "a/B"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, p, action string) {
		for _, s := range []string{p, action} {
			for _, r := range s {
				if r >= 0x80 || len(s) > 300 {
					return // actions are ASCII and short; case is folded differently outside of it
				}
			}
		}
		if got, want := compile(p).matches(strings.ToLower(action)), matchSlow(p, action); got != want {
			t.Errorf("%q on %q: %t, want %t", p, action, got, want)
		}
	})
}

// BenchmarkCheck decides for one of a thousand principals with ten thousand
// assignments; against reads one map by the same key, for comparison.
func BenchmarkCheck(b *testing.B) {
	w := newWorld()
	names := map[string]bool{}
	for i := range 10_000 {
		scope := fmt.Sprintf("%s/resourceGroups/g%d/providers/Microsoft.Web/sites/s%d", subA, i%97, i)
		id := guid(100_000 + i)
		w.assignments[id] = patchbay.RoleAssignment{ID: id, Tenant: ours, Scope: patchbay.ID(scope), Role: Reader, Principal: guid(5000 + i%1000)}
		names[strings.ToLower(scope)] = true
	}
	c := w.control(b)
	who := patchbay.Subject{ID: guid(5000), Tenant: ours, Groups: []string{guid(1), guid(2), guid(3)}}
	scope := patchbay.ID(fmt.Sprintf("%s/resourceGroups/g%d/providers/Microsoft.Web/sites/s%d/providers/Microsoft.ServiceLinker/linkers/db", subA, 1000%97, 1000))
	if !c.May(b.Context(), who, linkersRead, scope) {
		b.Fatal("not allowed")
	}
	b.Run("allowed", func(b *testing.B) {
		for b.Loop() {
			c.May(b.Context(), who, linkersRead, scope)
		}
	})
	b.Run("refused", func(b *testing.B) {
		for b.Loop() {
			c.May(b.Context(), who, linkersWrite, scope)
		}
	})
	b.Run("against", func(b *testing.B) {
		for b.Loop() {
			_ = names[scope.Key()]
		}
	})
}

// What was asked for a while ago is done by the rights of now.
func TestRightsAreAskedAgainAsThingsAreNow(t *testing.T) {
	at := func(n int) time.Time { return time.Date(2026, 11, 23, n, 0, 0, 0, time.UTC) }
	fresh := func() (*world, *Control) {
		w := newWorld()
		w.give(1, Contributor, groupA)
		w.give(3, Reader, groupA)
		w.give(4, Reader, groupB)
		p := w.principals[guid(1)]
		p.AppID, p.TokensFrom = "app", at(1)
		w.principals[p.ID] = p
		return w, w.control(t)
	}
	deployer := func(w *world) patchbay.Subject {
		s := w.subject(1)
		s.AppID, s.TokensFrom = "app", at(1)
		return s
	}
	outsider := patchbay.Subject{ID: guid(77), Tenant: ours, Name: "eve", Kind: patchbay.UserPrincipal, Groups: []string{guid(3)}} // of a provider, and not on record
	change := func(n int, f func(*patchbay.Principal)) func(*world) {
		return func(w *world) {
			p := w.principals[guid(n)]
			f(&p)
			w.principals[guid(n)] = p
		}
	}
	takeAway := func(w *world) { w.assignments = map[string]patchbay.RoleAssignment{}; w.version.Add(1) }
	none := func(*world) {}
	for _, c := range []struct {
		name   string
		since  func(*world)
		who    func(*world) []patchbay.Subject
		action string
		scope  patchbay.ID
		says   string // "" is allowed
	}{
		{"nothing changed", none, func(w *world) []patchbay.Subject { return []patchbay.Subject{deployer(w)} }, linkersWrite, webA, ""},
		{"the role was taken away", takeAway, func(w *world) []patchbay.Subject { return []patchbay.Subject{deployer(w)} }, linkersWrite, webA, "may not do " + linkersWrite},
		{"it never might", none, func(w *world) []patchbay.Subject { return []patchbay.Subject{w.subject(2)} }, linkersWrite, webA, "may not do"},
		{"it is disabled", change(1, func(p *patchbay.Principal) { p.Disabled = true }), func(w *world) []patchbay.Subject { return []patchbay.Subject{deployer(w)} }, linkersWrite, webA, "is disabled"},
		{"its secret was replaced", change(1, func(p *patchbay.Principal) { p.TokensFrom = at(2) }), func(w *world) []patchbay.Subject { return []patchbay.Subject{deployer(w)} }, linkersWrite, webA, "another secret"},
		{"it is gone", func(w *world) { delete(w.principals, guid(1)) }, func(w *world) []patchbay.Subject { return []patchbay.Subject{deployer(w)} }, linkersWrite, webA, "no principal any more"},
		{"it is another tenant's", change(1, func(p *patchbay.Principal) { p.Tenant = theirs }), func(w *world) []patchbay.Subject { return []patchbay.Subject{deployer(w)} }, linkersWrite, webA, "another tenant"},
		{"by its group", none, func(*world) []patchbay.Subject { return []patchbay.Subject{outsider} }, linkersRead, webA, ""},
		{"the group lost its role", takeAway, func(*world) []patchbay.Subject { return []patchbay.Subject{outsider} }, linkersRead, webA, "may not do"},
		{"in the other tenant, by the second", none, func(w *world) []patchbay.Subject { return []patchbay.Subject{deployer(w), w.subject(4)} }, linkersRead, webB, ""},
		{"in the other tenant, by nobody", none, func(w *world) []patchbay.Subject { return []patchbay.Subject{deployer(w)} }, linkersRead, webB, "deployer"},
		{"by the first of a tenant", none, func(w *world) []patchbay.Subject { return []patchbay.Subject{w.subject(2), deployer(w)} }, linkersWrite, webA, "ann"},
		{"nobody", none, func(*world) []patchbay.Subject { return nil }, linkersRead, webA, "the caller"},
		{"the operator", takeAway, func(*world) []patchbay.Subject { return []patchbay.Subject{{Name: "admin", Operator: true}} }, linkersWrite, webB, ""},
	} {
		w, control := fresh()
		who := c.who(w)
		c.since(w)
		err := control.Still(t.Context(), who, c.action, c.scope)
		if c.says == "" && err != nil || c.says != "" && (patchbay.CodeOf(err) != patchbay.Forbidden || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
