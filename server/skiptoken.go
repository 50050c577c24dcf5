package server

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"

	"golang.org/x/crypto/chacha20poly1305"

	"patchbay.dev/patchbay"
)

// A list goes on behind the last record that was read, which may be one that
// the caller must not know of: another tenant's. So what callers are given of
// it is sealed, for them and for that list. The operator, who sees everything,
// is given it as it is.

// skipTokens is the cipher of skip tokens. Its key is made of the admin token,
// so that a list goes on over a restart.
func (d *door) skipTokens() (cipher.AEAD, error) {
	mac := hmac.New(sha256.New, []byte(d.token.Reveal()))
	mac.Write([]byte("patchbay skip tokens"))
	return chacha20poly1305.NewX(mac.Sum(nil))
}

// maxSkipToken bounds one, in bytes: an id, sealed and encoded.
const maxSkipToken = 2 * patchbay.MaxIDLength

func (x *exchange) skipContext() []byte {
	who := x.caller.subject
	return []byte(who.Tenant + "\x00" + who.ID + "\x00" + string(x.path.Route) + "\x00" + x.path.Scope.Key())
}

func (x *exchange) sealSkip(next string) (string, error) {
	if next == "" || x.caller.subject.Operator {
		return next, nil
	}
	aead, err := x.server.door.skipTokens()
	if err != nil {
		return "", patchbay.Errorf(patchbay.Internal, "seal a skip token: %w", err)
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(next), x.skipContext())), nil
}

func (x *exchange) openSkip(token string) (string, error) {
	if len(token) > maxSkipToken {
		return "", badSkip()
	}
	if token == "" || x.caller.subject.Operator {
		return token, nil
	}
	aead, err := x.server.door.skipTokens()
	if err != nil {
		return "", patchbay.Errorf(patchbay.Internal, "open a skip token: %w", err)
	}
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(sealed) < aead.NonceSize() {
		return "", badSkip()
	}
	next, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], x.skipContext())
	if err != nil {
		return "", badSkip()
	}
	return string(next), nil
}

func badSkip() error {
	return patchbay.Errorf(patchbay.InvalidArgument, "the query parameter $skipToken is not one that this server gave")
}
