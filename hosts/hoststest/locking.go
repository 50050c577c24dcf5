package hoststest

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"
)

func (s suite) lockIsOneAtATimeAndEndsWithItsContext(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	path := filepath.Join(dir, "f")
	unlock, err := h.Lock(t.Context(), path)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() {
		_, err := s.New(t).Lock(ctx, filepath.Join(dir, "g")) // the same directory
		waited <- err
	}()
	cancel()
	is(t, <-waited, context.Canceled, "Lock of what is locked")
	got := make(chan func(), 1)
	go func() {
		unlock, err := h.Lock(context.WithoutCancel(ctx), path)
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
	_, err = h.Lock(t.Context(), filepath.Join(dir, "none", "f"))
	is(t, err, fs.ErrNotExist, "Lock without a directory")
}
