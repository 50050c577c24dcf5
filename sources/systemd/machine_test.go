//go:build linux

package systemd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	env "patchbay.dev/patchbay/internal/testenv/systemd"
)

// TestHostRebootsBetweenTwoSteps: what was written is in force after a boot, told or
// not, and can be taken back.
func TestHostRebootsBetweenTwoSteps(t *testing.T) {
	const kept = "/var/lib/patchbay-kept"
	const units = "/etc/systemd/system"
	told := map[string]bool{"told": true, "untold": false}
	job, program, _ := strings.Cut(os.Getenv(jobVariable), "|")
	w := &world{manager: "system", units: units, program: program}
	app := func(name string) *app {
		return &app{world: w, name: name + ".service", seen: filepath.Join(kept, name), count: filepath.Join(kept, name+".starts")}
	}
	c := change("orders", 1, "PB_A", "1")
	switch job {
	case "":
		program := env.Application(t)
		m := env.Boot(t, filepath.Dir(program), filepath.Dir(os.Args[0]))
		inMachine(t, m, "before|"+program)
		m.Reboot(t)
		inMachine(t, m, "after|"+program)
	case "before":
		must(t, os.MkdirAll(kept, 0o755))
		for name, told := range told {
			a := app(name)
			text := fmt.Sprintf("[Service]\nType=notify\nExecStart=%s -out %s -starts %s\n[Install]\nWantedBy=%s\n", program, a.seen, a.count, env.Target)
			must(t, os.WriteFile(filepath.Join(units, a.name), []byte(text), 0o644))
			w.does(t, "daemon-reload")
			w.does(t, "enable", "--now", a.name)
			config := a.config(nil)
			m := &mortal{Host: config.Host, left: -1}
			if !told {
				m.left, m.after = 3, true // the directory, the file, the drop-in
			}
			config.Host = m
			s, err := open(config)
			must(t, err)
			had := snapshot(t, s)
			must(t, os.WriteFile(a.seen+".content", []byte(had.Content.Reveal()), 0o600))
			must(t, os.WriteFile(a.seen+".version", []byte(had.Version), 0o600))
			must(t, os.WriteFile(a.seen+".before", []byte(a.content(t)), 0o600))
			if _, err := s.WriteSettings(t.Context(), c, had.Version); (err == nil) != told {
				t.Fatalf("%s: WriteSettings = %v", name, err)
			}
		}
	case "after":
		for name := range told {
			a := app(name)
			read := func(what string) string {
				b, err := os.ReadFile(a.seen + what)
				must(t, err)
				return string(b)
			}
			s := a.source(t, nil)
			if state := w.fact(t, a.name, "ActiveState"); state != "active" {
				t.Errorf("%s is %s", name, state)
			}
			if saw, err := a.saw(); err != nil || saw.Environment["PB_A"] != "1" {
				t.Errorf("%s has %v, %v", name, saw.Environment["PB_A"], err)
			}
			_, err := s.WriteSettings(t.Context(), c, read(".version")) // again
			must(t, err)
			must(t, s.Restart(t.Context()))
			before := driver.Snapshot{Version: read(".version"), Content: patchbay.NewSecret(read(".content"))}
			must(t, s.RestoreSettings(t.Context(), c, before))
			must(t, s.Restart(t.Context()))
			if got := a.content(t); got != read(".before") {
				t.Errorf("%s: afterwards there is\n%s\nand was\n%s", name, got, read(".before"))
			}
			if saw, err := a.saw(); err != nil || saw.Environment["PB_A"] != "" {
				t.Errorf("%s has %v, %v", name, saw.Environment["PB_A"], err)
			}
		}
	}
}

// anotherLogin is a unit of somebody else's manager, which root looks after.
func anotherLogin(t *testing.T, w *world) {
	if w.manager != "system" {
		t.Skip("there is no other login beside a manager of a test's own")
	}
	run := func(argv ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no other login can have a manager here: %v: %v %s", argv, err, out)
		}
	}
	run("useradd", "--create-home", "patchbay-user")
	run("systemctl", "start", "systemd-logind")
	run("loginctl", "enable-linger", "patchbay-user")
	const home = "/home/patchbay-user"
	dir := filepath.Join(home, "seen")
	units := filepath.Join(home, ".config/systemd/user")
	run("runuser", "-u", "patchbay-user", "--", "mkdir", "-p", dir, units)
	program := filepath.Join(home, "application")
	run("cp", w.program, program)
	run("chmod", "755", program)
	text := fmt.Sprintf("[Service]\nType=notify\nExecStart=%s -out %s/seen -starts %s/starts\n", program, dir, dir)
	must(t, os.WriteFile(filepath.Join(units, "web.service"), []byte(text), 0o644))
	raw, err := json.Marshal(map[string]any{"manager": "user", "user": "patchbay-user", "deliver": "files", "wait": map[string]string{"steady": "100ms"}})
	must(t, err)
	host := hosts.NewLocal(hosts.DialRules{})
	s, err := open(driver.Config{ID: testID, Endpoint: "web", Properties: raw, Host: host, Dialer: host})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		_, err := s.systemctl(ctx, "start", "web.service")
		if err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Skipf("the other login has no manager: %v", err)
		}
	}
	before, err := tree(units)
	must(t, err)
	c := change("orders", 1, "PB_A", "1", "password", "p")
	c.Set[1].File = true
	write(t, s, c)
	must(t, s.Restart(t.Context()))
	a := &app{world: w, seen: filepath.Join(dir, "seen")}
	saw, err := a.saw()
	must(t, err)
	if saw.Environment["PB_A"] != "1" || saw.Files["orders"]["password"] != "p" {
		t.Errorf("the application has %v and %v", saw.Environment["PB_A"], saw.Files)
	}
	out, err := exec.CommandContext(t.Context(), "find", units, "!", "-type", "l", "!", "-user", "patchbay-user", "!", "-name", "web.service").CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("not the login's own: %s, %v", out, err)
	}
	write(t, s, gone(c))
	if got, err := tree(units); err != nil || got != before {
		t.Errorf("in the end there is\n%s\nand was\n%s", got, before)
	}
	none, err := open(driver.Config{ID: testID, Endpoint: "web", Properties: json.RawMessage(`{"manager":"user","user":"nobody-of-that-name"}`), Host: host, Dialer: host})
	must(t, err)
	_, err = none.Inspect(t.Context())
	refused(t, err, patchbay.SourceNotFound, "no login", "--user")
}

// generated is a unit that a generator made of an init script.
func generated(t *testing.T, w *world) {
	if w.manager != "system" {
		t.Skip("a user has no init scripts")
	}
	const script = "/etc/init.d/patchbay-old"
	must(t, os.WriteFile(script, []byte("#!/bin/sh\n### BEGIN INIT INFO\n# Provides: patchbay-old\n# Default-Start: 2\n# Default-Stop: 0\n### END INIT INFO\necho \"$1 $PB_A\" >> /run/patchbay-old\n"), 0o755))
	t.Cleanup(func() {
		_, _ = w.ctl("stop", "patchbay-old")
		must(t, os.Remove(script))
		_, _ = w.ctl("daemon-reload")
	})
	w.does(t, "daemon-reload")
	if w.fact(t, "patchbay-old", "LoadState") != "loaded" {
		t.Skip("no generator makes units of init scripts here")
	}
	w.does(t, "start", "patchbay-old")
	a := &app{world: w, name: "patchbay-old.service"}
	before := a.content(t)
	s := a.source(t, nil)
	c := change("orders", 1, "PB_A", "1")
	write(t, s, c)
	must(t, s.Restart(t.Context()))
	if b, err := os.ReadFile("/run/patchbay-old"); err != nil || !strings.HasSuffix(string(b), "start 1\n") {
		t.Errorf("the script was called %q, %v", b, err)
	}
	write(t, s, gone(c))
	if got := a.content(t); got != before {
		t.Errorf("in the end there is %s", got)
	}
}
