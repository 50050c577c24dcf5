package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.yaml.in/yaml/v4"

	"patchbay.dev/patchbay"
)

// Provider is an OpenID Connect provider whose tokens are accepted.
type Provider struct {
	Name string `yaml:"name"`
	// Issuer is what its tokens say in iss, exactly; its configuration is below it.
	Issuer string `yaml:"issuer"`
	// Audiences are those of its tokens that are for this server; none is ClientID.
	Audiences []string `yaml:"audiences"`
	// Tenant is the id or the display name of the tenant that everybody who signs
	// in there belongs to.
	Tenant string `yaml:"tenant"`
	// ClientID is what patchbay login signs in as, with a device code; "" is not.
	ClientID string   `yaml:"clientId"`
	Scopes   []string `yaml:"scopes"` // none: openid, profile, email, offline_access
	// Kind is what its subjects are: User, the default, or ServicePrincipal.
	Kind       patchbay.PrincipalKind `yaml:"kind"`
	Claims     ClaimNames             `yaml:"claims"`
	CAFile     string                 `yaml:"caFile"`
	Algorithms []string               `yaml:"algorithms"` // none: RS256, PS256 and ES256 with their longer ones, and EdDSA
}

// ClaimNames say where in a token things are.
type ClaimNames struct {
	Subject string `yaml:"subject"` // default sub
	Groups  string `yaml:"groups"`  // default groups
	Name    string `yaml:"name"`    // default preferred_username, else email, else name
}

// Limits on what a provider's tokens bring.
const (
	maxGroups    = 200
	maxGroupName = 256
)

// allAlgorithms are those that any issuer here may sign with: none, and those
// with a shared key, are not among them.
var allAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// provider is one that is in use.
type provider struct {
	Provider
	tenant     string // its id
	algorithms []jose.SignatureAlgorithm
	http       *http.Client
	keys       *remoteKeys
}

// ReadProviders reads the file of providers: a YAML list. A name that is not
// known is an error, so that a misspelled one is not a missing one.
func ReadProviders(path string) ([]Provider, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the file of OpenID Connect providers can't be read: %w", err)
	}
	var list []Provider
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&list); err != nil && !errors.Is(err, io.EOF) {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s is not a list of OpenID Connect providers: %w", path, err)
	}
	return list, nil
}

var providerName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

func (s *Service) openProviders(ctx context.Context, o Options) error {
	for _, p := range o.Providers {
		one, err := s.openProvider(ctx, p, o.Transport)
		if err != nil {
			return patchbay.Errorf(patchbay.InvalidArgument, "the OpenID Connect provider %q: %w", p.Name, err)
		}
		for _, other := range s.providers {
			if other.Name == one.Name || other.Issuer == one.Issuer {
				return patchbay.Errorf(patchbay.InvalidArgument, "two OpenID Connect providers have the name %q or the issuer %s", one.Name, one.Issuer)
			}
		}
		s.providers = append(s.providers, one)
	}
	return nil
}

func (s *Service) openProvider(ctx context.Context, p Provider, transport http.RoundTripper) (*provider, error) {
	if !providerName.MatchString(p.Name) {
		return nil, fmt.Errorf("its name has to be lower-case letters, digits and dashes")
	}
	if err := checkURL(p.Issuer); err != nil {
		return nil, fmt.Errorf("its issuer %w", err)
	}
	if len(p.Audiences) == 0 && p.ClientID != "" {
		p.Audiences = []string{p.ClientID}
	}
	if len(p.Audiences) == 0 || slices.Contains(p.Audiences, "") {
		return nil, fmt.Errorf("it needs audiences (or clientId): a token for somebody else must not be good here")
	}
	if p.Kind == "" {
		p.Kind = patchbay.UserPrincipal
	}
	if p.Kind != patchbay.UserPrincipal && p.Kind != patchbay.ServicePrincipal {
		return nil, fmt.Errorf("its kind has to be User or ServicePrincipal")
	}
	if len(p.Scopes) == 0 {
		p.Scopes = []string{"openid", "profile", "email", "offline_access"}
	}
	if p.Claims.Subject == "" {
		p.Claims.Subject = "sub"
	}
	if p.Claims.Groups == "" {
		p.Claims.Groups = "groups"
	}
	one := &provider{Provider: p}
	var err error
	if one.algorithms, err = algorithms(p.Algorithms); err != nil {
		return nil, err
	}
	tenant, ok, err := s.Tenant(ctx, p.Tenant)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("there is no tenant %q (or several of that name)", p.Tenant)
	}
	one.tenant = tenant.ID
	if one.http, err = httpClient(p.CAFile, transport); err != nil {
		return nil, err
	}
	one.keys = &remoteKeys{service: s, provider: one}
	return one, nil
}

func algorithms(names []string) ([]jose.SignatureAlgorithm, error) {
	if len(names) == 0 {
		return allAlgorithms, nil
	}
	var list []jose.SignatureAlgorithm
	for _, name := range names {
		alg := jose.SignatureAlgorithm(name)
		if !slices.Contains(allAlgorithms, alg) {
			return nil, fmt.Errorf("the algorithm %q is not accepted; those that are: %v", name, allAlgorithms)
		}
		list = append(list, alg)
	}
	return list, nil
}

// checkURL wants https, or http on this machine.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("has to be of the form https://host/path")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return fmt.Errorf("has to begin with https://: keys that arrive in the clear prove nothing")
	}
	return nil
}

// httpClient reaches a provider, with its own authority when it has one.
func httpClient(caFile string, transport http.RoundTripper) (*http.Client, error) {
	if transport == nil {
		transport = http.DefaultTransport
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("its caFile can't be read: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("its caFile has no PEM certificate")
		}
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
		transport = own
	}
	return &http.Client{
		Transport: bounded{transport}, Timeout: fetchTimeout,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 {
				return fmt.Errorf("too many redirects")
			}
			return checkURL(r.URL.Scheme + "://" + r.URL.Host)
		},
	}, nil
}

// bounded cuts answers off at a size that no key set has.
type bounded struct{ http.RoundTripper }

const maxAnswer = 1 << 20

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err
}

func (b bounded) CloseIdleConnections() {
	if c, ok := b.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (s *Service) providerNamed(name string) (*provider, bool) {
	for _, p := range s.providers {
		if p.Name == name {
			return p, true
		}
	}
	return nil, false
}

func (s *Service) providerNames() string {
	names := make([]string, 0, len(s.providers))
	for _, p := range s.providers {
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// SignInWay is how people and machines get a token of a provider.
type SignInWay struct {
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	ClientID  string   `json:"clientId,omitempty"`
	Scopes    []string `json:"scopes,omitempty"`
	Audiences []string `json:"audiences"`
	Tenant    string   `json:"tenantId"`
}

// SignInWays are the configured providers, without anything secret.
func (s *Service) SignInWays() []SignInWay {
	ways := make([]SignInWay, 0, len(s.providers))
	for _, p := range s.providers {
		ways = append(ways, SignInWay{Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, Scopes: p.Scopes, Audiences: p.Audiences, Tenant: p.tenant})
	}
	return ways
}

// Warm asks every provider for its keys, so that the first sign-in doesn't
// wait. One that can't be reached is asked again when it is needed.
func (s *Service) Warm() {
	for _, p := range s.providers {
		s.work.Go(func() {
			if err := p.keys.fetch(s.ctx); err != nil && s.ctx.Err() == nil {
				s.log.LogAttrs(s.ctx, slog.LevelWarn, "an OpenID Connect provider can't be reached; it is asked again when somebody signs in with it",
					slog.String("provider", p.Name), slog.String("issuer", p.Issuer), slog.String("error", err.Error()))
			}
		})
	}
}

// verifyExternal says whose token of a provider it is.
func (s *Service) verifyExternal(ctx context.Context, p *provider, token *jwt.JSONWebToken) (patchbay.Subject, error) {
	var none patchbay.Subject
	head := token.Headers[0]
	if !slices.Contains(p.algorithms, jose.SignatureAlgorithm(head.Algorithm)) {
		return none, badToken("its provider does not sign with that algorithm")
	}
	keys, err := p.keys.find(ctx, head.KeyID, head.Algorithm)
	if err != nil {
		return none, err
	}
	var claims jwt.Claims
	var rest map[string]any
	verified := slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool { return token.Claims(k.Key, &claims, &rest) == nil })
	if !verified {
		return none, badToken("its signature is not one of its provider's keys")
	}
	if claims.Issuer != p.Issuer {
		return none, badToken("it is of another issuer")
	}
	if err := checkTimes(claims, s.now()); err != nil {
		return none, err
	}
	if !forAudience(claims.Audience, p.Audiences) {
		return none, badToken("its audience is not this server")
	}
	return s.external(ctx, p, claims.IssuedAt.Time(), rest)
}

// external is the subject that a provider's verified claims are of. One that
// nobody made a principal of has its id all the same, and what roles were
// assigned to that.
func (s *Service) external(ctx context.Context, p *provider, issued time.Time, claims map[string]any) (patchbay.Subject, error) {
	var none patchbay.Subject
	subject, _ := claims[p.Claims.Subject].(string)
	// What no principal can be made of is not let in either: it reaches logs.
	if subject == "" || len(subject) > maxSubject || strings.ContainsFunc(subject, unicode.IsControl) {
		return none, badToken("it does not say who signed in")
	}
	who := patchbay.Subject{
		ID: ObjectID(p.Issuer, p.Kind, subject), Tenant: p.tenant, Kind: p.Kind, Name: p.nameOf(claims, subject),
		Groups: groupsOf(p, claims[p.Claims.Groups]),
	}
	known, err := s.directory.Principal(ctx, who.ID)
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		return who, nil
	case err != nil:
		return none, err
	case known.Disabled:
		return none, badToken("its principal is disabled")
	case !strings.EqualFold(known.Tenant, p.tenant):
		return none, badToken("its principal is in another tenant than its provider")
	case issued.Before(known.TokensFrom):
		return none, badToken("it was issued before its principal was disabled")
	}
	who.TokensFrom = known.TokensFrom
	return who, nil
}

func (p *provider) nameOf(claims map[string]any, subject string) string {
	names := p.Claims
	order := []string{"preferred_username", "email", "name"}
	if names.Name != "" {
		order = []string{names.Name}
	}
	for _, n := range order {
		if name, _ := claims[n].(string); name != "" && checkName(name) == nil {
			return name
		}
	}
	if name := cut(subject); !reserved(name) {
		return name
	}
	return p.Name + ":" + cut(subject)
}

// cut is the part of a subject that fits into a name.
func cut(subject string) string {
	return strings.ToValidUTF8(subject[:min(len(subject), maxName)], "")
}

// groupsOf takes a list of names, or one name. What is beyond the bound is
// left out: fewer groups are fewer rights.
func groupsOf(p *provider, claim any) []string {
	var names []string
	switch v := claim.(type) {
	case string:
		names = []string{v}
	case []any:
		for _, item := range v {
			if name, ok := item.(string); ok {
				names = append(names, name)
			}
		}
	}
	var ids []string
	for _, name := range names {
		if name != "" && len(name) <= maxGroupName && len(ids) < maxGroups {
			ids = append(ids, ObjectID(p.Issuer, patchbay.GroupPrincipal, name))
		}
	}
	return ids
}
