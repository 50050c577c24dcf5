package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"

	"patchbay.dev/patchbay/arm"
)

// contractDir finds the OpenAPI documents of Microsoft.ServiceLinker, which are
// not in this repository: in PATCHBAY_CONTRACT or beside it.
func contractDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("PATCHBAY_CONTRACT")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "contract")
	}
	dir = filepath.Join(dir, "openapi")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the OpenAPI documents of Microsoft.ServiceLinker are not here (%v); PATCHBAY_CONTRACT can name their directory", err)
	}
	return dir
}

// document is one version's document, made strict: an answer may hold only
// what it names, and discriminated objects must be one of the documented forms.
type document struct {
	*openapi3.T
	raw    map[string]any
	forms  map[string][]string // base definition → its forms
	strict map[*openapi3.Schema]*openapi3.Schema
}

var typesRef = regexp.MustCompile(`^(?:\.\./)+(common-types/.*types\.json)#/(definitions|parameters)/(.*)$`)

func loadDocument(t *testing.T, dir, version string) *document {
	t.Helper()
	d := &document{forms: map[string][]string{}, strict: map[*openapi3.Schema]*openapi3.Schema{}}
	readJSON(t, filepath.Join(dir, version, "servicelinker.json"), &d.raw)
	definitions := d.raw["definitions"].(map[string]any)
	parameters, _ := d.raw["parameters"].(map[string]any)

	// The common types become part of the document.
	var reroot func(v any, own bool)
	added := map[string]bool{}
	reroot = func(v any, own bool) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				reroot(x, own)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				m := typesRef.FindStringSubmatch(ref)
				switch {
				case m != nil:
					v["$ref"] = "#/" + m[2] + "/common_" + m[3]
					if !added[m[1]] {
						added[m[1]] = true
						var types map[string]any
						readJSON(t, filepath.Join(dir, m[1]), &types)
						reroot(types, false)
						for name, x := range types["definitions"].(map[string]any) {
							definitions["common_"+name] = x
						}
						if more, ok := types["parameters"].(map[string]any); ok {
							for name, x := range more {
								parameters["common_"+name] = x
							}
						}
					}
				case !own && strings.HasPrefix(ref, "#/"):
					v["$ref"] = ref[:strings.LastIndexByte(ref, '/')+1] + "common_" + ref[strings.LastIndexByte(ref, '/')+1:]
				case strings.HasPrefix(ref, "./examples/"):
					delete(v, "$ref") // read where it is used
					v["example"] = strings.TrimPrefix(ref, "./")
				}
			}
			for _, x := range v {
				reroot(x, own)
			}
		}
	}
	reroot(d.raw, true)

	for name, v := range definitions {
		def := v.(map[string]any)
		if _, ok := def["x-ms-discriminator-value"]; !ok {
			continue
		}
		for _, base := range def["allOf"].([]any) {
			ref, _ := base.(map[string]any)["$ref"].(string)
			of := ref[strings.LastIndexByte(ref, '/')+1:]
			if b, ok := definitions[of].(map[string]any); ok && b["discriminator"] != nil {
				d.forms[of] = append(d.forms[of], name)
			}
		}
	}
	text, err := json.Marshal(d.raw)
	if err != nil {
		t.Fatal(err)
	}
	var v2 openapi2.T
	if err := json.Unmarshal(text, &v2); err != nil {
		t.Fatal(err)
	}
	if d.T, err = openapi2conv.ToV3(&v2); err != nil {
		t.Fatal(err)
	}
	if err := openapi3.NewLoader().ResolveRefsIn(d.T, nil); err != nil {
		t.Fatal(err)
	}
	return d
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// close is ref's schema with its parents merged in, its discriminated members
// as one of their forms, no member besides the named, and null for every
// optional one: the live service answers it, whatever x-nullable says.
func (d *document) close(ref *openapi3.SchemaRef) *openapi3.Schema {
	name := ref.Ref[strings.LastIndexByte(ref.Ref, '/')+1:]
	if forms := d.forms[name]; len(forms) > 0 {
		oneOf := &openapi3.Schema{}
		for _, f := range forms {
			form := d.close(&openapi3.SchemaRef{Value: d.Components.Schemas[f].Value})
			only := *form
			only.Properties = openapi3.Schemas{}
			for k, v := range form.Properties {
				only.Properties[k] = v
			}
			definition := d.raw["definitions"].(map[string]any)[f].(map[string]any)
			base := d.raw["definitions"].(map[string]any)[name].(map[string]any)
			only.Properties[base["discriminator"].(string)] = &openapi3.SchemaRef{Value: &openapi3.Schema{
				Type: &openapi3.Types{"string"}, Enum: []any{definition["x-ms-discriminator-value"]},
			}}
			oneOf.OneOf = append(oneOf.OneOf, &openapi3.SchemaRef{Value: &only})
		}
		return oneOf
	}
	s := ref.Value
	if done, ok := d.strict[s]; ok {
		return done
	}
	c := *s
	d.strict[s] = &c
	c.AllOf = nil
	c.Discriminator = nil
	c.Properties = openapi3.Schemas{}
	required := slices.Clone(s.Required)
	for _, parent := range s.AllOf {
		p := d.close(&openapi3.SchemaRef{Value: parent.Value})
		for k, v := range p.Properties {
			c.Properties[k] = v
		}
		required = append(required, p.Required...)
	}
	c.Required = nil
	for _, r := range required {
		if prop := s.Properties[r]; prop == nil || !secretOnly(prop.Value) {
			c.Required = append(c.Required, r)
		}
	}
	for k, v := range s.Properties {
		closed := *d.close(v)
		if !slices.Contains(required, k) {
			closed.Nullable = true
		}
		c.Properties[k] = &openapi3.SchemaRef{Value: &closed}
	}
	if len(c.Properties) > 0 {
		no := false
		c.AdditionalProperties = openapi3.AdditionalProperties{Has: &no}
	} else if s.AdditionalProperties.Schema != nil {
		c.AdditionalProperties.Schema = &openapi3.SchemaRef{Value: d.close(s.AdditionalProperties.Schema)}
	}
	if s.Items != nil {
		c.Items = &openapi3.SchemaRef{Value: d.close(s.Items)}
	}
	return &c
}

// secretOnly says that a member is required of requests and never answered.
func secretOnly(s *openapi3.Schema) bool { return s.Extensions["x-ms-secret"] != nil }

// operation finds an operation and its examples.
func (d *document) operation(id string) (op *openapi3.Operation, path, method string) {
	for p, item := range d.Paths.Map() {
		for m, o := range item.Operations() {
			if o.OperationID == id {
				return o, p, m
			}
		}
	}
	return nil, "", ""
}

func (d *document) examples(path, method string) []string {
	op := d.raw["paths"].(map[string]any)[path].(map[string]any)[strings.ToLower(method)].(map[string]any)
	var files []string
	if list, ok := op["x-ms-examples"].(map[string]any); ok {
		for _, e := range list {
			files = append(files, e.(map[string]any)["example"].(string))
		}
	}
	slices.Sort(files)
	return files
}

// check validates an answer against the document.
func (d *document) check(t *testing.T, op *openapi3.Operation, status int, body []byte) {
	t.Helper()
	response := op.Responses.Value(fmt.Sprint(status))
	if response == nil {
		if status < 400 {
			t.Errorf("%s does not document status %d", op.OperationID, status)
			return
		}
		response = op.Responses.Default()
	}
	media := response.Value.Content.Get("application/json")
	if media == nil || media.Schema == nil {
		if text := strings.TrimSpace(string(body)); text != "" && text != "null" {
			t.Errorf("%s documents no body for %d, and there is one: %s", op.OperationID, status, body)
		}
		return
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s answered %d with no JSON: %v", op.OperationID, status, err)
		return
	}
	if err := d.close(media.Schema).VisitJSON(v, openapi3.VisitAsResponse(), openapi3.MultiErrors()); err != nil {
		t.Errorf("%s: the %d answer is not as documented: %v\n%s", op.OperationID, status, err, body)
	}
}

// linkerOperations are those that the documents have for linkers.
var linkerOperations = []string{
	"Linker_CreateOrUpdate", "Linker_Get", "Linker_List", "Linker_Update", "Linker_Delete",
	"Linker_Validate", "Linker_ListConfigurations", "Linkers_GenerateConfigurations", "Operations_List",
}

// TestEveryExampleIsAnsweredAsDocumented sends every example request for
// linkers of every served version and holds the answers against its document.
func TestEveryExampleIsAnsweredAsDocumented(t *testing.T) {
	dir := contractDir(t)
	sent := 0
	for _, version := range arm.Versions() {
		if version == arm.V20261101 {
			continue
		}
		d := loadDocument(t, dir, string(version))
		for _, id := range linkerOperations {
			op, path, method := d.operation(id)
			if op == nil {
				if id == "Linkers_GenerateConfigurations" && version == arm.V20220501 {
					continue
				}
				t.Errorf("%s has no %s", version, id)
				continue
			}
			files := d.examples(path, method)
			if len(files) == 0 {
				t.Errorf("%s has no example of %s", version, id)
			}
			for _, file := range files {
				sent++
				t.Run(string(version)+"/"+id+"/"+strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
					d.replay(t, filepath.Join(dir, string(version), file), op, path, method)
				})
			}
		}
	}
	t.Logf("%d example requests were sent", sent)
}

func (d *document) replay(t *testing.T, file string, op *openapi3.Operation, path, method string) {
	var example struct {
		Parameters map[string]json.RawMessage `json:"parameters"`
	}
	readJSON(t, file, &example)
	text := func(name string) string {
		var s string
		_ = json.Unmarshal(example.Parameters[name], &s)
		return s
	}
	b := newBench(t)
	version := "?api-version=" + text("api-version")
	url := strings.NewReplacer("{resourceUri}", text("resourceUri"), "{linkerName}", text("linkerName")).Replace(path) + version
	linker := "/" + text("resourceUri") + "/providers/Microsoft.ServiceLinker/linkers/linkName" + version
	if op.OperationID != "Linker_CreateOrUpdate" && op.OperationID != "Operations_List" {
		w := b.send("PUT", linker, `{"properties":{"targetService":{"type":"AzureResource","id":"`+testPG+`/databases/app"},"authInfo":{"authType":"secret"}}}`)
		if w.Code != http.StatusCreated {
			t.Fatalf("prepare: %d %s", w.Code, w.Body)
		}
		b.fake.end("op-1", nil)
	}
	w := b.send(method, url, string(example.Parameters["parameters"]))
	if w.Code >= 400 {
		t.Fatalf("the example is refused: %d %s", w.Code, w.Body)
	}
	d.check(t, op, w.Code, w.Body.Bytes())
	get, _, _ := d.operation("Linker_Get")

	switch op.OperationID {
	case "Linker_CreateOrUpdate", "Linker_Update":
		if w.Header().Get("Azure-AsyncOperation") == "" || w.Header().Get("Location") != "" {
			t.Errorf("a PUT and a PATCH have Azure-AsyncOperation and no Location: %v", w.Header())
		}
		b.fake.end(b.fake.operations[len(b.fake.operations)-1].ID, nil)
		w = b.send("GET", linker, "")
		d.check(t, get, w.Code, w.Body.Bytes())
		if !strings.Contains(w.Body.String(), `"provisioningState":"Succeeded"`) {
			t.Errorf("after the operation GET answers %s", w.Body)
		}
	case "Linker_Validate":
		b.fake.end("op-2", nil)
		w = b.send("GET", strings.TrimPrefix(w.Header().Get("Location"), "https://patchbay.test"), "")
		var result map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &result); err != nil {
			t.Fatal(err)
		}
		// The live service answers the status with the result in it; the document
		// has the result alone.
		for _, name := range []string{"id", "name", "startTime", "endTime"} {
			delete(result, name)
		}
		body, _ := json.Marshal(result)
		d.check(t, op, http.StatusOK, body)
	case "Linker_Delete":
		b.fake.end("op-2", nil)
		w = b.send("GET", linker, "")
		if w.Code != http.StatusNotFound {
			t.Errorf("after the delete GET answers %d", w.Code)
		}
		d.check(t, get, w.Code, w.Body.Bytes())
		w = b.send(method, url, "")
		d.check(t, op, w.Code, w.Body.Bytes())
	}
	// What goes wrong is as documented too.
	for _, bad := range []string{`{"properties":{"nonsense":1}}`, `{`, ``} {
		w = b.send("PUT", linker, bad)
		put, _, _ := d.operation("Linker_CreateOrUpdate")
		if w.Code != http.StatusBadRequest {
			t.Errorf("%q is answered %d", bad, w.Code)
		}
		d.check(t, put, w.Code, w.Body.Bytes())
	}
}

// TestEveryFormIsAnsweredAsDocumented puts every form of a linker that Patchbay
// knows and reads it under every version.
func TestEveryFormIsAnsweredAsDocumented(t *testing.T) {
	dir := contractDir(t)
	full := `"clientType":"go","scope":"s","vNetSolution":{"type":"PRIVATELINK","deleteOrUpdateBehavior":"Default"},` +
		`"secretStore":{"keyVaultId":"` + testRG + `/providers/Microsoft.KeyVault/vaults/v","keyVaultSecretName":"n"},` +
		`"publicNetworkSolution":{"action":"enable","deleteOrUpdateBehavior":"ForcedCleanup","firewallRules":{"ipRanges":["10.0.0.0/8"],"azureServices":"true","callerClientIP":"false"}},` +
		`"configurationInfo":{"action":"enable","deleteOrUpdateBehavior":"Default","customizedKeys":{"A":"B"},"additionalConfigurations":{"C":"D"},"additionalConnectionStringProperties":{"e":"f"},` +
		`"configurationStore":{"appConfigurationId":"` + testRG + `/providers/Microsoft.AppConfiguration/configurationStores/c"},` +
		`"daprProperties":{"version":"v1","componentType":"state","secretStoreComponent":"k","metadata":[{"name":"n","value":"v","secretRef":"r","description":"d","required":"true"}],"scopes":["a"]}},` +
		`"patchbay":{"access":"owner","naming":"native","options":{"schema":"x"}}`
	targets := []string{
		`{"type":"azureresource","id":"` + testPG + `/databases/app"}`,
		`{"type":"AzureResource","id":"` + testRG + `/providers/Microsoft.KeyVault/vaults/v","resourceProperties":{"type":"keyvault","connectAsKubernetesCsiDriver":true}}`,
		`{"type":"ConfluentBootstrapServer","endpoint":"k:9092"}`, `{"type":"ConfluentSchemaRegistry","endpoint":"https://k"}`,
		`{"type":"SelfHostedServer","endpoint":"h:1"}`,
	}
	auths := []string{
		`null`, `{"authType":"secret"}`, `{"authType":"SECRET","name":"u","secretInfo":{"secretType":"RAWVALUE","value":"hunter2"}}`,
		`{"authType":"secret","secretInfo":{"secretType":"keyVaultSecretUri","value":"https://v/secrets/s"}}`,
		`{"authType":"secret","secretInfo":{"secretType":"keyVaultSecretReference","name":"s","version":"1"}}`,
		`{"authType":"systemAssignedIdentity","roles":["r"],"userName":"u","deleteOrUpdateBehavior":"Default","authMode":"optOutAllAuth"}`,
		`{"authType":"userAssignedIdentity","clientId":"c","subscriptionId":"s","roles":["r"]}`,
		`{"authType":"servicePrincipalSecret","clientId":"c","principalId":"p","secret":"hunter2"}`,
		`{"authType":"servicePrincipalCertificate","clientId":"c","principalId":"p","certificate":"hunter2"}`,
		`{"authType":"accessKey","permissions":["read","Send"]}`, `{"authType":"userAccount","principalId":"p"}`,
		`{"authType":"easyAuthMicrosoftEntraID","clientId":"c","secret":"hunter2"}`,
	}
	documents := map[arm.Version]*document{}
	for _, v := range arm.Versions() {
		if v != arm.V20261101 {
			documents[v] = loadDocument(t, dir, string(v))
		}
	}
	b := newBench(t)
	read := 0
	for i, target := range targets {
		for j, auth := range auths {
			linker := fmt.Sprintf("%s/providers/Microsoft.ServiceLinker/linkers/l-%d-%d", testWeb, i, j)
			w := b.send("PUT", linker+"?api-version=2026-11-01", `{"properties":{"targetService":`+target+`,"authInfo":`+auth+`,`+full+`}}`)
			if w.Code != http.StatusCreated {
				t.Fatalf("%s %s: %d %s", target, auth, w.Code, w.Body)
			}
			for v, d := range documents {
				if !d.knows(target, auth) {
					continue // a form of a later version is answered with its own name
				}
				w := b.send("GET", linker+"?api-version="+string(v), "")
				get, _, _ := d.operation("Linker_Get")
				d.check(t, get, w.Code, w.Body.Bytes())
				if strings.Contains(w.Body.String(), "hunter2") {
					t.Errorf("a secret is answered: %s", w.Body)
				}
				read++
			}
		}
	}
	t.Logf("%d answers were held against the documents", read)
}

// knows says whether the document has the forms of the bodies.
func (d *document) knows(bodies ...string) bool {
	for _, body := range bodies {
		var v struct {
			Type     string `json:"type"`
			AuthType string `json:"authType"`
		}
		_ = json.Unmarshal([]byte(body), &v)
		want := v.Type + v.AuthType
		found := want == ""
		for base, forms := range d.forms {
			for _, f := range forms {
				value := d.raw["definitions"].(map[string]any)[f].(map[string]any)["x-ms-discriminator-value"].(string)
				found = found || strings.EqualFold(value, want) && (base == "TargetServiceBase" || base == "AuthInfoBase")
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// TestTheDocumentsAreReadStrictly makes sure that the tests above can fail.
func TestTheDocumentsAreReadStrictly(t *testing.T) {
	d := loadDocument(t, contractDir(t), string(arm.V20220501))
	get, _, _ := d.operation("Linker_Get")
	schema := d.close(get.Responses.Value("200").Value.Content.Get("application/json").Schema)
	for body, fits := range map[string]bool{
		`{"properties":{"targetService":{"type":"AzureResource","id":"x"},"scope":null}}`:                  true,
		`{"properties":{"targetService":{"type":"azureResource","id":"x"}}}`:                               false,
		`{"properties":{"targetService":{"type":"AzureResource","endpoint":"x"}}}`:                         false,
		`{"properties":{"publicNetworkSolution":null}}`:                                                    false,
		`{"properties":{"authInfo":{"authType":"systemAssignedIdentity","userName":"u"}}}`:                 false,
		`{"properties":{"authInfo":{"authType":"secret","secretInfo":{"secretType":"rawValue","x":"y"}}}}`: false,
		`{"name":"x"}`: false,
		`{"properties":{},"systemData":{"x":"y"}}`: false,
	} {
		var v any
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.VisitJSON(v, openapi3.VisitAsResponse()); (err == nil) != fits {
			t.Errorf("%s: fits is %v, want %v (%v)", body, err == nil, fits, err)
		}
	}
}
