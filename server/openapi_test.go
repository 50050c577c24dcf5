package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"

	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/internal/wiretest"
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

// operations are the ids of all operations that the document has.
func (d *document) operations() []string {
	var ids []string
	for _, item := range d.Paths.Map() {
		for _, o := range item.Operations() {
			ids = append(ids, o.OperationID)
		}
	}
	slices.Sort(ids)
	return ids
}

// TestEveryExampleIsAnsweredAsDocumented sends every example request of every
// operation of every served version, to a server whose operations go on and to
// one whose operations end at once, and holds the answers against its document.
func TestEveryExampleIsAnsweredAsDocumented(t *testing.T) {
	dir := contractDir(t)
	sent, operations := 0, 0
	for _, version := range arm.Versions() {
		if version == arm.V20261101 {
			continue
		}
		d := loadDocument(t, dir, string(version))
		for _, id := range d.operations() {
			operations++
			op, path, method := d.operation(id)
			files := d.examples(path, method)
			if len(files) == 0 {
				t.Errorf("%s has no example of %s", version, id)
			}
			for _, file := range files {
				for _, fast := range []bool{false, true} {
					sent++
					name := fmt.Sprintf("%s/%s/%s/fast=%t", version, id, strings.TrimSuffix(filepath.Base(file), ".json"), fast)
					t.Run(name, func(t *testing.T) {
						e := &example{document: d, op: op, path: path, method: method, fast: fast}
						e.read(t, filepath.Join(dir, string(version), file))
						e.replay(t)
					})
				}
			}
		}
	}
	if operations != 8+27+3*28 {
		t.Errorf("the documents have %d operations", operations)
	}
	t.Logf("%d example requests of %d operations were sent", sent, operations)
}

// example is an example request of a document.
type example struct {
	*document
	op           *openapi3.Operation
	path, method string
	fast         bool
	parameters   map[string]json.RawMessage
}

func (e *example) read(t *testing.T, file string) {
	t.Helper()
	var text struct {
		Parameters map[string]json.RawMessage `json:"parameters"`
	}
	readJSON(t, file, &text)
	e.parameters = text.Parameters
}

func (e *example) text(name string) string {
	var s string
	_ = json.Unmarshal(e.parameters[name], &s)
	return s
}

var placeholder = regexp.MustCompile(`\{([A-Za-z]+)\}`)

// fill is a path of the document with the example's parameters.
func (e *example) fill(path string) string {
	return placeholder.ReplaceAllStringFunc(path, func(p string) string { return e.text(strings.Trim(p, "{}")) }) +
		"?api-version=" + e.text("api-version")
}

// resource is the path of what the operation is about.
func (e *example) resource() string {
	for _, last := range []string{"{linkerName}", "{connectorName}", "{dryrunName}"} {
		if before, _, ok := strings.Cut(e.path, last); ok {
			return before + last
		}
	}
	return ""
}

// prepared are the properties of what an operation is about.
const prepared = `{"targetService":{"type":"AzureResource","id":"` + testPG + `/databases/app"},"authInfo":{"authType":"secret"}}`

// prepare makes what the operation is about, unless it is what makes it.
func (e *example) prepare(t *testing.T, b *bench) {
	t.Helper()
	body := prepared
	at := e.resource()
	switch {
	case strings.Contains(e.op.OperationID, "Create") || strings.HasSuffix(e.op.OperationID, "Operations_List"):
		return
	case strings.HasSuffix(e.op.OperationID, "ListDryrun"):
		at = e.path + "/made"
	case strings.HasSuffix(e.op.OperationID, "_List") && strings.HasSuffix(e.path, "ers") || strings.HasSuffix(e.path, "ors"):
		at = e.path + "/made"
	}
	if at == "" {
		return
	}
	if strings.Contains(at, "/dryruns/") {
		body = `{"parameters":{"actionName":"createOrUpdate",` + body[1:] + `}`
	}
	if w := b.send("PUT", e.fill(at), `{"properties":`+body+`}`, "Prefer", "respond-async"); w.Code != http.StatusCreated {
		t.Fatalf("prepare: %d %s", w.Code, w.Body)
	}
	if len(b.fake.operations) > 0 {
		b.fake.end("op-1", nil)
	}
}

func (e *example) replay(t *testing.T) {
	b := newBench(t)
	e.prepare(t, b)
	if e.fast {
		b.fake.fast, b.grace = true, time.Hour
	}
	w := b.send(e.method, e.fill(e.path), string(e.parameters["parameters"]), e.prefer()...)
	if w.Code >= 400 {
		t.Fatalf("the example is refused: %d %s", w.Code, w.Body)
	}
	answer := w.Body.Bytes()
	if result := (map[string]any{}); json.Unmarshal(answer, &result) == nil && strings.HasSuffix(e.op.OperationID, "_Validate") {
		withoutMessage(result)
		answer, _ = json.Marshal(result)
	}
	e.check(t, e.op, w.Code, answer)
	waits := w.Header().Get("Azure-AsyncOperation") != ""
	long := e.op.Extensions["x-ms-long-running-operation"] == true && !strings.Contains(e.op.OperationID, "Dryrun")
	if waits != (long && !e.fast) {
		t.Errorf("answered %d with the operation %q", w.Code, w.Header().Get("Azure-AsyncOperation"))
	}
	switch {
	case long:
		e.finish(t, b, w)
	case e.method == http.MethodPut || e.method == http.MethodPatch:
		e.said(t, w.Body.Bytes())
	}
	e.refuse(t, b)
}

// prefer has a connector's DELETE, which otherwise waits, answered at once when
// operations are not fast.
func (e *example) prefer() []string {
	if e.fast {
		return nil
	}
	return []string{"Prefer", "respond-async"}
}

// finish follows a long-running operation to its end.
func (e *example) finish(t *testing.T, b *bench, w *httptest.ResponseRecorder) {
	t.Helper()
	last := b.fake.operations[len(b.fake.operations)-1].ID
	if !e.fast {
		b.fake.end(last, nil)
	}
	get, _, _ := e.operation(strings.Split(e.op.OperationID, "_")[0] + "_Get")
	switch e.method {
	case http.MethodPut, http.MethodPatch:
		if w.Header().Get("Location") != "" {
			t.Errorf("a PUT and a PATCH have no Location: %v", w.Header())
		}
		w = b.send("GET", e.fill(e.resource()), "")
		e.check(t, get, w.Code, w.Body.Bytes())
		if !strings.Contains(w.Body.String(), `"provisioningState":"Succeeded"`) {
			t.Errorf("after the operation GET answers %s", w.Body)
		}
		e.said(t, w.Body.Bytes())
	case http.MethodDelete:
		w = b.send("GET", e.fill(e.resource()), "")
		if w.Code != http.StatusNotFound {
			t.Errorf("after the delete GET answers %d", w.Code)
		}
		e.check(t, get, w.Code, w.Body.Bytes())
		w = b.send(e.method, e.fill(e.path), "")
		e.check(t, e.op, w.Code, w.Body.Bytes())
	case http.MethodPost:
		if e.fast {
			return
		}
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
		withoutMessage(result)
		body, _ := json.Marshal(result)
		e.check(t, e.op, http.StatusOK, body)
	}
}

// withoutMessage takes from a validation's result what the live service has beside
// the document's members.
func withoutMessage(result map[string]any) {
	if p, ok := result["properties"].(map[string]any); ok {
		delete(p, "Message")
	}
}

// said holds an answer against the request that it is of: what was not said is
// null there, or absent.
func (e *example) said(t *testing.T, answer []byte) {
	t.Helper()
	var got, asked struct{ Properties map[string]any }
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(e.parameters["parameters"], &asked); err != nil {
		t.Fatal(err)
	}
	if e.method == http.MethodPatch {
		asked.Properties = merged(e.prepared(t), asked.Properties)
	}
	for _, answers := range []string{"provisioningState", "prerequisiteResults", "operationPreviews"} {
		delete(got.Properties, answers)
	}
	if unsaid := wiretest.Unsaid(got.Properties, asked.Properties); len(unsaid) > 0 {
		t.Errorf("%v was not said in %s, and is in %s", unsaid, e.parameters["parameters"], answer)
	}
}

func (e *example) prepared(t *testing.T) map[string]any {
	t.Helper()
	var properties map[string]any
	if err := json.Unmarshal([]byte(prepared), &properties); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(e.path, "/dryruns/") {
		return map[string]any{"parameters": properties}
	}
	return properties
}

// merged lays a PATCH over what is there.
func merged(there, patch map[string]any) map[string]any {
	for name, value := range patch {
		was, ok := there[name].(map[string]any)
		if now, both := value.(map[string]any); ok && both && name == "parameters" {
			value = merged(was, now)
		}
		if value != nil {
			there[name] = value
		}
	}
	return there
}

// refuse sends bodies that are wrong: what goes wrong is as documented too.
func (e *example) refuse(t *testing.T, b *bench) {
	t.Helper()
	if e.method != http.MethodPut && e.method != http.MethodPatch {
		return
	}
	for _, bad := range []string{`{"properties":{"nonsense":1}}`, `{`, ``} {
		w := b.send(e.method, e.fill(e.path), bad)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%q is answered %d", bad, w.Code)
		}
		e.check(t, e.op, w.Code, w.Body.Bytes())
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
		`{"type":"SelfHostedServer","endpoint":"h:1"}`, `{"type":"fabricplatform","endpoint":"https://api.fabric.example/v1"}`,
		`{"type":"AzureResource","id":"` + testRG + `/providers/Microsoft.AppConfiguration/configurationStores/c","resourceProperties":{"type":"APPCONFIG","connectWithKubernetesExtension":true}}`,
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
			dryrun := strings.Replace(linker, "/linkers/", "/dryruns/", 1)
			w = b.send("PUT", dryrun+"?api-version=2026-11-01", `{"properties":{"parameters":{"actionName":"createOrUpdate","targetService":`+target+`,"authInfo":`+auth+`,`+full+`}}}`)
			if w.Code != http.StatusCreated {
				t.Fatalf("%s %s: %d %s", target, auth, w.Code, w.Body)
			}
			for v, d := range documents {
				if !d.knows(target, auth) {
					continue // a form of a later version is answered with its own name
				}
				for path, operation := range map[string]string{linker: "Linker_Get", dryrun: "Linkers_GetDryrun"} {
					get, _, _ := d.operation(operation)
					if get == nil {
						continue // there are no dryruns in 2022-05-01
					}
					w := b.send("GET", path+"?api-version="+string(v), "")
					d.check(t, get, w.Code, w.Body.Bytes())
					if strings.Contains(w.Body.String(), "hunter2") {
						t.Errorf("a secret is answered: %s", w.Body)
					}
					read++
				}
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
			Resource struct {
				Type string `json:"type"`
			} `json:"resourceProperties"`
		}
		_ = json.Unmarshal([]byte(body), &v)
		for base, want := range map[string]string{
			"TargetServiceBase": v.Type, "AuthInfoBase": v.AuthType, "AzureResourcePropertiesBase": v.Resource.Type,
		} {
			if want != "" && !slices.ContainsFunc(d.forms[base], func(form string) bool {
				value, _ := d.raw["definitions"].(map[string]any)[form].(map[string]any)["x-ms-discriminator-value"].(string)
				return strings.EqualFold(value, want)
			}) {
				return false
			}
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
