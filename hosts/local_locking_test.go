package hosts

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestLockIsOneAtATimeAndEndsWithItsContext(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path := filepath.Join(dir, "f")
	unlock, err := l.Lock(t.Context(), path)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() {
		_, err := NewLocal(DialRules{}).Lock(ctx, filepath.Join(dir, "g")) // the same directory
		waited <- err
	}()
	cancel()
	is(t, <-waited, context.Canceled, "Lock of what is locked")
	got := make(chan func(), 1)
	go func() {
		unlock, err := l.Lock(context.WithoutCancel(ctx), path)
		if err != nil {
			t.Error(err)
		}
		got <- unlock
	}()
	unlock()
	(<-got)()
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	_, err = l.Lock(t.Context(), filepath.Join(dir, "none", "f"))
	is(t, err, fs.ErrNotExist, "Lock without a directory")
}
