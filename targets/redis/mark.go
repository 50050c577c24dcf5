package redis

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// A mark is a selector of a user: a key pattern without a command, which gives no right.
// A claim is the same, on a user that is to become ours and is nothing yet.
const (
	markPrefix  = "~patchbay:"
	claimPrefix = "~patchbay-claim:"
)

// markOf is the key pattern that bears a mark. What could end it, or mean something in
// a pattern, is escaped.
func markOf(prefix string, m driver.Mark) string {
	v := url.Values{"uid": {m.UID}, "generation": {strconv.FormatInt(m.Generation, 10)}, "connection": {string(m.Connection)}}
	return prefix + v.Encode()
}

// parseMark reads what markOf wrote, and nothing else.
func parseMark(prefix, keys string) (driver.Mark, bool) {
	text, ok := strings.CutPrefix(keys, prefix)
	if !ok {
		return driver.Mark{}, false
	}
	v, err := url.ParseQuery(text)
	if err != nil {
		return driver.Mark{}, false
	}
	generation, err := strconv.ParseInt(v.Get("generation"), 10, 64)
	m := driver.Mark{UID: v.Get("uid"), Generation: generation, Connection: patchbay.ID(v.Get("connection"))}
	return m, err == nil && m.UID != "" && markOf(prefix, m) == keys
}

// mark is the one that the user bears. One that bears two bears none: somebody made
// the other. Two writers of one login may have claimed it both.
func (u *user) mark(prefix string) (driver.Mark, bool) {
	var found []driver.Mark
	for _, s := range u.selectors {
		if m, ok := parseMark(prefix, s.keys); ok && !slices.Contains(found, m) {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		return driver.Mark{}, false
	}
	return found[0], true
}

func same(a, b driver.Mark) bool { return a.UID == b.UID && a.Generation == b.Generation }

// bears reports whether the user is the request's: by its mark, or because it is
// nothing yet but claimed.
func (u *user) bears(m driver.Mark) bool {
	if own, ok := u.mark(markPrefix); ok {
		return same(own, m)
	}
	claim, ok := u.mark(claimPrefix)
	return ok && same(claim, m) && u.newborn()
}

// newborn reports whether the user is what SETUSER makes of a name alone, and claimed.
func (u *user) newborn() bool {
	return !u.has("on") && !u.has("nopass") && len(u.passwords) == 0 &&
		u.root.keys == "" && (u.root.channels == "" || u.root.channels == "&*") && u.root.commands == nothing &&
		!slices.ContainsFunc(u.selectors, func(s selector) bool {
			_, claim := parseMark(claimPrefix, s.keys)
			return !claim || s.commands != nothing
		})
}
