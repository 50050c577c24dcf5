package settings

import (
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

func namesOf(set []patchbay.Setting) []string {
	var names []string
	for _, s := range set {
		names = append(names, s.Name)
	}
	return names
}

func postgres(naming patchbay.Naming, client patchbay.ClientType) Request {
	return Request{
		Kind: "postgresql", Naming: naming, Client: client, Auth: patchbay.AuthSecret,
		Connection: "orders.eu", Values: examples(table()["postgresql"])[0],
	}
}

func taken(names ...string) func(string) bool {
	return func(name string) bool { return slices.Contains(names, name) }
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		what string
		r    Request
		with func(*Request)
		want string // names, or the code of an error and a part of its text
	}{
		{"nothing taken", postgres("", "django"), nil,
			"AZURE_POSTGRESQL_NAME AZURE_POSTGRESQL_HOST AZURE_POSTGRESQL_USER AZURE_POSTGRESQL_PASSWORD"},
		{"one name taken moves all", postgres("", "django"),
			func(r *Request) { r.Taken = taken("AZURE_POSTGRESQL_USER") },
			"AZURE_POSTGRESQL_ORDERS_EU_NAME AZURE_POSTGRESQL_ORDERS_EU_HOST AZURE_POSTGRESQL_ORDERS_EU_USER AZURE_POSTGRESQL_ORDERS_EU_PASSWORD"},
		{"a customized name stays where it is", postgres("", "django"),
			func(r *Request) {
				r.Taken = taken("AZURE_POSTGRESQL_USER")
				r.Customized = map[string]string{"azure_postgresql_HOST": "dbHost"}
			},
			"AZURE_POSTGRESQL_ORDERS_EU_NAME dbHost AZURE_POSTGRESQL_ORDERS_EU_USER AZURE_POSTGRESQL_ORDERS_EU_PASSWORD"},
		{"a customized name is no collision", postgres("", "go"),
			func(r *Request) {
				r.Taken = taken("AZURE_POSTGRESQL_CONNECTIONSTRING")
				r.Customized = map[string]string{"AZURE_POSTGRESQL_CONNECTIONSTRING": "Db.Main"}
			}, "Db.Main"},
		{"the longer default name may be customized too", postgres("", "go"),
			func(r *Request) {
				r.Customized = map[string]string{"AZURE_POSTGRESQL_ORDERS_EU_CONNECTIONSTRING": "DB"}
			}, "DB"},
		{"a customized name that is taken", postgres("", "go"),
			func(r *Request) {
				r.Taken = taken("DB")
				r.Customized = map[string]string{"AZURE_POSTGRESQL_CONNECTIONSTRING": "DB"}
			}, "!Conflict: the source already has a setting DB"},
		{"both names taken", postgres("", "go"),
			func(r *Request) {
				r.Taken = taken("AZURE_POSTGRESQL_CONNECTIONSTRING", "AZURE_POSTGRESQL_ORDERS_EU_CONNECTIONSTRING")
			}, "!Conflict: the source already has a setting AZURE_POSTGRESQL_ORDERS_EU_CONNECTIONSTRING"},
		{"a framework's property has no place for a name", postgres("", "springBoot"),
			func(r *Request) { r.Taken = taken("spring.datasource.url") }, "!Conflict: the source already has a setting spring.datasource.url"},
		{"native", postgres("native", "go"),
			func(r *Request) { r.Taken = taken("PGHOST") },
			"ORDERS_EU_PGHOST ORDERS_EU_PGPORT ORDERS_EU_PGDATABASE ORDERS_EU_PGUSER ORDERS_EU_PGPASSWORD ORDERS_EU_PGSSLMODE ORDERS_EU_DATABASE_URL"},
		{"a name that starts with a digit", postgres("native", "go"),
			func(r *Request) {
				r.Connection = "2nd-dß"
				r.Taken = taken("PGHOST")
				r.Customized = map[string]string{"PGPORT": "P", "PGDATABASE": "D", "PGUSER": "U", "PGPASSWORD": "W", "PGSSLMODE": "S", "DATABASE_URL": "L"}
			}, "_2ND_D__PGHOST P D U W S L"},
		{"no name to insert", postgres("", "go"),
			func(r *Request) { r.Connection = ""; r.Taken = taken("AZURE_POSTGRESQL_CONNECTIONSTRING") }, "!Conflict"},
		{"files are never taken", postgres("servicebinding", "go"),
			func(r *Request) { r.Taken = func(string) bool { return true } },
			"type provider host port database username password sslmode uri"},
		{"unknown default name", postgres("", "go"),
			func(r *Request) { r.Customized = map[string]string{"PGHOST": "X"} },
			"!InvalidArgument: \"PGHOST\" is not a default name of this connection. The default names are AZURE_POSTGRESQL_CONNECTIONSTRING"},
		{"a bad name", postgres("", "go"),
			func(r *Request) { r.Customized = map[string]string{"AZURE_POSTGRESQL_CONNECTIONSTRING": "A=B"} },
			"!InvalidArgument: \"A=B\" can't be a setting's name"},
		{"a path", postgres("servicebinding", "go"),
			func(r *Request) { r.Customized = map[string]string{"uri": "../uri"} }, "!InvalidArgument: \"../uri\" can't be"},
		{"two of a name", postgres("", "django"),
			func(r *Request) {
				r.Customized = map[string]string{"AZURE_POSTGRESQL_HOST": "DB", "AZURE_POSTGRESQL_NAME": "DB"}
			}, "!InvalidArgument: two settings would have the name DB"},
		{"additional", postgres("", "go"),
			func(r *Request) { r.Additional = map[string]string{"b": "2", "A": "1"} },
			"AZURE_POSTGRESQL_CONNECTIONSTRING A b"},
		{"additional, taken", postgres("", "go"),
			func(r *Request) { r.Additional = map[string]string{"A": "1"}; r.Taken = taken("A") }, "!Conflict: the source already has a setting A"},
		{"additional, our own", postgres("", "go"),
			func(r *Request) { r.Additional = map[string]string{"AZURE_POSTGRESQL_CONNECTIONSTRING": "1"} }, "!InvalidArgument: two settings"},
		{"additional, hostile", postgres("", "go"),
			func(r *Request) { r.Additional = map[string]string{"A\nB": "1"} }, "!InvalidArgument: \"A\\nB\" can't be"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.with != nil {
				c.with(&c.r)
			}
			set, err := Render(c.r)
			if want, isError := strings.CutPrefix(c.want, "!"); isError {
				if err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(namesOf(set), " "); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			if len(c.r.Additional) > 0 {
				return
			}
			// What is written under other names is found under them.
			got, err := Parse(c.r, held(set))
			if err != nil || got["password"].Reveal() != c.r.Values["password"].Reveal() {
				t.Errorf("parsed %v, %v", got, err)
			}
		})
	}
}

func TestWhatIsNotSupportedIsSaidWithWhatIs(t *testing.T) {
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{Kind: "signalr", Client: "django", Auth: "secret"},
			"InvalidArgument: Client type django is not supported by target resource. Supported client types are none, dotnet"},
		{Request{Kind: "signalr", Client: "dotnet", Auth: "userAccount"},
			"InvalidArgument: Auth type userAccount is not supported by target resource with client type dotnet. Supported auth types are secret, systemAssignedIdentity, userAssignedIdentity, servicePrincipalSecret"},
		{Request{Kind: "signalr", Client: "dotnet", Auth: ""}, `InvalidArgument: Auth type "" is not supported`},
		{Request{Kind: "nats", Client: "go", Auth: "secret", Naming: "azure"},
			"InvalidArgument: NATS has no names in the naming azure. Supported namings are native, servicebinding"},
		{Request{Kind: "nats", Client: "go", Auth: "secret", Naming: "x"}, "InvalidArgument: NATS has no names in the naming x"},
		{Request{Kind: "oracle", Client: "go", Auth: "secret"}, `InvalidArgument: target kind "oracle" is not known. Known kinds are aiservices, `},
		{Request{Kind: "postgresql", Client: "go", Auth: "secret"}, "InvalidArgument: the settings of PostgreSQL need a value for database, host, password, username"},
		{Request{Kind: "nats", Client: "go", Auth: "secret", Values: Values{"jwt": patchbay.NewSecret("x")}},
			"InvalidArgument: the settings of NATS need jwt and seed, or username and password"},
	} {
		_, err := Render(c.r)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
}

func TestAzsOtherWordsForDotNet(t *testing.T) {
	want, err := Render(postgres("", "dotnet"))
	if err != nil {
		t.Fatal(err)
	}
	for _, client := range []patchbay.ClientType{"dotnet-connectionString", "dotnet-internal"} {
		got, err := Render(postgres("", client))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", client, got, err)
		}
	}
}

func TestASecretInKeyVaultIsTheOnlyReference(t *testing.T) {
	const uri = "https://shop.vault.azure.net/secrets/db/1"
	for _, c := range []struct {
		kind, client, want string
	}{
		{"mysql", "dotnet", "HOST=orders.mysql.database.azure.com USERNAME=u PASSWORD=@ DATABASE=shop PORT=3306 SSL=true"},
		{"mysql", "nodejs", "HOST=orders.mysql.database.azure.com USER=u PASSWORD=@ DATABASE=shop PORT=3306 SSL=true"},
		{"postgresql", "go", "HOST=orders.postgres.database.azure.com USERNAME=u DATABASE=shop PORT=5432 SSL=true PASSWORD=@"},
		{"sql", "php", "SERVERNAME=orders.database.windows.net,1433 DATABASE=shop UID=u PASSWORD=@"},
		{"postgresql", "springBoot", "spring.datasource.url=jdbc:postgresql://orders.postgres.database.azure.com:5432/shop?sslmode=require spring.datasource.username=u spring.datasource.password=@"},
		{"eventhub", "go", "!InvalidArgument: the connection string of Azure Event Hubs can't be split"},
		{"keyvault", "python", "!InvalidArgument: a connection to Azure Key Vault with auth type systemAssignedIdentity has no secret"},
		{"nats", "go", "!InvalidArgument: a connection to NATS has more than one secret"},
	} {
		k := table()[c.kind]
		values := examples(k)[0]
		if values["username"] = patchbay.NewSecret("u"); c.kind == "nats" {
			delete(values, "username")
		}
		delete(values, "password") // it need not be known
		r := Request{Kind: c.kind, Client: patchbay.ClientType(c.client), Auth: k.auths[0], SecretURI: uri, Values: values}
		set, err := Render(r)
		if want, isError := strings.CutPrefix(c.want, "!"); isError {
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s %s: got %v, want %s", c.kind, c.client, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", c.kind, c.client, err)
			continue
		}
		var got []string
		for _, s := range set {
			value := s.Value.Reveal()
			if isReference := s.ConfigType == KeyVaultSecret; isReference != (value == "@Microsoft.KeyVault(SecretUri="+uri+")") || isReference != s.Secret {
				t.Errorf("%s %s: %+v", c.kind, c.client, s)
			} else if isReference {
				value = "@"
			}
			got = append(got, strings.TrimPrefix(s.Name, k.prefix)+"="+value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %s:\n got %s\nwant %s", c.kind, c.client, strings.Join(got, " "), c.want)
		}
		v, err := Parse(r, held(set))
		if _, ok := v["password"]; ok || err != nil || v["username"].Reveal() != "u" {
			t.Errorf("%s %s: parsed %v, %v", c.kind, c.client, reveal(v), err)
		}
	}
	for _, bad := range []string{"http://shop.vault.azure.net/secrets/db", "https://", "x", "https://v/secrets/a)b", "https://v/ x"} {
		r := postgres("", "go")
		r.SecretURI = bad
		if _, err := Render(r); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPropertiesAreAppendedInTheSyntaxOfTheString(t *testing.T) {
	properties := map[string]string{"Application Name": "it's; a=b", "b_c": "1"}
	for _, c := range []struct{ kind, client, want string }{
		{"postgresql", "dotnet", `;Password=s3cret;Application Name="it's; a=b";b_c=1;`},
		{"postgresql", "go", ` password=s3cret Application Name='it\'s; a=b' b_c=1`},
		{"postgresql", "java", `&password=s3cret&Application Name=it%27s%3B%20a%3Db&b_c=1`},
		{"postgresql", "springBoot", `?sslmode=require&Application Name=it%27s%3B%20a%3Db&b_c=1`},
		{"mysql", "go", `?tls=true&Application Name=it%27s%3B%20a%3Db&b_c=1`},
		{"sql", "dotnet", `;Password=s3cret;Application Name="it's; a=b";b_c=1`},
		{"sql", "java", `;password=s3cret;Application Name={it's; a=b};b_c=1;`},
		{"confluent-cloud", "springBoot", ` password='s3cret' Application Name='it\'s; a=b' b_c='1';`},
		{"storage-blob", "go", `!the connection string property Application Name has a value that a connection string of the Azure SDKs can't hold`},
		{"redis", "go", `/0?Application Name=it%27s%3B%20a%3Db&b_c=1`},
		{"postgresql", "nodejs", "!client type nodejs has no connection string"},
	} {
		k := table()[c.kind]
		r := Request{Kind: c.kind, Client: patchbay.ClientType(c.client), Auth: "secret", Values: examples(k)[0], ConnectionString: properties}
		set, err := Render(r)
		if want, isError := strings.CutPrefix(c.want, "!"); isError {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: got %v, want %s", c.kind, c.client, err, want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %s: %v", c.kind, c.client, err)
			continue
		}
		if !slices.ContainsFunc(set, func(s patchbay.Setting) bool { return strings.HasSuffix(s.Value.Reveal(), c.want) }) {
			t.Errorf("%s %s: %q does not end in %s", c.kind, c.client, reveal(held(set)), c.want)
		}
		if v, err := Parse(r, held(set)); err != nil || v["password"].Reveal() != "s3cret" {
			t.Errorf("%s %s: parsed %v, %v", c.kind, c.client, reveal(v), err)
		}
	}
	for _, bad := range []string{"", "a=b", "a;b", " a", "a ", "a&b", "é", "a\n"} {
		r := postgres("", "go")
		r.ConnectionString = map[string]string{bad: "x"}
		if _, err := Render(r); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A Neon or Atlas id names an organization: az sends the server and the
// database as connection string properties.
func TestPropertiesCanBringTheServer(t *testing.T) {
	r := Request{Kind: "neon-postgres", Client: "go", Auth: "secret",
		ConnectionString: map[string]string{"server": "ep-x.eastus2.azure.neon.tech", "Database": "neondb", "application_name": "web"},
		Values:           Values{"username": patchbay.NewSecret("u"), "password": patchbay.NewSecret("p")}}
	set, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = "host=ep-x.eastus2.azure.neon.tech dbname=neondb sslmode=require user=u password=p application_name=web"
	if got := set[0].Value.Reveal(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestAPreviewNeedsNoValues(t *testing.T) {
	everyRequest(func(k *kind, r Request) {
		r.Preview = true
		set, err := Render(r)
		if err != nil || len(set) == 0 {
			t.Errorf("%s %s %s %s: %v", r.Kind, r.Naming, r.Client, r.Auth, err)
		}
		names, err := Names(r.Kind, r.Client, r.Auth, r.Naming)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			there := slices.ContainsFunc(set, func(s patchbay.Setting) bool { return s.Name == n.Name })
			if !there && !n.Optional {
				t.Errorf("%s %s %s %s: no %s", r.Kind, r.Naming, r.Client, r.Auth, n.Name)
			}
		}
	})
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{Kind: "postgresql", Client: "java", Auth: "secret", Values: Values{"host": patchbay.NewSecret("db"), "username": patchbay.NewSecret("a b")}},
			"jdbc:postgresql://db:5432/‹database›?sslmode=require&user=a%20b&password=‹password›"},
		{Request{Kind: "cosmos-mongo", Client: "go", Auth: "secret"},
			"mongodb://‹account›:‹password›@‹account›.mongo.cosmos.‹cloud›:10255/?ssl=true&replicaSet=globaldb&retrywrites=false&maxIdleTimeMS=120000&appName=@‹account›@"},
		{Request{Kind: "nats", Client: "go", Auth: "secret"}, "‹url›"},
	} {
		c.r.Preview = true
		set, err := Render(c.r)
		if err != nil || set[0].Value.Reveal() != c.want {
			t.Errorf("%s: %q, %v", c.r.Kind, reveal(held(set)), err)
		}
	}
}

func TestParseLeavesSettingsOfOthersAlone(t *testing.T) {
	r := postgres("", "go")
	theirs, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	r.Taken = taken(namesOf(theirs)...)
	r.Values["password"] = patchbay.NewSecret("ours")
	ours, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Parse(r, held(append(theirs, ours...)))
	if err != nil || v["password"].Reveal() != "ours" {
		t.Errorf("%v, %v", reveal(v), err)
	}
	if _, err := Parse(r, held(theirs)); patchbay.CodeOf(err) != patchbay.SettingMissing {
		t.Errorf("theirs were taken for ours: %v", err)
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct{ typ, kind string }{
		{"Microsoft.DBforPostgreSQL/flexibleServers/databases", "postgresql"},
		{"MICROSOFT.DBFORPOSTGRESQL/SERVERS/DATABASES", "postgresql"},
		{"Microsoft.DBforPostgreSQL/flexibleServers", ""},
		{"microsoft.cache/redisenterprise/databases", "redis"},
		{"ConfluentBootstrapServer", "confluent-cloud"},
		{"ConfluentSchemaRegistry", "confluent-schema"},
		{"FabricPlatform", "fabric-sql"},
		{"Patchbay.Services/natsServers", "nats"},
		{"", ""},
	} {
		if kind, ok := KindOf(c.typ); kind != c.kind || ok != (c.kind != "") {
			t.Errorf("%s is %q, %v", c.typ, kind, ok)
		}
	}
	if k := Variant("cognitiveservices", "openai"); k != "openai" {
		t.Error(k)
	}
	if k := Variant("cognitiveservices", "FormRecognizer"); k != "cognitiveservices" {
		t.Error(k)
	}
	if DefaultNaming("postgresql") != patchbay.NamingAzure || DefaultNaming("nats") != patchbay.NamingNative {
		t.Error("default namings")
	}
	types := make(map[string]string)
	for _, k := range Kinds() {
		for _, typ := range k.Types() {
			if other := types[strings.ToLower(typ)]; other != "" {
				t.Errorf("%s is %s and %s", typ, other, k.Name)
			}
			types[strings.ToLower(typ)] = k.Name
			if strings.HasPrefix(typ, "Patchbay.Services/") && k.Namings[0] != patchbay.NamingNative {
				t.Errorf("%s: naming %s", k.Name, k.Namings[0])
			}
		}
	}
}

func TestNamesSayWhatIsSecretAndWhatIsNot(t *testing.T) {
	everyRequest(func(k *kind, r Request) {
		names, err := Names(r.Kind, r.Client, r.Auth, r.Naming)
		if err != nil {
			t.Fatal(err)
		}
		r.Values = examples(k)[len(examples(k))-1]
		set, err := Render(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			at := slices.IndexFunc(set, func(s patchbay.Setting) bool { return s.Name == n.Name })
			switch {
			case n.Description == "":
				t.Errorf("%s: no description of %s", r.Kind, n.Name)
			case at < 0 && !n.Optional:
				t.Errorf("%s: %s is not optional and not there", r.Kind, n.Name)
			case at >= 0 && (set[at].Secret != n.Secret || set[at].File != n.File || set[at].Description != n.Description):
				t.Errorf("%s: %+v and %+v", r.Kind, n, set[at])
			}
			if at < 0 {
				continue
			}
			holds := false
			for _, v := range k.values {
				if v.Secret && !r.Values[v.Name].IsZero() && v.Example != "" {
					holds = holds || strings.Contains(set[at].Value.Reveal(), v.Example)
				}
			}
			if holds && !n.Secret {
				t.Errorf("%s: %s holds a secret and is not one", r.Kind, n.Name)
			}
		}
	})
}

func TestBadValuesAreRefusedByName(t *testing.T) {
	for name, bad := range map[string][]string{
		"password": {"a\x00b", "\xff"},
		"host":     {"a b", "h;x", "h,1", "a\nb", "h@x", "h?x", "'h'"},
		"port":     {"0", "65536", "5432x", "-1", "05432", " 1"},
		"sslmode":  {"prefer", "Require"},
	} {
		for _, value := range bad {
			r := postgres("", "go")
			r.Values[name] = patchbay.NewSecret(value)
			_, err := Render(r)
			if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), "the value "+name+" of PostgreSQL") {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	}
}
