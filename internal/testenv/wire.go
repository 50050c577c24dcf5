package testenv

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Wire is a way to a server that can be cut: an address of this machine, whose
// connections are led on.
type Wire struct {
	Address string // host:port

	dial    func(context.Context) (net.Conn, error)
	mu      sync.Mutex
	open    map[net.Conn]bool
	carried int // pieces, of both directions
	at      int // which one is the last; 0: none is
}

// NewWire makes one that leads to where dial does. It ends with the test.
func NewWire(t testing.TB, dial func(context.Context) (net.Conn, error)) *Wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{Address: l.Addr().String(), dial: dial, open: map[net.Conn]bool{}}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		w.Cut()
		all.Wait()
	})
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { w.lead(t.Context(), near) })
		}
	})
	return w
}

func (w *Wire) lead(ctx context.Context, near net.Conn) {
	defer func() { _ = near.Close() }()
	far, err := w.dial(ctx)
	if err != nil {
		return
	}
	w.mu.Lock()
	w.open[near], w.open[far] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, ends := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			_, _ = io.Copy(carrier{w, ends[0]}, ends[1])
			_, _ = ends[0].Close(), ends[1].Close()
		})
	}
	both.Wait()
	w.mu.Lock()
	delete(w.open, near)
	delete(w.open, far)
	w.mu.Unlock()
}

// carrier counts what goes to one end.
type carrier struct {
	w  *Wire
	to net.Conn
}

func (c carrier) Write(b []byte) (int, error) {
	c.w.mu.Lock()
	c.w.carried++
	last := c.w.at != 0 && c.w.carried == c.w.at
	c.w.mu.Unlock()
	n, err := c.to.Write(b)
	if last {
		c.w.Cut()
	}
	return n, err
}

// Cut ends all connections. New ones are made as before.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.open {
		_ = conn.Close()
	}
}

// CutAt counts from now on, and cuts behind the n-th piece that is carried; 0: never.
// What a piece is, the two ends say by how they write. It gives how many there were.
func (w *Wire) CutAt(n int) (carried int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	carried = w.carried
	w.carried, w.at = 0, n
	return carried
}
