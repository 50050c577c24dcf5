// Package store is what the use cases ask of the records: reading them, and
// the writes that no operation makes. The writes of operations are the saga's.
//
// A missing record is a [patchbay.Error] of code ResourceNotFound. Reads see
// every write that was acknowledged before them.
package store

import (
	"context"
	"time"

	"patchbay.dev/patchbay"
)

// MaxPage is the largest page that a list gives, whatever is asked for.
const MaxPage = 1000

// Records are the stored records. package sqlite has them; storetest is the
// suite that every implementation passes.
type Records interface {
	Connection(ctx context.Context, id patchbay.ID) (patchbay.Connection, error)
	// Connections lists those of a source in the order of their names; source ""
	// lists all, in the order of their ids. after is the last page's next, ""
	// for the first; next is "" at the end.
	Connections(ctx context.Context, source patchbay.ID, after string, limit int) (page []patchbay.Connection, next string, err error)
	// ConnectionsOf lists those whose source or target is resource or a child of
	// it; at most limit.
	ConnectionsOf(ctx context.Context, resource patchbay.ID, limit int) ([]patchbay.Connection, error)

	Resource(ctx context.Context, id patchbay.ID) (patchbay.Resource, error)
	// Resources lists those at or below scope (a subscription, a resource group);
	// "" lists all.
	Resources(ctx context.Context, scope patchbay.ID, after string, limit int) (page []patchbay.Resource, next string, err error)
	// PutResource writes r. ifMatch, when not "", is the ETag that the stored one
	// must have ("*": that there is one; [Absent]: that there is none); otherwise
	// PreconditionFailed. Its resource group has to be there (ResourceNotFound).
	PutResource(ctx context.Context, r patchbay.Resource, ifMatch string) error
	// DeleteResource removes it, with the dryruns of what it was a source of. It is
	// a Conflict while a connection has it as source or target. Absent is
	// ResourceNotFound.
	DeleteResource(ctx context.Context, id patchbay.ID, ifMatch string) error

	Subscriptions(ctx context.Context) ([]patchbay.Subscription, error)
	PutSubscription(ctx context.Context, s patchbay.Subscription) error
	ResourceGroups(ctx context.Context, subscription string) ([]patchbay.ResourceGroup, error)
	ResourceGroup(ctx context.Context, id patchbay.ID) (patchbay.ResourceGroup, error)
	PutResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error
	// UpdateResourceGroup writes one that is there. One that is gone is
	// ResourceNotFound.
	UpdateResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error
	// DeleteResourceGroup removes it, with the dryruns of its locations. It is a
	// Conflict while there are resources or connections in it.
	DeleteResourceGroup(ctx context.Context, id patchbay.ID) error

	// Operation is one operation, ended ones included until they are retired.
	Operation(ctx context.Context, id string) (patchbay.Operation, error)
	Operations(ctx context.Context, f OperationFilter, after string, limit int) (page []patchbay.Operation, next string, err error)

	Leftovers(ctx context.Context, after string, limit int) (page []patchbay.Leftover, next string, err error)
	Leftover(ctx context.Context, id string) (patchbay.Leftover, error)
	// LeftoversOf are those that one connection left, however many there are.
	LeftoversOf(ctx context.Context, connection patchbay.ID) ([]patchbay.Leftover, error)
	// LeftoversAt are those at one resource, however many there are elsewhere.
	LeftoversAt(ctx context.Context, resource patchbay.ID) ([]patchbay.Leftover, error)
	// UpdateLeftover writes one that is there: those of operations are written
	// with them. One that is gone is ResourceNotFound.
	UpdateLeftover(ctx context.Context, l patchbay.Leftover) error
	DeleteLeftover(ctx context.Context, id string) error
}

// MaxVerdicts is how many verdicts of a connection are kept.
const MaxVerdicts = 50

// Verdicts keeps what validations found. Nobody asked for most of them: they have no line
// in the audit log.
type Verdicts interface {
	// PutVerdict puts v behind the last one of its connection ([patchbay.Verdict].Behind).
	// A connection that is gone, or another one by now, is ResourceNotFound.
	PutVerdict(ctx context.Context, v patchbay.Verdict) error
	// Verdicts lists a connection's, the newest first. They go with the connection.
	Verdicts(ctx context.Context, connection patchbay.ID) ([]patchbay.Verdict, error)
	// Unseen lists connections that nobody has looked at since then, the longest ago
	// first, and at most limit; those that were made since are none.
	Unseen(ctx context.Context, since time.Time, limit int) ([]Glance, error)
	// CountHealth counts connections by their health.
	CountHealth(ctx context.Context) (map[patchbay.Health]int, error)
}

// Glance is what is to be known of a connection before it is looked at.
type Glance struct {
	ID     patchbay.ID
	Source patchbay.ID // "" of a local connection
	Target patchbay.ID // the registered one or its child, in lower case; "" for none
	Last   time.Time   // when it was looked at last; zero: never
}

// Counter counts records without reading them.
type Counter interface {
	// CountConnections counts those below scope (a subscription), local ones
	// included.
	CountConnections(ctx context.Context, scope patchbay.ID) (int, error)
	// CountResources counts those below scope.
	CountResources(ctx context.Context, scope patchbay.ID) (int, error)
}

// OperationFilter narrows a list of operations, newest first. Zero fields do
// not.
type OperationFilter struct {
	Connection patchbay.ID
	Source     patchbay.ID
	Active     bool // only those that have not ended
}

// Directory keeps who may call.
type Directory interface {
	Tenants(ctx context.Context) ([]patchbay.Tenant, error)
	PutTenant(ctx context.Context, t patchbay.Tenant) error

	// Principals lists a tenant's, or with "" all, in the order of their ids.
	Principals(ctx context.Context, tenant, after string, limit int) (page []patchbay.Principal, next string, err error)
	Principal(ctx context.Context, id string) (patchbay.Principal, error)
	PrincipalByApp(ctx context.Context, appID string) (patchbay.Principal, error)
	// PrincipalBySubject finds one of a configured provider.
	PrincipalBySubject(ctx context.Context, provider string, kind patchbay.PrincipalKind, subject string) (patchbay.Principal, error)
	// PutPrincipal writes p; ifMatch as in [Records].PutResource, and [Absent] for
	// a new one. A client id, or a subject at its provider, that another has is a
	// Conflict.
	PutPrincipal(ctx context.Context, p patchbay.Principal, ifMatch string) error
	// DeletePrincipal removes it and its role assignments.
	DeletePrincipal(ctx context.Context, id string, ifMatch string) error

	// SigningKeys lists all, oldest first.
	SigningKeys(ctx context.Context) ([]patchbay.SigningKey, error)
	PutSigningKey(ctx context.Context, k patchbay.SigningKey) error
	DeleteSigningKey(ctx context.Context, id string) error
}

// Roles keeps who may do what. Removing a resource, a resource group or a
// connection removes the assignments at it and below in the same write: one of
// the same name starts with none.
type Roles interface {
	// RoleDefinitions lists a tenant's own, or with "" all; built-in ones are not
	// kept.
	RoleDefinitions(ctx context.Context, tenant string) ([]patchbay.RoleDefinition, error)
	// PutRoleDefinition writes d. A name that another definition of the tenant
	// has, in any case, is a Conflict; so is that it is assigned where none of its
	// scopes would be.
	PutRoleDefinition(ctx context.Context, d patchbay.RoleDefinition, ifMatch string) error
	// DeleteRoleDefinition is a Conflict while it is assigned.
	DeleteRoleDefinition(ctx context.Context, tenant, id string) error

	// RoleAssignments lists a tenant's, or with "" all.
	RoleAssignments(ctx context.Context, tenant string) ([]patchbay.RoleAssignment, error)
	// PutRoleAssignment writes a new one. One of that id, or of the same scope, role
	// and principal, is a Conflict, whose Subject is its id. What it is about has to
	// be there in that same write, or it would be given by what comes later under
	// the name: its scope (see [HeldBy]; ResourceNotFound), its principal, in its
	// tenant (PrincipalNotFound), and, unless the role is built in, its definition
	// (RoleNotFound), with a scope that covers this one (InvalidArgument).
	PutRoleAssignment(ctx context.Context, a patchbay.RoleAssignment, builtin bool) error
	// DescribeRoleAssignment gives the one that there is another description.
	DescribeRoleAssignment(ctx context.Context, tenant, id, description string) error
	DeleteRoleAssignment(ctx context.Context, tenant, id string) error

	// RolesVersion is another number after every write that changed a definition
	// or an assignment, those included that go with what they were about. It
	// reads nothing: decisions are made from memory, and ask it each time.
	RolesVersion() int64
}

// Dryruns keeps stored previews.
type Dryruns interface {
	Dryrun(ctx context.Context, id patchbay.ID) (patchbay.Dryrun, error)
	// Dryruns lists those of a source or location in the order of their names.
	Dryruns(ctx context.Context, source patchbay.ID, after string, limit int) (page []patchbay.Dryrun, next string, err error)
	// PutDryrun writes d. What it is of has to be there: its source, or the resource
	// group of its location (ResourceNotFound).
	PutDryrun(ctx context.Context, d patchbay.Dryrun, ifMatch string) error
	DeleteDryrun(ctx context.Context, id patchbay.ID) error
}

// Audit keeps the audit log. Every write of this package's interfaces and of
// the saga appends its line in its own transaction, with the context's
// [patchbay.Act]; AppendAudit is for what writes nothing else: secrets that
// are read, sign-ins, refusals.
type Audit interface {
	// AppendAudit appends e; its Seq, Previous and Hash are the store's.
	AppendAudit(ctx context.Context, e patchbay.AuditEntry) error
	// AuditEntries lists those behind seq after, oldest first.
	AuditEntries(ctx context.Context, f AuditFilter, after int64, limit int) ([]patchbay.AuditEntry, error)
	// AuditHead is the last line's number and hash, as noted apart from the lines,
	// with a seal over the two.
	AuditHead(ctx context.Context) (AuditHead, error)
}

// AuditFilter narrows a list of audit entries. Zero fields do not.
type AuditFilter struct {
	Tenant   *string     // nil: all; "" is the operator's
	Resource patchbay.ID // it and what is below it
	Caller   string      // name or object id
	Action   string      // in any case
	Result   patchbay.AuditResult
	Since    time.Time
	Until    time.Time
}

// AuditHead says where the audit log ends.
type AuditHead struct {
	Seq  int64
	Hash string
	Seal string
}

// Chain computes the hashes of the audit log, with a key that the store
// doesn't have.
type Chain interface {
	// Line is the hash of a line with everything but its Hash set.
	Line(e patchbay.AuditEntry) string
	// Head is the seal of a head.
	Head(seq int64, hash string) string
}

// Absent as a condition says that there must be no such record yet.
const Absent = "absent"
