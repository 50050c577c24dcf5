package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// A host is a resource of a driver of its own kind; sources name it.

func (a *app) isHost(r client.ResourceView) bool { return a.isFor(r.Properties.Driver, forHosts) }

func (a *app) hostCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "host",
		Short: "Register the machines that applications run on",
		Long: `A host is a machine, other than the server's own, that sources are on: what a source
names with --host is done there, and what it uses is reached from there.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	all := a.hosts()
	cmd.AddCommand(a.hostAdd(), a.listOf(all), a.showOf(all), a.hostCheck(all), a.removeOf(all))
	return cmd
}

// adding is the command that registers a resource of a driver, without its name.
func (a *app) adding(d patchbay.Driver) string {
	switch {
	case !a.isFor(d.Name, forHosts):
		return "resource add " + d.Name
	case len(a.known().Hosts) == 1:
		return "host add"
	}
	return "host add " + d.Name
}

// hostAdd is the command of the only driver that there is for hosts, or has one for
// each.
func (a *app) hostAdd() *cobra.Command {
	all := a.shown().Hosts
	if len(all) == 1 {
		cmd := a.addDriver(all[0])
		cmd.Use = "add NAME"
		cmd.Annotations = map[string]string{catalogued: "yes"}
		return cmd
	}
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Register a host, or change one",
		Long: `Registers a machine under a name, and checks what it lets the server do. A name that
is registered already is changed.`,
		Example:     "  patchbay host add --help",
		Annotations: map[string]string{catalogued: "yes"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(names) == 0 {
				return patchbay.Errorf(patchbay.NotSupported, "this server has no driver for hosts: its sources are on its own machine")
			}
			if len(args) == 0 {
				return usagef(cmd, "which kind of host? There are %s", strings.Join(names, ", "))
			}
			return usagef(cmd, "there is no driver %q for hosts; there are %s%s", clean(args[0]), strings.Join(names, ", "), didYouMean(args[0], names))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, d := range all {
		cmd.AddCommand(a.addDriver(d))
	}
	return cmd
}

func (a *app) hostCheck(s shelf) *cobra.Command {
	return a.withOne(s, "check", "Check what a host lets the server do", `Asks a host what it lets the server do there, and says what is missing and how it is
given. Nothing is changed there. The exit status is 4 when something is missing.`, func(cmd *cobra.Command, c *client.Client, id patchbay.ID) error {
		found, err := c.CheckHost(cmd.Context(), id)
		if err != nil {
			return during(err, "check %s", id.Name())
		}
		return a.printFindings(id, found)
	})
}

func (a *app) printFindings(id patchbay.ID, found []patchbay.Finding) error {
	if found == nil {
		found = []patchbay.Finding{}
	}
	err := a.print(found, func() rows {
		r := rows{head: []string{"What", "Result", "Problem"}}
		for _, f := range found {
			result := "ok"
			if !f.OK {
				result = "missing"
			}
			r.add(f.What, result, f.Problem)
		}
		return r
	})
	lacking := only(slices.Clone(found), func(f patchbay.Finding) bool { return !f.OK })
	if err != nil || len(lacking) == 0 {
		return err
	}
	a.errorf("patchbay: %d of %d things are missing on %s\n", len(lacking), len(found), clean(id.Name()))
	for _, f := range lacking {
		if f.Fix == "" {
			continue
		}
		a.errorf("  fix, for %s:\n", clean(f.What))
		for line := range strings.Lines(f.Fix) {
			a.errorf("    %s\n", clean(strings.TrimSuffix(line, "\n")))
		}
	}
	return statusError{nil, exitCheckFailed}
}

func (a *app) completeHosts(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(ctx context.Context) []string {
		found, _ := a.resources(ctx)
		var names []string
		for _, r := range found {
			if a.isHost(r) {
				names = append(names, clean(r.ID.Name())+"\t"+clean(r.Properties.Endpoint))
			}
		}
		return names
	})
}
