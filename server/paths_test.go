package server

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

const (
	rg  = "/subscriptions/s1/resourceGroups/rg"
	web = rg + "/providers/Microsoft.Web/sites/web"
	pg  = rg + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/o/databases/d"
)

// paths are those of the table.
func paths(t testing.TB) *arm.Router {
	t.Helper()
	r, err := newRoutes(table)
	if err != nil {
		t.Fatal(err)
	}
	return r.paths
}

func local(location string) patchbay.ID { return patchbay.ID(rg).Location(location) }

func TestParsePath(t *testing.T) {
	paths := paths(t)
	status := arm.StatusPath(patchbay.Operation{ID: "op-1", Source: web}, "west us")
	status, _, _ = strings.Cut(status, "?")
	for _, c := range []struct {
		path  string
		route arm.Route
		scope patchbay.ID
		name  string
		act   string
	}{
		{web + "/providers/Microsoft.ServiceLinker/linkers", "linkers", web, "", ""},
		{web + "/providers/Microsoft.ServiceLinker/linkers/a.b_c-d", "linkers/{name}", web, "a.b_c-d", ""},
		{"//subscriptions/s1//resourcegroups/rg/providers/Microsoft.Web/sites/web/providers/microsoft.servicelinker/LINKERS/A/", "linkers/{name}", web, "A", ""},
		{web + "/providers/Microsoft.ServiceLinker/linkers/a/ValidateLinker", "linkers/{name}/{action}", web, "a", "validatelinker"},
		{web + "/providers/Microsoft.ServiceLinker/linkers/a/providers/Patchbay.Connector/rotate", "linkers/{name}/Patchbay.Connector/{action}", web, "a", "rotate"},
		{string(local("l")) + "/connectors/a/providers/Patchbay.Connector/preview", "connectors/{name}/Patchbay.Connector/{action}", local("l"), "a", "preview"},
		{web + "/providers/Patchbay.Connector/environment", "Patchbay.Connector/environment", web, "", ""},
		{web + "/slots/blue/providers/Microsoft.ServiceLinker/linkers/a", "linkers/{name}", web + "/slots/blue", "a", ""},
		{status, "operationStatuses/{id}", "/subscriptions/s1", "op-1", ""},
		{strings.Replace(strings.ToLower(status), "*", "%2A", 1), "operationStatuses/{id}", "/subscriptions/s1", "op-1", ""},
		{"/providers/Microsoft.ServiceLinker/operations", "Microsoft.ServiceLinker/operations", "", "", ""},
		{"/providers/patchbay.connector/operations/op-1/Cancel", "Patchbay.Connector/operations/{id}/{action}", "", "op-1", "cancel"},
		{"/providers/Patchbay.Connector/operations/op-1", "Patchbay.Connector/operations/{id}", "", "op-1", ""},
		{rg + "/providers/Microsoft.ServiceLinker/locations/west us/connectors", "connectors", local("west us"), "", ""},
		{"/subscriptions/s1/resourcegroups/rg/providers/microsoft.servicelinker/locations/l/CONNECTORS/A", "connectors/{name}", local("l"), "A", ""},
		{string(local("l")) + "/connectors/a/Validate", "connectors/{name}/{action}", local("l"), "a", "validate"},
		{string(local("l")) + "/connectors/a/generateConfigurations", "connectors/{name}/{action}", local("l"), "a", "generateconfigurations"},
		{string(local("l")) + "/connectors/a/providers/Patchbay.Connector/rotate", "connectors/{name}/Patchbay.Connector/{action}", local("l"), "a", "rotate"},
		{web + "/providers/Microsoft.ServiceLinker/dryruns", "dryruns", web, "", ""},
		{web + "/providers/Microsoft.ServiceLinker/dryruns/d", "dryruns/{name}", web, "d", ""},
		{string(local("l")) + "/dryruns", "locations/dryruns", local("l"), "", ""},
		{string(local("l")) + "/dryruns/d", "locations/dryruns/{name}", local("l"), "d", ""},
		{web + "/providers/Microsoft.ServiceLinker/daprConfigurations", "daprConfigurations", web, "", ""},
		{"/providers/Microsoft.ServiceLinker/configurationNames", "Microsoft.ServiceLinker/configurationNames", "", "", ""},
		{"/tenants", "tenants", "", "", ""},
		{"/providers", "providers", "/", "", ""},
		{"/providers/Microsoft.Web", "providers/{namespace}", "/", "Microsoft.Web", ""},
		{"/subscriptions/s1/providers", "providers", "/subscriptions/s1", "", ""},
		{"/subscriptions/s1/providers/Microsoft.ServiceLinker", "providers/{namespace}", "/subscriptions/s1", "Microsoft.ServiceLinker", ""},
		{"/subscriptions/s1/providers/Microsoft.ServiceLinker/Register", "providers/{namespace}/{action}", "/subscriptions/s1", "Microsoft.ServiceLinker", "register"},
		{"/subscriptions/s1/providers/Microsoft.Authorization/roleAssignments", "roleAssignments", "/subscriptions/s1", "", ""},
		{"/subscriptions/s1/locations", "locations", "/subscriptions/s1", "", ""},
		{web + "/config/Web", "{site}/config/{name}", web, "web", ""},
		{web + "/slots/blue/config/appsettings/list", "{site}/config/{name}/list", web + "/slots/blue", "appsettings", ""},
		{web + "/publishxml", "{site}/publishxml", web, "", ""},
		{web + "/providers/Microsoft.ServiceLinker/linkers/config", "linkers/{name}", web, "config", ""},
		{"/subscriptions", "subscriptions", "", "", ""},
		{"/subscriptions/s1", "subscriptions/{s}", "/subscriptions/s1", "", ""},
		{"/subscriptions/s1/resourcegroups", "resourceGroups", "/subscriptions/s1", "", ""},
		{"/subscriptions/s1/resourcegroups/rg", "resourceGroups/{rg}", rg, "", ""},
		{"/subscriptions/s1/resources", "resources", "/subscriptions/s1", "", ""},
		{rg + "/resources", "resources", rg, "", ""},
		{web, "{resource}", web, "", ""},
		{rg + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/o/databases/d%C3%A9", "{resource}", rg + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/o/databases/dé", "", ""},
	} {
		p, err := paths.Parse(c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if p.Route != c.route || p.Scope != c.scope || p.Name != c.name || p.Action != c.act {
			t.Errorf("%s: got %+v", c.path, p)
		}
	}
}

func TestHostilePathsAreRefused(t *testing.T) {
	paths := paths(t)
	long := strings.Repeat("a", 300)
	for path, code := range map[string]patchbay.Code{
		"": arm.InvalidResourceType, "/": arm.InvalidResourceType, "/favicon.ico": arm.InvalidResourceType, "/.env": arm.InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/linkers/" + long:                                       patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a%27b":                                         patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a%0Ab":                                         patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a%00":                                          patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/..":                                            patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/$(id)":                                         patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a;drop%20table":                                patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/%ff":                                           patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a%2fb":                                         patchbay.InvalidResourceID,
		web + "/providers/Microsoft.ServiceLinker/linkers/a/reboot":                                      arm.InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/linkers/a/b/c":                                         arm.InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/dryruns/a/b":                                           arm.InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/dryruns/a'b":                                           patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/connectors/a":                                          arm.InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/locations/l/connectors/a":                              arm.InvalidResourceType,
		"/subscriptions/s1/providers/Microsoft.ServiceLinker/locations/l/connectors/a":                   arm.InvalidResourceType,
		rg + "/providers/Microsoft.ServiceLinker/locations/l":                                            arm.InvalidResourceType,
		rg + "/providers/Microsoft.ServiceLinker/locations/l/connectors/a/validateLinker":                arm.InvalidResourceType,
		rg + "/providers/Microsoft.ServiceLinker/locations/l/connectors/a/listConfigurations":            arm.InvalidResourceType,
		rg + "/providers/Microsoft.ServiceLinker/locations/%3Cl%3E/connectors/a":                         patchbay.InvalidResourceID,
		web + "/providers/Microsoft.ServiceLinker/linkers/a'b/providers/Patchbay.Connector/rotate":       patchbay.InvalidArgument,
		string(local("l")) + "/connectors/" + long[:61] + "/providers/Patchbay.Connector/rotate":         patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a/providers/Microsoft.ServiceLinker/linkers/b": arm.InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/linkers/a/providers/Patchbay.Connector/environment":    arm.InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/others/a":                                              arm.InvalidResourceType, rg + "/providers/Patchbay.Connector/operations/a": arm.InvalidResourceType,
		"/providers/%3Cscript%3E":                            arm.InvalidResourceType,
		"/providers/Microsoft..Web":                          arm.InvalidResourceType,
		"/subscriptions/s1/providers/Microsoft.Web/start":    patchbay.InvalidResourceID,
		web + "/config":                                      patchbay.InvalidResourceID,
		pg + "/publishxml":                                   patchbay.InvalidResourceID,
		rg + "/../../providers/Microsoft.Web/sites/web":      patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web/sites/a%0d%0ab":       patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web/sites/" + long:        patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web/sites/a%00b":          patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web/sites/%3Cscript%3E":   patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web":                      arm.InvalidResourceType,
		rg + "/providers/Microsoft.Web/sites":                patchbay.InvalidResourceID,
		"/" + strings.Repeat("a/", 5000):                     patchbay.InvalidResourceID,
		"/providers/Patchbay.Connector/operations/..%2fx":    patchbay.InvalidResourceID,
		"/providers/Patchbay.Connector/operations/a'b":       patchbay.ResourceNotFound,
		"/providers/Patchbay.Connector/operations/a/explode": arm.InvalidResourceType,
		"/subscriptions/s1/providers/Microsoft.ServiceLinker/locations/l/operationStatuses/op-1*" + long: patchbay.ResourceNotFound,
	} {
		p, err := paths.Parse(path)
		if patchbay.CodeOf(err) != code {
			t.Errorf("%.80q: got %v and %+v, want %s", path, err, p, code)
			continue
		}
		if len(err.Error()) > 2500 {
			t.Errorf("%.80q: the message has %d bytes", path, len(err.Error()))
		}
	}
}

// FuzzParsePath: no path crashes the parser, and what it understands holds
// nothing that an id or a name may not.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		web + "/providers/Microsoft.ServiceLinker/linkers/a", web, "/subscriptions/s1/resourceGroups", "//", "/%2F/%00",
		web + "/providers/Microsoft.ServiceLinker/linkers/a/providers/Patchbay.Connector/rotate",
		"/subscriptions/s1/providers/Microsoft.ServiceLinker/locations/l/operationStatuses/x*y", "/providers/Patchbay.Connector/operations/x/retry",
		rg + "/providers/Microsoft.ServiceLinker/locations/l/connectors/a/validate", rg + "/providers/Microsoft.ServiceLinker/locations/l/dryruns/d",
		"/subscriptions/s1/providers/Microsoft.Web/register", "/providers", web + "/config/appsettings/list", web + "/publishxml",
	} {
		f.Add(s)
	}
	paths := paths(f)
	f.Fuzz(func(t *testing.T, path string) {
		p, err := paths.Parse(path)
		if err != nil {
			if p.Route == "" {
				t.Errorf("an error without a route: metrics need one")
			}
			return
		}
		if p.Scope != "" && p.Scope != patchbay.RootScope {
			if again, err := patchbay.ParseID(string(p.Scope)); err != nil || again != p.Scope {
				t.Errorf("the scope %q is not an id in its one form (%v)", p.Scope, err)
			}
		}
		if p.Linker != "" {
			source, name, ok := p.Linker.ConnectionSource()
			if !ok || source != p.Scope || name != p.Name || arm.CheckLinkerName(name) != nil {
				t.Errorf("the linker %q is not %q on %q", p.Linker, p.Name, p.Scope)
			}
		}
		if p.Dryrun != "" {
			source, name, ok := p.Dryrun.DryrunSource()
			if !ok || source != p.Scope || name != p.Name || arm.CheckLinkerName(name) != nil {
				t.Errorf("the dryrun %q is not %q on %q", p.Dryrun, p.Name, p.Scope)
			}
		}
	})
}
