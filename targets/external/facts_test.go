package external_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/targets/external"
)

// placed is a resource of a kind, and the values that are known of it.
type placed struct {
	registration
	kind string // the settings table's
	sub  string
	want map[string]string // "-": it is not there
}

var places = map[string]placed{
	"postgresql where Azure has it": {kind: "postgresql", sub: "databases/shop", registration: registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers"},
		want: map[string]string{"host": "orders.postgres.database.azure.com", "port": "5432", "database": "shop", "sslmode": "require", "checked": "true"}},
	"postgresql at home": {kind: "postgresql", sub: "databases/shop", registration: registration{typ: "Microsoft.DBforPostgreSQL/servers", endpoint: "postgres://10.0.0.5:5433/other?sslmode=verify-full"},
		want: map[string]string{"host": "10.0.0.5", "port": "5433", "database": "shop", "sslmode": "verify-full"}},
	"neon": {kind: "neon-postgres", registration: registration{typ: "Neon.Postgres/organizations", endpoint: "ep-orders.neon.tech",
		properties: map[string]any{"values": map[string]any{"database": "shop"}}},
		want: map[string]string{"host": "ep-orders.neon.tech", "database": "shop", "port": "5432"}},
	"mysql": {kind: "mysql", sub: "databases/shop", registration: registration{typ: "Microsoft.DBforMySQL/flexibleServers", endpoint: "[::1]:3307"},
		want: map[string]string{"host": "::1", "port": "3307", "database": "shop"}},
	"sql": {kind: "sql", sub: "databases/shop", registration: registration{typ: "Microsoft.Sql/servers"},
		want: map[string]string{"host": "orders.database.windows.net", "port": "1433", "database": "shop"}},
	"fabric": {kind: "fabric-sql", registration: registration{typ: "Patchbay.Services/fabric-sql", endpoint: "x.fabric.microsoft.com:1433",
		properties: map[string]any{"values": map[string]any{"database": "shop-1"}}},
		want: map[string]string{"host": "x.fabric.microsoft.com", "port": "1433", "database": "shop-1"}},
	"fabric as az has it": {kind: "fabric-sql", registration: registration{typ: "Patchbay.Services/fabric-sql", endpoint: "https://api.fabric.microsoft.com/v1/workspaces/1/SqlDatabases/2",
		properties: map[string]any{"values": map[string]any{"database": "shop-1"}}},
		want: map[string]string{"host": "-", "database": "shop-1"}},
	"redis where Azure has it": {kind: "redis", sub: "databases/2", registration: registration{typ: "Microsoft.Cache/redis"},
		want: map[string]string{"host": "orders.redis.cache.windows.net", "port": "6380", "database": "2", "ssl": "true"}},
	"redis in the clear": {kind: "redis", sub: "databases/0", registration: registration{typ: "Microsoft.Cache/redis", endpoint: "redis://cache"},
		want: map[string]string{"host": "cache", "port": "6379", "ssl": "false"}},
	"redis enterprise": {kind: "redis", sub: "databases/default", registration: registration{typ: "Microsoft.Cache/redisEnterprise", endpoint: "cache:10000"},
		want: map[string]string{"port": "10000", "database": "0"}},
	"cosmos-sql": {kind: "cosmos-sql", sub: "sqlDatabases/shop", registration: registration{typ: "Microsoft.DocumentDB/databaseAccounts"},
		want: map[string]string{"account": "orders", "endpoint": "https://orders.documents.azure.com:443/", "database": "shop", "resourceGroup": "shop",
			"subscription": "00000000-0000-0000-0000-000000000001"}},
	"cosmos-mongo of an account's page": {kind: "cosmos-mongo", sub: "mongodbDatabases/shop", registration: registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "https://orders.documents.azure.com:443/"},
		want: map[string]string{"host": "orders.mongo.cosmos.azure.com", "port": "10255", "database": "shop", "username": "-"}},
	"cosmos-mongo at home": {kind: "cosmos-mongo", sub: "mongodbDatabases/shop", registration: registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "mongodb://10.0.0.5",
		properties: map[string]any{"values": map[string]any{"endpoint": "https://10.0.0.6/", "management": "10.0.0.7:8443"}}}, // what identities ask for the keys
		want: map[string]string{"host": "10.0.0.5", "port": "27017", "cloud": "-"}},
	"cosmos-mongo of another cloud": {kind: "cosmos-mongo", sub: "mongodbDatabases/shop", registration: registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "orders.mongo.cosmos.azure.cn:10255"},
		want: map[string]string{"host": "orders.mongo.cosmos.azure.cn", "endpoint": "https://orders.documents.azure.cn:443/", "management": "management.azure.cn"}},
	"cosmos-cassandra": {kind: "cosmos-cassandra", sub: "cassandraKeyspaces/shop", registration: registration{typ: "Microsoft.DocumentDB/databaseAccounts",
		properties: map[string]any{"values": map[string]any{"datacenter": "West Europe"}}},
		want: map[string]string{"host": "orders.cassandra.cosmos.azure.com", "keyspace": "shop", "datacenter": "West Europe"}},
	"cosmos-gremlin": {kind: "cosmos-gremlin", sub: "gremlinDatabases/shop/graphs/people", registration: registration{typ: "Microsoft.DocumentDB/databaseAccounts"},
		want: map[string]string{"host": "orders.gremlin.cosmos.azure.com", "database": "shop", "graph": "people", "port": "443"}},
	"cosmos-table": {kind: "cosmos-table", sub: "tables/lines", registration: registration{typ: "Microsoft.DocumentDB/databaseAccounts"},
		want: map[string]string{"tableEndpoint": "https://orders.table.cosmos.azure.com:443/"}},
	"mongodb": {kind: "mongodb", sub: "databases/shop", registration: registration{typ: "Patchbay.Services/mongodbServers", endpoint: "mongodb://10.0.0.5,[::1]:27018"},
		want: map[string]string{"servers": "10.0.0.5:27017,[::1]:27018", "database": "shop", "authSource": "shop", "sslmode": "verify-full", "checked": "true", "replicaSet": "-"}},
	"mongodb whose logins are of another database": {kind: "mongodb", sub: "databases/shop", registration: registration{typ: "Patchbay.Services/mongodbServers", endpoint: "mongodb://10.0.0.5",
		properties: map[string]any{"values": map[string]any{"authSource": "admin", "replicaSet": "rs0"}}},
		want: map[string]string{"database": "shop", "authSource": "admin", "replicaSet": "rs0"}},
	"atlas": {kind: "mongodb-atlas", registration: registration{typ: "MongoDB.Atlas/organizations", endpoint: "mongodb+srv://cluster0.invalid"},
		want: map[string]string{"host": "cluster0.invalid", "appName": "Cluster0"}},
	"blob where Azure has it": {kind: "storage-blob", sub: "blobServices/default", registration: registration{typ: "Microsoft.Storage/storageAccounts"},
		want: map[string]string{"account": "orders", "endpoint": "https://orders.blob.core.windows.net/", "suffix": "core.windows.net"}},
	"queue beside the blobs of another cloud": {kind: "storage-queue", sub: "queueServices/default", registration: registration{typ: "Microsoft.Storage/storageAccounts", endpoint: "https://orders.blob.core.chinacloudapi.cn/"},
		want: map[string]string{"endpoint": "https://orders.queue.core.chinacloudapi.cn/", "suffix": "core.chinacloudapi.cn"}},
	"table at home": {kind: "storage-table", sub: "tableServices/default", registration: registration{typ: "Microsoft.Storage/storageAccounts",
		properties: map[string]any{"endpoints": map[string]any{"storage-table": "http://10.0.0.5:10002/orders"}}},
		want: map[string]string{"endpoint": "http://10.0.0.5:10002/orders", "suffix": "-"}},
	"file": {kind: "storage-file", sub: "fileServices/default", registration: registration{typ: "Microsoft.Storage/storageAccounts"},
		want: map[string]string{"endpoint": "https://orders.file.core.windows.net/"}},
	"keyvault": {kind: "keyvault", registration: registration{typ: "Microsoft.KeyVault/vaults"},
		want: map[string]string{"endpoint": "https://orders.vault.azure.net/", "scope": "https://vault.azure.net/.default"}},
	"keyvault of another cloud": {kind: "keyvault", registration: registration{typ: "Microsoft.KeyVault/vaults", endpoint: "https://orders.vault.azure.cn/"},
		want: map[string]string{"scope": "https://vault.azure.cn/.default"}},
	"keyvault at home": {kind: "keyvault", registration: registration{typ: "Microsoft.KeyVault/vaults", endpoint: "https://10.0.0.5:8443"},
		want: map[string]string{"scope": "https://10.0.0.5:8443/.default"}},
	"appconfig": {kind: "appconfig", registration: registration{typ: "Microsoft.AppConfiguration/configurationStores"},
		want: map[string]string{"endpoint": "https://orders.azconfig.io"}},
	"cognitive services": {kind: "cognitiveservices", registration: registration{typ: "Microsoft.CognitiveServices/accounts"},
		want: map[string]string{"endpoint": "https://orders.cognitiveservices.azure.com/"}},
	"OpenAI": {kind: "openai", registration: registration{typ: "Microsoft.CognitiveServices/accounts", kind: "OpenAI"},
		want: map[string]string{"endpoint": "https://orders.openai.azure.com/"}},
	"AI services": {kind: "aiservices", registration: registration{typ: "Microsoft.CognitiveServices/accounts", kind: "AIServices", location: "westeurope"},
		want: map[string]string{"endpoint": "https://orders.cognitiveservices.azure.com/", "openaiEndpoint": "https://orders.openai.azure.com/",
			"speechEndpoint": "https://westeurope.stt.speech.microsoft.com"}},
	"AI services by another name": {kind: "aiservices", registration: registration{typ: "Microsoft.CognitiveServices/accounts", kind: "AIServices", location: "westeurope", endpoint: "https://shop.cognitiveservices.azure.com"},
		want: map[string]string{"openaiEndpoint": "https://shop.openai.azure.com/", "speechEndpoint": "https://westeurope.stt.speech.microsoft.com"}},
	"AI services at home": {kind: "aiservices", registration: registration{typ: "Microsoft.CognitiveServices/accounts", kind: "AIServices", endpoint: "http://10.0.0.5:8000/v1",
		properties: map[string]any{"values": map[string]any{"speechEndpoint": "http://10.0.0.6:8000"}}},
		want: map[string]string{"endpoint": "http://10.0.0.5:8000/v1", "openaiEndpoint": "http://10.0.0.5:8000/v1", "speechEndpoint": "http://10.0.0.6:8000"}},
	"signalr": {kind: "signalr", registration: registration{typ: "Microsoft.SignalRService/SignalR"},
		want: map[string]string{"endpoint": "https://orders.service.signalr.net"}},
	"webpubsub": {kind: "webpubsub", registration: registration{typ: "Microsoft.SignalRService/WebPubSub"},
		want: map[string]string{"host": "orders.webpubsub.azure.com"}},
	"eventhub": {kind: "eventhub", registration: registration{typ: "Microsoft.EventHub/namespaces"},
		want: map[string]string{"host": "orders.servicebus.windows.net", "keyName": "-"}},
	"servicebus": {kind: "servicebus", registration: registration{typ: "Microsoft.ServiceBus/namespaces", endpoint: "sb://bus.test/"},
		want: map[string]string{"host": "bus.test"}},
	"app insights": {kind: "app-insights", registration: registration{typ: "Microsoft.Insights/components"},
		want: map[string]string{"ingestionEndpoint": "https://dc.services.visualstudio.com/"}},
	"confluent": {kind: "confluent-cloud", registration: registration{typ: "Patchbay.Services/confluent-cloud", endpoint: "kafka://a.test:9093,b.test"},
		want: map[string]string{"servers": "a.test:9093,b.test:9092"}},
	"kafka": {kind: "kafka", registration: registration{typ: "Patchbay.Services/kafkaServers", endpoint: "kafka://a.test:9093,b.test"},
		want: map[string]string{"servers": "a.test:9093,b.test:9092"}},
	"confluent as its pages have it": {kind: "confluent-cloud", registration: registration{typ: "Patchbay.Services/confluent-cloud", endpoint: "SASL_SSL://a.test:9092"},
		want: map[string]string{"servers": "a.test:9092"}},
	"a bus as its pages have it": {kind: "servicebus", registration: registration{typ: "Microsoft.ServiceBus/namespaces", endpoint: "https://orders.servicebus.windows.net:443/"},
		want: map[string]string{"host": "orders.servicebus.windows.net"}},
	"schema registry": {kind: "confluent-schema", registration: registration{typ: "Patchbay.Services/confluent-schema", endpoint: "schema+https://psrc.test/x"},
		want: map[string]string{"url": "https://psrc.test/x"}},
	"etcd": {kind: "etcd", registration: registration{typ: "Patchbay.Services/etcdServers", endpoint: "etcd+https://a.test,b.test:4379"},
		want: map[string]string{"endpoints": "https://a.test:2379,https://b.test:4379"}},
	"rabbitmq": {kind: "rabbitmq", sub: "vhosts/~2F", registration: registration{typ: "Patchbay.Services/rabbitmqServers", endpoint: "amqps://broker.test"},
		want: map[string]string{"host": "broker.test", "port": "5671", "ssl": "true", "vhost": "/"}},
	"rabbitmq in the clear": {kind: "rabbitmq", sub: "vhosts/shop", registration: registration{typ: "Patchbay.Services/rabbitmqServers", endpoint: "amqp://broker.test"},
		want: map[string]string{"host": "broker.test", "port": "5672", "ssl": "false", "vhost": "shop"}},
	"nats": {kind: "nats", registration: registration{typ: "Patchbay.Services/natsServers", endpoint: "tls+nats://a.test,b.test:4333"},
		want: map[string]string{"url": "tls://a.test:4222,tls://b.test:4333"}},
	"mqtt": {kind: "mqtt", registration: registration{typ: "Patchbay.Services/mqttServers", endpoint: "mqtts://broker.test"},
		want: map[string]string{"host": "broker.test", "port": "8883", "ssl": "true"}},
	"mqtt in the clear": {kind: "mqtt", registration: registration{typ: "Patchbay.Services/mqttServers", endpoint: "mqtt://broker.test"},
		want: map[string]string{"port": "1883", "ssl": "false"}},
	"s3": {kind: "s3", sub: "buckets/invoices", registration: registration{typ: "Patchbay.Services/s3Servers", endpoint: "s3+http://10.0.0.5:9000"},
		want: map[string]string{"endpoint": "http://10.0.0.5:9000", "bucket": "invoices", "region": "us-east-1"}},
	"vault": {kind: "vault", registration: registration{typ: "Patchbay.Services/vaultServers", endpoint: "vault://vault.test:8200",
		properties: map[string]any{"values": map[string]any{"namespace": "shop"}}},
		want: map[string]string{"endpoint": "https://vault.test:8200", "namespace": "shop"}},
}

func TestWhatIsKnownOfAServiceFillsItsSettings(t *testing.T) {
	for name, p := range places {
		t.Run(name, func(t *testing.T) {
			target := p.opened(t)
			facts := factsOf(t, target, p.sub)
			for value, want := range p.want {
				if got, ok := facts[value]; want == "-" && ok || want != "-" && got != want {
					t.Errorf("%s is %q, want %q", value, got, want)
				}
			}
			if got := kindAsConnected(p); got != p.kind {
				t.Errorf("the use cases take it for %q", got)
			}
		})
	}
}

func factsOf(t *testing.T, target *driver.GuardedTarget, sub string) map[string]string {
	t.Helper()
	// The values are known when the way is not open, too.
	info, err := target.Inspect(soon(t), sub)
	if info.Values == nil {
		t.Fatal(err)
	}
	return info.Values
}

// kindAsConnected is the kind that the use cases find for the target's id.
func kindAsConnected(p placed) string {
	typ := p.typ
	for i, part := range strings.Split(p.sub, "/") {
		if i%2 == 0 && part != "" {
			typ += "/" + part
		}
	}
	kind, _ := settings.KindOf(typ)
	return settings.Variant(kind, p.registration.kind)
}

// Every kind of the table is one of the places: what it takes to write its
// settings is known, for all clients.
func TestEveryKindsSettingsCanBeWritten(t *testing.T) {
	have := map[string]bool{"keyvault-csi": true} // a vault, in another form
	for name, p := range places {
		have[p.kind] = true
		t.Run(name, func(t *testing.T) {
			target := p.opened(t)
			facts := factsOf(t, target, p.sub)
			kinds := settings.Kinds()
			k := kinds[slices.IndexFunc(kinds, func(k patchbay.TargetKind) bool { return k.Name == p.kind })]
			for _, auth := range k.Auths {
				c, ok := credential(t, target, p, auth)
				if !ok {
					continue
				}
				values := settings.Values{}
				for name, value := range facts {
					values[name] = patchbay.NewSecret(value)
				}
				maps.Copy(values, c.Values())
				if values["host"].IsZero() && p.kind == "fabric-sql" {
					values["host"] = patchbay.NewSecret("given-with-the-connection")
				}
				if values["username"].IsZero() {
					values["username"] = patchbay.NewSecret("whom-its-owner-made")
				}
				for _, client := range k.Clients {
					_, err := settings.Render(settings.Request{Kind: k.Name, Client: client, Auth: auth, Connection: "c", Values: values})
					if err != nil && !strings.Contains(err.Error(), "not supported") {
						t.Errorf("%s %s: %v", client, auth, err)
					}
				}
			}
		})
	}
	for _, k := range settings.Kinds() {
		// What has no row is known by its values alone, as the next test has it.
		if !have[k.Name] && !slices.ContainsFunc(k.Values, func(v patchbay.TargetValue) bool {
			return v.Name == "host" || v.Name == "url" || v.Name == "endpoint" || v.Name == "servers"
		}) {
			t.Errorf("%s is not tried, and has no value that says where it is", k.Name)
		}
	}
}

// A kind that the driver has no row for is a file of the settings table, and no
// more: it is registered, and its logins are handed out.
func TestAKindThatTheDriverHasNoRowFor(t *testing.T) {
	value := func(name string) patchbay.TargetValue { return patchbay.TargetValue{Name: name} }
	port, secret := value("port"), value("password")
	port.Default, secret.Secret = "5672", true
	kinds := append(settings.Kinds(),
		patchbay.TargetKind{Name: "rabbit", Title: "A broker", Values: []patchbay.TargetValue{value("host"), port, value("vhost"), value("username"), secret},
			IDs: []patchbay.TargetID{{Form: "Patchbay.Services/rabbitServers/{server}/vhosts/{vhost}", Words: []string{"rabbit"}}}},
		patchbay.TargetKind{Name: "etc", Title: "A store of settings", Values: []patchbay.TargetValue{value("url"), value("username"), secret},
			IDs: []patchbay.TargetID{{Form: "Patchbay.Services/etcServers/{server}", Words: []string{"etc"}}}},
	)
	d := external.Driver(kinds, settings.Variant)
	for _, tt := range []struct {
		typ, endpoint, sub string
		want               map[string]string
	}{
		{"rabbitServers", "broker.test", "vhosts/shop", map[string]string{"host": "broker.test", "port": "5672", "vhost": "shop"}},
		{"rabbitServers", "amqps://broker.test:5671", "vhosts/shop", map[string]string{"host": "broker.test", "port": "5671", "vhost": "shop"}},
		{"etcServers", "https://etc.test:2379", "", map[string]string{"url": "https://etc.test:2379"}},
	} {
		c := driver.Config{ID: patchbay.ID(group + "Patchbay.Services/" + tt.typ + "/one"), Endpoint: tt.endpoint, Dialer: nobody{},
			Admin: driver.Secrets{"username": patchbay.NewSecret("app"), "secret": patchbay.NewSecret("s3cret")}}
		target, err := driver.Guard{}.OpenTarget(t.Context(), d, c)
		if err != nil {
			t.Fatal(err)
		}
		facts := factsOf(t, target, tt.sub)
		for name, want := range tt.want {
			if facts[name] != want {
				t.Errorf("%s: %s is %q, want %q", tt.endpoint, name, facts[name], want)
			}
		}
		registered, err := target.Registered(tt.sub)
		if err != nil || registered.Public["username"] != "app" || registered.Secret["password"].Reveal() != "s3cret" {
			t.Errorf("%s: its login is %v, %v", tt.endpoint, registered.Public, err)
		}
		given, err := target.Given(tt.sub, "other", patchbay.NewSecret("0ther"))
		if err != nil || given.Public["username"] != "other" || given.Secret["password"].Reveal() != "0ther" {
			t.Errorf("%s: the given login is %v, %v", tt.endpoint, given.Public, err)
		}
	}
}

// credential is one of that auth type.
func credential(t *testing.T, target *driver.GuardedTarget, p placed, auth patchbay.AuthType) (driver.Credential, bool) {
	switch auth {
	case patchbay.AuthSecret:
		name := "someone"
		for _, nameless := range []string{"cosmos-sql", "cosmos-table", "storage", "cognitive", "openai", "aiservices", "signalr", "webpubsub", "app-insights", "vault"} {
			if strings.HasPrefix(p.kind, nameless) {
				name = ""
			}
		}
		return given(t, target, p.sub, name, "s3cret"), true
	case patchbay.AuthUserIdentity, patchbay.AuthSystemIdentity, patchbay.AuthSPSecret:
		c := driver.Credential{Public: map[string]string{"clientId": "1", "tenantId": "2", "principalId": "3"}, Secret: driver.Secrets{}}
		if auth == patchbay.AuthSystemIdentity {
			delete(c.Public, "clientId")
		}
		if auth == patchbay.AuthSPSecret {
			c.Secret["clientSecret"] = patchbay.NewSecret("sp")
		}
		return c, true
	}
	return driver.Credential{}, false
}

func TestAVaultIsAlsoOneOfTheCSIDriver(t *testing.T) {
	target := registration{typ: "Microsoft.KeyVault/vaults"}.opened(t)
	values := settings.Values{"clientId": patchbay.NewSecret("1"), "tenantId": patchbay.NewSecret("2")}
	for name, value := range factsOf(t, target, "") {
		values[name] = patchbay.NewSecret(value)
	}
	if _, err := settings.Render(settings.Request{Kind: "keyvault-csi", Auth: patchbay.AuthUserIdentity, Values: values}); err != nil {
		t.Error(err)
	}
}

func TestAPortThatTheSettingsHaveNoWordForIsRefused(t *testing.T) {
	for _, c := range []registration{
		{typ: "Microsoft.EventHub/namespaces", endpoint: "10.0.0.5:5672"},
		{typ: "Microsoft.ServiceBus/namespaces", endpoint: "sb://bus.test:5673"},
		{typ: "Microsoft.SignalRService/WebPubSub", endpoint: "pubsub.test:8443"},
	} {
		target := placed{registration: c}.opened(t)
		_, err := target.Inspect(soon(t), "")
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), "have no port") {
			t.Errorf("%s at %s: %v", c.typ, c.endpoint, err)
		}
	}
}
