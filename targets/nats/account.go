package nats

import (
	"bytes"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// account is an account's JWT, open for editing. Everything that is not ours
// stays as it was read, what a later version of the product put there included:
// a client of the server whose scope came out even slightly different would be
// disconnected.
type account struct {
	claims tree
	body   tree // claims["nats"], without signing_keys
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
	raw any
	// note is that of a login of ours; nil for any other's key.
	note *note
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

// owner is what decides whose a login is.
type owner struct {
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
}

func ownerOf(m driver.Mark) owner { return owner{m.UID, m.Generation} }

func (n *note) owner() owner { return owner{n.UID, n.Generation} }

// of reports whether the note is that of the owner.
func (n *note) of(o owner) bool { return n != nil && n.owner() == o }

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
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		return nil, err
	}
	raw, err := parseTree(payload)
	if err != nil {
		return nil, err
	}
	body, _ := raw["nats"].(tree)
	if version, ok := body["version"].(json.Number); !ok || version != "2" {
		return nil, errors.New("it is not of the second version (nsc upgrade-jwt makes it one)")
	}
	a := &account{issuer: claims.Issuer, issued: claims.IssuedAt, size: int64(len(token))}
	return a, a.load(raw)
}

func parseTree(text []byte) (tree, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var t tree
	err := d.Decode(&t)
	return t, err
}

// load makes the account what the claims say.
func (a *account) load(claims tree) error {
	body, _ := claims["nats"].(tree)
	a.claims, a.body, a.keys, a.revoked = maps.Clone(claims), maps.Clone(body), nil, nil
	list, _ := body["signing_keys"].([]any)
	delete(a.body, "signing_keys")
	for _, raw := range list {
		a.keys = append(a.keys, parseKey(raw))
	}
	if revocations, ok := body["revocations"]; ok {
		return json.Unmarshal([]byte(canonical(revocations)), &a.revoked)
	}
	return nil
}

// parseKey reads of a signing key what tells one from another: an account may
// have a thousand, of which an edit is about one.
func parseKey(raw any) signingKey {
	k := signingKey{raw: raw}
	switch v := raw.(type) {
	case string:
		k.key = v
	case tree:
		k.role, _ = v["role"].(string)
		k.key, _ = v["key"].(string)
		description, _ := v["description"].(string)
		k.note = parseNote(description)
	}
	return k
}

// scope is what the key's users may do.
func (k signingKey) scope() (jwt.UserScope, error) {
	var s jwt.UserScope
	err := json.Unmarshal([]byte(canonical(k.raw)), &s)
	return s, err
}

// rightsOf are those of the users of a signing key; scoped is false when nothing
// limits them.
func (a *account) rightsOf(key string) (r rights, scoped bool, err error) {
	for _, k := range a.keys {
		if _, plain := k.raw.(string); plain || k.key != key {
			continue
		}
		s, err := k.scope()
		return rightsIn(s.Template), true, err
	}
	return rights{}, false, nil
}

// content is what the account says, as one value that can be compared and
// merged: all but what every signature makes anew.
func (a *account) content() tree {
	claims, body := maps.Clone(a.claims), maps.Clone(a.body)
	for _, name := range []string{"iss", "iat", "jti"} {
		delete(claims, name)
	}
	if len(a.keys) > 0 {
		list := make([]any, 0, len(a.keys))
		for _, k := range a.keys {
			list = append(list, k.raw)
		}
		body["signing_keys"] = list
	}
	claims["nats"] = body
	return claims
}

// snapshot is the account as it is now, whatever becomes of a.
func (a *account) snapshot() *account {
	now := *a
	now.claims, now.body, now.keys = maps.Clone(a.claims), maps.Clone(a.body), slices.Clone(a.keys)
	return &now
}

// others is content without our own keys.
func (a *account) others() tree {
	stripped := *a
	stripped.keys = slices.DeleteFunc(slices.Clone(a.keys), func(k signingKey) bool { return k.note != nil })
	return stripped.content()
}

// absorb takes over what theirs changed of base, all but our own keys.
func (a *account) absorb(base, theirs *account) error {
	ours := slices.DeleteFunc(slices.Clone(a.keys), func(k signingKey) bool { return k.note == nil })
	merged, _ := merge(base.others(), theirs.others(), a.others()).(tree)
	a.issued = max(a.issued, theirs.issued)
	if err := a.load(merged); err != nil {
		return err
	}
	a.keys = append(a.keys, ours...)
	return nil
}

// find returns the keys of that owner. Somebody else's key with that role
// and none of ours is NotOurs.
func (a *account) find(o owner, name string) ([]signingKey, error) {
	var ours []signingKey
	foreign := false
	for _, k := range a.keys {
		switch {
		case k.note.of(o):
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

// put makes want the one key of its owner, and reports whether anything
// changed.
func (a *account) put(o owner, want jwt.UserScope) (bool, error) {
	ours, err := a.find(o, want.Role)
	if err != nil {
		return false, err
	}
	for _, k := range a.keys {
		if k.key == want.Key && !k.note.of(o) {
			return false, patchbay.Errorf(patchbay.NotOurs, "the account has the signing key of %s under somebody else's mark", want.Role)
		}
	}
	if len(ours) == 1 {
		have, err := ours[0].scope()
		if err != nil {
			return false, err
		}
		if sameScope(have, want) {
			return false, nil
		}
	}
	text, err := json.Marshal(&want) // its kind is written by a method of the pointer
	if err != nil {
		return false, err
	}
	raw, err := parseTree(text)
	if err != nil {
		return false, err
	}
	a.drop(o)
	a.keys = append(a.keys, parseKey(raw))
	return true, nil
}

// sameScope compares what the server and we read of a scope. Anything in it
// that compareTemplate finds nothing to say about is no difference.
func sameScope(have, want jwt.UserScope) bool {
	missing, excess := compareTemplate(want.Template, have.Template)
	return have.Key == want.Key && have.Role == want.Role && have.Description == want.Description && len(missing)+len(excess) == 0
}

// drop takes out every key of that owner, and reports whether there was
// one.
func (a *account) drop(o owner) bool {
	before := len(a.keys)
	a.keys = slices.DeleteFunc(a.keys, func(k signingKey) bool { return k.note.of(o) })
	return len(a.keys) != before
}

// has reports whether the account has a login of that owner.
func (a *account) has(o owner) bool {
	return slices.ContainsFunc(a.keys, func(k signingKey) bool { return k.note.of(o) })
}

// revokedUser says until when the account refuses the JWTs of a user, by
// name and as one of all; zero when it does not.
func (a *account) revokedUser(user string) (alone, all int64) {
	return a.revoked[user], a.revoked[jwt.All]
}

// admit takes back a revocation of that one user, and reports whether there was
// one.
func (a *account) admit(user string) bool {
	if _, ok := a.revoked[user]; !ok {
		return false
	}
	revocations, _ := a.body["revocations"].(tree)
	revocations = maps.Clone(revocations)
	delete(revocations, user)
	a.revoked = maps.Clone(a.revoked)
	delete(a.revoked, user)
	if a.body["revocations"] = revocations; len(revocations) == 0 {
		delete(a.body, "revocations")
	}
	return true
}

// sign makes a JWT of the account as it is now. Its second of issue is not
// before that of the one that was read: of two, servers keep the later.
func (a *account) sign(operator nkeys.KeyPair, now time.Time) (string, error) {
	issuer, err := operator.PublicKey()
	if err != nil {
		return "", err
	}
	claims := a.content()
	claims["iss"], claims["iat"] = issuer, max(a.issued, now.Unix())
	payload, err := compact(claims)
	if err != nil {
		return "", err
	}
	// The id is a hash of the rest.
	sum := sha512.Sum512_256(payload)
	claims["jti"] = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
	if payload, err = compact(claims); err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"typ":"`+jwt.TokenTypeJwt+`","alg":"`+jwt.AlgorithmNkey+`"}`)) + "." + encode(payload)
	signature, err := operator.Sign([]byte(text))
	if err != nil {
		return "", err
	}
	return text + "." + encode(signature), nil
}

// compact is v as JSON without the escapes that are for web pages: a subject's
// > would take six bytes.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
