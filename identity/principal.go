package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// Bounds of what is kept of a principal.
const (
	maxName    = 256 // bytes
	maxSubject = 1024
	maxSecrets = 8
	// writeTries is how often a change is made again because another came first.
	writeTries = 5
)

// space is the namespace of the object ids that are made of a provider and a
// subject, so that a role can be assigned before the first sign-in.
var space = uuid.MustParse("6f0e6c1a-7d0b-5c7e-9f55-3d7a2c1b9e40")

// ObjectID is the object id of a provider's user, service principal or group.
// It is the same wherever and whenever it is asked for.
func ObjectID(issuer string, kind patchbay.PrincipalKind, subject string) string {
	return uuid.NewSHA1(space, []byte(issuer+"\x00"+string(kind)+"\x00"+subject)).String()
}

// NewPrincipal is what a principal is made of.
type NewPrincipal struct {
	Tenant string // its id
	Name   string
	// Expires is when the first secret ends; zero: never.
	Expires time.Time
	// Provider, with Kind and Subject, makes one of a configured provider, which
	// has no secret here.
	Provider string
	Kind     patchbay.PrincipalKind // "" is what the provider's subjects are
	Subject  string                 // or the group's name
}

// Create makes a principal. The secret of one of the built-in issuer is given
// this once, and nowhere kept.
func (s *Service) Create(ctx context.Context, n NewPrincipal) (patchbay.Principal, patchbay.Secret, error) {
	tenant, ok, err := s.Tenant(ctx, n.Tenant)
	if err != nil {
		return patchbay.Principal{}, patchbay.Secret{}, err
	}
	if !ok {
		return patchbay.Principal{}, patchbay.Secret{}, patchbay.Errorf(patchbay.InvalidArgument, "there is no tenant %q", n.Tenant)
	}
	n.Tenant = tenant.ID
	if n.Provider != "" {
		p, err := s.createExternal(ctx, n)
		return p, patchbay.Secret{}, err
	}
	if n.Subject != "" || n.Kind != "" && n.Kind != patchbay.ServicePrincipal {
		return patchbay.Principal{}, patchbay.Secret{}, patchbay.Errorf(patchbay.InvalidArgument, "the built-in issuer has service principals only; users and groups are a provider's")
	}
	if err := checkName(n.Name); err != nil {
		return patchbay.Principal{}, patchbay.Secret{}, err
	}
	p := s.fresh(ctx, n)
	p.ID, p.AppID, p.Kind = uuid.NewString(), uuid.NewString(), patchbay.ServicePrincipal
	p.TokensFrom = p.Created.Truncate(time.Microsecond)
	secret, err := s.addSecret(ctx, &p, n.Expires)
	if err != nil {
		return patchbay.Principal{}, patchbay.Secret{}, err
	}
	if err := s.directory.PutPrincipal(ctx, p, store.Absent); err != nil {
		return patchbay.Principal{}, patchbay.Secret{}, err
	}
	return p, secret, nil
}

func (s *Service) createExternal(ctx context.Context, n NewPrincipal) (patchbay.Principal, error) {
	provider, ok := s.providerNamed(n.Provider)
	if !ok {
		return patchbay.Principal{}, patchbay.Errorf(patchbay.InvalidArgument, "there is no provider %q; there are %s", n.Provider, s.providerNames()).
			WithFix("name it in the file that patchbay serve reads with --oidc")
	}
	if !strings.EqualFold(provider.tenant, n.Tenant) {
		return patchbay.Principal{}, patchbay.Errorf(patchbay.InvalidArgument, "the provider %s belongs to another tenant", provider.Name)
	}
	if n.Kind == "" {
		n.Kind = provider.Kind
	}
	if n.Kind != provider.Kind && n.Kind != patchbay.GroupPrincipal {
		return patchbay.Principal{}, patchbay.Errorf(patchbay.InvalidArgument, "subjects of the provider %s are of kind %s, or groups", provider.Name, provider.Kind)
	}
	if n.Subject == "" || len(n.Subject) > maxSubject || strings.ContainsFunc(n.Subject, unicode.IsControl) {
		return patchbay.Principal{}, patchbay.Errorf(patchbay.InvalidArgument, "a provider's principal needs its subject there, or its group's name, of at most %d bytes", maxSubject)
	}
	if n.Name == "" {
		n.Name = cut(n.Subject)
	}
	if err := checkName(n.Name); err != nil {
		return patchbay.Principal{}, err
	}
	p := s.fresh(ctx, n)
	p.ID, p.Kind, p.Provider, p.Subject = ObjectID(provider.Issuer, n.Kind, n.Subject), n.Kind, provider.Name, n.Subject
	return p, s.directory.PutPrincipal(ctx, p, store.Absent)
}

func (s *Service) fresh(ctx context.Context, n NewPrincipal) patchbay.Principal {
	now, by := s.now().UTC(), patchbay.ActOf(ctx).Caller
	return patchbay.Principal{
		Tenant: n.Tenant, Name: n.Name, ETag: newETag(), Created: now, CreatedBy: by, Modified: now, ModifiedBy: by,
	}
}

func newETag() string { return fmt.Sprintf("%q", uuid.NewString()) }

func checkName(name string) error {
	if strings.TrimSpace(name) == "" || len(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) {
		return patchbay.Errorf(patchbay.InvalidArgument, "a principal's name is 1 to %d bytes without control characters", maxName)
	}
	if reserved(name) {
		return patchbay.Errorf(patchbay.InvalidArgument, "%q is what the audit log calls the server's operator, the server itself, or who is not known: choose another name", name)
	}
	return nil
}

// reserved reports whether a name would pass for somebody else's in the audit
// log, and in what records say of who made them.
func reserved(name string) bool {
	switch strings.ToLower(strings.TrimSpace(name)) {
	case "admin", "patchbay", "unknown":
		return true
	}
	return false
}

// addSecret gives p a further secret.
func (s *Service) addSecret(ctx context.Context, p *patchbay.Principal, expires time.Time) (patchbay.Secret, error) {
	now := s.now().UTC()
	if !expires.IsZero() && !expires.After(now) {
		return patchbay.Secret{}, patchbay.Errorf(patchbay.InvalidArgument, "a secret can't expire in the past")
	}
	secret := newSecret()
	hash, err := s.hasher.hash(ctx, p.Tenant, secret)
	if err != nil {
		return patchbay.Secret{}, err
	}
	p.Secrets = append(p.Secrets, patchbay.ClientSecret{
		ID: uuid.NewString(), Hash: hash, Hint: hintOf(secret.Reveal()), Created: now, Expires: expires.UTC(),
	})
	return secret, nil
}

// List gives a tenant's principals, or with "" all.
func (s *Service) List(ctx context.Context, tenant, after string, limit int) ([]patchbay.Principal, string, error) {
	return s.directory.Principals(ctx, tenant, after, limit)
}

// Get finds a tenant's principal, or with "" any, by its object id or its
// client id. One of another tenant is as absent as one that nobody made.
func (s *Service) Get(ctx context.Context, tenant, id string) (patchbay.Principal, error) {
	p, err := s.directory.Principal(ctx, id)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		p, err = s.directory.PrincipalByApp(ctx, id)
	}
	if err == nil && tenant != "" && !strings.EqualFold(p.Tenant, tenant) {
		err = patchbay.Errorf(patchbay.ResourceNotFound, "of another tenant")
	}
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return patchbay.Principal{}, &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: fmt.Sprintf("there is no principal %q", id)}
	}
	return p, err
}

// Delete removes a principal and its role assignments; its tokens end at once.
func (s *Service) Delete(ctx context.Context, tenant, id, ifMatch string) error {
	p, err := s.Get(ctx, tenant, id)
	if err != nil {
		return err
	}
	return s.directory.DeletePrincipal(ctx, p.ID, ifMatch)
}

// Change is what of a principal is changed; nil is nothing.
type Change struct {
	Name     *string
	Disabled *bool
}

// Update changes a principal. The tokens of one that is disabled end at once,
// and stay ended when it is enabled again.
func (s *Service) Update(ctx context.Context, tenant, id string, c Change, ifMatch string) (patchbay.Principal, error) {
	if c.Name != nil {
		if err := checkName(*c.Name); err != nil {
			return patchbay.Principal{}, err
		}
	}
	return s.change(ctx, tenant, id, ifMatch, func(p *patchbay.Principal) error {
		if c.Name != nil {
			p.Name = *c.Name
		}
		if c.Disabled == nil || *c.Disabled == p.Disabled {
			return nil
		}
		if p.Kind == patchbay.GroupPrincipal {
			return patchbay.Errorf(patchbay.InvalidArgument, "a group doesn't sign in, so it can't be disabled").
				WithFix("remove its role assignments, or delete it")
		}
		if p.Disabled = *c.Disabled; p.Disabled {
			p.TokensFrom = s.later(p.TokensFrom)
		}
		return nil
	})
}

// Reset says how a secret is replaced.
type Reset struct {
	// Append keeps the older ones until they expire. Otherwise they end at once,
	// and with them every token.
	Append  bool
	Expires time.Time // of the new one; zero: never
}

// ResetSecret gives a principal of the built-in issuer a new secret, this once.
func (s *Service) ResetSecret(ctx context.Context, tenant, id string, r Reset, ifMatch string) (patchbay.Principal, patchbay.Secret, error) {
	var secret patchbay.Secret
	p, err := s.change(ctx, tenant, id, ifMatch, func(p *patchbay.Principal) error {
		if p.Provider != "" {
			return patchbay.Errorf(patchbay.InvalidArgument, "%s signs in at the provider %s and has no secret here", p.Name, p.Provider)
		}
		now := s.now()
		if r.Append {
			p.Secrets = slices.DeleteFunc(p.Secrets, func(c patchbay.ClientSecret) bool { return expired(c, now) })
		} else {
			p.Secrets, p.TokensFrom = nil, s.later(p.TokensFrom)
		}
		if len(p.Secrets) >= maxSecrets {
			return patchbay.Errorf(patchbay.QuotaExceeded, "%s has %d secrets already", p.Name, maxSecrets).
				WithFix("replace them all: patchbay principal reset-secret %s", p.ID)
		}
		var err error
		secret, err = s.addSecret(ctx, p, r.Expires)
		return err
	})
	return p, secret, err
}

// later is now, but never a time that tokens were issued from before.
func (s *Service) later(than time.Time) time.Time {
	now := s.now().UTC().Truncate(time.Microsecond)
	if !now.After(than) {
		return than.Add(time.Microsecond)
	}
	return now
}

func expired(c patchbay.ClientSecret, now time.Time) bool {
	return !c.Expires.IsZero() && !now.Before(c.Expires)
}

// change reads, changes and writes a principal; when another change came
// between and no condition was given, it does so again.
func (s *Service) change(ctx context.Context, tenant, id, ifMatch string, f func(*patchbay.Principal) error) (patchbay.Principal, error) {
	for try := 1; ; try++ {
		p, err := s.Get(ctx, tenant, id)
		if err != nil {
			return patchbay.Principal{}, err
		}
		condition := p.ETag
		if ifMatch != "" && ifMatch != "*" {
			condition = ifMatch
		}
		p.Secrets = slices.Clone(p.Secrets)
		if err := f(&p); err != nil {
			return patchbay.Principal{}, err
		}
		p.ETag, p.Modified, p.ModifiedBy = newETag(), s.now().UTC(), patchbay.ActOf(ctx).Caller
		err = s.directory.PutPrincipal(ctx, p, condition)
		if patchbay.CodeOf(err) == patchbay.PreconditionFailed && condition != ifMatch && try < writeTries {
			continue
		}
		if err != nil {
			return patchbay.Principal{}, err
		}
		return p, nil
	}
}
