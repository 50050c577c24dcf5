package hostile

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// The frontend/backend protocol: PostgreSQL manual, chapter 54.
func postgres() protocol {
	return protocol{
		name: "postgres", kinds: []string{"postgresql", "neon-postgres"}, stages: []string{signIn, question},
		begin: func() talk { return (&pgServer{}).talk },
		evils: append([]evil{
			flood("notices", "", pgMessage('N', "SNOTICE\x00C00000\x00Mhello\x00\x00")),
			flood("notifications", "", pgMessage('A', "\x00\x00\x00\x01a\x00b\x00")),
			flood("rows", pgMessage('1', "")+pgMessage('2', "")+pgColumns(2), pgMessage('D', pgRow("pb_a_g1", `patchbay principal {"uid":"a","generation":1,"connection":"/c","database":"d"}`))),
			flood("empty-rows", pgMessage('1', "")+pgMessage('2', "")+pgColumns(2), pgMessage('D', pgRow("", ""))),
			flood("rows-without-columns", pgMessage('2', ""), pgMessage('D', "\x00\x00")),
			flood("the-same-parameter", "", pgMessage('S', "a\x00b\x00")),
			flood("sign-in-again", "", pgMessage('R', "\x00\x00\x00\x03"), signIn),
			flood("ready-again", "", pgMessage('Z', "I")),
			flood("copy-data", pgMessage('H', "\x00\x00\x00"), pgMessage('d', "AAAA"), question),
			{name: "parameters", do: func(l *line, _ []byte) error {
				return l.growing(func(n int) []byte { return []byte(pgMessage('S', fmt.Sprintf("p%d\x00v\x00", n))) })
			}},
			say("a-parameter-of-a-mebibyte", pgMessage('S', "a\x00"+strings.Repeat("A", 1<<20)+"\x00")),
			say("an-error-of-half-a-mebibyte", pgMessage('E', "SFATAL\x00C28P01\x00M"+strings.Repeat("A", 1<<19)+"\x00\x00")),
			say("an-error-without-an-end", pgMessage('E', "SFATAL\x00C28P01\x00Mno")),
			say("a-row-of-65535-columns", pgColumns(1)+pgMessage('D', "\xff\xff"+strings.Repeat("\xff", 4*65535)), question),
			say("columns-of-65535", pgColumns(65535), question),
			say("columns-that-are-not-there", pgMessage('T', "\xff\xff"), question),
			say("options-of-2^31", pgMessage('v', "\x00\x03\x00\x00\x7f\xff\xff\xff"), signIn),
			say("an-array-of-2^31", pgMessage('1', "")+pgMessage('D', "\x00\x01\x00\x00\x00\x14\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x19\x7f\xff\xff\xff\x00\x00\x00\x01"), question),
			{name: "scram-of-2^31-rounds", stages: []string{signIn}, do: func(l *line, _ []byte) error { return l.scram("2147483647", 1) }},
			{name: "scram-of-ten-million-rounds", stages: []string{signIn}, do: func(l *line, _ []byte) error { return l.scram("10000000", 1) }},
			{name: "scram-again-and-again", stages: []string{signIn}, do: func(l *line, _ []byte) error { return l.scram("900000", 1000) }},
			{name: "scram-with-a-salt-of-a-mebibyte", stages: []string{signIn}, do: func(l *line, _ []byte) error { return l.scramSalted(strings.Repeat("AAAA", 1<<18), "4096") }},
		}, pgLengths()...),
	}
}

func pgLengths() []evil {
	var all []evil
	for _, kind := range "RSEDTNCtvA" {
		for name, n := range map[string]uint32{"2^30": 1 << 30, "2^31-1": 1<<31 - 1, "minus-1": 1<<32 - 1, "3": 3} {
			head := binary.BigEndian.AppendUint32([]byte{byte(kind)}, n)
			all = append(all, say(fmt.Sprintf("message-%c-of-%s", kind, name), string(head)+"AAAA"))
		}
	}
	return sorted(all)
}

func pgMessage(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))) + body
}

// pgColumns describes columns of text.
func pgColumns(n int) string {
	column := "c\x00" + "\x00\x00\x00\x00" + "\x00\x00" + "\x00\x00\x00\x19" + "\xff\xff" + "\xff\xff\xff\xff" + "\x00\x00"
	return pgMessage('T', string(binary.BigEndian.AppendUint16(nil, uint16(n)))+strings.Repeat(column, n))
}

func pgRow(values ...string) string {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}
	return string(b)
}

// scram asks for so many rounds, and again when it is answered.
func (l *line) scram(rounds string, times int) error {
	for range times {
		if err := l.scramSalted("c2FsdA==", rounds); err != nil {
			return err
		}
		if _, err := pgRead(l.Reader); err != nil { // the client's proof
			return err
		}
	}
	return nil
}

func (l *line) scramSalted(salt, rounds string) error {
	if _, err := io.WriteString(l, pgMessage('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00")); err != nil {
		return err
	}
	first, err := pgRead(l.Reader)
	if err != nil {
		return err
	}
	_, nonce, _ := bytes.Cut(first, []byte("r="))
	_, err = io.WriteString(l, pgMessage('R', "\x00\x00\x00\x0br="+string(nonce)+base64.StdEncoding.EncodeToString([]byte("more"))+",s="+salt+",i="+rounds))
	return err
}

// pgRead reads a message with its type before it.
func pgRead(r *bufio.Reader) ([]byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[1:])) - 4
	if n < 0 || n > 4<<20 {
		return nil, errors.New("not what a client says")
	}
	body := make([]byte, n)
	_, err := io.ReadFull(r, body)
	return append(head[:1], body...), err
}

// pgServer lets everybody in, and answers every question with no rows.
type pgServer struct {
	in  bool
	sql string // of the statement that was prepared last
}

func (s *pgServer) talk(r *bufio.Reader) (string, []byte, error) {
	if !s.in {
		head := make([]byte, 8)
		if _, err := io.ReadFull(r, head); err != nil {
			return "", nil, err
		}
		n := int(binary.BigEndian.Uint32(head)) - len(head)
		switch code := binary.BigEndian.Uint32(head[4:]); {
		case n < 0 || n > 1<<16:
			return "", nil, errors.New("not what a client says")
		case code == 80877103: // TLS
			return "", []byte("N"), nil
		case code == 80877102: // cancel
			return "", nil, io.EOF
		}
		if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
			return "", nil, err
		}
		s.in = true
		return signIn, []byte(pgMessage('R', "\x00\x00\x00\x00") + pgMessage('S', "server_version\x0016.4\x00") +
			pgMessage('S', "client_encoding\x00UTF8\x00") + pgMessage('S', "standard_conforming_strings\x00on\x00") +
			pgMessage('K', "\x00\x00\x00\x01\x00\x00\x00\x02") + pgMessage('Z', "I")), nil
	}
	var answer strings.Builder
	for {
		m, err := pgRead(r)
		if err != nil {
			return "", nil, err
		}
		switch m[0] {
		case 'Q':
			answer.WriteString(pgMessage('C', "SELECT 0\x00") + pgMessage('Z', "I"))
			return question, []byte(answer.String()), nil
		case 'P':
			_, sql, _ := bytes.Cut(m[1:], []byte{0})
			s.sql = string(sql)
			answer.WriteString(pgMessage('1', ""))
		case 'D':
			answer.WriteString(s.describe())
		case 'B':
			answer.WriteString(pgMessage('2', ""))
		case 'E':
			answer.WriteString(pgMessage('C', "SELECT 0\x00"))
		case 'C':
			answer.WriteString(pgMessage('3', ""))
		case 'S':
			answer.WriteString(pgMessage('Z', "I"))
			return question, []byte(answer.String()), nil
		case 'X':
			return "", nil, io.EOF
		}
	}
}

var pgParameter = regexp.MustCompile(`(any\()?\$(\d+)(::text\[\])?`)

// describe says what parameters the statement has: texts, or lists of them.
func (s *pgServer) describe() string {
	types := map[int]uint32{}
	for _, m := range pgParameter.FindAllStringSubmatch(s.sql, -1) {
		n, _ := strconv.Atoi(m[2])
		switch {
		case m[1] != "" || m[3] != "":
			types[n] = 1009
		case strings.Contains(s.sql, "pg_advisory_xact_lock($1)"):
			types[n] = 20
		case types[n] == 0:
			types[n] = 25
		}
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(len(types)))
	for n := range len(types) {
		b = binary.BigEndian.AppendUint32(b, types[n+1])
	}
	if text := strings.TrimSpace(s.sql); !strings.HasPrefix(text, "select") && !strings.HasPrefix(text, "with") {
		return pgMessage('t', string(b)) + pgMessage('n', "")
	}
	return pgMessage('t', string(b)) + pgColumns(2)
}
