package ssh

import (
	"os"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

// Root works in a directory of the application's user, who swaps what was just made
// for a link to somebody else's file: at whatever instant, that file stays as it is.
func TestNoLinkOfTheApplicationsIsWrittenThrough(t *testing.T) {
	m := sshd.Start(t, sshd.Options{Sudoers: []string{everything}})
	for what, change := range map[string]struct {
		name string // of what is swapped
		do   func(h hosts.Host, dir string) error
	}{
		"a file is replaced": {".f.1.tmp", func(h hosts.Host, dir string) error {
			return replace(t.Context(), h, filepath.Join(dir, "f"), "old", "new")
		}},
		"a file is made": {".f.1.tmp", func(h hosts.Host, dir string) error {
			return replace(t.Context(), h, filepath.Join(dir, "g"), "", "new")
		}},
		"a directory": {"..orders.us", func(h hosts.Host, dir string) error {
			return h.PublishDir(t.Context(), filepath.Join(dir, "orders"), one)
		}},
	} {
		for at := first(); ; at += stride() {
			dir, theirs := own(t), shared(t)
			putFile(t, nil, dir)
			victim, victims := filepath.Join(theirs, "victim"), filepath.Join(theirs, "victims")
			must(t, os.WriteFile(victim, []byte("vic"), 0o600))
			must(t, os.Mkdir(victims, 0o700))
			h := open(t, config(m, map[string]any{"become": "root"}))
			n := 0
			h.files.step = func(string) {
				n++
				temp := filepath.Join(dir, change.name)
				info, err := os.Lstat(temp)
				if n != at || err != nil {
					return
				}
				to := victim
				if info.IsDir() {
					to = victims
				}
				must(t, os.Rename(temp, temp+"2"))
				must(t, os.Symlink(to, temp))
			}
			err := change.do(h, dir)
			info, statErr := os.Stat(victim)
			must(t, statErr)
			dirInfo, statErr := os.Stat(victims)
			must(t, statErr)
			if got := read(t, victim); got != "vic" || info.Mode() != 0o600 || uidOf(info) != 0 || dirInfo.Mode().Perm() != 0o700 || uidOf(dirInfo) != 0 {
				t.Errorf("%s, %d: the victim is %v of %d with %q, its directory %v of %d; %v", what, at, info.Mode(), uidOf(info), got, dirInfo.Mode(), uidOf(dirInfo), err)
			}
			if n < at {
				break
			}
		}
	}
}
