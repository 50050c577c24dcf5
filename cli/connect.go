package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// connectVerb is one of the commands that take a target kind.
type connectVerb struct {
	name  string
	short string
	long  string
	run   func(a *app, cmd *cobra.Command, k targetKind, f *connectFlags, args []string) error
}

var (
	createVerb = connectVerb{
		name:  "create",
		short: "Connect a source to a target",
		long: `Connects a source to a target: makes a login on the target with just the access
that is asked for (or takes the one given with --secret), writes the settings to
the source under the names that --client-type reads, restarts the source where
it has a way to, and signs in as the application. If any step fails, everything
is put back as it was.

With a terminal, what is missing is asked for.`,
		run: (*app).runCreate,
	}
	updateVerb = connectVerb{
		name:  "update",
		short: "Change a connection",
		long: `Changes a connection: what is not named stays as it is, the login included. If
any step fails, the connection goes on working as it was.`,
		run: (*app).runUpdate,
	}
	previewVerb = connectVerb{
		name:  "preview",
		short: "Show what create would do, and change nothing",
		long: `Shows the steps that create would take and the settings that it would write, and
changes nothing. The target need not be registered, and there need not be a
driver for it: --target-id takes any id.`,
		run: (*app).runPreview,
	}
)

// connectGroup is `connection create`, with a subcommand for each target kind.
func (a *app) connectGroup(v connectVerb) *cobra.Command {
	var guided *connectFlags
	cmd := &cobra.Command{
		Use:         v.name + " KIND",
		Short:       v.short,
		Long:        v.long,
		Example:     "  patchbay connection " + v.name + " postgres --help\n" + kindExample(v, targetKinds[0]),
		Annotations: map[string]string{"kinds": v.name},
		Args:        unknownKind,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v.name != createVerb.name || !a.interactive() {
				return usagef(cmd, "which kind of target? There are %s", strings.Join(kindsUnder(cmd), ", "))
			}
			k, err := a.askKind(cmd.Context(), guided)
			if err != nil {
				return err
			}
			return v.run(a, cmd, k, guided, nil)
		},
	}
	if v.name == createVerb.name {
		guided = a.connectFlags(cmd, v, nil)
	}
	for _, k := range targetKinds {
		cmd.AddCommand(a.connectKind(v, k))
	}
	if v.name != previewVerb.name {
		cmd.AddCommand(a.confluentCommand(v))
	}
	cmd.Long += "\n\nThe target kinds are " + strings.Join(kindsUnder(cmd), ", ") + "."
	return cmd
}

func unknownKind(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	kinds := kindsUnder(cmd)
	return usagef(cmd, "there is no target kind %q; there are %s%s", clean(args[0]), strings.Join(kinds, ", "), didYouMean(args[0], kinds))
}

func kindsUnder(cmd *cobra.Command) []string {
	var kinds []string
	for _, c := range cmd.Commands() {
		if c.Name() != "help" {
			kinds = append(kinds, c.Name())
		}
	}
	return kinds
}

func (a *app) connectKind(v connectVerb, k targetKind) *cobra.Command {
	short := map[string]string{
		"create":  "Connect a source to " + k.product,
		"update":  "Change a connection to " + k.product,
		"preview": "Show what connecting a source to " + k.product + " would do",
	}[v.name]
	use := k.name
	args := cobra.NoArgs
	if v.name == updateVerb.name {
		use += " [SOURCE/NAME]"
		args = cobra.MaximumNArgs(1)
	}
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		Long:    short + ".\n\nThe target's id is …/providers/" + k.form() + ".",
		Example: kindExample(v, k),
	}
	f := a.connectFlags(cmd, v, &k)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return v.run(a, cmd, k, f, args) }
	if v.name == updateVerb.name {
		cmd.ValidArgsFunction = a.completeConnections
	}
	return cmd
}

func kindExample(v connectVerb, k targetKind) string {
	path := "patchbay connection " + v.name + " " + k.name
	target := "--target NAME"
	for _, p := range k.parts {
		if p.flag != "" && p.name == "" {
			target += "/" + strings.ToUpper(p.flag)
		}
	}
	client := k.client[0]
	if slices.Contains(k.client, "go") {
		client = "go"
	}
	switch v.name {
	case "update":
		return fmt.Sprintf("  %[1]s web/orders --client-type %[2]s\n  %[1]s --source web --connection orders --access reader", path, client)
	case "preview":
		return fmt.Sprintf("  %s --source web %s --client-type %s", path, target, client)
	}
	example := fmt.Sprintf("  %[1]s --source web %[2]s --client-type %[3]s\n  %[1]s --source web %[2]s --client-type %[3]s --connection orders --access reader", path, target, client)
	if k.connectionString || k.name == "nats" {
		example += fmt.Sprintf("\n  %s --source web %s --client-type %s --secret name=app secret=@app.password", path, target, client)
	}
	return example
}
