package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// follow watches an operation to its end and shows its steps. The error of one
// that did not do what was asked says why and what was undone.
func (a *app) follow(ctx context.Context, id string) (patchbay.Operation, error) {
	c, err := a.client()
	if err != nil {
		return patchbay.Operation{}, err
	}
	if id == "" {
		return patchbay.Operation{}, patchbay.Errorf(patchbay.Internal, "the server began an operation and did not say which").
			WithFix("patchbay operation list --active")
	}
	p := &progress{app: a, paints: !a.quiet && a.IsTerminal(a.Stderr), now: a.Now}
	seen := make(chan patchbay.Operation)
	type end struct {
		op  patchbay.Operation
		err error
	}
	ended := make(chan end, 1)
	go func() {
		op, err := c.Watch(ctx, id, func(op patchbay.Operation) { seen <- op })
		ended <- end{op, err}
	}()
	var tick <-chan time.Time
	if p.paints {
		t := time.NewTicker(100 * time.Millisecond)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case op := <-seen:
			p.show(op)
		case <-tick:
			p.paint()
		case e := <-ended:
			p.wipe()
			if errors.Is(e.err, context.Canceled) {
				a.errorf("patchbay: the operation goes on without being watched\n  see it:    patchbay operation show %[1]s\n  cancel it: patchbay operation cancel %[1]s\n", clean(id))
			}
			if e.err != nil {
				return e.op, e.err
			}
			return e.op, outcome(e.op)
		}
	}
}

// outcome is the error of an operation that ended without having done what was
// asked, nil of one that did.
func outcome(op patchbay.Operation) error {
	if op.State == patchbay.Done {
		return nil
	}
	e := &patchbay.Error{Code: patchbay.Canceled, Message: "the operation was canceled"}
	if op.State == patchbay.Abandoned {
		e.Message = "the operation was abandoned"
		e.Fix = "patchbay leftovers --sweep"
	}
	if op.Error != nil {
		copied := *op.Error
		e = &copied
	}
	if e.Op == "" {
		e.Op = string(op.Kind) + " " + shortName(op.Connection)
	}
	var undone, left []string
	for _, run := range op.Trail {
		switch {
		case run.Parked:
			left = append(left, run.Name)
		case run.Undo && run.Error == nil:
			undone = append(undone, run.Name)
		}
	}
	if len(undone) > 0 {
		e.Message += "; undone: " + strings.Join(undone, ", ")
	} else if op.State == patchbay.Undone && len(left) == 0 && op.Kind != patchbay.OpSweep {
		e.Message += "; nothing was changed"
	}
	if len(left) > 0 {
		e.Message += "; could not be undone yet: " + strings.Join(left, ", ")
		if e.Fix == "" {
			e.Fix = "patchbay leftovers"
		}
	}
	if op.Message != "" {
		e.Message += "; " + op.Message
	}
	return e
}

// shortName is a connection as people name it: source/name; or a resource's name.
func shortName(id patchbay.ID) string {
	if id == patchbay.AllLeftovers {
		return id.Name()
	}
	source, name, ok := id.ConnectionSource()
	if !ok && id.Type() != "" { // a resource, whose administrator gets another credential
		return nameIn(id)
	}
	if !ok {
		return string(id)
	}
	if id.IsLocal() {
		return localName(id)
	}
	return nameIn(source) + "/" + name
}

// localName is a local connection as people name it.
func localName(id patchbay.ID) string { return localWord + "/" + id.Name() }

// progress shows an operation while it runs: one line for each step that
// ended, and on a terminal one more, painted again and again, for the step
// that runs.
type progress struct {
	*app
	paints  bool
	now     func() time.Time
	op      patchbay.Operation
	since   time.Time // when the step that runs was first seen
	shown   int       // entries of the trail
	queued  bool
	stuck   bool
	painted bool
}

func (p *progress) show(op patchbay.Operation) {
	if p.since.IsZero() || op.Step != p.op.Step || op.State != p.op.State {
		p.since = p.now()
	}
	p.op = op
	if p.quiet {
		return
	}
	p.wipe()
	if op.State == patchbay.Queued && !p.queued {
		p.queued = true
		p.line("·", "waits for an earlier operation of "+op.Source.Name(), "", nil)
	}
	for ; p.shown < len(op.Trail); p.shown++ {
		p.ended(op.Trail[p.shown])
	}
	if op.Attention && !p.stuck && !op.State.Ended() {
		p.stuck = true
		var why *patchbay.Error
		if op.Error != nil {
			why = &patchbay.Error{Code: op.Error.Code, Message: op.Error.Message}
			if op.Error.Fix != "" {
				why.Message += "; fix: " + op.Error.Fix
			}
		}
		p.line("!", "can't go on by itself and keeps trying", "", why)
	}
	p.stuck = op.Attention
	p.paint()
}

func (p *progress) ended(run patchbay.StepRun) {
	took := duration(run.Ended.Sub(run.Started))
	if run.Attempts > 1 {
		took += fmt.Sprintf(", %d attempts", run.Attempts)
	}
	switch {
	case run.Parked:
		p.line("!", run.Name+" could not be undone yet", took, run.Error)
	case run.Error != nil && run.Undo:
		p.line("!", run.Name+" could not be undone", took, run.Error)
	case run.Error != nil:
		p.line("✗", run.Name, took, run.Error)
	case run.Undo:
		p.line("↩", run.Name+" undone", took, nil)
	default:
		p.line("✓", run.Name, took, nil)
	}
}

// line is one thing that happened, how long it took and why it failed, where
// it did.
func (p *progress) line(mark, what, took string, err *patchbay.Error) {
	what = clean(what)
	why := ""
	if err != nil {
		why = clean(string(err.Code) + ": " + err.Message)
	}
	if p.paints {
		p.errorf("%s\n", strings.TrimRight(fmt.Sprintf("  %s %-32s %-8s %s", mark, what, took, why), " "))
		return
	}
	// A log has no use for a picture, but needs to know what it is about.
	words := map[string]string{"✓": "done", "✗": "failed", "↩": "back", "!": "attention", "·": "wait"}
	line := fmt.Sprintf("%s %s: %s: %s", p.op.Kind, clean(shortName(p.op.Connection)), words[mark], what)
	if took != "" {
		line += " (" + took + ")"
	}
	if why != "" {
		line += ": " + why
	}
	p.errorf("%s\n", line)
}

// paint draws the line of what runs now.
func (p *progress) paint() {
	if !p.paints || p.op.ID == "" || p.op.State.Ended() || p.op.State == patchbay.Queued {
		return
	}
	step := string(p.op.State)
	if p.op.Step >= 0 && p.op.Step < len(p.op.Plan) {
		step = p.op.Plan[p.op.Step]
	}
	if p.op.State == patchbay.Undoing {
		step = "undo " + step
	}
	p.errorf("\r\x1b[K  … %-32s %s", clean(step), duration(p.now().Sub(p.since)))
	p.painted = true
}

func (p *progress) wipe() {
	if p.painted {
		p.errorf("\r\x1b[K")
		p.painted = false
	}
}

func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
