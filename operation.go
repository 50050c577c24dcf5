package patchbay

import "time"

// OperationKind is what an operation does.
type OperationKind string

const (
	OpCreate   OperationKind = "create"
	OpUpdate   OperationKind = "update"
	OpRotate   OperationKind = "rotate"
	OpDelete   OperationKind = "delete"
	OpValidate OperationKind = "validate"
	OpSweep    OperationKind = "sweep" // of no connection: see [AllLeftovers]
	// OpRotateAdmin is of a resource, which is in the place of connection and source.
	OpRotateAdmin OperationKind = "rotateAdmin"
)

// OperationState is where an operation is. The last three are ends.
type OperationState string

const (
	Queued    OperationState = "queued"    // waits for an earlier one of its source
	Running   OperationState = "running"   // goes forward
	Undoing   OperationState = "undoing"   // rolls back
	Done      OperationState = "done"      // did what was asked
	Undone    OperationState = "undone"    // failed or was canceled; everything is as it was
	Abandoned OperationState = "abandoned" // an operator gave it up; what it left is a leftover
)

// Ended reports whether the operation is over.
func (s OperationState) Ended() bool { return s == Done || s == Undone || s == Abandoned }

// Operation is one long-running create, update, rotate, delete, validate, sweep or
// replacement of an administrator's credential, as its watchers see it.
type Operation struct {
	ID         string         `json:"id"`
	Kind       OperationKind  `json:"kind"`
	Connection ID             `json:"connection"`
	Source     ID             `json:"source"`
	State      OperationState `json:"state"`
	Plan       []string       `json:"plan"` // step names, fixed at submit
	Step       int            `json:"step"` // the one step that may be in flight
	Attempt    int            `json:"attempt"`
	Cancel     bool           `json:"cancel"`
	Trail      []StepRun      `json:"trail"`           // steps that ended, in order, both ways
	Error      *Error         `json:"error,omitempty"` // why it was undone, or what it is stuck on
	// Attention says that it can't go on by itself: a source does not let a
	// step end. It is derived, and heals when the source does.
	Attention bool      `json:"attention"`
	Result    *Report   `json:"result,omitempty"`  // of a validate
	Swept     *Sweep    `json:"swept,omitempty"`   // of a sweep
	Message   string    `json:"message,omitempty"` // a warning that comes with success
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"`
	Ended     time.Time `json:"ended,omitzero"`
	By        string    `json:"by"`
	// Version counts the commits: a watcher waits for a higher one.
	Version int64 `json:"version"`
}

// StepRun is one step that ended, forward or back.
type StepRun struct {
	Name     string    `json:"name"`
	Undo     bool      `json:"undo,omitempty"`
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended"`
	Attempts int       `json:"attempts"`
	Parked   bool      `json:"parked,omitempty"` // what it should have removed is a leftover now
	Error    *Error    `json:"error,omitempty"`
}
