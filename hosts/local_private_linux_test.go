package hosts

import (
	"context"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// The root of a file system has a lost+found, which is root's alone: a data
// directory that is one is still told from what is beside it.
func TestWhatTheServerCanNotReadInItsDirectoryIsInNobodysWay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	private, beside := secrets(t)
	for at := filepath.Dir(private); at != os.TempDir(); at = filepath.Dir(at) {
		must(t, os.Chmod(at, 0o755)) // #nosec G302 -- for whoever this test becomes
	}
	for _, dir := range []string{private, beside} {
		must(t, filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Chown(name, nobody, nobody)
		}))
	}
	must(t, os.Mkdir(filepath.Join(private, "lost+found"), 0o700))
	must(t, os.Symlink(private, filepath.Join(beside, "link")))
	l := NewLocal(DialRules{}, private)
	runtime.LockOSThread() // never unlocked: the thread ends with its test
	must(t, syscall.Setfsuid(nobody))
	t.Cleanup(func() { must(t, syscall.Setfsuid(0)) })
	if _, err := os.ReadDir(filepath.Join(private, "lost+found")); err == nil {
		t.Skip("nobody may read what is root's")
	}
	must(t, l.CheckPath(t.Context(), filepath.Join(beside, "env")))
	for _, name := range []string{"sealing.key", "new", "below/deep", "lost+found"} {
		is(t, l.CheckPath(t.Context(), filepath.Join(private, name)), ErrPrivate, name)
		is(t, l.CheckPath(t.Context(), filepath.Join(beside, "link", name)), ErrPrivate, name)
	}
}

// On Linux a signal to a thread is one to its process.
func TestNoThreadOfThisProcessIsSignaled(t *testing.T) {
	hups, stop := signal.NotifyContext(context.Background(), syscall.SIGHUP) // or a failure would end the tests
	defer stop()
	tid := make(chan int)
	for range 2 { // one of them is not the first thread
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			tid <- syscall.Gettid()
			<-t.Context().Done()
		}()
		is(t, NewLocal(DialRules{}).Signal(t.Context(), <-tid, "HUP"), ErrPrivate, "HUP to a thread of this process")
	}
	if hups.Err() != nil {
		t.Error("it was signaled")
	}
}
