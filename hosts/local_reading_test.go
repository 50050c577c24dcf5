package hosts

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestReadFileReadsFilesOnly(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("12345"), 0o640))
	got, err := l.ReadFile(t.Context(), path, 5)
	if err != nil || string(got.Content) != "12345" || got.Mode != 0o640 {
		t.Errorf("ReadFile = %+v, %v", got, err)
	}
	_, err = l.ReadFile(t.Context(), path, 4)
	is(t, err, ErrTooLarge, "ReadFile of too much")
	_, err = l.ReadFile(t.Context(), filepath.Join(dir, "none"), 5)
	is(t, err, fs.ErrNotExist, "ReadFile of nothing")
	_, err = l.ReadFile(t.Context(), filepath.Join(dir, "none", "f"), 5)
	is(t, err, fs.ErrNotExist, "ReadFile in no directory")
	_, err = l.ReadFile(t.Context(), dir, 5)
	is(t, err, ErrIrregular, "ReadFile of a directory")
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	_, err = l.ReadFile(t.Context(), fifo, 5)
	is(t, err, ErrIrregular, "ReadFile of a FIFO")
	_, err = l.ReadFile(t.Context(), "/dev/zero", 5)
	is(t, err, ErrIrregular, "ReadFile of a device")
	t.Chdir(dir)
	if _, err = l.ReadFile(t.Context(), "f", 5); err == nil {
		t.Error("ReadFile of a relative path succeeds")
	}
}

// What became a link after the path was looked at is not followed.
func TestALinkIsNotReadThrough(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path, link := filepath.Join(dir, "f"), filepath.Join(dir, "link")
	must(t, os.WriteFile(path, []byte("1"), 0o600))
	must(t, os.Symlink(path, link))
	_, _, err := l.read(link, 5)
	is(t, err, ErrIrregular, "read of a link")
}
