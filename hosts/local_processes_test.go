package hosts

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestRunTellsExitOutputAndFailure(t *testing.T) {
	l := NewLocal(DialRules{})
	tests := []struct {
		argv []string
		exit int
		out  string
	}{
		{[]string{"sh", "-c", "echo out; echo err >&2"}, 0, "out\nerr\n"},
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"printf", "%s", "$(id) *"}, 0, "$(id) *"},
		{[]string{"sh", "-c", "printf '%2000s' end"}, 0, strings.Repeat(" ", 97) + "end"},
	}
	for _, tt := range tests {
		got, err := l.Run(t.Context(), Command{Argv: tt.argv, MaxOutput: 100})
		if err != nil || got.Exit != tt.exit || string(got.Output) != tt.out {
			t.Errorf("Run(%q) = %d, %q, %v", tt.argv, got.Exit, got.Output, err)
		}
	}
	for _, argv := range [][]string{nil, {""}, {"/nowhere/x"}, {t.TempDir()}} {
		if _, err := l.Run(t.Context(), Command{Argv: argv}); err == nil {
			t.Errorf("Run(%q) succeeds", argv)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Run(ctx, Command{Argv: []string{"true"}})
	is(t, err, context.Canceled, "Run with a context that has ended")
}

func TestSignalsReachOneProcess(t *testing.T) {
	l := NewLocal(DialRules{})
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	must(t, l.Signal(t.Context(), cmd.Process.Pid, "TERM"))
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the process ended with %v", err)
	}
	is(t, l.Signal(t.Context(), 1<<31-1, "HUP"), ErrNoProcess, "Signal to nobody")
	// -1 is everybody: WINCH, so that nobody dies of a mistake.
	for _, pid := range []int{0, -1, -2} {
		if l.Signal(t.Context(), pid, "WINCH") == nil {
			t.Errorf("Signal to the group %d succeeds", pid)
		}
	}
	if slices.Contains(SignalNames(), "KILL") || l.Signal(t.Context(), os.Getpid(), "KILL") == nil {
		t.Error("KILL is a signal to send")
	}
}
