package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) operationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "operation",
		Short: "See and steer what the server does",
		Long:  "An operation is one create, update, rotate, delete or validate of a connection, a sweep, or the replacement of an administrator's credential (rotateAdmin). It goes on when nobody watches, and after a restart of the server.",
		Args:  noCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.operationList(), a.operationShow(),
		a.operationAction("cancel", "Cancel an operation that runs",
			"Asks an operation to go back: what it did is undone. After the moment at which the source has its new settings, it can't.", false,
			(*client.Client).CancelOperation),
		a.operationAction("retry", "Let an operation that waits try again now",
			"An operation that can't go on tries again by itself, more and more seldom; this lets it try at once.", false,
			(*client.Client).RetryOperation),
		a.operationAction("abandon", "Give an operation up",
			"Ends an operation that can't go on. What it made and could not undo becomes a leftover, which is removed when it can be.", true,
			(*client.Client).AbandonOperation),
	)
	return cmd
}

func (a *app) operationList() *cobra.Command {
	ref := &connectionRef{}
	var active bool
	var top int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List operations, newest first",
		Long:  "Lists operations, newest first: of a connection, of a source, or all.",
		Example: `  patchbay operation list --active -o table
  patchbay operation list --source web --connection orders`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			q := client.OperationQuery{Active: active, Limit: top}
			switch {
			case ref.connection != "" && (ref.source != "" || ref.sourceID != ""), strings.Contains(ref.connection, "/"):
				// Not looked up: the operations of a connection that is gone are
				// the ones that are asked for most.
				if q.Connection, err = a.resolve(ctx, connectionRef{source: ref.source, sourceID: ref.sourceID, group: ref.group, connection: ref.connection}, slashed(ref.connection)); err != nil {
					return err
				}
			case ref.connection != "":
				if q.Connection, err = a.resolve(ctx, *ref, ""); err != nil {
					return err
				}
			case ref.source != "" || ref.sourceID != "":
				if q.Source, err = a.source(ctx, ref.source, ref.sourceID, ref.group); err != nil {
					return err
				}
			}
			ops, err := c.Operations(ctx, q)
			if err != nil {
				return err
			}
			return a.print(ops, func() rows { return operationRows(ops) })
		},
	}
	a.sourceFlags(cmd, ref)
	cmd.Flags().StringVar(&ref.connection, "connection", "", "only of this connection: its name, SOURCE/NAME or id")
	cmd.Flags().BoolVar(&active, "active", false, "only those that have not ended")
	cmd.Flags().IntVar(&top, "top", 50, "at most so many; 0 is all")
	return cmd
}

// slashed is a connection's name when it says more than the name.
func slashed(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return ""
}

func operationRows(ops []patchbay.Operation) rows {
	r := rows{head: []string{"Id", "Kind", "Connection", "State", "Step", "Created", "Took"}}
	for _, op := range ops {
		state, step := string(op.State), ""
		if op.Attention {
			state += " (needs attention)"
		}
		if !op.State.Ended() && op.Step >= 0 && op.Step < len(op.Plan) {
			step = op.Plan[op.Step]
		}
		took := ""
		if !op.Ended.IsZero() {
			took = duration(op.Ended.Sub(op.Created))
		}
		r.add(op.ID, string(op.Kind), shortName(op.Connection), state, step, op.Created.UTC().Format(time.DateTime), took)
	}
	return r
}

func (a *app) operationShow() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show an operation and its steps",
		Long:  "Shows an operation: what it did step by step, what it was stuck on, and what it undid.",
		Example: `  patchbay operation show 0192f7c1 -o table
  patchbay operation show 0192f7c1 --wait`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeOperations,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			var op patchbay.Operation
			var failed error
			if wait {
				op, failed = a.follow(cmd.Context(), args[0])
				if failed != nil && !op.State.Ended() {
					return failed
				}
			} else if op, err = c.Operation(cmd.Context(), args[0]); err != nil {
				return err
			}
			if err := a.print(op, func() rows { return trailRows(op) }); err != nil {
				return err
			}
			if e := op.Error; e != nil && failed == nil && a.format() == "table" {
				a.errorf("%s", a.describe(e))
			}
			if op.Message != "" && failed == nil && a.format() == "table" {
				a.notef("patchbay: warning: %s", clean(op.Message))
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "watch it to its end")
	return cmd
}

func trailRows(op patchbay.Operation) rows {
	r := rows{head: []string{"Step", "Outcome", "Took", "Attempts", "Error"}}
	for _, run := range op.Trail {
		outcome := "done"
		switch {
		case run.Parked:
			outcome = "left for later"
		case run.Error != nil && run.Undo:
			outcome = "not undone"
		case run.Error != nil:
			outcome = "failed"
		case run.Undo:
			outcome = "undone"
		}
		text := ""
		if run.Error != nil {
			text = string(run.Error.Code) + ": " + run.Error.Message
		}
		r.add(run.Name, outcome, duration(run.Ended.Sub(run.Started)), fmt.Sprint(run.Attempts), text)
	}
	r.add("", string(op.State), "", "", "")
	return r
}

func (a *app) operationAction(name, short, long string, asks bool, act func(*client.Client, context.Context, string) (patchbay.Operation, error)) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: name + " ID", Short: short, Long: long,
		Example:           "  patchbay operation " + name + " 0192f7c1",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeOperations,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			if asks {
				if err := a.confirm(cmd, yes, "Give up the operation "+args[0]+"?"); err != nil {
					return err
				}
			}
			op, err := act(c, cmd.Context(), args[0])
			if err != nil {
				return during(err, "%s the operation", name)
			}
			return a.print(op, func() rows { return operationRows([]patchbay.Operation{op}) })
		},
	}
	if asks {
		cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	return cmd
}

func (a *app) completeOperations(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.offer(cmd, func(ctx context.Context) []string {
		c, err := a.client()
		if err != nil {
			return nil
		}
		ops, _ := c.Operations(ctx, client.OperationQuery{Limit: 20})
		names := make([]string, len(ops))
		for i, op := range ops {
			names[i] = clean(op.ID) + "\t" + clean(string(op.Kind)+" "+shortName(op.Connection)+" "+string(op.State))
		}
		return names
	})
}

func (a *app) leftoversCommand() *cobra.Command {
	var (
		sweep  bool
		forget string
	)
	cmd := &cobra.Command{
		Use:   "leftovers",
		Short: "List what could not be removed yet",
		Long: `Lists what bears Patchbay's mark and belongs to no connection any more, where it
is, and why it is still there. The server tries again by itself, but not what has
ended it three times while it did; --sweep makes it try everything now, and look
on every resource for more: an operation, which goes on when nobody watches it.
--forget strikes one off the list that never can be
removed, because what it is on is gone for good.`,
		Example: `  patchbay leftovers -o table
  patchbay leftovers --sweep
  patchbay leftovers --forget f3b47842-f89b-4287-8b71-2ad5a3b953d9.revoke`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			if forget != "" {
				if err := c.ForgetLeftover(cmd.Context(), forget); err != nil {
					return err
				}
				a.notef("patchbay: forgotten; what it stood for was not removed")
				return nil
			}
			if !sweep {
				left, err := c.Leftovers(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(left, func() rows { return leftoverRows(nil, left) })
			}
			op, err := c.Sweep(cmd.Context())
			if err != nil {
				return err
			}
			op, failed := a.follow(cmd.Context(), op.ID)
			if op.Swept == nil {
				return failed
			}
			a.notef("patchbay: %d removed, %d left", len(op.Swept.Removed)+op.Swept.MoreRemoved, len(op.Swept.Left)+op.Swept.MoreLeft)
			if op.Message != "" && failed == nil {
				a.notef("patchbay: warning: %s", clean(op.Message))
			}
			if err := a.print(op.Swept, func() rows { return leftoverRows(op.Swept.Removed, op.Swept.Left) }); err != nil {
				return err
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&sweep, "sweep", false, "try to remove everything now")
	cmd.Flags().StringVar(&forget, "forget", "", "id of one to strike off the list without removing anything")
	cmd.MarkFlagsMutuallyExclusive("sweep", "forget")
	return cmd
}

func leftoverRows(removed, left []patchbay.Leftover) rows {
	r := rows{head: []string{"What", "Where", "Connection", "Attempts", "Why", "Id"}}
	for _, l := range removed {
		r.add(l.What, l.Resource.Name(), shortName(l.Connection), fmt.Sprint(l.Attempts), "removed", l.ID)
	}
	for _, l := range left {
		r.add(l.What, l.Resource.Name(), shortName(l.Connection), fmt.Sprint(l.Attempts), l.Why, l.ID)
	}
	return r
}
