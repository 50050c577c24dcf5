package controlplane

import (
	"bytes"
	"encoding/json"
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

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/server"
	"patchbay.dev/patchbay/store/sqlite"
)

// Events that were put before the server died are delivered by the next one, signed
// with the key that it made; then an operator tries the receiver. The URL is secret.
func TestEventsFromEndToEnd(t *testing.T) {
	type delivery struct {
		header http.Header
		body   []byte
	}
	arrived := make(chan delivery, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Query().Get("key") != "hunter8" {
			t.Errorf("%s, %v", r.URL, err)
		}
		arrived <- delivery{r.Header, body}
	}))
	t.Cleanup(receiver.Close)
	dir := filepath.Join(t.TempDir(), "data")
	before, err := sqlite.Open(t.Context(), filepath.Join(dir, DatabaseFile), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []patchbay.EventType{patchbay.EventUnhealthy, patchbay.EventHealthy} {
		if err := before.PutEvent(t.Context(), patchbay.Event{ID: string(kind), Type: kind, Subject: "/a/b", Time: time.Now(), Data: json.RawMessage(`{}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	// Who has records and no key to open them is refused: it begins as a server does.
	if err := os.WriteFile(filepath.Join(dir, KeyFile), []byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	var logs bytes.Buffer
	web, stop := serve(t, Options{
		Server: server.Options{Dir: dir, Address: "127.0.0.1:0", PublicURL: "https://patchbay.example"},
		Events: Events{To: patchbay.NewSecret(receiver.URL + "/?key=hunter8")},
		Log:    slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	key, err := os.ReadFile(filepath.Join(dir, EventsKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := webhooks.NewWebhook(strings.TrimSpace(string(key)))
	if err != nil {
		t.Fatal(err)
	}
	received := func(kind patchbay.EventType) {
		t.Helper()
		got := <-arrived
		var event struct {
			Type   patchbay.EventType
			Source string
		}
		if err := json.Unmarshal(got.body, &event); err != nil || event.Type != kind || event.Source != "https://patchbay.example" {
			t.Errorf("%s, %v", got.body, err)
		}
		if err := verifier.Verify(got.body, got.header); err != nil {
			t.Error(err)
		}
	}
	received(patchbay.EventUnhealthy)
	received(patchbay.EventHealthy) // the first is done, or this would not come

	admin := machine{t, map[string]string{"PATCHBAY_DATA": dir, "HOME": t.TempDir()}}
	var tried patchbay.Delivery
	admin.must(&tried, "events", "test")
	received(patchbay.EventTest)
	if tried.Status != http.StatusOK || tried.Receiver != receiver.URL {
		t.Errorf("%+v", tried)
	}
	scrape := httptest.NewRecorder()
	web.ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	// Of the second event it may not be known yet.
	for _, want := range []string{`(?m)^patchbay_events_total\{outcome="sent"\} [23]$`, `(?m)^patchbay_events_waiting [01]$`, `(?m)^patchbay_events_oldest_seconds \d`} {
		if !regexp.MustCompile(want).MatchString(scrape.Body.String()) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	receiver.Close()
	admin.fails("nothing listens", "events", "test")
	stop()
	if strings.Contains(logs.String(), "hunter8") {
		t.Errorf("the log tells the URL: %s", &logs)
	}
}
