package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm/client"
)

// The exit statuses. The first three are az's.
const (
	exitError        = 1
	exitUsage        = 2
	exitNotFound     = 3
	exitCheckFailed  = 4
	exitConflict     = 5
	exitNotAllowed   = 6
	exitNoServer     = 7
	exitTimeout      = 8
	exitNotExecuted  = 126 // run: the command is there and can't be started
	exitNoSuchFile   = 127 // run: the command is not there
	exitInterrupted  = 130
	exitStatusesText = `0    done
1    it failed; the message says why and what was undone
2    the command line is wrong; nothing was changed
3    something that was named does not exist
4    a validation found failures, or a host lacks something
5    a conflict: another operation runs, or it was changed meanwhile
6    not signed in, or not allowed
7    no server answers
8    a wait took longer than its --timeout
130  interrupted; what the server has begun goes on
126  run: the command can't be started
127  run: there is no such command; otherwise run's status is the command's own`
)

// usageError is a command line that can't be understood.
type usageError struct {
	err     error
	command string // the path of the command whose help explains it
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...), cmd.CommandPath()}
}

// statusError ends with an exit status of its own. Its err may be nil: then
// everything was said already.
type statusError struct {
	err    error
	status int
}

func (e statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}
func (e statusError) Unwrap() error { return e.err }

func exitStatus(err error) int {
	var status statusError
	var usage usageError
	var answer client.AnswerStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return status.status
	case errors.As(err, &usage):
		return exitUsage
	case ownDeadline(err):
		return exitTimeout
	}
	switch patchbay.CodeOf(err) {
	case client.ServerUnreachable, serverUnknown:
		return exitNoServer
	case patchbay.ResourceNotFound, patchbay.SourceNotFound, patchbay.TargetNotFound, patchbay.PrincipalNotFound, patchbay.RoleNotFound:
		return exitNotFound
	case patchbay.Conflict, patchbay.OperationInProgress, patchbay.PreconditionFailed:
		return exitConflict
	case patchbay.Forbidden, patchbay.Unauthenticated:
		return exitNotAllowed
	}
	if errors.As(err, &answer) {
		switch int(answer) {
		case http.StatusNotFound:
			return exitNotFound
		case http.StatusPreconditionFailed:
			return exitConflict
		case http.StatusUnauthorized, http.StatusForbidden:
			return exitNotAllowed
		}
	}
	return exitError
}

// ownDeadline tells a --timeout that passed from a server that did not answer
// in time: that one has a code.
func ownDeadline(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) && !errors.As(err, new(*patchbay.Error))
}

// report prints an error for people and gives the exit status.
func (a *app) report(cmd *cobra.Command, err error) int {
	var status statusError
	if err == nil || errors.As(err, &status) && status.err == nil {
		return exitStatus(err)
	}
	var usage usageError
	if errors.As(err, &usage) {
		a.errorf("patchbay: %s\n  help: %s --help\n", usage.err.Error(), usage.command)
		return exitUsage
	}
	if isCobraUsage(err) {
		a.errorf("patchbay: %s\n  help: %s --help\n", err.Error(), cmd.CommandPath())
		return exitUsage
	}
	a.errorf("%s", a.describe(err))
	return exitStatus(err)
}

// isCobraUsage recognises cobra's own complaints, which have no type.
func isCobraUsage(err error) bool {
	if errors.As(err, new(*patchbay.Error)) {
		return false
	}
	s := err.Error()
	for _, prefix := range []string{"unknown command", "unknown flag", "unknown shorthand", "required flag", "invalid argument",
		"flag needs an argument", "if any flags in the group", "at least one of the flags", "accepts ", "requires "} {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

// describe is an error in lines for people, each of them cleaned.
func (a *app) describe(err error) string {
	if ownDeadline(err) {
		return "patchbay: it took longer than it was given\n"
	}
	var e *patchbay.Error
	if !errors.As(err, &e) {
		return "patchbay: " + clean(err.Error()) + "\n"
	}
	var b strings.Builder
	b.WriteString("patchbay: ")
	if e.Op != "" {
		b.WriteString(clean(e.Op) + ": ")
	}
	b.WriteString(clean(string(e.Code)) + ": " + clean(e.Message) + "\n")
	if e.Fix != "" {
		b.WriteString("  fix: " + clean(e.Fix) + "\n")
	}
	return b.String()
}

// errorf writes to standard error. That it can't be written to is no reason
// to stop.
func (a *app) errorf(format string, args ...any) { _, _ = fmt.Fprintf(a.Stderr, format, args...) }

// notef tells a person something that a script need not know.
func (a *app) notef(format string, args ...any) {
	if !a.quiet {
		a.errorf(format+"\n", args...)
	}
}

// during says what was tried, in an error that does not say it.
func during(err error, format string, args ...any) error {
	e := patchbay.AsError(err)
	if e == nil || e.Op != "" || e.Code == patchbay.Internal && e.Err == nil {
		return err
	}
	copied := *e
	copied.Op = fmt.Sprintf(format, args...)
	return &copied
}
