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

// What is not yet as it should be is nobody else's to read, and no link is written
// through.
func TestATemporaryFileIsNewAndPrivate(t *testing.T) {
	dir := t.TempDir()
	in, err := os.OpenRoot(dir)
	must(t, err)
	defer func() { _ = in.Close() }()
	f, err := newTemp(in, "t")
	must(t, err)
	must(t, f.Close())
	if info, err := os.Stat(filepath.Join(dir, "t")); err != nil || info.Mode() != 0o600 {
		t.Errorf("it is %v, %v", info, err)
	}
	must(t, os.Symlink("t", filepath.Join(dir, "link")))
	for _, name := range []string{"t", "link"} {
		if _, err := newTemp(in, name); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s is opened: %v", name, err)
		}
	}
}

func TestATemporaryFileIsBesideTheFile(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "below"), 0o700))
	if l.ReplaceFile(t.Context(), Replacement{Path: filepath.Join(dir, "f"), Temp: "below/t", Mode: 0o600}) == nil {
		t.Error("a temporary file may be anywhere")
	}
}

func TestWhatIsNoFileOrMarkedReadOnlyIsNotReplaced(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	readOnly, fifo, below := filepath.Join(dir, "f"), filepath.Join(dir, "fifo"), filepath.Join(dir, "below")
	must(t, os.WriteFile(readOnly, []byte("old"), 0o400))
	must(t, syscall.Mkfifo(fifo, 0o600))
	must(t, os.Mkdir(below, 0o700))
	for path, want := range map[string]error{readOnly: ErrReadOnly, fifo: ErrIrregular, below: ErrIrregular} {
		is(t, l.CheckReplace(t.Context(), path), want, "CheckReplace of "+path)
		is(t, l.ReplaceFile(t.Context(), Replacement{Path: path, Temp: ".tmp", IfSum: Sum([]byte("old"))}), want, "ReplaceFile of "+path)
	}
	if got := names(t, dir); len(got) != 3 {
		t.Errorf("left: %v", got)
	}
}

func TestAFileThatWasRemovedMeanwhileStaysRemoved(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o600))
	is(t, l.ReplaceFile(t.Context(), Replacement{
		Path: path, Temp: ".tmp", IfSum: Sum([]byte("old")), Ready: func(context.Context) error { return os.Remove(path) },
	}), ErrChanged, "ReplaceFile of what is gone")
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func TestSweepTakesWhatACrashLeft(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	for _, name := range []string{"f", ".f.1.tmp", ".f.2.tmp", ".g.1.tmp"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	must(t, os.Mkdir(filepath.Join(dir, ".f.3.tmp"), 0o700))
	must(t, l.Sweep(t.Context(), filepath.Join(dir, "f"), ".f.*.tmp"))
	if got := names(t, dir); !slices.Equal(got, []string{".f.3.tmp", ".g.1.tmp", "f"}) {
		t.Errorf("left: %v", got)
	}
}

func TestAReplacedFileKeepsItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path := filepath.Join(dir, "f")
	owned := func() [2]int {
		info, err := os.Stat(path)
		must(t, err)
		uid, gid := owner(info)
		return [2]int{uid, gid}
	}
	must(t, os.Chown(dir, 1234, 4321))
	must(t, l.ReplaceFile(t.Context(), Replacement{Path: path, Temp: ".tmp", Mode: 0o600}))
	if got := owned(); got != [2]int{1234, 4321} {
		t.Errorf("a new file belongs to %v", got)
	}
	for _, want := range [][2]int{{1, 2}, {0, 2}, {1, 0}} {
		must(t, os.Chown(path, want[0], want[1]))
		must(t, l.ReplaceFile(t.Context(), Replacement{Path: path, Temp: ".tmp", IfSum: Sum(nil)}))
		if got := owned(); got != want {
			t.Errorf("it belongs to %v, and belonged to %v", got, want)
		}
	}
}
