// Package docker is the guard of targets in containers: networks of Docker, each with an
// application's container and a target's on it, and nobody else.
//
// # A rule is a network
//
// A network is called as its rule, and bears it in a label. Labels can't be changed, so two
// connections of the same pair have a network each; and since the label is there from the
// instant in which the network is, there is nothing that a crash could leave half marked.
// Each rule has its own also so that two applications of one target never meet: on a network,
// containers reach each other. It is internal: it leads nowhere, and is no container's way
// out.
//
// # Who is on it
//
// The target's container first, then the application's, and those that are beside it for a
// change's sake (they take its place with the networks that they have). The engine says all
// of it, and is looked at anew by every call: a container that its owner made anew is not on
// the network, which InspectRule sees and EnsureRule mends.
package docker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/dockerapi"
	"patchbay.dev/patchbay/internal/failpoint"
)

// Driver is the driver of guards that are networks of containers.
func Driver() driver.NetworkDriver { return driver.NetworkDriver{Driver: description, Open: open} }

type properties struct {
	Engine string `json:"engine"`
	TLS    struct {
		CA         string `json:"ca"`
		ServerName string `json:"serverName"`
	} `json:"tls"`
	Host      string `json:"host"` // found by the control plane
	Container string `json:"container"`
	Alias     string `json:"alias"`
	Pool      string `json:"pool"`
}

type network struct {
	engine    *dockerapi.Engine
	id        patchbay.ID
	local     bool // the engine's machine is this one
	container string
	alias     string
	pool      netip.Prefix // the zero one: the engine's choice
}

var _ driver.Platform = (*network)(nil)

func open(ctx context.Context, c driver.Config, _ driver.Config) (driver.Network, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if c.Host == nil {
		return nil, patchbay.Errorf(patchbay.Internal, "no host to reach an engine on")
	}
	n := &network{id: c.ID, container: p.Container, alias: p.Alias}
	if p.Alias != "" && !driver.IsHost(p.Alias) {
		return nil, invalid("the alias %.80q can't be a host's name", p.Alias)
	}
	if p.Pool != "" {
		var err error
		if n.pool, err = netip.ParsePrefix(p.Pool); err != nil || n.pool != n.pool.Masked() || !n.pool.Addr().Is4() || n.pool.Bits() > networkBits {
			return nil, invalid("the pool %.80q is no IPv4 network of sixteen addresses or more, such as 10.213.0.0/16", p.Pool)
		}
	}
	var err error
	n.engine, err = dockerapi.Open(ctx, c, dockerapi.Registration{Driver: description.Name, URL: p.Engine, CA: p.TLS.CA, ServerName: p.TLS.ServerName, Host: p.Host})
	if err != nil {
		return nil, err
	}
	n.local = dockerapi.Local(c, n.engine)
	return n, nil
}

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}

// Close implements [driver.Network].
func (n *network) Close() error { return n.engine.Close() }

// Knows implements [driver.Platform].
func (n *network) Knows(ctx context.Context, p driver.Peer) (bool, error) {
	if p.Platform != dockerapi.Platform {
		return false, nil
	}
	place, err := n.engine.Place(ctx)
	return err == nil && place == p.Place, err
}

// Reach implements [driver.Platform].
func (n *network) Reach(ctx context.Context, r driver.Rule) (map[string]string, error) {
	t, err := n.ends(ctx, r)
	if err != nil {
		return nil, err
	}
	reach := map[string]string{}
	for _, to := range t.targets {
		if at := to.reached(); at != to.server {
			reach[to.server] = at
		}
	}
	return reach, n.ambiguous(ctx, t, r.Name)
}

// EnsureRule implements [driver.Network].
func (n *network) EnsureRule(ctx context.Context, r driver.Rule) error {
	switch {
	case r.Name == "" || r.Mark.UID == "":
		return invalid("the rule has no mark, or no name")
	case r.Peer == nil && len(r.From) == 0, len(r.Servers) == 0:
		return invalid("an opening is from somewhere to somewhere")
	}
	unlock, err := n.engine.Lock(ctx, r.Name)
	if err != nil {
		return err
	}
	defer unlock()
	had, err := n.named(ctx, r.Name)
	if err != nil {
		return err
	}
	if err := notOurs(had, r); err != nil {
		return err
	}
	t, err := n.ends(ctx, r)
	if err != nil {
		return err
	}
	wanted := recordOf(r)
	if len(had) != 1 || !had[0].is(wanted) {
		if err := n.drop(ctx, had, r); err != nil {
			return err
		}
		had = nil
	}
	if len(had) == 0 {
		if err := failpoint.Hit(ctx, "docker-network/ensure/before-create"); err != nil {
			return err
		}
		made, err := n.create(ctx, r.Name, wanted)
		if err != nil {
			return err
		}
		had = []*bridge{made}
	}
	if err := failpoint.Hit(ctx, "docker-network/ensure/before-attach"); err != nil {
		return err
	}
	return n.attach(ctx, had[0], t)
}

// attach has exactly the two ends on a network.
func (n *network) attach(ctx context.Context, b *bridge, t *ends) error {
	// A change of the application's settings must not begin with the networks that it has,
	// and end with those that it had.
	unlock, err := n.engine.Lock(ctx, t.source)
	if err != nil {
		return err
	}
	defer unlock()
	on, err := n.on(ctx, b)
	if err != nil {
		return err
	}
	members, err := n.members(ctx, t)
	if err != nil {
		return err
	}
	for id := range on {
		if !slices.ContainsFunc(members, func(m member) bool { return m.ID == id }) {
			if err := n.disconnect(ctx, b, id); err != nil {
				return err
			}
		}
	}
	for _, m := range members {
		if m.isOn(b) {
			continue
		}
		if _, has := m.NetworkSettings.Networks[b.Name]; has { // of a network that is gone, or by another name
			if err := n.disconnect(ctx, b, m.ID); err != nil {
				return err
			}
		}
		if err := n.connect(ctx, b, m); err != nil {
			return err
		}
	}
	return nil
}

// InspectRule implements [driver.Network].
func (n *network) InspectRule(ctx context.Context, r driver.Rule) (driver.RuleState, error) {
	had, err := n.named(ctx, r.Name)
	if err != nil || len(had) == 0 {
		return driver.RuleState{}, err
	}
	state := driver.RuleState{Exists: true, Ours: notOurs(had, r) == nil}
	if !state.Ours || len(had) > 1 || !had[0].is(recordOf(r)) {
		return state, nil
	}
	t, err := n.ends(ctx, r)
	if missing(err) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	on, err := n.on(ctx, had[0])
	if err != nil {
		return state, err
	}
	members, err := n.members(ctx, t)
	if err != nil {
		return state, err
	}
	state.Exact = true
	for _, m := range members {
		state.Exact = state.Exact && m.isOn(had[0])
		delete(on, m.ID)
	}
	state.Exact = state.Exact && len(on) == 0
	return state, nil
}

// missing reports whether an end is not there, or can't be on a network any more: what is
// then open is not what the rule says.
func missing(err error) bool {
	switch patchbay.CodeOf(err) {
	case patchbay.NotSupported, patchbay.SourceNotFound, patchbay.TargetNotFound, patchbay.InvalidArgument:
		return true
	}
	return false
}

// RemoveRule implements [driver.Network]. What was open through it has lost its way.
func (n *network) RemoveRule(ctx context.Context, r driver.Rule) error {
	unlock, err := n.engine.Lock(ctx, r.Name)
	if err != nil {
		return err
	}
	defer unlock()
	had, err := n.named(ctx, r.Name)
	if err != nil {
		return err
	}
	if err := notOurs(had, r); err != nil {
		return err
	}
	return n.drop(ctx, had, r)
}

// drop takes networks of ours away, and who is on them off.
func (n *network) drop(ctx context.Context, had []*bridge, r driver.Rule) error {
	for _, b := range had {
		if err := n.dropOne(ctx, b); err != nil {
			return fmt.Errorf("the opening %s: %w", r.Name, err)
		}
	}
	return nil
}

func (n *network) dropOne(ctx context.Context, b *bridge) error {
	unlock, err := n.engine.Lock(ctx, b.record.Source)
	if err != nil {
		return err
	}
	defer unlock()
	on, err := n.on(ctx, b)
	if err != nil {
		return err
	}
	// Those that are stopped would not start with a network that is gone.
	all, err := n.list(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		if !l.mayBeOn(func(name string) bool { return name == b.Name }) {
			continue
		}
		c, err := n.inspect(ctx, l.ID)
		if err != nil {
			return err
		}
		if c != nil && c.has(b) {
			on[c.ID] = true
		}
	}
	for id := range on {
		if err := n.disconnect(ctx, b, id); err != nil {
			return err
		}
		if err := failpoint.Hit(ctx, "docker-network/remove/between"); err != nil {
			return err
		}
	}
	return n.remove(ctx, b)
}

// Owned implements [driver.Network].
func (n *network) Owned(ctx context.Context) ([]driver.Owned, error) {
	all, err := n.networks(ctx, "label", ruleLabel)
	if err != nil {
		return nil, err
	}
	var owned []driver.Owned
	for _, b := range all {
		if b.record == nil || slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Name == b.Name }) {
			continue
		}
		owned = append(owned, driver.Owned{Mark: b.record.Mark, Name: b.Name})
	}
	slices.SortFunc(owned, func(a, b driver.Owned) int { return strings.Compare(a.Name, b.Name) })
	return owned, nil
}
