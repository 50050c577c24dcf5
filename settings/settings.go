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
