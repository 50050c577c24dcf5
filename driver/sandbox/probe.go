package sandbox

import (
	"cmp"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// probe is what this process does for one probe: it dials, and counts.
type probe struct {
	ctx    context.Context
	cancel context.CancelFunc
	dialer driver.Dialer
	asked  string       // what messages call the server; "": by its address
	left   atomic.Int64 // bytes that may still be received; negative when there were too many

	mu     sync.Mutex
	ended  bool
	served sync.WaitGroup // of what a child asks for, before it has ended
	ahead  net.Conn       // the first connection, until it is asked for
	to     string         // its address
	since  time.Time      // when it was made
	dials  int
}

func newProbe(ctx context.Context, r driver.ProbeRequest) *probe {
	p := &probe{dialer: r.Dialer, asked: r.Asked}
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.left.Store(maxReceived)
	return p
}

// end closes all connections, and returns when nobody uses them any more.
func (p *probe) end() {
	p.cancel()
	p.mu.Lock()
	p.ended = true
	if p.ahead != nil {
		_ = p.ahead.Close()
		p.ahead = nil
	}
	p.mu.Unlock()
	p.served.Wait()
}

// excess reports whether more was sent than may.
func (p *probe) excess() bool { return p.left.Load() < 0 }

func (p *probe) dialAhead(ctx context.Context, address string) error {
	conn, err := p.dial(ctx, address)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ahead, p.to, p.since = conn, address, time.Now()
	return nil
}

func (p *probe) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	return p.dialer.DialContext(ctx, "tcp", address)
}

// closed is a dialer whose connections all fail as the first one did.
type closed struct{ err error }

func (c closed) DialContext(context.Context, string, string) (net.Conn, error) { return nil, c.err }

// connect gives a connection that a child asks for.
func (p *probe) connect(address string) (net.Conn, error) {
	p.mu.Lock()
	p.dials++
	many := p.dials > maxDials
	var ahead net.Conn
	if p.to == address {
		ahead, p.ahead = p.ahead, nil
	}
	p.mu.Unlock()
	switch {
	case ahead != nil && time.Since(p.since) < fresh:
		return ahead, nil
	case ahead != nil:
		_ = ahead.Close()
	case many:
		return nil, patchbay.Errorf(patchbay.TargetMisbehaved, "%s makes its client connect again and again", cmp.Or(p.asked, address))
	}
	return p.dial(p.ctx, address)
}

// serve answers one stream of a child: a connection that it asks for.
func (p *probe) serve(stream net.Conn) {
	defer func() { _ = stream.Close() }()
	p.mu.Lock()
	if p.ended { // what a library still wants after its probe
		p.mu.Unlock()
		return
	}
	p.served.Add(1)
	p.mu.Unlock()
	defer p.served.Done()
	defer context.AfterFunc(p.ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })()
	var want dialling
	if read(stream, &want) != nil {
		return
	}
	conn, err := p.connect(want.Address)
	if err != nil {
		// A child that is gone needs no answer.
		e := driver.DialError(err, cmp.Or(p.asked, want.Address))
		_ = write(stream, dialled{Error: plain(e), Hop: driver.HopOf(e)})
		return
	}
	defer context.AfterFunc(p.ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	if write(stream, dialled{}) != nil {
		return
	}
	p.served.Go(func() {
		_, _ = io.Copy(conn, stream) // ends when either side does
		_ = conn.Close()
	})
	_, _ = io.Copy(stream, meter{conn, p})
}

// meter counts what a server sends.
type meter struct {
	net.Conn
	p *probe
}

func (m meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if m.p.left.Add(int64(-n)) < 0 {
		m.p.cancel()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}
