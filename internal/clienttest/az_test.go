//go:build az

package clienttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv"
)

// az is the command line with a configuration of its own.
type az struct {
	t   *testing.T
	cp  *controlPlane
	dir string // AZURE_CONFIG_DIR
}

// newAz has az know the server as its cloud; nobody is signed in.
func (cp *controlPlane) newAz(t *testing.T) az {
	t.Helper()
	if _, err := exec.LookPath("az"); err != nil {
		t.Fatal("az is not installed: `make test-az` installs it")
	}
	a := az{t, cp, filepath.Join(t.TempDir(), "azure")}
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
	return az{t, a.cp, dir}
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
	cmd := exec.CommandContext(ctx, "az", append(args, "--output", "json", "--only-show-errors")...)
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
	name       string // az's word for it
	resource   string // what is registered: type and name
	child      string // the part of it that a connection names
	properties map[string]any
	admin      map[string]string
	auth       []string // how the connection signs in
	client     string
	also       string // what the client type is changed to
}

// kinds are those that az 2.45 can make from what is registered. In a short run
// the first three stand for all.
var kinds = []kind{
	{name: "postgres-flexible", auth: []string{"--secret", "name=app", "secret=the-app's-own"}, client: "go", also: "python"},
	{name: "redis", resource: "Microsoft.Cache/Redis/cache", child: "/databases/0",
		admin: map[string]string{"key": "k-redis"}, auth: []string{"--secret"}, client: "python", also: "nodejs"},
	{name: "storage-blob", resource: "Microsoft.Storage/storageAccounts/store", child: "/blobServices/default",
		admin: map[string]string{"key": "k-blob"}, auth: []string{"--secret"}, client: "nodejs", also: "java"},
	{name: "storage-queue", resource: "Microsoft.Storage/storageAccounts/queues", child: "/queueServices/default",
		admin: map[string]string{"key": "k-queue"}, auth: []string{"--secret"}, client: "python", also: "dotnet"},
	{name: "storage-table", resource: "Microsoft.Storage/storageAccounts/tables", child: "/tableServices/default",
		admin: map[string]string{"key": "k-table"}, auth: []string{"--secret"}, client: "python", also: "java"},
	{name: "storage-file", resource: "Microsoft.Storage/storageAccounts/files", child: "/fileServices/default",
		admin: map[string]string{"key": "k-file"}, auth: []string{"--secret"}, client: "python", also: "php"},
	{name: "mysql-flexible", resource: "Microsoft.DBforMySQL/flexibleServers/mysql", child: "/databases/shop",
		auth: []string{"--secret", "name=app", "secret=p-mysql"}, client: "django", also: "php"},
	{name: "sql", resource: "Microsoft.Sql/servers/sql", child: "/databases/shop",
		auth: []string{"--secret", "name=app", "secret=p-sql"}, client: "dotnet", also: "java"},
	{name: "cosmos-mongo", resource: "Microsoft.DocumentDB/databaseAccounts/mongo", child: "/mongodbDatabases/shop",
		admin: map[string]string{"key": "k-mongo"}, auth: []string{"--secret"}, client: "nodejs", also: "go"},
	{name: "eventhub", resource: "Microsoft.EventHub/namespaces/events",
		admin: map[string]string{"key": "k-events"}, auth: []string{"--secret"}, client: "python", also: "java"},
	{name: "servicebus", resource: "Microsoft.ServiceBus/namespaces/bus",
		admin: map[string]string{"key": "k-bus"}, auth: []string{"--secret"}, client: "python", also: "nodejs"},
	{name: "signalr", resource: "Microsoft.SignalRService/SignalR/signals",
		admin: map[string]string{"key": "k-signals"}, auth: []string{"--secret"}, client: "dotnet", also: "none"},
	{name: "webpubsub", resource: "Microsoft.SignalRService/WebPubSub/hub",
		admin: map[string]string{"key": "k-hub"}, auth: []string{"--secret"}, client: "nodejs", also: "python"},
	{name: "keyvault", resource: "Microsoft.KeyVault/vaults/vault", auth: []string{"--system-identity"}, client: "python", also: "java"},
}

// TestAz is everything that is done with az, on one server.
func TestAz(t *testing.T) {
	pgTest(t, start(t, 0))
}

func pgTest(t *testing.T, cp *controlPlane) {
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	database := cp.postgres(pg)
	if err := pg.Exec(t.Context(), "shop", `CREATE ROLE app LOGIN PASSWORD 'the-app''s-own'`, `GRANT ALL ON orders TO app`); err != nil {
		t.Fatal(err)
	}
	owner := cp.newAz(t).signIn(cp.contributor())
	var tried []kind
	for _, k := range kinds {
		if testing.Short() && len(tried) == 3 {
			break
		}
		tried = append(tried, k)
	}
	for _, k := range tried {
		target := database
		if k.resource != "" {
			properties := map[string]any{"driver": "external", "endpoint": listen(t)}
			if k.admin != nil {
				properties["admin"] = k.admin
			}
			target = cp.register(k.resource, properties) + k.child
		}
		t.Run("webapp connection "+k.name, func(t *testing.T) {
			t.Parallel()
			webapp(t, owner.in(t), k, target)
		})
	}
}

// webapp is the life of one connection of a web app.
func webapp(t *testing.T, az az, k kind, target string) {
	source, file := az.cp.source("web-"+k.name, nil)
	of := func(command string, more ...string) []string {
		return slices.Concat([]string{"webapp", "connection"}, strings.Fields(command),
			[]string{"--resource-group", "default", "--name", "web-" + k.name, "--connection", "c1"}, more)
	}
	made := az.must(of("create "+k.name, slices.Concat([]string{"--target-id", target, "--client-type", k.client}, k.auth)...)...)
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
	auth := []string{}
	if len(k.auth) > 1 {
		auth = k.auth
	}
	changed := az.must(of("update "+k.name, slices.Concat([]string{"--client-type", k.also}, auth)...)...)
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
		t.Errorf("the target is %v, want %s: %v", got, target, linker)
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
