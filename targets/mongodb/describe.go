package mongodb

import (
	"strconv"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "mongodb", Title: "MongoDB", Noun: "MongoDB server",
	About: `A MongoDB server of version 4.4 or later with access control enabled, a replica set,
or the mongos of a sharded cluster. Its administrator is a user with userAdmin on the
databases that are connected: docs/security.md has the commands.`,
	Types: []string{"Patchbay.Services/mongodbServers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is; of a replica set or of several mongos, some of them with commas between them", Form: "HOST:PORT", Example: "10.0.0.7:27017", Required: true},
		Port:  strconv.Itoa(defaultPort), Schemes: []string{"mongodb"},
	},
	Properties: []patchbay.Field{
		{Name: "sslmode", Type: patchbay.TextField, About: "how far TLS is insisted on, in libpq's words; disable is without, and shows new passwords to who listens", Words: driver.Words(modes), Default: string(driver.TLSVerifyFull)},
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the servers' certificates may be of, in PEM", Default: "the system's"},
		{Name: "directConnection", Type: patchbay.BoolField, About: "speak with the server of the endpoint alone, and have applications do so, although it is of a replica set whose members have names that are not known here"},
	},
	Admin: []patchbay.Field{
		{Name: "username", Flag: "admin", Type: patchbay.TextField, About: "the administrator's name", Example: "patchbay"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "the administrator's password", Secret: true},
		{Name: "database", Flag: "admin-database", Type: patchbay.TextField, About: "the database that the administrator is a user of", Default: adminDatabase},
		{Name: "clientCert", Flag: "admin-cert", Type: patchbay.FileField, About: "the administrator's client certificate, in PEM; without a password it signs in by it (MONGODB-X509)", Secret: true},
		{Name: "clientKey", Flag: "admin-key", Type: patchbay.FileField, About: "the key of that certificate, in PEM", Secret: true},
	},
	AdminForms: [][]string{{"username", "password"}, {"clientCert", "clientKey"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: accesses,
		Sessions: true,
		Sources:  true,
	},
	Lacks: []patchbay.Lack{
		{What: "names that stand for servers (mongodb+srv)", Why: "a name server's answer would decide who is told a new password; name the servers"},
		{What: "Atlas and Cosmos DB", Why: "their users are made by an API of the provider; register them as external"},
		{What: "FerretDB and DocumentDB", Why: "their users have no mark of ours, or no roles; register them as external"},
		{What: "servers that ask every client for a certificate", Why: "no setting tells an application of one; set net.tls.allowConnectionsWithoutCertificates"},
		{What: "another name in the certificate than the one that is connected to", Why: "MongoDB's libraries can't be told one; have the name added to the certificate"},
		{What: "the end of rights at once on every mongos", Why: "a mongos keeps what a user may do for userCacheInvalidationIntervalSecs, 30 seconds; only the one that is asked to drop a user forgets it at once"},
		{What: "the end of open connections", Why: "MongoDB has no command for it: a connection of a dropped user stays open, as that of nobody"},
		{What: "roles that reach beyond their database, or administer users", Why: "who has one can give itself more than was asked for"},
		{What: "identities and service principals", Why: "MongoDB checks tokens in its Enterprise edition alone; register it as external for logins that others grant"},
	},
}
