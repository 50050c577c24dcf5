package testenv

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"unicode/utf16"
)

// The part of TDS 7.4 that a [SQLServer] speaks: what is said before a sign-in, the
// sign-in by a password, batches, sp_executesql without parameters, and answers of two
// types of columns.
// https://learn.microsoft.com/openspecs/windows_protocols/ms-tds

const (
	tdsBatch     = 0x01
	tdsRPC       = 0x03
	tdsAnswer    = 0x04
	tdsAttention = 0x06
	tdsLogin     = 0x10
	tdsPrelogin  = 0x12

	tdsHead    = 8
	tdsPacket  = 4096
	tdsMost    = 1 << 20
	tdsVersion = 0x74000004
)

// tdsLine is a client's connection.
type tdsLine struct {
	net.Conn
	raw net.Conn
}

// read is one message.
func (l *tdsLine) read() (kind byte, body []byte, err error) {
	head := make([]byte, tdsHead)
	for {
		if _, err := io.ReadFull(l, head); err != nil {
			return 0, nil, err
		}
		length := int(binary.BigEndian.Uint16(head[2:]))
		if length < tdsHead || len(body)+length > tdsMost {
			return 0, nil, fmt.Errorf("a packet of %d bytes", length)
		}
		part := make([]byte, length-tdsHead)
		if _, err := io.ReadFull(l, part); err != nil {
			return 0, nil, err
		}
		body = append(body, part...)
		if head[1]&1 == 1 {
			return head[0], body, nil
		}
	}
}

// write is one message.
func (l *tdsLine) write(kind byte, body []byte) error {
	var out []byte
	for n := 1; ; n++ {
		part := body[:min(len(body), tdsPacket-tdsHead)]
		body = body[len(part):]
		last := byte(0)
		if len(body) == 0 {
			last = 1
		}
		head := []byte{kind, last, 0, 0, 0, 52, byte(n), 0}
		binary.BigEndian.PutUint16(head[2:], uint16(tdsHead+len(part)))
		out = append(append(out, head...), part...)
		if last == 1 {
			_, err := l.Write(out)
			return err
		}
	}
}

// greet answers the first message, and begins TLS where both sides want it.
func (l *tdsLine) greet(config *tls.Config) error {
	kind, body, err := l.read()
	if err != nil {
		return err
	}
	if kind != tdsPrelogin {
		return errors.New("no prelogin")
	}
	wants := byte(2)
	for at := 0; at+5 <= len(body) && body[at] != 0xff; at += 5 {
		value := int(binary.BigEndian.Uint16(body[at+1:]))
		if body[at] == 1 && value < len(body) {
			wants = body[value]
		}
	}
	has := byte(2)
	switch {
	case config == nil:
	case wants == 1 || wants == 3:
		has = 1
	default:
		has = 3 // it insists, as a server with Force Encryption does
	}
	answer := []byte{0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 16, 0, 0x10, 0, 0, 0, has}
	if err := l.write(tdsAnswer, answer); err != nil {
		return err
	}
	if has != 1 {
		if has == 3 {
			return errors.New("the client wants no TLS")
		}
		return nil
	}
	between := &tdsHandshake{Conn: l.raw}
	conn := tls.Server(between, config)
	if err := conn.Handshake(); err != nil {
		return err
	}
	if err := between.flush(); err != nil {
		return err
	}
	between.done = true
	l.Conn = conn
	return nil
}

// tdsHandshake is a connection whose bytes go in packets until TLS is there.
type tdsHandshake struct {
	net.Conn
	in, out []byte
	done    bool
}

func (h *tdsHandshake) flush() error {
	if len(h.out) == 0 {
		return nil
	}
	l := &tdsLine{Conn: h.Conn}
	err := l.write(tdsPrelogin, h.out)
	h.out = nil
	return err
}

func (h *tdsHandshake) Write(p []byte) (int, error) {
	if h.done {
		return h.Conn.Write(p)
	}
	h.out = append(h.out, p...)
	return len(p), nil
}

func (h *tdsHandshake) Read(p []byte) (int, error) {
	if h.done {
		return h.Conn.Read(p)
	}
	if err := h.flush(); err != nil {
		return 0, err
	}
	if len(h.in) == 0 {
		l := &tdsLine{Conn: h.Conn}
		kind, body, err := l.read()
		if err != nil {
			return 0, err
		}
		if kind != tdsPrelogin {
			return 0, errors.New("no part of a handshake")
		}
		h.in = body
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	return n, nil
}

// signingIn is what a client says of itself.
type signingIn struct{ user, password, program, database string }

func readLogin(body []byte) (signingIn, error) {
	if len(body) < 94 {
		return signingIn{}, errors.New("a short login")
	}
	text := func(at int, mangled bool) string {
		from, n := int(binary.LittleEndian.Uint16(body[at:])), 2*int(binary.LittleEndian.Uint16(body[at+2:]))
		if from+n > len(body) {
			return ""
		}
		raw := bytes.Clone(body[from : from+n])
		if mangled {
			for i, b := range raw {
				b ^= 0xa5
				raw[i] = b<<4 | b>>4
			}
		}
		return ucs2(raw)
	}
	return signingIn{user: text(40, false), password: text(44, true), program: text(48, false), database: text(68, false)}, nil
}

func ucs2(raw []byte) string {
	all := make([]uint16, len(raw)/2)
	for i := range all {
		all[i] = binary.LittleEndian.Uint16(raw[2*i:])
	}
	return string(utf16.Decode(all))
}

func toUCS2(text string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// statementOf is the text of a batch, or of a call of sp_executesql that has nothing but
// a text.
func statementOf(kind byte, body []byte) (string, error) {
	if len(body) < 4 {
		return "", errors.New("a short request")
	}
	headers := int(binary.LittleEndian.Uint32(body))
	if headers > len(body) {
		return "", errors.New("headers beyond the request")
	}
	body = body[headers:]
	if kind == tdsBatch {
		return ucs2(body), nil
	}
	// 0xffff, the procedure's number, flags; a nameless parameter without flags, of
	// nvarchar: its size, a collation, its length.
	const executeSQL = 10
	if len(body) < 18 || binary.LittleEndian.Uint16(body) != 0xffff || binary.LittleEndian.Uint16(body[2:]) != executeSQL || body[6] != 0 || body[8] != 0xe7 {
		return "", errors.New("a procedure that is not known")
	}
	n := int(binary.LittleEndian.Uint16(body[16:]))
	if 18+n > len(body) {
		return "", errors.New("a text beyond the request")
	}
	return ucs2(body[18 : 18+n]), nil
}

// tdsOut builds an answer.
type tdsOut struct{ b []byte }

func (o *tdsOut) bytes(b ...byte) { o.b = append(o.b, b...) }
func (o *tdsOut) uint16(n int)    { o.b = binary.LittleEndian.AppendUint16(o.b, uint16(n)) }
func (o *tdsOut) uint32(n uint32) { o.b = binary.LittleEndian.AppendUint32(o.b, n) }
func (o *tdsOut) short(s string) {
	o.bytes(byte(len(utf16.Encode([]rune(s)))))
	o.b = append(o.b, toUCS2(s)...)
}
func (o *tdsOut) token(t byte, body []byte) {
	o.bytes(t)
	o.uint16(len(body))
	o.b = append(o.b, body...)
}

// Bits of what is done.
const (
	doneMore      = 0x01
	doneError     = 0x02
	doneCount     = 0x10
	doneAttention = 0x20
)

func (o *tdsOut) done(token byte, status, rows int) {
	o.bytes(token)
	o.uint16(status)
	o.uint16(0xc1)
	o.b = binary.LittleEndian.AppendUint64(o.b, uint64(rows))
}

// message is an error or, of class 0, something to know.
func (o *tdsOut) message(token byte, number int, class byte, text string) {
	var m tdsOut
	m.uint32(uint32(number))
	m.bytes(1, class)
	m.uint16(len(utf16.Encode([]rune(text))))
	m.b = append(m.b, toUCS2(text)...)
	m.short("model")
	m.short("")
	m.uint32(1)
	o.token(token, m.b)
}

func (o *tdsOut) signedIn(database string) {
	var e, ack tdsOut
	e.bytes(1)
	e.short(database)
	e.short("master")
	o.token(0xe3, e.b)
	o.message(0xab, 5701, 0, "Changed database context to '"+database+"'.")
	ack.bytes(1)
	ack.b = binary.BigEndian.AppendUint32(ack.b, tdsVersion)
	ack.short("Microsoft SQL Server")
	ack.bytes(16, 0, 0x10, 0)
	o.token(0xad, ack.b)
	var size tdsOut
	size.bytes(4)
	size.short(fmt.Sprint(tdsPacket))
	size.short(fmt.Sprint(tdsPacket))
	o.token(0xe3, size.b)
	o.done(0xfd, 0, 0)
}

// sendOn is what a gateway says instead of a database's name.
func (o *tdsOut) sendOn(address string) {
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	var to, e tdsOut
	to.bytes(0)
	to.uint16(number)
	to.uint16(len(host))
	to.b = append(to.b, toUCS2(host)...)
	e.bytes(20)
	e.uint16(len(to.b))
	e.b = append(append(e.b, to.b...), 0, 0)
	o.signedIn("master")
	o.b = o.b[:len(o.b)-13] // what is done comes last
	o.token(0xe3, e.b)
	o.done(0xfd, 0, 0)
}

// rowSet is what one statement gives: columns are int or nvarchar by the type of the
// first value in each that is not nil, and nvarchar where there is none.
type rowSet struct {
	columns int
	rows    [][]any
}

var collation = []byte{0x09, 0x04, 0xd0, 0x00, 0x34}

func (o *tdsOut) rowSet(s *rowSet) {
	numbers := make([]bool, s.columns)
	for i := range numbers {
		for _, row := range s.rows {
			if row[i] != nil {
				_, numbers[i] = row[i].(int)
				break
			}
		}
	}
	o.bytes(0x81)
	o.uint16(s.columns)
	for _, number := range numbers {
		o.uint32(0)
		o.uint16(1)
		if number {
			o.bytes(0x26, 4)
		} else {
			o.bytes(0xe7)
			o.uint16(8000)
			o.bytes(collation...)
		}
		o.short("")
	}
	for _, row := range s.rows {
		o.bytes(0xd1)
		for i, v := range row {
			switch v := v.(type) {
			case int:
				o.bytes(4)
				o.uint32(uint32(v))
			case string:
				text := toUCS2(v)
				o.uint16(len(text))
				o.b = append(o.b, text...)
			default:
				if numbers[i] {
					o.bytes(0)
				} else {
					o.uint16(0xffff)
				}
			}
		}
	}
	o.done(0xfd, doneMore|doneCount, len(s.rows))
}
