package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/notify"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/storetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if err := os.Unsetenv(name); err != nil { // the tests' receivers are here
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

const (
	oldKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	nowKey = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// request is what the receiver was sent.
type request struct {
	header http.Header
	body   []byte
	user   string
	path   string
}

// world is a notifier, its receiver and a clock that a test moves.
type world struct {
	t      *testing.T
	outbox *storetest.Memory
	*notify.Notifier
	keys     string // the file
	receiver *httptest.Server
	log      bytes.Buffer

	mu       sync.Mutex
	now      time.Time
	answer   func(http.ResponseWriter, request)
	got      []request
	outcomes map[notify.Outcome]int
}

func newWorld(t *testing.T, change func(*notify.Options, *httptest.Server)) *world {
	t.Helper()
	w := &world{
		t: t, outbox: storetest.NewMemory(), now: start, outcomes: map[notify.Outcome]int{},
		keys: filepath.Join(t.TempDir(), "events.key"), answer: status(http.StatusNoContent),
	}
	write(t, w.keys, nowKey+"\n"+oldKey+"\n")
	w.receiver = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			t.Errorf("%s, %v", r.Method, err)
		}
		user, _, _ := r.BasicAuth()
		got := request{r.Header.Clone(), body, user, r.URL.Path}
		w.mu.Lock()
		w.got = append(w.got, got)
		answer := w.answer
		w.mu.Unlock()
		answer(rw, got)
	}))
	t.Cleanup(w.receiver.Close)
	o := notify.Options{
		Outbox: w.outbox, Receiver: receiver(t, w.receiver.URL+"/hook"), Source: "https://patchbay.example",
		Keys:  func() (notify.Keys, error) { return notify.ReadKeys(w.keys) },
		Log:   slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Clock: w.clock,
		Ended: func(o notify.Outcome) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.outcomes[o]++
		},
	}
	if change != nil {
		change(&o, w.receiver)
	}
	w.Notifier = notify.New(o)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) answers(a func(http.ResponseWriter, request)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = a
}

// ids are those of the requests since it was asked last.
func (w *world) ids() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for _, r := range w.got {
		ids = append(ids, r.header.Get("webhook-id"))
	}
	w.got = nil
	return strings.Join(ids, " ")
}

func (w *world) wantIDs(want string) {
	w.t.Helper()
	if got := w.ids(); got != want {
		w.t.Fatalf("the receiver got %q, want %q", got, want)
	}
}

// wantEach is [world.wantIDs] of requests that were side by side.
func (w *world) wantEach(want ...string) {
	w.t.Helper()
	got := strings.Fields(w.ids())
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Fatalf("the receiver got %v, want %v", got, want)
	}
}

func (w *world) wantOutcomes(want string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := fmt.Sprint(w.outcomes); got != want {
		w.t.Errorf("outcomes %s, want %s", got, want)
	}
}

// rounds look at the outbox until there is nothing to do now.
func (w *world) rounds() time.Duration {
	for {
		if wait := w.Round(w.t.Context()); wait > 0 {
			return wait
		}
	}
}

func (w *world) put(id, connection string) {
	w.t.Helper()
	e := patchbay.Event{ID: id, Type: patchbay.EventUnhealthy, Subject: web.Linker(connection), Time: w.clock(), Data: json.RawMessage(`{}`)}
	if err := w.outbox.PutEvent(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
}

const web = patchbay.ID("/subscriptions/s/resourceGroups/shop/providers/Microsoft.Web/sites/web")

func status(code int) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, _ request) { w.WriteHeader(code) }
}

func receiver(t *testing.T, url string) notify.Receiver {
	t.Helper()
	r, err := notify.ParseReceiver(patchbay.NewSecret(url), true)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is sent is taken by CloudEvents' own reader and by Standard Webhooks' own
// verifier, with either key of a rotation, and with no other.
func TestAnEventIsReadAndVerifiedByOthers(t *testing.T) {
	w := newWorld(t, func(o *notify.Options, _ *httptest.Server) { o.Clock = nil }) // the verifier has its own
	c := patchbay.Connection{ID: web.Linker("orders"), Name: "orders", Source: web,
		Spec: patchbay.Spec{Target: patchbay.TargetService{ID: "/subscriptions/s/x"}}}
	e, err := patchbay.NewHealthEvent("0193-7", c, []patchbay.Check{
		{Group: patchbay.CheckNetwork, Name: "reach", Result: patchbay.Success},
		{Group: patchbay.CheckAuthentication, Name: "sign in", Result: patchbay.Failure, Code: patchbay.LoginRefused, Message: `the login "x" is <refused>`, Fix: "patchbay connection rotate web/orders"},
	}, start, start.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.outbox.PutEvent(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	var got []byte
	w.answers(func(rw http.ResponseWriter, r request) {
		got = r.body
		for key, want := range map[string]bool{nowKey: true, oldKey: true, "whsec_" + strings.Repeat("C2", 16): false} {
			verifier, err := webhooks.NewWebhook(key)
			if err != nil {
				t.Error(err)
				continue
			}
			if err := verifier.Verify(r.body, r.header); (err == nil) != want {
				t.Errorf("with %s: %v", key, err)
			}
			if err := verifier.Verify(append([]byte(" "), r.body...), r.header); err == nil {
				t.Error("another body is verified")
			}
		}
		in := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(r.body))
		in.Header = r.header
		read, err := cehttp.NewEventFromHTTPRequest(in)
		if err == nil {
			err = read.Validate()
		}
		if err != nil {
			t.Error(err)
			return
		}
		var data patchbay.HealthEvent
		if err := read.DataAs(&data); err != nil {
			t.Error(err)
		}
		if read.ID() != e.ID || read.Type() != string(patchbay.EventUnhealthy) || read.Source() != "https://patchbay.example" ||
			read.Subject() != string(c.ID) || !read.Time().Equal(e.Time) || read.SpecVersion() != "1.0" ||
			len(data.Checks) != 1 || data.Checks[0].Message != `the login "x" is <refused>` || data.Health != "unhealthy" || !data.Since.Equal(start) {
			t.Errorf("%v %+v", read, data)
		}
		rw.WriteHeader(http.StatusAccepted)
	})
	w.rounds()
	w.wantIDs("0193-7")
	if waiting, _ := w.Waiting(); waiting != 0 {
		t.Errorf("%d wait", waiting)
	}
	if json.Valid(got) && bytes.Contains(got, []byte("\n")) {
		t.Error("an event has a line break: docs/operate.md's shell reads a line")
	}
}

// An attempt that fails is repeated, after longer and longer, and nothing comes
// before its time.
func TestAnEventIsSentUntilItsReceiverHasIt(t *testing.T) {
	w := newWorld(t, nil)
	w.put("1", "a")
	w.answers(status(http.StatusServiceUnavailable))
	for n := range 12 {
		w.rounds()
		w.wantIDs("1")
		shortest := min(notify.FirstPause<<n, notify.MaxDelay) / 2
		w.later(shortest - 1)
		w.rounds()
		w.wantIDs("") // not yet
		w.later(shortest + 1)
	}
	w.answers(status(http.StatusOK))
	w.rounds()
	w.wantIDs("1")
	w.later(time.Hour)
	w.rounds()
	w.wantIDs("")
	w.wantOutcomes("map[failed:12 sent:1]")
	if !strings.Contains(w.log.String(), "events are delivered again") {
		t.Error("that it is good again is not in the log")
	}
}

// While nothing gets through, one event at a time is tried, and a new one does not
// make it more; when one does, all go.
func TestAReceiverThatIsDownIsTriedOneEventAtATime(t *testing.T) {
	w := newWorld(t, nil)
	w.answers(status(http.StatusBadGateway))
	for i := range 4 {
		w.put(fmt.Sprint(i), fmt.Sprint(i))
	}
	w.rounds()
	if got := len(strings.Fields(w.ids())); got != 4 {
		t.Fatalf("%d at once", got)
	}
	for range 20 {
		w.put("new"+fmt.Sprint(w.clock().Unix()), "new")
		if wait := w.rounds(); wait > notify.LookAgain {
			t.Fatalf("it looks again in %s", wait)
		}
		w.ids()
		w.later(notify.MaxPause)
		w.rounds()
		if got := len(strings.Fields(w.ids())); got > 1 {
			t.Fatalf("%d attempts in one pause", got)
		}
	}
	w.answers(status(http.StatusOK))
	w.later(notify.MaxDelay)
	w.rounds()
	if waiting, oldest := w.Waiting(); waiting != 0 || oldest != 0 {
		t.Errorf("%d wait, since %s", waiting, oldest)
	}
}

// Events of one connection come in order. One that can't be delivered holds up its
// own connection only.
func TestAConnectionsEventsComeInOrder(t *testing.T) {
	w := newWorld(t, nil)
	w.put("a1", "a")
	w.put("a2", "a")
	w.answers(func(rw http.ResponseWriter, r request) {
		if r.header.Get("webhook-id") == "a1" {
			rw.WriteHeader(http.StatusInternalServerError)
		}
	})
	w.rounds()
	w.wantIDs("a1")
	w.later(notify.FirstPause)
	w.put("b1", "b")
	w.rounds() // a1 fails again, and b1 is tried next
	w.later(2 * notify.FirstPause)
	w.rounds()
	if got := w.ids(); !strings.Contains(got, "b1") || strings.Contains(got, "a2") {
		t.Fatalf("the receiver got %s", got)
	}
	w.answers(status(http.StatusOK))
	w.later(notify.MaxDelay)
	w.rounds()
	w.wantIDs("a1 a2")
}

// full is an outbox whose disk is.
type full struct{ *storetest.Memory }

func (full) EventDone(context.Context, string) error {
	return patchbay.Errorf(patchbay.Internal, "no space left")
}

// What was delivered and can't be struck off comes again, and not over and over.
func TestAFullDiskDoesNotFloodTheReceiver(t *testing.T) {
	w := newWorld(t, func(o *notify.Options, _ *httptest.Server) { o.Outbox = full{o.Outbox.(*storetest.Memory)} })
	w.put("1", "a")
	w.put("2", "b")
	w.rounds()
	w.wantEach("1", "2")
	w.later(notify.FirstPause/2 - 1)
	w.rounds()
	w.wantIDs("")
	if !strings.Contains(w.log.String(), "no space left") {
		t.Error("the log does not say why")
	}
	w.later(notify.FirstPause)
	w.rounds()
	if got := len(strings.Fields(w.ids())); got != 1 {
		t.Errorf("%d attempts, want one", got)
	}
}

// What the receiver says of an event decides whether it is sent again.
func TestWhatAnAnswerMeans(t *testing.T) {
	again := func(code int) string { return fmt.Sprintf("%d is tried again", code) }
	for code, want := range map[int]string{
		200: "done", 202: "done", 204: "done",
		302: again(302), 307: again(307), 401: again(401), 403: again(403), 404: again(404), 405: again(405),
		408: again(408), 425: again(425), 429: again(429), 500: again(500), 503: again(503), 504: again(504),
		400: "dropped", 413: "dropped", 415: "dropped", 422: "dropped",
		410: "stopped",
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			w := newWorld(t, nil)
			w.answers(func(rw http.ResponseWriter, _ request) {
				rw.Header().Set("Location", "/elsewhere")
				rw.WriteHeader(code)
			})
			w.put("1", "a")
			for range notify.MaxRefusals + 2 {
				w.rounds()
				w.later(notify.MaxDelay)
			}
			attempts := len(strings.Fields(w.ids()))
			waiting, _ := w.Waiting()
			got := "?"
			switch {
			case attempts == 1 && waiting == 0:
				got = "done"
			case attempts == notify.MaxRefusals && waiting == 0:
				got = "dropped"
			case attempts == 1 && waiting == 1:
				got = "stopped"
			case attempts == notify.MaxRefusals+2 && waiting == 1:
				got = again(code)
			}
			if got != want {
				t.Errorf("%d attempts, %d wait: %s, want %s", attempts, waiting, got, want)
			}
		})
	}
}

// A redirect leads where no operator has pointed: nothing is sent there.
func TestARedirectIsNotFollowed(t *testing.T) {
	w := newWorld(t, nil)
	w.answers(func(rw http.ResponseWriter, r request) {
		if r.path != "/hook" {
			t.Errorf("%s was asked", r.path)
		}
		rw.Header().Set("Location", "/elsewhere")
		rw.WriteHeader(http.StatusTemporaryRedirect)
	})
	_, err := w.Test(t.Context())
	if e := patchbay.AsError(err); e == nil || !strings.Contains(e.Message, "307") || !strings.Contains(e.Fix, "redirects are not followed") {
		t.Fatalf("%+v", err)
	}
	w.put("1", "a")
	w.rounds()
	if got := len(strings.Fields(w.ids())); got != 2 {
		t.Errorf("%d requests, want one for each attempt", got)
	}
}

// After 410 nothing is sent, until somebody tries it and it is taken.
func TestAReceiverThatIsGoneIsLeftAloneUntilATest(t *testing.T) {
	w := newWorld(t, nil)
	w.answers(status(http.StatusGone))
	w.put("1", "a")
	w.rounds()
	w.wantIDs("1")
	w.later(time.Hour)
	w.rounds()
	w.wantIDs("")
	if !strings.Contains(w.log.String(), "wants none any more") {
		t.Error("the log does not say so")
	}
	if _, err := w.Test(t.Context()); err == nil {
		t.Fatal("the test got through")
	}
	w.ids()
	w.rounds()
	w.wantIDs("")
	w.answers(status(http.StatusOK))
	d, err := w.Test(t.Context())
	if err != nil || d.Status != http.StatusOK || d.Receiver != w.receiver.URL || d.Waiting != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	w.wantIDs(d.Event)
	w.rounds()
	w.wantIDs("1")
}

func TestRetryAfterIsKeptTo(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "90": 90 * time.Second, "99999999999999999999": 0, "86400": time.Hour,
		start.Add(time.Minute).Format(http.TimeFormat): time.Minute, start.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := notify.RetryAfter(value, start); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
	w := newWorld(t, nil)
	w.answers(func(rw http.ResponseWriter, _ request) {
		rw.Header().Set("Retry-After", "1800")
		rw.WriteHeader(http.StatusTooManyRequests)
	})
	w.put("1", "a")
	w.put("2", "b")
	w.rounds()
	w.ids()
	w.later(30*time.Minute - 1)
	w.put("3", "c") // nor is another one sent
	w.rounds()
	w.wantIDs("")
	w.later(1)
	w.rounds()
	if w.ids() == "" {
		t.Error("it is not sent when its time has come")
	}
}

// What is too old is dropped, whether or not the receiver is there, and counted.
func TestOldEventsAreDropped(t *testing.T) {
	w := newWorld(t, nil)
	w.answers(status(http.StatusGone))
	w.put("1", "a")
	w.rounds()
	w.later(notify.MaxAge)
	w.put("2", "a")
	w.rounds()
	if waiting, oldest := w.Waiting(); waiting != 2 || oldest != notify.MaxAge {
		t.Errorf("%d wait, since %s", waiting, oldest)
	}
	w.later(1)
	w.rounds()
	w.rounds()
	if waiting, oldest := w.Waiting(); waiting != 1 || oldest != 1 {
		t.Errorf("%d wait, since %s", waiting, oldest)
	}
	w.wantOutcomes("map[dropped:1 failed:1]")
}

// Who puts an event waits for nobody, and Run hears of it at once: the timer alone
// would come a minute later than the test's patience.
func TestASlowReceiverHoldsUpNobody(t *testing.T) {
	w := newWorld(t, nil)
	arrived, release := make(chan string, 300), make(chan struct{})
	w.answers(func(rw http.ResponseWriter, r request) {
		arrived <- r.header.Get("webhook-id")
		<-release
	})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	w.put("1", "a")
	<-arrived
	for i := range 200 { // the receiver is busy with the first
		w.put(fmt.Sprint("b", i), "b")
	}
	count, err := w.outbox.CountEvents(t.Context())
	if err != nil || count.Waiting != 201 {
		t.Fatalf("%+v, %v", count, err)
	}
	close(release)
	if next := <-arrived; next != "b0" {
		t.Errorf("then %s arrives", next)
	}
	stop()
	running.Wait()
}

// Nothing in the log, in an error or in an answer tells what is secret in the URL.
func TestTheURLIsNotTold(t *testing.T) {
	refused, err := hosts.NewDialRules([]string{"loopback"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closedAt := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	secret := func(base string) string {
		return strings.Replace(base, "://", "://ann:hunter8@", 1) + "/hunter8/hook?key=hunter8"
	}
	for name, tt := range map[string]struct {
		change func(*notify.Options, *httptest.Server)
		code   patchbay.Code
		fix    string
	}{
		"an answer":   {func(*notify.Options, *httptest.Server) {}, patchbay.TargetMisbehaved, "log of the receiver"},
		"no listener": {func(o *notify.Options, _ *httptest.Server) { o.Receiver = receiver(t, secret("http://"+closedAt)) }, patchbay.PortClosed, "runs"},
		"no TLS": {func(o *notify.Options, s *httptest.Server) {
			o.Receiver = receiver(t, secret(strings.Replace(s.URL, "http", "https", 1)))
		}, patchbay.CertificateInvalid, "port"},
		"a closed address": {func(o *notify.Options, _ *httptest.Server) { o.Dialer = &net.Dialer{Control: refused.Control} }, patchbay.InvalidArgument, "--events-to"},
		"a metadata service": {func(o *notify.Options, _ *httptest.Server) {
			o.Receiver = receiver(t, secret("http://169.254.169.254"))
			o.Dialer = &net.Dialer{Control: hosts.DialRules{}.Control}
		}, patchbay.InvalidArgument, "--events-to"},
		"no keys": {func(o *notify.Options, _ *httptest.Server) {
			o.Keys = func() (notify.Keys, error) { return notify.ReadKeys(filepath.Join(t.TempDir(), "none")) }
		}, patchbay.Internal, "--events-key-file"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(o *notify.Options, s *httptest.Server) {
				o.Receiver = receiver(t, secret(s.URL))
				tt.change(o, s)
			})
			w.answers(func(rw http.ResponseWriter, r request) {
				if r.user != "ann" {
					t.Errorf("signed in as %q", r.user)
				}
				rw.WriteHeader(http.StatusInternalServerError)
			})
			w.put("1", "a")
			w.rounds()
			_, err := w.Test(t.Context())
			e := patchbay.AsError(err)
			if e == nil || e.Code != tt.code || !strings.Contains(e.Fix, tt.fix) {
				t.Fatalf("%+v", e)
			}
			due, dueErr := w.outbox.DueEvents(t.Context(), start.Add(time.Hour), 10)
			if dueErr != nil || len(due) != 1 || due[0].Why == "" {
				t.Fatalf("%+v, %v", due, dueErr)
			}
			if !strings.Contains(w.log.String(), "was not delivered") {
				t.Errorf("the log is %s", w.log.String())
			}
			for _, text := range []string{w.log.String(), err.Error(), e.Fix, due[0].Why, fmt.Sprintf("%+v", e)} {
				if strings.Contains(text, "hunter8") || strings.Contains(text, "ann:") {
					t.Errorf("told: %s", text)
				}
			}
		})
	}
}

func TestReceivers(t *testing.T) {
	for url, want := range map[string]string{
		"https://alerts.example/x":           "https://alerts.example",
		"https://ann:hunter8@alerts.example": "https://alerts.example",
		"https://alerts.example:8443/?a=b":   "https://alerts.example:8443",
		"http://127.0.0.1:9/x":               "http://127.0.0.1:9",
		"http://[::1]:9/x":                   "http://[::1]:9",
		"http://LocalHost/x":                 "http://LocalHost",
		"http://alerts.example/hunter8":      "",
		"http://127.0.0.1.example/":          "",
		"ftp://alerts.example":               "",
		"https:///hunter8":                   "",
		"alerts.example/hunter8":             "",
		"https://alerts.example/#hunter8":    "",
		"https://hunter8%zz@alerts.example":  "",
		"":                                   "",
	} {
		r, err := notify.ParseReceiver(patchbay.NewSecret(url), false)
		if want == "" {
			if e := patchbay.AsError(err); e == nil || e.Code != patchbay.InvalidArgument || strings.Contains(e.Error()+e.Fix, "hunter8") {
				t.Errorf("%s: %v", url, err)
			}
		} else if err != nil || r.String() != want {
			t.Errorf("%s: %v, %v", url, r, err)
		}
	}
	if _, err := notify.ParseReceiver(patchbay.NewSecret("http://alerts.example/x"), true); err != nil {
		t.Errorf("plain: %v", err)
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	made := filepath.Join(dir, "made")
	for range 2 { // the second time it is there
		if keys, err := notify.MakeKeys(made); err != nil || len(keys) != 1 {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
	}
	text, err := os.ReadFile(made)
	if err != nil || !strings.HasPrefix(string(text), "whsec_") {
		t.Fatalf("%q, %v", text, err)
	}
	if info, err := os.Stat(made); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	for name, tt := range map[string]struct {
		text string
		keys int
	}{
		"one":           {nowKey, 1},
		"two":           {nowKey + "\r\n\n  " + oldKey + "\n", 2},
		"no prefix":     {strings.TrimPrefix(nowKey, "whsec_") + "\n", 1},
		"none":          {"\n\n", 0},
		"five":          {strings.Repeat(nowKey+"\n", 5), 0},
		"short":         {"whsec_AAECAwQFBgc=\n", 0},
		"no base64":     {nowKey + "\nwhsec_hunter8!\n", 0},
		"a public key":  {"whpk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n", 0},
		"a large file":  {strings.Repeat("\n", 5000) + nowKey, 0},
		"empty":         {"", 0},
		"hex is base64": {strings.Repeat("0a", 32), 1},
	} {
		path := filepath.Join(dir, "keys")
		write(t, path, tt.text)
		keys, err := notify.ReadKeys(path)
		if len(keys) != tt.keys || (err == nil) != (tt.keys > 0) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter8") || patchbay.AsError(err).Fix == "" && name != "a large file") {
			t.Errorf("%s: %v has no fix, or a key in it", name, err)
		}
	}
	if err := os.Chmod(made, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := notify.MakeKeys(made); err == nil || patchbay.AsError(err).Fix != "chmod 600 "+made {
		t.Errorf("others can read it: %v", err)
	}
	if _, err := notify.ReadKeys(filepath.Join(dir, "absent")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("absent: %v", err)
	}
}

// A key that is put on top of the file signs the next event; nobody restarts anything.
func TestAKeyIsRotatedWhileItRuns(t *testing.T) {
	w := newWorld(t, nil)
	signatures := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		defer func() { w.got = nil }()
		return len(strings.Fields(w.got[0].header.Get("webhook-signature")))
	}
	for n, text := range []string{nowKey, nowKey + "\n" + oldKey, oldKey} {
		write(t, w.keys, text)
		w.put(fmt.Sprint(n), "a")
		w.rounds()
		if got, want := signatures(), len(strings.Fields(text)); got != want {
			t.Errorf("%d signatures, want %d", got, want)
		}
	}
}

var _ store.Outbox = (*storetest.Memory)(nil)
