package nftables

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

// TestNetwork tries every address with a connection of its own.
func TestNetwork(t *testing.T) {
	w := newWorld(t)
	from, to := []netip.Prefix{web, batch, web6}, []netip.AddrPort{db4, db6}
	// From the first rule on, the ports are closed.
	n := w.open(nil)
	first := ruleOf("first", from, to...)
	must(t, n.EnsureRule(t.Context(), first))
	must(t, n.RemoveRule(t.Context(), first))
	change := func(script string) func(context.Context, driver.Rule) error {
		return func(_ context.Context, r driver.Rule) error {
			return w.nft(strings.NewReplacer("NAME", r.Name, "FROM", r.From[0].String()).Replace(script))
		}
	}
	drivertest.Network(t, drivertest.NetworkHarness{
		Driver: Driver(), Config: w.config(nil), Guarded: w.guarded(), From: from, To: to,
		Allows: func(ctx context.Context, from netip.Addr, to netip.AddrPort, _, _ string) (bool, error) {
			return reaches(ctx, w.app, from, to)
		},
		Content: w.content,
		Foreign: func(t testing.TB, r driver.Rule) {
			must(t, w.nft("add chain inet patchbay "+r.Name+"\nadd rule inet patchbay "+r.Name+" tcp dport 1 accept comment \"mine\""))
			t.Cleanup(func() { must(t, w.nft("flush chain inet patchbay "+r.Name+"\ndelete chain inet patchbay "+r.Name)) })
		},
		Drifts: []drivertest.RuleDrift{
			{Name: "wider", Make: change("add element inet patchbay open4 { 10.65.0.0/16 . 10.0.0.5 . 5432 }")},
			{Name: "narrower", Make: change("delete element inet patchbay open4 { FROM . 10.0.0.5 . 5432 }")},
			{Name: "another port", Make: change("delete element inet patchbay open4 { FROM . 10.0.0.5 . 5432 }\nadd element inet patchbay open4 { FROM . 10.0.0.5 . 5433 }")},
			{Name: "open for all", Make: change("delete element inet patchbay ports { 5432 }")},
			{Name: "allowed by hand", Make: change("add element inet patchbay allow4 { 10.64.7.7 }")},
			{Name: "a rule before ours", Make: change("insert rule inet patchbay arriving accept")},
			{Name: "refuses nobody", Make: change("flush chain inet patchbay arriving-guarded")},
			{Name: "cuts nothing", Make: change("flush chain inet patchbay leaving")},
			{Name: "asleep", Make: change("add table inet patchbay { flags dormant; }")},
			{Name: "refuses all", Make: change("add chain inet patchbay arriving { policy drop; }")},
			{Name: "its record is half gone", Make: func(ctx context.Context, r driver.Rule) error {
				return change("flush chain inet patchbay NAME\nadd rule inet patchbay NAME return comment \"patchbay1 half\"")(ctx, r)
			}},
			{Name: "its file is gone", Make: func(context.Context, driver.Rule) error { return os.Remove(w.box.at(rulesFile)) }},
			{Name: "its file is another", Make: func(_ context.Context, r driver.Rule) error {
				text, err := os.ReadFile(w.box.at(rulesFile))
				if err != nil || !strings.Contains(string(text), r.Name) {
					return fmt.Errorf("%s is not in the file: %w", r.Name, err)
				}
				return os.WriteFile(w.box.at(rulesFile), []byte(strings.ReplaceAll(string(text), r.Name, "pb_nobody_g1")), 0o644)
			}},
			{Name: "not loaded at boot", Make: func(context.Context, driver.Rule) error {
				w.box.enabled = false
				return nil
			}},
			{Name: "gone", Gone: true, Make: change("flush chain inet patchbay NAME\ndelete chain inet patchbay NAME\nflush set inet patchbay open4")},
			{Name: "the table is gone", Gone: true, Make: change("delete table inet patchbay")},
			{Name: "all is gone", Gone: true, Make: change("flush ruleset")},
		},
	})
}
