package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/redis"
)

func opened(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	return drivertest.OpenTarget(t, redis.Driver(), c)
}

// request is for a login of that uid.
func request(t testing.TB, target drivertest.Opened, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/cache"},
		Name: "pb_" + uid + "_g1", Sub: "0", Auth: patchbay.AuthSecret, Access: access, Options: options,
	}
	var err error
	if r.Credential, err = target.NewCredential(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// made is a login that goes when the test ends.
func made(t testing.TB, target drivertest.Opened, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := request(t, target, uid, access, options)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := target.RemoveLogin(context.Background(), r); err != nil {
			t.Error(err)
		}
	})
	return r
}

func signsIn(t testing.TB, s *testenv.RedisServer, r driver.LoginRequest) error {
	app := application(s, r.Sub, r.Credential)
	defer func() { _ = app.Close() }()
	return app.Ping(t.Context()).Err()
}

func inspected(t testing.TB, target drivertest.Opened, r driver.LoginRequest) driver.LoginState {
	t.Helper()
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func whole(s driver.LoginState) bool { return s.Exists && s.Ours && len(s.Missing)+len(s.Excess) == 0 }

func warned(t testing.TB, target drivertest.Opened, words ...string) {
	t.Helper()
	info, err := target.Inspect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range words {
		if !slices.ContainsFunc(info.Warnings, func(text string) bool { return strings.Contains(text, w) }) {
			t.Errorf("the warnings are %q, without %q", info.Warnings, w)
		}
	}
}

// A login that was made survives a crash of the server, and one that was removed does
// not come back.
func TestLoginsSurviveARestart(t *testing.T) {
	for _, keeps := range []string{"", "config"} {
		t.Run("keeps "+keeps, func(t *testing.T) {
			s := testenv.RedisWith(t, testenv.RedisOptions{Keeps: keeps})
			target := opened(t, config(s))
			stays := request(t, target, "stays", patchbay.Writer, map[string]string{"keys": "orders:*,it[a-z]?", "channels": "x"})
			goes := request(t, target, "goes", patchbay.Owner, nil)
			for _, r := range []driver.LoginRequest{stays, goes} {
				if err := target.EnsureLogin(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			if err := target.RemoveLogin(t.Context(), goes); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := signsIn(t, s, stays); err != nil {
				t.Errorf("after a restart: %v", err)
			}
			if state := inspected(t, target, stays); !whole(state) {
				t.Errorf("after a restart it is %+v", state)
			}
			if state := inspected(t, target, goes); state.Exists {
				t.Errorf("what was removed is back: %+v", state)
			}
			if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 1 || owned[0].Mark != stays.Mark {
				t.Errorf("Owned = %+v, %v", owned, err)
			}
		})
	}
}

// Who removed it died before the server had kept that: a removal of what is absent
// keeps it once more.
func TestARemovalThatWasNotKeptIsKeptByTheNext(t *testing.T) {
	s := testenv.Redis(t, false)
	target := opened(t, config(s))
	r := request(t, target, "half", patchbay.Writer, nil)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	do(t, s, "ACL", "DELUSER", r.Name)
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state := inspected(t, target, r); state.Exists {
		t.Errorf("it is back: %+v", state)
	}
}

func TestAServerThatKeepsNoUsersSaysSoAndIsRepaired(t *testing.T) {
	s := testenv.RedisWith(t, testenv.RedisOptions{Keeps: "nothing"})
	target := opened(t, config(s))
	warned(t, target, "neither an ACL file nor a configuration file", "lets everybody in without a password")
	r := request(t, target, "forgotten", patchbay.Writer, nil)
	for range 2 {
		if err := target.EnsureLogin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := signsIn(t, s, r); err != nil {
			t.Fatal(err)
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if state := inspected(t, target, r); state.Exists {
			t.Errorf("a server that keeps nothing kept %+v", state)
		}
	}
}

func TestAServerThatCanNotKeepItsUsersIsAnError(t *testing.T) {
	s := testenv.Redis(t, false)
	target := opened(t, config(s))
	r := request(t, target, "unkept", patchbay.Writer, nil)
	path := do(t, s, "CONFIG", "GET", "aclfile").([]any)[1].(string)
	// Redis writes it beside, and renames it: a directory can't be replaced so.
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := target.EnsureLogin(t.Context(), r)
	if e := patchbay.AsError(err); err == nil || e.Code != patchbay.TargetUnreachable || !strings.Contains(e.Message, "can't write its ACL file") || !strings.Contains(e.Fix, "ACL SAVE") {
		t.Errorf("EnsureLogin = %v", err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// Somebody else makes a user of the login's name after we looked and before we make it.
func TestAUserThatAppearsInTheSameMomentIsLeftAlone(t *testing.T) {
	s := sharedServer(t, "")
	for name, rules := range map[string][]any{
		"a user":              {"on", ">theirs", "~theirs:*", "&x", "+@read", "+set"},
		"with selectors":      {"on", ">theirs", "(%R~a\"b ~c'd &e +get -config|get)", "(+@all ~*)"},
		"that is off":         {"off", ">theirs"},
		"that nobody can use": {"~theirs"},
	} {
		t.Run(name, func(t *testing.T) {
			var before string
			// The claim is what says EXEC.
			dialer := &meddler{next: &net.Dialer{}, before: "EXEC"}
			c := config(s)
			c.Dialer = dialer
			target := opened(t, c)
			r := request(t, target, "race", patchbay.Writer, nil)
			dialer.do = func() {
				do(t, s, append([]any{"ACL", "SETUSER", r.Name}, rules...)...)
				before = fmt.Sprint(do(t, s, "ACL", "GETUSER", r.Name))
			}
			t.Cleanup(func() { do(t, s, "ACL", "DELUSER", r.Name) })
			if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
				t.Errorf("EnsureLogin = %v", err)
			}
			if after := fmt.Sprint(do(t, s, "ACL", "GETUSER", r.Name)); before == "" || after != before {
				t.Errorf("it was %s, and is %s", before, after)
			}
			if err := target.RemoveLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
				t.Errorf("RemoveLogin = %v", err)
			}
		})
	}
}

// Who claimed the name died before taking the claim back: their user is still theirs.
func TestAClaimOnSomebodyElsesUserIsNoMark(t *testing.T) {
	s := sharedServer(t, "")
	target := opened(t, config(s))
	r := request(t, target, "claimed", patchbay.Writer, nil)
	claim := "(~patchbay-claim:connection=" + strings.ReplaceAll(string(r.Mark.Connection), "/", "%2F") + "&generation=1&uid=claimed -@all)"
	t.Cleanup(func() { do(t, s, "ACL", "DELUSER", r.Name) })
	do(t, s, "ACL", "SETUSER", r.Name, "on", ">theirs", claim)
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("EnsureLogin = %v", err)
	}
	if state := inspected(t, target, r); !state.Exists || state.Ours {
		t.Errorf("%+v", state)
	}
	if owned, err := target.Owned(t.Context()); err != nil || slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Name == r.Name }) {
		t.Errorf("Owned = %+v, %v", owned, err)
	}
	// On what is nothing yet it is ours: we died in between.
	do(t, s, "ACL", "DELUSER", r.Name)
	do(t, s, "ACL", "SETUSER", r.Name, claim)
	if owned, err := target.Owned(t.Context()); err != nil || !slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Name == r.Name && o.Mark == r.Mark }) {
		t.Errorf("Owned = %+v, %v", owned, err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
	if state := inspected(t, target, r); !whole(state) {
		t.Errorf("%+v", state)
	}
}

// meddler does something right before a word is sent.
type meddler struct {
	next   driver.Dialer
	before string
	do     func()
	once   sync.Once
}

func (m *meddler) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := m.next.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return meddled{conn, m}, nil
}

type meddled struct {
	net.Conn
	m *meddler
}

func (c meddled) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(c.m.before)) {
		c.m.once.Do(c.m.do)
	}
	return c.Conn.Write(p)
}

// Users whose names are almost a login's are nobody's business.
func TestUsersOfSimilarNamesAreLeftAlone(t *testing.T) {
	s := sharedServer(t, "")
	target := opened(t, config(s))
	r := made(t, target, "x", patchbay.Writer, nil)
	decoys := []string{"pb_x_g", "pb_x_g10", "pb_x_g1_", "xpb_x_g1", "PB_x_g1", "pb_x_G1", "pb_x_g1:", "pb_*_g1", "pb_x_g01", "pb_y_g1"}
	mark := do(t, s, "ACL", "LIST").([]any)
	var selector string
	for _, line := range mark {
		if text, _ := line.(string); strings.HasPrefix(text, "user "+r.Name+" ") {
			selector = text[strings.Index(text, "("):]
		}
	}
	before := map[string]string{}
	for _, name := range decoys {
		do(t, s, "ACL", "SETUSER", name, "on", ">theirs", "+@all", "~*", selector) // with a copy of our mark
		before[name] = fmt.Sprint(do(t, s, "ACL", "GETUSER", name))
		t.Cleanup(func() { do(t, s, "ACL", "DELUSER", name) })
	}
	owned, err := target.Owned(t.Context())
	if err != nil || len(owned) != 1 || owned[0].Name != r.Name {
		t.Errorf("Owned = %+v, %v", owned, err)
	}
	if err := errors.Join(target.EnsureLogin(t.Context(), r), target.RemoveLogin(t.Context(), r)); err != nil {
		t.Error(err)
	}
	for name, was := range before {
		if is := fmt.Sprint(do(t, s, "ACL", "GETUSER", name)); is != was {
			t.Errorf("%s was %s, and is %s", name, was, is)
		}
	}
}

func TestAnotherConnectionsLoginIsNotOurs(t *testing.T) {
	s := sharedServer(t, "")
	target := opened(t, config(s))
	r := made(t, target, "mine", patchbay.Writer, nil)
	for _, m := range []driver.Mark{{UID: "other", Generation: 1, Connection: r.Mark.Connection}, {UID: "mine", Generation: 2, Connection: r.Mark.Connection}} {
		other := r
		other.Mark = m
		if err := target.EnsureLogin(t.Context(), other); patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("EnsureLogin = %v", err)
		}
		if err := target.RemoveLogin(t.Context(), other); patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("RemoveLogin = %v", err)
		}
	}
	if state := inspected(t, target, r); !whole(state) {
		t.Errorf("%+v", state)
	}
}

// least registers an administrator with these rules.
func least(t *testing.T, s *testenv.RedisServer, name string, rules ...any) driver.Config {
	t.Helper()
	do(t, s, append([]any{"ACL", "SETUSER", name, "reset", "on", ">" + s.Password}, rules...)...)
	do(t, s, "ACL", "SAVE")
	t.Cleanup(func() { do(t, s, "ACL", "DELUSER", name); do(t, s, "ACL", "SAVE") })
	c := config(s)
	c.Admin = driver.Secrets{"username": patchbay.NewSecret(name), "password": patchbay.NewSecret(s.Password)}
	return c
}

// The administrator that docs/security.md names is enough, and each of its rights is
// needed: what is missing is named with the statement that ends it.
func TestTheAdministratorsRightsAreNamed(t *testing.T) {
	s := sharedServer(t, "")
	document, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var rules []any
	for line := range strings.Lines(string(document)) {
		if statement, ok := strings.CutPrefix(strings.TrimSpace(line), "ACL SETUSER patchbay on >PASSWORD "); ok {
			for _, rule := range strings.Fields(statement) {
				rules = append(rules, rule)
			}
		}
	}
	if len(rules) == 0 {
		t.Fatal("docs/security.md names no administrator")
	}
	c := least(t, s, "least", rules...)
	target := opened(t, c)
	r := made(t, target, "byleast", patchbay.Owner, nil)
	if state := inspected(t, target, r); !whole(state) {
		t.Errorf("%+v", state)
	}
	if _, err := target.Inspect(t.Context(), "0"); err != nil {
		t.Error(err)
	}
	checker, ok := target.Administrator.(driver.RemovalChecker)
	if !ok {
		t.Fatal("it does not say beforehand that a removal is refused")
	}
	if err := checker.CheckRemoval(t.Context(), r); err != nil {
		t.Error(err)
	}
	for _, rule := range rules {
		right := strings.TrimPrefix(rule.(string), "+")
		if slices.Contains([]string{"config|rewrite", "cluster|nodes"}, right) { // another server's
			continue
		}
		t.Run("without "+right, func(t *testing.T) {
			do(t, s, "ACL", "SETUSER", "least", "-"+right)
			t.Cleanup(func() { do(t, s, append([]any{"ACL", "SETUSER", "least"}, rules...)...) })
			for what, err := range map[string]error{
				"Inspect":      func() error { _, err := target.Inspect(t.Context(), "0"); return err }(),
				"EnsureLogin":  target.EnsureLogin(t.Context(), r),
				"RemoveLogin":  target.RemoveLogin(t.Context(), r),
				"CheckRemoval": checker.CheckRemoval(t.Context(), r),
			} {
				e := patchbay.AsError(err)
				if err == nil || e.Code != patchbay.AdminRights || !strings.Contains(e.Fix, "+"+right) {
					t.Fatalf("%s = %v; fix: %v", what, err, e)
				}
			}
			if state := inspected(t, opened(t, config(s)), r); !whole(state) {
				t.Errorf("something was done to the login: %+v", state)
			}
			_, err := target.Inspect(t.Context(), "0")
			for statement := range strings.SplitSeq(patchbay.AsError(err).Fix, "; ") {
				var args []any
				for _, w := range strings.Fields(statement) {
					args = append(args, w)
				}
				do(t, s, args...)
			}
			if _, err := target.Inspect(t.Context(), "0"); err != nil {
				t.Errorf("after the fix: %v", err)
			}
			if err := target.EnsureLogin(t.Context(), r); err != nil {
				t.Errorf("after the fix: %v", err)
			}
		})
	}
}

func TestAnAdministratorThatDoesNotSignInIsRefused(t *testing.T) {
	s := sharedServer(t, "")
	for name, admin := range map[string]driver.Secrets{
		"a wrong password": {"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("wrong-password-0123456789")},
		"nobody":           {"username": patchbay.NewSecret("nobody"), "password": patchbay.NewSecret(s.Password)},
		"the default user": {"password": patchbay.NewSecret(s.Password)},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(s)
			c.Admin = admin
			target := opened(t, c)
			r := request(t, target, "never", patchbay.Writer, nil)
			_, err := target.Inspect(t.Context(), "")
			for _, err := range []error{err, target.EnsureLogin(t.Context(), r), target.RemoveLogin(t.Context(), r)} {
				if e := patchbay.AsError(err); err == nil || e.Code != patchbay.AdminRefused || e.Fix == "" || strings.Contains(fmt.Sprint(e, e.Fix), "wrong-password") {
					t.Errorf("%v", err)
				}
			}
		})
	}
}

// replicaOf starts a replica of s.
func replicaOf(t *testing.T, s *testenv.RedisServer) *testenv.RedisServer {
	t.Helper()
	r := testenv.RedisWith(t, testenv.RedisOptions{Password: s.Password, Args: []string{
		"--replicaof", s.Host + " " + fmt.Sprint(s.Port), "--masteruser", "admin", "--masterauth", s.Password}})
	linked(t, r)
	return r
}

// linked waits until a replica has its primary, and that has it.
func linked(t *testing.T, r *testenv.RedisServer) {
	t.Helper()
	eventually(t, func() bool {
		text, _ := do(t, r, "INFO", "replication").(string)
		return strings.Contains(text, "master_link_status:up")
	})
}

// eventually waits for what another process does.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it does not come about")
		}
	}
}

// Users are not replicated: a login is on the primary and on each replica, whichever
// is registered, so that it survives a failover.
func TestReplicasHaveTheLoginToo(t *testing.T) {
	primary := testenv.Redis(t, false)
	first := replicaOf(t, primary)
	target := opened(t, config(primary))
	r := made(t, target, "everywhere", patchbay.Writer, nil)
	for _, s := range []*testenv.RedisServer{primary, first} {
		if err := signsIn(t, s, r); err != nil {
			t.Errorf("%s: %v", s.Addr(), err)
		}
	}
	// One that joins later lacks it.
	second := replicaOf(t, primary)
	state := inspected(t, target, r)
	if len(state.Missing) != 1 || !strings.Contains(state.Missing[0], second.Addr()) || !state.Ours || len(state.Excess) > 0 {
		t.Errorf("with a new replica: %+v", state)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if state := inspected(t, target, r); !whole(state) {
		t.Errorf("after the repair: %+v", state)
	}
	// By way of a replica all of them are found, too.
	fromReplica := opened(t, config(first))
	warned(t, fromReplica, "is a replica")
	if state := inspected(t, fromReplica, r); !whole(state) {
		t.Errorf("by way of a replica: %+v", state)
	}
	if _, err := fromReplica.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: r.Sub, Access: r.Access}); patchbay.CodeOf(err) != patchbay.RightsMissing || !strings.Contains(patchbay.AsError(err).Fix, "primary") {
		t.Errorf("a writer on a replica: %v", err)
	}
	// One that is down keeps logins from being made.
	if err := second.Pause(); err != nil {
		t.Fatal(err)
	}
	other := request(t, target, "unmade", patchbay.Writer, nil)
	err := target.EnsureLogin(t.Context(), other)
	if e := patchbay.AsError(err); err == nil || e.Code != patchbay.PortClosed && !strings.Contains(e.Message, second.Addr()) {
		// The primary may have noticed already, and not name it any more.
		if state := inspected(t, target, other); err != nil || !whole(state) {
			t.Errorf("with a replica that is down: %v; %+v", err, state)
		}
	} else if users := fmt.Sprint(do(t, primary, "ACL", "USERS")); strings.Contains(users, other.Name) {
		t.Errorf("half of it was made: %s", users)
	}
	if err := target.RemoveLogin(t.Context(), other); err != nil && !patchbay.IsTransient(err) {
		t.Error(err)
	}
	if err := second.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	linked(t, second)
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*testenv.RedisServer{primary, first, second} {
		if err := signsIn(t, s, r); err == nil {
			t.Errorf("%s lets it in after its removal", s.Addr())
		}
	}
}

// A replica that the primary names and that can't be reached from here.
func TestAReplicaThatIsNotReachedIsNamed(t *testing.T) {
	primary := testenv.Redis(t, false)
	replicaOf(t, primary)
	c := config(primary)
	c.Dialer = only{primary.Addr()}
	target := opened(t, c)
	warned(t, target, "which "+primary.Addr()+" names")
	r := request(t, target, "unreached", patchbay.Writer, nil)
	err := target.EnsureLogin(t.Context(), r)
	if e := patchbay.AsError(err); err == nil || !e.Transient || !strings.Contains(e.Fix, "replica-announce-ip") || !strings.Contains(e.Fix, "--nodes listed") {
		t.Errorf("EnsureLogin = %v", err)
	}
	if users := fmt.Sprint(do(t, primary, "ACL", "USERS")); strings.Contains(users, r.Name) {
		t.Errorf("half of it was made: %s", users)
	}
	c.Properties = []byte(`{"nodes":"listed"}`)
	made(t, opened(t, c), "listed", patchbay.Writer, nil)
}

// only dials one address.
type only struct{ at string }

func (o only) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if address != o.at {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// cluster starts three primaries, each with a third of the slots.
func cluster(t *testing.T, secure bool) []*testenv.RedisServer {
	t.Helper()
	var all []*testenv.RedisServer
	for i := range 3 {
		o := testenv.RedisOptions{TLS: secure, Args: []string{"--cluster-enabled", "yes"}}
		if i > 0 {
			o.Password = all[0].Password
		}
		all = append(all, testenv.RedisWith(t, o))
		const slots = 16384
		do(t, all[i], "CLUSTER", "ADDSLOTSRANGE", i*slots/3, (i+1)*slots/3-1)
	}
	for _, s := range all[1:] {
		do(t, all[0], "CLUSTER", "MEET", s.Host, s.Port)
	}
	eventually(t, func() bool {
		return !slices.ContainsFunc(all, func(s *testenv.RedisServer) bool {
			text, _ := do(t, s, "CLUSTER", "INFO").(string)
			return !strings.Contains(text, "cluster_state:ok") || !strings.Contains(text, "cluster_known_nodes:3")
		})
	})
	return all
}

func TestEveryNodeOfAClusterHasTheLogin(t *testing.T) {
	nodes := cluster(t, false)
	c := config(nodes[0])
	target := opened(t, c)
	info, err := target.Inspect(t.Context(), "0")
	if err != nil || !slices.Equal(info.Subs, []string{"0"}) {
		t.Errorf("Inspect = %+v, %v", info, err)
	}
	if _, err := target.Inspect(t.Context(), "1"); patchbay.CodeOf(err) != patchbay.ChildMissing {
		t.Errorf("a second database of a cluster: %v", err)
	}
	for _, access := range all {
		r := made(t, target, string(access), access, map[string]string{"keys": "orders:*"})
		for _, s := range nodes {
			if err := signsIn(t, s, r); err != nil {
				t.Errorf("%s: %v", s.Addr(), err)
			}
		}
		result, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: "0", Access: access, Options: r.Options})
		if err != nil || !slices.Contains(result.Allowed, "sign in on every node of the cluster") || len(result.NotChecked) > 0 {
			t.Errorf("%s: %+v, %v", access, result, err)
		}
		// A client of clusters works with it, on keys of every node.
		app := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: []string{nodes[0].Addr()}, Username: r.Credential.Public["username"], Password: r.Credential.Secret["password"].Reveal()})
		defer func() { _ = app.Close() }()
		for i := range 20 {
			key := fmt.Sprintf("orders:%d", i)
			if access != patchbay.Reader {
				if err := app.Set(t.Context(), key, "x", 0).Err(); err != nil {
					t.Error(err)
				}
			} else if err := app.Get(t.Context(), key).Err(); err != nil && !errors.Is(err, goredis.Nil) {
				t.Error(err)
			}
		}
	}
	r := made(t, target, "down", patchbay.Writer, nil)
	if err := nodes[2].Pause(); err != nil {
		t.Fatal(err)
	}
	if _, err := target.InspectLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.PortClosed || !strings.Contains(err.Error(), nodes[2].Addr()) {
		t.Errorf("with a node that is down: %v", err)
	}
	if err := target.EnsureLogin(t.Context(), request(t, target, "undone", patchbay.Writer, nil)); patchbay.CodeOf(err) != patchbay.PortClosed {
		t.Errorf("with a node that is down: %v", err)
	}
	if users := fmt.Sprint(do(t, nodes[0], "ACL", "USERS")); strings.Contains(users, "undone") {
		t.Errorf("half of it was made: %s", users)
	}
	// What can be removed is, and the rest is said.
	if err := target.RemoveLogin(t.Context(), r); !patchbay.IsTransient(err) || !strings.Contains(err.Error(), nodes[2].Addr()) {
		t.Errorf("RemoveLogin with a node that is down: %v", err)
	}
	if err := signsIn(t, nodes[0], r); err == nil {
		t.Error("it signs in to a node that was there")
	}
	if err := nodes[2].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
	if err := signsIn(t, nodes[2], r); err == nil {
		t.Error("it signs in to the node that came back")
	}
}

func TestTLS(t *testing.T) {
	s := testenv.Redis(t, true)
	c := config(s)
	target := opened(t, c)
	info, err := target.Inspect(t.Context(), "0")
	if err != nil || !strings.HasPrefix(info.TLS, "TLS 1.") || info.Values["ssl"] != "true" || info.Values["ca"] != string(s.CA) {
		t.Fatalf("Inspect = %+v, %v", info, err)
	}
	r := made(t, target, "tls", patchbay.Writer, nil)
	result, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: "0", Access: r.Access})
	if err != nil || result.TLS == "" {
		t.Errorf("Probe = %+v, %v", result, err)
	}
	// Whoever answers is not told a password before it is known who it is.
	for name, change := range map[string]func(*driver.Config){
		"no authority": func(c *driver.Config) { c.Properties = nil },
		"another name": func(c *driver.Config) {
			c.Properties = fmt.Appendf(nil, `{"tls":{"ca":%q,"serverName":"other.example"}}`, s.CA)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			change(&c)
			target := opened(t, c)
			_, err := target.Inspect(t.Context(), "")
			if e := patchbay.AsError(err); err == nil || e.Code != patchbay.CertificateInvalid || !strings.Contains(e.Fix, "tls.") {
				t.Errorf("Inspect = %v", err)
			}
		})
	}
	// The application's library checks more than the registration says.
	c.Properties = []byte(`{"tls":{"mode":"require"}}`)
	lax := opened(t, c)
	warned(t, lax, "nobody checks who answers")
	if _, err := lax.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: "0", Access: r.Access, Reading: driver.Reading{Mode: driver.TLSVerifyFull, Named: true}}); patchbay.CodeOf(err) != patchbay.CertificateInvalid {
		t.Errorf("Probe as a library that checks = %v", err)
	}
	// TLS to a server without, and the other way around.
	plain := sharedServer(t, "")
	c.Endpoint, c.Properties = "rediss://"+plain.Addr(), nil
	soon, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // it waits for the end of a line
	defer cancel()
	if _, err := opened(t, c).Inspect(soon, ""); patchbay.CodeOf(err) != patchbay.Timeout || !strings.Contains(patchbay.AsError(err).Fix, "redis://") {
		t.Errorf("TLS to a server without: %v", err)
	}
	c.Endpoint = "redis://" + s.Addr()
	if _, err := opened(t, c).Inspect(t.Context(), ""); err == nil || !strings.Contains(patchbay.AsError(err).Fix, "rediss://") {
		t.Errorf("no TLS to a server with: %v; %+v", err, patchbay.AsError(err))
	}
}

// A server that forgets what it said yes to is seen by the next look.
func TestALoginThatTheServerForgetsIsMissing(t *testing.T) {
	s := sharedServer(t, "")
	target := opened(t, config(s))
	r := made(t, target, "lost", patchbay.Writer, nil)
	do(t, s, "ACL", "DELUSER", r.Name)
	if state := inspected(t, target, r); state.Exists {
		t.Errorf("%+v", state)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if state := inspected(t, target, r); !whole(state) {
		t.Errorf("%+v", state)
	}
}

func TestSessionsAreCounted(t *testing.T) {
	s := sharedServer(t, "")
	target := opened(t, config(s))
	r := made(t, target, "busy", patchbay.Writer, nil)
	session, err := openSession(s)(t.Context(), "0", r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	if state := inspected(t, target, r); state.Sessions != 1 || state.LastUse.IsZero() {
		t.Errorf("%+v", state)
	}
	session.Close()
	eventually(t, func() bool { return inspected(t, target, r).Sessions == 0 })
}

// A probe leaves nothing: neither keys nor users.
func TestAProbeLeavesNothing(t *testing.T) {
	s := testenv.Redis(t, false)
	target := opened(t, config(s))
	do(t, s, "SET", "counter", "7")
	do(t, s, "SET", "bills:1", "x")
	for _, options := range []map[string]string{nil, {"keys": "counter"}, {"keys": "orders:*,c?unter,[ab]*"}} {
		for _, access := range all {
			r := made(t, target, fmt.Sprintf("p%s%d", access, len(options["keys"])), access, options)
			if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: "0", Access: access, Options: options}); err != nil {
				t.Errorf("%v %s: %v", options, access, err)
			}
		}
	}
	keys := do(t, s, "KEYS", "*").([]any)
	if slices.SortFunc(keys, func(a, b any) int { return strings.Compare(a.(string), b.(string)) }); fmt.Sprint(keys) != "[bills:1 counter]" || do(t, s, "GET", "counter") != "7" {
		t.Errorf("the keys are %v", keys)
	}
	if users := fmt.Sprint(do(t, s, "ACL", "USERS")); strings.Contains(users, "probe") {
		t.Errorf("the users are %s", users)
	}
}

// Whoever gave a login everything finds a probe that still does nothing.
func TestAProbeOfALoginThatMayDoEverythingDoesNothing(t *testing.T) {
	s := testenv.Redis(t, false)
	target := opened(t, config(s))
	do(t, s, "SET", "theirs", "x")
	for _, rules := range [][]any{{"+@all", "~*", "&*"}, {"+@all", "~*", "&*", "-multi"}, {"+@all", "~*", "&*", "-discard"}} {
		r := made(t, target, "all", patchbay.Writer, map[string]string{"keys": "orders:*"})
		do(t, s, append([]any{"ACL", "SETUSER", r.Name}, rules...)...)
		_, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: "0", Access: r.Access, Options: r.Options})
		if code := patchbay.CodeOf(err); code != patchbay.RightsExcess && code != patchbay.RightsMissing {
			t.Errorf("%v: %v", rules, err)
		}
		if do(t, s, "GET", "theirs") != "x" {
			t.Errorf("%v: the data is gone", rules)
		}
	}
}
