package hostile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The protocol: https://kafka.apache.org/protocol
func kafka() protocol {
	return protocol{
		name: "kafka", kinds: []string{"confluent-cloud", "kafka"}, stages: []string{greeting, signIn, question}, begin: func() talk { return kafkaTalk },
		evils: []evil{
			kafkaSay("versions-of-2^31", "\x00\x00\x7f\xff\xff\xff", greeting),
			kafkaSay("versions-of-minus-1", "\x00\x00\xff\xff\xff\xff", greeting),
			kafkaSay("versions-of-2^32-compact", "\x00\x00\xff\xff\xff\xff\x0f", greeting),
			kafkaSay("versions-of-ten-bytes", "\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", greeting),
			kafkaSay("versions-of-nobody", "\x00\x23\x00\x00\x00\x00", greeting),
			kafkaSay("ways-of-2^31", "\x00\x00\x7f\xff\xff\xff", signIn),
			kafkaSay("a-text-of-minus-2", "\x00\x3a\xff\xfe", signIn),
			kafkaSay("a-text-of-32767", "\x00\x3a\x7f\xff", signIn),
			kafkaSay("a-session-of-2^63", "\x00\x00\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\xff\xff\xff\xff", signIn),
			kafkaSay("a-session-of-minus-1", "\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", signIn),
			kafkaSay("a-brake-of-24-days", "\x7f\xff\xff\xff\x00\x00\x00\x00\x00\x00", question),
			kafkaSay("brokers-of-2^31", "\x00\x00\x00\x00\x7f\xff\xff\xff", question),
			kafkaSay("brokers-of-2^32-compact", "\x00\x00\x00\x00\x00\xff\xff\xff\xff\x0f", question),
			kafkaSay("topics-of-2^31", "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00\x7f\xff\xff\xff", question),
			kafkaSay("tags-of-2^32", "\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01\xff\xff\xff\xff\x0f", question),
			{name: "somebody-elses-answer", do: func(l *line, answer []byte) error {
				other := bytes.Clone(answer)
				binary.BigEndian.PutUint32(other[4:], 1<<31-1)
				_, err := l.Write(other)
				return err
			}},
			kafkaSize("2^31-1", 1<<31-1), kafkaSize("minus-1", 1<<32-1), kafkaSize("minus-2^31", 1<<31), kafkaSize("0", 0), kafkaSize("3", 3), kafkaSize("99-mebibyte", 99<<20),
			kafkaSize("http", 0x48545450), kafkaSize("tls", 0x15030300),
			{name: "an-array-of-brokers", stages: []string{question}, do: func(l *line, answer []byte) error {
				return l.kafka(answer, "\x00\x00\x00\x00"+"\x00\x7f\xff\xff"+strings.Repeat("\x00\x00\x00\x01\x00\x01a\x00\x00\x23\x84\xff\xff", 0x7fffff))
			}},
		},
	}
}

func kafkaSay(name, body string, stages ...string) evil {
	return evil{name: name, stages: stages, do: func(l *line, answer []byte) error { return l.kafka(answer, body) }}
}

// kafka answers whoever the honest answer is for.
func (l *line) kafka(answer []byte, body string) error {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	_, err := l.Write(append(append(b, answer[4:8]...), body...))
	return err
}

func kafkaSize(name string, size uint32) evil {
	return evil{name: "answer-of-" + name, do: func(l *line, answer []byte) error {
		other := bytes.Clone(answer)
		binary.BigEndian.PutUint32(other, size)
		_, err := l.Write(other)
		return err
	}}
}

// kafkaTalk lets everybody in, and knows nothing.
func kafkaTalk(r *bufio.Reader) (string, []byte, error) {
	head := make([]byte, 12)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", nil, err
	}
	n := int64(binary.BigEndian.Uint32(head)) - 8
	if n < 0 || n > 4<<20 {
		return "", nil, errors.New("not what a client says")
	}
	if _, err := io.CopyN(io.Discard, r, n); err != nil {
		return "", nil, err
	}
	key, version := int16(binary.BigEndian.Uint16(head[4:])), int16(binary.BigEndian.Uint16(head[6:]))
	answer := kmsg.ResponseForKey(key)
	if answer == nil {
		return "", nil, errors.New("not what a client asks")
	}
	answer.SetVersion(version)
	stage := question
	switch a := answer.(type) {
	case *kmsg.ApiVersionsResponse:
		stage = greeting
		for _, api := range []kmsg.Key{kmsg.SASLHandshake, kmsg.SASLAuthenticate, kmsg.ApiVersions, kmsg.Metadata} {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = api.Int16(), 1
			a.ApiKeys = append(a.ApiKeys, k)
		}
	case *kmsg.SASLHandshakeResponse:
		a.SupportedMechanisms = []string{"PLAIN"}
		stage = ""
	case *kmsg.SASLAuthenticateResponse:
		stage = signIn
	case *kmsg.MetadataResponse:
		a.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "127.0.0.1", Port: 9092}}
	}
	body := answer.AppendTo(nil)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	b = append(b, head[8:12]...)
	return stage, append(b, body...), nil
}
