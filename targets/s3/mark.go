package s3

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Of the names of logins, which the engine makes of the mark.
var (
	nameForm = regexp.MustCompile(`^pb_([a-z0-9]{1,32})_g([1-9][0-9]{0,17})$`)
	// sidForm is that of our statements: which one of a login's it is, its uid and
	// generation, and in the first one the connection. Sids are letters and digits.
	sidForm = regexp.MustCompile(`^Patchbay([1-3])U([a-z0-9]{1,32})G([1-9][0-9]{0,17})(?:C([A-Za-z0-9]*))?$`)
)

// mark is a login's.
type mark struct {
	driver.Mark
	login string // its user, and that one's access key id
}

func loginOf(uid string, generation int64) string {
	return "pb_" + uid + "_g" + strconv.FormatInt(generation, 10)
}

// markOf is the mark of a request's login.
func markOf(r driver.LoginRequest) (mark, error) {
	m, ok := markIn(r.Name)
	switch {
	case !ok || m.UID != r.Mark.UID || m.Generation != r.Mark.Generation:
		return mark{}, patchbay.Errorf(patchbay.InvalidArgument, "%.60q is not the name of a login of this connection and generation", r.Name)
	case r.Mark.Connection != "" && !strings.HasPrefix(string(r.Mark.Connection), "/") || !utf8.ValidString(string(r.Mark.Connection)):
		return mark{}, patchbay.Errorf(patchbay.InvalidArgument, "the login %s is of a connection that is no id", r.Name)
	}
	return mark{r.Mark, r.Name}, nil
}

// markIn is what a user's name says; ok is false of one that is not ours.
func markIn(name string) (m mark, ok bool) {
	parts := nameForm.FindStringSubmatch(name)
	if parts == nil {
		return mark{}, false
	}
	generation, err := strconv.ParseInt(parts[2], 10, 64)
	return mark{driver.Mark{UID: parts[1], Generation: generation}, name}, err == nil
}

// sid is the name of the login's statement of that number, from 1.
func (m mark) sid(number int) string {
	text := "Patchbay" + strconv.Itoa(number) + "U" + m.UID + "G" + strconv.FormatInt(m.Generation, 10)
	if number == 1 {
		text += "C" + inSid(string(m.Connection))
	}
	return text
}

// markOfSid reads a statement's name; ok is false of one that is not ours. The
// connection is in the first statement of a login alone.
func markOfSid(sid string) (m mark, number int, ok bool) {
	parts := sidForm.FindStringSubmatch(sid)
	if parts == nil {
		return mark{}, 0, false
	}
	generation, err := strconv.ParseInt(parts[3], 10, 64)
	if err != nil {
		return mark{}, 0, false
	}
	connection, ok := ofSid(parts[4])
	number, _ = strconv.Atoi(parts[1]) // a digit
	m = mark{driver.Mark{UID: parts[2], Generation: generation, Connection: patchbay.ID(connection)}, loginOf(parts[2], generation)}
	return m, number, ok
}

// marks reports whether a statement of that name is the login's. The connection in it is
// for people.
func (m mark) marks(sid string) bool {
	of, _, ok := markOfSid(sid)
	return ok && of.UID == m.UID && of.Generation == m.Generation
}

// spelling is a letter that stands for a text.
type spelling struct {
	text   string
	letter byte
}

// spelled is what stands in a Sid for what ids are mostly made of: bucket policies are
// small, for some servers as small as an attribute of a file. The longest is first.
var spelled = []spelling{
	{"/providers/Microsoft.ServiceLinker/linkers/", 'L'}, {"/providers/Microsoft.Web/sites/", 'W'},
	{"/resourceGroups/", 'G'}, {"/subscriptions/", 'B'}, {"/providers/", 'P'}, {"/", 'S'}, {"-", 'D'}, {".", 'T'},
}

// inSid is a text in letters and digits alone: small ones and digits as they are, capital
// ones as U and the small one, what is spelled as its letter, anything else as X and two
// hexadecimal digits.
func inSid(text string) string {
	var b strings.Builder
next:
	for text != "" {
		for _, s := range spelled {
			if rest, ok := strings.CutPrefix(text, s.text); ok {
				b.WriteByte(s.letter)
				text = rest
				continue next
			}
		}
		switch c := text[0]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteByte(c)
		case c >= 'A' && c <= 'Z':
			b.WriteString("U" + string([]byte{c + 'a' - 'A'}))
		default:
			b.WriteString("X" + hex.EncodeToString([]byte{c}))
		}
		text = text[1:]
	}
	return b.String()
}

// ofSid is what inSid made a text of; ok is false where it made none.
func ofSid(sid string) (text string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(sid); i++ {
		c := sid[i]
		at := slices.IndexFunc(spelled, func(s spelling) bool { return s.letter == c })
		switch {
		case at >= 0:
			b.WriteString(spelled[at].text)
		case c == 'U' && i+1 < len(sid):
			i++
			b.WriteString(strings.ToUpper(sid[i : i+1]))
		case c == 'X' && i+2 < len(sid):
			one, err := hex.DecodeString(sid[i+1 : i+3])
			if err != nil {
				return "", false
			}
			b.Write(one)
			i += 2
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), inSid(b.String()) == sid
}

const (
	alphabet     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	secretLength = 40 // as AWS' own, which some libraries insist on
	signedLength = 12 // of it are made of the rest and the mark
)

// newSecret is a secret access key of the login's: 28 letters and digits that nobody
// knows (166 bits), and twelve that follow from them and the mark. Whoever may list the
// users, which shows their secrets, can tell by those that Patchbay made this user for
// this mark.
func (m mark) newSecret() patchbay.Secret {
	b := make([]byte, secretLength-signedLength)
	for i := range b {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet)))) // never fails
		b[i] = alphabet[n.Int64()]
	}
	return patchbay.NewSecret(string(b) + m.signature(string(b)))
}

func (m mark) signature(random string) string {
	sum := sha256.Sum256([]byte("patchbay: secret of " + m.login + " " + random))
	b := make([]byte, signedLength)
	for i := range b {
		b[i] = alphabet[int(sum[i])%len(alphabet)]
	}
	return string(b)
}

// owns reports whether a secret was made for the login.
func (m mark) owns(secret string) bool {
	const random = secretLength - signedLength
	return len(secret) == secretLength && m.signature(secret[:random]) == secret[random:]
}
