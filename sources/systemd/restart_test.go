//go:build linux

package systemd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// crashing fails, hangs or ends with these.
const crashing = "-crash PB_A=canary-crash -mute PB_A=canary-mute -later PB_A=canary-later"

// With settings that it does not take, a unit is put back as it was, and runs.
func badSettings(t *testing.T, w *world) {
	for _, kind := range []struct {
		name, kind, service, value string
		words                      []string
	}{
		{"crash, notify", "notify", "", "canary-crash", []string{"exit code 3"}},
		{"crash, simple", "simple", "", "canary-crash", []string{"exit code 3"}},
		{"crash loop", "simple", "Restart=always\nRestartSec=20ms", "canary-crash", []string{"exit code 3"}},
		{"never ready", "notify", "TimeoutStartSec=1", "canary-mute", []string{"TimeoutStartSec"}},
		{"longer than we wait", "notify", "", "canary-mute", []string{"did not come up in 2s", "activating"}},
		{"ends when it is up", "notify", "", "canary-later", []string{"exit code 4"}},
		{"ends and starts again", "notify", "Restart=on-failure\nRestartSec=10ms", "canary-later", []string{"ended again"}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			a := w.install(t, unitText{kind: kind.kind, service: kind.service, flags: crashing})
			a.begin(t)
			before := a.content(t)
			limit := "20s"
			if kind.name == "longer than we wait" {
				limit = "2s"
			}
			s := a.source(t, map[string]any{"wait": map[string]string{"limit": limit, "steady": "1s"}})
			had := snapshot(t, s)
			c := change("orders", 1, "PB_A", kind.value)
			write(t, s, c)
			err := s.Restart(t.Context())
			refused(t, err, patchbay.RestartFailed, append(kind.words, a.name, "status")...)
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error shows a setting: %v", err)
			}
			if w.manager == "system" && strings.HasPrefix(kind.name, "crash") && !strings.Contains(err.Error(), "no database, no application") {
				t.Errorf("the error has not what the unit said last: %v", err)
			}
			must(t, s.RestoreSettings(t.Context(), c, had))
			must(t, s.Restart(t.Context()))
			if got := a.content(t); got != before {
				t.Errorf("afterwards there is\n%s\nand was\n%s", got, before)
			}
			if state := w.fact(t, a.name, "ActiveState"); state != "active" {
				t.Errorf("afterwards it is %s", state)
			}
			if saw, err := a.saw(); err != nil || saw.Environment["PB_A"] != "" {
				t.Errorf("afterwards it has %v, %v", saw, err)
			}
		})
	}
}

// What is down stays down, and an undo does not start it either.
func downStaysDown(t *testing.T, w *world) {
	for _, down := range []string{"never started", "stopped", "failed"} {
		t.Run(down, func(t *testing.T) {
			a := w.install(t, unitText{flags: crashing})
			switch down {
			case "stopped":
				a.begin(t)
				w.does(t, "stop", a.name)
			case "failed":
				must(t, a.byHand(map[string]string{"PB_A": "canary-crash"}))
				_, _ = w.ctl("start", a.name)
			}
			state := w.fact(t, a.name, "ActiveState")
			n := a.starts()
			s := a.source(t, nil)
			info, err := s.Inspect(t.Context())
			must(t, err)
			if said := strings.Contains(strings.Join(info.Warnings, "\n"), "has failed"); said != (down == "failed") {
				t.Errorf("Inspect says %q", info.Warnings)
			}
			had := snapshot(t, s)
			c := change("orders", 1, "PB_B", "1")
			advice, err := s.Advise(t.Context(), c)
			if err != nil || !strings.Contains(strings.Join(advice, "\n"), "is not running") {
				t.Errorf("Advise says %q, %v", advice, err)
			}
			write(t, s, c)
			must(t, s.Restart(t.Context()))
			if got := w.fact(t, a.name, "ActiveState"); got != state || a.starts() != n {
				t.Errorf("it was %s and is %s; it was started %d times", state, got, a.starts()-n)
			}
			must(t, s.RestoreSettings(t.Context(), c, had))
			must(t, s.Restart(t.Context()))
			if got := w.fact(t, a.name, "ActiveState"); got != state || a.starts() != n {
				t.Errorf("after an undo it is %s; it was started %d times", got, a.starts()-n)
			}
		})
	}
}

// Every kind of unit gets its settings by what is a restart of it.
func kindsOfUnits(t *testing.T, w *world) {
	restart := func(t *testing.T, s *source, a *app) map[string]string {
		t.Helper()
		write(t, s, change("orders", 1, "PB_A", "1"))
		must(t, s.Restart(t.Context()))
		saw, err := a.saw()
		must(t, err)
		return saw.Environment
	}
	for _, kind := range []string{"simple", "exec", "notify", "idle"} {
		t.Run(kind, func(t *testing.T) {
			a := w.install(t, unitText{kind: kind})
			a.does(t, "start", a.name)
			s := a.source(t, map[string]any{"wait": map[string]string{"steady": "500ms"}})
			if got := restart(t, s, a); got["PB_A"] != "1" {
				t.Errorf("it has %v", got)
			}
		})
	}
	t.Run("oneshot that remains", func(t *testing.T) {
		a := w.install(t, unitText{kind: "oneshot", flags: "-once", service: "RemainAfterExit=yes"})
		a.begin(t)
		if got := restart(t, a.source(t, nil), a); got["PB_A"] != "1" || a.starts() != 2 {
			t.Errorf("it has %v after %d starts", got, a.starts())
		}
	})
	t.Run("oneshot that a timer runs", func(t *testing.T) {
		a := w.install(t, unitText{kind: "oneshot", flags: "-once"})
		if restartErr := a.source(t, nil).Restart(t.Context()); restartErr != nil || a.starts() != 0 {
			t.Errorf("a restart of what is not running: %v, and %d starts", restartErr, a.starts())
		}
		write(t, a.source(t, nil), change("orders", 1, "PB_A", "1"))
		a.does(t, "start", a.name)
		if saw, err := a.saw(); err != nil || saw.Environment["PB_A"] != "1" {
			t.Errorf("the next run has %v, %v", saw, err)
		}
	})
	t.Run("oneshot at work", func(t *testing.T) {
		a := w.install(t, unitText{kind: "oneshot"}) // it goes on until it is told
		a.does(t, "start", "--no-block", a.name)
		a.awaits(t)
		s := a.source(t, map[string]any{"wait": map[string]string{"limit": "1s"}})
		refused(t, s.Restart(t.Context()), patchbay.RestartFailed, "for longer than 1s")
		ended := make(chan error)
		go func() { ended <- a.source(t, nil).Restart(t.Context()) }()
		a.does(t, "kill", a.name)
		must(t, <-ended)
		if a.starts() != 1 {
			t.Errorf("work was broken off and begun again: %d starts", a.starts())
		}
	})
	t.Run("asked to start, and waiting", func(t *testing.T) {
		first := w.install(t, unitText{kind: "oneshot"}) // it goes on until it is told
		a := w.install(t, unitText{unit: "After=" + first.name})
		first.does(t, "start", "--no-block", first.name)
		first.awaits(t)
		a.does(t, "start", "--no-block", a.name)
		must(t, a.source(t, map[string]any{"wait": map[string]string{"limit": "1s"}}).Restart(t.Context()))
		ended := make(chan error)
		go func() { ended <- a.source(t, nil).Restart(t.Context()) }()
		first.does(t, "kill", first.name)
		must(t, <-ended)
		if saw := a.awaits(t); saw.Environment == nil || w.fact(t, a.name, "ActiveState") != "active" {
			t.Errorf("it is %s", w.fact(t, a.name, "ActiveState"))
		}
	})
	t.Run("socket", func(t *testing.T) {
		a := w.install(t, unitText{}) // one that says when it has read its settings
		socket := strings.TrimSuffix(a.name, ".service") + ".socket"
		path := filepath.Join(w.units, socket)
		must(t, os.WriteFile(path, []byte("[Socket]\nListenStream="+filepath.Join(t.TempDir(), "s")+"\n"), 0o644))
		t.Cleanup(func() {
			_, _ = w.ctl("stop", socket)
			must(t, os.Remove(path))
		})
		w.does(t, "daemon-reload")
		w.does(t, "start", socket)
		s := a.source(t, nil)
		write(t, s, change("orders", 1, "PB_A", "1"))
		must(t, s.Restart(t.Context()))
		if a.starts() != 0 {
			t.Error("it was started before anybody spoke to it")
		}
		a.does(t, "start", a.name)
		must(t, s.Restart(t.Context()))
		if saw, err := a.saw(); err != nil || saw.Environment["PB_A"] != "1" || a.starts() != 2 {
			t.Errorf("it has %v, %v after %d starts", saw, err, a.starts())
		}
	})
	t.Run("alias", func(t *testing.T) {
		a := w.install(t, unitText{})
		alias := "alias-" + a.name
		must(t, os.Symlink(a.name, filepath.Join(w.units, alias)))
		t.Cleanup(func() { must(t, os.Remove(filepath.Join(w.units, alias))) })
		w.does(t, "daemon-reload")
		a.begin(t)
		b := *a
		b.name = alias
		s := b.source(t, nil)
		if got := restart(t, s, a); got["PB_A"] != "1" {
			t.Errorf("it has %v", got)
		}
		write(t, a.source(t, nil), gone(change("orders", 1, "PB_A", "1")))
	})
	t.Run("started too often", func(t *testing.T) {
		a := w.install(t, unitText{unit: "StartLimitIntervalSec=60\nStartLimitBurst=2"})
		a.begin(t)
		for range 4 {
			must(t, a.source(t, nil).Restart(t.Context()))
		}
	})
}

// Units that settings would do nothing for are refused before anything is written, and
// what is ours can be taken away from them all the same.
func refusedUnits(t *testing.T, w *world) {
	c := change("orders", 1, "PB_A", "1")
	try := func(t *testing.T, s *source, content func() string, code patchbay.Code, words ...string) {
		t.Helper()
		before := content()
		_, err := s.Inspect(t.Context())
		refused(t, err, code, words...)
		refused(t, s.CheckChange(t.Context(), c), code, words...)
		_, err = s.WriteSettings(t.Context(), c, "")
		if err == nil {
			t.Error("it is written")
		}
		if got := content(); got != before {
			t.Errorf("there is %s", got)
		}
	}
	t.Run("masked", func(t *testing.T) {
		a := w.install(t, unitText{})
		a.begin(t)
		s := a.source(t, nil)
		empty := a.content(t)
		write(t, s, c)
		file := filepath.Join(w.units, a.name)
		text, err := os.ReadFile(file)
		must(t, err)
		must(t, os.Remove(file))
		w.does(t, "mask", a.name)
		w.does(t, "daemon-reload")
		try(t, s, func() string { return a.content(t) }, patchbay.NotSupported, "masked", "unmask")
		_, err = s.WriteSettings(t.Context(), gone(c), snapshot(t, s).Version)
		must(t, err)
		w.does(t, "unmask", a.name)
		must(t, os.WriteFile(file, text, 0o644))
		if got := a.content(t); got != empty {
			t.Errorf("there is\n%s\nand was\n%s", got, empty)
		}
	})
	t.Run("broken", func(t *testing.T) {
		a := w.install(t, unitText{})
		must(t, os.WriteFile(filepath.Join(w.units, a.name), []byte("[Service]\nType=notify\n"), 0o644))
		w.does(t, "daemon-reload")
		try(t, a.source(t, nil), func() string { return a.content(t) }, patchbay.NotSupported, "can't load", "verify")
	})
	t.Run("not there", func(t *testing.T) {
		a := w.install(t, unitText{})
		must(t, os.Remove(filepath.Join(w.units, a.name)))
		w.does(t, "daemon-reload")
		try(t, a.source(t, nil), func() string { return a.content(t) }, patchbay.SourceNotFound, "no unit", "list-unit-files")
	})
	t.Run("gone, and its drop-ins not", func(t *testing.T) {
		a := w.install(t, unitText{})
		s := a.source(t, nil)
		had := snapshot(t, s)
		write(t, s, c)
		must(t, os.Remove(filepath.Join(w.units, a.name)))
		w.does(t, "daemon-reload")
		_, err := s.WriteSettings(t.Context(), gone(c), had.Version)
		refused(t, err, patchbay.SourceNotFound)
		if got := a.content(t); got != "" {
			t.Errorf("there is %s", got)
		}
	})
	t.Run("not to be stopped by hand", func(t *testing.T) {
		a := w.install(t, unitText{unit: "RefuseManualStop=yes"})
		try(t, a.source(t, nil), func() string { return a.content(t) }, patchbay.NotSupported, "RefuseManual", "edit")
	})
	t.Run("transient", func(t *testing.T) {
		a := w.install(t, unitText{})
		name := "run-" + a.name
		run := []string{"systemd-run", "--unit=" + name, "--quiet", "sleep", "60"}
		if w.manager == "user" {
			run = append([]string{run[0], "--user"}, run[1:]...)
		}
		if out, err := a.source(t, nil).run(t.Context(), run...); err != nil {
			t.Fatal(err, out)
		}
		t.Cleanup(func() { w.does(t, "stop", name) })
		a.name = name
		try(t, a.source(t, nil), func() string { return a.content(t) }, patchbay.NotSupported, "systemd-run")
	})
	t.Run("takes names away", func(t *testing.T) {
		a := w.install(t, unitText{service: "UnsetEnvironment=PB_A"})
		refused(t, a.source(t, nil).CheckChange(t.Context(), c), patchbay.InvalidArgument, "UnsetEnvironment", "PB_A")
	})
	t.Run("takes files back", func(t *testing.T) {
		a := w.install(t, unitText{})
		must(t, os.Mkdir(a.dropins(), 0o755))
		must(t, os.WriteFile(filepath.Join(a.dropins(), "override.conf"), []byte("[Service]\nEnvironmentFile=\n"), 0o644))
		w.does(t, "daemon-reload")
		refused(t, a.source(t, nil).CheckChange(t.Context(), c), patchbay.SettingsUnwritable, "override.conf", "takes back")
	})
	t.Run("another file comes later", func(t *testing.T) {
		a := w.install(t, unitText{})
		theirs := filepath.Join(t.TempDir(), "env")
		must(t, os.WriteFile(theirs, []byte("PB_A=theirs\n"), 0o600))
		must(t, os.Mkdir(a.dropins(), 0o755))
		must(t, os.WriteFile(filepath.Join(a.dropins(), "override.conf"), []byte("[Service]\nEnvironmentFile="+theirs+"\n"), 0o644))
		w.does(t, "daemon-reload")
		s := a.source(t, nil)
		before, had := a.content(t), snapshot(t, s)
		_, err := s.WriteSettings(t.Context(), c, had.Version)
		refused(t, err, patchbay.SettingsUnwritable, theirs, "does not get to")
		must(t, s.RestoreSettings(t.Context(), c, had))
		if got := a.content(t); got != before {
			t.Errorf("there is %s", got)
		}
	})
}

// A reload is for units whose command of it reads settings, and says what it can't do.
func reload(t *testing.T, w *world) {
	with := map[string]any{"reload": true}
	t.Run("has none", func(t *testing.T) {
		a := w.install(t, unitText{})
		_, err := a.source(t, with).Inspect(t.Context())
		refused(t, err, patchbay.NotSupported, "ExecReload", "without --reload")
	})
	t.Run("is a signal", func(t *testing.T) {
		a := w.install(t, unitText{service: "ExecReload=/bin/kill -HUP $MAINPID"})
		_, err := a.source(t, with).Inspect(t.Context())
		refused(t, err, patchbay.NotSupported, "signal", "without --reload")
	})
	t.Run("reads settings", func(t *testing.T) {
		dir := t.TempDir()
		a := w.install(t, unitText{service: `ExecReload=/bin/sh -c 'echo "$PB_A" > ` + dir + `/reloaded; kill -HUP "$MAINPID"'`})
		a.begin(t)
		s := a.source(t, with)
		info, err := s.Inspect(t.Context())
		must(t, err)
		if !strings.Contains(strings.Join(info.Warnings, "\n"), "ExecReload=") {
			t.Errorf("Inspect says %q", info.Warnings)
		}
		pid := w.fact(t, a.name, "MainPID")
		write(t, s, change("orders", 1, "PB_A", "one"))
		must(t, s.Restart(t.Context()))
		if b, err := os.ReadFile(filepath.Join(dir, "reloaded")); err != nil || string(b) != "one\n" {
			t.Errorf("its reload read %q, %v", b, err)
		}
		if got := w.fact(t, a.name, "MainPID"); got != pid || a.starts() != 1 {
			t.Error("it was restarted")
		}
	})
	t.Run("fails", func(t *testing.T) {
		a := w.install(t, unitText{service: "ExecReload=/bin/false"})
		a.begin(t)
		refused(t, a.source(t, with).Restart(t.Context()), patchbay.RestartFailed, "reload")
	})
	t.Run("with files", func(t *testing.T) {
		_, err := open((&app{world: w, name: "web.service"}).config(map[string]any{"reload": true, "deliver": "files"}))
		refused(t, err, patchbay.InvalidArgument, "credentials")
	})
}

func TestUnitNames(t *testing.T) {
	for endpoint, want := range map[string]string{
		"web": "web.service", "web.service": "web.service", "web@1": "web@1.service", "web@a-b.service": "web@a-b.service", `we\x2db`: `we\x2db.service`,
		"web.target": "", "web.timer": "", "web@": "", "web@.service": "", "": "", ".service": "", "-x": "", "a b": "", "../x": "", "a/b": "", "--now": "", "a\nb": "", "web.v2": "web.v2.service",
	} {
		got, err := unitName(endpoint)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("unitName(%q) = %q, %v", endpoint, got, err)
		}
	}
	for _, p := range []string{`{"user":"bob"}`, `{"manager":"user","user":"-x"}`, `{"manager":"user","user":"a b"}`, `{"wait":{"limit":"1h"}}`, `{"egress":["x"]}`, `{"deliver":"disk"}`} {
		_, err := open(driver.Config{ID: testID, Endpoint: "web", Properties: json.RawMessage(p)})
		if patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("open with %s: %v", p, err)
		}
	}
}
