package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// secrets is a directory as a control plane has it, and one beside it.
func secrets(t *testing.T) (private, beside string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	private, beside = filepath.Join(dir, "data"), filepath.Join(dir, "app")
	must(t, os.MkdirAll(filepath.Join(private, "below"), 0o700))
	must(t, os.Mkdir(beside, 0o700))
	for _, name := range []string{"sealing.key", "admin.token", "patchbay.db", "patchbay.db-wal", "server.json", "below/deep"} {
		must(t, os.WriteFile(filepath.Join(private, name), []byte("KEY=secret\n"), 0o600))
	}
	must(t, os.WriteFile(filepath.Join(beside, "env"), []byte("A=1\n"), 0o600))
	return private, beside
}

// state is everything in a directory, with what it says.
func state(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			fmt.Fprintln(&b, name, err)
			return err
		}
		text, err := os.ReadFile(name)
		fmt.Fprintf(&b, "%s %s\n", name, text)
		return err
	}))
	return b.String()
}

// ways are all that a host does with a path.
func ways(ctx context.Context, l *Local, name string) map[string]error {
	_, read := l.ReadFile(ctx, name, 1<<20)
	unlock, lock := l.Lock(ctx, name)
	if unlock != nil {
		unlock()
	}
	_, list := l.ListDir(ctx, filepath.Dir(name))
	_, published := l.ReadPublished(ctx, name, 1<<20)
	return map[string]error{
		"CheckPath": l.CheckPath(ctx, name), "ReadFile": read, "CheckReplace": l.CheckReplace(ctx, name), "Lock": lock,
		"ReplaceFile":   l.ReplaceFile(ctx, Replacement{Path: name, Content: []byte("A=2\n"), Temp: ".temp", Mode: 0o600, IfSum: Sum([]byte("KEY=secret\n"))}),
		"RemoveFile":    l.RemoveFile(ctx, name, Sum([]byte("KEY=secret\n"))),
		"Sweep":         l.Sweep(ctx, name, ".temp*"),
		"ListDir":       list,
		"ReadPublished": published,
		"PublishDir":    l.PublishDir(ctx, name, Published{Tag: "t", Generation: 1, Files: map[string][]byte{"a": nil}, Mode: 0o600}),
		"WithdrawDir":   l.WithdrawDir(ctx, name, "t"),
	}
}

// Whatever name leads to what is private, nobody is let at it.
func TestNothingLeadsToWhatIsPrivate(t *testing.T) {
	private, beside := secrets(t)
	l := NewLocal(DialRules{}, private)
	t.Chdir(filepath.Dir(private))
	link := func(to, name string) string {
		name = filepath.Join(beside, name)
		must(t, os.Symlink(to, name))
		return name
	}
	key := filepath.Join(private, "sealing.key")
	hard := filepath.Join(beside, "hard")
	must(t, os.Link(key, hard))
	alias := link(private, "dir")
	attacks := map[string]string{
		"the file":                       key,
		"the database":                   filepath.Join(private, "patchbay.db"),
		"its log":                        filepath.Join(private, "patchbay.db-wal"),
		"one that is not there":          filepath.Join(private, "new.env"),
		"one below":                      filepath.Join(private, "below", "deep"),
		"one below that is not there":    filepath.Join(private, "below", "new"),
		"a link":                         link(key, "link"),
		"a link to a link":               link(filepath.Join(beside, "link"), "links"),
		"a relative link":                link("../data/admin.token", "relative"),
		"a link to what is not there":    link(filepath.Join(private, "later"), "dangling"),
		"a linked directory":             filepath.Join(alias, "admin.token"),
		"a linked directory, a new file": filepath.Join(alias, "new"),
		"a hard link":                    hard,
		"by the process":                 "/proc/self/root" + key,
		"by the process's directory":     "/proc/self/cwd/data/sealing.key",
		"dots":                           beside + "/../data/server.json",
	}
	f, err := os.Open(key)
	must(t, err)
	defer f.Close()
	if _, err := os.Stat("/proc/self/fd"); err == nil {
		attacks["by an open file"] = fmt.Sprintf("/proc/self/fd/%d", f.Fd())
		attacks["by an open file, elsewhere"] = link(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), "fd")
		attacks["the environment"] = "/proc/self/environ"
		attacks["a link to the environment"] = link("/proc/self/environ", "environ")
	}
	before := state(t, private)
	for what, name := range attacks {
		elsewhere := what == "a hard link" || what == "the environment" || strings.Contains(what, "a link") || strings.HasSuffix(what, "link") || strings.HasSuffix(what, "elsewhere")
		for way, err := range ways(t.Context(), l, name) {
			// What only its own directory is asked for, which is nobody's secret.
			if elsewhere && (way == "ListDir" || way == "Lock" || way == "Sweep") {
				continue
			}
			// A link that leads nowhere is no directory of ours either.
			if !errors.Is(err, ErrPrivate) && !(what == "a link to what is not there" && errors.Is(err, ErrForeign)) {
				t.Errorf("%s (%s): %s = %v", what, name, way, err)
			}
		}
	}
	if after := state(t, private); after != before {
		t.Errorf("it is\n%s\nand was\n%s", after, before)
	}
	// What is beside is open as ever.
	ours := filepath.Join(beside, "env")
	must(t, l.CheckPath(t.Context(), ours))
	must(t, l.ReplaceFile(t.Context(), Replacement{Path: ours, Content: []byte("A=2\n"), Temp: ".temp", IfSum: Sum([]byte("A=1\n"))}))
	must(t, l.CheckPath(t.Context(), filepath.Join(beside, "new")))
	must(t, l.CheckPath(t.Context(), "/nowhere/at/all"))
}

func TestAMountOfWhatIsPrivateIsPrivate(t *testing.T) {
	private, beside := secrets(t)
	l := NewLocal(DialRules{}, private)
	for what, from := range map[string]string{"dir": private, "below": filepath.Join(private, "below"), "file": filepath.Join(private, "sealing.key")} {
		at := filepath.Join(beside, what)
		if what == "file" {
			must(t, os.WriteFile(at, nil, 0o600))
		} else {
			must(t, os.Mkdir(at, 0o700))
		}
		if err := mount(from, at); err != nil {
			t.Skipf("nothing can be mounted here: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(at, 0) })
	}
	for _, name := range []string{"dir/sealing.key", "dir/new", "below/deep", "below/new", "file"} {
		for way, err := range ways(t.Context(), l, filepath.Join(beside, name)) {
			if err == nil && !(name == "file" && (way == "ListDir" || way == "Lock" || way == "Sweep")) {
				t.Errorf("%s: %s succeeds", name, way)
			}
		}
	}
}

// A link that was looked at leads elsewhere by the time that something is done.
func TestALinkThatIsSwappedLeadsNowhere(t *testing.T) {
	private, beside := secrets(t)
	l := NewLocal(DialRules{}, private)
	name, conf := filepath.Join(beside, "conf", "sealing.key"), filepath.Join(beside, "conf")
	real := filepath.Join(beside, "real")
	must(t, os.Mkdir(real, 0o700))
	must(t, os.WriteFile(filepath.Join(real, "sealing.key"), []byte("A=1\n"), 0o600))
	must(t, os.Symlink(real, conf))
	must(t, l.CheckPath(t.Context(), name))
	before := state(t, private)
	err := l.ReplaceFile(t.Context(), Replacement{
		Path: name, Content: []byte("A=2\n"), Temp: ".temp", IfSum: Sum([]byte("A=1\n")),
		Ready: func(context.Context) error { // at the last moment
			if err := os.Rename(real, real+"2"); err != nil {
				return err
			}
			return os.Symlink(private, real)
		},
	})
	if err == nil {
		t.Error("it was replaced")
	}
	is(t, l.CheckPath(t.Context(), name), ErrPrivate, "CheckPath")
	if after := state(t, private); after != before {
		t.Errorf("it is\n%s\nand was\n%s", after, before)
	}
	if got := names(t, real+"2"); len(got) != 1 {
		t.Errorf("left: %v", got)
	}
}

func TestWhatCanNotBeToldIsRefused(t *testing.T) {
	private, beside := secrets(t)
	l := NewLocal(DialRules{}, private)
	must(t, os.Rename(private, private+"2"))
	if err := l.CheckPath(t.Context(), filepath.Join(beside, "env")); err == nil {
		t.Error("without the directory everything is allowed")
	}
}

func TestTheServersDirectoryMayBeCalledByALink(t *testing.T) {
	private, beside := secrets(t)
	must(t, os.Symlink(private, filepath.Join(beside, "data")))
	t.Chdir(beside)
	for _, called := range []string{filepath.Join(beside, "data"), "data", "../data"} {
		is(t, NewLocal(DialRules{}, called).CheckPath(t.Context(), filepath.Join(private, "sealing.key")), ErrPrivate, called)
	}
}

func TestThisProcessIsNotSignaled(t *testing.T) {
	is(t, NewLocal(DialRules{}).Signal(t.Context(), os.Getpid(), "HUP"), ErrPrivate, "HUP to this process")
}

// A directory that was harmless when it was looked at, and is private when it is opened.
func TestADirectoryToWorkInIsLookedAtOnceMore(t *testing.T) {
	private, beside := secrets(t)
	must(t, os.Symlink(private, filepath.Join(beside, "link")))
	l := NewLocal(DialRules{}, private)
	for _, dir := range []string{private, filepath.Join(private, "below"), filepath.Join(beside, "link")} {
		_, err := l.files.OpenDir(t.Context(), dir)
		is(t, err, ErrPrivate, "OpenDir of "+dir)
	}
}
