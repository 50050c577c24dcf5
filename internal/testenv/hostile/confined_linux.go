package hostile

import (
	"runtime/debug"
	"syscall"
)

// confine bounds this process' memory: what takes more ends it.
func confine(memory int64) error {
	debug.SetMemoryLimit(memory / 4 * 3) // before the other one, the collector
	limit := uint64(memory)
	return syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: limit, Max: limit})
}
