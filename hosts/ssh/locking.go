package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
)

// lockSeconds is how long a lock is held at most. sshd ends what it started when a
// connection is closed; when the machine that Patchbay runs on is just gone, it may
// not see that for hours. Who needs it longer takes it again.
const lockSeconds = "120"

// heldLock is a lock that somebody here has.
type heldLock struct {
	holder *program
	leave  func()
}

// LockDir implements [hosts.FileSystem]: flock holds the directory's lock, as the
// local one does, while cat waits for a channel that stays open.
func (f *files) LockDir(ctx context.Context, dir string) (func(), error) {
	waiting := func(err error) error {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for the lock of %s on %s: %w", dir, f.pool.name, ctx.Err())
		}
		return err
	}
	next, err := take(ctx, f.turn(dir)) // those of this process wait here, without a channel
	if err != nil {
		return nil, waiting(err)
	}
	h, err := f.lock(ctx, dir)
	if err != nil {
		next()
		return nil, waiting(err)
	}
	f.mu.Lock()
	f.held[dir] = h
	f.mu.Unlock()
	return sync.OnceFunc(func() {
		f.mu.Lock()
		h := f.held[dir]
		delete(f.held, dir)
		f.mu.Unlock()
		h.release()
		next()
	}), nil
}

func (h *heldLock) release() {
	_ = h.holder.CloseWrite() // cat ends, and with it the lock
	go func() {
		<-h.holder.exited
		_ = h.holder.Close()
		<-h.holder.gone
		h.leave()
	}()
}

// turn is a place for who locks that directory.
func (f *files) turn(dir string) chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.turns[dir] == nil {
		f.turns[dir] = make(chan struct{}, 1)
	}
	return f.turns[dir]
}

func (f *files) lock(ctx context.Context, dir string) (*heldLock, error) {
	if err := f.shell(ctx); err != nil {
		return nil, err
	}
	leave, err := take(ctx, f.pool.locks)
	if err != nil {
		return nil, err
	}
	argv := []string{"flock", dir, "timeout", lockSeconds, "cat"}
	r, _, err := f.pool.start(ctx, f.pool.line(argv))
	if err != nil {
		leave()
		return nil, err
	}
	said := &output{tail: hosts.NewTail(1 << 10)}
	go func() { _, _ = io.Copy(said, r.Stderr()) }()
	answer := make(chan error, 1)
	go func() {
		if _, err := r.Write([]byte("\n")); err != nil {
			answer <- err
			return
		}
		_, err := io.ReadFull(r, make([]byte, 1)) // cat runs: the lock is held
		answer <- err
		if err == nil {
			_, _ = io.Copy(io.Discard, r)
		}
	}()
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = ctx.Err()
	}
	h := &heldLock{r, leave}
	switch {
	case err == nil:
		return h, nil
	case ctx.Err() != nil:
		r.kill()
		h.release()
		return nil, ctx.Err()
	}
	h.release()
	<-r.exited
	if !r.known {
		return nil, f.pool.lost()
	}
	if err := f.ran(ctx, argv, hosts.Result{Exit: r.exit}); err != nil {
		return nil, err
	}
	for _, name := range []string{"timeout", "cat"} {
		if path, err := f.program(ctx, name); err != nil || path == "" {
			return nil, errors.Join(err, f.without(name))
		}
	}
	said.mu.Lock()
	defer said.mu.Unlock()
	return nil, patchbay.Errorf(patchbay.AdminRights, "%s can't lock %s on %s", f.pool.whom(), dir, f.pool.name).
		WithSaid(strings.TrimSpace(string(said.tail.Bytes()))).WithFix("let %s read the directory, and have flock (util-linux) there", f.pool.whom())
}

// relock takes a lock again that somebody here has, and whose holder is gone: before
// anything is done in the directory.
func (f *files) relock(ctx context.Context, dir string) error {
	if f.lostLock(dir) == nil {
		return nil
	}
	leave, err := take(ctx, f.relocking)
	if err != nil {
		return err
	}
	defer leave()
	h := f.lostLock(dir)
	if h == nil {
		return nil // somebody else was faster
	}
	again, err := f.lock(ctx, dir)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[dir] != h { // it was let go meanwhile
		again.release()
		return nil
	}
	f.held[dir] = again
	h.release()
	return nil
}

// lostLock is the lock that somebody here has of a directory, and whose holder is
// gone; nil for none.
func (f *files) lostLock(dir string) *heldLock {
	f.mu.Lock()
	h := f.held[dir]
	f.mu.Unlock()
	if h == nil {
		return nil
	}
	select {
	case <-h.holder.exited:
	case <-h.holder.conn.done:
	default:
		return nil
	}
	return h
}
