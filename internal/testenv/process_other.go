//go:build !linux

package testenv

import "syscall"

// asServerUser runs a child as the server's user.
func asServerUser() *syscall.SysProcAttr {
	c, _ := serverUser()
	return &syscall.SysProcAttr{Credential: c}
}
