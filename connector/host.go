package connector

import (
	"context"
	"encoding/json"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// hostField is what a resource of that driver says its machine with; ok is false
// when it has none.
func hostField(d patchbay.Driver) (name string, ok bool) {
	at := slices.IndexFunc(d.Properties, func(f patchbay.Field) bool { return f.Type == patchbay.HostField })
	if at < 0 {
		return "", false
	}
	return d.Properties[at].Name, true
}

// hostID is the registered machine that a source or guard names; "" for the server's own.
// Whoever reads it has checked the properties, or is told by the driver what is
// wrong with them.
func (s *Service) hostID(r patchbay.Resource) patchbay.ID {
	d := s.catalog.Sources[r.Driver].Driver
	if guard, ok := s.catalog.Networks[r.Driver]; ok {
		d = guard.Driver
	}
	name, ok := hostField(d)
	if !ok {
		return ""
	}
	var properties map[string]json.RawMessage
	var id patchbay.ID
	if json.Unmarshal(r.Properties, &properties) != nil || json.Unmarshal(properties[name], &id) != nil {
		return ""
	}
	return id
}

// hostOf is the machine that a source or guard is on; zero for the server's own.
func (s *Service) hostOf(ctx context.Context, r patchbay.Resource) (patchbay.Resource, error) {
	id := s.hostID(r)
	if id == "" {
		return patchbay.Resource{}, nil
	}
	machine, err := s.records.Resource(ctx, id)
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		return machine, patchbay.Errorf(patchbay.SourceNotFound, "%s is on the host %s, which is not registered", r.ID.Name(), clip(id.Name(), 80)).
			WithFix("%s   (or register it with another host)", hostRegistration(s.catalog.Describe(nil).Hosts, id))
	case err != nil:
		return machine, err
	}
	if _, ok := s.catalog.Hosts[machine.Driver]; !ok {
		return machine, patchbay.Errorf(patchbay.InvalidArgument, "%s is to be on %s, which is no host", r.ID.Name(), clip(id.Name(), 80)).
			WithFix("patchbay host list")
	}
	return machine, nil
}

// host gives the opened driver of a registered machine.
func (s *Service) host(ctx context.Context, r patchbay.Resource) (hosts.Remote, func(), error) {
	return s.hosts.get(ctx, r.ID, "", r.ETag, func(ctx context.Context) (hosts.Remote, error) { return s.openHost(ctx, r) })
}

func (s *Service) openHost(ctx context.Context, r patchbay.Resource) (hosts.Remote, error) {
	d, ok := s.catalog.Hosts[r.Driver]
	if !ok {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the resource %s has driver %q, which is not a host's", r.ID.Name(), r.Driver)
	}
	c, err := s.config(r)
	if err != nil {
		return nil, err
	}
	return driver.Guard{Name: r.Driver, Admin: c.Admin, Observe: s.observe}.OpenHost(ctx, d, c)
}

// CheckHost implements [API].
func (s *Service) CheckHost(ctx context.Context, id patchbay.ID, caller Caller) ([]patchbay.Finding, error) {
	r, err := s.records.Resource(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := caller.allow(ctx, ActionHost, id); err != nil {
		return nil, err
	}
	machine, done, err := s.host(ctx, r)
	if err != nil {
		return nil, err
	}
	defer done()
	found, err := machine.Check(ctx)
	told := patchbay.AuditEntry{Resource: r.ID, Detail: "the host is asked what it lets the server do"}
	if err != nil {
		told.Result, told.Code = patchbay.AuditFailed, patchbay.CodeOf(err)
	}
	if err := caller.tell(ctx, told); err != nil {
		return nil, err
	}
	return found, err
}

// noSources refuses to take a machine away that a source or guard is on. Of anything else
// nobody has to look through the inventory.
func (s *Service) noSources(ctx context.Context, machine patchbay.Resource) error {
	if _, ok := s.catalog.Hosts[machine.Driver]; !ok {
		return nil
	}
	id := machine.ID
	return s.eachResource(ctx, func(r patchbay.Resource) error {
		if !s.hostID(r).Equal(id) {
			return nil
		}
		what := "source"
		if _, guard := s.catalog.Networks[r.Driver]; guard {
			what = "guard"
		}
		return patchbay.Errorf(patchbay.Conflict, "the %s %s is on the host %s", what, r.ID.Name(), id.Name()).
			WithFix("patchbay resource remove %s, or register it with another host", r.ID.Name())
	})
}
