package identity

import (
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
)

func (b *bench) signIn(p patchbay.Principal, secret patchbay.Secret) error {
	_, err := b.authenticate(b.t.Context(), "", p.AppID, secret, "192.0.2.1")
	b.brake = newBrake()
	return err
}

func TestASecretIsKeptAsASlowHashOnly(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	kept := b.dir.principals[p.ID]
	if len(kept.Secrets) != 1 || !strings.HasPrefix(kept.Secrets[0].Hash, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(kept.Secrets[0].Hash, secret.Reveal()) {
		t.Errorf("%+v", kept.Secrets)
	}
	if len(secret.Reveal()) != 43 || kept.Secrets[0].Hint != secret.Reveal()[:3] {
		t.Errorf("a secret of %d characters, hint %q", len(secret.Reveal()), kept.Secrets[0].Hint)
	}
	if err := b.signIn(p, secret); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", "x", secret.Reveal()[:42], secret.Reveal() + "x", secret.Reveal()[:42] + "!"} {
		if err := b.signIn(p, patchbay.NewSecret(wrong)); patchbay.CodeOf(err) != patchbay.Unauthenticated {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

func TestSecretsAreReplacedWithAndWithoutAGap(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	p, first := b.create("deployer")
	p, second, err := b.ResetSecret(ctx, "", p.ID, Reset{Append: true, Expires: b.clock().Add(time.Hour)}, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range []patchbay.Secret{first, second} {
		if err := b.signIn(p, s); err != nil {
			t.Errorf("secret %d: %v", i, err)
		}
	}
	b.pass(time.Hour)
	if err := b.signIn(p, second); patchbay.CodeOf(err) != patchbay.Unauthenticated {
		t.Error("an expired secret:", err)
	}
	p, third, err := b.ResetSecret(ctx, "", p.AppID, Reset{}, "")
	if err != nil || len(p.Secrets) != 1 {
		t.Fatal(len(p.Secrets), err)
	}
	if err := b.signIn(p, first); patchbay.CodeOf(err) != patchbay.Unauthenticated {
		t.Error("a replaced secret:", err)
	}
	if err := b.signIn(p, third); err != nil {
		t.Error(err)
	}
	for range maxSecrets - 1 {
		if _, _, err := b.ResetSecret(ctx, "", p.ID, Reset{Append: true}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := b.ResetSecret(ctx, "", p.ID, Reset{Append: true}, ""); patchbay.CodeOf(err) != patchbay.QuotaExceeded {
		t.Error("one secret too many:", err)
	}
	if _, _, err := b.ResetSecret(ctx, "", p.ID, Reset{Expires: b.clock()}, ""); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Error("a secret that has expired already:", err)
	}
}

func TestAChangeIsMadeAgainWhenAnotherCameFirst(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	p, _ := b.create("deployer")
	name, yes := "ci", true
	b.dir.before = func() {
		if _, err := b.Update(ctx, "", p.ID, Change{Name: &name}, ""); err != nil {
			t.Error(err)
		}
	}
	got, err := b.Update(ctx, "", p.ID, Change{Disabled: &yes}, "")
	if err != nil || got.Name != "ci" || !got.Disabled {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := b.Update(ctx, "", p.ID, Change{Name: &name}, p.ETag); patchbay.CodeOf(err) != patchbay.PreconditionFailed {
		t.Error("with an old ETag:", err)
	}
}

func TestTenantsAreWalls(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	p, secret := b.create("deployer")
	yes := true
	for what, err := range map[string]error{
		"get":     func() error { _, err := b.Get(ctx, fabrikam, p.ID); return err }(),
		"get app": func() error { _, err := b.Get(ctx, fabrikam, p.AppID); return err }(),
		"update":  func() error { _, err := b.Update(ctx, fabrikam, p.ID, Change{Disabled: &yes}, ""); return err }(),
		"reset":   func() error { _, _, err := b.ResetSecret(ctx, fabrikam, p.ID, Reset{}, ""); return err }(),
		"delete":  b.Delete(ctx, fabrikam, p.ID, ""),
	} {
		_, absent := b.Get(ctx, fabrikam, "33333333-3333-4333-8333-333333333333")
		if patchbay.CodeOf(err) != patchbay.ResourceNotFound || patchbay.CodeOf(absent) != patchbay.ResourceNotFound {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := b.authenticate(ctx, fabrikam, p.AppID, secret, ""); patchbay.CodeOf(err) != patchbay.Unauthenticated {
		t.Error("it signs in at another tenant:", err)
	}
	if _, err := b.authenticate(ctx, strings.ToUpper(contoso), p.AppID, secret, ""); err != nil {
		t.Error(err)
	}
	page, _, err := b.List(ctx, fabrikam, "", 10)
	if err != nil || len(page) != 0 {
		t.Error(page, err)
	}
}

func TestPrincipalsThatCanNotBe(t *testing.T) {
	b := newBench(t)
	for _, n := range []NewPrincipal{
		{Tenant: "nowhere", Name: "x"},
		{Tenant: contoso},
		{Tenant: contoso, Name: "  "},
		{Tenant: contoso, Name: "a\nb"},
		{Tenant: contoso, Name: "Admin"},
		{Tenant: contoso, Name: strings.Repeat("a", maxName+1)},
		{Tenant: contoso, Name: "x", Kind: patchbay.UserPrincipal},
		{Tenant: contoso, Name: "x", Subject: "y"},
		{Tenant: contoso, Name: "x", Provider: "nobody", Subject: "y"},
		{Tenant: contoso, Name: "x", Expires: b.clock().Add(-time.Hour)},
	} {
		if p, _, err := b.Create(t.Context(), n); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%+v: %+v, %v", n, p, err)
		}
	}
	if len(b.dir.principals) != 0 {
		t.Error("something was made")
	}
}

func TestAHashThatIsNotOursTakesNoMemory(t *testing.T) {
	good := hashSecret("x")
	if h, err := parseHash(good); err != nil || !h.matches("x") || h.matches("y") {
		t.Fatal(err)
	}
	for _, s := range []string{
		"", "x", "$argon2id$v=19$m=19456,t=2,p=1$$", strings.Replace(good, "m=19456", "m=4194304", 1), strings.Replace(good, "t=2", "t=4000000", 1),
		strings.Replace(good, "p=1", "p=0", 1), strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1), good + "$", good + "!",
	} {
		if _, err := parseHash(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

// TestAStartComputesNoHash: what stands for the secret of an unknown client costs
// as much to compare as a real one, and a server that starts has not paid for it.
func TestAStartComputesNoHash(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h := newHasher()
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took >= hashMemory<<10 {
		t.Errorf("a start takes %d bytes: as many as a hash", took)
	}
	made, err := parseHash(hashSecret("x"))
	if err != nil {
		t.Fatal(err)
	}
	if h.dummy.matches("") {
		t.Error("the dummy is the hash of something")
	}
	dummy := h.dummy
	if len(dummy.salt) != len(made.salt) || len(dummy.sum) != len(made.sum) {
		t.Error("the dummy has not the form of a real hash")
	}
	dummy.salt, dummy.sum, made.salt, made.sum = nil, nil, nil, nil
	if !reflect.DeepEqual(dummy, made) {
		t.Errorf("the dummy costs %+v, a real hash %+v", dummy, made)
	}
}
