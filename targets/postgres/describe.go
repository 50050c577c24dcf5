package postgres

import (
	"strconv"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "postgres", Title: "PostgreSQL", Noun: "PostgreSQL server",
	About: `A PostgreSQL server, with an administrator that may make roles and grant rights
(a superuser, or one with CREATEROLE that owns the databases).`,
	Types: []string{"Microsoft.DBforPostgreSQL/flexibleServers", "Microsoft.DBforPostgreSQL/servers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is", Form: "HOST:PORT", Example: "10.0.0.5:5432", Required: true},
		Port:  "5432", Schemes: []string{"postgres", "postgresql"},
	},
	Properties: []patchbay.Field{
		{Name: "sslmode", Type: patchbay.TextField, About: "how far TLS is insisted on, in libpq's words", Words: driver.Words(driver.TLSModes), Default: "prefer"},
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tlsServerName", Type: patchbay.TextField, About: "the name in the server's certificate", Default: "the endpoint's host"},
		{Name: "weakestAuth", Type: patchbay.TextField, About: "the weakest way to sign in that is answered", Words: driver.Words(auths), Default: "password where the certificate proves who asks, scram-sha-256-plus where TLS proves nothing, else scram-sha-256"},
		{Name: "database", Type: patchbay.TextField, About: "where the administrator works on what belongs to no database", Default: "postgres"},
		{Name: "maxSessions", Type: patchbay.TextField, Form: "N", About: "sessions that are opened on it at once to administer it, whatever the number of databases", Default: strconv.Itoa(usualSessions)},
	},
	Admin: []patchbay.Field{
		{Name: "username", Type: patchbay.TextField, About: "the administrator's name", Example: "postgres"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "the administrator's password", Secret: true},
		{Name: "clientCert", Flag: "admin-cert", Type: patchbay.FileField, About: "the administrator's client certificate, in PEM", Secret: true},
		{Name: "clientKey", Flag: "admin-key", Type: patchbay.FileField, About: "the key of that certificate, in PEM", Secret: true},
	},
	AdminForms: [][]string{{"username"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Sessions: true,
	},
	Lacks: []patchbay.Lack{
		{What: "identities and service principals", Why: "the server has no way to check their tokens; register it as external for logins that others grant"},
		{What: "logins bound to source addresses", Why: "pg_hba.conf decides from where a role may sign in, and it is the machine's, not the database's"},
	},
}
