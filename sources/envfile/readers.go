package envfile

import (
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// reader is a library or program that reads dotenv files, as far as it reads
// what we write otherwise than it was meant. Its tests ask the reader itself.
type reader struct {
	name string
	// clients are the types whose settings it reads; none: it starts programs in
	// any language.
	clients []patchbay.ClientType
	// beside: most of their applications read without it, so that it comes after
	// the others.
	beside bool
	// otherwise matches, by form, the values that it reads otherwise.
	otherwise patterns
	// breaks matches those with which it reads other lines of the file otherwise
	// too, refuses the file or runs a command, and some that look like it.
	breaks patterns
	// names matches the names that it takes; nil: all that dotenv files have. Of
	// another it refuses the file, or leaves it out.
	names   *regexp.Regexp
	refuses bool
}

// takes reports whether it reads a setting of that name.
func (r reader) takes(name string) bool { return r.names == nil || r.names.MatchString(name) }

// patterns are by form; nil matches nothing.
type patterns [forms]*regexp.Regexp

func compile(list ...string) (p patterns) {
	for i, text := range list {
		if text != "" {
			p[i] = regexp.MustCompile(`(?s)` + text)
		}
	}
	return p
}

func (p patterns) match(f form, value string) bool { return p[f] != nil && p[f].MatchString(value) }

// misreads reports whether the reader takes a value in that form otherwise.
func (r reader) misreads(f form, value string) bool {
	return r.otherwise.match(f, value) || r.breaks.match(f, value)
}

// Parts of the patterns below.
const (
	// pythonLine is what ends a line for Python.
	pythonLine = `[\n\v\f\x1c-\x1e\x{85}\x{2028}\x{2029}]`
	// expand is what dotenv-expand fills in, between whatever quotes, and
	// nextExpand what its copy in Next.js does.
	nextExpand = `\\\$|\$\{?[A-Za-z0-9_]`
	expand     = `\\\$|\$[A-Za-z_]|\$\{[^}]+\}`
	// itself is a line that a reader which knows no values of several lines takes
	// for a setting of its own. The end of what is base64 is no name of one.
	itself = `\n[ \t]*[A-Za-z_][A-Za-z0-9_.-]*[ \t]*=(?:[^=\n]|$)`
	// command is what a shell runs, and what knows shells; unclosed is half of it.
	command  = `\$\(.*\)`
	unclosed = `\$\([^)]*$`
	// halfQuoted is what phpdotenv takes for the first of several lines.
	halfQuoted = `^(?:[^"]|\\")*="(?:[^"]|\\")*$`
)

var (
	word   = regexp.MustCompile(`^\w+$`)
	noDash = regexp.MustCompile(`^[^-]+$`)

	nodeClients   = []patchbay.ClientType{"nodejs"}
	pythonClients = []patchbay.ClientType{"python", "django"}
	phpClients    = []patchbay.ClientType{"php"}
	springClients = []patchbay.ClientType{"springBoot", "kafka-springBoot", "jms-springBoot"}
)

// dotenvReaders are in the order in which people are told of them. The patterns
// are for the forms single, double, bare, escaped, lines.
var dotenvReaders = []reader{
	{name: "godotenv", clients: []patchbay.ClientType{"go"},
		otherwise: compile("", `\$\(?\{?[A-Z0-9_]`, `\\\$|\$\(?\{?[A-Z0-9_]`, `"$`, `"$`),
		breaks:    compile("", "", "", `\\$`, `\\$`),
		names:     noDash, refuses: true},
	{name: "python-dotenv", clients: pythonClients,
		otherwise: compile(`\\\\|\$\{[^}]*\}`, `\$\{[^}]*\}`, `\$\{[^}]*\}`, `\$`, `\$`),
		breaks:    compile("", "", "", `\\$`, `\\$`)},
	{name: "django-environ", clients: pythonClients,
		otherwise: compile(`^\$|^".*"$|`+pythonLine, `^\$|`+pythonLine, `^\$|`+pythonLine, `^\$|\r|`+pythonLine, `^\$|\r|`+pythonLine),
		names:     word},
	{name: "python-decouple", clients: pythonClients,
		otherwise: compile(`\n`, `\n`, "", `["\\$\n\r]`, `["\\$\n\r]`),
		breaks:    compile(itself, itself, "", itself, "")},
	{name: "dotenv of Node.js", clients: nodeClients,
		otherwise: compile("", "", `#`, `["\\$]`, `["\\$]`)},
	{name: "node --env-file", clients: nodeClients,
		otherwise: compile("", "", `#`, `["\\$\r]`, `["\\$\r]`),
		breaks:    compile("", "", "", `".*\n`, "")},
	{name: "dotenv-expand", clients: nodeClients, beside: true,
		otherwise: compile(expand, expand, `#|`+expand, `["\\]`, `["\\]`)},
	{name: "Next.js", clients: nodeClients, beside: true,
		otherwise: compile(nextExpand, nextExpand, `#|`+nextExpand, `["\\]`, `["\\]`)},
	{name: "phpdotenv", clients: phpClients,
		otherwise: compile("", `\$\{[A-Za-z0-9_.]+\}`, `#|\$\{[A-Za-z0-9_.]+\}`, "", ""),
		breaks:    compile(`\n|`+halfQuoted, `\n[^\n]*=$`, `[ \t]|`+halfQuoted, `\n[^\n]*=$|\n\\+$`, ""),
		names:     noDash, refuses: true},
	{name: "symfony/dotenv", clients: phpClients,
		otherwise: compile("", `\$[A-Za-z_}:]`, `\$[A-Za-z_}:]|\\[\\'"$]`, `\\[nr]|`+unclosed, `\\[nr]|`+unclosed),
		breaks:    compile("", `\$[({]`, `['"\s]|\$[({]`, `\\"`, `\\"`),
		names:     word, refuses: true},
	{name: "dotenv of Ruby 2.4", clients: []patchbay.ClientType{"ruby"},
		otherwise: compile(`\n`, `\n|\$[A-Za-z0-9_{(]`, `#|\\\$|\$[A-Za-z0-9_{(]`, `\n|\\[nr]|`+unclosed, `\\[nr]|`+unclosed),
		breaks:    compile(itself, itself+`|`+command, command, itself, ""),
		names:     noDash},
	{name: "dotenv of Ruby since 3", clients: []patchbay.ClientType{"ruby"},
		otherwise: compile("", `\$[A-Za-z0-9_{(]`, `#|\\.|\$[A-Za-z0-9_{(]`, `\r|`+unclosed, `[\r\n]|`+unclosed),
		breaks:    compile("", command, command, `\\$`, `\\$`),
		names:     noDash},
	{name: "java.util.Properties", clients: springClients, beside: true,
		otherwise: compile(`^`, `^`, `\\`, `^`, `^`),
		breaks:    compile(itself, itself, `\\$`, itself, "")},
	{name: "Docker Compose",
		otherwise: compile("", `\$[A-Za-z_${]`, `\$[A-Za-z_${]`, "", "")},
	{name: "sh",
		otherwise: compile("", "`|"+`\$[^ '}=]`, `[\s'"\\;&|<>()`+"`"+`]|\$[^ '}=]|^~|:~`, "[`\r]", "[`\r\n]"),
		names:     word, refuses: true},
}

// readersOf are those of a client type, and those of all. They are known when the
// type's applications read with one of them.
func readersOf(client patchbay.ClientType) (own, any []reader, known bool) {
	for _, r := range dotenvReaders {
		switch {
		case r.clients == nil:
			any = append(any, r)
		case slices.Contains(r.clients, client):
			own, known = append(own, r), known || !r.beside
		}
	}
	if own == nil {
		// It may be any of them, or one that nobody has asked.
		for _, r := range dotenvReaders {
			if r.clients != nil && !r.beside {
				own = append(own, r)
			}
		}
	}
	return own, any, known
}

// refused says why a name can't be in a file of the client type, "" when it can:
// one of its readers would refuse the file. Of a client type that has none of its
// own people are told only.
func refused(name string, client patchbay.ClientType) string {
	for _, r := range dotenvReaders {
		if r.refuses && !r.takes(name) && slices.Contains(r.clients, client) {
			return "makes " + r.name + " refuse the whole file"
		}
	}
	return ""
}

// choice is a form for a value, and who reads it otherwise.
type choice struct {
	form    form
	written string
	own     []reader // of the client type's
	first   int      // how many of them are not beside others
	any     []reader // of those that start any program
	breaks  []reader // those of own that lose more than the value
	refused bool     // no reader of the client type's reads it, or one of them loses more
}

// worse compares what is lost.
func (c choice) worse(o choice) bool {
	return slices.Compare([]int{len(c.breaks), c.first, len(c.own), len(c.any)}, []int{len(o.breaks), o.first, len(o.own), len(o.any)}) > 0
}

// choose is the form that most readers of the client type read as it is meant,
// the first of several.
func choose(value string, client patchbay.ClientType) (best choice) {
	own, any, known := readersOf(client)
	best.form = -1
	for f := range forms {
		written, ok := f.write(value)
		if !ok {
			continue
		}
		c := choice{form: f, written: written}
		first := 0
		for _, r := range own {
			if !r.beside {
				first++
			}
			if r.misreads(f, value) {
				c.own = append(c.own, r)
				if !r.beside {
					c.first++
				}
			}
			if r.breaks.match(f, value) {
				c.breaks = append(c.breaks, r)
			}
		}
		for _, r := range any {
			if r.misreads(f, value) {
				c.any = append(c.any, r)
			}
		}
		c.refused = known && (c.first == first || len(c.breaks) > 0)
		if best.form < 0 || best.worse(c) {
			best = c
		}
	}
	return best
}

// why says why the client type's readers have no form for the value, "" when
// some have.
func (c choice) why() string {
	switch {
	case !c.refused:
		return ""
	case len(c.breaks) > 0:
		return "can't be written so that the rest of the file stays what it is for " + inWords(c.breaks)
	}
	return "is read otherwise, in whatever form, by " + inWords(c.own)
}

func inWords(list []reader) string {
	var names []string
	for _, r := range list {
		names = append(names, r.name)
	}
	return strings.Join(names, ", ")
}
