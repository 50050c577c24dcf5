package ssh

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Each shell that a login may have, where it is there, reads what was meant. csh reads
// everything but a line break: there is no way to write one that it and the others
// read alike.
func FuzzShellsReadWhatIsQuoted(f *testing.F) {
	for _, arg := range told {
		f.Add(arg)
	}
	shells := []string{}
	for _, name := range []string{"sh", "bash", "zsh", "fish", "tcsh"} {
		if path, err := exec.LookPath(name); err == nil {
			shells = append(shells, path)
		}
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if strings.ContainsRune(arg, 0) {
			return
		}
		for _, shell := range shells {
			csh := strings.HasSuffix(shell, "csh")
			if csh && (strings.ContainsAny(arg, "\n") || slices.ContainsFunc([]byte(arg), func(b byte) bool { return b >= 0x80 })) {
				continue
			}
			cmd := exec.CommandContext(t.Context(), shell, "-c", quote([]string{"printf", "%s", "x" + arg}))
			cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C.UTF-8"}
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != "x"+arg {
				t.Errorf("%s reads %q of %q, %v", shell, out, arg, err)
			}
		}
	})
}
