package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) resourceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resource",
		Short: "Register what there is to connect",
		Long: `The inventory says what each resource is, where it is and how to administer it.
A source is an application's host of settings; a target is a service that
applications use: one that Patchbay administers, or one where it only knows the
way and the login. patchbay driver list shows what there can be.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	all := a.everything()
	cmd.AddCommand(a.resourceAdd(), a.listOf(all), a.showOf(all), a.rotateAdmin(all), a.removeOf(all))
	return cmd
}

func (a *app) printResource(v client.ResourceView) error {
	flat, err := flatten(v.Raw)
	if err != nil {
		return err
	}
	return a.print(flat, func() rows { return resourceRows([]client.ResourceView{v}) })
}

func resourceRows(found []client.ResourceView) rows {
	r := rows{head: []string{"Name", "ResourceGroup", "Type", "Driver", "Endpoint", "State"}}
	for _, v := range found {
		r.add(nameIn(v.ID), v.ID.ResourceGroup(), v.ID.Type(), v.Properties.Driver, v.Properties.Endpoint, string(v.Properties.State))
	}
	return r
}

// shelf is a part of the inventory that has commands of its own.
type shelf struct {
	word    string // what one of it is
	of      string // how help says that of the list
	example string
	fits    func(client.ResourceView) bool // nil: everything
	held    string                         // what can't be removed
	fix     string                         // lookup's
}

func (a *app) everything() shelf {
	return shelf{word: "resource", of: "the inventory", example: "orders", held: "One that a connection has can't be removed."}
}

func (a *app) hosts() shelf {
	return shelf{
		word: "host", of: "the hosts", example: "db1", fits: a.isHost, held: "One that a source is on can't be removed.",
		fix: "patchbay host list   (and patchbay host add, to register one)",
	}
}

func (a *app) guards() shelf {
	return shelf{
		word: "resource", of: "the guards", example: "db1-nftables", held: "One that a target is behind can't be removed.",
		fits: func(r client.ResourceView) bool { return a.isFor(r.Properties.Driver, forGuards) },
		fix:  "patchbay resource list",
	}
}

func (a *app) listOf(s shelf) *cobra.Command {
	var group, driver string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List " + s.of,
		Long:    "Lists what is registered.",
		Example: "  patchbay " + s.word + " list -o table\n  patchbay " + s.word + " list -g default",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.start(cmd); err != nil {
				return err
			}
			every, err := a.resources(cmd.Context())
			if err != nil {
				return err
			}
			found := []client.ResourceView{}
			flat := []map[string]any{}
			for _, v := range every {
				if group != "" && !strings.EqualFold(v.ID.ResourceGroup(), group) || driver != "" && v.Properties.Driver != driver ||
					a.subscription != "" && !strings.EqualFold(v.ID.Subscription(), a.subscription) || s.fits != nil && !s.fits(v) {
					continue
				}
				found = append(found, v)
				m, err := flatten(v.Raw)
				if err != nil {
					return err
				}
				flat = append(flat, m)
			}
			return a.print(flat, func() rows { return resourceRows(found) })
		},
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "only of this resource group")
	cmd.Flags().StringVar(&driver, "driver", "", "only of this driver")
	must(cmd.RegisterFlagCompletionFunc("driver", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return driverNames(drivers(a.known())), cobra.ShellCompDirectiveNoFileComp
	}))
	return cmd
}

// oneOf finds one by name or id.
func (a *app) oneOf(ctx context.Context, s shelf, name, group string) (patchbay.ID, error) {
	if strings.HasPrefix(name, "/") {
		return patchbay.ParseID(name) // the server says what it is
	}
	r, err := a.find(ctx, lookup{what: s.word, name: name, group: group, flag: "the whole id", fix: s.fix, fits: s.fits})
	return r.ID, err
}

func (a *app) completeOf(s shelf) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.offer(cmd, func(ctx context.Context) []string {
			found, _ := a.resources(ctx)
			var names []string
			for _, v := range found {
				if s.fits == nil || s.fits(v) {
					names = append(names, clean(nameIn(v.ID))+"\t"+clean(v.ID.Type()))
				}
			}
			return names
		})
	}
}

// withOne declares a command about one of a shelf.
func (a *app) withOne(s shelf, use, short, long string, run func(cmd *cobra.Command, c *client.Client, id patchbay.ID) error) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use: use + " NAME|ID", Short: short, Long: long,
		Example:           "  patchbay " + s.word + " " + use + " " + s.example,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeOf(s),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			id, err := a.oneOf(cmd.Context(), s, args[0], group)
			if err != nil {
				return err
			}
			return run(cmd, c, id)
		},
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "resource group of the "+s.word)
	return cmd
}

func (a *app) showOf(s shelf) *cobra.Command {
	return a.withOne(s, "show", "Show a "+s.word, "Shows a "+s.word+", without its admin credential.", func(cmd *cobra.Command, c *client.Client, id patchbay.ID) error {
		v, err := c.Resource(cmd.Context(), id)
		if err != nil {
			return err
		}
		return a.printResource(v)
	})
}

func (a *app) removeOf(s shelf) *cobra.Command {
	var yes bool
	cmd := a.withOne(s, "remove", "Forget a "+s.word, "Forgets a "+s.word+"; the thing itself is not touched. "+s.held, func(cmd *cobra.Command, c *client.Client, id patchbay.ID) error {
		if err := a.confirm(cmd, yes, "Forget the "+s.word+" "+nameIn(id)+"?"); err != nil {
			return err
		}
		existed, err := c.DeleteResource(cmd.Context(), id)
		if err == nil && !existed {
			a.notef("patchbay: there is no %s %s", s.word, clean(string(id)))
		}
		return during(err, "remove %s", nameIn(id))
	})
	cmd.Example += " --yes"
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) rotateAdmin(s shelf) *cobra.Command {
	var yes, noWait bool
	cmd := a.withOne(s, "rotate-admin", "Replace the credential of a target's administrator",
		`Replaces the password that Patchbay administers a target with by one that Patchbay
makes, and that nobody else knows: it is shown to nobody. Old and new are on disk before
the target is told, so that Patchbay knows the one that signs in whatever happens. What
else signs in as this administrator is refused from then on: people, scripts, backups. To
know the password again, set it by hand, and register the target again with it.
patchbay driver show says which drivers can.`,
		func(cmd *cobra.Command, c *client.Client, id patchbay.ID) error {
			question := "Replace the administrator's credential of " + nameIn(id) + "? Patchbay alone will know the new one, and whatever else signs in as this administrator is refused from then on."
			if err := a.confirm(cmd, yes, question); err != nil {
				return err
			}
			op, err := c.RotateAdmin(cmd.Context(), id)
			if err != nil {
				return during(err, "replace the administrator's credential of %s", nameIn(id))
			}
			if noWait {
				if op.Message != "" {
					a.notef("patchbay: warning: %s", clean(op.Message))
				}
				a.notef("patchbay: it goes on in the background: patchbay operation show %s", clean(op.ID))
				return nil
			}
			done, err := a.follow(cmd.Context(), op.ID)
			if err != nil {
				return err
			}
			if done.Message != "" {
				a.notef("patchbay: warning: %s", clean(done.Message))
			}
			a.notePark(done)
			return a.print(done, func() rows { return operationRows([]patchbay.Operation{done}) })
		})
	cmd.Example += " --yes"
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the end")
	return cmd
}
