package hosts

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
)

// DialRules say to which addresses connections are made. The most specific
// prefix that has an address decides, and an operator's prefix before a built-in
// one that is as long; so what is closed here is opened only by who names that
// very prefix, or a part of it. An address that no rule has is open: loopback and
// private networks are, for databases are there.
//
// The zero DialRules are the built-in ones.
type DialRules struct {
	operator []dialRule
}

type dialRule struct {
	prefix netip.Prefix
	closed string // why, as the end of a sentence; "" when it is open
}

// Sets are the names that an operator may write in place of a prefix.
var sets = map[string][]netip.Prefix{
	"all":        prefixes("0.0.0.0/0", "::/0"),
	"loopback":   prefixes("127.0.0.0/8", "::1/128"),
	"private":    prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"), // RFC 1918, 6598, 4193, 3879
	"link-local": prefixes("169.254.0.0/16", "fe80::/10"),                                                             // RFC 3927, 4291
	// Where clouds tell a machine who it is, and hand out credentials of it. Each
	// is from its cloud's own manual; most clouds, Azure, DigitalOcean, Hetzner, IBM,
	// OVH, Vultr and OpenStack among them, are at the first.
	"metadata": prefixes(
		"169.254.169.254/32",
		"fe80::a9fe:a9fe/128",                   // OpenStack
		"fd00:ec2::254/128",                     // AWS
		"169.254.170.2/32",                      // AWS, tasks of ECS
		"169.254.170.23/32", "fd00:ec2::23/128", // AWS, pods of EKS
		"168.63.129.16/32",                         // Azure's wire server
		"fd20:ce::254/128",                         // Google, metadata.google.internal
		"192.0.0.192/32", "fd00:c1::a9fe:a9fe/128", // Oracle
		"169.254.42.42/32", "fd00:42::42/128", // Scaleway
		"100.100.100.200/32",    // Alibaba
		"169.254.0.23/32",       // Tencent, metadata.tencentyun.com
		"fd00:a9fe:a9fe::1/128", // Akamai (Linode)
	),
}

// builtin is closed unless an operator says otherwise: no service of anybody's is
// there.
var builtin = slices.Concat(
	rulesOf(sets["metadata"], "a cloud's metadata service is there"),
	rulesOf(sets["link-local"], "it is local to a link, where clouds have their metadata services"),
	rulesOf(prefixes("0.0.0.0/8", "::/128"), "it is no address of a machine"),
	rulesOf(prefixes("224.0.0.0/4", "ff00::/8", "255.255.255.255/32"), "it is the address of many machines"),
)

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, text := range list {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

func rulesOf(list []netip.Prefix, closed string) []dialRule {
	rules := make([]dialRule, len(list))
	for i, p := range list {
		rules[i] = dialRule{p, closed}
	}
	return rules
}

// NewDialRules are the built-in rules with an operator's: prefixes (10.0.0.0/8),
// addresses, and the sets all, loopback, private, link-local and metadata. What
// both name is closed.
func NewDialRules(deny, allow []string) (DialRules, error) {
	var r DialRules
	for _, list := range []struct {
		words  []string
		closed string
	}{{deny, "the operator of this server closed it"}, {allow, ""}} {
		for _, word := range list.words {
			found, err := parseSet(word)
			if err != nil {
				return DialRules{}, err
			}
			r.operator = append(r.operator, rulesOf(found, list.closed)...)
		}
	}
	return r, nil
}

// parseSet reads a set's name, a prefix or an address.
func parseSet(word string) ([]netip.Prefix, error) {
	if set, ok := sets[strings.ToLower(word)]; ok {
		return set, nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		a, addrErr := netip.ParseAddr(word)
		if addrErr != nil || a.Zone() != "" {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%q is no prefix such as 10.0.0.0/8, no address, and none of all, link-local, loopback, metadata, private", word)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if mapped := p.Addr().Is4In6(); mapped && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return []netip.Prefix{p.Masked()}, nil
}

// Control is a [net.Dialer]'s. It sees each address after names are resolved,
// right before it is connected to: a name that leads to what is closed, now or
// only this time, is refused too. It does not say which address that was: what a
// name means to this machine is not the caller's to know.
func (r DialRules) Control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return patchbay.Errorf(patchbay.InvalidArgument, "no connection is made to what has no IP address")
	}
	if why := r.closed(at.Addr()); why != "" {
		return patchbay.Errorf(patchbay.InvalidArgument, "no connection is made to that address, or to what its name leads to: %s", why)
	}
	return nil
}

// closed says why there is no connection to a, "" when there may be. Where a is
// a way to write another address too, both have to be open.
func (r DialRules) closed(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	for _, one := range append(embedded(a), a) {
		best := dialRule{}
		for _, rule := range slices.Concat(r.operator, builtin) {
			// The first of several as long holds: the operator's, and of those what
			// is denied.
			if rule.prefix.Contains(one) && (!best.prefix.IsValid() || rule.prefix.Bits() > best.prefix.Bits()) {
				best = rule
			}
		}
		if best.closed != "" {
			return best.closed
		}
	}
	return ""
}

// The forms of IPv6 that stand for an address of IPv4, by their prefix: where in
// the 16 bytes its four are.
var forms = []struct {
	prefix netip.Prefix
	at     [][4]int
}{
	{netip.MustParsePrefix("::/96"), [][4]int{{12, 13, 14, 15}}},           // compatible (RFC 4291, 2.5.5.1)
	{netip.MustParsePrefix("::ffff:0:0:0/96"), [][4]int{{12, 13, 14, 15}}}, // translated (RFC 2765)
	{netip.MustParsePrefix("64:ff9b::/96"), [][4]int{{12, 13, 14, 15}}},    // NAT64 (RFC 6052)
	// NAT64 of a network's own, whose prefix is 48, 56, 64 or 96 long (RFC 8215;
	// RFC 6052, 2.2: byte 8 is passed over). Nobody tells which, so all hold.
	{netip.MustParsePrefix("64:ff9b:1::/48"), [][4]int{{6, 7, 9, 10}, {7, 9, 10, 11}, {9, 10, 11, 12}, {12, 13, 14, 15}}},
	{netip.MustParsePrefix("2002::/16"), [][4]int{{2, 3, 4, 5}}}, // 6to4 (RFC 3056)
	{netip.MustParsePrefix("2001::/32"), [][4]int{{4, 5, 6, 7}}}, // Teredo's server (RFC 4380); the client's is below
}

var (
	teredo   = netip.MustParsePrefix("2001::/32")
	nowhere4 = netip.MustParsePrefix("0.0.0.0/8")
)

// embedded are the addresses of IPv4 that a stands for, by some reading of it.
func embedded(a netip.Addr) []netip.Addr {
	if !a.Is6() || a == netip.IPv6Loopback() || a == netip.IPv6Unspecified() {
		return nil
	}
	b := a.As16()
	var all []netip.Addr
	for _, f := range forms {
		if !f.prefix.Contains(a) {
			continue
		}
		for _, at := range f.at {
			v4 := netip.AddrFrom4([4]byte{b[at[0]], b[at[1]], b[at[2]], b[at[3]]})
			if len(f.at) > 1 && nowhere4.Contains(v4) {
				continue // the wrong one of several readings, which falls on zeros
			}
			all = append(all, v4)
		}
	}
	if teredo.Contains(a) {
		all = append(all, netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP (RFC 5214)
		all = append(all, netip.AddrFrom4([4]byte(b[12:])))
	}
	return all
}
