// Package systemd starts real service managers for tests: a user's, beside this
// process, and a machine's own, booted in a container. Both are gone with the test,
// and so are their mounts.
package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/build"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv/cgroup"
)

// What the managers' directories and control groups are called, before the process
// that they belong to.
const (
	ofUnits   = "patchbay-units-"
	ofMachine = "patchbay-machine-"
)

// limit bounds what is waited for.
const limit = 30 * time.Second

// Application builds the program that test units run, and gives its path. It is
// static: it runs in every root.
func Application(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "application")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", program, "patchbay.dev/patchbay/internal/testenv/systemd/application")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the test application is not built: %v\n%s", err, out)
	}
	return program
}

// manager is where Debian and others have the program.
func manager() (string, error) {
	for _, path := range []string{"/lib/systemd/systemd", "/usr/lib/systemd/systemd"} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", errors.New("there is no systemd here")
}

// User starts a user's manager, and makes it the one of this process until the test
// ends. It gives the directory of the user's units.
func User(t testing.TB) string {
	t.Helper()
	program, err := manager()
	if err != nil {
		t.Skipf("no user manager: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give a user manager the /run that it wants to see")
	}
	cgroup.Sweep(ofUnits)
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", ofUnits, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	runtime, home := filepath.Join(dir, "run"), filepath.Join(dir, "home")
	units := filepath.Join(home, ".config", "systemd", "user")
	for _, d := range []string{runtime, units} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// It looks for /run/systemd/system; credentials are mounts, which the service sees
	// by propagation alone. What this machine gives every user's manager is none of the
	// test's, and each daemon-reload would run its generators.
	cmd := exec.Command("unshare", "-m", "sh", "-c", cgroup.Enter(filepath.Base(dir))+` && mount --make-rprivate / && mount --make-rshared / && mount -t tmpfs tmpfs /run &&
		for dir in /usr/lib/systemd/user-generators /usr/lib/systemd/user-environment-generators; do [ ! -d $dir ] || mount -t tmpfs tmpfs $dir; done &&
		mkdir -p /run/systemd/system && exec "$0" --user --log-target=console`, program)
	cmd.Env = []string{"XDG_RUNTIME_DIR=" + runtime, "HOME=" + home, "PATH=/usr/bin:/bin"}
	cmd.Dir = "/"
	log := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = endsWithUs()
	if err := cmd.Start(); err != nil {
		t.Skipf("no user manager: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	if cache, err := os.UserCacheDir(); err == nil && os.Getenv("GOCACHE") == "" { // it is in the home that a test takes away
		t.Setenv("GOCACHE", filepath.Join(cache, "go-build"))
	}
	t.Setenv("GOPATH", build.Default.GOPATH)
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("HOME", home)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Cleanup(func() {
		_ = systemctl("exit")
		select {
		case <-ended:
		case <-time.After(limit):
			_ = cmd.Process.Kill()
			<-ended
			t.Error("the user manager had to be killed")
		}
		cgroup.Remove(filepath.Base(dir))
	})
	if err := await(ended, func() error { return systemctl("list-units", "--no-legend") }); err != nil {
		t.Fatalf("the user manager does not start: %v\n%s", err, log)
	}
	return units
}

func systemctl(args ...string) error {
	out, err := exec.Command("systemctl", append([]string{"--user"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// await asks until the answer is yes.
func await(ended <-chan struct{}, ready func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ended:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return err
		}
	}
}
