package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/relay"
)

// namespace is a container's network, entered by the kernel's own door, and its own
// resolver in it.
type namespace struct {
	*resolver
	hosts.Network
}

// maxNames bounds a container's files about names, in bytes.
const maxNames = 256 << 10

// enter opens the network of a container that runs on this machine; its error is for
// people.
func (s *source) enter(ctx context.Context, c *container) (relay.Network, error) {
	networks, ok := s.host.(hosts.Networks)
	if !ok {
		return nil, errors.New("its network is another machine's")
	}
	network, err := networks.Network(fmt.Sprintf("/proc/%d/ns/net", c.State.Pid))
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil, errors.New("the containers are not on this machine, but in one of the engine's own")
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("only root may enter its network")
	case err != nil:
		return nil, fmt.Errorf("its network can't be entered: %w", err)
	}
	n := &namespace{Network: network}
	// Another machine's process, or another one by now, may have that number here.
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.State.Pid))
	if err != nil || !strings.Contains(string(groups), c.ID) {
		_ = n.Close()
		return nil, errors.New("its process is none of this machine's, or is hidden")
	}
	names := make([]string, 2)
	for i, path := range []string{c.ResolvConfPath, c.HostsPath} {
		if path == "" {
			continue // of the host's network: Podman has none of its own there
		}
		content, err := s.host.ReadFile(ctx, path, maxNames)
		if err != nil {
			_ = n.Close()
			return nil, fmt.Errorf("what its names mean can't be read: %w", err)
		}
		names[i] = string(content.Content)
	}
	n.resolver = parseResolver(names[0], names[1])
	n.dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
		return n.DialNameServer(ctx, network, to.String())
	}
	return n, nil
}

// Lookup implements [relay.Network].
func (n *namespace) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	return n.lookup(ctx, name)
}

// Dial implements [relay.Network].
func (n *namespace) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	return n.DialContext(ctx, network, to.String())
}
