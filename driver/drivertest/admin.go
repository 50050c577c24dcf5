package drivertest

import (
	"context"
	"maps"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// AdminRotation runs what a [driver.AdminRotator] has to pass, against the real product.
// The administrator of c is the test's own: its credential is replaced again and again.
func AdminRotation(t *testing.T, d driver.TargetDriver, c driver.Config) {
	t.Helper()
	if d.Logins == nil || !d.Logins.RotatesAdmin {
		t.Fatal("drivertest: the driver does not describe that it replaces the administrator's credential")
	}
	if c.Dialer == nil {
		c.Dialer = netDialer
	}
	s := &rotation{d: d, c: c, now: c.Admin}
	t.Run("NewAdminChangesNothing", s.newAdmin)
	t.Run("TheNewOneSignsInAndTheOldOneNot", s.replaces)
	t.Run("TwiceFromTwoProcesses", s.twice)
	t.Run("BackAgain", s.back)
	t.Run("CutConnections", s.cut)
	t.Run("CanceledContext", s.canceled)
}

// rotation is a run; now is the credential that the product takes.
type rotation struct {
	d   driver.TargetDriver
	c   driver.Config
	now driver.Secrets
}

// administrator is what the suite needs of a target.
type administrator interface {
	driver.Administrator
	driver.AdminRotator
}

// as opens the target with a credential, until the test ends.
func (s *rotation) as(t *testing.T, admin driver.Secrets, d driver.Dialer) administrator {
	t.Helper()
	c := s.c
	c.Admin = admin
	if d != nil {
		c.Dialer = d
	}
	target, ok := OpenTarget(t, s.d, c).Administrator.(administrator)
	if !ok {
		t.Fatal("what was opened is no AdminRotator, and the driver describes one")
	}
	return target
}

// signsIn reports whether the product takes a credential.
func (s *rotation) signsIn(t *testing.T, admin driver.Secrets) bool {
	t.Helper()
	_, err := s.as(t, admin, nil).Inspect(limited(t), "")
	if err != nil && patchbay.CodeOf(err) != patchbay.AdminRefused {
		t.Fatalf("Inspect: %v, want success or %s", err, patchbay.AdminRefused)
	}
	return err == nil
}

// takes fails unless the product takes the one, and not the other.
func (s *rotation) takes(t *testing.T, yes, no driver.Secrets) {
	t.Helper()
	if !s.signsIn(t, yes) {
		t.Fatal("the credential that should sign in is refused")
	}
	if s.signsIn(t, no) {
		t.Error("the credential that should be refused signs in")
	}
	s.now = yes
}

func (s *rotation) next(t *testing.T) driver.Secrets {
	t.Helper()
	next, err := s.as(t, s.now, nil).NewAdmin(limited(t))
	if err != nil {
		t.Fatalf("NewAdmin: %v", err)
	}
	return next
}

func (s *rotation) rotate(t *testing.T, as, next driver.Secrets) {
	t.Helper()
	if err := s.as(t, as, nil).RotateAdmin(limited(t), next); err != nil {
		t.Fatalf("RotateAdmin: %v", err)
	}
}

func (s *rotation) newAdmin(t *testing.T) {
	one, two := s.next(t), s.next(t)
	if maps.Equal(one, two) || maps.Equal(one, s.now) {
		t.Error("NewAdmin makes the same again")
	}
	s.takes(t, s.now, one)
}

func (s *rotation) replaces(t *testing.T) {
	old, next := s.now, s.next(t)
	s.rotate(t, old, next)
	s.takes(t, next, old)
	if err := s.as(t, old, nil).RotateAdmin(limited(t), next); patchbay.CodeOf(err) != patchbay.AdminRefused {
		t.Errorf("RotateAdmin with the one that was replaced: %v, want %s", err, patchbay.AdminRefused)
	}
}

func (s *rotation) twice(t *testing.T) {
	old, next := s.now, s.next(t)
	target := s.as(t, old, nil)
	for range 2 {
		// The same process may have a session of before.
		if err := target.RotateAdmin(limited(t), next); err != nil && patchbay.CodeOf(err) != patchbay.AdminRefused {
			t.Fatalf("RotateAdmin: %v", err)
		}
	}
	s.rotate(t, next, next)
	s.takes(t, next, old)
}

func (s *rotation) back(t *testing.T) {
	old, next := s.now, s.next(t)
	s.rotate(t, old, next)
	s.rotate(t, next, old)
	s.takes(t, old, next)
}

// cut loses the connection after every number of packets: either credential may be the
// one by then, and with whichever it is the next call puts it right, either way.
func (s *rotation) cut(t *testing.T) {
	for n := range 200 {
		old, next := s.now, s.next(t)
		cut := newCutDialer(s.c.Dialer, n)
		err := s.as(t, old, cut).RotateAdmin(limited(t), next)
		silent(t, err, old, next)
		if !cut.happened() {
			if err != nil {
				t.Fatalf("with a whole connection: %v", err)
			}
			s.takes(t, next, old)
			t.Logf("it was cut at %d places", n)
			return
		}
		if err != nil && !patchbay.IsTransient(err) {
			t.Errorf("cut after %d packets: %v, want a transient error", n, err)
		}
		as := old
		if !s.signsIn(t, old) {
			as = next
		}
		want, other := next, old
		if n%2 == 1 {
			want, other = old, next
		}
		s.rotate(t, as, want)
		s.takes(t, want, other)
	}
	t.Fatal("no end after 200 packets")
}

func (s *rotation) canceled(t *testing.T) {
	old, next := s.now, s.next(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.as(t, old, nil).RotateAdmin(ctx, next); err == nil {
		t.Error("RotateAdmin succeeds with a canceled context")
	}
	s.takes(t, old, next)
}

// silent fails when an error shows a secret.
func silent(t *testing.T, err error, all ...driver.Secrets) {
	t.Helper()
	if err == nil {
		return
	}
	e := patchbay.AsError(err)
	for _, secrets := range all {
		for name, value := range secrets {
			if name != "username" && strings.Contains(e.Error()+e.Fix+e.Said+e.Subject, value.Reveal()) {
				t.Errorf("the error shows the %s: %v", name, strings.ReplaceAll(e.Error(), value.Reveal(), "…"))
			}
		}
	}
}

// limited is a context that bounds a call of the suite.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
