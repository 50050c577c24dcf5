package mysql

import "strings"

// Sessions of ours have NO_BACKSLASH_ESCAPES: a quote is all that ends a string.

// literal quotes a string.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// ident quotes one name.
func ident(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// at is an account, as statements name it.
func at(user, host string) string { return literal(user) + "@" + literal(host) }

// pattern is a database's name as grants have it: there % and _ stand for anything
// unless they are escaped.
func pattern(database string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(database)
}
