package compose

import (
	"context"
	"encoding/json"
	"net/netip"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// vantage is the service's first container that runs, as the driver for containers
// sees it.
func (s *source) vantage(ctx context.Context) (driver.Vantage, func(), error) {
	none := func(why string) error {
		return patchbay.Errorf(patchbay.NotSupported, "nobody can speak from the service %s: %s", s.service, why)
	}
	p, err := s.look(ctx)
	if err != nil {
		return nil, nil, err
	}
	at := slices.IndexFunc(p.containers, func(c *container) bool { return c.State.Running })
	if at < 0 {
		return nil, nil, none("it does not run, and only one that runs has a network")
	}
	if s.containers == nil {
		return nil, nil, none("nothing here enters a container")
	}
	properties, err := json.Marshal(map[string]any{"engine": "unix://" + s.socket, "host": s.p.Host})
	if err != nil {
		return nil, nil, err
	}
	opened, err := s.containers(ctx, driver.Config{ID: s.id, Endpoint: p.containers[at].Name, Properties: properties, Dialer: s.dialer, Host: s.host})
	if err != nil {
		return nil, nil, err
	}
	v, ok := opened.(driver.Vantage)
	if !ok {
		_ = opened.Close()
		return nil, nil, none("nothing here enters a container")
	}
	return v, func() { _ = opened.Close() }, nil
}

// Dialer implements [driver.Vantage].
func (s *source) Dialer(ctx context.Context) (driver.ClosingDialer, error) {
	v, done, err := s.vantage(ctx)
	if err != nil {
		return nil, err
	}
	d, err := v.Dialer(ctx)
	if err != nil {
		done()
		return nil, err
	}
	return &dialer{d, done}, nil
}

// dialer lets go of the container with the connection to it.
type dialer struct {
	driver.ClosingDialer
	done func()
}

func (d *dialer) Close() error {
	defer d.done()
	return d.ClosingDialer.Close()
}

// Egress implements [driver.Vantage].
func (s *source) Egress(ctx context.Context, to netip.Addr) ([]netip.Prefix, error) {
	if len(s.egress) > 0 || !to.IsValid() {
		return slices.Clone(s.egress), nil
	}
	v, done, err := s.vantage(ctx)
	if patchbay.CodeOf(err) == patchbay.NotSupported {
		return nil, nil // it can't be known while nothing runs
	}
	if err != nil {
		return nil, err
	}
	defer done()
	return v.Egress(ctx, to)
}

// Peer implements [driver.Platformed]: who its container is. Which networks that has, its
// project's files say, and whoever guards a target may not let it in for that.
func (s *source) Peer(ctx context.Context) (*driver.Peer, error) {
	v, done, err := s.vantage(ctx)
	if patchbay.CodeOf(err) == patchbay.NotSupported {
		return nil, nil // nothing runs
	}
	if err != nil {
		return nil, err
	}
	defer done()
	if p, ok := v.(driver.Platformed); ok {
		return p.Peer(ctx)
	}
	return nil, nil
}
