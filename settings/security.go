package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// What a target's registration says of security is a value like any other: how far
// TLS is insisted on, which authorities may have signed the server's certificate,
// for which name, and how weakly a server may ask who signs in. A library that is
// not told one of them goes by its own mind, and one that is told may take the word
// otherwise than it was meant. The table's readers say both, client type by client
// type; [Read] puts it together for one connection.

// The values of security. A kind has one of [modeValues] at most.
const (
	authority     = "ca"
	authorityPath = "caFile" // of the file that Render makes of the authority
	serverName    = "serverName"
	weakestAuth   = "weakestAuth"
	// checked is there when what is tried checks certificates although the mode does
	// not ask for it: nobody chose the mode.
	checked = "checked"
)

var modeValues = []string{"sslmode", "ssl", "encrypt"}

// AuthorityFile is the setting that holds the authority: a file of the connection,
// whose path is the value caFile.
const AuthorityFile = "ca.crt"

// modes are TLS modes in libpq's words, from the least to the most.
var modes = []string{"disable", "prefer", "require", "verify-ca", "verify-full"}

func atLeast(mode, least string) bool { return slices.Index(modes, mode) >= slices.Index(modes, least) }

// processWide are variables that the whole process reads, whichever connection
// they came with. What somebody else has is left to them: a name that was made
// from it would be read by nobody.
var processWide = []string{"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"}

// ProcessWide reports whether the variable has a meaning for all of a process.
func ProcessWide(name string) bool { return slices.Contains(processWide, name) }

// reader is what is known of a library: how it takes what the settings say of
// security, and what it can't be told.
type reader struct {
	by      string
	namings []patchbay.Naming
	clients []patchbay.ClientType
	// reads are libpq's words for what it does, by our own: for those words alone
	// that it takes otherwise than libpq.
	reads map[string]string
	// unread are values that it does not take by itself, although a setting has
	// them.
	unread []string
	// unsaid is what it does when no setting that it reads says anything, "" when
	// only the application knows.
	unsaid string
	// known is what it does once it is told an authority, whatever else is said; ""
	// where that changes nothing.
	known string
	// told says that it trusts no authority but those that it is told: it does not
	// look into the system's store.
	told bool
	// assumed says that nothing particular is known of it.
	assumed bool
	// left are the steps that are left to the user, by the value that no setting
	// has.
	left map[string]string
}

func (r *reader) is(naming patchbay.Naming, client patchbay.ClientType) bool {
	return (len(r.namings) == 0 || slices.Contains(r.namings, naming)) && (len(r.clients) == 0 || slices.Contains(r.clients, client))
}

// reader is the first that is for this naming and client type. A kind whose
// readers all do the same has no row for them: they take TLS where the endpoint
// says so, and verify.
func (k *kind) reader(naming patchbay.Naming, client patchbay.ClientType) *reader {
	if naming == patchbay.NamingOwn {
		return &reader{by: "the application", assumed: true} // nobody knows what reads a name of its own
	}
	for i := range k.readers {
		if k.readers[i].is(naming, client) {
			return &k.readers[i]
		}
	}
	return &reader{by: "the client library", unsaid: "verify-full", assumed: true}
}

// step is what is left to do about a value that no setting has.
func (r *reader) step(value string, client patchbay.ClientType) string {
	if step := r.left[value]; step != "" {
		return step
	}
	switch {
	case slices.Contains(modeValues, value):
		return "have the application say it where it connects"
	case value == authority:
		return stores()[client]
	case value == weakestAuth:
		return "have the server ask for no less: scram-sha-256 in pg_hba.conf"
	case value == serverName:
		return "connect it by the name that is in the certificate, or have that name added to it"
	}
	return ""
}

// mode is the kind's value that says how far TLS is insisted on, "" for none.
func (k *kind) mode() string {
	for _, name := range modeValues {
		if k.value(name) != nil {
			return name
		}
	}
	return ""
}

// Reading is what the library that reads a connection's settings makes of them.
type Reading struct {
	By string `json:"by"` // the library
	// Says is the setting that says how far TLS is insisted on, as it is written;
	// "" when none does.
	Says string `json:"says,omitempty"`
	// Mode is what the library takes that for, in libpq's words; "" when only the
	// application knows.
	Mode string `json:"mode,omitempty"`
	// Assumed says that nothing particular is known of the library, and that is what
	// all do.
	Assumed bool `json:"assumed,omitempty"`
	// Named says that it was told the name that the certificate is for; otherwise
	// it looks for the one that it connects to.
	Named bool `json:"named,omitempty"`
	// Told says that it was told the authority that was registered; Registered, that
	// there is one; OwnAuthorities, that it knows no others.
	Told           bool `json:"told,omitempty"`
	Registered     bool `json:"registered,omitempty"`
	OwnAuthorities bool `json:"ownAuthorities,omitempty"`
	// Otherwise is a naming in which the library does not check what this one has it
	// check, and what nobody asked it to; "" for none.
	Otherwise patchbay.Naming `json:"otherwise,omitempty"`
	// Unsaid are values of the target that the settings don't have.
	Unsaid []Unsaid `json:"unsaid,omitempty"`
}

// Unsaid is a value of security that the library is not told.
type Unsaid struct {
	Value string `json:"value"`
	What  string `json:"what"` // what follows from that
	Step  string `json:"step"` // what the user can do
	// Place says that it would be told, had the source a place for the file.
	Place bool `json:"place,omitempty"`
}

// Verifies reports whether the library checks who answers.
func (r Reading) Verifies() bool { return atLeast(r.Mode, "verify-ca") }

// read is the reading of settings that were rendered, each from the one of the
// table in the same place.
func (p *plan) read(r Request, f *filling, set []patchbay.Setting, kept []setting) Reading {
	by := p.kind.reader(p.naming, p.client)
	at := map[string]*setting{} // value → the setting that it reads it from
	called := map[*setting]string{}
	for i, s := range kept {
		_, wrote, _ := f.fill(s.template, s.syntax)
		for _, v := range wrote {
			// A library reads one string rather than the parts beside it, and a framework
			// its own, which comes last.
			if (at[v] == nil || s.syntax.sep != "") && !slices.Contains(by.unread, v) {
				at[v], called[&kept[i]] = &kept[i], set[i].Name
			}
		}
	}
	out := Reading{By: by.by, Mode: by.unsaid, Assumed: by.assumed, Named: at[serverName] != nil}
	unsaid := func(value, format string, args ...any) {
		out.Unsaid = append(out.Unsaid, Unsaid{Value: value, What: fmt.Sprintf(format, args...), Step: by.step(value, p.client)})
	}
	given := func(name string) bool { return !r.Values[name].IsZero() }
	mode := p.kind.mode()
	wanted := ""
	if mode != "" {
		wanted = f.values[mode]
	}
	meant := libpqs(wanted)
	switch {
	case wanted == "true":
		meant = "verify-ca" // it says to encrypt and to check, and nothing of names
	case mode == "" && r.Values["encrypt"].Reveal() == "false": // no value of the kind's
		meant = "disable"
	}
	told := (at[authorityPath] != nil || at[authority] != nil && p.naming == patchbay.NamingServiceBinding) && !slices.Contains(by.unread, authority)
	out.Told, out.Registered, out.OwnAuthorities = told && given(authority), given(authority), by.told
	switch s := at[mode]; {
	case mode == "":
		if meant != "disable" && !atLeast(out.Mode, "verify-ca") {
			unsaid("tls", "no setting says that the connection is %s, and %s by itself %s", inWhat(meant), by.by, does(by.unsaid))
		}
	case told && by.known != "" && meant != "disable":
		out.Mode = by.known
		if !atLeast(out.Mode, meant) {
			unsaid(mode, "%s checks that the certificate is of the authority, and nothing tells it to look for the server's name in it", by.by)
		}
	case s != nil:
		said := p.says(*s, f, mode)
		if name, _, _ := strings.Cut(said, "="); p.overrides(name) {
			out.Mode, out.Assumed = "", true // the caller's own word comes last, and counts
			return out
		}
		out.Says = said + " in " + called[s]
		out.Mode = cmp.Or(by.reads[wanted], libpqs(wanted))
		if meant != "disable" && !atLeast(out.Mode, meant) {
			unsaid(mode, "%s reads %s as %s, which is less than %s", by.by, out.Says, out.Mode, wanted)
		}
	case meant != "disable" && !atLeast(out.Mode, meant):
		unsaid(mode, "no setting says that the connection is %s, and %s by itself %s", inWhat(meant), by.by, does(by.unsaid))
	}
	if meant == "disable" || !atLeast(out.Mode, "require") && out.Mode != "" {
		return out // the rest is about TLS
	}
	switch {
	case given(authority) && !told:
		unsaid(authority, "the authority that was registered is in no setting that %s reads", by.by)
		out.Unsaid[len(out.Unsaid)-1].Place = !given(authorityPath) && p.tells(authorityPath, r)
	case by.told && out.Verifies() && !told:
		unsaid(authority, "%s trusts no authority that it is not told, and none was registered", by.by)
	}
	if given(serverName) && r.Values[serverName] != r.Values["host"] && !out.Named && out.Mode == "verify-full" {
		unsaid(serverName, "%s looks for the name that it connects to in the certificate, and not for the one that was registered", by.by)
	}
	if given(weakestAuth) && at[weakestAuth] == nil && p.kind.value(weakestAuth) != nil && f.exists(weakestAuth) {
		unsaid(weakestAuth, "no setting says how weakly the server may ask for the password (weakestAuth)")
	}
	return out
}

// overrides reports whether the caller has a connection string property of that
// name appended.
func (p *plan) overrides(name string) bool {
	for property := range p.properties {
		if strings.EqualFold(property, name) {
			return true
		}
	}
	return false
}

// tells reports whether a setting has that value, were it given.
func (p *plan) tells(value string, r Request) (found bool) {
	for _, s := range p.set {
		if ProcessWide(s.name) && r.Taken != nil && r.Taken(s.name) {
			continue
		}
		s.template.holes(func(h part, _ bool) { found = found || h.value == value })
	}
	return found
}

// says is how s writes a value: "tls=true", or "true" where it is nothing else.
func (p *plan) says(s setting, f *filling, value string) string {
	before := ""
	var found string
	var look func(template)
	look = func(t template) {
		for _, h := range t {
			switch {
			case h.segment != nil:
				look(h.segment)
			case h.value == value && found == "":
				found = before[strings.LastIndexAny(before, "?"+s.syntax.sep)+1:] + p.kind.encode(h, s.syntax, f.values[value])
			}
			before = h.text
		}
	}
	look(s.template)
	return found
}

// libpqs is libpq's word for a value of one of [modeValues].
func libpqs(word string) string {
	switch word {
	case "true", "": // a kind without such a value has TLS where its endpoint says so
		return "verify-full"
	case "false":
		return "disable"
	}
	return word
}

// inWhat and does say a mode in words.
func inWhat(mode string) string {
	if mode == "require" {
		return "encrypted"
	}
	return "encrypted, and the server's certificate checked"
}

func does(mode string) string {
	switch mode {
	case "":
		return "leaves that to the application"
	case "disable":
		return "speaks in the clear"
	case "prefer":
		return "speaks in the clear where the server has no TLS, and checks no certificate"
	}
	return "checks no certificate"
}
