package connector

import (
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// registration is the command that registers a resource of that id, as far as
// every one of its driver has it: that is the driver that makes logins for the
// type, or else the only one. kind is what it is, where a driver serves several;
// "" when nobody can say.
func registration(drivers []patchbay.Driver, id patchbay.ID, kind string) string {
	serving := slices.DeleteFunc(slices.Clone(drivers), func(d patchbay.Driver) bool {
		return !slices.ContainsFunc(d.Types, func(typ string) bool { return strings.EqualFold(typ, id.Type()) })
	})
	if at := slices.IndexFunc(serving, func(d patchbay.Driver) bool { return d.Logins != nil }); at >= 0 {
		serving = serving[at : at+1]
	}
	if len(serving) != 1 {
		return "patchbay resource add --help"
	}
	d := serving[0]
	command := "patchbay resource add " + d.Name + " " + id.Name()
	if len(d.Kinds) > 0 {
		if !slices.ContainsFunc(d.Kinds, func(k patchbay.ResourceKind) bool { return k.Name == kind }) {
			kind = "KIND"
		}
		command += " --kind " + kind
	}
	if e := d.Endpoint.Field; e.Required {
		if e.Name == "" {
			e.Name = "endpoint"
		}
		if e.Form == "" {
			e.Form = "ENDPOINT"
		}
		command += " --" + e.Word() + " " + e.Form
	}
	if len(d.Admin) > 0 || slices.ContainsFunc(d.Properties, func(f patchbay.Field) bool { return f.Required }) {
		command += " …"
	}
	return command
}
