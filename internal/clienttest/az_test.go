//go:build az

package clienttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"patchbay.dev/patchbay/internal/testenv"
)

// az is the command line with a configuration of its own.
type az struct {
	t       *testing.T
	cp      *controlPlane
	program string
	dir     string // AZURE_CONFIG_DIR
}

// newAz has az know the server as its cloud; nobody is signed in.
func (cp *controlPlane) newAz(t *testing.T) az {
	t.Helper()
	program, err := exec.LookPath("az")
	if err != nil {
		t.Fatal("az is not installed: `make test-az` installs it")
	}
	return cp.azAt(t, program)
}

// azOfToday is one that has commands for slots, container apps and clusters.
func (cp *controlPlane) azOfToday(t *testing.T) az {
	t.Helper()
	program := os.Getenv("PATCHBAY_AZ")
	if program == "" {
		t.Skip("NOT CHECKED: az of today, whose program PATCHBAY_AZ names: `make test-az` fetches it")
	}
	return cp.azAt(t, program)
}

func (cp *controlPlane) azAt(t *testing.T, program string) az {
	t.Helper()
	a := az{t, cp, program, filepath.Join(t.TempDir(), "azure")}
	a.must("cloud", "register", "--name", "patchbay", "--endpoint-resource-manager", cp.url)
	a.must("cloud", "set", "--name", "patchbay")
	return a
}

// signedIn is az, signed in as a service principal.
func (a az) signIn(who credential) az {
	a.t.Helper()
	a.must("login", "--service-principal", "--username", who.id, "--password", who.secret, "--tenant", who.tenant, "--allow-no-subscriptions")
	return a
}

// in is the same sign-in for another test, with a configuration of its own: az
// keeps its state in files.
func (a az) in(t *testing.T) az {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "azure")
	if err := os.CopyFS(dir, os.DirFS(a.dir)); err != nil {
		t.Fatal(err)
	}
	return az{t, a.cp.in(t), a.program, dir}
}

// azError is an az that did not end with 0.
type azError struct {
	code   int
	stderr string
}

func (e *azError) Error() string { return fmt.Sprintf("az ended with %d: %s", e.code, e.stderr) }

// run gives a command and returns what its JSON says.
func (a az) run(args ...string) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.program, append(args, "--output", "json", "--only-show-errors")...)
	cmd.Env = append(os.Environ(), "AZURE_CONFIG_DIR="+a.dir, "REQUESTS_CA_BUNDLE="+a.cp.ca,
		"AZURE_CORE_COLLECT_TELEMETRY=no", "AZURE_CORE_NO_COLOR=yes", "AZURE_EXTENSION_DIR="+filepath.Join(a.dir, "none"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, &azError{exit.ExitCode(), stderr.String()}
	}
	if err != nil {
		return nil, err
	}
	var result any
	if text := bytes.TrimSpace(stdout.Bytes()); len(text) > 0 {
		if err := json.Unmarshal(text, &result); err != nil {
			return nil, fmt.Errorf("az said %s", text)
		}
	}
	return result, nil
}

// must gives a command that has to succeed.
func (a az) must(args ...string) any {
	a.t.Helper()
	result, err := a.run(args...)
	if err != nil {
		a.t.Fatalf("az %s: %v", strings.Join(args, " "), err)
	}
	return result
}

// refused gives a command that has to fail with that exit code, saying all of
// words.
func (a az) refused(code int, words []string, args ...string) {
	a.t.Helper()
	_, err := a.run(args...)
	var failed *azError
	if !errors.As(err, &failed) || failed.code != code {
		a.t.Errorf("az %s: %v, want exit code %d", strings.Join(args, " "), err, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(failed.stderr, word) {
			a.t.Errorf("az %s says %q, without %q", strings.Join(args, " "), failed.stderr, word)
		}
	}
}

// kind is a target as az names it.
type kind struct {
	name     string // az's word for it
	resource string // what is registered: type and name
	child    string // the part of it that a connection names
	// serve starts what there is to connect to, and returns how it is registered
	// and how az signs in.
	serve  func(*testing.T) (properties map[string]any, auth []string)
	client string
	also   string // what the client type is changed to
}

// kinds are those that az 2.45 can make without asking Azure for more, each on
// the real product where there is one to run. In a short run the first three
// stand for all.
var kinds = []kind{
	{"postgres-flexible", "Microsoft.DBforPostgreSQL/flexibleServers/pg", "/databases/shop", servePostgres, "go", "python"},
	{"redis", "Microsoft.Cache/Redis/cache", "/databases/0", serveRedis, "python", "nodejs"},
	{"storage-blob", "Microsoft.Storage/storageAccounts/blobs", "/blobServices/default", serveAzurite, "nodejs", "java"},
	{"storage-queue", "Microsoft.Storage/storageAccounts/queues", "/queueServices/default", serveAzurite, "python", "dotnet"},
	{"storage-table", "Microsoft.Storage/storageAccounts/tables", "/tableServices/default", serveAzurite, "python", "java"},
	{"storage-file", "Microsoft.Storage/storageAccounts/files", "/fileServices/default", serveKey, "python", "php"},
	{"mysql-flexible", "Microsoft.DBforMySQL/flexibleServers/mysql", "/databases/shop", serveMariaDB, "django", "php"},
	{"cosmos-sql", "Microsoft.DocumentDB/databaseAccounts/documents", "/sqlDatabases/shop", serveKey, "nodejs", "java"},
	{"cosmos-table", "Microsoft.DocumentDB/databaseAccounts/rows", "/tables/orders", serveKey, "python", "nodejs"},
	{"cosmos-gremlin", "Microsoft.DocumentDB/databaseAccounts/graphs", "/gremlinDatabases/shop/graphs/orders", serveKey, "nodejs", "python"},
	{"signalr", "Microsoft.SignalRService/SignalR/signals", "", serveKey, "dotnet", "dotnet"},
	{"eventhub", "Microsoft.EventHub/namespaces/events", "", serveBus, "python", "java"},
	{"servicebus", "Microsoft.ServiceBus/namespaces/bus", "", serveBus, "python", "nodejs"},
	{"keyvault", "Microsoft.KeyVault/vaults/vault", "", serveIdentity, "python", "java"},
}

// registeredKey has az send no secret: the one of the registration is taken.
var registeredKey = []string{"--secret"}

func given(name, secret string) []string {
	return []string{"--secret", "name=" + name, "secret=" + secret}
}

// servePostgres is administered, but az makes no connection to PostgreSQL
// without a login that exists.
func servePostgres(t *testing.T) (map[string]any, []string) {
	s := testenv.Postgres(t, testenv.PostgresOptions{})
	if err := s.Exec(t.Context(), "postgres", `CREATE DATABASE shop`, `CREATE ROLE app LOGIN PASSWORD 'the-app''s-own'`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn, err := s.Connect(context.Background(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		var login bool
		if err := conn.QueryRow(context.Background(), `SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'`).Scan(&login); err != nil || !login {
			t.Errorf("somebody else's login was touched: %t, %v", login, err)
		}
	})
	return postgresProperties(s), given("app", "the-app's-own")
}

func postgresProperties(s *testenv.PostgresServer) map[string]any {
	return map[string]any{
		"driver": "postgres", "endpoint": s.Addr(), "sslmode": "disable",
		"admin": map[string]string{"username": s.User, "password": s.Password},
	}
}

func serveRedis(t *testing.T) (map[string]any, []string) {
	s := testenv.Redis(t, true)
	return map[string]any{
		"driver": "external", "endpoint": s.Addr(), "tls": map[string]string{"ca": string(s.CA)},
		"admin": map[string]string{"username": s.User, "password": s.Password},
	}, registeredKey
}

func serveMariaDB(t *testing.T) (map[string]any, []string) {
	s := testenv.MariaDB(t, true)
	return map[string]any{
		"driver": "external", "endpoint": s.Addr(), "tls": map[string]string{"ca": string(s.CA)},
	}, given(s.User, s.Password)
}

func serveAzurite(t *testing.T) (map[string]any, []string) {
	s := testenv.Azurite(t)
	return map[string]any{
		"driver":    "external",
		"endpoints": map[string]string{"storage-blob": s.Blob(), "storage-queue": s.Queue(), "storage-table": s.Table()},
		"values":    map[string]string{"account": s.Account}, "admin": map[string]string{"key": s.Key},
	}, registeredKey
}

// serveKey is something over TLS with a key.
func serveKey(t *testing.T) (map[string]any, []string) {
	p := service(t)
	p["admin"] = map[string]string{"secret": "a2V5LW9mLWEtdGVzdA=="}
	return p, registeredKey
}

// serveIdentity has no secret.
func serveIdentity(t *testing.T) (map[string]any, []string) {
	return service(t), []string{"--system-identity"}
}

// TestAzManagesConnections is the life of a connection to each kind of target.
func TestAzManagesConnections(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	deploy := cp.newAz(t).signIn(cp.granted("deploy", serviceConnectorRole, cp.group))
	tried := kinds
	if testing.Short() {
		tried = kinds[:3]
	}
	for _, k := range tried {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			properties, auth := k.serve(t)
			target := cp.in(t).register(k.resource, properties) + k.child
			manageByAz(t, deploy.in(t), k, target, auth)
		})
	}
}

// manageByAz is the life of one connection of a web app.
func manageByAz(t *testing.T, az az, k kind, target string, auth []string) {
	source, file := az.cp.source("web-"+k.name, nil)
	of := func(command string, more ...string) []string {
		return slices.Concat([]string{"webapp", "connection"}, strings.Fields(command),
			[]string{"--resource-group", "default", "--name", "web-" + k.name, "--connection", "c1"}, more)
	}
	began := time.Now()
	made := az.must(of("create "+k.name, slices.Concat([]string{"--target-id", target, "--client-type", k.client}, auth)...)...)
	t.Logf("az webapp connection create took %s", time.Since(began).Round(time.Millisecond))
	wantAzLinker(t, made, source, target, k.client)
	env := file.settings()
	wantListed(t, at(made, "configurations"), env)

	wantAzLinker(t, az.must(of("show")...), source, target, k.client)
	all, _ := az.must("webapp", "connection", "list", "--source-id", source).([]any)
	if len(all) != 1 || at(all, 0, "name") != "c1" {
		t.Errorf("list = %v", all)
	}
	wantListed(t, at(az.must(of("list-configuration")...), "configurations"), env)

	report, _ := az.must(of("validate")...).([]any)
	if len(report) == 0 || slices.ContainsFunc(report, func(d any) bool { return at(d, "result") == "failure" }) {
		t.Errorf("validate = %v", report)
	}

	// az asks for the secret again where it was given.
	again := auth
	if len(auth) == 1 {
		again = nil
	}
	changed := az.must(of("update "+k.name, slices.Concat([]string{"--client-type", k.also}, again)...)...)
	wantAzLinker(t, changed, source, target, k.also)
	wantListed(t, at(az.must(of("list-configuration")...), "configurations"), file.settings())

	az.must(of("delete", "--yes")...)
	if got := file.text(); got != original {
		t.Errorf("after the delete the file is\n%s", got)
	}
	az.refused(3, []string{"ResourceNotFound"}, of("show")...)
}

func wantAzLinker(t *testing.T, linker any, source, target, client string) {
	t.Helper()
	if got := at(linker, "id"); got != linkerPath(source, "c1") {
		t.Errorf("the id is %v", got)
	}
	if got := at(linker, "targetService", "id"); got != target {
		t.Errorf("the target is %v, want %s", got, target)
	}
	if got := at(linker, "clientType"); got != client {
		t.Errorf("the client type is %v, want %s", got, client)
	}
	if got := at(linker, "provisioningState"); got != "Succeeded" {
		t.Errorf("the state is %v", got)
	}
}

// wantListed compares what az lists with what is in the file.
func wantListed(t *testing.T, configurations any, env map[string]string) {
	t.Helper()
	list, _ := configurations.([]any)
	for _, c := range list {
		name := fmt.Sprint(at(c, "name"))
		if value, ok := env[name]; !ok || value != at(c, "value") {
			t.Errorf("az lists %v, and the file has %q", c, value)
		}
	}
	if len(list) == 0 || len(list) != len(env)-1 {
		t.Errorf("az lists %v, and the file has %v", list, env)
	}
}

// serveBus listens where Azure's buses always do, at an address of its own.
func serveBus(t *testing.T) (map[string]any, []string) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	var address [3]byte
	_, _ = rand.Read(address[:])
	host := fmt.Sprintf("127.%d.%d.%d", address[0]|1, address[1], address[2]|1)
	l, err := net.Listen("tcp", net.JoinHostPort(host, "5671"))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Listener.Close()
	s.Listener = l
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return map[string]any{
		"driver": "external", "endpoint": host,
		"tls":   map[string]string{"ca": string(ca), "serverName": "example.com"},
		"admin": map[string]string{"key": "a2V5LW9mLWEtdGVzdA=="},
	}, registeredKey
}

// TestAzConnectsConfluentCloud is two connections in one command: to a broker,
// and to its registry of schemas. az wants a name of Confluent's in both
// addresses; that there is a second broker by that name is never asked.
func TestAzConnectsConfluentCloud(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	broker := kafka(t)
	registry := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
		if user, password, _ := r.BasicAuth(); user != "SKEY" || password != "schema-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "[]")
	}))
	t.Cleanup(registry.Close)
	source, file := cp.source("web", nil)
	deploy := cp.newAz(t).signIn(cp.granted("deploy", serviceConnectorRole, cp.group))
	made, _ := deploy.must("webapp", "connection", "create", "confluent-cloud", "--resource-group", "default", "--name", "web", "--connection", "kafka",
		"--bootstrap-server", broker+",b1.azure.confluent.cloud:9092", "--kafka-key", "KEY", "--kafka-secret", "kafka-secret",
		"--schema-registry", registry.URL+"/azure.confluent.cloud", "--schema-key", "SKEY", "--schema-secret", "schema-secret", "--client-type", "python").([]any)
	if len(made) != 2 || at(made, 0, "id") != linkerPath(source, "kafka") || at(made, 1, "id") != linkerPath(source, "kafka_schema") {
		t.Errorf("create = %v", made)
	}
	text := file.text()
	for _, want := range []string{broker, "kafka-secret", registry.URL, "schema-secret"} {
		if !strings.Contains(text, want) {
			t.Errorf("the file has no %s:\n%s", want, text)
		}
	}
	// az drops the new secret on its way, and the answer does not say that its user did.
	_, err := deploy.run("webapp", "connection", "update", "confluent-cloud", "--resource-group", "default", "--name", "web", "--connection", "kafka",
		"--kafka-key", "OTHER", "--kafka-secret", "other-secret")
	if err == nil || !strings.Contains(err.Error(), `another login name, "OTHER", and no secret for it`) || !strings.Contains(err.Error(), "patchbay connection rotate web/kafka --secret") {
		t.Errorf("an update with a new key: %v", err)
	}
	for _, name := range []string{"kafka", "kafka_schema"} {
		deploy.must("webapp", "connection", "delete", "--resource-group", "default", "--name", "web", "--connection", name, "--yes")
	}
	if got := file.text(); got != original {
		t.Errorf("after the deletes the file is\n%s", got)
	}
}

// kafka is a cluster of one broker over TLS, in this process.
func kafka(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	config := s.TLS.Clone()
	s.Close()
	config.NextProtos = nil
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "KEY", "kafka-secret"), kfake.TLS(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.ListenAddrs()[0]
}
