package envfile

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/ssh"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

// elsewhere is a machine by SSH, as a process opens it.
func elsewhere(t testing.TB, m *sshd.Machine, properties map[string]any) hosts.Remote {
	t.Helper()
	properties["hostKeys"] = []string{m.HostKey.Public}
	raw, err := json.Marshal(properties)
	must(t, err)
	h, err := ssh.Open(t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/web1", Endpoint: m.Address, Properties: raw, Dialer: &net.Dialer{},
		Admin: driver.Secrets{"key": patchbay.NewSecret(m.Key.Private)},
	})
	must(t, err)
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// The suite on another machine: its callbacks have the files before them, the driver
// has SSH.
func TestSourceSuiteBySSH(t *testing.T) {
	for name, properties := range map[string]map[string]any{
		"dotenv, no file yet": {"user": "root"},
		"systemd":             {"user": sshd.User, "become": "root"}, // the documented way
	} {
		for _, l := range layouts {
			if l.name != name {
				continue
			}
			t.Run(l.name, func(t *testing.T) {
				m := sshd.Start(t, sshd.Options{Sudoers: []string{sshd.User + " ALL=(root) NOPASSWD: ALL"}})
				host := elsewhere(t, m, properties)
				h := l.harness(func(t testing.TB) drivertest.SourcePlace {
					p := l.place(t)
					must(t, os.Chmod(filepath.Dir(filepath.Dir(filepath.Dir(p.Config.Endpoint))), 0o755)) // #nosec G302 -- the machine's user is another
					p.Config.Host = host
					return p
				})
				h.Watches = false // sshd does not say when a file changes
				drivertest.Source(t, h)
			})
		}
	}
}

// A machine that is rebooted at any step is nothing that a step sees; one that is gone
// is a reason to try again.
func TestASourceWhoseMachineIsGone(t *testing.T) {
	m := sshd.Start(t, sshd.Options{})
	path := filepath.Join(t.TempDir(), "env")
	must(t, os.WriteFile(path, []byte("THEIRS=1\n"), 0o600))
	root := filepath.Join(filepath.Dir(path), "bindings")
	must(t, os.Mkdir(root, 0o700))
	raw, err := json.Marshal(map[string]any{"bindingRoot": root, "reload": map[string]any{"command": []string{"true"}}})
	must(t, err)
	s, err := Driver().Open(t.Context(), driver.Config{Host: elsewhere(t, m, map[string]any{"user": "root"}), ID: testID, Endpoint: path, Properties: raw})
	must(t, err)
	now, err := s.ReadSettings(t.Context())
	must(t, err)
	change := driver.Change{
		Mark: driver.Mark{UID: "0123456789abcdef0123456789abcdef", Generation: 1, Connection: testID.Linker("orders")}, Name: "orders",
		Set: []patchbay.Setting{{Name: "A", Value: patchbay.NewSecret("1")}, {Name: "type", Value: patchbay.NewSecret("x"), File: true}},
	}
	m.Reboot()
	_, err = s.WriteSettings(t.Context(), change, now.Version)
	must(t, err)
	m.Reboot()
	must(t, s.(driver.Restarter).Restart(t.Context()))
	m.StopServer()
	m.KillAll()
	for what, do := range map[string]func() error{
		"Inspect":         func() error { _, err := s.Inspect(t.Context()); return err },
		"ReadSettings":    func() error { _, err := s.ReadSettings(t.Context()); return err },
		"WriteSettings":   func() error { _, err := s.WriteSettings(t.Context(), change, now.Version); return err },
		"RestoreSettings": func() error { return s.RestoreSettings(t.Context(), change, now) },
		"Restart":         func() error { return s.(driver.Restarter).Restart(t.Context()) },
		"Owned":           func() error { _, err := s.Owned(t.Context()); return err },
	} {
		if err := do(); !patchbay.IsTransient(err) || patchbay.CodeOf(err) != patchbay.PortClosed {
			t.Errorf("%s = %v", what, err)
		}
	}
	m.StartServer()
	must(t, s.RestoreSettings(t.Context(), change, now))
	if b, err := os.ReadFile(path); err != nil || string(b) != "THEIRS=1\n" {
		t.Errorf("it holds %q, %v", b, err)
	}
}
