package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// The probes, which need no token.
const (
	pathHealth  = "/healthz"
	pathReady   = "/readyz"
	pathMetrics = "/metrics"
)

func isProbe(path string) bool { return path == pathHealth || path == pathReady || path == pathMetrics }

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	flight   prometheus.Gauge
	panics   prometheus.Counter
}

func newMetrics(r *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "patchbay_http_requests_total", Help: "HTTP requests answered, by route, method and status."}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "patchbay_http_request_duration_seconds", Help: "Time from a request's head to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30}}, []string{"route", "method"}),
		flight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "patchbay_http_requests_in_flight", Help: "HTTP requests being answered."}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "patchbay_http_panics_total", Help: "Requests whose handling panicked; each is a defect."}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.flight, m.panics} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// methodLabel bounds what a caller can make of a label.
func methodLabel(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// visit is what is known of a request from its first moment, in its context.
type visit struct {
	id     string
	client string // x-ms-client-request-id
	path   arm.Path
	err    error // of the path
	caller string
	status int
	bytes  int64
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	v, _ := ctx.Value(visitKey{}).(*visit)
	if v == nil {
		v = &visit{path: arm.Path{Route: arm.RouteUnknown}}
	}
	return v
}

func routeOf(ctx context.Context) arm.Route { return visitOf(ctx).path.Route }

// observed gives every request its ids and headers, counts and logs it, and
// turns a panic into an answer. Bodies, queries and headers are never logged:
// tokens and secrets are in them.
func (s *Server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.now()
		v := &visit{id: uuid.NewString(), client: headerID(r, "x-ms-client-request-id")}
		if isProbe(r.URL.Path) {
			v.path.Route = arm.Route(strings.TrimPrefix(r.URL.Path, "/"))
		} else {
			v.path, v.err = s.routes.paths.Parse(r.URL.EscapedPath())
		}
		r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
		h := w.Header()
		h.Set("x-ms-request-id", v.id)
		correlation := headerID(r, "x-ms-correlation-request-id")
		if correlation == "" {
			correlation = v.id
		}
		h.Set("x-ms-correlation-request-id", correlation)
		if v.client != "" {
			h.Set("x-ms-client-request-id", v.client)
		}
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")

		s.metrics.flight.Inc()
		rec := &recorder{ResponseWriter: w, visit: v}
		defer func() {
			defer s.metrics.flight.Dec()
			if p := recover(); p != nil {
				s.recovered(r, rec, p)
			}
			s.record(r, v, s.now().Sub(start))
		}()
		next.ServeHTTP(rec, r)
	})
}

// recovered answers for a handler that panicked. The one panic that is meant,
// http.ErrAbortHandler, goes on its way.
func (s *Server) recovered(r *http.Request, rec *recorder, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	s.metrics.panics.Inc()
	s.log.LogAttrs(r.Context(), slog.LevelError, "a request panicked",
		slog.String("request", rec.visit.id), slog.String("route", string(rec.visit.path.Route)),
		slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
	if rec.visit.status == 0 {
		s.answerError(rec, r, patchbay.Errorf(patchbay.Internal, "a panic"))
	}
}

func (s *Server) record(r *http.Request, v *visit, took time.Duration) {
	status := v.status
	if status == 0 {
		status = http.StatusOK
	}
	route, method := string(v.path.Route), methodLabel(r.Method)
	s.metrics.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	s.metrics.seconds.WithLabelValues(route, method).Observe(took.Seconds())

	level := slog.LevelInfo
	switch {
	case isProbe(r.URL.Path):
		level = slog.LevelDebug
	case status >= 500:
		level = slog.LevelError
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	path := r.URL.EscapedPath()
	if len(path) > 512 {
		path = path[:512] + "…"
	}
	s.log.LogAttrs(r.Context(), level, "request",
		slog.String("method", method), slog.String("route", route), slog.String("path", path),
		slog.Int("status", status), slog.Int64("bytes", v.bytes), slog.Duration("took", took),
		slog.String("request", v.id), slog.String("client", v.client),
		slog.String("caller", v.caller), slog.String("remote", r.RemoteAddr))
}

// headerID is an id that a client gave its request, when it is fit to be
// echoed and logged.
func headerID(r *http.Request, name string) string {
	id := r.Header.Get(name)
	if len(id) > 128 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return ""
	}
	return id
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	visit *visit
}

func (r *recorder) WriteHeader(status int) {
	if r.visit.status == 0 && status >= 200 {
		r.visit.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.visit.status == 0 {
		r.visit.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.visit.bytes += int64(n)
	return n, err
}

// Unwrap is for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
