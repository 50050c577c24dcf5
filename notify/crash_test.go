package notify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/notify"
	"patchbay.dev/patchbay/store/sqlite"
)

// The variables of a child: this test's own binary, as a server that dies.
const (
	childDir = "PATCHBAY_TEST_NOTIFY_DIR"
	childURL = "PATCHBAY_TEST_NOTIFY_URL"
)

// child delivers from the database in dir until it is killed. At the first start it
// puts two events of one connection.
func child(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	s, err := sqlite.Open(ctx, filepath.Join(dir, "patchbay.db"), sqlite.Options{})
	fail(err)
	to, err := notify.ParseReceiver(patchbay.NewSecret(os.Getenv(childURL)), false)
	fail(err)
	key := filepath.Join(dir, "events.key")
	_, err = notify.MakeKeys(key)
	fail(err)
	count, err := s.CountEvents(ctx)
	fail(err)
	if count.Waiting == 0 {
		for _, id := range []string{"once", "then"} {
			fail(s.PutEvent(ctx, patchbay.Event{ID: id, Type: patchbay.EventUnhealthy, Subject: web, Time: time.Now(), Data: json.RawMessage(`{}`)}))
		}
	}
	fail(notify.New(notify.Options{
		Outbox: s, Receiver: to, Source: "patchbay://test", Keys: func() (notify.Keys, error) { return notify.ReadKeys(key) },
	}).Run(ctx))
}

// A server that is killed while its receiver has an event in its hands sends it
// again when it is back, under the same id: nothing is lost, and a receiver that
// keeps ids has it once.
func TestAnEventOutlivesAKill(t *testing.T) {
	type attempt struct {
		id     string
		answer chan struct{}
	}
	arrived := make(chan attempt)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		// Only behind the body is it noticed that the other end is gone.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		a := attempt{r.Header.Get("webhook-id"), make(chan struct{})}
		select {
		case arrived <- a:
		case <-r.Context().Done():
			return
		}
		select {
		case <-a.answer:
		case <-r.Context().Done(): // the server is dead
		}
	}))
	defer receiver.Close()
	dir := t.TempDir()
	start := func() (kill func()) {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childDir+"="+dir, childURL+"="+receiver.URL)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	wantArrives := func(id string) attempt {
		t.Helper()
		a := <-arrived
		if a.id != id {
			t.Errorf("%q arrives, want %q", a.id, id)
		}
		return a
	}
	for range 2 {
		kill := start()
		wantArrives("once")
		kill()
	}
	kill := start()
	close(wantArrives("once").answer)
	wantArrives("then") // so the first is struck off
	kill()
	kill = start()
	wantArrives("then")
	kill()
}
