package nftables

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// TestARecordIsReadAgain whatever a connection is called, and no other one is: not one
// that lost or gained a character, nor one under another name.
func TestARecordIsReadAgain(t *testing.T) {
	for _, id := range []string{"", "-", "/subscriptions/s/a b", "\" ; } \n\x00 # é \\ %41", strings.Repeat("é", maxConnection/2)} {
		made, err := recordOf(driver.Rule{
			Mark: driver.Mark{UID: "abc", Generation: 7, Connection: patchbay.ID(id)}, Name: "pb_abc_g7",
			From: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/8"), netip.MustParsePrefix("::ffff:10.1.0.0/112"), netip.MustParsePrefix("fd00::/64")},
			To:   []netip.AddrPort{netip.MustParseAddrPort("[::ffff:10.0.0.5]:5432"), netip.MustParseAddrPort("10.0.0.5:5432"), netip.MustParseAddrPort("[fd00::5]:1")},
		})
		if err != nil {
			t.Fatal(err)
		}
		line := made.line("pb_abc_g7")
		if strings.ContainsAny(line, "\"\n\\#;{}$") {
			t.Errorf("%q means something to nft", line)
		}
		read, ok := parseRecord("pb_abc_g7", line)
		if !ok || !read.equal(made) || string(read.mark.Connection) != id {
			t.Errorf("%q is read as %+v, %t", line, read, ok)
		}
		if len(made.from) != 3 || len(made.to) != 2 || made.from[0] != netip.MustParsePrefix("10.0.0.0/8") {
			t.Errorf("the record is %+v", made)
		}
		if _, ok := parseRecord("pb_abc_g8", line); ok {
			t.Error("it is read under another name")
		}
		for i := range min(len(line), 200) {
			if _, ok := parseRecord("pb_abc_g7", line[:i]+line[i+1:]); ok {
				t.Errorf("without its byte %d it is read all the same", i)
			}
		}
	}
}

// TestWhatIsOpenIsWhatIsAsked: over any rules, an address is let in exactly when one of
// them names it, and no two openings overlap.
func TestWhatIsOpenIsWhatIsAsked(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		if random.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(4)), byte(random.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{0xfd, 15: byte(random.IntN(256))})
	}
	endpoint := func() netip.AddrPort {
		to := []netip.AddrPort{netip.MustParseAddrPort("10.9.0.1:1"), netip.MustParseAddrPort("10.9.0.1:2"), netip.MustParseAddrPort("10.9.0.2:1"), netip.MustParseAddrPort("[fd01::1]:1")}
		return to[random.IntN(len(to))]
	}
	for range 300 {
		all := records{}
		for i := range random.IntN(6) {
			r := record{mark: driver.Mark{UID: "u"}}
			for range 1 + random.IntN(4) {
				a := address()
				p, _ := a.Prefix(a.BitLen() - random.IntN(12))
				r.from = append(r.from, p)
			}
			for range 1 + random.IntN(3) {
				r.to = append(r.to, endpoint())
			}
			all["pb_"+string(rune('a'+i))] = r.sorted()
		}
		e := all.effect()
		for range 200 {
			from, to := address(), endpoint()
			want := false
			for _, r := range all {
				want = want || slices.Contains(r.to, to) && from.Is4() == to.Addr().Is4() && slices.ContainsFunc(r.from, func(p netip.Prefix) bool { return p.Contains(from) })
			}
			n := 0
			for _, o := range e.open {
				if o.to == to && o.from.Contains(from) {
					n++
				}
			}
			if n > 1 || (n == 1) != want {
				t.Fatalf("%s to %s is open %d times, want %t: %+v of %+v", from, to, n, want, e, all)
			}
			if closed := slices.Contains(e.ports, to.Port()); want && !closed {
				t.Fatalf("%d is not closed for others", to.Port())
			}
		}
	}
}

// TestChainsThatCallEachOtherEnd, however they do.
func TestChainsThatCallEachOtherEnd(t *testing.T) {
	jumps := strings.Repeat(`,{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"jump":{"target":"c"}}]}}`, 20)
	list, err := parseList([]byte(`{"nftables":[{"chain":{"family":"ip","table":"t","name":"c","type":"filter","hook":"input","prio":0,"policy":"drop"}}` + jumps + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := record{from: []netip.Prefix{netip.MustParsePrefix("10.0.4.0/24")}, to: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.5:5432")}}
	if by := rulesetOf(list).despite(r, effect{}); by != "" {
		t.Errorf("nobody can tell, and it says %q", by)
	}
}

// FuzzList: whatever nft prints is read, or refused, and judged.
func FuzzList(f *testing.F) {
	f.Add([]byte(`{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "patchbay", "handle": 3}}, {"set": {"family": "inet", "name": "open4", "table": "patchbay", "elem": [{"concat": [{"prefix": {"addr": "10.0.4.0", "len": 24}}, "10.0.0.5", 5432]}, {"elem": {"val": {"range": ["10.0.0.0", "10.0.0.3"]}}}]}}, {"flowtable": {"family": "inet", "name": "x", "table": "patchbay"}}]}`))
	f.Add([]byte("# Warning: x\n" + `{"nftables": [{"chain": {"family": "ip", "table": "filter", "name": "INPUT", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}, {"rule": {"family": "ip", "table": "filter", "chain": "INPUT", "expr": [{"match": {"op": "in", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["syn", "ack"]]}, "right": {"set": ["syn", {"range": [1, 2]}]}}}, {"xt": null}, {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["new", {"jump": {"target": "INPUT"}}]]}}}]}}]}`))
	r := record{from: []netip.Prefix{netip.MustParsePrefix("10.0.4.0/24")}, to: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.5:5432")}}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseList(text)
		if err != nil {
			return
		}
		if table := ours(list); table.good() {
			if _, err := json.Marshal(table.records); err != nil {
				t.Error(err)
			}
		}
		_ = rulesetOf(list).despite(r, effect{})
	})
}
