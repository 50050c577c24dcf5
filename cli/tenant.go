package cli

import (
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) tenantCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tenant",
		Short: "Make and list tenants",
		Long: `A tenant is a wall: principals, subscriptions and all that is in them belong to
one, and nothing of one shows in another. A server begins with one.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{
		Use: "list", Short: "List tenants", Long: "Lists the caller's tenant; the operator of the server sees all.",
		Example: "  patchbay tenant list -o table", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			tenants, err := c.Tenants(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(tenants, func() rows { return tenantRows(tenants) })
		},
	}
	var id string
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a tenant", Long: "Makes a tenant. Only the operator of the server can: with the admin token.",
		Example: "  patchbay tenant create contoso", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			if id, err = a.guid(cmd, id); err != nil {
				return err
			}
			t, err := c.PutTenant(cmd.Context(), patchbay.Tenant{ID: id, DisplayName: args[0]})
			if err != nil {
				return during(err, "create the tenant %s", args[0])
			}
			return a.print(t, func() rows { return tenantRows([]client.TenantView{t}) })
		},
	}
	create.Flags().StringVar(&id, "id", "", "its GUID (default: a new one)")
	cmd.AddCommand(create, list)
	return cmd
}

func tenantRows(list []client.TenantView) rows {
	r := rows{head: []string{"Name", "Id"}}
	for _, t := range list {
		r.add(t.DisplayName, t.ID)
	}
	return r
}

// guid is an id that was given, or a new one.
func (a *app) guid(cmd *cobra.Command, given string) (string, error) {
	if given == "" {
		id, err := uuid.NewRandomFromReader(a.Random)
		return id.String(), err
	}
	if uuid.Validate(given) != nil || len(given) != 36 {
		return "", usagef(cmd, "--id takes a GUID")
	}
	return given, nil
}

func (a *app) subscriptionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "subscription",
		Short: "Make and list subscriptions",
		Long:  "A subscription holds resource groups, and is where roles are usually assigned. It belongs to a tenant, and stays there.",
		Args:  noCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{
		Use: "list", Short: "List subscriptions", Long: "Lists the subscriptions that the caller may see something in.",
		Example: "  patchbay subscription list -o table", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			subs, err := c.Subscriptions(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(subs, func() rows {
				r := rows{head: []string{"Name", "Id", "Tenant"}}
				for _, s := range subs {
					r.add(s.DisplayName, s.ID, s.TenantID)
				}
				return r
			})
		},
	}
	var id, tenant string
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a subscription", Long: "Makes a subscription in a tenant.",
		Example: "  patchbay subscription create shop --tenant contoso", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			s := patchbay.Subscription{DisplayName: args[0]}
			if s.ID, err = a.guid(cmd, id); err != nil {
				return err
			}
			if s.TenantID, err = tenantNamed(ctx, c, tenant); err != nil {
				return err
			}
			if err := c.PutSubscription(ctx, s); err != nil {
				return during(err, "create the subscription %s", args[0])
			}
			return a.print(s, func() rows {
				return rows{head: []string{"Name", "Id", "Tenant"}, lines: [][]string{{s.DisplayName, s.ID, s.TenantID}}}
			})
		},
	}
	create.Flags().StringVar(&id, "id", "", "its GUID (default: a new one)")
	create.Flags().StringVar(&tenant, "tenant", "", "its tenant, by id or name (default: the only one)")
	cmd.AddCommand(create, list)
	return cmd
}
