package external

import (
	"maps"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// describe is the driver of these kinds.
func describe(kinds []patchbay.TargetKind) patchbay.Driver {
	d := patchbay.Driver{
		Name: "external", Title: "Services that Patchbay does not administer", Noun: "service that Patchbay does not administer",
		About: `A service of any kind where Patchbay makes nobody and grants nothing. A
connection to it has the login that is given here, one that its creator gives, or
an identity that the service's owner has given its rights.

Without an endpoint the service is where Azure has it. The secret is a password, a
key, a token, the content of a creds file, or a connection string as Azure shows
it. docs/external-targets.md says what each kind needs.`,
		Endpoint: patchbay.Endpoint{
			Field: patchbay.Field{
				Type: patchbay.TextField, About: "where it is", Form: "HOST:PORT or a URL", Example: "rediss://10.0.0.7:6380",
				Default: "where Azure has a service of that name",
			},
		},
		Properties: []patchbay.Field{
			{Name: "values", Flag: "value", Type: patchbay.MapField, About: "what settings are made of and nothing else says: database, region, username…"},
			{Name: "endpoints", Flag: "service-endpoint", Type: patchbay.MapField, Form: "KIND=URL", About: "the endpoint of one kind of a resource that has several"},
			{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
			{Name: "tls.serverName", Type: patchbay.TextField, About: "the name in the server's certificate", Default: "the endpoint's host"},
			{Name: "tls.off", Flag: "no-tls", Type: patchbay.BoolField, About: "the service speaks in the clear, and its kind has no other word for it"},
		},
		Admin: []patchbay.Field{
			{Name: adminName, Flag: "login", Type: patchbay.TextField, About: "the name of the login that connections get: a user, an access key id, the name of a key", Example: "app"},
			{Name: adminSecret, Flag: "secret", Type: patchbay.TextField, About: "the login's secret", Secret: true},
		},
		Lacks: []patchbay.Lack{
			{What: "logins of its own", Why: "it administers nothing: a connection has a login that somebody else made"},
			{What: "access", Why: "who made the login decides what it may do"},
		},
	}
	types := map[string]bool{}
	add := func(name, typ, resourceKind string) {
		if !slices.ContainsFunc(d.Kinds, func(known patchbay.ResourceKind) bool { return known.Name == name }) {
			d.Kinds = append(d.Kinds, patchbay.ResourceKind{Name: name, Type: typ, Kind: resourceKind})
		}
	}
	of := map[string]string{} // kind to the type of its resources
	for _, k := range kinds {
		types[ownTypes+k.Name] = true
		for _, id := range k.IDs {
			typ := ownTypes + k.Name // of an endpoint that nobody registers
			names := []string{k.Name}
			if len(id.Segments()) > 0 {
				typ = id.Resource()
				names = append(names, id.Words...)
			}
			types[typ] = true
			for _, name := range names {
				add(name, typ, "")
			}
			if of[k.Name] == "" {
				of[k.Name] = typ
			}
		}
	}
	for _, k := range kinds {
		if base, resourceKind, ok := strings.Cut(k.Variant, "/"); ok {
			add(k.Name, of[base], resourceKind)
		}
	}
	// A kind that is only another way to connect is registered as what it is.
	for _, k := range kinds {
		if len(k.IDs) > 0 || k.Variant != "" {
			continue
		}
		for _, word := range k.Words {
			if at := slices.IndexFunc(d.Kinds, func(known patchbay.ResourceKind) bool { return known.Name == word }); at >= 0 {
				add(k.Name, d.Kinds[at].Type, "")
			}
		}
	}
	slices.SortFunc(d.Kinds, func(a, b patchbay.ResourceKind) int { return strings.Compare(a.Name, b.Name) })
	d.Types = slices.Sorted(maps.Keys(types))
	return d
}
