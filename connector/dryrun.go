package connector

import (
	"context"
	"slices"

	"patchbay.dev/patchbay"
)

// contributor is the built-in role that has every right that a connection
// takes.
const contributor = "Service Connector Contributor"

// asked is a caller whose missing rights are noted, not refused.
type asked struct {
	caller  Caller
	missing []patchbay.MissingRights
}

func (a *asked) allow(ctx context.Context, action string, scope patchbay.ID) error {
	err := a.caller.allow(ctx, action, scope)
	if patchbay.CodeOf(err) == patchbay.Forbidden {
		a.missing = append(a.missing, patchbay.MissingRights{Scope: scope, Actions: []string{action}, Role: contributor})
		return nil
	}
	return err
}

// lacks reports whether one of the actions is missing.
func (a *asked) lacks(actions ...string) bool {
	return slices.ContainsFunc(a.missing, func(m patchbay.MissingRights) bool { return slices.Contains(actions, m.Actions[0]) })
}

// connectionOf is the connection that a dryrun is about: the one of its name
// on its source, or in its location.
func connectionOf(id patchbay.ID) (patchbay.ID, error) {
	of, name, ok := id.DryrunSource()
	switch {
	case !ok:
		return "", patchbay.Errorf(patchbay.InvalidResourceID, "%q is not the id of a dryrun", clip(string(id), 200))
	case isLocation(of):
		return of.Local(name), nil
	}
	return of.Linker(name), nil
}

// PutDryrun implements [API].
func (s *Service) PutDryrun(ctx context.Context, r DryrunRequest) (patchbay.Dryrun, bool, error) {
	d, err := s.dryrun(ctx, r)
	if err != nil {
		return patchbay.Dryrun{}, false, err
	}
	old, err := s.records.Dryrun(ctx, r.ID)
	switch {
	case err == nil:
		d.ID, d.Created, d.CreatedBy, d.CreatedByType = old.ID, old.Created, old.CreatedBy, old.CreatedByType
	case patchbay.CodeOf(err) != patchbay.ResourceNotFound:
		return patchbay.Dryrun{}, false, err
	default:
		if err := s.roomForDryrun(ctx, r.ID); err != nil {
			return patchbay.Dryrun{}, false, err
		}
	}
	created := err != nil
	return d, created, s.records.PutDryrun(ctx, d, r.IfMatch)
}

// dryrun looks at what the request asks for.
func (s *Service) dryrun(ctx context.Context, r DryrunRequest) (patchbay.Dryrun, error) {
	connection, err := connectionOf(r.ID)
	if err != nil {
		return patchbay.Dryrun{}, err
	}
	if r.Spec.Target.Type != patchbay.AzureResource {
		// What is stored is shown: an endpoint with a login in it is not stored.
		if err := checkEndpoint(r.Spec.Target.Endpoint); err != nil {
			return patchbay.Dryrun{}, err
		}
	}
	if _, err := s.newSource(ctx, connection); err != nil {
		return patchbay.Dryrun{}, err
	}
	who := &asked{caller: r.Caller}
	if err := who.allow(ctx, actionOf(patchbay.OpUpdate, connection), connection); err != nil {
		return patchbay.Dryrun{}, err
	}
	caller := r.Caller
	caller.Allow = who.allow
	pv, err := s.preview(ctx, PutRequest{ID: connection, Spec: r.Spec, Caller: caller}, func() bool { return !who.lacks(ActionConnect, ActionDial) })
	if err != nil {
		return patchbay.Dryrun{}, err
	}
	now := s.now().UTC()
	spec := cloneSpec(r.Spec)
	takeSecrets(&spec)
	nameOnce(&spec.Target)
	return patchbay.Dryrun{
		ID: r.ID, Spec: spec, State: patchbay.Succeeded, Missing: who.missing, Problems: pv.Problems, Steps: effects(pv, connection, spec),
		ETag: newETag(), Created: now, CreatedBy: r.Caller.Name, CreatedByType: r.Caller.Type,
		Modified: now, ModifiedBy: r.Caller.Name, ModifiedByType: r.Caller.Type,
	}, nil
}

// effects are the steps of a preview that do something outside of Patchbay.
func effects(pv Preview, connection patchbay.ID, spec patchbay.Spec) []patchbay.DryrunPreview {
	source, _, _ := connection.ConnectionSource()
	target := spec.Target.ID
	kinds := map[string]patchbay.DryrunPreview{
		stepOpen:     {Kind: "configNetwork", Action: "open the network", Scope: target},
		stepLogin:    {Kind: "configAuth", Action: "provide the login", Scope: target},
		stepSettings: {Kind: "configConnection", Action: "write settings", Scope: source},
		stepRestart:  {Kind: "configConnection", Action: "restart", Scope: source},
		stepRevoke:   {Kind: "configAuth", Action: "revoke the old login", Scope: target},
	}
	list := []patchbay.DryrunPreview{}
	for _, step := range pv.Steps {
		if d, ok := kinds[step.Name]; ok {
			d.Name, d.Description = step.Name, step.Text
			list = append(list, d)
		}
	}
	return list
}

// Dryrun implements [API].
func (s *Service) Dryrun(ctx context.Context, id patchbay.ID) (patchbay.Dryrun, error) {
	return s.records.Dryrun(ctx, id)
}

// Dryruns implements [API].
func (s *Service) Dryruns(ctx context.Context, source patchbay.ID, after string, limit int) ([]patchbay.Dryrun, string, error) {
	return s.records.Dryruns(ctx, source, after, limit)
}

// DeleteDryrun implements [API].
func (s *Service) DeleteDryrun(ctx context.Context, id patchbay.ID) error {
	return s.records.DeleteDryrun(ctx, id)
}
