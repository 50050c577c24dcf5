package hosts

import (
	"context"
	"io"
	"net"
)

// Networks is a [Host] whose processes may have networks of their own, which it can
// speak from.
type Networks interface {
	// Network opens the network namespace of that name (/proc/{pid}/ns/net,
	// /run/netns/{name}): fs.ErrNotExist when there is none, fs.ErrPermission when this
	// process may not enter it.
	Network(namespace string) (Network, error)
}

// Network is a network that connections are made from, until it is closed.
type Network interface {
	io.Closer
	// DialContext opens a connection from there, where [DialRules] allow it. Names are
	// looked up from there too, with this machine's files.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	// DialNameServer opens a connection to a name server, wherever that is: files of
	// the network name it, and no caller does.
	DialNameServer(ctx context.Context, network, address string) (net.Conn, error)
}

var _ Networks = (*Local)(nil)
