package notify_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/notify"
)

var update = flag.Bool("update", false, "write the example of docs/operate.md anew")

const operate = "../docs/operate.md"

// between cuts a document at what is behind one mark and before another.
func between(t *testing.T, text, from, to string) (before, in, after string) {
	t.Helper()
	before, rest, ok := strings.Cut(text, from)
	in, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q and %q behind it", operate, from, to)
	}
	return before + from, in, to + after
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		if line != "\n" {
			b.WriteString("    ")
		}
		b.WriteString(line)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// The event that the documentation shows is one that is sent, and what it has a
// reader run in a shell computes its signature.
func TestTheDocumentedEvent(t *testing.T) {
	w := newWorld(t, func(o *notify.Options, _ *httptest.Server) { o.Source = "https://patchbay.example:7443" })
	write(t, w.keys, nowKey+"\n")
	orders := patchbay.ID("/subscriptions/5b0c8a4e-6f0b-4a7c-9d53-0d9a3f0e7c11/resourceGroups/shop/providers")
	c := patchbay.Connection{ID: (orders + "/Microsoft.Web/sites/web").Linker("orders"), Name: "orders", Source: orders + "/Microsoft.Web/sites/web",
		Spec: patchbay.Spec{Target: patchbay.TargetService{ID: orders + "/Microsoft.DBforPostgreSQL/flexibleServers/orders/databases/shop"}}}
	e, err := patchbay.NewHealthEvent("0193f2a0-7c1e-7b3d-8a55-2f0c6d1e9b47", c, []patchbay.Check{{
		Group: patchbay.CheckConfiguration, Name: "The settings are as they were written", Result: patchbay.Failure, Code: patchbay.SettingChanged,
		Message: "PGHOST is not the one that was written", Fix: "patchbay connection validate web/orders --fix",
	}}, start.Add(-time.Hour), start)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.outbox.PutEvent(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	w.rounds()
	sent := w.got[0]
	var example, pretty bytes.Buffer
	fmt.Fprintln(&example, "POST /hooks/patchbay HTTP/1.1")
	for _, name := range []string{"Content-Type", "webhook-id", "webhook-timestamp", "webhook-signature"} {
		fmt.Fprintf(&example, "%s: %s\n", strings.ToLower(name), sent.header.Get(name))
	}
	if err := json.Indent(&pretty, sent.body, "", "  "); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&example, "\n%s\n", &pretty)

	text, err := os.ReadFile(operate)
	if err != nil {
		t.Fatal(err)
	}
	before, shown, after := between(t, string(text), "-update writes it -->\n", "<!-- end of the example -->")
	want := "\n" + indent(example.String()) + "\n\n"
	if shown != want && *update {
		if err := os.WriteFile(operate, []byte(before+want+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if shown != want {
		t.Errorf("%s shows\n%s\nand what is sent is\n%s", operate, shown, want)
	}

	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("there is no openssl here, which the documented commands are of")
	}
	_, commands, _ := between(t, string(text), "<!-- verified: TestTheDocumentedEvent runs it -->\n", "\n**Another key**")
	write(t, filepath.Join(filepath.Dir(w.keys), "body.json"), string(sent.body))
	cmd := exec.Command("sh", "-euc", commands)
	cmd.Dir = filepath.Dir(w.keys)
	cmd.Env = append(os.Environ(), "webhook_id="+sent.header.Get("webhook-id"), "webhook_timestamp="+sent.header.Get("webhook-timestamp"))
	out, err := cmd.CombinedOutput()
	if got, want := strings.TrimSpace(string(out)), sent.header.Get("webhook-signature"); err != nil || got != want {
		t.Errorf("the documented commands print %s, %v; the signature is %s", got, err, want)
	}
	if sent.header.Get("Content-Type") != "application/cloudevents+json" || sent.header.Get("User-Agent") == "" {
		t.Errorf("%v", sent.header)
	}
}
