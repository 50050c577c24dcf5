package patchbay

import "time"

// Dryrun is a stored preview of a create or update: what stands in its way, and
// what it would do. It is an extension resource of a source, or of a location.
type Dryrun struct {
	ID    ID    `json:"id"`
	Spec  Spec  `json:"spec"` // without its secrets
	State State `json:"state"`
	// Missing are the rights that the caller lacks for it.
	Missing []MissingRights `json:"missing,omitempty"`
	// Problems are what else is in the way.
	Problems       []Error         `json:"problems,omitempty"`
	Steps          []DryrunPreview `json:"steps"`
	ETag           string          `json:"etag"`
	Created        time.Time       `json:"created"`
	CreatedBy      string          `json:"createdBy"`
	CreatedByType  string          `json:"createdByType,omitempty"` // User, Application or Key
	Modified       time.Time       `json:"modified"`
	ModifiedBy     string          `json:"modifiedBy"`
	ModifiedByType string          `json:"modifiedByType,omitempty"`
}

// MissingRights are actions that a caller lacks at a scope, and the role that
// has them.
type MissingRights struct {
	Scope   ID       `json:"scope"`
	Actions []string `json:"actions"`
	Role    string   `json:"role"` // a role's name
}

// DryrunPreview is one effect that the connection would have.
type DryrunPreview struct {
	Name        string `json:"name"`          // the step
	Kind        string `json:"operationType"` // configConnection, configNetwork, configAuth
	Description string `json:"description"`
	Action      string `json:"action"` // what is done: "write settings"
	Scope       ID     `json:"scope"`  // to what
}
