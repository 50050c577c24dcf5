package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
)

var _ interface {
	Access
	Roles
} = (*access.Control)(nil)

// roleAnswer is what clients read of a role or an assignment.
type roleAnswer struct {
	ID, Name, Type string
	Properties     struct {
		RoleName, Type, RoleDefinitionID, PrincipalID, PrincipalType, Scope, Description string
		AssignableScopes                                                                 []string
		Permissions                                                                      []struct{ Actions, NotActions, DataActions []string }
	}
	Value []roleAnswer
	Error struct{ Code, Message string }
}

func (b *bench) roles(t *testing.T, as, method, path, filter, body string) (int, roleAnswer) {
	t.Helper()
	target := path + "?api-version=2022-04-01"
	if filter != "" {
		target += "&$filter=" + url.QueryEscape(filter)
	}
	w := b.as(as, method, target, body)
	var a roleAnswer
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
		}
	}
	return w.Code, a
}

// TestRolesAsAzAsksForThem is the sequence of requests of az role assignment
// create, list and delete, and of az role definition create, update and delete.
func TestRolesAsAzAsksForThem(t *testing.T) {
	b, p := withPeople(t)
	settle(t, b)
	p.give(p.caller("ann", testTenant), access.Owner, "/")
	deployer := p.caller("deployer", testTenant)
	const sub = "/subscriptions/" + testSub
	const auth = "/providers/Microsoft.Authorization/"

	// create: the role by its name, at the scope; then PUT with a new GUID.
	_, found := b.roles(t, "ann", "GET", testRG+auth+"roleDefinitions", "roleName eq 'Reader'", "")
	if len(found.Value) != 1 || found.Value[0].ID != sub+auth+"roleDefinitions/"+access.Reader || found.Value[0].Properties.Type != "BuiltInRole" || found.Value[0].Properties.Permissions[0].Actions[0] != "*/read" {
		t.Fatalf("%+v", found)
	}
	body := fmt.Sprintf(`{"properties":{"roleDefinitionId":%q,"principalId":%q,"principalType":"ServicePrincipal"}}`, found.Value[0].ID, deployer.ID)
	id := testRG + auth + "roleAssignments/" + sampleGUID
	code, made := b.roles(t, "ann", "PUT", id, "", body)
	if code != http.StatusCreated || made.ID != id || made.Properties.Scope != testRG || made.Properties.RoleDefinitionID != found.Value[0].ID || made.Properties.PrincipalID != deployer.ID {
		t.Fatalf("%d %+v", code, made)
	}
	if w := b.as("deployer", "GET", testWeb+"?api-version=2022-03-01", ""); w.Code != 200 {
		t.Errorf("the role does not count: %d", w.Code)
	}
	if code, _ := b.roles(t, "ann", "PUT", id, "", body); code != http.StatusOK {
		t.Errorf("a repetition: %d", code)
	}
	code, twice := b.roles(t, "ann", "PUT", strings.TrimSuffix(id, "1")+"2", "", body)
	if code != http.StatusConflict || twice.Error.Code != "RoleAssignmentExists" || !strings.Contains(twice.Error.Message, "role assignment already exists") {
		t.Errorf("%d %+v", code, twice.Error)
	}

	// list: at the scope and above, with the ids of the roles listed there.
	_, list := b.roles(t, "ann", "GET", testRG+auth+"roleAssignments", "atScope()", "")
	if len(list.Value) != 2 || list.Value[0].Properties.RoleDefinitionID != sub+auth+"roleDefinitions/"+access.Owner || list.Value[1].ID != id {
		t.Errorf("%+v", list)
	}
	if _, all := b.roles(t, "ann", "GET", sub+auth+"roleAssignments", "principalId eq '"+deployer.ID+"'", ""); len(all.Value) != 1 {
		t.Errorf("%+v", all)
	}
	if code, bad := b.roles(t, "ann", "GET", sub+auth+"roleAssignments", "principalId ne 'x'", ""); code != 400 || bad.Error.Code != "InvalidArgument" {
		t.Errorf("%d %+v", code, bad)
	}
	// What the deployer, who only reads one group, sees and may not change.
	if _, list := b.roles(t, "deployer", "GET", testRG+auth+"roleAssignments", "", ""); len(list.Value) != 2 {
		t.Errorf("%+v", list)
	}
	if code, refused := b.roles(t, "deployer", "DELETE", id, "", ""); code != 403 || !strings.Contains(refused.Error.Message, "Microsoft.Authorization/roleAssignments/delete") {
		t.Errorf("%d %+v", code, refused)
	}
	// From the subscription, in which it may read something.
	if code, _ := b.roles(t, "deployer", "GET", sub+auth+"roleDefinitions/"+access.Reader, "", ""); code != 200 {
		t.Errorf("%d", code)
	}

	// delete: by the full id, in any case.
	if code, gone := b.roles(t, "ann", "DELETE", strings.ToLower(id), "", ""); code != 200 || gone.Properties.PrincipalID != deployer.ID {
		t.Errorf("%d %+v", code, gone)
	}
	if code, _ := b.roles(t, "ann", "DELETE", id, "", ""); code != http.StatusNoContent {
		t.Errorf("again: %d", code)
	}
	if w := b.as("deployer", "GET", testWeb+"?api-version=2022-03-01", ""); w.Code != 404 {
		t.Errorf("what was taken away counts: %d", w.Code)
	}
}

func TestCustomRolesAsAzMakesThem(t *testing.T) {
	b, p := withPeople(t)
	settle(t, b)
	p.give(p.caller("ann", testTenant), access.Owner, "/")
	p.give(p.caller("bob", testTenant), access.Owner, sideRG)
	const sub = "/subscriptions/" + testSub
	const at = sub + "/providers/Microsoft.Authorization/roleDefinitions"
	const body = `{"properties":{"roleName":"Validator","description":"","type":"CustomRole","assignableScopes":["` + sub + `"],` +
		`"permissions":[{"actions":["Microsoft.ServiceLinker/linkers/read"],"notActions":[]}]}}`
	code, made := b.roles(t, "ann", "PUT", at+"/"+sampleGUID, "", body)
	if code != http.StatusCreated || made.ID != at+"/"+sampleGUID || made.Properties.Type != "CustomRole" || made.Properties.Permissions[0].DataActions == nil {
		t.Fatalf("%d %+v", code, made)
	}
	if code, _ := b.roles(t, "ann", "PUT", at+"/"+sampleGUID, "", strings.Replace(body, `["Microsoft.`, `["*/read","Microsoft.`, 1)); code != http.StatusOK {
		t.Errorf("an update: %d", code)
	}
	if _, list := b.roles(t, "ann", "GET", at, "type eq 'CustomRole'", ""); len(list.Value) != 1 || len(list.Value[0].Properties.Permissions[0].Actions) != 2 {
		t.Errorf("%+v", list)
	}
	// Who owns one group can't make a role for more, nor change this one by way of it.
	side := sideRG + "/providers/Microsoft.Authorization/roleDefinitions/"
	for _, id := range []string{sampleGUID, strings.TrimSuffix(sampleGUID, "1") + "9"} {
		if code, refused := b.roles(t, "bob", "PUT", side+id, "", body); code != 403 {
			t.Errorf("%d %+v", code, refused)
		}
	}
	if code, _ := b.roles(t, "bob", "DELETE", side+sampleGUID, "", ""); code != 403 {
		t.Errorf("%d", code)
	}
	if code, gone := b.roles(t, "ann", "DELETE", at+"/"+sampleGUID, "", ""); code != 200 || gone.Name != sampleGUID {
		t.Errorf("%d %+v", code, gone)
	}
	if code, _ := b.roles(t, "ann", "DELETE", at+"/"+sampleGUID, "", ""); code != http.StatusNoContent {
		t.Errorf("%d", code)
	}
	if code, bad := b.roles(t, "ann", "PUT", at+"/"+access.Owner, "", body); code != 400 {
		t.Errorf("a built-in role: %d %+v", code, bad)
	}
}

func TestPermissionsSayWhatTheCallerMayDo(t *testing.T) {
	b, p := withPeople(t)
	p.give(p.caller("ann", testTenant), access.Contributor, testRG)
	w := b.as("ann", "GET", testRG+"/providers/Microsoft.Authorization/permissions?api-version=2022-04-01", "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), `"actions":["*"],"notActions":["Microsoft.Authorization/*/Write"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAServerWithoutRolesSaysSo(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"roleAssignments", "roleDefinitions", "permissions", "roleAssignments/" + sampleGUID} {
		if w := b.send("GET", testRG+"/providers/Microsoft.Authorization/"+path, ""); w.Code != 400 || !strings.Contains(w.Body.String(), "NotSupported") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestNobodyIsAnOperatorButByTheAdminToken holds against an identity that errs.
func TestNobodyIsAnOperatorButByTheAdminToken(t *testing.T) {
	b, p := withPeople(t)
	for name, s := range map[string]patchbay.Subject{
		"operator": {ID: "x", Tenant: testTenant, Operator: true}, "no id": {Tenant: testTenant}, "no tenant": {ID: "x"}, "nothing": {},
	} {
		p.subjects["token-of-"+name] = s
		if w := b.as(name, "GET", "/subscriptions", ""); w.Code != 401 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	// Without an access control, who has signed in may do nothing.
	p.give(p.caller("ann", testTenant), access.Owner, "/")
	b.opts.Access = nil
	if w := b.as("ann", "GET", testWeb+"?api-version=2022-03-01", ""); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.as("ann", "GET", "/subscriptions", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"value":[]`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTheChallengeSaysWhereToSignIn(t *testing.T) {
	b, _ := withPeople(t)
	w := b.send("GET", "/subscriptions", "", "Authorization", "Bearer x")
	if got := w.Header().Get("WWW-Authenticate"); got != `Bearer authorization_uri="https://patchbay.test/adfs", error="invalid_token"` {
		t.Errorf("%s", got)
	}
}
