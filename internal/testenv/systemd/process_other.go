//go:build !linux

package systemd

import "syscall"

func endsWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
