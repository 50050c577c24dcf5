package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// Run implements [Host]. The command and everything that it started in its
// process group are killed when ctx ends.
func (l *Local) Run(ctx context.Context, c Command) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{}, errors.New("no command")
	}
	out := NewTail(c.MaxOutput)
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	if len(c.Stdin) > 0 {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A daemon that it started may keep its output open for ever.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	result := Result{Output: out.Bytes()}
	if cmd.ProcessState != nil {
		result.Exit = cmd.ProcessState.ExitCode()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			result.Exit = 128 + int(status.Signal())
		}
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return result, fmt.Errorf("run %s: %w", c.Argv[0], ctx.Err())
	case errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay):
		return result, nil
	case err != nil:
		return result, fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	return result, nil
}

// Signal implements [Host].
func (l *Local) Signal(_ context.Context, pid int, name string) error {
	signal, ok := signals[name]
	if !ok && name != NoSignal {
		return fmt.Errorf("no signal is called %q", name)
	}
	if pid < 1 {
		return fmt.Errorf("%d is no process id", pid) // 0 and below mean whole groups
	}
	if pid == os.Getpid() || isThread(pid) {
		return fmt.Errorf("process %d: %w", pid, ErrPrivate)
	}
	switch err := syscall.Kill(pid, signal); {
	case errors.Is(err, syscall.ESRCH):
		return ErrNoProcess
	case err != nil:
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}

// isThread reports whether it is a thread of this process: a signal to one is a
// signal to all.
func isThread(id int) bool {
	_, err := os.Stat("/proc/self/task/" + strconv.Itoa(id))
	return err == nil
}
