package etcd

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// markPrefix begins the name of each role of ours:
//
//	patchbay/{login}/{uid}/{generation}{the connection's id}
const markPrefix = "patchbay/"

var (
	nameForm = regexp.MustCompile(`^pb_[a-z0-9_]{1,37}$`)
	uidForm  = regexp.MustCompile(`^[a-z0-9]{1,64}$`)
)

// mark is a role's name taken apart.
type mark struct {
	driver.Mark
	login string
}

// role is the name of the login's role.
func (m mark) role() string {
	return markPrefix + m.login + "/" + m.UID + "/" + strconv.FormatInt(m.Generation, 10) + string(m.Connection)
}

// parseMark reads a role's name; ok is false of one that is not ours.
func parseMark(role string) (m mark, ok bool) {
	rest, ours := strings.CutPrefix(role, markPrefix)
	parts := strings.SplitN(rest, "/", 4)
	if !ours || len(parts) < 3 {
		return mark{}, false
	}
	m.login, m.UID = parts[0], parts[1]
	if len(parts) == 4 {
		m.Connection = patchbay.ID("/" + parts[3])
	}
	generation, err := strconv.ParseInt(parts[2], 10, 64)
	m.Generation = generation
	return m, err == nil && generation > 0 && nameForm.MatchString(m.login) && uidForm.MatchString(m.UID) && m.role() == role
}

// marks reports whether the role of that name is the login's. The connection in it is
// for people.
func (m mark) marks(role string) bool {
	of, ok := parseMark(role)
	return ok && of.login == m.login && of.UID == m.UID && of.Generation == m.Generation
}

// markOf is the mark of a request's login.
func markOf(r driver.LoginRequest) (mark, error) {
	switch {
	case !nameForm.MatchString(r.Name):
		return mark{}, patchbay.Errorf(patchbay.InvalidArgument, "%.60q is not the name of a login", r.Name)
	case !uidForm.MatchString(r.Mark.UID) || r.Mark.Generation <= 0:
		return mark{}, patchbay.Errorf(patchbay.InvalidArgument, "the login %s has no connection or generation", r.Name)
	case r.Mark.Connection != "" && !strings.HasPrefix(string(r.Mark.Connection), "/") || !utf8.ValidString(string(r.Mark.Connection)):
		return mark{}, patchbay.Errorf(patchbay.InvalidArgument, "the login %s is of a connection that is no id", r.Name)
	case r.Sub != "":
		return mark{}, patchbay.Errorf(patchbay.InvalidArgument, "an etcd cluster has no %.60q to connect to: name the cluster itself, and the keys with --option %s", r.Sub, optionPrefixes)
	}
	return mark{r.Mark, r.Name}, nil
}

// firstPassword is what the login's user is made with, before it may do anything. Who
// has it was made for this mark, by one who goes by these rules: it proves whose a user
// is that has no role yet. It is no secret, and the password of nobody with a permission.
func (m mark) firstPassword() string {
	sum := sha256.Sum256([]byte("patchbay: first password of " + m.login + " " + m.UID + " " + strconv.FormatInt(m.Generation, 10)))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
