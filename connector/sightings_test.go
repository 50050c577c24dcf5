package connector

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
)

// named is a watch over a connection to a target behind a guard, whose name's addresses
// change.
type named struct {
	*watched
	guards []patchbay.ID
	hosts  map[string][]netip.Addr
}

func newNamed(t *testing.T, guards ...string) *named {
	t.Helper()
	n := &named{watched: newWatched(t), hosts: map[string][]netip.Addr{}}
	n.listens, n.app.way = true, everywhere{}
	n.world.Service.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if found := n.hosts[host]; len(found) > 0 {
			return found, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	n.guards = n.walled(guards...)
	n.registered("db.example")
	return n
}

func (n *named) registered(host string) {
	n.t.Helper()
	n.register(patchbay.Resource{ID: n.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Endpoint: host + ":5432", Guards: n.guards}, nil)
}

// turns has a name stand for 10.9.0.N, each.
func (n *named) turns(host string, last ...byte) {
	n.hosts[host] = nil
	for _, one := range last {
		n.hosts[host] = append(n.hosts[host], netip.AddrFrom4([4]byte{10, 9, 0, one}))
	}
}

// open is where to the only rule lets.
func (n *named) open(want ...string) {
	n.t.Helper()
	defer n.wall.lock()()
	var all []string
	for _, r := range n.wall.rules {
		for _, to := range r.To {
			all = append(all, strings.TrimSuffix(strings.TrimPrefix(to.String(), "10.9.0."), ":5432"))
		}
	}
	if len(n.wall.rules) != 1 || !slices.Equal(all, want) {
		n.t.Errorf("open is the way to %q, want %q", all, want)
	}
}

// looks has it looked at, and wants no finding, or one that has each of the words.
func (n *named) looks(after time.Duration, words ...string) {
	n.t.Helper()
	n.after(after)
	found := n.health().Checks
	if len(words) == 0 && len(found) > 0 || len(words) > 0 && (len(found) == 0 || found[0].Code != patchbay.RuleMissing) {
		n.t.Errorf("it finds %+v", found)
	}
	for _, word := range words {
		if len(found) > 0 && !strings.Contains(found[0].Message, word) {
			n.t.Errorf("it does not say %q: %+v", word, found[0])
		}
	}
}

func (n *named) fixes() {
	n.t.Helper()
	op := n.end(n.Validate(n.t.Context(), ValidateRequest{ID: n.linker, Caller: n.caller, Fix: true}))
	n.want(op, patchbay.Done, "")
	if !op.Result.Available() {
		n.t.Errorf("after a fix, there is %+v", op.Result.Checks)
	}
}

// TestANameWhoseAddressesChange: a rule is wrong when an address that the name stands for
// is not let in, and when one is that it has not stood for in days. Nothing else moves it.
func TestANameWhoseAddressesChange(t *testing.T) {
	const hour = 61 * time.Minute
	n := newNamed(t, "wall")
	n.turns("db.example", 1)
	n.want(n.put(n.spec()), patchbay.Done, "")
	n.open("1")
	n.turns("db.example", 2)
	n.looks(hour, "10.9.0.2:5432")
	n.fixes()
	n.open("1", "2")

	// What it stands for in turn is open, and stays so.
	before := len(n.wall.trail)
	for _, turn := range [][]byte{{1}, {2}, {2, 1}, {1}} {
		n.turns("db.example", turn...)
		n.looks(hour)
		n.fixes()
	}
	n.restart()
	n.world.Service.lookup = func(context.Context, string, string) ([]netip.Addr, error) { return n.hosts["db.example"], nil }
	n.want(n.put(n.spec()), patchbay.Done, "")
	n.open("1", "2")
	if done := n.wall.trail[before:]; slices.ContainsFunc(done, func(one string) bool { return strings.HasPrefix(one, "close") }) {
		t.Errorf("rules are moved: %q", done)
	}
}

// TestAnAddressThatANameDoesNotHaveAnyMoreIsClosed, after days and several looks, and that
// of another registration at once.
func TestAnAddressThatANameDoesNotHaveAnyMoreIsClosed(t *testing.T) {
	const hour = 61 * time.Minute
	n := newNamed(t, "wall")
	n.turns("db.example", 1, 2)
	n.want(n.put(n.spec()), patchbay.Done, "")
	n.turns("db.example", 3)
	n.looks(hour, "10.9.0.3:5432")
	n.turns("db.example", 1)
	n.looks(hour) // it is let in
	n.want(n.put(n.spec()), patchbay.Done, "")
	n.open("1", "2", "3") // and so is what was seen in between
	n.looks(hour)
	n.looks(25 * time.Hour)
	n.looks(25 * time.Hour)
	n.looks(25*time.Hour, "to 10.9.0.1:5432 by now", "10.9.0.2:5432, 10.9.0.3:5432")
	n.fixes()
	n.open("1")

	// One look after a long pause is not enough.
	n.turns("db.example", 1, 4)
	n.looks(hour, "10.9.0.4:5432")
	n.fixes()
	n.open("1", "4")
	n.turns("db.example", 1)
	n.looks(200 * time.Hour)
	n.looks(hour)
	n.looks(hour, "10.9.0.4:5432")

	n.turns("other.example", 9)
	n.registered("other.example")
	n.looks(hour, "10.9.0.9:5432")
	n.want(n.put(n.spec()), patchbay.Done, "")
	n.open("9")
	if c, err := n.Get(t.Context(), n.linker); err != nil || len(c.Health.Seen) == 0 {
		t.Errorf("it remembers %+v, %v", c.Health, err)
	}
	if all, err := n.History(t.Context(), n.linker); err != nil || slices.ContainsFunc(all, func(v patchbay.Verdict) bool { return len(v.Seen) > 0 }) {
		t.Errorf("the history tells a name server's answers: %v", err)
	}
}

// TestAGuardThatDoesNotAskWhereToNeverMoves.
func TestAGuardThatDoesNotAskWhereToNeverMoves(t *testing.T) {
	n := newNamed(t, "hba")
	n.turns("db.example", 1)
	n.want(n.put(n.spec()), patchbay.Done, "")
	before := n.wall.opened()
	for i := range byte(4) {
		n.turns("db.example", 10+i)
		n.looks(61 * time.Minute)
	}
	n.want(n.put(n.spec()), patchbay.Done, "")
	n.fixes()
	if now := n.wall.opened(); !slices.Equal(now, before) || slices.ContainsFunc(n.wall.trail, func(one string) bool { return strings.HasPrefix(one, "close") }) {
		t.Errorf("open is %q, and was %q: %q", now, before, n.wall.trail)
	}
}
