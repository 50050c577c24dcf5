// Package identity finds out who calls: it keeps the principals of the
// built-in issuer and their secrets, issues and verifies its tokens, and
// verifies those of configured OpenID Connect providers.
package identity

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/store"
)

// Defaults of [Options].
const (
	DefaultLifetime = time.Hour
	DefaultRotation = 30 * 24 * time.Hour
)

// leeway is how far clocks of issuers and clients may be apart.
const leeway = time.Minute

// Options are what a [Service] is made of. Directory and Keys are required.
type Options struct {
	Directory store.Directory
	Keys      *keyring.Keyring // seals the signing keys
	Providers []Provider
	// Lifetime is how long a token of the built-in issuer is good; 0 is an hour.
	Lifetime time.Duration
	// Rotation is how long a signing key signs; 0 is 30 days.
	Rotation time.Duration
	// Transport reaches providers that bring no authority of their own; nil is
	// http.DefaultTransport.
	Transport http.RoundTripper
	Clock     patchbay.Clock // nil: time.Now
	Log       *slog.Logger   // nil: slog.Default
}

// Service knows principals and tokens. Make one with [New]; it may be used by
// many at once.
type Service struct {
	directory store.Directory
	lifetime  time.Duration
	now       patchbay.Clock
	log       *slog.Logger

	keys       *signingKeys
	hasher     *hasher
	brake      *brake
	remembered *remembered
	providers  []*provider
	oauth      http.Handler

	// background fetches of providers' keys end with the service.
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
}

// New checks the options against the directory: a provider's tenant has to be
// there. It reaches no provider; [Service.Warm] does.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.Lifetime == 0 {
		o.Lifetime = DefaultLifetime
	}
	if o.Rotation == 0 {
		o.Rotation = DefaultRotation
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Lifetime < time.Minute || o.Lifetime > 24*time.Hour || o.Rotation < 2*o.Lifetime {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "a token's lifetime has to be a minute to a day, and a signing key's at least twice as long")
	}
	s := &Service{
		directory: o.Directory, lifetime: o.Lifetime, now: o.Clock, log: o.Log, hasher: newHasher(), brake: newBrake(), remembered: newRemembered(),
		keys: &signingKeys{directory: o.Directory, ring: o.Keys, rotation: o.Rotation, keep: o.Lifetime + leeway, now: o.Clock, log: o.Log},
	}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.openProviders(ctx, o); err != nil {
		s.stop()
		return nil, err
	}
	s.oauth = s.newOAuth()
	return s, nil
}

// Close ends what runs in the background.
func (s *Service) Close() {
	s.stop()
	s.work.Wait()
	for _, p := range s.providers {
		p.http.CloseIdleConnections()
	}
}

// Tenant finds a tenant by its id or by its display name, in any case; ok is
// false when there is none, or when several have the name.
func (s *Service) Tenant(ctx context.Context, name string) (t patchbay.Tenant, ok bool, err error) {
	tenants, err := s.directory.Tenants(ctx)
	if err != nil {
		return patchbay.Tenant{}, false, err
	}
	named := 0
	for _, one := range tenants {
		if strings.EqualFold(one.ID, name) {
			return one, true, nil
		}
		if strings.EqualFold(one.DisplayName, name) {
			t, named = one, named+1
		}
	}
	return t, named == 1, nil
}
