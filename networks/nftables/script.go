package nftables

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

const (
	family, tableName = "inet", "patchbay"
	// priority is before the translation of addresses (-100): what is published by a
	// container is closed under the address and port that it is published at.
	priority = -160
	// piece is how much of a record a comment has; nft takes 127 bytes.
	piece = 120
)

// chain is one of those that packets go through.
type chain struct {
	name, hook string // "" when another one leads to it
	rules      []rule
}

// rule is one, as nft reads it, and what remains of it when it is listed: the words
// that tell it from any other, whatever form a version of nft gives them.
type rule struct{ text, words string }

// chains are the same on every machine. The sets decide.
//
// Arriving packets are judged by themselves, not by the connection that they belong to:
// what is open is cut when its source is taken out of the sets. The reset that is sent
// back is for the source; the one for the service comes from the judgement of what
// it sends. A reset is let through in either way: without it, the other side would not
// know that all is over.
var chains = []chain{
	{"arriving", "prerouting", []rule{
		{`iif "lo" accept comment "the machine's own programs"`, "iif lo accept"},
		{`tcp dport @ports fib daddr type local goto arriving-guarded comment "a port that connections go to"`, "tcp.dport @ports fib.type local goto arriving-guarded"},
	}},
	{"arriving-guarded", "", []rule{
		{`ip saddr @allow4 accept`, "ip.saddr @allow4 accept"},
		{`ip6 saddr @allow6 accept`, "ip6.saddr @allow6 accept"},
		{`ip saddr . ip daddr . tcp dport @open4 accept comment "who has a connection"`, "ip.saddr ip.daddr tcp.dport @open4 accept"},
		{`ip6 saddr . ip6 daddr . tcp dport @open6 accept comment "who has a connection"`, "ip6.saddr ip6.daddr tcp.dport @open6 accept"},
		{`tcp flags rst accept`, "tcp.flags rst accept"},
		{`reject with tcp reset comment "everybody else"`, "reject tcp reset"},
	}},
	{"leaving", "output", []rule{
		{`oif "lo" accept`, "oif lo accept"},
		{`tcp sport @ports goto leaving-guarded`, "tcp.sport @ports goto leaving-guarded"},
	}},
	{"leaving-guarded", "", []rule{
		{`ip daddr @allow4 accept`, "ip.daddr @allow4 accept"},
		{`ip6 daddr @allow6 accept`, "ip6.daddr @allow6 accept"},
		{`ip daddr . ip saddr . tcp sport @open4 accept`, "ip.daddr ip.saddr tcp.sport @open4 accept"},
		{`ip6 daddr . ip6 saddr . tcp sport @open6 accept`, "ip6.daddr ip6.saddr tcp.sport @open6 accept"},
		{`tcp flags rst accept`, "tcp.flags rst accept"},
		{`reject with tcp reset comment "what was open before"`, "reject tcp reset"},
	}},
}

// set is one of the kernel's, and what is in it.
type set struct {
	name, kind string
	elements   []string
}

func (e effect) sets() []set {
	ports := set{name: "ports", kind: "type inet_service;"}
	allow := [2]set{{name: "allow4", kind: "type ipv4_addr; flags interval;"}, {name: "allow6", kind: "type ipv6_addr; flags interval;"}}
	open := [2]set{
		{name: "open4", kind: "type ipv4_addr . ipv4_addr . inet_service; flags interval;"},
		{name: "open6", kind: "type ipv6_addr . ipv6_addr . inet_service; flags interval;"},
	}
	for _, p := range e.ports {
		ports.elements = append(ports.elements, fmt.Sprint(p))
	}
	for _, p := range e.allow {
		s := &allow[version(p.Addr())]
		s.elements = append(s.elements, p.String())
	}
	for _, o := range e.open {
		s := &open[version(o.to.Addr())]
		s.elements = append(s.elements, fmt.Sprintf("%s . %s . %d", o.from, o.to.Addr(), o.to.Port()))
	}
	return []set{ports, allow[0], allow[1], open[0], open[1]}
}

func version(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// remove is a transaction that takes the table away, whether it is there or not.
const remove = "add table " + family + " " + tableName + "\ndelete table " + family + " " + tableName + "\n"

// trial is a transaction that has no effect: what it makes, it takes away, and no packet
// is led there. The right to it and what it is made of are what a change needs. Who has a
// table of that name keeps it: create fails.
const trial = "create table " + family + " " + tableName + "-trial\n" +
	"add set " + family + " " + tableName + "-trial open4 { type ipv4_addr . ipv4_addr . inet_service; flags interval; }\n" +
	"add chain " + family + " " + tableName + "-trial arriving\n" +
	"add rule " + family + " " + tableName + "-trial arriving fib daddr type local ip saddr . ip daddr . tcp dport @open4 accept\n" +
	"delete table " + family + " " + tableName + "-trial\n"

// script makes the table anew, in one transaction: at no instant is there none, or half
// of one.
func (all records) script() string {
	var b strings.Builder
	b.WriteString(remove)
	fmt.Fprintf(&b, "table %s %s {\n", family, tableName)
	for _, s := range all.effect().sets() {
		fmt.Fprintf(&b, "\tset %s {\n\t\t%s\n", s.name, strings.TrimSuffix(strings.ReplaceAll(s.kind, "; ", "\n\t\t"), ";"))
		if len(s.elements) > 0 {
			fmt.Fprintf(&b, "\t\telements = {\n\t\t\t%s\n\t\t}\n", strings.Join(s.elements, ",\n\t\t\t"))
		}
		b.WriteString("\t}\n")
	}
	// Each one is there before another leads to it.
	for _, c := range slices.Backward(chains) {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.hook != "" {
			fmt.Fprintf(&b, "\t\ttype filter hook %s priority %d; policy accept;\n", c.hook, priority)
		}
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.text)
		}
		b.WriteString("\t}\n")
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "\tchain %s {\n", name)
		for text := range slices.Chunk([]byte(all[name].line(name)), piece) {
			fmt.Fprintf(&b, "\t\treturn comment \"%s\"\n", text)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}
