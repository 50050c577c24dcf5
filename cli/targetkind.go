package cli

import (
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// targetKind is a kind of target as `connection create KIND` knows it: which
// resources may serve it, and what of one has to be named.
type targetKind struct {
	name    string
	product string
	// types are the ARM types of the resource, the one that az makes first.
	types []string
	// server is the flag that names the resource.
	server string
	parts  []targetPart
	client []string // client types with names of their own for this kind
	// connectionString says that .NET may ask for one string (--config-connstr).
	connectionString bool
}

// targetPart is a segment below the resource that a connection names.
type targetPart struct {
	flag    string // "": it is always the same
	segment string
	name    string // the default, or the fixed name
	// own says that the default is the resource's own name.
	own bool
}

var (
	database      = []targetPart{{flag: "database", segment: "databases", own: true}}
	redisDatabase = []targetPart{{flag: "database", segment: "databases", name: "0"}}

	sqlClients    = []string{"dotnet", "java", "python", "nodejs", "go", "php", "ruby", "django", "springBoot", "none"}
	commonClients = []string{"dotnet", "java", "python", "nodejs", "go", "springBoot", "none"}
	storeClients  = []string{"dotnet", "java", "python", "nodejs", "springBoot", "none"}
)

// targetKinds are az's kinds, in az's order, and Patchbay's own after them
// (contract section 8.3).
var targetKinds = []targetKind{
	{name: "postgres", product: "PostgreSQL", types: []string{"Microsoft.DBforPostgreSQL/flexibleServers", "Microsoft.DBforPostgreSQL/servers"},
		server: "server", parts: database, client: sqlClients, connectionString: true},
	{name: "postgres-flexible", product: "PostgreSQL", types: []string{"Microsoft.DBforPostgreSQL/flexibleServers"},
		server: "server", parts: database, client: sqlClients, connectionString: true},
	{name: "mysql", product: "MySQL", types: []string{"Microsoft.DBforMySQL/flexibleServers", "Microsoft.DBforMySQL/servers"},
		server: "server", parts: database, client: sqlClients, connectionString: true},
	{name: "mysql-flexible", product: "MySQL", types: []string{"Microsoft.DBforMySQL/flexibleServers"},
		server: "server", parts: database, client: sqlClients, connectionString: true},
	{name: "sql", product: "SQL Server", types: []string{"Microsoft.Sql/servers"},
		server: "server", parts: database, client: sqlClients, connectionString: true},
	{name: "redis", product: "Redis", types: []string{"Microsoft.Cache/redis"},
		server: "server", parts: redisDatabase, client: commonClients},
	{name: "redis-enterprise", product: "Redis Enterprise", types: []string{"Microsoft.Cache/redisEnterprise"},
		server: "server", parts: []targetPart{{flag: "database", segment: "databases", name: "default"}}, client: commonClients},
	{name: "cosmos-cassandra", product: "Cosmos DB for Cassandra", types: []string{"Microsoft.DocumentDB/databaseAccounts"},
		server: "account", parts: []targetPart{{flag: "key-space", segment: "cassandraKeyspaces"}}, client: commonClients},
	{name: "cosmos-gremlin", product: "Cosmos DB for Gremlin", types: []string{"Microsoft.DocumentDB/databaseAccounts"},
		server: "account", parts: []targetPart{{flag: "database", segment: "gremlinDatabases"}, {flag: "graph", segment: "graphs"}},
		client: []string{"dotnet", "java", "python", "nodejs", "php", "none"}},
	{name: "cosmos-mongo", product: "Cosmos DB for MongoDB", types: []string{"Microsoft.DocumentDB/databaseAccounts"},
		server: "account", parts: []targetPart{{flag: "database", segment: "mongodbDatabases"}},
		client: []string{"dotnet", "java", "nodejs", "go", "springBoot", "none"}},
	{name: "cosmos-sql", product: "Cosmos DB for NoSQL", types: []string{"Microsoft.DocumentDB/databaseAccounts"},
		server: "account", parts: []targetPart{{flag: "database", segment: "sqlDatabases"}}, client: storeClients},
	{name: "cosmos-table", product: "Cosmos DB for Table", types: []string{"Microsoft.DocumentDB/databaseAccounts"},
		server: "account", parts: []targetPart{{flag: "table", segment: "tables"}},
		client: []string{"dotnet", "java", "python", "nodejs", "go", "none"}},
	{name: "storage-blob", product: "Blob storage", types: []string{"Microsoft.Storage/storageAccounts"},
		server: "account", parts: []targetPart{{segment: "blobServices", name: "default"}}, client: commonClients},
	{name: "storage-queue", product: "Queue storage", types: []string{"Microsoft.Storage/storageAccounts"},
		server: "account", parts: []targetPart{{segment: "queueServices", name: "default"}}, client: storeClients},
	{name: "storage-file", product: "File storage", types: []string{"Microsoft.Storage/storageAccounts"},
		server: "account", parts: []targetPart{{segment: "fileServices", name: "default"}},
		client: []string{"dotnet", "java", "python", "nodejs", "php", "ruby", "springBoot", "none"}},
	{name: "storage-table", product: "Table storage", types: []string{"Microsoft.Storage/storageAccounts"},
		server: "account", parts: []targetPart{{segment: "tableServices", name: "default"}},
		client: []string{"dotnet", "java", "python", "nodejs", "none"}},
	{name: "keyvault", product: "Key Vault", types: []string{"Microsoft.KeyVault/vaults"}, server: "vault", client: storeClients},
	{name: "appconfig", product: "App Configuration", types: []string{"Microsoft.AppConfiguration/configurationStores"},
		server: "app-config", client: []string{"dotnet", "java", "python", "nodejs", "none"}},
	{name: "eventhub", product: "Event Hubs", types: []string{"Microsoft.EventHub/namespaces"}, server: "namespace",
		client: []string{"dotnet", "java", "python", "nodejs", "go", "springBoot", "kafka-springBoot", "none"}},
	{name: "servicebus", product: "Service Bus", types: []string{"Microsoft.ServiceBus/namespaces"}, server: "namespace", client: commonClients},
	{name: "signalr", product: "SignalR", types: []string{"Microsoft.SignalRService/SignalR"}, server: "signalr",
		client: []string{"dotnet", "none"}},
	{name: "webpubsub", product: "Web PubSub", types: []string{"Microsoft.SignalRService/WebPubSub"}, server: "webpubsub",
		client: []string{"dotnet", "java", "python", "nodejs", "none"}},
	{name: "app-insights", product: "Application Insights", types: []string{"Microsoft.Insights/components"}, server: "app-insights",
		client: []string{"dotnet", "java", "python", "nodejs", "go", "none"}},
	{name: "cognitiveservices", product: "AI services", types: []string{"Microsoft.CognitiveServices/accounts"}, server: "account",
		client: []string{"dotnet", "java", "python", "nodejs", "none"}},
	{name: "mongodb-atlas", product: "MongoDB Atlas", types: []string{"MongoDB.Atlas/organizations"}, server: "server",
		client: []string{"dotnet", "java", "python", "nodejs", "go", "php", "ruby", "django", "none"}},
	{name: "neon-postgres", product: "Neon", types: []string{"Neon.Postgres/organizations"}, server: "server", client: sqlClients},
	{name: "nats", product: "NATS", types: []string{"Patchbay.Services/natsServers"}, server: "server", client: sqlClients},
	{name: "s3", product: "S3", types: []string{"Patchbay.Services/s3Servers"}, server: "server",
		parts: []targetPart{{flag: "bucket", segment: "buckets"}}, client: sqlClients},
	{name: "vault", product: "Vault", types: []string{"Patchbay.Services/vaultServers"}, server: "server", client: sqlClients},
}

func targetKindNames() []string {
	names := make([]string, len(targetKinds))
	for i, k := range targetKinds {
		names[i] = k.name
	}
	return names
}

func (k targetKind) serves(typ string) bool {
	return slices.ContainsFunc(k.types, func(t string) bool { return strings.EqualFold(t, typ) })
}

// kindsOf are the kinds that a resource of that type can be a target of.
func kindsOf(typ string) []targetKind {
	var kinds []targetKind
	for _, k := range targetKinds {
		if k.serves(typ) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// isTargetType says that a resource of that type is no source.
func isTargetType(typ string) bool { return len(kindsOf(typ)) > 0 }

// fits reports whether id is that of a target of this kind, parts and all.
func (k targetKind) fits(id patchbay.ID) bool {
	typ := id.Type()
	for _, t := range k.types {
		for _, p := range k.parts {
			t += "/" + p.segment
		}
		if strings.EqualFold(t, typ) {
			return true
		}
	}
	return false
}

// form is the id that a connection to this kind names.
func (k targetKind) form() string {
	s := k.types[0] + "/{" + k.server + "}"
	for _, p := range k.parts {
		if p.flag == "" {
			s += "/" + p.segment + "/" + p.name
		} else {
			s += "/" + p.segment + "/{" + p.flag + "}"
		}
	}
	return s
}

// flags are the ones that name a target of this kind.
func (k targetKind) flags() []string {
	flags := []string{"--" + k.server}
	for _, p := range k.parts {
		if p.flag != "" {
			flags = append(flags, "--"+p.flag)
		}
	}
	return flags
}
