package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"patchbay.dev/patchbay"
)

func (b *bench) refused(what string, token patchbay.Secret, audience, why string) {
	b.t.Helper()
	who, err := b.Verify(b.t.Context(), token, audience)
	if patchbay.CodeOf(err) != patchbay.Unauthenticated || !strings.Contains(err.Error(), why) {
		b.t.Errorf("%s: %+v, %v; want a refusal that says %q", what, who, err, why)
		return
	}
	for part := range strings.SplitSeq(token.Reveal(), ".") {
		if len(part) > 20 && (strings.Contains(err.Error(), part) || strings.Contains(b.logs.String(), part)) {
			b.t.Errorf("%s: the token is in the error or the log", what)
		}
	}
}

func TestATokenSaysWhoseItIs(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	token := b.token(p)
	for _, audience := range []string{base, "https://PATCHBAY.test:7443"} {
		who, err := b.Verify(t.Context(), token, audience)
		if audience == base && (err != nil || who.ID != p.ID || who.AppID != p.AppID || who.Tenant != contoso || who.Name != "deployer" ||
			who.Kind != patchbay.ServicePrincipal || who.Operator) {
			t.Errorf("%+v, %v", who, err)
		}
	}
	if _, err := b.restart().Verify(t.Context(), token, base); err != nil {
		t.Error("after a restart:", err)
	}
}

func TestAudiencesAreComparedAsURLs(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://h:1/", "https://h:1", true},
		{"https://h:1//", "https://h:1", true},
		{"https://H:1", "https://h:1/", true},
		{"https://h:443/", "https://h", true},
		{"http://h:443/", "https://h", false},
		{"https://h:1/a", "https://h:1", false},
		{"https://h:1", "https://h:2", false},
		{"https://h.evil", "https://h", false},
		{"", "", false},
		{"abc", "ABC", false},
	} {
		if got := sameAudience(c.a, c.b); got != c.same {
			t.Errorf("%q and %q: %t", c.a, c.b, got)
		}
	}
}

func TestATokenEndsWithWhatItWasIssuedFor(t *testing.T) {
	name := "renamed"
	yes, no := true, false
	for _, c := range []struct {
		name string
		do   func(b *bench, ctx context.Context, p patchbay.Principal) error
		why  string // "" is still good
	}{
		{"nothing", func(*bench, context.Context, patchbay.Principal) error { return nil }, ""},
		{"59 minutes", func(b *bench, _ context.Context, _ patchbay.Principal) error { b.pass(59 * time.Minute); return nil }, ""},
		{"62 minutes", func(b *bench, _ context.Context, _ patchbay.Principal) error { b.pass(62 * time.Minute); return nil }, "expired"},
		{"a clock that goes back a little", func(b *bench, _ context.Context, _ patchbay.Principal) error { b.pass(-30 * time.Second); return nil }, ""},
		{"a clock that goes back far", func(b *bench, _ context.Context, _ patchbay.Principal) error { b.pass(-time.Hour); return nil }, "future"},
		{"another name", func(b *bench, ctx context.Context, p patchbay.Principal) error {
			_, err := b.Update(ctx, "", p.ID, Change{Name: &name}, "")
			return err
		}, ""},
		{"a further secret", func(b *bench, ctx context.Context, p patchbay.Principal) error {
			_, _, err := b.ResetSecret(ctx, "", p.ID, Reset{Append: true}, "")
			return err
		}, ""},
		{"a new secret", func(b *bench, ctx context.Context, p patchbay.Principal) error {
			_, _, err := b.ResetSecret(ctx, "", p.ID, Reset{}, "")
			return err
		}, "secret that is gone"},
		{"a new secret, while the clock went back", func(b *bench, ctx context.Context, p patchbay.Principal) error {
			b.pass(-30 * time.Second)
			_, _, err := b.ResetSecret(ctx, "", p.ID, Reset{}, "")
			return err
		}, "secret that is gone"},
		{"disabled", func(b *bench, ctx context.Context, p patchbay.Principal) error {
			_, err := b.Update(ctx, "", p.ID, Change{Disabled: &yes}, "")
			return err
		}, "disabled"},
		{"disabled and enabled", func(b *bench, ctx context.Context, p patchbay.Principal) error {
			if _, err := b.Update(ctx, "", p.ID, Change{Disabled: &yes}, ""); err != nil {
				return err
			}
			_, err := b.Update(ctx, "", p.ID, Change{Disabled: &no}, "")
			return err
		}, "secret that is gone"},
		{"deleted", func(b *bench, ctx context.Context, p patchbay.Principal) error { return b.Delete(ctx, "", p.ID, "") }, "gone"},
		{"moved to another tenant", func(b *bench, ctx context.Context, p patchbay.Principal) error {
			p.Tenant = fabrikam
			return b.dir.PutPrincipal(ctx, p, "")
		}, "not of its principal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			p, _ := b.create("deployer")
			token := b.token(p)
			if err := c.do(b, t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if c.why != "" {
				b.refused(c.name, token, base, c.why)
			} else if _, err := b.Verify(t.Context(), token, base); err != nil {
				t.Error(err)
			}
		})
	}
}

// forge signs claims with any key, under any head.
func forge(t *testing.T, alg jose.SignatureAlgorithm, key any, head map[jose.HeaderKey]any, claims map[string]any) patchbay.Secret {
	t.Helper()
	o := &jose.SignerOptions{ExtraHeaders: head}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
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

func TestForgedTokensAreRefused(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	good := b.token(p)
	key, err := b.keys.signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good.Reveal(), ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	with := func(name string, value any) map[string]any {
		c := maps.Clone(claims)
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	head := map[jose.HeaderKey]any{"kid": key.ID, "typ": tokenType}
	ours := func(c map[string]any) patchbay.Secret { return forge(t, jose.ES256, key.private, head, c) }
	if _, err := b.Verify(t.Context(), ours(claims), base); err != nil {
		t.Fatal("the forger's own good token:", err)
	}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt","kid":"` + key.ID + `"}`))
	embedded := forge(t, jose.ES256, other, map[jose.HeaderKey]any{"kid": key.ID, "typ": tokenType,
		"jwk": jose.JSONWebKey{Key: other.Public()}}, claims)
	flipped := parts[0] + "." + parts[1] + "." + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, parts[2])
	for _, c := range []struct {
		name  string
		token patchbay.Secret
		why   string
	}{
		{"nothing", patchbay.NewSecret(""), "no signed token"},
		{"words", patchbay.NewSecret("not a token"), "no signed token"},
		{"too long", patchbay.NewSecret(strings.Repeat("a", maxToken+1)), "too long"},
		{"alg none", patchbay.NewSecret(none + "." + parts[1] + "."), "no signed token"},
		{"alg none, with the old signature", patchbay.NewSecret(none + "." + parts[1] + "." + parts[2]), "no signed token"},
		{"HS256 with the public key", forge(t, jose.HS256, public, head, claims), "no signed token"},
		{"another key with our kid", forge(t, jose.ES256, other, head, claims), "signature"},
		{"a key that it brings", embedded, "signature"},
		{"another signature", patchbay.NewSecret(flipped), ""},
		{"another kid", forge(t, jose.ES256, key.private, map[jose.HeaderKey]any{"kid": "x", "typ": tokenType}, claims), "key that this server does not have"},
		{"no kid", forge(t, jose.ES256, key.private, map[jose.HeaderKey]any{"typ": tokenType}, claims), "key that this server does not have"},
		{"another type", forge(t, jose.ES256, key.private, map[jose.HeaderKey]any{"kid": key.ID, "typ": "JWT"}, claims), "not one of this server"},
		{"no type", forge(t, jose.ES256, key.private, map[jose.HeaderKey]any{"kid": key.ID}, claims), "not one of this server"},
		{"another audience", ours(with("aud", "https://other.test/")), "another server"},
		{"no audience", ours(with("aud", nil)), "another server"},
		{"another issuer", ours(with("iss", "https://other.test/adfs")), "another address"},
		{"the issuer of another tenant", ours(with("iss", tenantIssuer(base, fabrikam))), "another address"},
		{"another tenant", ours(with("tid", fabrikam)), "another address"},
		{"another tenant and its issuer", ours(func() map[string]any {
			c := with("tid", fabrikam)
			c["iss"] = tenantIssuer(base, fabrikam)
			return c
		}()), "not of its principal"},
		{"another app", ours(with("appid", "x")), "not of its principal"},
		{"another subject", ours(with("sub", "x")), "not of its principal"},
		{"another principal", ours(with("oid", "x")), "gone"},
		{"expired", ours(with("exp", b.now.Add(-2*time.Minute).Unix())), "expired"},
		{"without an end", ours(with("exp", nil)), "when it expires"},
		{"without a beginning", ours(with("iat", nil)), "when it expires"},
		{"not yet good", ours(with("nbf", b.now.Add(2*time.Minute).Unix())), "future"},
		{"of the future", ours(with("iat", b.now.Add(2*time.Minute).Unix())), "future"},
		{"before TokensFrom", ours(with("pb_since", p.TokensFrom.Add(-time.Second).UnixNano())), "secret that is gone"},
		{"without since", ours(with("pb_since", nil)), "secret that is gone"},
		{"claims that are a list", ours(with("exp", []int{1})), "claims"},
	} {
		b.refused(c.name, c.token, base, c.why)
	}
	b.refused("for another server", good, "https://other.test", "another server")
}

// FuzzVerify holds that nothing but a token that was issued is taken, and that
// nothing makes it fall over.
func FuzzVerify(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJFUzI1NiIsImtpZCI6IngiLCJ0eXAiOiJhdCtqd3QifQ.eyJpc3MiOiJ4In0.AAAA")
	f.Add(`{"payload":"e30","signatures":[]}`)
	b := newBench(f)
	f.Fuzz(func(t *testing.T, token string) {
		if who, err := b.Verify(t.Context(), patchbay.NewSecret(token), base); patchbay.CodeOf(err) != patchbay.Unauthenticated {
			t.Errorf("%+v, %v", who, err)
		}
	})
}
