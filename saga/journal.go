package saga

import (
	"context"
	"errors"
	"slices"
	"time"

	"patchbay.dev/patchbay"
)

// ErrStale says that an [Advance] was not applied: the row is no longer the
// one that it was made from. Who gets it reads the row again.
var ErrStale = errors.New("saga: the operation has changed meanwhile")

// Life is one run of one process: who may drive an operation. Its ID is random,
// never a host's name, so that a restarted process and its zombie differ.
type Life struct {
	ID    string
	Kinds []patchbay.OperationKind // what it knows how to drive
}

// Store is the journal of operations. Package sqlite has one; storetest is the
// suite that each passes.
//
// Every method that writes is one durable transaction: when it returns nil the
// change survives a power cut. An error of code Conflict, OperationInProgress,
// PreconditionFailed or TooManyRequests, and [ErrStale], say that nothing was
// written. After any other error the outcome is unknown, and the caller reads
// the row again before it acts.
//
// A row's version grows by one with every write to it, a change of owner
// included. It is what fences a holder that lost its lease.
type Store interface {
	// Submit writes the operation and its Begin: Running and owned by life when
	// nothing else of its source is active, Queued otherwise. fresh is false when
	// an operation of that id and request hash is already there; it is returned
	// as it stands, and nothing is written.
	//
	// It is a Conflict when the id is another request's; OperationInProgress,
	// whose Subject is the other operation's id, when a change of the connection
	// (see [Changes]) has not ended; PreconditionFailed when IfMatch does not
	// hold, or what it needs is not there; TooManyRequests when limits.Queued
	// operations of the source wait already, or there is no room at the target (see
	// [Limits]). They are looked at in this order. The audit log's line of the
	// operation's begin is written with
	// it (see [Submission].Act).
	Submit(ctx context.Context, life Life, s Submission, limits Limits, now time.Time) (op Op, fresh bool, err error)
	// Advance replaces the row. When the new state is an end and the old one was
	// active, the source's longest waiting operation becomes Running, owned by
	// life, if life knows its kind; promoted is its id, or "". The audit log's
	// line of the end is written with it.
	Advance(ctx context.Context, life Life, a Advance) (promoted string, err error)
	// Load reads one operation; absent is ResourceNotFound.
	Load(ctx context.Context, id string) (Op, error)

	// Renew says that the life will be alive for ttl from now.
	Renew(ctx context.Context, life Life, ttl time.Duration) error
	// Release says that the life ends in order: its operations are orphans at
	// once, and what is taken over of them was no death. still says that a step
	// of it has not stopped: others may take over when its lease has lapsed.
	Release(ctx context.Context, life Life, still bool) error
	// Claim takes over at most limit active operations of kinds that life knows,
	// whose owner is another life that is over, as [Op.TakeOver] says.
	Claim(ctx context.Context, life Life, limit int) ([]Orphan, error)
	// Promote makes Running, owned by life, what waits although its source is
	// idle, the longest waiting of each source, at most limit.
	Promote(ctx context.Context, life Life, now time.Time, limit int) ([]string, error)
	// Mine is the versions of the active operations that life owns, by id.
	Mine(ctx context.Context, life Life) (map[string]int64, error)
	// Waiting counts the operations that are Queued.
	Waiting(ctx context.Context) (int, error)
	// Retire deletes at most limit operations that ended before that time, and
	// says how many it deleted.
	Retire(ctx context.Context, before time.Time, limit int) (int, error)
}

// Orphan is an operation that was taken over.
type Orphan struct {
	ID     string
	Deaths int // see [Op]
}

// Limits bound how many operations there may be at a time.
type Limits struct {
	Queued int // that wait for one source
	// Target is how many work on one target, or wait to. Of those, who is first
	// in the operations' Share may have no more than are left to others.
	Target int
}

// Room reports whether there is room for one more at a target where open
// operations have not ended, own of them of the same share; an operation
// without a share has no own.
func (l Limits) Room(open, own int) bool {
	return open < l.Target && (own == 0 || own < l.Target-open)
}

// Advance is one write to an operation's row.
type Advance struct {
	// Op is the row as it will be, but for its Version: that one, and Owner, are
	// those of the row that it replaces, and it is stale when they differ.
	Op Op
	// Commit is applied in the same transaction.
	Commit Commit
	// Asked is who wants it so, when somebody does (a cancel, a retry): it is a
	// line of its own in the audit log.
	Asked *patchbay.Act
}

// BeginLine is the line that the audit log has of the operation's begin. told
// is false when it leaves none.
func (op *Op) BeginLine() (line patchbay.AuditEntry, told bool) {
	return op.line(patchbay.AuditAccepted, op.Created), op.Act != nil
}

// EndLine is the line of its end, with the first cause of a failure.
func (op *Op) EndLine() (line patchbay.AuditEntry, told bool) {
	line = op.line(patchbay.AuditSucceeded, op.Ended)
	cause := op.Reason
	if cause == nil {
		cause = op.Error
	}
	switch {
	case op.State == patchbay.Done:
	case op.State == patchbay.Undone && op.Cancel && patchbay.CodeOf(cause) == patchbay.Canceled:
		line.Result, line.Code = patchbay.AuditCanceled, patchbay.Canceled
	default:
		line.Result = patchbay.AuditFailed
		if cause != nil {
			line.Code = cause.Code
		}
		if op.State == patchbay.Abandoned {
			line.Detail += ", abandoned"
		}
	}
	return line, op.Act != nil
}

// AskedLine is the line of what somebody asked of it.
func (op *Op) AskedLine() patchbay.AuditEntry { return op.line(patchbay.AuditAccepted, op.Updated) }

func (op *Op) line(result patchbay.AuditResult, at time.Time) patchbay.AuditEntry {
	return patchbay.AuditEntry{
		Time: at, Action: "Patchbay.Connector/operations/" + string(op.Kind) + "/action",
		Resource: op.Connection, Result: result, Operation: op.ID, Detail: string(op.Kind),
	}
}

// Changes reports whether operations of that kind change their connection.
// Of those, one at a time may be there, waiting or active.
func Changes(kind patchbay.OperationKind) bool { return kind != patchbay.OpValidate }

// Clone is a copy that shares nothing that either side may write to.
func (op Op) Clone() Op {
	op.Plan = slices.Clone(op.Plan)
	op.Trail = slices.Clone(op.Trail)
	op.Outputs = slices.Clone(op.Outputs)
	return op
}

// NewOp is the row of a submission: what a [Store] writes for it.
func NewOp(ctx context.Context, life Life, s Submission, state patchbay.OperationState, now time.Time) Op {
	op := Op{
		Operation: patchbay.Operation{
			ID: s.ID, Kind: s.Kind, Connection: s.Connection, Source: s.Source,
			State: state, Plan: slices.Clone(s.Plan), By: s.By, Version: 1,
			Result: s.Begin.Result, Message: s.Begin.Message,
			Created: now, Updated: now,
		},
		Input: s.Input, Sealed: s.Sealed, RequestHash: s.RequestHash, Target: patchbay.ID(s.Target.Key()),
		Share: slices.Clone(s.Share),
	}
	if state == patchbay.Running {
		op.Owner = life.ID
	}
	if !s.Silent {
		op.Act = &s.Act
		if s.Act.Caller == "" {
			act := patchbay.ActOf(ctx)
			op.Act = &act
		}
	}
	return op
}

// Same reports whether op is of this very request; otherwise the error is the
// Conflict that a [Store] answers with.
func (s Submission) Same(op Op) error {
	if string(s.RequestHash) == string(op.RequestHash) {
		return nil
	}
	return &patchbay.Error{
		Code: patchbay.Conflict, Subject: op.ID,
		Message: "the operation id " + op.ID + " is already that of another request",
	}
}

// InProgress is what a [Store] answers while other changes the connection.
func InProgress(connection patchbay.ID, other string, kind patchbay.OperationKind) error {
	return &patchbay.Error{
		Code: patchbay.OperationInProgress, Subject: other,
		Message: "the connection " + string(connection) + " is busy: " + string(kind) + " operation " + other + " has not ended",
		Fix:     "patchbay operation show " + other,
	}
}

// MatchETag checks an If-Match condition against what is stored; found is
// whether anything is.
func MatchETag(id patchbay.ID, ifMatch, stored string, found bool) error {
	switch {
	case ifMatch == "", ifMatch == "*" && found, found && ifMatch == stored, ifMatch == Absent && !found:
		return nil
	case ifMatch == Absent:
		return patchbay.Errorf(patchbay.PreconditionFailed, "%s is there already", id)
	case !found:
		return patchbay.Errorf(patchbay.PreconditionFailed, "If-Match was given, and there is no %s", id)
	}
	return patchbay.Errorf(patchbay.PreconditionFailed, "%s has changed since it was read: its ETag is not %s", id, ifMatch)
}

// Missing is what a [Store] answers when what a submission needs is not there.
func Missing(what patchbay.ID) error {
	return patchbay.Errorf(patchbay.PreconditionFailed, "there is no %s any more", what)
}

// NoRoom is what a [Store] answers when there are as many as there may be.
func NoRoom(r Room) error {
	return patchbay.Errorf(patchbay.PreconditionFailed, "there are %d connections below %s by now", r.Most, r.Below)
}

// QueueFull is what a [Store] answers when a source has too many waiting.
func QueueFull(source patchbay.ID, limit int) error {
	return patchbay.Errorf(patchbay.TooManyRequests, "%d operations of %s wait already", limit, source).
		WithFix("wait until some have ended (patchbay operation list), and ask again").AsTransient()
}

// TargetFull is what a [Store] answers when too many work on a target.
func TargetFull(target patchbay.ID, open int) error {
	return patchbay.Errorf(patchbay.TooManyRequests, "%d operations with the target %s have not ended, which leaves no room for this one", open, target).
		WithFix("wait until some have ended (patchbay operation list), and ask again").AsTransient()
}

// NoOperation is what a [Store] answers when there is none of that id.
func NoOperation(id string) error {
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: "there is no operation " + id + "; ended ones are forgotten after some days"}
}
