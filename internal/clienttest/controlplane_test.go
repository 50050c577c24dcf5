package clienttest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/server"
)

const (
	ownVersion    = "2026-11-01"
	linkerVersion = "2022-05-01"
)

// finished makes a server wait for an operation however long it takes, so that
// every answer is a finished one; running makes it wait for none.
const (
	finished = time.Minute
	running  = -time.Second
)

// controlPlane is a running server, with what a client must know to reach it.
type controlPlane struct {
	t            *testing.T
	url          string // https://127.0.0.1:port
	ca           string // the file of its authority's certificate
	token        string // the local administrator's
	http         *http.Client
	tenant       string
	subscription string
	group        string // the id of the resource group
	requests     *requestLog
}

// start runs a server on a fresh data directory; it ends with the test.
func start(t *testing.T, grace time.Duration) *controlPlane {
	t.Helper()
	return startWith(t, server.Options{Grace: grace})
}

func startWith(t *testing.T, o server.Options) *controlPlane {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	cp := &controlPlane{t: t, ca: filepath.Join(dir, "ca.crt"), requests: newRequestLog()}
	o.Dir, o.Address = dir, "127.0.0.1:0"
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan *server.Server, 1), make(chan error, 1)
	go func() {
		ended <- controlplane.Run(ctx, controlplane.Options{
			Server: o,
			Log:    slog.New(cp.requests),
			Ready:  func(s *server.Server) { ready <- s },
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the server's last words:\n%s", cp.requests.tail(4000))
		}
	})
	select {
	case web := <-ready:
		cp.url, cp.token = web.URL(), web.Token().Reveal()
	case err := <-ended:
		ended <- nil
		t.Fatalf("start the server: %v", err)
	}
	cp.connect()
	return cp
}

func (cp *controlPlane) connect() {
	cp.t.Helper()
	ca, err := os.ReadFile(cp.ca)
	if err != nil {
		cp.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	cp.t.Cleanup(transport.CloseIdleConnections)
	cp.http = &http.Client{Transport: transport, Timeout: time.Minute}

	status, answer := cp.call("GET", "/subscriptions", ownVersion, nil)
	first, ok := at(answer, "value", 0).(map[string]any)
	if status != http.StatusOK || !ok {
		cp.t.Fatalf("GET /subscriptions = %d %v", status, answer)
	}
	cp.subscription, _ = first["subscriptionId"].(string)
	cp.tenant, _ = first["tenantId"].(string)
	cp.group = "/subscriptions/" + cp.subscription + "/resourceGroups/default"
}

// in is the same server, whose trouble is t's.
func (cp *controlPlane) in(t *testing.T) *controlPlane {
	of := *cp
	of.t = t
	return &of
}

// call asks as the local administrator, without any of the clients.
func (cp *controlPlane) call(method, path, version string, body any) (int, map[string]any) {
	cp.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			cp.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	req, err := http.NewRequestWithContext(cp.t.Context(), method, cp.url+path+sep+"api-version="+version, content)
	if err != nil {
		cp.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+cp.token)
	req.Header.Set("Content-Type", "application/json")
	answer, err := cp.http.Do(req)
	if err != nil {
		cp.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		cp.t.Fatal(err)
	}
	var tree map[string]any
	if len(bytes.TrimSpace(text)) > 0 {
		if err := json.Unmarshal(text, &tree); err != nil {
			cp.t.Fatalf("%s %s: %d with a body that is no object: %s", method, path, answer.StatusCode, text)
		}
	}
	return answer.StatusCode, tree
}

// register puts a resource into the inventory and returns its id. path is its
// type and name.
func (cp *controlPlane) register(path string, properties map[string]any) string {
	cp.t.Helper()
	id := cp.group + "/providers/" + path
	status, answer := cp.call("PUT", id, ownVersion, map[string]any{"properties": properties})
	if status != http.StatusCreated {
		cp.t.Fatalf("register %s = %d %v", path, status, answer)
	}
	return id
}

// postgres registers a PostgreSQL server with a database shop, and returns the
// database's id.
func (cp *controlPlane) postgres(s *testenv.PostgresServer) string {
	cp.t.Helper()
	ctx := cp.t.Context()
	if err := s.Exec(ctx, "postgres", `CREATE DATABASE shop`); err != nil {
		cp.t.Fatal(err)
	}
	if err := s.Exec(ctx, "shop", `CREATE TABLE orders (id int)`); err != nil {
		cp.t.Fatal(err)
	}
	return cp.register("Microsoft.DBforPostgreSQL/flexibleServers/db", map[string]any{
		"driver": "postgres", "endpoint": s.Addr(), "sslmode": "disable",
		"admin": map[string]string{"username": s.User, "password": s.Password},
	}) + "/databases/shop"
}

// settled waits until the connection's operation has ended.
func (cp *controlPlane) settled(source, name string) {
	cp.t.Helper()
	status, list := cp.call("GET", "/providers/Patchbay.Connector/operations?connection="+linkerPath(source, name), ownVersion, nil)
	id, _ := at(list, "value", 0, "id").(string)
	if status != http.StatusOK || id == "" {
		cp.t.Fatalf("the operations are %d %v", status, list)
	}
	for version, ended := 0.0, false; !ended; {
		_, op := cp.call("GET", fmt.Sprintf("/providers/Patchbay.Connector/operations/%s?wait=20&version=%.0f", id, version), ownVersion, nil)
		version, _ = op["version"].(float64)
		_, ended = op["ended"].(string)
	}
}

// original is what a settings file holds before anything is connected.
const original = "# the application's own\nPORT=8080\n"

// settingsFile is a source's .env.
type settingsFile struct {
	t    *testing.T
	path string
}

// source registers a web app whose settings are in a .env file of its own.
// reload may be nil.
func (cp *controlPlane) source(name string, reload any) (string, settingsFile) {
	cp.t.Helper()
	file := settingsFile{cp.t, filepath.Join(cp.t.TempDir(), name+".env")}
	if err := os.WriteFile(file.path, []byte(original), 0o600); err != nil {
		cp.t.Fatal(err)
	}
	properties := map[string]any{"driver": "envfile", "endpoint": file.path, "dialect": "dotenv"}
	if reload != nil {
		properties["reload"] = reload
	}
	return cp.register("Microsoft.Web/sites/"+name, properties), file
}

// service is something over TLS at an address, that answers every request of
// HTTP with an empty object: what is registered as a target that Patchbay does
// not administer. It returns the properties of a registration.
func service(t *testing.T) map[string]any {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return map[string]any{
		"driver": "external", "endpoint": s.Listener.Addr().String(), "tls": map[string]string{"ca": string(ca)},
	}
}

// at walks into what JSON became: a string is a member's name, an int an
// index. What is not there is nil.
func at(tree any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := tree.(map[string]any)
			tree = m[p]
		case int:
			list, _ := tree.([]any)
			if p >= len(list) {
				return nil
			}
			tree = list[p]
		}
	}
	return tree
}
