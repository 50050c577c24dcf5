package kafka

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"

	"patchbay.dev/patchbay"
)

// The bounds that Kafka sets on a credential's iterations.
const (
	leastIterations = 4096
	mostIterations  = 16384
)

// iterationsOf is how often a login's password is hashed: a number of its own, which is
// all that a cluster tells of a credential. Whoever gives the login another password
// hardly hits it, so that is seen.
func iterationsOf(name string) int32 {
	sum := sha256.Sum256([]byte("patchbay iterations " + name))
	// Neither bound, which others choose.
	return leastIterations + 1 + int32(binary.BigEndian.Uint32(sum[:])%(mostIterations-leastIterations-1))
}

// rounds is iterationsOf, but for tests against a model that has one number for all.
var rounds = iterationsOf

// salted is what a cluster is told of a password (RFC 5802, SaltedPassword). Passwords
// of ours need no preparation.
func salted(m mechanism, password patchbay.Secret, iterations int32) (salt, key []byte, err error) {
	salt = make([]byte, 32)
	_, _ = rand.Read(salt) // never fails
	if m == scram256 {
		key, err = pbkdf2.Key(sha256.New, password.Reveal(), salt, int(iterations), sha256.Size)
	} else {
		key, err = pbkdf2.Key(sha512.New, password.Reveal(), salt, int(iterations), sha512.Size)
	}
	if err != nil {
		return nil, nil, patchbay.Errorf(patchbay.Internal, "salt the password: %w", err)
	}
	return salt, key, nil
}
