package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay/internal/testenv/cgroup"
)

func TestUserManagerRunsUnits(t *testing.T) {
	program := Application(t)
	units := User(t)
	out := filepath.Join(t.TempDir(), "out")
	unit := "[Service]\nType=notify\nExecStart=" + program + " -out " + out + "\nEnvironment=A=1\n"
	if err := os.WriteFile(filepath.Join(units, "web.service"), []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"daemon-reload"}, {"start", "web"}} {
		if err := systemctl(args...); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(out); err != nil || !strings.Contains(string(b), `"A":"1"`) {
		t.Errorf("the application wrote %s, %v", b, err)
	}
}

func TestMachineIsItsOwn(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := Boot(t, dir)
	says := func() string {
		out, err := m.Command(t.Context(), "sh", "-c", "cat /proc/sys/kernel/random/boot_id /etc/kept; ip -o addr; systemctl is-active "+Target).CombinedOutput()
		if err != nil {
			t.Logf("%v", err)
		}
		return string(out)
	}
	if out, err := m.Command(t.Context(), "sh", "-c", "echo here > /etc/kept; echo here > /run/gone").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if got := says(); !strings.Contains(got, "here") || strings.Contains(got, "eth0") || !strings.Contains(got, "\nactive") {
		t.Errorf("the machine says %s", got)
	}
	if _, err := os.Stat("/etc/kept"); err == nil {
		t.Error("the machine writes to this one")
	}
	m.Reboot(t)
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("a boot clears what is shared: %v", err)
	}
	if got := says(); !strings.Contains(got, "here") {
		t.Errorf("after a reboot the machine says %s", got)
	}
	if err := m.Command(t.Context(), "test", "-e", "/run/gone").Run(); err == nil {
		t.Error("a reboot does not clear /run")
	}
	if _, err := exec.LookPath("journalctl"); err != nil {
		t.Error(err)
	}
}

// TestManagersKeepToTheirOwnGroups: a group that is empty may be one that an engine has
// just made.
func TestManagersKeepToTheirOwnGroups(t *testing.T) {
	name := fmt.Sprintf("patchbay-empty-%d-", os.Getpid())
	t.Cleanup(func() { cgroup.Remove(name) })
	if out, err := exec.Command("sh", "-c", cgroup.Enter(name)).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	before := cgroup.Find(name)
	if len(before) == 0 {
		t.Skip("no control groups can be made here")
	}
	t.Run("a user's", func(t *testing.T) { User(t) })
	t.Run("a machine's", func(t *testing.T) { Boot(t) })
	if after := cgroup.Find(name); !slices.Equal(after, before) {
		t.Errorf("of the groups %q there are %q", before, after)
	}
	if left := cgroup.Find(fmt.Sprintf("patchbay-*-%d-?*", os.Getpid())); len(left) > 0 {
		t.Errorf("groups of managers that have ended: %q", left)
	}
}
