package patchbay

import "time"

// Tenant is a wall: nothing of one shows in another. Subscriptions, and with
// them everything in an inventory, belong to one; so do principals.
type Tenant struct {
	ID          string `json:"tenantId"` // a GUID
	DisplayName string `json:"displayName"`
}

// PrincipalKind is what a principal is, in ARM's words.
type PrincipalKind string

const (
	UserPrincipal    PrincipalKind = "User"
	ServicePrincipal PrincipalKind = "ServicePrincipal"
	GroupPrincipal   PrincipalKind = "Group"
)

// Principal is a caller that roles can be assigned to. A principal of the
// built-in issuer is a service principal and signs in with a client secret;
// one of a configured provider is known by its subject there, or by its group.
type Principal struct {
	ID       string        `json:"id"`              // its object id, a GUID
	AppID    string        `json:"appId,omitempty"` // its client id, a GUID; of a service principal
	Tenant   string        `json:"tenant"`
	Name     string        `json:"name"`
	Kind     PrincipalKind `json:"kind"`
	Provider string        `json:"provider,omitempty"` // a configured provider's name; "" is the built-in issuer
	Subject  string        `json:"subject,omitempty"`  // its subject, or its group's name, at the provider
	Disabled bool          `json:"disabled,omitempty"`
	// Secrets are those that it may sign in with. There may be two, so that one
	// replaces the other without a gap.
	Secrets []ClientSecret `json:"secrets,omitempty"`
	// TokensFrom is when the tokens that are still good begin: older ones were
	// issued for a secret that is gone.
	TokensFrom time.Time `json:"tokensFrom,omitzero"`
	ETag       string    `json:"etag"`
	Created    time.Time `json:"created"`
	CreatedBy  string    `json:"createdBy"`
	Modified   time.Time `json:"modified"`
	ModifiedBy string    `json:"modifiedBy"`
}

// ClientSecret is a service principal's secret as it is kept: a slow hash.
type ClientSecret struct {
	ID      string    `json:"id"`
	Hash    string    `json:"hash"`
	Hint    string    `json:"hint"` // its first three characters, to tell it from others
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// SigningKey signs the built-in issuer's tokens.
type SigningKey struct {
	ID        string    `json:"id"` // kid
	Algorithm string    `json:"algorithm"`
	Created   time.Time `json:"created"`
	// Retired is when it signed last; tokens of before are good until they expire.
	Retired time.Time `json:"retired,omitzero"`

	// Sealed is the private key.
	Sealed Sealed `json:"-"`
}

// Subject is a caller that has signed in: who it is, and which groups it is in.
// Operations keep whom they act for.
type Subject struct {
	ID     string        `json:"id,omitempty"`    // object id; "" of the operator
	AppID  string        `json:"appId,omitempty"` // client id, of a service principal
	Tenant string        `json:"tenant,omitempty"`
	Name   string        `json:"name"` // for people
	Kind   PrincipalKind `json:"kind,omitempty"`
	Groups []string      `json:"groups,omitempty"` // object ids of groups
	// TokensFrom is its principal's when it signed in. When that is another one by
	// now, its tokens have ended.
	TokensFrom time.Time `json:"tokensFrom,omitzero"`
	// Operator says that it is the local administrator of the server, who may do
	// everything in every tenant.
	Operator bool `json:"operator,omitempty"`
}
