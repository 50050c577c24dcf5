package testenv

import "syscall"

// asServerUser runs a child as the server's user; it is told to quit when
// this process is gone, even by a kill.
func asServerUser() *syscall.SysProcAttr {
	c, _ := serverUser()
	return &syscall.SysProcAttr{Credential: c, Pdeathsig: syscall.SIGQUIT}
}
