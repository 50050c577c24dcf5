package systemd

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/sources/internal/environmentfile"
)

// What a connection has beside a unit, in the directory of its drop-ins:
//
//	web.service.d/50-patchbay-{uid}.conf    names the others to the manager
//	web.service.d/50-patchbay-{uid}.env     the settings, for the manager alone
//	web.service.d/50-patchbay-{uid}.files/  those that are files, for the manager alone
//	web.service.d/patchbay-bindings/{connection}/{entry}
//
// The last are links to where the service finds its credentials. The directories of
// credentials are flat, and libraries look for one of each connection.
const (
	prefix       = "50-patchbay-"
	bindingsName = "patchbay-bindings"
	tagPrefix    = "patchbay-"
	lockedName   = ".patchbay.lock" // no file: what is locked is the directory that it would be in
)

// uidForm is what a connection's uid may look like: it names files.
var uidForm = regexp.MustCompile(`^[a-z0-9_-][a-z0-9._-]{0,63}$`)

// bindingName is what a connection, and a file of it, must be called to be a
// credential: the two, with a line between them, are its name.
var bindingName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}$`)

// things are what one connection has beside a unit.
type things struct {
	Dropin string `json:"dropin,omitempty"` // "" for none
	Env    string `json:"env,omitempty"`    // "" for none
	// Files are nil for none. Connection and Generation are theirs.
	Files      map[string][]byte `json:"files,omitempty"`
	Connection string            `json:"connection,omitempty"`
	Generation int64             `json:"generation,omitempty"`
}

func (h things) none() bool { return h.Dropin == "" && h.Env == "" && h.Files == nil }

func (h things) filesSum() string {
	if h.Files == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d", h.Generation) // the drop-in has the connection
	for _, name := range slices.Sorted(maps.Keys(h.Files)) {
		fmt.Fprintf(&b, "%q%q", name, h.Files[name])
	}
	return b.String()
}

// markLine is the first line of what is ours. The drop-in has the directory that was
// made for it, and the file the generation: so a new generation is one file's new
// content.
var markLine = regexp.MustCompile(`^# patchbay: ([^ /]+)/([^ /]+) \(([a-z0-9._-]+)(?:, generation (\d{1,18}))?(?:, in a new ([^ ]+))?\), do not edit by hand\n`)

type mark struct {
	connection string
	uid        string
	generation int64
	made       string // the topmost directory that was not there before
}

func parseMark(text string) (m mark, ok bool) {
	parts := markLine.FindStringSubmatch(text)
	if parts == nil {
		return mark{}, false
	}
	var err error
	if m.connection, err = url.QueryUnescape(parts[2]); err != nil {
		return mark{}, false
	}
	if m.made, err = url.QueryUnescape(parts[5]); err != nil {
		return mark{}, false
	}
	m.generation, _ = strconv.ParseInt("0"+parts[4], 10, 64)
	m.uid = parts[3]
	return m, true
}

// escape leaves what can't end a line, nor be taken for another part of the mark.
func escape(s string) string {
	if s == "" {
		return "-"
	}
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// place is where the drop-ins of one unit are, and what is seen from there.
type place struct {
	dir         string
	credentials string // where the service finds its credentials
}

func (p place) dropin(uid string) string   { return filepath.Join(p.dir, prefix+uid+".conf") }
func (p place) env(uid string) string      { return filepath.Join(p.dir, prefix+uid+".env") }
func (p place) files(uid string) string    { return filepath.Join(p.dir, prefix+uid+".files") }
func (p place) bindings() string           { return filepath.Join(p.dir, bindingsName) }
func (p place) binding(name string) string { return filepath.Join(p.dir, bindingsName, name) }

// credential is where the service finds a connection's file.
func (p place) credential(connection, entry string) string {
	return filepath.Join(p.credentials, connection+"_"+entry)
}

// uidOf is the uid in the name of something of ours.
func uidOf(name string) (uid, kind string, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "", "", false
	}
	for _, kind := range []string{".conf", ".env", ".files"} {
		if uid, ok := strings.CutSuffix(rest, kind); ok && uidForm.MatchString(uid) {
			return uid, kind, true
		}
	}
	return "", "", false
}

// globEscapes keep a path in EnvironmentFile=, which is a pattern, from being one.
var globEscapes = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func (p place) pattern(uid string) string { return globEscapes.Replace(p.env(uid)) }

// specifiers keep a text in a unit from having any.
func specifiers(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// thingsOf is what c leaves, with made as the directory that was made for it.
func (p place) thingsOf(source string, c driver.Change, made string) things {
	var h things
	var env strings.Builder
	for _, set := range c.Set {
		if set.File {
			if h.Files == nil {
				h.Files = map[string][]byte{}
			}
			h.Files[set.Name] = []byte(set.Value.Reveal())
			continue
		}
		fmt.Fprintf(&env, "%s=%s\n", set.Name, environmentfile.Quote(set.Value.Reveal()))
	}
	if env.Len() == 0 && h.Files == nil {
		return things{}
	}
	whose := fmt.Sprintf("# patchbay: %s/%s (%s", escape(source), escape(c.Name), c.Mark.UID)
	const end = "), do not edit by hand\n"
	if env.Len() > 0 {
		h.Env = fmt.Sprintf("%s, generation %d%s%s", whose, c.Mark.Generation, end, env.String())
	}
	var b strings.Builder
	b.WriteString(whose)
	if made != "" {
		b.WriteString(", in a new " + escape(made))
	}
	b.WriteString(end + "[Service]\n")
	if h.Env != "" {
		b.WriteString("EnvironmentFile=" + specifiers(p.pattern(c.Mark.UID)) + "\n")
	}
	if h.Files != nil {
		h.Connection, h.Generation = c.Name, c.Mark.Generation
		fmt.Fprintf(&b, "LoadCredential=%s:%s\n", c.Name, specifiers(filepath.Join(p.files(c.Mark.UID), "..data")))
		fmt.Fprintf(&b, "Environment=%s\n", quoteWord(rootVariable+"="+p.bindings()))
	}
	h.Dropin = b.String()
	return h
}

// rootVariable names the directory of all connections' files to libraries.
const rootVariable = "SERVICE_BINDING_ROOT"

// quoteWord is an item of a list in a unit.
func quoteWord(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(s) + `"`
}
