package arm

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"patchbay.dev/patchbay"
)

func TestRoleFilters(t *testing.T) {
	for text, want := range map[string]RoleFilter{
		"":                                 {},
		"  ":                               {},
		"atScope()":                        {AtScope: true},
		"ATSCOPE( )":                       {AtScope: true},
		"atScopeAndBelow()":                {Below: true},
		"assignedTo('a')":                  {AssignedTo: "a"},
		"principalId eq 'a'":               {Principal: "a"},
		"roleName eq 'O''Hara'":            {RoleName: "O'Hara"},
		"type  eq  'BuiltInRole'":          {RoleType: "BuiltInRole"},
		"roleName eq 'a and b eq c'":       {RoleName: "a and b eq c"},
		"atScope() and assignedTo('x')":    {AtScope: true, AssignedTo: "x"},
		"atScope() AND principalId eq 'x'": {AtScope: true, Principal: "x"},
		"roleName eq 'a' and type eq 'CustomRole'": {RoleName: "a", RoleType: "CustomRole"},
	} {
		if got, err := ParseRoleFilter(text); err != nil || got != want {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"x", "atScope", "atScope(", "atScope()x", "atScope() and", "and", "atScope() or atScope()", "principalId", "principalId eq", "principalId eq x",
		"principalId eq 'x", "principalId ne 'x'", "principalId eq ''", "assignedTo()", "assignedTo('')", "assignedTo('x'", "principalId eq 'a' and principalId eq 'b'",
		"roleName eq \"x\"", "\x00", strings.Repeat("atScope() and ", 40) + "atScope()", strings.Repeat("a", 5000),
	} {
		if got, err := ParseRoleFilter(text); patchbay.CodeOf(err) != patchbay.InvalidArgument || got != (RoleFilter{}) {
			t.Errorf("%.60q: %+v %v", text, got, err)
		}
	}
}

func FuzzRoleFilter(f *testing.F) {
	for _, s := range []string{"atScope() and assignedTo('x')", "roleName eq 'O''Hara'", "principalId eq", "''''", "atScope( ) and "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseRoleFilter(text)
		if err != nil {
			return
		}
		// What was understood can be said again.
		var parts []string
		if got.AtScope {
			parts = append(parts, "atScope()")
		}
		if got.Below {
			parts = append(parts, "atScopeAndBelow()")
		}
		quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
		if got.AssignedTo != "" {
			parts = append(parts, "assignedTo("+quoted(got.AssignedTo)+")")
		}
		for name, value := range map[string]string{"principalId": got.Principal, "roleName": got.RoleName, "type": got.RoleType} {
			if value != "" {
				parts = append(parts, name+" eq "+quoted(value))
			}
		}
		again := strings.Join(parts, " and ")
		if len(again) > maxFilter {
			return
		}
		if other, err := ParseRoleFilter(again); err != nil || other != got {
			t.Errorf("%q became %q: %+v %v, was %+v", text, again, other, err, got)
		}
	})
}

const testRole = "b24988ac-6180-42a0-ab88-20f7382dd24c"

func TestRoleAssignmentBodies(t *testing.T) {
	const prefix = `{"properties":{"principalId":"p","roleDefinitionId":"`
	for _, role := range []string{
		testRole, "/providers/Microsoft.Authorization/roleDefinitions/" + testRole,
		"/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/" + testRole,
		"/subscriptions/s/PROVIDERS/microsoft.authorization/ROLEDEFINITIONS/" + testRole,
	} {
		a, err := DecodeRoleAssignment("/subscriptions/s", "n", []byte(prefix+role+`","principalType":"ServicePrincipal","condition":null,"description":"why"},"name":"n"}`))
		want := patchbay.RoleAssignment{ID: "n", Scope: "/subscriptions/s", Role: testRole, Principal: "p", PrincipalKind: "ServicePrincipal", Description: "why"}
		if err != nil || a != want {
			t.Errorf("%s: %+v %v", role, a, err)
		}
	}
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `{"properties":{}}`, `{"properties":{"principalId":"p"}}`, prefix + `"}}`, prefix + `a/b"}}`,
		`{"properties":{"roleDefinitionId":"r"}}`, prefix + `r","condition":"true"}}`, prefix + `r","canDelegate":true}}`, prefix + `r","unknown":1}}`, prefix + `r"}} x`,
	} {
		if _, err := DecodeRoleAssignment("/", "n", []byte(body)); patchbay.CodeOf(err) != patchbay.InvalidRequestContent {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestRoleDefinitionBodies(t *testing.T) {
	body := `{"properties":{"roleName":"R","type":"CustomRole","description":"d","assignableScopes":["/","//subscriptions/s/resourcegroups/g"],` +
		`"permissions":[{"actions":["*/read"],"notActions":[],"dataActions":null,"notDataActions":[]}]}}`
	got, err := DecodeRoleDefinition("n", []byte(body))
	want := patchbay.RoleDefinition{
		ID: "n", Name: "R", Description: "d", Actions: []string{"*/read"}, Scopes: []patchbay.ID{"/", "/subscriptions/s/resourceGroups/g"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []string{
		strings.Replace(body, `"dataActions":null`, `"dataActions":["a/b"]`, 1), strings.Replace(body, "CustomRole", "BuiltInRole", 1),
		strings.Replace(body, `"permissions":[`, `"permissions":[{"actions":["*"]},`, 1), strings.Replace(body, `"permissions":[`, `"permissions":[[],`, 1),
		strings.Replace(body, `"/",`, `"management",`, 1), strings.Replace(body, `"roleName"`, `"rolename"`, 1), `{"properties":{"permissions":{}}}`, `{"properties":{"permissions":[1]}}`,
	} {
		if _, err := DecodeRoleDefinition("n", []byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestRolesAreSeenFromAScope(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	a := patchbay.RoleAssignment{ID: "n", Scope: "/", Role: testRole, Principal: "p", PrincipalKind: "User", Created: at, CreatedBy: "admin"}
	for scope, prefix := range map[patchbay.ID]string{"/": "", "/subscriptions/s": "/subscriptions/s", "/subscriptions/s/resourceGroups/g": "/subscriptions/s"} {
		text, err := Marshal(RoleAssignment(scope, a))
		if err != nil {
			t.Fatal(err)
		}
		definition, err := Marshal(RoleDefinition(scope, patchbay.RoleDefinition{ID: testRole, Name: "Contributor", Actions: []string{"*"}}))
		if err != nil {
			t.Fatal(err)
		}
		// Clients compare the two.
		id := `"` + prefix + `/providers/Microsoft.Authorization/roleDefinitions/` + testRole + `"`
		if !strings.Contains(string(text), `"roleDefinitionId":`+id) || !strings.Contains(string(definition), `"id":`+id) ||
			!strings.Contains(string(text), `"id":"/providers/Microsoft.Authorization/roleAssignments/n"`) {
			t.Errorf("%s: %s\n%s", scope, text, definition)
		}
	}
}
