//go:build linux

package systemd

import (
	"context"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay/hosts"
)

// TestRightsAreSudoers asks the program that judges them.
func TestRightsAreSudoers(t *testing.T) {
	visudo, err := exec.LookPath("visudo")
	if err != nil {
		t.Skip("sudo is not installed, which reads them")
	}
	var text strings.Builder
	for _, unit := range []string{"web.service", "web@a:b.service", `we\x2db.service`} {
		for _, command := range Rights(unit) {
			text.WriteString("patchbay ALL=(root) NOPASSWD: " + command + "\n")
		}
	}
	file := filepath.Join(t.TempDir(), "sudoers")
	must(t, os.WriteFile(file, []byte(text.String()), 0o440))
	if out, err := exec.CommandContext(t.Context(), visudo, "-cf", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// noting keeps what is run.
type noting struct {
	hosts.Host
	ran map[string]bool
}

func (n noting) Run(ctx context.Context, c hosts.Command) (hosts.Result, error) {
	n.ran[strings.Join(c.Argv, " ")] = true
	return n.Host.Run(ctx, c)
}

// rights: a life of a connection needs no command that is not among them.
func rights(t *testing.T, w *world) {
	if w.manager != "system" {
		t.Skip("a user's own manager takes no rights")
	}
	a := w.install(t, unitText{flags: crashing})
	a.begin(t)
	c := a.config(map[string]any{"deliver": "files"})
	n := noting{c.Host, map[string]bool{}}
	c.Host = n
	s, err := open(c)
	must(t, err)
	both := change("orders", 1, "PB_A", "1", "password", "p")
	both.Set[1].File = true
	had := snapshot(t, s)
	write(t, s, both)
	must(t, s.Restart(t.Context()))
	must(t, s.RestoreSettings(t.Context(), both, had))
	bad := change("orders", 2, "PB_A", "canary-crash")
	write(t, s, bad)
	if s.Restart(t.Context()) == nil {
		t.Error("it came up")
	}
	must(t, s.RestoreSettings(t.Context(), bad, had))
	must(t, s.Restart(t.Context()))
	var allowed []string
	for _, command := range Rights(a.name) {
		// Of a pattern, a star is all that is special, and takes slashes too.
		command = strings.NewReplacer(`\,`, ",", `\=`, "=", `\:`, ":", "/", "|", "[", `\[`).Replace(command)
		allowed = append(allowed, command[strings.LastIndex(command[:strings.IndexByte(command, ' ')], "|")+1:])
	}
	for ran := range n.ran {
		ok := false
		for _, pattern := range allowed {
			match, err := path.Match(pattern, strings.ReplaceAll(ran, "/", "|"))
			must(t, err)
			ok = ok || match
		}
		if !ok {
			t.Errorf("it runs %s, which is not among its rights", ran)
		}
	}
}
