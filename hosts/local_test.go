package hosts

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error, what string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := NewLocal(DialRules{}).ListDir(t.Context(), dir)
	must(t, err)
	return list
}

func TestRunTellsExitOutputAndFailure(t *testing.T) {
	l := NewLocal(DialRules{})
	tests := []struct {
		argv []string
		exit int
		out  string
	}{
		{[]string{"sh", "-c", "echo out; echo err >&2"}, 0, "out\nerr\n"},
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"printf", "%s", "$(id) *"}, 0, "$(id) *"},
		{[]string{"sh", "-c", "printf '%2000s' end"}, 0, strings.Repeat(" ", 97) + "end"},
	}
	for _, tt := range tests {
		got, err := l.Run(t.Context(), Command{Argv: tt.argv, MaxOutput: 100})
		if err != nil || got.Exit != tt.exit || string(got.Output) != tt.out {
			t.Errorf("Run(%q) = %d, %q, %v", tt.argv, got.Exit, got.Output, err)
		}
	}
	for _, argv := range [][]string{nil, {""}, {"/nowhere/x"}, {t.TempDir()}} {
		if _, err := l.Run(t.Context(), Command{Argv: argv}); err == nil {
			t.Errorf("Run(%q) succeeds", argv)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Run(ctx, Command{Argv: []string{"true"}})
	is(t, err, context.Canceled, "Run with a context that has ended")
}

func TestSignalsReachOneProcess(t *testing.T) {
	l := NewLocal(DialRules{})
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	must(t, l.Signal(t.Context(), cmd.Process.Pid, "TERM"))
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the process ended with %v", err)
	}
	is(t, l.Signal(t.Context(), 1<<31-1, "HUP"), ErrNoProcess, "Signal to nobody")
	for _, pid := range []int{0, -1, -2} {
		if l.Signal(t.Context(), pid, "HUP") == nil {
			t.Errorf("Signal to the group %d succeeds", pid)
		}
	}
	if slices.Contains(SignalNames(), "KILL") || l.Signal(t.Context(), os.Getpid(), "KILL") == nil {
		t.Error("KILL is a signal to send")
	}
}

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
	if _, err = l.ReadFile(t.Context(), "f", 5); err == nil {
		t.Error("ReadFile of a relative path succeeds")
	}
}

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

func TestLockIsOneAtATimeAndEndsWithItsContext(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path := filepath.Join(dir, "f")
	unlock, err := l.Lock(t.Context(), path)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() {
		_, err := NewLocal(DialRules{}).Lock(ctx, filepath.Join(dir, "g")) // the same directory
		waited <- err
	}()
	cancel()
	is(t, <-waited, context.Canceled, "Lock of what is locked")
	got := make(chan func(), 1)
	go func() {
		unlock, err := l.Lock(context.WithoutCancel(ctx), path)
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
	_, err = l.Lock(t.Context(), filepath.Join(dir, "none", "f"))
	is(t, err, fs.ErrNotExist, "Lock without a directory")
}

func TestPublishedDirectories(t *testing.T) {
	l, dir := NewLocal(DialRules{}), t.TempDir()
	path := filepath.Join(dir, "orders")
	files := func(kv ...string) map[string][]byte {
		m := map[string][]byte{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = []byte(kv[i+1])
		}
		return m
	}
	_, err := l.ReadPublished(t.Context(), path, 100)
	is(t, err, fs.ErrNotExist, "ReadPublished of nothing")
	must(t, l.WithdrawDir(t.Context(), path, "us"))
	for i, want := range []map[string][]byte{
		files("a", "1", "b", "2"), files("a", "1", "b", "2"), files("a", "3"), files(".a", "x", "b", ""), files("b", ""),
	} {
		must(t, l.PublishDir(t.Context(), path, Published{Tag: "us", Generation: int64(i), Files: want, Mode: 0o640}))
		got, err := l.ReadPublished(t.Context(), path, 100)
		if err != nil || got.Tag != "us" || got.Generation != int64(i) || len(got.Files) != len(want) {
			t.Fatalf("%d: ReadPublished = %+v, %v", i, got, err)
		}
		for name, content := range want {
			b, err := os.ReadFile(filepath.Join(path, name))
			if err != nil || string(b) != string(content) || string(got.Files[name]) != string(content) {
				t.Errorf("%d: %s holds %q, %v", i, name, b, err)
			}
			if info, err := os.Stat(filepath.Join(path, name)); err != nil || info.Mode() != 0o640 {
				t.Errorf("%d: %s is %v, %v", i, name, info, err)
			}
		}
		if n := len(names(t, path)); n != len(want)+2 {
			t.Errorf("%d: the directory holds %v", i, names(t, path))
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("%d: the directory is %v, %v", i, info, err)
		}
	}
	_, err = l.ReadPublished(t.Context(), path, 0)
	must(t, err) // its one file is empty
	is(t, l.PublishDir(t.Context(), path, Published{Tag: "them", Files: files("a", "1"), Mode: 0o600}), ErrForeign, "PublishDir under another tag")
	is(t, l.WithdrawDir(t.Context(), path, "them"), ErrForeign, "WithdrawDir under another tag")
	for _, name := range []string{"", ".", "..", "..data", "a/b", "/a"} {
		if l.PublishDir(t.Context(), path, Published{Tag: "us", Files: files(name, "1"), Mode: 0o600}) == nil {
			t.Errorf("PublishDir of the file %q succeeds", name)
		}
	}
	for _, tag := range []string{"", "../x", "a/b", "A", "a\n"} {
		if l.PublishDir(t.Context(), path+"2", Published{Tag: tag, Files: files("a", "1"), Mode: 0o600}) == nil {
			t.Errorf("PublishDir under the tag %q succeeds", tag)
		}
	}
	must(t, l.WithdrawDir(t.Context(), path, "us"))
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// TestPublishGoesOnAfterACrash: whatever an earlier try left.
func TestPublishGoesOnAfterACrash(t *testing.T) {
	l := NewLocal(DialRules{})
	one := Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte("1"), "old": nil}, Mode: 0o600}
	two := Published{Tag: "us", Generation: 2, Files: map[string][]byte{"a": []byte("2"), "new": nil}, Mode: 0o600}
	dataOf := func(p Published) string {
		dir := filepath.Join(t.TempDir(), "d")
		must(t, l.PublishDir(t.Context(), dir, p))
		link, err := os.Readlink(filepath.Join(dir, dataLink))
		must(t, err)
		return link
	}
	for what, crash := range map[string]func(dir string) error{
		"half of the files": func(dir string) error {
			half := filepath.Join(dir, dataOf(two))
			return errors.Join(os.Mkdir(half, 0o700), os.WriteFile(filepath.Join(half, "a"), nil, 0o600))
		},
		"the new link": func(dir string) error { return os.Symlink("x", filepath.Join(dir, dataLink+"_tmp")) },
		"no links yet": func(dir string) error {
			full := dataOf(two)
			return errors.Join(
				os.Mkdir(filepath.Join(dir, full), 0o700), os.WriteFile(filepath.Join(dir, full, "a"), []byte("2"), 0o600),
				os.WriteFile(filepath.Join(dir, full, "new"), nil, 0o600),
				os.Remove(filepath.Join(dir, dataLink)), os.Symlink(full, filepath.Join(dir, dataLink)))
		},
		"a stage": func(dir string) error {
			return os.MkdirAll(filepath.Join(filepath.Dir(dir), "..orders.us", "x"), 0o700)
		},
	} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "orders")
		must(t, l.PublishDir(t.Context(), dir, one))
		must(t, crash(dir))
		must(t, l.PublishDir(t.Context(), dir, two))
		want := []string{dataOf(two), dataLink, "a", "new"}
		slices.Sort(want)
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("after %s: the directory holds %v, want %v", what, got, want)
		}
		if got := names(t, parent); !slices.Equal(got, []string{"orders"}) {
			t.Errorf("after %s: beside it is %v", what, got)
		}
	}
}

func TestDialSpeaksFromHere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	c, err := NewLocal(DialRules{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	must(t, err)
	must(t, c.Close())
}
