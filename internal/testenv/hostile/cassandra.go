package hostile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The native protocol, version 4: https://cassandra.apache.org/_/native_protocol.html
func cassandra() protocol {
	return protocol{
		name: "cassandra", kinds: []string{"cosmos-cassandra"}, stages: []string{greeting, signIn, question}, begin: func() talk { return cqlTalk },
		evils: append([]evil{
			cqlSay("an-event-of-nobody", 0, -1, 0x0c, "\x00\x04NONE"),
			cqlSay("an-event-without-an-end", 0, -1, 0x0c, "\x00\x0dSCHEMA_CHANGE"),
			cqlSay("an-empty-event", 0, -1, 0x0c, ""),
			cqlSay("a-trace-that-is-not-there", 2, 0, 0x08, "\x00"),
			cqlSay("an-error-with-a-trace-that-is-not-there", 2, 0, 0, "\x00\x00\x00\x00\x00\x02no"),
			cqlSay("compressed", 1, 0, 0x08, "\x00\x00\x00\x01"),
			cqlSay("warnings-of-65535", 8, 0, 0x08, "\xff\xff"),
			cqlSay("payload-of-65535", 4, 0, 0x08, "\xff\xff"),
			cqlSay("options-of-65535", 0, 0, 0x06, "\xff\xff"),
			cqlSay("columns-of-2^31", 0, 0, 0x08, "\x00\x00\x00\x02\x00\x00\x00\x01\x7f\xff\xff\xff\x00\x01k\x00\x01t"),
			cqlSay("columns-of-minus-1", 0, 0, 0x08, "\x00\x00\x00\x02\x00\x00\x00\x01\xff\xff\xff\xff\x00\x01k\x00\x01t"),
			cqlSay("columns-of-2^26-without-names", 0, 0, 0x08, "\x00\x00\x00\x02\x00\x00\x00\x04\x04\x00\x00\x00\x00\x00\x00\x01"),
			cqlSay("rows-of-2^31", 0, 0, 0x08, "\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01k\x00\x01t\x7f\xff\xff\xff"),
			cqlSay("rows-of-minus-1", 0, 0, 0x08, "\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01k\x00\x01t\x00\x01c\x00\x0d\xff\xff\xff\xff"),
			cqlSay("lists-in-lists", 0, 0, 0x08, "\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01k\x00\x01t\x00\x01c"+strings.Repeat("\x00\x20", 1<<21)+"\x00\x0d"),
			cqlSay("a-tuple-of-65535", 0, 0, 0x08, "\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01k\x00\x01t\x00\x01c\x00\x31\xff\xff"),
			cqlSay("prepared-keys-of-2^31", 0, 0, 0x08, "\x00\x00\x00\x04\x00\x01a\x00\x00\x00\x01\x00\x00\x00\x01\x7f\xff\xff\xff"),
			cqlSay("a-result-of-nobody", 0, 0, 0x08, "\x00\x00\x00\x63"),
			cqlSay("an-answer-of-nobody", 0, 0, 0x63, ""),
			cqlSay("an-empty-result", 0, 0, 0x08, ""),
			cqlSay("ready-again", 0, 0, 0x02, ""),
			cqlSay("sign-in-again", 0, 0, 0x03, "\x00\x2forg.apache.cassandra.auth.PasswordAuthenticator"),
			cqlSay("a-challenge-of-2^31", 0, 0, 0x0e, "\x7f\xff\xff\xff"),
			cqlSay("a-stream-of-nobody", 0, 0x7fff, 0x08, "\x00\x00\x00\x01"),
			{name: "challenges-for-ever", stages: []string{signIn}, do: func(l *line, answer []byte) error {
				if _, err := l.Write(cqlFrame(answer, 0, 0, 0x03, "\x00\x2forg.apache.cassandra.auth.PasswordAuthenticator")); err != nil {
					return err
				}
				for {
					head, err := cqlRead(l.Reader)
					if err != nil {
						return err
					}
					if _, err := l.Write(cqlFrame(head, 0, 0, 0x0e, "\x00\x00\x00\x01A")); err != nil {
						return err
					}
				}
			}},
			{name: "events-for-ever", do: func(l *line, answer []byte) error {
				return l.forever(cqlFrame(answer, 0, -1, 0x0c, "\x00\x0dSTATUS_CHANGE\x00\x02UP\x04\x7f\x00\x00\x01\x00\x00\x23\x52"))
			}},
		}, append(cqlLengths(), cqlErrors()...)...),
	}
}

func cqlLengths() []evil {
	var all []evil
	for name, n := range map[string]uint32{"2^31-1": 1<<31 - 1, "minus-1": 1<<32 - 1, "256-mebibyte": 256 << 20} {
		all = append(all, evil{name: "frame-of-" + name, do: func(l *line, answer []byte) error {
			frame := cqlFrame(answer, 0, 0, 0x08, "AAAA")
			binary.BigEndian.PutUint32(frame[5:], n)
			_, err := l.Write(frame)
			return err
		}})
	}
	return sorted(all)
}

// cqlErrors are an error of every code, each cut off after its message, and with
// the largest numbers behind it.
func cqlErrors() []evil {
	var all []evil
	for _, code := range []uint32{
		0, 0x0a, 0x100, 0x1000, 0x1001, 0x1002, 0x1003, 0x1100, 0x1200, 0x1300, 0x1400, 0x1500, 0x1600, 0x1700,
		0x2000, 0x2100, 0x2200, 0x2300, 0x2400, 0x2500, 0x9999,
	} {
		for name, rest := range map[string]string{"": "\x00\x02no", "-and-no-message": "", "-and-half-a-message": "\x00\xffno", "-and-large-numbers": "\x00\x02no" + strings.Repeat("\x7f\xff", 32)} {
			all = append(all, cqlSay(fmt.Sprintf("error-%04x%s", code, name), 0, 0, 0, string(binary.BigEndian.AppendUint32(nil, code))+rest))
		}
	}
	return sorted(all)
}

// cqlSay is an evil of one frame; stream 0 is that of the answer.
func cqlSay(name string, flags byte, stream int16, op byte, body string) evil {
	return evil{name: name, do: func(l *line, answer []byte) error {
		_, err := l.Write(cqlFrame(answer, flags, stream, op, body))
		return err
	}}
}

// cqlFrame is one on the stream of an answer, or on another.
func cqlFrame(answer []byte, flags byte, stream int16, op byte, body string) []byte {
	frame := []byte{0x84, flags, answer[2], answer[3], op}
	if stream != 0 {
		binary.BigEndian.PutUint16(frame[2:], uint16(stream))
	}
	return append(binary.BigEndian.AppendUint32(frame, uint32(len(body))), body...)
}

// cqlTalk lets everybody in, and answers every question with no rows.
func cqlTalk(r *bufio.Reader) (string, []byte, error) {
	head, err := cqlRead(r)
	if err != nil {
		return "", nil, err
	}
	switch head[4] {
	case 5:
		return greeting, cqlFrame(head, 0, 0, 6, "\x00\x00"), nil
	case 1:
		return signIn, cqlFrame(head, 0, 0, 2, ""), nil
	}
	return question, cqlFrame(head, 0, 0, 8, "\x00\x00\x00\x01"), nil
}

// cqlRead reads a frame and returns its head.
func cqlRead(r *bufio.Reader) ([]byte, error) {
	head := make([]byte, 9)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[5:])
	if n > 4<<20 {
		return nil, errors.New("not what a client says")
	}
	_, err := io.CopyN(io.Discard, r, int64(n))
	return head, err
}
