package cli

import (
	"fmt"
	"io"
	"strings"
)

// DriverPage writes the page about the drivers of a build.
func DriverPage(w io.Writer, deps Deps) error {
	a, _ := build(deps)
	c := a.known()
	var b strings.Builder
	b.WriteString(`# Drivers

Generated from what the drivers say of themselves (` + "`go generate ./cmd/patchbay`" + `). ` + "`patchbay driver list`" + `
shows what a server can connect, which may be of another release.

| Driver | Product | For | Logins |
|---|---|---|---|
`)
	for _, d := range drivers(c) {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s |\n", d.Name, d.Name, d.Title, d.end, loginsInShort(d))
	}
	for _, d := range drivers(c) {
		a.driverSection(&b, d)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (a *app) driverSection(b *strings.Builder, d knownDriver) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", d.Name, d.About)
	if len(d.Kinds) == 0 {
		b.WriteString("Types: " + code(d.Types) + ".\n")
	} else {
		fmt.Fprintf(b, "It has %d types: `patchbay driver show %s` lists them. The most used have a word:\n", len(d.Types), d.Name)
		b.WriteString("\n| `--kind` | Type | Kind of the resource |\n|---|---|---|\n")
		for _, k := range d.Kinds {
			fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", k.Name, k.Type, k.Kind)
		}
	}
	for _, table := range []struct{ what, intro string }{
		{"endpoint", "Where it is:"}, {"property", "Its properties:"}, {"admin", adminIntro(d)},
	} {
		begun := false
		for _, f := range a.allFields(d.Driver) {
			if f.what != table.what {
				continue
			}
			if !begun {
				begun = true
				fmt.Fprintf(b, "\n%s\n\n| Name | Command line | What it is |\n|---|---|---|\n", table.intro)
			}
			fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", f.Name, cell(f.said), cell(fieldMeans(f.Field)))
		}
	}
	if d.Part != "" {
		fmt.Fprintf(b, "\nA connection's settings are those of one %s of it, which `--scope` names.\n", d.Part)
	}
	if l := d.Logins; l != nil {
		fmt.Fprintf(b, "\nIts logins sign in with %s, and are %s.", code(words(l.Auths)), code(words(l.Accesses)))
		if l.Sessions {
			b.WriteString(" Their open sessions are counted.")
		}
		if l.Sources {
			b.WriteString(" They may be bound to the addresses that their source speaks from.")
		}
		if l.RotatesAdmin {
			b.WriteString(" `patchbay resource rotate-admin` replaces the credential of its administrator.")
		}
		b.WriteString("\n")
		if len(l.Options) > 0 {
			b.WriteString("\n| `--option` | What it is |\n|---|---|\n")
		}
		for _, o := range l.Options {
			about := o.About
			if o.Example != "" {
				about += " (as " + o.Example + ")"
			}
			fmt.Fprintf(b, "| `%s` | %s |\n", o.Name, cell(about))
		}
	}
	if len(d.Lacks) > 0 {
		b.WriteString("\nWhat it can't do:\n\n")
	}
	for _, l := range d.Lacks {
		fmt.Fprintf(b, "- %s: %s.\n", l.What, l.Why)
	}
}

// adminIntro says what the admin credential has to have.
func adminIntro(d knownDriver) string {
	switch {
	case d.end != forTargets:
		return "The credential that it is reached with (`admin`):"
	case len(d.AdminForms) == 0:
		return "The login that connections get (`admin`), which may be left out:"
	}
	forms := make([]string, len(d.AdminForms))
	for i, form := range d.AdminForms {
		forms[i] = inWords(quoted(form), "and")
	}
	return "The credential that it is administered with (`admin`) needs " + strings.Join(forms, ", or ") + ":"
}

func quoted(names []string) []string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = "`" + n + "`"
	}
	return all
}

func code(names []string) string { return strings.Join(quoted(names), ", ") }
