package kafka

import (
	"strconv"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "kafka", Title: "Apache Kafka", Noun: "Kafka cluster",
	About: `A Kafka cluster, 2.8 or later, whose listener takes SCRAM and that has an authorizer.
Its administrator has to have Describe and Alter on the cluster, and need not be a
super user.`,
	Types: []string{"Patchbay.Services/kafkaServers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "the bootstrap servers, with commas between them", Form: "HOST:PORT", Example: "10.0.0.6:9092,10.0.0.7:9092", Required: true},
		Port:  strconv.Itoa(defaultPort), Schemes: []string{"kafka"},
	},
	Properties: []patchbay.Field{
		{Name: "topics", Flag: "topic", Type: patchbay.ListField, Commas: true, About: "topics that connections may use, unless they ask for fewer; orders.* is all that begin so", Example: "'orders.*'"},
		{Name: "groups", Flag: "group", Type: patchbay.ListField, Commas: true, About: "consumer groups that connections may use", Default: "of each connection, those that begin with pb_ and its uid"},
		{Name: "transactional", Type: patchbay.ListField, Commas: true, About: "transactional ids that connections may use, unless they ask for fewer"},
		{Name: "mechanism", Type: patchbay.TextField, About: "how logins sign in", Words: driver.Words(mechanisms), Default: string(scram512)},
		{Name: "adminMechanism", Type: patchbay.TextField, About: "how the administrator signs in; plain tells its password, and only to whom a certificate proves", Words: []string{string(scram256), string(scram512), string(plainly)}, Default: "as logins do"},
		{Name: "sslmode", Type: patchbay.TextField, About: "how far TLS is insisted on, and checked who answers", Words: driver.Words(tlsModes), Default: string(driver.TLSVerifyFull)},
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the brokers' certificates may be of, in PEM", Default: "the system's"},
		{Name: "tlsServerName", Type: patchbay.TextField, About: "the name in the brokers' certificates; Kafka's clients can't be told one, and only verify-ca works for them then", Default: "each broker's own"},
	},
	Admin: []patchbay.Field{
		{Name: "username", Type: patchbay.TextField, About: "the administrator's name", Example: "admin"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "the administrator's password", Secret: true},
	},
	AdminForms: [][]string{{"username", "password"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Options: []patchbay.Option{
			{Name: optionTopics, About: "topics that the login may use, with commas between them; orders.* is all that begin so", Example: "orders.*"},
			{Name: optionGroups, About: "consumer groups that it may use; without, those that begin with pb_ and the connection's uid", Example: "billing"},
			{Name: optionTransactional, About: "transactional ids that it may use; without, none", Example: "billing-*"},
			{Name: optionHosts, About: "the only addresses from which its rights count, with commas between them; Kafka's rules know no networks", Example: "10.0.0.5"},
		},
	},
	Lacks: []patchbay.Lack{
		{What: "open connections that end when a login is removed", Why: "Kafka has nothing to end one with: it stays open, without any right, until its client signs in again (connections.max.reauth.ms)"},
		{What: "binding to the source's networks", Why: "a rule of Kafka's is for one address or for all; the option hosts names single ones"},
		{What: "clusters whose logins are made elsewhere", Why: "on Confluent Cloud, Amazon MSK and Event Hubs they are made by another API; register those as external"},
	},
}
