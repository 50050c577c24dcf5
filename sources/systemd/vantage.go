package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// Dialer implements [driver.Vantage]: it speaks from the unit's host, or from the
// network that the unit has of its own, to where the unit may speak.
func (s *source) Dialer(ctx context.Context) (driver.ClosingDialer, error) {
	u, err := s.show(ctx, s.unit)
	if err != nil {
		return nil, err
	}
	what := u.ownNetwork()
	if what == "" {
		return bounded{driver.KeptOpen(s.host), s.unit, u}, nil
	}
	no := func(format string, args ...any) error {
		return patchbay.Errorf(patchbay.NotSupported, "%s has a network of its own (%s), %s", s.unit, what, fmt.Sprintf(format, args...))
	}
	networks, ok := s.host.(hosts.Networks)
	if !ok {
		return nil, no("which nobody enters over ssh")
	}
	namespace := u.facts["NetworkNamespacePath"]
	if namespace == "" {
		if u.is("MainPID", "0") || u.is("MainPID", "") {
			return nil, no("which is there while it runs")
		}
		namespace = "/proc/" + u.facts["MainPID"] + "/ns/net"
	}
	n, err := networks.Network(namespace)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, no("and there is no %s", namespace)
	case errors.Is(err, fs.ErrPermission):
		return nil, no("which root alone may enter")
	case err != nil:
		return nil, no("which can't be entered: %v", err)
	}
	return bounded{n, s.unit, u}, nil
}

// ownNetwork is the setting that gives the unit another network than its host's.
func (u unit) ownNetwork() string {
	switch {
	case u.is("PrivateNetwork", "yes"):
		return "PrivateNetwork="
	case u.facts["NetworkNamespacePath"] != "":
		return "NetworkNamespacePath="
	}
	return ""
}

// bounded speaks to where the unit may: filters of its own sit on the unit's
// processes, and nobody else meets them.
type bounded struct {
	from driver.ClosingDialer
	name string
	unit unit
}

func (b bounded) Close() error { return b.from.Close() }

func (b bounded) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := b.from.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	at, parseErr := netip.ParseAddrPort(conn.RemoteAddr().String())
	if parseErr != nil {
		return conn, nil //nolint:nilerr // what has no IP address passes no such filter
	}
	if by := b.unit.forbids(at.Addr().Unmap()); by != "" {
		_ = conn.Close()
		return nil, patchbay.Errorf(patchbay.TargetUnreachable, "%s may not speak to that address: %s of the unit says so", b.name, by).
			WithFix("systemctl edit %s   (and let it)", quoted(b.name))
	}
	return conn, nil
}

// forbids is the setting of the unit that keeps it from speaking to an address, ""
// for none. Those of its slices are not asked.
func (u unit) forbids(a netip.Addr) string {
	in := func(fact string) bool {
		return slices.ContainsFunc(u.list(fact), func(text string) bool {
			p, err := netip.ParsePrefix(text)
			return err == nil && p.Contains(a)
		})
	}
	if in("IPAddressDeny") && !in("IPAddressAllow") {
		return "IPAddressDeny="
	}
	family := "AF_INET"
	if a.Is6() {
		family = "AF_INET6"
	}
	text := u.facts["RestrictAddressFamilies"]
	list, except := strings.CutPrefix(text, "~")
	if text != "" && slices.Contains(strings.Fields(list), family) == except {
		return "RestrictAddressFamilies="
	}
	return ""
}

// Egress implements [driver.Vantage]: what the registration says, or the address that
// the host speaks from to that one.
func (s *source) Egress(ctx context.Context, to netip.Addr) ([]netip.Prefix, error) {
	if len(s.egress) > 0 || !to.IsValid() {
		return slices.Clone(s.egress), nil
	}
	u, err := s.show(ctx, s.unit)
	if err != nil {
		return nil, err
	}
	if u.ownNetwork() != "" {
		return nil, nil
	}
	if from, ok := hosts.SpeaksFrom(ctx, s.host, to); ok {
		return []netip.Prefix{netip.PrefixFrom(from, from.BitLen())}, nil
	}
	return nil, nil
}
