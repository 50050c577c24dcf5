package nats

import (
	"bytes"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// account is an account's JWT, open for editing. Everything that is not ours
// stays as raw JSON and is written back as it was read, what a later version of
// the product put there included: a client of the server whose scope came out
// even slightly different would be disconnected.
type account struct {
	claims map[string]json.RawMessage
	body   map[string]json.RawMessage // claims["nats"]
	keys   []signingKey
	issuer string
	issued int64
	size   int64 // of the JWT that was read, in bytes
	// revoked are the account's revocations: a user's key, or * for all users,
	// and the second up to which its JWTs are void.
	revoked map[string]int64
}

// signingKey is one of the account's signing keys.
type signingKey struct {
	raw json.RawMessage
	// scope and note are those of a principal of ours; nil for any other's key.
	scope *jwt.UserScope
	note  *note
	// role is what a key with a scope is called, ours or not; key its public half.
	role, key string
}

// note is our mark on a signing key, in its description.
type note struct {
	UID        string      `json:"uid"`
	Generation int64       `json:"generation"`
	Connection patchbay.ID `json:"connection"`
	User       string      `json:"user"`   // public key of the one user that it signed
	Issued     int64       `json:"issued"` // second in which it did
}

// notePrefix makes a description ours.
const notePrefix = "patchbay "

func (n note) String() string {
	text, _ := json.Marshal(n) // strings and numbers
	return notePrefix + string(text)
}

func parseNote(description string) *note {
	text, ok := strings.CutPrefix(description, notePrefix)
	if !ok {
		return nil
	}
	var n note
	if json.Unmarshal([]byte(text), &n) != nil || n.UID == "" || n.Generation <= 0 {
		return nil
	}
	return &n
}

func (n note) mark() driver.Mark {
	return driver.Mark{UID: n.UID, Generation: n.Generation, Connection: n.Connection}
}

// of reports whether the note is that of the mark: the uid and the generation
// decide.
func (n *note) of(m driver.Mark) bool {
	return n != nil && n.UID == m.UID && n.Generation == m.Generation
}

// parseAccount opens a JWT whose signature holds; who signed it is the caller's
// to judge.
func parseAccount(token, subject string) (*account, error) {
	claims, err := jwt.DecodeAccountClaims(token)
	if err != nil {
		return nil, fmt.Errorf("it is not the JWT of an account: %w", err)
	}
	if claims.Subject != subject {
		return nil, errors.New("it is the JWT of another account")
	}
	a := &account{issuer: claims.Issuer, issued: claims.IssuedAt, size: int64(len(token)), revoked: claims.Revocations}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(payload, &a.claims); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(a.claims["nats"], &a.body); err != nil {
		return nil, err
	}
	var version int
	if err := json.Unmarshal(a.body["version"], &version); err != nil || version < 2 {
		return nil, errors.New("it is of the first version (nsc upgrade-jwt makes it one of the second)")
	}
	var keys []json.RawMessage
	if raw, ok := a.body["signing_keys"]; ok {
		if err := json.Unmarshal(raw, &keys); err != nil {
			return nil, err
		}
	}
	for _, raw := range keys {
		k := signingKey{raw: raw}
		var s jwt.UserScope
		if json.Unmarshal(raw, &k.key) != nil && json.Unmarshal(raw, &s) == nil {
			k.role, k.key = s.Role, s.Key
			if k.note = parseNote(s.Description); k.note != nil {
				k.scope = &s
			}
		}
		a.keys = append(a.keys, k)
	}
	return a, nil
}

// find returns the keys that bear the mark. Somebody else's key with that role
// and none of ours is NotOurs.
func (a *account) find(m driver.Mark, name string) ([]signingKey, error) {
	var ours []signingKey
	foreign := false
	for _, k := range a.keys {
		switch {
		case k.note.of(m):
			ours = append(ours, k)
		case k.role == name:
			foreign = true
		}
	}
	if len(ours) == 0 && foreign {
		return nil, patchbay.Errorf(patchbay.NotOurs, "the account has a signing key with the role %s that Patchbay did not make", name)
	}
	return ours, nil
}

// put makes want the one key that bears the mark, and reports whether anything
// changed.
func (a *account) put(m driver.Mark, want jwt.UserScope) (bool, error) {
	ours, err := a.find(m, want.Role)
	if err != nil {
		return false, err
	}
	for _, k := range a.keys {
		if k.key == want.Key && !k.note.of(m) {
			return false, patchbay.Errorf(patchbay.NotOurs, "the account has the signing key of %s under somebody else's mark", want.Role)
		}
	}
	if len(ours) == 1 && sameScope(*ours[0].scope, want) {
		return false, nil
	}
	raw, err := compact(&want) // its kind is written by a method of the pointer
	if err != nil {
		return false, err
	}
	a.drop(m)
	a.keys = append(a.keys, signingKey{raw: raw, scope: &want, note: parseNote(want.Description), role: want.Role, key: want.Key})
	return true, nil
}

// sameScope compares what the server and we read of a scope. Anything in it
// that compareTemplate finds nothing to say about is no difference.
func sameScope(have, want jwt.UserScope) bool {
	missing, excess := compareTemplate(want.Template, have.Template)
	return have.Key == want.Key && have.Role == want.Role && have.Description == want.Description && len(missing)+len(excess) == 0
}

// drop takes out every key that bears the mark, and reports whether there was
// one.
func (a *account) drop(m driver.Mark) bool {
	before := len(a.keys)
	a.keys = slices.DeleteFunc(a.keys, func(k signingKey) bool { return k.note.of(m) })
	return len(a.keys) != before
}

// revokedUser says until when the account refuses the JWTs of a user, by
// name and as one of all; zero when it does not.
func (a *account) revokedUser(user string) (alone, all int64) {
	return a.revoked[user], a.revoked[jwt.All]
}

// admit takes back a revocation of that one user, and reports whether there was
// one.
func (a *account) admit(user string) (bool, error) {
	if _, ok := a.revoked[user]; !ok {
		return false, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(a.body["revocations"], &raw); err != nil {
		return false, err
	}
	delete(raw, user)
	delete(a.revoked, user)
	if len(raw) == 0 {
		delete(a.body, "revocations")
		return true, nil
	}
	text, err := compact(raw)
	a.body["revocations"] = text
	return true, err
}

// sign makes a JWT of the account as it is now. Its second of issue is not
// before that of the one that was read: of two, servers keep the later.
func (a *account) sign(operator nkeys.KeyPair, now time.Time) (string, error) {
	issuer, err := operator.PublicKey()
	if err != nil {
		return "", err
	}
	raws := make([]json.RawMessage, 0, len(a.keys))
	for _, k := range a.keys {
		raws = append(raws, k.raw)
	}
	delete(a.body, "signing_keys")
	if len(raws) > 0 {
		if a.body["signing_keys"], err = compact(raws); err != nil {
			return "", err
		}
	}
	if a.claims["nats"], err = compact(a.body); err != nil {
		return "", err
	}
	a.issuer, a.issued = issuer, max(a.issued, now.Unix())
	if a.claims["iss"], err = compact(a.issuer); err != nil {
		return "", err
	}
	if a.claims["iat"], err = compact(a.issued); err != nil {
		return "", err
	}
	delete(a.claims, "jti")
	payload, err := compact(a.claims)
	if err != nil {
		return "", err
	}
	// The id is a hash of the rest.
	sum := sha512.Sum512_256(payload)
	if a.claims["jti"], err = compact(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])); err != nil {
		return "", err
	}
	if payload, err = compact(a.claims); err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"typ":"`+jwt.TokenTypeJwt+`","alg":"`+jwt.AlgorithmNkey+`"}`)) + "." + encode(payload)
	signature, err := operator.Sign([]byte(text))
	if err != nil {
		return "", err
	}
	token := text + "." + encode(signature)
	if _, err := jwt.DecodeAccountClaims(token); err != nil && !errors.Is(err, jwt.ErrTokenTooLarge) {
		return "", err
	}
	return token, nil
}

// compact is v as JSON without the escapes that are for web pages: a subject's
// > would take six bytes.
func compact(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
