package mysql

import (
	"strconv"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "mysql", Title: "MySQL and MariaDB", Noun: "MySQL server",
	About: `A MySQL server (8.0.21 or later) or a MariaDB server (10.5 or later), with an
administrator that may make accounts and give rights on the databases. A superuser is
not needed: docs/security.md has the statements.`,
	Types: []string{"Microsoft.DBforMySQL/flexibleServers", "Microsoft.DBforMySQL/servers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is", Form: "HOST:PORT", Example: "10.0.0.5:3306", Required: true},
		Port:  "3306", Schemes: []string{"mysql", "mariadb"},
	},
	Properties: []patchbay.Field{
		{Name: "sslmode", Type: patchbay.TextField, About: "how far TLS is insisted on, in libpq's words; from require on, the logins are told to insist too (REQUIRE SSL)", Words: driver.Words(driver.TLSModes), Default: string(driver.TLSPrefer)},
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tlsServerName", Type: patchbay.TextField, About: "the name in the server's certificate", Default: "the endpoint's host"},
		{Name: "weakestAuth", Type: patchbay.TextField, About: "the weakest way to sign in that is answered: proof shows the password to nobody, password tells it to who asks", Words: driver.Words(auths), Default: "password where the certificate proves who asks, else proof"},
		{Name: "passwordPlugin", Type: patchbay.TextField, About: "how the server keeps the passwords of logins", Words: []string{pluginNative, pluginSHA2}, Default: pluginSHA2 + " on MySQL, " + pluginNative + " on MariaDB"},
		{Name: "maxSessions", Type: patchbay.TextField, Form: "N", About: "sessions that are opened on it at once to administer it", Default: strconv.Itoa(usualSessions)},
	},
	Admin: []patchbay.Field{
		{Name: "username", Type: patchbay.TextField, About: "the administrator's name", Example: "root"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "the administrator's password", Secret: true},
		{Name: "clientCert", Flag: "admin-cert", Type: patchbay.FileField, About: "the administrator's client certificate, in PEM", Secret: true},
		{Name: "clientKey", Flag: "admin-key", Type: patchbay.FileField, About: "the key of that certificate, in PEM", Secret: true},
	},
	AdminForms: [][]string{{"username"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Sessions: true,
		Sources:  true,
	},
	Lacks: []patchbay.Lack{
		{What: "identities and service principals", Why: "the server has no way to check their tokens; register it as external for logins that others grant"},
		{What: "logins bound to a network of IPv6", Why: "the server knows single IPv6 addresses and networks of IPv4 alone"},
		{What: "several servers of one cluster", Why: "most libraries know one address; register the one that answers for the cluster"},
		{What: "accounts that sign in by sha256_password, LDAP or PAM as administrator", Why: "they show the password to the server; give the administrator one of the server's usual plugins"},
	},
}
