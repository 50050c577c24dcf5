package cli

import (
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// addHelp is what `resource add DRIVER --help` says above the flags.
func addHelp(d patchbay.Driver) string {
	help := d.About
	if slices.ContainsFunc(d.Admin, func(f patchbay.Field) bool { return f.Secret }) {
		help += "\n\nSecrets come from a file, the environment or standard input; with a terminal, what\nis missing is asked for."
	}
	for i, l := range d.Lacks {
		if i == 0 {
			help += "\n\nWhat it can't do:\n"
		}
		help += "\n  " + l.What + ": " + l.Why
	}
	return help
}

// addExample is a command line that registers a resource: with what is needed,
// or with all that the driver gives an example of.
func (a *app) addExample(d patchbay.Driver, whole bool) string {
	name := "main"
	if d.Logins == nil && len(d.Admin) == 0 {
		name = "web"
	}
	switch {
	case a.isFor(d.Name, forHosts):
		name = "db1"
	case a.isFor(d.Name, forGuards):
		name = "db1-guard"
	}
	line := "  patchbay " + a.adding(d) + " " + name
	begun := line
	say := func(f patchbay.Field) {
		if flag := a.flagOf(f); flag != "" {
			line += " --" + flag
			if f.Type != patchbay.BoolField {
				line += " " + exampleOf(f)
			}
		} else {
			line += " --property " + f.Name + ":=" + exampleOf(f)
		}
	}
	e := endpointField(d)
	kind, fits := exampleKindOf(d)
	if kind != "" {
		line += " --kind " + kind
	}
	needs := line
	if e.Required || e.Example != "" && (fits || whole && kind == "") {
		say(e)
	}
	if e.Required || fits {
		needs = line
	}
	for _, f := range d.Properties {
		switch {
		case f.Required && !strings.Contains(f.Name, "."):
			say(f)
			needs = line
		case whole && f.Example != "":
			say(f)
		}
	}
	if whole && line == needs {
		return "" // it would say the same
	}
	var form []string
	if len(d.AdminForms) > 0 {
		form = d.AdminForms[0]
	} else if len(d.Admin) > 0 && !whole {
		form = []string{d.Admin[0].Name}
	}
	secret := false
	for _, part := range form {
		f := fieldNamed(d.Admin, part)
		secret = secret || f.Secret
		line += a.adminExample(f)
	}
	if at := slices.IndexFunc(d.Admin, func(f patchbay.Field) bool { return f.Secret }); len(form) > 0 && !secret && at >= 0 {
		line += a.adminExample(d.Admin[at])
	}
	if line == begun {
		return ""
	}
	return line + "\n"
}

// urlExample has endpoint and login in one.
func urlExample(d patchbay.Driver) string {
	if !takesURL(d) {
		return ""
	}
	return "  patchbay resource add " + d.Name + " main --url " + d.Endpoint.Schemes[0] + "://" +
		exampleOf(fieldNamed(d.Admin, "username")) + "@" + bare(exampleOf(endpointField(d))) + "/ --admin-env PASSWORD\n"
}

func (a *app) adminExample(f patchbay.Field) string {
	flag := a.flagOf(f)
	switch {
	case f.Secret && flag != "":
		return " --" + flag + "-file " + first(f.Example, flag+".txt")
	case f.Secret:
		return " --admin " + f.Name + "=@FILE"
	case f.Name == "username" && f.Flag == "":
		return " --admin " + exampleOf(f)
	case flag == "":
		return " --admin " + f.Name + "=" + exampleOf(f)
	}
	return " --" + flag + " " + exampleOf(f)
}

// exampleKindOf is a kind for examples, one that the example of an endpoint is of
// if there is one.
func exampleKindOf(d patchbay.Driver) (name string, fits bool) {
	for _, k := range d.Kinds {
		if strings.HasPrefix(d.Endpoint.Example, k.Name) {
			return k.Name, true
		}
	}
	if len(d.Kinds) > 0 {
		name = d.Kinds[0].Name
	}
	return name, false
}

// exampleOf is a value that a field may have.
func exampleOf(f patchbay.Field) string {
	switch {
	case f.Example != "":
		return f.Example
	case len(f.Words) > 0:
		return f.Words[0]
	case f.Type == patchbay.MapField:
		return "name=value"
	}
	return strings.ToUpper(f.Name)
}

// addExamples are those of the whole of `resource add`: a source, and the target
// with the least to say.
func (a *app) addExamples() string {
	examples := ""
	if len(a.shown().Sources) > 0 {
		examples = a.addExample(a.shown().Sources[0], false)
	}
	shortest := ""
	for _, d := range a.shown().Targets {
		if e := a.addExample(d, false); e != "" && d.Logins != nil && (shortest == "" || len(e) < len(shortest)) {
			shortest = e
		}
	}
	return examples + shortest
}

// exampleKind is the kind that examples are of.
func (a *app) exampleKind() string {
	if kinds := targetKinds(a.shown()); len(kinds) > 0 {
		return fullest(kinds).word
	}
	return "KIND"
}
