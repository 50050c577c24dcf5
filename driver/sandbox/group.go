package sandbox

import (
	"os/exec"
	"syscall"
)

// apart keeps a terminal's signals from the child: its parent ends it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// kill ends a child, and whatever it has started.
func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
