package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/identity"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/storetest"
)

// withIssuer is a server that signs principals in.
func withIssuer(t *testing.T, with ...func(*Options)) (*bench, *people, *identity.Service) {
	t.Helper()
	s, _ := issuing(t)
	b, p := withPeople(t, append(with, func(o *Options) { o.Issuer, o.Identity = s, s })...)
	return b, p, s
}

// issuing is an issuer, and the records that it is on.
func issuing(t *testing.T) (*identity.Service, *storetest.Memory) {
	t.Helper()
	records := storetest.NewMemory()
	if err := records.PutTenant(t.Context(), patchbay.Tenant{ID: otherTenant, DisplayName: "contoso"}); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := identity.New(t.Context(), identity.Options{Directory: records, Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, records
}

// ask makes a request that nobody has signed, with a form when there is one.
func (b *bench) ask(method, target, form string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://patchbay.test"+target, strings.NewReader(form))
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func TestSignInsAreAudited(t *testing.T) {
	b, log, s := withIssuer(t)
	p, secret, err := s.Create(t.Context(), identity.NewPrincipal{Tenant: otherTenant, Name: "deployer"})
	if err != nil {
		t.Fatal(err)
	}
	form := func(id, secret string) string {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}.Encode()
	}
	w := b.ask("POST", "/contoso/oauth2/v2.0/token", form(p.AppID, secret.Reveal()))
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	lines := log.heard()
	if len(lines) != 1 || lines[0].Result != patchbay.AuditSucceeded || lines[0].CallerID != p.ID || lines[0].Tenant != otherTenant ||
		lines[0].Action != "Patchbay.Connector/signIn/action" || lines[0].Address != "192.0.2.1" || lines[0].Request == "" {
		t.Errorf("%+v", lines)
	}
	w = b.ask("GET", "/providers/Patchbay.Connector/signIn", "", "Authorization", "Bearer "+answer.Token)
	if w.Code != 200 || !strings.Contains(w.Body.String(), p.ID) {
		t.Errorf("who it is: %d %s", w.Code, w.Body)
	}
	log.heard()

	if w := b.ask("POST", "/adfs/oauth2/token", form(p.AppID, "c4n4ry")); w.Code != 401 {
		t.Error(w.Code, w.Body)
	}
	lines = log.heard()
	if len(lines) != 1 || lines[0].Result != patchbay.AuditRefused || lines[0].Code != patchbay.Unauthenticated || lines[0].CallerID != p.ID {
		t.Errorf("%+v", lines)
	}
	// A principal of one tenant is in no other, and a flood is few lines.
	if w := b.ask("POST", "/33333333-3333-4333-8333-333333333333/oauth2/v2.0/token", form(p.AppID, secret.Reveal())); w.Code != 401 {
		t.Error(w.Code, w.Body)
	}
	refused := 0
	for range 100 {
		if w := b.ask("POST", "/adfs/oauth2/token", form("44444444-4444-4444-8444-444444444444", "c4n4ry")); w.Code == http.StatusTooManyRequests {
			refused++
			if w.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if lines := log.heard(); refused < 80 || len(lines) > 2*strangerLines {
		t.Errorf("%d of 100 slowed down, %d lines", refused, len(lines))
	}
	for _, s := range []string{"c4n4ry", secret.Reveal(), answer.Token} {
		if strings.Contains(b.logs.String(), s) {
			t.Errorf("%q is in the log", s)
		}
	}
}

// Strangers with random client ids, each from an address of its own, who never
// stop: who has a secret signs in, the first time and again, from anywhere.
func TestAFloodOfRandomClientsKeepsNobodyOut(t *testing.T) {
	b, _, s := withIssuer(t, func(o *Options) { o.TrustForwarded, o.Limits = true, unlimited })
	form := func(id, secret string) string {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}.Encode()
	}
	from := func(i int64) string { return fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255) }
	var strangers sync.WaitGroup
	var sent atomic.Int64
	over, stop := context.WithCancel(t.Context())
	begun := make(chan struct{})
	for range 200 {
		strangers.Go(func() {
			for over.Err() == nil {
				i := sent.Add(1)
				if i == 1000 {
					close(begun)
				}
				if w := b.ask("POST", "/adfs/oauth2/token", form(uuid.NewString(), "guess"), "X-Forwarded-For", from(i)); w.Code != 401 && w.Code != 429 {
					t.Errorf("a stranger: %d %s", w.Code, w.Body)
				}
			}
		})
	}
	defer strangers.Wait()
	defer stop()
	<-begun
	for i := range int64(6) {
		p, secret, err := s.Create(t.Context(), identity.NewPrincipal{Tenant: otherTenant, Name: fmt.Sprint("deployer ", i)})
		if err != nil {
			t.Fatal(err)
		}
		for j := range int64(3) {
			if w := b.ask("POST", "/adfs/oauth2/token", form(p.AppID, secret.Reveal()), "X-Forwarded-For", from(1<<20+10*i+j)); w.Code != 200 {
				t.Errorf("sign-in %d of client %d: %d %s", j, i, w.Code, w.Body)
			}
		}
	}
}

// A sign-in is a line of the audit log, and one that is remembered costs nothing
// else: it must not be the way to write lines without an end.
func TestSignInsThatSucceedAreWritesOfTheirPrincipal(t *testing.T) {
	b, log, s := withIssuer(t, func(o *Options) { o.Limits = Limits{Writes: 1} })
	form := map[string]string{}
	for _, name := range []string{"busy", "calm"} {
		p, secret, err := s.Create(t.Context(), identity.NewPrincipal{Tenant: otherTenant, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		form[name] = url.Values{"grant_type": {"client_credentials"}, "client_id": {p.AppID}, "client_secret": {secret.Reveal()}}.Encode()
	}
	codes := map[int]int{}
	for range 50 {
		w := b.ask("POST", "/adfs/oauth2/token", form["busy"])
		codes[w.Code]++
		if w.Code == http.StatusTooManyRequests && (w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "slow_down")) {
			t.Fatalf("%v %s", w.Header(), w.Body)
		}
	}
	if codes[200] < burstSeconds || codes[200]+codes[429] != 50 || codes[429] < 30 {
		t.Errorf("%v", codes)
	}
	if lines := log.heard(); len(lines) != codes[200]+1 {
		t.Errorf("%d lines of %v", len(lines), codes)
	}
	if w := b.ask("POST", "/adfs/oauth2/token", form["calm"]); w.Code != 200 {
		t.Errorf("another principal's: %d %s", w.Code, w.Body)
	}
}

func TestTokensAndSecretsInTheClearAreRefused(t *testing.T) {
	b, _, s := withIssuer(t, func(o *Options) { o.TrustForwarded = true })
	p, secret, err := s.Create(t.Context(), identity.NewPrincipal{Tenant: otherTenant, Name: "deployer"})
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {p.AppID}, "client_secret": {secret.Reveal()}}.Encode()
	token := "Bearer " + b.Token().Reveal()
	for _, c := range []struct {
		name, method, path, form string
		header                   []string
		status                   int
	}{
		{"a token, in the clear", "GET", "/subscriptions", "", []string{"Authorization", token, "X-Forwarded-Proto", "http"}, 401},
		{"another tenant's token", "GET", "/subscriptions", "", []string{"x-ms-authorization-auxiliary", token, "X-Forwarded-Proto", "http"}, 401},
		{"a secret", "POST", "/adfs/oauth2/token", form, []string{"X-Forwarded-Proto", "HTTP"}, 401},
		{"a token, from this machine", "GET", "/subscriptions", "", []string{"Authorization", token, "X-Forwarded-Proto", "http", "X-Forwarded-For", "127.0.0.1"}, 200},
		{"a token, encrypted", "GET", "/subscriptions", "", []string{"Authorization", token, "X-Forwarded-Proto", "https"}, 200},
		{"a secret, encrypted", "POST", "/adfs/oauth2/token", form, []string{"X-Forwarded-Proto", "https"}, 200},
		{"nothing secret", "GET", "/adfs/.well-known/openid-configuration", "", []string{"X-Forwarded-Proto", "http"}, 200},
	} {
		w := b.ask(c.method, c.path, c.form, c.header...)
		if w.Code != c.status || c.status == 401 && !strings.Contains(w.Body.String(), "plain HTTP") {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}

// What the operator does to a principal its tenant reads in its own log.
func TestATenantsLogTellsWhatIsDoneToItsPrincipals(t *testing.T) {
	issuer, records := issuing(t)
	b, _ := withPeople(t, func(o *Options) { o.Issuer = issuer })
	path := "/providers/Patchbay.Connector/principals/" + sampleGUID + "?api-version=2026-11-01"
	if err := records.PutPrincipal(t.Context(), patchbay.Principal{ID: sampleGUID, Tenant: otherTenant, Name: "x", Kind: patchbay.GroupPrincipal}, store.Absent); err != nil {
		t.Fatal(err)
	}
	tenant := otherTenant
	for i, c := range [][2]string{{"PATCH", `{"name":"y"}`}, {"DELETE", ""}} {
		if w := b.send(c[0], path, c[1]); w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", c[0], w.Code, w.Body)
		}
		lines, err := records.AuditEntries(t.Context(), store.AuditFilter{Tenant: &tenant}, 0, 10)
		if err != nil || len(lines) != i+1 || lines[i].Caller != operator.Name {
			t.Errorf("%s: %+v (%v)", c[0], lines, err)
		}
	}
}

// Who may do everything in a tenant finds nothing of another: not its
// principals, by whatever they are named, nor can it make or rename a tenant.
func TestAnOwnerOfATenantReachesNoOther(t *testing.T) {
	b, p, s := withIssuer(t)
	b.opts.Identity = p
	theirs, _, err := s.Create(t.Context(), identity.NewPrincipal{Tenant: otherTenant, Name: "deployer"})
	if err != nil {
		t.Fatal(err)
	}
	p.give(p.caller("owner", testTenant), access.Owner, "/")
	const principals = "/providers/Patchbay.Connector/principals"
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", principals + "?tenant=contoso", "", 404},
		{"GET", principals + "?tenant=" + otherTenant, "", 404},
		{"POST", principals + "?tenant=" + otherTenant, `{"name":"mole"}`, 404},
		{"GET", principals + "/" + theirs.ID, "", 404},
		{"GET", principals + "/" + theirs.AppID, "", 404},
		{"PATCH", principals + "/" + theirs.ID, `{"disabled":true}`, 404},
		{"POST", principals + "/" + theirs.ID + "/resetSecret", "{}", 404},
		{"DELETE", principals + "/" + theirs.ID, "", 204}, // as of one that is not there
		{"GET", "/v1.0/servicePrincipals/" + theirs.ID, "", 404},
		{"GET", "/providers/Patchbay.Connector/tenants/" + otherTenant, "", 404},
		{"PUT", "/providers/Patchbay.Connector/tenants/" + otherTenant, `{"displayName":"ours"}`, 404},
		{"PUT", "/providers/Patchbay.Connector/tenants/" + sampleGUID, `{"displayName":"new"}`, 404},
	} {
		path := c.path + "?api-version=2026-11-01"
		if strings.Contains(c.path, "?") {
			path = c.path + "&api-version=2026-11-01"
		}
		w := b.as("owner", c.method, path, c.body)
		if w.Code != c.status || strings.Contains(w.Body.String(), "deployer") || strings.Contains(w.Body.String(), "secret\"") {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
	if got, err := s.Get(t.Context(), otherTenant, theirs.ID); err != nil || got.Disabled || len(b.fake.tenants) != 2 || b.fake.tenants[1].DisplayName != "other" {
		t.Errorf("something changed: %+v (%v), %+v", got, err, b.fake.tenants)
	}
}

func TestPrincipalsOnTheWire(t *testing.T) {
	b, _, s := withIssuer(t)
	if w := b.send("POST", "/providers/Patchbay.Connector/principals?api-version=2026-11-01&tenant=nowhere", `{"name":"x"}`); w.Code != 404 {
		t.Error(w.Code, w.Body)
	}
	made := func(body string) map[string]any {
		w := b.send("POST", "/providers/Patchbay.Connector/principals?api-version=2026-11-01&tenant=contoso", body)
		var p map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 201 || w.Header().Get("ETag") == "" {
			t.Fatal(w.Code, w.Body)
		}
		return p
	}
	p := made(`{"name":"deployer","expires":"2099-01-01T00:00:00Z"}`)
	path := "/providers/Patchbay.Connector/principals/" + p["id"].(string)
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
		want               string
	}{
		{"GET", path, "", nil, 200, `"deployer"`},
		{"GET", "/providers/Patchbay.Connector/principals/" + p["appId"].(string), "", nil, 200, `"deployer"`},
		{"PATCH", path, `{"name":"ci"}`, nil, 200, `"ci"`},
		{"PATCH", path, `{"disabled":true}`, []string{"If-Match", `"old"`}, 412, ""},
		{"PATCH", path, `{"roles":[]}`, nil, 400, "roles"},
		{"PATCH", path, `{"disabled":true}`, nil, 200, `"disabled":true`},
		{"POST", path + "/resetSecret", "", nil, 200, `"secret":`},
		{"POST", path + "/resetSecret", `{"append":true,"expires":"soon"}`, nil, 400, "expires"},
		{"DELETE", path, "", nil, 200, ""},
		{"DELETE", path, "", nil, 204, ""},
		{"GET", path, "", nil, 404, "there is no principal"},
	} {
		w := b.send(c.method, c.path+"?api-version=2026-11-01", c.body, c.header...)
		text := strings.ReplaceAll(w.Body.String(), `": `, `":`)
		if w.Code != c.status || !strings.Contains(text, c.want) || strings.Contains(text, "argon2") {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, w.Code, text)
		}
		if c.method != "POST" && strings.Contains(text, `"secret":`) {
			t.Errorf("%s %s shows a secret", c.method, c.path)
		}
	}
	if list, _, err := s.List(t.Context(), "", "", 10); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
}

func TestNamesAndIDsAreFoundAsInGraph(t *testing.T) {
	b, _, s := withIssuer(t)
	p, _, err := s.Create(t.Context(), identity.NewPrincipal{Tenant: otherTenant, Name: "deployer"})
	if err != nil {
		t.Fatal(err)
	}
	filter := func(f string) string { return "?$filter=" + url.QueryEscape(f) }
	for _, c := range []struct {
		method, path, body string
		status             int
		found              bool
	}{
		{"GET", "/v1.0/servicePrincipals" + filter("servicePrincipalNames/any(c:c eq '"+p.AppID+"')"), "", 200, true},
		{"GET", "/v1.0/servicePrincipals" + filter("displayName eq 'Deployer'"), "", 200, true},
		{"GET", "/v1.0/servicePrincipals" + filter("displayName eq 'it''s'"), "", 200, false},
		{"GET", "/v1.0/servicePrincipals" + filter("displayName eq ''"), "", 200, false},
		{"GET", "/v1.0/servicePrincipals" + filter("nonsense"), "", 400, false},
		{"GET", "/v1.0/users" + filter("userPrincipalName eq 'deployer'"), "", 200, false},
		{"GET", "/v1.0/servicePrincipals/" + p.ID, "", 200, true},
		{"GET", "/v1.0/servicePrincipals/nobody", "", 404, false},
		{"POST", "/v1.0/directoryObjects/getByIds", `{"ids":["` + p.ID + `","nobody"],"types":["user"]}`, 200, true},
		{"POST", "/v1.0/directoryObjects/getByIds", `[]`, 400, false},
		{"DELETE", "/v1.0/servicePrincipals/" + p.ID, "", 405, false},
	} {
		w := b.send(c.method, c.path, c.body)
		if w.Code != c.status || strings.Contains(w.Body.String(), `"deployer"`) != c.found {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
	if w := b.ask("GET", "/v1.0/servicePrincipals", ""); w.Code != 401 {
		t.Error("without a token:", w.Code)
	}
}

func TestGraphAnswersSoManyAndOfTheKindThatIsAskedFor(t *testing.T) {
	issuer, records := issuing(t)
	b, _ := withPeople(t, func(o *Options) { o.Issuer = issuer })
	id := func(i int) string { return fmt.Sprintf("50000000-0000-0000-0000-%012x", i) }
	ids := make([]string, maxGraphIDs+1)
	for i := range ids {
		ids[i] = id(i)
		if err := records.PutPrincipal(t.Context(), patchbay.Principal{ID: id(i), Tenant: otherTenant, Name: id(i), Kind: patchbay.GroupPrincipal}, store.Absent); err != nil {
			t.Fatal(err)
		}
	}
	var page struct{ Value []json.RawMessage }
	w := b.send("GET", "/v1.0/groups", "")
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != http.StatusOK || len(page.Value) != maxGraphIDs {
		t.Errorf("%d, %d groups (%v)", w.Code, len(page.Value), err)
	}
	if w := b.send("GET", "/v1.0/servicePrincipals/"+id(1), ""); w.Code != http.StatusNotFound {
		t.Errorf("a group as a service principal: %d %s", w.Code, w.Body)
	}
	for n, status := range map[int]int{maxGraphIDs: http.StatusOK, maxGraphIDs + 1: http.StatusBadRequest} {
		body, _ := json.Marshal(map[string]any{"ids": ids[:n]})
		if w := b.send("POST", "/v1.0/directoryObjects/getByIds", string(body)); w.Code != status {
			t.Errorf("%d ids: %d", n, w.Code)
		}
	}
}

// Who may not read principals is told nothing by Graph's routes either, and
// nobody is told of another tenant's.
func TestGraphIsForWhoMayReadPrincipals(t *testing.T) {
	b, p, s := withIssuer(t)
	b.opts.Identity = p
	deployer, _, err := s.Create(t.Context(), identity.NewPrincipal{Tenant: otherTenant, Name: "deployer"})
	if err != nil {
		t.Fatal(err)
	}
	reader, nobody := p.caller("reader", otherTenant), p.caller("nobody", otherTenant)
	elsewhere := p.caller("elsewhere", testTenant)
	p.give(reader, access.Reader, "/")
	p.give(elsewhere, access.Owner, "/")
	for _, c := range []struct {
		who    patchbay.Subject
		status int
		found  bool
	}{{reader, 200, true}, {nobody, 200, false}, {elsewhere, 200, false}} {
		w := b.ask("GET", "/v1.0/servicePrincipals", "", "Authorization", "Bearer token-of-"+c.who.Name)
		if w.Code != c.status || strings.Contains(w.Body.String(), "deployer") != c.found {
			t.Errorf("%s: %d %s", c.who.Name, w.Code, w.Body)
		}
	}
	// Who was told an id may ask whose it is: az does, whenever it makes a
	// connection with a service principal.
	filter := func(value string) string {
		return "/v1.0/servicePrincipals?$filter=" + url.QueryEscape("servicePrincipalNames/any(c:c eq '"+value+"')")
	}
	for _, c := range []struct {
		who    patchbay.Subject
		path   string
		status int
		found  bool
	}{
		{nobody, filter(deployer.AppID), 200, true}, {nobody, filter(deployer.ID), 200, true}, {nobody, filter("deployer"), 200, false},
		{nobody, filter(""), 200, false}, {nobody, filter("50000000-0000-0000-0000-000000000000"), 200, false},
		{nobody, filter("deployer") + url.QueryEscape(" or x eq '50000000-0000-0000-0000-000000000000'"), 200, false},
		{nobody, "/v1.0/servicePrincipals/" + deployer.ID, 200, true}, {nobody, "/v1.0/servicePrincipals/deployer", 404, false},
		{nobody, "/v1.0/users?$filter=" + url.QueryEscape("id eq '"+deployer.ID+"'"), 404, false},
		{elsewhere, filter(deployer.AppID), 200, false}, {elsewhere, "/v1.0/servicePrincipals/" + deployer.ID, 404, false},
	} {
		w := b.ask("GET", c.path, "", "Authorization", "Bearer token-of-"+c.who.Name)
		if w.Code != c.status || strings.Contains(w.Body.String(), `"displayName":"deployer"`) != c.found {
			t.Errorf("%s %s: %d %s", c.who.Name, c.path, w.Code, w.Body)
		}
	}
}
