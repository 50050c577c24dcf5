package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) connectionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connection",
		Short: "Make, check, change and remove connections",
		Long: `A connection links a source (an application) to a target (a service that it
uses). Wherever a connection is named, SOURCE/NAME, its full id, or its name
alone where that is unique, will do.

A local connection is for an application on one's own machine: --local in place
of a source, and local/NAME for its name. Nothing is written anywhere; list-configuration
computes its settings, and patchbay run --local starts a command with them.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.connectGroup(createVerb), a.connectGroup(updateVerb), a.connectGroup(previewVerb),
		a.connectionList(), a.connectionShow(), a.connectionConfigurations(), a.connectionExport(), a.connectionValidate(), a.connectionHistory(),
		a.connectionRotate(), a.connectionDelete(), a.connectionWait(),
		a.connectionSettings(), a.connectionTypes(),
	)
	return cmd
}

// start is what every command that talks to the server does first.
func (a *app) start(cmd *cobra.Command) (*client.Client, error) {
	if err := a.checkOutput(); err != nil {
		return nil, usageError{err, cmd.CommandPath()}
	}
	return a.client()
}

// one declares a command about one connection.
func (a *app) one(use, short, long, example string, run func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error) (*cobra.Command, *connectionRef) {
	ref := &connectionRef{}
	cmd := &cobra.Command{
		Use: use + " [SOURCE/NAME]", Short: short, Long: long, Example: example,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeConnections,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			return run(cmd, c, *ref, argument(args))
		},
	}
	a.homeFlags(cmd, ref)
	cmd.Flags().StringVar(&ref.connection, "connection", "", "name of the connection")
	cmd.Flags().StringVar(&ref.id, "id", "", "id of the connection")
	return cmd, ref
}

func argument(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func (a *app) connectionList() *cobra.Command {
	ref := &connectionRef{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List connections",
		Long:  "Lists the connections of a source, of every source in the inventory, or with --local those of one's own machine.",
		Example: `  patchbay connection list -o table
  patchbay connection list --source web
  patchbay connection list --local`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			var found []client.ConnectionView
			if !ref.named() {
				found, err = a.connections(ctx)
			} else {
				var source patchbay.ID
				if source, err = a.home(ctx, *ref); err == nil {
					found, err = c.Connections(ctx, source)
				}
			}
			if err != nil {
				return err
			}
			flat := make([]map[string]any, len(found))
			for i, v := range found {
				if flat[i], err = flatten(v.Raw); err != nil {
					return err
				}
			}
			return a.print(flat, func() rows { return connectionRows(found) })
		},
	}
	a.homeFlags(cmd, ref)
	return cmd
}

func (a *app) printConnection(v client.ConnectionView) error {
	flat, err := flatten(v.Raw)
	if err != nil {
		return err
	}
	return a.print(flat, func() rows { return connectionRows([]client.ConnectionView{v}) })
}

func connectionRows(found []client.ConnectionView) rows {
	r := rows{head: []string{"Name", "Source", "Target", "ClientType", "AuthType", "Access", "State", "Health"}}
	for _, v := range found {
		p := v.Properties
		auth, access, health := "", "", ""
		if p.Auth != nil {
			auth = string(p.Auth.Type)
		}
		if p.Patchbay != nil {
			access, health = string(p.Patchbay.Access), healthText(p.Patchbay.Health, time.Now())
		}
		target := p.Target.Endpoint
		if p.Target.ID != "" {
			target = targetShort(p.Target.ID)
		}
		r.add(v.Name, nameIn(v.Source()), target, cmp.Or(string(p.Client), "none"), auth, access, string(p.State), health)
	}
	return r
}

// flatten gives a resource the shape that az prints: properties beside id and
// name, and the resource group by itself.
func flatten(raw json.RawMessage) (map[string]any, error) {
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the server's answer is not what this version expects: %w", err)
	}
	properties, _ := doc["properties"].(map[string]any)
	delete(doc, "properties")
	for name, value := range properties {
		// az spells the one name in which the wire has two capitals in its own way.
		if name == "vNetSolution" {
			name = "vnetSolution"
		}
		if _, taken := doc[name]; !taken {
			doc[name] = value
		}
	}
	if id, ok := doc["id"].(string); ok {
		if group := patchbay.ID(id).ResourceGroup(); group != "" {
			doc["resourceGroup"] = group
		}
	}
	return doc, nil
}

func (a *app) connectionShow() *cobra.Command {
	cmd, _ := a.one("show", "Show a connection",
		"Shows a connection. It has no secret in it: list-configuration shows the settings with their values.",
		"  patchbay connection show web/orders",
		func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error {
			id, err := a.resolve(cmd.Context(), ref, arg)
			if err != nil {
				return err
			}
			v, err := c.Connection(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.printConnection(v)
		})
	return cmd
}

func (a *app) connectionConfigurations() *cobra.Command {
	cmd, _ := a.one("list-configuration", "Show the settings of a connection, with their values",
		"Shows the settings that a connection has put on its source, with their values: also the secret ones. A local\nconnection's are computed.",
		"  patchbay connection list-configuration web/orders -o table\n  patchbay connection list-configuration local/orders",
		func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error {
			id, err := a.resolve(cmd.Context(), ref, arg)
			if err != nil {
				return err
			}
			settings, err := c.Configurations(cmd.Context(), id)
			if err != nil {
				return err
			}
			if settings == nil {
				settings = []client.SettingView{}
			}
			return a.print(map[string]any{"configurations": settings}, func() rows {
				r := rows{head: []string{"Name", "Value", "Secret"}}
				for _, s := range settings {
					r.add(s.Name, s.Value, yes(s.Secret))
				}
				return r
			})
		})
	cmd.Aliases = []string{"generate-configuration"} // az's word for a local one
	return cmd
}

func (a *app) connectionValidate() *cobra.Command {
	r := round{app: a}
	var all bool
	var target, from string
	cmd, _ := a.one("validate", "Check that a connection works, or all of them",
		`Checks a connection in four groups: both ends exist, the network between them,
the settings on the source, and signing in with what the source holds. Nothing
is changed, unless --fix mends what is safe to mend. The exit status is 4 when a
check fails.

Network and sign-in are tried from where the application runs; with --from
control-plane from the server.

With --all, it checks those of every source, or of --source, or those to
--target, or one's own local ones with --local; --parallel of them at once. The
table has what is broken, where that is, and what mends it; json and yaml have
every report. One that can't be validated now (another operation of it runs, or
it is not one's own to validate) is in the list, and stops no other.`,
		`  patchbay connection validate web/orders -o table
  patchbay connection validate web/orders --fix
  patchbay connection validate --all -o table
  patchbay connection validate --all --target orders --from control-plane -o table`,
		func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error {
			switch from {
			case "source":
			case string(patchbay.FromControlPlane):
				r.asked.From = patchbay.FromControlPlane
			default:
				return usagef(cmd, "--from is source or %s, and not %q", patchbay.FromControlPlane, from)
			}
			switch {
			case r.asked.Fix && r.asked.From != patchbay.FromSource:
				return usagef(cmd, "what --fix mends is tried from where the application runs: leave --from out")
			case !all && (target != "" || cmd.Flags().Changed("parallel") || cmd.Flags().Changed("show")):
				return usagef(cmd, "--target, --parallel and --show are for --all")
			case all:
				return r.validateAll(cmd, c, ref, arg, target)
			}
			id, err := a.resolve(cmd.Context(), ref, arg)
			if err != nil {
				return err
			}
			begun, err := c.ValidateConnection(cmd.Context(), id, r.asked)
			if err != nil {
				return during(err, "validate %s", shortName(id))
			}
			op, err := a.follow(cmd.Context(), begun)
			if err != nil {
				return err
			}
			return a.printReport(id, op.Result)
		})
	f := cmd.Flags()
	f.BoolVar(&r.asked.Fix, "fix", false, "mend what is safe to mend, then check")
	f.StringVar(&from, "from", "source", "from where network and sign-in are tried: source or control-plane")
	f.BoolVar(&all, "all", false, "check all connections")
	f.StringVar(&target, "target", "", "with --all: only connections to this target, by its name (orders, or orders/shop), id or endpoint")
	f.IntVar(&r.parallel, "parallel", 8, "with --all: so many at once, from 1 to 64")
	f.StringVar(&r.show, "show", isBroken, "with --all: what the table has: broken, unsure (and what was not checked) or all")
	must(cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"source", string(patchbay.FromControlPlane)}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("show", cobra.FixedCompletions(shown, cobra.ShellCompDirectiveNoFileComp)))
	a.completeTargets(cmd, nil)
	return cmd
}

// checkView is a check as az prints it, and more.
type checkView struct {
	Name         string               `json:"name"`
	Group        patchbay.CheckGroup  `json:"group"`
	Result       patchbay.CheckResult `json:"result"`
	Description  string               `json:"description,omitempty"`
	ErrorCode    patchbay.Code        `json:"errorCode,omitempty"`
	ErrorMessage string               `json:"errorMessage,omitempty"`
	Fix          string               `json:"fix,omitempty"`
}

func (a *app) printReport(id patchbay.ID, report *patchbay.Report) error {
	if report == nil {
		return patchbay.Errorf(patchbay.Internal, "the validation ended without a report")
	}
	views := []checkView{}
	failed := 0
	for _, c := range report.Checks {
		v := checkView{Name: c.Name, Group: c.Group, Result: c.Result, Description: c.Message, Fix: c.Fix}
		if c.Result == patchbay.Failure {
			failed++
			v.ErrorCode, v.ErrorMessage = c.Code, c.Message
		}
		views = append(views, v)
	}
	err := a.print(views, func() rows {
		r := rows{head: []string{"Group", "Check", "Result", "Finding"}}
		for _, c := range report.Checks {
			finding := c.Message
			if c.Code != "" {
				finding = string(c.Code) + ": " + finding
			}
			r.add(string(c.Group), c.Name, string(c.Result), finding)
		}
		return r
	})
	if err != nil {
		return err
	}
	if len(report.Fixed) > 0 {
		a.notef("patchbay: mended: %s", clean(strings.Join(report.Fixed, ", ")))
	}
	if failed == 0 {
		return nil
	}
	a.errorf("patchbay: %d of %d checks of %s failed\n", failed, len(report.Checks), clean(shortName(id)))
	var fixes []string
	for _, c := range report.Checks {
		if c.Result == patchbay.Failure && c.Fix != "" && !slices.Contains(fixes, c.Fix) {
			fixes = append(fixes, c.Fix)
			a.errorf("  fix: %s\n", clean(c.Fix))
		}
	}
	return statusError{nil, exitCheckFailed}
}

func (a *app) connectionRotate() *cobra.Command {
	var secret []string
	var file string
	var now, noWait bool
	cmd, _ := a.one("rotate", "Replace a connection's credential",
		`Makes a new credential beside the old one, writes it to the source, and revokes
the old one when nothing uses it any more: at no moment is there no working
credential. A connection whose login was given with --secret needs the new one.`,
		`  patchbay connection rotate web/orders
  patchbay connection rotate web/orders --secret name=app2 secret=@app2.password`,
		func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error {
			m, err := pairs("--secret", secret, []string{"name", "secret"})
			if err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			if m["secret"] != "" && file != "" {
				return usagef(cmd, "give the secret once: secret= or --secret-file")
			}
			r := arm.Rotate{Name: m["name"], RevokeNow: now}
			if len(m) > 0 || file != "" {
				if r.Secret, err = a.givenSecret(cmd, m["name"], m["secret"], file); err != nil {
					return err
				}
			}
			id, err := a.resolve(cmd.Context(), ref, arg)
			if err != nil {
				return err
			}
			op, err := c.RotateConnection(cmd.Context(), id, r)
			if err != nil {
				return during(err, "rotate %s", shortName(id))
			}
			v, err := c.Connection(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.finish(cmd.Context(), v, op, noWait)
		})
	f := cmd.Flags()
	f.StringArrayVar(&secret, "secret", nil, "the new login, where it was given: name=USER secret=@FILE (or @-, or the value)")
	f.StringVar(&file, "secret-file", "", "file of the new password; - is standard input")
	f.BoolVar(&now, "revoke-now", false, "end the old credential without waiting for its sessions")
	f.BoolVar(&noWait, "no-wait", false, "do not wait for the end")
	must(cmd.MarkFlagFilename("secret-file"))
	return cmd
}

func (a *app) connectionDelete() *cobra.Command {
	var yes, noWait bool
	cmd, ref := a.one("delete", "Remove a connection and everything that it made",
		`Takes the settings from the source, ends the login's sessions and removes it. A
source or target that is gone does not stop it: what can't be reached is left
for later, and patchbay leftovers lists it. A target that answers that its login
must stay does: then nothing is changed, and the error says what helps.`,
		"  patchbay connection delete web/orders --yes",
		func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error {
			id, err := a.resolve(cmd.Context(), ref, arg)
			if err != nil {
				return err
			}
			if err := a.confirm(cmd, yes, "Delete the connection "+shortName(id)+"?"); err != nil {
				return err
			}
			op, err := c.DeleteConnection(cmd.Context(), id)
			if err != nil {
				return during(err, "delete %s", shortName(id))
			}
			switch {
			case op == "":
				a.notef("patchbay: there is no connection %s", clean(shortName(id)))
				return nil
			case noWait:
				a.notef("patchbay: it goes on in the background: patchbay operation show %s", clean(op))
				return nil
			}
			done, err := a.follow(cmd.Context(), op)
			if err == nil && done.Message != "" {
				a.notef("patchbay: warning: %s", clean(done.Message))
			}
			if err == nil {
				a.notePark(done)
				err = refusedRemoval(done)
			}
			return err
		})
	ref.exact = true
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for the end")
	return cmd
}

// refusedRemoval is the error of a delete whose target answered that the login
// stays: it signs in. One that could not be asked is retried, and no error.
func refusedRemoval(op patchbay.Operation) error {
	for _, run := range op.Trail {
		if e := run.Error; run.Parked && e != nil && slices.Contains([]patchbay.Code{patchbay.AdminRights, patchbay.AdminRefused, patchbay.NotOurs}, e.Code) {
			refused := *e
			refused.Op = string(op.Kind) + " " + shortName(op.Connection)
			refused.Message = "the connection is gone, and its login is not: " + e.Message
			return &refused
		}
	}
	return nil
}

// notePark says that an operation that is done has left something for later.
func (a *app) notePark(op patchbay.Operation) {
	for _, run := range op.Trail {
		if run.Parked {
			a.notef("patchbay: warning: something could not be removed yet: patchbay leftovers")
			return
		}
	}
}

// confirm asks before something that can't be taken back.
func (a *app) confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.interactive() {
		return usagef(cmd, "there is nobody to ask: say --yes")
	}
	sure, err := a.asker.confirm(cmd.Context(), question)
	if err == nil && !sure {
		return statusError{nil, exitError}
	}
	return err
}

func (a *app) connectionWait() *cobra.Command {
	var created, updated, deleted, exists bool
	var timeout, interval int
	cmd, _ := a.one("wait", "Wait until a connection is in a state",
		"Waits until a connection is made, changed, deleted, or there. The exit status is 8 when that takes longer than --timeout.",
		"  patchbay connection wait web/orders --created --timeout 60",
		func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error {
			if !created && !updated && !deleted && !exists {
				return usagef(cmd, "what to wait for? --created, --updated, --deleted or --exists")
			}
			if interval < 1 || timeout < 1 {
				return usagef(cmd, "--timeout and --interval are seconds, 1 or more")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(timeout)*time.Second)
			defer cancel()
			id, err := a.resolveExpected(ctx, ref, arg)
			if err != nil {
				return err
			}
			for {
				v, err := c.Connection(ctx, id)
				switch missing := patchbay.CodeOf(err) == patchbay.ResourceNotFound; {
				case missing && deleted:
					return nil
				case missing:
				case err != nil:
					return err
				case exists, (created || updated) && v.Properties.State == patchbay.Succeeded:
					return nil
				case (created || updated) && v.Properties.State == patchbay.Failed:
					return patchbay.Errorf(patchbay.Conflict, "%s is in the state Failed", shortName(id)).
						WithFix("patchbay operation list --connection %s --source %s", id.Name(), sourceName(id))
				}
				pause := time.NewTimer(time.Duration(interval) * time.Second)
				select {
				case <-pause.C:
				case <-ctx.Done():
					pause.Stop()
					return ctx.Err()
				}
			}
		})
	f := cmd.Flags()
	f.BoolVar(&created, "created", false, "until it is made (provisioningState Succeeded)")
	f.BoolVar(&updated, "updated", false, "until it is changed (provisioningState Succeeded)")
	f.BoolVar(&deleted, "deleted", false, "until it is gone")
	f.BoolVar(&exists, "exists", false, "until it is there, whatever its state")
	f.IntVar(&timeout, "timeout", 3600, "give up after so many seconds")
	f.IntVar(&interval, "interval", 2, "look every so many seconds")
	return cmd
}

// resolveExpected is resolve for a connection that need not be there (yet, or
// any more): it then has to be named with its source.
func (a *app) resolveExpected(ctx context.Context, ref connectionRef, arg string) (patchbay.ID, error) {
	ref.exact = true
	if ref.id == "" && !ref.named() && !strings.Contains(arg, "/") {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "a connection that may not be there is named with its source: SOURCE/NAME")
	}
	return a.resolve(ctx, ref, arg)
}

func (a *app) connectionSettings() *cobra.Command {
	var client, auth, naming string
	kinds := wordsOf(targetKinds(a.shown()))
	cmd := &cobra.Command{
		Use:   "preview-configuration KIND",
		Short: "Show the names of the settings of a kind of target",
		Long:  "Shows the settings that a connection to a kind of target would have. There need not be a driver for it.",
		Example: fmt.Sprintf(`  patchbay connection preview-configuration %[1]s --client-type go -o table
  patchbay connection preview-configuration %[1]s --client-type python --naming native`, a.exampleKind()),
		Annotations:       map[string]string{catalogued: "yes"},
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			kinds, err := c.SettingsKinds(ctx)
			if err != nil {
				return err
			}
			var names []string
			var kind string
			for _, k := range kinds {
				names = append(append(names, k.CLI...), k.Name)
				if kind == "" && slices.Contains(k.CLI, args[0]) || strings.EqualFold(k.Name, args[0]) {
					kind = k.Name
				}
			}
			if kind == "" {
				slices.Sort(names)
				names = slices.Compact(names)
				return usagef(cmd, "there are no settings for the kind %q; there are some for %s%s",
					clean(args[0]), clean(strings.Join(names, ", ")), clean(didYouMean(args[0], names)))
			}
			v, err := c.SettingsTable(ctx, kind, client, auth, naming)
			if err != nil {
				return err
			}
			return a.print(v, func() rows {
				r := rows{head: []string{"Name", "Secret", "Description"}}
				for _, s := range v.Settings {
					r.add(s.Name, yes(s.Secret), s.Description)
				}
				return r
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&client, "client-type", "", "what reads the settings (default none)")
	f.StringVar(&auth, "auth-type", "", "how it signs in: secret, systemAssignedIdentity… (default secret)")
	f.StringVar(&naming, "naming", "", "azure, native or servicebinding (default by kind)")
	return cmd
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func (a *app) connectionTypes() *cobra.Command {
	var only string
	kinds := targetKinds(a.shown())
	kafka, hasKafka := endpointKind(a.shown(), patchbay.ConfluentBootstrapServer)
	names := wordsOf(kinds)
	if hasKafka {
		names = append(names, kafka.Name)
	}
	cmd := &cobra.Command{
		Use:         "list-support-types",
		Short:       "List the kinds of target and their client types",
		Long:        "Lists the kinds of target that a connection can name, the flags that name one, and the client types that have settings of their own. Where no server can be asked, they are those of this build.",
		Example:     "  patchbay connection list-support-types -o table\n  patchbay connection list-support-types --target-type " + a.exampleKind(),
		Annotations: map[string]string{catalogued: "yes"},
		Args:        cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkOutput(); err != nil {
				return usageError{err, cmd.CommandPath()}
			}
			type supported struct {
				Target      string   `json:"target"`
				Product     string   `json:"product"`
				Types       []string `json:"types"`
				Flags       []string `json:"flags"`
				ClientTypes []string `json:"clientTypes"`
			}
			found := []supported{}
			for _, k := range kinds {
				if only == "" || k.word == only {
					found = append(found, supported{k.word, k.Title, k.resources(), k.flags(), words(k.Clients)})
				}
			}
			if hasKafka && (only == "" || only == kafka.Name) {
				found = append(found, supported{
					kafka.Name, kafka.Title, []string{}, []string{"--bootstrap-server", "--schema-registry"}, words(kafka.Clients),
				})
			}
			if len(found) == 0 {
				return a.noSuchKind(cmd, only, names)
			}
			return a.print(found, func() rows {
				r := rows{head: []string{"Target", "Product", "Flags", "ClientTypes"}}
				for _, s := range found {
					r.add(s.Target, s.Product, strings.Join(s.Flags, " "), strings.Join(s.ClientTypes, ", "))
				}
				return r
			})
		},
	}
	cmd.Flags().StringVarP(&only, "target-type", "t", "", "only this kind")
	must(cmd.RegisterFlagCompletionFunc("target-type", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// completionTime is how long a completion may ask the server: nobody waits
// longer for a key.
const completionTime = 2 * time.Second

// offer completes with what list gives; a server that does not answer is no error
// at that moment.
func (a *app) offer(cmd *cobra.Command, list func(ctx context.Context) []string) ([]string, cobra.ShellCompDirective) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionTime)
	defer cancel()
	return list(ctx), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeConnections(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, func(ctx context.Context) []string {
		found, _ := a.connections(ctx)
		names := make([]string, len(found))
		for i, v := range found {
			names[i] = fmt.Sprintf("%s\t%s", clean(shortName(v.ID)), clean(targetShort(v.Properties.Target.ID)))
		}
		return names
	})
}

func (a *app) completeSources(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(ctx context.Context) []string {
		found, _ := a.sources(ctx)
		names := make([]string, len(found))
		for i, id := range found {
			names[i] = clean(nameIn(id))
		}
		return names
	})
}

// completeTargets offers the targets of a kind, of every kind for nil.
func (a *app) completeTargets(cmd *cobra.Command, k *targetKind) {
	must(cmd.RegisterFlagCompletionFunc("target", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.offer(cmd, func(ctx context.Context) []string {
			found, _ := a.resources(ctx)
			var names []string
			for _, r := range found {
				if k == nil && a.isFor(r.Properties.Driver, forTargets) || k != nil && a.serves(*k)(r) {
					names = append(names, clean(r.ID.Name()))
				}
			}
			return names
		})
	}))
}
