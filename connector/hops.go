package connector

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// dialLimit bounds one attempt of a validation to connect. A way that is shut costs it
// twice: what is tried again, and from the server, is tried at once.
const dialLimit = 5 * time.Second

// dialsAtOnce is how many servers of one target are dialed at once.
const dialsAtOnce = 16

// network opens a connection from the source's vantage point.
func (v *checking) network(ctx context.Context) {
	skip := func(why string) {
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.NotChecked, "", why, "")
	}
	if optsOutOfNetwork(v.c.Spec) {
		skip("the network was left to the caller (opt-out)")
		return
	}
	if v.source == nil && !v.central {
		skip("the source can't be spoken from")
		return
	}
	if !v.rules(ctx) { // the guards can be asked whoever can be spoken from
		return
	}
	if v.from == nil {
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.NotChecked, "", noVantage(v.c.Source, v.mute), v.mute.Fix)
		return
	}
	var r driver.ProbeRequest
	if v.reached() != nil {
		var err error
		if r, err = v.dial(ctx); err != nil {
			v.unreached(ctx, r, err)
			return
		}
	}
	if len(r.Servers) == 0 {
		skip("the target did not say where it is")
		return
	}
	if v.untrusted {
		skip("the port is open from " + v.whence() + "; the certificate behind it is not to be trusted, see above")
		return
	}
	if down := v.others(ctx, r); down != nil {
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Warning, down.Code, down.Message, down.Fix)
	}
	message := ""
	switch {
	case v.c.ID.IsLocal():
		message = "seen from the server; the way from the developer's own machine was not tried"
	case v.central:
		message = v.centrally()
	case v.shut && len(v.held.Openings) > 0:
		message = v.c.Source.Name() + " reaches it, the server does not"
	case v.shut:
		message = v.c.Source.Name() + " reaches it, the server does not"
		if !v.denied {
			message += "; " + notGuarded
		}
	case v.denied:
		message = ""
	case len(v.held.Openings) == 0:
		message = notGuarded
	}
	v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Success, "", message, "")
	if v.shut && !v.central && !v.c.ID.IsLocal() {
		v.letServerIn(cmp.Or(r.Asked, r.Servers[0]))
	}
}

// notGuarded says openly that nothing was opened, and nothing is closed.
const notGuarded = "the way is not guarded by Patchbay"

// centrally says of what was tried from where.
func (v *checking) centrally() string {
	return "tried from the server, as it was asked for, and not from " + v.c.Source.Name()
}

// whence names from where the way is tried.
func (v *checking) whence() string {
	if v.central || v.c.ID.IsLocal() {
		return "the server"
	}
	return v.c.Source.Name()
}

// reached is the target, as far as it could be opened; nil when it could not.
func (v *checking) reached() *driver.GuardedTarget {
	if v.target != nil {
		return v.target
	}
	return v.afar
}

// noWay reports whether err says that the server has no way to a target: a source may
// have one.
func noWay(err error) bool {
	switch patchbay.CodeOf(err) {
	case patchbay.TargetUnreachable, patchbay.NameNotResolved, patchbay.PortClosed, patchbay.Timeout:
		return true
	}
	return driver.HopOf(err).OfTLS()
}

// letServerIn is what helps a server that does not reach a target that the source
// reaches.
func (v *checking) letServerIn(address string) {
	for i, c := range v.checks {
		if c.Group == patchbay.CheckExistence && c.Name == nameExistence && c.Result == patchbay.Failure {
			v.checks[i].Fix = fmt.Sprintf("let the server through to %s too: it administers %s from where it runs", address, v.ref.Target.Name())
		}
	}
}

// dial opens a connection from the source's vantage point and closes it; it gives
// what was dialed. Where no login is made, the driver knows whether TLS comes
// first, and signs in with nothing.
func (v *checking) dial(ctx context.Context) (driver.ProbeRequest, error) {
	target := v.reached()
	asked := driver.ProbeRequest{Dialer: v.from, Sub: v.ref.Sub, Share: v.s.shareOf(ctx, v.c.ID, v.ref), Reading: probing(v.reading())}
	r, err := target.PrepareProbe(ctx, asked)
	if err != nil || len(r.Servers) == 0 {
		return r, err
	}
	if v.driver.Administers() {
		v.ways = tryAll(ctx, v.from, r)
		return r, v.ways.whole()
	}
	_, err = target.Probe(ctx, asked)
	if err == nil || driver.HopOf(err) != "" || patchbay.CodeOf(err) != patchbay.TargetUnreachable && patchbay.CodeOf(err) != patchbay.Timeout {
		return r, err
	}
	// Which server the client took is not known; the first is the one that it begins with.
	if plain := try(ctx, v.from, r.Servers[0], cmp.Or(r.Asked, r.Servers[0])); plain != nil {
		return r, plain // which knows where the way ends
	}
	return r, err
}

// ways are how the attempts to connect to each of a target's servers ended.
type ways []wayTo

type wayTo struct {
	server string
	err    *patchbay.Error // nil: it is reached
}

// whole fails as the first one did, when no server was reached: clients take any that
// they reach.
func (w ways) whole() error {
	if len(w) == 0 || slices.ContainsFunc(w, func(one wayTo) bool { return one.err == nil }) {
		return nil
	}
	return w[0].err
}

// tryAll opens a connection to each of the servers, side by side, and closes it.
func tryAll(ctx context.Context, from driver.Dialer, r driver.ProbeRequest) ways {
	all := make(ways, len(r.Servers))
	places := make(chan struct{}, dialsAtOnce)
	var group sync.WaitGroup
	for i, server := range r.Servers {
		all[i].server = server
		if len(r.Servers) == 1 {
			all[i].server = cmp.Or(r.Asked, server)
		}
		group.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			all[i].err = try(ctx, from, server, all[i].server)
		})
	}
	group.Wait()
	return all
}

// try opens a connection to a server, which messages call name, and closes it.
func try(ctx context.Context, from driver.Dialer, server, name string) *patchbay.Error {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", server)
	if err != nil {
		// Not every dialer says of its context's end that it was one of a dial.
		return driver.DialError(&net.OpError{Op: "dial", Net: "tcp", Err: err}, name)
	}
	_ = conn.Close()
	return nil
}

// others is what to say of servers that are not reached while others are; nil when each
// is, as far as they were tried. One that fails is tried twice.
func (v *checking) others(ctx context.Context, r driver.ProbeRequest) *patchbay.Error {
	failed := driver.ProbeRequest{}
	for _, way := range v.ways {
		if way.err != nil {
			failed.Servers = append(failed.Servers, way.server)
		}
	}
	if len(failed.Servers) == 0 || len(r.Servers) < 2 {
		return nil
	}
	var down []string
	var first *patchbay.Error
	for _, way := range tryAll(ctx, v.from, failed) {
		if way.err != nil {
			first = cmp.Or(first, way.err)
			down = append(down, way.err.Message)
		}
	}
	if len(down) == 0 {
		return nil
	}
	found := patchbay.Errorf(first.Code, "from %s: %s; the other servers are reached, %d of %d", v.whence(), strings.Join(down, "; "), len(r.Servers)-len(down), len(r.Servers))
	return found.WithFix("see that each server of %s runs, and that %s may reach it: the application is left without a target when the others go", v.ref.Target.Name(), v.whence())
}

// unreached says where the way ends that was tried, who else has it, and what mends it.
// r is what was tried, as far as that is known.
func (v *checking) unreached(ctx context.Context, r driver.ProbeRequest, err error) {
	v.cut = true
	first := patchbay.AsError(err)
	if len(r.Servers) == 0 {
		v.failed(patchbay.CheckNetwork, nameNetwork, first, "check the way from "+v.whence()+" to "+v.ref.Target.Name())
		return
	}
	address := cmp.Or(r.Asked, r.Servers[0])
	hop := driver.HopOf(first)
	from := func(e *patchbay.Error) string {
		text := fmt.Sprintf("from %s: %s", v.whence(), e.Message)
		if more := v.ways; len(more) > 1 && more.whole() != nil {
			for _, way := range more[1:] {
				text += "; " + way.err.Message
			}
		}
		return text
	}
	switch {
	case hop.OfTLS(), hop == driver.HopEnd, first.Code != patchbay.TargetUnreachable && hop == "":
		// Who answers does so wherever it is asked from; or nobody was asked.
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Failure, first.Code, from(first), cmp.Or(first.Fix, "see what answers at "+address))
		return
	case v.central, v.c.ID.IsLocal():
		message := from(first)
		if v.central {
			message += "; " + v.centrally()
		}
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Failure, first.Code, message, v.wayFix(ctx, hop, address, false))
		return
	}
	// Once more, and from the server: what a moment has mended is no difference
	// between the two.
	var again, server error
	var both sync.WaitGroup
	both.Go(func() { _, again = v.dial(ctx) })
	both.Go(func() { server = tryAll(ctx, v.s.dialer, r).whole() })
	both.Wait()
	if again == nil {
		v.cut = false
		v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Warning, "", from(first)+"; tried again, it came through", "")
		return
	}
	found := patchbay.AsError(again)
	hop = driver.HopOf(found)
	message := from(found)
	switch {
	case server == nil:
		message += fmt.Sprintf("; the server reaches it, %s does not", v.whence())
	case driver.HopOf(server) == hop:
		message += "; neither does the server reach it"
	default:
		message += "; neither does the server reach it: " + patchbay.AsError(server).Message
	}
	v.add(patchbay.CheckNetwork, nameNetwork, patchbay.Failure, found.Code, message, v.wayFix(ctx, hop, address, server == nil))
}

// wayFix is what mends a way that ends at hop. alone says that the server has the way:
// then the target is there, and what is wrong is between it and the source.
func (v *checking) wayFix(ctx context.Context, hop driver.Hop, address string, alone bool) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	who, target := v.whence(), cmp.Or(v.ref.Target.Name(), address)
	if v.ref.Target == "" {
		target = address
	}
	switch {
	case hop == driver.HopName && alone:
		return fmt.Sprintf("make the name %s known where %s runs (getent hosts %s shows it there); or %s", host, who, host, v.otherwise("one that both know"))
	case hop == driver.HopName:
		return fmt.Sprintf("give the name %s an address in a name server that %s asks; or %s", host, who, v.otherwise("the right one"))
	case loopback(host) && who != "the server":
		return fmt.Sprintf("%s: %s is the very machine, or the container, that %s runs in", v.otherwise("one that leads there from elsewhere"), host, who)
	case hop == driver.HopOwn:
		return fmt.Sprintf("let connections to %s out where %s runs: a route that prohibits them (ip route), its service manager or a security module forbids them", address, who)
	case hop == driver.HopRoute:
		return fmt.Sprintf("give the machine that %s runs on a route to %s (ip route shows those that it has)", who, host)
	case !alone && hop == driver.HopPort:
		return fmt.Sprintf("see that %s runs and listens on %s", target, address)
	case !alone && (hop == driver.HopSilence || hop == driver.HopHost):
		return fmt.Sprintf("see that the machine of %s is up, and that this is its address; then that no packet filter is in the way", address)
	case !alone || hop == "":
		return "check the way from " + who + " to " + address
	case v.denied:
		return v.s.otherWays(ctx, v.resource, v.c.Spec, who)
	case len(v.held.Openings) > 0:
		return fmt.Sprintf("the guards let %s through: take out of the way what else filters packets between %s and %s, on their own machines too", who, who, address)
	case v.behindGuards(ctx):
		return fmt.Sprintf("%s   (it opens the way at the guards of %s)", v.updated(), target)
	}
	return fmt.Sprintf("let %s%s through to %s, in the packet filter there or on the way", who, v.speaksFrom(ctx, host), address)
}

// otherwise is how a target gets another address.
func (v *checking) otherwise(which string) string {
	if v.ref.Target == "" {
		return "connect it by another address: " + which
	}
	return fmt.Sprintf("register %s with another address: %s", v.ref.Target.Name(), which)
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback() || host == "localhost"
}

// behindGuards reports whether the target has guards, which the connection has not
// passed yet: it is older than they are.
func (v *checking) behindGuards(ctx context.Context) bool {
	r, err := v.s.records.Resource(ctx, v.ref.Target)
	return err == nil && len(r.Guards) > 0
}

// updated is the command that makes the connection anew, as it is.
func (v *checking) updated() string {
	return fmt.Sprintf("patchbay connection update %s %s --client-type %s", v.word(), onCommandLine(v.c), cmp.Or(v.c.Spec.Client, "none"))
}

// speaksFrom is from which addresses the source speaks to a host, for a sentence; ""
// where nobody knows.
func (v *checking) speaksFrom(ctx context.Context, host string) string {
	to, _ := netip.ParseAddr(host)
	egress, err := v.source.Egress(ctx, to)
	if err != nil || len(egress) == 0 {
		return ""
	}
	return " (" + texts(egress) + ")"
}

// distrusted moves a sign-in that ended before the login was asked for, because of TLS,
// to where it belongs: to the network.
func (v *checking) distrusted(err error) {
	e := patchbay.AsError(err)
	found := patchbay.Check{
		Group: patchbay.CheckNetwork, Name: nameNetwork, Result: patchbay.Failure, Code: e.Code,
		Message: fmt.Sprintf("from %s: %s", v.whence(), e.Message), Fix: e.Fix,
	}
	for i, c := range v.checks {
		if c.Group == patchbay.CheckNetwork && c.Result == patchbay.Success {
			v.checks[i] = found
			v.add(patchbay.CheckAuthentication, nameAuthentication, patchbay.NotChecked, "", "the network ends before a login is asked for", "")
			return
		}
	}
	v.add(patchbay.CheckAuthentication, nameAuthentication, patchbay.Failure, e.Code, found.Message, found.Fix)
}
