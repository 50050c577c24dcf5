package connector

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// opening is a rule of a connection's at a guard.
type opening struct {
	Guard  patchbay.ID `json:"guard"`
	Target patchbay.ID `json:"target"` // what it guards
	Rule   driver.Rule `json:"rule"`
	// Made says that the operation makes it, so its undo removes it.
	Made bool `json:"made,omitempty"`
	// Left says that the operation leaves it as it is, there or not: public access to
	// the target is denied.
	Left bool `json:"left,omitempty"`
	// AnyTo is the guard's.
	AnyTo bool `json:"anyTo,omitempty"`
	// Seen is what the target's names stood for when it was decided on.
	Seen sightings `json:"seen,omitempty"`
}

// opensAs reports whether two let the same through.
func (o opening) opensAs(other opening) bool {
	o.Rule.Mark, o.Rule.Name, o.Made, o.Left, o.Seen = other.Rule.Mark, other.Rule.Name, other.Made, other.Left, other.Seen
	if o.AnyTo || other.AnyTo {
		o.AnyTo, o.Rule.To = other.AnyTo, other.Rule.To
	}
	same := o.Guard.Equal(other.Guard) && o.Target.Equal(other.Target)
	o.Guard, o.Target = other.Guard, other.Target
	return same && reflect.DeepEqual(o, other)
}

func among(list []opening, o opening) bool { return slices.ContainsFunc(list, o.opensAs) }

// guardsOf are those on the way from a connection to its target.
func guardsOf(p parties, spec patchbay.Spec) []patchbay.ID {
	if p.local || p.endpoint || optsOutOfNetwork(spec) {
		return nil
	}
	return p.target.Guards
}

// planOpenings decides what has to be open for the connection. A rotation only sees
// to it that its new login may pass where the old one does.
func (s *Service) planOpenings(ctx context.Context, d *draft, held holding, source *driver.GuardedSource, target *driver.GuardedTarget) error {
	login := d.plan.Credential.Public["username"] // one that was given
	if d.plan.Login != nil {
		login = d.plan.Login.Name
	}
	var wanted []opening
	var reach map[string]string
	if d.in.Rotate {
		wanted, reach = slices.Clone(held.Openings), held.Reach
		for i := range wanted {
			if wanted[i].Rule.Login != "" {
				wanted[i].Rule.Login = login
			}
		}
		d.plan.Denied = held.Denied
	} else if d.plan.Denied = deniesWay(d.parties.target, d.in.Want.Spec); opens(d.parties, d.in.Want.Spec) && target != nil {
		guards, err := s.openable(ctx, d.parties.target, d.in.Want.Spec)
		if err != nil {
			return err
		}
		if wanted, err = s.openings(ctx, guards, d.parties.target.ID, login, d.plan.Sub); err != nil {
			return err
		}
		w := way{id: d.parties.source.ID, ref: d.plan.ref, spec: d.in.Want.Spec, source: source, target: target}
		if w.seen, err = s.remembered(ctx, d.in.Want, held); err != nil {
			return err
		}
		if reach, _, err = s.lead(ctx, wanted, w); err != nil {
			return err
		}
	}
	d.plan.Reach = reach
	d.plan.decideOpenings(d.in.Want, held, wanted)
	if !d.in.Rotate {
		return nil
	}
	return s.leave(ctx, d.plan.Open, d.parties.target, d.in.Want.Spec)
}

// openings are a rule at each of a target's guards, not yet from anywhere.
func (s *Service) openings(ctx context.Context, guards []patchbay.ID, target patchbay.ID, login, sub string) ([]opening, error) {
	var all []opening
	for _, guard := range guards {
		o := opening{Guard: guard, Target: target}
		r, err := s.records.Resource(ctx, guard)
		if err != nil {
			return nil, err
		}
		if s.catalog.Networks[r.Driver].Logins {
			o.Rule.Login, o.Rule.Sub = login, sub
		}
		all = append(all, o)
	}
	return all, nil
}

// decideOpenings keeps of what is wanted that which is open already, and names the
// rest.
func (p *outline) decideOpenings(c patchbay.Connection, held holding, wanted []opening) {
	for i, o := range wanted {
		if at := slices.IndexFunc(held.Openings, o.opensAs); at >= 0 {
			wanted[i] = held.Openings[at]
			wanted[i].Seen = o.Seen
			continue
		}
		p.Last++ // of one that another operation left over, it has neither name nor mark
		wanted[i].Rule.Mark = driver.Mark{UID: c.UID, Generation: p.Last, Connection: c.ID}
		wanted[i].Rule.Name = loginName(wanted[i].Rule.Mark)
		wanted[i].Made = true
	}
	p.Open = wanted
	for _, o := range held.Openings {
		if !among(wanted, o) {
			p.Shut = append(p.Shut, o)
		}
	}
}

// way is from where to where a connection goes.
type way struct {
	id     patchbay.ID // the source's
	ref    ref
	spec   patchbay.Spec
	source *driver.GuardedSource
	target *driver.GuardedTarget
	// seen are what the target's names stood for lately. Only says that what they do not
	// stand for at the moment is let in where it is open already, and nowhere else.
	seen sightings
	only bool
}

// lead has each opening lead from the source to the target, in the words of its guard. It
// gives where the source finds the target, as [driver.Platform].Reach, and what is known of
// the target's names now.
func (s *Service) lead(ctx context.Context, all []opening, w way) (reach map[string]string, seen sightings, err error) {
	if len(w.ref.Reach) > 0 { // guards know it as it is registered
		w.ref.Reach = nil
		target, done, err := s.openRef(ctx, w.ref)
		if err != nil {
			return nil, nil, err
		}
		defer done()
		w.target = target
	}
	servers, err := s.serversOf(ctx, w.target, w.ref.Sub)
	if err != nil {
		return nil, nil, err
	}
	if len(servers) == 0 {
		return nil, nil, patchbay.Errorf(patchbay.NotSupported, "%s does not say where it listens, so no way to it can be opened", w.ref.Target.Name()).
			WithFix("open the way yourself, and connect with --opt-out publicnetwork")
	}
	more, err := namedRanges(w.spec)
	if err != nil {
		return nil, nil, err
	}
	reach = map[string]string{}
	var stands standing
	for i := range all {
		there, err := s.leadAt(ctx, &all[i], w, servers, more, &stands)
		if err != nil {
			return nil, nil, err
		}
		for at, found := range there {
			if other, ok := reach[at]; ok && other != found {
				return nil, nil, patchbay.Errorf(patchbay.NotSupported, "%s would find %s at %s by one of its guards, and at %s by another", w.id.Name(), w.ref.Target.Name(), other, found).
					WithFix("register %s with one of them", w.ref.Target.Name())
			}
			reach[at] = found
		}
	}
	if len(reach) == 0 {
		return nil, stands.seen, nil
	}
	for _, o := range all {
		if o.Rule.Peer == nil { // another way, from another address, which is known when it is open
			return nil, nil, patchbay.Errorf(patchbay.NotSupported, "%s goes by the address of %s, which is another where it finds %s at %s", o.Guard.Name(), w.id.Name(), w.ref.Target.Name(), reachText(reach)).
				WithFix("register %s without %s, or without its other guards", w.ref.Target.Name(), o.Guard.Name())
		}
	}
	return reach, stands.seen, nil
}

// leadAt is lead for one guard. A platform is told names, everybody else addresses; more
// are let in besides the source's. What stands behind servers is looked up for the first that asks.
func (s *Service) leadAt(ctx context.Context, o *opening, w way, servers []string, more []netip.Prefix, stands *standing) (reach map[string]string, err error) {
	guard, done, err := s.guard(ctx, *o)
	if err != nil {
		return nil, err
	}
	defer done()
	r := &o.Rule
	was := r.To
	r.From, r.To, r.Peer, r.Servers = nil, nil, nil, nil
	o.AnyTo, o.Seen = guard.AnyTo(), nil
	if guard.Platform() {
		if r.Peer, err = w.peerAt(ctx, guard); err != nil {
			return nil, err
		}
		r.Servers = slices.Sorted(slices.Values(servers))
	} else {
		if stands.seen == nil {
			if *stands, err = s.stand(ctx, servers, w.seen); err != nil {
				return nil, err
			}
		}
		o.Seen, r.To = stands.seen, slices.Clone(stands.now)
		for _, at := range stands.lately {
			if !w.only || slices.Contains(was, at) {
				r.To = append(r.To, at)
			}
		}
		slices.SortFunc(r.To, netip.AddrPort.Compare)
	}
	if r.Peer == nil {
		if r.From, err = w.egress(ctx, r.To); err != nil {
			return nil, err
		}
	}
	known := len(r.From) > 0
	r.From = append(r.From, more...)
	slices.SortFunc(r.From, netip.Prefix.Compare)
	r.From = slices.Compact(r.From)
	if reach, err = guard.Reach(ctx, *r); err != nil { // also whom it lets in at all
		return nil, err
	}
	if r.Peer == nil && !known {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "it is not known from which addresses %s speaks to %s, and nothing is opened for everybody", w.id.Name(), w.ref.Target.Name()).
			WithFix("register %s again with --egress ADDRESS, as the target sees it", w.id.Name())
	}
	return reach, nil
}

// peerAt is the source as the guard's platform knows it; nil when it is none of its own.
func (w way) peerAt(ctx context.Context, guard *driver.GuardedNetwork) (*driver.Peer, error) {
	peer, err := w.source.Peer(ctx)
	if err != nil || peer == nil {
		return nil, err
	}
	known, err := guard.Knows(ctx, *peer)
	if err != nil || !known {
		return nil, err
	}
	return peer, nil
}

// egress are the addresses that the source speaks from to those; without any, to whatever
// is asked.
func (w way) egress(ctx context.Context, to []netip.AddrPort) (from []netip.Prefix, err error) {
	if len(to) == 0 {
		return w.source.Egress(ctx, netip.Addr{})
	}
	for _, one := range to {
		egress, err := w.source.Egress(ctx, one.Addr())
		if err != nil {
			return nil, err
		}
		for _, p := range egress {
			if p.Addr().Is4() == one.Addr().Is4() {
				from = append(from, p)
			}
		}
	}
	return from, nil
}

// namedRanges are the addresses that a caller wants let in besides the source's.
func namedRanges(spec patchbay.Spec) ([]netip.Prefix, error) {
	if spec.PublicNetwork == nil || spec.PublicNetwork.FirewallRules == nil {
		return nil, nil
	}
	var all []netip.Prefix
	for _, text := range spec.PublicNetwork.FirewallRules.IPRanges {
		p, err := netip.ParsePrefix(text)
		if a, addrErr := netip.ParseAddr(text); addrErr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p != p.Masked() || p.Bits() == 0 {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "ipRanges has %q, which is no address and no network such as 10.0.9.0/24", clip(text, 60))
		}
		all = append(all, p)
	}
	return all, nil
}

// mayLetIn asks whether who may let others in than the source: who may connect a target
// has no say in who else reaches it.
func mayLetIn(ctx context.Context, who Caller, p parties, spec patchbay.Spec) error {
	more, err := namedRanges(spec)
	if err != nil || len(more) == 0 {
		return nil //nolint:nilerr // checkFirewall has said what there is to say
	}
	for _, guard := range guardsOf(p, spec) {
		if err := who.allow(ctx, ActionHost, guard); err != nil {
			return err
		}
	}
	return nil
}

// checkVNet refuses a way that none of the target's guards stands for.
func (s *Service) checkVNet(ctx context.Context, p parties, spec *patchbay.Spec) error {
	if spec.VNet == nil || spec.VNet.Type == "" {
		return nil
	}
	var offered []string
	for _, id := range guardsOf(p, *spec) {
		guard, err := s.records.Resource(ctx, id)
		if err != nil {
			return err
		}
		offered = append(offered, s.catalog.Networks[guard.Driver].Solutions...)
	}
	if slices.ContainsFunc(offered, func(one string) bool { return strings.EqualFold(one, spec.VNet.Type) }) {
		return nil
	}
	fix := "leave vNetSolution out, or register " + p.title() + " with a guard that is one"
	if p.target.PublicAccess == patchbay.PublicDisabled { // what it leaves
		offered = slices.DeleteFunc(offered, func(one string) bool { return one != driver.PrivateLink })
	}
	if len(offered) > 0 {
		fix = "ask for " + strings.Join(offered, " or ") + ", or leave vNetSolution out"
	}
	return patchbay.Errorf(patchbay.NotSupported, "nothing on the way to %s is a %s", p.title(), clip(spec.VNet.Type, 40)).WithFix("%s", fix)
}

// checkFirewall refuses rules that mean nothing on the way to a target with guards. To
// one without, nothing is opened and nothing closed.
func checkFirewall(p parties, spec *patchbay.Spec) error {
	if len(guardsOf(p, *spec)) == 0 || spec.PublicNetwork == nil || spec.PublicNetwork.FirewallRules == nil {
		return nil
	}
	for name, on := range map[string]string{"azureServices": spec.PublicNetwork.FirewallRules.AzureServices, "callerClientIP": spec.PublicNetwork.FirewallRules.CallerClientIP} {
		if strings.EqualFold(on, "true") && p.target.PublicAccess != patchbay.PublicDisabled { // else it is refused for that
			return patchbay.Errorf(patchbay.NotSupported, "%s is not opened for %s: whoever that is, Patchbay can't tell their addresses", p.target.ID.Name(), name).
				WithFix("name the addresses in firewallRules.ipRanges, or leave %s out", name)
		}
	}
	_, err := namedRanges(*spec)
	return err
}

// resolve is what stands behind host:port.
func (s *Service) resolve(ctx context.Context, server string) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(server)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.NotSupported, "%.200q is no host and port, so no way to it can be opened", server)
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.NotSupported, "%.200q has no port, so no way to it can be opened", server)
	}
	addresses, err := s.lookup(ctx, "ip", host)
	if err != nil {
		return nil, driver.DialError(err, server)
	}
	var all []netip.AddrPort
	for _, a := range addresses {
		all = append(all, netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(port))) // #nosec G115 -- a port
	}
	return all, nil
}

// open opens the way to the target, guard by guard.
func (s *Service) open(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.outlineOf(op)
	if err != nil {
		return nil, err
	}
	in, err := readInput(op)
	if err != nil {
		return nil, err
	}
	for _, o := range p.Open {
		if o.Left {
			continue
		}
		if !in.Rotate { // whose new login passes where the old one does
			if err := s.stillOpens(ctx, o, p.specOf(in)); err != nil {
				return nil, err
			}
		}
		if err := s.ensureRule(ctx, o); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (s *Service) ensureRule(ctx context.Context, o opening) error {
	guard, done, err := s.guard(ctx, o)
	if err != nil {
		return err
	}
	defer done()
	return guard.EnsureRule(ctx, o.Rule)
}

// undoOpen closes what the operation opened.
func (s *Service) undoOpen(ctx context.Context, op *saga.Op) error {
	p, err := s.outlineOf(op)
	if err != nil {
		return err
	}
	if err := inUse(op, stepLogin); err != nil {
		return err
	}
	return s.shut(ctx, made(p.Open))
}

// inUse fails while the login that a step was to end stays for the application's sake:
// what is open for it is closed behind it.
func inUse(op *saga.Op, step string) error {
	for _, run := range op.Trail {
		if run.Name == step && run.Parked {
			return saga.Leave(patchbay.Errorf(patchbay.StillInUse, "a login that it is open for is not gone yet"))
		}
	}
	return nil
}

func made(all []opening) []opening {
	return slices.DeleteFunc(slices.Clone(all), func(o opening) bool { return !o.Made })
}

// closeOld closes what the connection does not need any more.
func (s *Service) closeOld(ctx context.Context, op *saga.Op) ([]byte, error) {
	p, err := s.outlineOf(op)
	if err != nil {
		return nil, err
	}
	if op.Kind != patchbay.OpDelete { // of a connection that goes, nobody has a say
		if err := inUse(op, stepRevoke); err != nil {
			return nil, err
		}
	}
	return nil, s.shut(ctx, p.Shut)
}

// shut removes rules, the last one first.
func (s *Service) shut(ctx context.Context, all []opening) error {
	for _, o := range slices.Backward(all) {
		guard, done, err := s.guard(ctx, o)
		if err != nil {
			return err
		}
		err = guard.RemoveRule(ctx, o.Rule)
		done()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) parkOpen(op *saga.Op, cause error) (patchbay.Leftover, error) {
	p, err := s.outlineOf(op)
	if err != nil {
		return patchbay.Leftover{}, err
	}
	return s.parkOpenings(op, stepOpen, made(p.Open), cause)
}

func (s *Service) parkClose(op *saga.Op, cause error) (patchbay.Leftover, error) {
	p, err := s.outlineOf(op)
	if err != nil {
		return patchbay.Leftover{}, err
	}
	return s.parkOpenings(op, stepClose, p.Shut, cause)
}

func (s *Service) parkOpenings(op *saga.Op, step string, all []opening, cause error) (patchbay.Leftover, error) {
	if len(all) == 0 {
		return patchbay.Leftover{}, nil
	}
	names := make([]string, len(all))
	for i, o := range all {
		names[i] = o.Rule.Name + " at " + o.Guard.Name()
	}
	return s.newLeftover(op, step, all[0].Guard, "opening "+strings.Join(names, ", "), cause, work{Openings: all, UID: all[0].Rule.Mark.UID})
}

// closeLeft removes what a leftover is about, less what its connection has on record.
func (s *Service) closeLeft(ctx context.Context, l patchbay.Leftover, c patchbay.Connection, alive bool, left []opening) error {
	if alive {
		waits, err := s.waits(ctx, l.Operation, stepLogin, stepRevoke)
		if err != nil {
			return err
		}
		if waits {
			e := patchbay.Errorf(patchbay.StillInUse, "a login that it is open for is not gone yet")
			e.Err = errWaits
			return e
		}
		busy, err := s.busy(ctx, c)
		if err != nil {
			return err
		}
		if busy {
			return patchbay.Errorf(patchbay.OperationInProgress, "an operation of the connection %s has not ended", c.Name)
		}
		held, err := s.openHolding(c)
		if err != nil {
			return err
		}
		left = slices.DeleteFunc(slices.Clone(left), func(o opening) bool {
			return slices.ContainsFunc(held.Openings, func(has opening) bool { return has.Rule.Name == o.Rule.Name && has.Guard.Equal(o.Guard) })
		})
	}
	return s.shut(ctx, left)
}

// busy reports whether an operation of c is under way, a fix among them: what that opens
// is on record only when it has ended.
func (s *Service) busy(ctx context.Context, c patchbay.Connection) (bool, error) {
	under, _, err := s.records.Operations(ctx, store.OperationFilter{Connection: c.ID, Active: true}, "", 1)
	return changing(c) || len(under) > 0, err
}

// guard gives the opened driver of an opening's guard.
func (s *Service) guard(ctx context.Context, o opening) (*driver.GuardedNetwork, func(), error) {
	r, err := s.records.Resource(ctx, o.Guard)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		err = patchbay.Errorf(patchbay.TargetNotFound, "the guard %s is not in the inventory any more", o.Guard.Name()).
			WithFix("register it again under the same name")
	}
	if err != nil {
		return nil, nil, err
	}
	target, err := s.records.Resource(ctx, o.Target)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		target, err = patchbay.Resource{ID: o.Target}, nil // what is open there is closed all the same, if the guard can do it alone
	}
	if err != nil {
		return nil, nil, err
	}
	return s.guardOf(ctx, r, target)
}

// guardOf gives the opened driver of a guard, for a target that is behind it.
func (s *Service) guardOf(ctx context.Context, r, target patchbay.Resource) (*driver.GuardedNetwork, func(), error) {
	machine, err := s.hostOf(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	etag := r.ETag + " " + target.ETag + " " + machine.ETag
	return s.guards.get(ctx, r.ID, target.ID.Key(), etag, func(ctx context.Context) (*driver.GuardedNetwork, error) { return s.openGuard(ctx, r, target) })
}

func (s *Service) openGuard(ctx context.Context, r, target patchbay.Resource) (*driver.GuardedNetwork, error) {
	d, ok := s.catalog.Networks[r.Driver]
	if !ok {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s is to be behind %s, which has driver %q and is no guard", target.ID.Name(), r.ID.Name(), r.Driver)
	}
	c, done, err := s.configOn(ctx, r)
	if err != nil {
		return nil, err
	}
	guarded, err := s.config(target)
	if err != nil {
		done()
		return nil, err
	}
	network, err := driver.Guard{Name: r.Driver, Admin: c.Admin, Observe: s.observe}.OpenNetwork(ctx, d, c, guarded)
	if err != nil {
		done()
		return nil, err
	}
	network.OnClose(done)
	return network, nil
}

// openText says what is opened, and for whom.
func (d *draft) openText(target string) string {
	var guards []string
	for _, o := range d.plan.Open {
		guards = append(guards, o.Guard.Name())
	}
	if len(guards) == 0 {
		return ""
	}
	return fmt.Sprintf("open %s for %s (from %s alone), at %s", target, d.parties.source.ID.Name(), from(d.plan.Open[0].Rule), strings.Join(guards, ", then at "))
}

// checkGuards refuses what can't be a target's guard, and a caller who may not use one.
func (s *Service) checkGuards(ctx context.Context, who Caller, target patchbay.Resource) error {
	if len(target.Guards) == 0 {
		return nil
	}
	if _, ok := s.catalog.Targets[target.Driver]; !ok {
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is no target, and nothing guards the way to it", target.ID.Name())
	}
	for i, id := range target.Guards {
		if slices.ContainsFunc(target.Guards[:i], id.Equal) {
			return patchbay.Errorf(patchbay.InvalidArgument, "the guard %s is there twice", id.Name())
		}
		// Whoever says which target a guard is on the way to, and where that is, says which
		// of its machine's ports are closed: also who changes a target that has one.
		if err := who.allow(ctx, ActionHost, id); err != nil {
			return err
		}
		r, err := s.records.Resource(ctx, id)
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			return patchbay.Errorf(patchbay.InvalidArgument, "the guard %s is not registered", id).WithFix("patchbay resource add GUARD-DRIVER %s, then register %s", id.Name(), target.ID.Name())
		}
		if err != nil {
			return err
		}
		guard, err := s.openGuard(ctx, r, target)
		if err != nil {
			return err
		}
		_ = guard.Close() // it was opened to be checked
	}
	return nil
}

// unguarded refuses to take a guard away that a target is behind, or that a
// connection has an opening at.
func (s *Service) unguarded(ctx context.Context, guard patchbay.Resource) error {
	if _, ok := s.catalog.Networks[guard.Driver]; !ok {
		return nil
	}
	err := s.eachResource(ctx, func(r patchbay.Resource) error {
		if slices.ContainsFunc(r.Guards, guard.ID.Equal) {
			return patchbay.Errorf(patchbay.Conflict, "%s is behind %s", r.ID.Name(), guard.ID.Name()).WithFix("register %s without that guard", r.ID.Name())
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.eachOf(ctx, "", func(c patchbay.Connection) error {
		if slices.ContainsFunc(c.Guards, guard.ID.Equal) {
			return patchbay.Errorf(patchbay.Conflict, "the connection %s has an opening at %s", c.Name, guard.ID.Name()).
				WithFix("patchbay connection update %s   (which closes it, once its target is not behind that guard any more)", onCommandLine(c))
		}
		return nil
	})
}

// rules compares what is open with what the connection has on record; it gives false
// when that is a finding.
func (v *checking) rules(ctx context.Context) bool {
	open := v.publicAccess(ctx)
	before := len(v.checks)
	if !v.reopened(ctx) {
		return false
	}
	failed := func(code patchbay.Code, format string, args ...any) {
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Failure, code, fmt.Sprintf(format, args...), v.fix())
	}
	for _, o := range open {
		guard, done, err := v.s.guard(ctx, o)
		var state driver.RuleState
		if err == nil {
			state, err = guard.InspectRule(ctx, o.Rule)
			done()
		}
		switch at := o.Guard.Name(); {
		case err != nil:
			v.failed(patchbay.CheckNetwork, nameNetwork, err, "check the guard "+at)
		case !state.Exists:
			failed(patchbay.RuleMissing, "the opening %s is not at %s any more", o.Rule.Name, at)
		case !state.Ours:
			failed(patchbay.NotOurs, "the opening %s at %s lost Patchbay's mark", o.Rule.Name, at)
		case !state.Exact:
			failed(patchbay.RuleMissing, "the opening %s at %s is not as it was made", o.Rule.Name, at)
		case state.Despite != "":
			v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Failure, patchbay.PortClosed,
				fmt.Sprintf("%s lets %s through, and that has no effect: %s", at, v.c.Source.Name(), state.Despite), "take out of the way what is not Patchbay's, or let the connection through there")
		}
	}
	if len(open) > 0 && v.source != nil && v.target != nil {
		now := slices.Clone(open)
		reach, seen, err := v.s.lead(ctx, now, way{v.c.Source, v.ref, v.c.Spec, v.source, v.target, lately(v.c, v.held), true})
		if err == nil {
			v.seen = seen
		}
		if err == nil && !maps.Equal(reach, v.held.Reach) {
			v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Failure, patchbay.SettingChanged,
				fmt.Sprintf("where %s finds %s is another place by now than its settings say", v.c.Source.Name(), v.ref.Target.Name()), v.updated())
			return false
		}
		if err == nil {
			for i, was := range open {
				if !was.opensAs(now[i]) {
					failed(patchbay.RuleMissing, "%s speaks from %s to %s by now, and open at %s is the way from %s to %s",
						v.c.Source.Name(), from(now[i].Rule), to(now[i].Rule), was.Guard.Name(), from(was.Rule), to(was.Rule))
					break // others have moved with it
				}
			}
		}
	}
	return len(v.checks) == before
}

// from says who is let through, and to where to.
func from(r driver.Rule) string {
	switch {
	case r.Peer != nil && len(r.From) > 0:
		return r.Peer.String() + ", " + texts(r.From)
	case r.Peer != nil:
		return r.Peer.String()
	}
	return texts(r.From)
}

func to(r driver.Rule) string {
	if len(r.Servers) > 0 {
		return strings.Join(r.Servers, ", ")
	}
	return texts(r.To)
}

func texts[T fmt.Stringer](all []T) string {
	list := make([]string, len(all))
	for i, one := range all {
		list[i] = one.String()
	}
	return strings.Join(list, ", ")
}

// recorded are the openings that a connection has after an operation, and where they are.
func recorded(all []opening) (openings []opening, at []patchbay.ID) {
	for _, o := range all {
		o.Made, o.Left = false, false
		openings = append(openings, o)
		if !slices.ContainsFunc(at, o.Guard.Equal) {
			at = append(at, o.Guard)
		}
	}
	return openings, at
}

// fixOpenings has the openings of a connection as they are on record, or where its
// source speaks from other addresses by now, from there.
func (s *Service) fixOpenings(ctx context.Context, op *saga.Op, p *outline, c patchbay.Connection, held holding, source *driver.GuardedSource, target *driver.GuardedTarget) error {
	w := way{c.Source, p.ref, c.Spec, source, target, lately(c, held), false}
	p.Denied = held.Denied
	if len(held.Openings) == 0 {
		return s.reopen(ctx, op, p, c, held, w)
	}
	res, err := s.records.Resource(ctx, p.Target)
	if err != nil {
		return err
	}
	wanted := slices.Clone(held.Openings)
	if err := s.leave(ctx, wanted, res, c.Spec); err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(wanted), func(o opening) bool { return o.Left })
	if len(kept) > 0 {
		// Where the source finds the target stays as it is on record: so do the settings.
		if _, _, err := s.lead(ctx, kept, w); err != nil {
			return err
		}
	}
	for i := range wanted {
		if !wanted[i].Left {
			wanted[i], kept = kept[0], kept[1:]
		}
	}
	p.decideOpenings(c, held, wanted)
	return s.leave(ctx, p.Open, res, c.Spec)
}

// isOpen reports whether all of that is in force.
func (s *Service) isOpen(ctx context.Context, all []opening) (bool, error) {
	for _, o := range all {
		if o.Left {
			continue
		}
		guard, done, err := s.guard(ctx, o)
		if err != nil {
			return false, err
		}
		state, err := guard.InspectRule(ctx, o.Rule)
		done()
		if err != nil || !state.Exact || !state.Ours {
			return false, err
		}
	}
	return true, nil
}

// moved is the connection with the openings that a fix has moved; nil when it moved none.
func (s *Service) moved(ctx context.Context, op *saga.Op) (*patchbay.Connection, error) {
	if !slices.Contains(op.Plan, stepOpen) {
		return nil, nil
	}
	p, err := s.outlineOf(op)
	if err != nil || len(made(p.Open)) == 0 {
		return nil, err
	}
	c, err := s.records.Connection(ctx, op.Connection)
	if err != nil {
		return nil, err
	}
	held, err := s.openHolding(c)
	if err != nil {
		return nil, err
	}
	held.Openings, c.Guards = recorded(p.Open)
	held.Last, held.Denied, c.ETag = max(held.Last, p.Last), p.Denied, newETag()
	c.Sealed, err = s.seal(held, "connection "+c.UID)
	return &c, err
}
