package settings

import (
	"slices"

	"patchbay.dev/patchbay"
)

// Parse is the reverse of [Render]: given the request (without its Values) and
// what a source holds under the names that the connection owns, it recovers the
// values, so that one can sign in with exactly what the application would.
//
// A connection has either its default names or those with its own name in
// them, so settings of others must not be in have, or be Taken. A value that no setting
// shows (sslmode of Django, a password in Key Vault) is not in the answer; one
// that a library's words blur (SSL is true) is the weakest that fits.
//
// Errors: SettingMissing, and SettingChanged when a setting no longer has the
// form that Render gives it or two of them disagree; both name the setting as
// the Subject and show no value. InvalidArgument is as for Render.
func Parse(r Request, have map[string]patchbay.Secret) (Values, error) {
	p, err := r.plan()
	if err != nil {
		return nil, err
	}
	custom, err := p.customized(r)
	if err != nil {
		return nil, err
	}
	held := func(s setting, name string) (patchbay.Secret, bool) {
		v, ok := have[name]
		return v, ok && (s.file || r.Taken == nil || !r.Taken(name))
	}
	insert := slices.ContainsFunc(p.set, func(s setting) bool {
		_, ok := held(s, p.kind.inserted(s.name, r.Connection))
		return ok && !s.file && !s.exact && custom[fold(s.name)] == ""
	})
	found := make(map[string][]string)
	for _, s := range p.set {
		name := s.name
		if c := custom[fold(s.name)]; c != "" && !s.exact {
			name = c
		} else if insert && !s.file && !s.exact && !ProcessWide(s.name) {
			name = p.kind.inserted(s.name, r.Connection)
		}
		value, ok := held(s, name)
		if !ok {
			if _, always, _ := p.kind.here(s, p.auth); always && (r.Written == nil || r.Written[name]) {
				return nil, finding(patchbay.SettingMissing, name, "the source has no setting %s", name)
			}
			continue
		}
		if p.vaulted != "" && s.template.alone() == p.vaulted && value.Reveal() == p.reference {
			continue
		}
		read, ok := p.kind.read(s, value.Reveal())
		if !ok {
			return nil, finding(patchbay.SettingChanged, name, "the setting %s no longer is %s as Patchbay writes it", name, s.syntax.title)
		}
		for v, all := range read {
			if !p.kind.exists(p.auth)(v) {
				continue // appended by the caller, not ours
			}
			if known, ok := found[v]; ok {
				if all = common(known, all); len(all) == 0 {
					return nil, finding(patchbay.SettingChanged, name, "the setting %s has another %s than the others", name, v)
				}
			}
			found[v] = all
		}
	}
	return p.values(found), nil
}

func finding(code patchbay.Code, name, format string, args ...any) error {
	e := patchbay.Errorf(code, format, args...)
	e.Subject = name
	return e
}

func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// values are what was found, and the defaults of what is written only when it
// is not the default.
func (p *plan) values(found map[string][]string) Values {
	f := newFilling(p.kind, p.kind.exists(p.auth))
	for v, all := range found {
		f.values[v] = all[0]
	}
	f.defaults()
	out := make(Values)
	for v, all := range found {
		out[v] = patchbay.NewSecret(all[0])
	}
	for _, s := range p.set {
		s.template.holes(func(h part, _ bool) {
			if value := f.regular[h.value]; h.special && found[h.value] == nil && value != "" && f.exists(h.value) {
				out[h.value] = patchbay.NewSecret(value)
			}
		})
	}
	return out
}

// read finds the values of s in text, each with what it may stand for. It is
// false when text does not have the form of s.
func (k *kind) read(s setting, text string) (map[string][]string, bool) {
	m := s.matcher()
	at := m.re.FindStringSubmatchIndex(text)
	if at == nil {
		return nil, false
	}
	found := make(map[string][]string)
	for i, p := range m.parts {
		from, to := at[2*i+2], at[2*i+3]
		if from < 0 || from == to && k.value(p.value).Optional {
			continue
		}
		all := k.decode(p, s.syntax, text[from:to])
		if known, ok := found[p.value]; ok {
			all = common(known, all)
		}
		if len(all) == 0 {
			return nil, false
		}
		found[p.value] = all
	}
	return found, true
}
