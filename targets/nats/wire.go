package nats

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Bounds on what a server may send, beside [driver.CallBytes]. The client
// library makes room for a message as soon as its size is announced, in a
// goroutine of its own: where that fails, the process ends.
const (
	maxMessage = 16 << 20 // bytes of a message; the product's own bound is 64 MiB
	maxHeader  = 512 << 10
	maxLine    = 64 << 10 // of everything else that is said in a line
	maxInfo    = 1 << 20  // of INFO, which names the servers of a cluster
	// maxValues bounds what is in the JSON that is read of a target in one call:
	// a value of two bytes is a hundred of memory.
	maxValues = 1 << 21
	// maxPending are the answers that wait for us; a cluster gives one a server.
	maxPending = 1024
)

// link is a connection to a server, with bounds on what it receives.
type link struct {
	*natsgo.Conn
	wire *wire
}

// TLSConnectionState is that of the connection below the bounds.
func (l *link) TLSConnectionState() (tls.ConnectionState, error) {
	if conn, ok := l.wire.Conn.(*tls.Conn); ok {
		return conn.ConnectionState(), nil
	}
	return tls.ConnectionState{}, natsgo.ErrConnectionNotTLS
}

// during ends a write that hangs when ctx ends: the library writes with its
// lock held, and everything else would wait for a server that does not read.
func (l *link) during(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = l.wire.SetWriteDeadline(time.Now()) })
}

// wire follows what a server says, and hands on what is within the bounds. It
// stands between TLS and the client library.
type wire struct {
	net.Conn
	budget *driver.Budget
	info   []byte // the server's greeting, for the library to read once more
	line   []byte // as much of a line as has come
	body   int    // what is still to come of a message, its end of line included
	ends   [2]byte
	err    error
}

// newWire makes conn ready for the client library: it reads the greeting and
// agrees on TLS, as the library would. The library has no place for bounds
// between TLS and itself.
//
// A password is said as it is, so it is for TLS, or for who said that there is
// none; what a key signs is of no use to anybody else.
func (c *config) newWire(ctx context.Context, conn net.Conn, budget *driver.Budget, host string, l login) (*wire, error) {
	w := &wire{Conn: budget.Conn(conn), budget: budget}
	secured := func() error {
		t := tls.Client(w.Conn, driver.TLSTo(c.tls, host))
		w.Conn = t
		return t.HandshakeContext(ctx)
	}
	if c.tlsFirst {
		return w, secured()
	}
	// Byte by byte: what follows the line is TLS, or not there yet.
	for b := make([]byte, 1); len(w.info) == 0 || w.info[len(w.info)-1] != '\n'; w.info = append(w.info, b[0]) {
		if _, err := w.Conn.Read(b); err != nil {
			return nil, err
		}
		if len(w.info) >= maxInfo {
			return nil, budget.Refuse("greets with a line of more than %d bytes", maxInfo)
		}
	}
	var said struct {
		Required  bool `json:"tls_required"`
		Available bool `json:"tls_available"`
	}
	// Whatever the library might read another way is no greeting: it would take a
	// connection in the clear for one that is not.
	rest, greets := bytes.CutPrefix(w.info, []byte("INFO "))
	if !greets || json.Unmarshal(rest, &said) != nil {
		return nil, natsgo.ErrNoInfoReceived
	}
	switch {
	case said.Required || c.secure && said.Available:
		return w, secured()
	case c.secure:
		return nil, natsgo.ErrSecureConnWanted
	case l.jwt == "" && !c.clear:
		return nil, patchbay.Errorf(patchbay.CertificateInvalid, "the server does not ask for TLS, and a password or token would be sent in the clear; nothing was sent").
			WithFix("register it again with --property tls=require where it has TLS; or let whoever is in between read the password: --property tls=off")
	}
	return w, nil
}

// Read implements [net.Conn]. Nothing of what has something refused in it is
// handed on.
func (w *wire) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if len(w.info) > 0 {
		n := copy(p, w.info)
		w.info = w.info[n:]
		return n, nil
	}
	n, err := w.Conn.Read(p)
	if w.err = w.look(p[:n]); w.err != nil {
		return 0, w.err
	}
	return n, err
}

// look follows the lines and messages in what came.
func (w *wire) look(b []byte) error {
	for len(b) > 0 {
		if w.body > 0 {
			n := min(w.body, len(b))
			for i := max(0, n-len(w.ends)); i < n; i++ {
				w.ends = [2]byte{w.ends[1], b[i]}
			}
			if w.body, b = w.body-n, b[n:]; w.body == 0 && string(w.ends[:]) != "\r\n" {
				return w.budget.Refuse("sent a message of another size than it announced")
			}
			continue
		}
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if w.line = append(w.line, line...); len(w.line) > maxInfo || len(w.line) > maxLine && w.line[0]|0x20 != 'i' {
			return w.budget.Refuse("sent a line of more than %d bytes", maxLine)
		}
		if !whole {
			return nil
		}
		if err := w.announced(string(w.line)); err != nil {
			return err
		}
		w.line, b = w.line[:0], rest
	}
	return nil
}

// announced judges a line, which the library may read in a looser way: what is
// not as the protocol has it is refused.
func (w *wire) announced(line string) error {
	line = strings.TrimSuffix(line, "\r")
	if strings.ContainsRune(line, '\r') {
		return w.budget.Refuse("sent a line that ends twice")
	}
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	var header bool
	switch {
	case len(words) == 0:
		return nil
	case strings.EqualFold(words[0], "MSG"):
	case strings.EqualFold(words[0], "HMSG"):
		header = true
	default:
		return nil
	}
	number := func(word string) int {
		n, err := strconv.ParseUint(word, 10, 31)
		if err != nil {
			return -1
		}
		return int(n)
	}
	size := number(words[len(words)-1])
	if size < 0 || size > maxMessage || int64(size) > w.budget.Left() {
		return w.budget.Refuse("announces a message of %s bytes", short(words[len(words)-1]))
	}
	if header {
		if n := number(words[len(words)-2]); n < 0 || n > maxHeader {
			return w.budget.Refuse("announces a header of %s bytes", short(words[len(words)-2]))
		}
	}
	w.body = size + len("\r\n")
	return nil
}

// charge counts what is in JSON of a server's before it is read.
func (s *session) charge(text []byte) error {
	var n int64
	for _, sign := range []string{",", "[", "{"} {
		n += int64(bytes.Count(text, []byte(sign)))
	}
	if s.values.Add(n) > maxValues {
		return s.nc.wire.budget.Refuse("tells more than %d values for one question", maxValues)
	}
	return nil
}

// contextDialer gives the client library a dialer that ends with a context, and
// the handshake behind it too, and remembers what the dialer's failure means.
type contextDialer struct {
	config *config
	login  login
	ctx    context.Context
	next   driver.Dialer
	budget *driver.Budget
	wire   *wire // the last one
	stop   []func() bool
	err    *patchbay.Error
}

func (d *contextDialer) Dial(network, address string) (net.Conn, error) {
	w, err := d.dial(network, address)
	if d.err = driver.DialError(err, address); err != nil {
		return nil, err
	}
	d.wire = w
	return w, nil
}

func (d *contextDialer) dial(network, address string) (*wire, error) {
	conn, err := d.next.DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.stop = append(d.stop, context.AfterFunc(d.ctx, func() { _ = conn.Close() }))
	host, _, _ := net.SplitHostPort(address)
	w, err := d.config.newWire(d.ctx, conn, d.budget, host, d.login)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return w, nil
}

// SkipTLSHandshake tells the library that TLS is agreed on here.
func (d *contextDialer) SkipTLSHandshake() bool { return true }

// release lets the connections live on when the context ends.
func (d *contextDialer) release() {
	for _, stop := range d.stop {
		stop()
	}
}

// failure is what the dialer's failure means, or what the bounds refused.
func (d *contextDialer) failure() *patchbay.Error {
	if e := d.budget.Fault(); e != nil {
		return e
	}
	return d.err
}

// misbehaved is what the server did that no bound allows, nil when nothing.
func (l *link) misbehaved() *patchbay.Error { return l.wire.budget.Fault() }
