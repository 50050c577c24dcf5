package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// NetworkHarness gives [Network] a guard, and eyes of its own on it: the
// callbacks must not go through the driver.
type NetworkHarness struct {
	Driver driver.NetworkDriver
	// Config registers a guard that the suite has for itself, and Guarded the target.
	Config, Guarded driver.Config
	// From are at least three networks that don't overlap, of each address family
	// that the guard knows one or more; To are at least two endpoints of
	// the guarded target. None of them is open when the suite begins.
	From []netip.Prefix
	To   []netip.AddrPort
	// Names gives, for a guard that is a [driver.Platform], whom it knows behind one of From
	// (single addresses, then, which stand for peers of its own) and what it calls one of To.
	Names func(from netip.Prefix, to netip.AddrPort) (driver.Peer, string)
	// Allows tries, or works out from the guard itself, whether a packet or a
	// sign-in gets through. login and sub are "" unless
	// the driver's Logins.
	Allows func(ctx context.Context, from netip.Addr, to netip.AddrPort, login, sub string) (bool, error)
	// Content is all that the guard holds, exactly, so that two equal contents
	// mean that nothing has changed. What the guard itself changes all the time
	// (counters, times) is left out.
	Content func() (string, error)
	// Foreign makes a rule that a driver would call by that name but that does
	// not bear our mark. It is removed when the test ends. Nil when the guard
	// can't hold one.
	Foreign func(t testing.TB, r driver.Rule)
	// Drifts change a rule behind the driver's back.
	Drifts []RuleDrift
}

// RuleDrift is a change that somebody made to a rule by hand, after which it
// is not in force as it was asked for.
type RuleDrift struct {
	Name string
	Make func(ctx context.Context, r driver.Rule) error
	// Gone says that InspectRule should not find the rule at all.
	Gone bool
}

// Network runs the conformance suite. A network driver is supported when it
// passes against the real guard.
func Network(t *testing.T, h NetworkHarness) {
	t.Helper()
	if len(h.From) < 3 || len(h.To) < 2 || h.Allows == nil || h.Content == nil || h.Driver.Open == nil {
		t.Fatal("drivertest: the harness lacks Driver, three From, two To, Allows or Content")
	}
	h.Config, h.Guarded = completed(h.Config), completed(h.Guarded)
	s := &networkSuite{h}
	t.Run("OpensExactlyWhatIsAsked", s.exact)
	t.Run("EnsureTwiceIsOneRule", s.twice)
	t.Run("ChangedRuleReplacesTheOld", s.changed)
	t.Run("RemoveTwiceAndAbsent", s.remove)
	t.Run("SharedOpeningsAreCounted", s.shared)
	t.Run("GenerationsSideBySide", s.generations)
	t.Run("NothingIsNotEverything", s.nothing)
	t.Run("LoginsNarrow", s.logins)
	t.Run("HostileNames", s.hostile)
	t.Run("ForeignIsLeftAlone", s.foreign)
	t.Run("DriftIsSeenAndRepaired", s.drift)
	t.Run("OwnedIsExact", s.owned)
	t.Run("RulesOutliveTheProcess", s.outlive)
	t.Run("ConcurrentEnsures", s.concurrent)
	t.Run("CanceledContext", s.canceled)
	t.Run("CheckChangesNothing", s.check)
}

type networkSuite struct{ NetworkHarness }

type networkCase struct {
	*networkSuite
	*testing.T
	network driver.Network
	begin   string // the content before the case
}

func (s *networkSuite) start(t *testing.T) *networkCase {
	t.Helper()
	c := &networkCase{networkSuite: s, T: t}
	c.network = c.open()
	c.begin = c.content()
	return c
}

func (c *networkCase) ctx() context.Context {
	ctx, cancel := context.WithTimeout(c.Context(), limit)
	c.Cleanup(cancel)
	return ctx
}

func (c *networkCase) open() driver.Network {
	c.Helper()
	network, err := c.Driver.Open(c.ctx(), c.Config, c.Guarded)
	if err != nil {
		c.Fatalf("Open: %v", err)
	}
	c.Cleanup(func() {
		if err := network.Close(); err != nil {
			c.Errorf("Close: %v", err)
		}
	})
	return network
}

func (c *networkCase) content() string {
	c.Helper()
	content, err := c.Content()
	if err != nil {
		c.Fatalf("Content: %v", err)
	}
	return content
}

func (c *networkCase) same(before, when string) {
	c.Helper()
	if now := c.content(); now != before {
		c.Errorf("%s the guard holds\n%s\nwant\n%s", when, now, before)
	}
}

// rule is a connection's, which nobody else has. It is removed when the test
// ends.
func (c *networkCase) rule(uid string, generation int64, from []netip.Prefix, to []netip.AddrPort) driver.Rule {
	c.Helper()
	r := driver.Rule{
		Mark: driver.Mark{UID: uid, Generation: generation,
			Connection: patchbay.ID("/subscriptions/s/resourceGroups/it's a \"group\" $$ -- ;/providers/Microsoft.Web/sites/web").Linker("orders")},
		Name: fmt.Sprintf("pb_%s_g%d", uid, generation),
		From: from, To: to,
	}
	if c.Driver.Logins {
		r.Login, r.Sub = r.Name, "orders"
	}
	c.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit) // the test's own is done
		defer cancel()
		network, err := c.Driver.Open(ctx, c.Config, c.Guarded)
		if err != nil {
			c.Errorf("clean up: Open: %v", err)
			return
		}
		if err := errors.Join(network.RemoveRule(ctx, c.told(r)), network.Close()); err != nil && patchbay.CodeOf(err) != patchbay.NotOurs {
			c.Errorf("clean up: RemoveRule: %v", err)
		}
	})
	return r
}

// told is r in the words of the guard.
func (s *networkSuite) told(r driver.Rule) driver.Rule {
	if s.Names == nil {
		return r
	}
	from, to := r.From, r.To
	r.From, r.To = nil, nil
	if len(from) > 0 {
		peer, _ := s.Names(from[0], s.To[0])
		r.Peer = &peer
	}
	for _, one := range to {
		_, server := s.Names(s.From[0], one)
		r.Servers = append(r.Servers, server)
	}
	return r
}

// two are two of From, from one of which a rule is enough where it knows one peer.
func (s *networkSuite) two() []netip.Prefix {
	if s.Names != nil {
		return s.From[:1]
	}
	return s.From[:2]
}

func (c *networkCase) ensure(r driver.Rule) {
	c.Helper()
	var err error
	for range 5 { // as the saga does
		if err = c.network.EnsureRule(c.ctx(), c.told(r)); err == nil || !patchbay.IsTransient(err) {
			break
		}
	}
	if err != nil {
		c.Fatalf("EnsureRule: %v", err)
	}
}

func (c *networkCase) remove(r driver.Rule) {
	c.Helper()
	if err := c.network.RemoveRule(c.ctx(), c.told(r)); err != nil {
		c.Fatalf("RemoveRule: %v", err)
	}
}

func (c *networkCase) state(r driver.Rule, want driver.RuleState) {
	c.Helper()
	state, err := c.network.InspectRule(c.ctx(), c.told(r))
	if err != nil {
		c.Fatalf("InspectRule: %v", err)
	}
	if state != want {
		c.Errorf("InspectRule = %+v, want %+v", state, want)
	}
}

var (
	whole  = driver.RuleState{Exists: true, Ours: true, Exact: true}
	absent = driver.RuleState{}
)

// opens fails unless exactly these rules are open, of all that From and To can
// make.
func (c *networkCase) opens(rules ...driver.Rule) {
	c.Helper()
	type login struct{ login, sub string }
	logins := []login{{}}
	if c.Driver.Logins {
		logins = []login{{"pb_nobody", "orders"}, {"pb_nobody", "pb_nowhere"}}
		for _, r := range rules {
			logins = append(logins, login{r.Login, r.Sub}, login{r.Login, "pb_nowhere"}, login{"pb_nobody", r.Sub})
		}
	}
	for _, from := range c.From {
		for _, to := range c.To {
			// The edges of a network, and what is right beside them.
			first, last := from.Masked().Addr(), lastOf(from)
			for _, addr := range []netip.Addr{first, last, first.Prev(), last.Next()} {
				for _, port := range []uint16{to.Port(), to.Port() + 1} {
					for _, l := range logins {
						// Nobody speaks from one family to the other.
						if !addr.IsValid() || c.Names != nil && !from.Contains(addr) || addr.Is4() != to.Addr().Is4() || slices.ContainsFunc(c.From, func(p netip.Prefix) bool { return p != from && p.Contains(addr) }) {
							continue
						}
						to := netip.AddrPortFrom(to.Addr(), port)
						want := slices.ContainsFunc(rules, func(r driver.Rule) bool {
							return slices.ContainsFunc(r.From, func(p netip.Prefix) bool { return p.Contains(addr) }) &&
								(slices.Contains(r.To, to) || c.Driver.AnyTo && slices.Contains(c.To, to)) && r.Login == l.login && r.Sub == l.sub
						})
						got, err := c.Allows(c.ctx(), addr, to, l.login, l.sub)
						if err != nil {
							c.Fatalf("Allows: %v", err)
						}
						if got != want {
							c.Errorf("from %s to %s as %q in %q: open is %t, want %t", addr, to, l.login, l.sub, got, want)
						}
					}
				}
			}
		}
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

func (s *networkSuite) exact(t *testing.T) {
	c := s.start(t)
	c.opens()
	for _, from := range s.From {
		r := c.rule(newUID(), 1, []netip.Prefix{from}, s.To[:1])
		c.state(r, absent)
		c.ensure(r)
		c.state(r, whole)
		c.opens(r)
		c.remove(r)
		c.state(r, absent)
		c.opens()
	}
	r := c.rule(newUID(), 1, s.two(), s.To)
	c.ensure(r)
	c.state(r, whole)
	c.opens(r)
	c.remove(r)
	c.opens()
	c.same(c.begin, "after all is removed")
}

func (s *networkSuite) twice(t *testing.T) {
	c := s.start(t)
	r := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	c.ensure(r)
	once := c.content()
	c.ensure(r)
	c.same(once, "after the same EnsureRule again")
	c.state(r, whole)
	c.remove(r)
	c.opens()
	c.same(c.begin, "after it is removed once")
}

// changed: the source's egress has moved. What it was must not stay open.
func (s *networkSuite) changed(t *testing.T) {
	c := s.start(t)
	r := c.rule(newUID(), 1, s.two(), s.To[:1])
	c.ensure(r)
	for _, next := range []struct {
		from []netip.Prefix
		to   []netip.AddrPort
	}{{s.From[1 : 1+len(s.two())], s.To[:1]}, {s.From[1:2], s.To[1:2]}, {s.From[:1], s.To}} {
		r.From, r.To = next.from, next.to
		if state, err := c.network.InspectRule(c.ctx(), c.told(r)); err != nil || state.Exact {
			t.Errorf("InspectRule of another rule of that name = %+v, %v", state, err)
		}
		c.ensure(r)
		c.state(r, whole)
		c.opens(r)
	}
	c.remove(r)
	c.opens()
	c.same(c.begin, "after it is removed")
}

func (s *networkSuite) remove(t *testing.T) {
	c := s.start(t)
	r := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	c.remove(r)
	c.same(c.begin, "after removing what never was")
	c.ensure(r)
	c.remove(r)
	c.remove(r)
	c.state(r, absent)
	c.same(c.begin, "after removing twice")
	// By what the plan knows, though the egress was another then.
	c.ensure(r)
	r.From = s.From[1:2]
	c.remove(r)
	c.opens()
	c.same(c.begin, "after removing with another egress")
}

func (s *networkSuite) shared(t *testing.T) {
	c := s.start(t)
	a := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	b := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	if s.Driver.Logins {
		b.Login, b.Sub = a.Login, a.Sub
	}
	c.ensure(a)
	onlyA := c.content()
	c.ensure(b)
	c.opens(a, b)
	c.remove(b)
	c.state(a, whole)
	c.state(b, absent)
	c.opens(a)
	c.same(onlyA, "after the second connection is deleted")
	c.ensure(b)
	c.remove(a)
	c.state(b, whole)
	c.opens(b)
	c.remove(b)
	c.opens()
	c.same(c.begin, "after both are deleted")
}

func (s *networkSuite) generations(t *testing.T) {
	c := s.start(t)
	uid := newUID()
	one := c.rule(uid, 1, s.From[:1], s.To[:1])
	two := c.rule(uid, 2, s.From[1:2], s.To[:1])
	c.ensure(one)
	c.ensure(two)
	c.opens(one, two)
	c.remove(one)
	c.state(two, whole)
	c.opens(two)
}

// nothing: an egress that nobody knows must not become any.
func (s *networkSuite) nothing(t *testing.T) {
	c := s.start(t)
	none := map[string]driver.Rule{
		"no From": c.rule(newUID(), 1, nil, s.To),
		"no To":   c.rule(newUID(), 1, s.From, nil),
		"no name": func() driver.Rule { r := c.rule(newUID(), 1, s.From, s.To); r.Name = ""; return r }(),
	}
	if s.Names == nil {
		maps.Copy(none, map[string]driver.Rule{
			"invalid From":  c.rule(newUID(), 1, []netip.Prefix{{}}, s.To),
			"invalid To":    c.rule(newUID(), 1, s.From, []netip.AddrPort{{}}),
			"port 0":        c.rule(newUID(), 1, s.From, []netip.AddrPort{netip.AddrPortFrom(s.To[0].Addr(), 0)}),
			"one valid one": c.rule(newUID(), 1, []netip.Prefix{s.From[0], {}}, s.To),
		})
	}
	for what, r := range none {
		if err := c.network.EnsureRule(c.ctx(), c.told(r)); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("EnsureRule with %s = %v, want InvalidArgument", what, err)
		}
		c.opens()
		c.same(c.begin, "after EnsureRule with "+what)
	}
}

func (s *networkSuite) logins(t *testing.T) {
	if !s.Driver.Logins {
		t.Skip("this guard does not know who signs in")
	}
	c := s.start(t)
	a := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	b := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	b.Sub = "events"
	c.ensure(a)
	c.ensure(b)
	c.opens(a, b)
	c.remove(a)
	c.opens(b)
}

func (s *networkSuite) hostile(t *testing.T) {
	c := s.start(t)
	for _, name := range []string{
		"all", "a b", `a"b`, "a'b", "a,b", "a#b", "a\nb", "a\\b", "a;b", "$(id)", "+group", "@file", "/regex", "a\x00b", "é", "%s", "{", "}", "0.0.0.0/0",
	} {
		r := c.rule(newUID(), 1, s.From[:1], s.To[:1])
		r.Mark.Connection = patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/" + name).Linker(name)
		if s.Driver.Logins {
			r.Login, r.Sub = name, name
		}
		before := c.content()
		err := c.network.EnsureRule(c.ctx(), c.told(r))
		switch {
		case err == nil:
			c.state(r, whole)
			c.opens(r)
		case patchbay.CodeOf(err) == patchbay.InvalidArgument:
			c.same(before, fmt.Sprintf("after the name %q is refused", name))
			c.opens()
		default:
			t.Errorf("EnsureRule with the name %q: %v", name, err)
		}
		c.remove(r)
		c.same(before, fmt.Sprintf("after the rule with the name %q is removed", name))
	}
}

func (s *networkSuite) foreign(t *testing.T) {
	if s.Foreign == nil {
		t.Skip("this guard can't hold a rule of that name that is not ours")
	}
	c := s.start(t)
	r := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	s.Foreign(t, r)
	before := c.content()
	if err := c.network.EnsureRule(c.ctx(), c.told(r)); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("EnsureRule over a foreign rule = %v, want NotOurs", err)
	}
	c.same(before, "after EnsureRule over a foreign rule")
	if err := c.network.RemoveRule(c.ctx(), c.told(r)); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("RemoveRule of a foreign rule = %v, want NotOurs", err)
	}
	c.same(before, "after RemoveRule of a foreign rule")
	if state, err := c.network.InspectRule(c.ctx(), c.told(r)); err != nil || state.Ours || !state.Exists {
		t.Errorf("InspectRule of a foreign rule = %+v, %v", state, err)
	}
	owned, err := c.network.Owned(c.ctx())
	if err != nil || slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Name == r.Name }) {
		t.Errorf("Owned lists a foreign rule: %v, %v", owned, err)
	}
}

func (s *networkSuite) drift(t *testing.T) {
	if len(s.Drifts) == 0 {
		t.Skip("the harness has no drifts")
	}
	for _, d := range s.Drifts {
		t.Run(d.Name, func(t *testing.T) {
			c := s.start(t)
			r := c.rule(newUID(), 1, s.two(), s.To[:1])
			c.ensure(r)
			good := c.content()
			if err := d.Make(c.ctx(), r); err != nil {
				t.Fatalf("the drift: %v", err)
			}
			state, err := c.network.InspectRule(c.ctx(), c.told(r))
			if err != nil || state.Exact || state.Exists == d.Gone {
				t.Errorf("InspectRule after the drift = %+v, %v", state, err)
			}
			c.ensure(r)
			c.state(r, whole)
			c.opens(r)
			c.same(good, "after the repair")
			if err := d.Make(c.ctx(), r); err != nil {
				t.Fatalf("the drift: %v", err)
			}
			c.remove(r)
			c.opens()
			c.same(c.begin, "after a rule with a drift is removed")
		})
	}
}

func (s *networkSuite) owned(t *testing.T) {
	c := s.start(t)
	before, err := c.network.Owned(c.ctx())
	if err != nil {
		t.Fatalf("Owned: %v", err)
	}
	uid := newUID()
	rules := []driver.Rule{
		c.rule(uid, 1, s.From[:1], s.To[:1]),
		c.rule(uid, 2, s.two(), s.To),
		c.rule(newUID(), 5, s.From[:1], s.To[:1]),
	}
	for _, r := range rules {
		c.ensure(r)
	}
	owned, err := c.open().Owned(c.ctx())
	if err != nil {
		t.Fatalf("Owned: %v", err)
	}
	for _, r := range rules {
		n := 0
		for _, o := range owned {
			if o.Name == r.Name && o.Mark.UID == r.Mark.UID && o.Mark.Generation == r.Mark.Generation {
				n++
			}
		}
		if n != 1 {
			t.Errorf("Owned lists %s %d times", r.Name, n)
		}
	}
	if len(owned) != len(before)+len(rules) {
		t.Errorf("Owned lists %d rules, want %d", len(owned), len(before)+len(rules))
	}
	for _, r := range rules {
		c.remove(r)
	}
	if owned, err := c.network.Owned(c.ctx()); err != nil || len(owned) != len(before) {
		t.Errorf("Owned after all are removed = %v, %v", owned, err)
	}
}

func (s *networkSuite) outlive(t *testing.T) {
	c := s.start(t)
	r := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	first, err := s.Driver.Open(c.ctx(), s.Config, s.Guarded)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.EnsureRule(c.ctx(), c.told(r)); err != nil {
		t.Fatalf("EnsureRule: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	c.network = c.open()
	c.state(r, whole)
	c.opens(r)
	c.remove(r)
	c.same(c.begin, "after another process removed it")
}

func (s *networkSuite) concurrent(t *testing.T) {
	c := s.start(t)
	const n = 6
	rules := make([]driver.Rule, n)
	failures := make([]error, n)
	same := newUID()
	ctx := c.ctx()
	var group sync.WaitGroup
	for i := range n {
		uid := same // half of them are the same rule
		if i%2 == 1 {
			uid = newUID()
		}
		rules[i] = c.rule(uid, 1, s.From[:1], s.To[:1])
		network := c.open()
		group.Go(func() {
			for range 20 {
				if failures[i] = network.EnsureRule(ctx, c.told(rules[i])); failures[i] == nil || !patchbay.IsTransient(failures[i]) {
					return
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Errorf("EnsureRule: %v", err)
	}
	for _, r := range rules {
		c.state(r, whole)
	}
	c.opens(rules...)
	for _, r := range rules {
		c.remove(r)
	}
	c.opens()
	c.same(c.begin, "after all are removed")
}

func (s *networkSuite) canceled(t *testing.T) {
	c := s.start(t)
	r := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	ctx, cancel := context.WithCancel(c.ctx())
	cancel()
	if err := c.network.EnsureRule(ctx, c.told(r)); err == nil {
		t.Error("EnsureRule with a context that has ended succeeds")
	}
	c.same(c.begin, "after an EnsureRule that was canceled before it began")
	c.ensure(r)
	before := c.content()
	if err := c.network.RemoveRule(ctx, c.told(r)); err == nil {
		t.Error("RemoveRule with a context that has ended succeeds")
	}
	c.same(before, "after a RemoveRule that was canceled before it began")
}

// check: whoever registers a guard learns whether it may do its work, and that is all.
func (s *networkSuite) check(t *testing.T) {
	c := s.start(t)
	checker, ok := c.network.(driver.NetworkChecker)
	if !ok {
		t.Skip("this guard says nothing before it is asked for its work")
	}
	good := func(when string) {
		t.Helper()
		before := c.content()
		if _, err := checker.Check(c.ctx()); err != nil {
			t.Errorf("Check %s: %v", when, err)
		}
		c.same(before, "after a Check "+when)
	}
	good("of a guard without a rule")
	r := c.rule(newUID(), 1, s.From[:1], s.To[:1])
	c.ensure(r)
	good("of a guard with one")
	ctx, cancel := context.WithCancel(c.ctx())
	cancel()
	if _, err := checker.Check(ctx); err == nil {
		t.Error("Check with a context that has ended succeeds")
	}
}
