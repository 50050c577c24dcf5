package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) principalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "principal",
		Short: "Say who may sign in",
		Long: `A principal is who roles are assigned to. A service principal of the server's own
issuer signs in with a client id and a secret; users, groups and workloads of an
OpenID Connect provider sign in there, and are made here only so that they have
a name. A principal without a role may do nothing.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.principalCreate(), a.principalList(), a.principalShow(), a.principalUpdate(), a.principalResetSecret(), a.principalDelete())
	return cmd
}

func principalRows(list []arm.PrincipalView) rows {
	r := rows{head: []string{"Name", "Kind", "Id", "ClientId", "Provider", "Subject"}}
	for _, p := range list {
		name := p.Name
		if p.Disabled {
			name += " (disabled)"
		}
		r.add(name, string(p.Kind), p.ID, p.AppID, p.Provider, p.Subject)
	}
	return r
}

func (a *app) printPrincipal(p arm.PrincipalView) error {
	if p.Secret != "" {
		a.notef("patchbay: warning: the secret is shown this once, and kept nowhere; keep it where only who needs it can read it")
	}
	return a.print(p, func() rows {
		r := principalRows([]arm.PrincipalView{p})
		if p.Secret != "" {
			r.head = append(r.head, "Secret")
			r.lines[0] = append(r.lines[0], p.Secret)
		}
		return r
	})
}

// expiry is a time from now; 0 is never.
func (a *app) expiry(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return a.Now().Add(d).UTC().Truncate(time.Second)
}

func (a *app) principalCreate() *cobra.Command {
	var tenant, provider, subject, group string
	var expires time.Duration
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a principal",
		Long: `Makes a service principal with a secret, which is shown once. With --provider it
makes a principal of a provider instead: the one that has --subject there, or
the group of the name --group.`,
		Example: `  patchbay principal create deployer
  patchbay principal create deployer --expires 2160h
  patchbay principal create ann --provider corp --subject 00u1a2b3
  patchbay principal create --provider corp --group platform`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := arm.PrincipalRequest{Name: first(args...), Provider: provider, Subject: subject, Expires: a.expiry(expires)}
			switch {
			case provider == "" && (subject != "" || group != ""):
				return usagef(cmd, "--subject and --group need --provider")
			case provider != "" && (subject == "") == (group == ""):
				return usagef(cmd, "--provider needs --subject or --group")
			case provider == "" && r.Name == "":
				return usagef(cmd, "a service principal needs a name")
			case provider != "" && expires != 0:
				return usagef(cmd, "a provider's principal has no secret here that could expire")
			case expires < 0:
				return usagef(cmd, "--expires is not negative")
			}
			if group != "" {
				r.Subject, r.Kind = group, patchbay.GroupPrincipal
			}
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			p, err := c.CreatePrincipal(cmd.Context(), tenant, r)
			if err != nil {
				return during(err, "create the principal %s", first(r.Name, r.Subject))
			}
			return a.printPrincipal(p)
		},
	}
	f := cmd.Flags()
	f.StringVar(&tenant, "tenant", "", "its tenant, by id or name (default: the caller's, or the only one)")
	f.DurationVar(&expires, "expires", 0, "how long its secret is good (default: for ever)")
	f.StringVar(&provider, "provider", "", "the OpenID Connect provider that it signs in at")
	f.StringVar(&subject, "subject", "", "its subject there")
	f.StringVar(&group, "group", "", "the group's name there")
	return cmd
}

func (a *app) principalList() *cobra.Command {
	var tenant string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List principals",
		Long:    "Lists the principals of a tenant. Secrets are not kept; their first three characters tell one from another.",
		Example: "  patchbay principal list -o table",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			list, err := c.Principals(cmd.Context(), tenant)
			if err != nil {
				return err
			}
			return a.print(list, func() rows { return principalRows(list) })
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the tenant, by id or name (default: the caller's, or all)")
	return cmd
}

// onPrincipal declares a command about one principal.
func (a *app) onPrincipal(cmd *cobra.Command, run func(ctx context.Context, c *client.Client, id string) error) *cobra.Command {
	cmd.Args = cobra.ExactArgs(1)
	cmd.ValidArgsFunction = a.completePrincipals
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.start(cmd)
		if err != nil {
			return err
		}
		id, err := a.principalNamed(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return run(cmd.Context(), c, id)
	}
	return cmd
}

func (a *app) completePrincipals(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, func(ctx context.Context) []string {
		var names []string
		for _, p := range a.principalsIfAllowed(ctx) {
			names = append(names, clean(p.Name))
		}
		return names
	})
}

func (a *app) principalShow() *cobra.Command {
	return a.onPrincipal(&cobra.Command{
		Use:     "show NAME",
		Short:   "Show a principal",
		Long:    "Shows a principal, by its name, object id or client id.",
		Example: "  patchbay principal show deployer",
	}, func(ctx context.Context, c *client.Client, id string) error {
		p, err := c.Principal(ctx, id)
		if err != nil {
			return err
		}
		return a.printPrincipal(p)
	})
}

func (a *app) principalUpdate() *cobra.Command {
	var name string
	var disable, enable bool
	cmd := a.onPrincipal(&cobra.Command{
		Use:   "update NAME",
		Short: "Rename, disable or enable a principal",
		Long: `Renames a principal, or disables it: then it can't sign in, and its tokens end at
once. They stay ended when it is enabled again.`,
		Example: `  patchbay principal update deployer --disable
  patchbay principal update deployer --name ci-deployer`,
	}, func(ctx context.Context, c *client.Client, id string) error {
		r := arm.PrincipalRequest{Name: name}
		if disable || enable {
			r.Disabled = &disable
		}
		p, err := c.UpdatePrincipal(ctx, id, r)
		if err != nil {
			return err
		}
		return a.printPrincipal(p)
	})
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "its new name")
	f.BoolVar(&disable, "disable", false, "it can't sign in any more")
	f.BoolVar(&enable, "enable", false, "it can again")
	cmd.MarkFlagsMutuallyExclusive("disable", "enable")
	cmd.MarkFlagsOneRequired("name", "disable", "enable")
	return cmd
}

func (a *app) principalResetSecret() *cobra.Command {
	var keep bool
	var expires time.Duration
	cmd := a.onPrincipal(&cobra.Command{
		Use:   "reset-secret NAME",
		Short: "Give a service principal a new secret",
		Long: `Gives a service principal a new secret, which is shown once. The old ones end at
once, and with them every token that was issued for them. With --append they go
on until they expire: so that one replaces the other without a gap.`,
		Example: `  patchbay principal reset-secret deployer
  patchbay principal reset-secret deployer --append --expires 2160h`,
	}, func(ctx context.Context, c *client.Client, id string) error {
		if expires < 0 {
			return patchbay.Errorf(patchbay.InvalidArgument, "--expires is not negative")
		}
		p, err := c.ResetSecret(ctx, id, arm.PrincipalRequest{Append: &keep, Expires: a.expiry(expires)})
		if err != nil {
			return err
		}
		return a.printPrincipal(p)
	})
	cmd.Flags().BoolVar(&keep, "append", false, "keep the older secrets until they expire")
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long the new secret is good (default: for ever)")
	return cmd
}

func (a *app) principalDelete() *cobra.Command {
	return a.onPrincipal(&cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a principal, with its roles",
		Long:    "Deletes a principal and its role assignments. Its tokens end at once.",
		Example: "  patchbay principal delete deployer",
	}, func(ctx context.Context, c *client.Client, id string) error { return c.DeletePrincipal(ctx, id) })
}

// tenantNamed is the id of the tenant that is meant; "" is the only one.
func tenantNamed(ctx context.Context, c *client.Client, name string) (string, error) {
	list, err := c.Tenants(ctx)
	if err != nil {
		return "", err
	}
	var found, names []string
	for _, t := range list {
		names = append(names, first(t.DisplayName, t.ID))
		if name == "" || strings.EqualFold(t.ID, name) || strings.EqualFold(t.DisplayName, name) {
			found = append(found, t.ID)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case name == "" || len(found) > 1:
		return "", patchbay.Errorf(patchbay.InvalidArgument, "%s: which tenant is meant?", fmt.Sprintf("there are %s", strings.Join(names, ", "))).
			WithFix("name one with --tenant, by its id")
	}
	return "", patchbay.Errorf(patchbay.ResourceNotFound, "there is no tenant %q%s", name, didYouMean(name, names))
}
