package hostile

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Version 5 of the protocol: https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html.
// Behind it a plugin answers commands, as Mosquitto's does.
func mqtt() protocol {
	ours := []string{question}
	return protocol{
		name: "mqtt", kinds: []string{"mqtt"}, stages: []string{signIn, question}, begin: func() talk { return (&mqttServer{}).talk },
		evils: []evil{
			say("packet-of-256-MiB", "\x30\xff\xff\xff\x7f\x00\x01a\x00AAAA"),
			say("packet-of-17-MiB", "\x20\x80\x80\xc0\x08\x00\x00\x00"),
			say("length-that-never-ends", "\x20\xff\xff\xff\xff\xff\xff"),
			say("properties-longer-than-the-packet", "\x20\x05\x00\x00\xff\xff\x7f"),
			say("an-empty-packet", "\x20\x00"),
			say("a-packet-of-no-kind", "\x00\x02\x00\x00"),
			say("an-older-version", "\x20\x02\x00\x01"),
			say("a-goodbye-of-its-own", "\xe0\x02\x98\x00"),
			flood("messages", "", "\x30\x06\x00\x01a\x00{}"),
			flood("pongs", "", "\xd0\x00"),
			flood("large-messages", "", string(mqttPublish("a", strings.Repeat("A", 1<<20)))),
			{name: "user-properties", do: func(l *line, _ []byte) error {
				properties := strings.Repeat("\x26\x00\x01a\x00\x01b", 1<<20)
				_, err := l.Write(mqttPacket(0x20, "\x00\x00"+string(mqttLength(len(properties)))+properties))
				return err
			}},
			commanded("empty-values", ours, "{},", 3<<20), commanded("lists-in-lists", ours, "[", 8<<20),
			commanded("objects-in-objects", ours, "{\"a\":", 2<<20), commanded("a-text", ours, "A", 8<<20),
		},
	}
}

// commanded gives the plugin's answer many of something.
func commanded(name string, stages []string, of string, n int) evil {
	return evil{name: name, stages: stages, do: func(l *line, answer []byte) error {
		i := strings.Index(string(answer), mqttID)
		if i < 0 {
			i = 0
		}
		id := string(answer[i:min(len(answer), i+60)])
		id, _, _ = strings.Cut(id, "-0")
		_, err := l.Write(append(mqttPublish(mqttAnswers, "{\"a\":\""+id+"\",\"responses\":["+strings.Repeat(of, n)), mqttPong...))
		return err
	}}
}

const (
	mqttAnswers = "$CONTROL/dynamic-security/v1/response"
	mqttID      = "correlationData\":\""
)

var mqttPong = []byte{0xd0, 0}

func mqttLength(n int) []byte {
	var b []byte
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func mqttPacket(kind byte, body string) []byte {
	return append(append([]byte{kind}, mqttLength(len(body))...), body...)
}

func mqttPublish(topic, text string) []byte {
	return mqttPacket(0x30, string(binary.BigEndian.AppendUint16(nil, uint16(len(topic))))+topic+"\x00"+text)
}

// mqttServer has what the plugin was told last.
type mqttServer struct{ asked string }

func (s *mqttServer) talk(r *bufio.Reader) (string, []byte, error) {
	for {
		kind, body, err := mqttRead(r)
		if err != nil {
			return "", nil, err
		}
		switch kind >> 4 {
		case 1: // CONNECT
			return signIn, []byte("\x20\x03\x00\x00\x00"), nil
		case 8: // SUBSCRIBE: of one filter
			return "", append([]byte("\x90\x04"), body[0], body[1], 0, 0), nil
		case 10: // UNSUBSCRIBE
			return "", append([]byte("\xb0\x04"), body[0], body[1], 0, 0), nil
		case 3: // PUBLISH
			topic := 2 + int(binary.BigEndian.Uint16([]byte(body)))
			if len(body) < topic+3 {
				return "", nil, errors.New("not what a client says")
			}
			s.asked = body[topic+3:]
			return "", append([]byte("\x40\x02"), body[topic], body[topic+1]), nil
		case 12: // PINGREQ
			if s.asked == "" {
				return "", mqttPong, nil
			}
			text := mqttAnswer(s.asked)
			s.asked = ""
			return question, append(mqttPublish(mqttAnswers, text), mqttPong...), nil
		case 14: // DISCONNECT
			return "", nil, io.EOF
		}
	}
}

// mqttRead is a packet of a client's.
func mqttRead(r *bufio.Reader) (kind byte, body string, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, "", err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil || n > 4<<20 {
		return 0, "", errors.New("not what a client says")
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, "", err
	}
	if len(b) < 2 && kind>>4 != 12 && kind>>4 != 14 {
		return 0, "", errors.New("not what a client says")
	}
	return kind, string(b), nil
}

// mqttAnswer knows nobody that it is asked about.
func mqttAnswer(asked string) string {
	var said struct {
		Commands []struct {
			Command string `json:"command"`
			ID      string `json:"correlationData"`
		} `json:"commands"`
	}
	_ = json.Unmarshal([]byte(asked), &said) // none, then
	var all []string
	for _, c := range said.Commands {
		answer := fmt.Sprintf("{\"command\":%q,\"%s%s\"", c.Command, mqttID, c.ID)
		if strings.HasPrefix(c.Command, "get") && (strings.HasSuffix(c.Command, "Client") || strings.HasSuffix(c.Command, "Role")) {
			answer += ",\"error\":\"Client not found\""
		} else {
			answer += ",\"data\":{}"
		}
		all = append(all, answer+"}")
	}
	return "{\"responses\":[" + strings.Join(all, ",") + "]}"
}
