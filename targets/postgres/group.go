package postgres

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// accesses are those that have a group role, narrowest first.
var accesses = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}

// groupName is the group role of an access to a database: readable, and
// distinct for any two databases.
func groupName(access patchbay.Access, database string) string {
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, database)
	if len(readable) > 30 {
		readable = readable[:30]
	}
	sum := sha256.Sum256([]byte(database))
	hash := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))
	return "pb_" + string(access) + "_" + readable + "_" + hash
}

// The marks are comments on roles. A login's has the connection, a group
// role's the database.
const (
	loginMark = "patchbay principal " // the word of the first release: it is on servers
	groupMark = "patchbay group "
)

// marked is what a login's comment says.
type marked struct {
	driver.Mark
	Database string `json:"database"` // that it was made for: what is needed to remove it
}

func loginComment(m driver.Mark, database string) string {
	// Marshaling strings and a number does not fail.
	b, _ := json.Marshal(marked{m, database})
	return loginMark + string(b)
}

// parseLogin reads a comment; ok is false when it is not our mark.
func parseLogin(comment string) (m marked, ok bool) {
	text, ok := strings.CutPrefix(comment, loginMark)
	if !ok || json.Unmarshal([]byte(text), &m) != nil || m.UID == "" {
		return marked{}, false
	}
	return m, true
}

func groupComment(access patchbay.Access, database string) string {
	b, _ := json.Marshal(map[string]string{"database": database, "access": string(access)})
	return groupMark + string(b)
}

// right is a privilege on a kind of object.
type right struct {
	access patchbay.Access
	kind   string // a key of kinds
	name   string // SELECT…
}

// Kinds of objects as the queries name them; a d before one stands for the
// default privileges of that kind.
const (
	onDatabase = "d"
	onSchema   = "n"
	onTable    = "t" // and views, materialized views, foreign and partitioned tables
	onSequence = "s"
	onRoutine  = "f"
	onLarge    = "L" // large objects
)

// kindWords are the kinds' names in GRANT and REVOKE.
var kindWords = map[string]string{
	onDatabase: "database", onSchema: "schema", onTable: "table", onSequence: "sequence", onRoutine: "routine",
	"c": "table", "T": "type", "l": "language", onLarge: "large object", "F": "foreign data wrapper", "S": "foreign server",
	"b": "tablespace", "P": "parameter",
	"dt": "tables", "ds": "sequences", "df": "routines", "dn": "schemas", "dT": "types", "dL": "large objects",
}

// wantedRights is what each group role holds, and no more. version is the
// server's major one.
func wantedRights(version int) []right {
	list := map[patchbay.Access]map[string]string{
		patchbay.Reader: {
			onDatabase: "CONNECT", onSchema: "USAGE", onTable: "SELECT", onSequence: "SELECT", onLarge: "SELECT",
			// No EXECUTE: a function may write.
		},
		patchbay.Writer: {
			onDatabase: "CONNECT TEMPORARY", onSchema: "USAGE", onTable: "SELECT INSERT UPDATE DELETE",
			onSequence: "SELECT USAGE", onRoutine: "EXECUTE", onLarge: "SELECT UPDATE",
		},
		patchbay.Owner: {
			onDatabase: "CONNECT TEMPORARY CREATE", onSchema: "USAGE CREATE",
			onTable:    "SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER",
			onSequence: "SELECT USAGE UPDATE", onRoutine: "EXECUTE", onLarge: "SELECT UPDATE",
		},
	}
	if version >= 17 {
		list[patchbay.Owner][onTable] += " MAINTAIN"
	}
	var all []right
	for _, access := range accesses {
		for _, kind := range []string{onDatabase, onSchema, onTable, onSequence, onRoutine, onLarge} {
			for name := range strings.FieldsSeq(list[access][kind]) {
				all = append(all, right{access, kind, name})
			}
		}
	}
	return all
}
