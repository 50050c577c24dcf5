package identity

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
)

func TestFailuresAreSlowedDownMoreAndMore(t *testing.T) {
	b := newBench(t)
	p, secret := b.create("deployer")
	try := func(s patchbay.Secret) error {
		_, err := b.authenticate(t.Context(), "", p.AppID, s, "192.0.2.1")
		return err
	}
	wrong := patchbay.NewSecret("wrong")
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

func TestNobodyCanLockAnOwnerOut(t *testing.T) {
	b := newBrake()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	b.succeeded("app", "198.51.100.7", now)
	for i := range 5000 {
		b.failed("app", fmt.Sprintf("203.%d.%d.9", i/250, i%250), now)
	}
	if wait := b.wait("app", "198.51.100.7", now); wait != 0 {
		t.Errorf("its owner waits %s", wait)
	}
	if wait := b.wait("app", "198.51.100.8", now); wait == 0 || wait > strangersEvery {
		t.Errorf("another address waits %s", wait)
	}
	if wait := b.wait("other", "198.51.100.8", now); wait != 0 {
		t.Errorf("another client waits %s", wait)
	}
}

func TestOneAddressThatTriesManyClientsIsSlowedDown(t *testing.T) {
	b := newBrake()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for i := range freeOfAddress + 20 {
		b.failed(fmt.Sprint("app", i), fmt.Sprintf("2001:db8::%x", i), now) // one /64
	}
	if wait := b.wait("new", "2001:db8::ffff", now); wait != addressDelay {
		t.Errorf("it waits %s", wait)
	}
	for i := range 3 * brakeEntries {
		b.failed(fmt.Sprint("app", i), fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255), now)
	}
	if n := len(b.byKey); n > brakeEntries || n != b.order.Len() {
		t.Errorf("%d are remembered", n)
	}
	if wait := b.wait("new", "2001:db8::ffff", now.Add(2*brakeMemory)); wait != 0 {
		t.Errorf("it is never forgotten: %s", wait)
	}
	if wait := b.wait("app1", "10.0.0.1", now.Add(-365*24*time.Hour)); wait > longestDelay {
		t.Errorf("a clock that went back makes it wait %s", wait)
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
