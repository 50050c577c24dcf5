package server

import "patchbay.dev/patchbay/arm"

// makeRoutes is the API: for every route its version, and for every method the
// action that a caller must be allowed and what answers.
func (s *Server) makeRoutes() routes {
	r := routes{}
	add := func(name arm.Route, v versions, methods map[string]route) {
		e := r[name]
		e.version, e.methods = v, methods
		r[name] = e
	}
	const linkers, own = "Microsoft.ServiceLinker/linkers/", "Patchbay.Connector/"

	add(arm.RouteLinkers, linkerVersion, map[string]route{
		"GET": {linkers + "read", s.listLinkers},
	})
	add(arm.RouteLinker, linkerVersion, map[string]route{
		"GET":    {linkers + "read", s.getLinker},
		"PUT":    {linkers + "write", s.putLinker},
		"PATCH":  {linkers + "write", s.patchLinker},
		"DELETE": {linkers + "delete", s.deleteLinker},
	})
	add(arm.RouteLinkerAction, linkerVersion, map[string]route{
		"POST validatelinker":         {linkers + "validateLinker/action", s.validateLinker},
		"POST listconfigurations":     {linkers + "listConfigurations/action", s.listConfigurations},
		"POST generateconfigurations": {linkers + "generateConfigurations/action", s.generateConfigurations},
	})
	add(arm.RouteOperationStatus, anyVersion, map[string]route{
		"GET": {"Microsoft.ServiceLinker/locations/operationStatuses/read", s.operationStatus},
	})
	add(arm.RouteProviderOperations, linkerVersion, map[string]route{
		"GET": {"Microsoft.ServiceLinker/operations/read", s.providerOperations},
	})

	add(arm.RouteOwnLinkerAction, ownVersion, map[string]route{
		"POST rotate":   {own + "linkers/rotate/action", s.rotateLinker},
		"POST validate": {own + "linkers/validate/action", s.validateOwn},
		"POST preview":  {own + "linkers/preview/action", s.previewLinker},
	})
	add(arm.RouteEnvironment, ownVersion, map[string]route{
		"POST environment": {own + "sources/environment/action", s.environment},
	})
	add(arm.RouteOperations, ownVersion, map[string]route{"GET": {own + "operations/read", s.listOperations}})
	add(arm.RouteOperation, ownVersion, map[string]route{"GET": {own + "operations/read", s.getOperation}})
	add(arm.RouteOperationAction, ownVersion, map[string]route{
		"POST cancel":  {own + "operations/cancel/action", s.operationAction(s.api.Cancel)},
		"POST retry":   {own + "operations/retry/action", s.operationAction(s.api.Retry)},
		"POST abandon": {own + "operations/abandon/action", s.operationAction(s.api.Abandon)},
	})
	add(arm.RouteLeftovers, ownVersion, map[string]route{"GET": {own + "leftovers/read", s.listLeftovers}})
	add(arm.RouteSweep, ownVersion, map[string]route{"POST": {own + "leftovers/sweep/action", s.sweep}})
	add(arm.RouteSettings, ownVersion, map[string]route{"GET": {own + "settings/read", s.settingsTable}})
	add(arm.RouteAllResources, ownVersion, map[string]route{"GET": {own + "resources/read", s.listResources}})

	add(arm.RouteSubscriptions, anyVersion, map[string]route{"GET": {"Microsoft.Resources/subscriptions/read", s.listSubscriptions}})
	add(arm.RouteSubscription, anyVersion, map[string]route{"GET": {"Microsoft.Resources/subscriptions/read", s.getSubscription}})
	add(arm.RouteResourceGroups, anyVersion, map[string]route{"GET": {"Microsoft.Resources/subscriptions/resourceGroups/read", s.listResourceGroups}})
	add(arm.RouteResourceGroup, anyVersion, map[string]route{
		"GET":    {"Microsoft.Resources/subscriptions/resourceGroups/read", s.getResourceGroup},
		"PUT":    {"Microsoft.Resources/subscriptions/resourceGroups/write", s.putResourceGroup},
		"DELETE": {"Microsoft.Resources/subscriptions/resourceGroups/delete", s.deleteResourceGroup},
	})
	add(arm.RouteResources, anyVersion, map[string]route{"GET": {own + "resources/read", s.listResources}})
	add(arm.RouteResource, anyVersion, map[string]route{
		"GET":    {own + "resources/read", s.getResource},
		"PUT":    {own + "resources/write", s.putResource},
		"DELETE": {own + "resources/delete", s.deleteResource},
	})
	return r
}
