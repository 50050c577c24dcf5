package identity

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/store"
)

// directory is a store.Directory in memory, with what the contract says of
// conditions.
type directory struct {
	mu         sync.Mutex
	tenants    []patchbay.Tenant
	principals map[string]patchbay.Principal
	keys       map[string]patchbay.SigningKey
	reads      int // of signing keys
	// before, when set, is called before every write of a principal.
	before func()
}

var _ store.Directory = (*directory)(nil)

const (
	contoso  = "11111111-1111-4111-8111-111111111111"
	fabrikam = "22222222-2222-4222-8222-222222222222"
)

func newDirectory() *directory {
	return &directory{
		tenants:    []patchbay.Tenant{{ID: contoso, DisplayName: "contoso"}, {ID: fabrikam, DisplayName: "fabrikam"}},
		principals: map[string]patchbay.Principal{}, keys: map[string]patchbay.SigningKey{},
	}
}

func missing() error { return patchbay.Errorf(patchbay.ResourceNotFound, "there is none") }

func (d *directory) Tenants(context.Context) ([]patchbay.Tenant, error) { return d.tenants, nil }

func (d *directory) PutTenant(_ context.Context, t patchbay.Tenant) error {
	d.tenants = append(d.tenants, t)
	return nil
}

func (d *directory) Principals(_ context.Context, tenant, after string, limit int) ([]patchbay.Principal, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var page []patchbay.Principal
	for _, p := range d.principals {
		if p.ID > after && (tenant == "" || p.Tenant == tenant) {
			page = append(page, p)
		}
	}
	slices.SortFunc(page, func(a, b patchbay.Principal) int { return cmp.Compare(a.ID, b.ID) })
	if len(page) > limit {
		return page[:limit], page[limit-1].ID, nil
	}
	return page, "", nil
}

func (d *directory) find(f func(patchbay.Principal) bool) (patchbay.Principal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.principals {
		if f(p) {
			return p, nil
		}
	}
	return patchbay.Principal{}, missing()
}

func (d *directory) Principal(_ context.Context, id string) (patchbay.Principal, error) {
	return d.find(func(p patchbay.Principal) bool { return strings.EqualFold(p.ID, id) })
}

func (d *directory) PrincipalByApp(_ context.Context, id string) (patchbay.Principal, error) {
	return d.find(func(p patchbay.Principal) bool { return p.AppID != "" && strings.EqualFold(p.AppID, id) })
}

func (d *directory) PrincipalBySubject(_ context.Context, provider string, kind patchbay.PrincipalKind, subject string) (patchbay.Principal, error) {
	return d.find(func(p patchbay.Principal) bool {
		return p.Provider == provider && p.Kind == kind && p.Subject == subject
	})
}

func (d *directory) PutPrincipal(_ context.Context, p patchbay.Principal, ifMatch string) error {
	if f := d.before; f != nil {
		d.before = nil
		f()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old, there := d.principals[p.ID]
	switch {
	case ifMatch == store.Absent && there:
		return patchbay.Errorf(patchbay.Conflict, "it is there")
	case ifMatch != "" && ifMatch != store.Absent && (!there || ifMatch != "*" && old.ETag != ifMatch):
		return patchbay.Errorf(patchbay.PreconditionFailed, "another was written")
	}
	d.principals[p.ID] = p
	return nil
}

func (d *directory) DeletePrincipal(_ context.Context, id, _ string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.principals, id)
	return nil
}

func (d *directory) SigningKeys(context.Context) ([]patchbay.SigningKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	var keys []patchbay.SigningKey
	for _, k := range d.keys {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b patchbay.SigningKey) int { return a.Created.Compare(b.Created) })
	return keys, nil
}

func (d *directory) PutSigningKey(_ context.Context, k patchbay.SigningKey) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys[k.ID] = k
	return nil
}

func (d *directory) DeleteSigningKey(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.keys[id]; !ok {
		return missing()
	}
	delete(d.keys, id)
	return nil
}

// bench is a service on a directory, with a clock that tests move.
type bench struct {
	*Service
	t    testing.TB
	dir  *directory
	ring *keyring.Keyring
	logs *bytes.Buffer

	mu  sync.Mutex
	now time.Time
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func newBench(t testing.TB, with ...func(*Options)) *bench {
	t.Helper()
	ring, err := keyring.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: newDirectory(), ring: ring, logs: &bytes.Buffer{}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	b.Service = b.restart(with...)
	return b
}

// restart is another process on the same records.
func (b *bench) restart(with ...func(*Options)) *Service {
	b.t.Helper()
	o := Options{Directory: b.dir, Keys: b.ring, Clock: b.clock, Log: slog.New(slog.NewTextHandler(&lockedWriter{to: b.logs}, nil))}
	for _, f := range with {
		f(&o)
	}
	s, err := New(b.t.Context(), o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.Close)
	return s
}

type lockedWriter struct {
	mu sync.Mutex
	to *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func (b *bench) create(name string) (patchbay.Principal, patchbay.Secret) {
	b.t.Helper()
	p, secret, err := b.Create(b.t.Context(), NewPrincipal{Tenant: "contoso", Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	return p, secret
}

const base = "https://patchbay.test:7443"

func (b *bench) token(p patchbay.Principal) patchbay.Secret {
	b.t.Helper()
	token, err := b.issue(b.t.Context(), p, tenantIssuer(base, p.Tenant), base+"/")
	if err != nil {
		b.t.Fatal(err)
	}
	return patchbay.NewSecret(token)
}
