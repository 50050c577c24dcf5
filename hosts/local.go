package hosts

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
)

// Local is the machine that this process runs on. How it does what a [Host] does
// is in local_*.go; the other files hold on every machine.
type Local struct {
	Files
	files  *localFiles
	dialer net.Dialer
}

var _ Host = (*Local)(nil)

// NewLocal is this machine. It connects to where r lets it, and lets nobody at the
// private directories, which are there, and what is below them.
func NewLocal(r DialRules, private ...string) *Local {
	files := &localFiles{private: private, sync: (*os.File).Sync}
	return &Local{Files: Files{files}, files: files, dialer: net.Dialer{Control: r.Control}}
}

// Control says whether there may be a connection to an address, for whoever dials by
// another way than [Local.DialContext]: from inside a container's network, say.
func (l *Local) Control(network, address string, c syscall.RawConn) error {
	return l.dialer.Control(network, address, c)
}

// DialContext implements [Host].
func (l *Local) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "unix" {
		return l.dialer.DialContext(ctx, network, address)
	}
	if err := checkSocket(address); err != nil {
		return nil, err
	}
	if err := l.CheckPath(ctx, address); err != nil {
		return nil, err
	}
	// By its path without links: one that is swapped leads to what was looked at.
	if real, err := filepath.EvalSymlinks(address); err == nil {
		address = real
	}
	return new(net.Dialer).DialContext(ctx, "unix", address)
}

// checkSocket refuses what is no path of a socket.
func checkSocket(address string) error {
	if !filepath.IsAbs(address) || strings.ContainsRune(address, 0) {
		return patchbay.Errorf(patchbay.InvalidArgument, "a socket is dialed by its absolute path")
	}
	return nil
}
