package docker

import (
	"context"
	"net/netip"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Dialer implements [driver.Vantage].
func (s *source) Dialer(ctx context.Context) (driver.ClosingDialer, error) {
	return nil, patchbay.Errorf(patchbay.NotSupported, "nobody can speak from the container %s", s.name)
}

// Egress implements [driver.Vantage].
func (s *source) Egress(ctx context.Context, to netip.Addr) ([]netip.Prefix, error) {
	return slices.Clone(s.egress), nil
}
