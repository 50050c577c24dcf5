package drivertest

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// ErrRefused is what a harness's callbacks wrap when the product itself said
// no. Any other error fails the suite: a lost connection is no refusal.
var ErrRefused = errors.New("refused by the product")

// TargetHarness gives [Target] a running product, and eyes of its own on it:
// the callbacks must not go through the driver.
type TargetHarness struct {
	Driver driver.TargetDriver
	// Config registers a running product that the suite has for itself. The
	// suite replaces its Dialer; a nil one is a plain net.Dialer.
	Config driver.Config
	// Subs are the children that a connection may name, at least one; a driver
	// without children has [""].
	Subs []string
	// HostileSubs exist too, and have names with quotes, spaces, newlines,
	// percent signs, whatever the product allows.
	HostileSubs []string
	// MissingSub does not exist; "" when there is no such thing.
	MissingSub string
	// Options go into every request.
	Options map[string]string

	// SignIn signs in as an application would, and out again.
	SignIn func(ctx context.Context, sub string, c driver.Credential) error
	// OpenSession signs in and stays.
	OpenSession func(ctx context.Context, sub string, c driver.Credential) (Session, error)
	// Actions are what is really tried as the login, for each access.
	Actions []Action
	// Wrong are credentials made of a good one that the product must refuse: an
	// altered password, another's key…
	Wrong func(c driver.Credential) map[string]driver.Credential

	// Foreign makes a login of that name that does not bear our mark, and
	// returns a check that it still is as it was made. It removes it when the
	// test ends. Nil when the product can't hold one.
	Foreign func(t testing.TB, sub, name string) (check func() error)
	// Drifts change a login's rights behind the driver's back. Empty when
	// the product can't be changed so.
	Drifts []Drift

	// Product is what runs there, "MariaDB", and Release how many numbers of its version
	// make a release: with 2, 10.11.19 is a 10.11. What the run shows is then kept in
	// [ProofFile]. "" keeps nothing.
	Product string
	Release int
	// Model says what stands in for the product, where that can't be had; "" for itself.
	Model string

	// Quick loses connections with one access only, for a product that is tested
	// in many versions.
	Quick bool
}

// Session is an open sign-in.
type Session interface {
	// Wait returns nil once the product has ended the session, or ctx's error.
	Wait(ctx context.Context) error
	Close()
}

// Action is something to try as a login. For an access in Allowed, Do
// must return nil; for every other, an error that wraps [ErrRefused].
type Action struct {
	Name    string
	Allowed []patchbay.Access
	Do      func(ctx context.Context, sub string, c driver.Credential) error
}

// Drift is a change that somebody made to a login by hand.
type Drift struct {
	Name string
	// Access is the access of the login that it is made to.
	Access patchbay.Access
	Make   func(ctx context.Context, r driver.LoginRequest) error
	// Missing and Excess say what InspectLogin must find. Neither: the
	// drift is one of the login itself (disabled, another password), and only
	// the repair is checked.
	Missing, Excess bool
}

// limit bounds every call of the suite: a driver that ignores its context
// fails instead of hanging the run.
const limit = 30 * time.Second

// Target runs the conformance suite. A target driver is supported when it
// passes against the real product.
func Target(t *testing.T, h TargetHarness) {
	t.Helper()
	if len(h.Subs) == 0 || h.SignIn == nil || h.OpenSession == nil || h.Wrong == nil {
		t.Fatal("drivertest: the harness lacks Subs, SignIn, OpenSession or Wrong")
	}
	if h.Config.Dialer == nil {
		h.Config.Dialer = netDialer
	}
	s := &targetSuite{TargetHarness: h}
	s.proves = prover{whole: true, proof: Proof{Model: h.Model, Accesses: s.accesses(), Cases: map[string][]patchbay.Access{}}}
	s.cleaner = s.open(t, nil)
	t.Run("Describes", func(t *testing.T) {
		describes(t, h.Driver.Driver, h.Config, func(ctx context.Context, c driver.Config) error {
			target, err := h.Driver.Open(ctx, c)
			if err == nil {
				_ = target.Close()
			}
			return err
		})
	})
	s.run(t, "Inspect", s.inspect)
	s.run(t, "Credentials", s.credentials)
	s.run(t, "EnsureTwiceIsOneLogin", s.ensureTwice)
	s.run(t, "AccessIsWhatItSays", s.access)
	s.run(t, "DriftIsSeenAndRepaired", s.drift)
	s.run(t, "RemoveTwiceAndAbsent", s.remove)
	s.run(t, "RemoveEndsSessions", s.removeEndsSessions)
	s.run(t, "TwoGenerationsSideBySide", s.generations)
	s.run(t, "ForeignIsLeftAlone", s.foreign)
	s.run(t, "OwnedIsExact", s.owned)
	s.run(t, "Probe", s.probe)
	s.run(t, "ProbeFindsWrongRights", s.probeRights)
	s.run(t, "HostileSubs", s.hostile)
	s.run(t, "Sources", s.sources)
	s.run(t, "ConcurrentEnsures", s.concurrent)
	s.run(t, "CanceledContext", s.canceled)
	s.run(t, "Unreachable", s.unreachable)
	s.run(t, "HungServer", s.hung)
	s.run(t, "TalkativeServer", s.talkative)
	s.run(t, "CutConnections", s.cut)
	s.compare(t)
}

type targetSuite struct {
	TargetHarness
	cleaner Opened // removes what the cases leave
	proves  prover
	left    *string // why the case that runs is left out
}

// Opened is a target with its driver's Probe, in this process.
type Opened struct {
	driver.Administrator
	driver driver.TargetDriver
	config driver.Config
}

// OpenTarget opens a target until the test ends. A nil Dialer is a plain net.Dialer.
func OpenTarget(t testing.TB, d driver.TargetDriver, c driver.Config) Opened {
	t.Helper()
	if c.Dialer == nil {
		c.Dialer = netDialer
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	opened, err := d.Open(ctx, c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	target, ok := opened.(driver.Administrator)
	if !ok || !d.Administers() {
		t.Fatalf("what was opened is an Administrator: %t; the driver describes logins: %t", ok, d.Administers())
	}
	return Opened{target, d, c}
}

// Probe prepares a probe and runs it.
func (o Opened) Probe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeResult, error) {
	return o.driver.ProbeHere(ctx, o.config, o.Administrator, r)
}

func (s *targetSuite) context(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// open opens the target through d, nil for the harness's own dialer.
func (s *targetSuite) open(t *testing.T, d driver.Dialer) Opened {
	t.Helper()
	c := s.Config
	if d != nil {
		c.Dialer = d
	}
	return OpenTarget(t, s.Driver, c)
}

func newUID() string {
	var b [10]byte
	_, _ = rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// request is a request for a login that nobody has, removed when the test
// ends.
func (s *targetSuite) request(t *testing.T, target Opened, sub string, access patchbay.Access) driver.LoginRequest {
	t.Helper()
	return s.generation(t, target, newUID(), 1, sub, access)
}

func (s *targetSuite) generation(t *testing.T, target Opened, uid string, generation int64, sub string, access patchbay.Access) driver.LoginRequest {
	t.Helper()
	auth := patchbay.AuthSecret
	if a := s.Driver.Logins.Auths; len(a) > 0 {
		auth = a[0]
	}
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: generation,
			Connection: patchbay.ID("/subscriptions/s/resourceGroups/it's a \"group\" $$ -- ;/providers/Microsoft.Web/sites/web").Linker("orders")},
		Name: fmt.Sprintf("pb_%s_g%d", uid, generation),
		Sub:  sub, Auth: auth, Access: access, Options: s.Options,
	}
	c, err := target.NewCredential(s.context(t), r)
	if err != nil {
		t.Fatalf("NewCredential: %v", err)
	}
	r.Credential = c
	t.Cleanup(func() {
		// The test's own context is done by now.
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := s.cleaner.RemoveLogin(ctx, removal(r)); err != nil && patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("clean up: RemoveLogin: %v", err)
		}
	})
	return r
}

// removal is r as it is when nobody knows the credential any more.
func removal(r driver.LoginRequest) driver.LoginRequest {
	r.Credential = driver.Credential{}
	return r
}

func (s *targetSuite) ensure(t *testing.T, target Opened, r driver.LoginRequest) {
	t.Helper()
	s.must(t, r, "EnsureLogin", func(ctx context.Context) error { return target.EnsureLogin(ctx, r) })
}

// must repeats call while its error is transient, as the saga does, a few
// times.
func (s *targetSuite) must(t *testing.T, r driver.LoginRequest, what string, call func(context.Context) error) {
	t.Helper()
	var err error
	for range 5 {
		if err = call(s.context(t)); err == nil {
			return
		}
		s.silent(t, err, r)
		if !patchbay.IsTransient(err) {
			break
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// exact fails unless the target says that r exists, is ours and has exactly
// its rights.
func (s *targetSuite) exact(t *testing.T, target Opened, r driver.LoginRequest) {
	t.Helper()
	state, err := target.InspectLogin(s.context(t), removal(r))
	if err != nil {
		t.Fatalf("InspectLogin: %v", err)
	}
	if !state.Exists || !state.Ours || len(state.Missing) > 0 || len(state.Excess) > 0 {
		t.Fatalf("InspectLogin of a whole login = %+v", state)
	}
}

func (s *targetSuite) absent(t *testing.T, target Opened, r driver.LoginRequest) {
	t.Helper()
	state, err := target.InspectLogin(s.context(t), removal(r))
	if err != nil {
		t.Fatalf("InspectLogin of an absent login: %v", err)
	}
	if state.Exists {
		t.Fatalf("the login is still there: %+v", state)
	}
	s.refusedSignIn(t, r)
}

func (s *targetSuite) acceptedSignIn(t *testing.T, r driver.LoginRequest) {
	t.Helper()
	if err := s.SignIn(s.context(t), r.Sub, r.Credential); err != nil {
		t.Fatalf("%s can't sign in: %v", r.Name, err)
	}
}

func (s *targetSuite) refusedSignIn(t *testing.T, r driver.LoginRequest) {
	t.Helper()
	if err := s.SignIn(s.context(t), r.Sub, r.Credential); !errors.Is(err, ErrRefused) {
		t.Fatalf("sign-in of %s = %v, want it refused", r.Name, err)
	}
}

// silent fails when err, in any of its forms, holds a secret of r or of the
// administrator.
func (s *targetSuite) silent(t *testing.T, err error, r driver.LoginRequest) {
	t.Helper()
	text := fmt.Sprintf("%v\n%+v\n%#v", err, err, err)
	for e := err; e != nil; e = errors.Unwrap(e) {
		text += "\n" + e.Error()
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		text += "\n" + e.Fix + "\n" + e.Subject
	}
	for _, secrets := range []driver.Secrets{r.Credential.Secret, s.Config.Admin} {
		for name, secret := range secrets {
			// A user's name is kept among the secrets but is none.
			if v := secret.Reveal(); len(v) >= 12 && strings.Contains(text, v) {
				t.Errorf("an error shows the secret %s", name)
			}
		}
	}
}

func (s *targetSuite) sub() string { return s.Subs[0] }

func (s *targetSuite) accesses() []patchbay.Access { return s.Driver.Logins.Accesses }

func (s *targetSuite) inspect(t *testing.T) {
	target := s.open(t, nil)
	for _, sub := range append([]string{""}, s.Subs...) {
		info, err := target.Inspect(s.context(t), sub)
		if err != nil {
			t.Fatalf("Inspect(%q): %v", sub, err)
		}
		if info.Version == "" || len(info.Values) == 0 {
			t.Errorf("Inspect(%q) = %+v: no version or no values", sub, info)
		}
		for _, want := range s.Subs {
			if want != "" && sub == "" && !slices.Contains(info.Subs, want) {
				t.Errorf("Inspect lists %q, without %q", info.Subs, want)
			}
		}
	}
	if s.MissingSub != "" {
		_, err := target.Inspect(s.context(t), s.MissingSub)
		if patchbay.CodeOf(err) != patchbay.ChildMissing {
			t.Errorf("Inspect of a missing sub = %v, want ChildMissing", err)
		}
	}
}

func (s *targetSuite) credentials(t *testing.T) {
	target := s.open(t, nil)
	a := s.request(t, target, s.sub(), patchbay.Writer)
	b, err := target.NewCredential(s.context(t), a)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Credential.Secret) == 0 {
		t.Fatal("NewCredential gives no secret")
	}
	same := true
	for name, secret := range a.Credential.Secret {
		same = same && b.Secret[name] == secret
	}
	if same {
		t.Error("two credentials are the same")
	}
	state, err := target.InspectLogin(s.context(t), removal(a))
	if err != nil || state.Exists {
		t.Errorf("after NewCredential alone InspectLogin = %+v, %v, want nothing there", state, err)
	}
}

func (s *targetSuite) ensureTwice(t *testing.T) {
	target := s.open(t, nil)
	before := s.list(t, target)
	r := s.request(t, target, s.sub(), patchbay.Writer)
	for range 2 {
		s.ensure(t, target, r)
		s.exact(t, target, r)
		s.acceptedSignIn(t, r)
	}
	// Another process knows only the request.
	again := s.open(t, nil)
	s.ensure(t, again, r)
	s.exact(t, again, r)
	if after := s.list(t, target); len(after) != len(before)+1 {
		t.Errorf("three ensures made %d logins", len(after)-len(before))
	}
}

func (s *targetSuite) access(t *testing.T) {
	target := s.open(t, nil)
	for _, access := range s.accesses() {
		t.Run(string(access), func(t *testing.T) {
			for _, sub := range s.Subs {
				r := s.request(t, target, sub, access)
				s.ensure(t, target, r)
				s.exact(t, target, r)
				for _, action := range s.Actions {
					err := action.Do(s.context(t), sub, r.Credential)
					switch {
					case slices.Contains(action.Allowed, access):
						if err != nil {
							t.Errorf("%s: %v, want it done", action.Name, err)
						}
					case err == nil:
						t.Errorf("%s: done, want it refused", action.Name)
					case !errors.Is(err, ErrRefused):
						t.Errorf("%s: %v, want it refused", action.Name, err)
					}
				}
				// What it did must not stand in the way of its end.
				s.exact(t, target, r)
				s.must(t, r, "RemoveLogin", func(ctx context.Context) error { return target.RemoveLogin(ctx, removal(r)) })
				s.absent(t, target, r)
			}
		})
	}
}

func (s *targetSuite) drift(t *testing.T) {
	if len(s.Drifts) == 0 {
		s.leave(t, "the product's logins can't be changed behind the driver's back")
	}
	target := s.open(t, nil)
	for _, d := range s.Drifts {
		t.Run(d.Name, func(t *testing.T) {
			r := s.request(t, target, s.sub(), d.Access)
			s.ensure(t, target, r)
			if err := d.Make(s.context(t), r); err != nil {
				t.Fatalf("make the drift: %v", err)
			}
			state, err := target.InspectLogin(s.context(t), removal(r))
			if err != nil {
				t.Fatalf("InspectLogin: %v", err)
			}
			if d.Missing != (len(state.Missing) > 0) || d.Excess != (len(state.Excess) > 0) {
				t.Errorf("InspectLogin finds missing %q, excess %q", state.Missing, state.Excess)
			}
			s.ensure(t, target, r)
			s.exact(t, target, r)
			s.acceptedSignIn(t, r)
		})
	}
}

func (s *targetSuite) remove(t *testing.T) {
	target := s.open(t, nil)
	remove := func(r driver.LoginRequest) {
		t.Helper()
		s.must(t, r, "RemoveLogin", func(ctx context.Context) error { return target.RemoveLogin(ctx, removal(r)) })
	}
	never := s.request(t, target, s.sub(), patchbay.Writer)
	remove(never)
	s.absent(t, target, never)

	r := s.request(t, target, s.sub(), patchbay.Writer)
	s.ensure(t, target, r)
	for range 2 {
		remove(r)
		s.absent(t, target, r)
	}
	if s.MissingSub != "" {
		gone := r
		gone.Sub = s.MissingSub
		remove(gone)
	}
}

func (s *targetSuite) removeEndsSessions(t *testing.T) {
	target := s.open(t, nil)
	for _, access := range s.accesses() {
		r := s.request(t, target, s.sub(), access)
		s.ensure(t, target, r)
		var sessions []Session
		for range 3 {
			session, err := s.OpenSession(s.context(t), r.Sub, r.Credential)
			if err != nil {
				t.Fatalf("open a session: %v", err)
			}
			defer session.Close()
			sessions = append(sessions, session)
		}
		if s.Driver.Logins.Sessions {
			state, err := target.InspectLogin(s.context(t), removal(r))
			if err != nil || state.Sessions != len(sessions) {
				t.Errorf("InspectLogin = %+v, %v, want %d sessions", state, err, len(sessions))
			}
		}
		s.must(t, r, "RemoveLogin", func(ctx context.Context) error { return target.RemoveLogin(ctx, removal(r)) })
		for _, session := range sessions {
			if err := session.Wait(s.context(t)); err != nil {
				t.Errorf("a session of a removed login goes on: %v", err)
			}
		}
		s.absent(t, target, r)
	}
}

func (s *targetSuite) generations(t *testing.T) {
	target := s.open(t, nil)
	for _, access := range s.accesses() {
		uid := newUID()
		one := s.generation(t, target, uid, 1, s.sub(), access)
		two := s.generation(t, target, uid, 2, s.sub(), access)
		s.ensure(t, target, one)
		s.ensure(t, target, two)
		for _, r := range []driver.LoginRequest{one, two} {
			s.exact(t, target, r)
			s.acceptedSignIn(t, r)
		}
		s.must(t, one, "RemoveLogin", func(ctx context.Context) error { return target.RemoveLogin(ctx, removal(one)) })
		s.absent(t, target, one)
		s.exact(t, target, two)
		s.acceptedSignIn(t, two)
		if got := s.ofUID(s.list(t, target), uid); len(got) != 1 || got[0].Name != two.Name || got[0].Mark.Generation != 2 {
			t.Errorf("Owned = %+v, want generation 2 alone", got)
		}
	}
}

func (s *targetSuite) foreign(t *testing.T) {
	if s.Foreign == nil {
		s.leave(t, "the product can't hold a foreign login of a given name")
	}
	target := s.open(t, nil)
	r := s.request(t, target, s.sub(), patchbay.Writer)
	check := s.Foreign(t, r.Sub, r.Name)
	if err := target.EnsureLogin(s.context(t), r); patchbay.CodeOf(err) != patchbay.NotOurs || patchbay.IsTransient(err) {
		t.Errorf("EnsureLogin over somebody else's = %v, want NotOurs", err)
	}
	if err := target.RemoveLogin(s.context(t), removal(r)); patchbay.CodeOf(err) != patchbay.NotOurs || patchbay.IsTransient(err) {
		t.Errorf("RemoveLogin of somebody else's = %v, want NotOurs", err)
	}
	state, err := target.InspectLogin(s.context(t), removal(r))
	if err != nil || !state.Exists || state.Ours {
		t.Errorf("InspectLogin of somebody else's = %+v, %v", state, err)
	}
	if len(s.ofUID(s.list(t, target), r.Mark.UID)) > 0 {
		t.Error("Owned lists somebody else's")
	}
	if err := check(); err != nil {
		t.Errorf("somebody else's login is not as it was: %v", err)
	}
}

func (s *targetSuite) list(t *testing.T, target Opened) []driver.Owned {
	t.Helper()
	owned, err := target.Owned(s.context(t))
	if err != nil {
		t.Fatalf("Owned: %v", err)
	}
	return owned
}

func (s *targetSuite) ofUID(owned []driver.Owned, uid string) []driver.Owned {
	return slices.DeleteFunc(slices.Clone(owned), func(o driver.Owned) bool { return o.Mark.UID != uid })
}

func (s *targetSuite) owned(t *testing.T) {
	target := s.open(t, nil)
	key := func(owned []driver.Owned) map[string]driver.Mark {
		m := map[string]driver.Mark{}
		for _, o := range owned {
			m[o.Name] = o.Mark
		}
		return m
	}
	want := key(s.list(t, target))
	var made []driver.LoginRequest
	for _, sub := range s.Subs {
		for _, access := range s.accesses() {
			r := s.request(t, target, sub, access)
			s.ensure(t, target, r)
			want[r.Name] = r.Mark
			made = append(made, r)
		}
	}
	// A restarted process sees the same.
	if got := key(s.list(t, s.open(t, nil))); !maps.Equal(got, want) {
		t.Errorf("Owned = %v, want %v", got, want)
	}
	// A sweep knows of a login what is said here, and nothing else.
	for _, o := range s.list(t, target) {
		i := slices.IndexFunc(made, func(r driver.LoginRequest) bool { return r.Name == o.Name })
		if i < 0 {
			continue
		}
		r := driver.LoginRequest{Mark: o.Mark, Name: o.Name, Sub: o.Sub}
		s.must(t, r, "RemoveLogin", func(ctx context.Context) error { return target.RemoveLogin(ctx, r) })
		s.absent(t, target, made[i])
		delete(want, r.Name)
	}
	if got := key(s.list(t, target)); !maps.Equal(got, want) {
		t.Errorf("after removal Owned = %v, want %v", got, want)
	}
}

func (s *targetSuite) probeRequest(r driver.LoginRequest, d driver.Dialer) driver.ProbeRequest {
	return driver.ProbeRequest{Credential: r.Credential, Dialer: d, Sub: r.Sub, Access: r.Access, Options: r.Options}
}

func (s *targetSuite) probe(t *testing.T) {
	target := s.open(t, nil)
	for _, access := range s.accesses() {
		t.Run(string(access), func(t *testing.T) {
			r := s.request(t, target, s.sub(), access)
			s.ensure(t, target, r)
			counting := &countingDialer{next: s.Config.Dialer}
			result, err := target.Probe(s.context(t), s.probeRequest(r, counting))
			if err != nil {
				t.Fatalf("Probe: %v", err)
			}
			if counting.dials() == 0 {
				t.Error("Probe did not use the dialer that it was handed")
			}
			if len(result.Allowed) == 0 || len(result.Refused) == 0 || result.Took <= 0 {
				t.Errorf("Probe = %+v: it must say what it did, what it saw refused, and how long it took", result)
			}
			s.exact(t, target, r)

			// A login that was given: only the sign-in is tried.
			given := s.probeRequest(r, counting)
			given.Access = ""
			if _, err := target.Probe(s.context(t), given); err != nil {
				t.Errorf("Probe of a given login: %v", err)
			}
			for name, wrong := range s.Wrong(r.Credential) {
				p := s.probeRequest(r, counting)
				p.Credential = wrong
				_, err := target.Probe(s.context(t), p)
				if patchbay.CodeOf(err) != patchbay.LoginRefused || patchbay.IsTransient(err) {
					t.Errorf("Probe with a wrong credential (%s) = %v, want LoginRefused", name, err)
				}
				s.silent(t, err, r)
				s.silent(t, err, driver.LoginRequest{Credential: wrong})
			}
			s.must(t, r, "RemoveLogin", func(ctx context.Context) error { return target.RemoveLogin(ctx, removal(r)) })
			if _, err := target.Probe(s.context(t), s.probeRequest(r, counting)); patchbay.CodeOf(err) != patchbay.LoginRefused {
				t.Errorf("Probe as a removed login = %v, want LoginRefused", err)
			}
		})
	}
}

// probeRights probes with more or less than the login was given.
func (s *targetSuite) probeRights(t *testing.T) {
	target := s.open(t, nil)
	order := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	order = slices.DeleteFunc(order, func(a patchbay.Access) bool { return !slices.Contains(s.accesses(), a) })
	for i := 0; i+1 < len(order); i++ {
		less, more := order[i], order[i+1]
		for _, c := range []struct {
			has, probed patchbay.Access
			want        patchbay.Code
		}{{less, more, patchbay.RightsMissing}, {more, less, patchbay.RightsExcess}} {
			r := s.request(t, target, s.sub(), c.has)
			s.ensure(t, target, r)
			p := s.probeRequest(r, s.Config.Dialer)
			p.Access = c.probed
			_, err := target.Probe(s.context(t), p)
			if patchbay.CodeOf(err) != c.want {
				t.Errorf("Probe of a %s as %s = %v, want %s", c.has, c.probed, err, c.want)
			}
			s.silent(t, err, r)
		}
	}
}

func (s *targetSuite) hostile(t *testing.T) {
	if len(s.HostileSubs) == 0 {
		s.leave(t, "it has nothing below it that could have one")
	}
	target := s.open(t, nil)
	for _, sub := range s.HostileSubs {
		t.Run(fmt.Sprintf("%q", sub), func(t *testing.T) {
			for _, access := range s.accesses() {
				if _, err := target.Inspect(s.context(t), sub); err != nil {
					t.Fatalf("Inspect: %v", err)
				}
				r := s.request(t, target, sub, access)
				s.ensure(t, target, r)
				s.exact(t, target, r)
				s.acceptedSignIn(t, r)
				if _, err := target.Probe(s.context(t), s.probeRequest(r, s.Config.Dialer)); err != nil {
					t.Errorf("Probe: %v", err)
				}
				s.must(t, r, "RemoveLogin", func(ctx context.Context) error { return target.RemoveLogin(ctx, removal(r)) })
				s.absent(t, target, r)
			}
		})
	}
	for _, name := range []string{"", "pb_A_g1", `pb_x"; drop role admin; --_g1`, "pb_x\x00_g1", "pb_" + strings.Repeat("x", 300), "pb_*", "pb_x.>"} {
		r := s.request(t, target, s.sub(), patchbay.Writer)
		r.Name = name
		if err := target.EnsureLogin(s.context(t), r); err == nil {
			t.Errorf("EnsureLogin accepts the name %q", name)
		}
		if err := target.RemoveLogin(s.context(t), r); err == nil {
			t.Errorf("RemoveLogin accepts the name %q", name)
		}
	}
}

func (s *targetSuite) sources(t *testing.T) {
	if !s.Driver.Logins.Sources {
		s.leave(t, "the driver does not bind logins to addresses")
	}
	target := s.open(t, nil)
	for _, c := range []struct {
		sources  []netip.Prefix
		accepted bool
	}{
		{[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, true},
		{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, false},
	} {
		r := s.request(t, target, s.sub(), patchbay.Writer)
		r.Sources = c.sources
		// The addresses may be part of what is signed in with.
		credential, err := target.NewCredential(s.context(t), r)
		if err != nil {
			t.Fatal(err)
		}
		r.Credential = credential
		s.ensure(t, target, r)
		s.exact(t, target, r)
		if c.accepted {
			s.acceptedSignIn(t, r)
		} else {
			s.refusedSignIn(t, r)
		}
	}
}

func (s *targetSuite) concurrent(t *testing.T) {
	const workers = 8
	targets := []Opened{s.open(t, nil), s.open(t, nil)}
	same := s.request(t, targets[0], s.sub(), patchbay.Writer)
	before := len(s.list(t, targets[0]))
	requests := make([]driver.LoginRequest, 0, 2*workers)
	for i := range workers {
		access := s.accesses()[i%len(s.accesses())]
		requests = append(requests, s.request(t, targets[0], s.Subs[i%len(s.Subs)], access), same)
	}
	s.together(t, requests, func(ctx context.Context, i int, r driver.LoginRequest) error {
		return targets[i%2].EnsureLogin(ctx, r)
	})
	for _, r := range requests {
		s.exact(t, targets[0], r)
		s.acceptedSignIn(t, r)
	}
	if after := len(s.list(t, targets[0])); after != before+workers+1 {
		t.Errorf("%d logins were made, want %d", after-before, workers+1)
	}
	s.together(t, requests, func(ctx context.Context, i int, r driver.LoginRequest) error {
		return targets[i%2].RemoveLogin(ctx, removal(r))
	})
	for _, r := range requests {
		s.absent(t, targets[0], r)
	}
}

func (s *targetSuite) together(t *testing.T, requests []driver.LoginRequest, call func(context.Context, int, driver.LoginRequest) error) {
	t.Helper()
	errs := make([]error, len(requests))
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			// As the saga: what is transient is repeated.
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				errs[i] = call(ctx, i, r)
				cancel()
				if errs[i] == nil || !patchbay.IsTransient(errs[i]) {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// calls are all methods that reach the product.
func (s *targetSuite) calls(target Opened, r driver.LoginRequest, d driver.Dialer) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Inspect":      func(ctx context.Context) error { _, err := target.Inspect(ctx, r.Sub); return err },
		"EnsureLogin":  func(ctx context.Context) error { return target.EnsureLogin(ctx, r) },
		"InspectLogin": func(ctx context.Context) error { _, err := target.InspectLogin(ctx, r); return err },
		"RemoveLogin":  func(ctx context.Context) error { return target.RemoveLogin(ctx, r) },
		"Owned":        func(ctx context.Context) error { _, err := target.Owned(ctx); return err },
		"Probe":        func(ctx context.Context) error { _, err := target.Probe(ctx, s.probeRequest(r, d)); return err },
	}
}

func (s *targetSuite) canceled(t *testing.T) {
	target := s.open(t, nil)
	r := s.request(t, target, s.sub(), patchbay.Writer)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range s.calls(target, r, s.Config.Dialer) {
		if err := call(ctx); err == nil {
			t.Errorf("%s with a canceled context succeeds", name)
		} else if !errors.Is(err, context.Canceled) && patchbay.CodeOf(err) != patchbay.Canceled {
			t.Errorf("%s with a canceled context = %v, which does not say so", name, err)
		}
	}
}

func (s *targetSuite) unreachable(t *testing.T) {
	for _, c := range []struct {
		name   string
		dialer driver.Dialer
		want   []patchbay.Code
	}{
		{"closed port", closedPort(t), []patchbay.Code{patchbay.PortClosed, patchbay.TargetUnreachable}},
		{"unknown name", unknownName{}, []patchbay.Code{patchbay.NameNotResolved}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := s.request(t, s.open(t, nil), s.sub(), patchbay.Writer)
			target := s.open(t, c.dialer)
			for name, call := range s.calls(target, r, c.dialer) {
				err := call(s.context(t))
				if !slices.Contains(c.want, patchbay.CodeOf(err)) || !patchbay.IsTransient(err) {
					t.Errorf("%s = %v (transient %v), want a transient %v", name, err, patchbay.IsTransient(err), c.want)
				}
				s.silent(t, err, r)
			}
		})
	}
}

// hung has a server that accepts connections and never says a word.
func (s *targetSuite) hung(t *testing.T) {
	r := s.request(t, s.open(t, nil), s.sub(), patchbay.Writer)
	hole := blackHole(t)
	target := s.open(t, hole)
	var all sync.WaitGroup
	for name, call := range s.calls(target, r, hole) {
		all.Go(func() {
			// The deadline is the event that is waited for; a driver that ignores it
			// runs into the test's own limit.
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			err := call(ctx)
			if !patchbay.IsTransient(err) {
				t.Errorf("%s = %v, want a transient error", name, err)
			}
			s.silent(t, err, r)
		})
	}
	all.Wait()
}

// talkative has a server and a name server that say what somebody else should
// not hear: it is in none of the words that whoever called the driver sees.
func (s *targetSuite) talkative(t *testing.T) {
	const said = "CanaryOfTheSuite"
	r := s.request(t, s.open(t, nil), s.sub(), patchbay.Writer)
	for what, d := range map[string]driver.Dialer{"server": babbler(t, said+"\r\n"), "name server": unknownName{by: said + ":53"}} {
		target := s.open(t, d)
		for name, call := range s.calls(target, r, d) {
			err := call(s.context(t))
			e := patchbay.AsError(err)
			if e == nil {
				t.Errorf("%s with a %s that talks succeeds", name, what)
				continue
			}
			if text := fmt.Sprintf("%v %+v %s %s %s", err, err, e.Message, e.Fix, e.Subject); strings.Contains(strings.ToLower(text), strings.ToLower(said)) {
				t.Errorf("%s tells what the %s said: %s", name, what, text)
			}
			s.silent(t, err, r)
		}
	}
}

// cut loses the connection after every number of packets, so that each
// statement's outcome is unknown once, and looks whether the next call puts it
// right.
func (s *targetSuite) cut(t *testing.T) {
	accesses := s.accesses()
	if s.Quick {
		accesses = accesses[len(accesses)-1:]
	}
	for _, access := range accesses {
		t.Run(string(access), func(t *testing.T) {
			good := s.open(t, nil)
			ensures := s.untilWhole(t, func(cut *cutDialer) error {
				r := s.request(t, good, s.sub(), access)
				err := s.open(t, cut).EnsureLogin(s.context(t), r)
				s.silent(t, err, r)
				s.ensure(t, good, r)
				s.exact(t, good, r)
				s.acceptedSignIn(t, r)
				s.must(t, r, "RemoveLogin", func(ctx context.Context) error { return good.RemoveLogin(ctx, removal(r)) })
				s.absent(t, good, r)
				return err
			})
			removes := s.untilWhole(t, func(cut *cutDialer) error {
				r := s.request(t, good, s.sub(), access)
				s.ensure(t, good, r)
				err := s.open(t, cut).RemoveLogin(s.context(t), removal(r))
				s.silent(t, err, r)
				s.must(t, r, "RemoveLogin", func(ctx context.Context) error { return good.RemoveLogin(ctx, removal(r)) })
				s.absent(t, good, r)
				if left := s.ofUID(s.list(t, good), r.Mark.UID); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				return err
			})
			t.Logf("ensure was cut at %d places, remove at %d", ensures, removes)
		})
	}
}

// untilWhole runs call with a connection that is lost after 0, 1, 2… packets,
// until it is not lost any more, and returns how often it was.
func (s *targetSuite) untilWhole(t *testing.T, call func(*cutDialer) error) int {
	t.Helper()
	for n := range 200 {
		cut := newCutDialer(s.Config.Dialer, n)
		err := call(cut)
		if !cut.happened() {
			if err != nil {
				t.Fatalf("with a whole connection: %v", err)
			}
			return n
		}
		// A reply that got lost after the last effect may be a success.
		if err != nil && !patchbay.IsTransient(err) {
			t.Errorf("cut after %d packets: %v, want a transient error", n, err)
		}
	}
	t.Fatal("no end after 200 packets")
	return 0
}
