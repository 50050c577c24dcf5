package server

import "patchbay.dev/patchbay/arm"

// makeRoutes is the API: for every route its version, and for every method the
// action that a caller must be allowed and what answers.
func (s *Server) makeRoutes() routes {
	r := routes{}
	add := func(name arm.Route, v versions, methods map[string]route) {
		r[name] = endpoint{version: v, methods: methods}
	}
	s.linkerRoutes(add)
	s.localRoutes(add)
	s.dryrunRoutes(add)
	s.surroundingRoutes(add)
	s.inventoryRoutes(add)
	s.ownRoutes(add)
	s.accessRoutes(add)
	s.principalRoutes(add)
	s.auditRoutes(add)
	return r
}

// addRoute adds one route to the table; each file of handlers adds its own.
type addRoute func(name arm.Route, v versions, methods map[string]route)

// Prefixes of actions, in ARM's words.
const (
	linkers = "Microsoft.ServiceLinker/linkers/"
	own     = "Patchbay.Connector/"
)

func (s *Server) linkerRoutes(add addRoute) {
	add(arm.RouteLinkers, linkerVersion, map[string]route{
		"GET": {action: linkers + "read", answer: s.listLinkers, costs: lists},
	})
	add(arm.RouteLinker, linkerVersion, map[string]route{
		"GET":    {action: linkers + "read", answer: s.getLinker},
		"PUT":    {action: linkers + "write", answer: s.putLinker},
		"PATCH":  {action: linkers + "write", answer: s.patchLinker},
		"DELETE": {action: linkers + "delete", answer: s.deleteLinker},
	})
	add(arm.RouteLinkerAction, linkerVersion, map[string]route{
		"POST validatelinker":         {action: linkers + "validateLinker/action", answer: s.validateLinker},
		"POST listconfigurations":     {action: linkers + "listConfigurations/action", answer: s.listConfigurations},
		"POST generateconfigurations": {action: linkers + "generateConfigurations/action", answer: from(arm.V20221101Preview, "generateConfigurations", s.generateConfigurations), costs: dials},
	})
	add(arm.RouteOperationStatus, anyVersion, map[string]route{
		"GET": {action: "Microsoft.ServiceLinker/locations/operationStatuses/read", answer: s.operationStatus, late: true},
	})
	add(arm.RouteProviderOperations, linkerVersion, map[string]route{
		"GET": {action: "Microsoft.ServiceLinker/operations/read", answer: s.providerOperations},
	})
}

func (s *Server) ownRoutes(add addRoute) {
	add(arm.RouteOwnLinkerAction, ownVersion, map[string]route{
		"POST rotate":   {action: own + "linkers/rotate/action", answer: s.rotateLinker},
		"POST validate": {action: own + "linkers/validate/action", answer: s.validateOwn},
		"POST preview":  {action: own + "linkers/preview/action", answer: s.previewLinker, costs: dials},
	})
	add(arm.RouteEnvironment, ownVersion, map[string]route{
		"POST environment": {action: own + "sources/environment/action", answer: s.environment, costs: dials},
	})
	add(arm.RouteOperations, ownVersion, map[string]route{"GET": {action: own + "operations/read", answer: s.listOperations, costs: lists}})
	add(arm.RouteOperation, ownVersion, map[string]route{"GET": {action: own + "operations/read", answer: s.getOperation, late: true}})
	add(arm.RouteOperationAction, ownVersion, map[string]route{
		"POST cancel":  {action: own + "operations/cancel/action", answer: s.operationAction(s.api.Cancel), late: true},
		"POST retry":   {action: own + "operations/retry/action", answer: s.operationAction(s.api.Retry), late: true},
		"POST abandon": {action: own + "operations/abandon/action", answer: s.operationAction(s.api.Abandon), late: true},
	})
	add(arm.RouteLeftovers, ownVersion, map[string]route{"GET": {action: own + "leftovers/read", answer: s.listLeftovers, costs: lists}})
	add(arm.RouteLeftover, ownVersion, map[string]route{"DELETE": {action: own + "leftovers/delete", answer: s.forgetLeftover}})
	add(arm.RouteSweep, ownVersion, map[string]route{"POST": {action: own + "leftovers/sweep/action", answer: s.sweep}})
	add(arm.RouteSettings, ownVersion, map[string]route{"GET": {action: own + "settings/read", answer: s.settingsTable}})
	add(arm.RouteAllResources, ownVersion, map[string]route{"GET": {action: own + "resources/read", answer: s.listResources, costs: lists}})
}

func (s *Server) inventoryRoutes(add addRoute) {
	add(arm.RouteSubscriptions, anyVersion, map[string]route{"GET": {action: readSubscription, answer: s.listSubscriptions, costs: lists}})
	add(arm.RouteSubscription, anyVersion, map[string]route{
		"GET": {action: readSubscription, answer: s.getSubscription},
		"PUT": {action: own + "subscriptions/write", answer: s.putSubscription},
	})
	add(arm.RouteResourceGroups, anyVersion, map[string]route{"GET": {action: "Microsoft.Resources/subscriptions/resourceGroups/read", answer: s.listResourceGroups, costs: lists}})
	add(arm.RouteResourceGroup, anyVersion, map[string]route{
		"GET":    {action: "Microsoft.Resources/subscriptions/resourceGroups/read", answer: s.getResourceGroup},
		"PUT":    {action: "Microsoft.Resources/subscriptions/resourceGroups/write", answer: s.putResourceGroup},
		"PATCH":  {action: "Microsoft.Resources/subscriptions/resourceGroups/write", answer: s.patchResourceGroup},
		"DELETE": {action: "Microsoft.Resources/subscriptions/resourceGroups/delete", answer: s.deleteResourceGroup},
	})
	add(arm.RouteResources, anyVersion, map[string]route{"GET": {action: own + "resources/read", answer: s.listResources, costs: lists}})
	add(arm.RouteResource, anyVersion, map[string]route{
		"GET":    {action: own + "resources/read", answer: s.getResource},
		"PUT":    {action: own + "resources/write", answer: s.putResource, costs: dials},
		"PATCH":  {action: own + "resources/write", answer: s.patchResource, costs: dials},
		"DELETE": {action: own + "resources/delete", answer: s.deleteResource},
	})
}
