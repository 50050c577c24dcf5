package docker

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/dockerapi"
)

// container is what the engine says of one.
type container struct {
	ID     string `json:"Id"`
	Name   string
	Config struct {
		Hostname string
		Labels   map[string]string
	}
	HostConfig      struct{ NetworkMode string }
	NetworkSettings struct {
		Networks map[string]endpoint
		Ports    map[string][]binding // by port/protocol
	}
}

type endpoint struct {
	NetworkID         string // "" of one that never ran with it
	IPAddress         string
	GlobalIPv6Address string
	Aliases           []string
}

type binding struct{ HostIP, HostPort string } // HostIp on the wire

// listed is what a list says of one.
type listed struct {
	ID              string `json:"Id"`
	Names           []string
	NetworkSettings *struct{ Networks map[string]endpoint } // nil of an engine that does not say
}

// mayBeOn reports whether it is worth to look closer: it is on such a network.
func (l listed) mayBeOn(is func(name string) bool) bool {
	if l.NetworkSettings == nil || l.NetworkSettings.Networks == nil {
		return true
	}
	for name := range l.NetworkSettings.Networks {
		if is(name) {
			return true
		}
	}
	return false
}

func (n *network) list(ctx context.Context) ([]listed, error) {
	var all []listed
	err := n.engine.Call(ctx, http.MethodGet, "/containers/json", url.Values{"all": {"1"}}, nil, &all)
	return all, guardFault(err)
}

// called is the container of that name, nil when there is none. To an engine, the beginning
// of an id is a name too.
func (n *network) called(ctx context.Context, name string) (*container, error) {
	c, err := n.inspect(ctx, name)
	if c != nil && c.Name != name {
		c = nil
	}
	return c, err
}

// inspect is a container, by id or name; nil when there is none.
func (n *network) inspect(ctx context.Context, id string) (*container, error) {
	c := &container{}
	err := n.engine.Call(ctx, http.MethodGet, "/containers/"+url.PathEscape(id)+"/json", nil, nil, c)
	if dockerapi.IsMissing(err) {
		return nil, nil
	}
	c.Name = strings.TrimPrefix(c.Name, "/")
	return c, guardFault(err)
}

// ends are what a rule leads from and to.
type ends struct {
	source  string // the application's container
	targets []spot // in the order of the rule's servers
}

// spot is where a server is: a port in a container.
type spot struct {
	*container
	server string // as it is registered
	port   uint16
	alias  string // the name that it is found by, where that is not the container's
}

// reached is what the application dials.
func (s spot) reached() string {
	name := s.alias
	if name == "" {
		name = s.Name
	}
	return net.JoinHostPort(name, strconv.Itoa(int(s.port)))
}

// ends finds both ends of a rule, and refuses those that can't be on one network.
func (n *network) ends(ctx context.Context, r driver.Rule) (*ends, error) {
	if r.Peer == nil {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the guard %s lets in containers of its own engine alone, and the application runs in none that it knows", n.id.Name()).
			WithFix("run it in a container of the engine at %s, on a network of its own; or register the target without that guard", n.engine.URL)
	}
	if err := n.engine.Greet(ctx); err != nil {
		return nil, guardFault(err)
	}
	if n.engine.Podman {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the engine at %s is Podman, whose networks let containers of other networks in", n.engine.URL).
			WithFix("register the target without the guard %s", n.id.Name())
	}
	if len(r.From) > 0 {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the guard %s lets containers in, and no addresses besides", n.id.Name()).
			WithFix("leave firewallRules.ipRanges out")
	}
	source, err := n.called(ctx, r.Peer.Name)
	if err != nil {
		return nil, err
	}
	if source == nil {
		return nil, patchbay.Errorf(patchbay.SourceNotFound, "there is no container %s at %s", driver.Quoted(r.Peer.Name), n.engine.URL)
	}
	if project, managed := source.Config.Labels["com.docker.compose.project"]; managed {
		return nil, patchbay.Errorf(patchbay.NotSupported, "%s is of Compose's project %s, and each change of its settings makes it anew, on the networks of Compose's files alone", source.Name, driver.Quoted(project)).
			WithFix("put it on a network with the target in its compose files, and connect with --opt-out publicnetwork")
	}
	if err := source.networked(); err != nil {
		return nil, err
	}
	t := &ends{source: source.Name}
	for _, server := range r.Servers {
		s, err := n.find(ctx, server)
		if err != nil {
			return nil, err
		}
		if err := s.networked(); err != nil {
			return nil, err
		}
		if s.alias = n.alias; !driver.IsHost(s.Name) && n.alias == "" {
			return nil, patchbay.Errorf(patchbay.NotSupported, "the container's name %s is none that applications can dial", s.Name).
				WithFix("register the guard %s again with --alias NAME", n.id.Name())
		}
		if dockerapi.Beside(source.Name, s.Name) {
			return nil, patchbay.Errorf(patchbay.NotSupported, "%s is in the application's own container, %s", server, s.Name).WithFix("register the target without the guard %s", n.id.Name())
		}
		if n.alias != "" && slices.ContainsFunc(t.targets, func(o spot) bool { return o.ID != s.ID }) {
			return nil, patchbay.Errorf(patchbay.NotSupported, "the target is in several containers, and the alias %s of the guard %s would be each one's", n.alias, n.id.Name()).
				WithFix("register the guard again without --alias")
		}
		t.targets = append(t.targets, *s)
	}
	return t, nil
}

// networked refuses a container that can be on no network besides what it has.
func (c *container) networked() error {
	mode, _, _ := strings.Cut(c.HostConfig.NetworkMode, ":")
	if !slices.Contains([]string{"host", "none", "container"}, mode) {
		return nil
	}
	return patchbay.Errorf(patchbay.NotSupported, "the container %s has no network of its own (--network %s), and can be on no other", c.Name, driver.Quoted(mode)).
		WithFix("start it on a network of its own: docker network create NAME, and --network NAME")
}

// find is the container that a server is in.
func (n *network) find(ctx context.Context, server string) (*spot, error) {
	host, text, err := net.SplitHostPort(server)
	port, portErr := strconv.ParseUint(text, 10, 16)
	if err != nil || portErr != nil || port == 0 || host == "" {
		return nil, invalid("%.200q is no host and port", server)
	}
	s := &spot{server: server, port: uint16(port)}
	if n.container != "" {
		if s.container, err = n.called(ctx, n.container); err != nil {
			return nil, err
		}
		if s.container == nil {
			return nil, patchbay.Errorf(patchbay.TargetNotFound, "there is no container %s at %s, which the guard %s is registered with", n.container, n.engine.URL, n.id.Name()).
				WithFix("docker ps --all   (and register %s with the name that it has there: --container)", n.id.Name())
		}
		if inside, ok := s.publishes(s.port, nil); ok {
			s.port = inside
		}
		return s, nil
	}
	all, err := n.list(ctx)
	if err != nil {
		return nil, err
	}
	addresses := n.machineAddresses(ctx, host)
	var found []*spot
	for _, l := range all {
		c, err := n.inspect(ctx, l.ID)
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		one := *s
		one.container = c
		if c.Name == host || c.hasAddress(host) {
			found = append(found, &one)
		} else if inside, ok := c.publishes(s.port, addresses); ok && len(addresses) > 0 {
			one.port = inside
			found = append(found, &one)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	what := "no container there that runs publishes that port, or has that address or name"
	if len(found) > 1 {
		what = found[0].Name + " could be it, and " + found[1].Name
	} else if !n.local {
		what = "which of its machine's addresses are published ports', only that machine knows"
	}
	return nil, patchbay.Errorf(patchbay.TargetNotFound, "it is not known which container at %s %s is in: %s", n.engine.URL, server, what).
		WithFix("register the guard %s again with --container NAME", n.id.Name())
}

// machineAddresses are those of a host's that the engine's machine has; none where that
// can't be said: ports that are published there may be the host's.
func (n *network) machineAddresses(ctx context.Context, host string) []netip.Addr {
	if !n.local {
		return nil
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var list []netip.Addr
	for _, a := range addresses {
		a = a.Unmap().WithZone("")
		if a.IsLoopback() || slices.ContainsFunc(own, func(o net.Addr) bool {
			p, err := netip.ParsePrefix(o.String())
			return err == nil && p.Addr() == a
		}) {
			list = append(list, a)
		}
	}
	return list
}

// publishes is the container's port that is published as that one, at one of the addresses;
// without any, wherever.
func (c *container) publishes(port uint16, at []netip.Addr) (inside uint16, ok bool) {
	for name, bindings := range c.NetworkSettings.Ports {
		number, protocol, _ := strings.Cut(name, "/")
		p, err := strconv.ParseUint(number, 10, 16)
		if err != nil || protocol != "tcp" {
			continue
		}
		for _, b := range bindings {
			if b.HostPort != strconv.Itoa(int(port)) {
				continue
			}
			ip, err := netip.ParseAddr(b.HostIP)
			if everywhere := err != nil || ip.IsUnspecified(); everywhere || len(at) == 0 || slices.Contains(at, ip) {
				return uint16(p), true
			}
		}
	}
	return 0, false
}

// hasAddress reports whether that is its own.
func (c *container) hasAddress(address string) bool {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, e := range c.NetworkSettings.Networks {
		for _, text := range []string{e.IPAddress, e.GlobalIPv6Address} {
			if own, err := netip.ParseAddr(text); err == nil && own == a.Unmap() {
				return true
			}
		}
	}
	return false
}

// member is a container that is to be on a network.
type member struct {
	*container
	alias string
}

// isOn reports whether it is, by the name that it is to have.
func (m member) isOn(b *bridge) bool {
	return m.has(b) && (m.alias == "" || slices.Contains(m.NetworkSettings.Networks[b.Name].Aliases, m.alias))
}

// has reports whether the network is among its own.
func (c *container) has(b *bridge) bool {
	e, ok := c.NetworkSettings.Networks[b.Name]
	return ok && (e.NetworkID == "" || e.NetworkID == b.ID)
}

// members are those of a rule: targets first, so that who comes to it finds them.
func (n *network) members(ctx context.Context, t *ends) ([]member, error) {
	var list []member
	for _, to := range t.targets {
		if !slices.ContainsFunc(list, func(m member) bool { return m.ID == to.ID }) {
			list = append(list, member{to.container, to.alias})
		}
	}
	all, err := n.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if !slices.ContainsFunc(l.Names, func(name string) bool { return dockerapi.Beside(t.source, strings.TrimPrefix(name, "/")) }) {
			continue
		}
		c, err := n.inspect(ctx, l.ID)
		if err != nil {
			return nil, err
		}
		if c != nil {
			list = append(list, member{c, ""})
		}
	}
	return list, nil
}

// ambiguous refuses a name by which the application finds somebody else on a network that it
// is on: nobody says which of the two would have its login.
func (n *network) ambiguous(ctx context.Context, t *ends, rule string) error {
	source, err := n.inspect(ctx, t.source)
	if err != nil || source == nil {
		return err
	}
	all, err := n.list(ctx)
	if err != nil {
		return err
	}
	shares := func(name string) bool {
		_, shared := source.NetworkSettings.Networks[name]
		return shared && name != rule
	}
	for _, l := range all {
		if !l.mayBeOn(shares) {
			continue
		}
		c, err := n.inspect(ctx, l.ID)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		for _, to := range t.targets {
			name, _, _ := net.SplitHostPort(to.reached())
			if c.ID == to.ID {
				continue
			}
			for at, e := range c.NetworkSettings.Networks {
				if !shares(at) {
					continue
				}
				if c.Name == name || slices.Contains(e.Aliases, name) {
					return patchbay.Errorf(patchbay.NotSupported, "%s finds the container %s by the name %s already, on the network %s", t.source, c.Name, name, at).
						WithFix("register the guard %s again with another name for the target: --alias", n.id.Name())
				}
			}
		}
	}
	return nil
}
