package hostile

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"time"
)

// tlsAttacks are on the handshake, whatever is behind it.
func tlsAttacks() []Attack {
	var kinds []string
	for _, p := range protocols() {
		kinds = append(kinds, p.kinds...)
	}
	record := func(kind, body string) string {
		return kind + "\x03\x03" + string([]byte{byte(len(body) >> 8), byte(len(body))}) + body
	}
	evils := []evil{
		say("a-message-of-2^24", record("\x16", "\x0b\xff\xff\xff"+strings.Repeat("A", 16000))),
		say("a-certificate-of-2^24", record("\x16", "\x02\x00\x00\x26\x03\x03"+strings.Repeat("r", 32)+"\x00\xc0\x2f\x00")+record("\x16", "\x0b\xff\xff\xff\xff\xff\xff"+strings.Repeat("A", 16000))),
		flood("warnings", "", record("\x15", "\x01\x5a")),
		flood("empty-records", "", record("\x16", "")),
		flood("greetings", "", record("\x16", "\x00\x00\x00\x00")),
		flood("a-handshake-that-never-ends", record("\x16", "\x0b\x03\xff\xff"), record("\x16", strings.Repeat("A", 16000))),
		flood("change-cipher-spec", "", record("\x14", "\x01")),
		say("a-record-of-65535", "\x16\x03\x03\xff\xffA"),
	}
	var all []Attack
	for _, e := range append(slices.Clone(evils), common[0], common[1]) {
		all = append(all, Attack{Name: "tls/hello/" + e.name, Kinds: kinds, Serve: func(c net.Conn) {
			p := protocol{begin: func() talk { return hello }}
			_ = c.SetDeadline(time.Now().Add(patience)) // as in converse
			p.serve(c, greeting, e.do)
		}})
	}
	return all
}

// hello reads the beginning of what may be a client's hello.
func hello(r *bufio.Reader) (string, []byte, error) {
	_, err := r.Peek(1)
	return greeting, []byte("\x15\x03\x03\x00\x02\x02\x28"), err
}
