package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/arm/client"
)

// round is a validation of many connections.
type round struct {
	*app
	asked    arm.Validate
	parallel int    // validations at once
	show     string // the best result that the table has
}

// verdict is what a round says of one connection: its report, or why there is none.
type verdict struct {
	Connection patchbay.ID      `json:"connection"`
	Source     patchbay.ID      `json:"source"`
	Target     string           `json:"target"`
	Result     string           `json:"result"`
	From       patchbay.Vantage `json:"from,omitempty"`
	Checks     []patchbay.Check `json:"checks"`
	Started    time.Time        `json:"started,omitzero"`
	Ended      time.Time        `json:"ended,omitzero"`
	Error      *patchbay.Error  `json:"error,omitempty"`
}

// The words for what a round has found, the worst first.
const (
	isBroken  = "broken"  // a check failed
	isUnknown = "unknown" // nobody could look
	isUnsure  = "unsure"  // something was not checked, or there is a warning
	isWell    = "works"
)

// results are all of them, and shown those that a table may be had down to.
var (
	results = []string{isBroken, isUnknown, isUnsure, isWell}
	shown   = []string{isBroken, isUnsure, "all"}
)

func rank(result string) int { return slices.Index(results, result) }

// resultOf is what a report comes to.
func resultOf(report patchbay.Report) string {
	switch {
	case !report.Available():
		return isBroken
	case slices.ContainsFunc(report.Checks, func(c patchbay.Check) bool { return c.Result != patchbay.Success }):
		return isUnsure
	}
	return isWell
}

// validateAll validates the connections that are meant, and prints what is wrong.
func (r round) validateAll(cmd *cobra.Command, c *client.Client, ref connectionRef, arg, target string) error {
	ctx := cmd.Context()
	switch {
	case arg != "" || ref.connection != "" || ref.id != "":
		return usagef(cmd, "--all and a connection's name do not go together; --source and --target narrow it")
	case r.asked.Fix:
		return usagef(cmd, "--fix mends one connection at a time; the list says which one needs it")
	case r.parallel < 1 || r.parallel > 64:
		return usagef(cmd, "--parallel is from 1 to 64")
	case !slices.Contains(shown, r.show):
		return usagef(cmd, "--show is %s, and not %q", strings.Join(shown, ", "), r.show)
	}
	meant, err := r.meant(ctx, c, ref, target)
	if err != nil {
		return err
	}
	verdicts := r.run(ctx, c, meant)
	if err := ctx.Err(); err != nil {
		r.errorf("patchbay: the validations that were begun go on without being watched\n  see them: patchbay operation list --active\n")
		return err
	}
	slices.SortStableFunc(verdicts, func(a, b verdict) int { return cmp.Compare(rank(a.Result), rank(b.Result)) })
	if err := r.print(verdicts, func() rows { return r.rows(verdicts) }); err != nil {
		return err
	}
	return r.sum(verdicts)
}

// meant are the connections of a source, to a target, or all.
func (r round) meant(ctx context.Context, c *client.Client, ref connectionRef, target string) (found []client.ConnectionView, err error) {
	if !ref.named() {
		found, err = r.connections(ctx)
	} else {
		var source patchbay.ID
		if source, err = r.home(ctx, ref); err == nil {
			found, err = c.Connections(ctx, source)
		}
	}
	if err != nil || target == "" {
		return found, err
	}
	fits, err := r.targeting(ctx, target, found)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(found, func(v client.ConnectionView) bool { return !fits(v) }), nil
}

// targeting tells the connections to a target that is named as elsewhere: by the name of
// its resource, with what is below it or without, by its id, or by its endpoint.
func (r round) targeting(ctx context.Context, name string, among []client.ConnectionView) (func(client.ConnectionView) bool, error) {
	if strings.Contains(name, "://") {
		return func(v client.ConnectionView) bool { return v.Properties.Target.Endpoint == name }, nil
	}
	id := patchbay.ID(name)
	if !strings.HasPrefix(name, "/") {
		resource, below, _ := strings.Cut(name, "/")
		found, err := r.find(ctx, lookup{
			what: "target", name: resource, group: r.Getenv("PATCHBAY_RESOURCE_GROUP"), flag: "--target",
			fits: func(v client.ResourceView) bool { return r.isFor(v.Properties.Driver, forTargets) },
		})
		if err != nil {
			return nil, err
		}
		id = found.ID
		if below != "" {
			fits := func(v client.ConnectionView) bool {
				t := v.Properties.Target.ID
				return within(t, id) && strings.EqualFold(targetShort(t), id.Name()+"/"+below)
			}
			if !slices.ContainsFunc(among, fits) {
				return nil, patchbay.Errorf(patchbay.ResourceNotFound, "there is no connection to %s", name).WithFix("patchbay connection list -o table")
			}
			return fits, nil
		}
	} else if _, err := patchbay.ParseID(name); err != nil {
		return nil, err
	}
	return func(v client.ConnectionView) bool { return within(v.Properties.Target.ID, id) }, nil
}

// within reports whether a target is a resource, or below it.
func within(target, resource patchbay.ID) bool {
	return target.Equal(resource) || strings.HasPrefix(target.Key(), resource.Key()+"/")
}

// run validates so many at once as it may, and tells a terminal how far it is. Who
// interrupts it gets what there is.
func (r round) run(ctx context.Context, c *client.Client, meant []client.ConnectionView) []verdict {
	verdicts := make([]verdict, len(meant))
	p := &progress{app: r.app, paints: !r.quiet && r.IsTerminal(r.Stderr), now: r.Now}
	var mu sync.Mutex
	done, bad := 0, 0
	paint := func() {
		if p.paints {
			p.errorf("\r\x1b[K  … validated %d of %d, %d broken", done, len(meant), bad)
			p.painted = true
		}
	}
	paint()
	var g errgroup.Group
	g.SetLimit(r.parallel)
	for i, v := range meant {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			found := r.one(ctx, c, v)
			mu.Lock()
			defer mu.Unlock()
			verdicts[i] = found
			if done++; found.Result == isBroken || found.Result == isUnknown {
				bad++
			}
			paint()
			return nil
		})
	}
	_ = g.Wait()
	p.wipe()
	return verdicts
}

// one validates a connection. That it can't be is a verdict, too.
func (r round) one(ctx context.Context, c *client.Client, v client.ConnectionView) verdict {
	found := verdict{Connection: v.ID, Source: v.Source(), Target: v.TargetName(), Result: isUnknown, From: r.asked.From, Checks: []patchbay.Check{}}
	report, err := r.validate(ctx, c, v.ID)
	if err != nil {
		found.Error = patchbay.AsError(err)
		return found
	}
	found.Result, found.Checks, found.Started, found.Ended = resultOf(*report), report.Checks, report.Started, report.Ended
	return found
}

func (r round) validate(ctx context.Context, c *client.Client, id patchbay.ID) (*patchbay.Report, error) {
	op, err := c.ValidateConnection(ctx, id, r.asked)
	if err != nil {
		return nil, err
	}
	ended, err := c.Watch(ctx, op, func(patchbay.Operation) {})
	if err == nil {
		err = outcome(ended)
	}
	if err == nil && ended.Result == nil {
		err = patchbay.Errorf(patchbay.Internal, "the validation ended without a report")
	}
	return ended.Result, err
}

// rows are the findings, one a row. What mends it is not wrapped: it is there to be copied.
func (r round) rows(verdicts []verdict) rows {
	table := rows{head: []string{"Connection", "Target", "Result", "Where", "What", "Mends it"}, wraps: map[string]int{"What": 60}}
	for _, v := range verdicts {
		if r.hides(v) {
			continue
		}
		target := v.Target
		if strings.HasPrefix(target, "/") {
			target = targetShort(patchbay.ID(target))
		}
		add := func(where, what, mends string) {
			table.add(shortName(v.Connection), target, v.Result, where, what, mends)
		}
		if v.Error != nil {
			add("", string(v.Error.Code)+": "+v.Error.Message, v.Error.Fix)
			continue
		}
		for _, c := range worth(v.Checks) {
			what := c.Message
			switch {
			case c.Result == patchbay.NotChecked:
				what = "not checked: " + what
			case c.Code != "":
				what = string(c.Code) + ": " + what
			}
			add(string(c.Group), what, c.Fix)
		}
		if v.Result == isWell {
			add("", "", "")
		}
	}
	return table
}

// hides reports whether the table does not have a verdict.
func (r round) hides(v verdict) bool {
	return r.show == isBroken && rank(v.Result) > rank(isUnknown) || r.show == isUnsure && v.Result == isWell
}

// worth are the checks of a report that need somebody: those that failed, and where none
// did, those that leave a doubt.
func worth(checks []patchbay.Check) []patchbay.Check {
	var failed, doubts []patchbay.Check
	for _, c := range checks {
		switch c.Result {
		case patchbay.Failure:
			failed = append(failed, c)
		case patchbay.Success:
		default:
			doubts = append(doubts, c)
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return doubts
}

// sum says how many there are of each, and is the exit status.
func (r round) sum(verdicts []verdict) error {
	if len(verdicts) == 0 {
		r.notef("patchbay: there is no connection to validate")
		return nil
	}
	counts := map[string]int{}
	for _, v := range verdicts {
		counts[v.Result]++
	}
	var parts []string
	for _, result := range results {
		if n := counts[result]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, result))
		}
	}
	line := fmt.Sprintf("patchbay: of %d validated: %s", len(verdicts), strings.Join(parts, ", "))
	if counts[isUnsure] > 0 && r.show == isBroken && r.format() == "table" {
		line += "   (--show unsure lists those too)"
	}
	if counts[isBroken]+counts[isUnknown] == 0 {
		r.notef("%s", line)
		return nil
	}
	r.errorf("%s\n", line)
	if counts[isBroken] > 0 {
		return statusError{nil, exitCheckFailed}
	}
	// Nothing is known to be broken: the status is that of the first that nobody could
	// look at.
	first := slices.IndexFunc(verdicts, func(v verdict) bool { return v.Error != nil })
	return statusError{nil, exitStatus(verdicts[first].Error)}
}
