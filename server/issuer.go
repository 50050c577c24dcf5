package server

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/identity"
)

const signInAction = own + "signIn/action"

// open is what one path without sign-in leads to.
type open struct {
	method string
	answer func(w http.ResponseWriter, r *http.Request) error
}

// answerOpen answers what needs no token: where to sign in, and signing in. It
// is false for everything else.
func (s *Server) answerOpen(w http.ResponseWriter, r *http.Request) bool {
	o, found := s.openRoute(r)
	if err := s.refuseClear(r, found && o.method == http.MethodPost); err != nil {
		s.answerError(w, r, err)
		return true
	}
	if !found {
		return false
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if method != o.method {
		w.Header().Set("Allow", o.method)
		s.answerError(w, r, patchbay.Errorf(arm.MethodNotAllowed, "%s is not allowed here; allowed: %s", methodLabel(r.Method), o.method))
		return true
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.opts.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	if err := o.answer(w, r); err != nil {
		s.answerError(w, r, err)
	}
	return true
}

// refuseClear refuses a token or a secret that came in the clear: the proxy in
// front says so. The server's own plain HTTP is on loopback only.
func (s *Server) refuseClear(r *http.Request, secret bool) error {
	if !s.opts.TrustForwarded || !strings.EqualFold(firstOf(r.Header.Get("X-Forwarded-Proto")), "http") {
		return nil
	}
	if !secret && r.Header.Get("Authorization") == "" && r.Header.Get(auxiliaryHeader) == "" {
		return nil
	}
	if a, err := netip.ParseAddr(s.addressOf(r)); err == nil && a.IsLoopback() {
		return nil
	}
	return patchbay.Errorf(patchbay.Unauthenticated, "the request came over plain HTTP, where anybody on the way reads its token: it is not looked at").
		WithFix("use https://, and sign in again: what was sent may have been read")
}

// openRoute finds what answers a path. Empty segments are folded, and words
// taken in any case, as on ARM's routes.
func (s *Server) openRoute(r *http.Request) (open, bool) {
	if s.opts.Issuer == nil || len(r.URL.Path) > patchbay.MaxIDLength {
		return open{}, false
	}
	var parts, words []string
	for part := range strings.SplitSeq(r.URL.Path, "/") {
		if part != "" {
			parts = append(parts, part)
			words = append(words, strings.ToLower(part))
		}
	}
	if len(words) < 2 || len(words) > 5 {
		return open{}, false
	}
	issuer := s.opts.Issuer
	tenant := ""
	rest := strings.Join(words[1:], "/")
	switch {
	case words[0] == "metadata":
		return open{http.MethodGet, s.metadata}, rest == "endpoints"
	case words[0] == "v1.0":
		return open{}, false // Graph's, which wants a token
	case words[0] == "providers":
		return open{http.MethodGet, s.signInWays}, rest == "patchbay.connector/signin"
	case words[0] != "adfs":
		tenant = parts[0]
	// Below the authority: az asks which tenant a name is, azurerm for a token.
	case !slices.Contains([]string{".well-known", "discovery", "oauth2", "v2.0"}, words[1]):
		tenant, rest = parts[1], strings.Join(words[2:], "/")
	}
	switch rest {
	case ".well-known/openid-configuration", "v2.0/.well-known/openid-configuration":
		return s.exchangeRoute(http.MethodGet, tenant, issuer.ServeDiscovery), true
	case "discovery/keys", "discovery/v2.0/keys":
		return s.exchangeRoute(http.MethodGet, tenant, issuer.ServeKeys), true
	case "oauth2/token", "oauth2/v2.0/token":
		return s.exchangeRoute(http.MethodPost, tenant, issuer.ServeToken), true
	}
	return open{}, false
}

// exchangeRoute is a route of the issuer, for the tenant that the path names;
// "" is any.
func (s *Server) exchangeRoute(method, tenant string, serve func(http.ResponseWriter, *http.Request, identity.Exchange)) open {
	return open{method, func(w http.ResponseWriter, r *http.Request) error {
		if tenant != "" {
			id, err := s.tenantNamed(r.Context(), tenant)
			if err != nil {
				return err
			}
			tenant = id
		}
		base := s.baseOf(r)
		if _, err := checkPublicURL(base); err != nil {
			return patchbay.Errorf(patchbay.InvalidArgument, "the request does not say which host it is for")
		}
		serve(w, r, identity.Exchange{
			Base: base, Tenant: tenant, Address: s.addressOf(r),
			SignedIn: func(ctx context.Context, a identity.Attempt) error { return s.signedIn(ctx, w, r, a) },
		})
		return nil
	}}
}

// tenantNamed is the id of the tenant that a path names. A GUID is not looked
// up: whether there is such a tenant is nobody's business here.
func (s *Server) tenantNamed(ctx context.Context, name string) (string, error) {
	if id, err := uuid.Parse(name); err == nil && len(name) == 36 {
		return id.String(), nil
	}
	t, ok, err := s.opts.Issuer.Tenant(ctx, name)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: name, Message: "there is no tenant of that name; name it by its id"}
	}
	return t.ID, nil
}

// signedIn notes a sign-in in the audit log. A success that can't be noted is
// none; it is a line, so it counts among its principal's writes.
func (s *Server) signedIn(ctx context.Context, w http.ResponseWriter, r *http.Request, a identity.Attempt) error {
	p := a.Principal
	visitOf(r.Context()).caller = p.Name
	e := patchbay.AuditEntry{
		Time: s.now().UTC(), Action: signInAction, Result: patchbay.AuditSucceeded, Caller: p.Name, CallerID: p.ID, Kind: p.Kind, Tenant: p.Tenant,
		Address: s.addressOf(r), Request: visitOf(r.Context()).id,
	}
	if a.Err == nil {
		if err := s.limit(w, r, patchbay.Subject{ID: p.ID, Tenant: p.Tenant}); err != nil {
			e.Result, e.Code = patchbay.AuditRefused, patchbay.CodeOf(err)
			s.writeRefusals(ctx, s.refusals.add(p.Tenant, "limit "+p.ID, 1, e))
			return err
		}
		if s.opts.Audit == nil {
			return nil
		}
		return s.opts.Audit.AppendAudit(ctx, e)
	}
	e.Result, e.Code = patchbay.AuditRefused, patchbay.CodeOf(a.Err)
	group, who := "sign-in "+p.Tenant, p.ID // whoever knows the client can make these
	if p.ID == "" {
		group, who = strangers, "sign-in "+network(e.Address)
		e.Caller = "unknown"
		if id, err := uuid.Parse(a.Client); err == nil {
			e.Detail = "client id " + id.String()
		}
	}
	s.writeRefusals(ctx, s.refusals.add(group, who, strangerLines, e))
	return nil
}

// signInWays says how one signs in, and to whoever has a token, who it is.
func (s *Server) signInWays(w http.ResponseWriter, r *http.Request) error {
	view := arm.SignInView{Issuer: s.baseOf(r) + "/adfs", Providers: []arm.ProviderView{}}
	for _, p := range s.opts.Issuer.SignInWays() {
		view.Providers = append(view.Providers, arm.ProviderView(p))
	}
	if r.Header.Get("Authorization") != "" {
		who, err := s.admit(w, r)
		if err != nil {
			return err
		}
		u := who.subject
		visitOf(r.Context()).caller = u.Name
		view.Caller = &arm.CallerView{ID: u.ID, AppID: u.AppID, Tenant: u.Tenant, Name: u.Name, Kind: u.Kind, Groups: u.Groups, Operator: u.Operator}
	}
	x := &exchange{server: s, w: w, r: r, ctx: r.Context()}
	return x.json(http.StatusOK, view)
}

// metadata answers where everything is, as Azure's clouds do: az asks for the
// form of 2015, azurerm for that of 2022, others for a list of clouds.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) error {
	x := &exchange{server: s, w: w, r: r, ctx: r.Context()}
	base := x.base()
	u, err := url.Parse(base)
	if err != nil {
		return patchbay.Errorf(patchbay.InvalidArgument, "the request does not say which host it is for")
	}
	version := x.query("api-version")
	if version == "2015-01-01" {
		return x.json(http.StatusOK, map[string]any{
			"galleryEndpoint": base, "graphEndpoint": base + "/", "portalEndpoint": base,
			"authentication": map[string]any{"loginEndpoint": base + "/adfs", "audiences": []string{base + "/"}},
		})
	}
	if _, err := time.Parse(time.DateOnly, strings.TrimSuffix(version, "-preview")); err != nil {
		return patchbay.Errorf(arm.InvalidAPIVersion, "the query parameter api-version has to be one of 2015-01-01, 2019-05-01, 2020-06-01 and 2022-09-01")
	}
	cloud := map[string]any{
		"name": "patchbay", "portal": base, "gallery": base, "graph": base + "/", "graphAudience": base + "/",
		"microsoftGraphResourceId": base + "/", "resourceManager": base, "batch": base + "/", "media": base, "sqlManagement": base,
		"vmImageAliasDoc": base,
		"authentication": map[string]any{
			// The word at its end keeps az from asking Azure's own sign-in which authorities it
			// knows.
			"loginEndpoint": base + "/adfs", "audiences": []string{base + "/", base}, "tenant": "common", "identityProvider": "AAD",
		},
		// Names that nothing here makes of them, but that clients want to read.
		"suffixes": map[string]any{
			"storage": u.Hostname(), "keyVaultDns": u.Hostname(), "sqlServerHostname": u.Hostname(), "postgresqlServerEndpoint": u.Hostname(),
			"mysqlServerEndpoint": u.Hostname(), "mariadbServerEndpoint": u.Hostname(), "acrLoginServer": u.Hostname(),
		},
	}
	if version < "2022" {
		return x.json(http.StatusOK, []any{cloud})
	}
	return x.json(http.StatusOK, cloud)
}
