package hostile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// The client/server protocol: https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html
func mysql() protocol {
	return protocol{
		name: "mysql", kinds: []string{"mysql"}, stages: []string{greeting, signIn, question}, begin: func() talk { return (&mysqlServer{}).talk },
		evils: []evil{
			{name: "a-packet-that-never-ends", do: func(l *line, _ []byte) error { return l.mysqlParts(0) }},
			{name: "a-packet-that-never-ends-behind-one", do: func(l *line, answer []byte) error {
				if _, err := l.Write(answer); err != nil {
					return err
				}
				return l.mysqlParts(answer[3] + 1)
			}},
			flood("packet-of-2^24", "\xff\xff\xff\x00", "A"),
			{name: "another-way-to-sign-in-again-and-again", stages: []string{signIn}, do: func(l *line, _ []byte) error {
				for seq := byte(2); ; seq += 2 {
					if _, err := l.Write(mysqlPacket(seq, "\xfemysql_native_password\x00"+strings.Repeat("s", 20)+"\x00")); err != nil {
						return err
					}
					if _, _, err := mysqlRead(l.Reader); err != nil {
						return err
					}
				}
			}},
			{name: "a-key-that-is-none", stages: []string{signIn}, do: func(l *line, _ []byte) error {
				if _, err := l.Write(mysqlPacket(2, "\xfecaching_sha2_password\x00"+strings.Repeat("s", 20)+"\x00")); err != nil {
					return err
				}
				if _, _, err := mysqlRead(l.Reader); err != nil {
					return err
				}
				if _, err := l.Write(mysqlPacket(4, "\x01\x04")); err != nil {
					return err
				}
				_, err := l.Write(mysqlPacket(6, "\x01-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"))
				return err
			}},
			sayPacket("a-plugin-of-nobody", 2, "\xfe"+strings.Repeat("A", 1<<16), signIn),
			sayPacket("columns-of-2^64-1", 1, "\xfe\xff\xff\xff\xff\xff\xff\xff\xff", question),
			sayPacket("columns-of-2^46", 1, "\xfe\x00\x00\x00\x00\x00\x40\x00\x00", question),
			sayPacket("columns-of-2^31", 1, "\xfe\x00\x00\x00\x80\x00\x00\x00\x00", question),
			sayPacket("a-file-of-the-client", 1, "\xfb/etc/passwd", question),
			sayPacket("an-error-of-a-mebibyte", 1, "\xff\x15\x04#28000"+strings.Repeat("A", 1<<20)),
			sayPacket("an-error-without-a-number", 1, "\xff"),
			sayPacket("an-empty-packet", 1, ""),
			sayPacket("a-greeting-without-an-end", 0, "\x0a5.7.0", greeting),
			{name: "columns-for-ever", stages: []string{question}, do: func(l *line, _ []byte) error {
				if _, err := l.Write(mysqlPacket(1, "\xfd\xff\xff\xff")); err != nil {
					return err
				}
				return l.mysqlPackets(2, mysqlColumn)
			}},
			{name: "rows-for-ever", stages: []string{question}, do: func(l *line, answer []byte) error {
				if _, err := l.Write(answer[:len(answer)-9-6]); err != nil { // without the row and the end
					return err
				}
				return l.mysqlPackets(4, "\x011")
			}},
			{name: "a-value-of-2^63", stages: []string{question}, do: func(l *line, answer []byte) error {
				if _, err := l.Write(answer[:len(answer)-9-6]); err != nil {
					return err
				}
				_, err := l.Write(mysqlPacket(4, "\xfe\xff\xff\xff\xff\xff\xff\xff\x7fA"))
				return err
			}},
			{name: "results-for-ever", stages: []string{question}, do: func(l *line, _ []byte) error {
				return l.mysqlPackets(1, "\x00\x00\x00\x0a\x00\x00\x00") // OK, and more results
			}},
		},
	}
}

func sayPacket(name string, seq byte, body string, stages ...string) evil {
	return evil{name: name, stages: stages, do: func(l *line, answer []byte) error {
		if len(answer) > 3 {
			seq = answer[3]
		}
		_, err := l.Write(mysqlPacket(seq, body))
		return err
	}}
}

// mysqlParts are those of one packet: each as large as it can be, so that
// another follows.
func (l *line) mysqlParts(seq byte) error {
	full := make([]byte, 4+0xffffff)
	copy(full, "\xff\xff\xff")
	for range endless / len(full) {
		full[3] = seq
		seq++
		if _, err := l.Write(full); err != nil {
			return err
		}
	}
	return errEnough
}

func (l *line) mysqlPackets(seq byte, body string) error {
	return l.growing(func(n int) []byte { return mysqlPacket(seq+byte(n), body) })
}

func mysqlPacket(seq byte, body string) []byte {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body))|uint32(seq)<<24)
	return append(head, body...)
}

const mysqlColumn = "\x03def\x00\x00\x00\x011\x00\x0c\x3f\x00\x01\x00\x00\x00\x08\x81\x00\x00\x00\x00"

func mysqlRead(r *bufio.Reader) (seq byte, body []byte, err error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head) & 0xffffff
	if n > 4<<20 {
		return 0, nil, errors.New("not what a client says")
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r, body)
	return head[3], body, err
}

// mysqlServer lets everybody in, and answers every question with 1.
type mysqlServer struct{ greeted, in bool }

func (s *mysqlServer) talk(r *bufio.Reader) (string, []byte, error) {
	if !s.greeted {
		s.greeted = true
		salt := "12345678"
		return greeting, mysqlPacket(0, "\x0a8.0.40\x00\x01\x00\x00\x00"+salt+"\x00"+"\xff\xf7\x21\x02\x00\xff\x80\x15"+strings.Repeat("\x00", 10)+
			"123456789012\x00mysql_native_password\x00"), nil
	}
	seq, body, err := mysqlRead(r)
	switch {
	case err != nil:
		return "", nil, err
	case !s.in:
		s.in = true
		return signIn, mysqlPacket(seq+1, "\x00\x00\x00\x02\x00\x00\x00"), nil
	case len(body) > 0 && body[0] == 3:
		end := "\xfe\x00\x00\x02\x00"
		var b []byte
		for i, packet := range []string{"\x01", mysqlColumn, end, "\x011", end} {
			b = append(b, mysqlPacket(byte(i+1), packet)...)
		}
		return question, b, nil
	case len(body) > 0 && body[0] == 1:
		return "", nil, io.EOF
	}
	return "", mysqlPacket(1, "\x00\x00\x00\x02\x00\x00\x00"), nil
}
