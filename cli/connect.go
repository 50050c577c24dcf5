package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
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
	kinds := targetKinds(a.shown())
	names := wordsOf(kinds)
	cmd := &cobra.Command{
		Use:         v.name + " KIND",
		Short:       v.short,
		Annotations: map[string]string{"kinds": v.name, catalogued: "yes"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return a.noSuchKind(cmd, args[0], names)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v.name != createVerb.name || !a.interactive() {
				return usagef(cmd, "which kind of target? There are %s", strings.Join(names, ", "))
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
	for _, k := range kinds {
		cmd.AddCommand(a.connectKind(v, k))
	}
	if c := a.confluentCommand(v); c != nil && v.name != previewVerb.name {
		cmd.AddCommand(c)
		names = append(names, c.Name())
	}
	cmd.Long = v.long + "\n\nThe target kinds are " + strings.Join(names, ", ") + "."
	if len(kinds) > 0 {
		cmd.Example = "  patchbay connection " + v.name + " " + kinds[0].word + " --help\n" + kindExample(v, fullest(kinds))
	}
	return cmd
}

// noSuchKind is the error of a word that is no kind of target.
func (a *app) noSuchKind(cmd *cobra.Command, word string, names []string) error {
	if a.asked && slices.Contains(wordsOf(targetKinds(a.own())), word) {
		return usagef(cmd, "this server has no target kind %q, though this command line knows it: the server is of another release or build. It has %s",
			clean(word), strings.Join(names, ", "))
	}
	return usagef(cmd, "there is no target kind %q; there are %s%s", clean(word), strings.Join(names, ", "), didYouMean(word, names))
}

// fullest is the first kind that needs most to be named: its flags stand for
// those of all.
func fullest(kinds []targetKind) targetKind {
	weight := func(k targetKind) int {
		n := len(k.flags())
		if k.ConnectionString {
			n++
		}
		return n
	}
	best := kinds[0]
	for _, k := range kinds {
		if weight(k) > weight(best) {
			best = k
		}
	}
	return best
}

func (a *app) connectKind(v connectVerb, k targetKind) *cobra.Command {
	short := map[string]string{
		"create":  "Connect a source to " + k.Title,
		"update":  "Change a connection to " + k.Title,
		"preview": "Show what connecting a source to " + k.Title + " would do",
	}[v.name]
	use := k.word
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
	path := "patchbay connection " + v.name + " " + k.word
	target := "--target NAME"
	for _, p := range k.parts() {
		if p.Default == "" || p.Default == "@" {
			target += "/" + strings.ToUpper(p.Name)
		}
	}
	client := patchbay.ClientType("go")
	if !slices.Contains(k.Clients, client) && len(k.Clients) > 0 {
		client = k.Clients[0]
	}
	switch v.name {
	case "update":
		return fmt.Sprintf("  %[1]s web/orders --client-type %[2]s\n  %[1]s --source web --connection orders --access reader", path, client)
	case "preview":
		return fmt.Sprintf("  %s --source web %s --client-type %s", path, target, client)
	}
	example := fmt.Sprintf("  %[1]s --source web %[2]s --client-type %[3]s\n  %[1]s --source web %[2]s --client-type %[3]s --connection orders --access reader", path, target, client)
	if k.hasLogins() {
		example += fmt.Sprintf("\n  %s --source web %s --client-type %s --secret name=app secret=@app.password", path, target, client)
	}
	return example
}
