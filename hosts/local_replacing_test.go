package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// A rename may be on the disk before what it names, and a reply before the rename.
func TestAPowerCutLosesNoFileThatWasReplaced(t *testing.T) {
	for fails, what := range []string{"nothing", "file", "directory"} {
		dir := filepath.Join(t.TempDir(), "dir")
		path := filepath.Join(dir, "f")
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(path, []byte("old"), 0o600))
		must(t, os.Chmod(path, 0o640)) // #nosec G302 -- another than that of the temporary file
		holds := func() string {
			b, err := os.ReadFile(path)
			must(t, err)
			return string(b)
		}
		l := NewLocal(DialRules{})
		got := syncs(t, l, holds, fails, syscall.EIO)
		err := l.ReplaceFile(t.Context(), Replacement{Path: path, Content: []byte("newer"), Temp: ".tmp", IfSum: Sum([]byte("old"))})
		want, now := []string{".tmp, 5 bytes, -rw-r-----: old", "dir: newer"}, "newer"
		if what == "file" {
			want, now = want[:1], "old"
		}
		if !slices.Equal(*got, want) || holds() != now || errors.Is(err, syscall.EIO) != (fails > 0) {
			t.Errorf("%s fails: synced %q, want %q; then it holds %q; %v", what, *got, want, holds(), err)
		}
		if left := names(t, dir); !slices.Equal(left, []string{"f"}) {
			t.Errorf("%s fails: left %v", what, left)
		}
	}
}

func TestAPowerCutBringsNoRemovedFileBack(t *testing.T) {
	for fails := range 2 {
		dir := filepath.Join(t.TempDir(), "dir")
		path := filepath.Join(dir, "f")
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(path, []byte("x"), 0o600))
		l := NewLocal(DialRules{})
		got := syncs(t, l, func() string { return fmt.Sprint(names(t, dir)) }, fails, syscall.EIO)
		err := l.RemoveFile(t.Context(), path, Sum([]byte("x")))
		if !slices.Equal(*got, []string{"dir: []"}) || errors.Is(err, syscall.EIO) != (fails > 0) {
			t.Errorf("synced %q; %v", *got, err)
		}
	}
}

// Some file systems can't sync a directory, and say so by one of these.
func TestWhereDirectoriesCanNotBeSynced(t *testing.T) {
	for _, no := range []error{syscall.EINVAL, syscall.ENOTSUP} {
		l, path := NewLocal(DialRules{}), filepath.Join(t.TempDir(), "f")
		got := syncs(t, l, func() string { return "" }, 2, no)
		if err := l.ReplaceFile(t.Context(), Replacement{Path: path, Temp: ".tmp", Mode: 0o600}); err != nil || len(*got) != 2 {
			t.Errorf("%v: synced %q; %v", no, *got, err)
		}
	}
}

// What is not yet as it should be is nobody else's to read, and no link is written
// through.
func TestATemporaryFileIsNewAndPrivate(t *testing.T) {
	dir := t.TempDir()
	in, err := os.OpenRoot(dir)
	must(t, err)
	defer func() { _ = in.Close() }()
	f, err := newFile(in, "t")
	must(t, err)
	must(t, f.Close())
	if info, err := os.Stat(filepath.Join(dir, "t")); err != nil || info.Mode() != 0o600 {
		t.Errorf("it is %v, %v", info, err)
	}
	must(t, os.Symlink("t", filepath.Join(dir, "link")))
	for _, name := range []string{"t", "link"} {
		if _, err := newFile(in, name); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s is opened: %v", name, err)
		}
	}
}
