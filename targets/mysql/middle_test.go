package mysql_test

import (
	"bytes"
	"context"
	"net"
	"sync"

	"patchbay.dev/patchbay/driver"
)

// meanwhileDialer does something right before the first account is made.
type meanwhileDialer struct {
	net.Dialer
	once sync.Once
	do   func()
}

func meanwhile(do func()) driver.Dialer { return &meanwhileDialer{do: do} }

func (d *meanwhileDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, address)
	return &meanwhileConn{conn, d}, err
}

type meanwhileConn struct {
	net.Conn
	d *meanwhileDialer
}

// Write sees statements in the clear: the session's mode has to be disable.
func (c *meanwhileConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("create user ")) {
		c.d.once.Do(c.d.do)
	}
	return c.Conn.Write(p)
}
