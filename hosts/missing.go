package hosts

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// MissingError is of a path that leads into a directory which is not there.
type MissingError struct{ Dir string }

func (e *MissingError) Error() string { return "there is no directory " + e.Dir }

// Is makes it an absence like any other.
func (e *MissingError) Is(target error) bool { return target == fs.ErrNotExist }

// leadsTo is where name is, its links followed whether what they name is there or
// not.
func leadsTo(name string) string {
	at, rest := "/", strings.Split(filepath.Clean(name), "/")
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		link, err := os.Readlink(next)
		if err != nil || links == 40 {
			at = next
			continue
		}
		links++
		if filepath.IsAbs(link) {
			at = "/"
		}
		rest = append(strings.Split(filepath.Clean(link), "/"), rest...)
	}
	return at
}
