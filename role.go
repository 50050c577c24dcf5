package patchbay

import "time"

// RoleDefinition is a named set of actions.
type RoleDefinition struct {
	ID          string   `json:"id"`               // a GUID
	Tenant      string   `json:"tenant,omitempty"` // "" of a built-in role, which every tenant has
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Actions     []string `json:"actions"`    // with * for any part of one: Microsoft.ServiceLinker/*/read
	NotActions  []string `json:"notActions"` // taken away from Actions again
	// Scopes are where it may be assigned; "/" is the whole tenant.
	Scopes     []ID      `json:"scopes"`
	ETag       string    `json:"etag"`
	Created    time.Time `json:"created"`
	CreatedBy  string    `json:"createdBy"`
	Modified   time.Time `json:"modified"`
	ModifiedBy string    `json:"modifiedBy"`
}

// RootScope is a tenant as a whole.
const RootScope ID = "/"

// RoleAssignment gives a role to a principal, at a scope and below it.
type RoleAssignment struct {
	ID            string        `json:"id"` // a GUID
	Tenant        string        `json:"tenant"`
	Scope         ID            `json:"scope"`     // RootScope, a subscription, a resource group, a resource or a connection
	Role          string        `json:"role"`      // the definition's id
	Principal     string        `json:"principal"` // the principal's object id
	PrincipalKind PrincipalKind `json:"principalKind"`
	Description   string        `json:"description,omitempty"`
	Created       time.Time     `json:"created"`
	CreatedBy     string        `json:"createdBy"`
}
