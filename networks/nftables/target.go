package nftables

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// target is what is guarded, as Patchbay reaches it to administer it.
type target struct {
	dialer   driver.Dialer
	endpoint string
}

const (
	// tries is how often an address is tried after a change: its server may be busy
	// once.
	tries    = 2
	tryLimit = 4 * time.Second
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

// way is from where Patchbay speaks to a target, and where to.
type way struct {
	from netip.Addr
	to   netip.AddrPort
}

// ways finds from which addresses Patchbay speaks to the target. There are none where
// both are one machine, which lets its own programs in.
//
// A socket of UDP that is connected knows it, and sends nothing: the target need not
// answer.
func (t target) ways(ctx context.Context, to []netip.AddrPort) ([]way, error) {
	var all []way
	var last error
	found := false
	for _, address := range t.addresses(to) {
		for _, network := range []string{"udp4", "udp6", "tcp"} {
			if network == "tcp" && found {
				break // it is only for who can't do the others
			}
			conn, err := t.dial(ctx, network, address)
			if err != nil {
				last = err
				continue
			}
			here, hereOK := addressOf(conn.LocalAddr())
			there, thereOK := addressOf(conn.RemoteAddr())
			_ = conn.Close()
			if !hereOK || !thereOK { // it leads there by something else than a network
				continue
			}
			found = true
			if !here.Addr().IsLoopback() && here.Addr() != there.Addr() {
				all = append(all, way{here.Addr(), there})
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !found {
		return nil, patchbay.Errorf(patchbay.TargetUnreachable, "the guard closes the port for everybody else, and from which address Patchbay reaches %s can't be found", t.name()).
			WithSaid(said(last)).WithFix("register the guard again with --allow ADDRESS: the one that Patchbay has there")
	}
	return all, nil
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

// reached are those of the addresses that can be connected to.
func (t target) reached(ctx context.Context, addresses []string) []string {
	failed := make([]error, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { failed[i] = t.try(ctx, address) })
	}
	all.Wait()
	var reached []string
	for i, address := range addresses {
		if failed[i] == nil {
			reached = append(reached, address)
		}
	}
	return reached
}

// stillReached fails for the first of the addresses that can't be connected to.
func (t target) stillReached(ctx context.Context, addresses []string) error {
	for _, address := range addresses {
		var err error
		for range tries {
			if err = t.try(ctx, address); err == nil {
				break
			}
		}
		if err != nil {
			return driver.DialError(err, address)
		}
	}
	return nil
}

// try makes a connection, and ends it.
func (t target) try(ctx context.Context, address string) error {
	conn, err := t.dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
