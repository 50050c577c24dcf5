package connector

import (
	"context"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Configurations implements [API].
func (s *Service) Configurations(ctx context.Context, id patchbay.ID, _ Caller) ([]patchbay.Setting, error) {
	c, err := s.records.Connection(ctx, id)
	if err != nil {
		return nil, err
	}
	held, err := s.openHolding(c)
	if err != nil {
		return nil, err
	}
	if held.Written == nil {
		return []patchbay.Setting{}, nil
	}
	return held.Written.Change.open().Set, nil
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
	if held.Target == "" {
		return nil, patchbay.Errorf(patchbay.Conflict, "the connection %s is not made yet", c.Name)
	}
	target, done, err := s.target(ctx, held.Target)
	if err != nil {
		return nil, err
	}
	defer done()
	facts, err := target.Inspect(ctx, held.Sub)
	if err != nil {
		return nil, err
	}
	p := plan{Kind: held.Kind, Credential: held.Credential}
	ours := map[string]bool{}
	if held.Written != nil {
		for _, set := range held.Written.Change.Set {
			ours[set.Name] = true
		}
	}
	return s.render(p, c, facts.Values, driver.Snapshot{}, ours)
}

// Process implements [API].
func (s *Service) Process(ctx context.Context, id patchbay.ID, _ Caller) (map[string]patchbay.Secret, error) {
	source, done, err := s.source(ctx, id)
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
