package settings

import (
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	amqp "github.com/rabbitmq/amqp091-go"

	"patchbay.dev/patchbay"
)

// What we write must mean to the libraries that read it what it means to us:
// the tests here ask those libraries that are at hand.

func renderOne(t *testing.T, r Request, name string) string {
	t.Helper()
	set, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	return held(set)[name].Reveal()
}

func TestPGXReadsWhatWeWrite(t *testing.T) {
	// pgx fills gaps from the environment; nothing may come from there.
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE", "PGPASSFILE", "PGSERVICE", "PGOPTIONS"} {
		t.Setenv(name, "")
	}
	for _, h := range hostile {
		for _, form := range []struct {
			naming patchbay.Naming
			client patchbay.ClientType
			name   string
		}{
			{patchbay.NamingAzure, "go", "AZURE_POSTGRESQL_CONNECTIONSTRING"},
			{patchbay.NamingAzure, "python", "AZURE_POSTGRESQL_CONNECTIONSTRING"},
			{patchbay.NamingAzure, "ruby", "AZURE_POSTGRESQL_CONNECTIONSTRING"},
			{patchbay.NamingNative, "go", "DATABASE_URL"},
			{patchbay.NamingServiceBinding, "go", "uri"},
		} {
			for _, host := range []string{"db.internal", "10.0.0.5", "fd00::7"} {
				values := Values{
					"host": patchbay.NewSecret(host), "port": patchbay.NewSecret("15432"), "sslmode": patchbay.NewSecret("disable"),
					"database": patchbay.NewSecret(h), "username": patchbay.NewSecret("u" + h), "password": patchbay.NewSecret(h + "'"),
				}
				text := renderOne(t, Request{Kind: "postgresql", Client: form.client, Auth: "secret", Naming: form.naming, Values: values}, form.name)
				c, err := pgx.ParseConfig(text)
				if err != nil {
					t.Errorf("%s: pgx refuses %q: %v", form.client, text, err)
					continue
				}
				if c.Host != host || c.Port != 15432 || c.Database != h || c.User != "u"+h || c.Password != h+"'" || c.TLSConfig != nil {
					t.Errorf("%s %s: pgx reads %q as host %q port %d database %q user %q password %q",
						form.naming, form.client, text, c.Host, c.Port, c.Database, c.User, c.Password)
				}
			}
		}
	}
}

func TestURLParsersReadWhatWeWrite(t *testing.T) {
	for _, form := range []struct {
		kind   string
		naming patchbay.Naming
		client patchbay.ClientType
		name   string
		inPath bool // the database
	}{
		{"postgresql", patchbay.NamingAzure, "java", "AZURE_POSTGRESQL_CONNECTIONSTRING", true},
		{"mysql", patchbay.NamingAzure, "java", "AZURE_MYSQL_CONNECTIONSTRING", true},
		{"mysql", patchbay.NamingNative, "go", "DATABASE_URL", true},
		{"redis", patchbay.NamingAzure, "go", "AZURE_REDIS_CONNECTIONSTRING", true},
		{"sql", patchbay.NamingNative, "go", "DATABASE_URL", false},
		{"cosmos-mongo", patchbay.NamingNative, "go", "MONGODB_URI", true},
	} {
		for _, h := range hostile {
			for _, host := range []string{"db.internal", "fd00::7", "bücher.example"} {
				values := elsewhere(table()[form.kind])
				for name, value := range map[string]string{"host": host, "database": h, "username": "u" + h, "password": h} {
					values[name] = patchbay.NewSecret(value)
				}
				text := renderOne(t, Request{Kind: form.kind, Client: form.client, Auth: "secret", Naming: form.naming, Values: values}, form.name)
				u, err := url.Parse(strings.TrimPrefix(text, "jdbc:"))
				if err != nil {
					t.Errorf("%s: %v", form.kind, err)
					continue
				}
				user, password, database := u.Query().Get("user"), u.Query().Get("password"), u.Query().Get("database")
				if u.User != nil {
					user = u.User.Username()
					password, _ = u.User.Password()
				}
				if form.inPath {
					database = strings.TrimPrefix(u.Path, "/")
				}
				if u.Hostname() != host || u.Port() != "15432" || user != "u"+h || password != h || database != h {
					t.Errorf("%s: %q is read as host %q port %s user %q password %q database %q",
						form.kind, text, u.Hostname(), u.Port(), user, password, database)
				}
			}
		}
	}
}

func TestAMQPReadsWhatWeWrite(t *testing.T) {
	for _, h := range hostile {
		for _, host := range []string{"rabbit.internal", "10.0.0.5", "fd00::7"} {
			for naming, name := range map[patchbay.Naming]string{patchbay.NamingNative: "AMQP_URL", patchbay.NamingServiceBinding: "uri"} {
				values := Values{
					"host": patchbay.NewSecret(host), "port": patchbay.NewSecret("15671"), "ssl": patchbay.NewSecret("true"), "vhost": patchbay.NewSecret("/" + h),
					"username": patchbay.NewSecret("u" + h), "password": patchbay.NewSecret(h), "serverName": patchbay.NewSecret("broker.internal"),
					"ca": patchbay.NewSecret("-----BEGIN CERTIFICATE-----"), "caFile": patchbay.NewSecret("/srv/b & c/ca.crt"),
				}
				text := renderOne(t, Request{Kind: "rabbitmq", Client: "go", Auth: "secret", Naming: naming, Values: values}, name)
				u, err := amqp.ParseURI(text)
				if err != nil {
					t.Errorf("%s: %q: %v", naming, text, err)
					continue
				}
				if u.Scheme != "amqps" || u.Host != host || u.Port != 15671 || u.Vhost != "/"+h || u.Username != "u"+h || u.Password != h || u.CACertFile != "/srv/b & c/ca.crt" || u.ServerName != "broker.internal" {
					t.Errorf("%s: %q is read as %+v", naming, text, u)
				}
			}
		}
	}
}

func TestNATSReadsItsCredentialsFile(t *testing.T) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewUserClaims(public).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	file := renderOne(t, Request{Kind: "nats", Client: "go", Auth: "secret", Naming: patchbay.NamingServiceBinding, Values: Values{
		"url": patchbay.NewSecret("nats://n:4222"), "jwt": patchbay.NewSecret(token), "seed": patchbay.NewSecret(string(seed)),
	}}, "user.creds")
	gotToken, err := jwt.ParseDecoratedJWT([]byte(file))
	if err != nil || gotToken != token {
		t.Errorf("the JWT is read as %q: %v", gotToken, err)
	}
	gotKey, err := jwt.ParseDecoratedUserNKey([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := gotKey.PublicKey(); err != nil || got != public {
		t.Errorf("the key is read as %s: %v", got, err)
	}
}

// adoPairs reads an ADO.NET connection string by the rules of .NET's
// DbConnectionStringBuilder, written independently of the syntax.
func adoPairs(t *testing.T, s string) map[string]string {
	t.Helper()
	pairs := make(map[string]string)
	for s != "" {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			t.Fatalf("a key without a value: %q", s)
		}
		var value strings.Builder
		if rest != "" && (rest[0] == '"' || rest[0] == '\'') {
			quote := rest[0]
			for rest = rest[1:]; ; {
				at := strings.IndexByte(rest, quote)
				if at < 0 {
					t.Fatalf("a quote without its end: %q", rest)
				}
				value.WriteString(rest[:at])
				if rest = rest[at+1:]; rest == "" || rest[0] != quote {
					break
				}
				value.WriteByte(quote)
				rest = rest[1:]
			}
			if rest != "" && rest[0] != ';' {
				t.Fatalf("something behind a quoted value: %q", rest)
			}
			s = strings.TrimPrefix(rest, ";")
		} else {
			var v string
			v, s, _ = strings.Cut(rest, ";")
			value.WriteString(strings.TrimSpace(v))
		}
		pairs[strings.ToLower(strings.TrimSpace(key))] = value.String()
	}
	return pairs
}

func TestDotNetReadsWhatWeWrite(t *testing.T) {
	for _, h := range hostile {
		for kind, names := range map[string][]string{
			"postgresql": {"AZURE_POSTGRESQL_CONNECTIONSTRING", "user id", "password", "database"},
			"mysql":      {"AZURE_MYSQL_CONNECTIONSTRING", "user id", "password", "database"},
			"sql":        {"AZURE_SQL_CONNECTIONSTRING", "user id", "password", "initial catalog"},
		} {
			values := examples(table()[kind])[0]
			for _, name := range []string{"username", "password", "database"} {
				values[name] = patchbay.NewSecret(h)
			}
			text := renderOne(t, Request{Kind: kind, Client: "dotnet", Auth: "secret", Values: values}, names[0])
			pairs := adoPairs(t, text)
			for _, name := range names[1:] {
				if pairs[name] != h {
					t.Errorf("%s: %s of %s is read as %s", kind, name, strconv.Quote(text), strconv.Quote(pairs[name]))
				}
			}
		}
	}
}
