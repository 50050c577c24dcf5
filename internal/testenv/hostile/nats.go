package hostile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The protocol of clients: https://docs.nats.io/reference/reference-protocols/nats-protocol
func nats() protocol {
	return protocol{
		name: "nats", kinds: []string{"nats"}, stages: []string{greeting, signIn, question}, begin: func() talk { return (&natsServer{}).talk },
		evils: []evil{
			flood("a-greeting-that-never-ends", "INFO {\"a\":\"", "A"),
			flood("an-error-that-never-ends", "-ERR '", "A"),
			flood("a-line-that-never-ends", "MSG ", "A"),
			flood("pings", "", "PING\r\n"),
			flood("pongs", "PONG\r\n", "PONG\r\n"),
			flood("errors", "", "-ERR 'Permissions Violation for Subscription to \"a\"'\r\n"),
			{name: "pings-behind-the-answer", do: func(l *line, answer []byte) error {
				if _, err := l.Write(answer); err != nil {
					return err
				}
				return l.forever([]byte("PING\r\n"))
			}},
			{name: "a-cluster-of-a-million", stages: []string{greeting, signIn}, do: func(l *line, answer []byte) error {
				if _, err := io.WriteString(l, "INFO {\"server_id\":\"X\",\"version\":\"2.11.0\",\"proto\":1,\"max_payload\":1048576,\"connect_urls\":["); err != nil {
					return err
				}
				for range 1000 {
					if _, err := io.WriteString(l, strings.Repeat("\"server.example:4222\",", 1000)); err != nil {
						return err
					}
				}
				_, err := fmt.Fprintf(l, "\"a:1\"]}\r\n%s", answer)
				return err
			}},
			{name: "infos-behind-the-answer", stages: []string{signIn}, do: func(l *line, answer []byte) error {
				if _, err := l.Write(answer); err != nil {
					return err
				}
				return l.growing(func(n int) []byte { return fmt.Appendf(nil, "INFO {\"connect_urls\":[\"server-%d:4222\"]}\r\n", n) })
			}},
			message("2^31", "2147483648"), message("2^46", "70368744177664"), message("2^62", "4611686018427387904"), message("2^63-1", "9223372036854775807"),
			message("2^63", "9223372036854775808"), message("2^64+1", "18446744073709551617"), message("minus-1", "-1"),
			{name: "header-larger-than-the-message", stages: []string{question}, do: func(l *line, answer []byte) error {
				subject, sid := natsInbox(answer)
				_, err := fmt.Fprintf(l, "HMSG %s %s 4611686018427387904 4611686018427387904\r\nNATS/1.0\r\n", subject, sid)
				return err
			}},
			{name: "a-header-of-headers", stages: []string{question}, do: func(l *line, answer []byte) error {
				subject, sid := natsInbox(answer)
				head := "NATS/1.0\r\n" + strings.Repeat("a:\r\n", 200_000) + "\r\n"
				return l.forever(fmt.Appendf(nil, "HMSG %s %s %d %d\r\n%s\r\n", subject, sid, len(head), len(head), head))
			}},
			answered("empty-values", "{\"data\":{\"connections\":["+strings.Repeat("{},", 3<<20)+"{}]}}"),
			answered("lists-in-lists", strings.Repeat("[", 8<<20)),
			answered("objects-in-objects", strings.Repeat("{\"a\":", 2<<20)),
			answered("a-text", "{\"error\":{\"code\":1,\"description\":\""+strings.Repeat("A", 8<<20)+"\"}}"),
			{name: "answers-for-ever", stages: []string{question}, do: func(l *line, answer []byte) error {
				subject, sid := natsInbox(answer)
				return l.forever(fmt.Appendf(nil, "MSG %s %s 2\r\n{}\r\n", subject, sid))
			}},
		},
	}
}

// message announces a message of that size as the answer.
func message(name, size string) evil {
	return evil{name: "message-of-" + name, stages: []string{question, signIn}, do: func(l *line, answer []byte) error {
		subject, sid := natsInbox(answer)
		_, err := fmt.Fprintf(l, "%sMSG %s %s %s\r\nAAAA", natsPong(answer), subject, sid, size)
		return err
	}}
}

// answered gives the answer another text.
func answered(name, text string) evil {
	return evil{name: name, stages: []string{question}, do: func(l *line, answer []byte) error {
		subject, sid := natsInbox(answer)
		if _, err := fmt.Fprintf(l, "MSG %s %s %d\r\n", subject, sid, len(text)); err != nil {
			return err
		}
		_, err := io.WriteString(l, text+"\r\n")
		return err
	}}
}

// natsPong is the answer when it is one to a ping: then a client listens.
func natsPong(answer []byte) string {
	if string(answer) == "PONG\r\n" {
		return "PONG\r\n"
	}
	return ""
}

// natsInbox is where an answer goes.
func natsInbox(answer []byte) (subject, sid string) {
	if words := strings.Fields(string(answer)); len(words) > 2 {
		return words[1], words[2]
	}
	return "a", "1"
}

// natsServer knows the subscriptions of one client.
type natsServer struct {
	greeted, signedIn bool
	subs              [][2]string // subject, id
}

func (s *natsServer) talk(r *bufio.Reader) (string, []byte, error) {
	if !s.greeted {
		s.greeted = true
		return greeting, []byte("INFO {\"server_id\":\"X\",\"version\":\"2.11.0\",\"proto\":1,\"headers\":true,\"tls_available\":true,\"max_payload\":1048576,\"nonce\":\"AAAAAAAAAAAAAAA\",\"client_id\":1}\r\n"), nil
	}
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		switch op := strings.ToUpper(words[0]); op {
		case "PING":
			if !s.signedIn {
				s.signedIn = true
				return signIn, []byte("PONG\r\n"), nil
			}
			return "", []byte("PONG\r\n"), nil
		case "SUB":
			s.subs = append(s.subs, [2]string{words[1], words[len(words)-1]})
		case "PUB", "HPUB":
			size, err := strconv.Atoi(words[len(words)-1])
			if err != nil || size > 4<<20 {
				return "", nil, errors.New("not what a client says")
			}
			if _, err := io.CopyN(io.Discard, r, int64(size)+2); err != nil {
				return "", nil, err
			}
			plain := 3 // PUB subject size
			if op == "HPUB" {
				plain = 4
			}
			if len(words) <= plain {
				continue
			}
			for _, sub := range s.subs {
				if prefix, many := strings.CutSuffix(sub[0], "*"); sub[0] == words[2] || many && strings.HasPrefix(words[2], prefix) {
					return question, fmt.Appendf(nil, "MSG %s %s 2\r\n{}\r\n", words[2], sub[1]), nil
				}
			}
		}
	}
}
