package external_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
)

func TestAPostgreSQLLoginIsTriedAsTheApplicationWould(t *testing.T) {
	server := testenv.Postgres(t, testenv.PostgresOptions{TLS: true})
	if err := server.Exec(t.Context(), "postgres", "create database shop", "create role app login password 'right'"); err != nil {
		t.Fatal(err)
	}
	checked := registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers", endpoint: server.Addr(),
		properties: map[string]any{"tls": map[string]any{"ca": string(server.CA)}}}.opened(t)
	if got := signsIn(t, checked, "databases/shop", "app", "right", "wrong"); got.TLS == "" {
		t.Error("TLS was not seen")
	}
	_, err := probe(t, checked, "databases/none", given(t, checked, "databases/none", "app", "right"))
	wantCode(t, err, patchbay.ChildMissing)

	t.Run("a certificate of nobody is not trusted", func(t *testing.T) {
		target := registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers", endpoint: server.Addr()}.opened(t)
		_, err := probe(t, target, "databases/shop", given(t, target, "databases/shop", "app", "right"))
		wantCode(t, err, patchbay.CertificateInvalid)
	})
	t.Run("unless somebody chose sslmode require", func(t *testing.T) {
		target := registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers", endpoint: "postgres://" + server.Addr() + "?sslmode=require"}.opened(t)
		signsIn(t, target, "databases/shop", "app", "right", "wrong")
	})
	t.Run("another name is not trusted", func(t *testing.T) {
		target := registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers", endpoint: server.Addr(),
			properties: map[string]any{"tls": map[string]any{"ca": string(server.CA), "serverName": "elsewhere.test"}}}.opened(t)
		_, err := probe(t, target, "databases/shop", given(t, target, "databases/shop", "app", "right"))
		wantCode(t, err, patchbay.CertificateInvalid)
	})
	t.Run("verify-ca does not look at the name", func(t *testing.T) {
		target := registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers", endpoint: server.Addr(),
			properties: map[string]any{"values": map[string]any{"sslmode": "verify-ca"}, "tls": map[string]any{"ca": string(server.CA), "serverName": "elsewhere.test"}}}.opened(t)
		signsIn(t, target, "databases/shop", "app", "right", "wrong")
	})
	t.Run("an endpoint that nobody registered", func(t *testing.T) {
		target := registration{typ: "Patchbay.Services/postgresql", name: "0123456789abcdef", endpoint: "postgresql://" + server.Addr() + "/shop?sslmode=disable"}.opened(t)
		info, err := target.Inspect(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if info.Values["database"] != "shop" || info.Values["sslmode"] != "disable" || info.Values["host"] != "127.0.0.1" {
			t.Errorf("values %v", info.Values)
		}
		if got := signsIn(t, target, "", "app", "right", "wrong"); got.TLS != "" {
			t.Error("it was in the clear, and says TLS")
		}
	})
	t.Run("a server without TLS", func(t *testing.T) {
		plain := testenv.Postgres(t, testenv.PostgresOptions{})
		target := registration{typ: "Microsoft.DBforPostgreSQL/flexibleServers", endpoint: plain.Addr()}.opened(t)
		_, err := probe(t, target, "databases/postgres", given(t, target, "databases/postgres", plain.User, plain.Password))
		wantCode(t, err, patchbay.CertificateInvalid)
	})
}

func TestARedisLoginIsTriedAsTheApplicationWould(t *testing.T) {
	for _, secure := range []bool{false, true} {
		server := testenv.Redis(t, secure)
		r := registration{typ: "Microsoft.Cache/redis", endpoint: "redis://" + server.Addr()}
		if secure {
			r.endpoint = server.Addr()
			r.properties = map[string]any{"tls": map[string]any{"ca": string(server.CA)}}
		}
		target := r.opened(t)
		result := signsIn(t, target, "databases/3", server.User, server.Password, "wrong")
		if (result.TLS != "") != secure {
			t.Errorf("secure %v, and TLS %q", secure, result.TLS)
		}
		_, err := probe(t, target, "databases/99", given(t, target, "databases/99", server.User, server.Password))
		wantCode(t, err, patchbay.ChildMissing)
		info, err := target.Inspect(t.Context(), "databases/3")
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: "true", false: "false"}[secure]; info.Values["ssl"] != want || info.Values["database"] != "3" {
			t.Errorf("values %v", info.Values)
		}
		if secure && !strings.HasPrefix(info.TLS, "TLS") {
			t.Errorf("TLS %q", info.TLS)
		}
	}
}

func TestAMySQLLoginIsTriedAsTheApplicationWould(t *testing.T) {
	server := testenv.MariaDB(t, true)
	target := registration{typ: "Microsoft.DBforMySQL/flexibleServers", endpoint: server.Addr(),
		properties: map[string]any{"tls": map[string]any{"ca": string(server.CA)}}}.opened(t)
	if got := signsIn(t, target, "databases/"+server.Database, server.User, server.Password, "wrong"); got.TLS == "" {
		t.Error("TLS was not seen")
	}
	// MariaDB does not tell one who may not see a database whether it is there.
	_, err := probe(t, target, "databases/none", given(t, target, "databases/none", server.User, server.Password))
	if code := patchbay.CodeOf(err); code != patchbay.LoginRefused && code != patchbay.ChildMissing {
		t.Errorf("a database that is not there: %v", err)
	}
	stranger := registration{typ: "Microsoft.DBforMySQL/flexibleServers", endpoint: server.Addr()}.opened(t)
	_, err = probe(t, stranger, "databases/shop", given(t, stranger, "databases/shop", server.User, server.Password))
	wantCode(t, err, patchbay.CertificateInvalid)
	plain := registration{typ: "Patchbay.Services/mysql", endpoint: "mariadb://" + server.Addr() + "/shop?sslmode=disable"}.opened(t)
	signsIn(t, plain, "", server.User, server.Password, "wrong")
}

// A fake, but one that speaks the whole protocol: franz-go's.
func TestAKafkaLoginIsTriedAgainstAFakeCluster(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "KEY1", "s3cret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	target := registration{typ: "Patchbay.Services/confluent-cloud", endpoint: "kafka://" + cluster.ListenAddrs()[0],
		properties: map[string]any{"tls": map[string]any{"off": true}}}.opened(t)
	signsIn(t, target, "", "KEY1", "s3cret", "wrong")
}

func TestANATSLoginIsTriedAsTheApplicationWould(t *testing.T) {
	server := testenv.NATS(t, natsserver.Config{})
	creds, err := server.AccountCreds("app")
	if err != nil {
		t.Fatal(err)
	}
	target := registration{typ: "Patchbay.Services/natsServers", endpoint: server.URL()}.opened(t)
	c := given(t, target, "", "", creds.Reveal())
	if c.Secret["jwt"].IsZero() || c.Secret["seed"].IsZero() {
		t.Error("a creds file was not taken apart")
	}
	if _, err := probe(t, target, "", c); err != nil {
		t.Fatal(err)
	}
	other := testenv.NATS(t, natsserver.Config{})
	foreign, err := other.AccountCreds("app")
	if err != nil {
		t.Fatal(err)
	}
	_, err = probe(t, target, "", given(t, target, "", "", foreign.Reveal()))
	wantCode(t, err, patchbay.LoginRefused)
	_, err = probe(t, target, "", given(t, target, "", "app", "no-password-of-anybody"))
	wantCode(t, err, patchbay.LoginRefused)
}

func TestAnMQTTLoginIsTriedAsTheApplicationWould(t *testing.T) {
	for _, secure := range []bool{true, false} {
		server := testenv.Mosquitto(t, testenv.MosquittoConfig{Secure: secure})
		r := registration{typ: "Patchbay.Services/mqttServers", endpoint: "mqtt://" + server.Addr()}
		if secure {
			r.endpoint, r.properties = "mqtts://"+server.Addr(), map[string]any{"tls": map[string]any{"ca": string(server.CA)}}
		}
		if got := signsIn(t, r.opened(t), "", server.Admin, server.Password, "wrong"); (got.TLS != "") != secure {
			t.Errorf("TLS %q", got.TLS)
		}
		if secure {
			stranger := registration{typ: r.typ, endpoint: r.endpoint}.opened(t)
			_, err := probe(t, stranger, "", given(t, stranger, "", server.Admin, server.Password))
			wantCode(t, err, patchbay.CertificateInvalid)
			continue
		}
		covered := registration{typ: r.typ, endpoint: "mqtts://" + server.Addr()}.opened(t)
		_, err := covered.Inspect(soon(t), "")
		wantCode(t, err, patchbay.TargetUnreachable) // it hangs up on TLS
	}
}

func TestAStorageKeyIsTriedWithAzurite(t *testing.T) {
	server := testenv.Azurite(t)
	target := registration{typ: "Microsoft.Storage/storageAccounts", name: server.Account, properties: map[string]any{"endpoints": map[string]any{
		"storage-blob": server.Blob(), "storage-queue": server.Queue(), "storage-table": server.Table(),
	}}}.opened(t)
	other := strings.Repeat("A", len(server.Key)-2) + "=="
	for _, sub := range []string{"blobServices/default", "queueServices/default", "tableServices/default"} {
		t.Run(sub, func(t *testing.T) {
			signsIn(t, target, sub, "", server.Key, other)
			signsIn(t, target, sub, "", "DefaultEndpointsProtocol=http;AccountName="+server.Account+";AccountKey="+server.Key, "DefaultEndpointsProtocol=http;AccountName="+server.Account+";AccountKey="+other)
			_, err := probe(t, target, sub, given(t, target, sub, "", "no key at all"))
			wantCode(t, err, patchbay.LoginRefused)
		})
	}
}

func TestANetworkIsTriedFromTheSourcesPlace(t *testing.T) {
	server := testenv.Redis(t, false)
	// This process can't reach the name; the source can.
	target := registration{typ: "Microsoft.Cache/redis", endpoint: "redis://cache.shop.internal:6379", dialer: nobody{}}.opened(t)
	c := given(t, target, "databases/0", server.User, server.Password)
	seen := ""
	result, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: c, Sub: "databases/0", Dialer: dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		seen = address
		var d net.Dialer
		return d.DialContext(ctx, network, server.Addr())
	})})
	if err != nil || len(result.Allowed) == 0 {
		t.Fatal(result, err)
	}
	if seen != "cache.shop.internal:6379" {
		t.Errorf("dialed %s", seen)
	}
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d(ctx, network, address)
}

func TestAnIdentityIsNotSignedInWith(t *testing.T) {
	server := testenv.Redis(t, true)
	target := registration{typ: "Microsoft.Cache/redis", endpoint: server.Addr(),
		properties: map[string]any{"tls": map[string]any{"ca": string(server.CA)}}}.opened(t)
	for name, c := range map[string]driver.Credential{
		"system":    {},
		"user":      {Public: map[string]string{"clientId": "1"}},
		"principal": {Public: map[string]string{"clientId": "1"}, Secret: driver.Secrets{"clientSecret": patchbay.NewSecret("s3cret")}},
	} {
		result, err := probe(t, target, "databases/0", c)
		if err != nil || len(result.Allowed) != 0 || result.TLS != tls.VersionName(tls.VersionTLS13) {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
}
