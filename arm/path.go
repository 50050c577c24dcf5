package arm

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"patchbay.dev/patchbay"
)

// Route is what a path leads to. There is a fixed set of them: a route is a
// label of metrics and spans, a path is not.
type Route string

// The routes.
const (
	RouteLinkers            Route = "linkers"
	RouteLinker             Route = "linkers/{name}"
	RouteLinkerAction       Route = "linkers/{name}/{action}"
	RouteOwnLinkerAction    Route = "linkers/{name}/Patchbay.Connector/{action}"
	RouteConnectors         Route = "connectors"
	RouteConnector          Route = "connectors/{name}"
	RouteConnectorAction    Route = "connectors/{name}/{action}"
	RouteOwnConnectorAction Route = "connectors/{name}/Patchbay.Connector/{action}"
	RouteDryruns            Route = "dryruns"
	RouteDryrun             Route = "dryruns/{name}"
	RouteLocalDryruns       Route = "locations/dryruns"
	RouteLocalDryrun        Route = "locations/dryruns/{name}"
	RouteDaprConfigurations Route = "daprConfigurations"
	RouteConfigurationNames Route = "Microsoft.ServiceLinker/configurationNames"
	RouteOperationStatus    Route = "operationStatuses/{id}"
	RouteProviderOperations Route = "Microsoft.ServiceLinker/operations"
	RouteEnvironment        Route = "Patchbay.Connector/environment"
	RouteOperations         Route = "Patchbay.Connector/operations"
	RouteOperation          Route = "Patchbay.Connector/operations/{id}"
	RouteOperationAction    Route = "Patchbay.Connector/operations/{id}/{action}"
	RouteLeftovers          Route = "Patchbay.Connector/leftovers"
	RouteLeftover           Route = "Patchbay.Connector/leftovers/{id}"
	RouteSweep              Route = "Patchbay.Connector/sweep"
	RouteSettings           Route = "Patchbay.Connector/settings"
	RouteAllResources       Route = "Patchbay.Connector/resources"
	RouteTenantList         Route = "tenants"
	RouteSubscriptions      Route = "subscriptions"
	RouteSubscription       Route = "subscriptions/{s}"
	RouteLocations          Route = "locations"
	RouteProviders          Route = "providers"
	RouteProvider           Route = "providers/{namespace}"
	RouteProviderAction     Route = "providers/{namespace}/{action}"
	RouteResourceGroups     Route = "resourceGroups"
	RouteResourceGroup      Route = "resourceGroups/{rg}"
	RouteResources          Route = "resources"
	RouteResource           Route = "{resource}"
	RouteSiteConfig         Route = "{site}/config/{name}"
	RouteSiteConfigList     Route = "{site}/config/{name}/list"
	RouteSitePublish        Route = "{site}/publishxml"
	RouteTenants            Route = "Patchbay.Connector/tenants"
	RouteTenant             Route = "Patchbay.Connector/tenants/{id}"
	RoutePrincipals         Route = "Patchbay.Connector/principals"
	RoutePrincipal          Route = "Patchbay.Connector/principals/{id}"
	RoutePrincipalAction    Route = "Patchbay.Connector/principals/{id}/{action}"
	RouteSignIn             Route = "Patchbay.Connector/signIn"
	RouteAudit              Route = "Patchbay.Connector/audit"
	RouteAuditVerify        Route = "Patchbay.Connector/audit/verify"
	RouteRoleDefinitions    Route = "roleDefinitions"
	RouteRoleDefinition     Route = "roleDefinitions/{id}"
	RouteRoleAssignments    Route = "roleAssignments"
	RouteRoleAssignment     Route = "roleAssignments/{id}"
	RoutePermissions        Route = "permissions"
	RouteUnknown            Route = "unknown"
)

// Path is a request path, understood.
type Path struct {
	Route Route
	// Scope is the id that the route hangs on: a linker's source, a connector's
	// location, a resource, a subscription; "" at the root.
	Scope patchbay.ID
	// Linker is the connection's id, a connector's too, with the casing of the
	// request.
	Linker patchbay.ID
	// Dryrun is the dryrun's id.
	Dryrun patchbay.ID
	// Name is the connection's or dryrun's name, the operation's or leftover's id,
	// the subscription's, a provider's namespace, or a site's configuration's.
	Name string
	// Location is the location segment of an operation's status.
	Location string
	// Action is the last word of an action, in lower case.
	Action string
}

// linkerName is what a connection may be called. az takes letters, digits, dot
// and underscore; a dash is allowed besides, because people ask for it
// (contract section 9, 7). Sixty leaves room for what is made from it.
var linkerName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,60}$`)

// CheckLinkerName says whether a connection may have that name.
func CheckLinkerName(name string) error {
	if !linkerName.MatchString(name) || name == "." || name == ".." {
		return patchbay.Errorf(patchbay.InvalidArgument,
			"the connection name %s is not 1 to 60 letters, digits, dots, underscores and dashes", quote(name))
	}
	return nil
}

// ParsePath understands the path of a request, still percent-encoded. Words of
// ARM are taken in any case and doubled slashes are folded; a source's id may
// itself hold /providers/, so the last provider in the path counts. A path that
// leads nowhere is RouteUnknown with an error of 404 or 400.
func ParsePath(escaped string) (Path, error) {
	unknown := Path{Route: RouteUnknown}
	if len(escaped) > 3*patchbay.MaxIDLength {
		return unknown, patchbay.Errorf(patchbay.InvalidResourceID, "the path is longer than %d bytes", 3*patchbay.MaxIDLength)
	}
	var parts []string
	for raw := range strings.SplitSeq(escaped, "/") {
		if raw == "" {
			continue
		}
		part, err := url.PathUnescape(raw)
		if err != nil || strings.Contains(part, "/") {
			return unknown, patchbay.Errorf(patchbay.InvalidResourceID, "the path has a segment that is not well encoded: %s", quote(raw))
		}
		parts = append(parts, part)
	}
	if p, ok, err := parseSurroundings(parts); ok {
		return p, err
	}
	for i := len(parts) - 2; i >= 0; i-- {
		if !strings.EqualFold(parts[i], "providers") {
			continue
		}
		scope, rest := parts[:i], parts[i+2:]
		switch {
		case strings.EqualFold(parts[i+1], Provider):
			return parseServiceLinker(scope, rest)
		case strings.EqualFold(parts[i+1], OwnProvider):
			return parseOwn(scope, rest)
		case strings.EqualFold(parts[i+1], AuthorizationProvider):
			return parseAuthorization(scope, rest)
		}
	}
	return parseInventory(parts)
}

func notFound(what string) (Path, error) {
	return Path{Route: RouteUnknown}, patchbay.Errorf(InvalidResourceType, "there is nothing at %s", what)
}

func parseScope(parts []string) (patchbay.ID, error) {
	return patchbay.ParseID("/" + strings.Join(parts, "/"))
}

func is(s, word string) bool { return strings.EqualFold(s, word) }

func parseServiceLinker(scope, rest []string) (Path, error) {
	if len(scope) == 0 {
		switch {
		case len(rest) == 1 && is(rest[0], "operations"):
			return Path{Route: RouteProviderOperations}, nil
		case len(rest) == 1 && is(rest[0], "configurationNames"):
			return Path{Route: RouteConfigurationNames}, nil
		}
		return notFound("/providers/" + Provider + "/" + shown(rest))
	}
	id, err := parseScope(scope)
	if err != nil {
		return Path{Route: RouteUnknown}, err
	}
	switch {
	case len(rest) == 0:
	case is(rest[0], "locations"):
		return parseLocation(id, rest)
	case is(rest[0], "linkers") && len(rest) <= 3:
		p := Path{Route: RouteLinkers, Scope: id}
		return p.connection(rest[1:], RouteLinker, RouteLinkerAction, "validatelinker", "listconfigurations", "generateconfigurations")
	case is(rest[0], "dryruns") && len(rest) <= 2:
		p := Path{Route: RouteDryruns, Scope: id}
		return p.dryrun(rest[1:], RouteDryrun)
	case is(rest[0], "daprConfigurations") && len(rest) == 1:
		return Path{Route: RouteDaprConfigurations, Scope: id}, nil
	}
	return notFound("{source}/providers/" + Provider + "/" + shown(rest))
}

// parseLocation understands locations/{location}/…: below a subscription the
// statuses of operations, below a resource group what is for one's own machine.
func parseLocation(scope patchbay.ID, rest []string) (Path, error) {
	nowhere := "{scope}/providers/" + Provider + "/" + shown(rest)
	if len(rest) < 3 {
		return notFound(nowhere)
	}
	p := Path{Route: RouteUnknown, Scope: scope, Location: rest[1]}
	group := scope.ResourceGroup()
	switch {
	case group == "" && scope.Type() == "" && len(rest) == 4 && is(rest[2], "operationStatuses"):
		p.Route = RouteOperationStatus
		name, ok := splitStatusName(scope.Subscription(), rest[3])
		if !ok {
			return p, patchbay.Errorf(patchbay.ResourceNotFound, "there is no operation %s", quote(rest[3]))
		}
		p.Name = name
		return p, nil
	case group == "" || scope.Type() != "":
		return notFound(nowhere)
	}
	var err error
	if p.Scope, err = patchbay.ParseID(string(scope.Location(rest[1]))); err != nil {
		return p, err
	}
	switch {
	case is(rest[2], "connectors") && len(rest) <= 5:
		p.Route = RouteConnectors
		return p.connection(rest[3:], RouteConnector, RouteConnectorAction, "validate", "generateconfigurations")
	case is(rest[2], "dryruns") && len(rest) <= 4:
		p.Route = RouteLocalDryruns
		return p.dryrun(rest[3:], RouteLocalDryrun)
	}
	return notFound(nowhere)
}

// connection completes p, the path of a list of connections, with
// [{name}[/{action}]].
func (p Path) connection(rest []string, one, act Route, actions ...string) (Path, error) {
	if len(rest) == 0 {
		return p, nil
	}
	list := p.Route
	p.Route = one
	if len(rest) == 2 {
		p.Route, p.Action = act, strings.ToLower(rest[1])
	}
	if err := CheckLinkerName(rest[0]); err != nil {
		return p, err
	}
	p.Name = rest[0]
	if list == RouteConnectors {
		p.Linker = p.Scope.Connector(p.Name)
	} else {
		p.Linker = p.Scope.Linker(p.Name)
	}
	if p.Action != "" && !slices.Contains(actions, p.Action) {
		return notFound(string(one) + "/" + shown(rest[1:]))
	}
	return p, nil
}

// dryrun completes p, the path of a list of dryruns, with [{name}].
func (p Path) dryrun(rest []string, one Route) (Path, error) {
	if len(rest) == 0 {
		return p, nil
	}
	list := p.Route
	p.Route = one
	if err := CheckLinkerName(rest[0]); err != nil {
		return p, err
	}
	p.Name = rest[0]
	if list == RouteLocalDryruns {
		p.Dryrun = p.Scope.Child("dryruns", p.Name)
	} else {
		p.Dryrun = p.Scope.Child("providers/"+Provider+"/dryruns", p.Name)
	}
	return p, nil
}

func parseOwn(scope, rest []string) (Path, error) {
	where := "/providers/" + OwnProvider + "/" + shown(rest)
	if len(scope) == 0 {
		return parseOwnRoot(where, rest)
	}
	id, err := parseScope(scope)
	if err != nil {
		return Path{Route: RouteUnknown}, err
	}
	if len(rest) != 1 {
		return notFound("{id}" + where)
	}
	action := strings.ToLower(rest[0])
	if source, name, ok := id.ConnectionSource(); ok {
		p := Path{Route: RouteOwnLinkerAction, Scope: source, Linker: source.Linker(name), Name: name, Action: action}
		if id.IsConnector() {
			p.Route, p.Linker = RouteOwnConnectorAction, source.Connector(name)
		}
		if err := CheckLinkerName(name); err != nil {
			return p, err
		}
		switch action {
		case "rotate", "validate", "preview":
			return p, nil
		}
		return notFound("{connection}" + where)
	}
	if action == "environment" {
		return Path{Route: RouteEnvironment, Scope: id, Action: action}, nil
	}
	return notFound("{id}" + where)
}

func parseOwnRoot(where string, rest []string) (Path, error) {
	if len(rest) == 0 {
		return notFound(where)
	}
	switch word := strings.ToLower(rest[0]); {
	case word == "operations" && len(rest) == 1:
		return Path{Route: RouteOperations}, nil
	case word == "operations" && len(rest) == 2:
		return Path{Route: RouteOperation, Name: rest[1]}, checkOperationID(rest[1])
	case word == "operations" && len(rest) == 3:
		p := Path{Route: RouteOperationAction, Name: rest[1], Action: strings.ToLower(rest[2])}
		switch p.Action {
		case "cancel", "retry", "abandon":
			return p, checkOperationID(rest[1])
		}
	case word == "leftovers" && len(rest) == 1:
		return Path{Route: RouteLeftovers}, nil
	case word == "leftovers" && len(rest) == 2 && operationID.MatchString(rest[1]): // they are named after operations
		return Path{Route: RouteLeftover, Name: rest[1]}, nil
	case word == "sweep" && len(rest) == 1:
		return Path{Route: RouteSweep}, nil
	case word == "settings" && len(rest) == 1:
		return Path{Route: RouteSettings}, nil
	case word == "resources" && len(rest) == 1:
		return Path{Route: RouteAllResources}, nil
	case word == "tenants" && len(rest) == 1:
		return Path{Route: RouteTenants}, nil
	case word == "tenants" && len(rest) == 2:
		return Path{Route: RouteTenant, Name: rest[1]}, nil
	case word == "principals" && len(rest) == 1:
		return Path{Route: RoutePrincipals}, nil
	case word == "principals" && len(rest) == 2:
		return Path{Route: RoutePrincipal, Name: rest[1]}, nil
	case word == "principals" && len(rest) == 3 && is(rest[2], "resetSecret"):
		return Path{Route: RoutePrincipalAction, Name: rest[1], Action: strings.ToLower(rest[2])}, nil
	case word == "signin" && len(rest) == 1:
		return Path{Route: RouteSignIn}, nil
	case word == "audit" && len(rest) == 1:
		return Path{Route: RouteAudit}, nil
	case word == "audit" && len(rest) == 2 && is(rest[1], "verify"):
		return Path{Route: RouteAuditVerify, Action: "verify"}, nil
	}
	return notFound(where)
}

// parseAuthorization understands Microsoft.Authorization below a scope; at the
// root of the path the scope is the caller's tenant.
func parseAuthorization(scope, rest []string) (Path, error) {
	p := Path{Scope: patchbay.RootScope}
	if len(scope) > 0 {
		id, err := parseScope(scope)
		if err != nil {
			return Path{Route: RouteUnknown}, err
		}
		p.Scope = id
	}
	if len(rest) == 0 || len(rest) > 2 {
		return notFound("{scope}/providers/" + AuthorizationProvider + "/" + shown(rest))
	}
	if len(rest) == 2 {
		p.Name = rest[1]
	}
	switch word := strings.ToLower(rest[0]); {
	case word == "roledefinitions" && len(rest) == 1:
		p.Route = RouteRoleDefinitions
	case word == "roledefinitions":
		p.Route = RouteRoleDefinition
	case word == "roleassignments" && len(rest) == 1:
		p.Route = RouteRoleAssignments
	case word == "roleassignments":
		p.Route = RouteRoleAssignment
	case word == "permissions" && len(rest) == 1:
		p.Route = RoutePermissions
	default:
		return notFound("{scope}/providers/" + AuthorizationProvider + "/" + shown(rest))
	}
	return p, nil
}

var operationID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

func checkOperationID(id string) error {
	if operationID.MatchString(id) {
		return nil
	}
	return patchbay.Errorf(patchbay.ResourceNotFound, "there is no operation %s", quote(id))
}

func parseInventory(parts []string) (Path, error) {
	if len(parts) == 0 || !is(parts[0], "subscriptions") {
		return notFound("/" + shown(parts))
	}
	p := Path{Route: RouteUnknown}
	last := parts[len(parts)-1]
	switch {
	case len(parts) == 1:
		return Path{Route: RouteSubscriptions}, nil
	case len(parts) == 3 && is(last, "resourceGroups"), len(parts) == 3 && is(last, "resources"),
		len(parts) == 5 && is(last, "resources") && is(parts[2], "resourceGroups"):
		id, err := parseScope(parts[:len(parts)-1])
		p.Route, p.Scope = RouteResources, id
		if is(last, "resourceGroups") {
			p.Route = RouteResourceGroups
		}
		return p, err
	}
	id, err := parseScope(parts)
	if err != nil {
		return p, err
	}
	p.Scope = id
	switch {
	case len(parts) == 2:
		p.Route, p.Name = RouteSubscription, id.Subscription()
	case len(parts) == 4 && is(parts[2], "resourceGroups"):
		p.Route = RouteResourceGroup
	case id.Type() != "" && strings.Contains(id.Type(), "/"):
		p.Route = RouteResource
	default:
		return notFound(quote(string(id)))
	}
	return p, nil
}

// shown is what was asked for, shortened, for a message.
func shown(parts []string) string {
	const limit = 120
	s := strings.ToValidUTF8(strings.Join(parts, "/"), "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
