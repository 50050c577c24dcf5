package connector

import (
	"context"
	"slices"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
)

// What is given up at its point of no return is as it was, like what is before it:
// whether that step had its effect nobody knows. Behind it, it is done.
func TestWhatIsGivenUpIsDoneBehindItsPointOfNoReturnAlone(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	was := mustGet(t, w)
	in := input{Want: was, Connection: was, Sealed: was.Sealed}
	in.Want.Spec.Access = patchbay.Reader
	for _, c := range []struct {
		kind   patchbay.OperationKind
		pivot  string
		finish func(context.Context, *saga.Op, patchbay.OperationState) (saga.Commit, error)
	}{
		{patchbay.OpUpdate, stepVerify, w.finishChange},
		{patchbay.OpDelete, stepPlan, w.finishDelete},
	} {
		op := w.step(in, &plan{})
		op.Plan = steps(c.kind, in, false, false)
		for i, step := range op.Plan {
			op.Step = i
			commit, err := c.finish(t.Context(), op, patchbay.Abandoned)
			if err != nil {
				t.Fatal(err)
			}
			back := commit.PutConnection != nil && commit.PutConnection.Spec.Access == was.Spec.Access
			if want := i <= slices.Index(op.Plan, c.pivot); back != want {
				t.Errorf("the %s that is given up at %s: it is as it was: %v", c.kind, step, back)
			}
		}
	}
}
