package controlplane

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel"
	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// transport answers requests without a network, so that time can be bent.
type transport func(*http.Request) *http.Response

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r), nil }

func TestACollectorGetsWhatOTLPNames(t *testing.T) {
	spans := []*wire.ResourceSpans{{ScopeSpans: []*wire.ScopeSpans{{Spans: []*wire.Span{{Name: "step principal"}}}}}}
	for endpoint, want := range map[string]string{
		"http://collector:4318": "http://collector:4318/v1/traces", "https://collector/": "https://collector/v1/traces",
		"https://collector/in/traces": "https://collector/in/traces",
	} {
		var got collect.ExportTraceServiceRequest
		var asked *http.Request
		c, err := newCollector(endpoint, func(name string) string {
			return map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20key, X-Tenant = shop"}[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		c.client.Transport = transport(func(r *http.Request) *http.Response {
			asked = r
			body, err := io.ReadAll(r.Body)
			if err == nil {
				err = proto.Unmarshal(body, &got)
			}
			if err != nil {
				t.Error(err)
			}
			return reply(http.StatusOK, "")
		})
		if err := c.UploadTraces(t.Context(), spans); err != nil {
			t.Fatal(err)
		}
		if asked.Method != http.MethodPost || asked.URL.String() != want {
			t.Errorf("%s: %s %s, want POST %s", endpoint, asked.Method, asked.URL, want)
		}
		for name, value := range map[string]string{"Content-Type": "application/x-protobuf", "Authorization": "Bearer key", "X-Tenant": "shop"} {
			if asked.Header.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", endpoint, name, asked.Header.Get(name), value)
			}
		}
		if len(got.ResourceSpans) != 1 || !proto.Equal(got.ResourceSpans[0], spans[0]) {
			t.Errorf("%s: it got %v", endpoint, &got)
		}
	}
	if _, err := newCollector("http://collector", func(string) string { return "Authorization=%zz-key" }); err == nil || strings.Contains(err.Error(), "key") {
		t.Errorf("headers that can't be read: %v", err)
	}
}

func reply(status int, retryAfter string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Header: http.Header{"Retry-After": {retryAfter}}, Body: http.NoBody,
	}
}

func TestSpansAreSentAgainWhereTheyMayBeTakenLater(t *testing.T) {
	for name, c := range map[string]struct {
		answers []*http.Response
		took    time.Duration
		fails   string
	}{
		"taken":             {[]*http.Response{reply(202, "")}, 0, ""},
		"refused":           {[]*http.Response{reply(401, "")}, 0, "401"},
		"busy, then taken":  {[]*http.Response{reply(503, ""), reply(429, ""), reply(200, "")}, 3 * time.Second, ""},
		"later, then taken": {[]*http.Response{reply(503, "7"), reply(200, "")}, 7 * time.Second, ""},
		"never":             {[]*http.Response{reply(502, ""), reply(502, ""), reply(502, ""), reply(502, ""), reply(502, "")}, 20 * time.Second, "502"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to, err := newCollector("http://shop:hunter2@collector", func(string) string { return "" })
				if err != nil {
					t.Fatal(err)
				}
				sent := 0
				to.client.Transport = transport(func(*http.Request) *http.Response { sent++; return c.answers[sent-1] })
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				start := time.Now()
				err = to.UploadTraces(ctx, nil)
				if took := time.Since(start); took != c.took || sent != len(c.answers) {
					t.Errorf("sent %d times in %s, want %d in %s", sent, took, len(c.answers), c.took)
				}
				if (err != nil) != (c.fails != "") || err != nil && (!strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), "hunter2")) {
					t.Errorf("it says %v", err)
				}
			})
		})
	}
}

// TestTheServersSpansReachACollector is the whole way, by the SDK.
func TestTheServersSpansReachACollector(t *testing.T) {
	got := make(chan *collect.ExportTraceServiceRequest, 8)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request collect.ExportTraceServiceRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		got <- &request
	}))
	defer server.Close()
	defer otel.SetTracerProvider(otel.GetTracerProvider())
	stop, err := traces(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, span := otel.Tracer("test").Start(t.Context(), "PUT linkers/{name}")
	span.End()
	stop(slog.New(slog.DiscardHandler))
	request := <-got
	if spans := request.ResourceSpans[0].ScopeSpans[0].Spans; len(spans) != 1 || spans[0].Name != "PUT linkers/{name}" {
		t.Errorf("it got %v", request)
	}
}
