package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/dockerapi"
	"patchbay.dev/patchbay/internal/relay"
)

// ruled is a host that says to which addresses connections are made from it.
type ruled interface {
	Control(network, address string, c syscall.RawConn) error
}

// Dialer implements [driver.Vantage].
func (s *source) Dialer(ctx context.Context) (driver.ClosingDialer, error) {
	p, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	none := func(format string, args ...any) error {
		return patchbay.Errorf(patchbay.NotSupported, "nobody can speak from the container %s: %s", s.name, fmt.Sprintf(format, args...))
	}
	c := p.current
	if !c.State.Running || c.State.Pid <= 0 {
		return nil, none("it does not run, and only one that runs has a network")
	}
	in, entering := s.enterHere(ctx, c)
	if entering != nil {
		// Where we can't go ourselves, a helper can.
		if in, err = s.relay(ctx, c); err != nil {
			return nil, none("%s; %s", entering, err)
		}
	}
	d := &relay.Dialer{Network: in}
	if rules, ok := s.host.(ruled); ok {
		d.Control = rules.Control
	}
	return d, nil
}

// enterHere enters the network of a container of this machine.
func (s *source) enterHere(ctx context.Context, c *container) (relay.Network, error) {
	if !s.local || strings.HasPrefix(s.engine.URL, "tcp") || strings.HasPrefix(s.engine.URL, "https") {
		return nil, errors.New("its network is another machine's")
	}
	return s.enter(ctx, c)
}

// Egress implements [driver.Vantage]: the container's own address in the network
// that leads there. Where that leaves the machine, the engine gives it an address of
// the machine, which only the machine knows.
func (s *source) Egress(ctx context.Context, to netip.Addr) ([]netip.Prefix, error) {
	if len(s.egress) > 0 {
		return slices.Clone(s.egress), nil
	}
	if !to.IsValid() {
		return nil, nil
	}
	p, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	to = to.Unmap()
	c := p.current
	if text(c.HostConfig, "NetworkMode") == "host" {
		return s.hostEgress(ctx, to), nil
	}
	var own []netip.Prefix
	for _, name := range c.networks() {
		e := c.NetworkSettings.Networks[name]
		n, err := s.engine.network(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, text := range []string{e.IPAddress, e.GlobalIPv6Address} {
			a, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			if a.Is4() == to.Is4() {
				own = append(own, netip.PrefixFrom(a, a.BitLen()))
			}
			for _, conf := range n.IPAM.Config {
				if conf.Subnet.Contains(a) && conf.Subnet.Contains(to) {
					return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}, nil
				}
			}
		}
	}
	from := s.hostEgress(ctx, to)
	if len(from) == 1 && from[0].Addr() == to {
		// It is the machine itself, which sees a container as it is.
		slices.SortFunc(own, netip.Prefix.Compare)
		return own, nil
	}
	return from, nil
}

// hostEgress is the address that the machine speaks to that one from; none where
// nobody can tell.
func (s *source) hostEgress(ctx context.Context, to netip.Addr) []netip.Prefix {
	if !s.local {
		return nil
	}
	// Nothing is sent: a connection of UDP only chooses an address.
	conn, err := s.host.DialContext(ctx, "udp", net.JoinHostPort(to.String(), "9"))
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }()
	a, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return nil
	}
	from := a.Addr().Unmap().WithZone("")
	return []netip.Prefix{netip.PrefixFrom(from, from.BitLen())}
}

// hostNames are the lines of a container's /etc/hosts.
func hostNames(text string) map[string][]netip.Addr {
	all := map[string][]netip.Addr{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = strings.ToLower(name)
			all[name] = append(all[name], a)
		}
	}
	return all
}

// Peer implements [driver.Platformed].
func (s *source) Peer(ctx context.Context) (*driver.Peer, error) {
	p, err := driver.Look(ctx, s, s.look)
	if err != nil {
		return nil, err
	}
	if mode := text(p.current.HostConfig, "NetworkMode"); mode == "host" || mode == "none" || strings.HasPrefix(mode, "container:") {
		return nil, nil // its network is no affair of the engine's
	}
	place, err := s.engine.Place(ctx)
	if err != nil {
		return nil, err
	}
	return &driver.Peer{Platform: dockerapi.Platform, Place: place, Name: s.name}, nil
}
