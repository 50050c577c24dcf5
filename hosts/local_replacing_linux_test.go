package hosts

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const nobody = 65534

// forNobody is a directory that whoever a test becomes can get to.
func forNobody(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for at := dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		must(t, os.Chmod(at, 0o755)) // #nosec G302 -- for whoever the test becomes
	}
	runtime.LockOSThread() // never unlocked: the thread ends with its test
	return dir
}

// An operator hears of it before anything is made, and a mode is kept to even
// where a rename would not ask.
func TestWhatMayNotBeWrittenIsNotReplaced(t *testing.T) {
	dir := forNobody(t)
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o600))
	// access asks for the real user: it is one of the thread's.
	if _, _, err := syscall.RawSyscall(syscall.SYS_SETREUID, nobody, ^uintptr(0), 0); err != 0 {
		t.Skipf("nobody else can be become: %v", err)
	}
	l := NewLocal(DialRules{})
	for _, tt := range []struct {
		dir, file      fs.FileMode
		check, replace error
	}{
		{0o755, 0o644, fs.ErrPermission, fs.ErrPermission}, {0o755, 0o666, fs.ErrPermission, nil}, {0o777, 0o644, fs.ErrPermission, fs.ErrPermission}, {0o777, 0o666, nil, nil},
	} {
		must(t, os.Chmod(dir, tt.dir))
		must(t, os.Chmod(path, tt.file))
		is(t, l.CheckReplace(t.Context(), path), tt.check, "CheckReplace")
		is(t, l.ReplaceFile(t.Context(), Replacement{Path: path, Content: []byte("old"), Temp: ".tmp", IfSum: Sum([]byte("old"))}), tt.replace, "ReplaceFile")
	}
}

func TestAReplacedFileKeepsItsAttributes(t *testing.T) {
	dir := forNobody(t)
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, nil, 0o600))
	if err := unix.Setxattr(path, "user.colour", []byte("blue"), 0); err != nil {
		t.Skipf("files have no attributes here: %v", err)
	}
	l, r := NewLocal(DialRules{}), Replacement{Path: path, Temp: ".tmp", IfSum: Sum(nil)}
	must(t, l.ReplaceFile(t.Context(), r))
	value := make([]byte, 9)
	if n, err := unix.Getxattr(path, "user.colour", value); err != nil || string(value[:n]) != "blue" {
		t.Errorf("it has %q, %v", value[:max(n, 0)], err)
	}
	// Who may not keep them replaces nothing.
	must(t, os.Chown(dir, nobody, 0))
	must(t, os.Chmod(path, 0o666)) // #nosec G302 -- only its owner is in the way
	must(t, syscall.Setfsuid(nobody))
	t.Cleanup(func() { must(t, syscall.Setfsuid(0)) })
	is(t, l.ReplaceFile(t.Context(), r), ErrOwner, "ReplaceFile of somebody else's file")
	must(t, syscall.Setfsuid(0))
	must(t, os.Chown(path, nobody, 0))
	must(t, os.Chmod(path, 0o200))
	must(t, syscall.Setfsuid(nobody))
	is(t, l.ReplaceFile(t.Context(), r), ErrOwner, "ReplaceFile of a file whose attributes can't be read")
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
}
