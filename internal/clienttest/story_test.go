package clienttest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/joho/godotenv"

	"patchbay.dev/patchbay/internal/testenv"
)

// azureClient is one of Azure's clients. Bodies and answers are as on the wire,
// as far as the client lets them through.
type azureClient interface {
	// create makes a connection as a user of this client would, and waits for it.
	create(ctx context.Context, source, name string, body map[string]any) (linker map[string]any, err error)
	get(ctx context.Context, source, name string) (map[string]any, error)
	list(ctx context.Context, source string) ([]any, error)
	// update changes the client type alone.
	update(ctx context.Context, source, name, clientType string) (map[string]any, error)
	// validate returns the operation's status, with its report; nil of a client
	// that does not read it.
	validate(ctx context.Context, source, name string) (map[string]any, error)
	configurations(ctx context.Context, source, name string) (map[string]string, error)
	delete(ctx context.Context, source, name string) error
}

// wireError is an error that the server answered, as a client tells of it.
type wireError struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *wireError) Error() string { return fmt.Sprintf("%d (%s) %s", e.Status, e.Code, e.Message) }

// clients are all of them, each signed in as it signs in.
var clients = []struct {
	name    string
	connect func(*controlPlane, credential) azureClient
}{
	{"arm-servicelinker for JavaScript", newJavaScript},
	{"azcore", newAzcore},
	{"go-azure-sdk, as azurerm calls it", newAzurerm},
}

func TestAClientManagesAConnection(t *testing.T) {
	for _, c := range clients {
		for _, mode := range []struct {
			name  string
			grace time.Duration
		}{{"answered finished", finished}, {"answered running", running}} {
			t.Run(c.name+", "+mode.name, func(t *testing.T) {
				t.Parallel()
				cp := start(t, mode.grace)
				manage(t, cp, c.connect(cp, cp.granted("deploy", serviceConnectorRole, cp.group)))
			})
		}
	}
}

// manage is the life of two connections of one source, one to a PostgreSQL
// that Patchbay administers and one to something that it does not.
func manage(t *testing.T, cp *controlPlane, client azureClient) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	database := cp.postgres(pg)
	signals := cp.register("Microsoft.SignalRService/SignalR/signals", service(t))
	source, file := cp.source("web", nil)

	wantNothing(ctx, t, client, source)

	// PostgreSQL: Patchbay makes the login.
	made, err := client.create(ctx, source, "orders", secretLinker(database, "go", nil))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	wantLinker(t, made, source, "orders", database)
	env := file.settings()
	if logins := logins(ctx, t, pg); len(logins) != 1 || signedIn(ctx, t, env) != logins[0] {
		t.Errorf("the file signs in as %s, and there are the logins %v", signedIn(ctx, t, env), logins)
	}

	// An external target: the secret is given.
	const password = "given-by-the-user"
	made, err = client.create(ctx, source, "signals", secretLinker(signals, "none", map[string]any{
		"secretInfo": map[string]any{"secretType": "rawValue", "value": password},
	}))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	wantLinker(t, made, source, "signals", signals)
	if text := fmt.Sprint(made); strings.Contains(text, password) {
		t.Errorf("the answer has the secret in it: %s", text)
	}
	if text := fmt.Sprint(file.settings()); !strings.Contains(text, password) {
		t.Errorf("the settings have no such secret: %s", text)
	}

	all, err := client.list(ctx, source)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	names := []string{fmt.Sprint(at(all, 0, "name")), fmt.Sprint(at(all, 1, "name"))}
	slices.Sort(names)
	if len(all) != 2 || !slices.Equal(names, []string{"orders", "signals"}) {
		t.Errorf("list = %v", all)
	}

	wantConfigurations(ctx, t, client, source, file)

	// What an older client type's settings were is not there any more.
	changed, err := client.update(ctx, source, "orders", "python")
	if err != nil {
		t.Fatalf("update: %v", err)
	}
	wantLinker(t, changed, source, "orders", database)
	if got := at(changed, "properties", "clientType"); got != "python" {
		t.Errorf("the client type is %v after the update", got)
	}
	if maps.Equal(env, file.settings()) {
		t.Error("the update changed nothing in the file")
	}
	wantConfigurations(ctx, t, client, source, file)

	wantAvailable(ctx, t, client, source, "orders", true)
	login := logins(ctx, t, pg)[0]
	for _, word := range []string{"NOLOGIN", "LOGIN"} {
		if err := pg.Exec(ctx, "shop", fmt.Sprintf(`ALTER ROLE %q %s`, login, word)); err != nil {
			t.Fatal(err)
		}
		wantAvailable(ctx, t, client, source, "orders", word == "LOGIN")
	}

	for _, name := range []string{"orders", "signals"} {
		if err := client.delete(ctx, source, name); err != nil {
			t.Fatalf("delete %s: %v", name, err)
		}
	}
	if got := file.text(); got != original {
		t.Errorf("after the deletes the file is\n%s", got)
	}
	if left := logins(ctx, t, pg); len(left) > 0 {
		t.Errorf("after the deletes there is %v", left)
	}
	wantNothing(ctx, t, client, source)
	if err := client.delete(ctx, source, "orders"); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}

func TestAClientSeesAnOperationThatTakesItsTime(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cp := start(t, 0)
			slow(t, cp, c.connect(cp, cp.granted("deploy", serviceConnectorRole, cp.group)))
		})
	}
}

// slow creates a connection whose source restarts only after the client has
// polled: it must have seen that it runs, and then the end.
func slow(t *testing.T, cp *controlPlane, client azureClient) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	database := cp.postgres(pg)
	gate := t.TempDir() + "/gate"
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	source, file := cp.source("web", map[string]any{"command": []string{"cat", gate}})

	released := make(chan error, 1)
	go func() {
		err := cp.requests.await(ctx, 1, isPoll)
		// A writer that comes and goes lets the reader end.
		f, openErr := os.OpenFile(gate, os.O_WRONLY, 0)
		if openErr == nil {
			openErr = f.Close()
		}
		released <- errors.Join(err, openErr)
	}()
	made, err := client.create(ctx, source, "orders", secretLinker(database, "go", nil))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if err := <-released; err != nil {
		t.Fatalf("the client has not polled: %v", err)
	}
	wantLinker(t, made, source, "orders", database)
	if got := signedIn(ctx, t, file.settings()); !slices.Contains(logins(ctx, t, pg), got) {
		t.Errorf("the file signs in as %q", got)
	}
	if n, _ := cp.requests.count(func(q request) bool { return isPoll(q) && q.status/100 == 2 }); n < 2 {
		t.Errorf("the client polled %d times, so it never saw the operation run", n)
	}
}

// secretLinker is the body of a linker with authType secret; more are further
// members of its authInfo.
func secretLinker(target, clientType string, more map[string]any) map[string]any {
	auth := map[string]any{"authType": "secret"}
	maps.Copy(auth, more)
	return map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": target},
		"authInfo":      auth,
		"clientType":    clientType,
	}}
}

func wantLinker(t *testing.T, linker map[string]any, source, name, target string) {
	t.Helper()
	if got := at(linker, "id"); got != source+"/providers/Microsoft.ServiceLinker/linkers/"+name {
		t.Errorf("the linker's id is %v", got)
	}
	if got := at(linker, "properties", "provisioningState"); got != "Succeeded" {
		t.Errorf("the linker's state is %v", got)
	}
	if got := at(linker, "properties", "targetService", "id"); got != target {
		t.Errorf("the linker's target is %v, want %s", got, target)
	}
	if got := at(linker, "properties", "authInfo", "authType"); got != "secret" {
		t.Errorf("the linker's authType is %v", got)
	}
}

func wantNothing(ctx context.Context, t *testing.T, client azureClient, source string) {
	t.Helper()
	all, err := client.list(ctx, source)
	if err != nil || len(all) > 0 {
		t.Errorf("list = %v, %v; there should be nothing", all, err)
	}
	var answer *wireError
	if _, err := client.get(ctx, source, "orders"); !errors.As(err, &answer) || answer.Status != http.StatusNotFound || answer.Code != "ResourceNotFound" {
		t.Errorf("get = %v, want 404 (ResourceNotFound)", err)
	}
}

// wantConfigurations compares what the client lists with what is in the file.
func wantConfigurations(ctx context.Context, t *testing.T, client azureClient, source string, file settingsFile) {
	t.Helper()
	listed := map[string]string{}
	for _, name := range []string{"orders", "signals"} {
		c, err := client.configurations(ctx, source, name)
		if err != nil || len(c) == 0 {
			t.Fatalf("listConfigurations of %s = %v, %v", name, c, err)
		}
		maps.Copy(listed, c)
	}
	held := file.settings()
	delete(held, "PORT")
	if !maps.Equal(listed, held) {
		t.Errorf("listConfigurations has\n%v\nand the file\n%v", listed, held)
	}
}

func wantAvailable(ctx context.Context, t *testing.T, client azureClient, source, name string, want bool) {
	t.Helper()
	status, err := client.validate(ctx, source, name)
	if err != nil {
		t.Fatalf("validate: %v", err)
	}
	if status == nil {
		return
	}
	if got := at(status, "properties", "isConnectionAvailable"); got != want {
		t.Errorf("isConnectionAvailable is %v, want %t: %v", got, want, status)
	}
	details, _ := at(status, "properties", "validationDetail").([]any)
	failed := slices.ContainsFunc(details, func(d any) bool { return at(d, "result") == "failure" })
	if len(details) == 0 || failed == want {
		t.Errorf("the report is %v", details)
	}
}

func (f settingsFile) text() string {
	f.t.Helper()
	text, err := os.ReadFile(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

func (f settingsFile) settings() map[string]string {
	f.t.Helper()
	m, err := godotenv.Read(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// logins are Patchbay's, as PostgreSQL says.
func logins(ctx context.Context, t *testing.T, s *testenv.PostgresServer) []string {
	t.Helper()
	conn, err := s.Connect(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT rolname FROM pg_roles WHERE rolname LIKE 'pb\_%' AND rolcanlogin ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// signedIn is who PostgreSQL says that the settings sign in as; "" nobody.
func signedIn(ctx context.Context, t *testing.T, env map[string]string) string {
	t.Helper()
	conn, err := pgx.Connect(ctx, env["AZURE_POSTGRESQL_CONNECTIONSTRING"])
	if err != nil {
		t.Errorf("the settings do not sign in: %v", err)
		return ""
	}
	defer func() { _ = conn.Close(ctx) }()
	var who string
	if err := conn.QueryRow(ctx, `SELECT session_user`).Scan(&who); err != nil {
		t.Error(err)
	}
	return who
}
