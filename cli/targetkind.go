package cli

import (
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// targetKind is a kind of target under one of its words, as `connection create
// KIND` has it.
type targetKind struct {
	patchbay.TargetKind
	word string
	ids  []patchbay.TargetID // the forms of a target's id that the word is for
}

// targetKinds are the words of a catalogue, those of one kind together. A kind
// whose targets are not registered has none.
func targetKinds(c patchbay.Catalog) []targetKind {
	var all []targetKind
	taken := map[string]bool{"help": true}
	for _, k := range c.Kinds {
		for _, word := range k.Words {
			ids := only(slices.Clone(k.IDs), func(id patchbay.TargetID) bool {
				return strings.Contains(id.Form, "/") && slices.Contains(id.Words, word)
			})
			if len(ids) == 0 || taken[word] || len(all) == mostKinds {
				continue
			}
			taken[word] = true
			k.Clients = noneLast(k.Clients)
			all = append(all, targetKind{k, word, ids})
		}
	}
	return all
}

// noneLast is how client types are shown.
func noneLast(clients []patchbay.ClientType) []patchbay.ClientType {
	const none = "none"
	sorted := only(slices.Clone(clients), func(c patchbay.ClientType) bool { return c != none })
	if len(sorted) < len(clients) {
		sorted = append(sorted, none)
	}
	return sorted
}

// endpointKind is the kind of the endpoints of a target service type.
func endpointKind(c patchbay.Catalog, typ patchbay.TargetType) (patchbay.TargetKind, bool) {
	for _, k := range c.Kinds {
		if slices.ContainsFunc(k.IDs, func(id patchbay.TargetID) bool { return id.Form == string(typ) }) {
			k.Clients = noneLast(k.Clients)
			return k, true
		}
	}
	return patchbay.TargetKind{}, false
}

// words are strings of a domain's type.
func words[T ~string](all []T) []string {
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = string(v)
	}
	return names
}

func wordsOf(kinds []targetKind) []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.word
	}
	return names
}

// idOf is the form of the ids below a resource of that type.
func (k targetKind) idOf(resource string) (patchbay.TargetID, bool) {
	at := slices.IndexFunc(k.ids, func(id patchbay.TargetID) bool { return strings.EqualFold(id.Resource(), resource) })
	if at < 0 {
		return patchbay.TargetID{}, false
	}
	return k.ids[at], true
}

// serves reports whether a resource of that type may have such targets.
func (k targetKind) serves(resource string) bool {
	_, ok := k.idOf(resource)
	return ok
}

// fits reports whether id is that of a target of this kind, parts and all.
func (k targetKind) fits(id patchbay.ID) bool {
	typ := id.Type()
	return slices.ContainsFunc(k.ids, func(f patchbay.TargetID) bool { return strings.EqualFold(f.Type(), typ) })
}

// resources are the types of the resources that have such targets, the one that
// a client makes first in front.
func (k targetKind) resources() []string {
	var types []string
	for _, id := range k.ids {
		types = append(types, id.Resource())
	}
	return types
}

// form is the id that a connection to this kind names.
func (k targetKind) form() string { return formOf(k.ids[0]) }

// formOf is the form for people: without what is taken when a name is left out.
func formOf(id patchbay.TargetID) string {
	form := ""
	for _, s := range id.Segments() {
		name := s.Name
		if !s.Fixed {
			name = "{" + name + "}"
		}
		form += "/" + s.Type + "/" + name
	}
	return form[1:]
}

// server is what the resource is called, and the flag that names it.
func (k targetKind) server() string { return k.ids[0].Segments()[0].Name }

// parts are what of a target has to be named beside its resource.
func (k targetKind) parts() []patchbay.Segment {
	var parts []patchbay.Segment
	for _, id := range k.ids {
		for _, s := range id.Segments()[1:] {
			if !s.Fixed && !slices.ContainsFunc(parts, func(p patchbay.Segment) bool { return p.Name == s.Name }) {
				parts = append(parts, s)
			}
		}
	}
	return parts
}

// flags are the ones that name a target of this kind.
func (k targetKind) flags() []string {
	flags := []string{"--" + k.server()}
	for _, p := range k.parts() {
		flags = append(flags, "--"+p.Name)
	}
	return flags
}

// hasLogins reports whether a login of such a target has a name that can be given.
func (k targetKind) hasLogins() bool {
	return slices.ContainsFunc(k.Values, func(v patchbay.TargetValue) bool { return v.Name == "username" })
}
