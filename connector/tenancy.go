package connector

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"unicode"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
)

// Tenants implements [API].
func (s *Service) Tenants(ctx context.Context) ([]patchbay.Tenant, error) {
	return s.records.Tenants(ctx)
}

// PutTenant implements [API].
func (s *Service) PutTenant(ctx context.Context, t patchbay.Tenant) error {
	var err error
	if t.ID, err = guid("a tenant's id", t.ID); err != nil {
		return err
	}
	if err := displayName(t.DisplayName); err != nil {
		return err
	}
	tenants, err := s.Tenants(ctx)
	if err != nil {
		return err
	}
	for _, other := range tenants {
		// Sign-in and the file of providers find a tenant by its name: whoever could
		// take another's would lock its callers out, or have them for its own.
		if t.DisplayName != "" && strings.EqualFold(other.DisplayName, t.DisplayName) && !strings.EqualFold(other.ID, t.ID) {
			return patchbay.Errorf(patchbay.Conflict, "another tenant is called %q", t.DisplayName).
				WithFix("choose another name")
		}
	}
	return s.records.PutTenant(ctx, t)
}

// Subscriptions implements [API].
func (s *Service) Subscriptions(ctx context.Context) ([]patchbay.Subscription, error) {
	return s.records.Subscriptions(ctx)
}

// PutSubscription implements [API].
func (s *Service) PutSubscription(ctx context.Context, sub patchbay.Subscription) error {
	var err error
	if sub.ID, err = guid("a subscription's id", sub.ID); err != nil {
		return err
	}
	if sub.TenantID, err = guid("a tenant's id", sub.TenantID); err != nil {
		return err
	}
	if err := displayName(sub.DisplayName); err != nil {
		return err
	}
	old, err := s.subscription(ctx, sub.ID)
	switch {
	case err != nil:
		return err
	// Before the tenant is looked up: that there is such a one is not told to who
	// may only rename the subscription.
	case old.ID != "" && !strings.EqualFold(old.TenantID, sub.TenantID):
		// Its connections, logins and audit lines are behind the old wall.
		return patchbay.Errorf(patchbay.Conflict, "the subscription %s is another tenant's, and can't move", sub.ID)
	}
	tenants, err := s.Tenants(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(tenants, func(t patchbay.Tenant) bool { return strings.EqualFold(t.ID, sub.TenantID) }) {
		return patchbay.Errorf(patchbay.ResourceNotFound, "there is no tenant %s", sub.TenantID).
			WithFix("patchbay tenant list")
	}
	return s.records.PutSubscription(ctx, sub)
}

// subscription is the record of that id, a zero one when there is none.
func (s *Service) subscription(ctx context.Context, id string) (patchbay.Subscription, error) {
	subs, err := s.records.Subscriptions(ctx)
	if err != nil {
		return patchbay.Subscription{}, err
	}
	for _, sub := range subs {
		if strings.EqualFold(sub.ID, id) {
			return sub, nil
		}
	}
	return patchbay.Subscription{}, nil
}

// act is who asked for b, with the tenants that see it: the connection's and,
// when that is another, its target's.
func (s *Service) act(ctx context.Context, b begin) (patchbay.Act, error) {
	act := patchbay.ActOf(ctx)
	if act.Action == "" { // nobody's request: a caller in this process
		act.Caller, act.Action = b.caller.Name, string(b.kind)
	}
	if b.target != "" {
		return s.seenBy(ctx, act, b.in.Want.ID, b.target)
	}
	return s.seenBy(ctx, act, b.in.Want.ID)
}

// seenBy is act with the tenants that ids are in.
func (s *Service) seenBy(ctx context.Context, act patchbay.Act, ids ...patchbay.ID) (patchbay.Act, error) {
	act.Tenants = slices.Clone(act.Tenants)
	for _, id := range ids {
		sub, err := s.subscription(ctx, id.Subscription())
		if err != nil {
			return act, err
		}
		if sub.TenantID != "" && !slices.ContainsFunc(act.Tenants, func(t string) bool { return strings.EqualFold(t, sub.TenantID) }) {
			act.Tenants = append(act.Tenants, sub.TenantID)
		}
	}
	return act, nil
}

// share is whose part of what all have in common is taken by work below of's
// subscription: the tenant's and, within it, the target's, which may be one that
// nobody registered. Without a target it is of's own.
func (s *Service) share(ctx context.Context, of, target patchbay.ID, endpoint string) []string {
	tenant := "/subscriptions/" + of.Subscription() // not known: then it is nobody else's
	if sub, err := s.subscription(ctx, of.Subscription()); err == nil && sub.TenantID != "" {
		tenant = sub.TenantID
	}
	return []string{strings.ToLower(tenant), strings.ToLower(cmp.Or(target.Key(), endpoint, of.Key()))}
}

// shareOf is the part that p's target has.
func (s *Service) shareOf(ctx context.Context, of patchbay.ID, r ref) []string {
	if r.Endpoint != nil {
		return s.share(ctx, of, "", r.Endpoint.Address)
	}
	return s.share(ctx, of, r.Target, "")
}

func guid(what, id string) (string, error) {
	u, err := uuid.Parse(id)
	if err != nil || len(id) != 36 {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "%s is a GUID; %q is not", what, clip(id, 60))
	}
	return u.String(), nil
}

// maxDisplayName bounds what reaches lists and logs, in bytes.
const maxDisplayName = 200

func displayName(name string) error {
	if len(name) > maxDisplayName || strings.ContainsFunc(name, unicode.IsControl) {
		return patchbay.Errorf(patchbay.InvalidArgument, "a display name has at most %d bytes and no control characters", maxDisplayName)
	}
	return nil
}
