package server

import (
	"net/http"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/settings"
)

// tenantList answers the tenants that the caller may know of: its own.
func (s *Server) tenantList(x *exchange) error {
	tenants, err := s.api.Tenants(x.ctx)
	if err != nil {
		return err
	}
	items := []any{}
	for _, t := range tenants {
		if x.inTenant(t.ID) {
			items = append(items, arm.Tenant(t))
		}
	}
	return x.list(items, "")
}

// locations are where the resource groups of a subscription are; at the root
// of a tenant there are none.
func (x *exchange) locations() ([]string, error) {
	if x.path.Scope.Subscription() == "" {
		return nil, nil
	}
	sub, err := x.server.subscription(x)
	if err != nil {
		return nil, err
	}
	groups, err := x.server.api.ResourceGroups(x.ctx, sub.ID)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, g := range groups {
		if !slices.ContainsFunc(list, func(l string) bool { return strings.EqualFold(l, g.Location) }) {
			list = append(list, g.Location)
		}
	}
	slices.Sort(list)
	return list, nil
}

func (s *Server) listLocations(x *exchange) error {
	names, err := x.locations()
	if err != nil {
		return err
	}
	items := make([]any, len(names))
	for i, name := range names {
		items[i] = arm.Location(x.path.Scope.Subscription(), name)
	}
	return x.list(items, "")
}

// types are those that providers are asked for: of what this server can connect, of
// every kind of target in the settings table, and the server's own. az takes the
// api-version of a resource from there.
func (s *Server) types() arm.TypeTable {
	var given []string
	for _, d := range slices.Concat(s.opts.Catalog.Sources, s.opts.Catalog.Hosts, s.opts.Catalog.Targets) {
		given = append(given, d.Types...)
	}
	for _, k := range settings.Kinds() {
		given = append(given, k.Types()...)
	}
	return arm.Types(given)
}

// providerScope is what the id of a provider begins with.
func (x *exchange) providerScope() patchbay.ID {
	if x.path.Scope == patchbay.RootScope {
		return ""
	}
	return x.path.Scope
}

func (s *Server) listProviders(x *exchange) error {
	locations, err := x.locations()
	if err != nil {
		return err
	}
	items := []any{}
	types := s.types()
	for _, ns := range types.Namespaces() {
		if body, ok := types.Provider(x.providerScope(), ns, locations); ok {
			items = append(items, body)
		}
	}
	return x.list(items, "")
}

func (s *Server) getProvider(x *exchange) error {
	locations, err := x.locations()
	if err != nil {
		return err
	}
	types := s.types()
	body, ok := types.Provider(x.providerScope(), x.path.Name, locations)
	if !ok {
		return patchbay.Errorf(arm.InvalidResourceNamespace, "there is no resource provider %s; there are %s",
			x.path.Name, strings.Join(types.Namespaces(), ", "))
	}
	return x.json(http.StatusOK, body)
}

func (s *Server) unregisterProvider(x *exchange) error {
	return patchbay.Errorf(patchbay.Conflict, "the resource provider %s is a part of this server and stays registered", x.path.Name)
}

// site is the source that a route about a web site's own things hangs on.
func (s *Server) site(x *exchange) (patchbay.Resource, error) {
	return s.api.Resource(x.ctx, x.path.Scope)
}

func (s *Server) siteConfig(x *exchange) error {
	site, err := s.site(x)
	if err != nil {
		return err
	}
	body, ok := arm.SiteConfig(site, x.path.Name)
	if !ok {
		return noSiteConfig(site, x.path.Name)
	}
	return x.json(http.StatusOK, body)
}

func noSiteConfig(site patchbay.Resource, name string) error {
	return patchbay.Errorf(patchbay.ResourceNotFound, "the site %s has no configuration %s", site.ID.Name(), name)
}

// siteSettings answers what az webapp config appsettings list asks: the source's
// environment.
func (s *Server) siteSettings(x *exchange) error {
	site, err := s.site(x)
	if err != nil {
		return err
	}
	if x.path.Name != "appsettings" {
		return noSiteConfig(site, x.path.Name)
	}
	env, err := s.api.Process(x.ctx, site.ID, x.caller.Caller)
	if err != nil {
		return err
	}
	if err := x.disclosed(site.ID); err != nil {
		return err
	}
	return x.json(http.StatusOK, arm.SiteSettings(site, env))
}

func (s *Server) publishProfiles(x *exchange) error {
	site, err := s.site(x)
	if err != nil {
		return err
	}
	text, err := arm.PublishProfiles(site)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "encode the answer: %w", err)
	}
	return x.bytes(http.StatusOK, "application/xml", text)
}
