package hostile

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
)

// confine bounds this process' memory: what takes more ends it.
func confine(memory int64) error {
	debug.SetMemoryLimit(memory / 4 * 3) // before the other ones, the collector
	data := uint64(memory)
	// What goes where room was reserved is not held against that limit, and what was
	// given back stays reserved.
	space, err := taken()
	if err != nil {
		return err
	}
	space += 2 * data
	if err := syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: space, Max: space}); err != nil {
		return err
	}
	return syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: data, Max: data})
}

// taken is how much of its address space this process has taken.
func taken() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmSize:")
	var kilobytes uint64
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		return 0, fmt.Errorf("/proc/self/status has no VmSize: %w", err)
	}
	return kilobytes << 10, nil
}
