package saga

import (
	"time"

	"patchbay.dev/patchbay"
)

// Outcomes of one attempt of a step, as an [Observer] sees them.
const (
	OutcomeOK        = "ok"
	OutcomeTransient = "transient" // it failed and is repeated
	OutcomeFailed    = "failed"
)

// Observer is told what happens, for metrics. It is called from many
// goroutines, must not block, and gets no secrets.
type Observer interface {
	// StepEnded is one attempt of a step, either way.
	StepEnded(kind patchbay.OperationKind, step string, undo bool, outcome string, took time.Duration)
	// OperationEnded is called after the end is durable; took is since its submission.
	OperationEnded(kind patchbay.OperationKind, state patchbay.OperationState, took time.Duration)
	LeftoverParked(kind patchbay.OperationKind, step string)
	// Load is how many operations this process drives, and how many wait in the
	// store, once per sweep.
	Load(active, queued int)
}

type silent struct{}

func (silent) StepEnded(patchbay.OperationKind, string, bool, string, time.Duration) {}
func (silent) OperationEnded(patchbay.OperationKind, patchbay.OperationState, time.Duration) {
}
func (silent) LeftoverParked(patchbay.OperationKind, string) {}
func (silent) Load(int, int)                                 {}
