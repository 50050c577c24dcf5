package crashtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay/internal/testenv"
)

// collector is an OpenTelemetry collector that keeps the bytes it is sent.
type collector struct {
	mu    sync.Mutex
	spans bytes.Buffer
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans.Write(body)
}

func (c *collector) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.spans.Bytes())
}

// A run of everything, failures included, with canaries for secrets: none is
// in an answer that was not made for it, nor in the log, the metrics, the
// traces or a file.
func TestNoSecretLeavesItsPlace(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program")
	}
	const canary = "canary-9f3c1e"
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	admin, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(t.Context()) }()
	for _, sql := range []string{
		`CREATE DATABASE shop`,
		`ALTER ROLE postgres PASSWORD '` + canary + `-admin'`,
		`CREATE ROLE dba LOGIN PASSWORD '` + canary + `-given'`,
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	pg.Password = canary + "-admin"
	tg := &postgresTarget{t: t, server: pg}

	traces := &collector{}
	receiver := httptest.NewServer(traces)
	defer receiver.Close()
	w := newWorld(t, tg)
	s := boot(t, w.dir, "", "", "--otlp-endpoint", receiver.URL+"/v1/traces")
	w.register(s)

	// Everything that is answered, but what is answered to be read.
	var answers bytes.Buffer
	secrets := map[string]bool{canary: true, s.token: true}
	note := func(path string) {
		status, answer := s.call("GET", path, own, nil)
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(&answers, "%s %d %s\n", path, status, text)
	}
	did := func(what string, status int) {
		t.Helper()
		op := s.settle()
		text, err := json.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(&answers, "%s %d %s\n", what, status, text)
		for _, secret := range tg.secrets(w.settings()) {
			secrets[secret] = true
		}
		note(w.linker)
	}
	given := func(secret string) int {
		status, answer := s.call("PUT", w.linker, own, map[string]any{"properties": map[string]any{
			"targetService": map[string]any{"type": "AzureResource", "id": w.group + "/providers/" + tg.id()},
			"authInfo":      map[string]any{"authType": "secret", "name": "dba", "secretInfo": map[string]any{"secretType": "rawValue", "value": secret}},
			"clientType":    "python",
		}})
		text, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		answers.Write(text)
		return status
	}
	did("refused login", given(canary+"-wrong"))
	did("create with a given login", given(canary+"-given"))
	did("update to a login of Patchbay's own", s.put(w, "writer"))
	for _, path := range []string{"validate", "rotate"} {
		status, _ := s.call("POST", w.linker+"/providers/Patchbay.Connector/"+path, own, map[string]any{})
		did(path, status)
	}
	// A broken world, for the words of failures.
	if err := os.WriteFile(w.env, bytes.ReplaceAll(w.file(), []byte("password="), []byte("password="+canary)), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, body := range []map[string]any{{}, {"fix": true}} {
		status, _ := s.call("POST", w.linker+"/providers/Patchbay.Connector/validate", own, body)
		did("validate what somebody changed", status)
	}
	path, body := tg.resource()
	body["properties"].(map[string]any)["admin"] = map[string]string{"username": "postgres", "password": canary + "-not-this"}
	_, answer := s.call("PUT", w.group+"/providers/"+path, own, body)
	_, _ = fmt.Fprintln(&answers, answer)
	for _, path := range []string{
		w.group + "/providers/" + path, w.group + "/providers/Microsoft.Web/sites/web",
		"/providers/Patchbay.Connector/operations", "/providers/Patchbay.Connector/leftovers", "/providers/Patchbay.Connector/resources",
	} {
		note(path)
	}
	status, _ := s.call("DELETE", w.linker, own, nil)
	did("delete", status)
	metrics, err := s.client.Get(s.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	exposed, err := io.ReadAll(metrics.Body)
	_ = metrics.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	s.stop() // so that the last traces are sent

	places := map[string][]byte{"an answer": answers.Bytes(), "the metrics": exposed, "the traces": traces.bytes()}
	for name, data := range places {
		if len(data) == 0 {
			t.Errorf("%s: there are none to look at", name)
		}
	}
	for _, name := range []string{"log", "data/patchbay.db", "data/patchbay.db-wal"} {
		data, err := os.ReadFile(filepath.Join(w.dir, name))
		if err == nil {
			places[name] = data
		}
	}
	if len(secrets) < 4 {
		t.Errorf("only %d secrets were seen", len(secrets))
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		for secret := range secrets {
			if at := bytes.Index(places[place], []byte(secret)); at >= 0 {
				around := string(places[place][max(0, at-120):at])
				t.Errorf("I7: %s holds a secret, behind %q", place, strings.ToValidUTF8(around, "·"))
			}
		}
	}
	if _, err := os.Stat(filepath.Join(w.dir, "data", "server.json")); err == nil {
		t.Error("server.json is still there after the stop")
	}
}
