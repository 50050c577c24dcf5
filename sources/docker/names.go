package docker

import (
	"fmt"
	"regexp"
	"strconv"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/dockerapi"
)

// role is what a container of ours is beside the application's own.
type role string

const (
	next       role = "next"    // made, never started; will take the place of the one that it names
	back       role = "back"    // the same, and nobody wants that one back
	nextRan    role = "nextran" // as next, of one that was stopped to be renamed, and ran
	backRan    role = "backran"
	kept       role = "kept" // had the place before the one that it names, and ran
	idle       role = "idle" // the same, and did not run
	undone     role = "undone"
	undoneIdle role = "undoneidle" // had the place, and gives it to the one that it names, which did not run
)

// label is the name of a container of ours.
type label struct {
	uid        string // the connection's
	generation int64
	role       role
	n          int    // the last of several that are next counts
	other      string // the short id of another container
}

// ours matches the name of a container of ours; the first group is the application's.
var ours = regexp.MustCompile(`^(.+)` + regexp.QuoteMeta(dockerapi.BesideMark) + `([a-z0-9_-][a-z0-9._-]*)-g(\d{1,18})-(next|back|nextran|backran|kept|idle|undone|undoneidle)(\d{0,9})-([0-9a-f]{12})$`)

func (l label) of(name string) string {
	n := ""
	if l.n > 0 {
		n = strconv.Itoa(l.n)
	}
	return fmt.Sprintf("%s%s%s-g%d-%s%s-%s", name, dockerapi.BesideMark, l.uid, l.generation, l.role, n, l.other)
}

// parseLabel reads the name of a container of ours beside the application name's.
func parseLabel(text, name string) (l label, ok bool) {
	parts := ours.FindStringSubmatch(text)
	if parts == nil || parts[1] != name {
		return label{}, false
	}
	l = label{uid: parts[2], role: role(parts[4]), other: parts[6]}
	l.generation, _ = strconv.ParseInt(parts[3], 10, 64)
	l.n, _ = strconv.Atoi(parts[5])
	return l, true
}

// staged reports whether it is one that is to take another's place.
func (r role) staged() bool { return r == next || r == back || r == nextRan || r == backRan }

// madeFor reports whether a container of ours is there for that change.
func (l label) madeFor(c driver.Change) bool {
	return l.uid == c.Mark.UID && l.generation == c.Mark.Generation
}

func short(id string) string { return id[:min(len(id), 12)] }
