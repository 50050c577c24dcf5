package mongodb

import (
	"crypto/hmac"
	"crypto/md5" // #nosec G501 -- SCRAM-SHA-1 of MongoDB begins with it
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- see negotiate
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
)

const (
	sha256Mechanism = "SCRAM-SHA-256"
	sha1Mechanism   = "SCRAM-SHA-1"
	x509Mechanism   = "MONGODB-X509"
	// What a server may have us count: MongoDB's own is 15000, and 10000 for SHA-1. Less
	// makes a password easy to guess for who asked, more takes this processor.
	leastRounds, mostRounds = 4096, 1 << 20
)

// scram proves a password to a server, and has the server prove that it has it too.
type scram struct {
	name     string // of the mechanism
	hash     func() hash.Hash
	password string // as the mechanism prepares it
	nonce    string
	first    string // the client's first message, without its header
	expected []byte // what the server is to answer
}

var errNoSCRAM = errors.New("the server does not keep to SCRAM")

func newSCRAM(mechanism, username, password string) *scram {
	s := &scram{name: mechanism, nonce: rand.Text() + rand.Text()}
	if mechanism == sha1Mechanism {
		sum := md5.Sum([]byte(username + ":mongo:" + password)) // #nosec G401 -- MongoDB's form of it
		s.hash, s.password = sha1.New, hex.EncodeToString(sum[:])
	} else {
		s.hash, s.password = sha256.New, password
		if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
			s.password = prepared
		}
	}
	s.first = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(username) + ",r=" + s.nonce
	return s
}

func (s *scram) begin() []byte { return []byte("n,," + s.first) }

// prove answers the server's challenge.
func (s *scram) prove(challenge []byte) ([]byte, error) {
	fields := strings.Split(string(challenge), ",")
	if len(fields) < 3 {
		return nil, errNoSCRAM
	}
	nonce, isNonce := strings.CutPrefix(fields[0], "r=")
	encoded, isSalt := strings.CutPrefix(fields[1], "s=")
	count, isCount := strings.CutPrefix(fields[2], "i=")
	salt, err := base64.StdEncoding.DecodeString(encoded)
	rounds, bad := strconv.Atoi(count)
	if !isNonce || !isSalt || !isCount || err != nil || bad != nil || len(salt) == 0 ||
		!strings.HasPrefix(nonce, s.nonce) || nonce == s.nonce || rounds < leastRounds || rounds > mostRounds {
		return nil, errNoSCRAM
	}
	salted, err := pbkdf2.Key(s.hash, s.password, salt, rounds, s.hash().Size())
	if err != nil {
		return nil, err
	}
	unproven := "c=biws,r=" + nonce
	message := s.first + "," + string(challenge) + "," + unproven
	clientKey := s.mac(salted, "Client Key")
	stored := s.hash()
	_, _ = stored.Write(clientKey)
	proof := s.mac(stored.Sum(nil), message)
	subtle.XORBytes(proof, proof, clientKey)
	s.expected = s.mac(s.mac(salted, "Server Key"), message)
	return []byte(unproven + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// proven reports whether the server has the password too.
func (s *scram) proven(answer []byte) bool {
	encoded, ok := strings.CutPrefix(string(answer), "v=")
	signature, err := base64.StdEncoding.DecodeString(encoded)
	return ok && err == nil && s.expected != nil && hmac.Equal(signature, s.expected)
}

func (s *scram) mac(key []byte, text string) []byte {
	m := hmac.New(s.hash, key)
	_, _ = m.Write([]byte(text))
	return m.Sum(nil)
}
