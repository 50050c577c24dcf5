package hosts

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// instances is how many watchers of the system's this process has.
func instances(t *testing.T) int {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	n := 0
	for _, fd := range all {
		if to, err := os.Readlink(fd); err == nil && strings.Contains(to, "inotify") {
			n++
		}
	}
	return n
}

// TestAFullLimitNamesItsSysctl: in a user namespace of its own, which may have none.
func TestAFullLimitNamesItsSysctl(t *testing.T) {
	const job = "PATCHBAY_TEST_LIMIT"
	dir := t.TempDir()
	if limit := os.Getenv(job); limit != "" {
		must(t, os.WriteFile("/proc/sys/user/max_inotify_"+limit, []byte("0"), 0o600))
		err := NewLocal(DialRules{}).WatchFiles(t.Context(), func(context.Context) ([]Watched, error) { return []Watched{{Path: dir}}, nil },
			func() { t.Error("it watches") })
		var full *LimitError
		if !errors.As(err, &full) || !strings.HasPrefix(full.Fix, "sysctl fs.inotify.max_user_"+limit+" ") {
			t.Errorf("without %s WatchFiles = %v", limit, err)
		}
		return
	}
	for _, limit := range []string{"instances", "watches"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), job+"="+limit)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		out, err := cmd.CombinedOutput()
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) {
			t.Skipf("no user namespace can be made here: %v", err)
		}
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("%s: %v\n%s", limit, err, out)
		}
	}
}

// TestADirectoryAtTwoPlacesIsWatchedAtBoth: the system watches it once.
func TestADirectoryAtTwoPlacesIsWatchedAtBoth(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	must(t, os.Mkdir(one, 0o700))
	must(t, os.Mkdir(two, 0o700))
	if err := syscall.Mount(one, two, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(two, syscall.MNT_DETACH)) })
	l := NewLocal(DialRules{})
	var second <-chan struct{}
	t.Run("both", func(t *testing.T) {
		first := told(t, l, Watched{Path: filepath.Join(one, ".env")})
		second := told(t, l, Watched{Path: filepath.Join(two, ".env")})
		must(t, os.WriteFile(filepath.Join(one, ".env"), nil, 0o600))
		<-first
		<-second
	})
	second = told(t, l, Watched{Path: filepath.Join(two, ".env")})
	t.Run("the first one leaves", func(t *testing.T) { told(t, l, Watched{Path: filepath.Join(one, ".env")}) })
	must(t, os.WriteFile(filepath.Join(one, ".env"), nil, 0o600))
	<-second
}
