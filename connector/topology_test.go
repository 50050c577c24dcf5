package connector

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/store/storetest"
)

var topology = flag.Uint64("topology", 0, "the seed of a topology that failed; 0: others each time")

// Connections come, change, move and go between sources that speak from several
// networks, which overlap, and targets that listen at several addresses behind several
// guards, while guards, logins, applications and the server itself fail. The
// specification (I8), looked at after every act:
//
//   - What a guard lets through is exactly what its live connections need together:
//     from the networks that a connection's source spoke from when its way was
//     planned, to the addresses of its target, and where the guard knows logins, with
//     the connection's own.
//   - Where public access to a target is denied, it is nothing, but for a private link, and
//     what was open before that and was not changed since.
//   - More than that is only ever open while something is listed as left over; when
//     what failed works again, a sweep closes it.
//   - Not for an instant is there a rule at a guard that neither a connection has nor
//     the operation is to give it.
//   - When all connections are deleted, nothing is open.
func TestWhatIsOpenIsWhatLiveConnectionsNeed(t *testing.T) {
	seeds, runs := 16, 15
	if testing.Short() {
		seeds = 4
	}
	for range seeds {
		seed := rand.Uint64()
		if *topology != 0 {
			seed = *topology
		}
		t.Run(fmt.Sprintf("topology %d", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			w := newTopologies(t)
			for range runs {
				land := newLand(random)
				moves := make([]move, 3+random.IntN(12))
				for i := range moves {
					moves[i] = move{
						errand: errand(random.IntN(int(errands))), who: random.IntN(4), where: random.IntN(8), how: random.IntN(8),
						trouble: mishap(random.IntN(2 * int(mishaps))), at: random.IntN(6), guard: random.IntN(3),
					}
				}
				if moves, err := shortest(moves, func(moves []move) error { return w.hold(land, moves) }); err != nil {
					t.Fatalf("go test ./connector -run TestWhatIsOpenIs -topology %d\n%v\n%v\n%v", seed, land, moves, err)
				}
			}
		})
		if *topology != 0 {
			return
		}
	}
}

// errand is what is done.
type errand int

const (
	errandPut errand = iota
	errandPutElse
	errandRotate
	errandDelete
	errandFix
	errandEgress // a source gets other addresses
	errandGuards // a target gets other guards
	errandPublic // public access to a target is denied, or allowed again
	errands
)

var errandNames = []string{"put", "put", "rotate", "delete", "fix", "addresses change", "guards change", "public access changes"}

// mishap is what goes wrong meanwhile; from mishaps on, nothing does.
type mishap int

const (
	mishapRefuses mishap = iota // a guard, at its at-th change and from then on
	mishapOnce                  // at that one alone
	mishapAnswer                // it has its effect, and no answer comes
	mishapLogin                 // the login is refused when it is tried
	mishapRestart               // the application does not come up
	mishapSession               // what is revoked is still in use
	mishapDeath                 // of the server, at the at-th call of what it changes
	mishaps
)

var mishapNames = []string{"a guard refuses", "a guard refuses once", "a guard's answer is lost", "the login is refused", "the application does not start", "sessions stay", "the server dies", ""}

// move is an act; as in [act], what its numbers name depends on what is there.
type move struct {
	errand          errand
	who, where, how int
	trouble         mishap
	at, guard       int
}

func (m move) String() string {
	return fmt.Sprintf("%s{%d %d %d; %s %d %d}", errandNames[m.errand], m.who, m.where, m.how, mishapNames[min(m.trouble, mishaps)], m.guard, m.at)
}

// land is a topology.
type land struct {
	egress  [][]netip.Prefix // of each source, several that it has in turn
	targets []string         // their endpoints
	guards  []string         // the drivers of guards
	behind  [][]int          // guards that targets have in turn
}

func (l *land) String() string {
	return fmt.Sprintf("sources from %v, targets at %q, guards %q, in turn %v", l.egress, l.targets, l.guards, l.behind)
}

var (
	networks = prefixes("10.0.3.7/32", "10.0.3.6/31", "10.0.3.0/24", "10.0.0.0/16", "10.0.4.0/30", "10.1.0.0/31", "fd00::7/128", "fd00::/64", "fd00:0:0:1::/64", "fd00::/48")
	ranges   = [][]string{nil, {"10.0.3.7"}, {"10.0.2.0/23"}, {"10.7.0.0/24", "fd07::/64"}}
	listens  = []string{"10.9.0.1:5432", "10.9.0.1:5433", "10.9.0.2:5432", "[fd09::1]:5432", "[fd09::2]:5433"}
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// some are a few of a list, in any order.
func some[T any](random *rand.Rand, list []T, least, most int) []T {
	list = slices.Clone(list)
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:least+random.IntN(most-least+1)]
}

func newLand(random *rand.Rand) *land {
	l := &land{}
	for range 6 {
		l.egress = append(l.egress, some(random, networks, 0, 4))
	}
	for range 3 {
		l.targets = append(l.targets, strings.Join(some(random, listens, 1, 3), ","))
	}
	for range 3 {
		l.guards = append(l.guards, []string{"wall", "hba"}[random.IntN(2)])
	}
	for range 5 {
		l.behind = append(l.behind, some(random, []int{0, 1, 2}, 0, 3))
	}
	return l
}

// elsewhere is a target that listens where it is registered.
type elsewhere struct {
	*broker
	servers []string
}

func (e elsewhere) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = e.servers
	return r, nil
}

// topologies is a world with sources in memory, each with addresses of its own, and
// guards likewise.
type topologies struct {
	*world
	mu   sync.Mutex
	apps map[patchbay.ID]*app
	runs int
}

func newTopologies(t *testing.T) *topologies {
	t.Helper()
	w := &topologies{apps: map[patchbay.ID]*app{}}
	w.world = newWorldOver(t, Limits{}, storetest.NewMemory(), func(_ context.Context, c driver.Config) (driver.Source, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return speaker{w.apps[c.ID]}, nil
	})
	w.listens, w.wall.of = true, map[string]*wall{}
	return w
}

// speaker is an app from which everything that is open is reached.
type speaker struct{ *app }

func (speaker) Dialer(context.Context) (driver.ClosingDialer, error) {
	return driver.KeptOpen(everywhere{}), nil
}

type everywhere struct{}

func (everywhere) DialContext(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	_ = there.Close()
	return here, nil
}

// run is one land while it lasts.
type run struct {
	*topologies
	*land
	sources, targets, guards []patchbay.ID
	walls                    []*wall
	has                      []int  // which of behind each target has
	denied                   []bool // public access to each target
	live                     map[patchbay.ID]*need
	next                     *need // what the operation that runs is to open
	moving                   patchbay.ID
	mu                       sync.Mutex
	strange                  error // what was found in the middle of an operation
}

// need is what a live connection needs open.
type need struct {
	from   []netip.Prefix
	to     []netip.AddrPort
	guards []int // none: nothing is open for it
	source int
	target int
	denied bool // none are, because public access was denied
}

func (w *topologies) hold(l *land, moves []move) error {
	w.runs++
	r := &run{topologies: w, land: l, has: make([]int, len(l.targets)), denied: make([]bool, len(l.targets)), live: map[patchbay.ID]*need{}}
	r.furnish()
	for i, m := range moves {
		err := r.do(m)
		if err == nil {
			err = r.settled()
		}
		if err != nil {
			return fmt.Errorf("%v (%d): %w", m, i, err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.live)) {
		if op := w.end(w.Delete(w.t.Context(), id, w.caller, "")); op.State != patchbay.Done {
			return fmt.Errorf("the delete of %s at the end: %+v", id.Name(), op)
		}
		delete(r.live, id)
	}
	for i, one := range r.walls {
		if len(one.rules) > 0 {
			return fmt.Errorf("in the end, guard %d has %v", i, one.rules)
		}
	}
	return r.exact()
}

// furnish registers all that the land has.
func (r *run) furnish() {
	for i, kind := range r.land.guards {
		id := r.group.Child("providers/Patchbay.Services/guards", fmt.Sprintf("guard%d-%d", r.runs, i))
		one := &wall{gate: r.gate, rules: map[string]driver.Rule{}}
		one.changed = func(rules map[string]driver.Rule) { r.look(i, rules) }
		r.wall.of[id.Name()] = one
		r.guards, r.walls = append(r.guards, id), append(r.walls, one)
		r.register(patchbay.Resource{ID: id, Driver: kind}, nil)
	}
	for i := range r.land.targets {
		r.targets = append(r.targets, r.group.Child("providers/Microsoft.DBforPostgreSQL/flexibleServers", fmt.Sprintf("db%d-%d", r.runs, i)))
		r.has[i] = i % len(r.behind)
		r.guard(i)
	}
	for i := range 2 {
		id := r.group.Child("providers/Microsoft.Web/sites", fmt.Sprintf("web%d-%d", r.runs, i))
		r.topologies.mu.Lock()
		r.apps[id] = &app{id: id, settings: map[string]patchbay.Secret{}, egress: r.egress[i]}
		r.topologies.mu.Unlock()
		r.register(patchbay.Resource{ID: id}, nil)
		r.sources = append(r.sources, id)
	}
}

// guard registers a target with the guards that it has now.
func (r *run) guard(target int) {
	ids := []patchbay.ID{}
	for _, g := range r.behind[r.has[target]] {
		ids = append(ids, r.guards[g])
	}
	access := patchbay.PublicEnabled
	if r.denied[target] {
		access = patchbay.PublicDisabled
	}
	r.register(patchbay.Resource{ID: r.targets[target], Endpoint: r.land.targets[target], Guards: ids, PublicAccess: access}, driver.Secrets{"password": patchbay.NewSecret("admin's")})
}

// do lets one thing happen.
func (r *run) do(m move) error {
	w := r.world
	source := m.who % len(r.sources)
	id := r.sources[source].Linker(fmt.Sprintf("c%d", m.who/2))
	a := r.apps[r.sources[source]]
	_, there := r.live[id]
	switch m.errand {
	case errandEgress:
		defer a.lock()()
		a.egress = r.egress[m.where%len(r.egress)]
		return nil
	case errandGuards:
		target := m.who % len(r.targets)
		r.has[target] = m.where % len(r.behind)
		r.guard(target)
		return nil
	case errandPublic:
		target := m.who % len(r.targets)
		r.denied[target] = m.where%2 == 0
		r.guard(target)
		return nil
	case errandPut, errandPutElse:
	default:
		if !there {
			return nil
		}
	}
	begin, then := func() (Begun, error) { return w.Delete(w.t.Context(), id, w.caller, "") }, (*need)(nil)
	switch m.errand {
	case errandPut, errandPutElse:
		spec, n := r.spec(source, m)
		begin, then = func() (Begun, error) { return w.Put(w.t.Context(), PutRequest{ID: id, Spec: spec, Caller: w.caller}) }, n
	case errandRotate:
		begin, then = func() (Begun, error) { return w.Rotate(w.t.Context(), RotateRequest{ID: id, Caller: w.caller}) }, r.live[id]
	case errandFix:
		begin, then = func() (Begun, error) {
			return w.Validate(w.t.Context(), ValidateRequest{ID: id, Caller: w.caller, Fix: true})
		}, r.moved(id)
	}
	r.mu.Lock()
	r.next, r.moving = then, id
	r.mu.Unlock()
	r.goesWrong(m, id)
	b, err := begin()
	if err != nil {
		r.heal()
		return fmt.Errorf("it does not begin: %w", err)
	}
	op := r.ends(b)
	if op.State == patchbay.Done {
		if m.errand == errandDelete {
			delete(r.live, id)
		} else {
			r.live[id] = then
		}
	}
	if err := r.covered(); err != nil {
		return fmt.Errorf("when it is %s, %w", op.State, err)
	}
	r.heal()
	return nil
}

// spec is one that a connection may be put with, and what it needs then.
func (r *run) spec(source int, m move) (patchbay.Spec, *need) {
	target := m.where % len(r.targets)
	spec := r.world.spec()
	spec.Target.ID = r.targets[target].Child("databases", "shop")
	spec.Client = []patchbay.ClientType{"go", "python"}[m.how%2]
	n := &need{source: source, target: target, from: slices.Clone(r.apps[r.sources[source]].egress)}
	for address := range strings.SplitSeq(r.land.targets[target], ",") {
		n.to = append(n.to, netip.MustParseAddrPort(address))
	}
	n.guards = r.behind[r.has[target]]
	if m.how == 7 {
		spec.PublicNetwork = &patchbay.PublicNetworkSolution{Action: patchbay.OptOut}
		n.guards = nil
	} else if r.denied[target] {
		if m.how%2 == 1 && slices.ContainsFunc(n.guards, func(g int) bool { return r.land.guards[g] == "wall" }) {
			spec.VNet = &patchbay.VNetSolution{Type: driver.PrivateLink}
		} else {
			n.guards, n.denied = nil, true
		}
	} else if more := ranges[m.how%len(ranges)]; more != nil {
		spec.PublicNetwork = &patchbay.PublicNetworkSolution{FirewallRules: &patchbay.FirewallRules{IPRanges: more}}
		for _, text := range more {
			if !strings.Contains(text, "/") {
				text += "/32"
			}
			n.from = append(n.from, netip.MustParsePrefix(text))
		}
	}
	return spec, n
}

// moved is what a connection needs once a fix has asked its source anew.
func (r *run) moved(id patchbay.ID) *need {
	was := r.live[id]
	guards := was.guards
	if was.denied {
		guards = r.behind[r.has[was.target]]
	}
	if len(guards) == 0 {
		return was
	}
	c, err := r.Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.denied[was.target] && c.Spec.VNet == nil {
		return was // as it is
	}
	n := &need{source: was.source, target: was.target, guards: guards, to: was.to, from: slices.Clone(r.apps[r.sources[was.source]].egress)}
	if more, err := namedRanges(c.Spec); err == nil {
		n.from = append(n.from, more...)
	}
	return n
}

// goesWrong makes something go wrong until heal.
func (r *run) goesWrong(m move, id patchbay.ID) {
	one := r.walls[m.guard]
	count := 0
	switch m.trouble {
	case mishapRefuses, mishapOnce:
		one.trouble = func(after bool) error {
			if after {
				return nil
			}
			if count++; count == m.at+1 || count > m.at && m.trouble == mishapRefuses {
				return patchbay.Errorf(patchbay.Forbidden, "it may not")
			}
			return nil
		}
	case mishapAnswer:
		one.trouble = func(after bool) error {
			if after {
				if count++; count == m.at+1 {
					return patchbay.Errorf(patchbay.Timeout, "no answer in time").AsTransient()
				}
			}
			return nil
		}
	case mishapLogin:
		r.broker.mu.Lock()
		r.broker.failProbe = patchbay.Errorf(patchbay.LoginRefused, "no")
		r.broker.mu.Unlock()
	case mishapRestart:
		source, _, _ := id.LinkerSource()
		a := r.apps[source]
		defer a.lock()()
		a.restartErr = patchbay.Errorf(patchbay.RestartFailed, "it does not come up")
	case mishapSession:
		if c, err := r.Get(r.t.Context(), id); err == nil && c.Login != "" {
			r.broker.mu.Lock()
			r.broker.sessions[c.Login] = 1
			r.broker.mu.Unlock()
		}
	case mishapDeath:
		r.gate.holdAt(m.at + 1)
	}
}

// heal makes all work again.
func (r *run) heal() {
	for _, one := range r.walls {
		one.mu.Lock()
		one.trouble = nil
		one.mu.Unlock()
	}
	r.gate.holdAt(0)
	r.broker.mu.Lock()
	r.broker.failProbe = nil
	clear(r.broker.sessions)
	r.broker.mu.Unlock()
	for _, id := range r.sources {
		a := r.apps[id]
		unlock := a.lock()
		a.restartErr = nil
		unlock()
	}
}

// ends waits for the end of what was begun. When it stops at a call for good, the server
// dies there.
func (r *run) ends(b Begun) patchbay.Operation {
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	service := r.Service
	go func() {
		defer close(ended)
		for op := b.Operation; !op.State.Ended() && ctx.Err() == nil; {
			op, _ = service.Wait(ctx, op.ID, op.Version)
		}
	}()
	select {
	case <-ended:
	case <-r.gate.held:
		cancel()
		<-ended
		r.restart()
	}
	return r.end(b, nil)
}

// settled sweeps what is left over, now that all works, and wants exactly what is needed.
func (r *run) settled() error {
	left, _, err := r.Leftovers(r.t.Context(), "", 0)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		op, err := r.Sweep(r.t.Context(), r.caller)
		if err != nil {
			return err
		}
		r.end(Begun{Operation: op}, nil)
		if left, _, err = r.Leftovers(r.t.Context(), "", 0); err != nil || len(left) > 0 {
			return fmt.Errorf("after a sweep there still is %+v, %w", left, err)
		}
	}
	r.mu.Lock()
	r.next, r.moving = nil, ""
	r.mu.Unlock()
	return r.exact()
}

// look is told of the rules at a guard in the middle of an operation.
func (r *run) look(guard int, rules map[string]driver.Rule) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rule := range rules {
		id := rule.Mark.Connection
		if is := r.live[id]; is != nil && is.has(guard, rule) || id.Equal(r.moving) && r.next != nil && r.next.has(guard, rule) {
			continue
		}
		if r.left(rule) {
			continue
		}
		r.strange = errors.Join(r.strange, fmt.Errorf("guard %d had %+v, which nobody is to have", guard, rule))
	}
}

// left reports whether a rule may be there for what was left over when something went
// wrong: it is as it was when the connection still needed it.
func (r *run) left(rule driver.Rule) bool {
	return r.live[rule.Mark.Connection] == nil && r.moving != rule.Mark.Connection
}

// has reports whether a rule is what is needed at a guard.
func (n *need) has(guard int, r driver.Rule) bool {
	var from []netip.Prefix
	for _, p := range n.from {
		if slices.ContainsFunc(n.to, func(to netip.AddrPort) bool { return to.Addr().Is4() == p.Addr().Is4() }) {
			from = append(from, p)
		}
	}
	within := func(p netip.Prefix) bool { return slices.Contains(n.from, p) }
	return slices.Contains(n.guards, guard) && !slices.ContainsFunc(r.From, func(p netip.Prefix) bool { return !within(p) }) &&
		!slices.ContainsFunc(from, func(p netip.Prefix) bool { return !slices.Contains(r.From, p) }) &&
		len(r.To) == len(n.to) && !slices.ContainsFunc(r.To, func(to netip.AddrPort) bool { return !slices.Contains(n.to, to) })
}

// packet is one of somebody who arrives at a guard.
type packet struct {
	from       netip.Addr
	to         netip.AddrPort
	login, sub string
}

func (p packet) String() string { return fmt.Sprintf("%s to %s as %q", p.from, p.to, p.login) }

// lets reports whether an opening lets it through.
func (p packet) passes(from []netip.Prefix, to []netip.AddrPort) bool {
	return slices.Contains(to, p.to) && p.from.Is4() == p.to.Addr().Is4() && slices.ContainsFunc(from, func(n netip.Prefix) bool { return n.Contains(p.from) })
}

// packets are those that could tell a difference: from the edges of all networks and
// beside them, to all that anybody listens at and the next port.
func (r *run) packets(logins []string) []packet {
	froms := map[netip.Addr]bool{}
	edges := slices.Clone(networks)
	for _, list := range ranges {
		for _, text := range list {
			if p, err := netip.ParsePrefix(text); err == nil {
				edges = append(edges, p)
			}
		}
	}
	for _, p := range edges {
		for _, a := range []netip.Addr{p.Addr(), p.Addr().Prev(), lastIn(p), lastIn(p).Next()} {
			froms[a] = true
		}
	}
	var all []packet
	for from := range froms {
		for _, text := range listens {
			to := netip.MustParseAddrPort(text)
			for _, login := range logins {
				all = append(all, packet{from, to, login, "shop"}, packet{from, netip.AddrPortFrom(to.Addr(), to.Port()+2), login, "shop"})
			}
		}
	}
	return all
}

func lastIn(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// compare tells of each guard what passes and is not needed, and what is needed and does
// not pass.
func (r *run) compare() (wider, narrower error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	logins := map[patchbay.ID]string{}
	for id := range r.live {
		c, err := r.Get(r.t.Context(), id)
		if err != nil {
			return nil, err
		}
		logins[id] = c.Login
	}
	for i, one := range r.walls {
		unlock := one.lock()
		rules := maps.Clone(one.rules)
		unlock()
		knows := r.land.guards[i] == "hba"
		names := []string{""}
		if knows {
			names = append(slices.Sorted(maps.Values(logins)), "nobody")
			for _, rule := range rules {
				names = append(names, rule.Login)
			}
			slices.Sort(names)
			names = slices.Compact(names)
		}
		for _, p := range r.packets(names) {
			passes, needed := false, false
			for _, rule := range rules {
				passes = passes || p.passes(rule.From, rule.To) && (!knows || rule.Login == p.login && rule.Sub == p.sub)
			}
			for id, n := range r.live {
				needed = needed || slices.Contains(n.guards, i) && p.passes(n.from, n.to) && (!knows || logins[id] == p.login)
			}
			switch {
			case passes && !needed && wider == nil:
				wider = fmt.Errorf("guard %d lets %v through, which nobody needs: %+v", i, p, slices.Collect(maps.Values(rules)))
			case needed && !passes && narrower == nil:
				narrower = fmt.Errorf("guard %d keeps %v out, which is needed: %+v", i, p, slices.Collect(maps.Values(rules)))
			}
		}
	}
	return wider, narrower
}

// covered wants all that is needed to be open, and more than that only when something is
// left over.
func (r *run) covered() error {
	wider, narrower := r.compare()
	if wider != nil {
		left, _, err := r.Leftovers(r.t.Context(), "", 0)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			wider = nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(wider, narrower, r.strange)
}

// exact wants exactly what is needed to be open.
func (r *run) exact() error {
	wider, narrower := r.compare()
	return errors.Join(wider, narrower)
}
