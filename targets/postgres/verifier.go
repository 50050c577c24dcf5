package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/xdg-go/stringprep"

	"patchbay.dev/patchbay"
)

// iterations is PostgreSQL's own default (scram_iterations).
const iterations = 4096

// verifier is what PostgreSQL keeps of a password (RFC 5803). It is computed
// here, so that no server log, statement statistic or replica ever sees the
// password itself.
func verifier(password patchbay.Secret) (patchbay.Secret, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	return verifierWith(password, salt)
}

func verifierWith(password patchbay.Secret, salt []byte) (patchbay.Secret, error) {
	// A password that SASLprep can't prepare is taken as it is, as the server
	// and libpq do.
	clear := password.Reveal()
	if p, err := stringprep.SASLprep.Prepare(clear); err == nil {
		clear = p
	}
	salted, err := pbkdf2.Key(sha256.New, clear, salt, iterations, sha256.Size)
	if err != nil {
		return patchbay.Secret{}, patchbay.Errorf(patchbay.Internal, "compute the password's verifier: %v", err)
	}
	mac := func(message string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(message))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return patchbay.NewSecret(fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac("Server Key")))), nil
}
