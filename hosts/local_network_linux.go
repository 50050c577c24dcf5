package hosts

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Network implements [Networks].
func (l *Local) Network(namespace string) (Network, error) {
	f, err := os.Open(namespace)
	if err != nil {
		return nil, err
	}
	n := &localNetwork{l, f}
	if err := n.in(func() error { return nil }); err != nil { // it may be none, or nobody's to enter
		_ = f.Close()
		return nil, err
	}
	return n, nil
}

type localNetwork struct {
	host      *Local
	namespace *os.File
}

func (n *localNetwork) Close() error { return n.namespace.Close() }

// DialContext implements [Network].
func (n *localNetwork) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(name) != nil {
		return n.dial(ctx, &n.host.dialer, network, address)
	}
	resolver := net.Resolver{PreferGo: true, Dial: n.DialNameServer}
	found, err := resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	for _, a := range found {
		if conn, err = n.dial(ctx, &n.host.dialer, network, net.JoinHostPort(a.Unmap().String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// DialNameServer implements [Network].
func (n *localNetwork) DialNameServer(ctx context.Context, network, address string) (net.Conn, error) {
	return n.dial(ctx, new(net.Dialer), network, address)
}

// dial connects to an address. A socket is of the network that the thread is in which
// makes it: with one address, that is this goroutine's.
func (n *localNetwork) dial(ctx context.Context, by *net.Dialer, network, address string) (conn net.Conn, err error) {
	err = n.in(func() (err error) {
		conn, err = by.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// in does something in the network. A thread that can't go back ends with its
// goroutine.
func (n *localNetwork) in(do func() error) error {
	result := make(chan error, 1)
	go func() {
		result <- func() error {
			runtime.LockOSThread()
			own, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				runtime.UnlockOSThread()
				return err
			}
			defer own.Close()
			if err := unix.Setns(int(n.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
				runtime.UnlockOSThread()
				return fmt.Errorf("enter %s: %w", n.namespace.Name(), err)
			}
			err = do()
			if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
			return err
		}()
	}()
	return <-result
}
