package hosts

import (
	"slices"
	"syscall"
)

var signals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH,
}

// SignalNames are the signals that a Host can send, sorted.
func SignalNames() []string {
	names := make([]string, 0, len(signals))
	for name := range signals {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// IsSignal reports whether a Host can send it.
func IsSignal(name string) bool {
	_, ok := signals[name]
	return ok
}
