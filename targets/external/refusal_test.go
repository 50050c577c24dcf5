package external_test

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv/hostile"
)

func TestARegistrationThatIsWrongIsRefused(t *testing.T) {
	const redis, s3 = "Microsoft.Cache/redis", "Patchbay.Services/s3Servers"
	tests := map[string]struct {
		registration
		says string
	}{
		"a type that nobody knows":       {registration{typ: "Microsoft.Batch/batchAccounts"}, "nothing is known"},
		"no endpoint":                    {registration{typ: s3}, "no endpoint"},
		"a login in the endpoint":        {registration{typ: redis, endpoint: "redis://app:hunter2@cache:6379"}, "has a login"},
		"another product's scheme":       {registration{typ: redis, endpoint: "mysql://cache:6379"}, "scheme mysql"},
		"in the clear by its scheme":     {registration{typ: "Microsoft.DBforMySQL/flexibleServers", endpoint: "http://db"}, "scheme http"},
		"a web page of Redis":            {registration{typ: redis, endpoint: "https://cache"}, "scheme https"},
		"several servers of one":         {registration{typ: redis, endpoint: "a:1,b:2"}, "one server"},
		"a port of nobody":               {registration{typ: redis, endpoint: "cache:99999"}, "port"},
		"a port without a number":        {registration{typ: redis, endpoint: "cache:"}, "no port"},
		"a line's end in the endpoint":   {registration{typ: redis, endpoint: "cache:6379\r\nX: y"}, "control characters"},
		"an escaped one in the path":     {registration{typ: s3, endpoint: "https://s3.test/a%0d%0ab"}, "control characters"},
		"a host with a space":            {registration{typ: redis, endpoint: "my cache:6379"}, "can't be one"},
		"a host that is an option":       {registration{typ: redis, endpoint: "-x:6379"}, "can't be one"},
		"a host of other letters":        {registration{typ: redis, endpoint: "cаche:6379"}, "can't be one"},
		"a fragment":                     {registration{typ: s3, endpoint: "https://s3.test/#x"}, "can't be read"},
		"a query of nothing known":       {registration{typ: redis, endpoint: "redis://cache?color=red"}, "no value of redis"},
		"a property of nobody":           {registration{typ: redis, properties: map[string]any{"vaules": 1}}, "no property"},
		"a value of nobody":              {registration{typ: redis, properties: map[string]any{"values": map[string]any{"hots": "x"}}}, "there are clientId, database, host"},
		"a secret among the values":      {registration{typ: redis, properties: map[string]any{"values": map[string]any{"password": "hunter2"}}}, "no value of redis"},
		"a value outside its words":      {registration{typ: redis, properties: map[string]any{"values": map[string]any{"ssl": "maybe"}}}, "can be true, false"},
		"a line's end in a value":        {registration{typ: redis, properties: map[string]any{"values": map[string]any{"host": "a\nb"}}}, "control characters"},
		"an endpoint of another kind":    {registration{typ: redis, properties: map[string]any{"endpoints": map[string]any{"mysql": "x:1"}}}, "the kinds of orders are redis"},
		"a part of no login":             {registration{typ: redis, admin: map[string]string{"token": "hunter2"}}, "unknown part"},
		"an empty secret":                {registration{typ: redis, admin: map[string]string{"password": ""}}, "is empty"},
		"a login without its name":       {registration{typ: s3, endpoint: "https://s3.test", admin: map[string]string{"secretAccessKey": "hunter2"}}, "needs a name"},
		"no authority":                   {registration{typ: redis, properties: map[string]any{"tls": map[string]any{"ca": "CA"}}}, "no certificate in PEM"},
		"two ways to turn TLS off":       {registration{typ: redis, properties: map[string]any{"tls": map[string]any{"off": true}}}, "redis has ssl"},
		"a certificate without TLS":      {registration{typ: "Microsoft.Sql/servers", properties: map[string]any{"tls": map[string]any{"off": true, "serverName": "x"}}}, "tls is off"},
		"a name with a line's end":       {registration{typ: redis, properties: map[string]any{"tls": map[string]any{"serverName": "a\nb"}}}, "can't be one"},
		"a storage account as Redis":     {registration{typ: "Microsoft.Storage/storageAccounts", endpoint: "redis://x"}, "scheme redis"},
		"an endpoint longer than a page": {registration{typ: redis, endpoint: strings.Repeat("a", 5000)}, "too long"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := tt.open(t)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("%v, want %q", err, tt.says)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestAWayThatIsNotOpenIsNamed(t *testing.T) {
	web := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	silent := listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	tests := map[string]struct {
		registration
		code patchbay.Code
	}{
		"a closed port": {registration{typ: "Microsoft.Cache/redis", endpoint: closedPort(t)}, patchbay.PortClosed},
		"a name of nobody": {registration{typ: "Microsoft.Cache/redis", endpoint: "cache.invalid:6379", dialer: dialer(func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "cache.invalid", IsNotFound: true}
		})}, patchbay.NameNotResolved},
		"an authority of nobody":     {registration{typ: "Microsoft.KeyVault/vaults", endpoint: web.URL}, patchbay.CertificateInvalid},
		"another name":               {registration{typ: "Microsoft.KeyVault/vaults", endpoint: web.URL, properties: map[string]any{"tls": map[string]any{"ca": authorityOf(web), "serverName": "elsewhere.test"}}}, patchbay.CertificateInvalid},
		"no TLS":                     {registration{typ: "Microsoft.KeyVault/vaults", endpoint: strings.Replace(plain.URL, "http:", "https:", 1)}, patchbay.CertificateInvalid},
		"one who never says a thing": {registration{typ: "Microsoft.Cache/redis", endpoint: silent}, patchbay.TargetUnreachable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			target := tt.opened(t)
			info, err := target.Inspect(soon(t), "")
			wantCode(t, err, tt.code)
			if len(info.Values) == 0 {
				t.Error("what is known of the place is lost")
			}
		})
	}
}

// Every protocol gives up on a server that takes connections and says nothing,
// and none takes that for a refusal.
func TestAServerThatNeverAnswersIsGivenUp(t *testing.T) {
	silent := listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for name, r := range plainly(silent) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := r.opened(t)
			_, err := target.Probe(soon(t), driver.ProbeRequest{Credential: given(t, target, r.sub, r.login, "cmlnaHQ="), Dialer: here{}, Sub: r.sub})
			if code := patchbay.CodeOf(err); code != patchbay.Timeout && code != patchbay.TargetUnreachable {
				t.Errorf("%v", err)
			}
			if !patchbay.AsError(err).Transient {
				t.Errorf("it is not worth another try: %v", err)
			}
		})
	}
}

// Nor does any take it for a refusal that a connection ends in the middle of a
// sign-in, but Kafka's, some of whose brokers refuse so.
func TestWhoHangsUpRefusesNobody(t *testing.T) {
	kinds := map[string]string{"mongo": "cosmos-mongo", "cassandra": "cosmos-cassandra"}
	for name := range plainly("127.0.0.1:1") {
		for _, a := range hostile.Against(cmp.Or(kinds[name], name)) {
			if !strings.HasSuffix(a.Name, "/sign-in/goodbye") && !strings.HasSuffix(a.Name, "/sign-in/truncated") {
				continue
			}
			t.Run(a.Name, func(t *testing.T) {
				r := plainly(hostile.Listen(t, a.Serve))[name]
				target := r.opened(t)
				_, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: given(t, target, r.sub, r.login, "cmlnaHQ="), Dialer: here{}, Sub: r.sub})
				want := patchbay.TargetUnreachable
				if name == "kafka" && strings.HasSuffix(a.Name, "/goodbye") {
					want = patchbay.LoginRefused
				}
				wantCode(t, err, want)
			})
		}
	}
}

// Nor does any take rubbish, or a connection that ends, for an answer.
func TestAServerOfAnotherProtocolIsNotBelieved(t *testing.T) {
	answers := map[string]string{
		"rubbish": strings.Repeat("\x00\xff?\r\n", 400), "nothing": "", "HTTP": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"another protocol of HTTP": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
	}
	for what, answer := range answers {
		address := listener(t, func(c net.Conn) {
			_, _ = c.Write([]byte(answer))
			b := make([]byte, 512)
			_, _ = c.Read(b)
		})
		for name, r := range plainly(address) {
			web := strings.Contains(r.endpoint, "http")
			if web && what == "HTTP" || name == "kafka" && what == "nothing" {
				continue // that is an answer: who hangs up on Kafka's client refuses it
			}
			t.Run(what+" to "+name, func(t *testing.T) {
				t.Parallel()
				target := r.opened(t)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				result, err := target.Probe(ctx, driver.ProbeRequest{Credential: given(t, target, r.sub, r.login, "cmlnaHQ="), Dialer: here{}, Sub: r.sub})
				if err == nil || patchbay.CodeOf(err) == patchbay.LoginRefused || patchbay.CodeOf(err) == patchbay.Internal {
					t.Errorf("%+v, %v", result, err)
				}
			})
		}
	}
}

type plainKind struct {
	registration
	sub, login string
}

// plainly is every kind that signs in, without TLS, at address.
func plainly(address string) map[string]plainKind {
	off := map[string]any{"tls": map[string]any{"off": true}}
	return map[string]plainKind{
		"postgresql": {registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers", endpoint: address + "?sslmode=disable"}, "databases/d", "app"},
		"mysql":      {registration{typ: "Microsoft.DBforMySQL/flexibleServers", endpoint: address + "?sslmode=disable"}, "databases/d", "app"},
		"sql":        {registration{typ: "Microsoft.Sql/servers", endpoint: address, properties: off}, "databases/d", "app"},
		"redis":      {registration{typ: "Microsoft.Cache/redis", endpoint: "redis://" + address}, "databases/0", "app"},
		"mongo":      {registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "mongodb://" + address, properties: off}, "mongodbDatabases/d", "app"},
		"cassandra":  {registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "cassandra://" + address, properties: off}, "cassandraKeyspaces/d", "app"},
		"kafka":      {registration{typ: "Patchbay.Services/confluent-cloud", endpoint: "kafka://" + address, properties: off}, "", "app"},
		"nats":       {registration{typ: "Patchbay.Services/natsServers", endpoint: "nats://" + address}, "", "app"},
		"mqtt":       {registration{typ: "Patchbay.Services/mqttServers", endpoint: "mqtt://" + address}, "", "app"},
		"s3":         {registration{typ: "Patchbay.Services/s3Servers", endpoint: "http://" + address}, "buckets/invoices", "app"},
		"vault":      {registration{typ: "Patchbay.Services/vaultServers", endpoint: "http://" + address}, "", ""},
		"schema":     {registration{typ: "Patchbay.Services/confluent-schema", endpoint: "http://" + address}, "", "app"},
		"blob":       {registration{typ: "Microsoft.Storage/storageAccounts", endpoint: "http://" + address + "/orders"}, "blobServices/default", ""},
		"cosmos-sql": {registration{typ: "Microsoft.DocumentDB/databaseAccounts", endpoint: "http://" + address}, "sqlDatabases/d", ""},
	}
}

func TestWhatStoppedInTheMiddleSaysSo(t *testing.T) {
	entered := make(chan struct{})
	address := listener(t, func(c net.Conn) {
		b := make([]byte, 1)
		_, _ = c.Read(b)
		select {
		case entered <- struct{}{}:
		default:
		}
		_, _ = io.Copy(io.Discard, c)
	})
	target := registration{typ: "Microsoft.Cache/redis", endpoint: "redis://" + address}.opened(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	_, err := target.Probe(ctx, driver.ProbeRequest{Credential: given(t, target, "databases/0", "app", "pw"), Dialer: here{}, Sub: "databases/0"})
	wantCode(t, err, patchbay.Canceled)
}

func TestTheBuildsSchemesNameTheirKinds(t *testing.T) {
	want := map[string]string{
		"postgres": "postgresql", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql", "sqlserver": "sql", "mssql": "sql",
		"redis": "redis", "rediss": "redis", "mongodb": "mongodb", "mongodb+srv": "mongodb-atlas", "cassandra": "cosmos-cassandra",
		"gremlin": "cosmos-gremlin", "wss": "cosmos-gremlin", "kafka": "confluent-cloud", "kafka+tls": "confluent-cloud",
		"schema+https": "confluent-schema", "schema+http": "confluent-schema", "nats": "nats", "tls": "nats", "tls+nats": "nats", "nats+tls": "nats",
		"mqtt": "mqtt", "mqtts": "mqtt", "s3": "s3", "minio": "s3", "s3+https": "s3", "s3+http": "s3", "vault": "vault", "vault+https": "vault", "vault+http": "vault",
		"sb": "servicebus", "eventhub": "eventhub", "etcd+https": "etcd", "etcd+http": "etcd",
		"amqp": "rabbitmq", "amqps": "rabbitmq",
	}
	d := product()
	if !maps.Equal(d.Unregistered, want) {
		t.Errorf("%v", d.Unregistered)
	}
	// Each opens without a registration.
	for scheme, kind := range want {
		target := registration{typ: "Patchbay.Services/" + kind, name: "0123456789abcdef", endpoint: scheme + "://server.invalid", dialer: nobody{}}.opened(t)
		if info, _ := target.Inspect(soon(t), ""); len(info.Values) == 0 {
			t.Errorf("%s: nothing is known", scheme)
		}
	}
	for _, typ := range []string{"Microsoft.Cache/redis", "Microsoft.Storage/storageAccounts", "Patchbay.Services/vault", "Patchbay.Services/natsServers"} {
		if !slices.Contains(d.Types, typ) {
			t.Errorf("%s is not served", typ)
		}
	}
}
