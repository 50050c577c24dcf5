package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/redis"
)

// shared are servers that several tests use; every test leaves its as it was.
var shared = map[string]*testenv.RedisServer{}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range shared {
		if err := s.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// sharedServer is one of the package's, which keeps its users as it is said.
func sharedServer(t testing.TB, keeps string) *testenv.RedisServer {
	t.Helper()
	if s := shared[keeps]; s != nil {
		return s
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := testenv.RedisOptions{Keeps: keeps, Program: os.Getenv("PATCHBAY_REDIS")}
	s, err := testenv.StartRedis(ctx, o)
	if errors.Is(err, testenv.ErrNotInstalled) {
		return testenv.RedisWith(t, o) // which knows whether that is a failure
	} else if err != nil {
		t.Fatal(err)
	}
	shared[keeps] = s
	return s
}

func config(s *testenv.RedisServer) driver.Config {
	scheme := "redis://"
	var properties string
	if s.CA != nil {
		scheme, properties = "rediss://", fmt.Sprintf(`{"tls":{"ca":%q}}`, s.CA)
	}
	return driver.Config{
		ID:         "/subscriptions/s/resourceGroups/g/providers/Microsoft.Cache/redis/cache",
		Endpoint:   scheme + s.Addr(),
		Properties: []byte(properties),
		Admin:      driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret(s.Password)},
		Dialer:     &net.Dialer{},
	}
}

// eyes are another administrator's, with a client of their own.
func eyes(t testing.TB, s *testenv.RedisServer) *goredis.Client {
	t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Username: "admin", Password: s.Password, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func do(t testing.TB, s *testenv.RedisServer, args ...any) any {
	t.Helper()
	value, err := eyes(t, s).Do(context.Background(), args...).Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		t.Fatalf("%v: %v", args, err)
	}
	return value
}

// application signs in as an application does: with go-redis and nothing of ours.
func application(s *testenv.RedisServer, sub string, c driver.Credential) *goredis.Client {
	db, _ := strconv.Atoi(sub)
	values := c.Values()
	return goredis.NewClient(&goredis.Options{Addr: s.Addr(), DB: db, Username: values["username"].Reveal(), Password: values["password"].Reveal(), MaxRetries: -1, PoolSize: 1})
}

// refusal marks what the server itself said no to.
func refusal(err error) error {
	for _, no := range []string{"NOPERM", "WRONGPASS", "NOAUTH", "user executing the script can't", "insufficient ACL permissions"} {
		if err != nil && strings.Contains(err.Error(), no) {
			return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
		}
	}
	return err
}

type session struct {
	conn  net.Conn
	ended chan struct{}
}

func (s *session) Wait(ctx context.Context) error {
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) Close() {
	_ = s.conn.Close()
	<-s.ended
}

// openSession signs in by hand, and waits for the server to hang up.
func openSession(s *testenv.RedisServer) func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
	return func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", s.Addr())
		if err != nil {
			return nil, err
		}
		values := c.Values()
		if _, err := fmt.Fprintf(conn, "AUTH %s %s\r\n", values["username"].Reveal(), values["password"].Reveal()); err != nil {
			return nil, err
		}
		answer := make([]byte, 512)
		n, err := conn.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:n]), "+OK") {
			return nil, fmt.Errorf("%q: %w", answer[:n], err)
		}
		open := &session{conn: conn, ended: make(chan struct{})}
		go func() {
			defer close(open.ended)
			for err == nil {
				_, err = conn.Read(answer)
			}
		}()
		return open, nil
	}
}

var (
	all     = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers = []patchbay.Access{patchbay.Writer, patchbay.Owner}
	owners  = []patchbay.Access{patchbay.Owner}
)

// action runs commands as the login, after what another administrator prepares.
func action(s *testenv.RedisServer, name string, allowed []patchbay.Access, commands ...[]any) drivertest.Action {
	return drivertest.Action{Name: name, Allowed: allowed, Do: func(ctx context.Context, sub string, c driver.Credential) error {
		app := application(s, sub, c)
		defer func() { _ = app.Close() }()
		for _, command := range commands {
			if err := app.Do(ctx, command...).Err(); err != nil && !errors.Is(err, goredis.Nil) {
				return refusal(fmt.Errorf("%v: %w", command, err))
			}
		}
		return nil
	}}
}

func words(lines ...string) [][]any {
	var out [][]any
	for _, line := range lines {
		var command []any
		for _, w := range strings.Fields(line) {
			command = append(command, w)
		}
		out = append(out, command)
	}
	return out
}

// actions are those of logins with the keys orders:* and the channels orders:*.
func actions(s *testenv.RedisServer) []drivertest.Action {
	a := func(name string, allowed []patchbay.Access, lines ...string) drivertest.Action {
		return action(s, name, allowed, words(lines...)...)
	}
	list := []drivertest.Action{
		a("read", all, "GET orders:1", "HGETALL orders:2", "EXISTS orders:1", "TTL orders:1", "TYPE orders:1", "MGET orders:1 orders:2", "XLEN orders:3"),
		a("what clients ask first", all, "PING", "INFO", "CLIENT SETNAME app", "CLIENT ID", "COMMAND COUNT", "TIME", "ACL WHOAMI", "PUBSUB NUMSUB orders:x"),
		a("write", writers, "SET orders:1 x EX 100", "HSET orders:2 f v", "XADD orders:3 * a b", "INCR orders:4", "LPUSH orders:5 x", "RENAME orders:5 orders:6", "EXPIRE orders:6 10", "DEL orders:4 orders:2 orders:3", "GETDEL orders:1"),
		a("set", writers, "SET orders:1 x"), a("delete", writers, "DEL orders:1"), a("expire", writers, "EXPIRE orders:1 10"), a("increase", writers, "INCR orders:n"),
		a("run a script", writers, "EVAL redis.call('set',KEYS[1],'x') 1 orders:s", "SCRIPT EXISTS 0123456789012345678901234567890123456789"),
		a("publish", writers, "PUBLISH orders:x hello", "SPUBLISH orders:x hello"),
		a("sort", owners, "SORT orders:list", "SORT_RO orders:list"),
		a("read another key", nil, "GET bills:1"),
		a("read a key that begins alike", nil, "GET orders"),
		a("write another key", nil, "SET bills:1 x"),
		a("write two keys, one another's", nil, "MSET orders:1 x bills:1 y"),
		a("rename into another's", nil, "RENAME orders:1 bills:1"),
		a("read another key by a script", nil, "EVAL return(redis.call('get','bills:1')) 0"),
		a("read another key by sorting", nil, "SORT orders:list BY bills:* GET bills:*"),
		a("publish to another channel", nil, "PUBLISH bills:x hello"),
		a("list keys", nil, "SCAN 0"), a("list keys by a pattern", nil, "KEYS orders:*"), a("be told any key", nil, "RANDOMKEY"),
		a("be told of changes to any key", nil, "CLIENT TRACKING on BCAST"),
		a("list channels", nil, "PUBSUB CHANNELS"),
		a("empty the database", nil, "FLUSHDB"), a("empty all", nil, "FLUSHALL"), a("swap databases", nil, "SWAPDB 0 1"),
		a("select another database", nil, "SELECT 7"), a("move a key", nil, "MOVE orders:1 7"), a("copy a key", nil, "COPY orders:1 orders:2 DB 7"),
		a("take keys elsewhere", nil, "MIGRATE 127.0.0.1 1 orders:1 0 1"), a("restore a dump", nil, "RESTORE orders:9 0 x"),
		a("read the configuration", nil, "CONFIG GET *"), a("write it", nil, "CONFIG SET maxmemory 1"), a("list clients", nil, "CLIENT LIST"),
		a("end others' sessions", nil, "CLIENT KILL TYPE normal"), a("list users", nil, "ACL LIST"), a("make a user", nil, "ACL SETUSER mine on"),
		a("give itself more", nil, "ACL SETUSER default on"), a("watch all commands", nil, "MONITOR"), a("end the server", nil, "SHUTDOWN NOSAVE"),
		a("load a module", nil, "MODULE LIST"), a("load functions", nil, "FUNCTION LOAD x"), a("drop functions", nil, "FUNCTION FLUSH"), a("drop scripts", nil, "SCRIPT FLUSH"),
		a("become a replica", nil, "REPLICAOF NO ONE"), a("save", nil, "BGSAVE"), a("see slow commands", nil, "SLOWLOG GET"), a("list a slot's keys", nil, "CLUSTER GETKEYSINSLOT 1 1"),
	}
	for channel, allowed := range map[string][]patchbay.Access{"orders:x": all, "bills:x": nil} {
		list = append(list, drivertest.Action{Name: "hear " + channel, Allowed: allowed, Do: func(ctx context.Context, sub string, c driver.Credential) error {
			app := application(s, sub, c)
			defer func() { _ = app.Close() }()
			ps := app.Subscribe(ctx, channel)
			defer func() { _ = ps.Close() }()
			_, err := ps.Receive(ctx)
			return refusal(err)
		}})
	}
	return list
}

func drifts(s *testenv.RedisServer) []drivertest.Drift {
	const missing, excess = "missing", "excess"
	drift := func(name string, access patchbay.Access, what string, rules ...any) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: strings.Contains(what, missing), Excess: strings.Contains(what, excess), Make: func(ctx context.Context, r driver.LoginRequest) error {
			c := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Username: "admin", Password: s.Password})
			defer func() { _ = c.Close() }()
			return c.Do(ctx, append([]any{"ACL", "SETUSER", r.Name}, rules...)...).Err()
		}}
	}
	return []drivertest.Drift{
		drift("off", patchbay.Reader, missing, "off"),
		drift("another password too", patchbay.Writer, excess, ">other"),
		drift("another password", patchbay.Writer, "", "resetpass", ">other"),
		drift("no password", patchbay.Writer, missing, "resetpass"),
		drift("any password", patchbay.Writer, excess, "nopass"),
		drift("another key", patchbay.Writer, excess, "~bills:*"),
		drift("another key to read", patchbay.Writer, excess, "%R~bills:*"),
		drift("may write its keys", patchbay.Reader, excess, "~orders:*"),
		drift("all keys", patchbay.Owner, missing+excess, "allkeys"),
		drift("no keys", patchbay.Writer, missing, "resetkeys"),
		drift("another channel", patchbay.Writer, excess, "&bills:*"),
		drift("all channels", patchbay.Reader, missing+excess, "allchannels"),
		drift("no channel", patchbay.Writer, missing, "resetchannels"),
		drift("a command less", patchbay.Writer, missing, "-set"),
		drift("a category less", patchbay.Reader, missing, "-@hash"),
		drift("no commands", patchbay.Writer, missing, "-@all"),
		drift("a command more", patchbay.Reader, excess, "+set"),
		drift("a part of a command more", patchbay.Writer, excess, "+config|get"),
		drift("a category more", patchbay.Writer, excess, "+@dangerous"),
		drift("all commands", patchbay.Writer, excess, "+@all"),
		drift("another database", patchbay.Writer, excess, "+select|7"),
		drift("every database", patchbay.Writer, excess, "+select"),
		drift("other rules beside", patchbay.Reader, excess, "(+@all ~*)"),
		drift("dumps unchecked", patchbay.Writer, excess, "skip-sanitize-payload"),
	}
}

func harness(s *testenv.RedisServer) drivertest.TargetHarness {
	return drivertest.TargetHarness{
		Driver:  redis.Driver(),
		Product: "Redis", Release: 2,
		Config:     config(s),
		Subs:       []string{"0", "5"},
		MissingSub: "99",
		Options:    map[string]string{"keys": "orders:*"},
		SignIn: func(ctx context.Context, sub string, c driver.Credential) error {
			app := application(s, sub, c)
			defer func() { _ = app.Close() }()
			return refusal(app.Ping(ctx).Err())
		},
		OpenSession: openSession(s),
		Actions:     actions(s),
		Drifts:      drifts(s),
		Wrong: func(c driver.Credential) map[string]driver.Credential {
			with := func(username, password string) driver.Credential {
				return driver.Credential{Public: map[string]string{"username": username}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
			}
			return map[string]driver.Credential{
				"password":    with(c.Public["username"], "wrong-password-0123456789"),
				"no password": with(c.Public["username"], ""),
				"user":        with("pb_nobody_g1", c.Secret["password"].Reveal()),
				"line's end":  with(c.Public["username"], "x\r\nFLUSHALL\r\n-password"),
			}
		},
		Foreign: func(t testing.TB, _, name string) func() error {
			do(t, s, "ACL", "SETUSER", name, "on", ">theirs", "~theirs:*", "&theirs", "+@read", "(%R~a ~patchbay:uid=x +get)")
			before := do(t, s, "ACL", "GETUSER", name)
			t.Cleanup(func() { do(t, s, "ACL", "DELUSER", name) })
			return func() error {
				if after := do(t, s, "ACL", "GETUSER", name); fmt.Sprint(after) != fmt.Sprint(before) {
					return fmt.Errorf("it was %v, and is %v", before, after)
				}
				return nil
			}
		},
	}
}

// nothingLeft fails when users other than the server's first are there.
func nothingLeft(t *testing.T, s *testenv.RedisServer) {
	t.Helper()
	users, _ := do(t, s, "ACL", "USERS").([]any)
	for _, u := range users {
		if !slices.Contains([]any{"default", "admin", "app"}, u) {
			t.Errorf("left behind: %v", u)
		}
	}
}

func TestTarget(t *testing.T) {
	s := sharedServer(t, "")
	drivertest.Target(t, harness(s))
	nothingLeft(t, s)
}

// All keys of a database, as who says nothing gets them.
func TestTargetOfAllKeys(t *testing.T) {
	s := sharedServer(t, "config")
	h := harness(s)
	h.Product, h.Quick, h.Options, h.Drifts = "", true, nil, nil
	a := func(name string, allowed []patchbay.Access, lines ...string) drivertest.Action {
		return action(s, name, allowed, words(lines...)...)
	}
	h.Actions = []drivertest.Action{
		a("read any key", all, "GET bills:1", "SCAN 0", "RANDOMKEY", "DBSIZE", "CLIENT TRACKING on BCAST", "CLIENT TRACKING off", "PUBSUB CHANNELS"),
		a("write any key", writers, "SET bills:1 x", "DEL bills:1"),
		a("publish anywhere", writers, "PUBLISH x hello"),
		a("list keys", owners, "KEYS *"), a("empty its database", owners, "FLUSHDB"), a("sort", owners, "SORT x"),
		a("empty all", nil, "FLUSHALL"), a("select another database", nil, "SELECT 7"), a("move a key", nil, "MOVE x 7"), a("copy a key", nil, "COPY x y DB 7"),
		a("read the configuration", nil, "CONFIG GET *"), a("list users", nil, "ACL LIST"), a("drop functions", nil, "FUNCTION FLUSH"),
	}
	drivertest.Target(t, h)
	nothingLeft(t, s)
}
