package hosts

import (
	"os"
	"path/filepath"
	"testing"
)

// What became a link after the path was looked at is not followed.
func TestALinkIsNotReadThrough(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path, link := filepath.Join(dir, "f"), filepath.Join(dir, "link")
	must(t, os.WriteFile(path, []byte("1"), 0o600))
	must(t, os.Symlink(path, link))
	d, err := l.files.OpenDir(t.Context(), dir)
	must(t, err)
	defer func() { must(t, d.Close()) }()
	_, _, err = d.ReadFile(t.Context(), "link", 5)
	is(t, err, ErrIrregular, "ReadFile of a link")
	_, err = d.Open(t.Context(), "link")
	if err == nil {
		t.Error("a link is opened as a directory")
	}
}
