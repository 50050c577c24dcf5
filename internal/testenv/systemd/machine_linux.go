package systemd

import (
	"context"
	"fmt"
	"net"
	"testing"

	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

// Pid is of the machine's first process.
func (m *Machine) Pid() int { return int(m.leader.Load()) }

// Wire is a way to a port of the machine's: of the one that runs at that moment, before
// and after a reboot.
func (m *Machine) Wire(t testing.TB, port int) *testenv.Wire {
	t.Helper()
	return testenv.NewWire(t, func(ctx context.Context) (net.Conn, error) {
		n, err := netns.Open(m.Pid())
		if err != nil {
			return nil, err
		}
		defer func() { _ = n.Close() }()
		return n.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	})
}
