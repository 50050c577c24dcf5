package mongodb

import (
	"regexp"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// markField is where in a user's customData our mark is.
const markField = "patchbay"

// mark is what the customData of a user of ours has. The login's name is in it, so that
// a copy on another user is none.
type mark struct {
	Login      string `bson:"login"`
	UID        string `bson:"uid"`
	Generation int64  `bson:"generation"`
	Connection string `bson:"connection"` // for people
}

var uidForm = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

// dataOf is the customData of a request's user.
func dataOf(r driver.LoginRequest) bson.D {
	return bson.D{{Key: markField, Value: mark{r.Name, r.Mark.UID, r.Mark.Generation, string(r.Mark.Connection)}}}
}

// mark is the one that the user bears.
func (u *user) mark() (driver.Mark, bool) {
	raw, ok := u.Data.Lookup(markField).DocumentOK()
	var m mark
	if !ok || bson.Unmarshal(raw, &m) != nil {
		return driver.Mark{}, false
	}
	elements, err := raw.Elements()
	return driver.Mark{UID: m.UID, Generation: m.Generation, Connection: patchbay.ID(m.Connection)},
		err == nil && len(elements) == 4 && m.Login == u.Name && nameForm.MatchString(m.Login) && uidForm.MatchString(m.UID) && m.Generation > 0
}

// bears reports whether the user is the request's. The connection is for people.
func (u *user) bears(m driver.Mark) bool {
	own, ok := u.mark()
	return ok && own.UID == m.UID && own.Generation == m.Generation
}
