package envfile

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
)

// TestEachFixIsTrueWhereItIsSaid provokes an error, does what its fix says, and
// nothing else, and then the change succeeds. Names have spaces and quotes: a fix
// is pasted into a shell.
func TestEachFixIsTrueWhereItIsSaid(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	registered := func(to string) func(t *testing.T, path string) string {
		return func(_ *testing.T, path string) string { return filepath.Join(filepath.Dir(path), to) }
	}
	mended := func(from, to string) func(t *testing.T, path string) string {
		return func(t *testing.T, path string) string {
			must(t, os.WriteFile(path, []byte(strings.ReplaceAll(content(t, path), from, to)), 0o600))
			return path
		}
	}
	write := func(text string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(text), 0o600)) }
	}
	for name, tt := range map[string]struct {
		file    string // the last part of the path, "env" when empty
		provoke func(t *testing.T, path string)
		fix     string // how it begins
		// byHand does what the fix leaves to a person, and says the path of the source
		// then; nil: there is nothing.
		byHand func(t *testing.T, path string) string
		// private is a file system of its own.
		private bool
	}{
		"a link into a directory that is not there": {
			provoke: func(t *testing.T, path string) {
				must(t, os.Symlink(filepath.Join(filepath.Dir(path), "not here", "web.env"), path))
			},
			fix: "mkdir -p ",
		},
		"a relative link to such a link": {
			provoke: func(t *testing.T, path string) {
				must(t, os.Symlink("other/../next", path))
				must(t, os.Mkdir(filepath.Join(filepath.Dir(path), "other"), 0o700))
				must(t, os.Symlink("not/here/web.env", filepath.Join(filepath.Dir(path), "next")))
			},
			fix: "mkdir -p ",
		},
		"a directory that is a link to nothing": {
			file: "app/env",
			provoke: func(t *testing.T, path string) {
				must(t, os.Symlink("away", filepath.Dir(path)))
			},
			fix: "mkdir -p ",
		},
		"no directory": {file: "a b/c/env", provoke: func(*testing.T, string) {}, fix: "mkdir -p "},
		"a file in place of the directory": {
			file:    "file/env",
			provoke: func(t *testing.T, path string) { must(t, os.WriteFile(filepath.Dir(path), nil, 0o600)) },
			fix:     "register the source with the path of a file in a directory",
			byHand:  func(_ *testing.T, path string) string { return filepath.Join(filepath.Dir(filepath.Dir(path)), "env") },
		},
		"links in a circle": {
			provoke: func(t *testing.T, path string) {
				must(t, os.Symlink("circle", path))
				must(t, os.Symlink("env", filepath.Join(filepath.Dir(path), "circle")))
			},
			fix: "rm ",
		},
		"too large": {
			provoke: write("A=1\n" + strings.Repeat("# "+strings.Repeat("x", 1000)+"\n", maxFile/1000)),
			fix:     "wc -c ", byHand: mended("# "+strings.Repeat("x", 1000)+"\n", ""),
		},
		"not UTF-8":         {provoke: write("A=1\nB=\xff\n"), fix: "sed -n 2p ", byHand: mended("\xff", "ÿ")},
		"a quote left open": {provoke: write("A=1\nB='x\n"), fix: "sed -n 2p ", byHand: mended("'", "")},
		"immutable": {
			provoke: func(t *testing.T, path string) { write("A=1\n")(t, path); attribute(t, "+i", path) }, fix: "chattr -i ",
		},
		"append-only": {
			provoke: func(t *testing.T, path string) { write("A=1\n")(t, path); attribute(t, "+a", path) }, fix: "chattr -a ",
		},
		"in an immutable directory": {
			provoke: func(t *testing.T, path string) { write("A=1\n")(t, path); attribute(t, "+i", filepath.Dir(path)) }, fix: "chattr -i ",
		},
		"in an append-only directory": {
			provoke: func(t *testing.T, path string) { attribute(t, "+a", filepath.Dir(path)) }, fix: "chattr -a ",
		},
		"marked read-only": {
			provoke: func(t *testing.T, path string) { write("A=1\n")(t, path); must(t, os.Chmod(path, 0o444)) }, fix: "chmod u+w ",
		},
		"a file system that is mounted read-only": {
			private: true, fix: "mount -o remount,rw ",
			provoke: func(t *testing.T, path string) {
				write("A=1\n")(t, path)
				must(t, syscall.Mount("", filepath.Dir(path), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
			},
		},
		"a full disk": {
			private: true, fix: "df -h ",
			provoke: func(t *testing.T, path string) {
				write("A=1\n")(t, path)
				err := os.WriteFile(filepath.Join(filepath.Dir(path), "filler"), make([]byte, 1<<20), 0o600)
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
			},
			byHand: func(t *testing.T, path string) string {
				must(t, os.Remove(filepath.Join(filepath.Dir(path), "filler")))
				return path
			},
		},
		"a mount of its own": {
			provoke: func(t *testing.T, path string) {
				write("A=1\n")(t, path)
				must(t, syscall.Mount(path, path, "", syscall.MS_BIND, ""))
				t.Cleanup(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
			},
			fix: "mount the directory that it is in",
			byHand: func(t *testing.T, path string) string {
				must(t, syscall.Unmount(path, syscall.MNT_DETACH))
				must(t, syscall.Mount(filepath.Dir(path), filepath.Dir(path), "", syscall.MS_BIND, ""))
				t.Cleanup(func() { _ = syscall.Unmount(filepath.Dir(path), syscall.MNT_DETACH) })
				return path
			},
		},
		"a directory in its place": {
			provoke: func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) },
			fix:     "register the source with the path of a regular file", byHand: registered("other"),
		},
		"a FIFO in its place": {
			provoke: func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) },
			fix:     "register the source with the path of a regular file", byHand: registered("other"),
		},
		"a device in its place": {
			provoke: func(t *testing.T, path string) { must(t, os.Symlink("/dev/zero", path)) },
			fix:     "register the source with the path of a regular file", byHand: registered("other"),
		},
		"a name that is too long": {
			file: strings.Repeat("x", 300), provoke: func(*testing.T, string) {},
			fix: "register the source with a shorter path", byHand: registered("env"),
		},
		"a name too long for the file beside it": {
			file: strings.Repeat("x", 250), provoke: write("A=1\n"),
			fix: "register the source with a file of a shorter name", byHand: registered("env"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			var dir string
			if tt.private {
				dir = mount(t, "size=64k")
			} else {
				dir = filepath.Join(t.TempDir(), "it's here")
				must(t, os.Mkdir(dir, 0o700))
			}
			file := tt.file
			if file == "" {
				file = "env"
			}
			path := filepath.Join(dir, file)
			tt.provoke(t, path)
			change := connect("orders", 1, "B", "canary")
			try := func(path string) error {
				s := opened(t, path, "")
				if _, err := s.Inspect(t.Context()); err != nil {
					return err
				}
				if err := s.CheckChange(t.Context(), change); err != nil {
					return err
				}
				now, err := s.ReadSettings(t.Context())
				if err != nil {
					return err
				}
				_, err = s.WriteSettings(t.Context(), change, now.Version)
				return err
			}
			err := try(path)
			e := patchbay.AsError(err)
			if e == nil || !strings.HasPrefix(e.Fix, tt.fix) {
				t.Fatalf("%v; its fix is %+v, want %s…", err, e, tt.fix)
			}
			// A command is run as it is, up to what it says to people.
			if command, _, _ := strings.Cut(e.Fix, "   ("); strings.HasSuffix(tt.fix, " ") {
				if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", command, err, out)
				}
			}
			if tt.byHand != nil {
				path = tt.byHand(t, path)
			}
			if err := try(path); err != nil {
				t.Errorf("%s, and then: %v", e.Fix, err)
			}
			if got := content(t, path); !strings.Contains(got, "B='canary'") {
				t.Errorf("the file holds %q", got)
			}
		})
	}
}

// attribute changes one for as long as the test runs.
func attribute(t *testing.T, change, path string) {
	t.Helper()
	if _, err := exec.LookPath("chattr"); err != nil {
		t.Skip("chattr is not installed")
	}
	if out, err := exec.Command("chattr", change, path).CombinedOutput(); err != nil {
		t.Skipf("the file system has no such attributes: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("chattr", "-ia", path).Run() })
}
