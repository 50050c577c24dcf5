package connector

import (
	"context"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// pool keeps drivers open: an admin connection is made once, not per step. An
// entry is bound to the ETag of the resource that it was opened with, so a
// changed endpoint or credential opens anew and the old one closes when its
// last user is done.
type pool[T interface{ Close() error }] struct {
	mu      sync.Mutex
	entries map[string]*entry[T]
}

type entry[T any] struct {
	etag  string
	users int
	stale bool
	ready chan struct{} // closed when value or err is set
	value T
	err   error
}

// get gives what open opened of a part ("" for the whole) of the resource id, and a
// function that must be called when it is no longer used.
func (p *pool[T]) get(ctx context.Context, id patchbay.ID, part, etag string, open func(context.Context) (T, error)) (T, func(), error) {
	key := id.Key() + partOf + part
	p.mu.Lock()
	if p.entries == nil {
		p.entries = map[string]*entry[T]{}
	}
	e := p.entries[key]
	if e != nil && e.etag != etag {
		p.retire(e)
		e = nil
	}
	opener := e == nil
	if opener {
		e = &entry[T]{etag: etag, ready: make(chan struct{})}
		p.entries[key] = e
	}
	e.users++
	p.mu.Unlock()

	if opener {
		// Others wait for it too: that this caller gives up is not their failure.
		opening, cancel := context.WithTimeout(context.WithoutCancel(ctx), driver.DefaultTimeout)
		e.value, e.err = open(opening)
		cancel()
		close(e.ready)
	}
	var zero T
	select {
	case <-e.ready:
	case <-ctx.Done():
		p.release(e)
		return zero, nil, ctx.Err()
	}
	if e.err != nil {
		p.mu.Lock()
		if p.entries[key] == e {
			delete(p.entries, key) // the next caller tries again
		}
		p.mu.Unlock()
		p.release(e)
		return zero, nil, e.err
	}
	return e.value, sync.OnceFunc(func() { p.release(e) }), nil
}

// retire closes e now or when its last user is done. p.mu is held.
func (p *pool[T]) retire(e *entry[T]) {
	e.stale = true
	if e.users == 0 {
		go closeEntry(e)
	}
}

func (p *pool[T]) release(e *entry[T]) {
	p.mu.Lock()
	e.users--
	last := e.stale && e.users == 0
	p.mu.Unlock()
	if last {
		closeEntry(e)
	}
}

func closeEntry[T interface{ Close() error }](e *entry[T]) {
	<-e.ready
	if e.err == nil {
		_ = e.value.Close() // nothing is left to be done with it
	}
}

// partOf is in no id.
const partOf = "\x00"

// drop closes the drivers of a resource that is no longer there.
func (p *pool[T]) drop(id patchbay.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, e := range p.entries {
		if strings.HasPrefix(key, id.Key()+partOf) {
			delete(p.entries, key)
			p.retire(e)
		}
	}
}

func (p *pool[T]) close() {
	p.mu.Lock()
	entries := p.entries
	p.entries = nil
	p.mu.Unlock()
	for _, e := range entries {
		closeEntry(e)
	}
}

func (s *Service) config(r patchbay.Resource) (driver.Config, error) {
	admin, err := s.openAdmin(r)
	if err != nil {
		return driver.Config{}, err
	}
	c := placeOf(r)
	c.Admin, c.Dialer, c.Dials = admin, s.dialer, s.dials
	return c, nil
}

// placeOf is what a driver is told of a resource: all that may decide where its
// credential goes, and how.
func placeOf(r patchbay.Resource) driver.Config {
	return driver.Config{ID: r.ID, Kind: r.Kind, Location: r.Location, Endpoint: r.Endpoint, Properties: r.Properties}
}

func (s *Service) openTarget(ctx context.Context, r patchbay.Resource) (*driver.GuardedTarget, error) {
	return s.openTargetBy(ctx, r, s.dialer)
}

// openTargetBy opens a target that is reached through a dialer.
func (s *Service) openTargetBy(ctx context.Context, r patchbay.Resource, dialer driver.Dialer) (*driver.GuardedTarget, error) {
	admin, err := s.openAdmin(r)
	if err != nil {
		return nil, err
	}
	return s.guardTarget(ctx, r, admin, dialer, s.replaced(r))
}

// guardTarget opens a target with a credential; replaced is the guard's.
func (s *Service) guardTarget(ctx context.Context, r patchbay.Resource, admin driver.Secrets, dialer driver.Dialer, replaced func(context.Context) bool) (*driver.GuardedTarget, error) {
	d, ok := s.catalog.Targets[r.Driver]
	if !ok {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the resource %s has driver %q, which is not a target's", r.ID.Name(), r.Driver)
	}
	c := placeOf(r)
	c.Admin, c.Dialer, c.Dials = admin, dialer, s.dials
	return driver.Guard{Name: r.Driver, Admin: c.Admin, Observe: s.observe, Isolate: s.isolate, Share: s.share(ctx, r.ID, r.ID, ""), Replaced: replaced}.OpenTarget(ctx, d, c)
}

// configOn is config with the machine that the resource is on, which is let go of with
// done.
func (s *Service) configOn(ctx context.Context, r patchbay.Resource) (c driver.Config, done func(), err error) {
	if c, err = s.config(r); err != nil {
		return c, nil, err
	}
	machine, err := s.hostOf(ctx, r)
	if err != nil {
		return c, nil, err
	}
	c.Host, done = s.local, func() {}
	if machine.ID != "" {
		c.Host, done, err = s.host(ctx, machine)
	}
	return c, done, err
}

// openSource opens the part of a source that a scope names.
func (s *Service) openSource(ctx context.Context, r patchbay.Resource, scope string) (*driver.GuardedSource, error) {
	d, ok := s.catalog.Sources[r.Driver]
	if !ok {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the resource %s has driver %q, which is not a source's", r.ID.Name(), r.Driver)
	}
	c, done, err := s.configOn(ctx, r)
	if err != nil {
		return nil, err
	}
	if d.Part != "" {
		c.Scope = scope
	}
	source, err := driver.Guard{Name: r.Driver, Admin: c.Admin, Observe: s.observe}.OpenSource(ctx, d, c)
	if err != nil {
		done()
		return nil, err
	}
	source.OnClose(done)
	return source, nil
}

// target gives the opened driver of a registered target.
func (s *Service) target(ctx context.Context, id patchbay.ID) (*driver.GuardedTarget, func(), error) {
	r, err := s.records.Resource(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	return s.targetOf(ctx, r)
}

func (s *Service) targetOf(ctx context.Context, r patchbay.Resource) (*driver.GuardedTarget, func(), error) {
	return s.targets.get(ctx, r.ID, "", r.ETag, func(ctx context.Context) (*driver.GuardedTarget, error) { return s.openTarget(ctx, r) })
}

// sourceRef is a source, and the part of it that a connection has as its scope.
type sourceRef struct {
	id    patchbay.ID
	scope string
}

// sourceOf is what c is configured on; a local connection is its own.
func sourceOf(c patchbay.Connection) sourceRef { return sourceRef{runsOn(c), c.Spec.Scope} }

// source gives the opened driver of a registered source; of a local
// connection, one that is nowhere.
func (s *Service) source(ctx context.Context, ref sourceRef) (*driver.GuardedSource, func(), error) {
	if ref.id.IsLocal() {
		return s.nowhere(), func() {}, nil
	}
	r, err := s.records.Resource(ctx, ref.id)
	if err != nil {
		return nil, nil, err
	}
	return s.sourceIn(ctx, r, ref.scope)
}

func (s *Service) sourceIn(ctx context.Context, r patchbay.Resource, scope string) (*driver.GuardedSource, func(), error) {
	machine, err := s.hostOf(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	// Whoever changes the registration of its machine changes where it is.
	return s.sources.get(ctx, r.ID, scope, r.ETag+" "+machine.ETag, func(ctx context.Context) (*driver.GuardedSource, error) { return s.openSource(ctx, r, scope) })
}
