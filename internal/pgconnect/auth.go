package pgconnect

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Auth is a way to sign in with a password, in PostgreSQL's words; a server
// chooses the one that it asks for.
type Auth string

const (
	AuthBound Auth = "scram-sha-256-plus" // SCRAM, bound to the TLS connection: nobody hands it on
	AuthSCRAM Auth = "scram-sha-256"      // proves the password to both sides, and shows it to neither
	AuthMD5   Auth = "md5"                // a digest that passwords can be tried on, fast
	AuthClear Auth = "password"           // the password itself
)

// Auths are from the strongest to the weakest.
var Auths = []Auth{AuthBound, AuthSCRAM, AuthMD5, AuthClear}

// fewestRounds is what SCRAM has at least (RFC 7677, section 4). Who asks for
// less wants to try passwords on the proof.
const fewestRounds = 4096

// gate is what is answered to a server that asks who we are. Where TLS proves who
// asks, that is everything; where it does not, somebody in between may ask, and is
// told nothing that helps to find the password.
type gate struct {
	address  string
	weakest  Auth
	verified bool
}

// parseAuth decides which is the weakest way to sign in that is answered.
func parseAuth(named string, t driver.TLS) (Auth, error) {
	weakest := Auth(named)
	switch {
	case weakest == AuthBound && t.Mode == driver.TLSDisable:
		return "", invalid("weakestAuth is scram-sha-256-plus, which needs TLS, and sslmode is disable")
	case weakest != "":
		return weakest, nil
	case t.Verified():
		return AuthClear, nil
	case t.Mode == driver.TLSDisable, t.Mode == driver.TLSPrefer:
		return AuthSCRAM, nil
	}
	return AuthBound, nil // TLS is insisted on, and proves nothing by itself
}

// answers reports whether that way is strong enough.
func (g gate) answers(asked Auth) bool {
	return slices.Index(Auths, asked) <= slices.Index(Auths, g.weakest)
}

// wayOf is how a request for authentication (PostgreSQL manual, section 54.7) asks for
// the password. Nothing asked for, and a certificate, which TLS has shown already, need
// no answer, and are ""; what else there is the client library does not know.
func wayOf(body []byte) Auth {
	if len(body) < 4 {
		return ""
	}
	switch binary.BigEndian.Uint32(body) {
	case pgproto3.AuthTypeCleartextPassword:
		return AuthClear
	case pgproto3.AuthTypeMD5Password:
		return AuthMD5
	case pgproto3.AuthTypeSASL:
		if slices.Contains(strings.Split(string(body[4:]), "\x00"), "SCRAM-SHA-256-PLUS") {
			return AuthBound
		}
		return AuthSCRAM
	}
	return ""
}

// asked judges a request for authentication.
func (g gate) asked(body []byte) error {
	way := wayOf(body)
	if way == "" {
		return nil
	}
	return g.refusal(way)
}

// refusal is why that way to sign in is not answered, nil when it is.
func (g gate) refusal(way Auth) error {
	if g.answers(way) {
		return nil
	}
	code, why := patchbay.CertificateInvalid, "nothing proves that it is the server"
	if g.verified {
		code, why = patchbay.NotSupported, "the registration does not allow it (weakestAuth)"
	}
	const verify = "register it again with sslmode verify-full and the authority of its certificate (ca), so that it is known who asks; or "
	switch way {
	case AuthClear:
		return patchbay.Errorf(code, "%s asks for the password in the clear, and %s; nothing was sent", g.address, why).
			WithFix("%suse scram-sha-256 in pg_hba.conf; or let whoever is in between read the password: --property weakestAuth=password", verify)
	case AuthMD5:
		return patchbay.Errorf(code, "%s asks for the password as MD5, and %s; nothing was sent", g.address, why).
			WithFix("%skeep the password as SCRAM (SET password_encryption = 'scram-sha-256', then set it again); or let whoever is in between try passwords: --property weakestAuth=md5", verify)
	}
	return patchbay.Errorf(code, "%s does not bind SCRAM to the TLS connection, and %s; nothing was sent", g.address, why).
		WithFix("%slet whoever is in between take the session over: --property weakestAuth=scram-sha-256", verify)
}

// rounds judges how many rounds of SCRAM are asked for.
func (g gate) rounds(n int) error {
	if n >= fewestRounds || g.verified || g.answers(AuthMD5) {
		return nil
	}
	return patchbay.Errorf(patchbay.CertificateInvalid, "%s asks for %d rounds of SCRAM, and nothing proves that it is the server; fewer than %d are not made, for passwords can be tried on them", g.address, n, fewestRounds).
		WithFix("set scram_iterations to %d in postgresql.conf, and the password again; or register it with sslmode verify-full and the authority of its certificate (ca)", fewestRounds)
}

// outlet is what a session sends. The client library takes SCRAM without the
// binding where it can't make one: that is seen when it answers.
type outlet struct {
	io.Writer
	gate gate
}

var unbound = []byte("SCRAM-SHA-256\x00")

// Write implements [io.Writer]. The library flushes each answer by itself.
func (o outlet) Write(p []byte) (int, error) {
	if len(p) > 5 && p[0] == 'p' && bytes.HasPrefix(p[5:], unbound) {
		if err := o.gate.refusal(AuthSCRAM); err != nil {
			return 0, err
		}
	}
	return o.Writer.Write(p)
}
