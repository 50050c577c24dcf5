package server

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
)

// TokenFile is the admin token's file in the data directory.
const TokenFile = "admin.token"

const tokenBytes = 32

// door lets callers in. Today there is one key: the local admin token.
type door struct {
	token patchbay.Secret
	hash  [sha256.Size]byte
}

// caller is who a request comes from, signed in.
type caller struct {
	connector.Caller
	subject patchbay.Subject
}

// openDoor reads the admin token, or makes it at the first start. A file that
// others may read is refused: whoever has read it is an administrator.
func openDoor(dir string) (*door, error) {
	path := filepath.Join(dir, TokenFile)
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, tokenBytes)
		_, _ = rand.Read(raw) // never fails
		token := base64.RawURLEncoding.EncodeToString(raw)
		if err := renameio.WriteFile(path, []byte(token+"\n"), 0o600, renameio.IgnoreUmask()); err != nil {
			return nil, patchbay.Errorf(patchbay.Internal, "write the admin token: %w", err)
		}
		return newDoor(token), nil
	}
	if err != nil {
		return nil, err
	}
	token := strings.TrimSpace(string(text))
	if raw, err := base64.RawURLEncoding.DecodeString(token); err != nil || len(raw) < tokenBytes {
		return nil, patchbay.Errorf(patchbay.Internal, "%s does not hold a token that was made here", path).
			WithFix("rm %s, and start again: a new one is made", path)
	}
	return newDoor(token), nil
}

func newDoor(token string) *door {
	return &door{token: patchbay.NewSecret(token), hash: sha256.Sum256([]byte(token))}
}

// signIn says who the request's bearer is.
func (d *door) signIn(r *http.Request) (caller, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return caller{}, patchbay.Errorf(patchbay.Unauthenticated, "the request needs an Authorization header with a bearer token").
			WithFix("send Authorization: Bearer with the token in %s of the server's data directory", TokenFile)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	// Hashes of one length are compared, so that the time taken says nothing of
	// the token, its length included.
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], d.hash[:]) != 1 {
		return caller{}, patchbay.Errorf(patchbay.Unauthenticated, "the bearer token is not one that this server knows").
			WithFix("send Authorization: Bearer with the token in %s of the server's data directory", TokenFile)
	}
	return caller{Caller: connector.Trusted("admin"), subject: patchbay.Subject{Name: "admin", Kind: patchbay.UserPrincipal, Operator: true}}, nil
}

// authorize says whether the caller may do the action at the scope ("" is
// everything). Every route asks it, with ARM's names of actions; the
// administrator may do all.
func authorize(c caller, action string, scope patchbay.ID) error {
	if c.subject.Operator {
		return nil
	}
	return patchbay.Errorf(patchbay.Forbidden, "%s may not do %s at %s", c.Name, action, "/"+strings.TrimPrefix(string(scope), "/"))
}

// readPrivate reads a file that holds a secret, and refuses one that others
// than its owner can read or write.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, patchbay.Errorf(patchbay.Internal, "%s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, patchbay.Errorf(patchbay.Internal, "%s has mode %04o: others than its owner can read what it holds", path, mode).
			WithFix("chmod 600 %s, or rm it if somebody may have read it: a new one is made", path)
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil && info.Size() > 0 {
		return nil, err
	}
	return text, nil
}
