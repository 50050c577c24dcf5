package etcd_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/etcd"
)

func code(t *testing.T, what string, err error, want patchbay.Code, transient bool) *patchbay.Error {
	t.Helper()
	if patchbay.CodeOf(err) != want || patchbay.IsTransient(err) != transient {
		t.Errorf("%s: %v (transient %t), want %s (%t)", what, err, patchbay.IsTransient(err), want, transient)
		return &patchbay.Error{}
	}
	return patchbay.AsError(err)
}

// sh runs a fix as a person would: with etcdctl, which is told the server and who asks.
func sh(t *testing.T, s *testenv.EtcdServer, user, command string) {
	t.Helper()
	if _, err := exec.LookPath("etcdctl"); err != nil {
		t.Skipf("etcdctl is not installed: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=" + s.URL()}
	if user != "" {
		cmd.Env = append(cmd.Env, "ETCDCTL_USER="+user)
	}
	cmd.Stdin = strings.NewReader(s.Password + "\n" + s.Password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func TestARestartedServerStillKnowsTheLogins(t *testing.T) {
	s := testenv.Etcd(t, testenv.EtcdOptions{})
	target := opened(t, register(s, scope))
	r, gone := made(t, target, "a", patchbay.Writer, nil), made(t, target, "b", patchbay.Reader, nil)
	if err := target.RemoveLogin(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	_, err := target.Inspect(t.Context(), "")
	_ = code(t, "Inspect of a server that is down", err, patchbay.PortClosed, true)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The same target goes on with the new process, which knows its token no more.
	if state, err := target.InspectLogin(t.Context(), r); err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("after a restart %+v, %v", state, err)
	}
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
	_, err = probe(t, target, gone)
	_ = code(t, "a removed login after a restart", err, patchbay.LoginRefused, false)
}

func TestTheAdministratorIsCheckedWhenItIsRegistered(t *testing.T) {
	s := testenv.Etcd(t, testenv.EtcdOptions{NoAuth: true})
	config := register(s, scope)
	_, err := opened(t, config).Inspect(t.Context(), "")
	e := code(t, "authentication is off", err, patchbay.NotSupported, false)
	// etcdctl asks for a password twice, each in its own way: as by hand.
	sh(t, s, "", strings.Replace(e.Fix, "etcdctl user add root", "etcdctl user add root:"+s.Password, 1))
	if _, err := opened(t, config).Inspect(t.Context(), ""); err != nil {
		t.Errorf("after the fix: %v", err)
	}

	c := s.Root(t)
	if _, err := c.UserAdd(t.Context(), "it's me", s.Password); err != nil {
		t.Fatal(err)
	}
	config.Admin = driver.Secrets{"username": patchbay.NewSecret("it's me"), "password": patchbay.NewSecret(s.Password)}
	target := opened(t, config)
	before := everything(t, c)
	_, err = target.Inspect(t.Context(), "")
	e = code(t, "an administrator without the role", err, patchbay.AdminRights, false)
	for what, call := range map[string]func() error{
		"EnsureLogin": func() error { return target.EnsureLogin(t.Context(), request(t, target, "a", patchbay.Writer, nil)) },
		"RemoveLogin": func() error { return target.RemoveLogin(t.Context(), request(t, target, "a", patchbay.Writer, nil)) },
		"InspectLogin": func() error {
			_, err := target.InspectLogin(t.Context(), request(t, target, "a", patchbay.Writer, nil))
			return err
		},
		"Owned": func() error { _, err := target.Owned(t.Context()); return err },
	} {
		if other := code(t, what, call(), patchbay.AdminRights, false); other.Fix != e.Fix {
			t.Errorf("%s: the fix is %q", what, other.Fix)
		}
	}
	if after := everything(t, c); after != before {
		t.Errorf("something was done: %s", after)
	}
	sh(t, s, "root:"+s.Password, e.Fix)
	if _, err := target.Inspect(t.Context(), ""); err != nil {
		t.Errorf("after %s: %v", e.Fix, err)
	}
	r := made(t, target, "a", patchbay.Writer, nil)
	// Its rights go while it has sessions.
	if _, err := c.UserRevokeRole(t.Context(), "it's me", "root"); err != nil {
		t.Fatal(err)
	}
	_ = code(t, "its rights are gone", target.RemoveLogin(t.Context(), r), patchbay.AdminRights, false)
	if _, err := probe(t, target, r); err != nil {
		t.Errorf("the login has suffered: %v", err)
	}
	if _, err := c.UserGrantRole(t.Context(), "it's me", "root"); err != nil {
		t.Fatal(err)
	}
	// Its password is another one by now.
	if _, err := c.UserChangePassword(t.Context(), "it's me", "another"); err != nil {
		t.Fatal(err)
	}
	_ = code(t, "another password", target.EnsureLogin(t.Context(), r), patchbay.AdminRefused, false)
	if _, err := c.UserChangePassword(t.Context(), "it's me", s.Password); err != nil {
		t.Fatal(err)
	}
}

// A watch is what etcd does not end, and the description and every preview say so.
func TestAnOpenWatchOutlivesItsLogin(t *testing.T) {
	s := server(t)
	target := opened(t, register(s, scope))
	r := made(t, target, "watch", patchbay.Reader, nil)
	c, err := signIn(s, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	watched := c.Watch(t.Context(), "/orders/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	if first := <-watched; first.Err() != nil || !first.Created {
		t.Fatal(first.Err())
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	root := s.Root(t)
	if _, err := root.Put(t.Context(), "/orders/late", "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Delete(t.Context(), "/orders/late"); err != nil {
		t.Fatal(err)
	}
	if told := <-watched; told.Err() != nil || len(told.Events) == 0 {
		t.Errorf("etcd ends watches now: take what says that it does not out of describe.go, Beyond and docs/security.md: %v", told.Err())
	}
	if _, err := c.Get(t.Context(), "/orders/x"); err == nil {
		t.Error("its token still reads")
	}
	beyond, err := target.Administrator.(driver.WarnedLogins).Beyond(t.Context(), r)
	if err != nil || !slices.ContainsFunc(beyond, func(w string) bool { return strings.Contains(w, "watch that is open") }) ||
		!slices.ContainsFunc(beyond, func(w string) bool { return strings.Contains(w, "bills2") }) {
		t.Errorf("nothing says so: %q, %v", beyond, err)
	}
}

func TestPrefixesNarrowTheRegistration(t *testing.T) {
	s := server(t)
	target := opened(t, register(s, scope))
	r := made(t, target, "narrow", patchbay.Writer, map[string]string{"prefixes": "/orders/eu/, /orders/eu/de/,/orders/us"})
	if r.Credential.Public["prefixes"] != "/orders/eu/,/orders/us" {
		t.Errorf("it is told %q", r.Credential.Public["prefixes"])
	}
	if result, err := probe(t, target, r); err != nil || !slices.Contains(result.Allowed, "write keys below /orders/eu/") || !slices.Contains(result.Refused, "read keys beside /orders/us") {
		t.Errorf("%+v, %v", result, err)
	}
	for key, want := range map[string]bool{"/orders/eu/x": true, "/orders/usa": true, "/orders/x": false, "/orders/eu": false, "bills": false} {
		if err := as(s, put(key))(t.Context(), "", r.Credential); want != (err == nil) {
			t.Errorf("%s: %v", key, err)
		}
	}
	root := s.Root(t)
	if _, err := root.Delete(t.Context(), "/orders/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	for _, prefixes := range []string{"", " ", "/payroll/", "/orders", "/orders/,/payroll/", "/orders/\n/x", "/orders/,", strings.Repeat("/orders/", 100)} {
		r := driver.LoginRequest{Mark: driver.Mark{UID: "x", Generation: 1}, Name: "pb_x_g1", Auth: patchbay.AuthSecret, Access: patchbay.Writer, Options: map[string]string{"prefixes": prefixes}}
		_, err := target.NewCredential(t.Context(), r)
		_ = code(t, prefixes, err, patchbay.InvalidArgument, false)
	}
	r.Access = patchbay.Owner
	_, err := target.NewCredential(t.Context(), r)
	_ = code(t, "an owner", err, patchbay.InvalidArgument, false)
	none := opened(t, register(s, nil))
	r.Access, r.Options = patchbay.Reader, nil
	_, err = none.NewCredential(t.Context(), r)
	_ = code(t, "no prefix at all", err, patchbay.InvalidArgument, false)
	// Without registered ones, any may be asked for; names are as hostile as keys are.
	for i, prefix := range []string{"Größe/名前/", `it's "a" $(prefix)/`, "%s/../", "/"} {
		r := made(t, none, "hostile"+string(rune('a'+i)), patchbay.Writer, map[string]string{"prefixes": prefix})
		if state, err := none.InspectLogin(t.Context(), r); err != nil || len(state.Missing)+len(state.Excess) > 0 {
			t.Errorf("%s: %+v, %v", prefix, state, err)
		}
		if _, err := probe(t, none, r); err != nil {
			t.Errorf("%s: %v", prefix, err)
		}
		if err := as(s, both(put(prefix+"x"), del(prefix+"x")))(t.Context(), "", r.Credential); err != nil {
			t.Errorf("%s: %v", prefix, err)
		}
	}
}

func TestTLS(t *testing.T) {
	s := testenv.Etcd(t, testenv.EtcdOptions{TLS: true})
	ca := map[string]any{"ca": string(s.CA)}
	config := register(s, map[string]any{"prefixes": []string{"/orders/"}, "tls": ca})
	target := opened(t, config)
	info, err := target.Inspect(t.Context(), "")
	if err != nil || info.TLS != "TLS 1.3" || info.Values["ca"] != string(s.CA) || info.Values["endpoints"] != s.URL() || len(info.Warnings) > 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	r := made(t, target, "a", patchbay.Writer, nil)
	if result, err := probe(t, target, r); err != nil || result.TLS != "TLS 1.3" {
		t.Errorf("%+v, %v", result, err)
	}
	// The library is told no other name: a probe fails as it would.
	named := register(s, map[string]any{"prefixes": []string{"/orders/"}, "tls": map[string]any{"ca": string(s.CA), "serverName": "localhost"}})
	if _, err := opened(t, named).Inspect(t.Context(), ""); err != nil {
		t.Errorf("by its other name: %v", err)
	}
	for what, change := range map[string]func(*driver.Config){
		"an authority nobody gave": func(c *driver.Config) { *c = register(s, nil) },
		"another name": func(c *driver.Config) {
			*c = register(s, map[string]any{"tls": map[string]any{"ca": string(s.CA), "serverName": "other.test"}})
		},
	} {
		c := config
		change(&c)
		_, err := opened(t, c).Inspect(t.Context(), "")
		if e := code(t, what, err, patchbay.CertificateInvalid, false); e.Fix == "" {
			t.Errorf("%s: nothing says what helps: %v", what, err)
		}
	}
	// TLS to a server without: etcd hangs up.
	bare := register(server(t), nil)
	bare.Endpoint = server(t).Addr()
	if _, err := opened(t, bare).Inspect(t.Context(), ""); err == nil || !strings.Contains(patchbay.AsError(err).Fix, "http://") {
		t.Errorf("no scheme, and no TLS: %v", err)
	}
	// In the clear to a server with TLS: nothing is understood.
	c := register(s, nil)
	c.Endpoint = "http://" + s.Addr()
	if _, err := opened(t, c).Inspect(t.Context(), ""); patchbay.CodeOf(err) != patchbay.TargetUnreachable {
		t.Errorf("in the clear: %v", err)
	}
	c.Properties = config.Properties
	_, err = etcd.Driver().Open(t.Context(), c)
	_ = code(t, "http with an authority", err, patchbay.InvalidArgument, false)
}

func TestAServerThatWantsCertificatesIsSaidToBeOne(t *testing.T) {
	s := testenv.Etcd(t, testenv.EtcdOptions{TLS: true, ClientCerts: true})
	_, err := opened(t, register(s, map[string]any{"tls": map[string]any{"ca": string(s.CA)}})).Inspect(t.Context(), "")
	if e := code(t, "Inspect", err, patchbay.CertificateInvalid, false); !strings.Contains(e.Fix, "--client-cert-auth") {
		t.Errorf("the fix is %q", e.Fix)
	}
}

// Of several members the first that answers will do, and addresses may be of any form.
func TestSeveralMembers(t *testing.T) {
	s := server(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	c := register(s, scope)
	c.Endpoint = "http://" + closed + "," + s.Addr()
	target := opened(t, c)
	info, err := target.Inspect(t.Context(), "")
	if err != nil || info.Values["endpoints"] != "http://"+closed+",http://"+s.Addr() {
		t.Fatalf("%+v, %v", info, err)
	}
	r := made(t, target, "several", patchbay.Reader, nil)
	if _, err := probe(t, target, r); err != nil {
		t.Error(err)
	}
	for endpoint, want := range map[string]string{
		"http://[::1]:2379,http://a.test": "http://[::1]:2379,http://a.test:2379", "https://a.test,b.test:1": "https://a.test:2379,https://b.test:1", "a.test": "https://a.test:2379",
	} {
		c := register(s, map[string]any{"url": endpoint})
		if info, err := opened(t, c).Inspect(t.Context(), ""); err != nil || info.Values["endpoints"] != want {
			t.Errorf("%s: %q, %v", endpoint, info.Values["endpoints"], err)
		}
	}
	for _, endpoint := range []string{"", "redis://a.test", "http://a.test,https://b.test", "http://u:p@a.test", "http://a.test/x", "http://a.test?x=1"} {
		c := register(s, nil)
		c.Endpoint = endpoint
		_, err := etcd.Driver().Open(t.Context(), c)
		_ = code(t, endpoint, err, patchbay.InvalidArgument, false)
	}
}

// A learner answers questions about itself, and nothing else.
func TestALearnerIsNoMemberToRegister(t *testing.T) {
	s := testenv.Etcd(t, testenv.EtcdOptions{})
	learner := testenv.Etcd(t, testenv.EtcdOptions{Of: s})
	c := register(s, scope)
	c.Endpoint = learner.URL()
	_, err := opened(t, c).Inspect(t.Context(), "")
	_ = code(t, "Inspect", err, patchbay.TargetUnreachable, false)
	c.Endpoint += "," + s.URL()
	if _, err := opened(t, c).Inspect(t.Context(), ""); err != nil {
		t.Errorf("beside a member that votes: %v", err)
	}
}

// Where the database is full, rights are given and tried as ever, and it is said.
func TestAClusterWithoutSpace(t *testing.T) {
	s := testenv.Etcd(t, testenv.EtcdOptions{Quota: 1 << 20})
	c := s.Root(t)
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = c.Put(t.Context(), "/fill", strings.Repeat("x", 256<<10))
	}
	if err == nil {
		t.Fatal("it takes everything")
	}
	target := opened(t, register(s, scope))
	info, err := target.Inspect(t.Context(), "")
	if err != nil || !slices.ContainsFunc(info.Warnings, func(w string) bool { return strings.Contains(w, "takes no writes") }) {
		t.Errorf("%+v, %v", info, err)
	}
	r := made(t, target, "a", patchbay.Writer, nil)
	result, err := probe(t, target, r)
	if err != nil || !slices.ContainsFunc(result.NotChecked, func(w string) bool { return strings.Contains(w, "write keys below /orders/") }) {
		t.Errorf("%+v, %v", result, err)
	}
}

// A probe leaves nothing behind.
func TestAProbeChangesNoKey(t *testing.T) {
	s := server(t)
	c := s.Root(t)
	target := opened(t, register(s, scope))
	r := made(t, target, "traces", patchbay.Writer, nil)
	before, err := c.Get(context.Background(), "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := probe(t, target, r); err != nil {
		t.Fatal(err)
	}
	after, err := c.Get(context.Background(), "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	if err != nil || after.Header.Revision != before.Header.Revision {
		t.Errorf("the cluster is at revision %d, and was at %d: %v", after.Header.Revision, before.Header.Revision, err)
	}
}

// More and less than its access, by hand, is what a probe finds.
func TestAProbeFindsWhatSomebodyGave(t *testing.T) {
	s := server(t)
	c := s.Root(t)
	target := opened(t, register(s, scope))
	all := clientv3.PermissionType(clientv3.PermReadWrite)
	for what, give := range map[string]func(driver.LoginRequest) error{
		"the key right behind": func(r driver.LoginRequest) error {
			_, err := c.RoleGrantPermission(t.Context(), role(r), "/orders0", "", all)
			return err
		},
		"everything": func(r driver.LoginRequest) error {
			_, err := c.RoleGrantPermission(t.Context(), role(r), "\x00", "\x00", clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		"root": func(r driver.LoginRequest) error { _, err := c.UserGrantRole(t.Context(), r.Name, "root"); return err },
	} {
		r := made(t, target, "found", patchbay.Reader, nil)
		if err := give(r); err != nil {
			t.Fatal(err)
		}
		_, err := probe(t, target, r)
		_ = code(t, what, err, patchbay.RightsExcess, false)
		if err := errors.Join(target.EnsureLogin(t.Context(), r)); err != nil {
			t.Fatal(err)
		}
		if _, err := probe(t, target, r); err != nil {
			t.Errorf("%s, repaired: %v", what, err)
		}
		if err := target.RemoveLogin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}
