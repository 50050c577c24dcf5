package systemd

import (
	"path/filepath"
	"slices"
	"strings"
)

// Rights are the commands, as sudoers(5) writes them, that a login which is not root
// needs on its host for a unit of the system, besides those for files that every kind of
// source needs there. Whoever may write a drop-in of a unit that runs as root is root:
// they keep mistakes small, and nobody out.
func Rights(unit string) []string {
	dir := filepath.Join(systemUnits, unit+".d")
	bindings := place{dir: dir}.bindings()
	systemctl := func(args ...string) []string {
		return append([]string{"/usr/bin/systemctl", "--no-ask-password", "--no-pager"}, args...)
	}
	list := [][]string{
		systemctl("show", "--property="+strings.Join(facts, ","), "--", unit),
		systemctl("show", "--property="+strings.Join(ownFacts, ",")),
		systemctl("daemon-reload"),
		systemctl("reset-failed", "--", unit),
		systemctl("restart", "--", unit),
		systemctl("reload", "--", unit),
		systemctl("start", "--no-block", "--", unit),
		{"/usr/bin/journalctl", "--no-pager", "--quiet", "--output=cat", "--lines=20", "--since=*", "_SYSTEMD_UNIT=" + unit},
		{"/usr/bin/mkdir", "-p", "-m", "0755", "--", dir},
		{"/usr/bin/rmdir", "--ignore-fail-on-non-empty", "--", dir},
		// With --deliver files:
		{"/usr/bin/mkdir", "-p", "-m", "0755", "--", bindings + "/*"},
		{"/usr/bin/ln", "-sfn", "--", "/run/credentials/" + unit + "/*", bindings + "/*"},
		{"/usr/bin/rm", "-f", "--", bindings + "/*"},
		{"/usr/bin/rmdir", "--ignore-fail-on-non-empty", "--", bindings + "*"},
		{"/usr/bin/ip", "-o", "route", "get", "*"},
	}
	commands := make([]string, len(list))
	for i, argv := range list {
		escaped := slices.Clone(argv)
		for j := range escaped {
			escaped[j] = sudoers.Replace(escaped[j])
		}
		commands[i] = strings.Join(escaped, " ")
	}
	return commands
}

// sudoers keeps what means something in sudoers(5) from it. A star is one.
var sudoers = strings.NewReplacer(`\`, `\\`, ",", `\,`, ":", `\:`, "=", `\=`)
