package hosts

import (
	"context"
	"net"
)

// Local is the machine that this process runs on.
type Local struct {
	dialer  net.Dialer
	private []string
}

var _ Host = (*Local)(nil)

// NewLocal is this machine. It connects to where r lets it, and lets nobody at the
// private directories, which are there, and what is below them.
func NewLocal(r DialRules, private ...string) *Local {
	return &Local{dialer: net.Dialer{Control: r.Control}, private: private}
}

// DialContext implements [Host].
func (l *Local) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return l.dialer.DialContext(ctx, network, address)
}
