package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/oauth2"

	"patchbay.dev/patchbay"
)

// idp is a provider whose every answer a test decides.
type idp struct {
	*httptest.Server
	mu      sync.Mutex
	keys    map[string]*ecdsa.PrivateKey
	down    bool
	fetches atomic.Int64
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	p := &idp{keys: map[string]*ecdsa.PrivateKey{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	p.add(t, "k1")
	return p
}

func (p *idp) add(t testing.TB, id string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[id] = key
}

func (p *idp) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == oidc.DiscoveryEndpoint {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
		return
	}
	p.fetches.Add(1)
	set := jose.JSONWebKeySet{}
	for id, key := range p.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: id, Use: "sig", Algorithm: "ES256"})
	}
	_ = json.NewEncoder(w).Encode(set)
}

func (p *idp) token(t testing.TB, kid string, claims map[string]any) patchbay.Secret {
	t.Helper()
	p.mu.Lock()
	key := p.keys[kid]
	p.mu.Unlock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"kid": kid}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return patchbay.NewSecret(token)
}

func (p *idp) claims(now time.Time) map[string]any {
	return map[string]any{
		"iss": p.URL, "sub": "ann", "aud": "patchbay", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"preferred_username": "ann@example.com", "groups": []string{"platform", "on-call"},
	}
}

func withProvider(p Provider) func(*Options) {
	return func(o *Options) { o.Providers = append(o.Providers, p) }
}

func TestATokenOfAProviderIsASubjectWithGroups(t *testing.T) {
	p := newIDP(t)
	b := newBench(t, withProvider(Provider{Name: "corp", Issuer: p.URL, Audiences: []string{"patchbay"}, Tenant: "contoso"}))
	token := p.token(t, "k1", p.claims(b.now))
	who, err := b.Verify(t.Context(), token, base)
	if err != nil {
		t.Fatal(err)
	}
	if who.ID != ObjectID(p.URL, patchbay.UserPrincipal, "ann") || who.Tenant != contoso || who.Name != "ann@example.com" || who.Kind != patchbay.UserPrincipal ||
		who.Operator || len(who.Groups) != 2 || who.Groups[0] != ObjectID(p.URL, patchbay.GroupPrincipal, "platform") {
		t.Errorf("%+v", who)
	}
	made, secret, err := b.Create(t.Context(), NewPrincipal{Tenant: contoso, Provider: "corp", Subject: "ann"})
	if err != nil || !secret.IsZero() || made.ID != who.ID || made.Name != "ann" {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, _, err := b.Create(t.Context(), NewPrincipal{Tenant: fabrikam, Provider: "corp", Subject: "bob"}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Error("a principal in another tenant than its provider:", err)
	}
	if _, _, err := b.ResetSecret(t.Context(), "", made.ID, Reset{}, ""); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Error("a secret for a provider's user:", err)
	}
	group, _, err := b.Create(t.Context(), NewPrincipal{Tenant: contoso, Provider: "corp", Kind: patchbay.GroupPrincipal, Subject: "platform"})
	if err != nil || group.ID != who.Groups[0] {
		t.Fatalf("%+v, %v", group, err)
	}
	yes, no := true, false
	if _, err := b.Update(t.Context(), "", made.ID, Change{Disabled: &yes}, ""); err != nil {
		t.Fatal(err)
	}
	b.refused("a disabled user", token, base, "disabled")
	if _, err := b.Update(t.Context(), "", made.ID, Change{Disabled: &no}, ""); err != nil {
		t.Fatal(err)
	}
	b.pass(time.Second)
	if _, err := b.Verify(t.Context(), p.token(t, "k1", p.claims(b.clock())), base); err != nil {
		t.Error("a new token, after it was enabled:", err)
	}
}

func TestForgedTokensOfAProviderAreRefused(t *testing.T) {
	p, other := newIDP(t), newIDP(t)
	b := newBench(t, withProvider(Provider{Name: "corp", Issuer: p.URL, Audiences: []string{"patchbay"}, Tenant: contoso}),
		withProvider(Provider{Name: "other", Issuer: other.URL, Audiences: []string{"patchbay"}, Tenant: fabrikam, Algorithms: []string{"RS256"}}))
	with := func(name string, value any) map[string]any {
		c := p.claims(b.now)
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	for _, c := range []struct {
		name  string
		token patchbay.Secret
		why   string
	}{
		{"another's key", other.token(t, "k1", p.claims(b.now)), "signature"},
		{"another's algorithm", other.token(t, "k1", other.claims(b.now)), "algorithm"},
		{"an issuer that nobody configured", p.token(t, "k1", with("iss", "https://evil.example")), "not one of this server"},
		{"an issuer with a slash", p.token(t, "k1", with("iss", p.URL+"/")), "not one of this server"},
		{"another audience", p.token(t, "k1", with("aud", "somebody")), "audience"},
		{"no audience", p.token(t, "k1", with("aud", nil)), "audience"},
		{"expired", p.token(t, "k1", with("exp", b.now.Add(-time.Hour).Unix())), "expired"},
		{"without an end", p.token(t, "k1", with("exp", nil)), "expires"},
		{"of the future", p.token(t, "k1", with("nbf", b.now.Add(time.Hour).Unix())), "future"},
		{"without a subject", p.token(t, "k1", with("sub", nil)), "who signed in"},
		{"a subject of two lines", p.token(t, "k1", with("sub", "ann\nadmin")), "who signed in"},
		{"a subject that ends in NUL", p.token(t, "k1", with("sub", "ann\x00")), "who signed in"},
		{"a subject that is a number", p.token(t, "k1", with("sub", 7)), ""},
	} {
		b.refused(c.name, c.token, base, c.why)
	}
	p.mu.Lock()
	public := p.keys["k1"].Public()
	p.mu.Unlock()
	text, err := json.Marshal(public)
	if err != nil {
		t.Fatal(err)
	}
	b.refused("HS256", forge(t, jose.HS256, text, map[jose.HeaderKey]any{"kid": "k1"}, p.claims(b.now)), base, "no signed token")
	long := with("sub", "x"+strings.Repeat("é", 300))
	delete(long, "preferred_username")
	if who, err := b.Verify(t.Context(), p.token(t, "k1", long), base); err != nil || !utf8.ValidString(who.Name) || len(who.Name) > maxName {
		t.Errorf("a name that was cut: %q, %v", who.Name, err)
	}
	for sub, want := range map[string]string{"bob": "bob", "Admin": "corp:Admin"} {
		operators := with("sub", sub)
		operators["preferred_username"] = "admin"
		if who, err := b.Verify(t.Context(), p.token(t, "k1", operators), base); err != nil || who.Name != want {
			t.Errorf("who calls itself admin is called %q, %v", who.Name, err)
		}
	}
	deep := p.claims(b.now)
	deep["groups"] = make([]string, 5000)
	for i := range 5000 {
		deep["groups"].([]string)[i] = fmt.Sprint("g", i%100)
	}
	if who, err := b.Verify(t.Context(), p.token(t, "k1", with("groups", []any{1, "a", nil, strings.Repeat("x", 1000)})), base); err != nil || len(who.Groups) != 1 {
		t.Error(who.Groups, err)
	}
	if who, err := b.Verify(t.Context(), p.token(t, "k1", with("groups", "one")), base); err != nil || len(who.Groups) != 1 {
		t.Error(who.Groups, err)
	}
	b.refused("5,000 groups", p.token(t, "k1", deep), base, "too long")
}

func TestAProvidersNewKeyIsFetchedButNotForEveryToken(t *testing.T) {
	p := newIDP(t)
	b := newBench(t, withProvider(Provider{Name: "corp", Issuer: p.URL, Audiences: []string{"patchbay"}, Tenant: contoso}))
	verify := func(kid string) error {
		_, err := b.Verify(t.Context(), p.token(t, kid, p.claims(b.clock())), base)
		return err
	}
	if err := verify("k1"); err != nil || p.fetches.Load() != 1 {
		t.Fatal(err, p.fetches.Load())
	}
	p.add(t, "k2")
	if err := verify("k2"); patchbay.CodeOf(err) != patchbay.Unauthenticated || p.fetches.Load() != 1 {
		t.Error("a key is looked for at once after a fetch:", err, p.fetches.Load())
	}
	b.pass(remotePause)
	for range 3 {
		if err := verify("k2"); err != nil {
			t.Error(err)
		}
	}
	if n := p.fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

func TestAProviderThatIsDownIsNoReasonToForgetItsKeys(t *testing.T) {
	p := newIDP(t)
	p.setDown(true)
	b := newBench(t, withProvider(Provider{Name: "corp", Issuer: p.URL, Audiences: []string{"patchbay"}, Tenant: contoso}))
	token := p.token(t, "k1", p.claims(b.now))
	b.Warm()
	b.work.Wait()
	if !strings.Contains(b.logs.String(), "can't be reached") {
		t.Errorf("log: %s", b.logs)
	}
	b.refused("before its keys are known", token, base, "does not answer")
	p.setDown(false)
	b.pass(remotePause)
	if _, err := b.Verify(t.Context(), token, base); err != nil {
		t.Fatal(err)
	}
	p.setDown(true)
	b.pass(2 * remoteFresh)
	if _, err := b.Verify(t.Context(), p.token(t, "k1", p.claims(b.clock())), base); err != nil {
		t.Error("with the keys of before:", err)
	}
	b.work.Wait()
	if _, err := b.Verify(t.Context(), p.token(t, "k1", p.claims(b.clock())), base); err != nil {
		t.Error("after a fetch that failed:", err)
	}
}

func TestTheFileOfProvidersIsReadStrictly(t *testing.T) {
	ok := "- name: corp\n  issuer: https://login.example\n  clientId: patchbay\n  tenant: contoso\n"
	for name, c := range map[string]struct{ text, why string }{
		"good":                   {ok, ""},
		"empty":                  {"", ""},
		"a word that is unknown": {ok + "  audience: x\n", "audience"},
		"no list":                {"name: corp", "list"},
		"http":                   {strings.Replace(ok, "https", "http", 1), "https://"},
		"no issuer":              {"- name: corp\n  clientId: x\n  tenant: contoso\n", "issuer"},
		"no audience":            {strings.Replace(ok, "clientId: patchbay", "kind: User", 1), "audiences"},
		"no tenant":              {strings.Replace(ok, "contoso", "nowhere", 1), "no tenant"},
		"HS256":                  {ok + "  algorithms: [HS256]\n", "HS256"},
		"none":                   {ok + "  algorithms: [none]\n", "none"},
		"a kind":                 {ok + "  kind: Group\n", "kind"},
		"a name":                 {strings.Replace(ok, "corp", "Corp Inc", 1), "name"},
		"twice":                  {ok + ok, "two"},
		"a CA that is not there": {ok + "  caFile: /nowhere\n", "caFile"},
	} {
		path := filepath.Join(t.TempDir(), "oidc.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := ReadProviders(path)
		if err == nil {
			b := newBench(t)
			_, err = New(t.Context(), Options{Directory: b.dir, Keys: b.ring, Providers: list})
		}
		if c.why == "" && err != nil || c.why != "" && (patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// people is a real provider: zitadel's own example, with a client for device
// logins that has no secret, as a command line has none.
type people struct{ *storage.Storage }

func (p people) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := p.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return public{c}, nil
}

type public struct{ op.Client }

func (public) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodNone }
func (public) ApplicationType() op.ApplicationType { return op.ApplicationTypeNative }
func (public) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func TestAPersonSignsInWithADeviceCodeAtARealProvider(t *testing.T) {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	storage.RegisterClients(storage.DeviceClient("patchbay-cli", ""))
	records := people{storage.NewStorage(storage.NewUserStore(server.URL))}
	mux.Handle("/", exampleop.SetupServer(server.URL, records, nil, false, op.WithAllowInsecure()))

	b := newBench(t, func(o *Options) { o.Clock = time.Now },
		withProvider(Provider{Name: "example", Issuer: server.URL, ClientID: "patchbay-cli", Tenant: contoso}))
	config := oauth2.Config{ClientID: "patchbay-cli", Scopes: []string{"openid", "profile"}, Endpoint: oauth2.Endpoint{
		DeviceAuthURL: server.URL + "/device_authorization", TokenURL: server.URL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams,
	}}
	device, err := config.DeviceAuth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	device.Interval = 1
	if err := records.CompleteDeviceAuthorization(t.Context(), device.UserCode, "id1"); err != nil {
		t.Fatal(err)
	}
	token, err := config.DeviceAccessToken(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	who, err := b.Verify(t.Context(), patchbay.NewSecret(token.AccessToken), base)
	if err != nil || who.ID != ObjectID(server.URL, patchbay.UserPrincipal, "id1") || who.Tenant != contoso {
		t.Errorf("%+v, %v", who, err)
	}
}
