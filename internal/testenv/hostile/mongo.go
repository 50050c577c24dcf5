package hostile

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The wire protocol: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
func mongo() protocol {
	return protocol{
		name: "mongo", kinds: []string{"cosmos-mongo", "mongodb", "mongodb-atlas"}, stages: []string{greeting, signIn}, begin: func() talk { return (&mongoServer{}).talk },
		evils: append([]evil{
			{name: "hosts-of-a-million", stages: []string{greeting}, do: func(l *line, answer []byte) error {
				hosts := make(bson.A, 300_000)
				for i := range hosts {
					hosts[i] = fmt.Sprintf("h%d.example:27017", i)
				}
				return l.mongo(answer, append(mongoHello(), bson.E{Key: "hosts", Value: hosts}, bson.E{Key: "setName", Value: "rs"}))
			}},
			{name: "documents-in-documents", do: func(l *line, answer []byte) error {
				const deep = 1_000_000
				doc := bytes.Repeat([]byte{0, 0, 0, 0, 3, 'a', 0}, deep)
				for i := range deep { // each as long as what is left
					binary.LittleEndian.PutUint32(doc[i*7:], uint32((deep-i)*8+5))
				}
				doc = append(doc, 5, 0, 0, 0, 0)
				return l.mongoRaw(answer, append(doc, make([]byte, deep)...))
			}},
			{name: "scram-of-2^31-rounds", stages: []string{signIn}, do: func(l *line, answer []byte) error { return l.mongoScram(answer, "2147483647") }},
			{name: "scram-of-ten-million-rounds", stages: []string{signIn}, do: func(l *line, answer []byte) error { return l.mongoScram(answer, "10000000") }},
			{name: "a-string-of-2^31", do: func(l *line, answer []byte) error {
				return l.mongoRaw(answer, []byte("\x20\x00\x00\x00\x02ok\x00\xff\xff\xff\x7fAAAAAAAAAAAAAAAAAAA\x00"))
			}},
			{name: "a-document-of-no-length", do: func(l *line, answer []byte) error { return l.mongoRaw(answer, []byte{0, 0, 0, 0}) }},
			{name: "a-document-of-minus-1", do: func(l *line, answer []byte) error { return l.mongoRaw(answer, []byte{0xff, 0xff, 0xff, 0xff}) }},
			{name: "compressed-to-2^31", do: func(l *line, answer []byte) error {
				body := "\xdd\x07\x00\x00\xff\xff\xff\x7f\x02" + "\x78\x9c\x63\x00\x00\x00\x01\x00\x01" // zlib
				_, err := l.Write(mongoMessage(answer, 2012, []byte(body)))
				return err
			}},
			{name: "snappy-of-2^32", do: func(l *line, answer []byte) error {
				_, err := l.Write(mongoMessage(answer, 2012, []byte("\xdd\x07\x00\x00\xff\xff\xff\x7f\x01\xff\xff\xff\xff\x0fAAAA")))
				return err
			}},
			{name: "not-the-last", do: func(l *line, answer []byte) error { // more to come, for ever
				m := bytes.Clone(answer)
				if len(m) > 16 && binary.LittleEndian.Uint32(m[12:]) == 2013 {
					m[16] |= 2
				}
				return l.forever(m)
			}},
		}, mongoLengths()...),
	}
}

func mongoLengths() []evil {
	var all []evil
	for name, n := range map[string]uint32{"2^31-1": 1<<31 - 1, "minus-1": 1<<32 - 1, "minus-2^31": 1 << 31, "0": 0, "15": 15, "47-mebibyte": 47 << 20} {
		all = append(all, evil{name: "message-of-" + name, do: func(l *line, answer []byte) error {
			m := bytes.Clone(answer)
			binary.LittleEndian.PutUint32(m, n)
			_, err := l.Write(m)
			return err
		}})
	}
	return sorted(all)
}

// mongo answers with another document.
func (l *line) mongo(answer []byte, doc bson.D) error {
	raw, err := bson.Marshal(doc)
	if err != nil {
		return err
	}
	return l.mongoRaw(answer, raw)
}

func (l *line) mongoRaw(answer, doc []byte) error {
	code := binary.LittleEndian.Uint32(answer[12:])
	body := append(make([]byte, 5), doc...)
	if code == 1 {
		body = append(binary.LittleEndian.AppendUint32(make([]byte, 16), 1), doc...)
	}
	_, err := l.Write(mongoMessage(answer, code, body))
	return err
}

// mongoMessage is one to whom an answer was for.
func mongoMessage(answer []byte, code uint32, body []byte) []byte {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+16))
	head = append(head, answer[4:12]...)
	return append(binary.LittleEndian.AppendUint32(head, code), body...)
}

func (l *line) mongoScram(answer []byte, rounds string) error {
	_, rest, _ := bytes.Cut(answer, []byte("r="))
	nonce, _, _ := bytes.Cut(rest, []byte(","))
	payload := "r=" + string(nonce) + ",s=" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef")) + ",i=" + rounds
	return l.mongo(answer, bson.D{{Key: "ok", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "done", Value: false}, {Key: "payload", Value: bson.Binary{Data: []byte(payload)}}})
}

func mongoHello() bson.D {
	return bson.D{{Key: "ok", Value: 1}, {Key: "isWritablePrimary", Value: true}, {Key: "helloOk", Value: true}, {Key: "maxWireVersion", Value: 21},
		{Key: "minWireVersion", Value: 0}, {Key: "maxBsonObjectSize", Value: 16777216}, {Key: "maxMessageSizeBytes", Value: 48000000},
		{Key: "maxWriteBatchSize", Value: 100000}, {Key: "saslSupportedMechs", Value: bson.A{"SCRAM-SHA-256"}}}
}

// nonceOf is the client's in its first message of SCRAM.
func nonceOf(first []byte) string {
	_, nonce, _ := strings.Cut(string(first), "r=")
	return nonce
}

// mongoServer knows nobody's password: it is honest up to SCRAM's first answer.
type mongoServer struct{}

func (*mongoServer) talk(r *bufio.Reader) (string, []byte, error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", nil, err
	}
	n := int(binary.LittleEndian.Uint32(head)) - len(head)
	if n < 16 || n > 4<<20 {
		return "", nil, errors.New("not what a client says")
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", nil, err
	}
	code := uint32(2013)
	if binary.LittleEndian.Uint32(head[12:]) == 2004 { // OP_QUERY is answered with OP_REPLY
		code = 1
	}
	stage, doc := greeting, mongoHello()
	if bytes.Contains(body, []byte("usersInfo")) { // of nobody who has signed in
		doc = bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: 13}}
	}
	if bytes.Contains(body, []byte("saslStart")) && !bytes.Contains(body, []byte("helloOk")) {
		_, said, _ := bson.Raw(body[5:]).Lookup("payload").BinaryOK()
		payload := "r=" + nonceOf(said) + "more,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096"
		stage, doc = signIn, bson.D{{Key: "ok", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "done", Value: false}, {Key: "payload", Value: bson.Binary{Data: []byte(payload)}}}
	}
	raw, err := bson.Marshal(doc)
	if err != nil {
		return "", nil, err
	}
	to := append(make([]byte, 4), 1, 0, 0, 0)
	to = append(to, head[4:8]...)
	answer := append(make([]byte, 5), raw...)
	if code == 1 {
		answer = append(binary.LittleEndian.AppendUint32(make([]byte, 16), 1), raw...)
	}
	return stage, mongoMessage(to, code, answer), nil
}
