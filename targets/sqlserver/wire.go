package sqlserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"

	"patchbay.dev/patchbay/driver"
)

// Bounds on what a server may send, beside [driver.CallBytes]: what we ask has answers of
// some kilobytes, and lists of thousands of databases or rights.
const (
	maxAnswer = 8 << 20  // bytes of one answer
	maxSignIn = 64 << 10 // of one before a session is there
	maxDials  = 2        // for one sign-in: a gateway of Azure's may send on once
)

// The packets of TDS that matter here, and the words about encryption in the first.
// https://learn.microsoft.com/openspecs/windows_protocols/ms-tds
const (
	packetAnswer   = 0x04
	packetPrelogin = 0x12
	packetHead     = 8

	optionEncryption = 0x01
	optionEnd        = 0xff

	encryptOff          = 0x00
	encryptOn           = 0x01
	encryptNotSupported = 0x02
	encryptRequired     = 0x03
)

// errEncryption is what a server that insists on TLS makes of a registration without it,
// and errNoEncryption the other way round.
var (
	errEncryption   = errors.New("the server insists on TLS")
	errNoEncryption = errors.New("the server has no TLS")
)

// wire is one session's connection. The client library takes it for one in the clear:
// TLS is begun here, so that what comes out of it is seen. An answer is looked through
// before the library gets a byte of it, because that makes room for whatever lengths are
// announced.
type wire struct {
	net.Conn // with the budget on it, and TLS once that has begun
	budget   *driver.Budget
	server   *server
	host     string      // that was asked, which may be where a gateway sent us
	config   *tls.Config // nil: never
	began    bool        // the first packets were exchanged
	in       bool        // signed in
	out      []byte      // what the library has still to read
	written  []byte      // the first message, until it is whole
	failed   error       // what happened first
}

// dialWire reaches the server, or where it has sent us.
func dialWire(ctx context.Context, s *server, d driver.Dialer, budget *driver.Budget, address string) (*wire, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config, err := s.tls.Config("")
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: budget.Conn(conn), budget: budget, server: s, host: host, config: config}, nil
}

func (w *wire) fail(err error) error {
	if fault := w.budget.Fault(); fault != nil {
		err = fault
	}
	if err != nil && w.failed == nil {
		w.failed = err
	}
	return err
}

// message reads the packets of one answer, as they came, and what is in them.
func (w *wire) message(kind byte) (packets, body []byte, err error) {
	most := maxAnswer
	if !w.in {
		most = maxSignIn
	}
	head := make([]byte, packetHead)
	for {
		if _, err := io.ReadFull(w.Conn, head); err != nil {
			return nil, nil, err
		}
		length := int(binary.BigEndian.Uint16(head[2:]))
		switch {
		case head[0] != kind:
			return nil, nil, w.budget.Refuse("sends what is no answer of a SQL Server")
		case length < packetHead, length > 32767:
			return nil, nil, w.budget.Refuse("announces a packet of %d bytes", length)
		case len(packets)+length > most:
			return nil, nil, w.budget.Refuse("does not come to an end with its answer")
		}
		at := len(packets) + packetHead
		packets = append(packets, head...)
		packets = append(packets, make([]byte, length-packetHead)...)
		if _, err := io.ReadFull(w.Conn, packets[at:]); err != nil {
			return nil, nil, err
		}
		body = append(body, packets[at:]...)
		if head[1] != 0 { // the last one
			return packets, body, nil
		}
		if length == packetHead {
			return nil, nil, w.budget.Refuse("sends packets with nothing in them")
		}
	}
}

// Read implements [net.Conn].
func (w *wire) Read(p []byte) (int, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	if len(w.out) == 0 {
		packets, body, err := w.message(packetAnswer)
		if err == nil {
			err = w.look(body)
		}
		if err != nil {
			return 0, w.fail(err)
		}
		w.out = packets
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}

// Write implements [net.Conn]. The library writes packet by packet.
func (w *wire) Write(p []byte) (int, error) {
	switch {
	case w.failed != nil:
		return 0, w.failed
	case w.began:
		if _, err := w.Conn.Write(p); err != nil {
			return 0, w.fail(err)
		}
	default:
		w.written = append(w.written, p...)
		if len(p) > 1 && p[1]&1 == 1 {
			if err := w.begin(w.written); err != nil {
				return 0, w.fail(err)
			}
			w.written = nil
		}
	}
	return len(p), nil
}

// begin exchanges the first packets in the library's stead, and begins TLS.
func (w *wire) begin(first []byte) error {
	w.began = true
	at := encryption(first)
	if len(first) <= packetHead || first[0] != packetPrelogin || at < 0 {
		return errors.New("no beginning of a sign-in")
	}
	first = bytes.Clone(first)
	first[at] = encryptNotSupported
	if w.config != nil {
		first[at] = encryptOn
	}
	if _, err := w.Conn.Write(first); err != nil {
		return err
	}
	packets, _, err := w.message(packetAnswer)
	if err != nil {
		return err
	}
	at = encryption(packets)
	if at < 0 {
		return w.budget.Refuse("greets in no way that a SQL Server does")
	}
	switch has := packets[at]; {
	case w.config == nil && (has == encryptOn || has == encryptRequired):
		return errEncryption
	case w.config != nil && (has == encryptOff || has == encryptNotSupported):
		return errNoEncryption
	case w.config != nil:
		if err := w.secure(); err != nil {
			return err
		}
	}
	packets[at] = encryptNotSupported // as the library is to see it
	w.out = packets
	return nil
}

// encryption is where the word about it stands in a first message, -1 for nowhere. Such
// a message is one packet.
func encryption(message []byte) int {
	for at := packetHead; at+5 <= len(message) && message[at] != optionEnd; at += 5 {
		if message[at] != optionEncryption {
			continue
		}
		value := packetHead + int(binary.BigEndian.Uint16(message[at+1:]))
		if binary.BigEndian.Uint16(message[at+3:]) < 1 || value >= len(message) {
			return -1
		}
		return value
	}
	return -1
}

// secure begins TLS, whose handshake is sent in packets of its own.
func (w *wire) secure() error {
	config := driver.TLSTo(w.config, w.host)
	config.DynamicRecordSizingDisabled = true // a server wants a packet to be one record
	between := &handshake{Conn: w.Conn, wire: w}
	conn := tls.Client(between, config)
	// The deadline of the connection bounds it.
	if err := conn.HandshakeContext(context.Background()); err != nil {
		return err
	}
	if err := between.flush(); err != nil {
		return err
	}
	if len(between.in) > 0 {
		return w.budget.Refuse("says more in its handshake than belongs there")
	}
	between.done = true
	w.Conn = conn
	return nil
}

// handshake is a connection whose bytes go in packets until TLS is there.
type handshake struct {
	net.Conn
	wire    *wire
	in, out []byte
	done    bool
}

// Write keeps what is said in one go together, as a server expects it.
func (h *handshake) Write(p []byte) (int, error) {
	if h.done {
		return h.Conn.Write(p)
	}
	if len(h.out)+len(p) > 4096-packetHead {
		if err := h.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) > 4096-packetHead {
		return 0, errors.New("a part of a handshake that is too long for a packet")
	}
	h.out = append(h.out, p...)
	return len(p), nil
}

func (h *handshake) flush() error {
	if len(h.out) == 0 {
		return nil
	}
	head := []byte{packetPrelogin, 1, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(packetHead+len(h.out)))
	_, err := h.Conn.Write(append(head, h.out...))
	h.out = nil
	return err
}

func (h *handshake) Read(p []byte) (int, error) {
	if h.done {
		return h.Conn.Read(p)
	}
	if err := h.flush(); err != nil {
		return 0, err
	}
	for len(h.in) == 0 {
		head := make([]byte, packetHead)
		if _, err := io.ReadFull(h.Conn, head); err != nil {
			return 0, err
		}
		length := int(binary.BigEndian.Uint16(head[2:])) - packetHead
		if head[0] != packetPrelogin && head[0] != packetAnswer || length < 1 || length > 32767 {
			return 0, h.wire.budget.Refuse("sends what is no part of a handshake")
		}
		h.in = make([]byte, length)
		if _, err := io.ReadFull(h.Conn, h.in); err != nil {
			return 0, err
		}
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	return n, nil
}

// protocol is TLS's, "" in the clear.
func (w *wire) protocol() string {
	if c, ok := w.Conn.(*tls.Conn); ok {
		return tls.VersionName(c.ConnectionState().Version)
	}
	return ""
}

// until ends whatever is under way on the connection when ctx does; what it returns lets
// go of ctx.
func (w *wire) until(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = w.SetDeadline(time.Unix(1, 0)) })
}
