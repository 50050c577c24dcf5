package kubeconnect

import (
	"context"
	"net"
	"sync"
)

// connections are those of a client. One that a watch has just ended on is not idle for a
// moment, and would stay open for as long as an idle one may.
type connections struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil: net's own
	mu   sync.Mutex
	all  map[net.Conn]bool
}

// DialContext opens one more.
func (c *connections) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := &connection{conn, c}
	c.all[one] = true
	return one, nil
}

func (c *connections) close() {
	c.mu.Lock()
	all := c.all
	c.all = map[net.Conn]bool{}
	c.mu.Unlock()
	for conn := range all {
		_ = conn.Close()
	}
}

type connection struct {
	net.Conn
	of *connections
}

func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.all, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
