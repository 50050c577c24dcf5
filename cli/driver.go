package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
)

func (a *app) driverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "driver",
		Short: "Show what the server can connect",
		Long: `A driver is what the server has for a product or a kind of application: it says
which resources it serves, what it has to be told of one, and what the logins are
that it makes.`,
		Annotations: map[string]string{catalogued: "yes"},
		Args:        noCommand,
		RunE:        func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.driverList(), a.driverShow())
	return cmd
}

// sayWhoseCatalog tells the person that no server was asked.
func (a *app) sayWhoseCatalog() {
	if !a.asked {
		a.notef("patchbay: no server was asked: this is what one of this build can connect")
	}
}

func (a *app) driverList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the drivers",
		Long:    "Lists the drivers: those of sources, which applications run on, of targets, which they use, and of hosts, the machines\nthat sources are on.",
		Example: "  patchbay driver list -o table",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			a.sayWhoseCatalog()
			all := []patchbay.Driver{}
			for _, d := range drivers(a.shown()) {
				all = append(all, d.Driver)
			}
			return a.print(all, func() rows {
				r := rows{head: []string{"Name", "Product", "For", "Logins"}}
				for _, d := range drivers(a.shown()) {
					r.add(d.Name, d.Title, d.end, loginsInShort(d))
				}
				return r
			})
		},
	}
}

// loginsInShort says which logins connections have on what a driver serves.
func loginsInShort(d knownDriver) string {
	switch {
	case d.end != forTargets:
		return ""
	case d.Logins != nil:
		return strings.Join(words(d.Logins.Accesses), ", ")
	case len(d.Admin) > 0:
		return "given"
	}
	return ""
}

func (a *app) driverShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show what a driver needs, and what it can do",
		Long:    "Shows which resources a driver serves, what it is told of one, what the logins are that it makes, and what it can't do.",
		Example: "  patchbay driver show NAME -o table",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, d := range drivers(a.shown()) {
				names = append(names, d.Name+"\t"+d.Title)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkOutput(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			d, ok := driverOf(a.shown(), args[0])
			if !ok {
				return a.noSuchDriver(cmd, args[0], drivers(a.shown()))
			}
			a.sayWhoseCatalog()
			return a.print(d.Driver, func() rows { return a.driverRows(d.Driver) })
		},
	}
}

func (a *app) driverRows(d patchbay.Driver) rows {
	r := rows{head: []string{"What", "Name", "Said with", "Means"}}
	for _, t := range d.Types {
		r.add("type", t, "", "")
	}
	for _, k := range d.Kinds {
		r.add("kind", k.Name, "--kind "+k.Name, strings.TrimSpace(k.Type+" "+k.Kind))
	}
	for _, f := range a.allFields(d) {
		r.add(f.what, f.Name, f.said, fieldMeans(f.Field))
	}
	if d.Part != "" {
		r.add("part", d.Part, "--scope NAME", "what of it a connection's settings are of")
	}
	if l := d.Logins; l != nil {
		r.add("logins", strings.Join(words(l.Auths), ", "), "", "how they sign in")
		r.add("logins", strings.Join(words(l.Accesses), ", "), "--access", "what they may do")
		if l.RotatesAdmin {
			r.add("admin", "its credential", "rotate-admin", "can be replaced")
		}
		for _, o := range l.Options {
			r.add("option", o.Name, "--option "+o.Name+"="+o.Example, o.About)
		}
	}
	for _, l := range d.Lacks {
		r.add("can't", l.What, "", l.Why)
	}
	return r
}

// describedField is a field as tables show it.
type describedField struct {
	patchbay.Field
	what string // endpoint, property, admin
	said string // its flags
}

// allFields are the fields of a driver, in the order in which they are shown.
func (a *app) allFields(d patchbay.Driver) []describedField {
	var all []describedField
	add := func(what, said string, f patchbay.Field) { all = append(all, describedField{f, what, said}) }
	if e := endpointField(d); e.About != "" {
		add("endpoint", said(a.flagOf(e), e), e)
	}
	for _, f := range d.Properties {
		add("property", said(a.flagOf(f), f), f)
	}
	for _, f := range d.Admin {
		flag := a.flagOf(f)
		flags := said(flag, f)
		switch {
		case flag == "":
			flags = "--admin " + f.Name + "=@FILE"
		case f.Secret:
			flags = "--" + flag + "-file, --" + flag + "-env"
		case f.Name == "username" && f.Flag == "":
			flags = "--admin NAME"
		}
		add("admin", flags, f)
	}
	return all
}
