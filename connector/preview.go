package connector

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
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
	b, p, err := s.want(ctx, r, old, exists, pv.note)
	if err != nil {
		return pv, err
	}
	spec := &b.in.Want.Spec
	if p.kind == "" {
		kind, known := settings.KindOf(cmp.Or(spec.Target.ID.Type(), string(spec.Target.Type)))
		if !known {
			return pv, nil
		}
		p.kind = kind
	}
	d := &draft{in: b.in, given: b.given, parties: p, asks: mayAsk() && p.target.ID != "", preview: true, note: pv.note}
	if d.asks {
		if err := r.Caller.tell(ctx, asks(p, r.ID, spec.Target)); err != nil {
			return pv, err
		}
	}
	if err := s.decide(ctx, d); err != nil {
		return pv, err
	}
	pv.Settings = d.shown()
	pv.Steps, pv.Warnings = previewSteps(b.kind, d, p.sources.Keeps), d.warned
	return pv, nil
}

// note keeps what is in the way of the plan, once, and lets the preview go on: all
// of it is to be shown. Only who may not do it is shown nothing.
func (pv *Preview) note(err error) error {
	if err == nil || patchbay.CodeOf(err) == patchbay.Forbidden {
		return err
	}
	e := *patchbay.AsError(err)
	if !slices.ContainsFunc(pv.Problems, func(p patchbay.Error) bool { return p.Code == e.Code && p.Message == e.Message }) {
		pv.Problems = append(pv.Problems, e)
	}
	return nil
}

// shown are the draft's settings, with ‹password› for what is not known and for
// what is not for whoever asks: secrets, and a login that is not the caller's.
func (d *draft) shown() []patchbay.Setting {
	if len(d.set) == 0 {
		return nil
	}
	c := d.plan.Credential
	hidden := slices.Collect(maps.Keys(c.Secret))
	if d.plan.Made || d.plan.LoginKind == loginRegistered {
		hidden = slices.AppendSeq(hidden, maps.Keys(c.Public))
	}
	r := d.asked
	for _, name := range hidden {
		r.Values[name] = settings.Blank(name)
	}
	if a := d.in.Want.Spec.Auth; a != nil && a.Name != "" && d.plan.LoginKind != loginNone {
		r.Values["username"] = patchbay.NewSecret(a.Name)
	}
	masked, _, err := renderLogin(r, d.plan.LoginKind != loginNone)
	set := slices.Clone(d.set)
	for i := range set {
		at := slices.IndexFunc(masked, func(m patchbay.Setting) bool { return m.Name == set[i].Name })
		if err != nil || at < 0 {
			set[i].Value = settings.Blank("value")
			continue
		}
		set[i].Value = masked[at].Value
	}
	return set
}

// asks is the audit log's line of a preview that opens connections to its target:
// with the right that allows it, at the connection that would be.
func asks(p parties, connection patchbay.ID, target patchbay.TargetService) patchbay.AuditEntry {
	if p.endpoint {
		return patchbay.AuditEntry{Action: ActionDial, Resource: connection, Detail: "a preview asks " + target.Endpoint}
	}
	return patchbay.AuditEntry{Action: ActionConnect, Resource: connection, Detail: "a preview asks " + target.ID.String()}
}

// previewSteps says in words what each step of the plan would do.
func previewSteps(kind patchbay.OperationKind, d *draft, keeps bool) []PreviewStep {
	id, spec := d.in.Want.ID, d.in.Want.Spec
	target, source := targetName(spec.Target), d.parties.source.ID.Name()
	if part := d.parties.sources.Part; part != "" && d.parties.scope != "" {
		source = fmt.Sprintf("the %s %s of %s", part, d.parties.scope, source)
	}
	text := map[string]string{
		stepPlan:     "read both ends and decide everything",
		stepOpen:     d.openText(target),
		stepLogin:    d.loginText(target),
		stepProbe:    fmt.Sprintf("sign in to %s as the application, from where it runs", target),
		stepSettings: fmt.Sprintf("write %s to %s", count(len(d.set), "setting"), source),
		stepRestart:  fmt.Sprintf("restart or reload %s, where it has a way to, and wait until it is up", source),
		stepVerify:   "read the settings back and sign in with them",
		stepRevoke:   "revoke the login " + d.in.Connection.Login + " when nothing uses it any more, if it is replaced",
		stepClose:    "close what was open to the old target, or for the old login, and is not needed any more",
		stepRelease:  "remove what " + source + " had before, which is kept until then",
	}
	if id.IsLocal() {
		text[stepProbe] = fmt.Sprintf("sign in to %s from the server", target)
		text[stepVerify] = "keep the login for the developer to read"
	}
	switch {
	case d.plan.Denied:
		text[stepPlan] += fmt.Sprintf("; nothing is opened: public access to %s is denied", d.parties.target.ID.Name())
		text[stepClose] = "close what was open to " + target
	case !id.IsLocal() && len(guardsOf(d.parties, spec)) == 0:
		text[stepPlan] += "; " + notGuarded
	}
	if d.plan.LoginKind == loginIdentity {
		text[stepProbe] = "try the way to " + target
	}
	var out []PreviewStep
	for _, name := range steps(kind, d.in, keeps, opens(d.parties, spec)) {
		out = append(out, PreviewStep{Name: name, Text: text[name]})
	}
	return out
}

// loginText says where the login comes from.
func (d *draft) loginText(target string) string {
	spec := d.in.Want.Spec
	switch d.plan.LoginKind {
	case loginNone:
		return ""
	case loginGiven:
		return "take the login that was given"
	case loginRegistered:
		return "take the login that was registered with " + d.parties.title()
	case loginIdentity:
		return "make nothing: the owner of " + target + " gives the identity its access"
	}
	text := fmt.Sprintf("make a login with %s access to %s", cmp.Or(spec.Access, patchbay.Writer), target)
	return strings.Join(append([]string{text}, d.beyond...), "; ")
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
