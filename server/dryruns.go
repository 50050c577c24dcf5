package server

import (
	"net/http"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

func (s *Server) listDryruns(x *exchange) error {
	after, limit, err := x.page()
	if err != nil {
		return err
	}
	page, next, err := s.api.Dryruns(x.ctx, x.path.Scope, after, limit)
	if err != nil {
		return err
	}
	page = seen(x, page, x.action, func(d patchbay.Dryrun) patchbay.ID { return d.ID })
	items := make([]any, len(page))
	for i, d := range page {
		items[i] = arm.Dryrun(x.version, d)
	}
	return x.list(items, next)
}

func (s *Server) getDryrun(x *exchange) error {
	d, err := s.api.Dryrun(x.ctx, x.path.Dryrun)
	if err != nil {
		return err
	}
	x.etag(d.ETag)
	return x.json(http.StatusOK, arm.Dryrun(x.version, d))
}

func (s *Server) putDryrun(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	spec, err := arm.DecodeDryrun(x.version, body)
	if err != nil {
		return err
	}
	return x.dryrun(spec, "")
}

// patchDryrun merges into what the dryrun was asked with. Its secrets are not
// kept, so a PATCH that wants one considered names it again.
func (s *Server) patchDryrun(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	merge, err := arm.DecodeDryrunPatch(x.version, body)
	if err != nil {
		return err
	}
	d, err := s.api.Dryrun(x.ctx, x.path.Dryrun)
	if err != nil {
		return err
	}
	spec := d.Spec
	if err := merge(&spec); err != nil {
		return err
	}
	return x.dryrun(spec, d.ETag)
}

// dryrun looks at what the spec would do, and answers that. found is the ETag
// of the dryrun that the spec was made from, which must be there still.
func (x *exchange) dryrun(spec patchbay.Spec, found string) error {
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	if tag == "" || tag == "*" && found != "" {
		tag = found
	}
	d, created, err := x.server.api.PutDryrun(x.ctx, connector.DryrunRequest{
		ID: x.path.Dryrun, Spec: spec, Caller: x.caller.Caller, IfMatch: tag,
	})
	if err != nil {
		return err
	}
	x.w.Header().Set(skipDelay, "true")
	x.etag(d.ETag)
	return x.json(createdOr200(created), arm.Dryrun(x.version, d))
}

func (s *Server) deleteDryrun(x *exchange) error {
	return x.deleted(s.api.DeleteDryrun(x.ctx, x.path.Dryrun))
}

// daprConfigurations answers that no source here has any: a Dapr component
// belongs to a Container Apps environment, which Patchbay does not administer.
func (s *Server) daprConfigurations(x *exchange) error {
	return x.list(nil, "")
}
