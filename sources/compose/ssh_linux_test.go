package compose

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts/ssh"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
	"patchbay.dev/patchbay/internal/testenv/sshd"
	"patchbay.dev/patchbay/sources/docker"
)

// elsewhere opens the service on a machine that is reached by SSH, on which Compose and
// the engine's socket are.
func (s *shop) elsewhere(t *testing.T, m *sshd.Machine, host, more map[string]any) *source {
	t.Helper()
	host["hostKeys"] = []string{m.HostKey.Public}
	raw, err := json.Marshal(host)
	must(t, err)
	h, err := ssh.Open(t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/web1", Endpoint: m.Address, Properties: raw, Dialer: &net.Dialer{},
		Admin: driver.Secrets{"key": patchbay.NewSecret(m.Key.Private)},
	})
	must(t, err)
	t.Cleanup(func() { _ = h.Close() })
	c := s.config(more)
	c.Host = h
	opened, err := Driver(docker.Driver()).Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() { _ = opened.Close() })
	return opened.(*source)
}

// TestAProjectOnAnotherMachine: Compose runs there, and its files are there; as root, and
// in the documented way.
func TestAProjectOnAnotherMachine(t *testing.T) {
	w := start(t)
	// As the group docker may: sudo does not help to a connection.
	must(t, os.Chmod(filepath.Dir(w.Socket), 0o711)) // #nosec G302 -- the machine's user is another
	must(t, os.Chown(w.Socket, 0, sshd.UID))
	for what, login := range map[string]map[string]any{
		"root":           {"user": "root"},
		"a user of sudo": {"user": sshd.User, "become": "root"},
	} {
		t.Run(what, func(t *testing.T) {
			if what == "root" {
				whole(t)
			}
			m := sshd.Start(t, sshd.Options{Sudoers: []string{sshd.User + " ALL=(root) NOPASSWD: ALL"}})
			s := w.shop(t)
			s.env["THEIRS"] = "1"
			s.save(t)
			s.must(t, "up", "--detach")
			content, err := s.content()
			must(t, err)
			source := s.elsewhere(t, m, login, nil)
			_, err = source.Inspect(t.Context())
			must(t, err)
			first := change("u1", "PB_A", "it's\n$1")
			connect(t, source, first)
			must(t, source.Restart(t.Context()))
			s.has(t, map[string]string{"THEIRS": "1", "PB_A": "it's\n$1"})
			s.settled(t)
			second := change("u1", "PB_A", "2")
			second.Mark.Generation, second.Had = 2, first.Set
			before := connect(t, source, second)
			m.Reboot() // which a step does not see
			must(t, source.Restart(t.Context()))
			s.has(t, map[string]string{"THEIRS": "1", "PB_A": "2"})
			must(t, source.RestoreSettings(t.Context(), second, before))
			must(t, source.Restart(t.Context()))
			s.has(t, map[string]string{"THEIRS": "1", "PB_A": "it's\n$1"})
			connect(t, source, gone(first))
			must(t, source.Restart(t.Context()))
			s.has(t, map[string]string{"THEIRS": "1"})
			s.settled(t)
			if after, _ := s.content(); after != content {
				t.Errorf("after a delete the project is\n%s\nwant\n%s", after, content)
			}
		})
	}
}

// TestSSHIsCutWhileComposeWorks: Compose dies with the connection, at each of its calls of
// the engine that has an effect; the next try goes on.
func TestSSHIsCutWhileComposeWorks(t *testing.T) {
	whole(t)
	w := start(t)
	m := sshd.Start(t, sshd.Options{})
	s := w.shop(t)
	s.more = "    stop_grace_period: 1s\n    volumes: [/anonymous]\n"
	s.save(t)
	s.must(t, "up", "--detach")
	d := w.Death(t)
	source := s.elsewhere(t, m, map[string]any{"user": "root"}, map[string]any{"engine": "unix://" + d.Socket})
	had, cuts := driver.Change{}, 0
	for at := 1; ; at++ {
		c := change("u1", "PB_A", string(rune('a'+at)))
		c.Mark.Generation, c.Had = int64(at), had.Set
		connect(t, source, c)
		d.Arm(testdocker.Moment{Call: at, Upon: m.KillSessions})
		err := source.Restart(t.Context())
		d.Arm(testdocker.Moment{})
		must(t, source.Restart(t.Context()))
		s.has(t, map[string]string{"PB_A": c.Set[0].Value.Reveal()})
		s.settled(t)
		if names := s.Must(t, "ps", "--all", "--format", "{{.Names}}"); names != s.name+"-web-1" {
			t.Fatalf("after %d calls (%v) there are %q", at, err, names)
		}
		if left, _ := filepath.Glob(filepath.Join(s.dir, ".*")); len(left) > 0 {
			t.Fatalf("after %d calls there is %q", at, left)
		}
		if err == nil {
			break
		}
		had = c
		cuts++
	}
	if cuts == 0 {
		t.Error("it was never cut")
	}
	t.Logf("it was cut %d times", cuts)
}
