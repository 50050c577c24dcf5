package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"net/netip"
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

// auxiliaryHeader has tokens of other tenants, as ARM takes them: "Bearer t1,
// Bearer t2".
const (
	auxiliaryHeader = "x-ms-authorization-auxiliary"
	maxAuxiliary    = 3
	maxToken        = 16 << 10 // bytes of one token
)

// door knows the local administrator, by the admin token.
type door struct {
	token patchbay.Secret
	hash  [sha256.Size]byte
}

// caller is who a request comes from, signed in.
type caller struct {
	connector.Caller
	subject patchbay.Subject
	// auxiliary are who it is in other tenants.
	auxiliary []patchbay.Subject
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

// operator is the local administrator of the server.
var operator = patchbay.Subject{Name: "admin", Kind: patchbay.UserPrincipal, Operator: true}

// knows reports whether the token is the admin token. Hashes of one length are
// compared, so that the time taken says nothing of the token, its length
// included.
func (d *door) knows(token string) bool {
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], d.hash[:]) == 1
}

// signIn says who the request's bearer is. The header
// x-ms-serviceconnector-user-token, which az sends beside it, is not looked at.
func (s *Server) signIn(r *http.Request) (caller, error) {
	token, err := bearer(r)
	if err != nil {
		return caller{}, err
	}
	if s.door.knows(token) {
		return caller{Caller: connector.Trusted(operator.Name), subject: operator}, nil
	}
	who, err := s.verify(r, token)
	if err != nil {
		return caller{}, err
	}
	c := caller{Caller: connector.Caller{Name: who.Name, Type: callerType(who.Kind)}, subject: who}
	c.auxiliary, err = s.auxiliary(r)
	return c, err
}

func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", patchbay.Errorf(patchbay.Unauthenticated, "the request needs an Authorization header with a bearer token").
			WithFix("sign in, and send Authorization: Bearer with the token; on the server's own machine, the one in %s of its data directory", TokenFile)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if len(values) != 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return "", badToken()
	}
	return token, nil
}

func badToken() error {
	return patchbay.Errorf(patchbay.Unauthenticated, "the bearer token is not one that this server knows").
		WithFix("sign in again; on the server's own machine, send the token in %s of its data directory", TokenFile)
}

// verify says whose token it is.
func (s *Server) verify(r *http.Request, token string) (patchbay.Subject, error) {
	if s.opts.Identity == nil {
		return patchbay.Subject{}, badToken()
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.opts.Timeout)
	defer cancel()
	who, err := s.opts.Identity.Verify(ctx, patchbay.NewSecret(token), s.baseOf(r))
	if err != nil {
		return patchbay.Subject{}, err
	}
	// Nobody but the admin token makes an operator, and who is nobody in no
	// tenant has no roles.
	if who.Operator || who.ID == "" || who.Tenant == "" {
		return patchbay.Subject{}, badToken()
	}
	return who, nil
}

// auxiliary says who the caller is in other tenants. A token that is not good
// fails the request: what was meant to be allowed with it would fail anyway,
// and less clearly.
func (s *Server) auxiliary(r *http.Request) ([]patchbay.Subject, error) {
	var list []patchbay.Subject
	for _, value := range r.Header.Values(auxiliaryHeader) {
		for item := range strings.SplitSeq(value, ",") {
			scheme, token, _ := strings.Cut(strings.TrimSpace(item), " ")
			token = strings.TrimSpace(token)
			if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken || len(list) == maxAuxiliary {
				return nil, badAuxiliary()
			}
			who, err := s.verify(r, token)
			if patchbay.CodeOf(err) == patchbay.Unauthenticated {
				return nil, badAuxiliary()
			}
			if err != nil {
				return nil, err
			}
			list = append(list, who)
		}
	}
	return list, nil
}

func badAuxiliary() error {
	return patchbay.Errorf(patchbay.Unauthenticated, "the header %s has to hold one to %d tokens of this server, each behind the word Bearer", auxiliaryHeader, maxAuxiliary)
}

// in is who the caller is in a tenant.
func (c caller) in(tenant string) (patchbay.Subject, bool) {
	if strings.EqualFold(c.subject.Tenant, tenant) {
		return c.subject, true
	}
	for _, a := range c.auxiliary {
		if strings.EqualFold(a.Tenant, tenant) {
			return a, true
		}
	}
	return patchbay.Subject{}, false
}

func callerType(k patchbay.PrincipalKind) string {
	if k == patchbay.ServicePrincipal {
		return "Application"
	}
	return "User"
}

// challenge tells a client that has not signed in where it can.
func (s *Server) challenge(r *http.Request) string {
	if s.opts.Identity == nil {
		return `Bearer realm="patchbay"`
	}
	return `Bearer authorization_uri="` + s.baseOf(r) + `/adfs", error="invalid_token"`
}

// addressOf is where a request comes from, without a port. Behind a proxy that
// is trusted it is what that proxy saw: the last of the list, which no client
// writes.
func (s *Server) addressOf(r *http.Request) string {
	if s.opts.TrustForwarded {
		if list := r.Header.Values("X-Forwarded-For"); len(list) > 0 {
			last := list[len(list)-1]
			last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
			if a, err := netip.ParseAddr(last); err == nil {
				return a.Unmap().String()
			}
		}
	}
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return a.Addr().Unmap().WithZone("").String()
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
