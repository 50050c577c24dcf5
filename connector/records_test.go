package connector

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// remembering are records that also keep dryruns and tenants.
type remembering struct {
	store.Records
	store.Directory // only tenants

	mu      sync.Mutex
	byID    map[string]patchbay.Dryrun
	tenants []patchbay.Tenant
}

func newDryrunWorld(t *testing.T, limits Limits) *world {
	w := newLimitedWorld(t, limits)
	w.records = &remembering{Records: w.records, byID: map[string]patchbay.Dryrun{}}
	if err := w.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (r *remembering) Dryrun(_ context.Context, id patchbay.ID) (patchbay.Dryrun, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.byID[id.Key()]
	if !ok {
		return d, patchbay.Errorf(patchbay.ResourceNotFound, "there is no dryrun %s", id)
	}
	return d, nil
}

func (r *remembering) Dryruns(_ context.Context, source patchbay.ID, _ string, limit int) ([]patchbay.Dryrun, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var page []patchbay.Dryrun
	for _, d := range r.byID {
		if of, _, _ := d.ID.DryrunSource(); of.Equal(source) && len(page) < limit {
			page = append(page, d)
		}
	}
	return page, "", nil
}

func (r *remembering) PutDryrun(_ context.Context, d patchbay.Dryrun, ifMatch string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.byID[d.ID.Key()]
	if ifMatch != "" && (!ok || ifMatch != "*" && ifMatch != old.ETag) {
		return patchbay.Errorf(patchbay.PreconditionFailed, "the dryrun changed")
	}
	r.byID[d.ID.Key()] = d
	return nil
}

func (r *remembering) DeleteDryrun(_ context.Context, id patchbay.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, id.Key())
	return nil
}

func (r *remembering) Tenants(context.Context) ([]patchbay.Tenant, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tenants), nil
}

func (r *remembering) PutTenant(_ context.Context, t patchbay.Tenant) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tenants = append(slices.DeleteFunc(r.tenants, func(old patchbay.Tenant) bool { return strings.EqualFold(old.ID, t.ID) }), t)
	return nil
}
