//go:build linux

package systemd

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	env "patchbay.dev/patchbay/internal/testenv/systemd"
)

// reading: what a unit's process has is what we read, by whatever it comes.
func reading(t *testing.T, w *world) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.env":    "ORDER=a\nA=1\nQUOTED='it''s' \n  SPACED = both  \nPCT=%i\nESC=a\\ b\\\\c\nDOLLAR=\"$HOME \\$HOME\"\n# C=1\n;D=1\nno assignment\nmy-name=1\n1X=1\nEMPTY=\nTWICE=1\nTWICE=2\n",
		"b.env":    "ORDER=b\nB=\"two\nlines\"\nCONT=one\\\ntwo\nHASH=a#b\nSEMI=a;b\nNBSP=\u00a0x\nTRAIL=x   \n\tTAB=x\n",
		".hidden":  "HIDDEN=1\n",
		"[x].env":  "BRACKET=1\n",
		"last.txt": "ORDER=last\nGONE=1\nKEPT=other\n",
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	plain := w.install(t, unitText{})
	plain.begin(t)
	w.does(t, "set-environment", "OF_MANAGER=it's \"set\"", "ORDER=manager")
	t.Cleanup(func() { w.does(t, "unset-environment", "OF_MANAGER", "ORDER") })
	a := w.install(t, unitText{name: fmt.Sprintf("read%d@instance", os.Getpid()), service: strings.ReplaceAll(`
Environment=UNIT=%n "INSTANCE=%i" 'SINGLE=a b' "ESCAPES=\x41\t\"q\" \\ é" PCT=100%% EQ=a=b=c
Environment=ORDER=environment
EnvironmentFile=-DIR/none.env
EnvironmentFile=-DIR/*.env
EnvironmentFile=-DIR/*
EnvironmentFile=DIR/last.txt
UnsetEnvironment=GONE KEPT=one
`, "DIR", dir)})
	a.base = plain.base
	saw, err := a.read()
	must(t, err)
	read := map[string]string{}
	for name, value := range snapshot(t, a.source(t, nil)).Settings {
		read[name] = value.Reveal()
	}
	for _, name := range []string{"A", "B", "ORDER", "BRACKET", "OF_MANAGER", "INSTANCE", "KEPT"} {
		if _, ok := saw.Environment[name]; !ok {
			t.Errorf("the process has no %s", name)
		}
	}
	if !maps.Equal(read, saw.Environment) {
		t.Errorf("ReadSettings gives\n%q\nand the process has\n%q", read, saw.Environment)
	}
}

// TestUserWithoutUnits: what is made on the way to the first drop-in goes with the
// last.
func TestUserWithoutUnits(t *testing.T) {
	w := &world{manager: "user", program: env.Application(t)}
	config := filepath.Dir(filepath.Dir(env.User(t)))
	w.units = filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "systemd", "user")
	must(t, os.MkdirAll(w.units, 0o700))
	must(t, os.RemoveAll(filepath.Join(config, "systemd")))
	a := w.install(t, unitText{})
	a.begin(t)
	before, err := tree(config)
	must(t, err)
	s := a.source(t, nil)
	c, other := change("orders", 1, "PB_A", "1"), change("events", 1, "PB_B", "1")
	had := snapshot(t, s)
	for range 2 {
		write(t, s, c)
		if saw, err := a.read(); err != nil || !maps.Equal(saw.Environment, map[string]string{"PB_A": "1"}) {
			t.Errorf("the application has %v, %v", saw.Environment, err)
		}
		must(t, s.RestoreSettings(t.Context(), c, had))
		if got, err := tree(config); err != nil || got != before {
			t.Errorf("taken back, there is\n%s\nand was\n%s", got, before)
		}
	}
	write(t, s, c)
	write(t, s, other)
	write(t, s, gone(c))
	write(t, s, gone(other))
	if got, err := tree(config); err != nil || got != before {
		t.Errorf("in the end there is\n%s\nand was\n%s", got, before)
	}
}
