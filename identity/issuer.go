package identity

import (
	"context"
	"errors"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"patchbay.dev/patchbay"
)

// maxForm bounds the form of a token request, in bytes.
const maxForm = 64 << 10

// Where the library finds what it serves; the paths that clients know are
// [Exchange]'s business.
const (
	pathToken = "/token"
	pathKeys  = "/keys"
)

// Exchange is one request to the issuer, with what the server knows of it.
type Exchange struct {
	Base    string // the server's base URL as the client calls it
	Tenant  string // the id of the tenant that the path names; "" is any (ADFS)
	Address string // where the request comes from, without a port
	// SignedIn is told of every sign-in that was tried, before it is answered: an
	// error keeps a success from being one, and TooManyRequests is answered. It
	// may be nil.
	SignedIn func(ctx context.Context, a Attempt) error
}

// Attempt is a sign-in that was tried.
type Attempt struct {
	Client    string             // the client id as it was given
	Principal patchbay.Principal // of a success, and of a failure where it is known
	Err       error              // nil: it succeeded
}

func (e Exchange) issuer() string {
	if e.Tenant == "" {
		return adfsIssuer(e.Base)
	}
	return tenantIssuer(e.Base, e.Tenant)
}

// tokenURL and keysURL are the endpoints beside an issuer.
func (e Exchange) tokenURL() string {
	if e.Tenant == "" {
		return e.Base + "/adfs/oauth2/token"
	}
	return e.Base + "/" + e.Tenant + "/oauth2/v2.0/token"
}

func (e Exchange) keysURL() string {
	if e.Tenant == "" {
		return e.Base + "/adfs/discovery/keys"
	}
	return e.Base + "/" + e.Tenant + "/discovery/v2.0/keys"
}

type exchangeKey struct{}

// call is an exchange on its way through the library.
type call struct {
	Exchange
	form   url.Values
	header http.Header // of the answer
	who    patchbay.Principal
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(exchangeKey{}).(*call)
	return c
}

// newOAuth is the library's handler of token requests, key sets and discovery.
func (s *Service) newOAuth() http.Handler {
	return op.RegisterServer(&oauth{service: s}, op.Endpoints{
		Token: op.NewEndpoint(pathToken), JwksURI: op.NewEndpoint(pathKeys),
	}, op.WithServerCORSOptions(nil))
}

// ServeDiscovery answers the issuer's configuration.
func (s *Service) ServeDiscovery(w http.ResponseWriter, r *http.Request, e Exchange) {
	s.serve(w, r, oidc.DiscoveryEndpoint, &call{Exchange: e})
}

// ServeKeys answers the public keys.
func (s *Service) ServeKeys(w http.ResponseWriter, r *http.Request, e Exchange) {
	s.serve(w, r, pathKeys, &call{Exchange: e})
}

// ServeToken answers a token request. Parameters in the URL are not looked at:
// URLs are logged by proxies, and what is secret has no place in one.
func (s *Service) ServeToken(w http.ResponseWriter, r *http.Request, e Exchange) {
	c := &call{Exchange: e}
	form, err := readForm(w, r)
	if err != nil {
		op.WriteError(w, r, err, nil)
		return
	}
	c.form = form
	s.serve(w, r, pathToken, c)
}

// serve hands the request to the library, under the path that it knows.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, path string, c *call) {
	c.header = w.Header()
	inner := r.Clone(context.WithValue(r.Context(), exchangeKey{}, c))
	inner.URL = &url.URL{Path: path}
	inner.Form, inner.PostForm = c.form, c.form
	if c.form == nil {
		inner.Form, inner.PostForm = url.Values{}, url.Values{}
	}
	s.oauth.ServeHTTP(w, inner)
}

// readForm reads the form of a token request. One that names a parameter twice
// is refused: who reads the first and who the last would not agree.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, oidc.ErrInvalidRequest().WithDescription("the body has to be a form (application/x-www-form-urlencoded)")
	}
	inner := r.Clone(r.Context())
	inner.URL = &url.URL{Path: pathToken}
	inner.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := inner.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, op.NewStatusError(oidc.ErrInvalidRequest().WithDescription("the body is larger than %d bytes", maxForm), http.StatusRequestEntityTooLarge)
		}
		return nil, oidc.ErrInvalidRequest().WithDescription("the body is not a form that can be read")
	}
	for name, values := range inner.PostForm {
		if len(values) != 1 || strings.ContainsRune(name, 0) {
			return nil, oidc.ErrInvalidRequest().WithDescription("a parameter is given more than once")
		}
	}
	if user, pass, ok := r.BasicAuth(); ok {
		for _, text := range []string{user, pass} {
			if _, err := url.QueryUnescape(text); err != nil {
				return nil, oidc.ErrInvalidRequest().WithDescription("the Authorization header is not one that can be read")
			}
		}
	}
	return inner.PostForm, nil
}

// oauth is what the library asks of an issuer; what it does not implement is
// not supported.
type oauth struct {
	op.UnimplementedServer
	service *Service
}

// Discovery implements [op.Server]. Clients of Azure want an authorization
// endpoint named; nothing answers there.
func (o *oauth) Discovery(ctx context.Context, _ *op.Request[struct{}]) (*op.Response, error) {
	c := callOf(ctx)
	return op.NewResponse(&oidc.DiscoveryConfiguration{
		Issuer:                            c.issuer(),
		AuthorizationEndpoint:             strings.TrimSuffix(c.tokenURL(), "token") + "authorize",
		TokenEndpoint:                     c.tokenURL(),
		JwksURI:                           c.keysURL(),
		ScopesSupported:                   []string{oidc.ScopeOpenID},
		ResponseTypesSupported:            []string{string(oidc.ResponseTypeCode)},
		ResponseModesSupported:            []string{"form_post"},
		GrantTypesSupported:               []oidc.GrantType{oidc.GrantTypeClientCredentials},
		SubjectTypesSupported:             []string{"pairwise"},
		IDTokenSigningAlgValuesSupported:  []string{string(signingAlgorithm)},
		TokenEndpointAuthMethodsSupported: []oidc.AuthMethod{oidc.AuthMethodPost, oidc.AuthMethodBasic},
	}), nil
}

// Keys implements [op.Server].
func (o *oauth) Keys(ctx context.Context, _ *op.Request[struct{}]) (*op.Response, error) {
	set, err := o.service.keys.public(ctx)
	if err != nil {
		return nil, o.inside(ctx, err)
	}
	return op.NewResponse(&set), nil
}

// VerifyClient implements [op.Server]: it checks the secret.
func (o *oauth) VerifyClient(ctx context.Context, r *op.Request[op.ClientCredentials]) (op.Client, error) {
	c := callOf(ctx)
	if r.Data.ClientAssertion != "" {
		return nil, oidc.ErrInvalidRequest().WithDescription("client assertions are not supported; send client_secret")
	}
	// Errors of the request come before its secret is looked at.
	if grant := oidc.GrantType(c.form.Get("grant_type")); grant != oidc.GrantTypeClientCredentials {
		return nil, oidc.ErrUnsupportedGrantType().WithDescription("only client_credentials is supported here")
	}
	who, err := o.service.authenticate(ctx, c.Tenant, r.Data.ClientID, patchbay.NewSecret(r.Data.ClientSecret), c.Address)
	c.who = who
	attempt := Attempt{Client: r.Data.ClientID, Principal: who, Err: err}
	if c.SignedIn != nil && (err == nil || isRefusal(err)) {
		if noted := c.SignedIn(ctx, attempt); noted != nil && err == nil {
			if patchbay.CodeOf(noted) == patchbay.TooManyRequests {
				return nil, slowDown(noted)
			}
			return nil, o.inside(ctx, noted)
		}
	}
	var later *retryError
	switch {
	case err == nil:
		return signedIn{id: who.AppID}, nil
	case errors.As(err, &later):
		seconds := max(1, int(math.Ceil(later.after.Seconds())))
		c.header.Set("Retry-After", strconv.Itoa(seconds))
		return nil, slowDown(later.err)
	case patchbay.CodeOf(err) == patchbay.Unauthenticated:
		if r.Header.Get("Authorization") != "" {
			c.header.Set("WWW-Authenticate", `Basic realm="patchbay"`)
		}
		return nil, op.NewStatusError(oidc.ErrInvalidClient().WithDescription("%s", patchbay.AsError(err).Message), http.StatusUnauthorized)
	}
	return nil, o.inside(ctx, err)
}

func slowDown(err error) error {
	return op.NewStatusError(oidc.ErrSlowDown().WithDescription("%s", patchbay.AsError(err).Message), http.StatusTooManyRequests)
}

func isRefusal(err error) bool {
	code := patchbay.CodeOf(err)
	return code == patchbay.Unauthenticated || code == patchbay.TooManyRequests
}

// inside hides what went wrong inside from the client; the log has it.
func (o *oauth) inside(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		o.service.log.ErrorContext(ctx, "a sign-in failed inside", "error", err)
	}
	return op.NewStatusError(oidc.ErrServerError().WithDescription("something went wrong inside the server; its log says what"), http.StatusInternalServerError)
}

// tokenResponse is an answer as Azure's clients read it.
type tokenResponse struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
}

// ClientCredentialsExchange implements [op.Server].
func (o *oauth) ClientCredentialsExchange(ctx context.Context, r *op.ClientRequest[oidc.ClientCredentialsRequest]) (*op.Response, error) {
	c := callOf(ctx)
	asked, err := resource(r.Data.Scope, c.form.Get("resource"))
	if err != nil {
		return nil, oidc.ErrInvalidScope().WithDescription("%s", err.Error())
	}
	if asked != "" && !sameAudience(asked, c.Base) {
		return nil, oidc.ErrInvalidScope().WithDescription("tokens are issued for %s/ only: set the client's resource manager audience, or its scope, to that", c.Base)
	}
	token, err := o.service.issue(ctx, c.who, c.issuer(), c.Base+"/")
	if err != nil {
		return nil, o.inside(ctx, err)
	}
	seconds := int64(o.service.lifetime / time.Second)
	return op.NewResponse(&tokenResponse{TokenType: oidc.BearerToken, ExpiresIn: seconds, ExtExpiresIn: seconds, AccessToken: token}), nil
}

// signedIn is a service principal as the library knows clients.
type signedIn struct{ id string }

func (c signedIn) GetID() string                     { return c.id }
func (signedIn) RedirectURIs() []string              { return nil }
func (signedIn) PostLogoutRedirectURIs() []string    { return nil }
func (signedIn) ApplicationType() op.ApplicationType { return op.ApplicationTypeWeb }
func (signedIn) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodPost }
func (signedIn) ResponseTypes() []oidc.ResponseType  { return nil }
func (signedIn) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeClientCredentials}
}
func (signedIn) LoginURL(string) string               { return "" }
func (signedIn) AccessTokenType() op.AccessTokenType  { return op.AccessTokenTypeJWT }
func (signedIn) IDTokenLifetime() time.Duration       { return 0 }
func (signedIn) DevMode() bool                        { return false }
func (signedIn) IsScopeAllowed(string) bool           { return true }
func (signedIn) IDTokenUserinfoClaimsAssertion() bool { return false }
func (signedIn) ClockSkew() time.Duration             { return 0 }
func (signedIn) RestrictAdditionalIdTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}

func (signedIn) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}
