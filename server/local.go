package server

import (
	"net/http"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// connectors are local connections: those of a developer's own machine, which
// have a location in place of a source.
const connectors = "Microsoft.ServiceLinker/locations/connectors/"

// localRoutes are the routes of local connections (connectors).
func (s *Server) localRoutes(add addRoute) {
	local := func(answer func(*exchange) error) func(*exchange) error {
		return from(arm.V20221101Preview, "the resource type locations/connectors", answer)
	}
	add(arm.RouteConnectors, linkerVersion, map[string]route{
		"GET": {action: connectors + "read", answer: local(s.listLinkers), costs: lists},
	})
	add(arm.RouteConnector, linkerVersion, map[string]route{
		"GET":    {action: connectors + "read", answer: local(s.getLinker)},
		"PUT":    {action: connectors + "write", answer: local(s.putConnector)},
		"PATCH":  {action: connectors + "write", answer: local(s.patchConnector)},
		"DELETE": {action: connectors + "delete", answer: local(s.deleteConnector)},
	})
	add(arm.RouteConnectorAction, linkerVersion, map[string]route{
		"POST validate":               {action: connectors + "validate/action", answer: local(s.validateLinker)},
		"POST generateconfigurations": {action: connectors + "generateConfigurations/action", answer: local(s.generateConfigurations), costs: dials},
	})
	add(arm.RouteOwnConnectorAction, ownVersion, map[string]route{
		"POST rotate":   {action: own + "connectors/rotate/action", answer: s.rotateLinker},
		"POST validate": {action: own + "connectors/validate/action", answer: s.validateOwn},
		"POST preview":  {action: own + "connectors/preview/action", answer: s.previewLinker, costs: dials},
	})
}

func (s *Server) putConnector(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	spec, err := arm.DecodePut(x.version, body)
	if err != nil {
		return err
	}
	completeLocal(&spec)
	begun, err := x.put(spec)
	if err != nil {
		return err
	}
	return x.wrote(begun, http.StatusCreated)
}

func (s *Server) patchConnector(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	merge, err := arm.DecodePatch(x.version, body)
	if err != nil {
		return err
	}
	r, err := x.putRequest(patchbay.Spec{})
	if err != nil {
		return err
	}
	begun, err := s.api.Patch(x.ctx, r, func(spec *patchbay.Spec) error {
		if err := merge(spec); err != nil {
			return err
		}
		completeLocal(spec)
		return nil
	})
	if err != nil {
		return err
	}
	return x.wrote(begun, http.StatusAccepted)
}

// completeLocal fills what the live service fills on a connector, and not on a
// linker (contract section 3.3).
func completeLocal(s *patchbay.Spec) {
	if s.PublicNetwork == nil {
		return
	}
	n := *s.PublicNetwork
	if n.Action == "" {
		n.Action = "enable"
	}
	if n.OnChange == "" {
		n.OnChange = "Default"
	}
	s.PublicNetwork = &n
}

// deleteConnector answers when the connector is gone, as the live service does:
// its clients look at once. One that takes too long is answered as a linker is.
func (s *Server) deleteConnector(x *exchange) error { return x.deleteConnection(maxWait) }
