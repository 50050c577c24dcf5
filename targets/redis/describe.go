package redis

import (
	"strconv"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "redis", Title: "Redis and Valkey", Noun: "Redis server",
	About: `A Redis or Valkey server from version 7.0, with its replicas, or a cluster. Its
administrator is a user that may use ACL SETUSER.`,
	Types: []string{"Microsoft.Cache/redis"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is; of a cluster, several with commas between them. redis:// is without TLS", Form: "rediss://HOST:PORT", Example: "rediss://10.0.0.7:6379", Required: true},
		Port:  strconv.Itoa(defaultPort), Schemes: []string{"redis", "rediss"},
	},
	Properties: []patchbay.Field{
		{Name: "nodes", Type: patchbay.TextField, About: "where logins are made: all are the replicas and cluster nodes that the servers name too, listed are those of the endpoint alone", Words: []string{nodesAll, nodesListed}, Default: nodesAll},
		{Name: "tls.mode", Type: patchbay.TextField, About: "how far it is checked who answers, in libpq's words", Words: driver.Words(modes), Default: string(driver.TLSVerifyFull)},
		{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tls.serverName", Type: patchbay.TextField, About: "the name in the server's certificate", Default: "the endpoint's host"},
	},
	Admin: []patchbay.Field{
		{Name: "username", Type: patchbay.TextField, About: "the administrator's name", Default: defaultUser, Example: "patchbay"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "the administrator's password", Secret: true},
	},
	AdminForms: [][]string{{"password"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: accesses,
		Options: []patchbay.Option{
			{Name: optionKeys, About: "patterns of the keys that the login may use, with commas between them (default *, all)", Example: "orders:*"},
			{Name: optionChannels, About: "patterns of the channels that it may use, with commas between them (default: those of the keys)", Example: "orders:*"},
		},
		Sessions: true,
	},
	Lacks: []patchbay.Lack{
		{What: "a database as a boundary", Why: "the server's rules know keys, not databases: a login may select its own alone, but every connection begins in database 0, and channels are those of the whole server"},
		{What: "names of keys within patterns", Why: "SCAN, KEYS and RANDOMKEY tell the names of all keys, so a login with patterns may not use them"},
		{What: "services whose users an API of the provider makes", Why: "they refuse ACL SETUSER (Azure, ElastiCache, Memorystore, Aiven…); register them as external"},
		{What: "Sentinel", Why: "no setting tells an application of sentinels; the servers that they watch, and their replicas, can be registered"},
		{What: "logins bound to source addresses", Why: "the server's users have none; a guard in front of it has (nftables)"},
		{What: "servers that ask every client for a certificate", Why: "no setting tells an application of one; set tls-auth-clients to optional"},
		{What: "identities and service principals", Why: "the server has no way to check their tokens; register it as external for logins that others grant"},
	},
}
