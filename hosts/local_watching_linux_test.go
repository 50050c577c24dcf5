package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/goleak"
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

// TestAThousandShareOneWatcher of the system's, and nothing is left of them.
func TestAThousandShareOneWatcher(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l, dir := NewLocal(DialRules{}), t.TempDir()
	const many = 1000
	ctx, cancel := context.WithCancel(t.Context())
	var begun, ended atomic.Int64
	first, all, again := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for n := range many {
		calls := 0
		go func() {
			err := l.WatchFiles(ctx, func(context.Context) ([]Watched, error) {
				return []Watched{{Path: filepath.Join(dir, fmt.Sprint(n), ".env")}}, nil
			}, func() {
				calls++
				if calls == 1 && begun.Add(1) == many {
					close(first)
				}
				if n == many/2 && calls == 2 {
					close(again)
				}
			})
			if err != nil {
				t.Errorf("WatchFiles = %v", err)
			}
			if ended.Add(1) == many {
				close(all)
			}
		}()
	}
	<-first
	if n := instances(t); n != 1 {
		t.Errorf("a thousand have %d watchers of the system's", n)
	}
	must(t, os.Mkdir(filepath.Join(dir, fmt.Sprint(many/2)), 0o700))
	<-again
	cancel()
	<-all
	if n := instances(t); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
