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
	begun, err := s.api.Patch(x.ctx, r, merge)
	if err != nil {
		return err
	}
	return x.wrote(begun, http.StatusAccepted)
}

// deleteConnector answers when the connector is gone, as the live service does:
// its clients look at once. One that takes too long is answered as a linker is.
func (s *Server) deleteConnector(x *exchange) error { return x.deleteConnection(maxWait) }
