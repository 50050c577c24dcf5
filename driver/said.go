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
	for _, piece := range harmless(text) {
		if b.Len()+len(piece) > maxSaid {
			return b.String() + "…"
		}
		b.WriteString(piece)
	}
	return b.String()
}

// bothEnds is like [Quoted], but of what is too long its end stays too: whoever wraps
// an error puts its reason last.
func bothEnds(text string) string {
	pieces := harmless(text)
	if whole := strings.Join(pieces, ""); len(whole) <= maxSaid {
		return whole
	}
	from, to, size := 0, len(pieces), 0
	for ; size+len(pieces[from]) <= maxSaid/4; from++ {
		size += len(pieces[from])
	}
	for ; size+len(pieces[to-1]) <= maxSaid; to-- {
		size += len(pieces[to-1])
	}
	return strings.Join(pieces[:from], "") + "…" + strings.Join(pieces[to:], "")
}

// harmless is a text as pieces of which none moves a cursor, turns the direction of
// writing or hides.
func harmless(text string) []string {
	pieces := make([]string, 0, len(text))
	for i, r := range text {
		_, size := utf8.DecodeRuneInString(text[i:])
		piece := string(r)
		switch {
		case r == utf8.RuneError && size == 1:
			piece = fmt.Sprintf(`\x%02x`, text[i])
		case !unicode.IsPrint(r): // controls, formats such as U+202E, separators
			piece = strings.Trim(fmt.Sprintf("%+q", r), "'")
		}
		pieces = append(pieces, piece)
	}
	return pieces
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
