package cli

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

const (
	deployerID = "10000000-0000-0000-0000-000000000001"
	readerRole = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	ownerRole  = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
)

var fakePrincipals = []map[string]any{
	{"id": deployerID, "appId": "20000000-0000-0000-0000-000000000001", "name": "deployer", "kind": "ServicePrincipal"},
	{"id": "10000000-0000-0000-0000-000000000002", "name": "ann", "kind": "User"},
	{"id": "10000000-0000-0000-0000-000000000003", "name": "twin", "kind": "User"},
	{"id": "10000000-0000-0000-0000-000000000004", "name": "twin", "kind": "User"},
}

func fakeDefinition(id, name, kind string, actions ...string) map[string]any {
	return map[string]any{
		"id": "/providers/Microsoft.Authorization/roleDefinitions/" + id, "name": id,
		"properties": map[string]any{
			"roleName": name, "type": kind, "description": "What a " + name + " does.", "assignableScopes": []string{"/"},
			"permissions": []any{map[string]any{"actions": actions, "notActions": []string{}}},
		},
	}
}

// role answers about role definitions and assignments.
func (f *fake) role(w http.ResponseWriter, r *http.Request, body []byte) {
	scope, rest, _ := strings.Cut(r.URL.Path, "/providers/Microsoft.Authorization/")
	what, id, one := strings.Cut(rest, "/")
	var doc struct {
		Properties map[string]any `json:"properties"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &doc); err != nil {
			f.t.Errorf("a body is no JSON: %v", err)
		}
	}
	kept := &f.roles
	if what == "roleDefinitions" {
		kept = &f.custom
	}
	// A role is the same whatever the scope in front of its id.
	at := func(v map[string]any) bool {
		return v["name"] == id && (what == "roleDefinitions" || v["id"] == r.URL.Path)
	}
	switch {
	case !one && what == "roleDefinitions":
		f.ok(w, 200, list(append([]map[string]any{
			fakeDefinition(readerRole, "Reader", "BuiltInRole", "*/read"), fakeDefinition(ownerRole, "Owner", "BuiltInRole", "*"),
		}, f.custom...)))
	case !one:
		f.ok(w, 200, list(slices.DeleteFunc(slices.Clone(f.roles), func(v map[string]any) bool {
			has := v["properties"].(map[string]any)["scope"].(string)
			return r.URL.Query().Get("$filter") == "atScope()" && !strings.HasPrefix(scope+"/", strings.TrimSuffix(has, "/")+"/")
		})))
	case r.Method == http.MethodDelete:
		*kept = slices.DeleteFunc(*kept, at)
		w.WriteHeader(200)
	case r.Method == http.MethodPut:
		same := func(v map[string]any) bool {
			p := v["properties"].(map[string]any)
			return p["roleDefinitionId"] == doc.Properties["roleDefinitionId"] && p["principalId"] == doc.Properties["principalId"] && p["scope"] == doc.Properties["scope"]
		}
		if what == "roleAssignments" {
			doc.Properties["scope"], doc.Properties["principalType"] = "/"+strings.TrimPrefix(scope, "/"), "ServicePrincipal"
			if slices.ContainsFunc(f.roles, same) {
				f.fail(w, 409, string(patchbay.RoleAssignmentExists), "the role assignment already exists", "")
				return
			}
		}
		*kept = slices.DeleteFunc(*kept, at)
		v := map[string]any{"id": r.URL.Path, "name": id, "properties": doc.Properties}
		*kept = append(*kept, v)
		f.ok(w, 201, v)
	}
}
