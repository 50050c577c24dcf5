package hosts

import (
	"context"
	"net"
	"path/filepath"
	"strings"

	"patchbay.dev/patchbay"
)

// TCP is what of a host may be handed to whoever dials an address that is not the
// operator's own: no socket of the machine's programs, such as Docker's, which
// would make its caller root there.
type TCP struct{ Host Host }

// DialContext makes a connection with TCP from the host, and no other.
func (t TCP) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "no connection is made to what has no IP address")
	}
	return t.Host.DialContext(ctx, network, address)
}

// checkSocket refuses what is no path of a socket.
func checkSocket(address string) error {
	if !filepath.IsAbs(address) || strings.ContainsRune(address, 0) {
		return patchbay.Errorf(patchbay.InvalidArgument, "a socket is dialed by its absolute path")
	}
	return nil
}
