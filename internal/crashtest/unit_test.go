package crashtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay/internal/testenv/systemd"
)

// units counts them.
var units atomic.Int64

// unit is a service of a user's manager, with a drop-in that somebody else has.
type unit struct {
	dir    string // of the units
	name   string // no other manager's: their processes would share a control group
	seen   string // what its process was started with
	text   string
	others map[string]bool // variables that it has without us
}

const theirDropin = "[Service]\nEnvironment=\"A=1 # 2\"\n"

func newUnit(t *testing.T, _ string) source {
	program := systemd.Application(t)
	u := &unit{dir: systemd.User(t), seen: filepath.Join(t.TempDir(), "seen"), others: map[string]bool{}}
	u.name = fmt.Sprintf("web%d-%d.service", os.Getpid(), units.Add(1))
	u.text = fmt.Sprintf("# kept\n[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nRestart=on-failure\nExecStart=%s -out %s\n", program, u.seen)
	for name, text := range map[string]string{u.name: u.text, u.name + ".d/override.conf": theirDropin} {
		path := filepath.Join(u.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"daemon-reload"}, {"start", u.name}} {
		if _, err := u.ctl(args...); err != nil {
			t.Fatal(err)
		}
	}
	all, err := u.settings()
	if err != nil {
		t.Fatal(err)
	}
	for name := range all {
		u.others[name] = true
	}
	return u
}

func (u *unit) ctl(args ...string) (string, error) {
	out, err := exec.Command("systemctl", append([]string{"--user"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("systemctl %v: %w: %s", args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (u *unit) resource() (string, map[string]any) {
	return "Microsoft.Web/sites/web", map[string]any{"properties": map[string]any{
		"driver": "systemd", "endpoint": u.name, "manager": "user", "wait": map[string]any{"steady": "100ms"},
	}}
}

func (u *unit) settings() (map[string]string, error) {
	text, err := os.ReadFile(u.seen)
	var seen struct {
		Environment map[string]string `json:"environment"`
	}
	if err == nil {
		err = json.Unmarshal(text, &seen)
	}
	for name := range u.others {
		delete(seen.Environment, name)
	}
	return seen.Environment, err
}

// content is all that is in the directory of units, whether it runs, and what its
// process has.
func (u *unit) content() string {
	var b strings.Builder
	err := filepath.WalkDir(u.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v\n", strings.TrimPrefix(path, u.dir), info.Mode())
		if !d.IsDir() {
			text, err := os.ReadFile(path)
			b.Write(text)
			return err
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	state, err := u.ctl("show", "--property=ActiveState,NeedDaemonReload,EnvironmentFiles,DropInPaths", u.name)
	all, readErr := u.settings()
	return fmt.Sprintf("%s%s\n%q\n%v", b.String(), state, all, errors.Join(err, readErr))
}

func (u *unit) kept() error {
	text := u.content()
	for _, part := range []string{u.text, theirDropin, "/override.conf -rw-r-----", "ActiveState=active", "NeedDaemonReload=no"} {
		if !strings.Contains(text, part) {
			return fmt.Errorf("what was there is not any more: %q is not in\n%s", part, text)
		}
	}
	return nil
}

func (u *unit) untouched() error {
	all, err := u.settings()
	if len(all) > 0 {
		err = fmt.Errorf("it runs with %d settings", len(all))
	}
	if text := u.content(); strings.Contains(text, "50-patchbay") {
		err = errors.Join(err, fmt.Errorf("there is\n%s", text))
	}
	return errors.Join(err, u.kept())
}

var ofConnections = regexp.MustCompile(`^(override\.conf|50-patchbay-[a-z0-9]+\.(conf|env))$`)

func (u *unit) beside() error {
	entries, err := os.ReadDir(filepath.Join(u.dir, u.name+".d"))
	for _, e := range entries {
		if !ofConnections.MatchString(e.Name()) {
			err = errors.Join(err, fmt.Errorf("beside the drop-ins there is %s", e.Name()))
		}
	}
	return err
}

func (u *unit) holds(string) bool { return false } // they are nowhere near the server's
