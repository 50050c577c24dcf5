// Package server is the control plane's HTTP: the routes of
// Microsoft.ServiceLinker and Patchbay.Connector over the use cases, sign-in,
// TLS with a local authority, health, metrics and the access log.
package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/identity"
)

// Options say how a [Server] is run. Dir is required.
type Options struct {
	// Dir is the data directory: the local authority, the admin token and
	// server.json are in it. It is made with mode 0700.
	Dir string
	// Address is where HTTPS listens; "" is 127.0.0.1:7443.
	Address string
	// HTTPAddress is where plain HTTP listens; "" is nowhere. Only a loopback
	// address is taken: tokens and settings go over it in the clear.
	HTTPAddress string
	// PublicURL is what clients call the server; operation URLs and nextLinks
	// begin with it. "" takes scheme and host from each request.
	PublicURL string
	// TrustForwarded takes them from X-Forwarded-Proto and X-Forwarded-Host,
	// which only a proxy in front may be let set.
	TrustForwarded bool
	// Names are further host names and addresses of the server's certificate.
	Names []string
	// Ready says whether the engine runs; nil: it does.
	Ready func(context.Context) error
	// Registry takes the metrics; nil makes one of the server's own.
	Registry *prometheus.Registry
	// Identity knows whose bearer tokens are; nil: only the admin token is known.
	Identity Identity
	// Issuer keeps the principals and signs them in; nil: there are none, and
	// nobody can be signed in here.
	Issuer *identity.Service
	// Access decides what callers may do; nil: the operator may do everything,
	// and others nothing.
	Access Access
	// Audit takes the lines of what writes nothing else; nil: none is kept.
	Audit Audit
	// Events delivers events; nil: nobody is told of any.
	Events Events
	// Catalog is what the server can connect, for its clients.
	Catalog patchbay.Catalog
	// Limits are how many requests are answered.
	Limits Limits
	// Grace is how long a request that began an operation waits for its end, so
	// that a fast one is answered finished; 0 is 250 ms, a negative one none.
	Grace time.Duration
	Log   *slog.Logger   // nil: slog.Default
	Clock patchbay.Clock // nil: time.Now
	// Timeout bounds the work on one request; 0 is 60 s. A waiting request
	// (operations/{id}?wait=) is bounded by its own 30 s.
	Timeout time.Duration
	// Drain bounds how long a stop waits for requests; 0 is 10 s.
	Drain time.Duration
}

// Identity knows callers by their tokens; package identity has it.
type Identity interface {
	// Verify says whose token it is. audience is this server's base URL as the
	// client calls it. A token that is not good is Unauthenticated.
	Verify(ctx context.Context, token patchbay.Secret, audience string) (patchbay.Subject, error)
}

// Access decides; package access has it.
type Access interface {
	// Check is nil when who may do the action at the scope, else Forbidden, with
	// the action and the scope by name.
	Check(ctx context.Context, who patchbay.Subject, action string, scope patchbay.ID) error
	// Within reports whether who may do the action at the scope or somewhere
	// below it.
	Within(ctx context.Context, who patchbay.Subject, action string, scope patchbay.ID) bool
	// TenantOf is the tenant that the scope is in; known is false for the root and
	// for what is in none.
	TenantOf(ctx context.Context, scope patchbay.ID) (tenant string, known bool, err error)
}

// Audit takes lines; package audit has it.
type Audit interface {
	AppendAudit(ctx context.Context, e patchbay.AuditEntry) error
}

// Events delivers events; package notify has it.
type Events interface {
	// Test sends one now, and once.
	Test(ctx context.Context) (patchbay.Delivery, error)
}

// Server answers HTTP. Make one with [New]; it is an [http.Handler], and
// [Server.Serve] runs it on its own listeners.
type Server struct {
	api     connector.API
	opts    Options
	log     *slog.Logger
	now     patchbay.Clock
	public  string // PublicURL without its last slash
	grace   time.Duration
	door    *door
	tls     *authority
	metrics *metrics
	scrape  http.Handler
	handler http.Handler
	routes  routes

	limiter  *limiter
	shares   shares
	refusals refusals

	// stopping is done when a stop began: waiting requests end, readiness with
	// them.
	stopping context.Context
	stop     context.CancelFunc

	listeners listeners
}

// New prepares a server: at the first start it makes the local authority and
// the admin token. Nothing listens yet.
func New(api connector.API, opts Options) (*Server, error) {
	if opts.Dir == "" {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the server needs a data directory")
	}
	if opts.Address == "" {
		opts.Address = "127.0.0.1:7443"
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Timeout == 0 {
		opts.Timeout = time.Minute
	}
	if opts.Grace == 0 {
		opts.Grace = defaultGrace
	}
	if opts.Drain == 0 {
		opts.Drain = 10 * time.Second
	}
	if opts.Registry == nil {
		opts.Registry = prometheus.NewRegistry()
	}
	if err := checkLoopback(opts.HTTPAddress); err != nil {
		return nil, err
	}
	public, err := checkPublicURL(opts.PublicURL)
	if err != nil {
		return nil, err
	}
	if opts.Dir, err = makeDir(opts.Dir); err != nil {
		return nil, err
	}
	d, err := openDoor(opts.Dir)
	if err != nil {
		return nil, err
	}
	ca, err := openAuthority(opts.Dir, certificateNames(opts, public), opts.Clock)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(opts.Registry)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "register metrics: %w", err)
	}
	s := &Server{
		api: api, opts: opts, log: opts.Log, now: opts.Clock, public: public, grace: opts.Grace,
		door: d, tls: ca, metrics: m,
		scrape: promhttp.HandlerFor(opts.Registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 30 * time.Second}),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if s.routes, err = newRoutes(table); err != nil {
		return nil, err
	}
	s.limiter, s.shares = newLimiter(opts.Limits), newShares()
	s.handler = s.observed(otelhttp.NewHandler(http.HandlerFunc(s.answer), "patchbay",
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			return r.Method + " " + string(routeOf(r.Context()))
		}),
		otelhttp.WithFilter(func(r *http.Request) bool { return !isProbe(r.URL.Path) })))
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Token is the admin token, for a caller in the same process.
func (s *Server) Token() patchbay.Secret { return s.door.token }

func checkPublicURL(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the public URL has to be of the form https://host[:port][/path], not %q", s)
	}
	return strings.TrimRight(u.String(), "/"), nil
}
