package connector

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store/storetest"
)

func TestTheFirstStartMakesATenant(t *testing.T) {
	w := newLimitedWorld(t, Limits{})
	tenants, err := w.Tenants(t.Context())
	subs, _ := w.Subscriptions(t.Context())
	if err != nil || len(tenants) != 1 || tenants[0].ID != subs[0].TenantID || tenants[0].DisplayName == "" {
		t.Fatalf("tenants = %+v, %v", tenants, err)
	}
	if err := w.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tenants, _ := w.Tenants(t.Context()); len(tenants) != 1 {
		t.Errorf("another start made %+v", tenants)
	}
}

func TestSubscriptionsBelongToTenants(t *testing.T) {
	w := newLimitedWorld(t, Limits{})
	tenant, other, sub := uuid.NewString(), uuid.NewString(), uuid.NewString()
	for _, c := range []struct {
		name string
		put  func() error
		code patchbay.Code
	}{
		{"a tenant that is no GUID", func() error { return w.PutTenant(t.Context(), patchbay.Tenant{ID: "contoso"}) }, patchbay.InvalidArgument},
		{"a GUID in braces", func() error { return w.PutTenant(t.Context(), patchbay.Tenant{ID: "{" + tenant + "}"}) }, patchbay.InvalidArgument},
		{"a name of two lines", func() error {
			return w.PutTenant(t.Context(), patchbay.Tenant{ID: tenant, DisplayName: "a\nb"})
		}, patchbay.InvalidArgument},
		{"a tenant", func() error {
			return w.PutTenant(t.Context(), patchbay.Tenant{ID: strings.ToUpper(tenant), DisplayName: "contoso"})
		}, ""},
		{"its own name again", func() error {
			return w.PutTenant(t.Context(), patchbay.Tenant{ID: tenant, DisplayName: "contoso"})
		}, ""},
		{"another's name", func() error {
			return w.PutTenant(t.Context(), patchbay.Tenant{ID: other, DisplayName: "Contoso"})
		}, patchbay.Conflict},
		{"a name with a terminal's command", func() error {
			return w.PutTenant(t.Context(), patchbay.Tenant{ID: other, DisplayName: "a\u009b2J"})
		}, patchbay.InvalidArgument},
		{"another", func() error { return w.PutTenant(t.Context(), patchbay.Tenant{ID: other}) }, ""},
		{"no such tenant", func() error {
			return w.PutSubscription(t.Context(), patchbay.Subscription{ID: sub, TenantID: uuid.NewString()})
		}, patchbay.ResourceNotFound},
		{"a subscription that is no GUID", func() error {
			return w.PutSubscription(t.Context(), patchbay.Subscription{ID: "../x", TenantID: tenant})
		}, patchbay.InvalidArgument},
		{"a subscription", func() error {
			return w.PutSubscription(t.Context(), patchbay.Subscription{ID: sub, TenantID: tenant, DisplayName: "dev"})
		}, ""},
		{"its new name", func() error {
			return w.PutSubscription(t.Context(), patchbay.Subscription{ID: strings.ToUpper(sub), TenantID: tenant, DisplayName: "test"})
		}, ""},
		{"through the wall", func() error {
			return w.PutSubscription(t.Context(), patchbay.Subscription{ID: sub, TenantID: other})
		}, patchbay.Conflict},
		{"to a tenant that is none, which is not told", func() error {
			return w.PutSubscription(t.Context(), patchbay.Subscription{ID: sub, TenantID: uuid.NewString()})
		}, patchbay.Conflict},
	} {
		if err := c.put(); patchbay.CodeOf(err) != c.code {
			t.Errorf("%s = %v", c.name, err)
		}
	}
	subs, err := w.Subscriptions(t.Context())
	if err != nil || len(subs) != 2 {
		t.Fatalf("subscriptions = %+v, %v", subs, err)
	}
	if s, _ := w.subscription(t.Context(), sub); s.TenantID != tenant || s.DisplayName != "test" {
		t.Errorf("%+v", s)
	}
}

// unfinished are records of a server that ends at the last write of its first
// start.
type unfinished struct{ Records }

func (unfinished) PutSubscription(context.Context, patchbay.Subscription) error {
	return errors.New("the power is cut")
}

func TestAFirstStartThatWasCutOffLeavesOneTenant(t *testing.T) {
	records := storetest.NewMemory()
	start := func(r Records) error {
		s := New(Options{Records: r, Log: slog.New(slog.DiscardHandler)})
		defer s.Close()
		return s.Init(t.Context())
	}
	if err := start(unfinished{records}); err == nil {
		t.Fatal("the first start was not cut off")
	}
	for range 2 {
		if err := start(records); err != nil {
			t.Fatal(err)
		}
	}
	tenants, err := records.Tenants(t.Context())
	subs, _ := records.Subscriptions(t.Context())
	if err != nil || len(tenants) != 1 || len(subs) != 1 || subs[0].TenantID != tenants[0].ID {
		t.Errorf("there are the tenants %+v and the subscriptions %+v (%v)", tenants, subs, err)
	}
	group := patchbay.ID("/subscriptions/" + subs[0].ID + "/resourceGroups/default")
	if _, err := records.ResourceGroup(t.Context(), group); err != nil {
		t.Error(err)
	}
}

// An operation takes its tenant's part of the places, and its target's within.
func TestAnOperationsShareIsItsTenantsAndItsTargets(t *testing.T) {
	w := newLimitedWorld(t, Limits{})
	subs, err := w.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	known := patchbay.ID("/subscriptions/" + strings.ToUpper(subs[0].ID) + "/resourceGroups/g/providers/Microsoft.Web/sites/Web")
	unknown := patchbay.ID("/subscriptions/S0/resourceGroups/g/providers/Microsoft.Web/sites/Web")
	endpoint := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.SelfHostedServer, Endpoint: "DB.example:5432"}}
	for _, c := range []struct {
		source patchbay.ID
		spec   patchbay.Spec
		target patchbay.ID
		want   string
	}{
		{known, patchbay.Spec{}, "/T", subs[0].TenantID + " /t"},
		{known, endpoint, "", subs[0].TenantID + " db.example:5432"},
		{known, patchbay.Spec{}, "", subs[0].TenantID + " " + known.Key()},
		{unknown, patchbay.Spec{}, "/T", "/subscriptions/s0 /t"},
	} {
		if got := w.share(t.Context(), c.source, c.target, c.spec.Target.Endpoint); strings.Join(got, " ") != c.want {
			t.Errorf("%s at %q: %q; want %q", c.source, c.target, got, c.want)
		}
	}
}
