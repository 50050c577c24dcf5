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
	page = seen(x, page, x.action, func(c patchbay.Connection) patchbay.ID { return c.ID })
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
	begun, err := x.put(spec)
	if err != nil {
		return err
	}
	return x.wrote(begun, http.StatusCreated)
}

// put begins what a PUT of the spec asks for.
func (x *exchange) put(spec patchbay.Spec) (connector.Begun, error) {
	api := x.server.api
	r, err := x.putRequest(spec)
	if err != nil {
		return connector.Begun{}, err
	}
	if x.version == arm.V20261101 {
		return api.Put(x.ctx, r)
	}
	// An older version replaces what it has words for.
	begun, err := api.Patch(x.ctx, r, func(stored *patchbay.Spec) error {
		want := spec
		arm.Carry(x.version, &want, *stored)
		*stored = want
		return nil
	})
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		begun, err = api.Put(x.ctx, r)
	}
	return begun, err
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
	return x.wrote(begun, http.StatusCreated)
}

func (x *exchange) putRequest(spec patchbay.Spec) (connector.PutRequest, error) {
	tag, err := x.ifMatch()
	return connector.PutRequest{ID: x.path.Linker, Spec: spec, Caller: x.caller.Caller, IfMatch: tag}, err
}

func (s *Server) deleteLinker(x *exchange) error { return x.deleteConnection(s.grace) }

func (s *Server) validateLinker(x *exchange) error {
	begun, err := s.api.Validate(x.ctx, connector.ValidateRequest{ID: x.path.Linker, Caller: x.caller.Caller})
	if err != nil {
		return err
	}
	return x.validates(begun)
}

func (s *Server) listConfigurations(x *exchange) error {
	list, err := s.api.Configurations(x.ctx, x.path.Linker, x.caller.Caller)
	if err != nil {
		return err
	}
	if err := x.disclosed(x.path.Linker); err != nil {
		return err
	}
	return x.json(http.StatusOK, arm.Configurations(x.version, list))
}

func (s *Server) generateConfigurations(x *exchange) error {
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
	if err := x.disclosed(x.path.Linker); err != nil {
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
	want, err := arm.DecodeValidate(body)
	if err != nil {
		return err
	}
	begun, err := s.api.Validate(x.ctx, connector.ValidateRequest{ID: x.path.Linker, Caller: x.caller.Caller, Fix: want.Fix, From: want.From})
	if err != nil {
		return err
	}
	return x.began(begun)
}

func (s *Server) linkerHistory(x *exchange) error {
	found, err := s.api.History(x.ctx, x.path.Linker)
	if err != nil {
		return err
	}
	items := make([]any, len(found))
	for i, v := range found {
		items[i] = v
	}
	return x.list(items, "")
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
	warnings := p.Warnings
	if warnings == nil {
		warnings = []string{}
	}
	return x.json(http.StatusOK, map[string]any{"kind": p.Kind, "steps": steps, "settings": settings, "problems": problems, "warnings": warnings})
}

func (s *Server) environment(x *exchange) error {
	env, err := s.api.Process(x.ctx, x.path.Scope, x.caller.Caller)
	if err != nil {
		return err
	}
	if err := x.disclosed(x.path.Scope); err != nil {
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
