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

// Nothing is named before it is on the disk, and nothing is done before its name is.
func TestAPowerCutLosesNothingPublished(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "root")
	dir := filepath.Join(parent, "orders")
	published := func() string {
		p, err := NewLocal(DialRules{}).ReadPublished(t.Context(), dir, 100)
		if err != nil {
			return "none"
		}
		return fmt.Sprint(p.Generation)
	}
	publish := func(generation int64) func(*Local) error {
		return func(l *Local) error {
			return l.PublishDir(t.Context(), dir, Published{Tag: "us", Generation: generation, Files: map[string][]byte{"a": []byte("12345")}, Mode: 0o640})
		}
	}
	for _, tt := range []struct {
		what       string
		before, do func(*Local) error
		want       []string
	}{
		{"made", func(*Local) error { return nil }, publish(1),
			[]string{"a, 5 bytes, -rw-r-----: none", "data: none", "..orders.us: none", "root: 1"}},
		{"replaced", publish(1), publish(2), []string{"a, 5 bytes, -rw-r-----: 1", "data: 1", "orders: 2"}},
		{"withdrawn", publish(1), func(l *Local) error { return l.WithdrawDir(t.Context(), dir, "us") }, []string{"root: none"}},
	} {
		for fails := range len(tt.want) + 1 {
			must(t, os.RemoveAll(parent))
			must(t, os.Mkdir(parent, 0o700))
			must(t, tt.before(NewLocal(DialRules{})))
			l, want := NewLocal(DialRules{}), tt.want
			got := syncs(t, l, published, fails, syscall.EIO)
			err := tt.do(l)
			if fails > 0 {
				want = want[:fails]
			}
			if !slices.Equal(*got, want) || errors.Is(err, syscall.EIO) != (fails > 0) {
				t.Errorf("%s, %d fails: synced %q, want %q; %v", tt.what, fails, *got, want, err)
			}
		}
	}
}

// A tag is read before anything is removed by it.
func TestATagLeadsNowhere(t *testing.T) {
	root := t.TempDir()
	victim := filepath.Join(root, "victim")
	must(t, os.MkdirAll(filepath.Join(root, "parent"), 0o700))
	must(t, os.WriteFile(victim, nil, 0o600))
	l, dir, tag := NewLocal(DialRules{}), filepath.Join(root, "parent", "orders"), "a/../../victim"
	if l.PublishDir(t.Context(), dir, Published{Tag: tag, Files: map[string][]byte{"a": nil}, Mode: 0o600}) == nil {
		t.Error("it is published")
	}
	_ = l.WithdrawDir(t.Context(), dir, tag)
	if _, err := os.Stat(victim); err != nil {
		t.Error(err)
	}
}

func TestWhatIsPublishedBelongsToWhoseTheDirectoryIs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	l, parent := NewLocal(DialRules{}), t.TempDir()
	dir := filepath.Join(parent, "orders")
	must(t, os.Chown(parent, 1234, 4321))
	must(t, l.PublishDir(t.Context(), dir, Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": nil}, Mode: 0o600}))
	for _, name := range []string{"", dataLink, "a"} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if uid, gid := owner(info); uid != 1234 || gid != 4321 {
			t.Errorf("%q belongs to %d:%d", name, uid, gid)
		}
	}
}

// The same generation may be written twice: an update that changes no login.
func TestOneGenerationMayHoldSomethingElse(t *testing.T) {
	l, dir := NewLocal(DialRules{}), filepath.Join(t.TempDir(), "orders")
	for _, content := range []string{"one", "two"} {
		must(t, l.PublishDir(t.Context(), dir, Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte(content)}, Mode: 0o600}))
		if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != content {
			t.Errorf("it holds %q, %v, want %q", got, err, content)
		}
	}
}

func TestWhatOthersHaveInAPublishedDirectoryStays(t *testing.T) {
	l, dir := NewLocal(DialRules{}), filepath.Join(t.TempDir(), "orders")
	p := Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte("1")}, Mode: 0o600}
	must(t, l.PublishDir(t.Context(), dir, p))
	must(t, os.Mkdir(filepath.Join(dir, "..them-1-0123456789abcdef"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "theirs"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "note"), nil, 0o600))
	p.Generation, p.Files = 2, map[string][]byte{"b": nil}
	must(t, l.PublishDir(t.Context(), dir, p))
	for _, name := range []string{"..them-1-0123456789abcdef", "theirs", "note"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestReadPublishedReadsSoMuchAndOnlyADirectory(t *testing.T) {
	l, parent := NewLocal(DialRules{}), t.TempDir()
	dir, link := filepath.Join(parent, "orders"), filepath.Join(parent, "link")
	must(t, l.PublishDir(t.Context(), dir, Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte("123"), "b": []byte("456")}, Mode: 0o600}))
	_, err := l.ReadPublished(t.Context(), dir, 6)
	must(t, err)
	_, err = l.ReadPublished(t.Context(), dir, 5)
	is(t, err, ErrTooLarge, "ReadPublished of too much")
	must(t, os.Symlink(dir, link))
	_, err = l.ReadPublished(t.Context(), link, 6)
	is(t, err, ErrForeign, "ReadPublished of a link")
}
