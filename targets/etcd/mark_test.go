package etcd_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// everything is all that a cluster has of users and roles, for comparisons.
func everything(t testing.TB, c *clientv3.Client) string {
	t.Helper()
	users, err1 := c.UserList(t.Context())
	roles, err2 := c.RoleList(t.Context())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range users.Users {
		user, err := c.UserGet(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, name+" "+strings.Join(user.Roles, ","))
	}
	for _, name := range roles.Roles {
		role, err := c.RoleGet(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range role.Perm {
			name += " " + p.PermType.String() + string(p.Key) + ".." + string(p.RangeEnd)
		}
		all = append(all, name)
	}
	return strings.Join(all, "\n")
}

// theirs makes users and roles, until the test ends.
func theirs(t testing.TB, c *clientv3.Client, users, roles []string) {
	t.Helper()
	for _, name := range users {
		if _, err := c.UserAdd(t.Context(), name, "theirs"); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		t.Cleanup(func() { _, _ = c.UserDelete(context.Background(), name) })
	}
	for _, name := range roles {
		if _, err := c.RoleAdd(t.Context(), name); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		t.Cleanup(func() { _, _ = c.RoleDelete(context.Background(), name) })
	}
}

// Names that look like ours are somebody's: they are neither listed nor touched.
func TestDecoysAreLeftAlone(t *testing.T) {
	s := server(t)
	c := s.Root(t)
	theirs(t, c, []string{"pb_decoy_g11", "pb_decoy_g", "PB_decoy_g1", "xpb_decoy_g1", "pb_decoy_g1 ", "pb_decoy_g1\n", "pb_decoy_g1'", "patchbay"},
		[]string{"pb_decoy_g1", "patchbay", "patchbay/", "patchbay/pb_decoy_g1", "patchbay/pb_decoy_g1/decoy", "patchbay/pb_decoy_g1/decoy/01/subscriptions/s/x", "patchbay/pb_decoy_g1/decoy/x/1",
			"patchbay/pb_decoy_g1/decoy/-1/subscriptions/s/x", "patchbay/PB_decoy_g1/decoy/1/x", "Patchbay/pb_decoy_g1/decoy/1/x", "patchbay/pb_decoy_g1/de coy/1/x", " patchbay/pb_decoy_g1/decoy/1/x"})
	before := everything(t, c)
	target := opened(t, register(s, scope))
	r := made(t, target, "decoy", patchbay.Writer, nil)
	owned, err := target.Owned(t.Context())
	if err != nil || len(owned) != 1 || owned[0].Name != r.Name || owned[0].Mark != r.Mark {
		t.Errorf("it has %+v, %v, want %+v", owned, err, r.Mark)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if after := everything(t, c); after != before {
		t.Errorf("there was\n%s\n\nand is\n%s", before, after)
	}
}

// Names come with requests, and are checked all the same.
func TestNamesAndMarksThatAreNoneAreRefused(t *testing.T) {
	s := server(t)
	c := s.Root(t)
	target := opened(t, register(s, scope))
	before := everything(t, c)
	for name, change := range map[string]func(*driver.LoginRequest){
		"no name":           func(r *driver.LoginRequest) { r.Name = "" },
		"root":              func(r *driver.LoginRequest) { r.Name = "root" },
		"upper case":        func(r *driver.LoginRequest) { r.Name = "pb_A_g1" },
		"a slash":           func(r *driver.LoginRequest) { r.Name = "pb_a/b_g1" },
		"a zero":            func(r *driver.LoginRequest) { r.Name = "pb_a\x00_g1" },
		"a long name":       func(r *driver.LoginRequest) { r.Name = "pb_" + strings.Repeat("a", 300) },
		"no uid":            func(r *driver.LoginRequest) { r.Mark.UID = "" },
		"a uid of two":      func(r *driver.LoginRequest) { r.Mark.UID = "a/2" },
		"no generation":     func(r *driver.LoginRequest) { r.Mark.Generation = 0 },
		"a connection":      func(r *driver.LoginRequest) { r.Mark.Connection = "2/subscriptions" },
		"a connection's 1s": func(r *driver.LoginRequest) { r.Mark.Connection = "/a\xff" },
		"a child":           func(r *driver.LoginRequest) { r.Sub = "orders" },
	} {
		r := request(t, target, "a", patchbay.Writer, nil)
		change(&r)
		r.Credential.Public["username"] = r.Name
		if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: EnsureLogin: %v", name, err)
		}
		if err := target.RemoveLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: RemoveLogin: %v", name, err)
		}
	}
	if after := everything(t, c); after != before {
		t.Errorf("there was\n%s\n\nand is\n%s", before, after)
	}
}

// A process may end between any two steps: what it left is made whole, or goes.
func TestWhatACrashLeftIsOurs(t *testing.T) {
	s := server(t)
	c := s.Root(t)
	target := opened(t, register(s, scope))
	before := everything(t, c)
	r := request(t, target, "crash", patchbay.Writer, nil)
	sum := sha256.Sum256(fmt.Appendf(nil, "patchbay: first password of %s %s %d", r.Name, r.Mark.UID, r.Mark.Generation))
	first := base64.RawURLEncoding.EncodeToString(sum[:])
	steps := []func() error{
		func() error { _, err := c.RoleAdd(t.Context(), role(r)); return err },
		func() error { _, err := c.UserAdd(t.Context(), r.Name, first); return err },
		func() error { _, err := c.UserGrantRole(t.Context(), r.Name, role(r)); return err },
		func() error {
			_, err := c.UserChangePassword(t.Context(), r.Name, r.Credential.Secret["password"].Reveal())
			return err
		},
		func() error {
			_, err := c.RoleGrantPermission(t.Context(), role(r), "/orders/", "/orders0", clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
	}
	for done := 1; done <= len(steps); done++ {
		left := func() {
			t.Helper()
			for _, step := range steps[:done] {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
		}
		removed := func() {
			t.Helper()
			if err := target.RemoveLogin(t.Context(), driver.LoginRequest{Mark: r.Mark, Name: r.Name}); err != nil {
				t.Fatalf("after %d steps: %v", done, err)
			}
			if after := everything(t, c); after != before {
				t.Fatalf("after %d steps there is\n%s", done, after)
			}
		}
		left()
		owned, err := target.Owned(t.Context())
		if err != nil || !slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Mark == r.Mark && o.Name == r.Name }) {
			t.Errorf("after %d steps it is not listed: %v, %v", done, owned, err)
		}
		if state, err := target.InspectLogin(t.Context(), r); err != nil || state.Exists != (done > 1) || state.Exists && (!state.Ours || len(state.Missing) == 0) {
			t.Errorf("after %d steps: %+v, %v", done, state, err)
		}
		removed()
		left()
		if err := target.EnsureLogin(t.Context(), r); err != nil {
			t.Fatalf("after %d steps: %v", done, err)
		}
		if state, err := target.InspectLogin(t.Context(), r); err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
			t.Errorf("after %d steps, made whole: %+v, %v", done, state, err)
		}
		if _, err := probe(t, target, r); err != nil {
			t.Error(err)
		}
		removed()
	}
}

// at does something once, right before the n-th packet goes.
type at struct {
	driver.Dialer
	left atomic.Int64
	do   func()
}

func (d *at) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	return atConn{c, d}, err
}

type atConn struct {
	net.Conn
	at *at
}

func (c atConn) Write(b []byte) (int, error) {
	if c.at.left.Add(-1) == 0 {
		c.at.do()
	}
	return c.Conn.Write(b)
}

// Somebody else's user may appear at any moment while ours is made. Either it was too
// late, or it is nobody of ours: it stays as it is, and nothing of ours is left.
func TestALoginThatAppearsMeanwhileIsNotOurs(t *testing.T) {
	s := server(t)
	c := s.Root(t)
	theirs(t, c, nil, []string{"accountants"})
	before := everything(t, c)
	raced := 0
	for n := int64(1); ; n++ {
		var appeared, happened bool
		r := request(t, opened(t, register(s, scope)), "raced", patchbay.Writer, nil)
		d := &at{Dialer: &net.Dialer{}, do: func() {
			happened = true
			if _, err := c.UserAdd(context.Background(), r.Name, "theirs"); err != nil {
				return // ours is there already
			}
			appeared = true
			if n%2 == 0 {
				if _, err := c.UserGrantRole(context.Background(), r.Name, "accountants"); err != nil {
					t.Error(err)
				}
			}
		}}
		d.left.Store(n)
		config := register(s, scope)
		config.Dialer = d
		err := opened(t, config).EnsureLogin(t.Context(), r)
		target := opened(t, register(s, scope))
		if !appeared {
			if err != nil {
				t.Fatalf("before packet %d: %v", n, err)
			}
			if err := target.RemoveLogin(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		} else {
			raced++
			if patchbay.CodeOf(err) != patchbay.NotOurs || patchbay.IsTransient(err) {
				t.Errorf("before packet %d: EnsureLogin: %v", n, err)
			}
			if state, err := target.InspectLogin(t.Context(), r); err != nil || !state.Exists || state.Ours {
				t.Errorf("before packet %d: InspectLogin: %+v, %v", n, state, err)
			}
			if err := target.RemoveLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
				t.Errorf("before packet %d: RemoveLogin: %v", n, err)
			}
			if ok, err := s.Client(r.Name, "theirs"); err != nil {
				t.Errorf("before packet %d: they can't sign in any more: %v", n, err)
			} else {
				_ = ok.Close()
			}
			if user, err := c.UserGet(t.Context(), r.Name); err != nil || len(user.Roles) != int(1-n%2) {
				t.Errorf("before packet %d: their user: %v, %v", n, user, err)
			}
			if _, err := c.UserDelete(t.Context(), r.Name); err != nil {
				t.Fatal(err)
			}
		}
		if after := everything(t, c); after != before {
			t.Fatalf("before packet %d: there is\n%s", n, after)
		}
		if !happened {
			break
		}
	}
	if raced < 3 {
		t.Errorf("it appeared %d times", raced)
	}
}

// The mark's connection is for people: a login is found under whichever.
func TestAConnectionThatIsCalledOtherwiseHasItsLogin(t *testing.T) {
	s := server(t)
	target := opened(t, register(s, scope))
	r := made(t, target, "moved", patchbay.Writer, nil)
	as := r
	as.Mark.Connection = "/subscriptions/T/another"
	if state, err := target.InspectLogin(t.Context(), as); err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("%+v, %v", state, err)
	}
	if err := target.EnsureLogin(t.Context(), as); err != nil {
		t.Fatal(err)
	}
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 1 {
		t.Errorf("%v, %v", owned, err)
	}
	if err := target.RemoveLogin(t.Context(), as); err != nil {
		t.Fatal(err)
	}
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 0 {
		t.Errorf("%v, %v", owned, err)
	}
	// Of another generation, or another connection's, it is not.
	r = made(t, target, "moved", patchbay.Writer, nil)
	as = r
	as.Mark.Generation = 2
	if err := target.RemoveLogin(t.Context(), as); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("another generation: %v", err)
	}
	as = r
	as.Mark.UID = "another"
	if err := target.RemoveLogin(t.Context(), as); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("another uid: %v", err)
	}
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
}
