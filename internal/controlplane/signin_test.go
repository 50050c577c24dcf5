package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"patchbay.dev/patchbay/cli"
	"patchbay.dev/patchbay/server"
)

// provider is a real OpenID Connect provider: zitadel's own example, with a
// client that has no secret, as a command line has none.
type provider struct {
	*storage.Storage
	url string
}

func (p provider) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := p.Storage.GetClientByClientID(ctx, id)
	return public{c}, err
}

type public struct{ op.Client }

func (public) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodNone }
func (public) ApplicationType() op.ApplicationType { return op.ApplicationTypeNative }
func (public) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

func startProvider(t *testing.T) provider {
	t.Helper()
	mux := http.NewServeMux()
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	storage.RegisterClients(storage.DeviceClient("patchbay-cli", ""))
	p := provider{storage.NewStorage(storage.NewUserStore(web.URL)), web.URL}
	whole := exampleop.SetupServer(web.URL, p, nil, false, op.WithAllowInsecure())
	mux.Handle("/", whole)
	mux.HandleFunc("/device_authorization", func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		whole.ServeHTTP(rec, r)
		var answer map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
			t.Error(err)
		}
		answer["interval"] = 1 // it asks for five seconds, which nobody here needs
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	})
	return p
}

// machine is a user's account with a command line.
type machine struct {
	t   *testing.T
	env map[string]string
}

func (m machine) command(stderr io.Writer, args ...string) (status int, stdout string) {
	var out bytes.Buffer
	status = cli.Main(m.t.Context(), cli.Deps{
		Stdin: strings.NewReader(m.env["STDIN"]), Stdout: &out, Stderr: stderr,
		Getenv: func(name string) string { return m.env[name] },
	}, args)
	return status, out.String()
}

// must runs a command that has to work, and reads its answer.
func (m machine) must(into any, args ...string) {
	m.t.Helper()
	var stderr bytes.Buffer
	status, stdout := m.command(&stderr, args...)
	if status != 0 {
		m.t.Fatalf("patchbay %s: status %d\n%s%s", strings.Join(args, " "), status, stdout, &stderr)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(stdout), into); err != nil {
			m.t.Fatalf("patchbay %s: %v\n%s", strings.Join(args, " "), err, stdout)
		}
	}
}

func (m machine) fails(why string, args ...string) {
	m.t.Helper()
	var stderr bytes.Buffer
	if status, stdout := m.command(&stderr, args...); status == 0 || !strings.Contains(stderr.String(), why) {
		m.t.Errorf("patchbay %s: status %d, want a failure that says %q\n%s%s", strings.Join(args, " "), status, why, stdout, &stderr)
	}
}

func serve(t *testing.T, o Options) (web *server.Server, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan *server.Server, 1), make(chan error, 1)
	o.Ready = func(s *server.Server) { ready <- s }
	go func() { ended <- Run(ctx, o) }()
	select {
	case web = <-ready:
	case err := <-ended:
		cancel()
		t.Fatal(err)
	}
	done := false
	stop = func() {
		cancel()
		if !done {
			done = true
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return web, stop
}

type who struct {
	ID, AppID, TenantID, Name, Kind, Secret string
	Operator                                bool
}

func TestSigningInFromEndToEnd(t *testing.T) {
	idp := startProvider(t)
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "oidc.yaml")
	if err := os.WriteFile(file, []byte("- name: example\n  issuer: "+idp.url+"\n  clientId: patchbay-cli\n  tenant: default\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var logs bytes.Buffer
	options := Options{
		Server: server.Options{Dir: dir, Address: "127.0.0.1:0"}, SignIn: SignIn{Providers: file},
		Log: slog.New(slog.NewTextHandler(&logs, nil)),
	}
	web, stop := serve(t, options)
	operator := machine{t, map[string]string{
		"PATCHBAY_URL": web.URL(), "PATCHBAY_CA": web.CA(), "PATCHBAY_TOKEN": web.Token().Reveal(), "HOME": t.TempDir(),
	}}
	user := machine{t, map[string]string{"PATCHBAY_URL": web.URL(), "PATCHBAY_CA": web.CA(), "HOME": t.TempDir()}}

	var me, made, got who
	operator.must(&me, "whoami")
	if !me.Operator {
		t.Errorf("the operator is %+v", me)
	}
	user.fails("no token", "whoami")
	operator.must(&made, "principal", "create", "deployer")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(made.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	user.fails("not right", "login", "--service-principal", "--client-id", made.ID, "--secret-file", secret)
	user.must(&got, "login", "--service-principal", "--client-id", made.AppID, "--tenant", "default", "--secret-file", secret)
	if got.ID != made.ID || got.Name != "deployer" || got.Kind != "ServicePrincipal" || got.Operator {
		t.Errorf("%+v", got)
	}

	// Without a role there is nothing to see; with one there is.
	var list []any
	user.must(&list, "subscription", "list")
	if len(list) != 0 {
		t.Errorf("without a role it sees %v", list)
	}
	operator.must(nil, "role", "assign", "Reader", "--to", "deployer", "--scope", "/")
	user.must(&list, "subscription", "list")
	if len(list) != 1 {
		t.Errorf("with a role it sees %v", list)
	}
	user.fails("Patchbay.Connector/principals/write", "principal", "create", "another")
	user.fails("tenants/write", "tenant", "create", "another")

	// Another tenant is not there.
	var tenant struct{ TenantID string }
	operator.must(&tenant, "tenant", "create", "contoso")
	operator.must(nil, "subscription", "create", "shop", "--tenant", "contoso")
	operator.must(nil, "principal", "create", "theirs", "--tenant", "contoso")
	operator.fails("there are 2 tenants", "principal", "create", "whose")
	user.must(&list, "principal", "list")
	if len(list) != 1 {
		t.Errorf("it sees %v", list)
	}
	user.must(&list, "tenant", "list")
	if len(list) != 1 {
		t.Errorf("it sees %v", list)
	}

	t.Run("a person, with a device code", func(t *testing.T) { signInPerson(t, idp, operator, user.env) })

	// The server's restart ends no login.
	user.must(nil, "login", "--service-principal", "--client-id", made.AppID, "--secret-file", secret)
	stop()
	options.Server.Address = strings.TrimPrefix(web.URL(), "https://")
	_, stop = serve(t, options)
	user.must(&got, "whoami")
	if got.ID != made.ID {
		t.Errorf("after a restart: %+v", got)
	}
	operator.must(&made, "principal", "reset-secret", "deployer")
	user.fails("secret that is gone", "whoami")
	user.must(nil, "logout")
	user.fails("no token", "whoami")
	stop()
	for _, s := range []string{made.Secret, "eyJ"} {
		if strings.Contains(logs.String(), s) {
			t.Errorf("%q is in the log", s)
		}
	}
}

// signInPerson signs in as a person does, who reads the code and enters it.
func signInPerson(t *testing.T, idp provider, operator machine, env map[string]string) {
	person := machine{t, map[string]string{"PATCHBAY_URL": env["PATCHBAY_URL"], "PATCHBAY_CA": env["PATCHBAY_CA"], "HOME": t.TempDir()}}
	reading, writing := io.Pipe()
	status := make(chan int, 1)
	var stdout string
	go func() {
		var s int
		s, stdout = person.command(writing, "login")
		_ = writing.Close()
		status <- s
	}()
	code := make([]byte, 4096)
	n, err := reading.Read(code)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`enter the code (\S+)`).FindSubmatch(code[:n])
	if found == nil {
		t.Fatalf("it says %q", code[:n])
	}
	if err := idp.CompleteDeviceAuthorization(t.Context(), string(found[1]), "id1"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(reading)
	if s := <-status; s != 0 || err != nil {
		t.Fatalf("status %d, %v: %s", s, err, rest)
	}
	var got who
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Kind != "User" || got.Operator {
		t.Errorf("%+v, %v", got, err)
	}
	var made who
	operator.must(&made, "principal", "create", "ann", "--tenant", "default", "--provider", "example", "--subject", "id1")
	if made.ID != got.ID || made.Secret != "" {
		t.Errorf("%+v is made of %+v", made, got)
	}
	files, err := filepath.Glob(filepath.Join(person.env["HOME"], "*", "*", "patchbay-logins", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	// The same token, as a platform hands it to a machine.
	var kept struct{ Token string }
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &kept); err != nil || kept.Token == "" {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(kept.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	workload := machine{t, map[string]string{"PATCHBAY_URL": env["PATCHBAY_URL"], "PATCHBAY_CA": env["PATCHBAY_CA"], "HOME": t.TempDir()}}
	workload.must(&got, "login", "--federated-token-file", token)
	if got.ID != made.ID {
		t.Errorf("%+v", got)
	}
	if err := os.WriteFile(token, []byte("not a token"), 0o600); err != nil {
		t.Fatal(err)
	}
	workload.fails("AuthenticationFailed", "whoami")
	operator.must(nil, "principal", "update", "ann", "--disable")
	person.fails("disabled", "whoami")
}

func TestWhatAzuresClientsAskBeforeTheySignIn(t *testing.T) {
	web, _ := serve(t, Options{
		Server: server.Options{Dir: filepath.Join(t.TempDir(), "data"), Address: "127.0.0.1:0"}, Log: slog.New(slog.DiscardHandler),
	})
	for _, c := range []struct {
		method, path string
		status       int
		want         []string
	}{
		{"GET", "/metadata/endpoints?api-version=2015-01-01", 200, []string{`"loginEndpoint":"BASE/adfs"`, `"audiences":["BASE/"]`}},
		{"GET", "/metadata/endpoints?api-version=2022-09-01", 200, []string{`"loginEndpoint":"BASE/adfs"`, `"resourceManager":"BASE"`, `"identityProvider":"AAD"`}},
		{"GET", "/metadata/endpoints?api-version=2020-06-01", 200, []string{`[{`}},
		{"GET", "/metadata/endpoints", 400, []string{"api-version"}},
		{"GET", "//adfs/.well-known/openid-configuration", 200, []string{`"issuer":"BASE/adfs"`, `"token_endpoint":"BASE/adfs/oauth2/token"`}},
		{"GET", "/adfs/default/.well-known/openid-configuration", 200, []string{`/v2.0"`}},
		{"POST", "/adfs/default/oauth2/v2.0/token", 400, []string{"invalid_request"}},
		{"GET", "/default/v2.0/.well-known/openid-configuration", 200, []string{`/oauth2/v2.0/token"`}},
		{"GET", "/nowhere/v2.0/.well-known/openid-configuration", 404, []string{"there is no tenant of that name"}},
		{"GET", "/ADFS/discovery/keys", 200, []string{`"kty":"EC"`}},
		{"GET", "/adfs/oauth2/token", 405, nil},
		{"POST", "/adfs/oauth2/token", 400, []string{"invalid_request"}},
		{"GET", "/providers/Patchbay.Connector/signIn", 200, []string{`"providers":[]`}},
		{"GET", "/adfs/oauth2/authorize", 401, nil},
	} {
		r := httptest.NewRequest(c.method, "https://h.test:1"+c.path, nil)
		w := httptest.NewRecorder()
		web.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
		for _, want := range c.want {
			if want = strings.ReplaceAll(want, "BASE", "https://h.test:1"); !strings.Contains(strings.ReplaceAll(w.Body.String(), `": `, `":`), want) {
				t.Errorf("%s: no %s in %s", c.path, want, w.Body)
			}
		}
	}
}

func TestAMisspelledProviderEndsTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "oidc.yaml")
	if err := os.WriteFile(file, []byte("- title: example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Run(ctx, Options{
		Server: server.Options{Dir: filepath.Join(t.TempDir(), "data"), Address: "127.0.0.1:0"}, SignIn: SignIn{Providers: file}, Log: slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(fmt.Sprint(err), "title") {
		t.Error(err)
	}
}
