package drivertest

import (
	"context"
	"net"
	"sync"
	"testing"

	"patchbay.dev/patchbay/driver"
)

// netDialer is the plain way.
var netDialer driver.Dialer = &net.Dialer{}

// countingDialer counts its connections.
type countingDialer struct {
	next driver.Dialer
	mu   sync.Mutex
	n    int
}

func (d *countingDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.n++
	d.mu.Unlock()
	return d.next.DialContext(ctx, network, address)
}

func (d *countingDialer) dials() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// redirect dials one address, whatever it is asked for.
type redirect string

func (r redirect) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return netDialer.DialContext(ctx, network, string(r))
}

// closedPort dials a port that nobody listens on.
func closedPort(t *testing.T) driver.Dialer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return redirect(l.Addr().String())
}

// blackHole dials a server that accepts and never answers.
func blackHole(t *testing.T) driver.Dialer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var held []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			held = append(held, c)
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, c := range held {
			_ = c.Close()
		}
	})
	return redirect(l.Addr().String())
}

// babbler dials a server that says words, whatever is asked, and hangs up.
func babbler(t *testing.T, words string) driver.Dialer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(words))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return redirect(l.Addr().String())
}

// unknownName finds no address for any name; by is the server that says so.
type unknownName struct{ by string }

func (n unknownName) DialContext(_ context.Context, network, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: host, Server: n.by, IsNotFound: true}}
}

// cutDialer loses every connection after a number of writes: the last one
// reaches the server, its answer never comes back.
type cutDialer struct {
	next driver.Dialer
	mu   sync.Mutex
	left int
	cut  bool
}

func newCutDialer(next driver.Dialer, writes int) *cutDialer {
	return &cutDialer{next: next, left: writes}
}

func (d *cutDialer) happened() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut
}

func (d *cutDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.next.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: c, d: d}, nil
}

type cutConn struct {
	net.Conn
	d *cutDialer
}

// Write lets the bytes through and then closes, so that the server may act on
// them while the client can't know.
func (c *cutConn) Write(b []byte) (int, error) {
	c.d.mu.Lock()
	if c.d.cut {
		c.d.mu.Unlock()
		_ = c.Close()
		return 0, net.ErrClosed
	}
	c.d.left--
	last := c.d.left < 0
	c.d.cut = last
	c.d.mu.Unlock()
	n, err := c.Conn.Write(b)
	if last {
		_ = c.Close()
	}
	return n, err
}
