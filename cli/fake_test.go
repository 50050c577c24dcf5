package cli

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

const (
	fakeToken = "fake-admin-token"
	fakeSub   = "00000000-0000-0000-0000-000000000001"
	fakeGroup = "/subscriptions/" + fakeSub + "/resourceGroups/default"
	webID     = fakeGroup + "/providers/Microsoft.Web/sites/web"
	ordersID  = fakeGroup + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"

	// canary is in every answer that may have a secret, and in nothing else that
	// the command line prints.
	canary = "c4n4ry-s3cret"
)

// fakeStart is when everything happens at the fake, so that output has no
// clock in it.
var fakeStart = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// fake is a server that answers what docs/api.md says, without doing anything.
// Its operations go on by one step whenever somebody waits for them, so tests
// need no time. What a target is named decides what happens to it.
type fake struct {
	t      testing.TB
	server *httptest.Server

	mu        sync.Mutex
	resources map[string]map[string]any // by lower-case id
	linkers   map[string]map[string]any
	ops       map[string]*patchbay.Operation
	order     []string
	checks    []patchbay.Check
	leftovers []patchbay.Leftover
	roles     []map[string]any // role assignments
	custom    []map[string]any // role definitions
	catalog   []byte           // nil: a release that has none
	log       strings.Builder  // every request, for assertions
	answer    func(w http.ResponseWriter, r *http.Request) bool
}

func newFake(t testing.TB) *fake {
	f := &fake{
		t: t, resources: map[string]map[string]any{}, linkers: map[string]map[string]any{}, ops: map[string]*patchbay.Operation{},
		checks: []patchbay.Check{
			{Group: patchbay.CheckExistence, Name: "Target resource existence validated.", Result: patchbay.Success},
			{Group: patchbay.CheckNetwork, Name: "Target network access validated.", Result: patchbay.Success},
			{Group: patchbay.CheckConfiguration, Name: "Configured connection information validated.", Result: patchbay.Success},
			{Group: patchbay.CheckAuthentication, Name: "Authentication validated.", Result: patchbay.Success},
		},
	}
	f.register(webID, "envfile", "/srv/web.env")
	f.register(ordersID, "postgres", "10.0.0.5:5432")
	f.server = httptest.NewUnstartedServer(f)
	// Clients that do not trust it are part of the tests, and no news.
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	return f
}

// register adds a resource to the inventory.
func (f *fake) register(id, driver, endpoint string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pid := patchbay.ID(id)
	f.resources[pid.Key()] = map[string]any{
		"id": id, "name": pid.Name(), "type": pid.Type(), "location": "local", "tags": nil,
		"properties": map[string]any{"driver": driver, "endpoint": endpoint, "provisioningState": "Succeeded"},
	}
}

// dataDir is a data directory as the server leaves it for the command line.
func (f *fake) dataDir(dir string) error {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
	for name, text := range map[string]string{
		serverFile: fmt.Sprintf(`{"url":%q,"pid":1}`, f.server.URL),
		tokenFile:  fakeToken + "\n",
		caFile:     string(ca),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Errorf("read the request: %v", err)
	}
	f.record(r, body)
	w.Header().Set("Content-Type", "application/json")
	if f.answer != nil && f.answer(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+fakeToken {
		f.fail(w, http.StatusUnauthorized, "AuthenticationFailed", "the token is not known", "")
		return
	}
	if r.URL.Query().Get("api-version") != "2026-11-01" {
		f.fail(w, http.StatusBadRequest, "InvalidApiVersionParameter", "the api-version is not served", "")
		return
	}
	f.route(w, r, body)
}

// record writes a request into the log, except those that only look.
func (f *fake) record(r *http.Request, body []byte) {
	query := r.URL.Query()
	query.Del("api-version")
	line := r.Method + " " + strings.TrimPrefix(r.URL.Path, fakeGroup+"/providers/")
	if len(query) > 0 {
		line += "?" + query.Encode()
	}
	if tag := r.Header.Get("If-Match"); tag != "" {
		line += " If-Match: " + tag
	}
	var doc any
	if json.Unmarshal(body, &doc) == nil {
		sorted, _ := json.Marshal(doc)
		line += " " + strings.ReplaceAll(string(sorted), fakeGroup+"/providers/", "…/")
	}
	f.log.WriteString(line + "\n")
}

func (f *fake) fail(w http.ResponseWriter, status int, code, message, fix string) {
	detail := map[string]any{"code": code, "message": message}
	if fix != "" {
		detail["message"] = message + ". Fix: " + fix
		detail["additionalInfo"] = []any{map[string]any{
			"type": "Patchbay.Connector/error", "info": map[string]any{"message": message, "fix": fix},
		}}
	}
	f.ok(w, status, map[string]any{"error": detail})
}

func (f *fake) ok(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	if body == nil {
		return
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		f.t.Errorf("answer: %v", err)
	}
}

func list[T any](values []T) map[string]any { return map[string]any{"value": values} }

func (f *fake) route(w http.ResponseWriter, r *http.Request, body []byte) {
	path := r.URL.Path
	const own = "/providers/Patchbay.Connector/"
	const linkers = "/providers/Microsoft.ServiceLinker/linkers"
	switch {
	case path == "/subscriptions":
		f.ok(w, 200, list([]patchbay.Subscription{{ID: fakeSub, DisplayName: "default"}}))
	case strings.Contains(path, "/providers/Microsoft.Authorization/"):
		f.role(w, r, body)
	case strings.HasSuffix(path, "/resourceGroups"):
		f.ok(w, 200, list([]patchbay.ResourceGroup{{ID: fakeGroup, Location: "local"}}))
	case path == own+"resources":
		f.ok(w, 200, list(sortedValues(f.resources)))
	case path == own+"operations":
		ops := []patchbay.Operation{}
		for _, id := range slices.Backward(f.order) {
			op := *f.ops[id]
			q := r.URL.Query()
			if c := q.Get("connection"); c != "" && !op.Connection.Equal(patchbay.ID(c)) || q.Get("active") == "true" && op.State.Ended() {
				continue
			}
			ops = append(ops, op)
		}
		f.ok(w, 200, list(ops))
	case strings.HasPrefix(path, own+"operations/"):
		f.operation(w, r, strings.TrimPrefix(path, own+"operations/"))
	case strings.HasPrefix(path, own+"audit"):
		f.audit(w, r)
	case path == own+"events/test":
		f.ok(w, 200, patchbay.Delivery{Receiver: "https://alerts.example", Event: "0193", Status: 204, Milliseconds: 12, Waiting: 3})
	case path == own+"principals" && r.Method == http.MethodGet:
		f.ok(w, 200, list(fakePrincipals))
	case path == own+"catalog" && f.catalog != nil:
		_, _ = w.Write(f.catalog)
	case path == own+"leftovers":
		f.ok(w, 200, list(f.leftovers))
	case strings.HasPrefix(path, own+"leftovers/") && r.Method == http.MethodDelete:
		before := len(f.leftovers)
		f.leftovers = slices.DeleteFunc(f.leftovers, func(l patchbay.Leftover) bool { return own+"leftovers/"+strings.ToLower(l.ID) == path })
		if len(f.leftovers) == before {
			f.fail(w, 404, "ResourceNotFound", "there is no such leftover", "")
			return
		}
		w.WriteHeader(204)
	case path == own+"sweep":
		f.ok(w, 202, f.sweep())
	case path == own+"settings" && r.URL.Query().Get("kind") == "":
		f.ok(w, 200, list([]map[string]any{{"name": "postgresql", "title": "PostgreSQL", "cli": []string{"postgres-flexible", "postgres"}}}))
	case path == own+"settings":
		f.ok(w, 200, map[string]any{"kind": "postgresql", "client": "go", "auth": "secret", "naming": "azure", "settings": []map[string]any{
			{"name": "AZURE_POSTGRESQL_HOST", "description": "Host of the server"},
			{"name": "AZURE_POSTGRESQL_PASSWORD", "description": "Password", "secret": true},
		}})
	case strings.HasSuffix(path, own+"rotateAdmin"):
		id := patchbay.ID(strings.TrimSuffix(path, own+"rotateAdmin"))
		if strings.Contains(id.Name(), "events") {
			f.fail(w, 400, "NotSupported", "the driver nats can't replace the credential of its administrator", "replace it by hand")
			return
		}
		f.ok(w, 202, f.rotateAdmin(id))
	case strings.HasSuffix(path, own+"check"):
		id := patchbay.ID(strings.TrimSuffix(path, own+"check"))
		if _, ok := f.resources[id.Key()]; !ok {
			f.fail(w, 404, "ResourceNotFound", "there is no resource "+id.Name(), "")
			return
		}
		found := []patchbay.Finding{{What: "sign in", OK: true}}
		if strings.Contains(id.Name(), "bare") {
			found = append(found, patchbay.Finding{What: "restart units", Problem: "sudo asks for a password", Fix: "write there:\ndeploy ALL=(root) NOPASSWD: /bin/x\x1b[2J"})
		}
		f.ok(w, 200, list(found))
	case strings.HasSuffix(path, own+"discover"), strings.HasSuffix(path, own+"takeCredential"):
		f.discover(w, r, body)
	case strings.HasSuffix(path, own+"environment"):
		f.ok(w, 200, map[string]any{"environment": map[string]string{"PGPASSWORD": canary, "PGHOST": "10.0.0.5"}})
	case strings.Contains(path, linkers), strings.Contains(path, "/connectors"):
		f.linker(w, r, body)
	default:
		f.resource(w, r, body)
	}
}

func sortedValues[V any](m map[string]V) []V {
	values := []V{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[k])
	}
	return values
}

func (f *fake) resource(w http.ResponseWriter, r *http.Request, body []byte) {
	id := patchbay.ID(r.URL.Path)
	old, exists := f.resources[id.Key()]
	switch r.Method {
	case http.MethodGet:
		if !exists {
			f.fail(w, 404, "ResourceNotFound", "there is no resource "+id.Name(), "")
			return
		}
		f.ok(w, 200, old)
	case http.MethodPut:
		var doc struct {
			Properties map[string]any `json:"properties"`
		}
		if json.Unmarshal(body, &doc) != nil {
			f.fail(w, 400, "InvalidRequestContent", "the body is not JSON", "")
			return
		}
		if strings.Contains(id.Name(), "unreachable") && r.URL.Query().Get("check") != "false" {
			f.fail(w, 409, "TargetUnreachable", "nothing answers at 10.9.9.9:5432", "check the endpoint, or add --no-check")
			return
		}
		if strings.Contains(id.Name(), "stranger") && doc.Properties["hostKey"] == nil {
			f.fail(w, 409, "CertificateInvalid", "10.0.0.1:22 presents the key SHA256:abc, which nobody has said to be right", "patchbay host add stranger … --host-key SHA256:abc")
			return
		}
		delete(doc.Properties, "admin")
		doc.Properties["provisioningState"] = "Succeeded"
		if doc.Properties["driver"] == "nats" {
			doc.Properties["warnings"] = []string{"the server speaks in the clear"}
		}
		f.resources[id.Key()] = map[string]any{
			"id": id, "name": id.Name(), "type": id.Type(), "location": "local", "tags": nil, "properties": doc.Properties,
		}
		status := 201
		if exists {
			status = 200
		}
		f.ok(w, status, f.resources[id.Key()])
	case http.MethodDelete:
		delete(f.resources, id.Key())
		if !exists {
			w.WriteHeader(204)
			return
		}
		w.WriteHeader(200)
	}
}

// linker answers everything below a source's linkers.
func (f *fake) linker(w http.ResponseWriter, r *http.Request, body []byte) {
	path, action := r.URL.Path, ""
	for _, a := range []string{"/listConfigurations", "/generateConfigurations", "/providers/Patchbay.Connector/validate", "/providers/Patchbay.Connector/rotate", "/providers/Patchbay.Connector/preview"} {
		if rest, ok := strings.CutSuffix(path, a); ok {
			path, action = rest, a[strings.LastIndexByte(a, '/')+1:]
		}
	}
	id := patchbay.ID(path)
	if strings.HasSuffix(path, "/linkers") || strings.HasSuffix(path, "/connectors") {
		found := []map[string]any{}
		for _, l := range sortedValues(f.linkers) {
			if strings.HasPrefix(patchbay.ID(l["id"].(string)).Key(), id.Key()+"/") {
				found = append(found, l)
			}
		}
		f.ok(w, 200, list(found))
		return
	}
	var doc map[string]any
	if len(body) > 0 && json.Unmarshal(body, &doc) != nil {
		f.fail(w, 400, "InvalidRequestContent", "the body is not JSON", "")
		return
	}
	if err := refusedBody(r.Method, action, body); err != nil {
		e := patchbay.AsError(err)
		f.fail(w, 400, string(e.Code), e.Message, "")
		return
	}
	l, exists := f.linkers[id.Key()]
	if !exists && r.Method != http.MethodPut && action != "preview" && r.Method != http.MethodDelete {
		f.fail(w, 404, "ResourceNotFound", "there is no connection "+id.Name(), "")
		return
	}
	switch {
	case action == "generateConfigurations" && !id.IsLocal(), action == "listConfigurations" && id.IsLocal():
		f.fail(w, 404, "InvalidResourceType", "there is nothing here", "")
	case action == "generateConfigurations" && strings.Contains(id.Name(), "cache"):
		f.ok(w, 200, map[string]any{"configurations": []map[string]any{
			{"name": "REDIS_URL", "value": "redis://" + canary, "secret": true}, {"name": "ca.crt", "value": "x", "file": true},
		}})
	case action == "listConfigurations", action == "generateConfigurations":
		f.ok(w, 200, map[string]any{"configurations": []map[string]any{
			{"name": "PGHOST", "value": "10.0.0.5", "configType": "Default", "secret": false},
			{"name": "PGPASSWORD", "value": canary, "configType": "Default", "secret": true},
		}})
	case action == "preview":
		v := map[string]any{"kind": "create", "steps": []map[string]any{
			{"name": "principal", "text": "make a login with writer access to shop on orders"},
			{"name": "settings", "text": "write 2 settings to web"},
		}, "settings": []map[string]any{
			{"name": "AZURE_POSTGRESQL_HOST", "value": "10.0.0.5"},
			{"name": "AZURE_POSTGRESQL_PASSWORD", "value": "‹password›", "secret": true},
		}}
		if strings.Contains(id.Name(), "problem") {
			v["problems"] = []map[string]any{{"code": "ChildMissing", "message": "there is no database shop on orders", "fix": "create it first"}}
		}
		f.ok(w, 200, v)
	case action == "validate" && strings.Contains(id.Name(), "busy"):
		f.fail(w, 409, "OperationInProgress", "another operation of "+id.Name()+" runs", "patchbay operation show op-9")
	case action == "validate" && strings.Contains(id.Name(), "theirs"):
		f.fail(w, 403, "AuthorizationFailed", "you may not validate "+id.Name(), "patchbay role assign …")
	case action == "validate":
		op := f.begin(patchbay.OpValidate, id, "check")
		fix := doc["fix"] == true
		op.Result = &patchbay.Report{Connection: id, Checks: slices.Clone(f.checks), Started: fakeStart, Ended: fakeStart}
		if from, _ := doc["from"].(string); from != "" {
			op.Result.From = patchbay.Vantage(from)
		}
		switch check := &op.Result.Checks[1]; {
		case strings.Contains(id.Name(), "shut"):
			check.Result, check.Code, check.Message, check.Fix = patchbay.Failure, patchbay.PortClosed,
				"from web: nothing listens on 10.0.0.5:5432, or a packet filter rejects the connection; the server reaches it, web does not",
				"let web (10.0.3.7/32) through to 10.0.0.5:5432, in the packet filter there or on the way"
		case strings.Contains(id.Name(), "mute"):
			check.Result, check.Message = patchbay.NotChecked, "nothing can be tried from where web runs: it is stopped"
		}
		if fix {
			for i := range op.Result.Checks {
				op.Result.Checks[i] = patchbay.Check{Group: op.Result.Checks[i].Group, Name: op.Result.Checks[i].Name, Result: patchbay.Success}
			}
			op.Result.Fixed = []string{"settings"}
		}
		f.begun(w, 202, op, nil)
	case action == "rotate":
		f.begun(w, 202, f.begin(patchbay.OpRotate, id, "principal", "settings", "revoke"), nil)
	case r.Method == http.MethodGet:
		w.Header().Set("ETag", `"1"`)
		f.ok(w, 200, l)
	case r.Method == http.MethodDelete && !exists:
		w.WriteHeader(204)
	case r.Method == http.MethodDelete:
		f.begun(w, 202, f.begin(patchbay.OpDelete, id, "settings", "principal"), nil)
	default:
		f.put(w, r, id, doc, exists)
	}
}

// refusedBody is what the server says of a body that is not a connection's.
func refusedBody(method, action string, body []byte) error {
	var err error
	switch {
	case method == http.MethodPut, action == "preview":
		_, err = arm.DecodePut(arm.V20261101, body)
	case method == http.MethodPatch:
		_, err = arm.DecodePatch(arm.V20261101, body)
	}
	return err
}

func (f *fake) put(w http.ResponseWriter, r *http.Request, id patchbay.ID, doc map[string]any, exists bool) {
	asked, _ := doc["properties"].(map[string]any)
	properties := map[string]any{"provisioningState": "Accepted", "scope": nil, "vNetSolution": nil}
	kind := patchbay.OpCreate
	if exists {
		kind = patchbay.OpUpdate
		if op := f.running(id); op != nil {
			f.fail(w, 409, "OperationInProgress", "another operation of "+id.Name()+" runs", "patchbay operation show "+op.ID)
			return
		}
	}
	if r.Method == http.MethodPatch {
		maps.Copy(properties, f.linkers[id.Key()]["properties"].(map[string]any))
	}
	maps.Copy(properties, asked)
	if auth, ok := properties["authInfo"].(map[string]any); ok {
		if info, ok := auth["secretInfo"].(map[string]any); ok && info["secretType"] == "rawValue" {
			auth["secretInfo"] = map[string]any{"secretType": "rawValue"}
		}
		delete(auth, "secret")
	}
	own, _ := properties["patchbay"].(map[string]any)
	if own == nil {
		own = map[string]any{}
	}
	for name, value := range map[string]any{"access": "writer", "naming": "azure", "options": nil} {
		if own[name] == nil {
			own[name] = value
		}
	}
	maps.Copy(own, map[string]any{"generation": 1, "principal": "pb_x1_g1", "operation": "", "keys": []string{"PGHOST", "PGPASSWORD"}})
	properties["patchbay"] = own
	f.linkers[id.Key()] = map[string]any{
		"id": string(id), "name": id.Name(), "type": "microsoft.servicelinker/linkers", "properties": properties,
	}
	steps, status := []string{"plan", "principal", "probe", "settings", "verify"}, 201
	if id.IsLocal() {
		steps = []string{"plan", "principal", "probe"}
		f.linkers[id.Key()]["type"] = "microsoft.servicelinker/locations/connectors"
		if r.Method == http.MethodPatch {
			status = 202
		}
	}
	if r.Header.Get("Prefer") != "respond-async" {
		f.t.Errorf("%s %s waits for its end: it has to be watched", r.Method, r.URL.Path)
	}
	f.begun(w, status, f.begin(kind, id, steps...), f.linkers[id.Key()])
}

func (f *fake) begin(kind patchbay.OperationKind, id patchbay.ID, plan ...string) *patchbay.Operation {
	source, _, _ := id.ConnectionSource()
	op := &patchbay.Operation{
		ID: fmt.Sprintf("op-%d", len(f.ops)+1), Kind: kind, Connection: id, Source: source, State: patchbay.Running,
		Plan: plan, Trail: []patchbay.StepRun{}, Created: fakeStart, Updated: fakeStart, By: "admin", Version: 1,
	}
	f.ops[op.ID] = op
	f.order = append(f.order, op.ID)
	return op
}

// sweep begins a sweep that will remove everything.
func (f *fake) sweep() *patchbay.Operation {
	op := f.begin(patchbay.OpSweep, patchbay.AllLeftovers, "retry", "marks")
	op.Swept = &patchbay.Sweep{Removed: f.leftovers, Left: []patchbay.Leftover{}}
	f.leftovers = nil
	return op
}

// rotateAdmin begins to replace an administrator's credential.
func (f *fake) rotateAdmin(id patchbay.ID) *patchbay.Operation {
	op := f.begin(patchbay.OpRotateAdmin, id, "plan", "credential", "verify", "record")
	op.Message = "the same administrator is registered for twin, where the stored credential is the old one: register it again there"
	return op
}

func (f *fake) begun(w http.ResponseWriter, status int, op *patchbay.Operation, body any) {
	at := f.server.URL + "/subscriptions/" + fakeSub + "/providers/Microsoft.ServiceLinker/locations/LOCAL/operationStatuses/" +
		op.ID + "*" + strings.Repeat("A", 64) + "?api-version=2021-01-01-privatepreview"
	w.Header().Set("Azure-AsyncOperation", at)
	if status == 202 && body == nil {
		w.Header().Set("Location", at)
	}
	f.ok(w, status, body)
}

func (f *fake) running(id patchbay.ID) *patchbay.Operation {
	for _, op := range f.ops {
		if op.Connection.Equal(id) && !op.State.Ended() {
			return op
		}
	}
	return nil
}

func (f *fake) operation(w http.ResponseWriter, r *http.Request, rest string) {
	id, action, _ := strings.Cut(rest, "/")
	op := f.ops[id]
	if op == nil {
		f.fail(w, 404, "ResourceNotFound", "there is no operation "+id, "")
		return
	}
	switch {
	case action == "cancel" || action == "abandon":
		op.State, op.Ended = patchbay.Undone, fakeStart
		if action == "abandon" {
			op.State = patchbay.Abandoned
		}
		op.Version++
	case r.URL.Query().Has("wait") && !op.State.Ended():
		f.advance(op)
	}
	f.ok(w, 200, op)
}

// advance ends the step that runs. A connection named …broken… fails at its
// settings, one named …leaves… can't undo its principal then, one named
// …stuck… needs attention, one named …parks… ends with a warning, and its delete
// leaves the principal for later; …parks-refuses…, because the target says no.
func (f *fake) advance(op *patchbay.Operation) {
	op.Version++
	name := op.Connection.Name()
	at := fakeStart.Add(time.Duration(len(op.Trail)) * time.Second)
	run := patchbay.StepRun{Name: op.Plan[op.Step], Started: at, Ended: at.Add(120 * time.Millisecond), Attempts: 1}
	unwritable := &patchbay.Error{Code: patchbay.SettingsUnwritable, Message: "/srv/web.env is read-only", Fix: "chmod u+w /srv/web.env"}
	if strings.Contains(name, "stuck") && !op.Attention && op.Step == 1 {
		op.Attention, op.Error = true, &patchbay.Error{Code: patchbay.TargetUnreachable, Message: "no answer from 10.0.0.5:5432"}
		return
	}
	op.Attention = false
	if op.State == patchbay.Undoing {
		run.Undo = true
		if strings.Contains(name, "leaves") && run.Name == "principal" {
			run.Parked, run.Error = true, &patchbay.Error{Code: patchbay.TargetUnreachable, Message: "no answer from 10.0.0.5:5432"}
			f.leftovers = append(f.leftovers, patchbay.Leftover{
				ID: "l1", Connection: op.Connection, Resource: ordersID, What: "principal pb_x1_g1", Why: "no answer from 10.0.0.5:5432",
				Attempts: 3, Created: fakeStart, NextTry: fakeStart.Add(time.Minute),
			})
		}
		op.Trail = append(op.Trail, run)
		if op.Step--; op.Step < 1 {
			op.State, op.Ended = patchbay.Undone, at
			delete(f.linkers, op.Connection.Key())
		}
		return
	}
	broken := strings.Contains(name, "broken") || strings.Contains(name, "leaves")
	if broken && run.Name == "settings" && op.Kind == patchbay.OpCreate {
		run.Error, op.Error = unwritable, unwritable
		op.Trail = append(op.Trail, run)
		op.State, op.Step = patchbay.Undoing, 1
		return
	}
	parks := strings.Contains(name, "parks")
	run.Parked = parks && op.Kind == patchbay.OpDelete && run.Name == "principal"
	if run.Parked && strings.Contains(name, "refuses") {
		run.Error = &patchbay.Error{Code: patchbay.AdminRights, Message: "the administrator may not", Fix: "GRANT adm1 TO adm2"}
	}
	op.Trail = append(op.Trail, run)
	if op.Step++; op.Step < len(op.Plan) {
		return
	}
	if parks {
		op.Message = "the login is an old one"
	}
	op.State, op.Ended, op.Error = patchbay.Done, run.Ended, nil
	op.Step = len(op.Plan) - 1
	if op.Kind == patchbay.OpDelete {
		delete(f.linkers, op.Connection.Key())
		return
	}
	if l := f.linkers[op.Connection.Key()]; l != nil {
		l["properties"].(map[string]any)["provisioningState"] = "Succeeded"
	}
}
