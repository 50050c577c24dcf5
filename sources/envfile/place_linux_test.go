package envfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"patchbay.dev/patchbay"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make such a place")
	}
}

// inNamespace runs the test in a process with mounts of its own, which are
// gone with it, whatever happens. It returns true in that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	needRoot(t)
	if job() != "" {
		return true
	}
	out, err := again(t, "mount", func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	})
	if errors.Is(err, syscall.EPERM) {
		t.Skip("no mount namespaces here")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, why, skipped := strings.Cut(out, "_test.go:"); skipped && strings.Contains(out, "--- SKIP") {
		t.Skipf("there: %s", why)
	}
	return false
}

func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a small file system can't be mounted: %v", err)
	}
	// The temporary directory can only be removed without it.
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

func TestFullDiskChangesNothing(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := mount(t, "size=64k")
	path, root := filepath.Join(dir, "env"), filepath.Join(dir, "b")
	must(t, os.Mkdir(root, 0o700))
	must(t, os.WriteFile(path, []byte("A=1\n"), 0o640))
	s := opened(t, path, `{"bindingRoot":"`+root+`"}`)
	kept := connect("kept", 1, "password", "pw")
	kept.Set[0].File = true
	written(t, s, kept)
	for n := 16; ; n-- { // what is left, page by page
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("filler%d", n)))
		must(t, err)
		_, err = f.Write(bytes.Repeat([]byte("x"), 4096))
		must(t, f.Close())
		if errors.Is(err, syscall.ENOSPC) {
			break
		}
		must(t, err)
	}
	before, err := tree(dir)
	must(t, err)
	big := strings.Repeat("canary", 2000)
	file := connect("orders", 1, "password", big)
	file.Set[0].File = true
	more := connect("kept", 2, "password", big, "username", big)
	more.Set[0].File, more.Set[1].File = true, true
	for _, c := range []struct {
		what   string
		change func() error
	}{
		{"settings", func() error {
			_, err := s.WriteSettings(t.Context(), connect("orders", 1, "B", big), version(t, s))
			return err
		}},
		{"new files", func() error { _, err := s.WriteSettings(t.Context(), file, version(t, s)); return err }},
		{"other files", func() error { _, err := s.WriteSettings(t.Context(), more, version(t, s)); return err }},
	} {
		err := c.change()
		code(t, err, patchbay.SettingsUnwritable, c.what)
		if err == nil || !strings.Contains(err.Error(), "no space") || strings.Contains(err.Error(), "canary") || patchbay.AsError(err).Fix == "" {
			t.Errorf("%s: %v", c.what, err)
		}
		if after, err := tree(dir); err != nil || after != before {
			t.Errorf("%s: something changed:\n%.2000s\nwant\n%.2000s", c.what, after, before)
		}
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := mount(t, "size=64k")
	path := filepath.Join(dir, "env")
	must(t, os.WriteFile(path, []byte("A=1\n"), 0o600))
	must(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	s := opened(t, path, "")
	change := connect("orders", 1, "B", "canary")
	code(t, s.CheckChange(t.Context(), change), patchbay.SettingsUnwritable, "CheckChange")
	_, err := s.WriteSettings(t.Context(), change, version(t, s))
	code(t, err, patchbay.SettingsUnwritable, "WriteSettings")
	if !strings.Contains(err.Error(), "read-only") {
		t.Errorf("WriteSettings = %v", err)
	}
	if got := content(t, path); got != "A=1\n" {
		t.Errorf("the file holds %q", got)
	}
}

// TestMountedFile is a container's single file mount.
func TestMountedFileIsRefused(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "env"), filepath.Join(dir, "elsewhere")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.WriteFile(elsewhere, []byte("A=1\n"), 0o600))
	must(t, syscall.Mount(elsewhere, path, "", syscall.MS_BIND, ""))
	t.Cleanup(func() { must(t, syscall.Unmount(path, syscall.MNT_DETACH)) })
	s := opened(t, path, "")
	_, err := s.WriteSettings(t.Context(), connect("orders", 1, "B", "canary"), version(t, s))
	code(t, err, patchbay.SettingsUnwritable, "WriteSettings")
	if got := content(t, elsewhere); got != "A=1\n" || !strings.Contains(err.Error(), "mount") {
		t.Errorf("%q, %v", got, err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestOwnerModeAndAttributesStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	must(t, os.WriteFile(path, []byte("A=1\n"), 0o600))
	must(t, os.Chmod(path, 0o620))
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 12345, 23456
		must(t, os.Chown(path, uid, gid))
	}
	attributes := unix.Setxattr(path, "user.comment", []byte("mine"), 0) == nil
	// user::rw-, user:54321:r--, group::r--, mask::rw-, other::---
	acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x31\xd4\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x06\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
	lists := unix.Setxattr(path, "system.posix_acl_access", acl, 0) == nil
	t.Logf("with attributes: %t, with access control lists: %t", attributes, lists)
	old, err := os.Stat(path)
	must(t, err)
	s := opened(t, path, "")
	before, err := s.ReadSettings(t.Context())
	must(t, err)
	change := connect("orders", 1, "B", "2")
	check := func(when string) {
		t.Helper()
		info, err := os.Stat(path)
		must(t, err)
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode() != old.Mode() || int(st.Uid) != uid || int(st.Gid) != gid {
			t.Errorf("%s the file has %v %d:%d, want %v %d:%d", when, info.Mode(), st.Uid, st.Gid, old.Mode(), uid, gid)
		}
		b := make([]byte, 100)
		if n, err := unix.Getxattr(path, "user.comment", b); attributes && (err != nil || string(b[:n]) != "mine") {
			t.Errorf("%s the attribute is %q, %v", when, b[:max(n, 0)], err)
		}
		if n, err := unix.Getxattr(path, "system.posix_acl_access", b); lists && (err != nil || !bytes.Equal(b[:n], acl)) {
			t.Errorf("%s the access control list is %q, %v", when, b[:max(n, 0)], err)
		}
	}
	written(t, s, change)
	check("after a write")
	must(t, s.RestoreSettings(t.Context(), change, before))
	check("after a restore")
}

// asNobody gives the calling thread the file system rights of nobody. The
// thread ends with its goroutine.
func asNobody(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread()
	const nobody = 65534
	for _, set := range []func() error{func() error { return unix.Setfsgid(nobody) }, func() error { return unix.Setfsuid(nobody) }} {
		must(t, set())
	}
}

func TestAFileIsNotTakenFromItsOwner(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "pb")
	must(t, err)
	defer func() { _ = os.RemoveAll(dir) }()
	must(t, os.Chmod(dir, 0o777))
	path := filepath.Join(dir, "env")
	must(t, os.WriteFile(path, []byte("A=1\n"), 0o600))
	must(t, os.Chmod(path, 0o666)) // anybody may write it, but not make it belong to root
	before, err := tree(dir)
	must(t, err)
	s := opened(t, path, "")
	now := version(t, s)
	done := make(chan error)
	go func() {
		asNobody(t)
		_, err := s.WriteSettings(context.Background(), connect("orders", 1, "B", "canary"), now)
		done <- err
	}()
	err = <-done
	code(t, err, patchbay.SettingsUnwritable, "WriteSettings")
	if err == nil || !strings.Contains(err.Error(), "0:0") || patchbay.AsError(err).Fix == "" {
		t.Errorf("WriteSettings = %v", err)
	}
	if after, err := tree(dir); err != nil || after != before {
		t.Errorf("something changed:\n%s\nwant\n%s", after, before)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "pb")
	must(t, err)
	defer func() { _ = os.RemoveAll(dir) }()
	must(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "env")
	must(t, os.WriteFile(path, []byte("A=1\n"), 0o600))
	must(t, os.Chown(path, 65534, 65534))
	s := opened(t, path, "")
	now := version(t, s)
	done := make(chan error)
	go func() {
		asNobody(t)
		_, err := s.WriteSettings(context.Background(), connect("orders", 1, "B", "canary"), now)
		done <- err
	}()
	err = <-done
	code(t, err, patchbay.SettingsUnwritable, "WriteSettings")
	if got := content(t, path); got != "A=1\n" {
		t.Errorf("the file holds %q", got)
	}
}

// TestNewFilesBelongToWhomTheDirectoryDoes: root's control plane must not
// lock the application out of its own settings.
func TestNewFilesBelongToWhomTheDirectoryDoes(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	must(t, os.Chown(dir, 12345, 23456))
	path := filepath.Join(dir, "env")
	change := connect("orders", 1, "A", "1", "password", "pw")
	change.Set[1].File = true
	written(t, opened(t, path, `{"bindingRoot":"`+dir+`"}`), change)
	for _, name := range []string{path, filepath.Join(dir, "orders"), filepath.Join(dir, "orders", "..data"), filepath.Join(dir, "orders", "password")} {
		info, err := os.Stat(name)
		must(t, err)
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 12345 || st.Gid != 23456 {
			t.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
		}
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700 | os.ModeDir
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}
