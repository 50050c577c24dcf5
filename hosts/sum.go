package hosts

import (
	"crypto/sha256"
	"encoding/hex"
)

// Sum is the SHA-256 of a content, in hexadecimal: what a host compares where
// only a digest should travel.
func Sum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
