package shelf

import (
	"strconv"

	"patchbay.dev/patchbay"
)

const defaultPort = 7080

// description is all that the command line, the checks and the documentation have to
// know.
var description = patchbay.Driver{
	Name: "shelf", Title: "Shelf", Noun: "Shelf server",
	About: "A Shelf server, and a user of it that is an administrator.",
	Types: []string{"Patchbay.Services/shelfServers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is; http:// sends passwords in the clear", Form: "https://HOST:PORT", Example: "https://10.0.0.9:7080", Required: true},
		Port:  strconv.Itoa(defaultPort), Schemes: []string{"https", "http"},
	},
	Properties: []patchbay.Field{
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
		{Name: "serverName", Type: patchbay.TextField, About: "the name in the server's certificate, where Patchbay reaches it by another", Default: "the endpoint's host"},
	},
	Admin: []patchbay.Field{
		{Name: "username", Flag: "admin", Type: patchbay.TextField, About: "a user that is an administrator", Example: "patchbay"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "its password", Secret: true},
	},
	AdminForms: [][]string{{"username", "password"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
	},
	Lacks: []patchbay.Lack{
		{What: "open sessions", Why: "Shelf has none: a user signs in with every request"},
		{What: "logins bound to source addresses", Why: "Shelf knows no addresses: put a guard before it"},
	},
}
