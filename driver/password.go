package driver

import (
	"crypto/rand"
	"math/big"
	"strings"

	"patchbay.dev/patchbay"
)

const (
	upper, lower, digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
	// signs mean nothing in a URL, a shell, YAML, INI or a connection string.
	signs          = "_-"
	passwordLength = 40 // some 239 bits
)

// NewPassword is a password that needs no quoting in any URL, file or shell:
// letters, digits, - and _, a letter first. Each of the four classes is in it,
// for products with a rule about that.
func NewPassword() patchbay.Secret {
	for {
		b := make([]byte, passwordLength)
		for i := range b {
			alphabet := upper + lower + digits + signs
			if i == 0 {
				alphabet = upper + lower
			}
			n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet)))) // never fails
			b[i] = alphabet[n.Int64()]
		}
		text := string(b)
		if strings.ContainsAny(text, upper) && strings.ContainsAny(text, lower) && strings.ContainsAny(text, digits) && strings.ContainsAny(text, signs) {
			return patchbay.NewSecret(text)
		}
	}
}
