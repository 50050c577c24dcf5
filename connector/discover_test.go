package connector

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const kept = "c4n4ry-s3cret"

// newFoundWorld is a world where a search finds what things has.
func newFoundWorld(t *testing.T, things ...driver.Found) (w *world, asked *[]driver.Config) {
	w, _, _, _ = newHostWorld(t)
	asked = &[]driver.Config{}
	w.look = func(_ context.Context, c driver.Config, reveal func(driver.Found) driver.Reveal) ([]driver.Found, error) {
		*asked = append(*asked, c)
		all := slices.Clone(things)
		for i := range all {
			environment := map[string]string{}
			for _, name := range all[i].Variables {
				environment[name] = kept
			}
			if err := all[i].Environment(environment, reveal, func(string) (string, error) { return "", errors.New("no files here") }); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	w.restart()
	return w, asked
}

func (w *world) search(properties string) DiscoverRequest {
	return DiscoverRequest{Group: w.group, Driver: "memoryApp", Properties: json.RawMessage(properties), Caller: w.caller}
}

func (w *world) found(r DiscoverRequest) map[string]patchbay.Discovered {
	w.t.Helper()
	list, err := w.Discover(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]patchbay.Discovered{}
	for _, d := range list {
		if _, twice := all[d.Name]; twice {
			w.t.Errorf("two are called %s", d.Name)
		}
		all[d.Name] = d
	}
	if text, _ := json.Marshal(list); strings.Contains(string(text), kept) {
		w.t.Errorf("a value is answered: %s", text)
	}
	return all
}

var database = driver.Found{
	Name: "orders-db", Instance: "1", What: "container of postgres", Image: "postgres:16", State: "running", Running: true, Ports: []uint16{5432},
	Reach:     []driver.Reach{{Port: 8008, Address: "172.18.0.1:8008"}, {Port: 5432, Address: "172.18.0.1:15432"}, {Port: 5432, Address: ":5432", Note: "later"}},
	Variables: []string{"PATH", "POSTGRES_PASSWORD"},
}

func TestApplicationsAndServicesAreFound(t *testing.T) {
	w, asked := newFoundWorld(t,
		driver.Found{Name: "web", Within: "shop", Instance: "2", Image: "shop/web:1", State: "running", Endpoint: "/srv/shop", Properties: map[string]any{"service": "web"}},
		driver.Found{Name: "web", Within: "blog", Instance: "3", Image: "blog", State: "exited", Endpoint: "/srv/blog", Properties: map[string]any{"service": "web"}, Refused: "it shares its network", Fix: "give it its own"},
		driver.Found{Name: "a b/c", Instance: "4", Endpoint: "abc"},
		driver.Found{Name: "cron", Plumbing: true},
		driver.Found{Name: "analytics", Image: "clickhouse/clickhouse-server:25", Ports: []uint16{8123}, Reach: []driver.Reach{{Port: 8123, Address: ":8123"}}},
		driver.Found{Name: "hidden", Image: "postgres", Ports: []uint16{5432}},
		database)
	all := w.found(w.search(`{"engine":"other"}`))
	if c := (*asked)[0]; c.ID != "" || c.Host == nil || c.Dialer == nil || len(*asked) != 1 {
		t.Errorf("the driver is asked with %+v", c)
	}
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"a-b-c", "analytics", "blog-web", "hidden", "orders-db", "shop-web"}; !slices.Equal(names, want) {
		t.Fatalf("found are %q, not %q", names, want)
	}
	app := all["shop-web"]
	if app.Service != nil || app.ID != w.group+"/providers/"+patchbay.ID(driver.ComputeTypes()[0])+"/shop-web" || app.Driver != "memoryApp" || app.Endpoint != "/srv/shop" ||
		string(app.Properties) != `{"engine":"other","service":"web"}` || app.Registered != "" || app.Refused != "" {
		t.Errorf("%+v", app)
	}
	if d := all["blog-web"]; d.Refused == "" || d.Fix == "" {
		t.Errorf("%+v", d)
	}
	if d := all["analytics"]; d.Service == nil || d.Service.Title != "ClickHouse" || d.Refused == "" || d.ID != "" {
		t.Errorf("%+v", d)
	}
	if d := all["hidden"]; d.Refused == "" || !strings.Contains(d.Fix, "patchbay resource add memory hidden") {
		t.Errorf("%+v", d)
	}
	d := all["orders-db"]
	if d.Service == nil || d.Service.Kind != "postgresql" || d.Service.By != "image postgres" || !slices.Equal(d.Service.Credential, []string{"POSTGRES_PASSWORD"}) ||
		!slices.Equal(d.Service.Addresses, []string{"172.18.0.1:15432", "127.0.0.1:5432"}) || d.Endpoint != "172.18.0.1:15432" || d.Driver != "memory" || d.Notes != nil {
		t.Errorf("%+v, %+v", d, d.Service)
	}
	// On a host, its own ports are at its address.
	host := w.group + "/providers/Patchbay.Services/hosts/db1"
	if d := w.found(w.search(`{"host":"` + string(host) + `"}`))["orders-db"]; !slices.Contains(d.Service.Addresses, "10.0.0.1:5432") {
		t.Errorf("%+v", d.Service)
	}
	if _, remote := (*asked)[1].Host.(*machine); !remote {
		t.Errorf("it looked on %T", (*asked)[1].Host)
	}
}

func TestWhatIsRegisteredAndConnectedIsSaid(t *testing.T) {
	w, _ := newFoundWorld(t,
		driver.Found{Name: "web", Instance: "2", Endpoint: "web"},
		driver.Found{Name: "db", Instance: "3", Image: "postgres", Ports: []uint16{5432}, Reach: []driver.Reach{{Port: 5432, Address: "10.1.1.1:5432"}}},
		database)
	web := w.group + "/providers/Microsoft.App/containerApps/front"
	orders := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"
	// As it is found, but for what no search is told; and what is not said is the default.
	w.register(patchbay.Resource{ID: web, Driver: "memoryApp", Endpoint: "web", Properties: json.RawMessage(`{"engine":"usual"}`)}, nil)
	w.register(patchbay.Resource{ID: orders, Driver: "memory", Endpoint: "127.0.0.1:5432"}, driver.Secrets{"password": patchbay.NewSecret("x")})
	spec := w.spec()
	spec.Target.ID = orders + "/databases/app"
	if err := errOf(w.end(w.Put(t.Context(), PutRequest{ID: web.Linker("main"), Spec: spec, Caller: w.caller}))); err != nil {
		t.Fatal(err)
	}
	all := w.found(w.search(``))
	if d := all["web"]; d.Registered != web || len(d.Connections) != 1 || d.Connections[0].Name != "main" || !d.Connections[0].Source.Equal(web) {
		t.Errorf("%+v", d)
	}
	if d := all["orders-db"]; d.Registered != orders || len(d.Connections) != 1 || d.Connections[0].Target != spec.Target.ID {
		t.Errorf("%+v", d)
	}
	// db is another one's name, and registered under another.
	if d := all["db"]; d.Registered != "" || !d.Taken {
		t.Errorf("%+v", d)
	}
	// On another engine it is another one.
	if d := w.found(w.search(`{"engine":"other"}`))["web"]; d.Registered != "" {
		t.Errorf("%+v", d)
	}
	// Who may not see what is registered is not told of it.
	r := w.search(``)
	r.Caller = refusing(actionReadResource, patchbay.Errorf(patchbay.ResourceNotFound, "there is nothing"))
	if d := w.found(r)["web"]; d.Registered != "" || d.Connections != nil {
		t.Errorf("%+v", d)
	}
	r.Caller = refusing(actionReadLinker, patchbay.Errorf(patchbay.ResourceNotFound, "there is nothing"))
	if d := w.found(r)["web"]; d.Registered != web || d.Connections != nil {
		t.Errorf("%+v", d)
	}
}

func TestASearchIsRefusedToWhoMayNotUseTheHost(t *testing.T) {
	w, asked := newFoundWorld(t, database)
	host := w.group + "/providers/Patchbay.Services/hosts/db1"
	var at []patchbay.ID
	who := w.caller
	who.Allow = func(_ context.Context, action string, scope patchbay.ID) error {
		if action == ActionHost {
			at = append(at, scope)
			return patchbay.Errorf(patchbay.Forbidden, "ann may not do that")
		}
		return nil
	}
	for properties, scope := range map[string]patchbay.ID{``: w.group, `{"host":"` + string(host) + `"}`: host} {
		r := w.search(properties)
		r.Caller = who
		_, err := w.Discover(t.Context(), r)
		_, _, _, taken := w.Take(t.Context(), TakeRequest{DiscoverRequest: r, Name: "orders-db"})
		if patchbay.CodeOf(err) != patchbay.Forbidden || patchbay.CodeOf(taken) != patchbay.Forbidden || at[len(at)-1] != scope {
			t.Errorf("%s: %v, %v, asked at %s", properties, err, taken, at)
		}
	}
	if len(*asked) > 0 {
		t.Error("somebody looked")
	}
	for what, r := range map[string]DiscoverRequest{
		"a driver that does not look": {Group: w.group, Driver: "memory", Caller: w.caller},
		"a property of no search":     w.search(`{"service":"web"}`),
		"a host that is not there":    w.search(`{"host":"` + string(w.group) + `/providers/Patchbay.Services/hosts/none"}`),
		"a group that is not there":   {Group: w.group + "x", Driver: "memoryApp", Caller: w.caller},
	} {
		if _, err := w.Discover(t.Context(), r); err == nil || patchbay.CodeOf(err) == patchbay.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestACredentialIsTakenWhereItIsKept(t *testing.T) {
	w, _ := newFoundWorld(t, driver.Found{Name: "web", Endpoint: "web"}, database,
		driver.Found{Name: "bare", Instance: "9", Image: "postgres", Ports: []uint16{5432}, Reach: []driver.Reach{{Port: 5432, Address: "10.1.1.2:5432"}}, Variables: []string{"POSTGRES_USER"}})
	var opened []driver.Config
	memory := w.catalog.Targets["memory"]
	memory.Open = func(_ context.Context, c driver.Config) (driver.Target, error) {
		opened = append(opened, c)
		return w.broker, nil
	}
	w.catalog.Targets["memory"] = memory
	var told []patchbay.AuditEntry
	r := TakeRequest{DiscoverRequest: w.search(``), Name: "orders-db", As: "orders"}
	r.Caller.Tell = func(_ context.Context, e patchbay.AuditEntry) error {
		told = append(told, e)
		return nil
	}
	res, created, _, err := w.Take(t.Context(), r)
	if err != nil || !created || res.ID.Name() != "orders" || res.Endpoint != "172.18.0.1:15432" {
		t.Fatalf("%+v, %v, %v", res, created, err)
	}
	admin := opened[len(opened)-1].Admin
	if admin["username"].Reveal() != "postgres" || admin["password"].Reveal() != kept || len(admin) != 2 {
		t.Errorf("it is administered with %d parts", len(admin))
	}
	if stored, err := w.records.Resource(t.Context(), res.ID); err != nil || strings.Contains(string(stored.Properties), kept) {
		t.Errorf("%+v, %v", stored, err)
	}
	text, _ := json.Marshal(told)
	if len(told) == 0 || strings.Contains(string(text), kept) || !strings.Contains(string(text), "POSTGRES_PASSWORD") {
		t.Errorf("the audit log has %s", text)
	}
	for _, c := range []struct {
		what string
		r    TakeRequest
		code patchbay.Code
	}{
		{"again", r, patchbay.Conflict},
		{"an application", TakeRequest{DiscoverRequest: r.DiscoverRequest, Name: "web"}, patchbay.InvalidArgument},
		{"nothing", TakeRequest{DiscoverRequest: r.DiscoverRequest, Name: "none"}, patchbay.ResourceNotFound},
		{"where none is kept", TakeRequest{DiscoverRequest: r.DiscoverRequest, Name: "bare"}, patchbay.InvalidArgument},
	} {
		_, _, _, err := w.Take(t.Context(), c.r)
		if e := patchbay.AsError(err); e == nil || e.Code != c.code || strings.Contains(e.Error()+e.Fix, kept) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	// What is there already is not changed by it.
	w, _ = newFoundWorld(t, database)
	r.DiscoverRequest, r.As = w.search(``), "db"
	if _, _, _, err := w.Take(t.Context(), r); patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("it takes another's name: %v", err)
	}
	r.As, r.Caller = "new", refusing(actionWriteResource, patchbay.Errorf(patchbay.Forbidden, "ann may not do that"))
	if _, _, _, err := w.Take(t.Context(), r); patchbay.CodeOf(err) != patchbay.Forbidden {
		t.Errorf("who may not write takes it: %v", err)
	}
}
