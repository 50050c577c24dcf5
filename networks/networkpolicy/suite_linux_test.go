package networkpolicy

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

// TestNetwork tries every way with a connection of its own, from pod to pod, through a
// node that enforces policies. The addresses of the suite stand for pods.
func TestNetwork(t *testing.T) {
	w := newWorld(t, "db", "events", "web", "other/web", "batch")
	from := map[netip.Prefix]string{
		netip.MustParsePrefix("192.0.2.1/32"): "web",
		netip.MustParsePrefix("192.0.2.3/32"): "other/web",
		netip.MustParsePrefix("192.0.2.5/32"): "batch",
	}
	to := map[netip.AddrPort]string{netip.MustParseAddrPort("198.51.100.1:5432"): "db", netip.MustParseAddrPort("198.51.100.2:5433"): "events"}
	// From the first rule on, pods are closed.
	n := w.open(nil, "")
	first := w.rule("first", "web", w.server("db", 5432), w.server("events", 5433))
	must(t, n.EnsureRule(t.Context(), first))
	must(t, n.RemoveRule(t.Context(), first))

	change := func(path func(r driver.Rule) string, patch string) func(context.Context, driver.Rule) error {
		return func(_ context.Context, r driver.Rule) error {
			_, err := w.do("PATCH", path(r), raw(patch))
			return err
		}
	}
	its := func(r driver.Rule) string { return w.policies(w.shop) + "/" + policyName(r.Name) }
	closed := func(driver.Rule) string {
		return w.policies(w.shop) + "/" + n.closing(place{namespace: w.shop, pods: map[string]string{"app": "db"}}).Name
	}
	deleted := func(path func(r driver.Rule) string) func(context.Context, driver.Rule) error {
		return func(_ context.Context, r driver.Rule) error {
			_, err := w.do("DELETE", path(r), nil)
			return err
		}
	}
	drivertest.Network(t, drivertest.NetworkHarness{
		Driver: Driver(), Config: w.config(nil), Guarded: w.guarded(""),
		From: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.3/32"), netip.MustParsePrefix("192.0.2.5/32")},
		To:   []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:5432"), netip.MustParseAddrPort("198.51.100.2:5433")},
		Names: func(f netip.Prefix, at netip.AddrPort) (driver.Peer, string) {
			return *w.peer(from[f]), w.server(to[at], int(at.Port()))
		},
		Allows: func(ctx context.Context, f netip.Addr, at netip.AddrPort, _, _ string) (bool, error) {
			port, pod := 8080, to[at]
			if pod == "" { // the port beside it
				port, pod = 8081, to[netip.AddrPortFrom(at.Addr(), at.Port()-1)]
			}
			return w.allows(ctx, from[netip.PrefixFrom(f, 32)], pod, port)
		},
		Content: w.content,
		Foreign: func(t testing.TB, r driver.Rule) {
			w.must("POST", w.policies(w.shop), object{"metadata": object{"name": policyName(r.Name)}, "spec": object{"podSelector": object{"matchLabels": object{"app": "nobody"}}}})
			t.Cleanup(func() { w.must("DELETE", its(r), nil) })
		},
		Drifts: []drivertest.RuleDrift{
			{Name: "wider", Make: change(its, `[{"op":"add","path":"/spec/ingress/0/from/-","value":{"podSelector":{}}}]`)},
			{Name: "from anybody", Make: change(its, `[{"op":"remove","path":"/spec/ingress/0/from"}]`)},
			{Name: "every label", Make: change(its, `[{"op":"remove","path":"/spec/ingress/0/from/0/podSelector/matchLabels/app"}]`)},
			{Name: "another namespace", Make: change(its, `[{"op":"replace","path":"/spec/ingress/0/from/0/namespaceSelector","value":{}}]`)},
			{Name: "another port", Make: change(its, `[{"op":"replace","path":"/spec/ingress/0/ports/0/port","value":8081}]`)},
			{Name: "every port", Make: change(its, `[{"op":"remove","path":"/spec/ingress/0/ports"}]`)},
			{Name: "one more rule", Make: change(its, `[{"op":"add","path":"/spec/ingress/-","value":{}}]`)},
			{Name: "lets in nobody", Make: change(its, `[{"op":"remove","path":"/spec/ingress"}]`)},
			{Name: "other pods", Make: change(its, `[{"op":"replace","path":"/spec/podSelector/matchLabels/app","value":"batch"}]`)},
			{Name: "every pod", Make: change(its, `[{"op":"remove","path":"/spec/podSelector/matchLabels"}]`)},
			{Name: "egress, too", Make: change(its, `[{"op":"add","path":"/spec/policyTypes/-","value":"Egress"}]`)},
			{Name: "its connection is another", Make: change(its, `[{"op":"replace","path":"/metadata/annotations/patchbay.dev~1connection-id","value":"x"}]`)},
			{Name: "what closes is gone", Make: deleted(closed)},
			{Name: "what closes lets in all", Make: change(closed, `[{"op":"add","path":"/spec/ingress/-","value":{}}]`)},
			{Name: "what closes lets in nobody", Make: change(closed, `[{"op":"remove","path":"/spec/ingress"}]`)},
			{Name: "gone", Gone: true, Make: deleted(its)},
		},
	})
}

// allows waits until the node does what the policies say, and says what it does.
func (w *world) allows(ctx context.Context, from, to string, port int) (bool, error) {
	want, err := w.should(from, to, port)
	if err != nil {
		return false, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ends := time.Now().Add(15 * time.Second); ; <-tick.C {
		got, err := w.dials(ctx, from, fmt.Sprintf("%s:%d", w.addresses[to], port))
		if err != nil || got == want || time.Now().After(ends) {
			return got, err
		}
	}
}
