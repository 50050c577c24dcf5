// Package settings knows what client libraries read: for a target kind, a
// client type and an auth type, the names of the settings and the form of
// their values.
package settings

import (
	"patchbay.dev/patchbay"
)

// Values are what settings are made of, by name. The names that every driver
// of a database shares are host, port, database, username, password and
// sslmode (disable, require, verify-ca or verify-full); of NATS url, jwt, seed,
// username and password. Each kind documents its own in its [Kind].
type Values map[string]patchbay.Secret

// Request asks for the settings of one connection.
type Request struct {
	Kind       string // of the target: postgresql, redis, nats…
	Client     patchbay.ClientType
	Auth       patchbay.AuthType
	Naming     patchbay.Naming // "": the kind's default
	Connection string          // the connection's name, inserted on a collision
	// Taken reports that somebody else has that name on the source; nil: nobody.
	Taken      func(name string) bool
	Customized map[string]string // default name → name, the default's case ignored
	// ConnectionString is appended to the end of composite strings.
	ConnectionString map[string]string
	Additional       map[string]string // further settings, as they are
	// SecretURI is the Key Vault secret that holds the password; composite
	// strings are then split, so that only the password is a reference.
	SecretURI string
	Values    Values
}

// Kind is what the table knows of one kind of target.
type Kind struct {
	Name    string                // postgresql
	Title   string                // PostgreSQL
	Types   []string              // ARM types of a connection's target id, or target service types
	CLI     []string              // the words that az has for it: postgres, postgres-flexible
	Naming  patchbay.Naming       // the default
	Namings []patchbay.Naming     // those that it has names for
	Clients []patchbay.ClientType // with the default naming
	Auths   []patchbay.AuthType   // with the default naming
	Values  []Value
}

// Value is one thing that settings are made of.
type Value struct {
	Name     string
	Text     string // what it is, in a few words
	Default  string // may refer to other values, as {account}; "": there is none
	Example  string
	Words    []string            // the only ones allowed; empty: any
	Auths    []patchbay.AuthType // it exists only with these; empty: with all
	Secret   bool
	Optional bool // a request may leave it out
}

// Name is a setting that a connection may have, before any collision.
type Name struct {
	Name        string
	Description string
	Secret      bool // it holds a credential
	Optional    bool // it is written only when its values are given, or are not the default ones
	File        bool
}

// Render gives the settings of a connection, in the order of the table.
func Render(r Request) ([]patchbay.Setting, error) {
	return nil, patchbay.Errorf(patchbay.NotSupported, "the settings table is not loaded yet")
}

// Parse is the reverse of [Render]: given the request (its Values are not
// looked at) and what a source holds under the settings' names, it recovers
// the values.
func Parse(r Request, have map[string]patchbay.Secret) (Values, error) {
	return nil, patchbay.Errorf(patchbay.NotSupported, "the settings table is not loaded yet")
}

// Names are the settings that a connection of that kind, client type and auth
// type may have, with the naming; "" is the kind's default.
func Names(kind string, client patchbay.ClientType, auth patchbay.AuthType, naming patchbay.Naming) ([]Name, error) {
	return nil, patchbay.Errorf(patchbay.NotSupported, "the settings table is not loaded yet")
}

// Kinds are all kinds, sorted by name.
func Kinds() []Kind { return nil }

// KindOf is the kind of a target of that ARM type, with its sub-resource
// (Microsoft.DBforPostgreSQL/flexibleServers/databases), or target service
// type (ConfluentBootstrapServer). Case does not matter.
func KindOf(resourceType string) (kind string, ok bool) { return "", false }

// Variant is the kind for a resource whose own kind property is resourceKind:
// an account of Cognitive Services of kind OpenAI has names of its own.
func Variant(kind, resourceKind string) string { return kind }

// DefaultNaming is the naming of connections that do not choose one.
func DefaultNaming(kind string) patchbay.Naming { return patchbay.NamingAzure }

// Markdown is the whole table as a page of the documentation.
func Markdown() string { return "" }
