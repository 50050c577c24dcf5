package hoststest

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"patchbay.dev/patchbay/hosts"
)

func (s suite) readFileReadsFilesOnly(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("12345"), 0o640))
	got, err := h.ReadFile(t.Context(), path, 5)
	if err != nil || string(got.Content) != "12345" || got.Mode != 0o640 {
		t.Errorf("ReadFile = %+v, %v", got, err)
	}
	_, err = h.ReadFile(t.Context(), path, 4)
	is(t, err, hosts.ErrTooLarge, "ReadFile of too much")
	_, err = h.ReadFile(t.Context(), filepath.Join(dir, "none"), 5)
	is(t, err, fs.ErrNotExist, "ReadFile of nothing")
	_, err = h.ReadFile(t.Context(), filepath.Join(dir, "none", "f"), 5)
	is(t, err, fs.ErrNotExist, "ReadFile in no directory")
	_, err = h.ReadFile(t.Context(), dir, 5)
	is(t, err, hosts.ErrIrregular, "ReadFile of a directory")
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	_, err = h.ReadFile(t.Context(), fifo, 5)
	is(t, err, hosts.ErrIrregular, "ReadFile of a FIFO")
	_, err = h.ReadFile(t.Context(), "/dev/zero", 5)
	is(t, err, hosts.ErrIrregular, "ReadFile of a device")
	if _, err = h.ReadFile(t.Context(), "f", 5); err == nil {
		t.Error("ReadFile of a relative path succeeds")
	}
}
