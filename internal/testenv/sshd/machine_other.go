//go:build !linux

package sshd

import "testing"

// Machine is one that runs: on Linux only.
type Machine struct {
	Address, Host, Beside, Home string
	Key, HostKey                Key
}

// Start skips the test: there are no namespaces to make a machine of.
func Start(t testing.TB, _ Options) *Machine {
	t.Helper()
	t.Skip("another machine is made of Linux's namespaces")
	return nil
}
