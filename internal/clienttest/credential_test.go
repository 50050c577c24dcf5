package clienttest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// credential is how a client signs in: with the secret of a service principal,
// or with a token.
type credential struct {
	tenant, id, secret string
	token              string
}

// contributor may manage everything in the resource group.
func (cp *controlPlane) contributor() credential {
	return credential{token: cp.token, id: "x", secret: "y", tenant: cp.tenant}
}

// environment is what a process needs to sign in.
func (c credential) environment(cp *controlPlane) []string {
	return []string{
		"PATCHBAY_URL=" + cp.url, "PATCHBAY_TOKEN=" + c.token,
		"AZURE_TENANT_ID=" + c.tenant, "AZURE_CLIENT_ID=" + c.id, "AZURE_CLIENT_SECRET=" + c.secret,
		"ARM_TENANT_ID=" + c.tenant, "ARM_CLIENT_ID=" + c.id, "ARM_CLIENT_SECRET=" + c.secret,
	}
}

// forGo is the credential for azcore.
func (c credential) forGo(cp *controlPlane) (azcore.TokenCredential, error) {
	if c.token != "" {
		return fixedToken{c.token}, nil
	}
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

type fixedToken struct{ token string }

// GetToken implements [azcore.TokenCredential].
func (f fixedToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: f.token, ExpiresOn: time.Now().Add(time.Hour)}, nil
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
