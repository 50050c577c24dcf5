package connector

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/settings"
)

// Preview implements [API]. It asks the two ends, but changes neither; of a
// target kind without a driver, or of a target that is not registered, it
// shows the names.
func (s *Service) Preview(ctx context.Context, r PutRequest) (Preview, error) {
	return s.preview(ctx, r, func() bool { return true })
}

// preview asks the target only if mayAsk, once it is known which one it is.
func (s *Service) preview(ctx context.Context, r PutRequest, mayAsk func() bool) (Preview, error) {
	old, err := s.records.Connection(ctx, r.ID)
	exists := err == nil
	if err != nil && patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		return Preview{}, err
	}
	pv := Preview{Kind: patchbay.OpCreate}
	if exists {
		pv.Kind = patchbay.OpUpdate
	}
	if _, _, ok := r.ID.ConnectionSource(); !ok {
		return pv, notConnection(r.ID)
	}
	spec := cloneSpec(r.Spec)
	given := takeSecrets(&spec)
	parties, err := s.newParties(ctx, r.Caller, r.ID, &spec)
	switch code := patchbay.CodeOf(err); {
	case code == patchbay.Forbidden:
		return pv, err
	case err != nil:
		pv.problem(err)
	}
	if parties.kind == "" {
		kind, known := settings.KindOf(cmp.Or(spec.Target.ID.Type(), string(spec.Target.Type)))
		if !known {
			return pv, nil
		}
		parties.kind = kind
	}
	spec.Client = cmp.Or(spec.Client, "none")
	var values settings.Values
	if mayAsk() {
		if parties.target.ID != "" {
			if err := r.Caller.tell(ctx, asks(parties, r.ID, spec.Target)); err != nil {
				return pv, err
			}
		}
		values = s.previewValues(ctx, &pv, parties, spec)
	}
	if configures(spec) {
		s.previewSettings(ctx, &pv, parties, spec, values, r.ID, old)
	}
	if exists {
		if err := s.keepGiven(old, spec, given); err != nil {
			return pv, err
		}
	} else if err := s.roomForConnection(ctx, r.ID); err != nil {
		pv.problem(err)
	}
	if err := givenWhole(parties, spec, given); err != nil {
		pv.problem(err)
	}
	pv.Steps = previewSteps(pv, parties, r.ID, spec, old, given[givenValue] == "")
	return pv, nil
}

func (pv *Preview) problem(err error) { pv.Problems = append(pv.Problems, *patchbay.AsError(err)) }

// previewSettings are the settings, with what is not known as ‹password›.
func (s *Service) previewSettings(ctx context.Context, pv *Preview, p parties, spec patchbay.Spec, values settings.Values, id patchbay.ID, old patchbay.Connection) {
	source, name, _ := id.ConnectionSource()
	if id.IsConnector() {
		source = id
	}
	request := settings.Request{
		Kind: p.kind, Client: spec.Client, Auth: settingsAuth(p.kind, spec), Naming: spec.Naming,
		Connection: name, Values: values, Preview: true,
	}
	if i := spec.Configuration; i != nil {
		request.Customized, request.Additional, request.ConnectionString = i.CustomizedKeys, i.Additional, i.ConnectionString
	}
	if src, done, err := s.source(ctx, source); err == nil {
		if now, err := src.ReadSettings(ctx); err == nil {
			all, err := s.ownersOn(ctx, source)
			if err != nil {
				pv.problem(err)
			}
			request.Taken = all.taken(old.UID, now)
		}
		done()
	}
	var err error
	if pv.Settings, err = renderLogin(request, authenticates(spec)); err != nil {
		pv.problem(err)
	}
}

// asks is the audit log's line of a preview that opens connections to its target:
// with the right that allows it, at the connection that would be.
func asks(p parties, connection patchbay.ID, target patchbay.TargetService) patchbay.AuditEntry {
	if p.endpoint {
		return patchbay.AuditEntry{Action: ActionDial, Resource: connection, Detail: "a preview asks " + target.Endpoint}
	}
	return patchbay.AuditEntry{Action: ActionConnect, Resource: connection, Detail: "a preview asks " + target.ID.String()}
}

// previewValues are the values that are known.
func (s *Service) previewValues(ctx context.Context, pv *Preview, p parties, spec patchbay.Spec) settings.Values {
	values := settings.Values{}
	if authenticates(spec) && spec.Auth.Name != "" {
		values["username"] = patchbay.NewSecret(spec.Auth.Name)
	}
	if p.target.ID == "" {
		return values
	}
	target, done, err := s.openParty(ctx, p)
	if err == nil {
		defer done()
		info, inspectErr := target.Inspect(ctx, p.sub)
		for name, value := range info.Values {
			values[name] = patchbay.NewSecret(value)
		}
		err = inspectErr
	}
	if err != nil {
		pv.problem(err)
	}
	return values
}

// previewSteps says in words what each step of the plan would do. own says
// that no login was given.
func previewSteps(pv Preview, p parties, id patchbay.ID, spec patchbay.Spec, old patchbay.Connection, own bool) []PreviewStep {
	target, source := targetName(spec.Target), p.source.ID.Name()
	text := map[string]string{
		stepPlan:      "read both ends and decide everything",
		stepPrincipal: previewLogin(p, spec, target, own),
		stepProbe:     fmt.Sprintf("sign in to %s as the application, from where it runs", target),
		stepSettings:  fmt.Sprintf("write %s to %s", count(len(pv.Settings), "setting"), source),
		stepRestart:   fmt.Sprintf("restart or reload %s, where it has a way to", source),
		stepVerify:    "read the settings back and sign in with them",
		stepRevoke:    "revoke the login " + old.Principal + " when nothing uses it any more, if it is replaced",
	}
	if id.IsConnector() {
		text[stepProbe] = fmt.Sprintf("sign in to %s from the server", target)
		text[stepVerify] = "keep the login for the developer to read"
	}
	if !p.targets.Administers() && authenticates(spec) && spec.Auth.Type != patchbay.AuthSecret {
		text[stepProbe] = "try the way to " + target
	}
	var out []PreviewStep
	for _, name := range steps(pv.Kind, input{Connection: old, Created: pv.Kind == patchbay.OpCreate, Want: patchbay.Connection{ID: id, Spec: spec}}) {
		out = append(out, PreviewStep{Name: name, Text: text[name]})
	}
	return out
}

// previewLogin says where the login comes from.
func previewLogin(p parties, spec patchbay.Spec, target string, own bool) string {
	switch {
	case !authenticates(spec):
		return ""
	case !own:
		return "take the login that was given"
	case p.targets.Administers():
		return fmt.Sprintf("make a login with %s access to %s", cmp.Or(spec.Access, patchbay.Writer), target)
	case spec.Auth.Type == patchbay.AuthSecret:
		return "take the login that was registered with " + p.title()
	}
	return "make nothing: the owner of " + target + " gives the identity its access"
}

// targetName is what people call a target: a database of a server, an
// endpoint.
func targetName(t patchbay.TargetService) string {
	if t.ID == "" {
		if checkEndpoint(t.Endpoint) != nil {
			return "the target" // it may have a login in it
		}
		return t.Endpoint
	}
	if strings.Count(t.ID.Type(), "/") > 1 {
		return t.ID.Name() + " on " + t.ID.Parent().Name()
	}
	return t.ID.Name()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
