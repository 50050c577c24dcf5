// Package cgroup has control groups of their own for what tests start. A service
// manager takes the group that it is started in for its own: when it starts and ends
// it removes every empty group below, also one that an engine beside it has just made
// for a container ("unable to apply cgroup configuration: … no such device").
package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const mounted = "/sys/fs/cgroup"

// hierarchies are one, or with the first version of control groups one for each
// controller.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(mounted, "cgroup.procs")); err == nil {
		return []string{mounted}
	}
	found, _ := filepath.Glob(filepath.Join(mounted, "*", "cgroup.procs"))
	for i, f := range found {
		found[i] = filepath.Dir(f)
	}
	return found
}

// Enter is a command of sh that moves the shell into groups of that name, whatever it
// starts next along with it. Those that can't be entered are left alone.
func Enter(name string) string {
	var b strings.Builder
	for _, h := range hierarchies() {
		group := filepath.Join(h, name)
		b.WriteString("mkdir -p " + group + " && echo $$ > " + group + "/cgroup.procs || :; ")
	}
	return "{ " + b.String() + ":; } 2>/dev/null"
}

// Find lists the groups, in all hierarchies, whose names match the pattern of
// [filepath.Match].
func Find(pattern string) []string {
	var all []string
	for _, h := range hierarchies() {
		groups, _ := filepath.Glob(filepath.Join(h, pattern))
		all = append(all, groups...)
	}
	return all
}

// Remove removes the groups of that name, and all below them, where nothing runs in
// them any more.
func Remove(name string) {
	for _, h := range hierarchies() {
		var groups []string
		_ = filepath.WalkDir(filepath.Join(h, name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for _, group := range slices.Backward(groups) {
			_ = os.Remove(group)
		}
	}
}

// Sweep removes what processes that were killed have left: names are prefix, the
// process, a dash and anything.
func Sweep(prefix string) {
	for _, group := range Find(prefix + "*") {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(group), prefix), "-")
		if pid, err := strconv.Atoi(text); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			Remove(filepath.Base(group))
		}
	}
}
