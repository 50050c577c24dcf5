//go:build !linux

package sandbox

import (
	"os/exec"
	"runtime/debug"
	"syscall"
)

// confine bounds what this process can use, as far as the system knows how.
func confine() error {
	debug.SetMemoryLimit(maxMemory)
	limit := syscall.Rlimit{Cur: uint64(maxCPU.Seconds()), Max: uint64(maxCPU.Seconds())}
	return syscall.Setrlimit(syscall.RLIMIT_CPU, &limit)
}

// apart keeps a terminal's signals from the child: its parent ends it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
