// Package settings knows what client libraries read: for a target kind, a
// client type and an auth type, the names of the settings and the form of
// their values.
package settings

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

// Values are what settings are made of, by name. The names that every driver
// of a database shares are host, port, database, username, password and
// sslmode (disable, require, verify-ca or verify-full); of NATS url, jwt, seed,
// username and password. Each kind documents its own ([patchbay.TargetKind]).
type Values map[string]patchbay.Secret

// Request asks for the settings of one connection.
type Request struct {
	Kind       string              // of the target: postgresql, redis, nats…
	Client     patchbay.ClientType // "" is none: separate keys
	Auth       patchbay.AuthType
	Naming     patchbay.Naming // "": the kind's default
	Connection string          // the connection's name, inserted on a collision
	// Taken reports that somebody else has that name on the source; nil: nobody.
	Taken      func(name string) bool
	Customized map[string]string // default name → name, the default's case ignored
	// ConnectionString is appended to the end of composite strings.
	ConnectionString map[string]string
	Additional       map[string]string // further settings, as they are
	// Templates are further settings of exactly these names, made of the kind's values;
	// one that the table has too gives way.
	Templates map[string]string
	// SecretURI is the Key Vault secret that holds the password; composite
	// strings are then split, so that only the password is a reference.
	SecretURI string
	// Values that the kind does not know are ignored.
	Values Values
	// Written are the settings that were written, for [Parse]: a release that came
	// later may have more. nil is all.
	Written map[string]bool
	// Preview has a value that is not there written as ‹password›, where
	// otherwise it would be an error. One that is there may be a [Blank].
	Preview bool
}

// Blank stands in a preview for the value of that name: ‹password›.
func Blank(name string) patchbay.Secret { return patchbay.NewSecret("‹" + name + "›") }

// Name is a setting that a connection may have, before any collision.
type Name struct {
	Name        string
	Description string
	Secret      bool // it holds a credential
	Optional    bool // it is written only when its values are given, or are not the default ones
	File        bool
}

// What a setting's ConfigType says.
const (
	Default        = "Default"
	KeyVaultSecret = "KeyVaultSecret"
)

// KeyVaultReference is the value of a setting that the platform resolves to
// that Key Vault secret.
func KeyVaultReference(uri string) string { return "@Microsoft.KeyVault(SecretUri=" + uri + ")" }

// Names are the settings that a connection of that kind, client type and auth
// type may have with the naming; "" is the kind's default. What is not
// supported is InvalidArgument, and the message lists what is.
func Names(kind string, client patchbay.ClientType, auth patchbay.AuthType, naming patchbay.Naming) ([]Name, error) {
	k, naming, err := find(kind, naming)
	if err != nil {
		return nil, err
	}
	set, err := k.settings(naming, client, auth)
	if err != nil {
		return nil, err
	}
	names := make([]Name, len(set))
	for i, s := range set {
		_, always, secret := k.here(s, auth)
		names[i] = Name{Name: s.name, Description: s.about, Secret: secret, Optional: !always, File: s.file}
	}
	return names, nil
}

// Check refuses what a connection can't have: a client type, an auth type or a naming
// that the kind is not known for, and templates that could never be filled. It looks at
// no values. Errors are InvalidArgument.
func Check(r Request) error {
	_, err := r.plan()
	return err
}

// Render gives the settings of a connection, in the order of the table, with
// the additional ones at the end. Errors are InvalidArgument: something that
// the target does not support (the message lists what it does), a value that is
// missing, or one that the form of a setting can't hold; and Conflict when a
// name stays taken. None of them shows a value.
func Render(r Request) ([]patchbay.Setting, error) {
	set, _, err := Read(r)
	return set, err
}

// Read renders, and says what the library makes of that.
func Read(r Request) ([]patchbay.Setting, Reading, error) {
	p, err := r.plan()
	if err != nil {
		return nil, Reading{}, err
	}
	f, err := p.filling(r)
	if err != nil {
		return nil, Reading{}, err
	}
	out, kept, err := p.renderAll(r, f)
	if err == nil {
		out, err = p.additional(r, out)
	}
	if err != nil {
		return nil, Reading{}, err
	}
	reading := p.read(r, f, out, kept)
	// Where certificates are checked whatever the settings say, a laxer naming is no
	// way out.
	if r.Values[checked].IsZero() && reading.Verifies() && !atLeast(libpqs(f.values[p.kind.mode()]), "verify-ca") {
		reading.Otherwise = p.lenient(r)
	}
	return out, reading, nil
}

// lenient is a naming whose settings are read as they are meant, where those of r
// are read as stricter; "" for none.
func (p *plan) lenient(r Request) patchbay.Naming {
	r.Customized = nil
	for _, r.Naming = range p.kind.namings() {
		other, err := r.plan()
		if err != nil {
			continue
		}
		f, err := other.filling(r)
		if err != nil {
			continue
		}
		if set, kept, err := other.renderAll(r, f); err == nil && other.read(r, f, set, kept).Mode == "require" {
			return r.Naming
		}
	}
	return ""
}

// renderAll makes and names the settings of the table; kept is where each comes
// from.
func (p *plan) renderAll(r Request, f *filling) (out []patchbay.Setting, kept []setting, _ error) {
	composites := 0
	for _, s := range p.set {
		v, left, err := p.render(s, f)
		if err != nil {
			return nil, nil, err
		}
		if left && s.exact && !r.Preview {
			if err := p.unfilled(s, f); err != nil {
				return nil, nil, err
			}
		}
		if left || ProcessWide(s.name) && r.Taken != nil && r.Taken(s.name) {
			continue
		}
		if s.name == AuthorityFile && p.naming != patchbay.NamingServiceBinding && f.values[authorityPath] == "" {
			continue // nobody would find it
		}
		if s.syntax.sep != "" {
			composites++
		}
		out, kept = append(out, v), append(kept, s)
	}
	if len(f.missing) > 0 {
		return nil, nil, f.lacks()
	}
	if len(p.properties) > 0 && composites == 0 {
		return nil, nil, patchbay.Errorf(patchbay.InvalidArgument,
			"client type %s has no connection string that properties could be appended to", p.client)
	}
	return out, kept, p.name(r, out, kept)
}

// plan is a request that was looked up in the table.
type plan struct {
	kind       *kind
	naming     patchbay.Naming
	client     patchbay.ClientType
	auth       patchbay.AuthType
	set        []setting
	own        []setting         // those of the caller's templates, among set too
	properties map[string]string // to append
	brought    Values            // values that came as properties
	vaulted    string            // the value that is in Key Vault
	reference  string
}

func (r Request) plan() (*plan, error) {
	k, naming, err := find(r.Kind, r.Naming)
	if err != nil {
		return nil, err
	}
	p := &plan{kind: k, naming: naming, client: canonical(r.Client), auth: r.Auth, properties: make(map[string]string), brought: make(Values)}
	if p.own, err = p.templates(r.Templates); err != nil {
		return nil, err
	}
	if err = p.choose(); err != nil {
		return nil, err
	}
	if err := p.takeProperties(r.ConnectionString); err != nil {
		return nil, err
	}
	if r.SecretURI == "" {
		return p, nil
	}
	return p, p.split(r.SecretURI, r.Values)
}

var propertyName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.\- ]*$`)

// takeProperties sorts the properties into those to append and those that
// bring a value: a Neon or Atlas target id names an organization, and the server
// comes along with the connection string.
func (p *plan) takeProperties(all map[string]string) error {
	for name, value := range all {
		brings := ""
		for v, property := range p.kind.property {
			if strings.EqualFold(property, name) {
				brings = v
			}
		}
		if brings != "" {
			p.brought[brings] = patchbay.NewSecret(value)
			continue
		}
		if !propertyName.MatchString(name) || strings.HasSuffix(name, " ") {
			return patchbay.Errorf(patchbay.InvalidArgument, "%q can't be the name of a connection string property", name)
		}
		p.properties[name] = value
	}
	return nil
}

// split makes the one secret a reference. Where the client type has it inside
// a connection string, the connection gets separate keys instead, those of
// client type none.
func (p *plan) split(uri string, given Values) error {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.ContainsAny(uri, "() \t\r\n") {
		return patchbay.Errorf(patchbay.InvalidArgument, "the secret's URI is not an https URL of a Key Vault secret")
	}
	p.reference = KeyVaultReference(uri)
	for _, v := range p.kind.values {
		if !v.Secret || !p.kind.exists(p.auth)(v.Name) || !p.uses(v.Name) || p.kind.otherWay(v.Name, given) {
			continue
		}
		if p.vaulted != "" {
			return patchbay.Errorf(patchbay.InvalidArgument,
				"a connection to %s has more than one secret, and one Key Vault secret can't hold them", p.kind.title)
		}
		p.vaulted = v.Name
	}
	if p.vaulted == "" {
		return patchbay.Errorf(patchbay.InvalidArgument,
			"a connection to %s with auth type %s has no secret that could be in Key Vault", p.kind.title, p.auth)
	}
	if p.composite() {
		p.client = "none"
		if err = p.choose(); err != nil {
			return err
		}
	}
	if p.composite() {
		return patchbay.Errorf(patchbay.InvalidArgument,
			"the connection string of %s can't be split, so its secret can't be a Key Vault reference", p.kind.title)
	}
	return nil
}

// otherWay reports whether a value is of another of the sets that a kind needs one of than
// the one that is given; the first, where none is.
func (k *kind) otherWay(name string, given Values) bool {
	chosen := 0
	for i, set := range slices.Backward(k.need) {
		if !slices.ContainsFunc(set, func(name string) bool { return given[name].IsZero() }) {
			chosen = i
		}
	}
	has := func(set []string) bool { return slices.Contains(set, name) }
	return slices.ContainsFunc(k.need, has) && !has(k.need[chosen])
}

func (p *plan) uses(value string) (used bool) {
	for _, s := range p.set {
		s.template.holes(func(h part, _ bool) { used = used || h.value == value })
	}
	return used
}

// composite reports whether the secret is only a part of some setting.
func (p *plan) composite() (found bool) {
	for _, s := range p.set {
		s.template.holes(func(h part, _ bool) {
			found = found || h.value == p.vaulted && s.template.alone() == ""
		})
	}
	return found
}

var hostName = regexp.MustCompile(`^[\p{L}\p{N}._:%/\\-]+$`)

// filling checks the values and adds the defaults.
func (p *plan) filling(r Request) (*filling, error) {
	f := newFilling(p.kind, p.kind.exists(p.auth))
	for _, v := range p.kind.values {
		s := r.Values[v.Name]
		if s.IsZero() {
			s = p.brought[v.Name]
		}
		if !s.IsZero() && f.exists(v.Name) {
			f.values[v.Name] = s.Reveal()
			f.blanks = f.blanks || r.Preview && s == Blank(v.Name)
		}
	}
	met, sets := f.needMet()
	if r.Preview {
		f.blank(met)
	}
	f.defaults()
	if r.Preview {
		f.blankRest()
	}
	if f.values["sslmode"] == "require" && f.values[authorityPath] != "" && p.tells(authorityPath, r) {
		// What libpq makes of the two together, and other libraries only when they are
		// told.
		f.values["sslmode"] = "verify-ca"
	}
	for _, v := range p.kind.values {
		value, ok := f.values[v.Name]
		if why := refuse(v, value); ok && why != "" && !f.isBlank(value) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the value %s of %s %s", v.Name, p.kind.title, why)
		}
	}
	if p.vaulted != "" {
		f.values[p.vaulted] = p.reference
	}
	if !met && !r.Preview {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the settings of %s need %s", p.kind.title, sets)
	}
	return f, nil
}

// needMet reports whether one of the sets of values that the kind needs is
// there in whole, and which sets there are.
func (f *filling) needMet() (met bool, sets string) {
	var all []string
	for _, set := range f.kind.need {
		if !slices.ContainsFunc(set, f.exists) {
			continue // it is not for the auth type
		}
		met = met || !slices.ContainsFunc(set, func(name string) bool { return f.values[name] == "" })
		all = append(all, strings.Join(set, " and "))
	}
	return met || len(all) == 0, strings.Join(all, ", or ")
}

// blank puts ‹name› for each value that is needed and not there, and for the
// first set of those of which one is.
func (f *filling) blank(met bool) {
	for _, v := range f.kind.values {
		needed := !v.Optional || !met && slices.Contains(f.kind.need[0], v.Name)
		if f.values[v.Name] == "" && f.exists(v.Name) && needed && v.Default == "" {
			f.values[v.Name] = Blank(v.Name).Reveal()
			f.blanks = true
		}
	}
}

// blankRest puts ‹name› for each value whose default is made of one that is not
// there.
func (f *filling) blankRest() {
	for _, v := range f.kind.values {
		if f.values[v.Name] == "" && f.exists(v.Name) && !v.Optional && v.Default != "" {
			f.values[v.Name] = Blank(v.Name).Reveal()
			f.blanks = true
		}
	}
}

// lacks says what is missing. What has a default that could not be worked out is
// of a service that is elsewhere than the default has it.
func (f *filling) lacks() error {
	missing := slices.Sorted(maps.Keys(f.missing))
	err := patchbay.Errorf(patchbay.InvalidArgument, "the settings of %s need a value for %s", f.kind.title, list(missing))
	var flags []string
	for _, name := range missing {
		v := f.kind.value(name)
		if v == nil || v.Default == "" {
			return err
		}
		flags = append(flags, "--value "+name+"=…")
	}
	return err.WithFix("say where that is, with the target's registration: %s", strings.Join(flags, " "))
}

// isBlank reports whether value is a ‹name› or has one from its default in it.
func (f *filling) isBlank(value string) bool { return f.blanks && strings.Contains(value, "‹") }

// defaults works out the default of each value, and puts it where there is
// none.
func (f *filling) defaults() {
	put := func(v patchbay.TargetValue) {
		t, _ := parseTemplate(v.Default)
		text, _, left := f.fill(t, syntaxes["text"])
		if v.Default == "" || left || len(f.missing) > 0 {
			clear(f.missing)
			return
		}
		f.regular[v.Name] = text
		if _, ok := f.values[v.Name]; !ok && f.exists(v.Name) {
			f.values[v.Name] = text
		}
	}
	// Constants first: what refers to others refers to constants or to what was
	// given.
	for _, derived := range []bool{false, true} {
		for _, v := range f.kind.values {
			if strings.Contains(v.Default, "{") == derived {
				put(v)
			}
		}
	}
}

// refuse says why a value can't be one of v, without showing it.
func refuse(v patchbay.TargetValue, value string) string {
	switch {
	case strings.ContainsRune(value, 0):
		return "has a NUL, which no setting can hold"
	case !utf8.ValidString(value):
		return "is not UTF-8"
	case len(v.Words) > 0 && !slices.Contains(v.Words, value):
		return "is not one of " + list(v.Words)
	case v.Name == "host" && !hostName.MatchString(value):
		return "is not a host name, an address or the path of a socket"
	case v.Name == "port" && !isPort(value):
		return "is not a port from 1 to 65535"
	}
	return ""
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}

// render makes one setting, and reads it back: what the syntax can't hold is
// an error, never a string that means something else.
func (p *plan) render(s setting, f *filling) (_ patchbay.Setting, left bool, _ error) {
	text, wrote, left := f.fill(s.template, s.syntax)
	if left {
		return patchbay.Setting{}, true, nil
	}
	if len(f.missing) > 0 {
		return patchbay.Setting{}, false, nil // Render says so, once all are known
	}
	if s.exact {
		if err := p.bare(s, f); err != nil {
			return patchbay.Setting{}, false, err
		}
	}
	text += s.syntax.end
	if s.syntax.sep != "" {
		for _, name := range slices.Sorted(maps.Keys(p.properties)) {
			if v := p.properties[name]; !s.syntax.holds("", v) || strings.ContainsRune(v, 0) {
				return patchbay.Setting{}, false, patchbay.Errorf(patchbay.InvalidArgument,
					"the connection string property %s has a value that %s can't hold", name, s.syntax.title)
			}
			text = s.syntax.with(text, name, p.properties[name])
		}
	}
	if wrong := p.unlike(s, f, text, wrote); wrong != "" && !f.blanks {
		return patchbay.Setting{}, false, patchbay.Errorf(patchbay.InvalidArgument,
			"the value %s has characters that %s can't hold (setting %s)", wrong, s.syntax.title, s.name)
	}
	_, _, secret := p.kind.here(s, p.auth)
	out := patchbay.Setting{
		Name: s.name, Value: patchbay.NewSecret(text), Secret: secret,
		ConfigType: Default, Description: s.about, File: s.file,
	}
	if p.vaulted != "" && s.template.alone() == p.vaulted {
		out.ConfigType, out.Description = KeyVaultSecret, "Key vault secret."
	}
	return out, false, nil
}

// unlike reads text as s, and gives the first value that is not what was
// written.
func (p *plan) unlike(s setting, f *filling, text string, wrote []string) string {
	if s.template.alone() != "" && s.syntax == syntaxes["text"] || len(wrote) == 0 {
		return ""
	}
	found, ok := p.kind.read(s, text)
	if !ok {
		if at := slices.IndexFunc(wrote, func(v string) bool { return !s.syntax.holds(v, f.values[v]) }); at >= 0 {
			return wrote[at]
		}
		return wrote[0]
	}
	for _, v := range wrote {
		if !slices.Contains(found[v], f.values[v]) {
			return v
		}
	}
	for v := range found {
		if f.exists(v) && !slices.Contains(wrote, v) {
			return v // one value ran over into the place of another
		}
	}
	return ""
}
