package attacktest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// The built-in roles, by their ids.
var roles = map[string]string{
	"Reader":                        "acdd72a7-3385-48ef-bd42-f606fba81ae7",
	"Connection Secrets Reader":     "c7a2be48-61d9-4f35-b0c3-2e94f8d7150a",
	"Service Connector Contributor": "5f0c6d1b-93e4-4a7e-8c52-d16b0e7fa934",
	"Contributor":                   "b24988ac-6180-42a0-ab88-20f7382dd24c",
	"Owner":                         "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
}

// tenant is one with a subscription, a group and a source.
type tenant struct {
	s                       *server
	id, subscription, group string
}

// caller is a principal that is signed in.
type caller struct {
	object, app, secret, token string
}

// tenant makes one.
func (s *server) tenant(name string) *tenant {
	s.t.Helper()
	n := &tenant{s: s, id: uuid.NewString(), subscription: uuid.NewString()}
	n.group = "/subscriptions/" + n.subscription + "/resourceGroups/default"
	s.must(2, s.token, "PUT", "/providers/Patchbay.Connector/tenants/"+n.id, own, map[string]any{"displayName": name})
	s.must(2, s.token, "PUT", "/subscriptions/"+n.subscription, own, map[string]any{"tenantId": n.id, "displayName": name})
	s.must(2, s.token, "PUT", n.group, "2021-04-01", map[string]any{"location": "local"})
	return n
}

// principal makes one without rights, and signs it in.
func (n *tenant) principal(name string) caller {
	n.s.t.Helper()
	c := n.unknown(name)
	status, answer := n.signIn(c.app, c.secret)
	if status != http.StatusOK {
		n.s.t.Fatalf("sign %s in: %d %v", name, status, answer)
	}
	c.token = text(answer, "access_token")
	return c
}

func (n *tenant) signIn(app, secret string, headers ...string) (int, map[string]any) {
	n.s.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {app}, "client_secret": {secret}, "scope": {n.s.url + "/.default"}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for i := 0; i+1 < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	status, body, err := n.s.send(n.s.t.Context(), "POST", "/"+n.id+"/oauth2/v2.0/token", header, []byte(form.Encode()))
	if err != nil {
		n.s.alive()
		return 0, nil
	}
	var answer map[string]any
	_ = json.Unmarshal(body, &answer) // an error page has none
	return status, answer
}

// with makes a principal that has a role at a scope, "" for the subscription.
func (n *tenant) with(role, scope string) caller {
	n.s.t.Helper()
	c := n.principal(role)
	n.assign(c, role, scope)
	return c
}

// assign gives c a role, and gives the assignment's id.
func (n *tenant) assign(c caller, role, scope string) string {
	n.s.t.Helper()
	if scope == "" {
		scope = "/subscriptions/" + n.subscription
	}
	id := scope + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	n.s.must(2, n.s.token, "PUT", id, authorities, map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/subscriptions/" + n.subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + roles[role],
		"principalId":      c.object, "principalType": "ServicePrincipal",
	}})
	return id
}

// source registers a settings file, and gives its id and its path.
func (n *tenant) source(name string) (id, file string) {
	n.s.t.Helper()
	dir := filepath.Join(n.s.dir, "files", n.id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		n.s.t.Fatal(err)
	}
	file = filepath.Join(dir, name+".env")
	if err := os.WriteFile(file, []byte("MINE=1\n"), 0o600); err != nil {
		n.s.t.Fatal(err)
	}
	id = n.group + "/providers/Microsoft.Web/sites/" + name
	n.s.must(2, n.s.token, "PUT", id, own, map[string]any{"properties": map[string]any{"driver": "envfile", "endpoint": file}})
	return id, file
}

func linker(source, name string) string {
	return source + "/providers/Microsoft.ServiceLinker/linkers/" + name
}

// toEndpoint is a connection to an endpoint that nobody registered.
func toEndpoint(endpoint string) map[string]any {
	return map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "SelfHostedServer", "endpoint": endpoint},
		"authInfo":      map[string]any{"authType": "secret", "name": "app", "secretInfo": map[string]any{"secretType": "rawValue", "value": "pw-of-the-application"}},
		"clientType":    "none",
	}}
}
