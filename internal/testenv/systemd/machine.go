package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv/cgroup"
)

// Machine is a machine of its own: its own first process, network and files, which
// are this machine's with changes that go with it.
type Machine struct {
	cmd    *exec.Cmd
	again  string // a file: it is to start once more when it has stopped
	log    *bytes.Buffer
	ended  chan struct{}
	leader atomic.Int64 // its first process, as seen from here
}

// Target is what it boots: the basic system, and what units install themselves into.
const Target = "patchbay-test.target"

// Boot starts a machine that ends with the test. It sees the directories of shared
// as they are here, and may write in them.
func Boot(t testing.TB, shared ...string) *Machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can boot a machine")
	}
	nspawn, err := exec.LookPath("systemd-nspawn")
	if err != nil {
		t.Skip("systemd-container is not installed: `make deps` does")
	}
	for _, s := range shared {
		// What is everybody's the machine would clear at its boot, as its own (tmpfiles.d).
		for _, theirs := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
			if rel, err := filepath.Rel(s, theirs); err == nil && !strings.HasPrefix(rel, "..") {
				t.Fatalf("a machine is not given %s: it would empty %s. A test's program is to be in a directory of its own", s, theirs)
			}
		}
	}
	cgroup.Sweep(ofMachine)
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", ofMachine, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	again := filepath.Join(dir, "again")
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	// All is mounted where nobody else sees it, and gone with the last process there. Each
	// daemon-reload would run all generators: those of disks and databases are not needed.
	script := cgroup.Enter(filepath.Base(dir)) + `; set -e; D=$1/disk; again=$1/again; shift; mount --make-rprivate /; mount -t tmpfs tmpfs "$D"; mkdir "$D/new" "$D/work" "$D/root"
		mount -t overlay overlay -o "lowerdir=/,upperdir=$D/new,workdir=$D/work" "$D/root"
		mount -t tmpfs tmpfs /run
		rm -f "$D/root/etc/resolv.conf" "$D/root/etc/machine-id"
		find "$D/root/usr/lib/systemd/system-generators" -type f ! -name systemd-sysv-generator -delete 2>/dev/null || :
		mkdir -p "$D/root/etc/tmpfiles.d"
		ln -sf /dev/null "$D/root/etc/tmpfiles.d/tmp.conf"
		printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n' > "$D/root/etc/systemd/system/` + Target + `"
		while :; do
			setpriv --pdeathsig TERM "$@"
			[ -e "$again" ] || exit 0
			rm "$again"
		done`
	argv := []string{"-m", "sh", "-c", script, "sh", dir, nspawn, "-q", "-D", filepath.Join(dir, "disk", "root"), "--boot", "--register=no", "--keep-unit",
		"--private-network", "--link-journal=no", "--console=pipe", "--machine=" + filepath.Base(dir)}
	for _, s := range shared {
		argv = append(argv, "--bind="+s)
	}
	m := &Machine{again: again, cmd: exec.Command("unshare", append(argv, "systemd.unit="+Target)...), log: &bytes.Buffer{}, ended: make(chan struct{})}
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	m.cmd.SysProcAttr = endsWithUs()
	if err := m.cmd.Start(); err != nil {
		t.Skipf("no machine can be booted: %v", err)
	}
	go func() {
		_ = m.cmd.Wait()
		close(m.ended)
	}()
	t.Cleanup(func() {
		m.stop(t)
		cgroup.Remove(filepath.Base(dir))
	})
	if err := m.up(0); err != nil {
		t.Fatalf("the machine does not boot: %v\n%s", err, m.log)
	}
	return m
}

// up waits for another first process than the one before, and for it to be done.
func (m *Machine) up(before int64) error {
	return await(m.ended, func() error {
		leader, err := firstProcess(m.cmd.Process.Pid)
		if err != nil || int64(leader) == before {
			return errors.Join(err, errors.New("nothing has started yet"))
		}
		m.leader.Store(int64(leader))
		out, _ := m.Command(context.Background(), "systemctl", "is-system-running").Output()
		if state := strings.TrimSpace(string(out)); state != "running" && state != "degraded" {
			return fmt.Errorf("it is %q", state)
		}
		return nil
	})
}

// Command is a command that runs in the machine.
func (m *Machine) Command(ctx context.Context, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.FormatInt(m.leader.Load(), 10), "-m", "-u", "-i", "-n", "-p", "--"}, argv...)...)
}

// Reboot stops the machine and starts it again: what is on its disk stays, and
// nothing else.
func (m *Machine) Reboot(t testing.TB) {
	t.Helper()
	before := m.leader.Load()
	if err := os.WriteFile(m.again, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.powerOff()
	if err := m.up(before); err != nil {
		t.Fatalf("the machine does not boot again: %v\n%s", err, m.log)
	}
}

func (m *Machine) powerOff() {
	if leader := m.leader.Load(); leader != 0 {
		_ = syscall.Kill(int(leader), syscall.Signal(34+4)) // SIGRTMIN+4
	}
}

func (m *Machine) stop(t testing.TB) {
	m.powerOff()
	select {
	case <-m.ended:
	case <-time.After(limit):
		_ = m.cmd.Process.Kill()
		<-m.ended
		t.Error("the machine had to be killed")
	}
}

// firstProcess is the process below parent that is the first one of its own
// numbering.
func firstProcess(parent int) (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return 0, err
	}
	parents, first := map[int]int{}, []int{}
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		for line := range strings.SplitSeq(string(b), "\n") {
			fields := strings.Fields(line)
			switch {
			case len(fields) == 2 && fields[0] == "PPid:":
				parents[pid], _ = strconv.Atoi(fields[1])
			case len(fields) == 3 && fields[0] == "NSpid:" && fields[2] == "1":
				first = append(first, pid)
			}
		}
	}
	for _, pid := range first {
		for at := pid; at > 1; at = parents[at] {
			if at == parent {
				return pid, nil
			}
		}
	}
	return 0, errors.New("it has no first process")
}
