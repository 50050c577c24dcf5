package crashtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay/internal/testenv"
)

// collector is an OpenTelemetry collector that keeps the bytes it is sent.
type collector struct {
	mu    sync.Mutex
	spans bytes.Buffer
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans.Write(body)
}

func (c *collector) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.spans.Bytes())
}

const canary = "canary-9f3c1e"

// witness keeps every answer, without the secrets that it was asked for, and
// all secrets that there ever were.
type witness struct {
	t       *testing.T
	s       *server
	w       *world
	answers bytes.Buffer
	secrets map[string]bool
}

func (v *witness) record(what string, status int, answer any) {
	v.t.Helper()
	text, ok := answer.([]byte)
	if !ok {
		var err error
		if text, err = json.Marshal(answer); err != nil {
			v.t.Fatal(err)
		}
	}
	_, _ = fmt.Fprintf(&v.answers, "%s %d %s\n", what, status, text)
}

// shown keeps an answer that was made for that secret, and nothing more than
// once.
func (v *witness) shown(what string, status int, answer any, secret string) {
	v.t.Helper()
	if secret == "" {
		v.t.Errorf("%s = %d without a secret", what, status)
		return
	}
	v.secrets[secret] = true
	text, err := json.Marshal(answer)
	if err != nil {
		v.t.Fatal(err)
	}
	v.record(what, status, bytes.Replace(text, []byte(secret), nil, 1))
}

func (v *witness) get(path string) {
	v.t.Helper()
	status, answer := v.s.call("GET", path, own, nil)
	v.record(path, status, answer)
}

// do calls as the operator, and fails when the answer has another status.
func (v *witness) do(want int, method, path string, body any) map[string]any {
	v.t.Helper()
	status, answer := v.s.call(method, path, own, body)
	if status != want {
		v.t.Errorf("%s %s = %d %v, want %d", method, path, status, answer, want)
	}
	return answer
}

// did waits for what was begun, and keeps what is said of it.
func (v *witness) did(what string, status int, state string) {
	v.t.Helper()
	op := v.s.settle()
	if state != "" && op["state"] != state {
		v.t.Errorf("%s: the operation is %v", what, op)
	}
	v.record(what, status, op)
	for _, secret := range v.w.target.secrets(v.w.settings()) {
		v.secrets[secret] = true
	}
	v.get(v.w.linker)
}

// given connects with a login that the caller gives.
func (v *witness) given(linker string, service map[string]any, secret string) int {
	v.t.Helper()
	status, answer := v.s.call("PUT", linker, own, map[string]any{"properties": map[string]any{
		"targetService": service,
		"authInfo":      map[string]any{"authType": "secret", "name": "dba", "secretInfo": map[string]any{"secretType": "rawValue", "value": secret}},
		"clientType":    "python",
	}})
	v.record("PUT "+linker, status, answer)
	return status
}

// A run of everything, failures included, with canaries for secrets: none is
// in an answer that was not made for it, nor in the log, the metrics, the
// traces, the audit log or a file.
func TestNoSecretLeavesItsPlace(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts the program")
	}
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	admin, err := pg.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(t.Context()) }()
	for _, sql := range []string{
		`CREATE DATABASE shop`,
		`ALTER ROLE postgres PASSWORD '` + canary + `-admin'`,
		`CREATE ROLE dba LOGIN PASSWORD '` + canary + `-given'`,
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	pg.Password = canary + "-admin"
	tg := &postgresTarget{t: t, server: pg, addr: pg.Addr()}

	traces := &collector{}
	receiver := httptest.NewServer(traces)
	defer receiver.Close()
	w := newWorld(t, tg)
	s := boot(t, w.dir, "", "", "--otlp-endpoint", receiver.URL+"/v1/traces")
	w.register(s)
	v := &witness{t: t, s: s, w: w, secrets: map[string]bool{canary: true, s.token: true}}
	v.connects()
	v.connectsElsewhere()
	v.signsIn()
	v.looksBack()
	status, _ := s.call("DELETE", w.linker, own, nil)
	v.did("delete", status, "done")
	_, exposed := s.send("GET", "/metrics", http.Header{}, nil)
	_, audited := s.send("GET", "/providers/Patchbay.Connector/audit?format=jsonl&api-version="+own, http.Header{"Authorization": {"Bearer " + s.token}}, nil)
	s.stop() // so that the last traces are sent

	v.searched(map[string][]byte{"an answer": v.answers.Bytes(), "the metrics": exposed, "the traces": traces.bytes(), "the audit log": audited})
	if _, err := os.Stat(filepath.Join(w.dir, "data", "server.json")); err == nil {
		t.Error("server.json is still there after the stop")
	}
}

// connects makes, breaks, mends and changes a connection to a database.
func (v *witness) connects() {
	v.t.Helper()
	s, w := v.s, v.w
	shop := map[string]any{"type": "AzureResource", "id": w.group + "/providers/" + w.target.id()}
	v.did("refused login", v.given(w.linker, shop, canary+"-wrong"), "")
	v.did("create with a given login", v.given(w.linker, shop, canary+"-given"), "done")
	v.did("update to a login of Patchbay's own", s.put(w, "writer"), "done")
	for _, path := range []string{"validate", "rotate"} {
		status, _ := s.call("POST", w.linker+"/providers/Patchbay.Connector/"+path, own, map[string]any{})
		v.did(path, status, "done")
	}
	v.listed(w.linker + "/listConfigurations")
	// A broken world, for the words of failures.
	if err := os.WriteFile(w.source.(*envFile).path, []byte(strings.ReplaceAll(w.source.content(), "password=", "password="+canary)), 0o640); err != nil {
		v.t.Fatal(err)
	}
	for _, body := range []map[string]any{{}, {"fix": true}} {
		status, _ := s.call("POST", w.linker+"/providers/Patchbay.Connector/validate", own, body)
		v.did("validate what somebody changed", status, "")
	}
	path, body := w.target.resource()
	body["properties"].(map[string]any)["admin"] = map[string]string{"username": "postgres", "password": canary + "-not-this"}
	status, answer := s.call("PUT", w.group+"/providers/"+path, own, body)
	v.record("a registration that can't sign in", status, answer)
	_, body = w.target.resource()
	v.do(200, "PUT", w.group+"/providers/"+path, body)
}

// listed asks for settings: each secret among them is shown once.
func (v *witness) listed(path string) {
	v.t.Helper()
	answer := v.do(200, "POST", path, nil)
	env := map[string]string{}
	list, _ := answer["configurations"].([]any)
	for _, item := range list {
		setting, _ := item.(map[string]any)
		name, _ := setting["name"].(string)
		env[name], _ = setting["value"].(string)
	}
	found := v.w.target.secrets(env)
	if len(found) != 1 {
		v.t.Errorf("POST %s answers %d secrets, want one", path, len(found))
		return
	}
	v.shown("POST "+path, 200, answer, found[0])
}

// connectsElsewhere connects a developer's machine, an endpoint that nobody
// registered, and a service that is not administered.
func (v *witness) connectsElsewhere() {
	v.t.Helper()
	s, w := v.s, v.w
	local := w.group + "/providers/Microsoft.ServiceLinker/locations/eastus/connectors/dev"
	w.ask(s, local, map[string]any{"clientType": "go"}, "done")
	v.listed(local + "/generateConfigurations")
	v.get(local)

	source, _, _ := strings.Cut(w.linker, "/linkers/")
	self := source + "/linkers/selfhosted"
	address := w.target.(*postgresTarget).server.Addr()
	endpoint := func(u string) map[string]any { return map[string]any{"type": "SelfHostedServer", "endpoint": u} }
	for _, u := range []string{"postgres://dba:" + canary + "-url@" + address + "/shop", "postgres://" + address + "/shop?sslmode=disable&password=" + canary} {
		if status := v.given(self, endpoint(u), canary+"-given"); status != 400 {
			v.t.Errorf("an endpoint with a login is answered %d", status)
		}
	}
	v.did("an endpoint with a given login", v.given(self, endpoint("postgres://"+address+"/shop?sslmode=disable"), canary+"-given"), "done")
	v.get(self)
	v.did("and with a wrong one", v.given(self, endpoint("postgres://"+address+"/shop?sslmode=disable"), canary+"-wrong"), "undone")
	w.gone(s, self)

	redis := testenv.Redis(v.t, false)
	cache := w.group + "/providers/Microsoft.Cache/redis/cache"
	for _, c := range []struct {
		status   int
		endpoint string
		admin    map[string]string
	}{
		{400, "redis://app:" + canary + "-url@" + redis.Addr(), map[string]string{"username": redis.User, "secret": canary + "-key"}},
		{400, "redis://" + redis.Addr(), map[string]string{"username": redis.User, "passphrase": canary + "-key"}},
		{201, "redis://" + redis.Addr(), map[string]string{"username": redis.User, "secret": canary + "-key"}},
	} {
		status, answer := s.call("PUT", cache, own, map[string]any{"properties": map[string]any{"driver": "external", "endpoint": c.endpoint, "admin": c.admin}})
		if status != c.status {
			v.t.Errorf("PUT %s = %d %v, want %d", cache, status, answer, c.status)
		}
		v.record("PUT "+cache, status, answer)
	}
	v.get(cache)
	status, answer := s.call("PUT", source+"/linkers/cache", own, map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": cache + "/databases/0"},
		"authInfo":      map[string]any{"authType": "secret"}, "clientType": "go",
	}})
	v.record("a registered key that the service refuses", status, answer)
	v.did("a registered key that the service refuses", status, "undone")
}

// signsIn makes a caller of its own, which signs in, is refused, and calls.
func (v *witness) signsIn() {
	v.t.Helper()
	made := func(want int, path string, body map[string]any) (principal map[string]any, secret string) {
		principal = v.do(want, "POST", path, body)
		secret, _ = principal["secret"].(string)
		v.shown("POST "+path, want, principal, secret)
		return principal, secret
	}
	const principals = "/providers/Patchbay.Connector/principals"
	p, secret := made(201, principals, map[string]any{"name": "deployer"})
	id, client := fmt.Sprint(p["id"]), fmt.Sprint(p["appId"])
	v.do(201, "PUT", v.w.group+"/providers/Microsoft.Authorization/roleAssignments/0b1f6471-1bf0-4dda-aec3-111122223333", map[string]any{"properties": map[string]any{
		"roleDefinitionId": "acdd72a7-3385-48ef-bd42-f606fba81ae7", // Reader
		"principalId":      id, "principalType": "ServicePrincipal",
	}})
	var token string
	for _, path := range []string{"/adfs/oauth2/token", "/" + fmt.Sprint(p["tenantId"]) + "/oauth2/v2.0/token"} {
		token = v.token(path, client, secret)
	}
	_, again := made(200, principals+"/"+id+"/resetSecret", map[string]any{})
	if status, _ := v.post("/adfs/oauth2/token", http.Header{}, v.form(client, secret)); status/100 == 2 {
		v.t.Error("a secret that was reset still signs in")
	}
	v.calls(token, 401) // it is from before the reset
	v.calls(v.token("/adfs/oauth2/token", client, again), 200)
	v.get(principals)
	v.get(principals + "/" + id)
}

func (v *witness) form(client, secret string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret}, "scope": {v.s.url + "/.default"}, "resource": {v.s.url + "/"}}
}

func (v *witness) post(path string, header http.Header, form url.Values) (int, []byte) {
	v.t.Helper()
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	return v.s.send("POST", path, header, []byte(form.Encode()))
}

// token signs in: with wrong secrets in every place where one may stand, then
// with the right one.
func (v *witness) token(path, client, secret string) string {
	v.t.Helper()
	wrong := v.form(client, canary+"-client")
	bare := url.Values{"grant_type": wrong["grant_type"], "scope": wrong["scope"]}
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(client+":"+canary+"-basic"))}}
	for _, c := range []struct {
		where  string
		path   string
		header http.Header
		form   url.Values
	}{
		{"body", path, http.Header{}, wrong},
		{"header", path, basic, bare},
		{"query", path + "?client_secret=" + canary + "-query", http.Header{}, bare},
		{"assertion", path, http.Header{}, url.Values{"grant_type": wrong["grant_type"], "client_id": {client}, "client_assertion": {canary + ".e30.assertion"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}},
		{"name", path, http.Header{}, v.form(canary+"-as-client-id", canary)},
		{"password", path, http.Header{}, url.Values{"grant_type": {"password"}, "username": {"somebody"}, "password": {canary + "-password"}, "client_id": {client}}},
	} {
		status, answer := v.post(c.path, c.header, c.form)
		if status/100 != 4 {
			v.t.Errorf("a wrong secret in the %s is answered %d", c.where, status)
		}
		v.record("wrong secret in the "+c.where, status, answer)
	}
	status, answer := v.post(path, http.Header{}, v.form(client, secret))
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &got); err != nil || status != 200 || strings.Count(got.Token, ".") != 2 {
		v.t.Fatalf("POST %s = %d (%v), which is no token", path, status, err)
	}
	v.record("POST "+path, status, bytes.Replace(answer, []byte(got.Token), nil, 1))
	// Its last part is what nobody else can make, and what gives it away.
	v.secrets[got.Token[strings.LastIndex(got.Token, ".")+1:]] = true
	return got.Token
}

// calls asks with the token for what is allowed, what is not, and what is not
// there; and with headers that bear other tokens.
func (v *witness) calls(token string, read int) {
	v.t.Helper()
	w := v.w
	status := func(of int) int {
		if read == 200 {
			return of
		}
		return read
	}
	empty := http.Header{}
	user := http.Header{"X-Ms-Serviceconnector-User-Token": {canary + "-user-token"}}
	linker := []byte(`{"properties":{"authInfo":{"authType":"secret","name":"dba","secretInfo":{"secretType":"rawValue","value":"` + canary + `-refused"}}}}`)
	for _, c := range []struct {
		want   int
		method string
		path   string
		header http.Header
		body   []byte
		bearer string
	}{
		{status(200), "GET", w.linker, empty, nil, token},
		{status(200), "GET", w.linker, user, nil, token},
		{status(403), "PUT", w.linker, user, linker, token},
		{status(403), "POST", w.linker + "/listConfigurations", user, nil, token},
		{status(404), "GET", w.linker + "-other", user, nil, token},
		{status(404), "GET", "/subscriptions/11111111-2222-4333-8444-555566667777/resourceGroups/" + canary[:6], empty, nil, token},
		{401, "GET", w.linker, http.Header{"X-Ms-Authorization-Auxiliary": {"Bearer " + canary + "-auxiliary"}}, nil, token},
		{401, "GET", w.linker, http.Header{"X-Ms-Authorization-Auxiliary": {canary + "-auxiliary"}}, nil, token},
		{401, "GET", w.linker, empty, nil, canary + "-token"},
		{401, "GET", w.linker, empty, nil, token[:strings.LastIndex(token, ".")+1] + canary + "-signature"},
		{status(200), "GET", w.linker, http.Header{"X-Ms-Authorization-Auxiliary": {"Bearer " + token}}, nil, token},
	} {
		header := c.header.Clone()
		header.Set("Authorization", "Bearer "+c.bearer)
		header.Set("Content-Type", "application/json")
		got, answer := v.s.send(c.method, c.path+"?api-version="+own, header, c.body)
		if got != c.want {
			v.t.Errorf("%s %s = %d %s, want %d", c.method, c.path, got, answer, c.want)
		}
		v.record(c.method+" "+c.path, got, answer)
	}
}

// looksBack reads everything that tells of what was done.
func (v *witness) looksBack() {
	v.t.Helper()
	path, _ := v.w.target.resource()
	for _, path := range []string{
		v.w.group + "/providers/" + path, v.w.group + "/providers/Microsoft.Web/sites/web",
		"/providers/Patchbay.Connector/operations", "/providers/Patchbay.Connector/leftovers", "/providers/Patchbay.Connector/resources",
		"/providers/Patchbay.Connector/audit", "/providers/Patchbay.Connector/signIn",
	} {
		v.get(path)
	}
}

// searched looks for the secrets in places, and in all files but those that
// are made for them.
func (v *witness) searched(places map[string][]byte) {
	v.t.Helper()
	for name, data := range places {
		if len(data) == 0 {
			v.t.Errorf("%s: there is nothing to look at", name)
		}
	}
	err := filepath.WalkDir(v.w.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || v.w.source.holds(path) || entry.Name() == "admin.token" {
			return err
		}
		places[entry.Name()], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		v.t.Fatal(err)
	}
	if len(v.secrets) < 9 {
		v.t.Errorf("only %d secrets were seen", len(v.secrets))
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		for secret := range v.secrets {
			if at := bytes.Index(places[place], []byte(secret)); at >= 0 {
				around := string(places[place][max(0, at-120):at])
				v.t.Errorf("I7: %s holds a secret, behind %q", place, strings.ToValidUTF8(around, "·"))
			}
		}
	}
	v.t.Logf("%d secrets were looked for in %d places", len(v.secrets), len(places))
}
