package nftables

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay/driver"
)

// listedRecords are what was listed by several versions of nft into testdata: each
// has the output of nft -j list table inet patchbay after listedRecords' script.
func listedRecords(t *testing.T) records {
	t.Helper()
	all := records{
		allowed: {from: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24"), netip.MustParsePrefix("fd00:9::7/128")}},
		closed:  {to: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.5:5432"), netip.MustParseAddrPort("10.0.0.5:6432")}},
	}
	for name, from := range map[string]string{"pb_a_g1": "10.0.3.7/32", "pb_b_g2": "10.0.4.0/23", "pb_c_g1": "0.0.0.0/0", "pb_d_g1": "fd00:1::/64"} {
		r, err := recordOf(driver.Rule{
			Mark: driver.Mark{UID: name[3:4], Generation: 1, Connection: `/subscriptions/s/it's a "group"`}, Name: name,
			From: []netip.Prefix{netip.MustParsePrefix(from)},
			To:   []netip.AddrPort{netip.MustParseAddrPort("10.0.0.5:5432"), netip.MustParseAddrPort("[fd00::5]:5432")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if name == "pb_c_g1" {
			r.to = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.6:1")}
		}
		all[name] = r
	}
	return all
}

// TestWhatEachVersionListsIsRead: the same table, in the forms that Debian's 11, 12 and
// 13 give it.
func TestWhatEachVersionListsIsRead(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("testdata has %v, %v", files, err)
	}
	want := listedRecords(t)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		list, err := parseList(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		table := ours(list)
		if !table.good() || !same(table.records, want) || len(table.foreign) > 0 {
			t.Errorf("%s is read as %+v", name, table)
		}
	}
}
