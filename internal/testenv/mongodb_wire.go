package testenv

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// mongoMessage is a command as it came.
type mongoMessage struct {
	id, opcode uint32
	database   string
	command    bson.D
	unanswered bool
}

const (
	mongoReply = 1
	mongoQuery = 2004 // only for the first hello of a library
	mongoMsg   = 2013
)

var errMongoForm = errors.New("not MongoDB's protocol")

func readMongo(r io.Reader) (mongoMessage, error) {
	var m mongoMessage
	header := make([]byte, 16)
	if _, err := io.ReadFull(r, header); err != nil {
		return m, err
	}
	length := binary.LittleEndian.Uint32(header)
	m.id, m.opcode = binary.LittleEndian.Uint32(header[4:]), binary.LittleEndian.Uint32(header[12:])
	if length < 21 || length > 48_000_000 {
		return m, errMongoForm
	}
	body := make([]byte, length-16)
	if _, err := io.ReadFull(r, body); err != nil {
		return m, err
	}
	if m.opcode == mongoQuery {
		_, rest, ok := strings.Cut(string(body[4:]), "\x00")
		if !ok || len(rest) < 13 {
			return m, errMongoForm
		}
		m.database = "admin"
		return m, bson.Unmarshal([]byte(rest[8:]), &m.command)
	}
	if m.opcode != mongoMsg {
		return m, errMongoForm
	}
	m.unanswered = binary.LittleEndian.Uint32(body)&2 != 0
	sequences := bson.D{}
	for rest := body[4:]; len(rest) > 0; {
		kind := rest[0]
		if rest = rest[1:]; len(rest) < 4 {
			return m, errMongoForm
		}
		size := int(binary.LittleEndian.Uint32(rest))
		if size < 5 || size > len(rest) {
			return m, errMongoForm
		}
		section := rest[:size]
		rest = rest[size:]
		if kind == 0 {
			if err := bson.Unmarshal(section, &m.command); err != nil {
				return m, err
			}
			continue
		}
		name, documents, ok := strings.Cut(string(section[4:]), "\x00")
		if !ok {
			return m, errMongoForm
		}
		var all bson.A
		for left := []byte(documents); len(left) >= 5; {
			n := int(binary.LittleEndian.Uint32(left))
			if n < 5 || n > len(left) {
				return m, errMongoForm
			}
			var d bson.D
			if err := bson.Unmarshal(left[:n], &d); err != nil {
				return m, err
			}
			all, left = append(all, d), left[n:]
		}
		sequences = append(sequences, bson.E{Key: name, Value: all})
	}
	m.command = append(m.command, sequences...)
	m.database, _ = at(m.command, "$db").(string)
	return m, nil
}

// answer sends a reply in the form that the command came in.
func (m mongoMessage) answer(w io.Writer, reply bson.D) error {
	document, err := bson.Marshal(reply)
	if err != nil {
		return err
	}
	before := make([]byte, 5) // flags, one section
	opcode := uint32(mongoMsg)
	if m.opcode == mongoQuery {
		opcode = mongoReply
		before = make([]byte, 20)
		before[16] = 1 // one document
	}
	body := slices.Concat(before, document)
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+16)) // #nosec G115 -- of the model's own
	out = binary.LittleEndian.AppendUint32(out, 0)
	out = binary.LittleEndian.AppendUint32(out, m.id)
	out = binary.LittleEndian.AppendUint32(out, opcode)
	_, err = w.Write(append(out, body...))
	return err
}

// at is the value of a key, nil where there is none.
func at(d bson.D, key string) any {
	for _, e := range d {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

func has(d bson.D, key string) bool {
	for _, e := range d {
		if e.Key == key {
			return true
		}
	}
	return false
}

// mongoRounds is fewer than MongoDB's 15000, for the tests' sake; no less is taken by
// libraries.
const mongoRounds = 4096

// mongoSecret is what is kept of a password.
type mongoSecret struct{ salt, stored, server []byte }

func newMongoSecret(password string) mongoSecret {
	s := mongoSecret{salt: []byte(rand.Text()[:16])}
	salted, err := pbkdf2.Key(sha256.New, password, s.salt, mongoRounds, sha256.Size)
	if err != nil {
		panic(err) // of its own parameters
	}
	stored := sha256.Sum256(mongoMAC(salted, "Client Key"))
	s.stored, s.server = stored[:], mongoMAC(salted, "Server Key")
	return s
}

func mongoMAC(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	_, _ = m.Write([]byte(text))
	return m.Sum(nil)
}

// mongoScram is a sign-in that is under way.
type mongoScram struct {
	user       *mongoUser // nil: there is none, which is said at the end alone
	name       string
	nonce      string
	messages   string
	skip, done bool
}

// saslStart answers a client's first message.
func (c *mongoConn) saslStart(database string, command bson.D) (bson.D, *mongoError) {
	failed := &mongoError{18, "Authentication failed."}
	switch at(command, "mechanism") {
	case "SCRAM-SHA-256":
	case "SCRAM-SHA-1": // what a library takes for a user that nobody knows
		return nil, failed
	default:
		return nil, &mongoError{334, "Received authentication for mechanism which is not enabled"}
	}
	payload, _ := at(command, "payload").(bson.Binary)
	bare, ok := strings.CutPrefix(string(payload.Data), "n,,")
	fields := strings.Split(bare, ",")
	if !ok || len(fields) < 2 || !strings.HasPrefix(fields[0], "n=") || !strings.HasPrefix(fields[1], "r=") {
		return nil, failed
	}
	name := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(fields[0][2:])
	s := &mongoScram{name: name, nonce: fields[1][2:] + rand.Text()}
	options, _ := at(command, "options").(bson.D)
	s.skip, _ = at(options, "skipEmptyExchange").(bool)
	set := c.server.set
	set.mu.Lock()
	s.user = set.users[database+"."+name]
	secret := newMongoSecret("nobody's")
	if s.user != nil && s.user.secret.salt != nil {
		secret = s.user.secret
	} else {
		s.user = nil
	}
	set.mu.Unlock()
	challenge := fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, base64.StdEncoding.EncodeToString(secret.salt), mongoRounds)
	s.messages = bare + "," + challenge
	c.mu.Lock()
	c.scram = s
	c.mu.Unlock()
	return bson.D{{Key: "conversationId", Value: int32(1)}, {Key: "done", Value: false}, {Key: "payload", Value: []byte(challenge)}}, nil
}

// saslContinue judges the proof.
func (c *mongoConn) saslContinue(command bson.D) (bson.D, *mongoError) {
	failed := &mongoError{18, "Authentication failed."}
	c.mu.Lock()
	s := c.scram
	c.mu.Unlock()
	if s == nil {
		return nil, &mongoError{17, "No SASL session state found"}
	}
	if s.done { // what is empty, of one that does not skip it
		c.mu.Lock()
		c.scram = nil
		c.mu.Unlock()
		return bson.D{{Key: "conversationId", Value: int32(1)}, {Key: "done", Value: true}, {Key: "payload", Value: []byte{}}}, nil
	}
	payload, _ := at(command, "payload").(bson.Binary)
	unproven, encoded, ok := strings.Cut(string(payload.Data), ",p=")
	proof, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || s.user == nil || unproven != "c=biws,r="+s.nonce || len(proof) != sha256.Size {
		return nil, failed
	}
	message := s.messages + "," + unproven
	set := c.server.set
	set.mu.Lock()
	now := set.users[s.user.db+"."+s.user.name]
	secret, lets := s.user.secret, s.user.lets(c.RemoteAddr())
	set.mu.Unlock()
	key := make([]byte, sha256.Size)
	subtle.XORBytes(key, proof, mongoMAC(secret.stored, message))
	if sum := sha256.Sum256(key); now != s.user || !hmac.Equal(sum[:], secret.stored) || !lets {
		return nil, failed
	}
	c.signIn(s.user)
	s.done = true
	if s.skip {
		c.mu.Lock()
		c.scram = nil
		c.mu.Unlock()
	}
	return bson.D{{Key: "conversationId", Value: int32(1)}, {Key: "done", Value: s.skip},
		{Key: "payload", Value: []byte("v=" + base64.StdEncoding.EncodeToString(mongoMAC(secret.server, message)))}}, nil
}

func (c *mongoConn) signIn(u *mongoUser) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users, c.uids = []string{u.db + "." + u.name}, []int{u.uid}
}

// hostOfAddr is the address without its port.
func hostOfAddr(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String())
	return host
}
