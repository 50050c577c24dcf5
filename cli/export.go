package cli

import (
	"bytes"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
	"patchbay.dev/patchbay/export"
)

// masked stands for a value that is not shown.
const masked = "‹masked›"

func (a *app) connectionExport() *cobra.Command {
	formats := export.Formats()
	var names []string
	long := `Prints what a connection would put on its source, for another tool to read. It takes
the right to read the settings; with --no-secrets, the right to read the connection
will do. What a format can't hold exactly is refused.

The formats are`
	for _, f := range formats {
		names = append(names, f.Name)
		long += "\n  " + f.Name + strings.Repeat(" ", 16-len(f.Name)) + f.About
	}
	var format string
	var noSecrets bool
	cmd, _ := a.one("export", "Print a connection's settings for another tool", long,
		`  patchbay connection export web/orders --format dotenv > orders.env
  patchbay connection export web/orders --format servicebinding | tar -x -C /bindings`,
		func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error {
			at := slices.Index(names, format)
			if at < 0 {
				return usagef(cmd, "which format? --format, one of %s%s", strings.Join(names, ", "), didYouMean(format, names))
			}
			id, err := a.resolve(cmd.Context(), ref, arg)
			if err != nil {
				return err
			}
			v, err := c.Connection(cmd.Context(), id)
			if err != nil {
				return err
			}
			set, err := a.exported(cmd, c, v, noSecrets)
			if err != nil {
				return during(err, "read the settings of %s", shortName(id))
			}
			of := export.Connection{Name: v.ID.Name(), Client: v.Properties.Client, Set: set}
			if !id.IsLocal() {
				of.Source = nameIn(v.Source())
			}
			text, warnings, err := formats[at].Write(of)
			if err != nil {
				return during(err, "write the settings of %s as %s", shortName(id), format)
			}
			for _, w := range warnings {
				a.notef("patchbay: warning: %s", clean(w))
			}
			if a.IsTerminal(a.Stdout) && (formats[at].Archive || bytes.ContainsFunc(text, func(r rune) bool { return r != '\n' && unsafeOnTerminal(r) })) {
				return usagef(cmd, "what it prints would do something to a terminal: write it to a file or a pipe")
			}
			_, err = a.Stdout.Write(text)
			return err
		})
	f := cmd.Flags()
	f.StringVar(&format, "format", "", "the format: "+inWords(names, "or"))
	f.BoolVar(&noSecrets, "no-secrets", false, "with "+masked+" in place of what is secret")
	must(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// exported are the connection's settings. Whoever may not read them may know their
// names.
func (a *app) exported(cmd *cobra.Command, c *client.Client, v client.ConnectionView, noSecrets bool) ([]patchbay.Setting, error) {
	all, err := c.Configurations(cmd.Context(), v.ID)
	var set []patchbay.Setting
	switch {
	case noSecrets && patchbay.CodeOf(err) == patchbay.Forbidden && v.Properties.Patchbay != nil:
		files := v.Properties.Patchbay.Naming == patchbay.NamingServiceBinding
		for _, name := range v.Properties.Patchbay.Keys {
			set = append(set, patchbay.Setting{Name: name, Value: patchbay.NewSecret(masked), File: files})
		}
		return set, nil
	case err != nil:
		return nil, err
	}
	for _, s := range all {
		value := s.Value
		if noSecrets && s.Secret {
			value = masked
		}
		set = append(set, patchbay.Setting{Name: s.Name, Value: patchbay.NewSecret(value), File: s.File, Secret: s.Secret})
	}
	return set, nil
}
