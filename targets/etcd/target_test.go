package etcd_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/etcd"
)

// shared is a server that most tests use; every test leaves it as it was.
var shared *testenv.EtcdServer

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		os.Exit(goProgram())
	}
	code := m.Run()
	if shared != nil {
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func server(t testing.TB) *testenv.EtcdServer {
	t.Helper()
	if shared != nil {
		return shared
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := testenv.StartEtcd(ctx, testenv.EtcdOptions{})
	switch {
	case errors.Is(err, testenv.ErrNotInstalled):
		return testenv.Etcd(t, testenv.EtcdOptions{}) // which knows whether that is a failure
	case err != nil:
		_ = s.Stop()
		t.Fatal(err)
	}
	shared = s
	return s
}

// register is the configuration of s as a target, with more properties.
func register(s *testenv.EtcdServer, properties map[string]any) driver.Config {
	if properties == nil {
		properties = map[string]any{}
	}
	text, err := json.Marshal(properties)
	if err != nil {
		panic(err) // the test's own mistake
	}
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/etcdServers/config",
		Endpoint: s.URL(), Properties: text, Admin: s.Admin(), Dialer: &net.Dialer{},
	}
}

// scope is what the suite's logins may use: two prefixes, one without a separator at
// its end.
var scope = map[string]any{"prefixes": []string{"/orders/", "bills"}}

func opened(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	return drivertest.OpenTarget(t, etcd.Driver(), c)
}

func request(t testing.TB, target driver.Administrator, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/x"}, Name: "pb_" + uid + "_g1",
		Auth: patchbay.AuthSecret, Access: access, Options: options,
	}
	c, err := target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	return r
}

// made is a login that is there until the test ends.
func made(t testing.TB, target driver.Administrator, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := request(t, target, uid, access, options)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.RemoveLogin(context.Background(), r); err != nil && patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("clean up: %v", err)
		}
	})
	return r
}

func probe(t testing.TB, target drivertest.Opened, r driver.LoginRequest) (driver.ProbeResult, error) {
	t.Helper()
	return target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access, Options: r.Options})
}

// signIn is a client as an application has it.
func signIn(s *testenv.EtcdServer, c driver.Credential) (*clientv3.Client, error) {
	client, err := s.Client(c.Public["username"], c.Secret["password"].Reveal())
	return client, refusal(err)
}

// refusal is err, and says of etcd's own no that it is one.
func refusal(err error) error {
	known := []error{rpctypes.ErrAuthFailed, rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty, rpctypes.ErrInvalidAuthToken}
	if is := rpctypes.Error(err); err != nil && (slices.ContainsFunc(known, func(k error) bool { return errors.Is(is, k) }) || strings.Contains(err.Error(), "permission denied")) {
		return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
	}
	return err
}

// as makes an action of something to do with a client.
func as(s *testenv.EtcdServer, do func(context.Context, *clientv3.Client) error) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, _ string, c driver.Credential) error {
		client, err := signIn(s, c)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		return refusal(do(ctx, client))
	}
}

func get(key string, options ...clientv3.OpOption) func(context.Context, *clientv3.Client) error {
	return func(ctx context.Context, c *clientv3.Client) error { _, err := c.Get(ctx, key, options...); return err }
}

func put(key string) func(context.Context, *clientv3.Client) error {
	return func(ctx context.Context, c *clientv3.Client) error { _, err := c.Put(ctx, key, "x"); return err }
}

func del(key string, options ...clientv3.OpOption) func(context.Context, *clientv3.Client) error {
	return func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Delete(ctx, key, options...)
		return err
	}
}

func watch(key string, options ...clientv3.OpOption) func(context.Context, *clientv3.Client) error {
	return func(ctx context.Context, c *clientv3.Client) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		answer := <-c.Watch(ctx, key, append(options, clientv3.WithCreatedNotify())...)
		return answer.Err()
	}
}

func both(do ...func(context.Context, *clientv3.Client) error) func(context.Context, *clientv3.Client) error {
	return func(ctx context.Context, c *clientv3.Client) error {
		for _, one := range do {
			if err := one(ctx, c); err != nil {
				return err
			}
		}
		return nil
	}
}

// session polls, as there is nothing that etcd tells a client of its end.
type session struct{ *clientv3.Client }

func (s session) Close() { _ = s.Client.Close() }

func (s session) Wait(ctx context.Context) error {
	for {
		_, err := s.Get(ctx, "/orders/x")
		switch {
		case errors.Is(refusal(err), drivertest.ErrRefused):
			return nil
		case err != nil:
			return err
		}
	}
}

func actions(s *testenv.EtcdServer) []drivertest.Action {
	all, writer := []patchbay.Access{patchbay.Reader, patchbay.Writer}, []patchbay.Access{patchbay.Writer}
	prefix := clientv3.WithPrefix()
	return []drivertest.Action{
		{Name: "get and watch below the prefixes", Allowed: all, Do: as(s, both(get("/orders/x"), get("/orders/", prefix), get("bills", prefix), get("bills2"), watch("/orders/", prefix)))},
		{Name: "put and delete below a prefix", Allowed: writer, Do: as(s, both(put("/orders/x"), del("/orders/x"), del("/orders/", prefix)))},
		{Name: "put below the other", Allowed: writer, Do: as(s, put("bills/x"))},
		{Name: "delete below the other", Allowed: writer, Do: as(s, del("bills", prefix))},
		{Name: "compare and put", Allowed: writer, Do: as(s, func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("/orders/t"), ">", -1)).Then(clientv3.OpPut("/orders/t", "1")).Commit()
			return err
		})},
		{Name: "put with a lease, and have it end", Allowed: writer, Do: as(s, func(ctx context.Context, c *clientv3.Client) error {
			lease, err := c.Grant(ctx, 60)
			if err != nil {
				return err
			}
			if _, err := c.Put(ctx, "/orders/leased", "1", clientv3.WithLease(lease.ID)); err != nil {
				return err
			}
			_, err = c.Revoke(ctx, lease.ID)
			return err
		})},
		{Name: "get right beside a prefix", Do: as(s, get("/orders0"))},
		{Name: "get the prefix without its separator", Do: as(s, get("/orders"))},
		{Name: "get another's key", Do: as(s, get("/payroll/x"))},
		{Name: "get all keys", Do: as(s, get("", prefix))},
		{Name: "get from a prefix on", Do: as(s, get("/orders/", clientv3.WithFromKey()))},
		{Name: "watch another's keys", Do: as(s, watch("/payroll/", prefix))},
		{Name: "watch all keys", Do: as(s, watch("", prefix))},
		{Name: "put another's key", Do: as(s, put("/payroll/x"))},
		{Name: "delete all keys", Do: as(s, del("", prefix))},
		{Name: "delete beyond the prefix", Do: as(s, del("/orders/", clientv3.WithRange("/p")))},
		{Name: "make a user", Do: as(s, func(ctx context.Context, c *clientv3.Client) error { _, err := c.UserAdd(ctx, "x", "y"); return err })},
		{Name: "list the users", Do: as(s, func(ctx context.Context, c *clientv3.Client) error { _, err := c.UserList(ctx); return err })},
		{Name: "give itself root", Do: as(s, func(ctx context.Context, c *clientv3.Client) error {
			_, err := c.UserGrantRole(ctx, c.Username, "root")
			return err
		})},
		{Name: "turn authentication off", Do: as(s, func(ctx context.Context, c *clientv3.Client) error { _, err := c.AuthDisable(ctx); return err })},
	}
}

func drifts(s *testenv.EtcdServer) []drivertest.Drift {
	by := func(do func(context.Context, *clientv3.Client, driver.LoginRequest) error) func(context.Context, driver.LoginRequest) error {
		return func(ctx context.Context, r driver.LoginRequest) error {
			c, err := s.Client(s.User, s.Password)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			return do(ctx, c, r)
		}
	}
	grant := func(key, end string, kind clientv3.PermissionType) func(context.Context, driver.LoginRequest) error {
		return by(func(ctx context.Context, c *clientv3.Client, r driver.LoginRequest) error {
			_, err := c.RoleGrantPermission(ctx, role(r), key, end, kind)
			return err
		})
	}
	read, write, all := clientv3.PermissionType(clientv3.PermRead), clientv3.PermissionType(clientv3.PermWrite), clientv3.PermissionType(clientv3.PermReadWrite)
	revoke := by(func(ctx context.Context, c *clientv3.Client, r driver.LoginRequest) error {
		_, err := c.RoleRevokePermission(ctx, role(r), "/orders/", "/orders0")
		return err
	})
	return []drivertest.Drift{
		{Name: "may read only", Access: patchbay.Writer, Missing: true, Make: grant("/orders/", "/orders0", read)},
		{Name: "may write only", Access: patchbay.Writer, Missing: true, Make: grant("/orders/", "/orders0", write)},
		{Name: "a reader may write", Access: patchbay.Reader, Excess: true, Make: grant("/orders/", "/orders0", all)},
		{Name: "may use a key more", Access: patchbay.Writer, Excess: true, Make: grant("/payroll/x", "", read)},
		{Name: "may use everything", Access: patchbay.Writer, Excess: true, Make: grant("\x00", "\x00", all)},
		{Name: "has lost a prefix", Access: patchbay.Writer, Missing: true, Make: revoke},
		{Name: "has another prefix in its place", Access: patchbay.Reader, Missing: true, Excess: true, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return errors.Join(revoke(ctx, r), grant("/order", "/ordes", read)(ctx, r))
		}},
		{Name: "is root", Access: patchbay.Reader, Excess: true, Make: by(func(ctx context.Context, c *clientv3.Client, r driver.LoginRequest) error {
			_, err := c.UserGrantRole(ctx, r.Name, "root")
			return err
		})},
		{Name: "has lost its role", Access: patchbay.Writer, Missing: true, Make: by(func(ctx context.Context, c *clientv3.Client, r driver.LoginRequest) error {
			_, err := c.UserRevokeRole(ctx, r.Name, role(r))
			return err
		})},
		{Name: "its role is gone", Access: patchbay.Writer, Make: by(func(ctx context.Context, c *clientv3.Client, r driver.LoginRequest) error {
			_, err := c.RoleDelete(ctx, role(r))
			return err
		})},
		{Name: "has another password", Access: patchbay.Writer, Make: by(func(ctx context.Context, c *clientv3.Client, r driver.LoginRequest) error {
			_, err := c.UserChangePassword(ctx, r.Name, "another")
			return err
		})},
		{Name: "signs in with certificates alone", Access: patchbay.Writer, Make: by(func(ctx context.Context, c *clientv3.Client, r driver.LoginRequest) error {
			_, err1 := c.UserDelete(ctx, r.Name)
			_, err2 := c.UserAddWithOptions(ctx, r.Name, "", &clientv3.UserAddOptions{NoPassword: true})
			_, err3 := c.UserGrantRole(ctx, r.Name, role(r))
			return errors.Join(err1, err2, err3)
		})},
	}
}

// role is the name of a login's role, as decision 0034 and docs/concepts.md have it.
func role(r driver.LoginRequest) string {
	return fmt.Sprintf("patchbay/%s/%s/%d%s", r.Name, r.Mark.UID, r.Mark.Generation, r.Mark.Connection)
}

// foreign makes a user of that name that is somebody else's.
func foreign(s *testenv.EtcdServer) func(testing.TB, string, string) func() error {
	return func(t testing.TB, _, name string) func() error {
		t.Helper()
		c := s.Root(t)
		if _, err := c.UserAdd(t.Context(), name, "theirs"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := c.UserDelete(context.Background(), name); err != nil {
				t.Error(err)
			}
		})
		return func() error {
			user, err := c.UserGet(context.Background(), name)
			if err == nil && len(user.Roles) > 0 {
				return fmt.Errorf("it has the roles %q", user.Roles)
			}
			if err != nil {
				return err
			}
			theirs, err := s.Client(name, "theirs")
			if err == nil {
				err = theirs.Close()
			}
			return err
		}
	}
}

func harness(s *testenv.EtcdServer) drivertest.TargetHarness {
	return drivertest.TargetHarness{
		Driver:  etcd.Driver(),
		Product: "etcd", Release: 2, Config: register(s, scope), Subs: []string{""},
		SignIn: as(s, get("/orders/x")),
		OpenSession: func(_ context.Context, _ string, c driver.Credential) (drivertest.Session, error) {
			client, err := signIn(s, c)
			return session{client}, err
		},
		Actions: actions(s), Drifts: drifts(s), Foreign: foreign(s),
		Wrong: func(c driver.Credential) map[string]driver.Credential {
			with := func(name, password string) driver.Credential {
				return driver.Credential{Public: map[string]string{"username": name}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
			}
			password := c.Secret["password"].Reveal()
			return map[string]driver.Credential{
				"an altered password": with(c.Public["username"], password[:len(password)-1]+"!"),
				"another's name":      with("root", password),
				"nobody's name":       with("nobody", password),
				"no password":         with(c.Public["username"], ""),
			}
		},
	}
}

func TestTheDriverPassesTheSuite(t *testing.T) { drivertest.Target(t, harness(server(t))) }

func TestTheDriverPassesTheSuiteOnTheNewest(t *testing.T) {
	drivertest.Target(t, harness(testenv.Etcd(t, testenv.EtcdOptions{Program: testenv.NewestEtcd(t), SignedTokens: true})))
}
