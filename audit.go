package patchbay

import (
	"context"
	"time"
)

// Act is on whose behalf something is done, and by which request. It travels
// in the context, as a trace's id does, so that every write can say in the
// same transaction, in the audit log, who made it.
type Act struct {
	Caller  string        `json:"caller"`       // for people: a name
	ID      string        `json:"id,omitempty"` // its object id; "" of the local administrator
	Kind    PrincipalKind `json:"kind,omitempty"`
	Tenant  string        `json:"tenant,omitempty"`  // the caller's
	Address string        `json:"address,omitempty"` // where it calls from, without a port
	Request string        `json:"request,omitempty"` // x-ms-request-id
	Action  string        `json:"action"`            // in ARM's words: Microsoft.ServiceLinker/linkers/write
	// Tenants are those that see the act in their audit log: each gets a line.
	// Empty: only the operator of the server sees it.
	Tenants []string `json:"tenants,omitempty"`
}

type actKey struct{}

// WithAct puts the act into the context.
func WithAct(ctx context.Context, a Act) context.Context { return context.WithValue(ctx, actKey{}, a) }

// ActOf is the context's act. What has none is done by the server itself.
func ActOf(ctx context.Context) Act {
	a, ok := ctx.Value(actKey{}).(Act)
	if !ok {
		a.Caller = "patchbay"
	}
	return a
}

// AuditResult is how what an audit line tells of ended.
type AuditResult string

const (
	AuditAccepted  AuditResult = "accepted"  // an operation began
	AuditSucceeded AuditResult = "succeeded" // it is done
	AuditFailed    AuditResult = "failed"    // it was tried, and undone
	AuditCanceled  AuditResult = "canceled"
	AuditRefused   AuditResult = "refused" // the caller may not, or could not sign in
)

// AuditEntry is one line of the audit log: who, from where, what, on what, and
// how it ended. It holds no secret.
type AuditEntry struct {
	Seq       int64         `json:"seq"` // 1, 2, 3… without a gap
	Time      time.Time     `json:"time"`
	Tenant    string        `json:"tenant,omitempty"` // whose log it is in; "" is the operator's alone
	Action    string        `json:"action"`
	Resource  ID            `json:"resource,omitempty"`
	Result    AuditResult   `json:"result"`
	Code      Code          `json:"code,omitempty"` // of a failure or refusal
	Operation string        `json:"operation,omitempty"`
	Caller    string        `json:"caller"`
	CallerID  string        `json:"callerId,omitempty"`
	Kind      PrincipalKind `json:"kind,omitempty"`
	From      string        `json:"from,omitempty"` // the caller's tenant, when it is another
	Address   string        `json:"address,omitempty"`
	Request   string        `json:"request,omitempty"`
	Detail    string        `json:"detail,omitempty"` // a few words: "37 more like it"
	// Previous and Hash chain the lines: Hash covers Previous and everything
	// above. Package audit computes it.
	Previous string `json:"previous"`
	Hash     string `json:"hash"`
}
