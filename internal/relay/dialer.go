package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
)

// Network is a network, spoken from in there.
type Network interface {
	io.Closer
	// Lookup is what a name means there.
	Lookup(ctx context.Context, name string) ([]netip.Addr, error)
	// Dial opens a connection there.
	Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
}

// Dialer opens connections in a network.
type Dialer struct {
	Network
	// Control refuses addresses, as a [net.Dialer]'s does; nil refuses none. It is
	// asked here, about what a name means there: a relay knows no rules.
	Control func(network, address string, c syscall.RawConn) error
}

// DialContext looks up the address's name there, and tries what it means in turn.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, network, port)
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		all = []netip.Addr{a}
	} else if all, err = d.Lookup(ctx, host); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	var failed error
	for _, a := range all {
		to := netip.AddrPortFrom(a, uint16(number)) // #nosec G115 -- a port
		if d.Control != nil {
			if err := d.Control(network, to.String(), nil); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
		}
		conn, err := d.Dial(ctx, network, to)
		if err == nil {
			return conn, nil
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}
