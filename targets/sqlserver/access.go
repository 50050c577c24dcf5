package sqlserver

import (
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// The rights on a database that each access has beside those of the one before it.
//
// ALTER ANY SCHEMA is ALTER on each, so that all in them can be changed and dropped; to
// make something takes the right to CREATE it too. ALTER on the database itself would be
// the right to make users and roles, and db_ddladmin has that to make triggers which run
// when an administrator changes something.
// https://learn.microsoft.com/sql/t-sql/statements/grant-database-permissions-transact-sql
var (
	readerRights = []string{"CONNECT", "SELECT"}
	writerRights = []string{"INSERT", "UPDATE", "DELETE", "EXECUTE"}
	ownerRights  = []string{
		"ALTER ANY SCHEMA", "CREATE FUNCTION", "CREATE PROCEDURE", "CREATE SCHEMA", "CREATE SYNONYM", "CREATE TABLE", "CREATE TYPE", "CREATE VIEW",
		"REFERENCES", "VIEW DEFINITION",
	}
)

// rights are those that a login is granted on its database.
func rights(r driver.LoginRequest) []string {
	if len(r.Roles) > 0 {
		return []string{"CONNECT"}
	}
	return rightsOf(r.Access)
}

func rightsOf(access patchbay.Access) []string {
	switch access {
	case patchbay.Owner:
		return slices.Concat(readerRights, writerRights, ownerRights)
	case patchbay.Writer:
		return slices.Concat(readerRights, writerRights)
	}
	return readerRights
}

// grant is a right that a user was granted or denied.
type grant struct {
	class, right   string // in the server's words: DATABASE, SELECT
	state          string // G; W with the right to pass it on; D denied
	grantor        string
	schema, object string
	column         string
}

const (
	classDatabase = "DATABASE"
	classSchema   = "SCHEMA"
	classObject   = "OBJECT_OR_COLUMN"
)

// on is the securable, as statements name it: " on schema::[x]", "" for the database.
func (g grant) on() string {
	switch g.class {
	case classSchema:
		return " on schema::" + ident(g.schema)
	case classObject:
		on := " on object::" + ident(g.schema) + "." + ident(g.object)
		if g.column != "" {
			on += "(" + ident(g.column) + ")"
		}
		return on
	}
	return ""
}

// revocable reports whether a statement can name it.
func (g grant) revocable() bool {
	return g.class == classDatabase || g.class == classSchema && g.schema != "" || g.class == classObject && g.schema != "" && g.object != ""
}

func (g grant) String() string {
	on := g.on()
	switch {
	case g.class == classDatabase:
		on = " on the database"
	case on == "":
		on = " on something (" + g.class + ")"
	}
	text := g.right + on
	switch g.state {
	case "D":
		text = "DENY of " + text
	case "W":
		text += " with the right to pass it on"
	}
	return driver.Quoted(text)
}

// compare says which of the wanted rights a user lacks, and what it has besides.
func (u *user) compare(wanted []string) (missing []string, excess []grant) {
	has := map[string]bool{}
	for _, g := range u.grants {
		if g.class == classDatabase && g.state == "G" && slices.Contains(wanted, g.right) {
			has[g.right] = true
			continue
		}
		excess = append(excess, g)
	}
	for _, w := range wanted {
		denied := slices.ContainsFunc(excess, func(g grant) bool { return g.class == classDatabase && g.right == w })
		if !has[w] || denied { // what takes the denial away takes the grant with it
			missing = append(missing, w)
		}
	}
	return missing, excess
}

// compareRoles is the same of roles.
func (u *user) compareRoles(wanted []string, same func(a, b string) bool) (missing, excess []string) {
	in := func(all []string, role string) bool {
		return slices.ContainsFunc(all, func(r string) bool { return same(r, role) })
	}
	missing = slices.DeleteFunc(slices.Clone(wanted), func(r string) bool { return in(u.roles, r) })
	excess = slices.DeleteFunc(slices.Clone(u.roles), func(r string) bool { return in(wanted, r) })
	return missing, excess
}

// sameName is how the names of a database with that collation are compared.
func sameName(collation string) func(a, b string) bool {
	if strings.Contains(strings.ToUpper(collation), "_CI") {
		return strings.EqualFold
	}
	return func(a, b string) bool { return a == b }
}
