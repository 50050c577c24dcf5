package envfile

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"patchbay.dev/patchbay/driver"
)

// mark is the comment line that says whose settings are in a file. It stands
// before those that a connection added, and names all that it set, those too
// that it found and replaced where they were:
//
//	# patchbay: web/orders (7k2m9q4a, generation 3), do not edit by hand: PGHOST PGPASSWORD
//
// What the first of all marks did to the file besides, it says too (in a new
// file; after an added LF). Whoever's block goes hands that on to the next, so
// that the last one leaves exactly what was there before the first.
type mark struct {
	source, connection string // names, for people
	uid                string
	generation         int64
	origin
	names []string
}

// origin is what was added to a file so that our settings could be.
type origin struct {
	file      bool   // the file itself
	lineBreak string // the one that the last line had not, "" for none
}

// lineBreaks are the line breaks by what a mark calls them.
var lineBreaks = map[string]string{"LF": "\n", "CRLF": "\r\n"}

func (o origin) String() string {
	var text string
	if o.file {
		text = ", in a new file"
	}
	for name, lineBreak := range lineBreaks {
		if o.lineBreak == lineBreak {
			text += ", after an added " + name
		}
	}
	return text
}

// markLine matches a mark, the line's end left out.
var markLine = regexp.MustCompile(`^# patchbay: ([^ /]+)/([^ /]+) \(([a-z0-9._-]+), generation (\d{1,18})(, in a new file)?(?:, after an added (LF|CRLF))?\), do not edit by hand:((?: [^ ]+)*)$`)

// uidForm is what a connection's uid may look like: it names files, too.
var uidForm = regexp.MustCompile(`^[a-z0-9_-][a-z0-9._-]{0,63}$`)

func (m mark) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# patchbay: %s/%s (%s, generation %d%s), do not edit by hand:",
		escape(m.source), escape(m.connection), m.uid, m.generation, m.origin)
	for _, name := range m.names {
		b.WriteString(" " + escape(name))
	}
	return b.String()
}

// escape leaves what can neither end a line nor be taken for another part of
// the mark, in any dialect.
func escape(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// parseMark reads a comment; ok is false when it is somebody else's. An editor may
// have moved it to the right.
func parseMark(text string) (m mark, ok bool) {
	parts := markLine.FindStringSubmatch(strings.TrimSpace(text))
	if parts == nil {
		return mark{}, false
	}
	var err error
	if m.source, err = url.QueryUnescape(parts[1]); err != nil {
		return mark{}, false
	}
	if m.connection, err = url.QueryUnescape(parts[2]); err != nil {
		return mark{}, false
	}
	m.uid = parts[3]
	if m.generation, err = strconv.ParseInt(parts[4], 10, 64); err != nil {
		return mark{}, false
	}
	m.origin = origin{file: parts[5] != "", lineBreak: lineBreaks[parts[6]]}
	for name := range strings.FieldsSeq(parts[7]) {
		name, err := url.QueryUnescape(name)
		if err != nil {
			return mark{}, false
		}
		m.names = append(m.names, name)
	}
	return m, true
}

// isTorn reports whether a comment is what an editor or a merge left of a mark of
// that connection.
func isTorn(text, uid string) bool {
	_, whole := parseMark(text)
	text = strings.TrimSpace(text)
	return !whole && strings.HasPrefix(text, "# patchbay: ") && strings.Contains(text, " ("+uid+", ")
}

// newMark is the mark of a change on the source of that name.
func newMark(source string, c driver.Change) mark {
	m := mark{source: source, connection: c.Name, uid: c.Mark.UID, generation: c.Mark.Generation}
	for _, s := range c.Set {
		if !s.File {
			m.names = append(m.names, s.Name)
		}
	}
	return m
}
