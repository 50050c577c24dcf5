package docker

import (
	"context"
	"net/http"
	"net/netip"
	"testing"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// TestNetwork tries every way from each application to each target, by whatever address
// that has.
func TestNetwork(t *testing.T) {
	w := newWorld(t)
	image := w.Image(t, testdocker.App)
	for _, name := range []string{"app1", "app2", "app3", "bystander", "db1", "db2"} {
		w.own(t, name)
		w.Must(t, "run", "--detach", "--name", name, "--network", "own-"+name, image)
	}
	var from []netip.Prefix
	apps := map[netip.Addr]string{}
	for i, name := range []string{"app1", "app2", "app3"} {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)})
		from, apps[a] = append(from, netip.PrefixFrom(a, 32)), name
	}
	dbs := map[netip.Addr]string{netip.MustParseAddr("198.51.100.1"): "db1", netip.MustParseAddr("198.51.100.2"): "db2"}
	place := w.place(t)
	names := func(from netip.Prefix, to netip.AddrPort) (driver.Peer, string) {
		return driver.Peer{Platform: "docker", Place: place, Name: apps[from.Addr()]}, dbs[to.Addr()] + ":8080"
	}
	docker := func(args func(r driver.Rule, source, target string) []string) func(context.Context, driver.Rule) error {
		return func(_ context.Context, r driver.Rule) error {
			_, err := w.Docker(args(r, apps[r.From[0].Addr()], dbs[r.To[0].Addr()])...)
			return err
		}
	}
	// all takes everybody off, and the network away.
	all := func(r driver.Rule) error {
		for _, name := range []string{apps[r.From[0].Addr()], dbs[r.To[0].Addr()]} {
			if _, err := w.Docker("network", "disconnect", "--force", r.Name, name); err != nil {
				return err
			}
		}
		_, err := w.Docker("network", "rm", r.Name)
		return err
	}
	drifts := []drivertest.RuleDrift{
		{Name: "a bystander is on it", Make: docker(func(r driver.Rule, _, _ string) []string {
			return []string{"network", "connect", r.Name, "bystander"}
		})},
		{Name: "the application is off it", Make: docker(func(r driver.Rule, source, _ string) []string {
			return []string{"network", "disconnect", r.Name, source}
		})},
		{Name: "the target is off it", Make: docker(func(r driver.Rule, _, target string) []string {
			return []string{"network", "disconnect", r.Name, target}
		})},
		{Name: "it leads out", Make: func(_ context.Context, r driver.Rule) error {
			label, err := w.Docker("network", "inspect", "--format", `{{index .Labels "`+ruleLabel+`"}}`, r.Name)
			if err == nil {
				err = all(r)
			}
			if err == nil {
				_, err = w.Docker("network", "create", "--label", ruleLabel+"="+label, r.Name)
			}
			return err
		}},
		{Name: "there are two", Make: func(_ context.Context, r driver.Rule) error {
			var made struct{ Labels map[string]string }
			if err := w.ask(http.MethodGet, "/networks/"+r.Name, nil, &made); err != nil {
				return err
			}
			return w.ask(http.MethodPost, "/networks/create", map[string]any{"Name": r.Name, "Internal": true, "Labels": made.Labels}, nil)
		}},
		{Name: "gone", Gone: true, Make: func(_ context.Context, r driver.Rule) error { return all(r) }},
	}
	drivertest.Network(t, drivertest.NetworkHarness{
		Driver: Driver(), Config: w.config(nil), From: from, Names: names,
		To: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:8080"), netip.MustParseAddrPort("198.51.100.2:8080")},
		Allows: func(ctx context.Context, from netip.Addr, to netip.AddrPort, _, _ string) (bool, error) {
			return w.reaches(ctx, apps[from], dbs[to.Addr()], to.Port())
		},
		Content: w.content,
		Foreign: func(t testing.TB, r driver.Rule) {
			w.Must(t, "network", "create", r.Name)
			t.Cleanup(func() { w.Must(t, "network", "rm", r.Name) })
		},
		Drifts: drifts,
	})
}
