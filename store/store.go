// Package store is what the use cases ask of the records: reading them, and
// the writes that no operation makes. The writes of operations are the saga's.
//
// A missing record is a [patchbay.Error] of code ResourceNotFound. Reads see
// every write that was acknowledged before them.
package store

import (
	"context"

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
	// must have ("*": that there is one); otherwise PreconditionFailed.
	PutResource(ctx context.Context, r patchbay.Resource, ifMatch string) error
	// DeleteResource removes it. It is a Conflict while a connection has it as
	// source or target. Absent is ResourceNotFound.
	DeleteResource(ctx context.Context, id patchbay.ID, ifMatch string) error

	Subscriptions(ctx context.Context) ([]patchbay.Subscription, error)
	PutSubscription(ctx context.Context, s patchbay.Subscription) error
	ResourceGroups(ctx context.Context, subscription string) ([]patchbay.ResourceGroup, error)
	ResourceGroup(ctx context.Context, id patchbay.ID) (patchbay.ResourceGroup, error)
	PutResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error
	DeleteResourceGroup(ctx context.Context, id patchbay.ID) error

	// Operation is one operation, ended ones included until they are retired.
	Operation(ctx context.Context, id string) (patchbay.Operation, error)
	Operations(ctx context.Context, f OperationFilter, after string, limit int) (page []patchbay.Operation, next string, err error)

	Leftovers(ctx context.Context, after string, limit int) (page []patchbay.Leftover, next string, err error)
	PutLeftover(ctx context.Context, l patchbay.Leftover) error
	DeleteLeftover(ctx context.Context, id string) error
}

// OperationFilter narrows a list of operations, newest first. Zero fields do
// not.
type OperationFilter struct {
	Connection patchbay.ID
	Source     patchbay.ID
	Active     bool // only those that have not ended
}
