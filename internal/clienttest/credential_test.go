package clienttest

import (
	"bytes"
	"io"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/uuid"
)

// credential is how a client signs in: with the secret of a service principal.
type credential struct {
	object             string // its object id
	tenant, id, secret string
}

// Built-in roles, by the ids that they have in ARM.
const (
	ownerRole                = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributorRole          = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	readerRole               = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	serviceConnectorRole     = "5f0c6d1b-93e4-4a7e-8c52-d16b0e7fa934"
	connectionSecretsReading = "c7a2be48-61d9-4f35-b0c3-2e94f8d7150a"
)

// principal makes a service principal that may do nothing yet.
func (cp *controlPlane) principal(name string) credential {
	cp.t.Helper()
	status, made := cp.call("POST", "/providers/Patchbay.Connector/principals", ownVersion, map[string]any{"name": name})
	if status != http.StatusCreated {
		cp.t.Fatalf("make the principal %s: %d %v", name, status, made)
	}
	text := func(member string) string {
		s, _ := made[member].(string)
		if s == "" {
			cp.t.Fatalf("the new principal has no %s: %v", member, made)
		}
		return s
	}
	return credential{object: text("id"), tenant: text("tenantId"), id: text("appId"), secret: text("secret")}
}

// assign gives it a role, at a scope and below.
func (cp *controlPlane) assign(who credential, role, scope string) {
	cp.t.Helper()
	id := scope + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	status, answer := cp.call("PUT", id, "2022-04-01", map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/subscriptions/" + cp.subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + role,
		"principalId":      who.object, "principalType": "ServicePrincipal",
	}})
	if status/100 != 2 {
		cp.t.Fatalf("assign %s at %s: %d %v", role, scope, status, answer)
	}
}

// granted is a new service principal with that role at that scope.
func (cp *controlPlane) granted(name, role, scope string) credential {
	cp.t.Helper()
	who := cp.principal(name)
	cp.assign(who, role, scope)
	return who
}

// environment is what a process needs to sign in.
func (c credential) environment(cp *controlPlane) []string {
	return []string{
		"PATCHBAY_URL=" + cp.url,
		"AZURE_TENANT_ID=" + c.tenant, "AZURE_CLIENT_ID=" + c.id, "AZURE_CLIENT_SECRET=" + c.secret,
		"ARM_TENANT_ID=" + c.tenant, "ARM_CLIENT_ID=" + c.id, "ARM_CLIENT_SECRET=" + c.secret,
	}
}

// forGo is the credential for azcore.
func (c credential) forGo(cp *controlPlane) (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(c.tenant, c.id, c.secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions:            policy.ClientOptions{Cloud: cp.cloud(), Transport: cp.http},
		DisableInstanceDiscovery: true,
	})
}

// cloud is Patchbay instead of Azure, for azcore.
func (cp *controlPlane) cloud() cloud.Configuration {
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: cp.url,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: cp.url, Audience: cp.url},
		},
	}
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

// Do implements [policy.Transporter].
func (f roundTrip) Do(r *http.Request) (*http.Response, error) { return f(r) }

// answer is a response with a body of JSON.
func answer(r *http.Request, status int, body []byte) *http.Response {
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Request: r,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
}
