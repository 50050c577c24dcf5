package hosts

import (
	"context"
	"net"
	"os"
	"syscall"
)

// Local is the machine that this process runs on. How it does what a [Host] does
// is in local_*.go; the other files hold on every machine.
type Local struct {
	dialer  net.Dialer
	private []string
	sync    func(*os.File) error // of a file or directory; tests watch it
}

var _ Host = (*Local)(nil)

// NewLocal is this machine. It connects to where r lets it, and lets nobody at the
// private directories, which are there, and what is below them.
func NewLocal(r DialRules, private ...string) *Local {
	return &Local{dialer: net.Dialer{Control: r.Control}, private: private, sync: (*os.File).Sync}
}

// Control says whether there may be a connection to an address, for whoever dials by
// another way than [Local.DialContext]: from inside a container's network, say.
func (l *Local) Control(network, address string, c syscall.RawConn) error {
	return l.dialer.Control(network, address, c)
}

// DialContext implements [Host].
func (l *Local) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network == "unix" {
		// The rules are about addresses; a socket is a path.
		if err := l.CheckPath(ctx, address); err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return l.dialer.DialContext(ctx, network, address)
}
