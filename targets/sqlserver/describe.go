package sqlserver

import (
	"strconv"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "sqlserver", Title: "SQL Server and Azure SQL", Noun: "SQL Server",
	About: `A SQL Server (2016 or later), an Azure SQL Database server or a managed instance,
with an administrator that is a member of db_owner in the databases that
connections name. It need not be a sysadmin: docs/security.md has the statements.`,
	Types: []string{"Microsoft.Sql/servers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is", Form: "HOST:PORT", Example: "10.0.0.5:1433", Required: true},
		Port:  "1433", Schemes: []string{"sqlserver", "mssql"},
	},
	Properties: []patchbay.Field{
		{Name: "sslmode", Type: patchbay.TextField, About: "how far TLS is insisted on, in libpq's words; with disable and require whoever answers is told the administrator's password", Words: driver.Words(tlsModes), Default: string(driver.TLSVerifyFull)},
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tlsServerName", Type: patchbay.TextField, About: "the name in the server's certificate", Default: "the endpoint's host"},
		{Name: "maxSessions", Type: patchbay.TextField, Form: "N", About: "sessions that are opened on it at once to administer it", Default: strconv.Itoa(usualSessions)},
	},
	Admin: []patchbay.Field{
		{Name: "username", Type: patchbay.TextField, About: "the administrator's login", Example: "patchbay_admin"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "the administrator's password", Secret: true},
	},
	AdminForms: [][]string{{"username", "password"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Sessions: true,
	},
	Lacks: []patchbay.Lack{
		{What: "identities, service principals and Windows sign-in", Why: "users of Entra and of Windows are made by who administers those; register it as external for logins that others grant"},
		{What: "logins bound to the source's addresses", Why: "the product's firewall rules are for a whole server or database, not for one login"},
		{What: "an administrator that is a user of one database", Why: "it can't sign in to the server, or end the sessions of others"},
		{What: "named instances", Why: "the port of one is said by a browser service in the clear; register HOST:PORT"},
		{What: "servers that take TDS 8 alone (Force Strict Encryption)", Why: "the settings have no word that has every library begin with TLS"},
		{What: "logins of an availability group whose database is not contained", Why: "a login is made on one replica alone: SET CONTAINMENT = PARTIAL, and its users go wherever the database goes"},
		{What: "databases with signs beyond 16 bits (emoji) in their names", Why: "the client library counts them wrongly, and would sign in to another database"},
		{What: "Azure Synapse and Fabric", Why: "they have other statements for users and rights"},
	},
}
