package hoststest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"patchbay.dev/patchbay/hosts"
)

func (s suite) publishedDirectories(t *testing.T) {
	h, dir := s.New(t), s.Dir(t)
	path := filepath.Join(dir, "orders")
	files := func(kv ...string) map[string][]byte {
		m := map[string][]byte{}
		for pair := range slices.Chunk(kv, 2) {
			m[pair[0]] = []byte(pair[len(pair)-1])
		}
		return m
	}
	_, err := h.ReadPublished(t.Context(), path, 100)
	is(t, err, fs.ErrNotExist, "ReadPublished of nothing")
	must(t, h.WithdrawDir(t.Context(), path, "us"))
	for i, want := range []map[string][]byte{
		files("a", "1", "b", "2"), files("a", "1", "b", "2"), files("a", "3"), files(".a", "x", "b", ""), files("b", ""),
	} {
		must(t, h.PublishDir(t.Context(), path, hosts.Published{Tag: "us", Generation: int64(i), Files: want, Mode: 0o640}))
		got, err := h.ReadPublished(t.Context(), path, 100)
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
	_, err = h.ReadPublished(t.Context(), path, 0)
	must(t, err) // its one file is empty
	is(t, h.PublishDir(t.Context(), path, hosts.Published{Tag: "them", Files: files("a", "1"), Mode: 0o600}), hosts.ErrForeign, "PublishDir under another tag")
	is(t, h.WithdrawDir(t.Context(), path, "them"), hosts.ErrForeign, "WithdrawDir under another tag")
	for _, name := range []string{"", ".", "..", "..data", "a/b", "/a"} {
		if h.PublishDir(t.Context(), path, hosts.Published{Tag: "us", Files: files(name, "1"), Mode: 0o600}) == nil {
			t.Errorf("PublishDir of the file %q succeeds", name)
		}
	}
	for _, tag := range []string{"", "../x", "a/b", "A", "a\n"} {
		if h.PublishDir(t.Context(), path+"2", hosts.Published{Tag: tag, Files: files("a", "1"), Mode: 0o600}) == nil {
			t.Errorf("PublishDir under the tag %q succeeds", tag)
		}
	}
	must(t, h.WithdrawDir(t.Context(), path, "us"))
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// TestPublishGoesOnAfterACrash: whatever an earlier try left.
func (s suite) publishGoesOnAfterACrash(t *testing.T) {
	h := s.New(t)
	one := hosts.Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte("1"), "old": nil}, Mode: 0o600}
	two := hosts.Published{Tag: "us", Generation: 2, Files: map[string][]byte{"a": []byte("2"), "new": nil}, Mode: 0o600}
	dataOf := func(p hosts.Published) string {
		dir := filepath.Join(s.Dir(t), "d")
		must(t, h.PublishDir(t.Context(), dir, p))
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
		parent := s.Dir(t)
		dir := filepath.Join(parent, "orders")
		must(t, h.PublishDir(t.Context(), dir, one))
		must(t, crash(dir))
		must(t, h.PublishDir(t.Context(), dir, two))
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

// A tag is read before anything is removed by it.
func (s suite) aTagLeadsNowhere(t *testing.T) {
	root := s.Dir(t)
	victim := filepath.Join(root, "victim")
	must(t, os.MkdirAll(filepath.Join(root, "parent"), 0o700))
	must(t, os.WriteFile(victim, nil, 0o600))
	h, dir, tag := s.New(t), filepath.Join(root, "parent", "orders"), "a/../../victim"
	if h.PublishDir(t.Context(), dir, hosts.Published{Tag: tag, Files: map[string][]byte{"a": nil}, Mode: 0o600}) == nil {
		t.Error("it is published")
	}
	_ = h.WithdrawDir(t.Context(), dir, tag)
	if _, err := os.Stat(victim); err != nil {
		t.Error(err)
	}
}

func (s suite) whatIsPublishedBelongsToWhoseTheDirectoryIs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	h, parent := s.New(t), s.Dir(t)
	dir := filepath.Join(parent, "orders")
	must(t, os.Chown(parent, 1234, 4321))
	must(t, h.PublishDir(t.Context(), dir, hosts.Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": nil}, Mode: 0o600}))
	for _, name := range []string{"", dataLink, "a"} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if uid, gid := owner(info); uid != 1234 || gid != 4321 {
			t.Errorf("%q belongs to %d:%d", name, uid, gid)
		}
	}
}

// The same generation may be written twice: an update that changes no login.
func (s suite) oneGenerationMayHoldSomethingElse(t *testing.T) {
	h, dir := s.New(t), filepath.Join(s.Dir(t), "orders")
	for _, content := range []string{"one", "two"} {
		must(t, h.PublishDir(t.Context(), dir, hosts.Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte(content)}, Mode: 0o600}))
		if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != content {
			t.Errorf("it holds %q, %v, want %q", got, err, content)
		}
	}
}

func (s suite) whatOthersHaveInAPublishedDirectoryStays(t *testing.T) {
	h, dir := s.New(t), filepath.Join(s.Dir(t), "orders")
	p := hosts.Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte("1")}, Mode: 0o600}
	must(t, h.PublishDir(t.Context(), dir, p))
	must(t, os.Mkdir(filepath.Join(dir, "..them-1-0123456789abcdef"), 0o700))
	must(t, os.Mkdir(filepath.Join(dir, "theirs"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "note"), nil, 0o600))
	p.Generation, p.Files = 2, map[string][]byte{"b": nil}
	must(t, h.PublishDir(t.Context(), dir, p))
	for _, name := range []string{"..them-1-0123456789abcdef", "theirs", "note"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func (s suite) readPublishedReadsSoMuchAndOnlyADirectory(t *testing.T) {
	h, parent := s.New(t), s.Dir(t)
	dir, link := filepath.Join(parent, "orders"), filepath.Join(parent, "link")
	must(t, h.PublishDir(t.Context(), dir, hosts.Published{Tag: "us", Generation: 1, Files: map[string][]byte{"a": []byte("123"), "b": []byte("456")}, Mode: 0o600}))
	_, err := h.ReadPublished(t.Context(), dir, 6)
	must(t, err)
	_, err = h.ReadPublished(t.Context(), dir, 5)
	is(t, err, hosts.ErrTooLarge, "ReadPublished of too much")
	must(t, os.Symlink(dir, link))
	_, err = h.ReadPublished(t.Context(), link, 6)
	is(t, err, hosts.ErrForeign, "ReadPublished of a link")
}
