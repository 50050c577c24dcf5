package attacktest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/sandbox"
	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
)

// client is one that signs in, by the driver and the kind whose protocol it
// speaks.
type client struct {
	name, driver, kind string
	config             func(address string, secure bool) driver.Config
	// login is what a caller gives; a request with a credential has its own.
	login   [2]string
	request driver.ProbeRequest
	silent  bool // asks nothing once it has signed in
}

// product is the drivers of the build.
var product = sync.OnceValue(func() driver.Catalog {
	return controlplane.Catalog()
})

// everywhere is a machine from which there is one server, whatever it is called.
type everywhere string

func (e everywhere) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, string(e))
}

func newSandbox(t testing.TB) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.New(sandbox.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signIn has c sign in at an address, as the product does it.
func (c client) signIn(ctx context.Context, s *sandbox.Sandbox, tenant, address string, secure bool) (driver.ProbeResult, error) {
	config := c.config(address, secure)
	config.Dialer = everywhere(address)
	target, err := driver.Guard{Name: c.driver, Admin: config.Admin, Isolate: s}.OpenTarget(ctx, product().Targets[c.driver], config)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer func() { _ = target.Close() }()
	r := c.request
	r.Dialer, r.Share = config.Dialer, []string{tenant, address}
	if r.Credential.Secret == nil {
		if r.Credential, err = target.Given(r.Sub, c.login[0], patchbay.NewSecret(c.login[1])); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	return target.Probe(ctx, r)
}

const inGroup = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/shop/providers/"

// externals are the kinds that somebody can sign in to and that Patchbay does
// not administer: where such a server is, in the clear and with TLS.
var externals = []struct {
	kind, plain, secure string
	properties          map[string]any // in the clear
	name                string         // of the login
}{
	{kind: "postgresql", plain: "postgresql://%s/shop?sslmode=disable", secure: "postgresql://%s/shop", name: "app"},
	{kind: "neon-postgres", plain: "%s/shop?sslmode=disable", secure: "%s/shop", name: "app"},
	{kind: "mysql", plain: "mysql://%s/shop?sslmode=disable", secure: "mysql://%s/shop", name: "app"},
	{kind: "sql", plain: "sqlserver://%s/shop", secure: "sqlserver://%s/shop", properties: withoutTLS, name: "app"},
	{kind: "redis", plain: "redis://%s", secure: "rediss://%s", name: "app"},
	{kind: "cosmos-mongo", plain: "mongodb://%s/shop", secure: "mongodb://%s/shop", properties: withoutTLS, name: "app"},
	{kind: "mongodb", plain: "mongodb://%s/shop?sslmode=disable", secure: "mongodb://%s/shop", name: "app"},
	{kind: "mongodb-atlas", plain: "mongodb+srv://127.0.0.1", secure: "mongodb+srv://127.0.0.1", properties: withoutTLS, name: "app"},
	{kind: "cosmos-cassandra", plain: "cassandra://%s", secure: "cassandra://%s", properties: withoutTLS, name: "app"},
	{kind: "kafka", plain: "kafka://%s", secure: "kafka://%s", properties: inTheClear("sslmode", "disable"), name: "app"},
	{kind: "confluent-cloud", plain: "kafka://%s", secure: "kafka://%s", properties: withoutTLS, name: "app"},
	{kind: "nats", plain: "nats://%s", secure: "tls://%s", name: "app"},
	{kind: "mqtt", plain: "mqtt://%s", secure: "mqtts://%s", name: "app"},
	{kind: "s3", plain: "s3+http://%s", secure: "s3://%s", name: "app"},
	{kind: "s3", plain: "s3+http://%s", secure: "s3://%s", properties: map[string]any{"values": map[string]string{"bucket": "invoices"}}, name: "app"},
	{kind: "vault", plain: "vault+http://%s", secure: "vault://%s"},
	{kind: "vault", plain: "vault+http://%s", secure: "vault://%s", name: "role"},
	{kind: "confluent-schema", plain: "schema+http://%s", secure: "schema+https://%s", name: "app"},
	{kind: "appconfig", plain: "http://%s", secure: "https://%s", name: "app"},
	{kind: "openai", plain: "http://%s", secure: "https://%s"},
	{kind: "aiservices", plain: "http://%s", secure: "https://%s"},
	{kind: "cosmos-sql", plain: "http://%s", secure: "https://%s"},
	{kind: "cosmos-table", plain: "http://%s", secure: "https://%s"},
	{kind: "storage-blob", plain: "http://%s", secure: "https://%s"},
	{kind: "storage-queue", plain: "http://%s", secure: "https://%s"},
	{kind: "storage-table", plain: "http://%s", secure: "https://%s"},
	{kind: "storage-file", plain: "http://%s", secure: "https://%s"},
}

var withoutTLS = map[string]any{"tls": map[string]any{"off": true}}

// inTheClear is withoutTLS for a kind that has a value for it.
func inTheClear(name, value string) map[string]any {
	return map[string]any{"values": map[string]string{name: value}}
}

// clients are all that a caller can have talk to a server.
func clients(t testing.TB) []client {
	t.Helper()
	var all []client
	for _, e := range externals {
		name := "external/" + e.kind
		if e.kind == "vault" && e.name != "" {
			name += "-approle"
		} else if e.kind == "s3" && e.properties != nil {
			name += "-bucket"
		}
		all = append(all, client{name: name, driver: "external", kind: e.kind, login: [2]string{e.name, "cmlnaHQ="}, config: func(address string, secure bool) driver.Config {
			c := driver.Config{ID: patchbay.ID(inGroup + "Patchbay.Services/" + e.kind + "/hostile")}
			c.Endpoint = e.secure
			if !secure {
				c.Endpoint, c.Properties = e.plain, properties(e.properties)
			}
			c.Endpoint = strings.ReplaceAll(c.Endpoint, "%s", address)
			return c
		}, silent: e.kind == "nats" || e.kind == "mqtt"})
	}
	return append(append(all, postgresClient()), natsClients(t)...)
}

func properties(p map[string]any) json.RawMessage {
	if p == nil {
		return nil
	}
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // the test's own mistake
	}
	return b
}

// postgresClient tries the rights of a login that Patchbay made.
func postgresClient() client {
	return client{
		name: "postgres", driver: "postgres", kind: "postgresql", login: [2]string{"pb_aaaaaaaaaaaa_g1", "0123456789abcdef"},
		request: driver.ProbeRequest{Sub: "shop", Access: patchbay.Writer},
		config: func(address string, secure bool) driver.Config {
			mode := "disable"
			if secure {
				mode = "require"
			}
			return driver.Config{
				ID: inGroup + "Microsoft.DBforPostgreSQL/flexibleServers/hostile", Endpoint: address, Properties: properties(map[string]any{"sslmode": mode, "weakestAuth": "password"}), // it answers whatever is asked
				Admin: driver.Secrets{"username": patchbay.NewSecret("postgres"), "password": patchbay.NewSecret("secret")},
			}
		},
	}
}

// natsClients try a login of a caller's, and one that Patchbay made.
func natsClients(t testing.TB) []client {
	t.Helper()
	s := testenv.NATS(t, natsserver.Config{})
	given := client{
		name: "nats", driver: "nats", kind: "nats", login: [2]string{"app", "secret"}, silent: true,
		config: func(address string, secure bool) driver.Config {
			p := s.Properties()
			p["subjects"] = []string{"orders.*", "invoices.>"}
			p["tls"] = "off" // says the password
			if secure {
				p["tls"] = "require"
			}
			return driver.Config{ID: inGroup + "Patchbay.Services/natsServers/hostile", Endpoint: address, Properties: properties(p), Admin: s.Admin()}
		},
	}
	_, address, _ := strings.Cut(s.URL(), "://")
	config := given.config(address, false)
	config.Dialer = everywhere(address)
	target, err := driver.Guard{Name: "nats"}.OpenTarget(t.Context(), product().Targets["nats"], config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = target.Close() }()
	made := given
	made.name, made.silent, made.request.Access = "nats/writer", false, patchbay.Writer
	made.request.Credential, err = target.NewCredential(t.Context(), driver.LoginRequest{
		Mark: driver.Mark{UID: "aaaaaaaaaaaa", Generation: 1, Connection: "/c"}, Name: "pb_aaaaaaaaaaaa_g1", Auth: patchbay.AuthSecret, Access: patchbay.Writer,
	})
	if err != nil {
		t.Fatal(err)
	}
	return []client{given, made}
}
