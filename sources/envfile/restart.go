package envfile

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

func (r *reload) check() error {
	switch {
	case (len(r.Command) > 0) == (r.PidFile != ""):
		return patchbay.Errorf(patchbay.InvalidArgument, `reload is exactly one of {"command": ["program", "argument"]} and {"pidFile": "/run/app.pid", "signal": "HUP"}`)
	case len(r.Command) > 0 && (r.Command[0] == "" || r.Signal != ""):
		return patchbay.Errorf(patchbay.InvalidArgument, "a reload command needs a program, and has no signal")
	case slices.ContainsFunc(r.Command, func(a string) bool { return strings.Contains(a, "\x00") }):
		return patchbay.Errorf(patchbay.InvalidArgument, "an argument of the reload command holds a NUL byte")
	case len(r.Command) > 0:
		return nil
	}
	if r.Signal == "" {
		r.Signal = "HUP"
	}
	if names := hosts.SignalNames(); !slices.Contains(names, r.Signal) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the signal %q is none of %s", clip(r.Signal), strings.Join(names, ", "))
	}
	return checkPath("pidFile", r.PidFile)
}

// Restart implements [driver.Restarter]. A command says by its end whether the
// application is up; a process that was signaled must go on for a while.
func (s reloadable) Restart(ctx context.Context) error {
	if len(s.reload.Command) > 0 {
		return s.runReload(ctx)
	}
	return s.signalReload(ctx)
}

// RestartLimit implements [driver.Restarter].
func (s reloadable) RestartLimit() time.Duration { return s.limit + s.steady }

func (s *source) runReload(ctx context.Context) error {
	program := s.reload.Command[0]
	result, err := s.host.Run(ctx, hosts.Command{Argv: s.reload.Command})
	switch {
	case hostError(err) != nil:
		return hostError(err)
	case err != nil && interrupted(err) != nil:
		return patchbay.Errorf(patchbay.RestartFailed, "the reload command %s did not end in time: %w", program, err).
			WithFix("run it by hand, or register one that does not wait")
	case err != nil:
		return patchbay.Errorf(patchbay.RestartFailed, "the reload command can't be started: %w", err).
			WithFix("register the source with a command that is there")
	case result.Exit != 0:
		e := patchbay.Errorf(patchbay.RestartFailed, "the reload command %s failed with exit code %d", program, result.Exit)
		if line := s.lastWords(ctx, result.Output); line != "" {
			e.Message += ": " + line
		}
		return e.WithFix("run it by hand to see all that it says")
	}
	return nil
}

// lastWords is the end of an output without anything that could be a piece of a
// setting. Without the settings there is nothing to compare with, and nothing to
// show.
func (s *source) lastWords(ctx context.Context, output []byte) string {
	snapshot, err := s.ReadSettings(ctx)
	if err != nil {
		return ""
	}
	return driver.LastWords(output, snapshot.Settings)
}

func (s *source) signalReload(ctx context.Context) error {
	failed := func(format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(patchbay.RestartFailed, format, args...).
			WithFix("start the application, or register the source with the pid file that it writes")
	}
	file, err := s.host.ReadFile(ctx, s.reload.PidFile, 64)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Nothing runs that could hold old settings: whoever is started next
		// reads the new ones. So it is with an application that is connected
		// before its first start.
		return nil
	case hostError(err) != nil:
		return hostError(err)
	case err != nil && interrupted(err) != nil:
		return interrupted(err)
	case err != nil:
		return failed("the pid file can't be read: %w", err)
	}
	pid, ok := parsePid(file)
	if !ok {
		return failed("the pid file %s holds no process id", s.reload.PidFile)
	}
	switch err := s.host.Signal(ctx, pid, s.reload.Signal); {
	case errors.Is(err, hosts.ErrNoProcess):
		return nil // a stale pid file: nothing runs, as above
	case hostError(err) != nil:
		return hostError(err)
	case err != nil:
		return failed("process %d of %s can't be signaled: %w", pid, s.reload.PidFile, err)
	}
	return s.goesOn(ctx, pid)
}

func parsePid(file hosts.File) (pid int, ok bool) {
	// 1 is init, 0 and negative numbers mean groups of processes.
	n, err := strconv.ParseUint(strings.TrimSpace(string(file.Content)), 10, 31)
	return int(n), err == nil && n > 1
}

// goesOn waits for as long as the application has to go on after the signal. A
// supervisor may have started it anew: then the pid file names the new process.
func (s *source) goesOn(ctx context.Context, pid int) error {
	for end := time.Now().Add(s.steady); ; {
		err := s.host.Signal(ctx, pid, hosts.NoSignal)
		if errors.Is(err, hosts.ErrNoProcess) {
			file, readErr := s.host.ReadFile(ctx, s.reload.PidFile, 64)
			next, ok := parsePid(file)
			if readErr != nil || !ok || next == pid {
				return patchbay.Errorf(patchbay.RestartFailed, "process %d of %s ended when it was sent %s", pid, s.reload.PidFile, s.reload.Signal).
					WithFix("see what the application says when it starts with the new settings")
			}
			pid = next
			continue
		}
		left := time.Until(end)
		if err != nil || left <= 0 {
			return err
		}
		timer := time.NewTimer(min(left, 50*time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return interrupted(ctx.Err())
		}
	}
}
