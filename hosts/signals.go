package hosts

import (
	"slices"
	"syscall"
)

// signals are those that a caller may name.
var signals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH,
}

// NoSignal is the name of one that does nothing: it tells whether there is such a
// process.
const NoSignal = "0"

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
	return ok || name == NoSignal
}
