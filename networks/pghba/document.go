package pghba

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// What Patchbay has written is found by its comments. A rule is one of them with its
// lines:
//
//	# patchbay {"uid":"7k2m9q4a","generation":1,…}
//	hostssl "orders" "pb_7k2m9q4a_g1" 10.0.3.7/32 scram-sha-256
//
// Behind all rules, each login that Patchbay made is refused everywhere else: a
// line of somebody else's, for all logins, would let it in from anywhere.
const (
	heading   = "# Patchbay writes this anew, by hand nothing is added here.\n"
	markBegin = "# patchbay "
	elsewhere = "# patchbay: from anywhere else, its own logins are refused.\n"
	method    = "scram-sha-256"
)

// mark says whose a rule is.
type mark struct {
	UID        string      `json:"uid"`
	Generation int64       `json:"generation"`
	Connection patchbay.ID `json:"connection"` // for people
	Name       string      `json:"name"`
	Login      string      `json:"login"`
	Database   string      `json:"database"`
	// Closing is where a rule was open that is being removed, so that whoever comes
	// after a crash knows whose sessions are to end.
	Closing []netip.Prefix `json:"closing,omitempty"`
}

// rule is what stands behind a mark.
type rule struct {
	mark
	lines []line
	found string // its text as it was read, whatever somebody has made of it
}

// line lets the rule's login in.
type line struct {
	tls  bool
	from netip.Prefix
}

func (l line) kind() string {
	if l.tls {
		return "hostssl"
	}
	return "host"
}

// newRule is what r asks for.
func newRule(r driver.Rule, tls bool) rule {
	made := rule{mark: mark{
		UID: r.Mark.UID, Generation: r.Mark.Generation, Connection: r.Mark.Connection,
		Name: r.Name, Login: r.Login, Database: r.Sub,
	}}
	for _, from := range r.From {
		l := line{tls, from.Masked()}
		if !slices.Contains(made.lines, l) {
			made.lines = append(made.lines, l)
		}
	}
	return made
}

// bears reports whether it is the rule of that mark.
func (m mark) bears(other driver.Mark) bool {
	return m.UID == other.UID && m.Generation == other.Generation
}

// own reports whether Patchbay made the login, whose name then has the connection's uid
// in it. Any other is somebody's, who may let it in from elsewhere.
func (m mark) own() bool { return strings.Contains(m.Login, m.UID) }

func (m mark) owner() driver.Mark {
	return driver.Mark{UID: m.UID, Generation: m.Generation, Connection: m.Connection}
}

// text is the rule as it is written for a server of that major version.
func (r rule) text(version int) string {
	m, err := json.Marshal(r.mark)
	if err != nil {
		panic(err) // of strings and numbers
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n", markBegin, m)
	for _, l := range r.lines {
		fmt.Fprintf(&b, "%s %s %s\n", r.begin(l, version), l.from, method)
	}
	return b.String()
}

// begin is a line up to its address.
func (r rule) begin(l line, version int) string {
	return l.kind() + " " + quoted(named(r.Database, version)) + " " + quoted(named(r.Login, version))
}

// parseLine reads a line that text has written.
func (r rule) parseLine(text string, version int) (line, bool) {
	for _, tls := range []bool{true, false} {
		rest, ok := strings.CutPrefix(text, r.begin(line{tls: tls}, version)+" ")
		if !ok {
			continue
		}
		if rest, ok = strings.CutSuffix(rest, " "+method); !ok {
			return line{}, false
		}
		from, err := netip.ParsePrefix(rest)
		return line{tls, from}, err == nil && from == from.Masked()
	}
	return line{}, false
}

// document is all rules of a server, by name.
type document []rule

// parse reads what was written. Lines that are none of a rule's are left out, and with
// a mark that can't be read its lines: they are gone with the next change.
func parse(text string, version int) document {
	var d document
	var at *rule
	for whole := range strings.Lines(text) {
		text := strings.TrimRight(whole, "\r\n")
		if whole == elsewhere {
			at = nil
			continue
		}
		if j, ok := strings.CutPrefix(text, markBegin); ok {
			var r rule
			at = nil
			if json.Unmarshal([]byte(j), &r.mark) == nil && r.Name != "" && r.UID != "" {
				d = append(d, r)
				at = &d[len(d)-1]
				at.found = whole
			}
			continue
		}
		if at == nil {
			continue
		}
		at.found += whole
		if l, ok := at.parseLine(text, version); ok {
			at.lines = append(at.lines, l)
		}
	}
	return d.sorted()
}

func (d document) sorted() document {
	slices.SortStableFunc(d, func(a, b rule) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// named is the rule of that name, nil when there is none.
func (d document) named(name string) *rule {
	for i := range d {
		if d[i].Name == name {
			return &d[i]
		}
	}
	return nil
}

// without is d but for the rules of that name; with has r in their place.
func (d document) without(name string) document {
	return slices.DeleteFunc(slices.Clone(d), func(r rule) bool { return r.Name == name })
}

func (d document) with(r rule) document { return append(d.without(r.Name), r).sorted() }

// refused are the logins that nobody else's line may let in.
func (d document) refused() []string {
	var logins []string
	for _, r := range d {
		if r.own() {
			logins = append(logins, r.Login)
		}
	}
	slices.Sort(logins)
	return slices.Compact(logins)
}

// text is the document as it is written; "" without a rule.
func (d document) text(version int) string {
	if len(d) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(heading)
	for _, r := range d {
		b.WriteString(r.text(version))
	}
	if logins := d.refused(); len(logins) > 0 {
		b.WriteString(elsewhere)
		for _, login := range logins {
			login = quoted(named(login, version))
			fmt.Fprintf(&b, "host all,replication %s all reject\nlocal all,replication %s reject\n", login, login)
		}
	}
	return b.String()
}

// entries are what the server should make of the document, in order.
func (d document) entries(version int) []entry {
	var all []entry
	for _, r := range d {
		for _, l := range r.lines {
			all = append(all, entry{
				kind: l.kind(), databases: []string{named(r.Database, version)}, users: []string{named(r.Login, version)},
				from: l.from, method: method,
			})
		}
	}
	for _, login := range d.refused() {
		for _, kind := range []string{"host", "local"} {
			e := entry{kind: kind, databases: []string{"all", "replication"}, users: []string{named(login, version)}, method: "reject"}
			if kind == "host" {
				e.address = "all"
			}
			all = append(all, e)
		}
	}
	return all
}

// quoted writes a name: between quotes, keywords and signs mean nothing but
// themselves, and a quote is written twice (PostgreSQL manual, section 20.1).
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// regexps are read in names since this version, quotes or not.
const regexps = 16

// named is a name as the server is to understand it. One that begins with a slash would
// be a regular expression: it is written as the one that matches it alone.
func named(name string, version int) string {
	if version < regexps || !strings.HasPrefix(name, "/") {
		return name
	}
	var b strings.Builder
	b.WriteString("/^")
	for _, c := range []byte(name) {
		if c < 0x80 && !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	b.WriteByte('$')
	return b.String()
}
