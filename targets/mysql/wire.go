package mysql

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Bounds on what a server may send, beside [driver.CallBytes]. The client library
// makes room for as many columns as are announced.
const (
	maxPacket  = 4 << 20 // bytes
	maxSaid    = 64 << 10
	maxPackets = 250_000 // for one call
	maxSignIn  = 10      // packets until a session is there
	fewestSalt = 20      // bytes that a proof is made over
)

// Capabilities, and the first bytes of packets.
const (
	withTLS    = 0x0800
	packetOK   = 0x00
	packetMore = 0x01
	packetFile = 0xfb
	packetEnd  = 0xfe
	packetErr  = 0xff
	fullSignIn = 4 // in a packetMore: the server wants the password itself
)

// wire is one session's connection: what the client library sends and receives,
// with bounds on it. TLS is begun here and not in the library, so that what comes
// out of it is seen, and so that nobody is told the password who must not be.
// https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html
type wire struct {
	net.Conn // with the budget on it, and TLS once that has begun
	budget   *driver.Budget
	server   *server
	config   *tls.Config // nil: never
	password patchbay.Secret
	from     *bufio.Reader
	out      []byte // what the library has still to read
	hasTLS   bool   // as the greeting says
	secured  bool
	// ahead is by how much the server's packet numbers are ahead of the library's:
	// packets were exchanged that it knows nothing of.
	ahead   byte
	signing bool // in
	plugin  string
	answers bool // the next packet is the first of an answer
	packets int
	failed  error // what happened first
}

// dialWire reaches the server and reads its greeting.
func dialWire(ctx context.Context, s *server, d driver.Dialer, l driver.UserPassword) (*wire, error) {
	encryption := s.tls
	if l != s.admin {
		encryption.ClientCert, encryption.ClientKey = patchbay.Secret{}, patchbay.Secret{} // the administrator's
	}
	config, err := encryption.Config(s.host)
	if err != nil {
		return nil, err
	}
	conn, err := d.DialContext(ctx, "tcp", s.address())
	if err != nil {
		return nil, err
	}
	w := &wire{budget: driver.NewBudget(s.address(), driver.CallBytes), server: s, config: config, password: l.Password, signing: true}
	w.budget.Renew(ctx)
	w.Conn = w.budget.Conn(conn)
	w.from = bufio.NewReader(w.Conn)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	body, err := w.next()
	if err == nil {
		err = w.greeted(body)
	}
	if err != nil {
		_ = conn.Close()
		return nil, w.fail(err)
	}
	return w, nil
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

// next reads one packet as it is.
func (w *wire) next() ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(w.from, head); err != nil {
		return nil, err
	}
	length := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	most := maxPacket
	if w.signing {
		most = maxSaid
	}
	switch {
	case length == 0 || length > most:
		return nil, w.budget.Refuse("announces a packet of %d bytes", length)
	case w.packets == maxPackets || w.signing && w.packets == maxSignIn:
		return nil, w.budget.Refuse("does not come to an end with its answer")
	}
	w.packets++
	packet := append(head, make([]byte, length)...) //nolint:makezero // head is the packet's first bytes
	_, err := io.ReadFull(w.from, packet[4:])
	return packet, err
}

// greeted looks at the first packet.
func (w *wire) greeted(packet []byte) error {
	w.out = packet
	body := packet[4:]
	if body[0] == packetErr {
		return nil // the library says what
	}
	version := bytes.IndexByte(body, 0)
	// Behind the version: 4 of an id, 8 of a salt, a zero; capabilities, 5 more; 10
	// of nothing; the rest of the salt.
	if body[0] != 10 || version < 0 || len(body) < version+1+13+18+13 {
		return w.budget.Refuse("greets in no way that a MySQL server does")
	}
	rest := body[version+1+13:]
	w.hasTLS = binary.LittleEndian.Uint16(rest)&withTLS != 0
	if n := bytes.IndexByte(rest[18+13:], 0); n > 0 {
		w.plugin = string(rest[18+13 : 18+13+n])
	}
	switch {
	case w.config == nil, w.server.tls.Mode == driver.TLSPrefer && !w.hasTLS:
		w.config = nil
	case !w.hasTLS:
		return tls.RecordHeaderError{Msg: "no TLS"}
	}
	return nil
}

// Read implements [net.Conn].
func (w *wire) Read(p []byte) (int, error) {
	for len(w.out) == 0 {
		packet, err := w.next()
		if err == nil {
			err = w.look(packet)
		}
		if err != nil {
			return 0, w.fail(err)
		}
	}
	n := copy(p, w.out)
	w.out = w.out[n:]
	return n, nil
}

// look judges a packet, and hands it on unless it is answered here.
func (w *wire) look(packet []byte) error {
	body := packet[4:]
	if !w.signing {
		first := w.answers
		w.answers = false
		if err := w.answer(body, first); err != nil {
			return err
		}
		w.out = packet
		return nil
	}
	number := packet[3]
	switch body[0] {
	case packetOK:
		w.signing = false
	case packetEnd: // another plugin
		name, salt, _ := bytes.Cut(body[1:], []byte{0})
		w.plugin = string(name)
		if len(salt) < fewestSalt {
			return w.budget.Refuse("asks for a proof over nothing")
		}
	case packetMore:
		switch {
		case w.plugin != pluginSHA2:
		case len(body) == 2 && body[1] == fullSignIn:
			if w.server.weakest != authPassword {
				return w.tellsNobody()
			}
			if w.secured { // the library would ask for a key, as it does not know of TLS
				w.ahead += 2
				return w.send(number+1, append([]byte(w.password.Reveal()), 0))
			}
		case len(body) > 2:
			block, _ := pem.Decode(body[1:])
			if block == nil {
				return w.budget.Refuse("gives a key that is none")
			}
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if _, ok := key.(*rsa.PublicKey); err != nil || !ok {
				return w.budget.Refuse("gives a key that is none")
			}
		}
	}
	packet[3] -= w.ahead
	w.out = packet
	return nil
}

// answer judges a packet of an answer. A number of columns is a packet of at most nine
// bytes; a row that begins as one that is too large has hundreds. What files are asked
// for stands first.
func (w *wire) answer(body []byte, first bool) error {
	switch {
	case first && body[0] == packetFile:
		return w.budget.Refuse("asks for a file of this machine")
	case len(body) <= 9 && (body[0] == 0xfc || body[0] == 0xfd), len(body) == 9 && body[0] == packetEnd:
		return w.budget.Refuse("announces more columns than any table of its own has")
	}
	return nil
}

// tellsNobody is why the password is not told.
func (w *wire) tellsNobody() error {
	if w.server.tls.Verified() {
		return patchbay.Errorf(patchbay.NotSupported, "%s asks for the password itself, and the registration does not allow it (weakestAuth); nothing was sent", w.server.address()).
			WithFix("register it again without weakestAuth")
	}
	return patchbay.Errorf(patchbay.CertificateInvalid, "%s asks for the password itself, and nothing proves that it is the server; nothing was sent", w.server.address()).
		WithFix("register it again with sslmode verify-full and the authority of its certificate (ca), so that it is known who asks (MySQL makes one: ca.pem in its data directory, which goes with sslmode verify-ca); or let whoever is in between read the password: --property weakestAuth=password")
}

func (w *wire) send(number byte, body []byte) error {
	head := []byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), number}
	_, err := w.Conn.Write(append(head, body...))
	return err
}

// Write implements [net.Conn]. The library writes packet by packet.
func (w *wire) Write(p []byte) (int, error) {
	if len(p) < 5 {
		return 0, w.fail(errors.New("no packet"))
	}
	packet := bytes.Clone(p)
	if !w.signing {
		w.answers = packet[3] == 0
	} else {
		if w.config != nil && !w.secured {
			if err := w.secure(packet); err != nil {
				return 0, w.fail(err)
			}
		}
		packet[3] += w.ahead
	}
	if _, err := w.Conn.Write(packet); err != nil {
		return 0, w.fail(err)
	}
	return len(p), nil
}

// secure begins TLS: who asks for it sends the first part of its sign-in, which
// follows in whole when TLS is there.
func (w *wire) secure(packet []byte) error {
	const first = 32 // bytes
	if len(packet) < 4+first {
		return errors.New("no sign-in")
	}
	binary.LittleEndian.PutUint16(packet[4:], binary.LittleEndian.Uint16(packet[4:])|withTLS)
	if err := w.send(packet[3], packet[4:4+first]); err != nil {
		return err
	}
	if w.from.Buffered() > 0 {
		return w.budget.Refuse("says something in the clear before TLS has begun")
	}
	conn := tls.Client(w.Conn, driver.TLSTo(w.config, w.server.host))
	if err := conn.HandshakeContext(context.Background()); err != nil {
		return err
	}
	w.Conn, w.from, w.secured = conn, bufio.NewReader(conn), true
	w.ahead++
	return nil
}

// begin begins a call on the session, and what it returns ends it.
func (w *wire) begin(ctx context.Context) (end func()) {
	w.budget.Renew(ctx)
	w.packets = 0
	return w.budget.End
}

// protocol is TLS's, "" in the clear.
func (w *wire) protocol() string {
	if c, ok := w.Conn.(*tls.Conn); ok {
		return tls.VersionName(c.ConnectionState().Version)
	}
	return ""
}
