// Package controlplane puts the parts of a server together: the records, the
// saga engine, the use cases, the drivers and the wire, on one data directory.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.42.0"
	"golang.org/x/sync/errgroup"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/audit"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/sandbox"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/ssh"
	"patchbay.dev/patchbay/internal/relay"
	"patchbay.dev/patchbay/internal/version"
	"patchbay.dev/patchbay/keyring"
	dockernetwork "patchbay.dev/patchbay/networks/docker"
	"patchbay.dev/patchbay/networks/networkpolicy"
	"patchbay.dev/patchbay/networks/nftables"
	"patchbay.dev/patchbay/networks/pghba"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/server"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/sources/compose"
	"patchbay.dev/patchbay/sources/docker"
	"patchbay.dev/patchbay/sources/envfile"
	"patchbay.dev/patchbay/sources/kubernetes"
	"patchbay.dev/patchbay/sources/systemd"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/sqlite"
	"patchbay.dev/patchbay/targets/azurestorage"
	"patchbay.dev/patchbay/targets/etcd"
	"patchbay.dev/patchbay/targets/external"
	"patchbay.dev/patchbay/targets/kafka"
	"patchbay.dev/patchbay/targets/mongodb"
	"patchbay.dev/patchbay/targets/mosquitto"
	"patchbay.dev/patchbay/targets/mysql"
	"patchbay.dev/patchbay/targets/nats"
	"patchbay.dev/patchbay/targets/postgres"
	"patchbay.dev/patchbay/targets/rabbitmq"
	"patchbay.dev/patchbay/targets/redis"
	"patchbay.dev/patchbay/targets/s3"
	"patchbay.dev/patchbay/targets/sqlserver"
)

// The files of a data directory, besides those of package server.
const (
	DatabaseFile = "patchbay.db"
	KeyFile      = "sealing.key"
)

// dialTimeout is how long a connection to a target may take to be made.
const dialTimeout = 10 * time.Second

// Options say how a control plane is run. Server.Dir is the data directory.
type Options struct {
	Server server.Options
	// Overlap is how long an old credential keeps working after a rotation; 0 is
	// connector.DefaultOverlap.
	Overlap       time.Duration
	ValidateEvery time.Duration // of each connection; 0 is never
	SignIn        SignIn
	// DenyDial and AllowDial are an operator's part of [hosts.DialRules].
	DenyDial, AllowDial []string
	// Traces is the URL of an OpenTelemetry collector (OTLP over HTTP); "" is
	// none.
	Traces string
	// Events are told to somebody; the zero value: to nobody.
	Events Events
	Log    *slog.Logger
	// Ready is called with the server when requests are answered; it may be nil.
	Ready func(*server.Server)
}

// extras are drivers of other modules.
var extras driver.Catalog

// Extend adds drivers of other modules to the build, once, before anything else is called.
// It fails with InvalidArgument where one has the name of another.
func Extend(more driver.Catalog) error {
	built := product()
	for what, taken := range map[string][]string{
		"target":  shared(built.Targets, more.Targets),
		"source":  shared(built.Sources, more.Sources),
		"network": shared(built.Networks, more.Networks),
	} {
		if len(taken) > 0 {
			return patchbay.Errorf(patchbay.InvalidArgument, "there is a %s driver %s already", what, taken[0])
		}
	}
	extras = more
	return nil
}

// shared are the names that are in both.
func shared[D any](a, b map[string]D) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(b)), func(name string) bool { _, ok := a[name]; return !ok })
}

// Catalog is the drivers of this build.
func Catalog() driver.Catalog {
	all := product()
	maps.Copy(all.Targets, extras.Targets)
	maps.Copy(all.Sources, extras.Sources)
	maps.Copy(all.Networks, extras.Networks)
	return all
}

// product is the drivers of this module: a new one is one line here or in targets.
func product() driver.Catalog {
	return driver.NewCatalog(targets(), []driver.SourceDriver{
		envfile.Driver(),
		systemd.Driver(),
		docker.Driver(),
		compose.Driver(docker.Driver()),
		kubernetes.Driver(),
		kubernetes.SecretDriver(),
	}, []driver.HostDriver{
		ssh.Driver(),
	}, []driver.NetworkDriver{
		nftables.Driver(),
		pghba.Driver(),
		dockernetwork.Driver(),
		networkpolicy.Driver(),
	})
}

func targets() []driver.TargetDriver {
	return []driver.TargetDriver{
		postgres.Driver(),
		mysql.Driver(),
		sqlserver.Driver(),
		etcd.Driver(),
		s3.Driver(),
		nats.Driver(),
		redis.Driver(),
		mongodb.Driver(),
		mosquitto.Driver(),
		rabbitmq.Driver(),
		kafka.Driver(),
		azurestorage.Driver(),
		external.Driver(settings.Kinds(), settings.Variant),
	}
}

// IfChild does not return in a process that was started to probe, or to relay what
// is probed: whatever runs a control plane calls it first of all.
func IfChild() {
	if len(os.Args) == 2 && os.Args[1] == relay.Command {
		if relay.Main() != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if sandbox.IsChild(os.Args[1:]) {
		os.Exit(sandbox.Main(Catalog().Targets))
	}
}

// Run serves until ctx ends, and then drains: requests and steps that are in
// flight end, and what has not ended goes on at the next start.
func Run(ctx context.Context, o Options) (err error) {
	rules, err := hosts.NewDialRules(o.DenyDial, o.AllowDial)
	if err != nil {
		return err
	}
	dir := o.Server.Dir
	if err := prepare(dir); err != nil {
		return err
	}
	stopTraces, err := traces(ctx, o.Traces)
	if err != nil {
		return err
	}
	defer stopTraces(o.Log)

	keys, err := keyring.Load(filepath.Join(dir, KeyFile))
	if err != nil {
		return err
	}
	chain := audit.NewChain(func(line []byte) []byte { return keys.MAC(append([]byte("audit\x00"), line...)) })
	records, err := open(ctx, filepath.Join(dir, DatabaseFile), chain, !o.Events.To.IsZero())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	roles, err := access.New(ctx, access.Options{Roles: records, Places: records, People: records})
	if err != nil {
		return err
	}
	probes, err := sandbox.New(sandbox.Options{Log: o.Log})
	if err != nil {
		return err
	}
	defer probes.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	watch := newMetrics(registry)
	catalog := Catalog()
	service := connector.New(connector.Options{
		Records: records, Keys: keys, Catalog: catalog, Overlap: o.Overlap, Log: o.Log,
		Rights: roles, Observe: watch.driverCalled, Watched: watch, Isolate: probes,
		Dialer: &net.Dialer{Timeout: dialTimeout, Control: rules.Control}, Local: hosts.NewLocal(rules, dir), Dials: rules,
	})
	defer service.Close()
	if err := service.Init(ctx); err != nil {
		return err
	}
	engine, err := saga.New(records, service.Workflows(), saga.Options{Logger: o.Log, Observer: watch, DrainTimeout: o.Server.Drain})
	if err != nil {
		return err
	}
	service.Bind(engine)

	notifier, err := newNotifier(o, records, watch)
	if err != nil {
		return err
	}

	var running atomic.Bool
	o.Server.Registry, o.Server.Log = registry, o.Log
	if notifier != nil {
		o.Server.Events = notifier
	}
	o.Server.Catalog = catalog.Describe(settings.Kinds())
	o.Server.Audit, o.Server.Access = audit.New(records, chain), roles
	o.Server.Ready = func(context.Context) error {
		if !running.Load() {
			return patchbay.Errorf(patchbay.Internal, "the engine does not run")
		}
		return nil
	}
	endSignIn, err := openSignIn(ctx, records, keys, o.SignIn, &o.Server)
	if err != nil {
		return err
	}
	defer endSignIn()
	web, err := server.New(service, o.Server)
	if err != nil {
		return err
	}
	if err := web.Listen(); err != nil {
		return err
	}
	// Requests end first, then the steps: a request that waits for its operation
	// must not outlive the engine.
	steps, stopSteps := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSteps()
	defer context.AfterFunc(ctx, func() { engine.Ending(steps) })()
	g, serving := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer running.Store(false)
		running.Store(true)
		return engine.Run(steps)
	})
	g.Go(func() error {
		select {
		case <-engine.Opened():
		case <-steps.Done():
		}
		return service.Run(steps)
	})
	if notifier != nil {
		g.Go(func() error { return notifier.Run(steps) })
	}
	g.Go(func() error {
		select {
		case <-engine.Opened():
		case <-steps.Done():
		}
		return service.Watch(steps, o.ValidateEvery)
	})
	g.Go(func() error {
		defer stopSteps()
		if o.Ready != nil {
			o.Ready(web)
		}
		return web.Serve(serving)
	})
	return g.Wait()
}

// records are all that a control plane keeps.
type records interface {
	saga.Store
	connector.Records
	store.Roles
	store.Audit
	store.Outbox
	Close() error
}

// open opens the records: another store is one line here.
func open(ctx context.Context, path string, chain store.Chain, events bool) (records, error) {
	return sqlite.Open(ctx, path, sqlite.Options{Chain: chain, Events: events})
}

// prepare makes the data directory, for its owner alone.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return patchbay.Errorf(patchbay.Internal, "the data directory %s has mode %04o: others can read it", dir, info.Mode().Perm()).
			WithFix("chmod 700 %s", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, DatabaseFile)); err == nil {
		if _, err := os.Stat(filepath.Join(dir, KeyFile)); errors.Is(err, fs.ErrNotExist) {
			return patchbay.Errorf(patchbay.Internal, "%s holds records, but their key file %s is gone; without it no secret in them can be read", dir, KeyFile).
				WithFix("put %s back from the backup", KeyFile)
		}
	}
	return nil
}

// traces sends spans to a collector, where there is one.
func traces(ctx context.Context, endpoint string) (stop func(*slog.Logger), err error) {
	if endpoint == "" {
		return func(*slog.Logger) {}, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
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
