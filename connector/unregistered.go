package connector

import (
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// registration is the command that registers a resource of that id, as far as
// every one of its driver has it: that is the driver that makes logins for the
// type, or else the only one; where there are several, the choice stays open. kind
// is what it is, where a driver serves several kinds; "" when nobody can say.
func registration(drivers []patchbay.Driver, id patchbay.ID, kind string) string {
	serving := slices.DeleteFunc(slices.Clone(drivers), func(d patchbay.Driver) bool {
		return !slices.ContainsFunc(d.Types, func(typ string) bool { return strings.EqualFold(typ, id.Type()) })
	})
	if at := slices.IndexFunc(serving, func(d patchbay.Driver) bool { return d.Logins != nil }); at >= 0 {
		serving = serving[at : at+1]
	}
	switch len(serving) {
	case 0:
		return "patchbay resource add --help"
	case 1:
		return adding("resource add "+serving[0].Name, serving[0], id, kind)
	}
	var names []string
	for _, d := range serving {
		names = append(names, d.Name)
	}
	return fmt.Sprintf("patchbay resource add DRIVER %s …   (DRIVER is one of %s)", id, strings.Join(names, ", "))
}

// hostRegistration is the same of a host.
func hostRegistration(drivers []patchbay.Driver, id patchbay.ID) string {
	if len(drivers) == 1 {
		return adding("host add", drivers[0], id, "")
	}
	return "patchbay host add --help"
}

// adding is the command that registers id with a driver. Where a name alone would
// be one of another type, it is named in full.
func adding(verb string, d patchbay.Driver, id patchbay.ID, kind string) string {
	name := string(id)
	if len(d.Kinds) > 0 || len(d.Types) > 0 && strings.EqualFold(d.Types[0], id.Type()) {
		name = id.Name()
	}
	command := "patchbay " + verb + " " + name
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
