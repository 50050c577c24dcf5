package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) roleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "role",
		Short: "Say who may do what",
		Long: `A role is a set of actions. Assigned to a principal at a scope, it lets that
principal do them there and below: at a connection, a resource, a resource
group, a subscription, or the whole tenant ("/"). Whoever has no role may do
nothing, and sees nothing.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.roleAssign(), a.roleUnassign(), a.roleList(), a.roleDefinitionCommand())
	return cmd
}

// place is how a command line names a scope.
type place struct{ scope, group string }

func (a *app) placeFlags(cmd *cobra.Command, p *place) {
	f := cmd.Flags()
	f.StringVar(&p.scope, "scope", "", `where: a resource's name, SOURCE/CONNECTION, an id, or / for the tenant (default: the subscription)`)
	f.StringVarP(&p.group, "resource-group", "g", "", "the resource group as a whole; with --scope, where its resource is")
	must(cmd.RegisterFlagCompletionFunc("scope", a.completeOf(a.everything())))
}

// at is the scope that is meant.
func (a *app) at(ctx context.Context, p place) (patchbay.ID, error) {
	switch {
	case p.scope == "/":
		return patchbay.RootScope, nil
	case strings.HasPrefix(p.scope, "/"):
		return patchbay.ParseID(p.scope)
	case strings.Contains(p.scope, "/"):
		return a.resolve(ctx, connectionRef{group: p.group}, p.scope)
	case p.scope != "":
		r, err := a.find(ctx, lookup{what: "resource", name: p.scope, group: p.group, flag: "--scope"})
		return r.ID, err
	case p.group != "":
		return a.scope(ctx, p.group)
	}
	return a.onlySubscription(ctx)
}

func (a *app) onlySubscription(ctx context.Context) (patchbay.ID, error) {
	sub := first(a.subscription, a.Getenv("PATCHBAY_SUBSCRIPTION"))
	if sub == "" {
		c, err := a.client()
		if err != nil {
			return "", err
		}
		subs, err := c.Subscriptions(ctx)
		if err != nil {
			return "", err
		}
		names := make([]string, len(subs))
		for i, s := range subs {
			names[i] = s.ID
		}
		if sub, err = theOnly("subscription", "--subscription", names); err != nil {
			return "", err
		}
	}
	return patchbay.ParseID("/subscriptions/" + sub)
}

// roleNamed is the role that is meant, by its name or GUID.
func (a *app) roleNamed(ctx context.Context, scope patchbay.ID, name string) (client.RoleDefinitionView, error) {
	c, err := a.client()
	if err != nil {
		return client.RoleDefinitionView{}, err
	}
	list, err := c.RoleDefinitions(ctx, scope)
	if err != nil {
		return client.RoleDefinitionView{}, err
	}
	var names []string
	for _, d := range list {
		if strings.EqualFold(d.Properties.RoleName, name) || strings.EqualFold(d.Name, name) {
			return d, nil
		}
		names = append(names, d.Properties.RoleName)
	}
	return client.RoleDefinitionView{}, patchbay.Errorf(patchbay.RoleNotFound, "there is no role %q that can be assigned at %s%s", name, scope, didYouMean(name, names)).
		WithFix("patchbay role definition list -o table")
}

// assignmentView is an assignment as it is printed: with the names of what
// has them.
type assignmentView struct {
	ID            string                 `json:"id"`
	Role          string                 `json:"role"`
	Principal     string                 `json:"principal"`
	PrincipalID   string                 `json:"principalId"`
	PrincipalKind patchbay.PrincipalKind `json:"principalType"`
	Scope         patchbay.ID            `json:"scope"`
	Description   string                 `json:"description,omitempty"`
}

// named gives assignments their names.
func (a *app) named(ctx context.Context, scope patchbay.ID, list []client.RoleAssignmentView) ([]assignmentView, error) {
	views := []assignmentView{}
	if len(list) == 0 {
		return views, nil
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	roles, err := c.RoleDefinitions(ctx, scope)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, d := range roles {
		names[strings.ToLower(d.Name)] = d.Properties.RoleName
	}
	for _, p := range a.principalsIfAllowed(ctx) {
		names[strings.ToLower(p.ID)] = p.Name
	}
	for _, v := range list {
		views = append(views, assignmentView{
			ID: v.ID, Role: first(names[strings.ToLower(v.RoleID())], v.RoleID()),
			Principal:   first(names[strings.ToLower(v.Properties.Principal)], v.Properties.Principal),
			PrincipalID: v.Properties.Principal, PrincipalKind: v.Properties.PrincipalKind,
			Scope: v.Properties.Scope, Description: v.Properties.Description,
		})
	}
	return views, nil
}

func assignmentRows(list []assignmentView) rows {
	r := rows{head: []string{"Role", "Principal", "Type", "Scope"}}
	for _, v := range list {
		r.add(v.Role, v.Principal, string(v.PrincipalKind), shortScope(v.Scope))
	}
	return r
}

// shortScope is a scope as people write it.
func shortScope(id patchbay.ID) string {
	if id == patchbay.RootScope || id.Type() == "" {
		return string(id)
	}
	if _, _, ok := id.LinkerSource(); ok {
		return shortName(id)
	}
	return id.Name()
}

// grant is a role of somebody's somewhere, in the server's words.
type grant struct {
	client    *client.Client
	scope     patchbay.ID
	role      client.RoleDefinitionView
	principal string // object id
}

// grant finds what the user named.
func (a *app) grant(cmd *cobra.Command, p place, role, principal string) (g grant, err error) {
	ctx := cmd.Context()
	if g.client, err = a.start(cmd); err != nil {
		return g, err
	}
	if g.scope, err = a.at(ctx, p); err != nil {
		return g, err
	}
	if g.role, err = a.roleNamed(ctx, g.scope, role); err != nil {
		return g, err
	}
	g.principal, err = a.principalNamed(ctx, principal)
	return g, err
}

func (a *app) roleAssign() *cobra.Command {
	var p place
	var to, description string
	cmd := &cobra.Command{
		Use:   "assign ROLE",
		Short: "Give a role to a principal",
		Long: `Gives a role to a principal, at a scope and below it. A role that it has already
stays as it is.`,
		Example: `  patchbay role assign Reader --to deployer --scope web
  patchbay role assign "Service Connector Contributor" --to deployer --scope web
  patchbay role assign Owner --to ann@example.com --scope /`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			g, err := a.grant(cmd, p, args[0], to)
			if err != nil {
				return err
			}
			id, err := uuid.NewRandomFromReader(a.Random)
			if err != nil {
				return err
			}
			v, err := g.client.PutRoleAssignment(ctx, patchbay.RoleAssignment{
				ID: id.String(), Scope: g.scope, Role: g.role.Name, Principal: g.principal, Description: description,
			})
			if patchbay.CodeOf(err) == patchbay.RoleAssignmentExists {
				a.notef("patchbay: it has the role already")
				return nil
			}
			if err != nil {
				return during(err, "assign %s to %s", g.role.Properties.RoleName, to)
			}
			views, err := a.named(ctx, g.scope, []client.RoleAssignmentView{v})
			if err != nil {
				return err
			}
			return a.print(views[0], func() rows { return assignmentRows(views) })
		},
	}
	a.placeFlags(cmd, &p)
	cmd.Flags().StringVar(&to, "to", "", "the principal: its name, object id or client id")
	cmd.Flags().StringVar(&description, "description", "", "why, for people")
	must(cmd.MarkFlagRequired("to"))
	return cmd
}

func (a *app) roleUnassign() *cobra.Command {
	var p place
	var from string
	cmd := &cobra.Command{
		Use:   "unassign ROLE",
		Short: "Take a role away from a principal",
		Long:  "Takes a role away that was given at exactly this scope. What a principal has from above, or by a group, stays.",
		Example: `  patchbay role unassign Reader --from deployer --scope web
  patchbay role unassign Owner --from ann@example.com --scope /`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			g, err := a.grant(cmd, p, args[0], from)
			if err != nil {
				return err
			}
			list, err := g.client.RoleAssignments(ctx, g.scope, true)
			if err != nil {
				return err
			}
			var above []string
			for _, v := range list {
				if !strings.EqualFold(v.RoleID(), g.role.Name) || !strings.EqualFold(v.Properties.Principal, g.principal) {
					continue
				}
				if v.Properties.Scope.Equal(g.scope) {
					return during(g.client.DeleteRoleAssignment(ctx, v.ID), "take %s from %s", g.role.Properties.RoleName, from)
				}
				above = append(above, string(v.Properties.Scope))
			}
			e := patchbay.Errorf(patchbay.ResourceNotFound, "%s has not got the role %s at %s", from, g.role.Properties.RoleName, g.scope)
			if len(above) > 0 {
				e.Message += "; it has it at " + strings.Join(above, ", ")
				e.Fix = "name that scope: --scope " + above[0]
			}
			return e
		},
	}
	a.placeFlags(cmd, &p)
	cmd.Flags().StringVar(&from, "from", "", "the principal: its name, object id or client id")
	must(cmd.MarkFlagRequired("from"))
	return cmd
}

func (a *app) roleList() *cobra.Command {
	var p place
	var to string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List who has which role",
		Long: `Lists role assignments: all that you may read, or with --scope those that hold
there, given at that scope or above it.`,
		Example: `  patchbay role list -o table
  patchbay role list --scope web -o table
  patchbay role list --to deployer`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			scope, atScope := patchbay.RootScope, p.scope != "" || p.group != ""
			if atScope {
				if scope, err = a.at(ctx, p); err != nil {
					return err
				}
			}
			list, err := c.RoleAssignments(ctx, scope, atScope)
			if err != nil {
				return err
			}
			if to != "" {
				who, err := a.principalNamed(ctx, to)
				if err != nil {
					return err
				}
				list = slices.DeleteFunc(list, func(v client.RoleAssignmentView) bool { return !strings.EqualFold(v.Properties.Principal, who) })
			}
			views, err := a.named(ctx, scope, list)
			if err != nil {
				return err
			}
			return a.print(views, func() rows { return assignmentRows(views) })
		},
	}
	a.placeFlags(cmd, &p)
	cmd.Flags().Lookup("scope").Usage = "those that hold here: a resource's name, SOURCE/CONNECTION, an id, or / for the tenant"
	cmd.Flags().StringVar(&to, "to", "", "only of this principal: its name, object id or client id")
	return cmd
}

func (a *app) roleDefinitionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "definition",
		Short: "See roles, and make your own",
		Long:  "A role definition is a named set of actions, in the words of Azure Resource Manager.",
		Args:  noCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.definitionList(), a.definitionCreate(), a.definitionDelete())
	return cmd
}

// definitionView is a role as it is printed.
type definitionView struct {
	ID          string        `json:"id"`
	Name        string        `json:"name"`
	RoleName    string        `json:"roleName"`
	Type        string        `json:"type"`
	Description string        `json:"description"`
	Actions     []string      `json:"actions"`
	NotActions  []string      `json:"notActions"`
	Scopes      []patchbay.ID `json:"assignableScopes"`
}

func viewOf(d client.RoleDefinitionView) definitionView {
	v := definitionView{
		ID: d.ID, Name: d.Name, RoleName: d.Properties.RoleName, Type: d.Properties.Type, Description: d.Properties.Description,
		Actions: []string{}, NotActions: []string{}, Scopes: d.Properties.Scopes,
	}
	for _, p := range d.Properties.Permissions {
		v.Actions = append(v.Actions, p.Actions...)
		v.NotActions = append(v.NotActions, p.NotActions...)
	}
	return v
}

func definitionRows(list []definitionView) rows {
	r := rows{head: []string{"Role", "Type", "Description"}}
	for _, v := range list {
		r.add(v.RoleName, v.Type, v.Description)
	}
	return r
}

func (a *app) definitionList() *cobra.Command {
	var p place
	var custom bool
	cmd := &cobra.Command{
		Use:   "list [ROLE]",
		Short: "List the roles that can be assigned, or one of them",
		Long:  "Lists the roles that can be assigned at a scope, with their actions: all, or the one that is named.",
		Example: `  patchbay role definition list -o table
  patchbay role definition list "Service Connector Contributor"`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			scope := patchbay.RootScope
			if p.scope != "" || p.group != "" {
				if scope, err = a.at(ctx, p); err != nil {
					return err
				}
			}
			list, err := c.RoleDefinitions(ctx, scope)
			if err != nil {
				return err
			}
			views := []definitionView{}
			for _, d := range list {
				name := argument(args)
				if (name == "" || strings.EqualFold(name, d.Properties.RoleName) || strings.EqualFold(name, d.Name)) && (!custom || d.Properties.Type == "CustomRole") {
					views = append(views, viewOf(d))
				}
			}
			return a.print(views, func() rows { return definitionRows(views) })
		},
	}
	a.placeFlags(cmd, &p)
	cmd.Flags().Lookup("scope").Usage = "those that can be assigned here: a resource's name, SOURCE/CONNECTION, or an id"
	cmd.Flags().BoolVar(&custom, "custom", false, "only your own")
	return cmd
}

func (a *app) definitionCreate() *cobra.Command {
	var actions, notActions, scopes []string
	var description string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a role of your own, or change it",
		Long: `Makes a role of the actions that are named, or replaces the one of that name. In
an action, * is any part: Microsoft.ServiceLinker/*/read.`,
		Example: `  patchbay role definition create Validator \
    --action 'Microsoft.ServiceLinker/linkers/read' --action 'Microsoft.ServiceLinker/linkers/validateLinker/action'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			d := patchbay.RoleDefinition{Name: args[0], Description: description, Actions: actions, NotActions: notActions}
			if len(scopes) == 0 {
				scopes = []string{""}
			}
			for _, s := range scopes {
				scope, err := a.at(ctx, place{scope: s})
				if err != nil {
					return err
				}
				d.Scopes = append(d.Scopes, scope)
			}
			if old, err := a.roleNamed(ctx, d.Scopes[0], args[0]); err == nil {
				d.ID = old.Name
			} else if patchbay.CodeOf(err) != patchbay.RoleNotFound {
				return err
			} else if id, err := uuid.NewRandomFromReader(a.Random); err != nil {
				return err
			} else {
				d.ID = id.String()
			}
			v, err := c.PutRoleDefinition(ctx, d.Scopes[0], d)
			if err != nil {
				return during(err, "make the role %s", args[0])
			}
			view := viewOf(v)
			return a.print(view, func() rows { return definitionRows([]definitionView{view}) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&actions, "action", nil, "an action that it has; again for more")
	f.StringArrayVar(&notActions, "not-action", nil, "an action that is taken away again; again for more")
	f.StringArrayVar(&scopes, "scope", nil, "where it can be assigned: a resource's name, an id, or / (default: the subscription); again for more")
	f.StringVar(&description, "description", "", "what it is for")
	must(cmd.MarkFlagRequired("action"))
	return cmd
}

func (a *app) definitionDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "delete ROLE",
		Short:             "Delete a role of your own",
		Long:              "Deletes a role of your own that is assigned nowhere.",
		Example:           "  patchbay role definition delete Validator",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeRoles,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			d, err := a.roleNamed(ctx, patchbay.RootScope, args[0])
			if err != nil {
				return err
			}
			if err := a.confirm(cmd, yes, "Delete the role "+clean(d.Properties.RoleName)+"?"); err != nil {
				return err
			}
			scope := patchbay.RootScope
			if len(d.Properties.Scopes) > 0 {
				scope = d.Properties.Scopes[0]
			}
			return during(c.DeleteRoleDefinition(ctx, scope, d.Name), "delete the role %s", args[0])
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) completeRoles(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, func(ctx context.Context) []string {
		c, err := a.client()
		if err != nil {
			return nil
		}
		list, _ := c.RoleDefinitions(ctx, patchbay.RootScope)
		names := make([]string, len(list))
		for i, d := range list {
			names[i] = clean(d.Properties.RoleName) + "\t" + clean(d.Properties.Description)
		}
		return names
	})
}

// principalNamed is the object id of the principal that is meant. Who may not
// list principals can name one by its object id.
func (a *app) principalNamed(ctx context.Context, name string) (string, error) {
	c, err := a.client()
	if err != nil {
		return "", err
	}
	list, err := c.Principals(ctx, "")
	if err != nil {
		if uuid.Validate(name) == nil {
			return name, nil
		}
		return "", err
	}
	var found, names []string
	for _, p := range list {
		if strings.EqualFold(p.ID, name) || p.AppID != "" && strings.EqualFold(p.AppID, name) {
			return p.ID, nil
		}
		if strings.EqualFold(p.Name, name) {
			found = append(found, p.ID)
		}
		names = append(names, p.Name)
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", patchbay.Errorf(patchbay.InvalidArgument, "%d principals are named %q: %s", len(found), name, strings.Join(found, ", ")).
			WithFix("name one by its object id")
	case uuid.Validate(name) == nil:
		return name, nil // the server says what it is not
	}
	return "", patchbay.Errorf(patchbay.PrincipalNotFound, "there is no principal %q%s", name, didYouMean(name, names)).
		WithFix("patchbay principal list   (and patchbay principal create, to make one)")
}

// principalsIfAllowed are the principals, for their names; none when the
// caller may not list them.
func (a *app) principalsIfAllowed(ctx context.Context) []arm.PrincipalView {
	c, err := a.client()
	if err != nil {
		return nil
	}
	list, _ := c.Principals(ctx, "")
	return list
}
