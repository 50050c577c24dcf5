package external

import (
	"context"
	"slices"

	"patchbay.dev/patchbay"
)

// place says which values tell where a service is.
type place int

const (
	inHost    place = iota // host, and port where the kind has it
	inURL                  // one URL
	inURLs                 // URLs, with commas between them
	inServers              // host:port, with commas between them
)

// cover is how a protocol is encrypted.
type cover int

const (
	tlsFirst  cover = iota // before anything is said
	tlsLater               // after the server was asked
	tlsScheme              // as the URL's scheme says
)

// scheme is one that an endpoint of a kind may have.
type scheme struct {
	port  string // when the endpoint has none; "": the kind's
	plain bool   // in the clear
	to    string // the scheme of the URL that clients get; "": the same
}

// service is what is particular to a kind: where it is, what signs in, and how
// that is tried.
type service struct {
	kind      string
	place     place
	url       string // the value that is the URL
	host      string // where Azure has a resource without an endpoint; "": nowhere
	port      string // when the endpoint has none and the kind no default
	cover     cover
	schemes   map[string]scheme
	login     login
	anyScheme bool // nothing is known of the schemes of its endpoints
	escaped   bool // names in its ids are as [driver.SegmentOf] has them
	// pages says that an https URL, as Azure's own pages show it, is understood.
	pages bool
	// probe signs in. nil: there is no harmless way to, and only the network is
	// tried.
	probe func(ctx context.Context, s *session) error
}

// The most that the services of Azure have in common.
var (
	passwordLogin = login{name: "username", secret: "password"}
	accountLogin  = login{name: "username", secret: "password", fallback: "{account}", parts: map[string]string{"accountkey": "password"}}
	keyLogin      = login{secret: "key"}
	accessKey     = login{secret: "key", parts: map[string]string{"accesskey": "key"}}
	busLogin      = login{name: "keyName", secret: "key", fallback: "RootManageSharedAccessKey",
		parts: map[string]string{"sharedaccesskey": "key", "sharedaccesskeyname": "keyName"}}
	storageLogin = login{secret: "key", parts: map[string]string{"accountkey": "key"}}
)

// services are in the order in which they stand for a resource of several.
var services = []service{
	{kind: "postgresql", host: "{account}.postgres.database.azure.com", cover: tlsLater,
		schemes: map[string]scheme{"postgres": {}, "postgresql": {}}, login: passwordLogin, probe: probePostgres},
	{kind: "neon-postgres", cover: tlsLater, login: passwordLogin, probe: probePostgres},
	{kind: "mysql", host: "{account}.mysql.database.azure.com", cover: tlsLater,
		schemes: map[string]scheme{"mysql": {}, "mariadb": {}}, login: passwordLogin, probe: probeMySQL},
	{kind: "sql", host: "{account}.database.windows.net", cover: tlsLater,
		schemes: map[string]scheme{"sqlserver": {}, "mssql": {}}, login: passwordLogin, probe: probeSQLServer},
	{kind: "fabric-sql", pages: true, cover: tlsLater},
	{kind: "redis", host: "{account}.redis.cache.windows.net",
		schemes: map[string]scheme{"redis": {port: "6379", plain: true}, "rediss": {port: "6379"}},
		login:   login{name: "username", secret: "password", nameless: true}, probe: probeRedis},
	{kind: "cosmos-sql", place: inURL, url: "endpoint", host: "{account}.documents.azure.com", cover: tlsScheme,
		login: storageLogin, probe: probeCosmos},
	{kind: "cosmos-mongo", pages: true, schemes: map[string]scheme{"mongodb": {port: "27017"}}, login: accountLogin, probe: probeMongo},
	{kind: "cosmos-cassandra", pages: true, schemes: map[string]scheme{"cassandra": {port: "9042"}}, login: accountLogin, probe: probeCassandra},
	{kind: "cosmos-gremlin", pages: true, schemes: map[string]scheme{"gremlin": {}, "wss": {}},
		login: login{name: "username", secret: "password", fallback: "/dbs/{database}/colls/{graph}", parts: map[string]string{"accountkey": "password"}}},
	{kind: "cosmos-table", place: inURL, url: "tableEndpoint", host: "{account}.table.cosmos.azure.com", cover: tlsScheme,
		login: storageLogin, probe: probeTable},
	{kind: "mongodb-atlas", port: "27017", schemes: map[string]scheme{"mongodb+srv": {}}, login: passwordLogin, probe: probeMongo},
	{kind: "mongodb", place: inServers, port: "27017", schemes: map[string]scheme{"mongodb": {}}, login: passwordLogin, probe: probeMongo},
	{kind: "storage-blob", place: inURL, url: "endpoint", host: "{account}.blob.core.windows.net", cover: tlsScheme,
		login: storageLogin, probe: probeStorage},
	{kind: "storage-queue", place: inURL, url: "endpoint", host: "{account}.queue.core.windows.net", cover: tlsScheme,
		login: storageLogin, probe: probeStorage},
	{kind: "storage-table", place: inURL, url: "endpoint", host: "{account}.table.core.windows.net", cover: tlsScheme,
		login: storageLogin, probe: probeTable},
	{kind: "storage-file", place: inURL, url: "endpoint", host: "{account}.file.core.windows.net", cover: tlsScheme,
		login: storageLogin, probe: probeStorage},
	{kind: "keyvault", place: inURL, url: "endpoint", host: "{account}.vault.azure.net", cover: tlsScheme},
	{kind: "keyvault-csi", place: inURL, host: "{account}.vault.azure.net", cover: tlsScheme},
	{kind: "appconfig", place: inURL, url: "endpoint", host: "{account}.azconfig.io", cover: tlsScheme,
		login: login{name: "keyId", secret: "key", parts: map[string]string{"secret": "key", "id": "keyId"}}, probe: probeAppConfig},
	{kind: "cognitiveservices", place: inURL, url: "endpoint", host: "{account}.cognitiveservices.azure.com", cover: tlsScheme, login: keyLogin},
	{kind: "aiservices", place: inURL, url: "endpoint", host: "{account}.cognitiveservices.azure.com", cover: tlsScheme, login: keyLogin, probe: probeOpenAI},
	{kind: "openai", place: inURL, url: "endpoint", host: "{account}.openai.azure.com", cover: tlsScheme, login: keyLogin, probe: probeOpenAI},
	{kind: "signalr", place: inURL, url: "endpoint", host: "{account}.service.signalr.net", cover: tlsScheme, login: accessKey},
	{kind: "webpubsub", pages: true, host: "{account}.webpubsub.azure.com", port: "443", login: accessKey},
	{kind: "eventhub", pages: true, host: "{account}.servicebus.windows.net", port: "5671", schemes: map[string]scheme{"eventhub": {}}, login: busLogin},
	{kind: "servicebus", pages: true, host: "{account}.servicebus.windows.net", port: "5671", schemes: map[string]scheme{"sb": {}}, login: busLogin},
	{kind: "app-insights", place: inURL, url: "ingestionEndpoint", host: "dc.services.visualstudio.com", cover: tlsScheme,
		login: login{secret: "instrumentationKey", parts: map[string]string{
			"instrumentationkey": "instrumentationKey", "ingestionendpoint": "ingestionEndpoint", "liveendpoint": "liveEndpoint"}}},
	{kind: "kafka", place: inServers, port: "9092", schemes: map[string]scheme{"kafka": {}, "kafka+tls": {}}, login: passwordLogin, probe: probeKafka},
	{kind: "confluent-cloud", place: inServers, port: "9092", schemes: map[string]scheme{"kafka": {}, "kafka+tls": {}}, login: passwordLogin, probe: probeKafka},
	{kind: "confluent-schema", place: inURL, url: "url", cover: tlsScheme,
		schemes: map[string]scheme{"schema+https": {to: "https"}, "schema+http": {to: "http"}}, login: passwordLogin, probe: probeSchemaRegistry},
	{kind: "etcd", place: inURLs, url: "endpoints", port: "2379", cover: tlsScheme,
		schemes: map[string]scheme{"etcd+https": {to: "https"}, "etcd+http": {to: "http"}}, login: passwordLogin},
	{kind: "nats", place: inURLs, url: "url", port: "4222", cover: tlsScheme,
		schemes: map[string]scheme{"nats": {}, "tls": {}, "tls+nats": {to: "tls"}, "nats+tls": {to: "tls"}},
		login:   login{name: "username", secret: "password", forms: natsLogin}, probe: probeNATS},
	{kind: "mqtt", schemes: map[string]scheme{"mqtt": {port: "1883", plain: true}, "mqtts": {}}, login: passwordLogin, probe: probeMQTT},
	{kind: "rabbitmq", port: "5671", schemes: map[string]scheme{"amqps": {port: "5671"}, "amqp": {port: "5672", plain: true}}, login: passwordLogin, escaped: true},
	{kind: "s3", place: inURL, url: "endpoint", cover: tlsScheme,
		schemes: map[string]scheme{"s3": {to: "https"}, "minio": {to: "https"}, "s3+https": {to: "https"}, "s3+http": {to: "http"}},
		login:   login{name: "accessKeyId", secret: "secretAccessKey"}, probe: probeS3},
	{kind: "vault", place: inURL, url: "endpoint", cover: tlsScheme,
		schemes: map[string]scheme{"vault": {to: "https"}, "vault+https": {to: "https"}, "vault+http": {to: "http"}},
		login:   login{name: "roleId", secret: "token", nameless: true, forms: vaultLogin}, probe: probeVault},
}

// clear is the scheme of endpoints that speak in the clear.
func (s service) clear() string {
	for name, how := range s.schemes {
		if how.plain {
			return name
		}
	}
	return s.kind
}

// serviceOf is the service of a kind. Of one that has no row, its values say where
// it is and what signs in; that is handed to connections, and not tried.
func serviceOf(kind patchbay.TargetKind) service {
	if i := slices.IndexFunc(services, func(s service) bool { return s.kind == kind.Name }); i >= 0 {
		return services[i]
	}
	s := service{kind: kind.Name, port: "443", anyScheme: true}
	for _, v := range slices.Backward(kind.Values) { // the first of each counts
		switch {
		case v.Secret && v.Name != "clientSecret": // an identity's, which a connection is given
			s.login.secret = v.Name
		case v.Name == "username":
			s.login.name, s.login.nameless = v.Name, v.Optional
		case v.Name == "port" && v.Default != "":
			s.port = v.Default
		case v.Name == "url" || v.Name == "endpoint":
			s.place, s.url, s.cover = inURL, v.Name, tlsScheme
		case v.Name == "servers":
			s.place = inServers
		}
	}
	if slices.ContainsFunc(kind.Values, func(v patchbay.TargetValue) bool { return v.Name == "host" }) {
		s.place, s.url, s.cover = inHost, "", tlsFirst
	}
	return s
}

// service is that of a kind of the build.
func (c catalogue) service(kind string) service {
	k := c.kinds[kind]
	k.Name = kind
	return serviceOf(k)
}

// segments are the values that the names in a target id are, by their type.
var segments = map[string]string{
	"databases": "database", "sqldatabases": "database", "mongodbdatabases": "database", "gremlindatabases": "database",
	"graphs": "graph", "cassandrakeyspaces": "keyspace", "buckets": "bucket",
}
