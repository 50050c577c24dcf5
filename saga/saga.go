// Package saga runs plans durably: it does their steps in order, undoes them
// in reverse when one fails, and after a crash at any instant goes on where
// the journal says, one operation at a time per source.
//
// The engine knows nothing of connections. A [Workflow] says what the steps of
// one kind of operation are; its caller decides everything in the first step,
// whose output is journalled before any step with an effect begins.
package saga

import (
	"context"
	"errors"
	"time"

	"patchbay.dev/patchbay"
)

// Kind is what may be done about a step once it has begun.
type Kind int

const (
	// Compensatable steps are undone, in reverse order, when a later one fails.
	Compensatable Kind = iota
	// Pivot is the one step after which there is no way back. It may itself fail
	// and be undone; once it has succeeded, only forward.
	Pivot
	// Retriable steps come behind the pivot and are repeated until they succeed.
	Retriable
)

// Where a step has its effect decides what happens when it keeps failing on
// its way back or behind the pivot: on a target or network it is parked as a
// leftover, and the operation ends; on the source the operation stays, and
// needs attention.
type Where int

const (
	Nowhere Where = iota
	OnTarget
	OnNetwork
	OnSource
)

// Step is one external effect with its undo. Do and Undo may run twice, in
// part, or when their work is already done.
type Step struct {
	Name  string
	Kind  Kind
	Where Where
	// Timeout bounds one attempt, either way; 0 means the engine's default.
	Timeout time.Duration
	// Do has the effect. What it returns is journalled with the step's end, and
	// later steps and Undo read it with [Op.Output]. A transient error
	// (patchbay.IsTransient) is repeated with backoff; any other ends the way
	// forward.
	Do func(ctx context.Context, op *Op) (output []byte, err error)
	// Undo takes the effect back, however much of it happened; never happened is
	// success. nil means that there is nothing to take back.
	Undo func(ctx context.Context, op *Op) error
	// Park makes the leftover of a step that can't be undone or, behind the
	// pivot, done. nil means that the step is never parked: it is repeated until
	// it succeeds, and the operation needs attention meanwhile.
	Park func(op *Op, cause error) (patchbay.Leftover, error)
}

// Leave says that an undo, or a step behind the pivot, which failed with err is
// parked without another attempt, wherever it is: repeating it at once mends
// nothing.
func Leave(err error) error { return leaving{err} }

// Asked reports whether what is to be parked is so because it was asked for by
// [Leave].
func Asked(cause error) bool {
	var asks leaving
	return errors.As(cause, &asks)
}

type leaving struct{ error }

func (l leaving) Unwrap() error { return l.error }

// Workflow is the steps of one kind of operation.
type Workflow struct {
	Kind patchbay.OperationKind
	// Steps holds every step that a plan of this kind may name, old ones
	// included: a newer binary runs the plan of an older one.
	Steps []Step
	// Finish says what the records become when the operation ends in outcome
	// (Done, Undone or Abandoned). It is stored in the same transaction as the
	// end. It must not have effects: it may run again. An operation that is
	// canceled while it waits in the queue ends Undone without any output. Its
	// error counts as the error of the step that it ends. nil changes nothing.
	Finish func(ctx context.Context, op *Op, outcome patchbay.OperationState) (Commit, error)
}

// Commit is what changes in the records together with an operation's begin
// or end, in one transaction.
type Commit struct {
	PutConnection    *patchbay.Connection
	DeleteConnection patchbay.ID // "" for none
	Leftovers        []patchbay.Leftover
	Result           *patchbay.Report  // of a validate
	Swept            *patchbay.Sweep   // of a sweep
	Verdict          *patchbay.Verdict // of a validate: what it says of the connection's health
	Message          string            // a warning that comes with success
}

// Op is an operation as its steps see it.
type Op struct {
	patchbay.Operation
	// Input is what the submitter gave, without secrets; Sealed holds those.
	Input  []byte
	Sealed patchbay.Sealed
	// Outputs are the journalled outputs, by the index of their step in Plan.
	Outputs [][]byte
	// RequestHash tells a repeated submission from another with the same id.
	RequestHash []byte
	// Owner is the process life that drives it.
	Owner string
	// Reason is why it is being undone, kept apart from Error, which may say
	// what the undo itself is stuck on.
	Reason *patchbay.Error
	// Abandon says that an operator has given it up.
	Abandon bool
	// Target is what it works on besides its source, in lower case; "" for nothing.
	Target patchbay.ID
	// Act is who asked for it; nil: it leaves no line in the audit log.
	Act *patchbay.Act
	// Share is the [Submission]'s.
	Share []string
	// Deaths is how often a process died while it drove the operation at this
	// step, in this direction, and Trial what was noted of the attempt.
	Deaths int
	Trial  Trial
}

// Output is what the step of that name returned, nil if it has not ended.
func (op *Op) Output(step string) []byte {
	for i, name := range op.Plan {
		if name == step && i < len(op.Outputs) {
			return op.Outputs[i]
		}
	}
	return nil
}

// Submission is an operation to be begun.
type Submission struct {
	// ID is the operation's: the caller's idempotency key, or minted by it.
	ID          string
	RequestHash []byte
	Kind        patchbay.OperationKind
	Connection  patchbay.ID
	Source      patchbay.ID
	Plan        []string // step names
	Input       []byte
	Sealed      patchbay.Sealed
	By          string
	// Target is what the operation works on besides its source; "" for nothing.
	// How many operations wait for one target is bounded.
	Target patchbay.ID
	// Share is whose part it takes of the steps in flight and of the places at
	// its target, from the outside in: a tenant, a target of it. Who has none
	// shares with all others that have none.
	Share []string
	// Act is who asked, for the audit log: its begin and its end are lines there.
	// Without a caller it is the context's.
	Act patchbay.Act
	// Silent says that it changes nothing, and leaves no line.
	Silent bool
	// Begin is stored in the same transaction (the connection's record with its
	// new state). IfMatch, when not "", is the ETag that the stored connection
	// must have, or [Absent]; otherwise PreconditionFailed.
	Begin   Commit
	IfMatch string
	// Needs are what it takes: resources and resource groups that must be there,
	// and Room, of which there must be some. They are looked at in the same
	// transaction; PreconditionFailed otherwise.
	Needs []patchbay.ID
	Room  []Room
}

// Room bounds how many connections there are below an id, with the one that a
// submission adds.
type Room struct {
	Below patchbay.ID
	Most  int
}

// Absent as a [Submission]'s IfMatch says that there must be no such
// connection yet. No ETag is called so: they have quotes.
const Absent = "absent"
