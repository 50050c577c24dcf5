package driver

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// NetworkDriver makes a [Network] of a registered guard, which targets name.
type NetworkDriver struct {
	patchbay.Driver
	// Logins says that it knows who signs in: a rule is for one login, and a rotation
	// needs another one.
	Logins bool
	// AnyTo says that it does not ask which address of the target somebody comes to: a
	// rule's To says of which family, and no more.
	AnyTo bool
	// Open checks the configuration strictly, and reaches nothing. Guarded registers the
	// target: a guard may ask it. Without an ID it is none: then c alone is checked, and
	// what was opened is closed.
	Open func(ctx context.Context, c Config, guarded Config) (Network, error)
}

// The types of vNetSolution that a guard may stand for ([patchbay.Driver].Solutions).
const (
	// ServiceEndpoint: the target keeps its address, and lets the source in by its own.
	ServiceEndpoint = "serviceEndpoint"
	// PrivateLink: the source reaches the target where nobody outside does.
	PrivateLink = "privateLink"
)

// Network guards a target: it lets one source's egress reach one target's port, never
// wider, and nobody whom no rule lets. Errors: TargetUnreachable, NotOurs,
// NotSupported, and Forbidden for a right that is missing, with a fix that names it.
type Network interface {
	// EnsureRule opens r, or repairs it; it may be called again after any
	// failure. Two connections may need the same opening: each has a rule of
	// its own mark, and one's removal does not close the other's.
	EnsureRule(ctx context.Context, r Rule) error
	// InspectRule says whether r is in force. Absent is not an error.
	InspectRule(ctx context.Context, r Rule) (RuleState, error)
	// RemoveRule closes r, and ends what is open through it and through no other rule,
	// where the guard can. Absent is success.
	RemoveRule(ctx context.Context, r Rule) error
	// Owned lists every rule that bears our mark.
	Owned(ctx context.Context) ([]Owned, error)
	Close() error
}

// Platform is a [Network] of what starts applications itself: a cluster, a container
// engine. An address says nothing there, for each start gives another one. A rule's To is
// empty there, and Servers says where the target is in the platform's own words.
type Platform interface {
	Network
	// Knows reports whether p is one of this platform's own: a rule for it has Peer in
	// place of From. For anybody else it is asked with the addresses that are known, or
	// refused: NotSupported.
	Knows(ctx context.Context, p Peer) (bool, error)
	// Reach says which of r.Servers its source finds elsewhere once r is open, and where:
	// host:port by host:port. What is not there it finds where everybody does. It has no
	// effect, and refuses what EnsureRule would (NotSupported), so that a preview knows.
	Reach(ctx context.Context, r Rule) (map[string]string, error)
}

// Peer is a source as its own platform knows it.
type Peer struct {
	// Platform and Place say whose words the rest is in: the kind, and which one of its
	// kind, by an id that nobody chose.
	Platform string `json:"platform"`
	Place    string `json:"place"`
	// Scope divides a place (a namespace); Name is one of it, Labels are all that bear
	// them.
	Scope  string            `json:"scope,omitempty"`
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
}

// String says it for people.
func (p Peer) String() string {
	var who []string
	if p.Name != "" {
		who = append(who, p.Name)
	}
	for _, label := range slices.Sorted(maps.Keys(p.Labels)) {
		who = append(who, label+"="+p.Labels[label])
	}
	text := strings.Join(who, ",")
	if p.Scope != "" {
		text += " in " + p.Scope
	}
	return text
}

// NetworkChecker is a [Network] that says beforehand whether it may do its work.
type NetworkChecker interface {
	// Check fails with what would keep the next EnsureRule from its effect, a right that is
	// missing first of all, and changes nothing. Warnings are what it goes on without. What
	// only a target knows is not asked of a guard that was opened without one.
	Check(ctx context.Context) (warnings []string, err error)
}

// Rule is an opening from a source to a target's port.
type Rule struct {
	Mark Mark             `json:"mark"` // its Generation counts a connection's openings
	Name string           `json:"name"` // as LoginRequest.Name
	From []netip.Prefix   `json:"from,omitempty"`
	To   []netip.AddrPort `json:"to,omitempty"`
	// Peer and Servers (host:port, as applications name them) are for a [Platform].
	Peer    *Peer    `json:"peer,omitempty"`
	Servers []string `json:"servers,omitempty"`
	// Login and Sub narrow the rule where the guard knows logins (pg_hba).
	Login string `json:"principal,omitempty"`
	Sub   string `json:"sub,omitempty"`
}

// RuleState is what a network says of a rule.
type RuleState struct {
	Exists bool
	Ours   bool
	Exact  bool // it opens what the request says, no more and no less
	// Despite is what somebody else has in the way, as far as the guard can see: with
	// it, the rule alone opens nothing. "": nothing.
	Despite string
}
