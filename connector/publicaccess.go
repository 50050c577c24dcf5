package connector

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
)

// deniesWay reports whether nothing is opened on a connection's way because public access
// to its target is denied. A private link is what remains: a service endpoint opens the
// target's own address, as the default way does.
func deniesWay(target patchbay.Resource, spec patchbay.Spec) bool {
	return target.PublicAccess == patchbay.PublicDisabled && !optsOutOfNetwork(spec) && !asksFor(spec, driver.PrivateLink)
}

func asksFor(spec patchbay.Spec, solution string) bool {
	return spec.VNet != nil && strings.EqualFold(spec.VNet.Type, solution)
}

// opens reports whether a connection has something to open on its way.
func opens(p parties, spec patchbay.Spec) bool {
	return len(guardsOf(p, spec)) > 0 && !deniesWay(p.target, spec)
}

// staysShut reports whether a guard of a target is not opened for a connection: where
// public access is denied, all but those that are the private link that it asks for, and
// those that are no way of their own and know logins alone.
func (s *Service) staysShut(ctx context.Context, target patchbay.Resource, spec patchbay.Spec, guard patchbay.ID) (bool, error) {
	if target.PublicAccess != patchbay.PublicDisabled || deniesWay(target, spec) {
		return deniesWay(target, spec), nil
	}
	offered, err := s.solutionsOf(ctx, guard)
	return len(offered) > 0 && !slices.Contains(offered, driver.PrivateLink), err
}

// solutionsOf are the ways that a guard stands for; none of one that is not there.
func (s *Service) solutionsOf(ctx context.Context, guard patchbay.ID) ([]string, error) {
	r, err := s.records.Resource(ctx, guard)
	return s.catalog.Networks[r.Driver].Solutions, absentIsSuccess(err)
}

// openable are the guards of a target that are opened for a connection.
func (s *Service) openable(ctx context.Context, target patchbay.Resource, spec patchbay.Spec) ([]patchbay.ID, error) {
	var all []patchbay.ID
	for _, guard := range target.Guards {
		shut, err := s.staysShut(ctx, target, spec, guard)
		if err != nil {
			return nil, err
		}
		if !shut {
			all = append(all, guard)
		}
	}
	return all, nil
}

// leave marks those of a connection's openings that stay as they are, though they were
// made before public access was denied.
func (s *Service) leave(ctx context.Context, all []opening, target patchbay.Resource, spec patchbay.Spec) error {
	for i, o := range all {
		if o.Made {
			continue
		}
		shut, err := s.staysShut(ctx, target, spec, o.Guard)
		if err != nil {
			return err
		}
		all[i].Left = shut
	}
	return nil
}

// stillOpens fails when public access was denied since it was decided to open o.
func (s *Service) stillOpens(ctx context.Context, o opening, spec patchbay.Spec) error {
	target, err := s.records.Resource(ctx, o.Target)
	if err != nil {
		return absentIsSuccess(err)
	}
	shut, err := s.staysShut(ctx, target, spec, o.Guard)
	if err == nil && shut {
		return patchbay.Errorf(patchbay.PublicAccessDenied, "public access to %s was denied meanwhile", target.ID.Name()).WithFix("try again: it is decided anew then what is opened")
	}
	return err
}

// specOf is what op's connection asks for, as it was decided on.
func (p outline) specOf(in input) patchbay.Spec {
	if p.Spec != nil {
		return *p.Spec
	}
	return in.Want.Spec
}

// choosePublicAccess keeps what a registration does not say, and refuses what nobody
// knows; old is zero when there is none.
func (s *Service) choosePublicAccess(old patchbay.Resource, r *patchbay.Resource) error {
	_, target := s.catalog.Targets[r.Driver]
	switch {
	case r.PublicAccess == "" && target:
		r.PublicAccess = old.PublicAccess
		return nil
	case r.PublicAccess == "":
		return nil
	case !target:
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is no target, and has no public access that could be denied", r.ID.Name()).WithFix("leave publicNetworkAccess out")
	}
	for _, known := range []patchbay.PublicAccess{patchbay.PublicEnabled, patchbay.PublicDisabled} {
		if strings.EqualFold(string(r.PublicAccess), string(known)) {
			r.PublicAccess = known
			return nil
		}
	}
	return patchbay.Errorf(patchbay.InvalidArgument, "publicNetworkAccess is %s or %s, and not %q", patchbay.PublicEnabled, patchbay.PublicDisabled, clip(string(r.PublicAccess), 40))
}

// openedBefore warns of what connections have open to a target to which public access is
// denied from now on.
func (s *Service) openedBefore(ctx context.Context, target patchbay.Resource) ([]string, error) {
	if target.PublicAccess != patchbay.PublicDisabled {
		return nil, nil
	}
	open := 0
	err := s.eachOn(ctx, target.ID, func(c patchbay.Connection) error {
		for _, guard := range c.Guards {
			shut, err := s.staysShut(ctx, target, c.Spec, guard)
			if err != nil {
				return err
			}
			if shut {
				open++
				break
			}
		}
		return nil
	})
	if err != nil || open == 0 {
		return nil, err
	}
	return []string{fmt.Sprintf("what is open for %s to %s stays open until each is updated; patchbay connection validate --all --target %s --show unsure -o table says which, and what closes it",
		count(open, "connection"), target.ID.Name(), target.ID.Name())}, nil
}

// checkPublicAccess refuses what a caller asks for by name and public access being denied
// does not leave. Who asks for nothing gets a connection, and a warning. The way of a
// local connection is not opened anyway, whatever its client says of it.
func (s *Service) checkPublicAccess(ctx context.Context, p parties, spec patchbay.Spec) error {
	if p.local || p.target.PublicAccess != patchbay.PublicDisabled || optsOutOfNetwork(spec) {
		return nil
	}
	var asked string
	without := "leave firewallRules out"
	switch rules := firewallRules(spec); {
	case len(rules.IPRanges) > 0:
		asked = "firewallRules.ipRanges"
	case strings.EqualFold(rules.AzureServices, "true"):
		asked = "firewallRules.azureServices"
	case strings.EqualFold(rules.CallerClientIP, "true"):
		asked = "firewallRules.callerClientIP"
	case asksFor(spec, driver.ServiceEndpoint):
		asked, without = "a service endpoint", "ask for no service endpoint"
	default:
		return nil
	}
	return patchbay.Errorf(patchbay.PublicAccessDenied, "public access to %s is denied, and %s asks to be let in there", p.target.ID.Name(), asked).
		WithFix("%s; %s", without, s.otherWays(ctx, p.target, spec, p.source.ID.Name()))
}

func firewallRules(spec patchbay.Spec) patchbay.FirewallRules {
	if spec.PublicNetwork == nil || spec.PublicNetwork.FirewallRules == nil {
		return patchbay.FirewallRules{}
	}
	return *spec.PublicNetwork.FirewallRules
}

// otherWays is what helps who is to reach a target to which public access is denied.
func (s *Service) otherWays(ctx context.Context, target patchbay.Resource, spec patchbay.Spec, who string) string {
	name := target.ID.Name()
	for _, guard := range target.Guards {
		if offered, err := s.solutionsOf(ctx, guard); err == nil && slices.Contains(offered, driver.PrivateLink) && !asksFor(spec, driver.PrivateLink) {
			return fmt.Sprintf("connect with --private-endpoint, which %s is", guard.Name())
		}
	}
	if len(target.Guards) > 0 {
		return fmt.Sprintf("give %s a private way to %s, or register %s with --deny-public-access=false, then its guards are opened", who, name, name)
	}
	return fmt.Sprintf("give %s a private way to %s", who, name)
}

// deniedText is the warning that comes with what a draft does not open, "" without one.
func (d *draft) deniedText() string {
	if !d.plan.Denied || d.in.Rotate {
		return ""
	}
	target, who := d.parties.target.ID.Name(), "whoever reads the settings"
	if !d.parties.local {
		who = d.parties.source.ID.Name()
	}
	closed := ""
	if len(d.plan.Shut) > 0 {
		closed = fmt.Sprintf("what is open at %s is closed, and ", guardNames(d.plan.Shut))
	}
	return fmt.Sprintf("public access to %s is denied: %snothing is opened on the way to it; make sure that %s reaches it by a private one", target, closed, who)
}

// guardNames are the guards of openings, each once.
func guardNames(all []opening) string {
	_, guards := recorded(all)
	names := make([]string, len(guards))
	for i, guard := range guards {
		names[i] = guard.Name()
	}
	return strings.Join(names, ", ")
}

// unopened adds to an error of a way that ends somewhere that Patchbay opened nothing on
// it.
func (s *Service) unopened(ctx context.Context, err error, p outline, c patchbay.Connection) error {
	if hop := driver.HopOf(err); !noWay(err) || hop.OfTLS() {
		return err
	}
	target, getErr := s.records.Resource(ctx, p.Target)
	if getErr != nil {
		return err
	}
	e := *patchbay.AsError(err)
	e.Message += fmt.Sprintf("; public access to %s is denied, so nothing was opened on the way to it", target.ID.Name())
	e.Fix = s.otherWays(ctx, target, c.Spec, c.Source.Name())
	return &e
}

// publicAccess looks whether public access to the target is denied, and says so. It gives
// those of the openings that are to be open all the same.
func (v *checking) publicAccess(ctx context.Context) (open []opening) {
	res, err := v.s.records.Resource(ctx, v.ref.Target)
	if err != nil { // the group of existence says so
		return v.held.Openings
	}
	v.resource, v.denied = res, deniesWay(res, v.c.Spec)
	var despite []opening
	for _, o := range v.held.Openings {
		shut, err := v.s.staysShut(ctx, res, v.c.Spec, o.Guard)
		switch {
		case err != nil || !shut:
			open = append(open, o)
		case v.isThere(ctx, o):
			despite = append(despite, o)
		}
	}
	warn := func(message, fix string) {
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Warning, patchbay.PublicAccessDenied, message, fix)
	}
	name := res.ID.Name()
	switch {
	case len(despite) > 0:
		warn(fmt.Sprintf("public access to %s is denied, and %s is still let in at %s: that was opened before", name, v.c.Source.Name(), guardNames(despite)), v.updated()+"   (it closes that)")
	case v.denied && v.c.ID.IsLocal():
		warn(fmt.Sprintf("public access to %s is denied; make sure that whoever reads the settings reaches it by a private way", name), "")
	case v.denied:
		warn(fmt.Sprintf("public access to %s is denied, so nothing is opened on the way to it; make sure that %s reaches it by a private one", name, v.c.Source.Name()), "")
	}
	return open
}

// isThere reports whether an opening still is, as far as its guard can be asked.
func (v *checking) isThere(ctx context.Context, o opening) bool {
	guard, done, err := v.s.guard(ctx, o)
	if err == nil {
		defer done()
		var state driver.RuleState
		if state, err = guard.InspectRule(ctx, o.Rule); err == nil {
			return state.Exists
		}
	}
	v.failed(patchbay.CheckNetwork, nameNetwork, err, "check the guard "+o.Guard.Name())
	return false
}

// reopens reports whether a connection for which nothing was opened, because public access
// was denied, is to have its way opened by now.
func (s *Service) reopens(ctx context.Context, c patchbay.Connection, held holding) (bool, error) {
	if !held.Denied || len(held.Openings) > 0 || c.ID.IsLocal() || optsOutOfNetwork(c.Spec) {
		return false, nil
	}
	target, err := s.records.Resource(ctx, held.Target)
	if err != nil {
		return false, absentIsSuccess(err)
	}
	guards, err := s.openable(ctx, target, c.Spec)
	return len(guards) > 0, err
}

// reopening is what such a connection is to have open, and where its source finds the
// target then.
func (s *Service) reopening(ctx context.Context, c patchbay.Connection, held holding, w way) ([]opening, map[string]string, error) {
	target, err := s.records.Resource(ctx, held.Target)
	if err != nil {
		return nil, nil, err
	}
	guards, err := s.openable(ctx, target, c.Spec)
	if err != nil {
		return nil, nil, err
	}
	login := held.Credential.Public["username"]
	if held.Login != nil {
		login = held.Login.Name
	}
	wanted, err := s.openings(ctx, guards, target.ID, login, w.ref.Sub)
	if err != nil {
		return nil, nil, err
	}
	reach, _, err := s.lead(ctx, wanted, w)
	return wanted, reach, err
}

// reopen has a fix open what public access being denied kept shut. Where that would have
// the settings lead elsewhere, it is an update's.
func (s *Service) reopen(ctx context.Context, op *saga.Op, p *outline, c patchbay.Connection, held holding, w way) error {
	again, err := s.reopens(ctx, c, held)
	if err != nil || !again || !slices.Contains(op.Plan, stepOpen) { // allowed since it was begun: the next one's
		return err
	}
	wanted, reach, err := s.reopening(ctx, c, held, w)
	if err != nil || len(reach) > 0 {
		return err
	}
	p.Denied = false
	p.decideOpenings(c, held, wanted)
	return nil
}

// reopened finds that the way is not open though nothing denies it any more; it gives
// false when it does.
func (v *checking) reopened(ctx context.Context) bool {
	again, err := v.s.reopens(ctx, v.c, v.held)
	if err != nil {
		v.failed(patchbay.CheckNetwork, nameNetwork, err, "")
		return false
	}
	if !again {
		return true
	}
	fix := v.fix()
	if v.source != nil && v.target != nil {
		_, reach, err := v.s.reopening(ctx, v.c, v.held, way{v.c.Source, v.ref, v.c.Spec, v.source, v.target, lately(v.c, v.held), false})
		if err == nil && len(reach) > 0 {
			fix = v.updated()
		}
	}
	v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Failure, patchbay.RuleMissing,
		fmt.Sprintf("public access to %s is not denied any more, and the way to it is not open for %s yet", v.ref.Target.Name(), v.c.Source.Name()), fix)
	return false
}
