//go:build linux

package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// now is what the application has when it is started, and what is read of that.
func (a *app) now(t *testing.T, s *source) (has, read map[string]string) {
	t.Helper()
	saw, err := a.read()
	must(t, err)
	read = map[string]string{}
	for name, value := range snapshot(t, s).Settings {
		read[name] = value.Reveal()
	}
	return saw.Environment, read
}

// passed: what a manager hands on of its own is a name that somebody has, and is there
// again when ours goes.
func passed(t *testing.T, w *world) {
	plain := w.install(t, unitText{})
	plain.begin(t)
	conf := filepath.Join(filepath.Dir(w.units), w.manager+".conf.d", "patchbay-test.conf")
	must(t, os.MkdirAll(filepath.Dir(conf), 0o755))
	t.Cleanup(func() {
		must(t, os.RemoveAll(filepath.Dir(conf)))
		w.does(t, "daemon-reload")
	})
	must(t, os.WriteFile(conf, []byte("[Manager]\nManagerEnvironment=PB_PASSED=theirs\nDefaultEnvironment=PB_DEFAULT=theirs\n"), 0o644))
	w.does(t, "daemon-reload")
	a := w.install(t, unitText{service: "PassEnvironment=PB_PASSED PB_ALSO\nEnvironment=PB_ALSO=of-the-unit\n"})
	a.base = plain.base
	before := a.content(t)
	s := a.source(t, nil)
	has, read := a.now(t, s)
	for _, name := range []string{"PB_PASSED", "PB_DEFAULT", "PB_ALSO"} {
		if _, ok := has[name]; !ok {
			t.Errorf("the application has no %s: %q", name, has)
		}
	}
	for name, value := range has {
		if got, ok := read[name]; !ok || got != value && name != "PB_PASSED" {
			t.Errorf("%s is read as %q, %t, and the application has %q", name, got, ok, value)
		}
	}
	c := change("orders", 1, "PB_PASSED", "ours", "PB_DEFAULT", "ours", "PB_ALSO", "ours")
	write(t, s, c)
	has, read = a.now(t, s)
	for name := range map[string]bool{"PB_PASSED": true, "PB_DEFAULT": true, "PB_ALSO": true} {
		if has[name] != "ours" || read[name] != "ours" {
			t.Errorf("taken over, the application has %s=%q, and read is %q", name, has[name], read[name])
		}
	}
	write(t, s, gone(c))
	has, _ = a.now(t, s)
	if has["PB_PASSED"] != "theirs" || has["PB_DEFAULT"] != "theirs" || has["PB_ALSO"] != "of-the-unit" {
		t.Errorf("in the end the application has %q", has)
	}
	if got := a.content(t); got != before {
		t.Errorf("in the end there is %s", got)
	}
}

// laterFiles: files and lines that others come to have after ours was written. What the
// process gets of it is what is read.
func laterFiles(t *testing.T, w *world) {
	dir := t.TempDir()
	plain := w.install(t, unitText{})
	plain.begin(t)
	a := w.install(t, unitText{})
	a.base = plain.base
	must(t, os.MkdirAll(a.dropins(), 0o755))
	theirs := func(name, text string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(a.dropins(), name), []byte("[Service]\n"+text+"\n"), 0o644))
		w.does(t, "daemon-reload")
	}
	early, late := filepath.Join(dir, "early.env"), filepath.Join(dir, "late.env")
	theirs("10-early.conf", "EnvironmentFile=-"+early)
	theirs("90-late.conf", "EnvironmentFile=-"+late)
	s := a.source(t, nil)
	c := change("orders", 1, "PB_A", "ours", "PB_B", "ours")
	write(t, s, c)
	agree := func(when, a1, b1 string) {
		t.Helper()
		has, read := a.now(t, s)
		for name, want := range map[string]string{"PB_A": a1, "PB_B": b1} {
			if got, there := has[name]; got != want || there != (want != "") || read[name] != got {
				t.Errorf("%s: the application has %s=%q and read is %q, want %q", when, name, got, read[name], want)
			}
		}
	}
	agree("neither file is there", "ours", "ours")
	must(t, os.WriteFile(early, []byte("PB_A=early\n"), 0o600))
	agree("an earlier file", "ours", "ours")
	must(t, os.WriteFile(late, []byte("PB_A=late\n"), 0o600))
	agree("a later file", "late", "ours")
	// Writing it once more changes nothing of that, and says whose file it is.
	_, err := s.WriteSettings(t.Context(), c, snapshot(t, s).Version)
	refused(t, err, patchbay.SettingsUnwritable, "PB_A", late, "systemctl")
	must(t, os.Remove(late))
	theirs("95-unset.conf", "UnsetEnvironment=PB_A PB_B=another")
	agree("a name is taken away", "", "ours")
	refused(t, s.CheckChange(t.Context(), c), patchbay.InvalidArgument, "PB_A", "UnsetEnvironment=")
	theirs("95-unset.conf", "UnsetEnvironment=PB_B=ours")
	agree("a name with its value is taken away", "ours", "")
	err = s.CheckChange(t.Context(), c)
	refused(t, err, patchbay.InvalidArgument, "PB_B", "UnsetEnvironment=")
	if err != nil && strings.Contains(err.Error(), "ours") {
		t.Errorf("the error shows a setting: %v", err)
	}
	must(t, os.Remove(filepath.Join(a.dropins(), "95-unset.conf")))
	w.does(t, "daemon-reload")
	agree("it is given back", "ours", "ours")
	write(t, s, gone(c))
	agree("in the end", "early", "")
}
