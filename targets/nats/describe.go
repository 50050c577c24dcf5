package nats

import (
	"strconv"

	"patchbay.dev/patchbay"
)

var description = patchbay.Driver{
	Name: "nats", Title: "NATS", Noun: "NATS server",
	About: `A NATS server in operator mode, or several of one cluster. Its users are signed
with the operator's seed, and the credentials of the system account are what
revokes them.`,
	Types: []string{"Patchbay.Services/natsServers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is; several with commas between them", Form: "nats://HOST:PORT", Example: "nats://10.0.0.6:4222", Required: true},
		Port:  strconv.Itoa(defaultPort), Schemes: []string{"nats", "tls"},
	},
	Properties: []patchbay.Field{
		{Name: "account", Type: patchbay.TextField, About: "the account that logins are made in: its public key", Example: "ABJ…", Required: true},
		{Name: "subjects", Flag: "subject", Type: patchbay.ListField, Commas: true, About: "subjects that connections may use, unless they ask for others", Example: "'orders.>'"},
		{Name: "streams", Flag: "stream", Type: patchbay.ListField, Commas: true, About: "streams that connections may use, unless they ask for others"},
		{Name: "buckets", Flag: "bucket", Type: patchbay.ListField, Commas: true, About: "buckets of keys and values that connections may use, unless they ask for others"},
		{Name: "objects", Flag: "object-bucket", Type: patchbay.ListField, Commas: true, About: "buckets of objects that connections may use, unless they ask for others"},
		{Name: "url", Flag: "client-url", Type: patchbay.TextField, About: "what clients are told to connect to", Default: "the endpoint"},
		{Name: "tls", Type: patchbay.TextField, About: "when TLS begins: auto is when the server asks for it, first before its greeting, off never insists and sends passwords in the clear too", Words: []string{"auto", "require", "first", "off"}, Default: "auto"},
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
		{Name: "inbox", Type: patchbay.TextField, About: "where answers to requests arrive: below _INBOX for all, or private to each login, whose client is told the prefix (NATS_INBOX_PREFIX)", Words: []string{"shared", "private"}, Default: "shared"},
	},
	Admin: []patchbay.Field{
		{Name: adminOperator, Type: patchbay.FileField, About: "seed of the operator's identity or of a signing key of it (SO…)", Secret: true, Example: "operator.nk"},
		{Name: adminSystem, Type: patchbay.FileField, About: "creds file of a user of the system account", Secret: true, Example: "sys.creds"},
	},
	AdminForms: [][]string{{adminOperator, adminSystem}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Options: []patchbay.Option{
			{Name: optionSubjects, About: "subjects that the login may use, with commas between them", Example: "orders.>"},
			{Name: optionStreams, About: "streams that the login may use, with commas between them; read what that gives besides: docs/security.md, NATS", Example: "ORDERS"},
			{Name: optionBuckets, About: "buckets of keys and values that the login may use, with commas between them; as streams, they give more besides", Example: "config"},
			{Name: optionObjects, About: "buckets of objects that the login may use, with commas between them; as streams, they give more besides", Example: "files"},
			{Name: optionDirect, About: "those of the streams that it gets single messages of directly, as clients do where a stream allows it; with buckets that goes without saying", Example: "ORDERS"},
			{Name: optionAnswers, About: "where it may answer requests: inbox is below _INBOX, where clients wait by default; any is everywhere, and lets it publish everywhere too (default inbox)", Example: "inbox"},
		},
		Sessions: true,
		Sources:  true,
	},
	Lacks: []patchbay.Lack{
		{What: "servers without an operator", Why: "their users are in a file of the server's machine; register such a server as external"},
	},
}
