package saga

import (
	"slices"

	"patchbay.dev/patchbay"
)

// workflow is a [Workflow] whose steps are found by name.
type workflow struct {
	Workflow
	steps map[string]*Step
}

func compile(w Workflow) (*workflow, error) {
	c := &workflow{Workflow: w, steps: map[string]*Step{}}
	if w.Kind == "" {
		return nil, patchbay.Errorf(patchbay.Internal, "a workflow without a kind")
	}
	for i := range w.Steps {
		s := &c.Steps[i]
		switch {
		case s.Name == "" || s.Do == nil:
			return nil, patchbay.Errorf(patchbay.Internal, "workflow %s: step %d has no name or does nothing", w.Kind, i)
		case c.steps[s.Name] != nil:
			return nil, patchbay.Errorf(patchbay.Internal, "workflow %s: two steps are called %s", w.Kind, s.Name)
		}
		c.steps[s.Name] = s
	}
	return c, nil
}

// check refuses a plan that could not be run or undone: behind the first step
// that can't be taken back there may only be steps that are repeated.
func (w *workflow) check(s Submission) error {
	bad := func(format string, args ...any) error {
		return patchbay.Errorf(patchbay.Internal, "the plan of "+string(s.Kind)+" operation "+s.ID+" "+format, args...)
	}
	if s.ID == "" {
		return bad("has no operation id")
	}
	if len(s.Plan) == 0 || len(s.Plan) > maxSteps {
		return bad("has %d steps; it takes 1 to %d", len(s.Plan), maxSteps)
	}
	behind := false
	for i, name := range s.Plan {
		step := w.steps[name]
		switch {
		case step == nil:
			return bad("names a step %q that nobody knows", name)
		case slices.Contains(s.Plan[:i], name):
			return bad("has the step %s twice", name)
		case behind && step.Kind != Retriable:
			return bad("has %s behind the point of no return, and can't repeat it", name)
		}
		behind = behind || step.Kind != Compensatable
	}
	return nil
}

// step is the step that the plan has at i; nil when this binary has none of
// that name.
func (w *workflow) step(op *Op, i int) *Step { return w.steps[op.Plan[i]] }

// behind reports whether there is no way back from where op is: a pivot has
// succeeded, or a step has begun that has no undo by nature.
func (w *workflow) behind(op *Op) bool {
	for i := range op.Step {
		if s := w.step(op, i); s != nil && s.Kind != Compensatable {
			return true
		}
	}
	s := w.step(op, op.Step)
	return s != nil && s.Kind == Retriable
}

// lastToUndo is the index of the last step at or before i that has something
// to take back, -1 when none has. A step that this binary does not know may
// have.
func (w *workflow) lastToUndo(op *Op, i int) int {
	for ; i >= 0; i-- {
		if s := w.step(op, i); s == nil || s.Undo != nil {
			return i
		}
	}
	return -1
}

// unknownStep is the error of a step that this binary has no code for: an
// older or newer one has to go on.
func unknownStep(name string) error {
	return patchbay.Errorf(patchbay.NotSupported, "this release of Patchbay does not know the step %q of the plan", name).
		WithFix("start the release that began the operation, or abandon it")
}
