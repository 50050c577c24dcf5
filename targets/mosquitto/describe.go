package mosquitto

import (
	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// oldest is the oldest version that has what the driver works with.
const oldest = "2.0"

// The ways in which a broker may be spoken to: whoever is told the password is known,
// or it was said by name that anybody may hear it. MQTT has no way to prove a password
// without telling it.
var modes = []driver.TLSMode{driver.TLSVerifyFull, driver.TLSVerifyCA, driver.TLSDisable}

var description = patchbay.Driver{
	Name: "mosquitto", Title: "Mosquitto", Noun: "Mosquitto broker",
	About: `A Mosquitto broker with its dynamic security plugin. A connection has a client
and a role of its own there, with the topics that it may use.`,
	Types: []string{"Patchbay.Services/mqttServers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is", Form: "mqtts://HOST:PORT", Example: "mqtts://10.0.0.6:8883", Required: true},
		Port:  "8883", Schemes: []string{"mqtts", "mqtt", "ssl", "tls", "tcp"},
	},
	Properties: []patchbay.Field{
		{Name: "topics", Flag: "topic", Type: patchbay.ListField, Commas: true, About: "topics that connections may use, unless they ask for others among them", Example: "'orders/#'"},
		{Name: "websocket", Type: patchbay.TextField, About: "the URL that clients in browsers connect to (ws, wss); it is handed to applications, and not tried"},
		{Name: "tls.mode", Flag: "tls", Type: patchbay.TextField, About: "how far it is checked who answers; disable is for mqtt://, where whoever is in between reads the passwords", Words: driver.Words(modes), Default: string(driver.TLSVerifyFull)},
		{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the broker's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tls.serverName", Type: patchbay.TextField, About: "the name in the broker's certificate", Default: "the endpoint's host"},
	},
	Admin: []patchbay.Field{
		{Name: "username", Type: patchbay.TextField, About: "name of a client that may use $CONTROL/dynamic-security/v1", Example: "admin"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "its password", Secret: true},
	},
	AdminForms: [][]string{{"username", "password"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer},
		Options: []patchbay.Option{
			{Name: optionTopics, About: "topics that the login may subscribe to and, as a writer, publish to, with commas between them; + and # as MQTT has them", Example: "orders/#"},
			{Name: optionSubscribe, About: "topics that it may subscribe to, and never publishes to", Example: "commands/+"},
			{Name: optionPublish, About: "topics that a writer may publish to, and never subscribes to", Example: "sensors/kitchen/#"},
			{Name: optionShares, About: "names of shared subscriptions ($share/NAME/…) that it may join; whoever does takes messages from the others in it", Example: "workers"},
		},
	},
	Lacks: []patchbay.Lack{
		{What: "the access owner", Why: "a topic has nothing to own: it is there as soon as somebody publishes to it"},
		{What: "open sessions", Why: "the plugin does not list them; a removal ends them all the same"},
		{What: "logins bound to source addresses", Why: "the plugin knows none; a listener's address and a packet filter do"},
		{What: "client ids of their own", Why: "a broker ends a session when another client, whoever it is, comes with the same client id: give each application one"},
		{What: "seeing that the plugin could not save", Why: "a broker that can't write its file says yes, and forgets at its next start; a validation finds the login missing then, and its fix makes it again"},
		{What: "brokers without the plugin", Why: "their users are in a file of the broker's machine; register such a broker as external"},
	},
}
