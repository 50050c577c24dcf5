package postgres

import (
	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/pgconnect"
)

var description = patchbay.Driver{
	Name: pgconnect.Registration.Name, Title: "PostgreSQL", Noun: pgconnect.Registration.Noun,
	About: `A PostgreSQL server, with an administrator that may make roles and grant rights
(a superuser, or one with CREATEROLE that owns the databases).`,
	Types:      []string{"Microsoft.DBforPostgreSQL/flexibleServers", "Microsoft.DBforPostgreSQL/servers"},
	Endpoint:   pgconnect.Registration.Endpoint,
	Properties: pgconnect.Registration.Properties,
	Admin:      pgconnect.Registration.Admin,
	AdminForms: pgconnect.Registration.AdminForms,
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Sessions: true, RotatesAdmin: true,
	},
	Lacks: []patchbay.Lack{
		{What: "identities and service principals", Why: "the server has no way to check their tokens; register it as external for logins that others grant"},
		{What: "logins bound to source addresses", Why: "pg_hba.conf decides from where a role may sign in, and it is the machine's, not the database's"},
	},
}
