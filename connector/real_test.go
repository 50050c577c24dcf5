package connector_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/joho/godotenv"
	"github.com/redis/go-redis/v9"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/store/sqlite"
)

// place is the real drivers over a settings file, with no wire in between.
type place struct {
	*connector.Service
	t      *testing.T
	file   string
	group  patchbay.ID
	linker patchbay.ID
	caller connector.Caller
}

const original = "# kept\nA=1\n"

func newPlace(t *testing.T) *place {
	t.Helper()
	return newPlaceBehind(t, nil)
}

func newPlaceBehind(t *testing.T, d driver.Dialer) *place {
	t.Helper()
	return newPlaceOf(t, connector.Options{Catalog: controlplane.Catalog(), Dialer: d})
}

func newPlaceOf(t *testing.T, o connector.Options) *place {
	t.Helper()
	dir := t.TempDir()
	records, err := sqlite.Open(t.Context(), filepath.Join(dir, "db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := keyring.Load(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, file: filepath.Join(dir, "web.env"), caller: connector.Trusted("tester")}
	if err := os.WriteFile(p.file, []byte(original), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Records, o.Keys, o.Overlap, o.Log = records, keys, time.Millisecond, slog.New(slog.DiscardHandler)
	p.Service = connector.New(o)
	engine, err := saga.New(records, p.Workflows(), saga.Options{Backoff: func(int) time.Duration { return time.Millisecond }})
	if err != nil {
		t.Fatal(err)
	}
	p.Bind(engine)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		p.Service.Close()
		_ = records.Close()
	})
	if err := p.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	subs, err := p.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.group = patchbay.ID("/subscriptions/" + subs[0].ID + "/resourceGroups/default")
	site := p.group + "/providers/Microsoft.Web/sites/web"
	p.register(patchbay.Resource{ID: site, Driver: "envfile", Endpoint: p.file}, nil)
	p.linker = site.Linker("data")
	return p
}

func (p *place) register(r patchbay.Resource, admin map[string]string) patchbay.ID {
	p.t.Helper()
	secrets := driver.Secrets{}
	for name, value := range admin {
		secrets[name] = patchbay.NewSecret(value)
	}
	if _, _, _, err := p.PutResource(p.t.Context(), connector.ResourceRequest{Resource: r, Admin: secrets, Caller: p.caller}); err != nil {
		p.t.Fatal(err)
	}
	return r.ID
}

// wall is a network that lets nobody out.
type wall struct{}

func (wall) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("no way out")
}

// Every kind of target that the settings table has is connected as every
// identity that it takes, with the settings of every client.
func TestEveryKindIsConnectedAsAnIdentity(t *testing.T) {
	p := newPlaceBehind(t, wall{})
	resources := map[string]string{"aiservices": "AIServices", "openai": "OpenAI"} // of a kind of their own
	done := 0
	for _, k := range settings.Kinds() {
		types := k.Types()
		if kind, ok := resources[k.Name]; ok {
			types = []string{"Microsoft.CognitiveServices/accounts"}
			p.registerUnseen(patchbay.Resource{ID: p.group + "/providers/Microsoft.CognitiveServices/accounts/" + patchbay.ID(k.Name), Kind: kind, Driver: "external", Location: "westeurope"})
		}
		for _, typ := range types {
			parts := strings.Split(typ, "/")
			if len(parts) < 2 {
				continue // a service that is named by an endpoint
			}
			name := "orders"
			if _, ok := resources[k.Name]; ok {
				name = k.Name
			}
			target := p.group + patchbay.ID("/providers/"+parts[0]+"/"+parts[1]+"/"+name)
			for _, child := range parts[2:] {
				target = target.Child(child, "0")
			}
			for _, auth := range k.Auths {
				if auth == patchbay.AuthSecret {
					continue
				}
				if name == "orders" {
					p.registerUnseen(patchbay.Resource{ID: p.group + patchbay.ID("/providers/"+parts[0]+"/"+parts[1]+"/"+name), Driver: "external", Location: "westeurope"})
				}
				for _, client := range k.Clients {
					if _, err := settings.Names(k.Name, client, auth, ""); err != nil {
						continue // the table says that there is no such thing
					}
					a := &patchbay.Auth{Type: auth, ClientID: "11111111-1111-1111-1111-111111111111", PrincipalID: "33333333-3333-3333-3333-333333333333"}
					if auth == patchbay.AuthSPSecret {
						a.Secret = patchbay.NewSecret("sp-secret")
					}
					op := p.put(patchbay.Spec{
						Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: target}, Auth: a, Client: client,
						PublicNetwork: &patchbay.PublicNetworkSolution{Action: patchbay.OptOut},
					})
					if op.State != patchbay.Done {
						t.Errorf("%s as %s for %s: %v", typ, auth, client, op.Error)
					}
					done++
				}
			}
		}
	}
	if done < 300 {
		t.Errorf("only %d connections were made", done)
	}
	t.Logf("%d connections", done)
	if list, err := p.Configurations(t.Context(), p.linker, p.caller); err != nil || len(list) == 0 {
		t.Errorf("the last one has %v, %v", list, err)
	}
}

// An endpoint of every scheme is understood as far as its network, and so are
// the target types that have a kind of their own.
func TestEveryEndpointIsUnderstood(t *testing.T) {
	p := newPlace(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	_ = closed.Close()
	targets := []patchbay.TargetService{
		{Type: patchbay.ConfluentBootstrapServer, Endpoint: address},
		{Type: patchbay.ConfluentSchemaRegistry, Endpoint: "https://" + address},
		{Type: patchbay.FabricPlatform, Endpoint: address + "/shop"},
	}
	rest := map[string]string{"s3": "?bucket=invoices", "cosmos-cassandra": "?keyspace=shop"}
	for scheme, kind := range controlplane.Catalog().Targets["external"].Unregistered {
		if scheme != "mongodb+srv" { // it has no port, and is looked up
			at := address
			if kind == "eventhub" || kind == "servicebus" { // their settings have no port
				at = "127.0.0.1"
			}
			endpoint := scheme + "://" + at + cmp.Or(rest[kind], "/1")
			targets = append(targets, patchbay.TargetService{Type: patchbay.SelfHostedServer, Endpoint: endpoint})
		}
	}
	for _, target := range targets {
		spec := patchbay.Spec{Target: target, Auth: secretAuth("app", "app-secret"), Client: "none"}
		if target.Type == patchbay.FabricPlatform {
			spec.Auth = &patchbay.Auth{Type: patchbay.AuthSystemIdentity}
		}
		b, err := p.Put(t.Context(), connector.PutRequest{ID: p.linker, Spec: spec, Caller: p.caller})
		if err != nil {
			t.Errorf("%s: %v", target.Endpoint, err)
			continue
		}
		if op := p.ends(b, nil); op.State != patchbay.Undone || op.Error.Code != patchbay.PortClosed {
			t.Errorf("%s: %s, %v", target.Endpoint, op.State, op.Error)
		}
	}
}

func (p *place) registerUnseen(r patchbay.Resource) {
	p.t.Helper()
	if _, _, _, err := p.PutResource(p.t.Context(), connector.ResourceRequest{Resource: r, Caller: p.caller, NoCheck: true}); err != nil {
		p.t.Fatal(err)
	}
}

// ends is what an operation became.
func (p *place) ends(b connector.Begun, err error) patchbay.Operation {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	op := b.Operation
	for !op.State.Ended() {
		if op, err = p.Wait(ctx, op.ID, op.Version); err != nil || ctx.Err() != nil {
			p.t.Fatalf("%+v, %v", op, err)
		}
	}
	return op
}

func (p *place) put(spec patchbay.Spec) patchbay.Operation {
	p.t.Helper()
	return p.ends(p.Put(p.t.Context(), connector.PutRequest{ID: p.linker, Spec: spec, Caller: p.caller}))
}

func (p *place) done(op patchbay.Operation) {
	p.t.Helper()
	if op.State != patchbay.Done {
		p.t.Fatalf("the %s is %s: %v", op.Kind, op.State, op.Error)
	}
}

// validated are the results by group.
func (p *place) validated() map[patchbay.CheckGroup]patchbay.CheckResult {
	p.t.Helper()
	op := p.ends(p.Validate(p.t.Context(), connector.ValidateRequest{ID: p.linker, Caller: p.caller}))
	p.done(op)
	results := map[patchbay.CheckGroup]patchbay.CheckResult{}
	for _, c := range op.Result.Checks {
		results[c.Group] = c.Result
		if c.Result == patchbay.Failure {
			p.t.Errorf("%+v", c)
		}
	}
	return results
}

// held is a setting of the file, or of a local connection.
func (p *place) held(name string) string {
	p.t.Helper()
	if p.linker.IsLocal() {
		list, err := p.Generate(p.t.Context(), p.linker, nil, p.caller)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, s := range list {
			if s.Name == name {
				return s.Value.Reveal()
			}
		}
		return ""
	}
	values, err := godotenv.Read(p.file)
	if err != nil {
		p.t.Fatal(err)
	}
	return values[name]
}

// redisAnswers signs in with a connection string, as go-redis reads it.
func redisAnswers(ctx context.Context, text string) error {
	options, err := redis.ParseURL(text)
	if err != nil {
		return err
	}
	client := redis.NewClient(options)
	defer func() { _ = client.Close() }()
	return client.Ping(ctx).Err()
}

func secretAuth(name, secret string) *patchbay.Auth {
	a := &patchbay.Auth{Type: patchbay.AuthSecret, Name: name}
	if secret != "" {
		a.SecretInfo = &patchbay.SecretInfo{Type: patchbay.RawValue, Value: patchbay.NewSecret(secret)}
	}
	return a
}

func TestARealRedisThatNobodyAdministers(t *testing.T) {
	server := testenv.Redis(t, false)
	for _, local := range []bool{false, true} {
		for _, registered := range []bool{true, false} {
			t.Run(fmt.Sprintf("local %v, registered %v", local, registered), func(t *testing.T) {
				p := newPlace(t)
				if local {
					p.linker = p.group.Location("local").Local("data")
				}
				const key = "AZURE_REDIS_CONNECTIONSTRING"
				spec := patchbay.Spec{
					Target: patchbay.TargetService{Type: patchbay.SelfHostedServer, Endpoint: "redis://" + server.Addr()},
					Auth:   secretAuth(server.User, server.Password), Client: "go",
				}
				if registered {
					id := p.register(patchbay.Resource{ID: p.group + "/providers/Microsoft.Cache/redis/cache", Driver: "external", Endpoint: "redis://" + server.Addr()},
						map[string]string{"username": server.User, "secret": server.Password})
					spec.Target = patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "0")}
					spec.Auth = secretAuth("", "")
				}
				wrong := spec
				wrong.Auth = secretAuth(server.User, "not-the-password")
				op := p.put(wrong)
				if text, _ := json.Marshal(op); op.State != patchbay.Undone || op.Error.Code != patchbay.InvalidDbSecret || strings.Contains(string(text), "not-the-password") {
					t.Errorf("with a wrong password: %s", text)
				}
				if now, err := os.ReadFile(p.file); err != nil || string(now) != original {
					t.Errorf("after the failure the file has %q, %v", now, err)
				}
				p.done(p.put(spec))
				if err := redisAnswers(t.Context(), p.held(key)); err != nil {
					t.Errorf("what the connection holds does not sign in: %v", err)
				}
				results := p.validated()
				if results[patchbay.CheckAuthentication] != patchbay.Success || results[patchbay.CheckNetwork] != patchbay.Success {
					t.Errorf("%v", results)
				}
				spec.Client = "none"
				if !registered {
					spec.Auth = secretAuth(server.User, "") // az drops it; it is kept
				}
				p.done(p.put(spec))
				if got := p.held("AZURE_REDIS_PASSWORD"); got != server.Password {
					t.Errorf("after an update the password is %q", got)
				}
				p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
				if now, err := os.ReadFile(p.file); err != nil || string(now) != original {
					t.Errorf("after the delete the file has %q, %v", now, err)
				}
			})
		}
	}
}

// A Redis is connected as it is, with a login that its owner made, and administered
// later: the resource becomes another driver's, and the connection does not notice
// before it is updated.
func TestARealRedisChangesHands(t *testing.T) {
	server := testenv.Redis(t, false)
	for name, auth := range map[string]*patchbay.Auth{"given": secretAuth(server.User, server.Password), "registered": secretAuth("", "")} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			endpoint := "redis://" + server.Addr()
			id := p.register(patchbay.Resource{ID: p.group + "/providers/Microsoft.Cache/redis/cache", Driver: "external", Endpoint: endpoint},
				map[string]string{"username": server.User, "secret": server.Password})
			spec := patchbay.Spec{
				Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "0")}, Auth: auth, Client: "go",
			}
			const key = "AZURE_REDIS_CONNECTIONSTRING"
			p.done(p.put(spec))
			before, err := os.ReadFile(p.file)
			if err != nil {
				t.Fatal(err)
			}
			p.register(patchbay.Resource{ID: id, Driver: "redis", Endpoint: endpoint}, map[string]string{"username": "admin", "password": server.Password})
			for range 2 {
				if results := p.validated(); results[patchbay.CheckAuthentication] != patchbay.Success || results[patchbay.CheckConfiguration] != patchbay.Success || results[patchbay.CheckExistence] != patchbay.Success {
					t.Errorf("%v", results)
				}
			}
			if now, err := os.ReadFile(p.file); err != nil || !bytes.Equal(now, before) {
				t.Errorf("the settings changed with the driver: %q, %v", now, err)
			}
			spec.Auth, spec.Access = secretAuth("", ""), patchbay.Reader
			p.done(p.put(spec))
			first := p.held(key)
			if err := redisAnswers(t.Context(), first); err != nil || !strings.Contains(first, "pb_") {
				t.Errorf("the connection has no login of its own: %v", err)
			}
			p.done(p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller})))
			if err := redisAnswers(t.Context(), p.held(key)); err != nil || p.held(key) == first {
				t.Errorf("after a rotation: %v", err)
			}
			if redisAnswers(t.Context(), first) == nil {
				t.Error("the login of before the rotation still signs in")
			}
			last := p.held(key)
			p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
			if now, err := os.ReadFile(p.file); err != nil || string(now) != original {
				t.Errorf("after the delete the file has %q, %v", now, err)
			}
			if redisAnswers(t.Context(), last) == nil {
				t.Error("the login still signs in after the delete")
			}
		})
	}
}

// What clients do with what was written for them, and nothing else that they know.
func TestARealRedisServesItsClients(t *testing.T) {
	server := testenv.Redis(t, false)
	p := newPlace(t)
	id := p.register(patchbay.Resource{ID: p.group + "/providers/Microsoft.Cache/redis/cache", Driver: "redis", Endpoint: "redis://" + server.Addr()},
		map[string]string{"username": "admin", "password": server.Password})
	const python = `
import os, redis
c = redis.Redis.from_url(os.environ["%s"], decode_responses=True)
p = c.pubsub(); p.subscribe("orders:news"); assert p.get_message(timeout=5)["type"] == "subscribe"
with c.lock("orders:lock", timeout=5):
    c.pipeline(transaction=True).set("orders:1", "x", ex=60).hset("orders:2", "f", "v").execute()
assert c.get("orders:1") == "x" and c.hgetall("orders:2") == {"f": "v"}
assert c.publish("orders:news", "hello") == 1 and p.get_message(timeout=5)["data"] == "hello"
assert c.register_script("return redis.call('GET', KEYS[1])")(keys=["orders:1"]) == "x"
c.xadd("orders:3", {"a": "b"}); c.xgroup_create("orders:3", "g", id="0"); assert c.xreadgroup("g", "me", {"orders:3": ">"})
for refused in (lambda: c.get("bills:1"), lambda: c.set("bills:1", "x"), lambda: c.config_get("*"), lambda: list(c.scan_iter())):
    try: refused()
    except redis.exceptions.NoPermissionError: continue
    raise SystemExit("it may do more than it should")
c.delete("orders:1", "orders:2", "orders:3"); print("done")`
	line := func(name, command string) []string {
		return []string{"sh", "-c", `redis-cli -u "$` + name + `" ` + command}
	}
	for _, c := range []struct {
		client patchbay.ClientType
		naming patchbay.Naming
		name   string
		run    []string
		says   string
	}{
		{"go", patchbay.NamingAzure, "AZURE_REDIS_CONNECTIONSTRING", nil, ""},
		{"python", patchbay.NamingAzure, "AZURE_REDIS_CONNECTIONSTRING", []string{"/usr/bin/python3", "-c", fmt.Sprintf(python, "AZURE_REDIS_CONNECTIONSTRING")}, "done"},
		{"django", patchbay.NamingNative, "REDIS_URL", []string{"/usr/bin/python3", "-c", fmt.Sprintf(python, "REDIS_URL")}, "done"},
		{"none", patchbay.NamingNative, "REDIS_URL", line("REDIS_URL", "incr orders:n"), "1"},
		{"none", patchbay.NamingNative, "REDIS_URL", line("REDIS_URL", "incr bills:n"), "NOPERM"},
	} {
		t.Run(fmt.Sprint(c.client, " ", c.naming, " ", c.says), func(t *testing.T) {
			if len(c.run) > 0 {
				if _, err := osexec.LookPath(c.run[0]); err != nil {
					t.Skipf("%v: make deps installs it", err)
				}
			}
			p.done(p.put(patchbay.Spec{
				Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "0")}, Auth: secretAuth("", ""),
				Client: c.client, Naming: c.naming, Options: map[string]string{"keys": "orders:*"},
			}))
			held := p.held(c.name)
			if len(c.run) == 0 {
				if err := redisAnswers(t.Context(), held); err != nil {
					t.Error(err)
				}
				return
			}
			cmd := osexec.CommandContext(t.Context(), c.run[0], c.run[1:]...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), c.name + "=" + held}
			out, err := cmd.CombinedOutput()
			if !strings.Contains(string(out), c.says) {
				t.Errorf("%s says %q, %v", c.run[0], out, err)
			}
		})
	}
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
}

// A PostgreSQL is connected as it is, and administered later, without the
// connection noticing.
func TestARealPostgreSQLChangesHands(t *testing.T) {
	server := testenv.Postgres(t, testenv.PostgresOptions{})
	address := fmt.Sprintf("%s:%d", server.Host, server.Port)
	admin := fmt.Sprintf("host=%s port=%d user=%s password=%s sslmode=disable dbname=", server.Host, server.Port, server.User, server.Password)
	exec(t, admin+"postgres", "CREATE DATABASE shop", "CREATE ROLE legacy LOGIN PASSWORD 'legacy-pass'")

	p := newPlace(t)
	id := p.register(patchbay.Resource{
		ID: p.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Driver: "external", Endpoint: address,
		Properties: json.RawMessage(`{"values":{"sslmode":"disable"}}`),
	}, nil)
	spec := patchbay.Spec{
		Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "shop")},
		Auth:   secretAuth("legacy", "legacy-pass"), Client: "go",
	}
	const key = "AZURE_POSTGRESQL_CONNECTIONSTRING"
	p.done(p.put(spec))
	exec(t, p.held(key), "SELECT 1")
	before := p.held(key)

	p.register(patchbay.Resource{ID: id, Driver: "postgres", Endpoint: address, Properties: json.RawMessage(`{"sslmode":"disable"}`)},
		map[string]string{"username": server.User, "password": server.Password})
	if results := p.validated(); results[patchbay.CheckAuthentication] != patchbay.Success {
		t.Errorf("%v", results)
	}
	if p.held(key) != before {
		t.Error("the settings changed with the driver")
	}
	spec.Auth = secretAuth("", "")
	p.done(p.put(spec))
	exec(t, p.held(key), "SELECT 1")
	if got := p.held(key); !strings.Contains(got, "user=pb_") {
		t.Error("the connection has no login of its own")
	}
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
	if now, err := os.ReadFile(p.file); err != nil || string(now) != original {
		t.Errorf("after the delete the file has %q, %v", now, err)
	}
	// And a developer gets a login of their own, which nobody writes anywhere.
	p.linker = p.group.Location("local").Local("dev")
	p.done(p.put(spec))
	first := p.held(key)
	exec(t, first, "SELECT 1")
	if results := p.validated(); len(results) != 3 || results[patchbay.CheckAuthentication] != patchbay.Success {
		t.Errorf("%v", results)
	}
	p.done(p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller})))
	exec(t, p.held(key), "SELECT 1")
	if conn, err := pgx.Connect(t.Context(), first); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the login from before the rotation still signs in")
	}
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
	if now, err := os.ReadFile(p.file); err != nil || string(now) != original {
		t.Errorf("a local connection wrote %q, %v", now, err)
	}
	exec(t, admin+"postgres", "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname LIKE 'pb\\_%\\_g%') THEN RAISE 'a login is left'; END IF; END $$")
}

func exec(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
