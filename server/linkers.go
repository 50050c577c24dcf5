package server

import (
	"net/http"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

func (s *Server) listLinkers(x *exchange) error {
	after, limit, err := x.page()
	if err != nil {
		return err
	}
	page, next, err := s.api.List(x.ctx, x.path.Scope, after, limit)
	if err != nil {
		return err
	}
	items := make([]any, len(page))
	for i, c := range page {
		items[i] = arm.Linker(x.version, c)
	}
	return x.list(items, next)
}

func (s *Server) getLinker(x *exchange) error {
	c, err := s.api.Get(x.ctx, x.path.Linker)
	if err != nil {
		return err
	}
	x.etag(c.ETag)
	return x.json(http.StatusOK, arm.Linker(x.version, c))
}

func (s *Server) putLinker(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	spec, err := arm.DecodePut(x.version, body)
	if err != nil {
		return err
	}
	r, err := x.putRequest(spec)
	if err != nil {
		return err
	}
	if x.version == arm.V20261101 {
		begun, err := s.api.Put(x.ctx, r)
		if err != nil {
			return err
		}
		return x.wrote(begun)
	}
	// An older version replaces what it has words for.
	begun, err := s.api.Patch(x.ctx, r, func(stored *patchbay.Spec) error {
		want := spec
		arm.Carry(x.version, &want, *stored)
		*stored = want
		return nil
	})
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		begun, err = s.api.Put(x.ctx, r)
	}
	if err != nil {
		return err
	}
	return x.wrote(begun)
}

func (s *Server) patchLinker(x *exchange) error {
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
	return x.wrote(begun)
}

func (x *exchange) putRequest(spec patchbay.Spec) (connector.PutRequest, error) {
	tag, err := x.ifMatch()
	return connector.PutRequest{ID: x.path.Linker, Spec: spec, Caller: x.caller.Caller, IfMatch: tag}, err
}

// wrote answers a PUT or PATCH that became an operation: 201 with the resource
// and where to poll, for an update too, and never a Location (contract section
// 11, 6 and 7).
func (x *exchange) wrote(b connector.Begun) error {
	x.etag(b.Connection.ETag)
	body := arm.Linker(x.version, b.Connection)
	if b.Operation.ID == "" {
		// What made it what it is has been retired, and there is nothing to do.
		return x.json(http.StatusOK, body)
	}
	x.poll(x.statusURL(b.Operation, b.Connection.Location), false)
	return x.json(http.StatusCreated, body)
}

// began answers a DELETE or POST that became an operation.
func (x *exchange) began(b connector.Begun) error {
	x.poll(x.statusURL(b.Operation, b.Connection.Location), true)
	return x.json(http.StatusAccepted, nil)
}

func (x *exchange) statusURL(op patchbay.Operation, location string) string {
	return x.base() + arm.StatusPath(op, location)
}

// poll says where to ask again and when. Without Retry-After az and the Go SDK
// wait 30 seconds.
func (x *exchange) poll(url string, location bool) {
	h := x.w.Header()
	h.Set("Azure-AsyncOperation", url)
	if location {
		h.Set("Location", url)
	}
	h.Set("Retry-After", "1")
}

func (s *Server) deleteLinker(x *exchange) error {
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	begun, err := s.api.Delete(x.ctx, x.path.Linker, x.caller.Caller, tag)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return x.empty(http.StatusNoContent)
	}
	if err != nil {
		return err
	}
	return x.began(begun)
}

func (s *Server) validateLinker(x *exchange) error {
	begun, err := s.api.Validate(x.ctx, x.path.Linker, x.caller.Caller, false)
	if err != nil {
		return err
	}
	return x.began(begun)
}

func (s *Server) listConfigurations(x *exchange) error {
	list, err := s.api.Configurations(x.ctx, x.path.Linker, x.caller.Caller)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, arm.Configurations(x.version, list))
}

func (s *Server) generateConfigurations(x *exchange) error {
	if x.version < arm.V20221101Preview {
		return patchbay.Errorf(arm.InvalidResourceType, "generateConfigurations is not in api-version %s; it is from %s on", x.version, arm.V20221101Preview)
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	info, err := arm.DecodeConfigurationInfo(x.version, body)
	if err != nil {
		return err
	}
	list, err := s.api.Generate(x.ctx, x.path.Linker, info, x.caller.Caller)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, arm.Configurations(x.version, list))
}

func (s *Server) rotateLinker(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	want, err := arm.DecodeRotate(body)
	if err != nil {
		return err
	}
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	begun, err := s.api.Rotate(x.ctx, connector.RotateRequest{
		ID: x.path.Linker, Caller: x.caller.Caller, IfMatch: tag,
		Name: want.Name, Secret: want.Secret, RevokeNow: want.RevokeNow,
	})
	if err != nil {
		return err
	}
	return x.began(begun)
}

func (s *Server) validateOwn(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	fix, err := arm.DecodeValidate(body)
	if err != nil {
		return err
	}
	begun, err := s.api.Validate(x.ctx, x.path.Linker, x.caller.Caller, fix)
	if err != nil {
		return err
	}
	return x.began(begun)
}

func (s *Server) previewLinker(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	spec, err := arm.DecodePut(arm.V20261101, body)
	if err != nil {
		return err
	}
	r, err := x.putRequest(spec)
	if err != nil {
		return err
	}
	p, err := s.api.Preview(x.ctx, r)
	if err != nil {
		return err
	}
	settings := make([]map[string]any, len(p.Settings))
	for i, v := range p.Settings {
		// A preview's values hold no secrets: those are words in angle brackets.
		settings[i] = map[string]any{
			"name": v.Name, "value": v.Value.Reveal(), "secret": v.Secret, "configType": v.ConfigType, "description": v.Description,
		}
	}
	steps, problems := p.Steps, p.Problems
	if steps == nil {
		steps = []connector.PreviewStep{}
	}
	if problems == nil {
		problems = []patchbay.Error{}
	}
	return x.json(http.StatusOK, map[string]any{"kind": p.Kind, "steps": steps, "settings": settings, "problems": problems})
}

func (s *Server) environment(x *exchange) error {
	env, err := s.api.Process(x.ctx, x.path.Scope, x.caller.Caller)
	if err != nil {
		return err
	}
	values := make(map[string]string, len(env))
	for name, v := range env {
		values[name] = v.Reveal()
	}
	return x.json(http.StatusOK, map[string]any{"environment": values})
}

func (s *Server) providerOperations(x *exchange) error {
	return x.json(http.StatusOK, arm.ProviderOperations())
}
