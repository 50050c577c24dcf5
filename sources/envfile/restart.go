package envfile

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

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

// Restart implements [driver.Restarter].
func (s reloadable) Restart(ctx context.Context) error {
	if len(s.reload.Command) > 0 {
		return s.runReload(ctx)
	}
	return s.signalReload(ctx)
}

func (s *source) runReload(ctx context.Context) error {
	program := s.reload.Command[0]
	result, err := s.host.Run(ctx, hosts.Command{Argv: s.reload.Command})
	switch {
	case err != nil && interrupted(err) != nil:
		return patchbay.Errorf(patchbay.RestartFailed, "the reload command %s did not end in time: %w", program, err).
			WithFix("run it by hand, or register one that does not wait")
	case err != nil:
		return patchbay.Errorf(patchbay.RestartFailed, "the reload command can't be started: %w", err).
			WithFix("register the source with a command that is there")
	case result.Exit != 0:
		e := patchbay.Errorf(patchbay.RestartFailed, "the reload command %s failed with exit code %d", program, result.Exit)
		if line := s.lastLine(ctx, result.Output); line != "" {
			e.Message += ": " + line
		}
		return e.WithFix("run it by hand to see all that it says")
	}
	return nil
}

// lastLine is the last line of an output, without anything that could be a
// piece of a setting. Without the settings there is nothing to compare with,
// and nothing to show.
func (s *source) lastLine(ctx context.Context, output []byte) string {
	line := strings.ToValidUTF8(string(output[bytes.LastIndexByte(bytes.TrimRight(output, "\r\n\t "), '\n')+1:]), "")
	line = strings.Join(strings.Fields(line), " ")
	snapshot, err := s.ReadSettings(ctx)
	if err != nil || line == "" {
		return ""
	}
	hidden := patchbay.NewSecret("x").String()
	var values []string
	for _, v := range snapshot.Settings {
		values = append(values, v.Reveal())
	}
	for _, v := range values {
		if len(v) >= 4 {
			line = strings.ReplaceAll(line, v, hidden)
		}
	}
	// A program may quote a part of a setting, such as the password in a URL.
	parts := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \"'`()[]{}<>,;=", r) })
	for _, part := range parts {
		part = strings.Trim(part, ".:!?")
		if len(part) < 4 || part == strings.Trim(hidden, "[]") {
			continue
		}
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, part) }) {
			line = strings.ReplaceAll(line, part, hidden)
		}
	}
	return driver.Quoted(line)
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
	case err != nil && interrupted(err) != nil:
		return interrupted(err)
	case err != nil:
		return failed("the pid file can't be read: %w", err)
	}
	// 1 is init, 0 and negative numbers mean groups of processes.
	pid, err := strconv.ParseUint(strings.TrimSpace(string(file.Content)), 10, 31)
	if err != nil || pid <= 1 {
		return failed("the pid file %s holds no process id", s.reload.PidFile)
	}
	switch err := s.host.Signal(ctx, int(pid), s.reload.Signal); {
	case errors.Is(err, hosts.ErrNoProcess):
		return nil // a stale pid file: nothing runs, as above
	case err != nil:
		return failed("process %d of %s can't be signaled: %w", pid, s.reload.PidFile, err)
	}
	return nil
}
