package arm

import (
	"encoding/json"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

func TestTypesHaveTheirParentsAndTheirVersions(t *testing.T) {
	table := Types([]string{"Microsoft.Cache/redis/databases", "microsoft.cache/REDIS/Databases", "Neon.Postgres/organizations", "ConfluentBootstrapServer"})
	if got := strings.Join(table.Namespaces(), " "); got != "Microsoft.Authorization Microsoft.Cache Microsoft.Resources Microsoft.ServiceLinker Neon.Postgres Patchbay.Connector" {
		t.Error(got)
	}
	var names []string
	for _, r := range table["Microsoft.Cache"] {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "redis redis/databases" {
		t.Error(got)
	}
	for _, r := range table[Provider] {
		if r.Name == "locations/connectors" && r.Versions[len(r.Versions)-1] != string(V20221101Preview) {
			t.Error(r.Versions)
		}
	}
	if _, ok := table.Provider("", "MICROSOFT.cache", nil); !ok {
		t.Error("a namespace is found in one case only")
	}
	if _, ok := table.Provider("", "Microsoft", nil); ok {
		t.Error("a part of a namespace is found")
	}
}

// TestRuntimesAreInAppServicesWords: az takes the word before the bar for the
// client type.
func TestRuntimesAreInAppServicesWords(t *testing.T) {
	tag := func(k, v string) patchbay.Resource { return patchbay.Resource{Tags: map[string]string{k: v}} }
	own := func(text string) patchbay.Resource { return patchbay.Resource{Properties: json.RawMessage(text)} }
	for want, r := range map[string]patchbay.Resource{
		"":                {},
		"PYTHON|3.12":     tag("runtime", "python|3.12"),
		"NODE|18-lts":     tag("Runtime", "nodejs:18-lts"),
		"DOTNETCORE|":     tag("linuxfxversion", "dotnet"),
		"JAVA|17":         own(`{"runtime":"springBoot|17"}`),
		"GO|":             own(`{"linuxFxVersion":"go"}`),
		"DOCKER|a/b:1":    own(`{"linuxFxVersion":"DOCKER|a/b:1"}`),
		"DOTNETCORE|10.0": own(`{"runtime":"dotnet:10.0","linuxFxVersion":"PHP|8"}`),
	} {
		if got := Runtime(r); got != want {
			t.Errorf("%+v: got %q, want %q", r, got, want)
		}
	}
	for _, text := range []string{`{"runtime":1}`, `[]`, `{`, `{"runtime":""}`} {
		if got := Runtime(own(text)); got != "" {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestAPatchMergesTagsAndPropertiesAndKeepsTheRest(t *testing.T) {
	stored := patchbay.Resource{
		ID: pg, Location: "local", Driver: "postgres", Endpoint: "h:1",
		Tags: map[string]string{"Team": "a", "keep": "1"}, Properties: json.RawMessage(`{"n":12345678901234567890,"sslmode":"require"}`),
	}
	for body, want := range map[string]patchbay.Resource{
		`{}`: stored,
		`{"location":null,"tags":null,"kind":null,"properties":null}`: stored,
		`{"tags":{},"properties":{}}`:                                 stored,
		`{"tags":{"TEAM":"b","keep":null}}`: {Location: "local", Driver: "postgres", Endpoint: "h:1",
			Tags: map[string]string{"TEAM": "b"}, Properties: stored.Properties},
		`{"properties":{"endpoint":"h:2","sslmode":null,"provisioningState":"Failed"}}`: {Location: "local", Driver: "postgres", Endpoint: "h:2",
			Tags: stored.Tags, Properties: json.RawMessage(`{"n":12345678901234567890}`)},
		`{"properties":{"n":null,"sslmode":null}}`: {Location: "local", Driver: "postgres", Endpoint: "h:1", Tags: stored.Tags},
	} {
		merge, admin, err := DecodeResourcePatch([]byte(body))
		if err != nil || admin != nil {
			t.Errorf("%s: %v %v", body, admin, err)
			continue
		}
		got := stored
		if err := merge(&got); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		want.ID = stored.ID
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("%s:\n got %s\nwant %s", body, a, b)
		}
		if stored.Tags["Team"] != "a" || len(stored.Tags) != 2 {
			t.Fatalf("%s changed what it was merged into: %v", body, stored.Tags)
		}
	}
	if _, admin, err := DecodeResourcePatch([]byte(`{"properties":{"admin":{"password":"hunter2"}}}`)); err != nil || admin["password"].Reveal() != "hunter2" {
		t.Error(admin, err)
	}
}

func TestEveryActionOfTheProviderIsListedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range providerActions {
		if seen[a.name] || a.operation == "" || !strings.HasSuffix(a.description, ".") {
			t.Errorf("%+v", a)
		}
		seen[a.name] = true
	}
	if !IsProviderAction("Microsoft.ServiceLinker/dryruns/write") || IsProviderAction("Microsoft.ServiceLinker/dryruns/read/") {
		t.Error("the list is not what is looked at")
	}
}
