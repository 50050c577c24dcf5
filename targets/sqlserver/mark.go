package sqlserver

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var (
	loginName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	accesses  = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	// systemDatabases are no application's.
	systemDatabases = []string{"master", "tempdb", "model", "msdb"}
	numbers         = regexp.MustCompile(`^0x[0-9A-F]{2,170}$`)
)

// markName is the name of the extended property, and of the user that owns what logins
// have left.
const markName = "patchbay"

// maxMark is how long a mark may be: the server keeps 7,500 bytes of a property, and a
// SID of at most 85 bytes stands behind it.
const maxMark = 3750 - 180

// check refuses a request that can't be carried out whatever the server says. A removal
// needs less than a making.
func check(r driver.LoginRequest, making bool) error {
	switch {
	case !loginName.MatchString(r.Name) || r.Name == markName:
		return invalid("the login's name %.60q is not of lower-case letters, digits and underscores, at most 40", r.Name)
	case !isName(r.Sub):
		return invalid("the database's name %.80q can't be one of SQL Server", r.Sub)
	case slices.Contains(systemDatabases, strings.ToLower(r.Sub)) && making:
		return invalid("the database %q is the server's own: nobody gets a login to it", r.Sub)
	case r.Mark.UID == "":
		return invalid("the login has no mark")
	case !making:
		return nil
	case r.Auth != patchbay.AuthSecret:
		return patchbay.Errorf(patchbay.NotSupported, "a login of SQL Server signs in with a secret here, not by %s", r.Auth)
	case len(r.Roles) == 0 && !slices.Contains(accesses, r.Access):
		return invalid("access %q is not one of reader, writer, owner", r.Access)
	case len(r.Sources) > 0:
		return patchbay.Errorf(patchbay.NotSupported, "a login of SQL Server can't be bound to addresses")
	case units(markOf(r, kindUser).text()) > maxMark:
		return invalid("the connection's id is too long for a mark")
	}
	for _, role := range r.Roles {
		if !isName(role) || strings.EqualFold(role, "public") {
			return invalid("the role %.80q can't be one that SQL Server gives", role)
		}
	}
	for name := range r.Options {
		return invalid("logins of SQL Server have no option %q", name)
	}
	return nil
}

// kind is what a user of ours is.
type kind string

const (
	kindUser  kind = "user"  // signs in by itself, to a contained database
	kindLogin kind = "login" // is of a login of the server
	// kindKept is one whose login has gone, and that modules still run as.
	kindKept kind = "kept"
	// kindOwner is the one that owns what logins have left.
	kindOwner kind = "owner"
)

// mark is what a user of ours bears.
type mark struct {
	driver.Mark
	Kind     kind   `json:"kind"`
	Name     string `json:"name"`
	Database string `json:"database"`
}

func markOf(r driver.LoginRequest, k kind) mark {
	return mark{Mark: r.Mark, Kind: k, Name: r.Name, Database: r.Sub}
}

// of reports whether the mark is the request's.
func (m *mark) of(r driver.LoginRequest) bool {
	return m != nil && m.UID == r.Mark.UID && m.Generation == r.Mark.Generation && m.Name == r.Name
}

func (m mark) text() string {
	b, _ := json.Marshal(m) // never fails
	return string(b)
}

// bound is what stands between a mark and the SID of its user.
const bound = "#"

// readMark reads a property: nil where it is none of ours, or of another user than it
// was written for.
func readMark(value, sid string) *mark {
	at := strings.LastIndex(value, bound)
	if at < 0 || value[at+len(bound):] != sid || !numbers.MatchString(sid) {
		return nil
	}
	var m mark
	if json.Unmarshal([]byte(value[:at]), &m) != nil || m.Kind != kindOwner && (m.UID == "" || m.Name == "") {
		return nil
	}
	return &m
}

// sidOf is the SID of the server's login: nothing gives a login of somebody else's that
// one by chance, and no statement changes it.
func sidOf(r driver.LoginRequest) string {
	sum := sha256.Sum256([]byte("patchbay login\x00" + r.Mark.UID + "\x00" + strconv.FormatInt(r.Mark.Generation, 10) + "\x00" + r.Name))
	return fmt.Sprintf("0x%X", sum[:16])
}
