package hoststest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"patchbay.dev/patchbay/hosts"
)

func (s suite) replaceFileFollowsLinks(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "b"), 0o700))
	must(t, os.Symlink("../b/link", filepath.Join(dir, "a", "f")))
	must(t, os.Symlink(filepath.Join(dir, "b", "f"), filepath.Join(dir, "b", "link")))
	r := hosts.Replacement{Path: filepath.Join(dir, "a", "f"), Content: []byte("one"), Temp: ".tmp", Mode: 0o640}
	must(t, h.ReplaceFile(t.Context(), r)) // through links to nothing yet
	r.Content, r.IfSum, r.Mode = []byte("two"), hosts.Sum([]byte("one")), 0o600
	must(t, h.ReplaceFile(t.Context(), r))
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
	is(t, h.ReplaceFile(t.Context(), r), syscall.ELOOP, "ReplaceFile of a link to itself")
}

func (s suite) replaceFileLeavesNothingWhenItFails(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o600))
	good := hosts.Replacement{Path: path, Content: []byte("new"), Temp: ".tmp", IfSum: hosts.Sum([]byte("old"))}
	stop := errors.New("stop")
	ctx, cancel := context.WithCancel(t.Context())
	tests := map[string]struct {
		change func(*hosts.Replacement)
		want   error
	}{
		"another content": {func(r *hosts.Replacement) { r.IfSum = hosts.Sum([]byte("older")) }, hosts.ErrChanged},
		"should be new":   {func(r *hosts.Replacement) { r.IfSum = "" }, hosts.ErrChanged},
		"stopped":         {func(r *hosts.Replacement) { r.Ready = func(context.Context) error { return stop } }, stop},
		"canceled":        {func(r *hosts.Replacement) { r.Ready = func(context.Context) error { cancel(); return nil } }, context.Canceled},
		"grown": {func(r *hosts.Replacement) {
			r.Ready = func(context.Context) error { return os.WriteFile(path, []byte("older"), 0o600) }
		}, hosts.ErrChanged},
		"no temp":        {func(r *hosts.Replacement) { r.Temp = "" }, nil},
		"temp elsewhere": {func(r *hosts.Replacement) { r.Temp = "../tmp" }, nil},
		"temp is file":   {func(r *hosts.Replacement) { r.Temp = "f" }, nil},
		"no directory":   {func(r *hosts.Replacement) { r.Path = filepath.Join(dir, "none", "f") }, fs.ErrNotExist},
	}
	for what, tt := range tests {
		r := good
		tt.change(&r)
		err := h.ReplaceFile(ctx, r)
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
	victim := filepath.Join(s.Dir(t), "victim")
	must(t, os.WriteFile(victim, []byte("theirs"), 0o600))
	must(t, os.Symlink(victim, filepath.Join(dir, ".tmp")))
	must(t, h.ReplaceFile(t.Context(), good))
	if got, err := os.ReadFile(victim); err != nil || string(got) != "theirs" {
		t.Errorf("the file behind the link holds %q, %v", got, err)
	}
}

func (s suite) removeFileRemovesWhatItKnows(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	path := filepath.Join(dir, "f")
	must(t, h.RemoveFile(t.Context(), path, hosts.Sum(nil)))
	must(t, os.WriteFile(path, []byte("x"), 0o600))
	is(t, h.RemoveFile(t.Context(), path, hosts.Sum([]byte("y"))), hosts.ErrChanged, "RemoveFile of another content")
	must(t, h.RemoveFile(t.Context(), path, hosts.Sum([]byte("x"))))
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func (s suite) aTemporaryFileIsBesideTheFile(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	must(t, os.Mkdir(filepath.Join(dir, "below"), 0o700))
	if h.ReplaceFile(t.Context(), hosts.Replacement{Path: filepath.Join(dir, "f"), Temp: "below/t", Mode: 0o600}) == nil {
		t.Error("a temporary file may be anywhere")
	}
}

func (s suite) whatIsNoFileOrMarkedReadOnlyIsNotReplaced(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	readOnly, fifo, below := filepath.Join(dir, "f"), filepath.Join(dir, "fifo"), filepath.Join(dir, "below")
	must(t, os.WriteFile(readOnly, []byte("old"), 0o400))
	must(t, syscall.Mkfifo(fifo, 0o600))
	must(t, os.Mkdir(below, 0o700))
	for path, want := range map[string]error{readOnly: hosts.ErrReadOnly, fifo: hosts.ErrIrregular, below: hosts.ErrIrregular} {
		is(t, h.CheckReplace(t.Context(), path), want, "CheckReplace of "+path)
		is(t, h.ReplaceFile(t.Context(), hosts.Replacement{Path: path, Temp: ".tmp", IfSum: hosts.Sum([]byte("old"))}), want, "ReplaceFile of "+path)
	}
	if got := names(t, dir); len(got) != 3 {
		t.Errorf("left: %v", got)
	}
}

func (s suite) aFileThatWasRemovedMeanwhileStaysRemoved(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("old"), 0o600))
	is(t, h.ReplaceFile(t.Context(), hosts.Replacement{
		Path: path, Temp: ".tmp", IfSum: hosts.Sum([]byte("old")), Ready: func(context.Context) error { return os.Remove(path) },
	}), hosts.ErrChanged, "ReplaceFile of what is gone")
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func (s suite) sweepTakesWhatACrashLeft(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	for _, name := range []string{"f", ".f.1.tmp", ".f.2.tmp", ".g.1.tmp"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	must(t, os.Mkdir(filepath.Join(dir, ".f.3.tmp"), 0o700))
	must(t, h.Sweep(t.Context(), filepath.Join(dir, "f"), ".f.*.tmp"))
	if got := names(t, dir); !slices.Equal(got, []string{".f.3.tmp", ".g.1.tmp", "f"}) {
		t.Errorf("left: %v", got)
	}
}

func (s suite) aReplacedFileKeepsItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	h, dir := s.New(t), s.Dir(t)
	path := filepath.Join(dir, "f")
	owned := func() [2]int {
		info, err := os.Stat(path)
		must(t, err)
		uid, gid := owner(info)
		return [2]int{uid, gid}
	}
	must(t, os.Chown(dir, 1234, 4321))
	must(t, h.ReplaceFile(t.Context(), hosts.Replacement{Path: path, Temp: ".tmp", Mode: 0o600}))
	if got := owned(); got != [2]int{1234, 4321} {
		t.Errorf("a new file belongs to %v", got)
	}
	for _, want := range [][2]int{{1, 2}, {0, 2}, {1, 0}} {
		must(t, os.Chown(path, want[0], want[1]))
		must(t, h.ReplaceFile(t.Context(), hosts.Replacement{Path: path, Temp: ".tmp", IfSum: hosts.Sum(nil)}))
		if got := owned(); got != want {
			t.Errorf("it belongs to %v, and belonged to %v", got, want)
		}
	}
}

func (s suite) aReplacedFileKeepsItsAttributes(t *testing.T) {
	if !s.Attributes {
		t.Skip("this machine's cp keeps no attributes")
	}
	h, dir := s.New(t), s.Dir(t)
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, nil, 0o600))
	if err := unix.Setxattr(path, "user.colour", []byte("blue"), 0); err != nil {
		t.Skipf("files have no attributes here: %v", err)
	}
	must(t, h.ReplaceFile(t.Context(), hosts.Replacement{Path: path, Content: []byte("new"), Temp: ".tmp", IfSum: hosts.Sum(nil)}))
	value := make([]byte, 9)
	if n, err := unix.Getxattr(path, "user.colour", value); err != nil || string(value[:n]) != "blue" {
		t.Errorf("it has %q, %v", value[:max(n, 0)], err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "new" {
		t.Errorf("it holds %q, %v", got, err)
	}
}

// A path is a path, whatever is in it.
func (s suite) hostileNames(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	for _, name := range hostile {
		in := filepath.Join(dir, name)
		must(t, os.Mkdir(in, 0o700))
		path := filepath.Join(in, name)
		unlock, err := h.Lock(t.Context(), path)
		must(t, err)
		must(t, h.ReplaceFile(t.Context(), hosts.Replacement{Path: path, Content: []byte("one"), Temp: name + ".tmp", Mode: 0o600}))
		must(t, h.CheckReplace(t.Context(), path))
		must(t, h.ReplaceFile(t.Context(), hosts.Replacement{Path: path, Content: []byte("two"), Temp: name + ".tmp", IfSum: hosts.Sum([]byte("one"))}))
		unlock()
		if got, err := os.ReadFile(path); err != nil || string(got) != "two" {
			t.Errorf("%q holds %q, %v", name, got, err)
		}
		if got, err := h.ReadFile(t.Context(), path, 3); err != nil || string(got.Content) != "two" {
			t.Errorf("%q is read as %q, %v", name, got.Content, err)
		}
		if got, err := h.ListDir(t.Context(), in); err != nil || !slices.Equal(got, []string{name}) {
			t.Errorf("%q: listed are %q, %v", name, got, err)
		}
		must(t, h.RemoveFile(t.Context(), path, hosts.Sum([]byte("two"))))
		if got := names(t, in); len(got) != 0 {
			t.Errorf("%q: left %q", name, got)
		}
	}
	if got := names(t, dir); len(got) != len(hostile) {
		t.Errorf("there are %q", got)
	}
}
