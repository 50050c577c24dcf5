package connector

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/fairshare"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// Engine is what the use cases need of the saga; [saga.Engine] has it.
type Engine interface {
	Submit(ctx context.Context, s saga.Submission) (patchbay.Operation, error)
	Wait(ctx context.Context, id string, version int64) (patchbay.Operation, error)
	Cancel(ctx context.Context, id string) (patchbay.Operation, error)
	Retry(ctx context.Context, id string) (patchbay.Operation, error)
	Abandon(ctx context.Context, id string) (patchbay.Operation, error)
}

// Records are what the use cases keep and read; package sqlite has them.
type Records interface {
	store.Records
	store.Directory
	store.Dryruns
	store.Counter
	store.Verdicts
	// AppendAudit is [store.Audit]'s.
	AppendAudit(ctx context.Context, e patchbay.AuditEntry) error
}

// Options are what a [Service] is made of.
type Options struct {
	Records Records
	Keys    *keyring.Keyring
	Catalog driver.Catalog
	// Overlap is how long an old credential keeps working after the new one is
	// in place; 0 means DefaultOverlap.
	Overlap time.Duration
	Limits  Limits
	// Dialer is how this process reaches targets; nil means a net.Dialer.
	Dialer driver.Dialer
	// Dials is what the operator lets a source's host connect to.
	Dials hosts.DialRules
	// Local is the machine that this process runs on, which a source is on that
	// names no other; nil means one that connects to everywhere.
	Local hosts.Host
	Clock patchbay.Clock // nil means time.Now
	Log   *slog.Logger   // nil means slog.Default
	// Rights are asked again before an operation has an effect; nil means that
	// whoever was allowed to begin one may end it.
	Rights Rights
	// Observe is told of every call of a driver; nil means nobody.
	Observe func(driver, method string, took time.Duration, code patchbay.Code)
	// Watched is told of what a watch does; nil means nobody.
	Watched WatchObserver
	// Isolate runs probes apart from this process; nil means in it.
	Isolate driver.Isolator
}

// Service has the use cases. Make one with [New], give its Workflows to an
// engine, and the engine to Bind.
type Service struct {
	records Records
	keys    *keyring.Keyring
	catalog driver.Catalog
	engine  Engine
	overlap time.Duration
	limits  Limits
	dialer  driver.Dialer
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	now     patchbay.Clock
	log     *slog.Logger
	rights  Rights
	observe func(driver, method string, took time.Duration, code patchbay.Code)
	watched WatchObserver
	isolate driver.Isolator
	local   hosts.Host
	dials   hosts.DialRules
	targets pool[*driver.GuardedTarget]
	sources pool[*driver.GuardedSource]
	guards  pool[*driver.GuardedNetwork]
	hosts   pool[hosts.Remote]

	life     string          // of this process, as sweeps tell it from another
	turns    turns           // one sweep at a time at a resource
	places   *fairshare.Pool // of all sweeps
	suspects *fairshare.Pool // one place: see sweep.retry
}

var _ API = (*Service)(nil)

// New makes a service without an engine; Bind gives it one.
func New(o Options) *Service {
	s := &Service{
		records: o.Records, keys: o.Keys, catalog: o.Catalog,
		overlap: o.Overlap, limits: o.Limits.withDefaults(), dialer: o.Dialer, local: o.Local, dials: o.Dials, now: o.Clock, log: o.Log, rights: o.Rights, observe: o.Observe, watched: o.Watched,
		isolate: o.Isolate, life: uuid.NewString(), places: fairshare.New(sweepers, 0), suspects: fairshare.New(1, 0),
	}
	if s.overlap == 0 {
		s.overlap = DefaultOverlap
	}
	s.lookup = net.DefaultResolver.LookupNetIP
	if s.dialer == nil {
		s.dialer = &net.Dialer{Timeout: 10 * time.Second}
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.local == nil {
		s.local = hosts.NewLocal(hosts.DialRules{})
	}
	return s
}

// Bind gives the service the engine that runs its workflows.
func (s *Service) Bind(e Engine) { s.engine = e }

// Close lets go of every opened resource. Nothing may run any more.
func (s *Service) Close() {
	s.targets.close()
	s.sources.close()
	s.guards.close()
	s.hosts.close()
}

// Init makes a tenant, a subscription and a resource group when there is no
// subscription, and the tenants of those that have none on record.
func (s *Service) Init(ctx context.Context) error {
	subs, err := s.records.Subscriptions(ctx)
	if err != nil {
		return err
	}
	if len(subs) > 0 {
		return s.initTenants(ctx, subs)
	}
	tenants, err := s.records.Tenants(ctx)
	if err != nil {
		return err
	}
	sub := patchbay.Subscription{ID: uuid.NewString(), TenantID: uuid.NewString(), DisplayName: "default"}
	if len(tenants) > 0 {
		sub.TenantID = tenants[0].ID // a first start ended here: there are no two tenants of one name
	}
	// The subscription last: a start that ends before it makes it again, and a
	// group that is in no subscription is in nobody's way.
	if err := s.records.PutResourceGroup(ctx, patchbay.ResourceGroup{
		ID:       patchbay.ID("/subscriptions/" + sub.ID + "/resourceGroups/default"),
		Location: DefaultLocation,
	}); err != nil {
		return err
	}
	if err := s.initTenants(ctx, []patchbay.Subscription{sub}); err != nil {
		return err
	}
	return s.records.PutSubscription(ctx, sub)
}

// initTenants makes a record for each tenant that subs name and that has none.
func (s *Service) initTenants(ctx context.Context, subs []patchbay.Subscription) error {
	tenants, err := s.records.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, sub := range subs {
		known := func(t patchbay.Tenant) bool { return strings.EqualFold(t.ID, sub.TenantID) }
		if sub.TenantID == "" || slices.ContainsFunc(tenants, known) {
			continue
		}
		t := patchbay.Tenant{ID: sub.TenantID, DisplayName: "default"}
		if err := s.records.PutTenant(ctx, t); err != nil {
			return err
		}
		tenants = append(tenants, t)
	}
	return nil
}

// DefaultLocation is where things are when nobody said. It is not "local": a local
// connection is one that has no source, wherever it is.
const DefaultLocation = "onpremises"

const uidAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

// newUID is twelve characters of 32, sixty bits: what everything that a
// connection owns is named after. Among a million connections two are alike
// with a chance of one in two million.
func newUID() string {
	raw := make([]byte, 12)
	_, _ = rand.Read(raw) // never fails
	for i, b := range raw {
		raw[i] = uidAlphabet[int(b)%len(uidAlphabet)]
	}
	return string(raw)
}

func newETag() string { return `"` + uuid.NewString() + `"` }
