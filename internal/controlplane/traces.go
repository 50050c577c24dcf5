package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.42.0"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"patchbay.dev/patchbay/internal/version"
)

// traces sends spans to a collector, where there is one.
func traces(ctx context.Context, endpoint string) (stop func(*slog.Logger), err error) {
	if endpoint == "" {
		return func(*slog.Logger) {}, nil
	}
	c, err := newCollector(endpoint, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("traces to %s: %w", endpoint, err)
	}
	exporter, err := otlptrace.New(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("traces to %s: %w", endpoint, err)
	}
	provider := trace.NewTracerProvider(
		trace.WithBatcher(exporter),
		trace.WithResource(resource.NewWithAttributes(semconv.SchemaURL,
			semconv.ServiceName("patchbay"), semconv.ServiceVersion(version.Get().Version))),
	)
	otel.SetTracerProvider(provider)
	return func(log *slog.Logger) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			log.WarnContext(ctx, "the last traces were not sent", "error", err)
		}
	}, nil
}

// collector takes spans in OTLP over HTTP. The SDK's own client of it brings a
// gRPC server and its gateway: seventy packages for one POST.
type collector struct {
	url    *url.URL
	header http.Header
	client http.Client
}

const (
	traceAttempt  = 10 * time.Second // for one request to a collector
	maxTraceReply = 64 << 10         // bytes of its answer that are read, so that the connection serves again
)

// newCollector is the one at endpoint, where traces are taken at /v1/traces
// unless a path is named. The variables of OTLP say more headers, a key mostly.
func newCollector(endpoint string, getenv func(string) string) (*collector, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	c := &collector{url: u, header: http.Header{}, client: http.Client{
		Timeout: traceAttempt, Transport: http.DefaultTransport.(*http.Transport).Clone(),
	}}
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		for pair := range strings.SplitSeq(getenv(variable), ",") {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				continue
			}
			if value, err = url.PathUnescape(value); err != nil {
				return nil, fmt.Errorf("%s is not NAME=VALUE,… with percent-encoded values", variable)
			}
			c.header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	c.header.Set("Content-Type", "application/x-protobuf")
	c.header.Set("User-Agent", "patchbay/"+version.Get().Version)
	return c, nil
}

func (*collector) Start(context.Context) error { return nil }

func (c *collector) Stop(context.Context) error {
	c.client.CloseIdleConnections()
	return nil
}

// UploadTraces sends spans, again where the collector says that it may take them
// later, until ctx ends.
func (c *collector) UploadTraces(ctx context.Context, spans []*wire.ResourceSpans) error {
	// On the wire it is the request that OTLP names, whose own package is the one
	// with a server in it.
	body, err := proto.Marshal(&wire.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	for wait := time.Second; ; wait *= 2 {
		later, err := c.post(ctx, body)
		if later < 0 {
			return err
		}
		select {
		case <-time.After(max(wait, later)):
		case <-ctx.Done():
			return err
		}
	}
}

// post sends body once. later is the least time to wait before it is sent again,
// and negative where it is not to be: it was taken, or never will be.
func (c *collector) post(ctx context.Context, body []byte) (later time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(body))
	if err != nil {
		return -1, err
	}
	r.Header = c.header.Clone()
	answer, err := c.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.CopyN(io.Discard, answer.Body, maxTraceReply)
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return time.Duration(min(max(seconds, 0), 60)) * time.Second, fmt.Errorf("%s answers %s", c.url.Redacted(), answer.Status)
	}
	if answer.StatusCode/100 != 2 {
		return -1, fmt.Errorf("%s answers %s", c.url.Redacted(), answer.Status)
	}
	return -1, nil
}
