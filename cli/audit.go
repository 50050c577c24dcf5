package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

func (a *app) auditCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "See who did what, and that nobody changed the record of it",
		Long: `The audit log has a line for every change, every secret that was shown, every
sign-in and every refusal. It is only appended to, and each line is chained to
the one before it under the server's key.`,
		Args: noCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.auditList(), a.auditExport(), a.auditVerify())
	return cmd
}

// auditQuery declares the flags that narrow the log; since is --since's default.
func (a *app) auditQuery(cmd *cobra.Command, since string) func() (client.AuditQuery, error) {
	var q client.AuditQuery
	var resource, from, to string
	f := cmd.Flags()
	f.StringVar(&q.Caller, "caller", "", "only of this caller, by name or object id")
	f.StringVar(&resource, "resource", "", "only of this resource, by id, and of what is below it")
	f.StringVar(&q.Action, "action", "", "only of this action, as in Microsoft.ServiceLinker/linkers/write")
	f.StringVar(&q.Result, "result", "", "only with this result: accepted, succeeded, failed, canceled or refused")
	f.StringVar(&q.Tenant, "tenant", "", "only of this tenant, by id (default: all that you may see)")
	f.StringVar(&from, "since", since, "from then on: a time (2026-11-23T10:00:00Z), a day, or how long ago (24h)")
	f.StringVar(&to, "until", "", "until then, likewise")
	return func() (_ client.AuditQuery, err error) {
		q.Resource = patchbay.ID(resource)
		if q.Since, err = a.instant("--since", from); err != nil {
			return q, usageError{err, cmd.CommandPath()}
		}
		if q.Until, err = a.instant("--until", to); err != nil {
			return q, usageError{err, cmd.CommandPath()}
		}
		return q, nil
	}
}

// instant is a time, a day, or how long ago; "" is none.
func (a *app) instant(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return a.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s takes a time (2026-11-23T10:00:00Z), a day (2026-11-23) or how long ago (24h), not %q", flag, clean(s))
}

func (a *app) auditList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List lines of the audit log",
		Long:  "Lists lines of the audit log, oldest first; without --since those of the last 24 hours.",
		Example: `  patchbay audit list -o table
  patchbay audit list --since 168h --caller ann -o table
  patchbay audit list --result refused -o table`,
		Args: cobra.NoArgs,
	}
	query := a.auditQuery(cmd, "24h")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		c, err := a.start(cmd)
		if err != nil {
			return err
		}
		list, err := c.AuditEntries(cmd.Context(), q)
		if err != nil {
			return during(err, "read the audit log")
		}
		return a.print(list, func() rows { return auditRows(list) })
	}
	return cmd
}

func auditRows(list []patchbay.AuditEntry) rows {
	r := rows{head: []string{"Seq", "Time", "Who", "What", "On", "Result", "Detail"}}
	for _, e := range list {
		who := e.Caller
		if e.Address != "" {
			who += " (" + e.Address + ")"
		}
		result := string(e.Result)
		if e.Code != "" {
			result += ": " + string(e.Code)
		}
		on := ""
		if e.Resource != "" {
			on = e.Resource.Name()
			if source, name, ok := e.Resource.ConnectionSource(); ok {
				on = source.Name() + "/" + name
			}
		}
		r.add(strconv.FormatInt(e.Seq, 10), e.Time.UTC().Format(time.DateTime), who, e.Action, on, result, e.Detail)
	}
	return r
}

func (a *app) auditExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the audit log as JSON lines",
		Long: `Writes the lines to the standard output, oldest first, one JSON object a line,
with their hashes. The export is itself a line of the log. A status other than 0
says that it broke off, and that what was written is not all of it.`,
		Example: `  patchbay audit export > audit.jsonl
  patchbay audit export --since 2026-11-01 --until 2026-12-01 > november.jsonl`,
		Args: cobra.NoArgs,
	}
	query := a.auditQuery(cmd, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := query()
		if err != nil {
			return err
		}
		c, err := a.start(cmd)
		if err != nil {
			return err
		}
		return during(c.ExportAudit(cmd.Context(), q, a.Stdout), "export the audit log")
	}
	return cmd
}

func (a *app) auditVerify() *cobra.Command {
	var expect string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that the audit log is as it was written",
		Long: `Has the server read its whole audit log: it finds lines that were edited, removed,
moved, put in, or cut off from the end. It says where the log ends; noted
elsewhere and given back with --expect, that also finds a database that was put
back to an older copy.`,
		Example: `  patchbay audit verify
  patchbay audit verify --expect 4711:9f86d081884c7d65…`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.start(cmd)
			if err != nil {
				return err
			}
			report, err := c.VerifyAudit(cmd.Context(), expect)
			if err != nil {
				return during(err, "verify the audit log")
			}
			if err := a.print(report.Raw, func() rows {
				r := rows{head: []string{"Line", "Problem", "What"}}
				for _, p := range report.Problems {
					r.add(strconv.FormatInt(p.Seq, 10), p.Kind, p.Message)
				}
				return r
			}); err != nil {
				return err
			}
			if n := int64(len(report.Problems)) + report.More; n > 0 {
				a.errorf("patchbay: the audit log is not as it was written: %d problems in %d lines\n", n, report.Lines)
				return statusError{nil, exitCheckFailed}
			}
			a.notef("patchbay: %d lines are as they were written", report.Lines)
			a.notef("  note elsewhere: %s", strings.Join([]string{strconv.FormatInt(report.Head.Seq, 10), report.Head.Hash}, ":"))
			return nil
		},
	}
	cmd.Flags().StringVar(&expect, "expect", "", "a line that was noted before, SEQ:HASH, and has to be in the log")
	return cmd
}
