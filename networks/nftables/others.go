package nftables

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	"patchbay.dev/patchbay/driver"
)

// ruleset is what else the kernel has, by which a packet is judged as far as that can be
// seen: conditions that need more than its addresses (a mark, an interface, an extension
// of iptables') are taken not to hold.
type ruleset struct {
	bases  []listedChain // in the order in which a packet meets them
	chains map[chainKey][]listedRule
	sets   map[chainKey]listedSet
}

type chainKey struct{ family, table, name string }

func rulesetOf(list []listed) ruleset {
	rs := ruleset{chains: map[chainKey][]listedRule{}, sets: map[chainKey]listedSet{}}
	for _, item := range list {
		switch {
		case item.Chain != nil && item.Chain.Hook != "" && (item.Chain.Family != family || item.Chain.Table != tableName):
			rs.bases = append(rs.bases, *item.Chain)
		case item.Rule != nil:
			key := chainKey{item.Rule.Family, item.Rule.Table, item.Rule.Chain}
			rs.chains[key] = append(rs.chains[key], *item.Rule)
		case item.Set != nil:
			rs.sets[chainKey{item.Set.Family, item.Set.Table, item.Set.Name}] = *item.Set
		case item.Map != nil:
			rs.sets[chainKey{item.Map.Family, item.Map.Table, item.Map.Name}] = *item.Map
		}
	}
	slices.SortStableFunc(rs.bases, func(a, b listedChain) int { return cmp.Compare(a.Prio, b.Prio) })
	return rs
}

// despite names the chain of somebody else's that drops what r lets in; "" when none
// does, as far as can be seen. Guarded is what our own table does.
func (rs ruleset) despite(r record, guarded effect) string {
	for _, to := range r.to {
		for _, from := range r.from {
			if from.Addr().Is4() != to.Addr().Is4() {
				continue
			}
			p := &packet{from: from.Addr(), to: to}
			if by := rs.judge(p); by != "" {
				return fmt.Sprintf("%s drops what comes from %s to %s", by, from, to)
			}
			// Answers leave under the number that the program has, and are ours to judge.
			if p.to.Port() != to.Port() && !p.forwarded && slices.Contains(guarded.ports, p.to.Port()) && !guarded.opens(from, p.to) {
				return fmt.Sprintf("%s leads to port %d of the same machine, which is guarded too: what answers from there to %s is refused", to, p.to.Port(), from)
			}
		}
	}
	return ""
}

// packet is the first one of a connection.
type packet struct {
	from netip.Addr
	to   netip.AddrPort
	// forwarded: another chain has given it an address elsewhere. unseen: what becomes
	// of it is not shown.
	forwarded, unseen bool
	steps             int
}

// maxSteps bounds how many rules one packet is held against: chains that call each other
// can make that many of a few.
const maxSteps = 1 << 20

// judge lets p meet the chains of all tables, as the kernel would.
func (rs ruleset) judge(p *packet) string {
	hooks := []string{"ingress", "prerouting", "input"}
	for i := 0; i < len(hooks); i++ {
		for _, c := range rs.bases {
			families := []string{"inet", "ip", "netdev"}
			if p.from.Is6() {
				families[1] = "ip6"
			}
			if c.Hook != hooks[i] || !slices.Contains(families, c.Family) {
				continue
			}
			what, by := rs.walk(chainKey{c.Family, c.Table, c.Name}, p, 0)
			switch {
			case p.unseen:
				return ""
			case what == dropped:
				return fmt.Sprintf("a rule of the chain %s of the table %s %s", driver.Quoted(by), c.Family, driver.Quoted(c.Table))
			case what == undecided && c.Policy == "drop":
				return fmt.Sprintf("the policy of the chain %s of the table %s %s", driver.Quoted(c.Name), c.Family, driver.Quoted(c.Table))
			}
		}
		if hooks[i] == "prerouting" && p.forwarded {
			hooks[2] = "forward"
		}
	}
	return ""
}

type verdict int

const (
	undecided verdict = iota
	accepted
	dropped
	returned
)

// maxDepth is how deep the kernel lets chains call each other.
const maxDepth = 16

// walk is what a chain says of p, and which one said it.
func (rs ruleset) walk(key chainKey, p *packet, depth int) (verdict, string) {
	if depth > maxDepth {
		return undecided, ""
	}
	for _, r := range rs.chains[key] {
		if p.steps++; p.steps > maxSteps {
			p.unseen = true
			return accepted, ""
		}
		what, by := rs.rule(key, r.Expr, p, depth)
		switch what {
		case accepted, dropped:
			return what, by
		case returned:
			return undecided, ""
		}
	}
	return undecided, ""
}

func (rs ruleset) rule(key chainKey, expr []map[string]any, p *packet, depth int) (verdict, string) {
	for _, statement := range expr {
		for kind, what := range statement {
			body, _ := what.(map[string]any)
			switch kind {
			case "match":
				if !rs.matches(key, body, p) {
					return undecided, ""
				}
			case "vmap":
				found := rs.lookup(key, body["data"], p.value(body["key"]))
				if found == nil {
					return undecided, ""
				}
				return rs.rule(key, []map[string]any{found}, p, depth)
			case "limit":
				if over, _ := body["inv"].(bool); over {
					return undecided, ""
				}
			case "xt":
				if body == nil { // an older nft, as 0.9.8, shows nothing of it
					p.unseen = true
					return accepted, ""
				}
				switch fmt.Sprint(body["type"], " ", body["name"]) {
				case "match comment", "match addrtype": // said of where it is going, which is here
				case "target DNAT", "target REDIRECT":
					p.unseen = true
					return accepted, ""
				case "target REJECT":
					return dropped, key.name
				case "target LOG", "target NFLOG", "target MARK", "target CONNMARK":
				default:
					return undecided, ""
				}
			case "accept":
				return accepted, key.name
			case "drop", "reject":
				return dropped, key.name
			case "return":
				return returned, ""
			case "jump", "goto":
				to := chainKey{key.family, key.table, fmt.Sprint(body["target"])}
				found, by := rs.walk(to, p, depth+1)
				if found == undecided && kind == "goto" {
					found = returned
				}
				return found, by
			case "dnat":
				p.translate(body)
				return accepted, key.name
			case "redirect":
				p.translate(map[string]any{"port": body["port"]})
				return accepted, key.name
			}
		}
	}
	return undecided, ""
}

// translate gives p another address.
func (p *packet) translate(to map[string]any) {
	addr, port := p.to.Addr(), p.to.Port()
	if a := to["addr"]; a != nil {
		next, err := netip.ParseAddr(fmt.Sprint(a))
		if err != nil {
			p.unseen = true
			return
		}
		addr, p.forwarded = next, !next.IsLoopback()
	}
	if v := to["port"]; v != nil {
		next, ok := portOf(v)
		if !ok {
			p.unseen = true
			return
		}
		port = next
	}
	p.to = netip.AddrPortFrom(addr, port)
}

// matches says that a condition holds; one that can't be judged does not.
func (rs ruleset) matches(key chainKey, m map[string]any, p *packet) bool {
	left := p.value(m["left"])
	if left == nil {
		return false
	}
	in := rs.holds(key, m["right"], left)
	switch m["op"] {
	case "==":
		return in && len(flags(m["right"])) < 2 // several flags at once are not one of them
	case "in":
		return in
	case "!=":
		return !in
	case "<", ">", "<=", ">=":
		a, aErr := number(left)
		b, bErr := number(m["right"])
		if aErr != nil || bErr != nil {
			return false
		}
		return slices.Contains(map[string][]int{"<": {-1}, ">": {1}, "<=": {-1, 0}, ">=": {0, 1}}[fmt.Sprint(m["op"])], cmp.Compare(a, b))
	}
	return false
}

// flags are those that stand on the right as one value, and no set: some versions of nft
// list them, some put them together.
func flags(right any) []any {
	if m, ok := right.(map[string]any); ok {
		right = m["|"]
	}
	list, _ := right.([]any)
	return list
}

func number(v any) (int64, error) { return json.Number(fmt.Sprint(v)).Int64() }

// value is what an expression is of p: a string, a number or a list of them; nil when
// that can't be seen, or p has no such thing.
func (p *packet) value(v any) any {
	m, _ := v.(map[string]any)
	for kind, what := range m {
		body, _ := what.(map[string]any)
		switch kind {
		case "concat":
			var all []any
			parts, _ := what.([]any)
			for _, part := range parts {
				one := p.value(part)
				if one == nil {
					return nil
				}
				all = append(all, one)
			}
			return all
		case "payload":
			return p.field(fmt.Sprint(body["protocol"]), fmt.Sprint(body["field"]))
		case "meta":
			switch fmt.Sprint(body["key"]) {
			case "l4proto":
				return "tcp"
			case "nfproto":
				return map[bool]string{true: "ipv4", false: "ipv6"}[p.from.Is4()]
			case "protocol":
				return map[bool]string{true: "ip", false: "ip6"}[p.from.Is4()]
			}
		case "ct":
			switch fmt.Sprint(body["key"]) {
			case "state":
				return "new"
			case "direction":
				return "original"
			}
		case "fib":
			if fmt.Sprint(body["result"], body["flags"]) == "type[daddr]" && !p.forwarded {
				return "local"
			}
		case "&": // tcp flags & (syn | ack): of the first packet, syn alone is set
			if parts, ok := what.([]any); ok && len(parts) == 2 && fmt.Sprint(p.value(parts[0])) == "syn" && slices.Contains(leaves(parts[1]), "syn") {
				return "syn"
			}
		}
	}
	return nil
}

func (p *packet) field(protocol, field string) any {
	switch protocol + " " + field {
	case "ip saddr", "ip6 saddr":
		if p.from.Is4() == (protocol == "ip") {
			return p.from.String()
		}
	case "ip daddr", "ip6 daddr":
		if p.from.Is4() == (protocol == "ip") {
			return p.to.Addr().String()
		}
	case "ip protocol":
		if p.from.Is4() {
			return "tcp"
		}
	case "ip6 nexthdr":
		if p.from.Is6() {
			return "tcp"
		}
	case "tcp dport", "th dport":
		return json.Number(fmt.Sprint(p.to.Port()))
	case "tcp flags":
		return "syn"
	}
	return nil
}

// holds says that a value is, or is among, what stands on the right.
func (rs ruleset) holds(key chainKey, right, value any) bool {
	if parts, ok := value.([]any); ok {
		m, _ := right.(map[string]any)
		others, _ := m["concat"].([]any)
		if m["concat"] != nil {
			if len(others) != len(parts) {
				return false
			}
			for i := range parts {
				if !rs.holds(key, others[i], parts[i]) {
					return false
				}
			}
			return true
		}
	}
	switch right := right.(type) {
	case string:
		if len(right) > 0 && right[0] == '@' {
			return slices.ContainsFunc(rs.sets[chainKey{key.family, key.table, right[1:]}].Elem, func(e any) bool { return rs.holds(key, element(e), value) })
		}
		return right == fmt.Sprint(value)
	case []any:
		return slices.ContainsFunc(right, func(e any) bool { return rs.holds(key, element(e), value) })
	case map[string]any:
		if list := flags(right); list != nil {
			return rs.holds(key, list, value)
		}
		if list, ok := right["set"]; ok {
			if one, isList := list.([]any); isList {
				return rs.holds(key, one, value)
			}
			return rs.holds(key, list, value)
		}
		if r, ok := right["range"].([]any); ok && len(r) == 2 {
			return between(r[0], r[1], value)
		}
		a, err := netip.ParseAddr(fmt.Sprint(value))
		p, ok := prefixOf(right)
		return err == nil && ok && p.Contains(a)
	}
	return fmt.Sprint(right) == fmt.Sprint(value)
}

func between(first, last, value any) bool {
	if a, err := netip.ParseAddr(fmt.Sprint(value)); err == nil {
		low, lowErr := netip.ParseAddr(fmt.Sprint(first))
		high, highErr := netip.ParseAddr(fmt.Sprint(last))
		return lowErr == nil && highErr == nil && low.Compare(a) <= 0 && a.Compare(high) <= 0
	}
	n, err := number(value)
	low, lowErr := number(first)
	high, highErr := number(last)
	return err == nil && lowErr == nil && highErr == nil && low <= n && n <= high
}

// element is what is in a set, without its comment or counter.
func element(e any) any {
	if m, ok := e.(map[string]any); ok {
		if inner, ok := m["elem"].(map[string]any); ok {
			return inner["val"]
		}
	}
	return e
}

// lookup is what a map of verdicts has for a value; nil for nothing.
func (rs ruleset) lookup(key chainKey, data, value any) map[string]any {
	if value == nil {
		return nil
	}
	var pairs []any
	switch data := data.(type) {
	case string:
		if len(data) > 0 {
			pairs = rs.sets[chainKey{key.family, key.table, data[1:]}].Elem
		}
	case map[string]any:
		pairs, _ = data["set"].([]any)
	}
	for _, one := range pairs {
		if pair, ok := one.([]any); ok && len(pair) == 2 && rs.holds(key, element(pair[0]), value) {
			found, _ := pair[1].(map[string]any)
			return found
		}
	}
	return nil
}
