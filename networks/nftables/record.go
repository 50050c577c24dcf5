package nftables

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// record is one thing that the guard remembers, in the kernel's table as in the file:
// all else in the table follows from them. A chain that nothing leads to has each one,
// in the comments of its rules.
type record struct {
	mark driver.Mark // none of a record that is no connection's
	from []netip.Prefix
	to   []netip.AddrPort
}

// The names of records that are no connection's: no rule can have them.
const (
	allowed = "always-allowed" // from: who is let in everywhere
	closed  = "closed"         // to: whose ports are closed, since there was a rule to them
	control = "control-"       // and an address: from where Patchbay administers what
)

// records are all of a guard, by name.
type records map[string]record

// ruleName is what the names of rules are, and of nothing else in the table.
var ruleName = regexp.MustCompile(`^pb_[a-z0-9_]{1,60}$`)

func isRecord(name string) bool {
	return ruleName.MatchString(name) || name == allowed || name == closed || strings.HasPrefix(name, control)
}

var uidForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

const (
	maxOpenings   = 4096 // of one rule, in the kernel's sets
	maxConnection = 1500 // bytes of a connection's id
)

// recordOf checks a rule, and gives what it comes to: in order, without what is said
// twice.
func recordOf(r driver.Rule) (record, error) {
	bad := func(format string, args ...any) (record, error) {
		return record{}, patchbay.Errorf(patchbay.InvalidArgument, format, args...)
	}
	switch {
	case !ruleName.MatchString(r.Name):
		return bad("%q is no name of a rule", driver.Quoted(r.Name))
	case !uidForm.MatchString(r.Mark.UID) || r.Mark.Generation < 0:
		return bad("a rule bears the mark of a connection")
	case len(r.Mark.Connection) > maxConnection:
		return bad("a connection's id has at most %d bytes here, and this one has %d", maxConnection, len(r.Mark.Connection))
	case len(r.From) == 0 || len(r.To) == 0:
		return bad("an opening is from somewhere to somewhere")
	case len(r.From)*len(r.To) > maxOpenings:
		return bad("a rule has at most %d pairs of a source's network and a target's address, and this one has %d", maxOpenings, len(r.From)*len(r.To))
	}
	made := record{mark: r.Mark}
	for _, p := range r.From {
		p, ok := plainPrefix(p)
		if !ok {
			return bad("%s is no network that packets come from", p)
		}
		made.from = append(made.from, p)
	}
	for _, to := range r.To {
		if !to.IsValid() || to.Port() == 0 || to.Addr().Zone() != "" || to.Addr().IsUnspecified() || to.Addr().IsMulticast() {
			return bad("%s is no address and port of a target", to)
		}
		made.to = append(made.to, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	}
	return made.sorted(), nil
}

// plainPrefix is a prefix as nftables writes it.
func plainPrefix(p netip.Prefix) (netip.Prefix, bool) {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), p.IsValid()
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// sorted is r in order, without what is there twice.
func (r record) sorted() record {
	r.from, r.to = slices.Clone(r.from), slices.Clone(r.to)
	slices.SortFunc(r.from, comparePrefixes)
	slices.SortFunc(r.to, netip.AddrPort.Compare)
	r.from, r.to = slices.Compact(r.from), slices.Compact(r.to)
	return r
}

// equal leaves out the connection's id: the uid decides.
func (r record) equal(o record) bool {
	return r.mark.UID == o.mark.UID && r.mark.Generation == o.mark.Generation && slices.Equal(r.from, o.from) && slices.Equal(r.to, o.to)
}

// heading begins a record, and says which form it has.
const heading = "patchbay1 "

// line is r as text: its words are the uid, the generation, from, to, the connection's
// id, and a sum of them and of its name. Its characters mean nothing to nft.
func (r record) line(name string) string {
	words := []string{"-", "0", "-", "-", "-"}
	if r.mark.UID != "" {
		words[0], words[1], words[4] = r.mark.UID, strconv.FormatInt(r.mark.Generation, 10), "-"+escaped(string(r.mark.Connection))
	}
	if len(r.from) > 0 {
		words[2] = joined(r.from)
	}
	if len(r.to) > 0 {
		words[3] = joined(r.to)
	}
	text := strings.Join(words, " ")
	return heading + text + " " + sumOf(name, text)
}

func sumOf(name, text string) string { return hosts.Sum([]byte(name + " " + text))[:8] }

func joined[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.String()
	}
	return strings.Join(words, ",")
}

// escaped is a text in which every byte that is no letter, digit or one of /_.- is
// written %41.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("/_.-", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// parseRecord reads the line of the record of that name; false when it is none that was
// written here, or not all of it.
func parseRecord(name, line string) (record, bool) {
	text, ok := strings.CutPrefix(line, heading)
	words := strings.Split(text, " ")
	if !ok || len(words) != 6 || sumOf(name, strings.Join(words[:5], " ")) != words[5] {
		return record{}, false
	}
	var r record
	if words[0] != "-" {
		id, err := url.PathUnescape(strings.TrimPrefix(words[4], "-"))
		generation, numErr := strconv.ParseInt(words[1], 10, 64)
		if err != nil || numErr != nil {
			return record{}, false
		}
		r.mark = driver.Mark{UID: words[0], Generation: generation, Connection: patchbay.ID(id)}
	}
	from, ok := parsedAll(words[2], netip.ParsePrefix)
	to, also := parsedAll(words[3], netip.ParseAddrPort)
	r.from, r.to = from, to
	return r, ok && also
}

func parsedAll[T any](text string, parse func(string) (T, error)) ([]T, bool) {
	if text == "-" {
		return nil, true
	}
	var all []T
	for word := range strings.SplitSeq(text, ",") {
		v, err := parse(word)
		if err != nil {
			return nil, false
		}
		all = append(all, v)
	}
	return all, true
}

// opening lets in who comes from a network to an address and port.
type opening struct {
	from netip.Prefix
	to   netip.AddrPort
}

// effect is what packets meet.
type effect struct {
	ports []uint16       // closed, but for what follows
	allow []netip.Prefix // let in everywhere
	open  []opening
}

func (e effect) equal(o effect) bool {
	return slices.Equal(e.ports, o.ports) && slices.Equal(e.allow, o.allow) && slices.Equal(e.open, o.open)
}

// opens says that who comes from a network is let in there.
func (e effect) opens(from netip.Prefix, to netip.AddrPort) bool {
	within := func(p netip.Prefix) bool { return p.Bits() <= from.Bits() && p.Contains(from.Addr()) }
	return slices.ContainsFunc(e.allow, within) || slices.ContainsFunc(e.open, func(o opening) bool { return o.to == to && within(o.from) })
}

// sorted puts e in order.
func (e effect) sorted() effect {
	slices.Sort(e.ports)
	e.ports = slices.Compact(e.ports)
	slices.SortFunc(e.allow, comparePrefixes)
	slices.SortFunc(e.open, func(a, b opening) int {
		return cmp.Or(a.to.Compare(b.to), comparePrefixes(a.from, b.from))
	})
	return e
}

// effect is what all records together come to. A network that another one has within
// it is left out: two prefixes are apart or one is in the other, and the kernel's sets
// refuse what overlaps.
func (all records) effect() effect {
	var e effect
	from := map[netip.AddrPort][]netip.Prefix{}
	for name, r := range all {
		if name == allowed {
			e.allow = widest(r.from)
			continue
		}
		for _, to := range r.to {
			if !strings.HasPrefix(name, control) { // where Patchbay goes may be open for all
				e.ports = append(e.ports, to.Port())
			}
			for _, p := range r.from {
				if p.Addr().Is4() == to.Addr().Is4() {
					from[to] = append(from[to], p)
				}
			}
		}
	}
	for to, list := range from {
		for _, p := range widest(list) {
			e.open = append(e.open, opening{p, to})
		}
	}
	return e.sorted()
}

// widest are the prefixes that no other one of the list has within it, in order.
func widest(list []netip.Prefix) []netip.Prefix {
	list = slices.Clone(list)
	slices.SortFunc(list, comparePrefixes) // the wider one comes first, and right before what it has
	var all []netip.Prefix
	for _, p := range list {
		if last := len(all) - 1; last < 0 || !all[last].Contains(p.Addr()) {
			all = append(all, p)
		}
	}
	return all
}

// controlName is the name of the record of an address that Patchbay speaks from.
func controlName(from netip.Addr) string {
	return control + strings.ReplaceAll(from.String(), ":", "-")
}

// with is a copy of all with what o has and all has not.
func (all records) with(o records) records {
	union := maps.Clone(o)
	if union == nil {
		union = records{}
	}
	maps.Copy(union, all)
	if a, b := all[closed], o[closed]; len(a.to)+len(b.to) > 0 { // what one of them closes is closed
		union[closed] = record{to: slices.Concat(a.to, b.to)}.sorted()
	}
	return union
}
