package identity

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/keyring"
)

func (b *bench) kid(s *Service) string {
	b.t.Helper()
	key, err := s.keys.signer(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return key.ID
}

func (b *bench) published(s *Service) []string {
	b.t.Helper()
	set, err := s.keys.public(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		if !k.IsPublic() {
			b.t.Error("a private key is published")
		}
		ids = append(ids, k.KeyID)
	}
	return ids
}

func TestKeysRotateWithTokensAlive(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	first := b.kid(b.Service)
	b.pass(DefaultRotation - keyLead)
	if got := b.kid(b.Service); got != first {
		t.Error("the next key signs as soon as it is made")
	}
	if n := len(b.published(b.Service)); n != 2 {
		t.Errorf("%d keys are published before the next one signs", n)
	}
	b.pass(keyLead - 10*time.Minute)
	old := b.token(p)
	b.pass(10 * time.Minute)
	second := b.kid(b.Service)
	if second == first {
		t.Fatal("the first key signs for ever")
	}
	b.pass(40 * time.Minute)
	if _, err := b.Verify(t.Context(), old, base); err != nil {
		t.Error("a token of the old key:", err)
	}
	if _, err := b.restart().Verify(t.Context(), old, base); err != nil {
		t.Error("after a restart:", err)
	}
	b.pass(40 * time.Minute)
	if got := b.published(b.Service); len(got) != 1 || got[0] != second {
		t.Errorf("published: %v", got)
	}
	b.refused("a token of a removed key", old, base, "key")
}

func TestTwoProcessesThatStartTogetherKnowEachOthersTokens(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	all := make([]*Service, 6)
	for i := range all {
		all[i] = b.restart()
	}
	var wg sync.WaitGroup
	tokens := make([]string, len(all))
	errs := make([]error, len(all))
	for i, s := range all {
		wg.Go(func() { tokens[i], errs[i] = s.issue(t.Context(), p, adfsIssuer(base), base+"/") })
	}
	wg.Wait()
	b.pass(2 * time.Second)
	for i := range all {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		for j, s := range all {
			if _, err := s.Verify(t.Context(), patchbay.NewSecret(tokens[i]), base); err != nil {
				t.Errorf("the token of %d at %d: %v", i, j, err)
			}
		}
	}
	b.pass(2 * keyLead)
	signs := b.kid(all[0])
	for _, s := range all {
		if got := b.kid(s); got != signs {
			t.Error("they don't agree on the key that signs")
		}
	}
	b.pass(DefaultRotation)
	for range 4 {
		b.pass(2 * time.Hour)
		for _, s := range all {
			b.kid(s)
		}
	}
	if n := len(b.dir.keys); n > 3 {
		t.Errorf("%d keys are left", n)
	}
}

func TestAClockThatJumpsLosesNoKey(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	b.kid(b.Service)
	b.pass(5 * 365 * 24 * time.Hour)
	b.kid(b.Service)
	b.pass(2 * time.Hour)
	future := b.token(p)
	b.pass(-5 * 365 * 24 * time.Hour)
	b.refused("a token of the future", future, base, "future")
	for range 10 {
		b.pass(time.Hour)
		token := b.token(p)
		if _, err := b.Verify(t.Context(), token, base); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.dir.keys); n > 3 {
		t.Errorf("%d keys", n)
	}
}

func TestALostSealingKeyEndsTokensAndNothingElse(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	old := b.token(p)
	whole := b.ring
	other, err := keyring.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	b.ring = other
	b.Service = b.restart()
	b.refused("a token of a lost key", old, base, "key")
	token := b.token(p)
	if _, err := b.Verify(t.Context(), token, base); err != nil {
		t.Error(err)
	}
	b.ring = whole
	if _, err := b.restart().Verify(t.Context(), old, base); err != nil {
		t.Error("when the key is back:", err)
	}
}

func TestUnknownKeysDoNotReadTheStoreEachTime(t *testing.T) {
	b := newBench(t)
	b.kid(b.Service)
	before := b.dir.reads
	for range 100 {
		if _, ok, err := b.keys.verifier(t.Context(), "nobody's"); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if n := b.dir.reads - before; n > 1 {
		t.Errorf("%d reads", n)
	}
}

func TestAChangedKeyRowIsNotUsed(t *testing.T) {
	b := newBench(t)
	b.kid(b.Service)
	for id, k := range b.dir.keys {
		moved := k
		moved.ID = "another"
		b.dir.keys["another"] = moved
		k.Sealed[len(k.Sealed)-1] ^= 1
		b.dir.keys[id] = k
		break
	}
	s := b.restart()
	for id := range b.dir.keys {
		if _, ok, err := s.keys.verifier(t.Context(), id); ok || err != nil {
			t.Error("a changed row is used:", ok, err)
		}
	}
}
