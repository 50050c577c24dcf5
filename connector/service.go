// Package connector has the use cases: each turns a request into a plan, which
// package saga runs. It is what the wire and the tests call.
package connector

import (
	"context"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/store"
)

// Caller is who asks. It is stored as the creator and modifier.
type Caller struct {
	Name string
	Type string // User, Application, Key
	// Subjects are who it is, one in each tenant that it has a token of. They are
	// kept with an operation, which acts for them: see [Rights].
	Subjects []patchbay.Subject
	// Allow says whether the caller may do an action at a scope: nil when it may;
	// ResourceNotFound when it may not even know that the scope is there;
	// Forbidden otherwise. The wire has asked it about the connection already; the
	// use cases ask it about the other end. Without one nothing is allowed.
	Allow func(ctx context.Context, action string, scope patchbay.ID) error
	// Tell puts a line into the audit log for what the caller asked for and no
	// write or operation is on record for. Without one it is not done. Action and
	// Result may be empty: the request's own, and success. nil: nobody is told.
	Tell func(ctx context.Context, e patchbay.AuditEntry) error
}

// What the use cases ask a [Caller] about.
const (
	// ActionConnect is at a registered target: make a login there and hand it out.
	ActionConnect = "Patchbay.Connector/targets/connect/action"
	// ActionDial is at the source: connect it to an endpoint that nobody has
	// registered.
	ActionDial = "Patchbay.Connector/endpoints/connect/action"
	// ActionHost is at the host of a source that is registered or changed, or that is
	// checked: a source's settings are its files, and its reload command runs there. A
	// source that names none is on the machine that the server runs on, as the server's
	// user: then it is at the source.
	ActionHost = "Patchbay.Connector/hosts/use/action"
)

func (c Caller) tell(ctx context.Context, e patchbay.AuditEntry) error {
	if c.Tell == nil {
		return nil
	}
	return c.Tell(ctx, e)
}

// Trusted is a caller who may do everything: one in the same process.
func Trusted(name string) Caller {
	return Caller{
		Name: name, Type: "User", Subjects: []patchbay.Subject{{Name: name, Operator: true}},
		Allow: func(context.Context, string, patchbay.ID) error { return nil },
	}
}

func (c Caller) allow(ctx context.Context, action string, scope patchbay.ID) error {
	if c.Allow == nil {
		return patchbay.Errorf(patchbay.Forbidden, "%s may not do %s at %s", c.Name, action, scope)
	}
	return c.Allow(ctx, action, scope)
}

// PutRequest makes a connection or replaces its spec.
type PutRequest struct {
	ID      patchbay.ID   // the linker's
	Spec    patchbay.Spec // with the secrets that were given
	Caller  Caller
	IfMatch string // the ETag that it must have, "*" for any; "": no condition
	// OperationID makes a retried request the same operation; "" mints one. A
	// repeated PUT of an equal spec needs none.
	OperationID string
}

// Begun is a request that became an operation. Connection is as a GET answers
// it at this moment.
type Begun struct {
	Connection patchbay.Connection
	Operation  patchbay.Operation
	// Created says that there was no such connection before.
	Created bool
}

// RotateRequest makes a new credential beside the old one, and then revokes
// the old one.
type RotateRequest struct {
	ID      patchbay.ID
	Caller  Caller
	IfMatch string
	// Name and Secret replace a login that was given; they are needed when the
	// connection's login is not Patchbay's own, and refused when it is.
	Name   string
	Secret patchbay.Secret
	// RevokeNow ends the old credential without waiting for its sessions.
	RevokeNow bool
}

// RotateAdminRequest replaces the credential that Patchbay administers a target with.
type RotateAdminRequest struct {
	ID      patchbay.ID // the registered target's
	Caller  Caller
	IfMatch string // the ETag that it must have, "*" for any; "": no condition
}

// ValidateRequest looks whether a connection works.
type ValidateRequest struct {
	ID     patchbay.ID
	Caller Caller
	// Fix applies what is safe first.
	Fix bool
	// From is from where network and sign-in are tried: default from where the
	// application runs. Fix goes with no other, for what it mends is tried from there.
	From patchbay.Vantage
}

// ResourceRequest registers a resource or changes it.
type ResourceRequest struct {
	Resource patchbay.Resource // Admin is ignored
	// Admin is the admin credential; nil keeps the stored one.
	Admin   driver.Secrets
	Caller  Caller
	IfMatch string
	// NoCheck skips asking the resource whether what it is told is true.
	NoCheck bool
}

// Preview is what an operation would do.
type Preview struct {
	Kind     patchbay.OperationKind `json:"kind"`
	Steps    []PreviewStep          `json:"steps"`
	Settings []patchbay.Setting     `json:"settings"` // names; values only of what is no secret, the rest as ‹password›
	Problems []patchbay.Error       `json:"problems,omitempty"`
	Warnings []string               `json:"warnings,omitempty"` // what would come with success
}

// DryrunRequest stores a preview.
type DryrunRequest struct {
	ID      patchbay.ID   // the dryrun's: of a source, or of a location
	Spec    patchbay.Spec // with the secrets that were given; they are not stored
	Caller  Caller
	IfMatch string // the ETag that it must have, "*" for any; "": no condition
}

// PreviewStep is one step of a preview.
type PreviewStep struct {
	Name string `json:"name"`
	Text string `json:"text"` // "create role pb_x7k2m9q4_g1 on orders with writer access"
}

// API is what the wire needs of the use cases; [Service] has it. Lists take
// the last page's next as after.
type API interface {
	// Put begins a create or an update. A PUT equal to what is stored makes
	// nothing twice: it repairs what is not as it was made. While another
	// operation of the connection runs, an equal request is answered with that
	// operation, another is OperationInProgress.
	Put(ctx context.Context, r PutRequest) (Begun, error)
	// Patch merges into the stored spec with merge, and goes on as Put does.
	Patch(ctx context.Context, r PutRequest, merge func(*patchbay.Spec) error) (Begun, error)
	Get(ctx context.Context, id patchbay.ID) (patchbay.Connection, error)
	List(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Connection, string, error)
	// Delete begins a delete. Absent is ResourceNotFound.
	Delete(ctx context.Context, id patchbay.ID, caller Caller, ifMatch string) (Begun, error)
	// Validate begins a validation; its result is in the ended operation.
	Validate(ctx context.Context, r ValidateRequest) (Begun, error)
	// History is what validations of it found, the newest first.
	History(ctx context.Context, id patchbay.ID) ([]patchbay.Verdict, error)
	Rotate(ctx context.Context, r RotateRequest) (Begun, error)
	// Configurations are the settings with their values, as they were written.
	Configurations(ctx context.Context, id patchbay.ID, caller Caller) ([]patchbay.Setting, error)
	// Generate computes the settings under another configurationInfo; nothing is
	// written.
	Generate(ctx context.Context, id patchbay.ID, info *patchbay.ConfigurationInfo, caller Caller) ([]patchbay.Setting, error)
	// Preview says what Put would do, and changes nothing.
	Preview(ctx context.Context, r PutRequest) (Preview, error)

	// PutDryrun previews what a connection of the dryrun's name would do on its
	// source or in its location, and stores that. What is in the way is in the
	// answer, rights that the caller lacks too; only a request that says nothing
	// sensible is an error.
	PutDryrun(ctx context.Context, r DryrunRequest) (d patchbay.Dryrun, created bool, err error)
	Dryrun(ctx context.Context, id patchbay.ID) (patchbay.Dryrun, error)
	// Dryruns lists those of a source or location.
	Dryruns(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Dryrun, string, error)
	DeleteDryrun(ctx context.Context, id patchbay.ID) error

	Operation(ctx context.Context, id string) (patchbay.Operation, error)
	Operations(ctx context.Context, f store.OperationFilter, after string, limit int) ([]patchbay.Operation, string, error)
	// Wait answers when the operation's version is above version or it has
	// ended, or with what is known when ctx ends.
	Wait(ctx context.Context, id string, version int64) (patchbay.Operation, error)
	Cancel(ctx context.Context, id string, caller Caller) (patchbay.Operation, error)
	Retry(ctx context.Context, id string, caller Caller) (patchbay.Operation, error)
	Abandon(ctx context.Context, id string, caller Caller) (patchbay.Operation, error)

	Leftovers(ctx context.Context, after string, limit int) ([]patchbay.Leftover, string, error)
	Leftover(ctx context.Context, id string) (patchbay.Leftover, error)
	// Forget strikes a leftover off the list without removing what it stands for:
	// its resource is gone for good, or somebody took care of it by hand.
	Forget(ctx context.Context, id string, caller Caller) error
	// Sweep begins an operation that tries every leftover now, and looks on every
	// resource for marks that no connection owns. Each of those that is removed is
	// told of before. While one has not ended, another is that one.
	Sweep(ctx context.Context, caller Caller) (patchbay.Operation, error)

	PutResource(ctx context.Context, r ResourceRequest) (res patchbay.Resource, created bool, warnings []string, err error)
	Resource(ctx context.Context, id patchbay.ID) (patchbay.Resource, error)
	Resources(ctx context.Context, scope patchbay.ID, after string, limit int) ([]patchbay.Resource, string, error)
	DeleteResource(ctx context.Context, id patchbay.ID, ifMatch string) error
	// RotateAdmin begins to replace the credential that a target is administered with by
	// one that nobody but Patchbay knows. While it is under way, asking again is that one.
	RotateAdmin(ctx context.Context, r RotateAdminRequest) (patchbay.Operation, error)
	// CheckHost says what a registered machine lets us do; each with what is missing,
	// and the fix.
	CheckHost(ctx context.Context, id patchbay.ID, caller Caller) ([]patchbay.Finding, error)
	// Discover finds applications and the services beside them where a source driver
	// looks, and says of each what registers it, and what is there already.
	Discover(ctx context.Context, r DiscoverRequest) ([]patchbay.Discovered, error)
	// Take registers a service that Discover finds with the credential that its image
	// keeps, which goes from there into the record and nowhere else.
	Take(ctx context.Context, r TakeRequest) (res patchbay.Resource, created bool, warnings []string, err error)
	Tenants(ctx context.Context) ([]patchbay.Tenant, error)
	// PutTenant makes a tenant or renames it. Its id is a GUID.
	PutTenant(ctx context.Context, t patchbay.Tenant) error
	Subscriptions(ctx context.Context) ([]patchbay.Subscription, error)
	// PutSubscription makes a subscription or renames it. Its id is a GUID, its
	// tenant is there, and one that exists stays in its tenant (Conflict).
	PutSubscription(ctx context.Context, sub patchbay.Subscription) error
	ResourceGroups(ctx context.Context, subscription string) ([]patchbay.ResourceGroup, error)
	ResourceGroup(ctx context.Context, id patchbay.ID) (patchbay.ResourceGroup, error)
	PutResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error
	// UpdateResourceGroup writes one that is there; one that is gone is
	// ResourceNotFound, and stays so.
	UpdateResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error
	DeleteResourceGroup(ctx context.Context, id patchbay.ID) error
	// Process gives the environment that `patchbay run` starts a process with:
	// every setting of the source.
	Process(ctx context.Context, source patchbay.ID, caller Caller) (map[string]patchbay.Secret, error)
}

// DefaultOverlap is how long an old credential keeps working, at least, after
// the new one is in place: time for a reader of the old settings to have
// signed in.
const DefaultOverlap = 2 * time.Second
