package connector

import (
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
	old, err := s.records.Connection(ctx, r.ID)
	exists := err == nil
	if err != nil && patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		return Preview{}, err
	}
	pv := Preview{Kind: patchbay.OpCreate}
	if exists {
		pv.Kind = patchbay.OpUpdate
	}
	spec := cloneSpec(r.Spec)
	given := takeSecrets(&spec)
	source, name, ok := r.ID.LinkerSource()
	if !ok {
		return pv, patchbay.Errorf(patchbay.InvalidResourceID, "%q is not the id of a connection", clip(string(r.ID), 200))
	}
	parties, err := s.newParties(ctx, r.ID, &spec)
	if err != nil {
		pv.Problems = append(pv.Problems, *patchbay.AsError(err))
		kind, known := settings.KindOf(spec.Target.ID.Type())
		if !known {
			return pv, nil
		}
		parties.kind = kind
		if spec.Client == "" {
			spec.Client = "none"
		}
	}
	values := s.previewValues(ctx, &pv, parties, spec)
	request := settings.Request{
		Kind: parties.kind, Client: spec.Client, Auth: authType(spec.Auth), Naming: spec.Naming,
		Connection: name, Values: values, Preview: true,
	}
	if i := spec.Configuration; i != nil {
		request.Customized, request.Additional, request.ConnectionString = i.CustomizedKeys, i.Additional, i.ConnectionString
	}
	if src, done, err := s.source(ctx, source); err == nil {
		if now, err := src.ReadSettings(ctx); err == nil {
			mine := map[string]bool{}
			for _, key := range old.Keys {
				mine[key] = true
			}
			request.Taken = func(name string) bool { _, there := now.Settings[name]; return there && !mine[name] }
		}
		done()
	}
	if configures(spec) {
		pv.Settings, err = renderLogin(request, authenticates(spec))
		if err != nil {
			pv.Problems = append(pv.Problems, *patchbay.AsError(err))
		}
	}
	if exists {
		if err := s.keepGiven(old, spec, given); err != nil {
			return pv, err
		}
	}
	if err := givenWhole(spec, given); err != nil {
		pv.Problems = append(pv.Problems, *patchbay.AsError(err))
	}
	pv.Steps = previewSteps(pv, spec, source, old, given[givenValue] == "")
	return pv, nil
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
	target, done, err := s.targets.get(ctx, p.target)
	if err == nil {
		defer done()
		info, inspectErr := target.Inspect(ctx, p.sub)
		for name, value := range info.Values {
			values[name] = patchbay.NewSecret(value)
		}
		err = inspectErr
	}
	if err != nil {
		pv.Problems = append(pv.Problems, *patchbay.AsError(err))
	}
	return values
}

// previewSteps says in words what each step of the plan would do.
func previewSteps(pv Preview, spec patchbay.Spec, source patchbay.ID, old patchbay.Connection, own bool) []PreviewStep {
	target := spec.Target.ID.Name()
	if strings.Count(spec.Target.ID.Type(), "/") > 1 { // a database of a server
		target += " on " + spec.Target.ID.Parent().Name()
	}
	access := spec.Access
	if access == "" {
		access = patchbay.Writer
	}
	text := map[string]string{
		stepPlan:     "read both ends and decide everything",
		stepProbe:    fmt.Sprintf("sign in to %s as the application, from where it runs", target),
		stepSettings: fmt.Sprintf("write %s to %s", count(len(pv.Settings), "setting"), source.Name()),
		stepRestart:  fmt.Sprintf("restart or reload %s, where it has a way to", source.Name()),
		stepVerify:   "read the settings back and sign in with them",
		stepRevoke:   "revoke the login " + old.Principal + " when nothing uses it any more, if it is replaced",
	}
	if own {
		text[stepPrincipal] = fmt.Sprintf("make a login with %s access to %s", access, target)
	} else {
		text[stepPrincipal] = "take the login that was given"
	}
	var out []PreviewStep
	for _, name := range steps(pv.Kind, input{Connection: old, Created: pv.Kind == patchbay.OpCreate, Want: patchbay.Connection{Spec: spec}}) {
		out = append(out, PreviewStep{Name: name, Text: text[name]})
	}
	return out
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
