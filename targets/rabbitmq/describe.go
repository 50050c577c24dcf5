package rabbitmq

import "patchbay.dev/patchbay"

var description = patchbay.Driver{
	Name: "rabbitmq", Title: "RabbitMQ", Noun: "RabbitMQ server",
	About: `A RabbitMQ server, or several of one cluster, with the management plugin and a
user that has the tag administrator.`,
	Types: []string{"Patchbay.Services/rabbitmqServers"},
	Endpoint: patchbay.Endpoint{
		Field:   patchbay.Field{Type: patchbay.TextField, About: "where applications speak AMQP, with TLS; in the clear it is amqp://HOST:PORT. Several with commas between them", Form: "HOST:PORT", Example: "10.0.0.8:5671", Required: true},
		Schemes: []string{"amqps", "amqp"},
	},
	Properties: []patchbay.Field{
		{Name: "management", Type: patchbay.TextField, About: "URL of the management API; several with commas between them", Form: "https://HOST:PORT", Example: "https://10.0.0.8:15671", Default: "port 15671 of the endpoint's servers, or http and 15672 where the endpoint is in the clear"},
		{Name: "sslmode", Type: patchbay.TextField, About: "how it is checked who answers, in libpq's words: passwords are told to nobody else", Words: []string{"verify-ca", "verify-full"}, Default: "verify-full"},
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tlsServerName", Type: patchbay.TextField, About: "the name in the server's certificate", Default: "the host that is connected to"},
	},
	Admin: []patchbay.Field{
		{Name: "username", Type: patchbay.TextField, About: "the administrator's name", Example: "patchbay"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "the administrator's password", Secret: true},
	},
	AdminForms: [][]string{{"username", "password"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Options: []patchbay.Option{
			{Name: optionQueues, About: "queues that the login may use, with commas between them; * stands for any characters (default: all, unless exchanges are named)", Example: "orders.*"},
			{Name: optionExchanges, About: "exchanges that the login may use, in the same form (default: all; where queues are named, the default exchange amq.default)", Example: "events"},
			{Name: optionTopics, About: "routing keys that the login may use on those exchanges, as topic exchanges have them: * is a word, # any number of words (default: all)", Example: "orders.#"},
		},
		Sessions: true,
	},
	Lacks: []patchbay.Lack{
		{What: "queues apart from exchanges", Why: "RabbitMQ's permissions are for names: who may use the exchange orders may use a queue of that name in the same way"},
		{What: "queues that a login may send to", Why: "they are reached through the default exchange, which RabbitMQ checks and the queue not: give applications a virtual host each, or exchanges of their own"},
		{What: "identities and service principals", Why: "the server would have to trust the issuer of their tokens (OAuth 2.0 plugin); register it as external for logins that others grant"},
		{What: "logins bound to source addresses", Why: "RabbitMQ has nothing for it but loopback_users"},
		{What: "users of other backends", Why: "LDAP, HTTP and OAuth 2.0 decide by themselves; register such a server as external"},
	},
}
