//go:build !linux

package sandbox

import (
	"runtime/debug"
	"syscall"
)

// confine bounds what this process can use, as far as the system knows how.
func confine() error {
	debug.SetMemoryLimit(maxMemory / 4)
	limit := syscall.Rlimit{Cur: uint64(maxCPU.Seconds()), Max: uint64(maxCPU.Seconds())}
	return syscall.Setrlimit(syscall.RLIMIT_CPU, &limit)
}
