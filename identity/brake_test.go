package identity

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/fairshare"
)

func TestFailuresAreSlowedDownMoreAndMore(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	try := func(s patchbay.Secret) error {
		_, err := b.authenticate(t.Context(), "", p.AppID, s, "192.0.2.1")
		return err
	}
	for range freeFailures {
		if err := try(wrong); patchbay.CodeOf(err) != patchbay.Unauthenticated {
			t.Fatal(err)
		}
	}
	if err := try(wrong); patchbay.CodeOf(err) != patchbay.Unauthenticated {
		t.Fatal(err)
	}
	last := time.Duration(0)
	for range 12 {
		err := try(secret)
		var later *retryError
		if !errors.As(err, &later) || patchbay.CodeOf(err) != patchbay.TooManyRequests {
			t.Fatal("the right secret is looked at during a delay:", err)
		}
		if later.after < last || later.after > longestDelay {
			t.Errorf("after %s comes %s", last, later.after)
		}
		last = later.after
		b.pass(later.after)
		if err := try(wrong); patchbay.CodeOf(err) != patchbay.Unauthenticated {
			t.Fatal("after the delay:", err)
		}
	}
	if last != longestDelay {
		t.Errorf("the longest delay is %s", last)
	}
	b.pass(longestDelay)
	if err := try(secret); err != nil {
		t.Fatal(err)
	}
	if err := try(wrong); patchbay.CodeOf(err) != patchbay.Unauthenticated {
		t.Error("a success forgets the failures:", err)
	}
}

// addresses are so many, each in a network of its own.
func address(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255) }

var wrong = patchbay.NewSecret("wrong")

func TestNobodyCanLockAnOwnerOut(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	for i := range 5000 {
		b.brake.failed(attempt{client: p.AppID, network: address(i), stranger: true}, b.clock())
	}
	_, err := b.authenticate(t.Context(), "", p.AppID, wrong, "198.51.100.8")
	var later *retryError
	if !errors.As(err, &later) || later.after > clientDelay {
		t.Errorf("a wrong secret from another network: %v", err)
	}
	// It has never signed in from there, nor since the start.
	if _, err := b.authenticate(t.Context(), "", p.AppID, secret, "198.51.100.9"); err != nil {
		t.Errorf("its owner: %v", err)
	}
	if _, err := b.authenticate(t.Context(), "", "other", wrong, "198.51.100.8"); patchbay.CodeOf(err) != patchbay.Unauthenticated {
		t.Errorf("another client: %v", err)
	}
	// Once it has, it may even be where the flood is.
	for range 2 * freeFailures {
		b.brake.failed(attempt{client: p.AppID, network: "198.51.100.9", stranger: true}, b.clock())
	}
	if _, err := b.authenticate(t.Context(), "", p.AppID, secret, "198.51.100.9"); err != nil {
		t.Errorf("its owner, among those who fail: %v", err)
	}
}

func TestOneNetworkThatTriesManyClientsIsSlowedDown(t *testing.T) {
	b := newBrake()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	one := networkOf("2001:db8::1")
	for i := range freeOfNetwork + 20 {
		b.failed(attempt{client: fmt.Sprint("app", i), network: networkOf(fmt.Sprintf("2001:db8::%x", i)), stranger: true}, now)
	}
	if wait := b.wait(attempt{client: "new", network: one, stranger: true}, now); wait != networkDelay {
		t.Errorf("it waits %s", wait)
	}
	if wait := b.wait(attempt{client: "new", network: one}, now); wait != 0 {
		t.Errorf("one that may be right waits %s", wait)
	}
	for i := range 3 * brakeEntries {
		b.failed(attempt{client: fmt.Sprint("app", i), network: address(i), stranger: true}, now)
	}
	if both, all := b.failures.Len("both"), b.failures.Len("strangers"); both != brakeEntries || all != brakeEntries {
		t.Errorf("%d and %d are remembered", both, all)
	}
	if wait := b.wait(attempt{client: "new", network: one, stranger: true}, now.Add(2*brakeMemory)); wait != 0 {
		t.Errorf("it is never forgotten: %s", wait)
	}
	if wait := b.wait(attempt{client: "app1", network: "10.0.0.1", stranger: true}, now.Add(-365*24*time.Hour)); wait > longestDelay {
		t.Errorf("a clock that went back makes it wait %s", wait)
	}
}

// fill takes every place of the hashes that strangers may have, and their line.
func (b *bench) fill() {
	for i := 0; b.hasher.pool.Held(strangers) == 0 || b.hasher.pool.Waiting(strangers) < hashesInLine; i++ {
		before := b.hasher.pool.Held(strangers) + b.hasher.pool.Waiting(strangers)
		go func() { _, _ = b.hasher.pool.Acquire(b.t.Context(), strangers, address(i)) }()
		for b.hasher.pool.Held(strangers)+b.hasher.pool.Waiting(strangers) == before {
			runtime.Gosched()
		}
	}
}

func TestAFloodOfStrangersKeepsNobodyOut(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	b.fill()
	for _, c := range []struct{ id, what string }{{uuid.NewString(), "an unknown client"}, {p.AppID, "a wrong secret"}} {
		if _, err := b.authenticate(t.Context(), "", c.id, wrong, "192.0.2.1"); patchbay.CodeOf(err) != patchbay.TooManyRequests {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	for i := range 3 {
		if _, err := b.authenticate(t.Context(), "", p.AppID, secret, address(i)); err != nil {
			t.Errorf("sign-in %d: %v", i, err)
		}
	}
	if _, _, err := b.ResetSecret(t.Context(), "", p.ID, Reset{}, ""); err != nil {
		t.Error("a new secret:", err)
	}
}

func TestATenantKeepsNoOtherOut(t *testing.T) { synctest.Test(t, noOther) }

func noOther(t *testing.T) {
	h := &hasher{pool: fairshare.New(hashesAtOnce, hashesInLine)}
	var leave []func()
	for i, who := range []string{strangers, contoso} {
		l, err := h.enter(t.Context(), who, "busy")
		if err != nil {
			t.Fatal(i, err)
		}
		leave = append(leave, l)
		for range hashesInLine {
			go func() {
				if l, err := h.enter(t.Context(), who, "busy"); err == nil {
					defer l()
				}
			}()
		}
	}
	synctest.Wait()
	if _, err := h.enter(t.Context(), contoso, "other"); patchbay.CodeOf(err) != patchbay.TooManyRequests {
		t.Error("its line has no end:", err)
	}
	got := make(chan int)
	go func() {
		l, err := h.enter(t.Context(), fabrikam, "calm")
		if err != nil {
			t.Error(err)
			return
		}
		got <- h.pool.Waiting(contoso)
		l()
	}()
	synctest.Wait()
	leave[1]()
	if n := <-got; n < hashesInLine-2 {
		t.Errorf("it waited for %d of another tenant", hashesInLine-n)
	}
	leave[0]()
}

// Under a flood too, who doesn't know how a secret begins is answered the same
// whether there is such a client.
func TestDelaysDoNotTellWhetherAClientExists(t *testing.T) {
	b, other := newBench(t), newBench(t)
	p, secret := b.create("deployer")
	answers := func(b *bench, client string, from int) (list []patchbay.Code) {
		for i := range 200 {
			b.pass(20 * time.Millisecond)
			// A few clients from each network, and each client from many.
			_, err := b.authenticate(t.Context(), "", client, patchbay.NewSecret(fmt.Sprint("guess", i)), address(from+i/8))
			list = append(list, patchbay.CodeOf(err))
		}
		return list
	}
	known, unknown := answers(b, p.AppID, 1000), answers(other, uuid.NewString(), 1000)
	if !slices.Equal(known, unknown) {
		t.Errorf("%v\n%v", known, unknown)
	}
	// Beginnings can't be tried: the delay of the network is everybody's there.
	right := patchbay.NewSecret(secret.Reveal()[:hintLength] + "guess")
	if _, err := b.authenticate(t.Context(), "", p.AppID, right, address(1000+199/8)); patchbay.CodeOf(err) != patchbay.TooManyRequests {
		t.Errorf("the beginning of the secret, where others were tried: %v", err)
	}
}

func TestARememberedSecretCountsOnlyAsItsRecordSays(t *testing.T) {
	b := newBench(t)
	ctx := t.Context()
	p, secret := b.create("deployer")
	if err := b.signIn(p, secret); err != nil {
		t.Fatal(err)
	}
	b.fill() // of the tenant too: nothing can be hashed
	for range hashesAtOnce - 1 {
		if _, err := b.hasher.pool.Acquire(ctx, contoso, "busy"); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	try := func(p patchbay.Principal, tenant string, secret patchbay.Secret) error {
		_, err := b.authenticate(ended, tenant, p.AppID, secret, "192.0.2.9")
		return err
	}
	if err := try(p, "", secret); err != nil {
		t.Error("it is hashed again:", err)
	}
	if err := try(p, contoso, patchbay.NewSecret(secret.Reveal()[:40]+"xyz")); !errors.Is(err, context.Canceled) {
		t.Error("another that begins like it is not hashed:", err)
	}
	if err := try(p, fabrikam, secret); !errors.Is(err, context.Canceled) {
		t.Error("it signs in at another tenant:", err)
	}
	yes, no := true, false
	for _, disabled := range []*bool{&yes, &no} {
		if _, err := b.Update(ctx, "", p.ID, Change{Disabled: disabled}, ""); err != nil {
			t.Fatal(err)
		}
		if err := try(p, "", secret); (err == nil) != !*disabled {
			t.Errorf("disabled: %t: %v", *disabled, err)
		}
	}
	// Its record has another secret, as after a reset by another process.
	other := b.dir.principals[p.ID]
	other.Secrets = []patchbay.ClientSecret{{ID: "2", Hash: hashSecret(secret.Reveal()), Hint: hintOf(secret.Reveal())}}
	b.dir.principals[p.ID] = other
	if err := try(p, "", secret); !errors.Is(err, context.Canceled) {
		t.Error("a hash that was never matched:", err)
	}
}

func TestARememberedSecretThatExpiredIsNone(t *testing.T) {
	b := newBench(t)
	p, secret, err := b.Create(t.Context(), NewPrincipal{Tenant: contoso, Name: "deployer", Expires: b.clock().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.signIn(p, secret); err != nil {
		t.Fatal(err)
	}
	b.pass(time.Hour)
	if err := b.signIn(p, secret); patchbay.CodeOf(err) != patchbay.Unauthenticated {
		t.Error(err)
	}
}

// Attempts at once count as one after the other does.
func TestAttemptsAtOnceAreSlowedDownToo(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = b.authenticate(t.Context(), "", p.AppID, patchbay.NewSecret("wrong"), "192.0.2.1")
		})
	}
	wg.Wait()
	looked := 0
	for _, err := range errs {
		if patchbay.CodeOf(err) == patchbay.Unauthenticated {
			looked++
		}
	}
	if looked > freeFailures+1+hashesAtOnce {
		t.Errorf("%d secrets were looked at", looked)
	}
}

func TestAnUnknownClientIsAnsweredAsAWrongSecretIs(t *testing.T) {
	b := newBench(t)
	p, _ := b.create("deployer")
	yes := true
	off, secret := b.create("off")
	if _, err := b.Update(t.Context(), "", off.ID, Change{Disabled: &yes}, ""); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, c := range []struct {
		id     string
		secret patchbay.Secret
	}{
		{p.AppID, patchbay.NewSecret("wrong")}, {uuid.NewString(), patchbay.NewSecret("wrong")}, {"", patchbay.NewSecret("")},
		{p.ID, patchbay.NewSecret("wrong")}, {off.AppID, secret},
	} {
		_, err := b.authenticate(t.Context(), "", c.id, c.secret, "192.0.2.1")
		if err == nil {
			t.Fatalf("%q signs in", c.id)
		}
		said = append(said, err.Error())
	}
	for _, s := range said {
		if s != said[0] {
			t.Errorf("%q and %q", s, said[0])
		}
	}
}
