package clienttest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"patchbay.dev/patchbay/internal/wiretest"
)

// versions are the api-versions of the server.
var versions = []string{"2022-05-01", "2022-11-01-preview", "2023-04-01-preview", "2024-04-01", "2024-07-01-preview", "2026-11-01"}

// TestAnAnswerSaysWhatItsRequestSaid makes and changes connections of every way to
// sign in, under every version and with every optional object, and reads each
// under every version: what no request said is null there, or absent.
func TestAnAnswerSaysWhatItsRequestSaid(t *testing.T) {
	cp := start(t, finished)
	source, _ := cp.source("web", nil)
	properties := service(t)
	properties["admin"] = map[string]string{"secret": "a2V5"}
	blob := cp.register("Microsoft.Storage/storageAccounts/files", properties) + "/blobServices/default"
	id := "11111111-1111-1111-1111-111111111111"
	auths := map[string]map[string]any{
		"":       nil,
		"secret": {"authType": "secret"}, "given": {"authType": "secret", "secretInfo": map[string]any{"secretType": "rawValue", "value": "a2V5"}},
		"emptied":   {"authType": "secret", "name": "", "secretInfo": map[string]any{"secretType": "rawValue", "value": ""}}, // azurerm's
		"system":    {"authType": "systemAssignedIdentity"},
		"user":      {"authType": "userAssignedIdentity", "clientId": id},
		"key":       {"authType": "accessKey", "permissions": []any{"Read"}},
		"principal": {"authType": "servicePrincipalSecret", "clientId": id, "principalId": id, "secret": "s3cret"},
	}
	optional := []map[string]any{
		{},
		{"secretStore": map[string]any{}, "vNetSolution": map[string]any{}}, // az's
		{"secretStore": nil, "vNetSolution": nil, "scope": nil, "clientType": nil},
		{"clientType": "python"},
	}
	later := []map[string]any{
		{"publicNetworkSolution": map[string]any{}, "configurationInfo": map[string]any{}},
		{"publicNetworkSolution": map[string]any{"firewallRules": map[string]any{"callerClientIP": "true"}}},
		{"configurationInfo": map[string]any{"additionalConfigurations": map[string]any{"SIZE": "1"}, "daprProperties": map[string]any{}}},
		{"configurationInfo": map[string]any{"daprProperties": map[string]any{"metadata": []any{map[string]any{"name": "n"}}}}},
	}
	n := 0
	for name, auth := range auths {
		for i, body := range append(optional, later...) {
			for _, local := range []bool{false, true} {
				n++
				version := versions[n%len(versions)]
				if version == "2022-05-01" && (name == "key" || local || i >= len(optional)) {
					version = "2024-04-01" // the old one has no words for it
				}
				path := fmt.Sprintf("%s/providers/Microsoft.ServiceLinker/linkers/c%d", source, n)
				if local {
					path = fmt.Sprintf("%s/providers/Microsoft.ServiceLinker/locations/here/connectors/c%d", cp.group, n)
				}
				if local && (name == "system" || name == "user") {
					continue // a developer's machine has no identity
				}
				asked := map[string]any{"targetService": map[string]any{"type": "AzureResource", "id": blob}}
				maps.Copy(asked, body)
				if auth != nil {
					asked["authInfo"] = auth
				}
				status, answer := cp.call("PUT", path, version, map[string]any{"properties": asked})
				if status != http.StatusCreated {
					t.Fatalf("%s %s %v: %d %v", version, name, body, status, answer)
				}
				if at(answer, "properties", "provisioningState") != "Succeeded" {
					t.Fatalf("%s %s %v is not made: %v", version, name, body, answer)
				}
				cp.said(path, version, asked, answer)
				if status, answer = cp.call("PATCH", path, version, map[string]any{"properties": map[string]any{"clientType": "nodejs"}}); status/100 != 2 {
					t.Fatalf("change %s %s %v: %d %v", version, name, body, status, answer)
				}
				asked["clientType"] = "nodejs"
				cp.said(path, version, asked, answer)
				cp.call("DELETE", path, version, nil)
			}
		}
	}
}

// said holds the answer to a request, and those of every version to a GET, against
// what was asked.
func (cp *controlPlane) said(path, version string, asked, answer map[string]any) {
	cp.t.Helper()
	check := func(version string, answer map[string]any) {
		properties, _ := answer["properties"].(map[string]any)
		delete(properties, "provisioningState")
		delete(properties, "patchbay") // what the connection has become
		if unsaid := wiretest.Unsaid(properties, any(asked)); len(unsaid) > 0 {
			cp.t.Errorf("%s answers %v, which nobody said: asked %v, answered %v", version, unsaid, asked, properties)
		}
	}
	check(version, answer)
	for _, other := range versions {
		if other == "2022-05-01" && strings.Contains(path, "/connectors/") {
			continue
		}
		status, read := cp.call("GET", path, other, nil)
		if status != http.StatusOK {
			cp.t.Fatalf("GET %s as of %s: %d %v", path, other, status, read)
		}
		check(other, read)
	}
}

// TestWhatCanNotBeIsSaidWithTheRequest: what is wrong with a login is said to who
// asks, and not in an operation that somebody has to look for.
func TestWhatCanNotBeIsSaidWithTheRequest(t *testing.T) {
	cp := start(t, running)
	source, _ := cp.source("web", nil)
	account := cp.register("Microsoft.Storage/storageAccounts/files", service(t))
	vault := cp.register("Microsoft.KeyVault/vaults/safe", service(t))
	cache := cp.register("Microsoft.Cache/redis/cache", service(t)) + "/databases/0"
	put := func(name, target string, auth map[string]any, more map[string]any) (int, map[string]any) {
		service := map[string]any{"type": "AzureResource", "id": target}
		for k, v := range more {
			service[k] = v
		}
		return cp.call("PUT", source+"/providers/Microsoft.ServiceLinker/linkers/"+name, "2024-04-01",
			map[string]any{"properties": map[string]any{"targetService": service, "authInfo": auth, "clientType": "python"}})
	}
	secret := func(name, value string) map[string]any {
		return map[string]any{"authType": "secret", "name": name, "secretInfo": map[string]any{"secretType": "rawValue", "value": value}}
	}
	for name, c := range map[string]struct {
		target string
		auth   map[string]any
		want   string
	}{
		"a name where there are none":         {account + "/blobServices/default", secret("app", "a2V5"), "has no name"},
		"another account's connection string": {account + "/blobServices/default", secret("", "AccountName=other;AccountKey=a2V5"), "of another account"},
		"nothing registered":                  {account + "/blobServices/default", map[string]any{"authType": "secret"}, "no login registered"},
		"a name of control characters":        {cache, secret("a\x01b", "a2V5"), "control characters"},
	} {
		status, answer := put("refused", c.target, c.auth, nil)
		message, _ := at(answer, "error", "message").(string)
		if status != http.StatusBadRequest || !strings.Contains(message, c.want) {
			t.Errorf("%s: %d %v", name, status, answer)
		}
	}
	// The identity of a vault that a cluster mounts is the cluster's.
	csi := map[string]any{"resourceProperties": map[string]any{"type": "KeyVault", "connectAsKubernetesCsiDriver": true}}
	if status, answer := put("mounted", vault, map[string]any{"authType": "userAssignedIdentity"}, csi); status != http.StatusCreated {
		t.Errorf("a vault for the CSI driver: %d %v", status, answer)
	}
	if status, answer := put("not-mounted", vault, map[string]any{"authType": "userAssignedIdentity"}, nil); status != http.StatusBadRequest {
		t.Errorf("a vault for an identity without an id: %d %v", status, answer)
	}
}

// TestALoginWithoutItsSecretIsNotItsUsersFault: az drops the new secret of a Kafka
// connection on its way, so the answer says what is missing in the request, and how
// to change both.
func TestALoginWithoutItsSecretIsNotItsUsersFault(t *testing.T) {
	cp := start(t, finished)
	source, file := cp.source("web", nil)
	registry := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		if user, password, _ := r.BasicAuth(); map[string]string{"OLD": "one", "NEW": "two"}[user] != password || user == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "[]")
	}))
	t.Cleanup(registry.Close)
	path := source + "/providers/Microsoft.ServiceLinker/linkers/events_schema"
	put := func(auth map[string]any) (int, string) {
		auth["authType"] = "secret"
		status, answer := cp.call("PUT", path, "2022-11-01-preview", map[string]any{"properties": map[string]any{
			"targetService": map[string]any{"type": "ConfluentSchemaRegistry", "endpoint": registry.URL}, "authInfo": auth, "clientType": "python",
		}})
		return status, fmt.Sprint(answer)
	}
	if status, said := put(map[string]any{"name": "OLD"}); status != http.StatusBadRequest || !strings.Contains(said, "without its secret") {
		t.Errorf("a new one: %d %s", status, said)
	}
	if status, said := put(map[string]any{"name": "OLD", "secretInfo": map[string]any{"secretType": "rawValue", "value": "one"}}); status != http.StatusCreated {
		t.Fatalf("create: %d %s", status, said)
	}
	if status, said := put(map[string]any{"name": "OLD"}); status/100 != 2 {
		t.Errorf("an update that repeats the name: %d %s", status, said)
	}
	status, said := put(map[string]any{"name": "NEW"})
	if status != http.StatusBadRequest || !strings.Contains(said, `another login name, "NEW", and no secret for it`) || !strings.Contains(said, "patchbay connection rotate web/events_schema --secret name=") {
		t.Errorf("az's update: %d %s", status, said)
	}
	// What it says to do is what helps.
	status, answer := cp.call("POST", path+"/providers/Patchbay.Connector/rotate", ownVersion, map[string]any{"name": "NEW", "secret": "two"})
	cp.settled(source, "events_schema")
	if status/100 != 2 || !strings.Contains(file.text(), "NEW:two") {
		t.Errorf("rotate: %d %v\n%s", status, answer, file.text())
	}
}
