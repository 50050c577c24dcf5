package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
)

// opened is s as a target of a process of its own: it waits for no other's
// turn.
func opened(t testing.TB, s *testenv.NATSServer) *target {
	t.Helper()
	p := s.Properties()
	p["subjects"] = []string{"orders.>"}
	properties, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := open(t.Context(), driver.Config{Endpoint: s.Endpoint(), Properties: properties, Admin: s.Admin(), Dialer: &net.Dialer{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	alone := opened.(*target)
	alone.turns = newTurns()
	return alone
}

// wanted is a request for a login, with its credential.
func wanted(t testing.TB, target driver.Administrator, uid string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s"}, Name: "pb_" + uid + "_g1",
		Auth: patchbay.AuthSecret, Access: patchbay.Writer,
	}
	c, err := target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	return r
}

// tag puts a tag on the account as another administrator would.
func tag(ctx context.Context, s *testenv.NATSServer, name string) error {
	claims, err := s.Claims(ctx)
	if err != nil {
		return err
	}
	claims.Tags.Add(name)
	return s.Push(ctx, claims)
}

// together runs call n times at once, each repeated while its error is
// transient, as the saga does.
func together(t *testing.T, n int, call func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for range 20 {
				if errs[i] = call(i); !patchbay.IsTransient(errs[i]) {
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

// roles are the logins that the account has, in order.
func roles(t testing.TB, s *testenv.NATSServer) []string {
	t.Helper()
	users, err := s.Users(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range users {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestNoneOfManyEnsuresAtOnceIsLost(t *testing.T) {
	for _, processes := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d processes", processes), func(t *testing.T) {
			s := testenv.NATS(t, natsserver.Config{})
			const many = 32
			var targets []*target
			for range processes {
				targets = append(targets, opened(t, s))
			}
			var requests []driver.LoginRequest
			var want []string
			for i := range many {
				r := wanted(t, targets[0], fmt.Sprintf("c%02d", i))
				requests = append(requests, r)
				want = append(want, r.Name)
			}
			together(t, many, func(i int) error {
				return targets[i%processes].EnsureLogin(t.Context(), requests[i])
			})
			if got := roles(t, s); !slices.Equal(got, want) {
				t.Errorf("the account has %d logins: %v", len(got), got)
			}
			together(t, many, func(i int) error {
				return targets[(i+1)%processes].RemoveLogin(t.Context(), requests[i])
			})
			if got := roles(t, s); len(got) > 0 {
				t.Errorf("after their removal there are %v", got)
			}
		})
	}
}

// TestAPushInTheMiddleOfAnEditIsKept has another administrator push between our
// reading the account and our pushing it: ours overwrites it, and has to bring
// it back.
func TestAPushInTheMiddleOfAnEditIsKept(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, s)
	for _, pushes := range []int{1, 2, 5} {
		r := wanted(t, target, "p"+strconv.Itoa(pushes))
		claims, err := target.ourClaims(r.Credential, r.Name)
		if err != nil {
			t.Fatal(err)
		}
		want := jwt.UserScope{Kind: jwt.UserScopeType, Key: claims.Issuer, Role: r.Name, Template: rights{pub: []string{"a"}, sub: []string{"b"}}.template(nil),
			Description: note{UID: r.Mark.UID, Generation: 1, User: claims.Subject}.String()}
		calls := 0
		err = target.edit(t.Context(), owner{"x", 1}, func(a *account) (bool, error) {
			if calls++; calls <= pushes {
				if err := tag(t.Context(), s, fmt.Sprintf("tag-%d-%d", pushes, calls)); err != nil {
					return false, err
				}
			}
			return a.put(ownerOf(r.Mark), want)
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Claims(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range pushes {
			if name := fmt.Sprintf("tag-%d-%d", pushes, i+1); !got.Tags.Contains(name) {
				t.Errorf("after %d pushes %s is lost", pushes, name)
			}
		}
		if !got.SigningKeys.Contains(want.Key) {
			t.Errorf("after %d pushes ours is lost", pushes)
		}
	}
}

func TestAnAccountThatChangesAllTheTimeIsAConflictAndNoLoop(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, s)
	calls := 0
	err := target.edit(t.Context(), owner{"x", 1}, func(a *account) (bool, error) {
		calls++
		a.claims["name"] = strconv.Itoa(calls)
		return true, nil
	})
	if patchbay.CodeOf(err) != patchbay.Conflict || !patchbay.IsTransient(err) || calls != editLimit {
		t.Errorf("after %d calls: %v", calls, err)
	}
}

// TestWhatTheServerDoesNotTrustIsNotSignedAgain: the server stores what any
// user of the system account pushes, whoever signed it, and applies it only if
// it trusts the signer. Our signature would make it true.
func TestWhatTheServerDoesNotTrustIsNotSignedAgain(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	target := opened(t, s)
	good, err := s.Claims(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rogue, _ := pair(t, nkeys.CreateOperator)
	_, stranger := pair(t, nkeys.CreateAccount)
	evil := jwt.NewAccountClaims(s.Account())
	evil.SigningKeys.Add(stranger)
	forged, err := evil.Encode(rogue)
	if err != nil {
		t.Fatal(err)
	}

	// In the middle of an edit it is overlooked.
	r := wanted(t, target, "mid")
	calls := 0
	err = target.edit(t.Context(), owner{"x", 1}, func(a *account) (bool, error) {
		if calls++; calls == 1 {
			if err := s.PushToken(t.Context(), forged); err != nil {
				return false, err
			}
		}
		return a.put(ownerOf(r.Mark), jwt.UserScope{Kind: jwt.UserScopeType, Key: r.Credential.Public[publicSigningKey], Role: r.Name,
			Description: note{UID: r.Mark.UID, Generation: 1}.String(), Template: rights{pub: []string{"a"}, sub: []string{"b"}}.template(nil)})
	})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := s.Claims(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if claims.SigningKeys.Contains(stranger) || !claims.SigningKeys.Contains(r.Credential.Public[publicSigningKey]) {
		t.Errorf("the signing keys are %v", claims.SigningKeys.Keys())
	}

	// As the account's state it stops everything.
	if err := s.PushToken(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if err := target.EnsureLogin(t.Context(), wanted(t, target, "late")); patchbay.CodeOf(err) != patchbay.AdminRights {
		t.Errorf("EnsureLogin on a forged account = %v", err)
	}
	if err := s.Push(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if err := target.EnsureLogin(t.Context(), wanted(t, target, "late")); err != nil {
		t.Errorf("EnsureLogin on the account made good: %v", err)
	}
}

// TestAFullAccountIsAClearErrorAndLosesNothing fills an account's JWT to the
// largest message.
func TestAFullAccountIsAClearErrorAndLosesNothing(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{MaxPayload: 16 << 10})
	target := opened(t, s)
	var made []string
	for i := range 1000 {
		r := wanted(t, target, fmt.Sprintf("c%03d", i))
		err := target.EnsureLogin(t.Context(), r)
		if err == nil {
			made = append(made, r.Name)
			continue
		}
		if e := patchbay.AsError(err); e.Code != patchbay.Conflict || e.Transient || e.Fix == "" {
			t.Fatalf("principal %d: %v", i, err)
		}
		break
	}
	if got := roles(t, s); len(made) < 5 || !slices.Equal(got, made) {
		t.Errorf("%d were made, %d are there", len(made), len(got))
	}
	info, err := target.Inspect(t.Context(), "")
	if err != nil || len(info.Warnings) != 1 {
		t.Errorf("Inspect of a full account warns of %q, %v", info.Warnings, err)
	}
	t.Logf("%d logins in 16 KiB", len(made))
}
