package hosts

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The published form is the one that the kubelet gives projected volumes, and
// that readers of such directories know:
//
//	orders/..data -> ..{tag}-{generation}-{digest}   replaced by a rename: the instant
//	orders/..{tag}-{generation}-{digest}/password    the files
//	orders/password -> ..data/password
//
// Names that begin with two dots are nobody's settings.
const dataLink = "..data"

// dataForm is the form of the directories that ..data names.
var dataForm = regexp.MustCompile(`^\.\.([a-z0-9._-]+)-(\d{1,18})-[0-9a-f]{16}$`)

func parseDataName(name string) (tag string, generation int64, ok bool) {
	m := dataForm.FindStringSubmatch(name)
	if m == nil {
		return "", 0, false
	}
	generation, err := strconv.ParseInt(m[2], 10, 64)
	return m[1], generation, err == nil
}

// taggedAs reports whether a data link is of that tag; "" is none.
func taggedAs(link, tag string) bool {
	have, _, ok := parseDataName(link)
	return ok && have == tag
}

// dataName is where the files of p are, below their directory.
func (p Published) dataName() string {
	return fmt.Sprintf("..%s-%d-%s", p.Tag, p.Generation, digest(p))
}

// stageName is where a directory is made and taken apart: beside it, under a name
// that readers pass over.
func stageName(base, tag string) string { return ".." + base + "." + tag }

// check fails for names that lead elsewhere, or could not be read again.
func (p Published) check() error {
	for name := range p.Files {
		if name == "" || name == "." || strings.HasPrefix(name, "..") || filepath.Base(name) != name {
			return fmt.Errorf("%q is no name for a published file", name)
		}
	}
	if _, _, ok := parseDataName(p.dataName()); !ok {
		return fmt.Errorf("%q and %d are no tag and generation", p.Tag, p.Generation)
	}
	return nil
}

// digest names the content of p.
func digest(p Published) string {
	names := make([]string, 0, len(p.Files))
	for name := range p.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "%q%q", name, p.Files[name])
	}
	return Sum(b.Bytes())[:16]
}
