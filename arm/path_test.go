package arm

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

const (
	rg  = "/subscriptions/s1/resourceGroups/rg"
	web = rg + "/providers/Microsoft.Web/sites/web"
)

func local(location string) patchbay.ID { return patchbay.ID(rg).Location(location) }

func TestParsePath(t *testing.T) {
	status := StatusPath(patchbay.Operation{ID: "op-1", Source: web}, "west us")
	status, _, _ = strings.Cut(status, "?")
	for _, c := range []struct {
		path  string
		route Route
		scope patchbay.ID
		name  string
		act   string
	}{
		{web + "/providers/Microsoft.ServiceLinker/linkers", RouteLinkers, web, "", ""},
		{web + "/providers/Microsoft.ServiceLinker/linkers/a.b_c-d", RouteLinker, web, "a.b_c-d", ""},
		{"//subscriptions/s1//resourcegroups/rg/providers/Microsoft.Web/sites/web/providers/microsoft.servicelinker/LINKERS/A/", RouteLinker, web, "A", ""},
		{web + "/providers/Microsoft.ServiceLinker/linkers/a/ValidateLinker", RouteLinkerAction, web, "a", "validatelinker"},
		{web + "/providers/Microsoft.ServiceLinker/linkers/a/providers/Patchbay.Connector/rotate", RouteOwnLinkerAction, web, "a", "rotate"},
		{web + "/providers/Patchbay.Connector/environment", RouteEnvironment, web, "", "environment"},
		{web + "/slots/blue/providers/Microsoft.ServiceLinker/linkers/a", RouteLinker, web + "/slots/blue", "a", ""},
		{status, RouteOperationStatus, "/subscriptions/s1", "op-1", ""},
		{strings.Replace(strings.ToLower(status), "*", "%2A", 1), RouteOperationStatus, "/subscriptions/s1", "op-1", ""},
		{"/providers/Microsoft.ServiceLinker/operations", RouteProviderOperations, "", "", ""},
		{"/providers/patchbay.connector/operations/op-1/Cancel", RouteOperationAction, "", "op-1", "cancel"},
		{"/providers/Patchbay.Connector/operations/op-1", RouteOperation, "", "op-1", ""},
		{rg + "/providers/Microsoft.ServiceLinker/locations/west us/connectors", RouteConnectors, local("west us"), "", ""},
		{"/subscriptions/s1/resourcegroups/rg/providers/microsoft.servicelinker/locations/l/CONNECTORS/A", RouteConnector, local("l"), "A", ""},
		{string(local("l")) + "/connectors/a/Validate", RouteConnectorAction, local("l"), "a", "validate"},
		{string(local("l")) + "/connectors/a/generateConfigurations", RouteConnectorAction, local("l"), "a", "generateconfigurations"},
		{string(local("l")) + "/connectors/a/providers/Patchbay.Connector/rotate", RouteOwnConnectorAction, local("l"), "a", "rotate"},
		{web + "/providers/Microsoft.ServiceLinker/dryruns", RouteDryruns, web, "", ""},
		{web + "/providers/Microsoft.ServiceLinker/dryruns/d", RouteDryrun, web, "d", ""},
		{string(local("l")) + "/dryruns", RouteLocalDryruns, local("l"), "", ""},
		{string(local("l")) + "/dryruns/d", RouteLocalDryrun, local("l"), "d", ""},
		{web + "/providers/Microsoft.ServiceLinker/daprConfigurations", RouteDaprConfigurations, web, "", ""},
		{"/providers/Microsoft.ServiceLinker/configurationNames", RouteConfigurationNames, "", "", ""},
		{"/tenants", RouteTenantList, "", "", ""},
		{"/providers", RouteProviders, "/", "", ""},
		{"/providers/Microsoft.Web", RouteProvider, "/", "Microsoft.Web", ""},
		{"/subscriptions/s1/providers", RouteProviders, "/subscriptions/s1", "", ""},
		{"/subscriptions/s1/providers/Microsoft.ServiceLinker", RouteProvider, "/subscriptions/s1", "Microsoft.ServiceLinker", ""},
		{"/subscriptions/s1/providers/Microsoft.ServiceLinker/Register", RouteProviderAction, "/subscriptions/s1", "Microsoft.ServiceLinker", "register"},
		{"/subscriptions/s1/providers/Microsoft.Authorization/roleAssignments", RouteRoleAssignments, "/subscriptions/s1", "", ""},
		{"/subscriptions/s1/locations", RouteLocations, "/subscriptions/s1", "", ""},
		{web + "/config/Web", RouteSiteConfig, web, "web", ""},
		{web + "/slots/blue/config/appsettings/list", RouteSiteConfigList, web + "/slots/blue", "appsettings", ""},
		{web + "/publishxml", RouteSitePublish, web, "", ""},
		{web + "/providers/Microsoft.ServiceLinker/linkers/config", RouteLinker, web, "config", ""},
		{"/subscriptions", RouteSubscriptions, "", "", ""},
		{"/subscriptions/s1", RouteSubscription, "/subscriptions/s1", "s1", ""},
		{"/subscriptions/s1/resourcegroups", RouteResourceGroups, "/subscriptions/s1", "", ""},
		{"/subscriptions/s1/resourcegroups/rg", RouteResourceGroup, rg, "", ""},
		{"/subscriptions/s1/resources", RouteResources, "/subscriptions/s1", "", ""},
		{rg + "/resources", RouteResources, rg, "", ""},
		{web, RouteResource, web, "", ""},
		{rg + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/o/databases/d%C3%A9", RouteResource, rg + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/o/databases/dé", "", ""},
	} {
		p, err := ParsePath(c.path)
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
	long := strings.Repeat("a", 300)
	for path, code := range map[string]patchbay.Code{
		"": InvalidResourceType, "/": InvalidResourceType, "/favicon.ico": InvalidResourceType, "/.env": InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/linkers/" + long:                            patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a%27b":                              patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a%0Ab":                              patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a%00":                               patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/..":                                 patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/$(id)":                              patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a;drop%20table":                     patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/%ff":                                patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/linkers/a%2fb":                              patchbay.InvalidResourceID,
		web + "/providers/Microsoft.ServiceLinker/linkers/a/reboot":                           InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/linkers/a/b/c":                              InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/dryruns/a/b":                                InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/dryruns/a'b":                                patchbay.InvalidArgument,
		web + "/providers/Microsoft.ServiceLinker/connectors/a":                               InvalidResourceType,
		web + "/providers/Microsoft.ServiceLinker/locations/l/connectors/a":                   InvalidResourceType,
		"/subscriptions/s1/providers/Microsoft.ServiceLinker/locations/l/connectors/a":        InvalidResourceType,
		rg + "/providers/Microsoft.ServiceLinker/locations/l":                                 InvalidResourceType,
		rg + "/providers/Microsoft.ServiceLinker/locations/l/connectors/a/validateLinker":     InvalidResourceType,
		rg + "/providers/Microsoft.ServiceLinker/locations/l/connectors/a/listConfigurations": InvalidResourceType,
		rg + "/providers/Microsoft.ServiceLinker/locations/%3Cl%3E/connectors/a":              patchbay.InvalidResourceID,
		"/providers/%3Cscript%3E":                                                             InvalidResourceType,
		"/providers/Microsoft..Web":                                                           InvalidResourceType,
		"/subscriptions/s1/providers/Microsoft.Web/start":                                     patchbay.InvalidResourceID,
		web + "/config":    patchbay.InvalidResourceID,
		pg + "/publishxml": patchbay.InvalidResourceID,
		rg + "/../../providers/Microsoft.Web/sites/web":                                                  patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web/sites/a%0d%0ab":                                                   patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web/sites/" + long:                                                    patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web/sites/a%00b":                                                      patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web/sites/%3Cscript%3E":                                               patchbay.InvalidResourceID,
		rg + "/providers/Microsoft.Web":                                                                  InvalidResourceType,
		rg + "/providers/Microsoft.Web/sites":                                                            patchbay.InvalidResourceID,
		"/" + strings.Repeat("a/", 5000):                                                                 patchbay.InvalidResourceID,
		"/providers/Patchbay.Connector/operations/..%2fx":                                                patchbay.InvalidResourceID,
		"/providers/Patchbay.Connector/operations/a'b":                                                   patchbay.ResourceNotFound,
		"/providers/Patchbay.Connector/operations/a/explode":                                             InvalidResourceType,
		"/subscriptions/s1/providers/Microsoft.ServiceLinker/locations/l/operationStatuses/op-1*" + long: patchbay.ResourceNotFound,
	} {
		p, err := ParsePath(path)
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
	f.Fuzz(func(t *testing.T, path string) {
		p, err := ParsePath(path)
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
			if !ok || source != p.Scope || name != p.Name || CheckLinkerName(name) != nil {
				t.Errorf("the linker %q is not %q on %q", p.Linker, p.Name, p.Scope)
			}
		}
		if p.Dryrun != "" {
			source, name, ok := p.Dryrun.DryrunSource()
			if !ok || source != p.Scope || name != p.Name || CheckLinkerName(name) != nil {
				t.Errorf("the dryrun %q is not %q on %q", p.Dryrun, p.Name, p.Scope)
			}
		}
	})
}
