//go:build linux

package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/sources/internal/environmentfile"
)

// layout is one way in which a unit may have its own settings.
type layout struct {
	of    string // the manager that is tried with it
	file  bool   // in an EnvironmentFile=, not in a drop-in
	empty bool   // there is a directory for drop-ins, with nothing in it
	files bool
	name  string
}

var layouts = []layout{
	{of: "user"},
	{of: "system", file: true, files: true, empty: true, name: `we\x2db%d@1`},
}

func suite(t *testing.T, w *world) {
	for _, l := range layouts {
		if l.of != w.manager {
			continue
		}
		t.Run(fmt.Sprintf("file=%t,files=%t", l.file, l.files), func(t *testing.T) {
			h := drivertest.SourceHarness{
				Sample: !*whole, Watches: true,
				Driver: Driver(), New: func(t testing.TB) drivertest.SourcePlace { return w.place(t, l) },
				Values: []string{
					"one\ntwo\n", "\n", "\n\n", "it's\n\"two\"\n", "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n",
					"cr\rlf\r\n", "\r", "a\\\nb", "#\n#", "K=1\nPB_AFTER=stolen", "'\nPB_AFTER='x", "\"\nPB_AFTER=\"x", "\x01\x7f", strings.Repeat("x", 100_000),
				},
				Refused: map[string]patchbay.Setting{},
			}
			for what, s := range map[string][2]string{
				"dots": {"spring.datasource.url", "canary"}, "dashes": {"my-name", "canary"}, "digit": {"1A", "canary"},
				"path": {"PATH", "canary"}, "socket": {"LISTEN_FDS", "canary"}, "family": {"LC_ALL", "canary"}, "root": {"SERVICE_BINDING_ROOT", "canary"},
				"no UTF-8": {"A", "canary\xff"}, "no character": {"A", "canary\uFFFF"}, "another": {"A", "canary\uFDD0"},
				"too long": {"A", strings.Repeat("canary", 22_000)},
			} {
				h.Refused[what] = patchbay.Setting{Name: s[0], Value: patchbay.NewSecret(s[1])}
			}
			drivertest.Source(t, h)
		})
	}
}

func (w *world) place(t testing.TB, l layout) drivertest.SourcePlace {
	u := unitText{}
	if l.name != "" {
		u.name = fmt.Sprintf(l.name, number.Add(1))
	}
	theirs := filepath.Join(t.TempDir(), "theirs 1.env")
	if l.file {
		u.service = "EnvironmentFile=-" + strings.ReplaceAll(theirs, "1", "?")
	}
	a := w.install(t, u)
	if l.empty {
		must(t, os.Mkdir(a.dropins(), 0o755))
	}
	a.begin(t)
	set := map[string]string{}
	more := map[string]any{"egress": []string{"127.0.0.1/32", "fd00::/64"}}
	p := drivertest.SourcePlace{
		Read: func() (map[string]string, error) {
			s, err := a.read()
			return s.Environment, err
		},
		Content: func() (string, error) { return tree(filepath.Join(w.units, a.name), a.dropins(), theirs) },
		Set: func(name, value string) error {
			set[name] = value
			if !l.file {
				return a.byHand(set)
			}
			text := "# theirs\n"
			for name, value := range set {
				text += name + "=" + environmentfile.Quote(value) + "\n"
			}
			return os.WriteFile(theirs, []byte(text), 0o600)
		},
		Leftovers: func() ([]string, error) {
			var left []string
			err := filepath.WalkDir(a.dropins(), func(p string, _ fs.DirEntry, err error) error {
				if strings.HasSuffix(p, ".tmp") || strings.HasSuffix(p, "_tmp") {
					left = append(left, p)
				}
				return err
			})
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return left, err
		},
		Restarts: func() (int, error) { return a.starts() - a.reads, nil },
		Remove: func() error {
			_, err := a.ctl("stop", a.name)
			_, reload := a.ctl("daemon-reload")
			return errors.Join(err, os.Remove(filepath.Join(w.units, a.name)), reload, func() error { _, err := a.ctl("daemon-reload"); return err }())
		},
	}
	if l.files {
		more["deliver"] = "files"
		p.ReadFiles = func(connection string) (map[string]string, error) {
			s, err := a.read()
			return maps.Clone(s.Files[connection]), err
		}
	}
	text, err := os.ReadFile(filepath.Join(w.units, a.name))
	must(t, err)
	p.Make = func() error {
		clear(set)
		err := errors.Join(os.RemoveAll(a.dropins()), os.RemoveAll(theirs), os.WriteFile(filepath.Join(w.units, a.name), text, 0o644))
		for _, args := range [][]string{{"daemon-reload"}, {"start", a.name}} {
			_, done := a.ctl(args...)
			err = errors.Join(err, done)
		}
		return err
	}
	p.Bounce = func() error {
		_, err := a.ctl("restart", a.name)
		return err
	}
	p.Config = a.config(more)
	return p
}
