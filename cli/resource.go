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
	cmd.AddCommand(a.resourceAdd(), a.resourceList(), a.resourceShow(), a.resourceRemove())
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
		r.add(v.ID.Name(), v.ID.ResourceGroup(), v.ID.Type(), v.Properties.Driver, v.Properties.Endpoint, string(v.Properties.State))
	}
	return r
}

func (a *app) resourceList() *cobra.Command {
	var group, driver string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the inventory",
		Long:    "Lists what is registered.",
		Example: "  patchbay resource list -o table\n  patchbay resource list -g default",
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
					a.subscription != "" && !strings.EqualFold(v.ID.Subscription(), a.subscription) {
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
		return driverNames(a.known()), cobra.ShellCompDirectiveNoFileComp
	}))
	return cmd
}

// anyResource finds a resource by name or id.
func (a *app) anyResource(ctx context.Context, name, group string) (patchbay.ID, error) {
	if strings.HasPrefix(name, "/") {
		return patchbay.ParseID(name)
	}
	r, err := a.find(ctx, lookup{what: "resource", name: name, group: group, flag: "the whole id"})
	return r.ID, err
}

func (a *app) completeResources(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, func(ctx context.Context) []string {
		found, _ := a.resources(ctx)
		names := make([]string, len(found))
		for i, v := range found {
			names[i] = clean(v.ID.Name()) + "\t" + clean(v.ID.Type())
		}
		return names
	})
}

func (a *app) resourceShow() *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use:               "show NAME|ID",
		Short:             "Show a resource",
		Long:              "Shows a resource, without its admin credential.",
		Example:           "  patchbay resource show orders",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeResources,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			id, err := a.anyResource(cmd.Context(), args[0], group)
			if err != nil {
				return err
			}
			v, err := c.Resource(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.printResource(v)
		},
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "resource group of the resource")
	return cmd
}

func (a *app) resourceRemove() *cobra.Command {
	var group string
	var yes bool
	cmd := &cobra.Command{
		Use:               "remove NAME|ID",
		Short:             "Forget a resource",
		Long:              "Forgets a resource; the thing itself is not touched. One that a connection has can't be removed.",
		Example:           "  patchbay resource remove orders --yes",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeResources,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			id, err := a.anyResource(cmd.Context(), args[0], group)
			if err != nil {
				return err
			}
			if err := a.confirm(cmd, yes, "Forget the resource "+id.Name()+"?"); err != nil {
				return err
			}
			existed, err := c.DeleteResource(cmd.Context(), id)
			if err == nil && !existed {
				a.notef("patchbay: there is no resource %s", clean(string(id)))
			}
			return during(err, "remove %s", id.Name())
		},
	}
	cmd.Flags().StringVarP(&group, "resource-group", "g", "", "resource group of the resource")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
