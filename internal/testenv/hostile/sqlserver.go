package hostile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// MS-TDS, https://learn.microsoft.com/openspecs/windows_protocols/ms-tds
func sqlServer() protocol {
	return protocol{
		name: "sql", kinds: []string{"sql"}, stages: []string{greeting, signIn, question}, begin: func() talk { return tdsTalk },
		evils: []evil{
			{name: "a-message-that-never-ends", do: func(l *line, _ []byte) error {
				part := tdsPacket(strings.Repeat("A", 4000))
				part[1] = 0 // not the last one
				return l.forever(part)
			}},
			{name: "done-and-more", stages: []string{signIn, question}, do: func(l *line, _ []byte) error {
				return l.tdsForever("\xfd\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
			}},
			{name: "messages", stages: []string{signIn, question}, do: func(l *line, _ []byte) error { return l.tdsForever(tdsMessage(0xab, 1)) }},
			{name: "errors", stages: []string{signIn, question}, do: func(l *line, _ []byte) error { return l.tdsForever(tdsMessage(0xaa, 4060)) }},
			{name: "rows", stages: []string{question}, do: func(l *line, _ []byte) error {
				return l.tdsForever("\x81\x01\x00\x00\x00\x00\x00\x00\x00\x38\x00"+strings.Repeat("\xd1\x01\x00\x00\x00", 2), strings.Repeat("\xd1\x01\x00\x00\x00", 700))
			}},
			{name: "a-value-that-never-ends", stages: []string{question}, do: func(l *line, _ []byte) error {
				// VARBINARY(MAX) in pieces, of a length that nobody knows.
				return l.tdsForever("\x81\x01\x00\x00\x00\x00\x00\x00\x00\xa5\xff\xff\x00\xd1\xfe\xff\xff\xff\xff\xff\xff\xff", "\xa0\x0f\x00\x00"+strings.Repeat("A", 4000))
			}},
			{name: "another-server", stages: []string{signIn}, do: func(l *line, _ []byte) error {
				host := string(utf16le("127.0.0.1"))
				body := "\x00\x01\x00" + string(binary.LittleEndian.AppendUint16(nil, uint16(len("127.0.0.1")))) + host
				body = "\x14" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(body)))) + body + "\x00\x00"
				_, err := l.Write(tdsPacket("\xe3" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(body)))) + body + tdsDone))
				return err
			}},
			sayTDS("features-of-2^31", "\xae\x01\xff\xff\xff\x7fA", signIn),
			sayTDS("features-of-2^32", "\xae\x01\xff\xff\xff\xffA", signIn),
			sayTDS("a-federation-of-2^32", "\xee\xff\xff\xff\xffA", signIn),
			sayTDS("a-federation-of-2^31", "\xee\xff\xff\xff\x7fA", signIn),
			sayTDS("a-federation-of-options", "\xee\x08\x00\x00\x00\xff\xff\xff\x7fAAAA", signIn),
			sayTDS("columns-of-65534", "\x81\xfe\xff", question),
			sayTDS("a-value-of-2^63", "\x81\x01\x00\x00\x00\x00\x00\x00\x00\xa5\xff\xff\x00\xd1\xff\xff\xff\xff\xff\xff\xff\x7f", question),
			sayTDS("a-piece-of-2^32", "\x81\x01\x00\x00\x00\x00\x00\x00\x00\xa5\xff\xff\x00\xd1\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", question),
			sayTDS("a-text-of-2^32", "\x81\x01\x00\x00\x00\x00\x00\x00\x00\x23\xff\xff\xff\x7f\x00\x00\x00\x00\x00\x00\x00\xd1\x10"+strings.Repeat("t", 24)+"\xff\xff\xff\xff", question),
			sayTDS("a-variant-of-2^32", "\x81\x01\x00\x00\x00\x00\x00\x00\x00\x62\x49\x1f\x00\x00\x00\xd1\xff\xff\xff\xff\xa7\x07", question),
			sayTDS("a-type-of-nobody", "\x81\x01\x00\x00\x00\x00\x00\x00\x00\x99\x00", question),
			sayTDS("a-token-of-nobody", "\x42", signIn, question),
			sayTDS("a-token-without-an-end", "\xe3\xff\xff\x01", signIn, question),
			say("a-packet-of-no-length", "\x04\x01\x00\x00\x00\x00\x01\x00"),
			say("a-packet-of-65535", "\x04\x01\xff\xff\x00\x00\x01\x00A"),
			sayTDS("options-beyond-the-end", "\x00\xff\xff\xff\xff\xff", greeting),
		},
	}
}

const tdsDone = "\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func sayTDS(name, body string, stages ...string) evil {
	return say(name, string(tdsPacket(body)), stages...)
}

// tdsForever is one message with a head, and then the same for ever.
func (l *line) tdsForever(head string, what ...string) error {
	part := func(body string) []byte {
		p := tdsPacket(body)
		p[1] = 0
		return p
	}
	if _, err := l.Write(part(head)); err != nil {
		return err
	}
	if len(what) == 0 {
		what = []string{strings.Repeat(head, max(1, 4000/len(head)))}
	}
	return l.forever(part(what[0]))
}

func tdsPacket(body string) []byte {
	head := []byte{4, 1, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(len(body)+len(head)))
	return append(head, body...)
}

func utf16le(s string) []byte {
	var b []byte
	for _, c := range []byte(s) { // of ASCII
		b = append(b, c, 0)
	}
	return b
}

func tdsMessage(token byte, number uint32) string {
	body := append(binary.LittleEndian.AppendUint32(nil, number), 1, 14, 1, 0, 'A', 0, 0, 0, 1, 0, 0, 0)
	return string(binary.LittleEndian.AppendUint16([]byte{token}, uint16(len(body)))) + string(body)
}

// tdsTalk lets everybody in without encryption, and answers every question with
// 1.
func tdsTalk(r *bufio.Reader) (string, []byte, error) {
	kind, err := tdsRead(r)
	if err != nil {
		return "", nil, err
	}
	switch kind {
	case 0x12:
		return greeting, tdsPacket("\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff\x0f\x00\x00\x00\x00\x00\x02"), nil
	case 0x10:
		ack := "\x01\x74\x00\x00\x04\x04S\x00Q\x00L\x00S\x00\x0f\x00\x00\x00"
		return signIn, tdsPacket("\xad" + string([]byte{byte(len(ack)), 0}) + ack + tdsDone), nil
	case 1, 3:
		return question, tdsPacket("\x81\x01\x00\x00\x00\x00\x00\x00\x00\x38\x00\xd1\x01\x00\x00\x00\xfd\x10\x00\xc1\x00\x01\x00\x00\x00\x00\x00\x00\x00"), nil
	}
	return "", tdsPacket(tdsDone), nil
}

func tdsRead(r *bufio.Reader) (kind byte, err error) {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(r, head); err != nil {
			return 0, err
		}
		n := int(binary.BigEndian.Uint16(head[2:])) - len(head)
		if n < 0 {
			return 0, errors.New("not what a client says")
		}
		if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
			return 0, err
		}
		if head[1]&1 == 1 {
			return head[0], nil
		}
	}
}
