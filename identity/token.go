package identity

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"patchbay.dev/patchbay"
)

// tokenType says in a token's head what it is, so that nothing else that the
// key signs could be taken for it (RFC 9068).
const tokenType = "at+jwt"

// maxToken bounds what is parsed, in bytes.
const maxToken = 16 << 10

// accessClaims are a token's claims beside the registered ones, in the words
// that Azure's libraries know.
type accessClaims struct {
	ObjectID string `json:"oid"`
	AppID    string `json:"appid"`
	Party    string `json:"azp"`
	Tenant   string `json:"tid"`
	Kind     string `json:"idtyp"`
	Version  string `json:"ver"`
	// Since is the principal's TokensFrom when the token was issued, in
	// nanoseconds of Unix time: a token of a secret that was taken away is known
	// by it, whatever the clocks said.
	Since int64 `json:"pb_since"`
}

func sinceOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// issue signs a token for a principal of the built-in issuer.
func (s *Service) issue(ctx context.Context, p patchbay.Principal, issuer, audience string) (string, error) {
	key, err := s.keys.signer(ctx)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: signingAlgorithm, Key: jose.JSONWebKey{Key: key.private, KeyID: key.ID}},
		(&jose.SignerOptions{}).WithType(tokenType))
	if err != nil {
		return "", patchbay.Errorf(patchbay.Internal, "sign a token: %w", err)
	}
	now := s.now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: issuer, Subject: p.ID, Audience: jwt.Audience{audience}, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(s.lifetime)),
	}).Claims(accessClaims{
		ObjectID: p.ID, AppID: p.AppID, Party: p.AppID, Tenant: p.Tenant, Kind: "app", Version: "2.0", Since: sinceOf(p.TokensFrom),
	}).Serialize()
	if err != nil {
		return "", patchbay.Errorf(patchbay.Internal, "sign a token: %w", err)
	}
	return token, nil
}

// badToken is the answer to a token that is not good. why never has anything
// of the token that its bearer could not have known.
func badToken(why string) error {
	return patchbay.Errorf(patchbay.Unauthenticated, "the token is not good: %s", why).WithFix("sign in again: patchbay login, or az login")
}

// Verify says whose token it is: one of the built-in issuer, or of a
// configured provider. audience is this server's base URL as the client calls
// it. A token that is not good is Unauthenticated.
func (s *Service) Verify(ctx context.Context, token patchbay.Secret, audience string) (patchbay.Subject, error) {
	raw := token.Reveal()
	if len(raw) > maxToken {
		return patchbay.Subject{}, badToken("it is too long")
	}
	parsed, err := jwt.ParseSigned(raw, allAlgorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return patchbay.Subject{}, badToken("it is no signed token that is understood here")
	}
	// Who claims to have issued it only decides whose keys are asked.
	var claimed jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claimed); err != nil {
		return patchbay.Subject{}, badToken("its claims are not understood")
	}
	for _, p := range s.providers {
		if claimed.Issuer == p.Issuer {
			return s.verifyExternal(ctx, p, parsed)
		}
	}
	return s.verifyOwn(ctx, parsed, audience)
}

func (s *Service) verifyOwn(ctx context.Context, token *jwt.JSONWebToken, audience string) (patchbay.Subject, error) {
	var none patchbay.Subject
	head := token.Headers[0]
	if head.Algorithm != string(signingAlgorithm) || head.ExtraHeaders[jose.HeaderType] != tokenType {
		return none, badToken("it is not one of this server")
	}
	key, ok, err := s.keys.verifier(ctx, head.KeyID)
	if err != nil {
		return none, err
	}
	if !ok {
		return none, badToken("it was signed with a key that this server does not have, or no longer")
	}
	var claims jwt.Claims
	var own accessClaims
	if err := token.Claims(key, &claims, &own); err != nil {
		return none, badToken("its signature is not right")
	}
	if err := checkTimes(claims, s.now()); err != nil {
		return none, err
	}
	if !forAudience(claims.Audience, []string{audience}) {
		return none, badToken("it is for another server")
	}
	if claims.Issuer != adfsIssuer(audience) && claims.Issuer != tenantIssuer(audience, own.Tenant) {
		return none, badToken("it was issued under another address of this server")
	}
	return s.bearerOf(ctx, claims, own)
}

// bearerOf is the principal that a verified token of ours is for.
func (s *Service) bearerOf(ctx context.Context, claims jwt.Claims, own accessClaims) (patchbay.Subject, error) {
	p, err := s.directory.Principal(ctx, own.ObjectID)
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		return patchbay.Subject{}, badToken("its principal is gone")
	case err != nil:
		return patchbay.Subject{}, err
	case p.Disabled:
		return patchbay.Subject{}, badToken("its principal is disabled")
	case claims.Subject != p.ID || p.Provider != "" || !strings.EqualFold(own.Tenant, p.Tenant) || !strings.EqualFold(own.AppID, p.AppID):
		return patchbay.Subject{}, badToken("it is not of its principal")
	case own.Since != sinceOf(p.TokensFrom):
		return patchbay.Subject{}, badToken("it was issued for a secret that is gone")
	}
	return patchbay.Subject{ID: p.ID, AppID: p.AppID, Tenant: p.Tenant, Name: p.Name, Kind: p.Kind, TokensFrom: p.TokensFrom}, nil
}

// checkTimes wants an expiry: a token without one would be good for ever.
func checkTimes(c jwt.Claims, now time.Time) error {
	if c.Expiry == nil || c.IssuedAt == nil {
		return badToken("it does not say when it expires")
	}
	switch err := c.ValidateWithLeeway(jwt.Expected{Time: now}, leeway); {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrExpired):
		return badToken("it has expired")
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return badToken("it is of the future: the clocks of this server and of its issuer are apart")
	default:
		return badToken("its times are not right")
	}
}

// forAudience reports whether a token is for one of ours; slashes at the end,
// the default port and the case of scheme and host make no difference.
func forAudience(claimed []string, ours []string) bool {
	for _, c := range claimed {
		if slices.ContainsFunc(ours, func(o string) bool { return sameAudience(c, o) }) {
			return true
		}
	}
	return false
}

func sameAudience(a, b string) bool { return a != "" && plainAudience(a) == plainAudience(b) }

func plainAudience(s string) string {
	u, err := url.Parse(strings.TrimRight(s, "/"))
	if err != nil || u.Host == "" {
		return s
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	return u.String()
}

// The issuers that a server is: one for clients that know a single tenant, as
// ADFS does, and one for each tenant.
func adfsIssuer(base string) string           { return base + "/adfs" }
func tenantIssuer(base, tenant string) string { return base + "/" + tenant + "/v2.0" }
