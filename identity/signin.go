package identity

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// retryError is a sign-in that was not tried: there were too many failures.
type retryError struct {
	after time.Duration
	err   *patchbay.Error
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

func tooMany(after time.Duration) error {
	seconds := int(math.Ceil(after.Seconds()))
	e := patchbay.Errorf(patchbay.TooManyRequests, "too many sign-ins failed; try again in %d s", max(1, seconds))
	e.Transient = true
	return &retryError{after: after, err: e}
}

// maxClientID bounds what is looked up and counted.
const maxClientID = 64

// authenticate checks a client's secret. Whether the client is unknown,
// disabled, of another tenant, or its secret wrong, takes as long and is
// answered alike. tenant "" is any.
func (s *Service) authenticate(ctx context.Context, tenant, client string, secret patchbay.Secret, address string) (patchbay.Principal, error) {
	client = strings.ToLower(client)
	if len(client) > maxClientID {
		client = client[:maxClientID]
	}
	p, err := s.directory.PrincipalByApp(ctx, client)
	if err != nil && patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		return patchbay.Principal{}, err
	}
	allowed := err == nil && !p.Disabled && p.Provider == "" && (tenant == "" || strings.EqualFold(tenant, p.Tenant))
	fitting := s.fitting(p, secret.Reveal())
	a := attempt{client: client, network: networkOf(address), stranger: len(fitting) == 0}
	if allowed && slices.ContainsFunc(fitting, func(c patchbay.ClientSecret) bool {
		return s.remembered.knows(p.Tenant, c, secret.Reveal())
	}) {
		s.brake.succeeded(a)
		return p, nil
	}
	if wait := s.brake.wait(a, s.now()); wait > 0 {
		return patchbay.Principal{}, tooMany(wait)
	}
	leave, err := s.enter(ctx, p, a)
	if err != nil {
		return patchbay.Principal{}, err
	}
	defer leave()
	// Those that waited in line meanwhile count too.
	if wait := s.brake.wait(a, s.now()); wait > 0 {
		return patchbay.Principal{}, tooMany(wait)
	}
	right, ok := s.matching(p, fitting, secret.Reveal())
	if !ok || !allowed {
		s.brake.failed(a, s.now())
		return p, patchbay.Errorf(patchbay.Unauthenticated, "the client id or its secret is not right, or the secret has expired")
	}
	s.brake.succeeded(a)
	s.remembered.add(p.Tenant, right, secret.Reveal())
	return p, nil
}

// strangers are the share of all who can't sign in whatever becomes of them:
// the client is unknown, or the secret begins as none of its does. They wait
// for each other, so that nobody else waits for them. Which share one is in, a
// flood could be made to tell; but only who knows how a secret begins ever is
// in another, so that it does not tell whether there is such a client.
const strangers = ""

// enter waits for a turn to compute a hash.
func (s *Service) enter(ctx context.Context, p patchbay.Principal, a attempt) (leave func(), err error) {
	if a.stranger {
		leave, err = s.hasher.enterStranger(ctx, a.network, s.now())
	} else {
		leave, err = s.hasher.enter(ctx, p.Tenant, a.client)
	}
	if patchbay.CodeOf(err) == patchbay.TooManyRequests {
		s.brake.refused(a, s.now())
		return nil, &retryError{after: time.Second, err: patchbay.AsError(err)}
	}
	return leave, err
}

// fitting are the principal's secrets that the one that was given may be: they
// begin as it does, which is no secret.
func (s *Service) fitting(p patchbay.Principal, secret string) []patchbay.ClientSecret {
	now := s.now()
	return slices.DeleteFunc(slices.Clone(p.Secrets), func(c patchbay.ClientSecret) bool {
		return expired(c, now) || c.Hint != hintOf(secret)
	})
}

// matching finds the one that it is. It computes one hash in any case: that of
// the one that fits, or one of nothing.
func (s *Service) matching(p patchbay.Principal, fitting []patchbay.ClientSecret, secret string) (right patchbay.ClientSecret, ok bool) {
	if len(fitting) == 0 {
		s.hasher.dummy.matches(secret)
		return right, false
	}
	for _, c := range fitting {
		h, err := parseHash(c.Hash)
		if err != nil {
			s.log.Error("a principal's secret can't be checked", "principal", p.ID, "error", err)
			continue
		}
		if h.matches(secret) {
			return c, true
		}
	}
	return right, false
}

// resource is what a client wants a token for: the v1 parameter, or the scope
// with /.default at its end; "" when it says nothing.
func resource(scopes []string, v1 string) (string, error) {
	found := strings.TrimSpace(v1)
	for _, scope := range scopes {
		switch strings.ToLower(scope) {
		case "openid", "profile", "offline_access", "email":
			continue
		}
		name, ok := strings.CutSuffix(scope, "/.default")
		if !ok {
			name = scope
		}
		if found != "" && !sameAudience(found, name) {
			return "", fmt.Errorf("a token is for one resource, and the request names several")
		}
		found = name
	}
	return found, nil
}
