//go:build linux

package systemd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	env "patchbay.dev/patchbay/internal/testenv/systemd"
)

// world is a real manager, and a program for its units.
type world struct {
	manager string // system, or user
	units   string // where an administrator, or the user, has units
	program string
}

// Both managers have to do with the same tests; the system's runs in a machine of its
// own, and so do its tests, in a process there.
// whole is for make test-systemd.
var whole = flag.Bool("whole", false, "try each value by itself, and often what is tried often")

func TestUserManager(t *testing.T) {
	program := env.Application(t)
	w := &world{manager: "user", units: env.User(t), program: program}
	w.run(t)
}

const jobVariable = "PATCHBAY_TEST_JOB"

func TestSystemManager(t *testing.T) {
	if program, ok := strings.CutPrefix(os.Getenv(jobVariable), "machine|"); ok {
		w := &world{manager: "system", units: "/etc/systemd/system", program: program}
		w.run(t)
		return
	}
	program := env.Application(t)
	m := env.Boot(t, filepath.Dir(program), filepath.Dir(os.Args[0]))
	inMachine(t, m, "machine|"+program)
}

// inMachine runs this test in a process of the machine's.
func inMachine(t *testing.T, m *env.Machine, job string) string {
	t.Helper()
	args := []string{os.Args[0], "-test.v", "-test.run=^" + t.Name() + "$", fmt.Sprintf("-whole=%t", *whole)}
	if only := os.Getenv("PATCHBAY_TEST_ONLY"); only != "" { // for whoever mends one
		args[2] = "-test.run=^" + t.Name() + "$/" + only
	}
	cmd := m.Command(t.Context(), args...)
	cmd.Env = append(os.Environ(), jobVariable+"="+job)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("in the machine: %v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("in the machine:\n%s", out)
	}
	return string(out)
}

// alike are tests in which a user's manager does what the system's does.
var alike = []string{"BadSettings", "Down", "Others", "RefusedUnits", "Reload"}

// run runs the tests that are of either manager.
func (w *world) run(t *testing.T) {
	tests := map[string]func(*testing.T, *world){
		"Suite":        suite,
		"Crashes":      crashes,
		"Reading":      reading,
		"Passed":       passed,
		"LaterFiles":   laterFiles,
		"Others":       others,
		"Files":        fileUpdates,
		"BadDisk":      badDisk,
		"Vantage":      vantage,
		"BadSettings":  badSettings,
		"Down":         downStaysDown,
		"Kinds":        kindsOfUnits,
		"RefusedUnits": refusedUnits,
		"Reload":       reload,
		"Rights":       rights,
		"SSH":          overSSH,
		"Login":        anotherLogin,
		"Generated":    generated,
	}
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		t.Run(name, func(t *testing.T) {
			if w.manager == "user" && !*whole && slices.Contains(alike, name) {
				t.Skip("it is the same for the system's manager: make test-systemd runs it")
			}
			tests[name](t, w)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ctl is an administrator at a terminal.
func (w *world) ctl(args ...string) (string, error) {
	argv := []string{"--no-pager"}
	if w.manager == "user" {
		argv = append(argv, "--user")
	}
	out, err := exec.Command("systemctl", append(argv, args...)...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (w *world) does(t testing.TB, args ...string) string {
	t.Helper()
	out, err := w.ctl(args...)
	must(t, err)
	return out
}

func (w *world) fact(t testing.TB, unit, name string) string {
	t.Helper()
	return w.does(t, "show", "--value", "--property="+name, unit)
}

var number atomic.Int64

// app is a unit of the test application.
type app struct {
	*world
	name        string // with its suffix
	seen, count string // what the application wrote
	reads       int    // how often we started it ourselves
	base        map[string]bool
}

// unitText is a unit of the program.
type unitText struct {
	name    string // web; "" for one that nobody has
	unit    string // more lines of [Unit]
	service string // more lines of [Service]
	kind    string // Type=, notify
	flags   string // of the program
}

// install makes a unit, and loads it. It is gone with the test.
func (w *world) install(t testing.TB, u unitText) *app {
	t.Helper()
	if u.name == "" {
		u.name = fmt.Sprintf("web%d-%d", os.Getpid(), number.Add(1))
	}
	if u.kind == "" {
		u.kind = "notify"
	}
	dir := t.TempDir()
	a := &app{world: w, name: u.name + ".service", seen: filepath.Join(dir, "seen"), count: filepath.Join(dir, "starts")}
	text := fmt.Sprintf("[Unit]\nStartLimitIntervalSec=0\n%s\n[Service]\nType=%s\nExecStart=%s -out %s -starts %s %s\n%s\n[Install]\nWantedBy=%s\n",
		u.unit, u.kind, w.program, a.seen, a.count, u.flags, u.service, env.Target)
	must(t, os.WriteFile(filepath.Join(w.units, a.name), []byte(text), 0o644))
	t.Cleanup(func() {
		_, _ = w.ctl("stop", a.name)
		must(t, errors.Join(os.RemoveAll(filepath.Join(w.units, a.name)), os.RemoveAll(a.dropins())))
		_, _ = w.ctl("daemon-reload")
		_, _ = w.ctl("reset-failed", a.name)
	})
	w.does(t, "daemon-reload")
	return a
}

func (a *app) dropins() string { return filepath.Join(a.units, a.name+".d") }

// started is what the application saw when it was started last.
type started struct {
	Environment map[string]string            `json:"environment"`
	Files       map[string]map[string]string `json:"files"`
}

func (a *app) saw() (s started, err error) {
	b, err := os.ReadFile(a.seen)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

func (a *app) starts() int {
	b, _ := os.ReadFile(a.count)
	return bytes.Count(b, []byte("start\n"))
}

// read starts the application anew, and takes what it saw: it is systemd that judges.
func (a *app) read() (started, error) {
	a.reads++
	if _, err := a.ctl("restart", a.name); err != nil {
		return started{}, err
	}
	s, err := a.saw()
	maps.DeleteFunc(s.Environment, func(name, _ string) bool {
		return a.base[name] || name == "SERVICE_BINDING_ROOT" || name == "CREDENTIALS_DIRECTORY"
	})
	return s, err
}

// awaits is what the application saw, once it has written that: a simple one has
// started before.
func (a *app) awaits(t testing.TB) started {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := a.saw()
		if err == nil && a.starts() > 0 {
			return s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

// begin starts it, and takes what it has without any settings for what everybody has.
func (a *app) begin(t testing.TB) {
	t.Helper()
	a.does(t, "start", a.name)
	s := a.awaits(t)
	a.base = map[string]bool{}
	for name := range s.Environment {
		a.base[name] = true
	}
	a.reads = a.starts()
}

const testID patchbay.ID = "/subscriptions/s/resourceGroups/it's a group/providers/Microsoft.Web/sites/my web"

// config registers the unit; more are properties.
func (a *app) config(more map[string]any) driver.Config {
	p := map[string]any{"wait": map[string]string{"limit": "20s", "steady": "0s"}}
	if a.manager == "user" {
		p["manager"] = "user"
	}
	maps.Copy(p, more)
	raw, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return driver.Config{ID: testID, Endpoint: a.name, Properties: raw, Host: hosts.NewLocal(hosts.DialRules{}), Dialer: hosts.NewLocal(hosts.DialRules{})}
}

func (a *app) source(t testing.TB, more map[string]any) *source {
	t.Helper()
	s, err := open(a.config(more))
	must(t, err)
	return s
}

// tree is all that is at and below some paths: names, modes, links and contents.
func tree(paths ...string) (string, error) {
	var b strings.Builder
	for _, top := range paths {
		err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && p == top {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s %s", p, info.Mode())
			switch {
			case d.Type().IsRegular():
				content, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, " %q", content)
			case d.Type()&fs.ModeSymlink != 0:
				link, err := os.Readlink(p)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, " -> %s", link)
			}
			b.WriteByte('\n')
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func (a *app) content(t testing.TB) string {
	t.Helper()
	text, err := tree(filepath.Join(a.units, a.name), a.dropins())
	must(t, err)
	return text
}

// byHand is somebody else's drop-in with these settings.
func (a *app) byHand(settings map[string]string) error {
	text := "[Service]\n"
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "\n", `\n`).Replace(settings[name])
		text += fmt.Sprintf("Environment=\"%s=%s\"\n", name, value)
	}
	if err := os.MkdirAll(a.dropins(), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(a.dropins(), "override.conf"), []byte(text), 0o644); err != nil {
		return err
	}
	_, err := a.ctl("daemon-reload")
	return err
}

// change is a connection's.
func change(name string, generation int64, settings ...string) driver.Change {
	c := driver.Change{Mark: driver.Mark{UID: "u-" + name, Generation: generation, Connection: testID.Linker(name)}, Name: name}
	for i := 0; i < len(settings); i += 2 {
		c.Set = append(c.Set, patchbay.Setting{Name: settings[i], Value: patchbay.NewSecret(settings[i+1]), Secret: true})
	}
	return c
}

// files makes files of a change's settings.
func files(c driver.Change) driver.Change {
	for i := range c.Set {
		c.Set[i].File = true
	}
	return c
}

func gone(c driver.Change) driver.Change {
	return driver.Change{Mark: c.Mark, Name: c.Name, Had: c.Set}
}

func snapshot(t testing.TB, s driver.Source) driver.Snapshot {
	t.Helper()
	now, err := s.ReadSettings(context.Background())
	must(t, err)
	return now
}

func write(t testing.TB, s driver.Source, c driver.Change) {
	t.Helper()
	_, err := s.WriteSettings(context.Background(), c, snapshot(t, s).Version)
	must(t, err)
}

// refused fails unless err has that code, and its message those words.
func refused(t testing.TB, err error, code patchbay.Code, words ...string) {
	t.Helper()
	if patchbay.CodeOf(err) != code {
		t.Errorf("the error is %v, want %s", err, code)
		return
	}
	text := err.Error() + "\n" + patchbay.AsError(err).Fix
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("the error says %q, without %q", text, w)
		}
	}
}
