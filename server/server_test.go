package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	linkerDB = testWeb + "/providers/Microsoft.ServiceLinker/linkers/db?api-version=2026-11-01"
	putDB    = `{"properties":{"targetService":{"type":"AzureResource","id":"` + testPG + `/databases/app"},"authInfo":{"authType":"secret","name":"app","secretInfo":{"secretType":"rawValue","value":"c4n4ry-body"}}}}`
)

func TestAdminTokenIsMadeOnceAndKeptPrivate(t *testing.T) {
	dir := t.TempDir()
	first, err := openDoor(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, TokenFile)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	again, err := openDoor(dir)
	if err != nil || again.hash != first.hash {
		t.Fatalf("a second start has another token: %v", err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := openDoor(dir)
		if e := patchbay.AsError(err); err == nil || !strings.Contains(e.Message, "others than its owner") || !strings.Contains(e.Fix, "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for _, text := range []string{"", "\n", "short", "päss"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openDoor(dir); err == nil || patchbay.AsError(err).Fix == "" {
			t.Errorf("the token %q is taken: %v", text, err)
		}
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := openDoor(dir); err == nil {
		t.Error("a directory is taken for a token")
	}
}

func TestNobodyEntersWithoutTheToken(t *testing.T) {
	b := newBench(t)
	token := b.Token().Reveal()
	for _, header := range [][]string{
		nil, {""}, {"Bearer"}, {"Bearer "}, {"Bearer x"}, {"Bearer " + token[1:]}, {"Bearer " + token + "x"}, {"Basic " + token},
		{token}, {"Bearer " + strings.ToUpper(token)}, {"Bearer " + token, "Bearer x"},
	} {
		for _, path := range []string{linkerDB, "/subscriptions", "/nonsense", "/providers/Patchbay.Connector/leftovers?api-version=2026-11-01"} {
			r := httptest.NewRequest(http.MethodGet, "https://patchbay.test"+path, nil)
			r.Header["Authorization"] = header
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			if w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer") || !strings.Contains(w.Body.String(), `"AuthenticationFailed"`) {
				t.Errorf("%q on %s: %d %s", header, path, w.Code, w.Body)
			}
		}
	}
	for _, header := range []string{"Bearer " + token, "bearer " + token, "BEARER   " + token} {
		if w := b.send("GET", "/subscriptions", "", "Authorization", header); w.Code != http.StatusOK {
			t.Errorf("%q: %d", header, w.Code)
		}
	}
}

func TestAuthorityOutlivesRestartsAndTheLeafIsRenewed(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	names := []string{"127.0.0.1", "localhost"}
	a, err := openAuthority(dir, names, clock)
	if err != nil {
		t.Fatal(err)
	}
	first, err := a.certificate()
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{CAFile: 0o644, caKeyFile: 0o600, serverCertFile: 0o644, serverKeyFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&^mode != 0 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	open := func(names []string) *tls.Certificate {
		t.Helper()
		b, err := openAuthority(dir, names, clock)
		if err != nil {
			t.Fatal(err)
		}
		if !b.cert.Equal(a.cert) {
			t.Fatal("a restart has another authority")
		}
		c, err := b.certificate()
		if err != nil {
			t.Fatal(err)
		}
		verify(t, b.cert, c.Leaf, now, names...)
		return c
	}
	if c := open(names); !c.Leaf.Equal(first.Leaf) {
		t.Error("a restart has another certificate")
	}
	if c := open([]string{"127.0.0.1", "localhost", "patchbay.lan"}); c.Leaf.Equal(first.Leaf) {
		t.Error("a new name is not in the certificate")
	}
	open(names)
	now = now.Add(leafLife - renewBefore + time.Hour)
	if c := open(names); c.Leaf.Equal(first.Leaf) || !c.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Error("a certificate that ends soon is not renewed at a start")
	}
	now = now.Add(leafLife - renewBefore + time.Hour)
	if c, err := a.certificate(); err != nil || now.After(c.Leaf.NotAfter) {
		t.Errorf("a running server does not renew its certificate: %v", err)
	}
	now = a.cert.NotAfter.Add(-time.Hour)
	if c, err := a.certificate(); err != nil || !c.Leaf.NotAfter.Equal(a.cert.NotAfter) {
		t.Errorf("a certificate lives longer than its authority: %v", err)
	}
	now = a.cert.NotAfter.Add(time.Hour)
	if _, err := openAuthority(dir, names, clock); patchbay.CodeOf(err) != patchbay.CertificateInvalid || patchbay.AsError(err).Fix == "" {
		t.Errorf("an ended authority: %v", err)
	}
}

func verify(t *testing.T, ca, leaf *x509.Certificate, now time.Time, names ...string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, n := range names {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: n, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestADamagedAuthorityIsNotReplacedInSilence(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"the key is readable by others": func(dir string) error { return os.Chmod(filepath.Join(dir, caKeyFile), 0o644) },
		"the key is gone":               func(dir string) error { return os.Remove(filepath.Join(dir, caKeyFile)) },
		"the key is another's": func(dir string) error {
			text, err := os.ReadFile(filepath.Join(dir, serverKeyFile))
			return errors.Join(err, os.WriteFile(filepath.Join(dir, caKeyFile), text, 0o600))
		},
		"the certificate is garbage": func(dir string) error { return os.WriteFile(filepath.Join(dir, CAFile), []byte("x"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := openAuthority(dir, []string{"localhost"}, time.Now); err != nil {
				t.Fatal(err)
			}
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := openAuthority(dir, []string{"localhost"}, time.Now); err == nil || patchbay.AsError(err).Fix == "" {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("a damaged leaf is replaced", func(t *testing.T) {
		dir := t.TempDir()
		if _, err := openAuthority(dir, []string{"localhost"}, time.Now); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, serverCertFile), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openAuthority(dir, []string{"localhost"}, time.Now); err != nil {
			t.Error(err)
		}
	})
}

func TestCertificateNames(t *testing.T) {
	names := certificateNames(Options{Address: "0.0.0.0:7443", Names: []string{"Patchbay.LAN.", "10.0.0.9", "bad name", ""}}, "https://pb.example:8443/x")
	got := strings.Join(names, " ")
	for _, want := range []string{"localhost", "127.0.0.1", "::1", "patchbay.lan", "10.0.0.9", "pb.example"} {
		if !strings.Contains(" "+got+" ", " "+want+" ") {
			t.Errorf("%s is not among %s", want, got)
		}
	}
	if strings.Contains(got, "0.0.0.0") || strings.Contains(got, "bad") {
		t.Errorf("%s", got)
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:0": true, "localhost:0": true, "127.9.9.9:1": true,
		":8080": false, "0.0.0.0:0": false, "[::]:0": false, "10.0.0.5:80": false, "example.com:80": false, "localhost.evil.example:80": false, "8080": false,
	} {
		_, err := New(newFake(), Options{Dir: t.TempDir(), HTTPAddress: address})
		if (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestOptionsThatCanNotBe(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "x", PublicURL: "patchbay.test"}, {Dir: "x", PublicURL: "ftp://x"}, {Dir: "x", PublicURL: "https://u:p@x"}, {Dir: "x", PublicURL: "https://x?q"}} {
		if o.Dir != "" {
			o.Dir = t.TempDir()
		}
		if _, err := New(newFake(), o); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%+v: %v", o, err)
		}
	}
	s, err := New(newFake(), Options{Dir: t.TempDir(), Address: "256.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("%v", err)
	}
}

// serving runs a server on free ports until stop is called.
func serving(t *testing.T, b *bench) (client *http.Client, stop func()) {
	t.Helper()
	if err := b.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx) }()
	pem, err := os.ReadFile(b.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		client.CloseIdleConnections()
	}
	t.Cleanup(stop)
	// An answer means that everything is up, the file included.
	if status, _, text := get(t, client, b.URL()+pathHealth, ""); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	return client, stop
}

func onFreePorts(o *Options) { o.Address, o.HTTPAddress = "127.0.0.1:0", "127.0.0.1:0" }

func get(t *testing.T, c *http.Client, url, token string) (status, protocol int, text string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.ProtoMajor, string(body)
}

func TestServeAnswersOverTLSAndLoopbackAndSaysWhere(t *testing.T) {
	b := newBench(t, onFreePorts)
	client, stop := serving(t, b)
	token := b.Token().Reveal()
	for _, base := range []string{b.URL(), b.HTTPURL()} {
		// The doubled slash must not be redirected.
		status, _, body := get(t, client, base+"//subscriptions?api-version=2019-11-01", token)
		if status != http.StatusOK || !strings.Contains(body, testSub) {
			t.Errorf("%s: %d %s", base, status, body)
		}
	}
	if _, protocol, _ := get(t, client, b.URL()+"/healthz", ""); protocol != 2 {
		t.Errorf("HTTPS speaks HTTP/%d", protocol)
	}
	path := filepath.Join(b.opts.Dir, InfoFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var info Info
	if err := json.Unmarshal(text, &info); err != nil {
		t.Fatal(err)
	}
	if want := (Info{URL: b.URL(), HTTP: b.HTTPURL(), CA: b.CA(), PID: os.Getpid()}); info != want {
		t.Errorf("%+v, want %+v", info, want)
	}
	stop()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", InfoFile, err)
	}
}

func TestAStopEndsWaitsAndLetsRequestsEnd(t *testing.T) {
	b := newBench(t, onFreePorts)
	if w := b.send("PUT", linkerDB, putDB); w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	client, stop := serving(t, b)
	answered := make(chan string, 1)
	go func() {
		r, _ := http.NewRequest(http.MethodGet, b.URL()+"/providers/Patchbay.Connector/operations/op-1?wait=30&version=1&api-version=2026-11-01", nil)
		r.Header.Set("Authorization", "Bearer "+b.Token().Reveal())
		res, err := client.Do(r)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer func() { _ = res.Body.Close() }()
		body, _ := io.ReadAll(res.Body)
		answered <- fmt.Sprint(res.StatusCode, " ", string(body))
	}()
	<-b.fake.entered
	stop()
	if got := <-answered; !strings.HasPrefix(got, "200 ") || !strings.Contains(got, `"running"`) {
		t.Errorf("the waiting request got %s", got)
	}
	if w := b.send("GET", pathReady, ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a stopping server is ready: %d", w.Code)
	}
}

func TestAWaitIsBounded(t *testing.T) {
	for asked, want := range map[string]time.Duration{
		"": 0, "0": 0, "0.5": time.Second / 2, "29": 29 * time.Second, "31": maxWait, "1e300": maxWait, "+Inf": maxWait,
		"-1": -1, "NaN": -1, "-Inf": -1, "x": -1,
	} {
		x := &exchange{r: httptest.NewRequest(http.MethodGet, "/?wait="+url.QueryEscape(asked), nil)}
		if got, _, err := x.waiting(); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("wait=%s: %s, %v", asked, got, err)
		}
	}
}

// The digits in a status path are no secret: whoever makes them for another
// subscription finds nothing there.
func TestAStatusIsReadInItsSubscriptionOnly(t *testing.T) {
	b := newBench(t)
	b.send("PUT", linkerDB, putDB)
	for rg, want := range map[patchbay.ID]int{testRG: http.StatusOK, otherRG: http.StatusNotFound} {
		path := arm.StatusPath(patchbay.Operation{ID: "op-1", Connection: rg + "/providers/Microsoft.Web/sites/web"}, "local")
		if w := b.send("GET", path, ""); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// Of everything that a write can be conditional on: another ETag is 412.
func TestAWriteOfWhatChangedIsRefused(t *testing.T) {
	b := newBench(t)
	b.send("PUT", linkerDB, putDB)
	b.fake.end("op-1", nil)
	const resource, resourceBody = testPG + "?api-version=2026-11-01", `{"location":"local","properties":{"driver":"postgres"}}`
	b.send("PUT", resource, resourceBody)
	rotate := strings.Replace(linkerDB, "?", "/providers/Patchbay.Connector/rotate?", 1)
	for _, c := range [][3]string{
		{"PUT", linkerDB, putDB}, {"PATCH", linkerDB, `{"properties":{"clientType":"java"}}`}, {"DELETE", linkerDB, ""}, {"POST", rotate, "{}"},
		{"PUT", resource, resourceBody}, {"PATCH", resource, `{"tags":{"a":"b"}}`}, {"DELETE", resource, ""},
	} {
		if w := b.send(c[0], c[1], c[2], "If-Match", `"another"`); w.Code != http.StatusPreconditionFailed {
			t.Errorf("%s %s: %d %s", c[0], c[1], w.Code, w.Body)
		}
	}
}

var dryrunBody = strings.Replace(strings.Replace(putDB, `{"properties":`, `{"properties":{"parameters":`, 1), `{"targetService"`, `{"actionName":"createOrUpdate","targetService"`, 1) + "}"

// changing is an API where somebody else changes a resource between a PATCH's
// reading and its writing, once.
type changing struct {
	*fake
	once sync.Once
}

func (c *changing) PutDryrun(ctx context.Context, r connector.DryrunRequest) (patchbay.Dryrun, bool, error) {
	c.once.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		there := c.dryruns[r.ID.Key()]
		there.ETag += "theirs"
		c.dryruns[r.ID.Key()] = there
	})
	return c.fake.PutDryrun(ctx, r)
}

func (c *changing) PutResource(ctx context.Context, r connector.ResourceRequest) (patchbay.Resource, bool, []string, error) {
	c.once.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		there := c.resources[r.Resource.ID.Key()]
		there.Tags, there.ETag = map[string]string{"theirs": "1"}, `"theirs"`
		c.resources[r.Resource.ID.Key()] = there
	})
	return c.fake.PutResource(ctx, r)
}

func TestAPatchKeepsWhatSomebodyElseChangedMeanwhile(t *testing.T) {
	b := newBench(t)
	b.send("PUT", testPG+"?api-version=2026-11-01", `{"location":"local","properties":{"driver":"postgres"}}`)
	b.api = &changing{fake: b.fake}
	w := b.send("PATCH", testPG+"?api-version=2026-11-01", `{"tags":{"ours":"2"}}`)
	if got := b.fake.resources[patchbay.ID(testPG).Key()].Tags; w.Code != http.StatusOK || got["theirs"] != "1" || got["ours"] != "2" {
		t.Errorf("%d, and the tags are %v", w.Code, got)
	}
	// A dryrun is looked at anew as a whole: its PATCH is asked for again.
	const dryrun = testWeb + "/providers/Microsoft.ServiceLinker/dryruns/db?api-version=2024-04-01"
	b.send("PUT", dryrun, dryrunBody)
	for _, ifMatch := range []string{"", "*"} {
		b.api = &changing{fake: b.fake}
		if w := b.send("PATCH", dryrun, dryrunBody, "If-Match", ifMatch); w.Code != http.StatusPreconditionFailed {
			t.Errorf("If-Match %q: %d %s", ifMatch, w.Code, w.Body)
		}
	}
}

func TestWaitAnswersWhenTheOperationMoves(t *testing.T) {
	b := newBench(t)
	b.send("PUT", linkerDB, putDB)
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		answer <- b.send("GET", "/providers/Patchbay.Connector/operations/op-1?wait=30&version=1&api-version=2026-11-01", "")
	}()
	<-b.fake.entered
	b.fake.end("op-1", nil)
	if w := <-answer; w.Code != 200 || !strings.Contains(w.Body.String(), `"done"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// Without news it answers what it knows.
	b.send("POST", strings.Replace(linkerDB, "?", "/validateLinker?", 1), "")
	if w := b.send("GET", "/providers/Patchbay.Connector/operations/op-2?wait=0.001&version=1&api-version=2026-11-01", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"running"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, q := range []string{"wait=x", "wait=-1", "wait=NaN", "wait=1&version=x"} {
		if w := b.send("GET", "/providers/Patchbay.Connector/operations/op-2?"+q+"&api-version=2026-11-01", ""); w.Code != 400 {
			t.Errorf("%s: %d", q, w.Code)
		}
	}
}

func TestProbes(t *testing.T) {
	ready := error(nil)
	b := newBench(t, func(o *Options) { o.Ready = func(context.Context) error { return ready } })
	probe := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	if w := probe(pathHealth); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	if w := probe(pathReady); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	ready = errors.New("c4n4ry: the engine is behind")
	if w := probe(pathReady); w.Code != 503 || !strings.Contains(w.Body.String(), "engine") || strings.Contains(w.Body.String(), "c4n4ry") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	ready = nil
	b.fake.failing = errors.New("disk gone")
	if w := probe(pathReady); w.Code != 503 || !strings.Contains(w.Body.String(), "store") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := probe(pathHealth); w.Code != 200 {
		t.Errorf("health does not depend on the store: %d", w.Code)
	}
}

func TestMetricsHaveBoundedLabels(t *testing.T) {
	registry := prometheus.NewRegistry()
	b := newBench(t, func(o *Options) { o.Registry = registry })
	for i := range 50 {
		b.send("GET", fmt.Sprintf("%s/providers/Microsoft.ServiceLinker/linkers/n%d?api-version=2024-04-01", testWeb, i), "")
		b.send(fmt.Sprintf("M%d", i), fmt.Sprintf("/nonsense/%d", i), "")
		b.send("GET", fmt.Sprintf("%s/providers/Microsoft.ServiceLinker/linkers/n/act%d?api-version=2024-04-01", testWeb, i), "")
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); n > 10 {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, pathMetrics, nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), `patchbay_http_requests_total{method="GET",route="linkers/{name}",status="404"} 50`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestALoggedPathIsBounded(t *testing.T) {
	b := newBench(t)
	b.send("GET", "/"+strings.Repeat("x", 5000), "")
	if log := b.logs.String(); !strings.Contains(log, strings.Repeat("x", 500)) || strings.Contains(log, strings.Repeat("x", 513)) {
		t.Errorf("the log has %d bytes", len(log))
	}
}

func TestAPanicIsAnAnswerAndALogLine(t *testing.T) {
	b := newBench(t)
	b.fake.panicking = true
	w := b.send("PUT", linkerDB, putDB)
	if w.Code != 500 || !strings.Contains(w.Body.String(), `"InternalServerError"`) || strings.Contains(w.Body.String(), "broken") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(b.logs.String(), "a request panicked") || !strings.Contains(b.logs.String(), w.Header().Get("x-ms-request-id")) {
		t.Errorf("%s", b.logs)
	}
	if w := b.send("GET", "/subscriptions", ""); w.Code != 200 {
		t.Errorf("after a panic: %d", w.Code)
	}
}

func TestWhatWentWrongInsideStaysInside(t *testing.T) {
	b := newBench(t)
	for err, want := range map[error]string{
		errors.New("sqlite: c4n4ry at /var/lib"):                                          "500 InternalServerError",
		patchbay.Errorf(patchbay.Internal, "c4n4ry"):                                      "500 InternalServerError",
		patchbay.Errorf("Unheard", "c4n4ry"):                                              "500 Unheard",
		fmt.Errorf("c4n4ry: %w", patchbay.Errorf(patchbay.Conflict, "it is so")):          "409 Conflict",
		fmt.Errorf("c4n4ry: %w", context.DeadlineExceeded):                                "503 Timeout",
		patchbay.Errorf(patchbay.TooManyRequests, "too many operations wait"):             "429 TooManyRequests",
		patchbay.Errorf(patchbay.TargetNotFound, "there is no such target").AsTransient(): "400 TargetNotFound",
	} {
		b.fake.failing = err
		w := b.send("GET", linkerDB, "")
		var body struct {
			Error struct{ Code, Message string }
		}
		if e := json.Unmarshal(w.Body.Bytes(), &body); e != nil {
			t.Errorf("%v: %v", err, e)
		}
		if got := fmt.Sprint(w.Code, " ", body.Error.Code); got != want || strings.Contains(w.Body.String(), "c4n4ry") || body.Error.Message == "" {
			t.Errorf("%v: %s %s", err, got, w.Body)
		}
		if (w.Code == 429 || w.Code == 503) && w.Header().Get("Retry-After") == "" {
			t.Errorf("%d without Retry-After", w.Code)
		}
	}
}

func TestRequestsAreBounded(t *testing.T) {
	b := newBench(t)
	large := `{"properties":{"clientType":"` + strings.Repeat("a", arm.MaxBody) + `"}}`
	for _, method := range []string{"PUT", "PATCH"} {
		if w := b.send(method, linkerDB, large); w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), `"RequestEntityTooLarge"`) {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
	// A body of unknown length is cut off as well.
	r := httptest.NewRequest(http.MethodPut, "https://patchbay.test"+linkerDB, io.MultiReader(strings.NewReader(large)))
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer "+b.Token().Reveal())
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	list := strings.TrimSuffix(strings.Replace(linkerDB, "/db?", "?", 1), "")
	for q, code := range map[string]int{"&$top=0": 400, "&$top=x": 400, "&$top=-5": 400, "&$top=99999999": 200, "&$skipToken=" + strings.Repeat("a", 5000): 400} {
		if w := b.send("GET", list+q, ""); w.Code != code {
			t.Errorf("%.40s: %d", q, w.Code)
		}
	}
	if len(b.fake.connections) != 0 {
		t.Error("a refused request changed something")
	}
}

// What is too long is not looked at, and more than a page is not read.
func TestWhatACallerNamesIsBounded(t *testing.T) {
	b, p := withPeople(t)
	p.caller("one", testTenant)
	long := strings.Repeat("a", maxToken+1)
	for _, header := range [][]string{{"Authorization", "Bearer " + long}, {"Authorization", "Bearer token-of-one", auxiliaryHeader, "Bearer " + long}} {
		before := p.verified
		if w := b.send("GET", "/subscriptions", "", header...); w.Code != http.StatusUnauthorized || p.verified != before+len(header)/2-1 {
			t.Errorf("%.20s: %d, %d tokens were looked at", header, w.Code, p.verified-before)
		}
	}
	// The operator's skip token is the place in the list itself.
	api := &lookedUp{fake: b.fake}
	b.api = api
	b.send("GET", testRG+"/resources?$top=999999", "")
	if api.limit != maxPage {
		t.Errorf("the records are asked for %d at once", api.limit)
	}
	for token, want := range map[string]int{strings.Repeat("a", maxSkipToken): 1, strings.Repeat("a", maxSkipToken+1): 0} {
		api.lists = 0
		b.send("GET", testRG+"/resources?$skipToken="+token, "")
		if api.lists != want {
			t.Errorf("a skip token of %d bytes reaches the records %d times", len(token), api.lists)
		}
	}
}

// lookedUp counts what reaches the records.
type lookedUp struct {
	*fake
	lists, limit int
}

func (a *lookedUp) Resources(ctx context.Context, scope patchbay.ID, after string, limit int) ([]patchbay.Resource, string, error) {
	a.lists++
	a.limit = limit
	return a.fake.Resources(ctx, scope, after, limit)
}

func TestBadInputChangesNothing(t *testing.T) {
	b := newBench(t)
	base := testWeb + "/providers/Microsoft.ServiceLinker/linkers/"
	for _, name := range []string{strings.Repeat("a", 300), "a%27b", "a%22b", "a%0Ab", "a%00", "..%2f..%2fetc", "$(reboot)", "%60id%60", "a;DROP%20ROLE%20x;--", "a|b", "%F0%9F%98%80"} {
		for _, method := range []string{"PUT", "PATCH", "DELETE", "GET"} {
			w := b.send(method, base+name+"?api-version=2026-11-01", putDB)
			if w.Code != 400 || !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s: %d %s", method, name, w.Code, w.Body)
			}
		}
	}
	for _, header := range [][]string{{"If-None-Match", "*"}, {"If-Match", `"a", "b"`}, {"If-Match", `W/"a"`}} {
		if w := b.send("PUT", linkerDB, putDB, header...); w.Code != 400 {
			t.Errorf("%v: %d", header, w.Code)
		}
	}
	if len(b.fake.connections) != 0 || len(b.fake.operations) != 0 {
		t.Error("bad input changed something")
	}
}

// TestNothingSecretIsLoggedOrCounted runs everything with canaries in every
// place where a client may put a secret.
func TestNothingSecretIsLoggedOrCounted(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(provider)
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	b := newBench(t)
	send := func(method, target, body string) *httptest.ResponseRecorder {
		return b.send(method, target, body, "x-ms-serviceconnector-user-token", "c4n4ry-user", "Cookie", "a=c4n4ry-cookie", "x-ms-client-request-id", "c4n4ry but with spaces")
	}
	with := func(path, query string) string { return strings.Replace(linkerDB, "?", path+"?"+query, 1) }
	var answers []*httptest.ResponseRecorder
	for _, c := range [][3]string{
		{"PUT", with("", "sig=c4n4ry-query&"), putDB}, {"GET", linkerDB, ""}, {"PATCH", linkerDB, putDB},
		{"PUT", linkerDB, strings.Replace(putDB, `"rawValue"`, `"c4n4ry-type"`, 1)}, {"PUT", linkerDB, putDB[:len(putDB)-9]},
		{"GET", strings.Split(linkerDB, "/db?")[0] + "?api-version=2026-11-01&$skipToken=c4n4ry-skip", ""},
		{"POST", with("/providers/Patchbay.Connector/rotate", ""), `{"secret":"c4n4ry-rotate"}`},
		{"PUT", testPG, `{"properties":{"driver":"postgres","admin":{"password":"c4n4ry-admin"}}}`}, {"GET", testPG, ""},
		{"GET", "/providers/Patchbay.Connector/operations?api-version=2026-11-01", ""},
	} {
		answers = append(answers, send(c[0], c[1], c[2]))
		if n := len(b.fake.operations); n > 0 && !b.fake.operations[n-1].State.Ended() {
			b.fake.end(b.fake.operations[n-1].ID, nil)
		}
	}
	for _, path := range []string{with("/listConfigurations", ""), testWeb + "/providers/Patchbay.Connector/environment?api-version=2026-11-01"} {
		// These are made to show secrets, and are checked in the log alone.
		if w := send("POST", path, ""); !strings.Contains(w.Body.String(), "hunter2<&>") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, pathMetrics, nil))
	traces := ""
	for _, span := range spans.Ended() {
		traces += fmt.Sprintln(span.Name(), span.Attributes(), span.Events(), span.Status())
	}
	if !strings.Contains(traces, "PUT linkers/{name}") {
		t.Errorf("no spans: %s", traces)
	}
	for _, text := range append([]string{b.logs.String(), w.Body.String(), traces}, func() (bodies []string) {
		for i, a := range answers {
			if i != 3 { // the complaint about a type names the type
				bodies = append(bodies, a.Body.String()+fmt.Sprint(a.Header()))
			}
		}
		return bodies
	}()...) {
		for _, secret := range []string{"c4n4ry", "hunter2", b.Token().Reveal()} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in %s", secret, text)
			}
		}
	}
	if !bytes.Contains(b.logs.Bytes(), []byte(`"route":"linkers/{name}"`)) {
		t.Errorf("nothing was logged: %s", b.logs)
	}
}

func TestAbsoluteURLsAreWhatTheClientCalls(t *testing.T) {
	for _, c := range []struct {
		name   string
		with   func(*Options)
		header []string
		want   string
	}{
		{"the request's host", func(*Options) {}, nil, "https://patchbay.test/subscriptions/"},
		{"a forwarded host is not trusted", func(*Options) {}, []string{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http"}, "https://patchbay.test/subscriptions/"},
		{"unless configured", func(o *Options) { o.TrustForwarded = true }, []string{"X-Forwarded-Host", "pb.example:8443, inner", "X-Forwarded-Proto", "http", "X-Forwarded-For", "127.0.0.1"}, "http://pb.example:8443/subscriptions/"},
		{"the public URL wins", func(o *Options) { o.PublicURL = "https://pb.example/patchbay/"; o.TrustForwarded = true }, []string{"X-Forwarded-Host", "x"}, "https://pb.example/patchbay/subscriptions/"},
	} {
		b := newBench(t, c.with)
		w := b.send("PUT", linkerDB, putDB, c.header...)
		if got := w.Header().Get("Azure-AsyncOperation"); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{linkerDB, "/subscriptions", "/nonsense", pathHealth} {
		w := b.send("GET", path, "", "x-ms-client-request-id", "abc-1", "x-ms-correlation-request-id", "corr-1")
		h := w.Header()
		if h.Get("x-ms-request-id") == "" || h.Get("x-ms-client-request-id") != "abc-1" || h.Get("x-ms-correlation-request-id") != "corr-1" ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, h)
		}
	}
	if w := b.send("GET", "/subscriptions", "", "x-ms-client-request-id", strings.Repeat("a", 200)); w.Header().Get("x-ms-client-request-id") != "" {
		t.Error("an id of 200 characters is echoed")
	}
	if w := b.send("HEAD", "/subscriptions", ""); w.Code != 200 {
		t.Errorf("HEAD: %d", w.Code)
	}
}

func TestAClientThatWentIsNotAnswered(t *testing.T) {
	b := newBench(t)
	b.fake.failing = context.Canceled
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := httptest.NewRequest(http.MethodGet, "https://patchbay.test"+linkerDB, nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+b.Token().Reveal())
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if w.Body.Len() != 0 || !strings.Contains(b.logs.String(), `"status":499`) {
		t.Errorf("%s %s", w.Body, b.logs)
	}
}

func TestSlowHeadsAreCutOff(t *testing.T) {
	b := newBench(t)
	h := b.httpServer()
	if h.ReadHeaderTimeout <= 0 || h.ReadTimeout <= 0 || h.WriteTimeout <= maxWait || h.IdleTimeout <= 0 || h.MaxHeaderBytes <= 0 {
		t.Errorf("%+v", h)
	}
}

func TestTheSettingsTableIsServed(t *testing.T) {
	b := newBench(t)
	const own = "/providers/Patchbay.Connector/settings?api-version=2026-11-01"
	w := b.send("GET", own, "")
	var kinds struct{ Value []struct{ Name string } }
	if err := json.Unmarshal(w.Body.Bytes(), &kinds); err != nil || len(kinds.Value) < 20 {
		t.Fatalf("%v %s", err, w.Body)
	}
	w = b.send("GET", own+"&kind="+kinds.Value[0].Name+"&client=none", "")
	if w.Code != 200 && w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w = b.send("GET", own+"&kind=toaster", ""); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w = b.send("GET", own+"&kind=postgresql&client=go", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "AZURE_POSTGRESQL") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAListenerThatIsTakenLeavesNothingOpen(t *testing.T) {
	taken := newBench(t, onFreePorts)
	serving(t, taken)
	plain := strings.TrimPrefix(taken.HTTPURL(), "http://")
	other := newBench(t, func(o *Options) { o.Address, o.HTTPAddress = "127.0.0.1:0", plain })
	if err := other.Listen(); patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), plain) {
		t.Errorf("%v", err)
	}
	if other.URL() != "" {
		t.Errorf("it listens at %s", other.URL())
	}
}

func TestAnotherServersFileIsNotRemoved(t *testing.T) {
	b := newBench(t, onFreePorts)
	_, stop := serving(t, b)
	path := filepath.Join(b.opts.Dir, InfoFile)
	if err := os.WriteFile(path, []byte(`{"url":"https://other"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	stop()
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "other") {
		t.Errorf("%s %v", text, err)
	}
}

// TestAFilteredListReadsABoundedPartAndGoesOn: a filter that fits one of many
// finds it, however the pages fall.
func TestAFilteredListReadsABoundedPartAndGoesOn(t *testing.T) {
	b := newBench(t)
	const many = 90
	for i := range many {
		id := fmt.Sprintf("%s/providers/Microsoft.Web/sites/web-%02d?check=false", testRG, i)
		if w := b.send("PUT", id, `{"location":"local","properties":{"driver":"envfile"}}`); w.Code != http.StatusCreated {
			t.Fatal(w.Code, w.Body)
		}
	}
	next := "/subscriptions/" + testSub + "/resources?$top=2&$filter=name%20eq%20'WEB-85'"
	var found []string
	requests := 0
	for next != "" {
		w := b.send("GET", next, "")
		var page struct {
			Value []struct{ Name string }
			Next  string `json:"nextLink"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
		for _, v := range page.Value {
			found = append(found, v.Name)
		}
		next = strings.TrimPrefix(page.Next, "https://patchbay.test")
		if requests++; requests > many {
			t.Fatal("the pages never end")
		}
	}
	if strings.Join(found, " ") != "web-85" || requests < 1+many/(2*maxScan) {
		t.Errorf("%v in %d requests", found, requests)
	}
}
