package server

import (
	"net/http"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

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
