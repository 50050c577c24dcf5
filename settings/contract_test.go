package settings

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// contractFile finds a file of Azure's public contract, which is not ours to
// publish: where PATCHBAY_CONTRACT says, or beside the project.
func contractFile(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("PATCHBAY_CONTRACT")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "contract")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no %s in %s: set PATCHBAY_CONTRACT to compare with the public contract", name, dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type contractEntry struct {
	Target   string                `json:"target"`
	Services []string              `json:"targetServices"`
	Clients  []patchbay.ClientType `json:"clientTypes"`
	Auth     string                `json:"auth"`
	Set      []struct {
		Name    string `json:"name"`
		Example string `json:"exampleValue"`
	} `json:"variables"`
}

// deviations are where we do not do what the documentation says, with the
// reason. Everywhere else names and values are the same.
var deviations = []struct {
	kind, client, name string // "" is any
	was, is            string // in the example value; an "is" of "-" drops the setting
	why                string
}{
	{kind: "confluent-cloud", name: "AZURE_CONFLUENTCLOUDKAFKA_BOOTSTRAPSERVER", is: "-", why: "the live service has other names (6.1)"},
	{kind: "confluent-cloud", name: "AZURE_CONFLUENTCLOUDKAFKA_KAFKASASLCONFIG", is: "-", why: "the live service has other names (6.1)"},
	{kind: "confluent-cloud", name: "CONFLUENTCLOUD_KAFKA_BOOTSTRAPSERVER", was: "xxx.eastus", is: "<server>", why: "the recording's own server"},
	{kind: "keyvault", was: "https://management.azure.com/.default", is: "https://vault.azure.net/.default", why: "the live service (6.1)"},
	{kind: "neon-postgres", client: "java", was: "jdbc:sqlserver://<sql-server>.database.windows.net:1433;databaseName=<sql-database>;&", is: "jdbc:postgresql://<server>.neon.tech:5432/<database>?sslmode=require&", why: "a copy error (6.1)"},
	{kind: "mysql", was: "<username>@<server-name>", is: "<username>", why: "the login form of the retired single server (6.1)"},
	{kind: "sql", client: "go", was: "password=<sql-password>;", is: "password=<sql-password>;encrypt=true;", why: "the library encrypts the sign-in alone unless it is told"},
	{kind: "app-insights", was: ";...", is: "", why: "the documentation leaves the rest open"},
}

var placeholder = regexp.MustCompile(`<[^>]*>`)

func shape(example string) *regexp.Regexp {
	var b strings.Builder
	last := 0
	for _, at := range placeholder.FindAllStringIndex(example, -1) {
		b.WriteString(regexp.QuoteMeta(example[last:at[0]]) + ".+")
		last = at[1]
	}
	return regexp.MustCompile("^" + b.String() + regexp.QuoteMeta(example[last:]) + "$")
}

func kindOfEntry(e contractEntry) string {
	service, _, _ := strings.Cut(e.Services[0], " ")
	kind, _ := KindOf(service)
	if _, in, ok := strings.Cut(e.Services[0], "(kind "); ok {
		kind = Variant(kind, strings.TrimSuffix(in, ")"))
	}
	if strings.Contains(e.Auth, "CSI") {
		kind = Variant(kind, "csi")
	}
	return kind
}

func TestTheAzureNamesAndValuesAreThoseOfTheContract(t *testing.T) {
	var entries []contractEntry
	if err := json.Unmarshal(contractFile(t, "environment-variables.json"), &entries); err != nil {
		t.Fatal(err)
	}
	type combination struct {
		kind   string
		client patchbay.ClientType
		auth   patchbay.AuthType
	}
	documented := make(map[combination]bool)
	used := make(map[int]bool)
	compared := 0
	for _, e := range entries {
		kind := kindOfEntry(e)
		auth, _, _ := strings.Cut(e.Auth, " ")
		for _, client := range e.Clients {
			want := make(map[string]string)
			for _, v := range e.Set {
				for i, d := range deviations {
					if d.kind != kind || d.client != "" && d.client != string(client) || d.name != "" && d.name != v.Name {
						continue
					}
					if d.is == "-" || strings.Contains(v.Example, d.was) {
						used[i] = true
					}
					if v.Example = strings.ReplaceAll(v.Example, d.was, d.is); d.is == "-" {
						v.Name = ""
					}
				}
				if v.Name != "" {
					want[v.Name] = v.Example
				}
			}
			if len(want) == 0 {
				continue
			}
			c := combination{kind, client, patchbay.AuthType(auth)}
			documented[c] = true
			k := table()[kind]
			if k == nil {
				t.Errorf("%s: no kind for %v", e.Target, e.Services)
				continue
			}
			values := examples(k)[0]
			if id := k.value("clientId"); id != nil { // Azure knows that of a cluster's driver, which may be left out here
				values[id.Name] = patchbay.NewSecret(id.Example)
			}
			set, err := Render(Request{Kind: kind, Client: client, Auth: c.auth, Naming: patchbay.NamingAzure, Values: values})
			if err != nil {
				t.Errorf("%v: %v", c, err)
				continue
			}
			got := make(map[string]string)
			for _, s := range set {
				got[s.Name] = s.Value.Reveal()
			}
			if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
				t.Errorf("%v:\n got %v\nwant %v", c, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
				continue
			}
			for name, example := range want {
				compared++
				if !shape(example).MatchString(got[name]) {
					t.Errorf("%v: %s\n got %s\nwant %s", c, name, got[name], example)
				}
			}
		}
	}
	for i, d := range deviations {
		if !used[i] {
			t.Errorf("the deviation of %s (%s) is not one", d.kind, d.why)
		}
	}
	for name, k := range table() {
		for _, client := range k.clients(patchbay.NamingAzure) {
			for _, auth := range k.authsOf(patchbay.NamingAzure, client) {
				if c := (combination{name, client, auth}); !documented[c] {
					t.Errorf("%v is not in the contract", c)
				}
			}
		}
	}
	t.Logf("%d entries, %d combinations of kind, client type and auth type, %d settings compared", len(entries), len(documented), compared)
}
