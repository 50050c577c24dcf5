package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// confine bounds what this process can use and reach, for the rest of its life.
func confine() error {
	if err := closeInherited(); err != nil {
		return err
	}
	data, space, err := sizes()
	if err != nil {
		return err
	}
	data, space = data+maxMemory, space+maxMemory
	cpu := uint64(maxCPU.Seconds())
	for resource, limit := range map[int]unix.Rlimit{
		unix.RLIMIT_DATA: {Cur: data, Max: data},
		// What goes where room was reserved is not held against the first limit: Go
		// reserves before it uses.
		unix.RLIMIT_AS:     {Cur: space, Max: space},
		unix.RLIMIT_CPU:    {Cur: cpu, Max: cpu},
		unix.RLIMIT_NOFILE: {Cur: maxFiles, Max: maxFiles},
		unix.RLIMIT_FSIZE:  {},
		unix.RLIMIT_CORE:   {},
	} {
		if err := unix.Setrlimit(resource, &limit); err != nil {
			return fmt.Errorf("limit %d: %w", resource, err)
		}
	}
	debug.SetMemoryLimit(maxMemory / 4) // collect before the kernel says no
	// Where processors are short this process comes after its parent, and where
	// memory is it goes before it. Where that can't be said, it is as it would be.
	_ = unix.Setpriority(unix.PRIO_PGRP, 0, niceness) // of all its threads: the group is its own
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	// No file but the system's authorities, no connection. Where the kernel has no
	// Landlock, that nothing here opens any has to do.
	err = landlock.V11.BestEffort().Restrict(
		landlock.RODirs(authorities()...).IgnoreIfMissing(),
		landlock.ROFiles(os.Getenv("SSL_CERT_FILE")).IgnoreIfMissing(),
	)
	if err != nil {
		return err
	}
	_ = refuseSockets() // who confined the server may not let it
	return nil
}

// refuseSockets has the kernel make no socket any more, of any kind: Landlock
// knows of TCP alone.
func refuseSockets() error {
	const refused, allowed = unix.SECCOMP_RET_ERRNO | uint32(unix.EACCES), unix.SECCOMP_RET_ALLOW
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jt: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_IO_URING_SETUP, Jt: 1}, // which has its own way to make one
		{Code: unix.BPF_RET | unix.BPF_K, K: allowed},
		{Code: unix.BPF_RET | unix.BPF_K, K: refused},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter))) // #nosec G103 -- it is read during the call
	if errno != 0 {
		return errno
	}
	return nil
}

// authorities are the directories where distributions keep what a certificate
// is checked against.
func authorities() []string {
	dirs := []string{"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/lib/ssl", "/etc/certs"}
	if dir := os.Getenv("SSL_CERT_DIR"); dir != "" {
		dirs = append(dirs, strings.Split(dir, ":")...)
	}
	return dirs
}

// closeInherited closes what the server itself was started with: this program
// opens nothing that another one would inherit.
func closeInherited() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= unix.Stderr {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
	return nil
}

// sizes are how much writable memory this process has, and how much of its
// address space is taken, in bytes.
func sizes() (data, space uint64, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes uint64
		if n, _ := fmt.Sscanf(line, "VmData: %d kB", &kilobytes); n == 1 {
			data = kilobytes << 10
		} else if n, _ := fmt.Sscanf(line, "VmSize: %d kB", &kilobytes); n == 1 {
			space = kilobytes << 10
		}
	}
	if data == 0 || space == 0 {
		return 0, 0, errors.New("/proc/self/status has no VmData or VmSize")
	}
	return data, space, nil
}
