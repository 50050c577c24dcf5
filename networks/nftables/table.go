package nftables

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// table is what the kernel has of ours.
type table struct {
	records records
	effect  effect
	// whole says that all but the records and the elements of the sets is as we write
	// it.
	whole bool
	// foreign names what we did not make; damaged are the chains of records that can't
	// be read any more.
	foreign, damaged []string
}

// good says that the table is what its records come to.
func (t *table) good() bool {
	return t != nil && t.whole && len(t.damaged) == 0 && t.effect.equal(t.records.effect())
}

// listed is one thing in a list of nft's. Exactly one of its members is there.
type listed struct {
	Table *struct {
		Family, Name string
		Flags        json.RawMessage
	}
	Chain *listedChain
	Rule  *listedRule
	Set   *listedSet
	Map   *listedSet
	// other is the kind of what it is otherwise, with its own name.
	other, name, family, table string
}

type listedChain struct {
	Family, Table, Name, Type, Hook, Policy string
	Prio                                    int
}

type listedRule struct {
	Family, Table, Chain, Comment string
	Expr                          []map[string]any
}

type listedSet struct {
	Family, Table, Name string
	Elem                []any
}

// parseList reads what nft -j list prints. It may warn of something in lines before
// it.
func parseList(output []byte) ([]listed, error) {
	for line := range bytes.Lines(output) {
		if !bytes.HasPrefix(line, []byte(`{"nftables"`)) {
			continue
		}
		var all struct{ Nftables []json.RawMessage }
		if err := decode(line, &all); err != nil {
			return nil, err
		}
		var list []listed
		for _, raw := range all.Nftables {
			var item listed
			if err := decode(raw, &item); err != nil {
				return nil, err
			}
			if item.Table == nil && item.Chain == nil && item.Rule == nil && item.Set == nil && item.Map == nil {
				var rest map[string]struct{ Family, Table, Name string }
				if err := json.Unmarshal(raw, &rest); err != nil {
					return nil, err
				}
				for kind, what := range rest {
					item.other, item.name, item.family, item.table = kind, what.Name, what.Family, what.Table
				}
			}
			list = append(list, item)
		}
		return list, nil
	}
	return nil, errors.New("it is no list of nftables in JSON")
}

func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}

// ours is the table among what is listed; nil when there is none.
func ours(list []listed) *table {
	t := &table{records: records{}, whole: true}
	there := false
	have := map[string]listedChain{}
	rules := map[string][]listedRule{}
	sets := map[string]listedSet{}
	mine := func(f, name string) bool { return f == family && name == tableName }
	for _, item := range list {
		switch {
		case item.Table != nil && mine(item.Table.Family, item.Table.Name):
			there = true
			t.whole = t.whole && len(item.Table.Flags) == 0 // it is dormant, or somebody's own
		case item.Chain != nil && mine(item.Chain.Family, item.Chain.Table):
			have[item.Chain.Name] = *item.Chain
		case item.Rule != nil && mine(item.Rule.Family, item.Rule.Table):
			rules[item.Rule.Chain] = append(rules[item.Rule.Chain], *item.Rule)
		case item.Set != nil && mine(item.Set.Family, item.Set.Table):
			sets[item.Set.Name] = *item.Set
		case item.Map != nil && mine(item.Map.Family, item.Map.Table):
			t.foreign = append(t.foreign, "map "+item.Map.Name)
		case item.other != "" && mine(item.family, item.table):
			t.foreign = append(t.foreign, item.other+" "+item.name)
		}
	}
	if !there {
		return nil
	}
	for _, c := range chains {
		t.whole = t.whole && c.is(have[c.name], rules[c.name])
		delete(have, c.name)
	}
	for name, c := range have {
		r, ok := recordIn(name, rules[name])
		switch {
		case ok && isRecord(name) && ruleName.MatchString(name) == (r.mark.UID != ""):
			t.records[name] = r
			t.whole = t.whole && c.Hook == ""
		case isRecord(name) && begun(rules[name]):
			t.damaged = append(t.damaged, name)
		default:
			t.foreign = append(t.foreign, "chain "+name)
		}
	}
	for _, s := range (effect{}).sets() {
		found, ok := sets[s.name]
		t.whole = t.whole && ok && t.effect.add(found)
		delete(sets, s.name)
	}
	t.effect = t.effect.sorted()
	for name := range sets {
		t.foreign = append(t.foreign, "set "+name)
	}
	slices.Sort(t.foreign)
	slices.Sort(t.damaged)
	return t
}

// recordIn is the record in the comments of a chain's rules.
func recordIn(name string, rules []listedRule) (record, bool) {
	var text strings.Builder
	for _, r := range rules {
		if strings.Join(wordsOf(r.Expr), " ") != "return" {
			return record{}, false
		}
		text.WriteString(r.Comment)
	}
	return parseRecord(name, text.String())
}

// begun says that a chain has a part of a record at least.
func begun(rules []listedRule) bool {
	return slices.ContainsFunc(rules, func(r listedRule) bool { return strings.HasPrefix(r.Comment, heading) })
}

// is says that a chain that is there is c.
func (c chain) is(there listedChain, rules []listedRule) bool {
	if there.Name != c.name || there.Hook != c.hook || len(rules) != len(c.rules) {
		return false
	}
	if c.hook != "" && (there.Type != "filter" || there.Prio != priority || there.Policy != "accept") {
		return false
	}
	for i, r := range rules {
		if strings.Join(wordsOf(r.Expr), " ") != c.rules[i].words {
			return false
		}
	}
	return true
}

// wordsOf is what a rule says, in words that are the same for every version of nft. The
// conditions that it adds by itself are none of them: that a packet is TCP's, and of the
// family that it is then asked for an address of.
func wordsOf(expr []map[string]any) []string {
	var words []string
	implied := ""
	for _, statement := range expr {
		if m, ok := statement["match"].(map[string]any); ok {
			left := leaves(m["left"])
			condition := fmt.Sprint(left, m["op"], m["right"])
			if condition == "[l4proto]==tcp" {
				continue
			}
			if condition == "[nfproto]==ipv4" || condition == "[nfproto]==ipv6" {
				implied = map[string]string{"[nfproto]==ipv4": "ip.", "[nfproto]==ipv6": "ip6."}[condition]
				continue
			}
			if implied != "" && !strings.HasPrefix(strings.Join(left, " "), implied) {
				words = append(words, implied)
			}
			implied = ""
			if op := m["op"]; op != "==" && op != "in" {
				words = append(words, fmt.Sprint(op))
			}
			words = append(append(words, left...), leaves(m["right"])...)
			continue
		}
		if implied != "" {
			words = append(words, implied)
		}
		implied = ""
		for kind, what := range statement {
			words = append(append(words, kind), leaves(what)...)
		}
	}
	return slices.Compact(words)
}

// leaves are the words in an expression, in order.
func leaves(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		var all []string
		for _, item := range v {
			all = append(all, leaves(item)...)
		}
		return all
	case map[string]any:
		if p, ok := v["payload"].(map[string]any); ok {
			return []string{fmt.Sprintf("%v.%v", p["protocol"], p["field"])}
		}
		if f, ok := v["fib"].(map[string]any); ok {
			if fmt.Sprint(leaves(f["flags"])) != "[daddr]" {
				return []string{"fib"}
			}
			return []string{fmt.Sprintf("fib.%v", f["result"])}
		}
		for _, one := range []string{"concat", "&", "|", "meta", "key", "target", "type", "set"} {
			if inner, ok := v[one]; ok && len(v) == 1 {
				return leaves(inner)
			}
		}
		return []string{fmt.Sprint(v)} // something that we do not write
	}
	return []string{fmt.Sprint(v)}
}

// add reads the elements of one of our sets; false when it has what we do not write.
func (e *effect) add(s listedSet) bool {
	whole := true
	for _, wrapped := range s.Elem {
		element := element(wrapped)
		switch s.Name {
		case "ports":
			port, ok := portOf(element)
			whole = whole && ok
			e.ports = append(e.ports, port)
		case "allow4", "allow6":
			p, ok := prefixOf(element)
			whole = whole && ok
			e.allow = append(e.allow, p)
		default:
			o, ok := openingOf(element)
			whole = whole && ok
			e.open = append(e.open, o)
		}
	}
	return whole
}

func portOf(v any) (uint16, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	port, err := n.Int64()
	return uint16(port), err == nil && port > 0 && port < 1<<16 // #nosec G115 -- it is looked at
}

// prefixOf reads an address, a prefix, or a range that is one.
func prefixOf(v any) (netip.Prefix, bool) {
	switch v := v.(type) {
	case string:
		a, err := netip.ParseAddr(v)
		return netip.PrefixFrom(a, a.BitLen()), err == nil
	case map[string]any:
		if p, ok := v["prefix"].(map[string]any); ok {
			prefix, err := netip.ParsePrefix(fmt.Sprintf("%v/%v", p["addr"], p["len"]))
			return prefix, err == nil
		}
		if r, ok := v["range"].([]any); ok && len(r) == 2 {
			first, err := netip.ParseAddr(fmt.Sprint(r[0]))
			last, lastErr := netip.ParseAddr(fmt.Sprint(r[1]))
			if err == nil && lastErr == nil {
				return spanned(first, last)
			}
		}
	}
	return netip.Prefix{}, false
}

// spanned is the prefix that begins and ends with two addresses.
func spanned(first, last netip.Addr) (netip.Prefix, bool) {
	for bits := range first.BitLen() + 1 {
		if p := netip.PrefixFrom(first, bits); p.Masked().Addr() == first && lastOf(p) == last {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func openingOf(v any) (opening, bool) {
	m, _ := v.(map[string]any)
	parts, _ := m["concat"].([]any)
	if len(parts) != 3 {
		return opening{}, false
	}
	from, ok := prefixOf(parts[0])
	to, single := prefixOf(parts[1])
	port, isPort := portOf(parts[2])
	return opening{from, netip.AddrPortFrom(to.Addr(), port)}, ok && single && to.IsSingleIP() && isPort
}
