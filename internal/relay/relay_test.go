package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// pipes are one end of two pipes.
type pipes struct {
	*io.PipeReader
	*io.PipeWriter
}

func (p *pipes) Close() error {
	_ = p.PipeReader.Close()
	return p.PipeWriter.Close()
}

// start starts a relay in this process, and gives its ends to speak to.
func start(t *testing.T) (*pipes, <-chan error) {
	t.Helper()
	in, toIt := io.Pipe()
	fromIt, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- serve(in, out)
		_ = out.Close()
	}()
	return &pipes{fromIt, toIt}, ended
}

// TestARelay looks up names and dials, keeps to the rules of who speaks to it, and ends
// with its input.
func TestARelay(t *testing.T) {
	ends, ended := start(t)
	r, err := Open(t.Context(), ends)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	closed := errors.New("closed by a rule")
	open := &Dialer{Network: r}
	ruled := &Dialer{Network: r, Control: func(_, address string, _ syscall.RawConn) error {
		if netip.MustParseAddrPort(address).Addr().IsLoopback() {
			return closed
		}
		return nil
	}}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, address := range []string{l.Addr().String(), "localhost:" + port} {
		conn, err := open.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatalf("dial %s: %v", address, err)
		}
		if _, err := io.WriteString(conn, "hello"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
			t.Errorf("it says %q, %v", b, err)
		}
		_ = conn.Close()
		if _, err := ruled.DialContext(t.Context(), "tcp", address); !errors.Is(err, closed) {
			t.Errorf("%s, which a rule closes: %v", address, err)
		}
	}
	if _, err := open.DialContext(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %v", err)
	}
	var dns *net.DNSError
	if _, err := open.DialContext(t.Context(), "tcp", "nobody.invalid:80"); !errors.As(err, &dns) {
		t.Errorf("a name that nobody has: %v", err)
	}
	if err := open.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the relay ends with %v", err)
	}
}

// TestWhatIsNoRelay is told from one: it ends, or says nothing.
func TestWhatIsNoRelay(t *testing.T) {
	fromIt, out := io.Pipe()
	in, toIt := io.Pipe()
	go func() { _, _ = io.Copy(io.Discard, in) }()
	_ = out.Close()
	if _, err := Open(t.Context(), &pipes{fromIt, toIt}); !errors.Is(err, ErrSilent) {
		t.Errorf("a program that ends: %v", err)
	}
	fromIt, _ = io.Pipe()
	in, toIt = io.Pipe()
	go func() { _, _ = io.Copy(io.Discard, in) }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, &pipes{fromIt, toIt}); !errors.Is(err, context.Canceled) {
		t.Errorf("a program that says nothing: %v", err)
	}
}
