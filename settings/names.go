package settings

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

// How settings get their names, in this order:
//
//   - customized: the name that the caller chose, in the caller's case;
//   - the default name, when none of the connection's default names is taken;
//   - otherwise, for all of the connection's settings that are not customized
//     alike (a connection whose names are half of one form and half of another
//     helps nobody), the default name with the connection's name in it:
//     AZURE_POSTGRESQL_HOST becomes AZURE_POSTGRESQL_ORDERS_HOST, and a name
//     without such a prefix gets it in front, PGHOST becomes ORDERS_PGHOST.
//
// Property names of a framework (spring.datasource.url) have no place for it:
// there a taken name is an error. Files are in a directory of the connection's
// own and never collide.

// maxName bounds a setting's name, which callers may choose.
const maxName = 256

// name gives the settings their names.
func (p *plan) name(r Request, out []patchbay.Setting, set []setting) error {
	custom, err := p.customized(r)
	if err != nil {
		return err
	}
	taken := func(s patchbay.Setting) bool { return !s.File && r.Taken != nil && r.Taken(s.Name) }
	insert := false
	for i, s := range out {
		insert = insert || !set[i].exact && custom[fold(s.Name)] == "" && taken(s)
	}
	seen := make(map[string]bool)
	for i := range out {
		original := out[i].Name
		if set[i].exact {
			if taken(out[i]) {
				return takingExactly(original)
			}
		} else if name := custom[fold(original)]; name != "" {
			out[i].Name = name
		} else if insert && !out[i].File && !ProcessWide(original) {
			if out[i].Name = p.kind.inserted(original, r.Connection); out[i].Name == "" {
				return taking(original)
			}
		}
		if taken(out[i]) {
			return taking(out[i].Name)
		}
		if seen[out[i].Name] {
			return patchbay.Errorf(patchbay.InvalidArgument, "two settings would have the name %s", out[i].Name)
		}
		seen[out[i].Name] = true
	}
	return nil
}

func taking(name string) error {
	e := patchbay.Errorf(patchbay.Conflict, "the source already has a setting %s that this connection does not own", name)
	e.Subject = name
	return e.WithFix("choose another name with --customized-keys %s=NAME", name)
}

func takingExactly(name string) error {
	e := patchbay.Errorf(patchbay.Conflict, "the source already has a setting %s that this connection does not own", name)
	e.Subject = name
	return e.WithFix("give the template another name with --setting NAME=…, or remove the setting %s from the source", name)
}

// customized are the chosen names by folded default name.
func (p *plan) customized(r Request) (map[string]string, error) {
	custom := make(map[string]string)
	for def, name := range r.Customized {
		at := slices.IndexFunc(p.set, func(s setting) bool {
			return !s.exact && (strings.EqualFold(s.name, def) || strings.EqualFold(p.kind.inserted(s.name, r.Connection), def))
		})
		if at < 0 {
			var known []string
			for _, s := range p.set {
				if !s.exact {
					known = append(known, s.name)
				}
			}
			return nil, patchbay.Errorf(patchbay.InvalidArgument,
				"%q is not a default name of this connection. The default names are %s", def, list(known))
		}
		if why := refuseName(name, p.set[at].file); why != "" {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%q can't be a setting's name: %s", name, why)
		}
		custom[fold(p.set[at].name)] = name
	}
	return custom, nil
}

// additional appends the further settings. What they hold is anybody's guess,
// so they count as secret.
func (p *plan) additional(r Request, out []patchbay.Setting) ([]patchbay.Setting, error) {
	file := len(p.set) > 0 && p.set[0].file
	for _, name := range slices.Sorted(maps.Keys(r.Additional)) {
		if why := refuseName(name, file); why != "" {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%q can't be a setting's name: %s", name, why)
		}
		if strings.ContainsRune(r.Additional[name], 0) || !utf8.ValidString(r.Additional[name]) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the additional setting %s has a NUL or is not UTF-8", name)
		}
		if slices.ContainsFunc(out, func(s patchbay.Setting) bool { return s.Name == name }) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "two settings would have the name %s", name)
		}
		if !file && r.Taken != nil && r.Taken(name) {
			return nil, taking(name)
		}
		out = append(out, patchbay.Setting{
			Name: name, Value: patchbay.NewSecret(r.Additional[name]), Secret: true,
			ConfigType: Default, Description: "Additional setting", File: file,
		})
	}
	return out, nil
}

// refuseName says why a name that somebody chose can't be a setting's. What a
// particular source can't hold, the source refuses.
func refuseName(name string, file bool) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > maxName:
		return "it is longer than 256 bytes"
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "it has an equals sign, a space or a control character"
	case file && (strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".")):
		return "a file's name has no slash and does not start with a dot"
	}
	return ""
}

var (
	environment = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	notInName   = regexp.MustCompile(`[^A-Z0-9_]`)
)

// inserted is a default name with the connection's in it, "" when there is no
// place for it.
func (k *kind) inserted(name, connection string) string {
	c := inName(connection)
	rest, ok := strings.CutPrefix(name, k.prefix)
	switch {
	case c == "" || !environment.MatchString(name):
		return ""
	case ok && k.prefix != "":
		return k.prefix + c + "_" + rest
	case unicode.IsDigit(rune(c[0])):
		return "_" + c + "_" + name
	}
	return c + "_" + name
}

// inName is a connection's name as a part of an environment variable's: in
// upper case, and an underscore for every character that those can't have
// (orders-eu.2 is ORDERS_EU_2). Two connections that become the same are told
// apart when the second one's names are found taken.
func inName(connection string) string {
	return notInName.ReplaceAllString(strings.ToUpper(connection), "_")
}

func fold(s string) string { return strings.ToLower(s) }

// HasAccessKey reports whether the secret of a kind is an access key of the resource.
// A connection that asks for one has the settings of a secret.
func HasAccessKey(kind string) bool {
	k := table()[kind]
	return k != nil && k.keyed
}
