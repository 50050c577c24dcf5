package server

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

// sent sends a request that may wait, and gives its answer when it is there.
func (b *bench) sent(method, target, body string, header ...string) <-chan *httptest.ResponseRecorder {
	answers := make(chan *httptest.ResponseRecorder, 1)
	go func() { answers <- b.send(method, target, body, header...) }()
	return answers
}

func TestAnOperationThatEndsWithinTheGraceIsAnsweredFinished(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Grace = time.Hour })
	answers := b.sent("PUT", linkerDB, putDB)
	<-b.fake.entered
	b.fake.end("op-1", nil)
	w := <-answers
	if w.Code != http.StatusCreated || w.Header().Get("Azure-AsyncOperation") != "" || !strings.Contains(w.Body.String(), `"provisioningState":"Succeeded"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	// The same again is no new one.
	w = b.send("PUT", linkerDB, putDB)
	if w.Code != http.StatusOK || w.Header().Get("Azure-AsyncOperation") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestWhoReadsAFinishedAnswerTwicePollsAtOnce(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Grace = time.Hour })
	answers := b.sent("PUT", linkerDB, putDB, "User-Agent", "AZURECLI/2.45.0 (DEB) azsdk-python-mgmt-servicelinker/1.2.0b1 Python/3.11.2")
	<-b.fake.entered
	b.fake.end("op-1", nil)
	w := <-answers
	h := w.Header()
	if w.Code != http.StatusCreated || h.Get("Azure-AsyncOperation") == "" || h.Get(pollAtOnce) != "1" || h.Get("Retry-After") != "" {
		t.Errorf("%d %v", w.Code, h)
	}
}

func TestAnOperationThatOutlastsTheGraceIsPolled(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Grace = time.Nanosecond })
	w := b.send("PUT", linkerDB, putDB)
	if w.Code != http.StatusCreated || w.Header().Get("Azure-AsyncOperation") == "" || w.Header().Get(skipDelay) != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if s := must(New(b.fake, Options{Dir: t.TempDir()}))(t); s.grace != defaultGrace {
		t.Errorf("the grace is %s", s.grace)
	}
}

func must(s *Server, err error) func(*testing.T) *Server {
	return func(t *testing.T) *Server {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestAStoppingServerDoesNotWaitForOperations(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Grace = time.Hour })
	answers := b.sent("PUT", linkerDB, putDB)
	<-b.fake.entered
	b.stop()
	if w := <-answers; w.Code != http.StatusCreated || w.Header().Get("Azure-AsyncOperation") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	b.fake.end("op-1", nil)
	// A connector's DELETE, which waits longest, does not either.
	connector := testLocal + "/connectors/dev?api-version=2026-11-01"
	b.send("PUT", connector, putDB)
	b.fake.end("op-2", nil)
	if w := b.send("DELETE", connector, ""); w.Code != http.StatusAccepted || w.Header().Get("Location") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestAClientThatGoesAwayIsNotWaitedFor(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Grace = time.Hour })
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequest(http.MethodPut, "https://patchbay.test"+linkerDB, strings.NewReader(putDB)).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+b.Token().Reveal())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.ServeHTTP(httptest.NewRecorder(), r)
	}()
	<-b.fake.entered
	cancel()
	<-done
}

// TestAnAnswerIsNeverOfSomebodyElsesOperation: what the operation made was
// changed again before it was read.
func TestAnAnswerIsNeverOfSomebodyElsesOperation(t *testing.T) {
	for _, state := range []patchbay.State{patchbay.Accepted, patchbay.Succeeded} {
		b := newBench(t, func(o *Options) { o.Grace = time.Hour })
		answers := b.sent("PUT", linkerDB, putDB)
		<-b.fake.entered
		b.fake.mu.Lock()
		op := b.fake.operation("op-1")
		b.fake.finish(op, nil)
		k := b.fake.connections[op.Connection.Key()]
		k.Operation, k.State = "op-9", state
		b.fake.mu.Unlock()
		w := <-answers
		if w.Header().Get("Azure-AsyncOperation") == "" {
			t.Errorf("%s: %d %s", state, w.Code, w.Body)
		}
	}
}

func TestADeleteThatFailsWithinTheGraceIsPolled(t *testing.T) {
	b := newBench(t)
	b.send("PUT", linkerDB, putDB)
	b.fake.end("op-1", nil)
	b.fake.fast, b.fake.why, b.grace = true, patchbay.Errorf(patchbay.TargetUnreachable, "gone"), time.Hour
	w := b.send("DELETE", linkerDB, "")
	if w.Code != http.StatusAccepted {
		t.Fatalf("%d", w.Code)
	}
	w = b.send("GET", strings.TrimPrefix(w.Header().Get("Location"), "https://patchbay.test"), "")
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"status":"Failed"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestEveryActionOfTheProviderIsInItsList: what a role can allow is what GET
// operations says, and nothing is said that no route asks for.
func TestEveryActionOfTheProviderIsInItsList(t *testing.T) {
	asked := map[string]bool{}
	for name, e := range newBench(t).routes.byName {
		for method, m := range e.methods {
			if !strings.HasPrefix(m.action, arm.Provider+"/") {
				continue
			}
			asked[m.action] = true
			if !arm.IsProviderAction(m.action) {
				t.Errorf("%s %s asks for %s, which the list of operations does not have", method, name, m.action)
			}
		}
	}
	w := newBench(t).send("GET", "/providers/Microsoft.ServiceLinker/operations?api-version=2024-04-01", "")
	for _, line := range strings.Split(w.Body.String(), `"name":"`)[1:] {
		if action, _, _ := strings.Cut(line, `"`); !asked[action] {
			t.Errorf("no route asks for %s", action)
		}
	}
}

func TestAValidationIsBegunAsItWasAskedFor(t *testing.T) {
	b := newBench(t)
	b.send("PUT", testWeb+"/providers/Microsoft.ServiceLinker/linkers/db?api-version=2024-04-01", `{"properties":{"targetService":{"type":"AzureResource","id":"`+testPG+`/databases/app"}}}`)
	for body, want := range map[string]connector.ValidateRequest{
		"": {}, `{"fix":true}`: {Fix: true}, `{"from":"control-plane"}`: {From: patchbay.FromControlPlane}, `{"fix":false,"from":""}`: {},
	} {
		w := b.send("POST", testWeb+"/providers/Microsoft.ServiceLinker/linkers/db/providers/Patchbay.Connector/validate?api-version=2026-11-01", body)
		b.fake.mu.Lock()
		got := b.fake.validation
		b.fake.mu.Unlock()
		if w.Code != http.StatusAccepted || got.Fix != want.Fix || got.From != want.From || got.ID.Name() != "db" {
			t.Errorf("%s: %d, %+v", body, w.Code, got)
		}
	}
}
