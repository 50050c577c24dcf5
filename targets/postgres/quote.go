package postgres

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// ident quotes one name.
func ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal quotes a string. A backslash needs the E form to mean itself
// whatever standard_conforming_strings is.
func literal(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	s = strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return " E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
	}
	return "'" + s + "'"
}
