package nftables

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// target is what is guarded, as Patchbay reaches it to administer it.
type target struct {
	dialer   driver.Dialer
	endpoint string
}

// tries is how often the target is tried after a change: it may be busy once.
const (
	tries    = 2
	tryLimit = 5 * time.Second
)

// addresses are what Patchbay connects to: those of the endpoint, or, where it has a
// form without a port, those of a rule.
func (t target) addresses(to []netip.AddrPort) []string {
	var all []string
	for item := range strings.SplitSeq(t.endpoint, ",") {
		if u, err := url.Parse(item); err == nil && u.Host != "" {
			item = u.Host
		}
		if host, port, err := net.SplitHostPort(item); err == nil && host != "" && port != "" && port != "0" {
			all = append(all, item)
		}
	}
	if len(all) == 0 {
		for _, at := range to {
			all = append(all, at.String())
		}
	}
	return all
}

func (t target) name() string { return driver.Quoted(t.endpoint) }

// vantage finds from which address Patchbay speaks to the target, and to which ones. It
// is none where both are one machine, which lets its own programs in.
//
// A socket of UDP that is connected knows it, and sends nothing: the target need not
// answer.
func (t target) vantage(ctx context.Context, to []netip.AddrPort) (from netip.Addr, at []netip.AddrPort, err error) {
	for _, address := range t.addresses(to) {
		for _, network := range []string{"udp", "tcp"} {
			var conn net.Conn
			if conn, err = t.dial(ctx, network, address); err != nil {
				continue
			}
			here, hereOK := addressOf(conn.LocalAddr())
			there, thereOK := addressOf(conn.RemoteAddr())
			_ = conn.Close()
			switch {
			case !hereOK || !thereOK: // it leads there by another way than this machine's network
				continue
			case here.Addr().IsLoopback(), here.Addr() == there.Addr():
				return netip.Addr{}, nil, nil
			}
			return here.Addr(), []netip.AddrPort{there}, nil
		}
	}
	return netip.Addr{}, nil, patchbay.Errorf(patchbay.TargetUnreachable, "the guard closes the port for everybody else, and from which address Patchbay reaches %s can't be found", t.name()).
		WithSaid(said(err)).WithFix("name that address with the guard's property allow")
}

func said(err error) string {
	if err == nil {
		return "" // it was reached, and the connection does not say from where
	}
	return err.Error()
}

func (t target) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	return t.dialer.DialContext(ctx, network, address)
}

func addressOf(a net.Addr) (netip.AddrPort, bool) {
	var at netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		at = a.AddrPort()
	case *net.TCPAddr:
		at = a.AddrPort()
	}
	at = netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	return at, at.IsValid() && !at.Addr().IsUnspecified()
}

// try makes a connection to the target, and ends it.
func (t target) try(ctx context.Context, to []netip.AddrPort) error {
	var err error
	for range tries {
		for _, address := range t.addresses(to) {
			var conn net.Conn
			if conn, err = t.dial(ctx, "tcp", address); err == nil {
				return conn.Close()
			}
			err = driver.DialError(err, address)
		}
	}
	return err
}
