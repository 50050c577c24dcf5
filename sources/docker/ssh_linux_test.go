package docker

import (
	"encoding/json"
	"net"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts/ssh"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

// TestAnEngineOnAnotherMachine has its socket there, and is reached by SSH; a helper
// speaks from the container.
func TestAnEngineOnAnotherMachine(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	m := sshd.Start(t, sshd.Options{})
	properties, err := json.Marshal(map[string]any{"user": "root", "hostKeys": []string{m.HostKey.Public}})
	must(t, err)
	host, err := ssh.Open(t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/web1", Endpoint: m.Address, Properties: properties, Dialer: &net.Dialer{},
		Admin: driver.Secrets{"key": patchbay.NewSecret(m.Key.Private)},
	})
	must(t, err)
	t.Cleanup(func() { _ = host.Close() })

	image := w.Image(t, testdocker.App)
	w.Must(t, "network", "create", "n1")
	w.Must(t, "run", "-d", "--name", "db", "--hostname", "the-database", "--network", "n1", "--network-alias", "database", image)
	w.Must(t, "run", "-d", "--name", "web", "--hostname", "the-web", "--network", "n1", "--add-host", "by-file:127.0.0.1", "--dns", "127.0.0.1", image)
	c := w.config("web")
	c.Host = host
	opened, err := Driver().Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() { _ = opened.Close() })
	s := opened.(*source)

	first := change(1, "PB_A", "1")
	apply(t, s, first)
	must(t, s.Release(t.Context(), first))
	if got, err := w.Environ("web"); err != nil || got["PB_A"] != "1" {
		t.Errorf("the application has %v, %v", got, err)
	}
	second := change(2, "PB_A", "2")
	second.Had = first.Set
	before := apply(t, s, second)
	must(t, s.RestoreSettings(t.Context(), second, before))
	must(t, s.Restart(t.Context()))
	if got, err := w.Environ("web"); err != nil || got["PB_A"] != "1" {
		t.Errorf("after the undo the application has %v, %v", got, err)
	}

	relayProgram = staticRelay(t)
	d, err := s.Dialer(t.Context())
	must(t, err)
	speaks(t, d)
	must(t, d.Close())
	if left := w.Must(t, "ps", "--all", "--quiet", "--filter", "label="+helperLabel); left != "" {
		t.Errorf("a helper is left: %s", left)
	}
}
