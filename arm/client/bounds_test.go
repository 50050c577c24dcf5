package client

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// answering is a transport that answers everything with its body, and notes
// whether the request had a limit in time.
type answering struct {
	body    io.Reader
	limited bool
}

func (a *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	_, a.limited = r.Context().Deadline()
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(a.body)}, nil
}

// endless never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestAnAnswerWithoutAnEndIsGivenUp(t *testing.T) {
	c := &Client{base: mustURL(t), http: &http.Client{Transport: &answering{body: endless{}}}}
	_, err := c.Tenants(t.Context())
	if err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%v", err)
	}
}

func TestAnExportTakesAsLongAsItTakes(t *testing.T) {
	server := &answering{body: strings.NewReader("{}\n")}
	c := &Client{base: mustURL(t), http: &http.Client{Transport: server, Timeout: time.Minute}}
	var got strings.Builder
	if err := c.ExportAudit(t.Context(), AuditQuery{}, &got); err != nil || got.String() != "{}\n" || server.limited {
		t.Errorf("%q, with a limit: %v, %v", got.String(), server.limited, err)
	}
	if _, err := c.Tenants(t.Context()); err != nil || !server.limited {
		t.Errorf("another request has no limit; %v", err)
	}
}

func mustURL(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse("https://patchbay.example")
	if err != nil {
		t.Fatal(err)
	}
	return u
}
