package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func TestReplaceFileFollowsLinks(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "b"), 0o700))
	must(t, os.Symlink("../b/link", filepath.Join(dir, "a", "f")))
	must(t, os.Symlink(filepath.Join(dir, "b", "f"), filepath.Join(dir, "b", "link")))
	r := Replacement{Path: filepath.Join(dir, "a", "f"), Content: []byte("one"), Temp: ".tmp", Mode: 0o640}
	must(t, l.ReplaceFile(t.Context(), r)) // through links to nothing yet
	r.Content, r.IfSum, r.Mode = []byte("two"), Sum([]byte("one")), 0o600
	must(t, l.ReplaceFile(t.Context(), r))
	info, err := os.Lstat(filepath.Join(dir, "b", "f"))
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("the file is %v, %v", info, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "a", "f")); err != nil || string(got) != "two" {
		t.Errorf("through the links: %q, %v", got, err)
	}
	if a, b := names(t, filepath.Join(dir, "a")), names(t, filepath.Join(dir, "b")); len(a) != 1 || len(b) != 2 {
		t.Errorf("left behind: %v, %v", a, b)
	}
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	r.Path = filepath.Join(dir, "loop")
	is(t, l.ReplaceFile(t.Context(), r), syscall.ELOOP, "ReplaceFile of a link to itself")
}

func TestReplaceFileLeavesNothingWhenItFails(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o600))
	good := Replacement{Path: path, Content: []byte("new"), Temp: ".tmp", IfSum: Sum([]byte("old"))}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancel(t.Context())
	tests := map[string]struct {
		change func(*Replacement)
		want   error
	}{
		"another content": {func(r *Replacement) { r.IfSum = Sum([]byte("older")) }, ErrChanged},
		"should be new":   {func(r *Replacement) { r.IfSum = "" }, ErrChanged},
		"stopped":         {func(r *Replacement) { r.Ready = func(context.Context) error { return stop } }, stop},
		"canceled":        {func(r *Replacement) { r.Ready = func(context.Context) error { cancel(); return nil } }, context.Canceled},
		"grown": {func(r *Replacement) {
			r.Ready = func(context.Context) error { return os.WriteFile(path, []byte("older"), 0o600) }
		}, ErrChanged},
		"no temp":        {func(r *Replacement) { r.Temp = "" }, nil},
		"temp elsewhere": {func(r *Replacement) { r.Temp = "../tmp" }, nil},
		"temp is file":   {func(r *Replacement) { r.Temp = "f" }, nil},
		"no directory":   {func(r *Replacement) { r.Path = filepath.Join(dir, "none", "f") }, fs.ErrNotExist},
	}
	for what, tt := range tests {
		r := good
		tt.change(&r)
		err := l.ReplaceFile(ctx, r)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: ReplaceFile = %v, want %v", what, err, tt.want)
		}
		if got := names(t, dir); !slices.Equal(got, []string{"f"}) {
			t.Errorf("%s: left behind %v", what, got)
		}
		must(t, os.WriteFile(path, []byte("old"), 0o600))
		ctx, cancel = context.WithCancel(t.Context())
	}
	cancel()
	// What is in the way of the temporary file goes, and is not written through.
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, []byte("theirs"), 0o600))
	must(t, os.Symlink(victim, filepath.Join(dir, ".tmp")))
	must(t, l.ReplaceFile(t.Context(), good))
	if got, err := os.ReadFile(victim); err != nil || string(got) != "theirs" {
		t.Errorf("the file behind the link holds %q, %v", got, err)
	}
}

func TestRemoveFileRemovesWhatItKnows(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, l.RemoveFile(t.Context(), path, Sum(nil)))
	must(t, os.WriteFile(path, []byte("x"), 0o600))
	is(t, l.RemoveFile(t.Context(), path, Sum([]byte("y"))), ErrChanged, "RemoveFile of another content")
	must(t, l.RemoveFile(t.Context(), path, Sum([]byte("x"))))
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

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
