package sqlserver

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// literal quotes a string: a quote is all that ends one.
func literal(s string) string { return "N'" + strings.ReplaceAll(s, "'", "''") + "'" }

// ident quotes one name, as QUOTENAME does.
func ident(name string) string { return "[" + strings.ReplaceAll(name, "]", "]]") + "]" }

// units is how long the server takes a text to be.
func units(s string) int { return len(utf16.Encode([]rune(s))) }

// isName reports whether a name can be one of the server's (sysname) that we can say. It
// may hold anything; what is no Unicode would become another one on its way, and of signs
// beyond 16 bits (emoji) the client library counts one where the server counts two, so
// that it would sign in to another database.
func isName(s string) bool {
	return s != "" && isText(s)
}

// isText is the same of what may be empty.
func isText(s string) bool {
	return units(s) <= maxName && utf8.ValidString(s) && units(s) == utf8.RuneCountInString(s) && !strings.ContainsAny(s, "\x00\uFFFD")
}
