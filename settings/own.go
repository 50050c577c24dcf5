package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"patchbay.dev/patchbay"
)

// What bounds a caller's template: a validation looks for each value again.
const (
	maxTemplate = 16 << 10 // bytes
	maxHoles    = 64
)

// templates are the settings that a caller has written templates for, by name. A
// template that says what there is not is InvalidArgument, and the message lists what
// there is.
func (p *plan) templates(all map[string]string) ([]setting, error) {
	var own []setting
	for _, name := range slices.Sorted(maps.Keys(all)) {
		file := p.naming == patchbay.NamingServiceBinding
		if why := refuseName(name, file); why != "" {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%q can't be a setting's name: %s", name, why)
		}
		if ProcessWide(name) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s is for all that the application does, and a connection has it by itself where it is needed", name)
		}
		text := all[name]
		if len(text) > maxTemplate || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
			return nil, p.wrong(name, "it is longer than 16 KiB, has a NUL or is not UTF-8")
		}
		t, err := parseTemplate(text)
		if err != nil {
			return nil, p.wrong(name, "it has %v; write {{ }} [[ ]] for the characters themselves", err)
		}
		if len(t) == 0 {
			return nil, p.wrong(name, "it is empty")
		}
		s := setting{name: name, about: "As asked for", template: t, syntax: syntaxes["text"], file: file, exact: true}
		s.matcher = sync.OnceValue(func() matcher { return p.kind.matcher(s.template, s.syntax) })
		holes := 0
		t.holes(func(h part, inside bool) {
			if holes++; err == nil {
				err = p.checkHole(name, h, inside)
			}
		})
		if holes > maxHoles && err == nil {
			err = p.wrong(name, "it has %d values in it; %d are the most", holes, maxHoles)
		}
		if err != nil {
			return nil, err
		}
		own = append(own, s)
	}
	if p.naming == patchbay.NamingOwn && len(own) == 0 {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the naming %s has no names but those that are asked for, and none is", p.naming).
			WithFix("say which: --setting 'NAME=text with {host}'")
	}
	return own, nil
}

// checkHole refuses a value that a connection of the plan never has, and a form that it
// has not.
func (p *plan) checkHole(name string, h part, inside bool) error {
	if v := p.kind.value(h.value); v == nil || !inside && !p.kind.exists(p.auth)(h.value) {
		var there []string
		for _, v := range p.kind.values {
			if p.kind.exists(p.auth)(v.Name) {
				there = append(there, v.Name)
			}
		}
		return p.wrong(name, "a connection to %s with auth type %s has no value %q; it has %s", p.kind.title, p.auth, h.value, list(there))
	}
	forms := p.kind.forms(h.value)
	if h.as != "" && !slices.Contains(forms, h.as) {
		return p.wrong(name, "{%s:%s} has a form that there is not; for %[1]s there are %[3]s", h.value, h.as, list(forms))
	}
	return nil
}

// forms are what may stand behind a value's colon: the syntaxes that escape it, and the
// lists that have a word of a library for each of ours.
func (k *kind) forms(value string) []string {
	var all []string
	for name, words := range k.words {
		ours := k.value(value).Words
		if len(ours) > 0 && !slices.ContainsFunc(ours, func(word string) bool { _, ok := words[word]; return !ok }) {
			all = append(all, name)
		}
	}
	for name, x := range syntaxes {
		if x.escape != nil {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (p *plan) wrong(name, format string, args ...any) *patchbay.Error {
	e := patchbay.Errorf(patchbay.InvalidArgument, "the template of the setting %s: %s", name, fmt.Sprintf(format, args...))
	e.Subject = name
	return e
}

// unfilled says which value an exact setting lacks.
func (p *plan) unfilled(s setting, f *filling) error {
	lacks := ""
	s.template.holes(func(h part, inside bool) {
		if _, ok := f.values[h.value]; !ok && !inside && lacks == "" {
			lacks = h.value
		}
	})
	if lacks == "" {
		return nil // a default that it asked to be left out
	}
	return p.wrong(s.name, "this connection has no value %s", lacks).
		WithFix("put what belongs to {%s} between [ and ], which leaves it out when there is none", lacks)
}

// bare refuses a value that stands in a URL as it is and that a URL's readers would take
// for another: nobody but them knows what they make of it.
func (p *plan) bare(s setting, f *filling) error {
	before, link := "", syntaxes["link"]
	var found string
	var look func(template)
	look = func(t template) {
		for _, h := range t {
			switch {
			case h.segment != nil:
				look(h.segment)
			case h.value == "":
				before += h.text
			default:
				word := before[strings.LastIndexFunc(before, unicode.IsSpace)+1:]
				value, given := f.values[h.value]
				if given && h.as == "" && found == "" && strings.Contains(word, "://") && !f.isBlank(value) && link.encode(h.value, value) != value {
					found = h.value
				}
				before += "_"
			}
		}
	}
	look(s.template)
	if found == "" {
		return nil
	}
	return p.wrong(s.name, "the value %s has characters that mean something else in a URL", found).
		WithFix("write {%s:url}, which escapes them", found)
}

// choose takes the settings of the naming, and the caller's own, which go before one of
// the same name.
func (p *plan) choose() error {
	var set []setting
	if p.naming != patchbay.NamingOwn {
		var err error
		if set, err = p.kind.settings(p.naming, p.client, p.auth); err != nil {
			return err
		}
	} else if !slices.Contains(p.kind.auths, p.auth) {
		return patchbay.Errorf(patchbay.InvalidArgument, "Auth type %s is not supported by target resource. Supported auth types are %s",
			quoteEmpty(string(p.auth)), list(p.kind.auths))
	}
	set = slices.DeleteFunc(set, func(s setting) bool {
		return slices.ContainsFunc(p.own, func(own setting) bool { return own.name == s.name })
	})
	if slices.ContainsFunc(p.own, setting.namesAuthority) && !slices.ContainsFunc(set, func(s setting) bool { return s.name == AuthorityFile }) {
		set = append(set, p.kind.authority())
	}
	p.set = append(set, p.own...)
	return nil
}
