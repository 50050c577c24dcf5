package compose

import (
	"context"
	"net/netip"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Dialer implements [driver.Vantage].
func (s *source) Dialer(context.Context) (driver.ClosingDialer, error) {
	return nil, patchbay.Errorf(patchbay.NotSupported, "nobody can speak from the containers of %s", s.id.Name())
}

// Egress implements [driver.Vantage].
func (s *source) Egress(context.Context, netip.Addr) ([]netip.Prefix, error) {
	return slices.Clone(s.egress), nil
}
