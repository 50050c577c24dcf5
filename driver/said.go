package driver

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

// maxSaid bounds what is kept of the other side's words, in bytes.
const maxSaid = 200

// Quoted is what the other side said as people may be shown it: one line without
// secrets, of at most some 200 bytes, in which nothing moves a cursor, turns the
// direction of writing or hides. [Guard] does that to an error's Said; a driver to
// names of the other side that a message can't do without.
func Quoted(text string, secrets ...patchbay.Secret) string {
	for _, s := range secrets {
		text = redactText(text, s)
	}
	var b strings.Builder
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		shown := string(r)
		switch {
		case r == utf8.RuneError && size == 1:
			shown = fmt.Sprintf(`\x%02x`, text[i])
		case !unicode.IsPrint(r): // controls, formats such as U+202E, separators
			shown = strings.Trim(fmt.Sprintf("%+q", r), "'")
		}
		if b.Len()+len(shown) > maxSaid {
			return b.String() + "…"
		}
		b.WriteString(shown)
	}
	return b.String()
}

// SQLState names the code of an answer in SQL. What is none, by its form, is not
// shown: it could be anything.
func SQLState(code string) string {
	if !sqlState.MatchString(code) {
		return "without an SQLSTATE"
	}
	return "SQLSTATE " + code
}

var sqlState = regexp.MustCompile(`^[0-9A-Z]{5}$`)
