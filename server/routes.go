package server

import (
	"net/http"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

// Prefixes of actions, in ARM's words.
const (
	linkers    = arm.Provider + "/linkers/"
	connectors = arm.Provider + "/locations/connectors/" // local connections
	own        = arm.OwnProvider + "/"

	readSubscription = "Microsoft.Resources/subscriptions/read"
	readResource     = own + "resources/read"
	groupActions     = "Microsoft.Resources/subscriptions/resourceGroups/"
	dryrunActions    = arm.Provider + "/dryruns/"
	localDryruns     = arm.Provider + "/locations/dryruns/"
)

// entry is a row of the table of routes.
type entry struct {
	// name is what metrics, spans and logs call the route.
	name arm.Route
	// pattern is its path, in the words of [arm.Router.Add].
	pattern string
	// reads is the action that makes it visible: who has not even that is told
	// that nothing is there. asGET: the action of its GET.
	reads   string
	methods methods
}

const asGET = ""

// methods are what a route answers, by its method, with the word of the
// pattern's {action} behind it ("POST rotate").
type methods map[string]rule

// rule is how one method of one route is answered. Literals name no members, so
// that one which leaves something out does not compile.
type rule struct {
	action string // what the caller must be allowed, in ARM's words
	held   hold   // where it must be allowed
	takes  cost   // what of it all callers share, and so may have to wait for
	of     release
	answer func(*Server, *exchange) error
}

// table is the API: all that is answered to who has signed in. Whoever adds a
// route adds its row here, and its handler. Who may do what is asked, what a
// request waits for, docs/api.md's list and the tests are made from this.
var table = []entry{
	// Microsoft.ServiceLinker: connections of a source.
	{"linkers", "{source}/providers/Microsoft.ServiceLinker/linkers", asGET, methods{
		"GET": {linkers + "read", inside, lists, always, (*Server).listLinkers},
	}},
	{"linkers/{name}", "{source}/providers/Microsoft.ServiceLinker/linkers/{name}", asGET, methods{
		"GET":    {linkers + "read", atScope, light, always, (*Server).getLinker},
		"PUT":    {linkers + "write", atScope, light, always, (*Server).putLinker},
		"PATCH":  {linkers + "write", atScope, light, always, (*Server).patchLinker},
		"DELETE": {linkers + "delete", atScope, light, always, (*Server).deleteLinker},
	}},
	{"linkers/{name}/{action}", "{source}/providers/Microsoft.ServiceLinker/linkers/{name}/{action}", linkers + "read", methods{
		"POST validateLinker":         {linkers + "validateLinker/action", atScope, light, always, (*Server).validateLinker},
		"POST listConfigurations":     {linkers + "listConfigurations/action", atScope, light, always, (*Server).listConfigurations},
		"POST generateConfigurations": {linkers + "generateConfigurations/action", atScope, dials, sinceGenerate, (*Server).generateConfigurations},
	}},
	{"linkers/{name}/Patchbay.Connector/{action}", "{linker}/providers/Patchbay.Connector/{action}", linkers + "read", methods{
		"GET history":   {linkers + "read", atScope, lists, ours, (*Server).linkerHistory},
		"POST rotate":   {own + "linkers/rotate/action", atScope, light, ours, (*Server).rotateLinker},
		"POST validate": {own + "linkers/validate/action", atScope, light, ours, (*Server).validateOwn},
		"POST preview":  {own + "linkers/preview/action", atScope, dials, ours, (*Server).previewLinker},
	}},

	// Local connections.
	{"connectors", "{group}/providers/Microsoft.ServiceLinker/locations/{location}/connectors", asGET, methods{
		"GET": {connectors + "read", inside, lists, sinceConnectors, (*Server).listLinkers},
	}},
	{"connectors/{name}", "{group}/providers/Microsoft.ServiceLinker/locations/{location}/connectors/{name}", asGET, methods{
		"GET":    {connectors + "read", atScope, light, sinceConnectors, (*Server).getLinker},
		"PUT":    {connectors + "write", atScope, light, sinceConnectors, (*Server).putConnector},
		"PATCH":  {connectors + "write", atScope, light, sinceConnectors, (*Server).patchConnector},
		"DELETE": {connectors + "delete", atScope, light, sinceConnectors, (*Server).deleteConnector},
	}},
	{"connectors/{name}/{action}", "{group}/providers/Microsoft.ServiceLinker/locations/{location}/connectors/{name}/{action}", connectors + "read", methods{
		"POST validate":               {connectors + "validate/action", atScope, light, sinceConnectors, (*Server).validateLinker},
		"POST generateConfigurations": {connectors + "generateConfigurations/action", atScope, dials, sinceConnectors, (*Server).generateConfigurations},
	}},
	{"connectors/{name}/Patchbay.Connector/{action}", "{connector}/providers/Patchbay.Connector/{action}", connectors + "read", methods{
		"GET history":   {connectors + "read", atScope, lists, ours, (*Server).linkerHistory},
		"POST rotate":   {own + "connectors/rotate/action", atScope, light, ours, (*Server).rotateLinker},
		"POST validate": {own + "connectors/validate/action", atScope, light, ours, (*Server).validateOwn},
		"POST preview":  {own + "connectors/preview/action", atScope, dials, ours, (*Server).previewLinker},
	}},

	// Dryruns, of a source and of a location.
	{"dryruns", "{source}/providers/Microsoft.ServiceLinker/dryruns", asGET, methods{
		"GET": {dryrunActions + "read", inside, lists, sinceDryruns, (*Server).listDryruns},
	}},
	{"dryruns/{name}", "{source}/providers/Microsoft.ServiceLinker/dryruns/{name}", asGET, methods{
		"GET":    {dryrunActions + "read", atScope, light, sinceDryruns, (*Server).getDryrun},
		"PUT":    {dryrunActions + "write", atScope, dials, sinceDryruns, (*Server).putDryrun},
		"PATCH":  {dryrunActions + "write", atScope, dials, sinceDryruns, (*Server).patchDryrun},
		"DELETE": {dryrunActions + "delete", atScope, light, sinceDryruns, (*Server).deleteDryrun},
	}},
	{"locations/dryruns", "{group}/providers/Microsoft.ServiceLinker/locations/{location}/dryruns", asGET, methods{
		"GET": {localDryruns + "read", inside, lists, sinceDryruns, (*Server).listDryruns},
	}},
	{"locations/dryruns/{name}", "{group}/providers/Microsoft.ServiceLinker/locations/{location}/dryruns/{name}", asGET, methods{
		"GET":    {localDryruns + "read", atScope, light, sinceDryruns, (*Server).getDryrun},
		"PUT":    {localDryruns + "write", atScope, dials, sinceDryruns, (*Server).putDryrun},
		"PATCH":  {localDryruns + "write", atScope, dials, sinceDryruns, (*Server).patchDryrun},
		"DELETE": {localDryruns + "delete", atScope, light, sinceDryruns, (*Server).deleteDryrun},
	}},

	// What else Microsoft.ServiceLinker has.
	{"daprConfigurations", "{source}/providers/Microsoft.ServiceLinker/daprConfigurations", asGET, methods{
		"GET": {arm.Provider + "/daprConfigurations/read", atScope, light, sinceDapr, (*Server).daprConfigurations},
	}},
	{"Microsoft.ServiceLinker/configurationNames", "/providers/Microsoft.ServiceLinker/configurationNames", asGET, methods{
		"GET": {arm.Provider + "/configurationNames/read", anywhere, lists, sinceNames, (*Server).configurationNames},
	}},
	{"Microsoft.ServiceLinker/operations", "/providers/Microsoft.ServiceLinker/operations", asGET, methods{
		"GET": {arm.Provider + "/operations/read", anywhere, light, always, (*Server).providerOperations},
	}},
	{"operationStatuses/{id}", "{subscription}/providers/Microsoft.ServiceLinker/locations/{location}/operationStatuses/{status}", asGET, methods{
		"GET": {arm.Provider + "/locations/operationStatuses/read", byRecord, light, anyVersion, (*Server).operationStatus},
	}},

	// Patchbay.Connector: what Azure has no words for.
	{"Patchbay.Connector/environment", "{source}/providers/Patchbay.Connector/environment", readResource, methods{
		"POST": {own + "sources/environment/action", atScope, dials, ours, (*Server).environment},
	}},
	{"Patchbay.Connector/check", "{resource}/providers/Patchbay.Connector/check", readResource, methods{
		"POST": {connector.ActionHost, atScope, dials, ours, (*Server).checkHost},
	}},
	{"Patchbay.Connector/rotateAdmin", "{resource}/providers/Patchbay.Connector/rotateAdmin", readResource, methods{
		"POST": {own + "resources/write", atScope, light, ours, (*Server).rotateAdmin},
	}},
	{"Patchbay.Connector/discover", "{group}/providers/Patchbay.Connector/discover", readResource, methods{
		"POST": {own + "resources/write", atScope, dials, ours, (*Server).discover},
	}},
	{"Patchbay.Connector/takeCredential", "{group}/providers/Patchbay.Connector/takeCredential", readResource, methods{
		"POST": {own + "resources/write", atScope, dials, ours, (*Server).takeCredential},
	}},
	{"Patchbay.Connector/operations", "/providers/Patchbay.Connector/operations", asGET, methods{
		"GET": {own + "operations/read", listed, lists, ours, (*Server).listOperations},
	}},
	{"Patchbay.Connector/operations/{id}", "/providers/Patchbay.Connector/operations/{operation}", asGET, methods{
		"GET": {own + "operations/read", byRecord, light, ours, (*Server).getOperation},
	}},
	{"Patchbay.Connector/operations/{id}/{action}", "/providers/Patchbay.Connector/operations/{operation}/{action}", own + "operations/read", methods{
		"POST cancel":  {own + "operations/cancel/action", byRecord, light, ours, operationAction(connector.API.Cancel)},
		"POST retry":   {own + "operations/retry/action", byRecord, light, ours, operationAction(connector.API.Retry)},
		"POST abandon": {own + "operations/abandon/action", byRecord, light, ours, operationAction(connector.API.Abandon)},
	}},
	{"Patchbay.Connector/leftovers", "/providers/Patchbay.Connector/leftovers", asGET, methods{
		"GET": {own + "leftovers/read", listed, lists, ours, (*Server).listLeftovers},
	}},
	{"Patchbay.Connector/leftovers/{id}", "/providers/Patchbay.Connector/leftovers/{leftover}", own + "leftovers/read", methods{
		"DELETE": {own + "leftovers/delete", byRecord, light, ours, (*Server).forgetLeftover},
	}},
	{"Patchbay.Connector/sweep", "/providers/Patchbay.Connector/sweep", own + "leftovers/read", methods{
		"POST": {own + "leftovers/sweep/action", atServer, light, ours, (*Server).sweep},
	}},
	{"Patchbay.Connector/events/test", "/providers/Patchbay.Connector/events/test", own + "events/read", methods{
		"POST": {own + "events/test/action", atServer, dials, ours, (*Server).testEvents},
	}},
	{"Patchbay.Connector/settings", "/providers/Patchbay.Connector/settings", asGET, methods{
		"GET": {own + "settings/read", anywhere, light, ours, (*Server).settingsTable},
	}},
	{"Patchbay.Connector/catalog", "/providers/Patchbay.Connector/catalog", asGET, methods{
		"GET": {own + "catalog/read", signedIn, light, ours, (*Server).catalog},
	}},

	// The inventory.
	{"Patchbay.Connector/resources", "/providers/Patchbay.Connector/resources", asGET, methods{
		"GET": {readResource, listed, lists, ours, (*Server).listResources},
	}},
	{"resources", "{subscription|group}/resources", asGET, methods{
		"GET": {readResource, inside, lists, anyVersion, (*Server).listResources},
	}},
	{"{resource}", "{resource}", asGET, methods{
		"GET":    {readResource, atScope, light, anyVersion, (*Server).getResource}, // a child of a target dials
		"PUT":    {own + "resources/write", atScope, dials, anyVersion, (*Server).putResource},
		"PATCH":  {own + "resources/write", atScope, dials, anyVersion, (*Server).patchResource},
		"DELETE": {own + "resources/delete", atScope, light, anyVersion, (*Server).deleteResource},
	}},
	{routeSubscriptions, "/subscriptions", asGET, methods{
		"GET": {readSubscription, listed, lists, anyVersion, (*Server).listSubscriptions},
	}},
	{routeSubscription, "{subscription}", asGET, methods{
		"GET": {readSubscription, inside, light, anyVersion, (*Server).getSubscription},
		"PUT": {own + "subscriptions/write", atScope, light, ours, (*Server).putSubscription},
	}},
	{routeGroups, "{subscription}/resourceGroups", asGET, methods{
		"GET": {groupActions + "read", inside, lists, anyVersion, (*Server).listResourceGroups},
	}},
	{routeGroup, "{group}", asGET, methods{
		"GET":    {groupActions + "read", inside, light, anyVersion, (*Server).getResourceGroup},
		"PUT":    {groupActions + "write", atScope, light, anyVersion, (*Server).putResourceGroup},
		"PATCH":  {groupActions + "write", atScope, light, anyVersion, (*Server).patchResourceGroup},
		"DELETE": {groupActions + "delete", atScope, light, anyVersion, (*Server).deleteResourceGroup},
	}},

	// What clients ask for around these.
	{"tenants", "/tenants", asGET, methods{
		"GET": {"Microsoft.Resources/tenants/read", listed, light, anyVersion, (*Server).tenantList},
	}},
	{"locations", "{subscription}/locations", asGET, methods{
		"GET": {readSubscription, inside, lists, anyVersion, (*Server).listLocations},
	}},
	{"providers", "{root|subscription}/providers", asGET, methods{
		"GET": {readSubscription, inside, lists, anyVersion, (*Server).listProviders},
	}},
	{"providers/{namespace}", "{root|subscription}/providers/{namespace}", asGET, methods{
		"GET": {readSubscription, inside, lists, anyVersion, (*Server).getProvider},
	}},
	{"providers/{namespace}/{action}", "{subscription}/providers/{namespace}/{action}", readSubscription, methods{
		// Registering changes nothing: every provider is registered everywhere.
		"POST register":   {readSubscription, inside, lists, anyVersion, (*Server).getProvider},
		"POST unregister": {readSubscription, inside, light, anyVersion, (*Server).unregisterProvider},
	}},
	{"{site}/config/{name}", "{site}/config/{config}", asGET, methods{
		"GET": {readResource, atScope, light, anyVersion, (*Server).siteConfig},
	}},
	{"{site}/config/{name}/list", "{site}/config/{config}/list", readResource, methods{
		"POST": {"Microsoft.Web/sites/config/list/action", atScope, dials, anyVersion, (*Server).siteSettings},
	}},
	{"{site}/publishxml", "{site}/publishxml", readResource, methods{
		"POST": {readResource, atScope, light, anyVersion, (*Server).publishProfiles},
	}},

	// Tenants and principals. A principal is held at its tenant's root.
	{"Patchbay.Connector/tenants", "/providers/Patchbay.Connector/tenants", asGET, methods{
		"GET": {own + "tenants/read", listed, light, ours, (*Server).tenantList},
	}},
	{"Patchbay.Connector/tenants/{id}", "/providers/Patchbay.Connector/tenants/{tenant}", asGET, methods{
		"GET": {own + "tenants/read", atScope, light, ours, (*Server).getTenant},
		"PUT": {own + "tenants/write", atScope, light, ours, (*Server).putTenant},
	}},
	{"Patchbay.Connector/principals", "/providers/Patchbay.Connector/principals", asGET, methods{
		"GET":  {own + "principals/read", atScope, lists, ours, (*Server).listPrincipals},
		"POST": {own + "principals/write", atScope, light, ours, (*Server).createPrincipal},
	}},
	{"Patchbay.Connector/principals/{id}", "/providers/Patchbay.Connector/principals/{principal}", asGET, methods{
		"GET":    {own + "principals/read", atScope, light, ours, (*Server).getPrincipal},
		"PATCH":  {own + "principals/write", atScope, light, ours, (*Server).patchPrincipal},
		"DELETE": {own + "principals/delete", atScope, light, ours, (*Server).deletePrincipal},
	}},
	{"Patchbay.Connector/principals/{id}/{action}", "/providers/Patchbay.Connector/principals/{principal}/{action}", own + "principals/read", methods{
		"POST resetSecret": {own + "principals/resetSecret/action", atScope, light, ours, (*Server).resetSecret},
	}},

	// Microsoft Graph, as far as az asks it for names.
	{"Graph/servicePrincipals", "/v1.0/servicePrincipals", asGET, methods{
		"GET": {own + "principals/read", signedIn, lists, anyVersion, searchGraph(patchbay.ServicePrincipal)},
	}},
	{"Graph/users", "/v1.0/users", asGET, methods{
		"GET": {own + "principals/read", atScope, lists, anyVersion, searchGraph(patchbay.UserPrincipal)},
	}},
	{"Graph/groups", "/v1.0/groups", asGET, methods{
		"GET": {own + "principals/read", atScope, lists, anyVersion, searchGraph(patchbay.GroupPrincipal)},
	}},
	{"Graph/servicePrincipals/{id}", "/v1.0/servicePrincipals/{principal}", asGET, methods{
		"GET": {own + "principals/read", signedIn, lists, anyVersion, (*Server).oneOfGraph},
	}},
	{"Graph/directoryObjects/getByIds", "/v1.0/directoryObjects/getByIds", own + "principals/read", methods{
		"POST": {own + "principals/read", atScope, lists, anyVersion, (*Server).graphByIDs},
	}},

	// Roles, in the shape that az and the SDKs know from ARM.
	{"roleDefinitions", "{root|id}/providers/Microsoft.Authorization/roleDefinitions", asGET, methods{
		"GET": {access.ReadDefinitions, inside, lists, anyVersion, (*Server).listRoleDefinitions},
	}},
	{"roleDefinitions/{id}", "{root|id}/providers/Microsoft.Authorization/roleDefinitions/{role}", asGET, methods{
		"GET":    {access.ReadDefinitions, inside, light, anyVersion, (*Server).getRoleDefinition},
		"PUT":    {access.WriteDefinitions, atScope, light, anyVersion, (*Server).putRoleDefinition},
		"DELETE": {access.DeleteDefinitions, atScope, light, anyVersion, (*Server).deleteRoleDefinition},
	}},
	{"roleAssignments", "{root|id}/providers/Microsoft.Authorization/roleAssignments", asGET, methods{
		"GET": {access.ReadAssignments, inside, lists, anyVersion, (*Server).listRoleAssignments},
	}},
	{"roleAssignments/{id}", "{root|id}/providers/Microsoft.Authorization/roleAssignments/{role}", asGET, methods{
		"GET":    {access.ReadAssignments, atScope, light, anyVersion, (*Server).getRoleAssignment},
		"PUT":    {access.WriteAssignments, atScope, light, anyVersion, (*Server).putRoleAssignment},
		"DELETE": {access.DeleteAssignments, atScope, light, anyVersion, (*Server).deleteRoleAssignment},
	}},
	{"permissions", "{root|id}/providers/Microsoft.Authorization/permissions", asGET, methods{
		"GET": {"Microsoft.Authorization/permissions/read", atScope, lists, anyVersion, (*Server).listPermissions},
	}},

	// The audit log.
	{"Patchbay.Connector/audit", "/providers/Patchbay.Connector/audit", asGET, methods{
		"GET": {own + "audit/read", atScope, lists, ours, (*Server).readAudit},
	}},
	{"Patchbay.Connector/audit/verify", "/providers/Patchbay.Connector/audit/verify", own + "audit/read", methods{
		"POST": {own + "audit/verify/action", atScope, wholeLog, ours, (*Server).verifyAudit},
	}},
}

// Routes that what is absent on them is named after.
const (
	routeSubscriptions arm.Route = "subscriptions"
	routeSubscription  arm.Route = "subscriptions/{s}"
	routeGroups        arm.Route = "resourceGroups"
	routeGroup         arm.Route = "resourceGroups/{rg}"
)

// release says which api-versions a rule is in: Microsoft.ServiceLinker's from
// the first one on, or others.
type release struct {
	first arm.Version
	what  string // what is first in it, for who asks an older one
}

var (
	anyVersion = release{}                     // any, or none: the inventory and operation statuses
	ours       = release{first: arm.V20261101} // Patchbay.Connector's

	always          = release{first: arm.V20220501}
	sinceGenerate   = release{arm.V20221101Preview, "generateConfigurations"}
	sinceConnectors = release{arm.V20221101Preview, "the resource type locations/connectors"}
	sinceDryruns    = release{arm.V20221101Preview, "the resource type dryruns"}
	sinceNames      = release{arm.V20221101Preview, "configurationNames"}
	sinceDapr       = release{arm.V20230401Preview, "daprConfigurations"}
)

// check is what the api-version that was asked for means to a rule; "" where
// any does.
func (r release) check(asked string) (arm.Version, error) {
	switch r {
	case anyVersion:
		return "", nil
	case ours:
		return "", arm.CheckOwnVersion(asked)
	}
	return arm.ParseVersion(asked)
}

// has refuses a version that is older than the rule.
func (r release) has(v arm.Version) error {
	if r == anyVersion || r == ours || v >= r.first {
		return nil
	}
	return patchbay.Errorf(arm.InvalidResourceType, "%s is not in api-version %s; it is from %s on", r.what, v, r.first)
}

// routes finds the row of a request.
type routes struct {
	paths  *arm.Router
	byName map[arm.Route]entry
}

// newRoutes makes the routes of the table. A row without an action or a
// handler, one that nothing makes visible, and one whose pattern is not
// understood are refused at the start, not found by a caller.
func newRoutes(table []entry) (routes, error) {
	r := routes{paths: &arm.Router{}, byName: map[arm.Route]entry{}}
	for _, e := range table {
		if e.reads == asGET {
			e.reads = e.methods[http.MethodGet].action
		}
		if e.reads == "" {
			return r, patchbay.Errorf(patchbay.Internal, "nothing says which action makes the route %s visible", e.name)
		}
		byKey, actions := methods{}, []string(nil)
		for key, m := range e.methods {
			if m.action == "" || m.answer == nil {
				return r, patchbay.Errorf(patchbay.Internal, "the route %s %s has no action", key, e.name)
			}
			method, action, _ := strings.Cut(key, " ")
			if action != "" {
				actions = append(actions, action)
			}
			byKey[keyOf(method, action)] = m
		}
		e.methods = byKey
		if _, twice := r.byName[e.name]; twice {
			return r, patchbay.Errorf(patchbay.Internal, "there are two routes %s", e.name)
		}
		if err := r.paths.Add(e.name, e.pattern, actions...); err != nil {
			return r, err
		}
		r.byName[e.name] = e
	}
	// Answered without a token; its name is for the metrics.
	return r, r.paths.Add("Patchbay.Connector/signIn", "/providers/Patchbay.Connector/signIn")
}

// keyOf is how a method and the action in a path are looked up.
func keyOf(method, action string) string {
	if action == "" {
		return method
	}
	return method + " " + strings.ToLower(action)
}

// container reports whether the route shows a container with what is in it: to
// whoever may read something there.
func (e entry) container() bool {
	for _, m := range e.methods {
		if m.action == e.reads && m.held == inside {
			return true
		}
	}
	return false
}
