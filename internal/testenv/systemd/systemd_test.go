package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
