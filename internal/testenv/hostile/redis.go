package hostile

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
)

// RESP: https://redis.io/docs/latest/develop/reference/protocol-spec/
func redis() protocol {
	return protocol{
		name: "redis", kinds: []string{"redis"}, stages: []string{signIn, question}, begin: redisTalk,
		evils: append([]evil{
			flood("arrays-in-arrays", "", "*1\r\n"),
			flood("maps-in-maps", "", "%1\r\n+a\r\n"),
			flood("pushes", "", ">2\r\n+invalidate\r\n+x\r\n"),
			flood("attributes", "", "|1\r\n+a\r\n+b\r\n"),
			flood("an-array-that-never-ends", "*2147483647\r\n", ":1\r\n"),
			flood("a-map-that-never-ends", "%2147483647\r\n", "+a\r\n:1\r\n"),
			flood("a-string-that-never-ends", "$2147483647\r\n", "A"),
			flood("a-line-that-never-ends", "+", "A"),
			flood("an-error-that-never-ends", "-ERR ", "A"),
			flood("a-number-that-never-ends", ":", "9"),
			flood("a-big-number-that-never-ends", "(", "9"),
			flood("a-streamed-string", "$?\r\n", ";4\r\nAAAA\r\n"),
		}, respCounts()...),
	}
}

// respCounts are announced counts and lengths of every type that has one.
func respCounts() []evil {
	var all []evil
	for name, sign := range map[string]string{"array": "*", "map": "%", "set": "~", "push": ">", "attribute": "|", "string": "$", "error": "!", "verbatim": "="} {
		for size, n := range map[string]string{"2^31": "2147483648", "2^36": "68719476736", "2^46": "70368744177664", "2^63-1": "9223372036854775807", "2^64": "18446744073709551616", "minus-2": "-2"} {
			all = append(all, say(name+"-of-"+size, sign+n+"\r\n"))
		}
	}
	return sorted(all)
}

func redisTalk() talk {
	return func(r *bufio.Reader) (string, []byte, error) {
		words, err := respCommand(r)
		if err != nil {
			return "", nil, err
		}
		switch strings.ToUpper(words[0]) {
		case "HELLO":
			return signIn, []byte("-ERR unknown command 'HELLO'\r\n"), nil
		case "AUTH":
			return signIn, []byte("+OK\r\n"), nil
		case "PING":
			return question, []byte("+PONG\r\n"), nil
		}
		return "", []byte("+OK\r\n"), nil
	}
}

// respCommand reads an array of strings.
func respCommand(r *bufio.Reader) ([]string, error) {
	count, err := respNumber(r, '*')
	if err != nil || count < 1 || count > 64 {
		return nil, errors.Join(err, errors.New("no command"))
	}
	words := make([]string, count)
	for i := range words {
		n, err := respNumber(r, '$')
		if err != nil || n < 0 || n > 1<<20 {
			return nil, errors.Join(err, errors.New("no word"))
		}
		word := make([]byte, n+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:n])
	}
	return words, nil
}

func respNumber(r *bufio.Reader, sign byte) (int, error) {
	text, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if text[0] != sign {
		return 0, errors.New("not what a client says")
	}
	return strconv.Atoi(strings.TrimSpace(text[1:]))
}
