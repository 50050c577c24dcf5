package arm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"patchbay.dev/patchbay"
)

const pg = rg + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/o/databases/d"

// spell makes a body from the members of properties.
func spell(properties string) []byte {
	return []byte(`{"properties":{"targetService":{"type":"AzureResource","id":"` + pg + `"}` + properties + `}}`)
}

var secrets = cmp.Comparer(func(a, b patchbay.Secret) bool { return a.Reveal() == b.Reveal() })

func TestBadBodiesAreRefusedWithThePathOfWhatIsWrong(t *testing.T) {
	many := map[string]string{}
	for i := range maxItems + 1 {
		many[fmt.Sprint("k", i)] = "v"
	}
	tooMany, _ := json.Marshal(many)
	for _, c := range []struct {
		name string
		v    Version
		body string
		code patchbay.Code
		says string // all of these words
	}{
		{"nothing", V20240401, ``, "", "needs a JSON body"},
		{"spaces", V20240401, "  \n", "", "needs a JSON body"},
		{"null", V20240401, `null`, "", "the body must be an object, not null"},
		{"an array", V20240401, `[]`, "", "the body must be an object, not an array"},
		{"half", V20240401, `{"properties":{`, "", "ends in the middle"},
		{"not JSON", V20240401, `{properties}`, "", "not JSON at byte"},
		{"two values", V20240401, `{"properties":{}} {}`, "", "something behind"},
		{"garbage behind", V20240401, `{"properties":{}}x`, "", "something behind"},
		{"twice", V20240401, `{"properties":{"clientType":"go","clientType":"java"}}`, "", "properties.clientType is there twice"},
		{"twice, escaped", V20240401, `{"properties":{"clientType":"go","client\u0054ype":"java"}}`, "", "properties.clientType is there twice"},
		{"not UTF-8", V20240401, "{\"properties\":{\"clientType\":\"\xff\"}}", "", "not UTF-8"},
		{"half a surrogate", V20240401, `{"properties":{"clientType":"\ud800"}}`, "", "properties.clientType holds text that is not Unicode"},
		{"NUL", V20240401, `{"properties":{"clientType":"a\u0000b"}}`, "", "properties.clientType holds a NUL"},
		{"NUL in a name", V20240401, string(spell(`,"configurationInfo":{"customizedKeys":{"a\u0000":"b"}}`)), "", "customizedKeys holds a NUL"},
		{"deep", V20240401, strings.Repeat(`{"properties":`, 10000) + `1` + strings.Repeat(`}`, 10000), "", "nested deeper"},
		{"deep arrays", V20240401, `{"properties":` + strings.Repeat(`[`, 100000), "", "nested deeper"},
		{"large", V20240401, `{"properties":{"clientType":"` + strings.Repeat("a", MaxBody) + `"}}`, BodyTooLarge, "larger"},
		{"a long string", V20240401, `{"properties":{"clientType":"` + strings.Repeat("a", maxString+1) + `"}}`, "", "properties.clientType is longer"},

		{"no properties", V20240401, `{}`, "", "properties is required"},
		{"null properties", V20240401, `{"properties":null}`, "", "properties is required"},
		{"properties is a string", V20240401, `{"properties":"x"}`, "", "properties must be an object, not a string"},
		{"no target", V20240401, `{"properties":{}}`, "", "properties.targetService is required"},
		{"an empty target", V20240401, `{"properties":{"targetService":{}}}`, "", "properties.targetService is required"},
		{"target without type", V20240401, `{"properties":{"targetService":{"id":"x"}}}`, "", "properties.targetService.type is required"},
		{"target of no type", V20240401, `{"properties":{"targetService":{"type":"Toaster"}}}`, "", `properties.targetService.type is "Toaster"; api-version 2024-04-01 knows AzureResource, ConfluentBootstrapServer, ConfluentSchemaRegistry, SelfHostedServer`},
		{"target of a later type", V20220501, `{"properties":{"targetService":{"type":"SelfHostedServer","endpoint":"x"}}}`, "", `"SelfHostedServer", which is not known to api-version 2022-05-01; it is from 2022-11-01-preview on`},
		{"target without id", V20240401, `{"properties":{"targetService":{"type":"AzureResource"}}}`, "", "properties.targetService.id is required"},
		{"target without endpoint", V20240401, `{"properties":{"targetService":{"type":"SelfHostedServer"}}}`, "", "properties.targetService.endpoint is required"},
		{"id on a server", V20240401, `{"properties":{"targetService":{"type":"SelfHostedServer","endpoint":"x","id":"y"}}}`, "", "properties.targetService.id does not belong to SelfHostedServer"},
		{"a bad id", V20240401, `{"properties":{"targetService":{"type":"AzureResource","id":"orders"}}}`, patchbay.InvalidResourceID, "/subscriptions/"},
		{"a relative id", V20240401, `{"properties":{"targetService":{"type":"AzureResource","id":"/subscriptions/s/../../etc/passwd"}}}`, patchbay.InvalidResourceID, "relative"},
		{"id is a number", V20240401, `{"properties":{"targetService":{"type":"AzureResource","id":1}}}`, "", "properties.targetService.id must be a string, not a number"},

		{"a later property", V20220501, string(spell(`,"configurationInfo":{}`)), "", "properties.configurationInfo is not known to api-version 2022-05-01; it is from 2022-11-01-preview on"},
		{"a later property, null", V20220501, string(spell(`,"publicNetworkSolution":null`)), "", "properties.publicNetworkSolution is not known to api-version 2022-05-01"},
		{"userName", V20220501, string(spell(`,"authInfo":{"authType":"systemAssignedIdentity","userName":"u"}`)), "", "properties.authInfo.userName is not known to api-version 2022-05-01"},
		{"authMode", V20221101Preview, string(spell(`,"authInfo":{"authType":"secret","authMode":"optOutAllAuth"}`)), "", "properties.authInfo.authMode is not known to api-version 2022-11-01-preview; it is from 2023-04-01-preview on"},
		{"our own", V20240701Preview, string(spell(`,"patchbay":{"access":"owner"}`)), "", "properties.patchbay is not known to api-version 2024-07-01-preview; it is from 2026-11-01 on"},
		{"upgradable", V20240701Preview, string(spell(`,"upgradable":true`)), "", "properties.upgradable is not known to api-version 2024-07-01-preview"},
		{"unknown at the top", V20240701Preview, `{"properties":{"targetService":{"type":"AzureResource","id":"` + pg + `"}},"sku":{}}`, "", "sku is not known"},
		{"wrong case", V20240701Preview, string(spell(`,"authinfo":{}`)), "", "properties.authinfo is not known to api-version 2024-07-01-preview; it is spelled authInfo"},

		{"no auth type", V20240401, string(spell(`,"authInfo":{"name":"x"}`)), "", "properties.authInfo.authType is required"},
		{"an unknown auth type", V20240401, string(spell(`,"authInfo":{"authType":"magic"}`)), "", `properties.authInfo.authType is "magic"`},
		{"a member of another auth type", V20240401, string(spell(`,"authInfo":{"authType":"secret","clientId":"x"}`)), "", "properties.authInfo.clientId does not belong to authType secret"},
		{"a principal without id", V20240401, string(spell(`,"authInfo":{"authType":"servicePrincipalSecret","clientId":"x"}`)), "", "properties.authInfo.principalId is required"},
		{"no secret type", V20240401, string(spell(`,"authInfo":{"authType":"secret","secretInfo":{"value":"x"}}`)), "", "properties.authInfo.secretInfo.secretType is required"},
		{"a version on a raw value", V20240401, string(spell(`,"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue","version":"x"}}`)), "", "secretInfo.version does not belong to rawValue"},
		{"roles are a string", V20240401, string(spell(`,"authInfo":{"authType":"systemAssignedIdentity","roles":"owner"}`)), "", "properties.authInfo.roles must be an array of strings, not a string"},
		{"a role is a number", V20240401, string(spell(`,"authInfo":{"authType":"systemAssignedIdentity","roles":["a",1]}`)), "", "properties.authInfo.roles[1] must be a string, not a number"},
		{"an unknown permission", V20240401, string(spell(`,"authInfo":{"authType":"accessKey","permissions":["Read","Destroy"]}`)), "", `"Destroy"`},
		{"callerClientIP is a boolean", V20240401, string(spell(`,"publicNetworkSolution":{"firewallRules":{"callerClientIP":true}}`)), "", "properties.publicNetworkSolution.firewallRules.callerClientIP must be a string, not a boolean"},
		{"an unknown action", V20240401, string(spell(`,"configurationInfo":{"action":"maybe"}`)), "", `properties.configurationInfo.action is "maybe"; api-version 2024-04-01 knows enable, optOut`},
		{"too many settings", V20240401, string(spell(`,"configurationInfo":{"additionalConfigurations":` + string(tooMany) + `}`)), "", "properties.configurationInfo.additionalConfigurations has 201 items"},
		{"a setting without name", V20240401, string(spell(`,"configurationInfo":{"additionalConfigurations":{"":"x"}}`)), "", "a name has 1 to 260 bytes"},
		{"a setting of 300 characters", V20240401, string(spell(`,"configurationInfo":{"additionalConfigurations":{"` + strings.Repeat("A", 300) + `":"x"}}`)), "", "a name has 1 to 260 bytes"},
		{"a setting is a number", V20240401, string(spell(`,"configurationInfo":{"additionalConfigurations":{"PORT":8080}}`)), "", "properties.configurationInfo.additionalConfigurations.PORT must be a string, not a number"},
		{"a vault that is none", V20240401, string(spell(`,"secretStore":{"keyVaultId":"vault"}`)), patchbay.InvalidResourceID, "/subscriptions/"},
		{"metadata is a number", V20240401, string(spell(`,"configurationInfo":{"daprProperties":{"metadata":[1]}}`)), "", "daprProperties.metadata[0] must be an object, not a number"},
		{"access", V20261101, string(spell(`,"patchbay":{"access":"root"}`)), "", `properties.patchbay.access is "root"; api-version 2026-11-01 knows reader, writer, owner`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.code == "" {
				c.code = patchbay.InvalidRequestContent
			}
			_, err := DecodePut(c.v, []byte(c.body))
			if patchbay.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want %s with %q", err, c.code, c.says)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestAComplaintNeverRepeatsASecret(t *testing.T) {
	const canary = "c4n4ry"
	for _, body := range []string{
		`,"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue","value":{"x":"c4n4ry"}}}`,
		`,"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue","value":"c4n4ry","version":"c4n4ry"}}`,
		`,"authInfo":{"authType":"secret","secretInfo":"c4n4ry"}`,
		`,"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue","value":"c4n4ry\u0000"}}`,
		`,"authInfo":{"authType":"secret","name":["c4n4ry"]}`,
		`,"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue","value":"c4n4ry}}`,
		`,"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue","value":"c4n4ry"}},"x":"c4n4ry"`,
		`,"configurationInfo":{"additionalConfigurations":{"A":["c4n4ry"]}}`,
	} {
		_, err := DecodePut(V20261101, spell(body))
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, err), canary) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestNullAbsentAndEmptyAreTheSame(t *testing.T) {
	want, err := DecodePut(V20261101, spell(``))
	if err != nil {
		t.Fatal(err)
	}
	objects := []string{"authInfo", "vNetSolution", "secretStore", "publicNetworkSolution", "configurationInfo", "patchbay"}
	bodies := []string{
		`,"clientType":null,"scope":null`,
		`,"configurationInfo":{"configurationStore":{},"daprProperties":{},"customizedKeys":{},"additionalConfigurations":null}`,
		`,"publicNetworkSolution":{"firewallRules":{},"action":null}`,
		`,"publicNetworkSolution":{"firewallRules":{"ipRanges":[],"azureServices":null}}`,
		`,"patchbay":{"options":{},"access":null,"generation":4,"keys":["A"],"principal":"p","operation":"o"}`,
		`,"provisioningState":"Succeeded"`,
		`,"configurationInfo":{"action":"","deleteOrUpdateBehavior":null,"daprProperties":{"runtimeVersion":"1","bindingComponentDirection":"input"}}`,
	}
	for _, o := range objects {
		bodies = append(bodies, `,"`+o+`":null`, `,"`+o+`":{}`)
	}
	for _, body := range bodies {
		got, err := DecodePut(V20261101, spell(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if diff := cmp.Diff(want, got, secrets); diff != "" {
			t.Errorf("%s is not nothing:\n%s", body, diff)
		}
	}
}

func TestWhatClientsSendBackIsTaken(t *testing.T) {
	// az's update and Terraform's create repeat read-only members.
	body := `{"id":"/x","name":"n","type":"t","systemData":{"createdAt":"2020"},` + string(spell(`,"provisioningState":"Succeeded"`))[1:]
	if _, err := DecodePut(V20240401, []byte(body)); err != nil {
		t.Error(err)
	}
	s, err := DecodePut(V20221101Preview, spell(`,"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue"}},"clientType":"dotnet-connectionString"`))
	if err != nil || s.Auth.SecretInfo.Type != patchbay.RawValue || !s.Auth.SecretInfo.Value.IsZero() || s.Client != "dotnet-connectionString" {
		t.Errorf("%v %+v", err, s)
	}
}

func TestPatchMergesMemberByMember(t *testing.T) {
	before, err := DecodePut(V20261101, spell(`,"authInfo":{"authType":"secret","name":"u"},"clientType":"go","scope":"ns","vNetSolution":{"type":"privateLink"},`+
		`"configurationInfo":{"customizedKeys":{"A":"B"},"additionalConfigurations":{"C":"D"}},`+
		`"publicNetworkSolution":{"firewallRules":{"ipRanges":["10.0.0.1"],"callerClientIP":"true"}},"patchbay":{"access":"reader","options":{"schema":"x"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, body string
		change     func(*patchbay.Spec)
	}{
		{"nothing", `{"properties":{}}`, func(*patchbay.Spec) {}},
		{"azurerm's nulls", `{"properties":{"authInfo":null,"clientType":"python","targetService":null}}`, func(s *patchbay.Spec) { s.Client = "python" }},
		{"a member of an object", `{"properties":{"configurationInfo":{"action":"OPTOUT"}}}`, func(s *patchbay.Spec) {
			c := *s.Configuration
			c.Action = "optOut"
			s.Configuration = &c
		}},
		{"a map is replaced", `{"properties":{"configurationInfo":{"customizedKeys":{"X":"Y"}}}}`, func(s *patchbay.Spec) {
			c := *s.Configuration
			c.CustomizedKeys = map[string]string{"X": "Y"}
			s.Configuration = &c
		}},
		{"a map is emptied", `{"properties":{"configurationInfo":{"customizedKeys":{}}}}`, func(s *patchbay.Spec) {
			c := *s.Configuration
			c.CustomizedKeys = nil
			s.Configuration = &c
		}},
		{"authInfo is replaced whole", `{"properties":{"authInfo":{"authType":"systemAssignedIdentity"}}}`, func(s *patchbay.Spec) {
			s.Auth = &patchbay.Auth{Type: patchbay.AuthSystemIdentity}
		}},
		{"a nested member", `{"properties":{"publicNetworkSolution":{"firewallRules":{"callerClientIP":"False"}}}}`, func(s *patchbay.Spec) {
			n, f := *s.PublicNetwork, *s.PublicNetwork.FirewallRules
			f.CallerClientIP = "false"
			n.FirewallRules = &f
			s.PublicNetwork = &n
		}},
		{"azurerm's word for nothing", `{"properties":{"vNetSolution":{"type":""}}}`, func(s *patchbay.Spec) { s.VNet = nil }},
		{"our own", `{"properties":{"patchbay":{"access":"OWNER"}}}`, func(s *patchbay.Spec) { s.Access = patchbay.Owner }},
	} {
		t.Run(c.name, func(t *testing.T) {
			merge, err := DecodePatch(V20261101, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			kept, _ := json.Marshal(before)
			got := before
			if err := merge(&got); err != nil {
				t.Fatal(err)
			}
			want := before
			c.change(&want)
			if diff := cmp.Diff(want, got, secrets); diff != "" {
				t.Error(diff)
			}
			if now, _ := json.Marshal(before); string(now) != string(kept) {
				t.Error("the merge reached into the spec that it was given")
			}
		})
	}
	if _, err := DecodePatch(V20220501, []byte(`{"properties":{"configurationInfo":{}}}`)); patchbay.CodeOf(err) != patchbay.InvalidRequestContent {
		t.Errorf("a PATCH is checked against its version too: %v", err)
	}
}

func TestAnOlderVersionsPutCarriesWhatItCanNotSay(t *testing.T) {
	stored, err := DecodePut(V20261101, spell(`,"authInfo":{"authType":"systemAssignedIdentity","roles":["r"],"authMode":"optOutAllAuth"},`+
		`"configurationInfo":{"customizedKeys":{"A":"B"},"additionalConnectionStringProperties":{"x":"y"}},"patchbay":{"access":"reader"}`))
	if err != nil {
		t.Fatal(err)
	}
	for v, want := range map[Version]string{
		V20220501:        `roles, keys, properties, mode, reader`,
		V20221101Preview: `properties, mode, reader`,
		V20240701Preview: `reader`,
	} {
		s, err := DecodePut(v, spell(`,"authInfo":{"authType":"systemAssignedIdentity"}`))
		if err != nil {
			t.Fatal(err)
		}
		Carry(v, &s, stored)
		var got []string
		if len(s.Auth.Roles) > 0 {
			got = append(got, "roles")
		}
		if s.Configuration != nil && len(s.Configuration.CustomizedKeys) > 0 {
			got = append(got, "keys")
		}
		if s.Configuration != nil && len(s.Configuration.ConnectionString) > 0 {
			got = append(got, "properties")
		}
		if s.Auth.Mode != "" {
			got = append(got, "mode")
		}
		got = append(got, string(s.Access))
		if g := strings.Join(got, ", "); g != want {
			t.Errorf("%s carries %s, want %s", v, g, want)
		}
	}
	other, err := DecodePut(V20220501, spell(`,"authInfo":{"authType":"secret"}`))
	if err != nil {
		t.Fatal(err)
	}
	Carry(V20220501, &other, stored)
	if other.Auth.Mode != "" || other.Auth.Roles != nil {
		t.Error("another auth type inherits nothing")
	}
}

func TestResourceBodies(t *testing.T) {
	const id = patchbay.ID(rg + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/o")
	r, admin, err := DecodeResource(id, []byte(`{"location":"local","properties":{"driver":"postgres","endpoint":"h:1","admin":{"password":"hunter2"},"tls":{"mode":"require","n":12345678901234567890}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if string(r.Properties) != `{"tls":{"mode":"require","n":12345678901234567890}}` || admin["password"].Reveal() != "hunter2" {
		t.Errorf("%s %v", r.Properties, admin)
	}
	answer, err := Marshal(Resource(r, nil))
	if err != nil || strings.Contains(string(answer), "hunter2") || strings.Contains(string(answer), "admin") {
		t.Errorf("%v %s", err, answer)
	}
	// What is answered can be sent again.
	again, admin, err := DecodeResource(id, answer)
	if err != nil || admin != nil || string(again.Properties) != string(r.Properties) || again.Driver != r.Driver {
		t.Errorf("%v %+v", err, again)
	}
	for body, says := range map[string]string{
		`{"properties":{"admin":{"password":1}}}`: "properties.admin.password must be a string",
		`{"properties":{"admin":"hunter2"}}`:      "properties.admin must be an object of strings",
		`{"properties":{"driver":1}}`:             "properties.driver must be a string",
		`{"sku":{}}`:                              "sku is not kept",
		`{"sku":null,"colour":"red"}`:             "colour is not known",
		`{"tags":[]}`:                             "tags must be an object of strings",
	} {
		if _, _, err := DecodeResource(id, []byte(body)); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestOptionalBodies(t *testing.T) {
	for _, body := range []string{"", "null", "{}"} {
		r, err := DecodeRotate([]byte(body))
		if err != nil || r != (Rotate{}) {
			t.Errorf("%q: %+v %v", body, r, err)
		}
		if v, err := DecodeValidate([]byte(body)); err != nil || v != (Validate{}) {
			t.Errorf("%q: %v %v", body, v, err)
		}
		if c, err := DecodeConfigurationInfo(V20240401, []byte(body)); err != nil || c != nil {
			t.Errorf("%q: %v %v", body, c, err)
		}
	}
	if _, err := DecodeRotate([]byte(`{"force":true}`)); patchbay.CodeOf(err) != patchbay.InvalidRequestContent {
		t.Errorf("%v", err)
	}
}

// FuzzDecodePut: no body crashes the reader; what it takes is answered as JSON
// without its secrets, and that answer, sent again, means the same.
func FuzzDecodePut(f *testing.F) {
	for _, s := range []string{
		`{"properties":{}}`, string(spell(`,"authInfo":{"authType":"secret","name":"u","secretInfo":{"secretType":"rawValue","value":"zqx"}},"clientType":"go"`)),
		string(spell(`,"authInfo":{"authType":"userAssignedIdentity","clientId":"c","roles":["a"]},"vNetSolution":{"type":"privateLink"},"secretStore":{}`)),
		string(spell(`,"configurationInfo":{"customizedKeys":{"A":"B"},"daprProperties":{"metadata":[{"name":"n","required":"true"}]}},"patchbay":{"access":"owner","options":{"a":"b"}}`)),
		string(spell(`,"publicNetworkSolution":{"action":"optOut","firewallRules":{"ipRanges":["1"]}}`)), `{"a":1,"a":2}`, `[`, "\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, v := range []Version{V20220501, V20261101} {
			s, err := DecodePut(v, []byte(body))
			if err != nil {
				if patchbay.CodeOf(err) == patchbay.Internal {
					t.Errorf("a bad body is the caller's: %v", err)
				}
				continue
			}
			c := patchbay.Connection{ID: patchbay.ID(web).Linker("a"), Name: "a", Spec: s}
			answer, err := Marshal(Linker(v, c))
			if err != nil {
				t.Fatal(err)
			}
			again, err := DecodePut(v, answer)
			if err != nil {
				t.Fatalf("the answer %s is refused: %v", answer, err)
			}
			back, err := Marshal(Linker(v, patchbay.Connection{ID: c.ID, Name: "a", Spec: again}))
			if err != nil || string(back) != string(answer) {
				t.Errorf("sent again the answer means something else (%v):\n%s\n%s", err, answer, back)
			}
		}
	})
}

// A take-over goes to the server and comes back.
func TestATakeOverIsOnTheWire(t *testing.T) {
	m := &members{version: V20261101}
	m.ownSpec(patchbay.Spec{TakeOver: true})
	text, err := json.Marshal(m)
	if err != nil || !strings.Contains(string(text), `"takeOver":true`) {
		t.Errorf("%s, %v", text, err)
	}
}
