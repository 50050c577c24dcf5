package server

import (
	"context"
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

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

// samples are what the patterns of routes are asked with, in the group rg of the
// first tenant. Whoever adds a kind of id or segment says here what it is asked
// with, and looks at what the matrix then says of it.
var samples = map[string]string{
	"source": testWeb, "site": testWeb, "resource": testPG, "root|id": testRG, "subscription|group": testRG, "group": testRG,
	"subscription": "/subscriptions/" + testSub, "root|subscription": "/subscriptions/" + testSub,
	"location": "local", "linker": testWeb + "/providers/Microsoft.ServiceLinker/linkers/db",
	"connector": sampleLocation + "/connectors/db",
	"name":      "db", "operation": "op-1", "leftover": "op-1.revoke", "namespace": "Microsoft.ServiceLinker", "config": "appsettings",
	"tenant": testTenant, "principal": sampleGUID, "role": sampleGUID,
	// It ends in digits that are made of its subscription's and operation's ids.
	"status": strings.SplitN(arm.StatusPath(patchbay.Operation{ID: "op-1", Connection: testWeb}, "local"), "operationStatuses/", 2)[1],
}

const (
	sampleGUID     = "40000000-0000-0000-0000-000000000001"
	sampleLocation = testRG + "/providers/Microsoft.ServiceLinker/locations/local"
)

// sampleOf is a path that fits the pattern.
func sampleOf(t *testing.T, pattern, action string) string {
	t.Helper()
	path := regexp.MustCompile(`\{(.*?)\}`).ReplaceAllStringFunc(pattern, func(in string) string {
		name := strings.Trim(in, "{}")
		if name == "action" {
			return action
		}
		if samples[name] == "" {
			t.Errorf("%s: %s has no sample: add it, run this test with -update, and read what the matrix says", pattern, in)
		}
		return samples[name]
	})
	path, _, _ = strings.Cut(path, "?")
	return path
}

// sampled is one method of one route, with its sample.
type sampled struct {
	name   string // "PUT linkers/{name}"
	method string
	path   string
	route  arm.Route
	end    entry
	rule   rule
}

func everyRoute(t *testing.T, b *bench) []sampled {
	t.Helper()
	var list []sampled
	for name, e := range b.routes.byName {
		for key, m := range e.methods {
			method, action, _ := strings.Cut(key, " ")
			a := sampled{method: method, path: sampleOf(t, e.pattern, action), route: name, end: e, rule: m}
			a.name = method + " " + strings.Replace(string(name), "{action}", action, 1)
			got, err := b.routes.paths.Parse(a.path)
			if err != nil || got.Route != name {
				t.Errorf("the sample of %s leads to %s: %v", name, got.Route, err)
			}
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b sampled) int {
		if d := strings.Compare(string(a.route), string(b.route)); d != 0 {
			return d
		}
		return strings.Compare(a.name, b.name)
	})
	return list
}

// version is the api-version that a route wants.
func (a sampled) version() string {
	if a.rule.of != anyVersion && a.rule.of != ours {
		return "2024-07-01-preview"
	}
	return "2026-11-01"
}

// settle puts something at each of the samples, and beside them in another
// group and in another tenant.
func settle(t *testing.T, b *bench) {
	t.Helper()
	for i, rg := range []string{testRG, sideRG, otherRG} {
		web, db := patchbay.ID(rg+"/providers/Microsoft.Web/sites/web"), patchbay.ID(rg+"/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders")
		for _, id := range []patchbay.ID{web, db} {
			b.fake.resources[id.Key()] = patchbay.Resource{ID: id, Driver: "envfile", State: patchbay.Succeeded}
		}
		for _, id := range []patchbay.ID{web.Linker("db"), patchbay.ID(rg).Location("local").Local("db")} {
			if _, err := b.fake.Put(t.Context(), connector.PutRequest{ID: id, Caller: connector.Trusted("test"), Spec: patchbay.Spec{
				Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: db + "/databases/app"},
			}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []patchbay.ID{web + "/providers/Microsoft.ServiceLinker/dryruns/db", patchbay.ID(rg).Location("local") + "/dryruns/db"} {
			if _, _, err := b.fake.PutDryrun(t.Context(), connector.DryrunRequest{ID: id, Caller: connector.Trusted("test")}); err != nil {
				t.Fatal(err)
			}
		}
		b.fake.leftovers = append(b.fake.leftovers, patchbay.Leftover{ID: fmt.Sprintf("op-%d.revoke", 2*i+1), Connection: web.Linker("db"), Resource: db})
	}
}

// placed is a caller of the matrix.
type placed struct {
	name    string
	role    string // "" is none
	scope   patchbay.ID
	tenant  string
	subject patchbay.Subject
}

// callers are each built-in role in scope, out of it, and in another tenant,
// one that has no role, and nobody.
func callers(p *people) []placed {
	short := map[string]string{"Reader": "reader", "Connection Secrets Reader": "secrets", "Service Connector Contributor": "linkers", "Contributor": "contributor", "Owner": "owner"}
	list := []placed{{name: "nobody"}, {name: "none", tenant: testTenant}}
	for _, d := range access.Builtin() {
		n := short[d.Name]
		list = append(list,
			placed{name: n + "@tenant", role: d.ID, scope: patchbay.RootScope, tenant: testTenant},
			placed{name: n + "@group", role: d.ID, scope: testRG, tenant: testTenant},
			placed{name: n + "@beside", role: d.ID, scope: sideRG, tenant: testTenant},
			placed{name: n + "@other", role: d.ID, scope: patchbay.RootScope, tenant: otherTenant})
	}
	for i, c := range list {
		if c.tenant == "" {
			continue
		}
		list[i].subject = p.caller(c.name, c.tenant)
		if c.role != "" {
			p.give(list[i].subject, c.role, c.scope)
		}
	}
	return list
}

// as makes the request as that caller.
func (b *bench) as(name, method, path, body string, header ...string) *httptest.ResponseRecorder {
	return b.send(method, path, body, append([]string{"Authorization", "Bearer token-of-" + name}, header...)...)
}

// oracle says what should come of a request, from the data of the roles alone
// and by means of its own: 200 stands for whatever an allowed request gets.
func oracle(t *testing.T, c placed, a sampled) int {
	t.Helper()
	if c.tenant == "" {
		return http.StatusUnauthorized
	}
	granted := func(action string) bool {
		for _, d := range access.Builtin() {
			if d.ID != c.role {
				continue
			}
			glob := func(list []string) bool {
				return slices.ContainsFunc(list, func(p string) bool {
					return regexp.MustCompile("(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$").MatchString(action)
				})
			}
			return glob(d.Actions) && !glob(d.NotActions)
		}
		return false
	}
	// What the request is about, and where the caller's role holds.
	known, err := newRoutes(table)
	if err != nil {
		t.Fatal(err)
	}
	path, _ := known.paths.Parse(a.path)
	about := path.Scope
	switch {
	case a.rule.held == byRecord:
		about = patchbay.ID(testWeb).Linker("db")
	case path.Linker != "":
		about = path.Linker
	case path.Dryrun != "":
		about = path.Dryrun
	}
	ours := c.tenant == testTenant
	atRoot := about == "" || about == patchbay.RootScope
	above := atRoot && c.scope == patchbay.RootScope ||
		!atRoot && ours && (c.scope == patchbay.RootScope || strings.HasPrefix(about.Key()+"/", c.scope.Key()+"/"))
	below := above || atRoot || ours && strings.HasPrefix(c.scope.Key()+"/", about.Key()+"/")

	has := func(action string, h hold) bool {
		switch h {
		case listed, signedIn:
			return true
		case anywhere:
			return granted(action)
		case inside:
			return below && granted(action)
		case atServer:
			return false
		}
		return above && granted(action)
	}
	seenFrom := atScope
	if a.end.container() {
		seenFrom = inside
	}
	switch h := a.rule.held; {
	case has(a.rule.action, h):
		return http.StatusOK
	case a.rule.action != a.end.reads && (h == atServer && granted(a.end.reads) || h != atServer && has(a.end.reads, seenFrom)):
		return http.StatusForbidden
	}
	return http.StatusNotFound
}

// TestAuthorization asks every method of every route as each caller, compares
// what comes with the oracle, and keeps it as a table that people can read.
func TestAuthorization(t *testing.T) {
	b, p := withPeople(t)
	settle(t, b)
	list := callers(p)
	var table strings.Builder
	table.WriteString("# What each caller gets, for every method of every route. The roles are assigned at the tenant, at\n" +
		"# the resource group that the request is about, at one beside it, and in another tenant. + is allowed;\n" +
		"# 3 is 403, for what it may read and not change; 4 is 404, as if there were nothing; 1 is 401.\n" +
		"# A list may be asked for and shows what its reader may read: how many there are is in the next table.\n")
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.name
		fmt.Fprintf(&table, "#   %s %s\n", string(columns[i]), c.name)
	}
	fmt.Fprintf(&table, "%-60s %s\n", "", columns[:len(list)])
	for _, a := range everyRoute(t, b) {
		row := ""
		for _, c := range list {
			p.heard()
			x := b.try(t, p, c, a)
			if want := oracle(t, c, a); x != want {
				t.Errorf("%s as %s: %d, want %d", a.name, c.name, x, want)
			}
			row += map[int]string{200: "+", 401: "1", 403: "3", 404: "4"}[x]
		}
		fmt.Fprintf(&table, "%-60s %s  %s\n", a.name, row, a.rule.action)
	}
	table.WriteString("\n# How many items a list has for each of them.\n")
	for _, a := range everyRoute(t, b) {
		if a.method != http.MethodGet {
			continue
		}
		if row, ok := b.counts(list, a); ok {
			fmt.Fprintf(&table, "%-60s %s\n", a.name, row)
		}
	}
	path := filepath.Join("testdata", "authorization.txt")
	if *update {
		if err := os.WriteFile(path, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if table.String() != string(want) {
		t.Errorf("who may do what is not what %s says; look at the difference after go test ./server -run TestAuthorization -update", path)
	}
}

var unlimited = Limits{Reads: -1, Writes: -1, TenantReads: -1, TenantWrites: -1, Strangers: -1}

// columns name the callers in the matrix.
const columns = "0-abcdefghijklmnopqrstuvwxyz"

// try makes the request on a server whose records are as settled, and says
// what the caller got: 200 for whatever is not a refusal.
func (b *bench) try(t *testing.T, p *people, c placed, a sampled) int {
	t.Helper()
	before := b.fake
	b.fake = newFake()
	b.fake.tenants, b.fake.subs, b.fake.groups = before.tenants, before.subs, map[string]patchbay.ResourceGroup{}
	for _, id := range []patchbay.ID{testRG, sideRG, otherRG} {
		b.fake.groups[id.Key()] = patchbay.ResourceGroup{ID: id, Location: "local"}
	}
	settle(t, b)
	b.api = b.fake
	b.refusals.flush(b.now()) // so that nothing is summed up
	w := b.as(c.name, a.method, a.path+"?api-version="+a.version(), "{}")
	refused := slices.DeleteFunc(p.heard(), func(e patchbay.AuditEntry) bool { return e.Result != patchbay.AuditRefused })
	switch {
	case len(refused) == 0 && w.Code != http.StatusUnauthorized && w.Code != http.StatusForbidden:
		return http.StatusOK
	case len(refused) != 1 || refused[0].Result != patchbay.AuditRefused || refused[0].Action == "":
		t.Errorf("%s as %s: a refusal with %d is %d lines in the audit log: %+v", a.name, c.name, w.Code, len(refused), refused)
	}
	return w.Code
}

// counts is how many items a list has for each caller.
func (b *bench) counts(list []placed, a sampled) (row string, isList bool) {
	for _, c := range list {
		w := b.as(c.name, a.method, a.path+"?api-version="+a.version(), "")
		var answer struct {
			Value []json.RawMessage `json:"value"`
		}
		switch {
		case w.Code != http.StatusOK:
			row += "."
		case json.Unmarshal(w.Body.Bytes(), &answer) == nil && answer.Value != nil:
			isList = true
			row += fmt.Sprint(min(len(answer.Value), 9))
		default:
			row += " "
		}
	}
	return row, isList
}

// TestWhatOneMayNotReadIsAsIfItWereAbsent compares, byte for byte, what callers
// are told of what is there and of what is not.
func TestWhatOneMayNotReadIsAsIfItWereAbsent(t *testing.T) {
	b, p := withPeople(t, func(o *Options) { o.Limits = unlimited })
	settle(t, b)
	compared := 0
	for _, c := range callers(p) {
		if c.tenant == "" {
			continue
		}
		for _, a := range everyRoute(t, b) {
			for there, absent := range map[string]string{"/web": "/wxy", "/db": "/dx", "/op-1": "/op-9", "/orders": "/ordxyz", "/rg": "/rx", testSub: sampleGUID} {
				path := strings.Replace(a.path, there, absent, 1)
				if a.route == "operationStatuses/{id}" {
					if there != "/op-1" {
						continue
					}
					path = strings.SplitN(arm.StatusPath(patchbay.Operation{ID: "op-9", Connection: testWeb}, "local"), "?", 2)[0]
				}
				if path == a.path || oracle(t, c, a) != http.StatusNotFound {
					continue
				}
				w1 := b.as(c.name, a.method, a.path+"?api-version="+a.version(), "{}")
				w2 := b.as(c.name, a.method, path+"?api-version="+a.version(), "{}")
				got := strings.ReplaceAll(w2.Body.String(), absent, there)
				if w1.Code != http.StatusNotFound || w2.Code != w1.Code || !equalButNames(w1.Body.String(), got, there, absent) || w1.Header().Get("Content-Type") != w2.Header().Get("Content-Type") {
					t.Errorf("%s as %s:\n%d %s\n%s for what is absent:\n%d %s", a.name, c.name, w1.Code, w1.Body, path, w2.Code, w2.Body)
				}
				compared++
			}
		}
	}
	if compared < 500 {
		t.Errorf("only %d pairs were compared", compared)
	}
}

// equalButNames compares two answers without the names that the two requests
// differ in.
func equalButNames(a, b, there, absent string) bool {
	strip := func(s string) string {
		for _, n := range []string{there, absent} {
			s = strings.ReplaceAll(s, strings.TrimPrefix(n, "/"), "…")
		}
		return s
	}
	return strip(a) == strip(b)
}

// connecting is a use case that asks its caller about the target, as the real
// one does.
type connecting struct {
	*fake
	target patchbay.ID
	acts   []patchbay.Act
}

func (c *connecting) Put(ctx context.Context, r connector.PutRequest) (connector.Begun, error) {
	if err := r.Caller.Allow(ctx, connector.ActionConnect, c.target); err != nil {
		return connector.Begun{}, err
	}
	c.acts = append(c.acts, patchbay.ActOf(ctx))
	return c.fake.Put(ctx, r)
}

// unsaid is a use case that answers a refusal at the target as it answers a
// target that is not there.
type unsaid struct{ connecting }

func (u *unsaid) Put(ctx context.Context, r connector.PutRequest) (connector.Begun, error) {
	begun, err := u.connecting.Put(ctx, r)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		err = patchbay.Errorf(patchbay.TargetNotFound, "there is no such target")
	}
	return begun, err
}

func TestARefusalAtTheTargetIsInTheLogWhateverIsAnswered(t *testing.T) {
	b, p := withPeople(t)
	settle(t, b)
	p.give(p.caller("web", testTenant), access.ServiceConnectorContributor, testWeb)
	b.api = &unsaid{connecting{fake: b.fake, target: otherPG}}
	w := b.as("web", "PUT", linkerDB, putDB)
	if lines := p.heard(); w.Code != http.StatusBadRequest || len(lines) != 1 || lines[0].Action != connector.ActionConnect || lines[0].Resource != otherPG {
		t.Errorf("%d %s, and in the log %+v", w.Code, w.Body, lines)
	}
}

func TestAConnectionAcrossTenantsNeedsATokenOfEach(t *testing.T) {
	b, p := withPeople(t)
	settle(t, b)
	web, db := p.caller("web", testTenant), p.caller("db", otherTenant)
	reads, stranger := p.caller("reads", otherTenant), p.caller("stranger", otherTenant)
	p.give(web, access.ServiceConnectorContributor, testWeb)
	p.give(web, access.ServiceConnectorContributor, testPG)
	p.give(db, access.ServiceConnectorContributor, otherPG)
	p.give(reads, access.Reader, otherPG)
	_ = stranger
	api := &connecting{fake: b.fake}
	b.api = api
	for _, tt := range []struct {
		name, target, auxiliary string
		want                    int
		tenants                 string
	}{
		{"its own", testPG, "", 201, testTenant},
		{"its own, with a needless token", testPG, "Bearer token-of-db", 201, testTenant + "," + otherTenant},
		{"the other's, without a token", otherPG, "", 404, ""},
		{"with one that may connect", otherPG, "Bearer token-of-db", 201, testTenant + "," + otherTenant},
		{"in any case, among others", otherPG, "bearer  token-of-web , BEARER token-of-db", 201, testTenant + "," + otherTenant},
		{"with one that may only read", otherPG, "Bearer token-of-reads", 403, ""},
		{"with one that may nothing", otherPG, "Bearer token-of-stranger", 404, ""},
		{"with its own again", otherPG, "Bearer token-of-web", 404, ""},
		{"with one that is no token", otherPG, "Bearer x", 401, ""},
		{"with one of another scheme", otherPG, "Basic token-of-db", 401, ""},
		{"with an empty one", otherPG, "Bearer token-of-db,", 401, ""},
		{"with too many", otherPG, "Bearer token-of-db, Bearer token-of-web, Bearer token-of-reads, Bearer token-of-stranger", 401, ""},
		{"with the admin token", otherPG, "Bearer " + b.Token().Reveal(), 401, ""},
	} {
		api.target, api.acts = patchbay.ID(tt.target+"/databases/app"), nil
		delete(b.fake.connections, patchbay.ID(testWeb).Linker("new").Key())
		p.heard()
		header := []string{}
		if tt.auxiliary != "" {
			header = []string{auxiliaryHeader, tt.auxiliary}
		}
		w := b.as("web", "PUT", testWeb+"/providers/Microsoft.ServiceLinker/linkers/new?api-version=2026-11-01", putDB, header...)
		got := ""
		for _, act := range api.acts {
			got = strings.Join(act.Tenants, ",")
		}
		if w.Code != tt.want || got != tt.tenants {
			t.Errorf("%s: %d %s, in the logs of %q", tt.name, w.Code, w.Body, got)
		}
		if lines := p.heard(); (tt.want == 201) != (len(lines) == 0) {
			t.Errorf("%s: %d lines in the audit log", tt.name, len(lines))
		}
		if strings.Contains(w.Body.String(), "token-of") {
			t.Errorf("%s: a token is in the answer", tt.name)
		}
		// It says whose right, or which token, is the one that is missing.
		if says := map[int]string{403: "reads (" + reads.ID, 401: auxiliaryHeader}[tt.want]; !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %s is not in %s", tt.name, says, w.Body)
		}
	}
	if strings.Contains(b.logs.String(), "token-of-") {
		t.Error("a token is in the log")
	}
}

func TestARouteWithoutAnActionIsRefusedAtTheStart(t *testing.T) {
	ok := func(*Server, *exchange) error { return nil }
	good := rule{"a/read", atScope, light, anyVersion, ok}
	for name, table := range map[string][]entry{
		"no action":      {{"x", "/x", asGET, methods{"GET": {"", atScope, light, anyVersion, ok}}}},
		"no answer":      {{"x", "/x", asGET, methods{"GET": {"a/read", atScope, light, anyVersion, nil}}}},
		"not visible":    {{"x", "/x", asGET, methods{"POST": {"a/action", atScope, light, anyVersion, ok}}}},
		"nothing":        {{"x", "/x", asGET, nil}},
		"twice":          {{"x", "/x", asGET, methods{"GET": good}}, {"x", "/y", asGET, methods{"GET": good}}},
		"unknown id":     {{"x", "{planet}/x", asGET, methods{"GET": good}}},
		"unknown word":   {{"x", "/x/{planet}", asGET, methods{"GET": good}}},
		"name of what":   {{"x", "{source}/{name}", asGET, methods{"GET": good}}},
		"needless words": {{"x", "/x", asGET, methods{"GET": good, "POST y": good}}},
	} {
		if _, err := newRoutes(table); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := newRoutes([]entry{{"x", "/x", asGET, methods{"GET": good}}}); err != nil {
		t.Error(err)
	}
}

func TestTheActSaysWhoAndFromWhere(t *testing.T) {
	b, p := withPeople(t)
	settle(t, b)
	who := p.caller("deployer", testTenant)
	p.give(who, access.Owner, "/")
	api := &connecting{fake: b.fake, target: testPG}
	b.api = api
	w := b.as("deployer", "PUT", testWeb+"/providers/Microsoft.ServiceLinker/linkers/new?api-version=2026-11-01", putDB)
	want := patchbay.Act{
		Caller: "deployer", ID: who.ID, Kind: who.Kind, Tenant: testTenant, Address: "192.0.2.1", Request: w.Header().Get("x-ms-request-id"),
		Action: "Microsoft.ServiceLinker/linkers/write", Tenants: []string{testTenant},
	}
	if len(api.acts) != 1 || fmt.Sprint(api.acts[0]) != fmt.Sprint(want) {
		t.Errorf("%+v", api.acts)
	}
	if got := b.fake.connections[patchbay.ID(testWeb).Linker("new").Key()]; got == nil || got.CreatedBy != "deployer" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(b.logs.String(), `"caller":"deployer"`) {
		t.Error("the log does not say who")
	}
}
