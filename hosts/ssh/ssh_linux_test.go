package ssh

import (
	"encoding/json"
	"net"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/hoststest"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

const testID patchbay.ID = "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/web1"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// config is a registration of a machine; more are other properties of it.
func config(m *sshd.Machine, more map[string]any) driver.Config {
	properties := map[string]any{"user": sshd.User, "hostKeys": []string{m.HostKey.Public}}
	for name, value := range more {
		properties[name] = value
	}
	b, err := json.Marshal(properties)
	if err != nil {
		panic(err)
	}
	return driver.Config{
		ID: testID, Endpoint: m.Address, Properties: b, Dialer: &net.Dialer{},
		Admin: driver.Secrets{"key": patchbay.NewSecret(m.Key.Private)},
	}
}

// open is a host as a process has it that has just started.
func open(t testing.TB, c driver.Config) *Host {
	t.Helper()
	h, err := Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	return h.(*Host)
}

func TestSuite(t *testing.T) {
	for name, tt := range map[string]struct {
		properties map[string]any
		sudoers    []string
	}{
		"as root":      {map[string]any{"user": "root"}, nil},
		"root by sudo": {map[string]any{"become": "root"}, []string{sshd.User + " ALL=(root) NOPASSWD: ALL"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := sshd.Start(t, sshd.Options{Sudoers: tt.sudoers})
			hoststest.Host(t, hoststest.Harness{
				New:     func(t testing.TB) hosts.Host { return open(t, config(m, tt.properties)) },
				Dir:     func(t testing.TB) string { return t.TempDir() },
				Signals: true, Attributes: true,
			})
			if t.Failed() {
				t.Log(m.Log())
			}
		})
	}
}
