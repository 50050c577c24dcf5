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
	if wait := s.brake.wait(client, address, s.now()); wait > 0 {
		return patchbay.Principal{}, tooMany(wait)
	}
	p, err := s.directory.PrincipalByApp(ctx, client)
	known := err == nil
	if err != nil && patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		return patchbay.Principal{}, err
	}
	leave, err := s.hasher.enter(ctx)
	if patchbay.CodeOf(err) == patchbay.TooManyRequests {
		return patchbay.Principal{}, &retryError{after: time.Second, err: patchbay.AsError(err)}
	}
	if err != nil {
		return patchbay.Principal{}, err
	}
	defer leave()
	// Those that waited in line meanwhile count too.
	if wait := s.brake.wait(client, address, s.now()); wait > 0 {
		return patchbay.Principal{}, tooMany(wait)
	}
	right := s.matches(p, secret.Reveal())
	now := s.now()
	if !known || !right || p.Disabled || p.Provider != "" || tenant != "" && !strings.EqualFold(tenant, p.Tenant) {
		s.brake.failed(client, address, now)
		return p, patchbay.Errorf(patchbay.Unauthenticated, "the client id or its secret is not right, or the secret has expired")
	}
	s.brake.succeeded(client, address, now)
	return p, nil
}

// matches computes one hash in any case: the one of the secret with the same
// beginning, which is no secret, or one of nothing.
func (s *Service) matches(p patchbay.Principal, secret string) bool {
	now := s.now()
	good := slices.DeleteFunc(slices.Clone(p.Secrets), func(c patchbay.ClientSecret) bool {
		return expired(c, now) || c.Hint != hintOf(secret)
	})
	if len(good) == 0 {
		s.hasher.dummy.matches(secret)
		return false
	}
	for _, c := range good {
		h, err := parseHash(c.Hash)
		if err != nil {
			s.log.Error("a principal's secret can't be checked", "principal", p.ID, "error", err)
			continue
		}
		if h.matches(secret) {
			return true
		}
	}
	return false
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
