package rabbitmq

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// user is one as the management API has it.
type user struct {
	Name      string                     `json:"name"`
	Hash      string                     `json:"password_hash"`
	Algorithm string                     `json:"hashing_algorithm"`
	Tags      tags                       `json:"tags"`
	Limits    map[string]json.RawMessage `json:"limits"`
}

// tags are a list, and in definitions of before a text with commas.
type tags []string

func (t *tags) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		for tag := range strings.SplitSeq(text, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				*t = append(*t, tag)
			}
		}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(t))
}

// permission is what a user may do in a virtual host: three patterns.
type permission struct {
	VHost     string `json:"vhost,omitempty"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// topicPermission is which routing keys a user may use at an exchange: two patterns.
type topicPermission struct {
	User     string `json:"user,omitempty"`
	VHost    string `json:"vhost,omitempty"`
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

// login is all that a server knows of a user.
type login struct {
	user        user
	permissions []permission
	topics      []topicPermission
}

// find reads all of a user; nil when there is none.
func (a *api) find(ctx context.Context, name string) (*login, error) {
	const what = "read the login"
	l := &login{}
	found, err := a.get(ctx, what, path("users", name), &l.user)
	if err != nil || !found {
		return nil, err
	}
	for part, into := range map[string]any{"permissions": &l.permissions, "topic-permissions": &l.topics} {
		if found, err = a.get(ctx, what, path("users", name, part), into); err != nil || !found {
			return nil, err // gone meanwhile
		}
	}
	return l, nil
}

// sha256Hashing is the product's name for what makes hashes of passwords; there is no
// stronger one that every version has.
const sha256Hashing = "rabbit_password_hashing_sha256"

// hashed is a password as the server keeps it: so it is told the password by nobody
// but the application.
func hashed(password patchbay.Secret) string {
	var salt [4]byte // as many as the product's form has
	_, _ = rand.Read(salt[:])
	return base64.StdEncoding.EncodeToString(salted(salt[:], password))
}

func salted(salt []byte, password patchbay.Secret) []byte {
	sum := sha256.Sum256(slices.Concat(salt, []byte(password.Reveal())))
	return slices.Concat(salt, sum[:])
}

// signsIn reports whether the user's password is that one.
func (u user) signsIn(password patchbay.Secret) bool {
	b, err := base64.StdEncoding.DecodeString(u.Hash)
	return err == nil && len(b) > 4 && u.Algorithm == sha256Hashing && subtle.ConstantTimeCompare(b, salted(b[:4], password)) == 1
}

// put makes a user, or gives it that password and our tag alone.
func (a *api) put(ctx context.Context, name string, password patchbay.Secret) error {
	_, err := a.do(ctx, "make the login", http.MethodPut, path("users", name), map[string]string{
		"password_hash": hashed(password), "hashing_algorithm": sha256Hashing, "tags": tag,
	})
	return err
}

// sessions are the names of a user's open connections, of whatever protocol.
func (a *api) sessions(ctx context.Context, name string) ([]string, error) {
	var open []struct {
		Name string `json:"name"`
	}
	_, err := a.get(ctx, "list the login's connections", path("connections", "username", name), &open)
	names := make([]string, 0, len(open))
	for _, c := range open {
		names = append(names, c.Name)
	}
	return names, err
}

// A login's mark: the tag that all of ours have, and a note.
const (
	tag        = "patchbay"
	notePrefix = "patchbay login "
	nothing    = "^$" // the pattern of no name
)

// note is what a mark says besides.
type note struct {
	driver.Mark
	Sub string `json:"sub"`
}

// topic is the note as a permission: the server has no exchange of that name, and
// where somebody made one, the login may do nothing there.
func (n note) topic() topicPermission {
	b, _ := json.Marshal(n) // strings and a number
	return topicPermission{Exchange: notePrefix + string(b), Write: nothing, Read: nothing}
}

// noteOf reads the note of a permission; nil when it is none.
func noteOf(p topicPermission) *note {
	text, ok := strings.CutPrefix(p.Exchange, notePrefix)
	var n note
	if !ok || json.Unmarshal([]byte(text), &n) != nil || n.UID == "" || n.Generation <= 0 {
		return nil
	}
	return &n
}

// note is the first that a login bears; nil when it has none: when making it was cut
// short, or its virtual host is gone.
func (l *login) note() *note {
	for _, p := range l.topics {
		if n := noteOf(p); n != nil {
			return n
		}
	}
	return nil
}

// isOf reports whether a login bears the mark. Without a note its name says whose it is.
func (l *login) isOf(m driver.Mark) bool {
	if !slices.Contains(l.user.Tags, tag) {
		return false
	}
	if n := l.note(); n != nil {
		return n.UID == m.UID && n.Generation == m.Generation
	}
	return l.user.Name == nameOf(m)
}
