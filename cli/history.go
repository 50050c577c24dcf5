package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) connectionHistory() *cobra.Command {
	cmd, _ := a.one("history", "What validations found, over time",
		`Shows what the validations of a connection found: those that the server makes by
itself (serve --validate-every), and those that somebody asked for. What was found
several times in a row is one line, the newest first.`,
		`  patchbay connection history web/orders -o table`,
		func(cmd *cobra.Command, c *client.Client, ref connectionRef, arg string) error {
			id, err := a.resolve(cmd.Context(), ref, arg)
			if err != nil {
				return err
			}
			found, err := c.ConnectionHistory(cmd.Context(), id)
			if err != nil {
				return during(err, "show the history of %s", shortName(id))
			}
			return a.print(found, func() rows {
				r := rows{head: []string{"From", "Until", "Times", "Health", "Why", "Finding"}}
				for _, v := range found {
					r.add(shortTime(v.First), shortTime(v.Last), strconv.Itoa(v.Times), string(v.Health), string(v.Cause), worst(v))
				}
				return r
			})
		})
	return cmd
}

// worst is what is wrong first of all, and what was done about it.
func worst(v patchbay.Verdict) string {
	text := ""
	for _, c := range v.Checks {
		if c.Result == patchbay.Failure || text == "" {
			text = c.Message
		}
		if c.Result == patchbay.Failure {
			break
		}
	}
	done := ""
	switch {
	case v.Repair != "":
		done = "to be put back by the operation " + v.Repair
	case v.Kept != "":
		done = v.Kept
	case len(v.PutBack) > 0:
		done = "put back: " + strings.Join(v.PutBack, ", ")
	}
	if text != "" && done != "" {
		text += "; "
	}
	return text + done
}

func shortTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// healthText is a connection's health, and how long ago that was seen.
func healthText(v *patchbay.Verdict, now time.Time) string {
	if v == nil {
		return string(patchbay.Unsure)
	}
	ago := max(now.Sub(v.Last), 0)
	text := strconv.Itoa(int(ago.Hours()/24)) + "d"
	switch {
	case ago < time.Minute:
		text = strconv.Itoa(int(ago.Seconds())) + "s"
	case ago < time.Hour:
		text = strconv.Itoa(int(ago.Minutes())) + "m"
	case ago < 48*time.Hour:
		text = strconv.Itoa(int(ago.Hours())) + "h"
	}
	return string(v.Health) + " (" + text + " ago)"
}
