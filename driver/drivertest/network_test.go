package drivertest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

// guard is a network guard in memory: closed but for its rules. It shows what
// the suite asks for, and with a mutant, that the suite sees what is wrong.
type guard struct {
	mu     sync.Mutex
	rules  map[string]guardRule
	mutant string
}

type guardRule struct {
	Ours bool
	driver.Rule
}

func (g *guard) driver() driver.NetworkDriver {
	return driver.NetworkDriver{Logins: true, Open: func(context.Context, driver.Config, driver.Config) (driver.Network, error) {
		if g.mutant == "rules live in the process" {
			return &guardNetwork{&guard{rules: map[string]guardRule{}}}, nil
		}
		return &guardNetwork{g}, nil
	}}
}

func (g *guard) allows(from netip.Addr, to netip.AddrPort, login, sub string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.rules {
		in := slices.ContainsFunc(r.From, func(p netip.Prefix) bool { return p.Contains(from) })
		if in && slices.Contains(r.To, to) && (r.Login == login || r.Login == "*") && (r.Sub == sub || r.Sub == "*") {
			return true
		}
	}
	return false
}

func (g *guard) content() (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(g.rules)) {
		line, err := json.Marshal(g.rules[name])
		if err != nil {
			return "", err
		}
		b.Write(append(line, '\n'))
	}
	return b.String(), nil
}

func (g *guard) is(mutant string) bool { return g.mutant == mutant }

type guardNetwork struct{ *guard }

func (n *guardNetwork) Close() error { return nil }

func (n *guardNetwork) EnsureRule(ctx context.Context, r driver.Rule) error {
	if err := ctx.Err(); err != nil && !n.is("EnsureRule ignores its context") {
		return err
	}
	valid := len(r.From) > 0 && len(r.To) > 0 && r.Name != ""
	for _, p := range r.From {
		valid = valid && p.IsValid()
	}
	for _, a := range r.To {
		valid = valid && a.IsValid() && a.Port() != 0
	}
	switch {
	case len(r.From) == 0 && n.is("no egress is any egress"):
		r.From = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	case len(r.To) == 0 && n.is("no target is accepted"):
	case !valid:
		return patchbay.Errorf(patchbay.InvalidArgument, "no such rule")
	}
	if strings.Contains(r.Login, "\x00") {
		return patchbay.Errorf(patchbay.InvalidArgument, "no such login")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	key := r.Name
	old, there := n.rules[key]
	if there && !old.Ours && !n.is("EnsureRule takes over what is not ours") {
		return patchbay.Errorf(patchbay.NotOurs, "the rule %s is not ours", r.Name)
	}
	next := guardRule{true, r}
	next.From, next.To = slices.Clone(r.From), slices.Clone(r.To)
	switch n.mutant {
	case "opens the whole network":
		for i, p := range next.From {
			next.From[i] = netip.PrefixFrom(p.Addr(), max(p.Bits()-1, 0)).Masked()
		}
	case "opens the next port":
		next.To = append(next.To, netip.AddrPortFrom(r.To[0].Addr(), r.To[0].Port()+1))
	case "opens the first network only":
		next.From = next.From[:1]
	case "any login":
		next.Login = "*"
	case "any database":
		next.Sub = "*"
	case "login all is everybody":
		if r.Login == "all" {
			next.Login = "*"
		}
	case "a changed rule adds to the old":
		next.From, next.To = append(next.From, old.From...), append(next.To, old.To...)
	case "a second EnsureRule adds a rule":
		if there {
			key += "_2"
		}
	case "an existing rule is not repaired":
		if there {
			return nil
		}
	case "equal openings are one rule":
		for name, other := range n.rules {
			if slices.Equal(other.From, next.From) && slices.Equal(other.To, next.To) {
				delete(n.rules, name)
			}
		}
	case "one rule per connection":
		for name, other := range n.rules {
			if other.Mark.UID == r.Mark.UID {
				delete(n.rules, name)
			}
		}
	}
	n.rules[key] = next
	return nil
}

func (n *guardNetwork) InspectRule(_ context.Context, r driver.Rule) (driver.RuleState, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	have, ok := n.rules[r.Name]
	if !ok {
		return driver.RuleState{}, nil
	}
	exact := have.Ours && slices.Equal(have.From, r.From) && slices.Equal(have.To, r.To) && have.Login == r.Login && have.Sub == r.Sub
	return driver.RuleState{
		Exists: true,
		Ours:   have.Ours || n.is("everything is ours"),
		Exact:  exact || n.is("everything is exact"),
	}, nil
}

func (n *guardNetwork) RemoveRule(ctx context.Context, r driver.Rule) error {
	if err := ctx.Err(); err != nil && !n.is("RemoveRule ignores its context") {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	have, ok := n.rules[r.Name]
	switch {
	case !ok && n.is("absent is an error"):
		return patchbay.Errorf(patchbay.RuleMissing, "no rule %s", r.Name)
	case !ok:
		return nil
	case !have.Ours && !n.is("RemoveRule removes what is not ours"):
		return patchbay.Errorf(patchbay.NotOurs, "the rule %s is not ours", r.Name)
	case n.is("RemoveRule looks for the egress") && !slices.Equal(have.From, r.From):
		return nil
	case n.is("RemoveRule does nothing"):
		return nil
	}
	for name, other := range n.rules {
		same := n.is("removal closes equal openings") && other.Ours && slices.Equal(other.From, have.From) && slices.Equal(other.To, have.To) ||
			n.is("removal closes all generations") && other.Mark.UID == have.Mark.UID
		if name == r.Name || same {
			delete(n.rules, name)
		}
	}
	return nil
}

func (n *guardNetwork) Owned(context.Context) ([]driver.Owned, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var owned []driver.Owned
	for name, r := range n.rules {
		mark := r.Mark
		if n.is("Owned forgets the generation") {
			mark.Generation = 0
		}
		if (r.Ours || n.is("Owned lists what is not ours")) && !(n.is("Owned misses later generations") && mark.Generation > 1) {
			owned = append(owned, driver.Owned{Mark: mark, Name: name})
		}
	}
	return owned, nil
}

// guardMutants are what a driver may get wrong, with the case that must see
// it.
var guardMutants = map[string]string{
	"opens the whole network":                "OpensExactlyWhatIsAsked",
	"opens the next port":                    "OpensExactlyWhatIsAsked",
	"opens the first network only":           "OpensExactlyWhatIsAsked",
	"any login":                              "LoginsNarrow",
	"any database":                           "LoginsNarrow",
	"login all is everybody":                 "HostileNames",
	"a changed rule adds to the old":         "ChangedRuleReplacesTheOld",
	"a second EnsureRule adds a rule":        "EnsureTwiceIsOneRule",
	"an existing rule is not repaired":       "DriftIsSeenAndRepaired",
	"equal openings are one rule":            "SharedOpeningsAreCounted",
	"removal closes equal openings":          "SharedOpeningsAreCounted",
	"one rule per connection":                "GenerationsSideBySide",
	"removal closes all generations":         "GenerationsSideBySide",
	"no egress is any egress":                "NothingIsNotEverything",
	"no target is accepted":                  "NothingIsNotEverything",
	"EnsureRule takes over what is not ours": "ForeignIsLeftAlone",
	"RemoveRule removes what is not ours":    "ForeignIsLeftAlone",
	"everything is ours":                     "ForeignIsLeftAlone",
	"Owned lists what is not ours":           "ForeignIsLeftAlone",
	"everything is exact":                    "DriftIsSeenAndRepaired",
	"absent is an error":                     "RemoveTwiceAndAbsent",
	"RemoveRule looks for the egress":        "RemoveTwiceAndAbsent",
	"RemoveRule does nothing":                "RemoveTwiceAndAbsent",
	"Owned forgets the generation":           "OwnedIsExact",
	"Owned misses later generations":         "OwnedIsExact",
	"rules live in the process":              "RulesOutliveTheProcess",
	"EnsureRule ignores its context":         "CanceledContext",
	"RemoveRule ignores its context":         "CanceledContext",
}

func runNetworkSuite(t *testing.T, mutant string) {
	g := &guard{rules: map[string]guardRule{}, mutant: mutant}
	change := func(f func(*guardRule)) func(context.Context, driver.Rule) error {
		return func(_ context.Context, r driver.Rule) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			have, ok := g.rules[r.Name]
			if !ok {
				return fmt.Errorf("no rule %s", r.Name)
			}
			f(&have)
			g.rules[r.Name] = have
			return nil
		}
	}
	drivertest.Network(t, drivertest.NetworkHarness{
		Driver: g.driver(),
		From: []netip.Prefix{
			netip.MustParsePrefix("10.0.3.7/32"), netip.MustParsePrefix("10.0.4.0/24"), netip.MustParsePrefix("fd00:1::/64"),
		},
		To: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.5:5432"), netip.MustParseAddrPort("[fd00::5]:5432")},
		Allows: func(_ context.Context, from netip.Addr, to netip.AddrPort, login, sub string) (bool, error) {
			return g.allows(from, to, login, sub), nil
		},
		Content: g.content,
		Foreign: func(t testing.TB, r driver.Rule) {
			g.mu.Lock()
			defer g.mu.Unlock()
			r.From = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}
			g.rules[r.Name] = guardRule{false, r}
			t.Cleanup(func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				delete(g.rules, r.Name)
			})
		},
		Drifts: []drivertest.RuleDrift{
			{Name: "wider", Make: change(func(r *guardRule) { r.From = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} })},
			{Name: "narrower", Make: change(func(r *guardRule) { r.From = r.From[:1] })},
			{Name: "another port", Make: change(func(r *guardRule) {
				r.To = []netip.AddrPort{netip.AddrPortFrom(r.To[0].Addr(), 1)}
			})},
			{Name: "gone", Gone: true, Make: func(_ context.Context, r driver.Rule) error {
				g.mu.Lock()
				defer g.mu.Unlock()
				delete(g.rules, r.Name)
				return nil
			}},
		},
	})
}

func TestNetworkSuitePassesAGoodDriver(t *testing.T) { runNetworkSuite(t, "") }

func TestNetworkSuiteFailsBadDrivers(t *testing.T) { failsBadDrivers(t, guardMutants, runNetworkSuite) }
