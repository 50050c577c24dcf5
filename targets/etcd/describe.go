package etcd

import (
	"strconv"

	"patchbay.dev/patchbay"
)

var description = patchbay.Driver{
	Name: "etcd", Title: "etcd", Noun: "etcd cluster",
	About: `An etcd cluster of version 3.4 or later with authentication enabled, and a user of
it that has the role root: only that role may make users.`,
	Types: []string{"Patchbay.Services/etcdServers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where its members are, with commas between them; http:// sends passwords in the clear", Form: "https://HOST:PORT", Example: "https://10.0.0.8:2379", Required: true},
		Port:  strconv.Itoa(defaultPort), Schemes: []string{"https", "http"},
	},
	Properties: []patchbay.Field{
		{Name: "prefixes", Flag: "prefix", Type: patchbay.ListField, Commas: true, About: "prefixes of the keys that connections may use, unless they ask for others below them", Example: "/orders/"},
		{Name: "url", Flag: "client-url", Type: patchbay.TextField, About: "what clients are told to connect to", Default: "the endpoint"},
		{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the servers' certificates may be of, in PEM", Default: "the system's"},
		{Name: "tls.serverName", Type: patchbay.TextField, About: "the name in the servers' certificates, where Patchbay reaches them by another; clients with a --client-url are not told", Default: "the endpoint's host"},
	},
	Admin: []patchbay.Field{
		{Name: "username", Flag: "admin", Type: patchbay.TextField, About: "a user that has the role root", Example: "root"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "its password", Secret: true},
	},
	AdminForms: [][]string{{"username", "password"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer},
		Options: []patchbay.Option{
			{Name: optionPrefixes, About: "prefixes of the keys that the login may use, with commas between them", Example: "/orders/"},
		},
	},
	Lacks: []patchbay.Lack{
		{What: string(patchbay.Owner), Why: "etcd has nothing above writing: a writer deletes whatever is below its prefixes"},
		{What: "the end of open watches", Why: "etcd asks for rights when a watch begins; one that is open when its login is removed is told of changes until its connection ends: restart the application, or the members one after the other"},
		{What: "open sessions", Why: "etcd does not say who is connected"},
		{What: "client certificates", Why: "a login signs in with a password; a cluster with --client-cert-auth wants a certificate besides, which Patchbay does not make"},
		{What: "logins bound to source addresses", Why: "etcd knows no addresses: put a guard before it"},
	},
}
