package server

import (
	"net/http"

	"patchbay.dev/patchbay"
)

// testEvents sends the receiver of events one, while the caller waits. It is the
// operator's: who is told what of all tenants is said at the start of the server.
func (s *Server) testEvents(x *exchange) error {
	if s.opts.Events == nil {
		return patchbay.Errorf(patchbay.NotSupported, "this server tells nobody of events").
			WithFix("start it with --events-to https://HOST/PATH")
	}
	if err := x.told(patchbay.ActOf(x.ctx), patchbay.AuditEntry{}); err != nil {
		return err
	}
	d, err := s.opts.Events.Test(x.ctx)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, d)
}
