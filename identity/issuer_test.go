package identity

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"patchbay.dev/patchbay"
)

// listen serves the issuer as the server does, over TLS.
func (b *bench) listen(attempts *[]Attempt) *httptest.Server {
	b.t.Helper()
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := Exchange{Base: server.URL, Address: "192.0.2.1", SignedIn: func(_ context.Context, a Attempt) error {
			if attempts != nil {
				*attempts = append(*attempts, a)
			}
			return nil
		}}
		first, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if first != "adfs" {
			e.Tenant = first
		}
		switch {
		case strings.HasSuffix(rest, "openid-configuration"):
			b.ServeDiscovery(w, r, e)
		case strings.HasSuffix(rest, "keys"):
			b.ServeKeys(w, r, e)
		case strings.HasSuffix(rest, "token"):
			b.ServeToken(w, r, e)
		default:
			http.NotFound(w, r)
		}
	}))
	b.t.Cleanup(server.Close)
	return server
}

func TestTheOAuthClientOfGoSignsIn(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	var attempts []Attempt
	server := b.listen(&attempts)
	for _, c := range []struct {
		name, path string
		style      oauth2.AuthStyle
		scopes     []string
		more       url.Values
	}{
		{"adfs, in the form", "/adfs/oauth2/token", oauth2.AuthStyleInParams, []string{server.URL + "//.default"}, nil},
		{"adfs, in the head", "/adfs/oauth2/token", oauth2.AuthStyleInHeader, []string{server.URL + "/.default", "openid", "offline_access", "profile"}, nil},
		{"tenant", "/" + contoso + "/oauth2/v2.0/token", oauth2.AuthStyleInParams, []string{server.URL + "/.default"}, nil},
		{"v1, with more", "/" + contoso + "/oauth2/token?client-request-id=1", oauth2.AuthStyleInParams, nil,
			url.Values{"resource": {server.URL + "/"}, "client_info": {"1"}, "claims": {`{"access_token":{"xms_cc":{"values":["CP1"]}}}`}}},
		{"without a resource", "/adfs/oauth2/token", oauth2.AuthStyleInParams, nil, nil},
	} {
		config := clientcredentials.Config{
			ClientID: strings.ToUpper(p.AppID), ClientSecret: secret.Reveal(), TokenURL: server.URL + c.path, AuthStyle: c.style, Scopes: c.scopes, EndpointParams: c.more,
		}
		token, err := config.Token(context.WithValue(t.Context(), oauth2.HTTPClient, server.Client()))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		who, err := b.Verify(t.Context(), patchbay.NewSecret(token.AccessToken), server.URL)
		if err != nil || who.ID != p.ID {
			t.Errorf("%s: %+v, %v", c.name, who, err)
		}
		if left := time.Until(token.Expiry); left < 55*time.Minute || left > time.Hour {
			t.Errorf("%s: it is good for %s", c.name, left)
		}
	}
	if len(attempts) != 5 || attempts[0].Err != nil || attempts[0].Principal.ID != p.ID {
		t.Errorf("%+v", attempts)
	}
}

func TestAzuresClientSignsIn(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	server := b.listen(nil)
	for _, tenant := range []string{"adfs", contoso} {
		options := &azidentity.ClientSecretCredentialOptions{
			ClientOptions: azcore.ClientOptions{
				Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL},
				Transport: server.Client(), Retry: policy.RetryOptions{MaxRetries: -1},
			},
			DisableInstanceDiscovery: true,
		}
		credential, err := azidentity.NewClientSecretCredential(tenant, p.AppID, secret.Reveal(), options)
		if err != nil {
			t.Fatal(err)
		}
		token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{server.URL + "/.default"}})
		if err != nil {
			t.Errorf("tenant %s: %v", tenant, err)
			continue
		}
		if who, err := b.Verify(t.Context(), patchbay.NewSecret(token.Token), server.URL); err != nil || who.ID != p.ID {
			t.Errorf("tenant %s: %+v, %v", tenant, who, err)
		}
		wrong, err := azidentity.NewClientSecretCredential(tenant, p.AppID, "c4n4ry", options)
		if err != nil {
			t.Fatal(err)
		}
		_, err = wrong.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{server.URL + "/.default"}})
		var failed *azidentity.AuthenticationFailedError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), "invalid_client") || !strings.Contains(err.Error(), "the client id or its secret is not right") {
			t.Errorf("tenant %s: %v", tenant, err)
		}
	}
}

func TestDiscoveryNamesWhatAnswers(t *testing.T) {
	b := newBench(t)
	server := b.listen(nil)
	for path, issuer := range map[string]string{
		"/adfs/.well-known/openid-configuration":                 server.URL + "/adfs",
		"/" + contoso + "/.well-known/openid-configuration":      server.URL + "/" + contoso + "/v2.0",
		"/" + contoso + "/v2.0/.well-known/openid-configuration": server.URL + "/" + contoso + "/v2.0",
	} {
		var config struct {
			Issuer        string `json:"issuer"`
			Authorization string `json:"authorization_endpoint"`
			Token         string `json:"token_endpoint"`
			Keys          string `json:"jwks_uri"`
		}
		b.get(server, server.URL+path, &config)
		if config.Issuer != issuer || !strings.HasPrefix(config.Authorization, server.URL) || !strings.HasPrefix(config.Token, server.URL) {
			t.Errorf("%s: %+v", path, config)
		}
		var keys struct {
			Keys []map[string]any `json:"keys"`
		}
		b.get(server, config.Keys, &keys)
		if len(keys.Keys) != 1 || keys.Keys[0]["kty"] != "EC" || keys.Keys[0]["d"] != nil || keys.Keys[0]["use"] != "sig" {
			t.Errorf("%s: %v", path, keys)
		}
	}
}

func (b *bench) get(server *httptest.Server, at string, into any) {
	b.t.Helper()
	res, err := server.Client().Get(at)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil || res.StatusCode != 200 {
		b.t.Fatal(res.Status, err)
	}
}

// ask sends a form to the token endpoint of ADFS.
func (b *bench) ask(form string, head ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, base+"/adfs/oauth2/token?client_secret=in-the-url", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeToken(w, r, Exchange{Base: base, Address: "192.0.2.1"})
	return w
}

func TestWhatTheTokenEndpointRefuses(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	good := "grant_type=client_credentials&client_id=" + p.AppID + "&client_secret=" + url.QueryEscape(secret.Reveal())
	if w := b.ask(good); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	for _, c := range []struct {
		name, form string
		head       []string
		status     int
		code       string
	}{
		{"a wrong secret", "grant_type=client_credentials&client_id=" + p.AppID + "&client_secret=x", nil, 401, "invalid_client"},
		{"no secret; one in the URL does not count", "grant_type=client_credentials&client_id=" + p.AppID, nil, 401, "invalid_client"},
		{"no client", "grant_type=client_credentials", nil, 400, "invalid_request"},
		{"nothing", "", nil, 400, "invalid_request"},
		{"another resource", good + "&scope=https%3A%2F%2Fmanagement.azure.com%2F.default", nil, 400, "invalid_scope"},
		{"two resources", good + "&resource=" + url.QueryEscape(base) + "&scope=https%3A%2F%2Fmanagement.azure.com%2F.default", nil, 400, "invalid_scope"},
		{"a parameter twice", good + "&client_id=x", nil, 400, "invalid_request"},
		{"a password", "grant_type=password&client_id=x&username=a&password=b", nil, 400, "unsupported_grant_type"},
		{"a refresh token", "grant_type=refresh_token&refresh_token=x&client_id=" + p.AppID + "&client_secret=" + secret.Reveal(), nil, 400, "unsupported_grant_type"},
		{"a code", "grant_type=authorization_code&code=x&redirect_uri=x&client_id=" + p.AppID + "&client_secret=" + secret.Reveal(), nil, 400, "unsupported_grant_type"},
		{"a device code", "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=x&device_code=y", nil, 400, "unsupported_grant_type"},
		{"an exchange", "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&client_id=x", nil, 400, "unsupported_grant_type"},
		{"an assertion", "grant_type=client_credentials&client_id=x&client_assertion=y&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer", nil, 400, "invalid_request"},
		{"two ways at once", good, []string{"Authorization", "Basic eDp5"}, 400, "invalid_request"},
		{"a head that is no text", "grant_type=client_credentials", []string{"Authorization", "Basic JXp6Onk="}, 400, "invalid_request"},
		{"JSON", `{"grant_type":"client_credentials"}`, []string{"Content-Type", "application/json"}, 400, "invalid_request"},
		{"no form", "%zz=1", nil, 400, "invalid_request"},
		{"too much", "a=" + strings.Repeat("x", maxForm), nil, 413, "invalid_request"},
	} {
		w := b.ask(c.form, c.head...)
		b.brake = newBrake()
		var said struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != c.status || said.Error != c.code || said.Description == "" {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String()+b.logs.String(), secret.Reveal()) {
			t.Errorf("%s: the secret is in the answer or the log", c.name)
		}
	}
}

func TestAFloodIsToldWhenToComeBack(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	form := "grant_type=client_credentials&client_secret=wrong&client_id=" + p.AppID
	for range freeFailures + 1 {
		b.ask(form)
	}
	w := b.ask(form)
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "try again in 1 s") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestASignInThatCanNotBeNotedIsNone(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	r := httptest.NewRequest(http.MethodPost, base+"/adfs/oauth2/token",
		strings.NewReader("grant_type=client_credentials&client_id="+p.AppID+"&client_secret="+secret.Reveal()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	b.ServeToken(w, r, Exchange{Base: base, SignedIn: func(context.Context, Attempt) error { return errors.New("the disk is full") }})
	if w.Code != 500 || strings.Contains(w.Body.String(), "access_token") || strings.Contains(w.Body.String(), "disk") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// FuzzTokenForm holds that no form is answered with a token or a fault.
func FuzzTokenForm(f *testing.F) {
	b := newBench(f)
	p, _ := b.create("deployer")
	f.Add("grant_type=client_credentials&client_id="+p.AppID+"&client_secret=x", "Basic eDp5")
	f.Add("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=x.y.z", "")
	f.Add("grant_type=client_credentials;client_id=%00&scope=+++", "Bearer x")
	f.Add("grant_type=&grant_type=", "Basic")
	f.Fuzz(func(t *testing.T, form, authorization string) {
		w := b.ask(form, "Authorization", authorization)
		if w.Code < 400 || w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			body, _ := io.ReadAll(w.Body)
			t.Errorf("%d %s", w.Code, body)
		}
	})
}
