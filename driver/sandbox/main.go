package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// IsChild reports whether the arguments (without the program's name) are those
// of a child.
func IsChild(args []string) bool { return len(args) == 1 && args[0] == Command }

// Main is a child: it probes with the drivers until its parent is gone, and
// gives the exit status. A program that has a [Sandbox] calls it first of all
// when [IsChild] says so.
func Main(targets map[string]driver.TargetDriver) int {
	if err := confine(); err != nil {
		fmt.Fprintln(os.Stderr, "the process can't be confined:", err)
		return 1
	}
	pipes := duplex{os.Stdin, os.Stdout}
	os.Stdout = os.Stderr // for what a library may print
	session, err := yamux.Server(pipes, muxConfig())
	if err != nil {
		return 1
	}
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return 0 // the parent is gone
		}
		go answerOne(targets, session, stream)
	}
}

// answerOne leaves the stream open when it panics: then the process ends, and how
// it does is the answer.
func answerOne(targets map[string]driver.TargetDriver, session *yamux.Session, stream io.ReadWriteCloser) {
	var q request
	if read(stream, &q) == nil {
		if err := write(stream, newAnswer(q.probe(targets, session))); errors.Is(err, errTooLong) {
			_ = write(stream, newAnswer(driver.ProbeResult{}, err)) // a parent that is gone needs no answer
		}
	}
	_ = stream.Close()
}

func (q request) probe(targets map[string]driver.TargetDriver, session *yamux.Session) (driver.ProbeResult, error) {
	d, ok := targets[q.Driver]
	if !ok {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.Internal, "the probing process has no driver %q", q.Driver)
	}
	ctx := context.Background()
	if q.Left > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.Left)
		defer cancel()
	}
	calls := &caller{session: session}
	defer calls.hangUp()
	c, r := q.open(calls)
	return d.Probe(ctx, c, r)
}

// caller dials through the parent.
type caller struct {
	session *yamux.Session
	mu      sync.Mutex
	open    []net.Conn
}

func (d *caller) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	stream, err := d.session.OpenStream()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.open = append(d.open, stream)
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var said dialled
	if err = write(stream, dialling{Address: address}); err == nil {
		err = read(stream, &said)
	}
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case err == nil && said.Error != nil:
		err = withHop(said.Error, said.Hop)
	}
	if err != nil || !stop() {
		_ = stream.Close()
		if err == nil {
			err = context.Cause(ctx)
		}
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return handed{stream}, nil
}

// hangUp closes what a library left open.
func (d *caller) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.open {
		_ = conn.Close()
	}
}

// handed is a connection through the parent, with addresses as libraries expect
// them of TCP.
type handed struct{ net.Conn }

func (handed) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (handed) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
