package connector

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// notYet is how the help of a flag ends that every server refuses.
const notYet = "(not yet: always refused)"

// flagForms are the forms of a flag of connection create, and what each asks for. nil
// is a flag that says no more than where something is, or how the command behaves.
var flagForms = map[string]map[string]func(*patchbay.Spec){
	"access": {"": func(s *patchbay.Spec) { s.Access = patchbay.Writer }},
	"additional": {"": func(s *patchbay.Spec) {
		s.Configuration = &patchbay.ConfigurationInfo{Additional: map[string]string{"A": "b"}}
	}},
	"appconfig-id": {"": func(s *patchbay.Spec) {
		s.Configuration = &patchbay.ConfigurationInfo{AppConfiguration: "/subscriptions/s/resourceGroups/g/providers/Microsoft.AppConfiguration/configurationStores/c"}
	}},
	"client-type":    {"": func(s *patchbay.Spec) { s.Client = "python" }},
	"config-connstr": {"": func(s *patchbay.Spec) { s.Client = "dotnet-connectionString" }},
	"connstr-props": {"": func(s *patchbay.Spec) {
		s.Configuration = &patchbay.ConfigurationInfo{ConnectionString: map[string]string{"application_name": "b"}}
	}},
	"customized-keys": {"": func(s *patchbay.Spec) {
		s.Configuration = &patchbay.ConfigurationInfo{CustomizedKeys: map[string]string{"AZURE_POSTGRESQL_CONNECTIONSTRING": "B"}}
	}},
	"drift":  {"": func(s *patchbay.Spec) { s.Drift = patchbay.DriftRepair }},
	"force":  {"": func(s *patchbay.Spec) { s.TakeOver = true }},
	"naming": {"": func(s *patchbay.Spec) { s.Naming = patchbay.NamingNative }},
	"opt-out": {
		"publicnetwork": func(s *patchbay.Spec) { s.PublicNetwork = &patchbay.PublicNetworkSolution{Action: patchbay.OptOut} },
		"configinfo":    func(s *patchbay.Spec) { s.Configuration = &patchbay.ConfigurationInfo{Action: patchbay.OptOut} },
		"auth": func(s *patchbay.Spec) {
			s.Auth = &patchbay.Auth{Type: patchbay.AuthSecret, Mode: patchbay.OptOutAllAuth}
		},
	},
	"option":           {"": func(s *patchbay.Spec) { s.Options = map[string]string{"schema": "x"} }},
	"private-endpoint": {"": func(s *patchbay.Spec) { s.VNet = &patchbay.VNetSolution{Type: "privateLink"} }},
	"scope":            {"": func(s *patchbay.Spec) { s.Scope = "part" }},
	"secret": {
		"name= secret=": func(s *patchbay.Spec) { s.Auth = givenAuth("app", "s3cret") },
		"alone":         func(s *patchbay.Spec) { s.Auth = registered() },
		"secret-uri=": func(s *patchbay.Spec) {
			s.Auth = &patchbay.Auth{Type: patchbay.AuthSecret, SecretInfo: &patchbay.SecretInfo{Type: patchbay.KeyVaultSecretURI, URI: "https://v.test/secrets/s"}}
		},
		"secret-name=": func(s *patchbay.Spec) {
			s.Auth = &patchbay.Auth{Type: patchbay.AuthSecret, SecretInfo: &patchbay.SecretInfo{Type: patchbay.KeyVaultSecretReference, Name: "s"}}
		},
	},
	"secret-file":       {"": func(s *patchbay.Spec) { s.Auth = givenAuth("app", "s3cret") }},
	"service-endpoint":  {"": func(s *patchbay.Spec) { s.VNet = &patchbay.VNetSolution{Type: "serviceEndpoint"} }},
	"service-principal": {"": func(s *patchbay.Spec) { s.Auth = servicePrincipal("s3cret") }},
	"system-identity":   {"": func(s *patchbay.Spec) { s.Auth = systemIdentity() }},
	"setting":           {"": func(s *patchbay.Spec) { s.Settings = map[string]string{"MINE": "fixed"} }},
	"user-account":      {"": func(s *patchbay.Spec) { s.Auth = &patchbay.Auth{Type: patchbay.AuthUserAccount, PrincipalID: "p"} }},
	"user-identity":     {"": func(s *patchbay.Spec) { s.Auth = &patchbay.Auth{Type: patchbay.AuthUserIdentity, ClientID: "c"} }},
	"vault-id": {"": func(s *patchbay.Spec) {
		s.SecretStore = &patchbay.SecretStore{KeyVaultID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"}
	}},

	"connection": nil, "database": nil, "local": nil, "location": nil, "no-wait": nil, "resource-group": nil, "server": nil,
	"source": nil, "source-id": nil, "target": nil, "target-id": nil, "target-resource-group": nil,
}

var flagRow = regexp.MustCompile("(?m)^\\| `(?:-[a-z], )?--([a-z-]+)` \\| (.*) \\|$")

// TestAFlagThatIsAlwaysRefusedSaysSo asks the use cases about every flag that
// makes a connection, for each kind of target and of source that there is: what is
// refused as not supported everywhere says so in its help, and nothing else does.
func TestAFlagThatIsAlwaysRefusedSaysSo(t *testing.T) {
	w := newWorld(t)
	w.registerRedis("a2V5")
	w.walled("wall")
	local := w.group.Location("here").Local("c")
	places := []struct {
		id   patchbay.ID
		spec patchbay.Spec
	}{{w.linker, w.spec()}, {w.linker, w.cache(registered())}, {local, w.spec()}, {local, w.cache(registered())}}
	refused := func(ask func(*patchbay.Spec)) bool {
		for _, p := range places {
			spec := cloneSpec(p.spec)
			ask(&spec)
			preview, err := w.Preview(t.Context(), PutRequest{ID: p.id, Spec: spec, Caller: w.caller})
			no := patchbay.CodeOf(err) == patchbay.NotSupported
			for _, problem := range preview.Problems {
				no = no || problem.Code == patchbay.NotSupported
			}
			if !no {
				return false
			}
		}
		return true
	}
	page, err := os.ReadFile("../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n## patchbay connection create\n")
	text, _, _ = strings.Cut(text, "\n## ")
	rows := flagRow.FindAllStringSubmatch(text, -1)
	if len(rows) < len(flagForms)/2 {
		t.Fatalf("the page has %d flags of connection create", len(rows))
	}
	found := 0
	for _, row := range rows {
		name, about := row[1], row[2]
		forms, known := flagForms[name]
		if !known {
			t.Errorf("--%s is new: what does it ask for?", name)
		}
		never := []string{}
		for form, ask := range forms {
			if refused(ask) {
				never = append(never, form)
				found++
			}
		}
		if says := strings.HasSuffix(about, notYet); says != (len(never) > 0) {
			t.Errorf("--%s is always refused with %q, and its help is %q", name, never, about)
		}
		// Those forms stand behind the others, where the words are about them.
		for _, form := range never {
			if at := strings.LastIndex(about, ";"); form != "" && (at < 0 || !strings.Contains(about[at:], form)) {
				t.Errorf("the help of --%s does not say that %s is refused: %q", name, form, about)
			}
		}
	}
	if found < 4 {
		t.Errorf("%d forms are refused: is this test asking?", found)
	}
}
