package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func (a *app) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Try who is told when a connection turns bad or good again",
		Long: `A server that was started with --events-to tells a receiver when a connection turns
bad, and when it is good again: CloudEvents by HTTP, signed as Standard Webhooks
says (docs/operate.md).`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.eventsTest())
	return cmd
}

func (a *app) eventsTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test",
		Short: "Send the receiver of events one, and see how it answers",
		Long: `Has the server send its receiver an event of type dev.patchbay.test, at once and
once, and waits for the answer. When it arrives, the events that wait are sent at
once too. It is for the operator of the server.`,
		Example: `  patchbay events test`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			d, raw, err := c.TestEvents(cmd.Context())
			if err != nil {
				return during(err, "send an event")
			}
			if err := a.print(raw, func() rows {
				r := rows{head: []string{"Receiver", "Event", "Status", "Took", "Waiting"}}
				r.add(d.Receiver, d.Event, strconv.Itoa(d.Status), fmt.Sprintf("%d ms", d.Milliseconds), strconv.Itoa(d.Waiting))
				return r
			}); err != nil {
				return err
			}
			a.notef("patchbay: %s has the event (%d)", d.Receiver, d.Status)
			return nil
		},
	}
}
