package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// LockDir implements [FileSystem] with flock on the directory itself.
func (l *localFiles) LockDir(ctx context.Context, name string) (func(), error) {
	dir, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if _, err := l.opened(name, dir); err != nil {
		_ = dir.Close()
		return nil, err
	}
	// flock can't be told to stop waiting, so it is asked again and again.
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = dir.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = dir.Close()
			return nil, &fs.PathError{Op: "lock", Path: dir.Name(), Err: err}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			_ = dir.Close()
			return nil, fmt.Errorf("wait for the lock of %s: %w", name, ctx.Err())
		}
	}
}
