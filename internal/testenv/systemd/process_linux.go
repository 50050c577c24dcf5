package systemd

import "syscall"

// endsWithUs tells a child to end when this process is gone, even by a kill.
func endsWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
