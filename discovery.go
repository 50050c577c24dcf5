package patchbay

import "encoding/json"

// Discovered is one thing that was found where applications run: an application,
// which can become a source, or a service beside it, which can become a target.
// Nothing of it is secret.
type Discovered struct {
	// Name is what a person picks it by; no two of one search have the same.
	Name string `json:"name"`
	// Instance tells it from others, across searches by several drivers.
	Instance string `json:"instance,omitempty"`
	What     string `json:"what"`  // in a few words: container of the image shop/web:1
	State    string `json:"state"` // in the platform's words: running, exited, active
	// Service is what kind of service it is; nil of an application.
	Service *DiscoveredService `json:"service,omitempty"`

	// ID, Driver, Kind, Endpoint and Properties are what registers it. The admin
	// credential is not among them.
	ID         ID              `json:"id,omitempty"`
	Driver     string          `json:"driver,omitempty"`
	Kind       string          `json:"kind,omitempty"` // the resource's own
	Endpoint   string          `json:"endpoint,omitempty"`
	Properties json.RawMessage `json:"properties,omitempty"`

	// Registered is the resource that it is already.
	Registered ID `json:"registered,omitempty"`
	// Taken says that ID is that of another resource: it needs another name.
	Taken bool `json:"taken,omitempty"`
	// Connections are those that the registered resource has, as its source or target.
	Connections []DiscoveredConnection `json:"connections,omitempty"`
	// Refused says why it can't be registered as it was found, and Fix what to do.
	Refused string `json:"refused,omitempty"`
	Fix     string `json:"fix,omitempty"`
	// Notes are worth knowing before it is connected.
	Notes []string `json:"notes,omitempty"`
}

// DiscoveredService is what a service is that was found.
type DiscoveredService struct {
	Kind  string `json:"kind,omitempty"` // of targets; "": there is none for it
	Title string `json:"title"`          // PostgreSQL
	By    string `json:"by"`             // what it was known by: image postgres
	// Addresses are where it answers, those first that most can reach.
	Addresses []string `json:"addresses,omitempty"`
	// Credential are the names of the variables that its image keeps the credential in
	// which a registration takes; never their values.
	Credential []string `json:"credential,omitempty"`
	// Needed says that it can't be registered without a credential.
	Needed bool `json:"needed,omitempty"`
}

// DiscoveredConnection is one that is there already.
type DiscoveredConnection struct {
	ID     ID     `json:"id"`
	Name   string `json:"name"`
	Source ID     `json:"source"`
	Target ID     `json:"target,omitempty"`
}
