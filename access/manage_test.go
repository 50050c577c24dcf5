package access

import (
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
)

func assignment(n int, scope patchbay.ID, role string, principal int) patchbay.RoleAssignment {
	return patchbay.RoleAssignment{ID: guid(n), Scope: scope, Role: role, Principal: guid(principal)}
}

var operator = patchbay.Subject{Operator: true, Name: "admin"}

func TestAnAssignmentIsCheckedBeforeItIsMade(t *testing.T) {
	w := newWorld()
	w.definitions[guid(60)] = patchbay.RoleDefinition{ID: guid(60), Tenant: ours, Name: "here only", Actions: []string{"*/read"}, Scopes: []patchbay.ID{groupA}}
	w.definitions[guid(61)] = patchbay.RoleDefinition{ID: guid(61), Tenant: theirs, Name: "theirs", Actions: []string{"*"}, Scopes: []patchbay.ID{"/"}}
	w.give(1, Owner, "/")
	c := w.control(t)
	owner := w.subject(1)
	with := func(a patchbay.RoleAssignment, change func(*patchbay.RoleAssignment)) patchbay.RoleAssignment {
		change(&a)
		return a
	}
	good := assignment(100, webA, Reader, 2)
	for name, tt := range map[string]struct {
		a    patchbay.RoleAssignment
		code patchbay.Code
	}{
		"no GUID":                       {with(good, func(a *patchbay.RoleAssignment) { a.ID = "x" }), patchbay.InvalidArgument},
		"a GUID in braces":              {with(good, func(a *patchbay.RoleAssignment) { a.ID = "{" + guid(1) + "}" }), patchbay.InvalidArgument},
		"no such role":                  {assignment(100, webA, guid(99), 2), patchbay.RoleNotFound},
		"another tenant's role":         {assignment(100, webA, guid(61), 2), patchbay.RoleNotFound},
		"no such principal":             {assignment(100, webA, Reader, 99), patchbay.PrincipalNotFound},
		"another tenant's principal":    {assignment(100, webA, Reader, 4), patchbay.PrincipalNotFound},
		"no such resource":              {assignment(100, webA+"2", Reader, 2), patchbay.ResourceNotFound},
		"no such group":                 {assignment(100, subA+"/resourceGroups/x", Reader, 2), patchbay.ResourceNotFound},
		"no such connection":            {assignment(100, linkerA+"2", Reader, 2), patchbay.ResourceNotFound},
		"no such subscription":          {assignment(100, "/subscriptions/x", Reader, 2), patchbay.ResourceNotFound},
		"another tenant's":              {assignment(100, groupB, Reader, 2), patchbay.ResourceNotFound},
		"a management group":            {assignment(100, "/providers/Microsoft.Management/managementGroups/m", Reader, 2), patchbay.ResourceNotFound},
		"outside its assignable scopes": {assignment(100, subA, guid(60), 2), patchbay.InvalidArgument},
		"the wrong kind of principal":   {with(good, func(a *patchbay.RoleAssignment) { a.PrincipalKind = "Group" }), patchbay.InvalidArgument},
		"a long description":            {with(good, func(a *patchbay.RoleAssignment) { a.Description = strings.Repeat("x", MaxDescription+1) }), patchbay.InvalidArgument},
	} {
		if _, _, err := c.PutAssignment(t.Context(), owner, tt.a); patchbay.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
	if len(w.assignments) != 1 {
		t.Fatalf("a refused assignment is kept: %v", w.assignments)
	}
	for _, scope := range []patchbay.ID{"/", subA, groupA, webA, linkerA, pgA + "/databases/app"} {
		n := len(w.assignments) + 100
		a, created, err := c.PutAssignment(t.Context(), owner, assignment(n, scope, strings.ToUpper(Reader), 2))
		if err != nil || !created || a.Tenant != ours || a.PrincipalKind != patchbay.UserPrincipal || a.Role != Reader || a.CreatedBy != "deployer" || a.Created.IsZero() {
			t.Errorf("%s: %+v %t %v", scope, a, created, err)
		}
	}
}

func TestTheSameAssignmentTwiceIsSaidToBeThere(t *testing.T) {
	w := newWorld()
	c := w.control(t)
	if _, created, err := c.PutAssignment(t.Context(), operator, assignment(100, webA, Reader, 2)); err != nil || !created {
		t.Fatal(err)
	}
	if _, created, err := c.PutAssignment(t.Context(), operator, assignment(100, patchbay.ID(strings.ToUpper(webA)), Reader, 2)); err != nil || created {
		t.Errorf("a repetition: %t %v", created, err)
	}
	_, _, err := c.PutAssignment(t.Context(), operator, assignment(101, webA, Reader, 2))
	// az looks for these words.
	if patchbay.CodeOf(err) != patchbay.RoleAssignmentExists || !strings.Contains(err.Error(), "role assignment already exists") || !strings.Contains(err.Error(), guid(100)) {
		t.Errorf("%v", err)
	}
	for _, other := range []patchbay.RoleAssignment{assignment(100, webA, Owner, 2), assignment(100, webA, Reader, 1), assignment(100, pgA, Reader, 2)} {
		if _, _, err := c.PutAssignment(t.Context(), operator, other); patchbay.CodeOf(err) != patchbay.Conflict {
			t.Errorf("an assignment became another: %v", err)
		}
	}
	changed := assignment(100, webA, Reader, 2)
	changed.Description = "for the release"
	if a, _, err := c.PutAssignment(t.Context(), operator, changed); err != nil || a.Description != "for the release" || w.assignments[guid(100)].CreatedBy != "admin" {
		t.Errorf("%+v %v", a, err)
	}
	// Many at once make one.
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, _, err := c.PutAssignment(t.Context(), operator, assignment(200+i, pgA, Reader, 2))
			if code := patchbay.CodeOf(err); code != "" && code != patchbay.RoleAssignmentExists {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(w.assignments) != 2 {
		t.Errorf("%d assignments", len(w.assignments))
	}
}

func TestAnAssignmentIsReachedAtItsOwnScopeOnly(t *testing.T) {
	w := newWorld()
	w.give(1, Owner, "/")
	w.assignments[guid(100)] = patchbay.RoleAssignment{ID: guid(100), Tenant: ours, Scope: subA, Role: Reader, Principal: guid(2)}
	w.assignments[guid(101)] = patchbay.RoleAssignment{ID: guid(101), Tenant: theirs, Scope: subB, Role: Reader, Principal: guid(4)}
	w.version.Add(1)
	c := w.control(t)
	for scope, id := range map[patchbay.ID]string{groupA: guid(100), "/": guid(100), webA: guid(100), subB: guid(101), subA: guid(999)} {
		if _, err := c.DeleteAssignment(t.Context(), w.subject(1), scope, id); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			t.Errorf("%s by way of %s: %v", id, scope, err)
		}
	}
	if a, err := c.DeleteAssignment(t.Context(), w.subject(1), patchbay.ID(strings.ToUpper(subA)), strings.ToUpper(guid(100))); err != nil || a.Principal != guid(2) {
		t.Errorf("%+v %v", a, err)
	}
	if len(w.assignments) != 2 {
		t.Errorf("%v", w.assignments)
	}
}

func TestAListShowsWhatItsReaderMayRead(t *testing.T) {
	w := newWorld()
	for _, scope := range []patchbay.ID{"/", subA, groupA, webA, subA2} {
		w.give(2, Reader, scope)
	}
	w.give(3, Reader, groupA)
	w.give(4, Owner, "/")
	w.give(1, Reader, groupA)
	c := w.control(t)
	count := func(who patchbay.Subject, scope patchbay.ID, f AssignmentFilter) int {
		t.Helper()
		list, err := c.Assignments(t.Context(), who, scope, f)
		if err != nil {
			t.Error(err)
		}
		return len(list)
	}
	ann, deployer := w.subject(2, guid(3)), w.subject(1)
	for _, tt := range []struct {
		who   patchbay.Subject
		scope patchbay.ID
		f     AssignmentFilter
		want  int
	}{
		{operator, "/", AssignmentFilter{}, 8},
		{ann, "/", AssignmentFilter{}, 7}, // all of the tenant
		{ann, "/", AssignmentFilter{AtScope: true}, 1},
		{ann, subA, AssignmentFilter{}, 6},
		{ann, subA, AssignmentFilter{AtScope: true}, 2},
		{ann, groupA, AssignmentFilter{AtScope: true}, 5},
		{ann, groupA, AssignmentFilter{Principal: strings.ToUpper(guid(1))}, 1},
		{ann, groupA, AssignmentFilter{Principal: guid(2)}, 4},
		{ann, groupA, AssignmentFilter{AssignedTo: guid(2)}, 5}, // its group's too
		{deployer, subA, AssignmentFilter{}, 4},                 // those in the group
		{deployer, groupA, AssignmentFilter{}, 6},               // and, from there, those that hold in it
	} {
		if got := count(tt.who, tt.scope, tt.f); got != tt.want {
			t.Errorf("%s at %s %+v: %d, want %d", tt.who.Name, tt.scope, tt.f, got, tt.want)
		}
	}
	for _, scope := range []patchbay.ID{subB, groupB, "/subscriptions/x", "nonsense"} {
		if _, err := c.Assignments(t.Context(), ann, scope, AssignmentFilter{}); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			t.Errorf("%s: %v", scope, err)
		}
	}
}

func definition(n int, name string, scopes ...patchbay.ID) patchbay.RoleDefinition {
	return patchbay.RoleDefinition{ID: guid(n), Name: name, Actions: []string{"Microsoft.ServiceLinker/*/read"}, Scopes: scopes}
}

func TestACustomRoleIsCheckedBeforeItIsMade(t *testing.T) {
	w := newWorld()
	w.give(1, Owner, "/")
	c := w.control(t)
	with := func(change func(*patchbay.RoleDefinition)) patchbay.RoleDefinition {
		d := definition(70, "Looker", groupA)
		change(&d)
		return d
	}
	for name, tt := range map[string]struct {
		d    patchbay.RoleDefinition
		code patchbay.Code
	}{
		"a built-in id":         {with(func(d *patchbay.RoleDefinition) { d.ID = strings.ToUpper(Owner) }), patchbay.InvalidArgument},
		"a built-in name":       {with(func(d *patchbay.RoleDefinition) { d.Name = "OWNER" }), patchbay.Conflict},
		"no name":               {with(func(d *patchbay.RoleDefinition) { d.Name = "" }), patchbay.InvalidArgument},
		"a name of two lines":   {with(func(d *patchbay.RoleDefinition) { d.Name = "a\nb" }), patchbay.InvalidArgument},
		"no actions":            {with(func(d *patchbay.RoleDefinition) { d.Actions = nil }), patchbay.InvalidArgument},
		"a bad action":          {with(func(d *patchbay.RoleDefinition) { d.Actions = []string{"**"} }), patchbay.InvalidArgument},
		"a bad notAction":       {with(func(d *patchbay.RoleDefinition) { d.NotActions = []string{"a//b"} }), patchbay.InvalidArgument},
		"too many actions":      {with(func(d *patchbay.RoleDefinition) { d.Actions = make([]string, MaxActions+1) }), patchbay.InvalidArgument},
		"no scopes":             {with(func(d *patchbay.RoleDefinition) { d.Scopes = nil }), patchbay.InvalidArgument},
		"a scope of another":    {with(func(d *patchbay.RoleDefinition) { d.Scopes = []patchbay.ID{groupB} }), patchbay.ResourceNotFound},
		"a scope not there":     {with(func(d *patchbay.RoleDefinition) { d.Scopes = []patchbay.ID{webA + "2"} }), patchbay.ResourceNotFound},
		"a hostile scope":       {with(func(d *patchbay.RoleDefinition) { d.Scopes = []patchbay.ID{"/subscriptions/../x"} }), patchbay.ResourceNotFound},
		"scopes of two tenants": {with(func(d *patchbay.RoleDefinition) { d.Scopes = []patchbay.ID{groupA, groupB} }), patchbay.ResourceNotFound},
	} {
		if _, _, err := c.PutDefinition(t.Context(), w.subject(1), tt.d, ""); patchbay.CodeOf(err) != tt.code {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
	d, created, err := c.PutDefinition(t.Context(), w.subject(1), definition(70, "Looker", groupA, "/"), "")
	if err != nil || !created || d.Tenant != ours || d.ETag == "" || d.CreatedBy != "deployer" {
		t.Fatalf("%+v %t %v", d, created, err)
	}
	if _, _, err := c.PutDefinition(t.Context(), w.subject(1), definition(71, "LOOKER", groupA), ""); patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("two roles of one name: %v", err)
	}
	if _, _, err := c.PutDefinition(t.Context(), w.subject(1), definition(70, "Looker", groupA), `"other"`); patchbay.CodeOf(err) != patchbay.PreconditionFailed {
		t.Errorf("If-Match: %v", err)
	}
	// The operator is in no tenant; the root is that of each.
	if _, _, err := c.PutDefinition(t.Context(), operator, definition(72, "Everywhere", "/"), ""); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("%v", err)
	}
	if d, _, err := c.PutDefinition(t.Context(), operator, definition(73, "There", groupB), ""); err != nil || d.Tenant != theirs {
		t.Errorf("%+v %v", d, err)
	}
}

func TestNobodyWidensARoleBeyondWhereItMayWriteRoles(t *testing.T) {
	w := newWorld()
	w.give(1, Owner, groupA)
	w.give(2, Owner, "/")
	c := w.control(t)
	wide := definition(70, "Wide", "/")
	_, _, err := c.PutDefinition(t.Context(), w.subject(1), wide, "")
	if patchbay.CodeOf(err) != patchbay.Forbidden {
		t.Errorf("a role for the whole tenant: %v", err)
	}
	for _, elsewhere := range []patchbay.ID{webA, groupA + "2"} {
		// Whether there is something at a scope is not told to who may not there.
		if _, _, err := c.PutDefinition(t.Context(), w.subject(3), definition(71, "Probe", elsewhere), ""); patchbay.CodeOf(err) != patchbay.Forbidden {
			t.Errorf("%s: %v", elsewhere, err)
		}
	}
	if _, _, err = c.PutDefinition(t.Context(), w.subject(2), wide, ""); err != nil {
		t.Fatal(err)
	}
	// Narrowing the scopes on the way does not help.
	mine := definition(70, "Wide", groupA)
	mine.Actions = []string{"*"}
	if _, _, err = c.PutDefinition(t.Context(), w.subject(1), mine, ""); patchbay.CodeOf(err) != patchbay.Forbidden || w.definitions[guid(70)].Actions[0] == "*" {
		t.Errorf("%v", err)
	}
	if _, err = c.DeleteDefinition(t.Context(), w.subject(1), guid(70)); patchbay.CodeOf(err) != patchbay.Forbidden {
		t.Errorf("%v", err)
	}
	if _, _, err := c.PutAssignment(t.Context(), w.subject(2), assignment(100, subA, guid(70), 1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err = c.PutDefinition(t.Context(), w.subject(2), definition(70, "Wide", groupA), ""); patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("a scope that it is assigned at went: %v", err)
	}
	if _, err = c.DeleteDefinition(t.Context(), w.subject(2), guid(70)); patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("an assigned role went: %v", err)
	}
	for _, id := range []string{Owner, Reader} {
		if _, err := c.DeleteDefinition(t.Context(), operator, id); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%v", err)
		}
	}
	if _, err := c.DeleteDefinition(t.Context(), w.subject(4), guid(70)); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("another tenant's: %v", err)
	}
}

func TestDefinitionsAreListedWhereTheyCanBeAssigned(t *testing.T) {
	w := newWorld()
	w.give(1, Owner, "/")
	c := w.control(t)
	for _, d := range []patchbay.RoleDefinition{definition(70, "zebra", groupA), definition(71, "ape", "/")} {
		if _, _, err := c.PutDefinition(t.Context(), w.subject(1), d, ""); err != nil {
			t.Fatal(err)
		}
	}
	names := func(who patchbay.Subject, scope patchbay.ID, f DefinitionFilter) string {
		t.Helper()
		list, err := c.Definitions(t.Context(), who, scope, f)
		if err != nil {
			t.Error(err)
		}
		var s []string
		for _, d := range list {
			s = append(s, d.Name)
		}
		return strings.Join(s, ",")
	}
	all := "Reader,Connection Secrets Reader,Service Connector Contributor,Contributor,Owner"
	for _, tt := range []struct {
		scope patchbay.ID
		f     DefinitionFilter
		want  string
	}{
		{webA, DefinitionFilter{}, all + ",ape,zebra"},
		{subA, DefinitionFilter{}, all + ",ape"},
		{subA, DefinitionFilter{Below: true}, all + ",ape,zebra"},
		{webA, DefinitionFilter{Name: "reader"}, "Reader"},
		{webA, DefinitionFilter{Type: "customrole"}, "ape,zebra"},
		{webA, DefinitionFilter{Type: "BuiltInRole"}, all},
		{webA, DefinitionFilter{Name: "nobody"}, ""},
	} {
		if got := names(w.subject(1), tt.scope, tt.f); got != tt.want {
			t.Errorf("%s %+v: %s", tt.scope, tt.f, got)
		}
	}
	if got := names(w.subject(4), "/", DefinitionFilter{}); got != all {
		t.Errorf("another tenant sees %s", got)
	}
	if _, err := c.Definition(t.Context(), w.subject(4), guid(70)); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		t.Errorf("%v", err)
	}
	if d, err := c.Definition(t.Context(), operator, guid(70)); err != nil || d.Name != "zebra" {
		t.Errorf("%v", err)
	}
}

func TestPermissionsAreThoseOfTheAssignmentsThatCount(t *testing.T) {
	w := newWorld()
	w.give(1, Reader, subA)
	w.give(1, Owner, webA)
	w.give(3, Contributor, groupA)
	c := w.control(t)
	for scope, want := range map[patchbay.ID]int{subA: 1, groupA: 2, webA: 3, subA2: 0, "/": 0} {
		if list, err := c.Permissions(t.Context(), w.subject(1, guid(3)), scope); err != nil || len(list) != want {
			t.Errorf("%s: %d %v", scope, len(list), err)
		}
	}
	if list, err := c.Permissions(t.Context(), operator, "/"); err != nil || len(list) != 1 || list[0].Name != "Owner" {
		t.Errorf("%v %v", list, err)
	}
}
