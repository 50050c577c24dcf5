package server

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/sqlite"
)

// effect is what one method of one route can make happen, and whose right to it is
// asked. Every method that is no GET has one: whoever adds one says it here.
type effect struct {
	source, target, elsewhere string // "" is nothing
	// also is what is asked besides the route's own action.
	also string
	// again is when rights are asked once more.
	again string
	// try makes the request in a world; nil: its effect is on records alone, and
	// what it asks is in the other table.
	try func(w *effects) *httptest.ResponseRecorder
	// made says that the connection is there before.
	made bool
	// What should be seen of it, for the oracle: which end it changes, and whether
	// it needs the target, and is stopped when its right at the connection is gone.
	changes            string // of S, T
	connects, rechecks bool
}

const (
	connectAtTarget = "connect at the target, or at the source for an endpoint"
	beforeEffects   = "before each effect, up to the point of no return"
	neverAgain      = "never: it ends with its answer"
)

// linkerEffects are those of a connection's routes, of both kinds of connection.
func linkerEffects() map[string]effect {
	const written, login = "settings, restart", "a login of its own, probed"
	put := func(body string) func(*effects) *httptest.ResponseRecorder {
		return func(w *effects) *httptest.ResponseRecorder { return w.ask("PUT", "", body) }
	}
	own := func(action, body string) func(*effects) *httptest.ResponseRecorder {
		return func(w *effects) *httptest.ResponseRecorder {
			return w.ask("POST", "/providers/Patchbay.Connector/"+action, body)
		}
	}
	return map[string]effect{
		"PUT": {source: written, target: login, also: connectAtTarget, again: beforeEffects,
			try: put(crossing("writer", "")), changes: "ST", connects: true, rechecks: true},
		"PATCH": {source: written, target: login + "; the old one goes", also: connectAtTarget, again: beforeEffects, made: true,
			try:     func(w *effects) *httptest.ResponseRecorder { return w.ask("PATCH", "", crossing("reader", "")) },
			changes: "ST", connects: true, rechecks: true},
		"DELETE": {source: "settings go, restart", target: "its own login goes, whether or not its caller may connect there: what is ours is taken away",
			again: "at its begin, the right to delete", made: true,
			try: func(w *effects) *httptest.ResponseRecorder { return w.ask("DELETE", "", "") }, changes: "ST", rechecks: true},
		"POST rotate": {source: written, target: login + "; the old one goes", also: connectAtTarget, again: beforeEffects, made: true,
			try: own("rotate", "{}"), changes: "ST", connects: true, rechecks: true},
		"POST validate with fix": {source: written, target: "its own login, probed", also: "write at the connection; " + connectAtTarget, again: beforeEffects, made: true,
			try: func(w *effects) *httptest.ResponseRecorder {
				w.ends.lose() // somebody has removed login and settings
				return own("validate", `{"fix":true}`)(w)
			}, changes: "ST", connects: true, rechecks: true},
		"POST validate": {target: "is looked at and signed in to, as the connection", again: "never: it changes nothing", made: true,
			try: own("validate", "{}")},
		"POST preview": {target: "is looked at", also: connectAtTarget, again: neverAgain, try: own("preview", crossing("writer", "")), connects: true},
		"POST listconfigurations": {elsewhere: "hands out the connection's secrets", again: neverAgain, made: true,
			try: func(w *effects) *httptest.ResponseRecorder { return w.ask("POST", "/listConfigurations", "") }},
		"POST generateconfigurations": {target: "is looked at", elsewhere: "hands out the connection's secrets", again: neverAgain, made: true,
			try: func(w *effects) *httptest.ResponseRecorder { return w.ask("POST", "/generateConfigurations", "{}") }},
	}
}

// crossing is a connection whose target is the other tenant's.
func crossing(access, name string) string {
	return `{"properties":{"targetService":{"type":"AzureResource","id":"` + otherPG + name + `/databases/app"},"authInfo":{"authType":"secret"},"patchbay":{"access":"` + access + `"}}}`
}

// otherEffects are those of all other routes, by their names in the first table.
var otherEffects = map[string]effect{
	"POST Patchbay.Connector/operations/{id}/cancel":      {source: "what the operation did is put back", target: "the login that it made goes", again: neverAgain},
	"POST Patchbay.Connector/operations/{id}/retry":       {source: "the next step of the operation at once", target: "the same", again: "as the operation: for whom it acts, not for who asks to retry"},
	"POST Patchbay.Connector/operations/{id}/abandon":     {elsewhere: "what it leaves behind becomes leftovers", again: neverAgain},
	"DELETE Patchbay.Connector/leftovers/{id}":            {elsewhere: "what it names stays where it is; only a sweep finds it", again: neverAgain},
	"POST Graph/directoryObjects/getByIds":                {elsewhere: "nothing: it is how az reads names", again: neverAgain},
	"POST Patchbay.Connector/sweep":                       {target: "leftovers, and logins with our mark that no connection has, go", source: "leftovers go", also: "the operator alone", again: neverAgain},
	"POST Patchbay.Connector/events/test":                 {elsewhere: "an event at the receiver that the operator named", also: "the operator alone", again: neverAgain},
	"PUT dryruns/{name}":                                  {source: "is looked at", target: "is looked at, by who may connect it", elsewhere: "stores what was seen", also: "write at the connection and " + connectAtTarget + ": what is missing is noted", again: neverAgain},
	"PATCH dryruns/{name}":                                {source: "is looked at", target: "is looked at, by who may connect it", elsewhere: "stores what was seen", also: "write at the connection and " + connectAtTarget + ": what is missing is noted", again: neverAgain},
	"DELETE dryruns/{name}":                               {elsewhere: "the dryrun goes", again: neverAgain},
	"POST Patchbay.Connector/environment":                 {elsewhere: "hands out all settings of the source", again: neverAgain},
	"POST Patchbay.Connector/check":                       {source: "its host is looked at", also: "the same again, where it is done", again: neverAgain},
	"POST Patchbay.Connector/rotateAdmin":                 {target: "its administrator gets another credential", elsewhere: "the stored admin credential", again: "before its effect on the target"},
	"POST Patchbay.Connector/discover":                    {source: "its host and its engine are looked at", also: "use the host, of a registered one or at the group", again: neverAgain},
	"POST Patchbay.Connector/takeCredential":              {source: "its host and its engine are looked at", target: "is looked at, with the admin credential that its image keeps", elsewhere: "a resource, with that credential", also: "use the host, of a registered one or at the group, and write at the resource", again: neverAgain},
	"PUT {resource}":                                      {source: "is looked at", target: "is looked at, with the admin credential that is given or stored", elsewhere: "where connections of it go from now on", also: "use the host, for a source and for a host itself, or to keep an admin credential where anything but tags changes", again: neverAgain},
	"PATCH {resource}":                                    {source: "is looked at", target: "is looked at, with the admin credential that is given or stored", elsewhere: "where connections of it go from now on", also: "use the host, for a source and for a host itself, or to keep an admin credential where anything but tags changes", again: neverAgain},
	"DELETE {resource}":                                   {elsewhere: "roles and dryruns at it go with it; refused while a connection has it", again: neverAgain},
	"PUT resourceGroups/{rg}":                             {elsewhere: "a group to put things in", again: neverAgain},
	"PATCH resourceGroups/{rg}":                           {elsewhere: "its tags", again: neverAgain},
	"DELETE resourceGroups/{rg}":                          {elsewhere: "roles and dryruns in it go with it; refused while anything else is in it", again: neverAgain},
	"PUT subscriptions/{s}":                               {elsewhere: "a subscription, or its name", again: neverAgain},
	"POST providers/{namespace}/register":                 {again: neverAgain},
	"POST providers/{namespace}/unregister":               {again: neverAgain},
	"POST {site}/config/{name}/list":                      {again: neverAgain},
	"POST {site}/publishxml":                              {again: neverAgain},
	"PUT roleAssignments/{id}":                            {elsewhere: "what its principal may do from now on", again: neverAgain},
	"DELETE roleAssignments/{id}":                         {elsewhere: "what its principal may do from now on, in operations that wait too", again: neverAgain},
	"PUT roleDefinitions/{id}":                            {elsewhere: "what those may do who have the role", also: "the same at each scope that it has or had", again: neverAgain},
	"DELETE roleDefinitions/{id}":                         {elsewhere: "the role goes; refused while it is assigned", also: "the same at each of its scopes", again: neverAgain},
	"POST Patchbay.Connector/principals":                  {elsewhere: "a caller, with its secret", again: neverAgain},
	"PATCH Patchbay.Connector/principals/{id}":            {elsewhere: "a disabled one is nobody, in operations that wait too", again: neverAgain},
	"DELETE Patchbay.Connector/principals/{id}":           {elsewhere: "its tokens and roles end, in operations that wait too", again: neverAgain},
	"POST Patchbay.Connector/principals/{id}/resetsecret": {elsewhere: "a new secret; unless it is added, older tokens end, in operations that wait too", again: neverAgain},
	"PUT Patchbay.Connector/tenants/{id}":                 {elsewhere: "a tenant, or its name", again: neverAgain},
	"POST Patchbay.Connector/audit/verify":                {elsewhere: "reads the whole audit log", again: neverAgain},
}

// circumstances are what is true of the caller's two ends, and since when.
var circumstances = []struct {
	name string
	// without leaves the other tenant's token out.
	without bool
	// before and waiting change rights before the request, and while what it began
	// waits.
	before, waiting func(*effects)
	// What the oracle goes by: which end's right is missing, and from when.
	target, connection, later bool
}{
	{name: "may at both ends"},
	{name: "brings no token of the target's tenant", without: true, target: true},
	{name: "the target's role was taken away before", before: func(w *effects) { w.take("db") }, target: true},
	{name: "the target's role is taken away while it waits", waiting: func(w *effects) { w.take("db") }, target: true, later: true},
	{name: "the target's principal is disabled while it waits", waiting: func(w *effects) { w.disable("db") }, target: true, later: true},
	{name: "the connection's role was taken away before", before: func(w *effects) { w.take("web") }, connection: true},
	{name: "the connection's role is taken away while it waits", waiting: func(w *effects) { w.take("web") }, connection: true, later: true},
	{name: "the connection's principal is deleted while it waits", waiting: func(w *effects) { w.remove("web") }, connection: true, later: true},
}

// shouldSee is the oracle: what comes of a request, from what it needs alone.
func shouldSee(e effect, without, target, connection, later bool) string {
	runs := strings.Contains(e.again, "before each") || strings.Contains(e.again, "at its begin") || strings.Contains(e.again, "changes nothing")
	switch {
	case target && e.connects && !later && without:
		return "hidden"
	case target && e.connects && !later, connection && !later:
		return "refused"
	case runs && later && (target && e.connects || connection && e.rechecks):
		return "stopped"
	}
	return "+" + e.changes
}

// TestWhatEveryActionCanDo makes each request that reaches a source and a target
// of two tenants, in each of the circumstances, on the real use cases, and keeps
// what came of it with what every action can do.
func TestWhatEveryActionCanDo(t *testing.T) {
	var table strings.Builder
	table.WriteString("# What every action can make happen, and whose right to it is asked; what comes of it when that right\n" +
		"# is missing, or goes. The source is one tenant's, the target another's; + is done, with what it changed\n" +
		"# (S: the source, T: logins of the target); refused is AuthorizationFailed, and hidden the answer to a\n" +
		"# target that is not there; stopped: it began, waited, and was undone with AuthorizationFailed, both\n" +
		"# ends as they were.\n")
	for i, c := range circumstances {
		fmt.Fprintf(&table, "#   %d %s\n", i+1, c.name)
	}
	b, _ := withPeople(t)
	settle(t, b)
	said := map[string]bool{}
	var rows []string
	for _, a := range everyRoute(t, b) {
		if a.method == http.MethodGet || a.method == http.MethodHead {
			continue
		}
		for name, e := range effectsOf(a.name) {
			said[name] = true
			row := fmt.Sprintf("\n%s\n  asks      %s", name, a.rule.action)
			for _, part := range [][2]string{{"and", e.also}, {"again", e.again}, {"source", e.source}, {"target", e.target}, {"elsewhere", e.elsewhere}} {
				if part[1] != "" {
					row += fmt.Sprintf("\n  %-9s %s", part[0], part[1])
				}
			}
			if e.try != nil {
				row += "\n  seen     "
				for i, c := range circumstances {
					local := strings.Contains(a.name, "connectors/")
					if local && c.later {
						continue // a connector waits for nothing
					}
					got := tryEffect(t, e, i, local)
					if want := shouldSee(e, c.without, c.target, c.connection, c.later); got != want {
						t.Errorf("%s, %s: %s, want %s", name, c.name, got, want)
					}
					row += fmt.Sprintf(" %d %s", i+1, got)
				}
			}
			rows = append(rows, row+"\n")
		}
		if len(effectsOf(a.name)) == 0 {
			t.Errorf("nobody says what %s can do: add it to the effects, run this test with -update, and read what the table says", a.name)
		}
	}
	for name := range otherEffects {
		if !said[name] {
			t.Errorf("there is no route %s", name)
		}
	}
	slices.Sort(rows)
	table.WriteString(strings.Join(rows, ""))
	path := filepath.Join("testdata", "effects.txt")
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
		t.Errorf("what actions can do is not what %s says; look at the difference after go test ./server -run TestWhatEveryActionCanDo -update", path)
	}
}

// effectsOf are the effects of a route's method: of our own validate there are
// two, with and without a fix.
func effectsOf(route string) map[string]effect {
	if e, ok := otherEffects[route]; ok {
		return map[string]effect{route: e}
	}
	if e, ok := otherEffects[strings.Replace(route, "locations/dryruns", "dryruns", 1)]; ok {
		return map[string]effect{route: e}
	}
	method, path, _ := strings.Cut(route, " ")
	if !strings.HasPrefix(path, "linkers/{name}") && !strings.HasPrefix(path, "connectors/{name}") {
		return nil
	}
	verb := path[strings.LastIndex(path, "/")+1:]
	key := method
	if method == http.MethodPost {
		key += " " + strings.TrimSuffix(verb, "linker")
	}
	e, ok := linkerEffects()[key]
	if !ok {
		return nil
	}
	list := map[string]effect{route: e}
	if strings.HasSuffix(path, "Patchbay.Connector/validate") {
		list[route+" with fix"] = linkerEffects()[key+" with fix"]
	}
	if strings.HasPrefix(path, "connectors/") { // which have no source
		for name, e := range list {
			e.source, e.changes = "", strings.TrimPrefix(e.changes, "S")
			list[name] = e
		}
	}
	return list
}

// tryEffect is what comes of a request in a world of its own.
func tryEffect(t *testing.T, e effect, circumstance int, local bool) string {
	t.Helper()
	w := newEffects(t)
	if local {
		w.connection = patchbay.ID(testRG).Location("local").Local("db")
	}
	c := circumstances[circumstance]
	if e.made {
		w.finish(w.ask("PUT", "", crossing("writer", "")))
	}
	if c.without {
		w.token = ""
	}
	if c.before != nil {
		c.before(w)
	}
	release := w.block()
	before := w.ends.String()
	if strings.Contains(e.also, "write at the connection;") {
		before = "" // what somebody else has removed is not what it is compared with
	}
	answer := e.try(w)
	if before == "" {
		before = w.ends.String()
	}
	hidden := strings.Contains(answer.Body.String(), string(patchbay.TargetNotFound)) // in a preview it is a finding
	if hidden || answer.Code == http.StatusForbidden {
		release()
		if now := w.ends.String(); now != before {
			t.Errorf("refused, it left\n%s\nof\n%s", now, before)
		}
		return map[bool]string{true: "hidden", false: "refused"}[hidden]
	}
	if answer.Code >= 300 {
		t.Fatalf("%s: %d %s", c.name, answer.Code, answer.Body)
	}
	if c.waiting != nil {
		c.waiting(w)
	}
	release()
	op := w.ended()
	changed := ""
	was, is := strings.Split(before, "\n"), strings.Split(w.ends.String(), "\n")
	for i, end := range []string{"S", "T"} {
		if was[i] != is[i] {
			changed += end
		}
	}
	switch {
	case op.State == patchbay.Undone && patchbay.CodeOf(op.Error) == patchbay.Forbidden && changed == "":
		if !strings.Contains(op.Error.Message, "nothing was changed") {
			t.Errorf("%q does not say that nothing was changed", op.Error.Message)
		}
		return "stopped"
	case op.State != patchbay.Done:
		t.Fatalf("%s: %s %v", c.name, op.State, op.Error)
	}
	return "+" + changed
}

// effects is a server over the real use cases, with a source of one tenant and a
// target of another in memory.
type effects struct {
	*bench
	t       *testing.T
	api     *connector.Service
	records effectRecords
	control *access.Control
	ends    *ends
	token   string // of the target's tenant
	// connection is the one that requests are about.
	connection patchbay.ID
}

// effectRecords are what the use cases and their callers' roles are kept in.
type effectRecords interface {
	connector.Records
	saga.Store
	store.Roles
	Close() error
}

// Verify knows the principals by their names, as long as they may sign in.
func (w *effects) Verify(ctx context.Context, token patchbay.Secret, _ string) (patchbay.Subject, error) {
	name := strings.TrimPrefix(token.Reveal(), "token-of-")
	p, err := w.records.PrincipalByApp(ctx, name)
	if err != nil || p.Disabled {
		return patchbay.Subject{}, patchbay.Errorf(patchbay.Unauthenticated, "the token is not good")
	}
	return patchbay.Subject{ID: p.ID, AppID: p.AppID, Tenant: p.Tenant, Name: p.Name, Kind: p.Kind, TokensFrom: p.TokensFrom}, nil
}

func (w *effects) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

var effectPrincipals = map[string]string{"web": "50000000-0000-0000-0000-000000000001", "db": "50000000-0000-0000-0000-000000000002"}

func newEffects(t *testing.T) *effects {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	w := &effects{t: t, token: "Bearer token-of-db", connection: patchbay.ID(testWeb).Linker("db"), ends: &ends{logins: map[string]bool{}, settings: map[string]patchbay.Secret{}}}
	var err error
	w.records, err = sqlite.Open(ctx, filepath.Join(dir, "db"), sqlite.Options{})
	w.must(err)
	t.Cleanup(func() { _ = w.records.Close() })
	keys, err := keyring.Load(filepath.Join(dir, "key"))
	w.must(err)
	for tenant, rg := range map[string]patchbay.ID{testTenant: testRG, otherTenant: otherRG} {
		w.must(w.records.PutTenant(ctx, patchbay.Tenant{ID: tenant, DisplayName: tenant}))
		w.must(w.records.PutSubscription(ctx, patchbay.Subscription{ID: rg.Subscription(), TenantID: tenant}))
		w.must(w.records.PutResourceGroup(ctx, patchbay.ResourceGroup{ID: rg, Location: "local"}))
	}
	w.control, err = access.New(ctx, access.Options{Roles: w.records, Places: w.records, People: w.records})
	w.must(err)
	w.api = connector.New(connector.Options{
		Records: w.records, Keys: keys, Overlap: time.Millisecond, Log: slog.New(slog.DiscardHandler), Rights: w.control,
		Catalog: driver.Catalog{
			Targets: map[string]driver.TargetDriver{"memory": {
				Driver: patchbay.Driver{
					Name: "memory", Types: []string{"Microsoft.DBforPostgreSQL/flexibleServers"},
					Logins: &patchbay.Logins{Auths: []patchbay.AuthType{patchbay.AuthSecret}, Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer}},
				},
				Kind: "postgresql", Children: []string{"databases"},
				Open: func(_ context.Context, c driver.Config) (driver.Target, error) {
					return &targetEnd{ends: w.ends, slow: strings.HasSuffix(string(c.ID), "slow")}, nil
				},
				Probe: letIn,
			}},
			Sources: map[string]driver.SourceDriver{"app": {
				Driver: patchbay.Driver{Name: "app", Types: []string{"Microsoft.Web/sites"}},
				Open:   func(context.Context, driver.Config) (driver.Source, error) { return sourceEnd{w.ends}, nil },
			}},
		},
	})
	engine, err := saga.New(w.records, w.api.Workflows(), saga.Options{DrainTimeout: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	w.api.Bind(engine)
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		w.api.Close()
	})
	w.bench = newBench(t, func(o *Options) { o.Identity, o.Access = w, w.control })
	w.bench.Server.api = w.api
	admin := connector.Trusted("admin")
	for _, id := range []patchbay.ID{testWeb, otherPG, otherPG + "slow"} {
		_, _, _, err := w.api.PutResource(ctx, connector.ResourceRequest{Resource: patchbay.Resource{ID: id}, Caller: admin})
		w.must(err)
	}
	for i, c := range []struct {
		name, tenant string
		role         string
		scope        patchbay.ID
	}{
		{"web", testTenant, access.ServiceConnectorContributor, testRG}, {"web", testTenant, access.Reader, patchbay.RootScope},
		{"db", otherTenant, access.ServiceConnectorContributor, otherPG}, {"db", otherTenant, access.Reader, patchbay.RootScope},
	} {
		id := effectPrincipals[c.name]
		w.must(w.records.PutPrincipal(ctx, patchbay.Principal{ID: id, AppID: c.name, Tenant: c.tenant, Name: c.name, Kind: patchbay.ServicePrincipal}, ""))
		w.must(w.records.PutRoleAssignment(ctx, patchbay.RoleAssignment{ID: c.name + fmt.Sprint(i%2), Tenant: c.tenant, Scope: c.scope, Role: c.role, Principal: id}, true))
	}
	return w
}

// take takes the role away with which that principal may do more than read.
func (w *effects) take(name string) {
	w.must(w.records.DeleteRoleAssignment(w.t.Context(), tenantOf(name), name+"0"))
}

func tenantOf(name string) string {
	if name == "db" {
		return otherTenant
	}
	return testTenant
}

func (w *effects) disable(name string) {
	p, err := w.records.Principal(w.t.Context(), effectPrincipals[name])
	w.must(err)
	p.Disabled = true
	w.must(w.records.PutPrincipal(w.t.Context(), p, ""))
}

func (w *effects) remove(name string) {
	w.must(w.records.DeletePrincipal(w.t.Context(), effectPrincipals[name], ""))
}

// ask makes a request about the connection.
func (w *effects) ask(method, tail, body string) *httptest.ResponseRecorder {
	header := []string{}
	if w.token != "" {
		header = []string{auxiliaryHeader, w.token}
	}
	return w.as("web", method, string(w.connection)+tail+"?api-version=2026-11-01", body, header...)
}

// last is the newest operation of the connection that changes or looks.
func (w *effects) last() patchbay.Operation {
	w.t.Helper()
	page, _, err := w.records.Operations(w.t.Context(), store.OperationFilter{Connection: w.connection}, "", 1)
	w.must(err)
	if len(page) == 0 {
		return patchbay.Operation{State: patchbay.Done} // nothing was begun
	}
	return page[0]
}

// ended is the newest operation at its end.
func (w *effects) ended() patchbay.Operation {
	w.t.Helper()
	op := w.last()
	for !op.State.Ended() {
		var err error
		op, err = w.api.Wait(w.t.Context(), op.ID, op.Version)
		w.must(err)
	}
	return op
}

// finish waits for what a request of the test's own began.
func (w *effects) finish(answer *httptest.ResponseRecorder) {
	w.t.Helper()
	if answer.Code >= 300 {
		w.t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	op := w.ended()
	if op.State != patchbay.Done {
		w.t.Fatalf("%+v", op.Error)
	}
}

// block has the source busy with an operation of the operator's until release.
func (w *effects) block() (release func()) {
	w.ends.held, w.ends.free = make(chan struct{}), make(chan struct{})
	_, err := w.api.Put(w.t.Context(), connector.PutRequest{
		ID: patchbay.ID(testWeb).Linker("busy"), Caller: connector.Trusted("admin"),
		Spec: patchbay.Spec{
			Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: otherPG + "slow/databases/app"}, Auth: &patchbay.Auth{Type: patchbay.AuthSecret},
		},
	})
	w.must(err)
	<-w.ends.held
	return func() { close(w.ends.free) }
}

// ends are a source and a target in memory. The blocker's target refuses once it
// is let go, so that it leaves nothing.
type ends struct {
	held, free chan struct{}

	mu       sync.Mutex
	logins   map[string]bool
	settings map[string]patchbay.Secret
	version  int
}

func (e *ends) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := ""
	for _, name := range slices.Sorted(maps.Keys(e.settings)) {
		v := e.settings[name]
		text += name + "=" + v.Reveal() + " "
	}
	return text + "\n" + fmt.Sprint(slices.Sorted(maps.Keys(e.logins)))
}

// lose is somebody who removes what was made at both ends.
func (e *ends) lose() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.logins)
	clear(e.settings)
	e.version++
}

type targetEnd struct {
	*ends
	slow bool
}

func (t *targetEnd) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if t.slow && sub != "" {
		close(t.held)
		select {
		case <-t.free:
		case <-ctx.Done():
		}
		return driver.TargetInfo{}, patchbay.Errorf(patchbay.ChildMissing, "there is no database %s", sub)
	}
	return driver.TargetInfo{Values: map[string]string{"host": "127.0.0.1", "port": "1", "database": sub, "sslmode": "disable"}}, nil
}

func (t *targetEnd) NewCredential(_ context.Context, r driver.LoginRequest) (driver.Credential, error) {
	return driver.Credential{Public: map[string]string{"username": r.Name}, Secret: driver.Secrets{"password": patchbay.NewSecret("secret of " + r.Name)}}, nil
}

func (t *targetEnd) EnsureLogin(_ context.Context, r driver.LoginRequest) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.logins[r.Name] = true
	return nil
}

func (t *targetEnd) InspectLogin(_ context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return driver.LoginState{Exists: t.logins[r.Name], Ours: t.logins[r.Name]}, nil
}

func (t *targetEnd) RemoveLogin(_ context.Context, r driver.LoginRequest) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.logins, r.Name)
	return nil
}

func (t *targetEnd) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	return r, nil
}
func letIn(context.Context, driver.Config, driver.ProbeRequest) (driver.ProbeResult, error) {
	return driver.ProbeResult{Allowed: []string{"signed in"}}, nil
}
func (t *targetEnd) Owned(context.Context) ([]driver.Owned, error) { return nil, nil }
func (t *targetEnd) Close() error                                  { return nil }

type sourceEnd struct{ *ends }

func (s sourceEnd) Inspect(context.Context) (driver.SourceInfo, error) {
	return driver.SourceInfo{}, nil
}

func (s sourceEnd) ReadSettings(context.Context) (driver.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return driver.Snapshot{Version: fmt.Sprint(s.version), Settings: maps.Clone(s.settings)}, nil
}

func (s sourceEnd) CheckChange(context.Context, driver.Change) error { return nil }

func (s sourceEnd) WriteSettings(_ context.Context, c driver.Change, _ string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range c.Set {
		s.settings[one.Name] = one.Value
	}
	for _, dropped := range c.Dropped() {
		delete(s.settings, dropped.Name)
	}
	s.version++
	return fmt.Sprint(s.version), nil
}

func (s sourceEnd) RestoreSettings(_ context.Context, _ driver.Change, before driver.Snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = maps.Clone(before.Settings)
	if s.settings == nil {
		s.settings = map[string]patchbay.Secret{}
	}
	s.version++
	return nil
}

func (s sourceEnd) Restart(context.Context) error { return nil }
func (s sourceEnd) RestartLimit() time.Duration   { return driver.DefaultTimeout }

func (s sourceEnd) Egress(context.Context, netip.Addr) ([]netip.Prefix, error) { return nil, nil }
func (s sourceEnd) Dialer(context.Context) (driver.ClosingDialer, error) {
	return driver.KeptOpen(&net.Dialer{}), nil
}
func (s sourceEnd) Owned(context.Context) ([]driver.Owned, error) { return nil, nil }
func (s sourceEnd) Close() error                                  { return nil }

// A connection leaves a target whose tenant has taken the role away, and takes its
// login with it; back there it takes the right again.
func TestALeaveTakesNoRightAtWhatIsLeft(t *testing.T) {
	w := newEffects(t)
	own := strings.Replace(crossing("writer", ""), otherPG, testPG, 1)
	_, _, _, err := w.api.PutResource(t.Context(), connector.ResourceRequest{Resource: patchbay.Resource{ID: testPG}, Caller: connector.Trusted("admin")})
	w.must(err)
	w.finish(w.ask("PUT", "", crossing("writer", "")))
	was := w.ends.String()
	w.take("db")
	w.token = ""
	w.finish(w.ask("PUT", "", own))
	if now := w.ends.String(); strings.Count(now, "pb_") != strings.Count(was, "pb_") || now == was {
		t.Errorf("it has\n%s\nand had\n%s", now, was)
	}
	now := w.ends.String()
	for _, method := range []string{"PUT", "PATCH"} {
		if answer := w.ask(method, "", crossing("writer", "")); answer.Code < 400 || !strings.Contains(answer.Body.String(), string(patchbay.TargetNotFound)) {
			t.Errorf("%s back: %d %s", method, answer.Code, answer.Body)
		}
	}
	w.token = "Bearer token-of-db"
	if answer := w.ask("PUT", "", crossing("writer", "")); answer.Code != http.StatusForbidden || w.ends.String() != now {
		t.Errorf("back: %d %s", answer.Code, answer.Body)
	}
}
