//go:build linux

package systemd

import (
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/ssh"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

// signedIn is the machine that the tests run on, by ssh: as a login that is not root,
// with the rights of sudo that are said to do.
func signedIn(t *testing.T, units ...string) hosts.Remote {
	t.Helper()
	run := func(argv ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("nobody can sign in here: %v: %v %s", argv, err, out)
		}
	}
	const login = "patchbay-ssh"
	run("useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", login)
	t.Cleanup(func() { _ = exec.Command("userdel", "--remove", login).Run() })
	dir := "/run/patchbay-sshd" // where the login may read its own keys
	must(t, os.MkdirAll(dir, 0o755))
	user, machine := sshd.NewKey(t, ""), sshd.NewKey(t, "")
	must(t, os.WriteFile(filepath.Join(dir, "host"), []byte(machine.Private), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "keys"), []byte(user.Public), 0o644))
	run("mkdir", "-p", "/run/sshd")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := netip.MustParseAddrPort(l.Addr().String())
	must(t, l.Close())
	server := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", strings.Split(port.String(), ":")[1], "-o", "ListenAddress=127.0.0.1",
		"-o", "HostKey="+filepath.Join(dir, "host"), "-o", "AuthorizedKeysFile="+filepath.Join(dir, "keys"), "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none")
	if err := server.Start(); err != nil {
		t.Skipf("there is no sshd: %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	raw, err := json.Marshal(map[string]any{"user": login, "become": "root", "hostKeys": []string{strings.TrimSpace(machine.Public)}})
	must(t, err)
	host, err := ssh.Open(t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/here", Endpoint: port.String(), Properties: raw,
		Admin: driver.Secrets{"key": patchbay.NewSecret(user.Private)}, Dialer: &net.Dialer{},
	})
	must(t, err)
	t.Cleanup(func() { must(t, host.Close()) })
	var findings []hosts.Finding
	for deadline := time.Now().Add(20 * time.Second); ; {
		if findings, err = host.Check(t.Context()); err == nil || time.Now().After(deadline) {
			break // sshd may not listen yet
		}
	}
	must(t, err)
	text := ""
	for _, f := range findings {
		for rule := range strings.Lines(f.Fix + "\n") {
			ours := strings.HasSuffix(rule, "/systemctl\n") || strings.HasSuffix(rule, "/journalctl\n") // and narrower
			if f.What == "sudo" && !ours {
				text += rule
			}
		}
	}
	for _, unit := range units {
		for _, command := range Rights(unit) {
			text += login + " ALL=(root) NOPASSWD: " + command + "\n"
		}
	}
	const file = "/etc/sudoers.d/patchbay"
	must(t, os.WriteFile(file, []byte(text), 0o440))
	t.Cleanup(func() { must(t, os.Remove(file)) })
	return host
}

// overSSH is a connection's life by a login that has the rights which are documented,
// and no other.
func overSSH(t *testing.T, w *world) {
	if w.manager != "system" {
		t.Skip("who signs in has a manager of its own, and no rights to be given")
	}
	a := w.install(t, unitText{flags: crashing})
	a.begin(t)
	host := signedIn(t, a.name)
	before := a.content(t)
	c := a.config(map[string]any{"deliver": "files", "wait": map[string]string{"limit": "20s", "steady": "300ms"}})
	c.Host = host
	s, err := open(c)
	must(t, err)
	info, err := s.Inspect(t.Context())
	if err != nil || !info.Files {
		t.Fatalf("Inspect = %+v, %v", info, err)
	}
	had := snapshot(t, s)
	both := change("orders", 1, "PB_A", "it's $ \"one\"\n", "password", "p1")
	both.Set[1].File = true
	must(t, s.CheckChange(t.Context(), both))
	began := time.Now()
	write(t, s, both)
	must(t, s.Restart(t.Context()))
	t.Logf("write and restart over ssh: %v", time.Since(began))
	if saw, err := a.saw(); err != nil || saw.Environment["PB_A"] != "it's $ \"one\"\n" || saw.Files["orders"]["password"] != "p1" {
		t.Errorf("the application has %q and %v, %v", saw.Environment["PB_A"], saw.Files, err)
	}
	if owned, err := s.Owned(t.Context()); err != nil || len(owned) != 2 {
		t.Errorf("Owned = %v, %v", owned, err)
	}
	write(t, s, gone(both))
	must(t, s.Restart(t.Context()))
	if got := a.content(t); got != before {
		t.Errorf("in the end there is\n%s\nand was\n%s", got, before)
	}
	bad := change("orders", 2, "PB_A", "canary-crash")
	write(t, s, bad)
	err = s.Restart(t.Context())
	refused(t, err, patchbay.RestartFailed, "exit code 3", "no database, no application")
	must(t, s.RestoreSettings(t.Context(), bad, had))
	must(t, s.Restart(t.Context()))
	if got := a.content(t); got != before || w.fact(t, a.name, "ActiveState") != "active" {
		t.Errorf("taken back, there is\n%s\nand was\n%s", got, before)
	}
	from, err := s.Egress(t.Context(), netip.MustParseAddr("127.0.0.1"))
	if err != nil || len(from) != 1 {
		t.Errorf("Egress = %v, %v", from, err)
	}
	// Another unit is none of its.
	other := w.install(t, unitText{})
	c = other.config(nil)
	c.Host = host
	none, err := open(c)
	must(t, err)
	_, err = none.Inspect(t.Context())
	if err == nil || !strings.Contains(err.Error(), "sudo") {
		t.Errorf("a unit that it has no rights for: %v", err)
	}
}
