package external_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"unicode/utf16"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/xdg-go/scram"
)

// What can't run here has a listener that speaks just enough of its protocol
// for a sign-in, from the protocol's own documents.

// MS-TDS: PRELOGIN, LOGIN7, and a batch that is answered with one.
func TestASQLServerLoginIsTriedAgainstAFakeThatSpeaksJustTDS(t *testing.T) {
	var logins atomic.Int32
	address := listener(t, func(c net.Conn) {
		for {
			kind, body, err := readTDS(c)
			if err != nil {
				return
			}
			switch kind {
			case 0x12: // no encryption, which the registration agreed to
				writeTDS(c, []byte{0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 15, 0, 0, 0, 0, 0, 2})
			case 0x10:
				logins.Add(1)
				if !bytes.Contains(body, obfuscated("right")) {
					writeTDS(c, append(tdsError(18456, "Login failed for user 'app'."), 0xfd, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
					return
				}
				ack := append([]byte{1, 0x74, 0, 0, 4}, []byte{4, 'S', 0, 'Q', 0, 'L', 0, 'S', 0, 15, 0, 0, 0}...)
				message := append([]byte{0xad, byte(len(ack)), 0}, ack...)
				writeTDS(c, append(message, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
			case 1:
				row := []byte{0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0x38, 0, 0xd1, 1, 0, 0, 0, 0xfd, 0x10, 0, 0xc1, 0, 1, 0, 0, 0, 0, 0, 0, 0}
				writeTDS(c, row)
			}
		}
	})
	target := registration{typ: "Microsoft.Sql/servers", endpoint: address, properties: map[string]any{"tls": map[string]any{"off": true}}}.opened(t)
	signsIn(t, target, "databases/shop", "app", "right", "wrong")
	if n := logins.Load(); n != 2 {
		t.Errorf("%d logins were tried for two: a wrong one could be locked out", n)
	}
}

func readTDS(r io.Reader) (kind byte, body []byte, err error) {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(r, head); err != nil {
			return 0, nil, err
		}
		part := make([]byte, max(0, int(binary.BigEndian.Uint16(head[2:]))-8))
		if _, err := io.ReadFull(r, part); err != nil {
			return 0, nil, err
		}
		if body = append(body, part...); head[1]&1 == 1 {
			return head[0], body, nil
		}
	}
}

func writeTDS(w io.Writer, body []byte) {
	head := []byte{4, 1, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(head[2:], uint16(len(body)+8))
	_, _ = w.Write(append(head, body...))
}

func ucs2(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// obfuscated is a password as LOGIN7 has it.
func obfuscated(s string) []byte {
	b := ucs2(s)
	for i := range b {
		b[i] = (b[i]<<4 | b[i]>>4) ^ 0xa5
	}
	return b
}

func tdsError(number uint32, text string) []byte {
	body := binary.LittleEndian.AppendUint32(nil, number)
	body = append(body, 1, 14)
	body = binary.LittleEndian.AppendUint16(body, uint16(len(text)))
	body = append(append(body, ucs2(text)...), 0, 0, 1, 0, 0, 0)
	return append(binary.LittleEndian.AppendUint16([]byte{0xaa}, uint16(len(body))), body...)
}

// OP_MSG: hello, SCRAM-SHA-256 and ping.
func TestAMongoDBLoginIsTriedAgainstAFakeThatSpeaksJustSCRAM(t *testing.T) {
	client, err := scram.SHA256.NewClient("orders", "right", "")
	if err != nil {
		t.Fatal(err)
	}
	known, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "0123456789abcdef", Iters: 4096})
	if err != nil {
		t.Fatal(err)
	}
	server, err := scram.SHA256.NewServer(func(string) (scram.StoredCredentials, error) { return known, nil })
	if err != nil {
		t.Fatal(err)
	}
	var tried atomic.Int32
	address := listener(t, func(c net.Conn) {
		var talk *scram.ServerConversation
		for {
			id, command, err := readMongo(c)
			if err != nil {
				return
			}
			switch answer := (bson.D{}); command[0].Key {
			case "hello", "ismaster", "isMaster":
				writeMongo(c, id, append(answer, bson.D{{Key: "ok", Value: 1}, {Key: "isWritablePrimary", Value: true}, {Key: "helloOk", Value: true},
					{Key: "maxWireVersion", Value: 21}, {Key: "minWireVersion", Value: 0}, {Key: "maxBsonObjectSize", Value: 16777216},
					{Key: "maxMessageSizeBytes", Value: 48000000}, {Key: "maxWriteBatchSize", Value: 100000},
					{Key: "saslSupportedMechs", Value: bson.A{"SCRAM-SHA-256"}}}...))
			case "saslStart", "saslContinue":
				if command[0].Key == "saslStart" {
					talk = server.NewConversation()
					tried.Add(1)
				}
				var payload bson.Binary
				for _, e := range command {
					if b, ok := e.Value.(bson.Binary); ok && e.Key == "payload" {
						payload = b
					}
				}
				reply, err := talk.Step(string(payload.Data))
				if err != nil {
					writeMongo(c, id, bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: 18}, {Key: "codeName", Value: "AuthenticationFailed"}, {Key: "errmsg", Value: "Authentication failed."}})
					continue
				}
				writeMongo(c, id, bson.D{{Key: "ok", Value: 1}, {Key: "conversationId", Value: 1}, {Key: "done", Value: talk.Done()}, {Key: "payload", Value: bson.Binary{Data: []byte(reply)}}})
			default:
				writeMongo(c, id, bson.D{{Key: "ok", Value: 1}})
			}
		}
	})
	target := registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "mongodb://" + address, properties: map[string]any{"tls": map[string]any{"off": true}}}.opened(t)
	signsIn(t, target, "mongodbDatabases/shop", "", "right", "wrong")
	if n := tried.Load(); n != 2 {
		t.Errorf("%d logins were tried for two", n)
	}
}

// readMongo reads a command of OP_MSG or, of the first, OP_QUERY.
func readMongo(r io.Reader) (id int32, command bson.D, err error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	body := make([]byte, binary.LittleEndian.Uint32(head)-16)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	id = int32(binary.LittleEndian.Uint32(head[4:]))
	at := 5
	if binary.LittleEndian.Uint32(head[12:]) == 2004 {
		at = 4 + bytes.IndexByte(body[4:], 0) + 1 + 8
		id = -id
	}
	return id, command, bson.Unmarshal(body[at:at+int(binary.LittleEndian.Uint32(body[at:]))], &command)
}

func writeMongo(w io.Writer, id int32, answer bson.D) {
	doc, err := bson.Marshal(answer)
	if err != nil {
		return
	}
	body, code := append(make([]byte, 5), doc...), uint32(2013)
	if id < 0 { // OP_REPLY
		id, code = -id, 1
		body = append(binary.LittleEndian.AppendUint32(make([]byte, 16), 1), doc...)
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+16))
	head = binary.LittleEndian.AppendUint32(head, 1)
	head = binary.LittleEndian.AppendUint32(head, uint32(id))
	head = binary.LittleEndian.AppendUint32(head, code)
	_, _ = w.Write(append(head, body...))
}

// CQL: STARTUP, AUTH_RESPONSE, and empty results.
func TestACassandraLoginIsTriedAgainstAFakeThatSpeaksJustCQL(t *testing.T) {
	var tried atomic.Int32
	address := listener(t, func(c net.Conn) {
		for {
			head := make([]byte, 9)
			if _, err := io.ReadFull(c, head); err != nil {
				return
			}
			body := make([]byte, binary.BigEndian.Uint32(head[5:]))
			if _, err := io.ReadFull(c, body); err != nil {
				return
			}
			answer := func(op byte, body []byte) {
				out := append([]byte{0x84, 0}, head[2], head[3], op)
				_, _ = c.Write(append(binary.BigEndian.AppendUint32(out, uint32(len(body))), body...))
			}
			switch head[4] {
			case 5: // OPTIONS
				answer(6, []byte{0, 0})
			case 1: // STARTUP
				name := "org.apache.cassandra.auth.PasswordAuthenticator"
				answer(3, append(binary.BigEndian.AppendUint16(nil, uint16(len(name))), name...))
			case 0x0f: // AUTH_RESPONSE
				tried.Add(1)
				if !bytes.HasSuffix(body, []byte("\x00orders\x00right")) {
					text := "Provided username orders and/or password are incorrect"
					answer(0, append(binary.BigEndian.AppendUint16([]byte{0, 0, 1, 0}, uint16(len(text))), text...))
					continue
				}
				answer(0x10, []byte{0xff, 0xff, 0xff, 0xff})
			default: // system.local, whatever is asked
				answer(8, localNode())
			}
		}
	})
	target := registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "cassandra://" + address, properties: map[string]any{"tls": map[string]any{"off": true}}}.opened(t)
	signsIn(t, target, "cassandraKeyspaces/shop", "", "right", "wrong")
	if n := tried.Load(); n > 4 {
		t.Errorf("%d logins were tried for two: a wrong one could be locked out", n)
	}
}

// localNode is a result of one row: what a client asks of the node that it talks
// to.
func localNode() []byte {
	columns := []struct {
		name  string
		typ   uint16
		value []byte
	}{
		{"key", 13, []byte("local")}, {"data_center", 13, []byte("dc1")}, {"rack", 13, []byte("r1")}, {"release_version", 13, []byte("4.0.0")},
		{"partitioner", 13, []byte("org.apache.cassandra.dht.Murmur3Partitioner")}, {"cluster_name", 13, []byte("fake")},
		{"schema_version", 12, bytes.Repeat([]byte{9}, 16)}, {"host_id", 12, bytes.Repeat([]byte{7}, 16)}, {"rpc_address", 16, net.IPv4(192, 0, 2, 1).To4()}, {"broadcast_address", 16, net.IPv4(192, 0, 2, 1).To4()},
	}
	text := func(b []byte, s string) []byte { return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	b := []byte{0, 0, 0, 2, 0, 0, 0, 1}
	b = binary.BigEndian.AppendUint32(b, uint32(len(columns)))
	b = text(text(b, "system"), "local")
	for _, c := range columns {
		b = binary.BigEndian.AppendUint16(text(b, c.name), c.typ)
	}
	b = binary.BigEndian.AppendUint32(b, 1)
	for _, c := range columns {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(c.value))), c.value...)
	}
	return b
}
