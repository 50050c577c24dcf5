package connector

import (
	"context"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Configurations implements [API]. A local connection's were never written:
// they are computed, with the credential that it holds.
func (s *Service) Configurations(ctx context.Context, id patchbay.ID, caller Caller) ([]patchbay.Setting, error) {
	c, err := s.records.Connection(ctx, id)
	if err != nil {
		return nil, err
	}
	held, err := s.openHolding(c)
	if err != nil {
		return nil, err
	}
	if id.IsLocal() {
		return s.Generate(ctx, id, nil, caller)
	}
	if held.Written == nil {
		return []patchbay.Setting{}, nil
	}
	return held.Written.open().Set, nil
}

// Generate implements [API].
func (s *Service) Generate(ctx context.Context, id patchbay.ID, info *patchbay.ConfigurationInfo, _ Caller) ([]patchbay.Setting, error) {
	c, err := s.records.Connection(ctx, id)
	if err != nil {
		return nil, err
	}
	held, err := s.openHolding(c)
	if err != nil {
		return nil, err
	}
	if info != nil {
		c.Spec.Configuration = info
	}
	if !configures(c.Spec) {
		return []patchbay.Setting{}, nil
	}
	if !held.made() {
		return nil, notMade(c)
	}
	p := agreed{secrets: secrets{Credential: held.Credential}}
	if p.ref, _, err = s.today(ctx, held.ref, c.Spec.Target.ID); err != nil {
		return nil, err
	}
	target, done, err := s.openRef(ctx, p.ref)
	if err != nil {
		return nil, err
	}
	defer done()
	facts, err := inspect(ctx, target, p.Sub)
	if err != nil {
		return nil, err
	}
	own := owners{}
	if held.Written != nil {
		own.add(c, held.Written.open())
	}
	r := settingsRequest(p, c, facts.Values, "")
	set, _, err := render(&r, c, driver.Snapshot{}, own)
	return set, err
}

// Process implements [API].
func (s *Service) Process(ctx context.Context, id patchbay.ID, _ Caller) (map[string]patchbay.Secret, error) {
	source, done, err := s.source(ctx, sourceRef{id: id})
	if err != nil {
		return nil, err
	}
	defer done()
	now, err := source.ReadSettings(ctx)
	for name := range now.Settings {
		if strings.Contains(name, "/") { // a file (driver.FileSetting), which no environment holds
			delete(now.Settings, name)
		}
	}
	return now.Settings, err
}
