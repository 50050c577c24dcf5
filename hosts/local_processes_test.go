package hosts

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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

func TestOfACommandsOutputSoMuchIsKept(t *testing.T) {
	got, err := NewLocal(DialRules{}).Run(t.Context(), Command{Argv: []string{"printf", "%100000s", "end"}})
	if err != nil || len(got.Output) != 64<<10 || !strings.HasSuffix(string(got.Output), "end") {
		t.Errorf("%d bytes, %v", len(got.Output), err)
	}
}

// pipes are two named ones, for a command to read and to write.
func pipes(t *testing.T) (in, out string) {
	t.Helper()
	dir := t.TempDir()
	in, out = filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(t, syscall.Mkfifo(in, 0o600))
	must(t, syscall.Mkfifo(out, 0o600))
	return in, out
}

func TestACommandEndsWithAllThatItStarted(t *testing.T) {
	in, out := pipes(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := NewLocal(DialRules{}).Run(ctx, Command{Argv: []string{"sh", "-c", "cat <" + in + " >" + out + " & wait"}})
		ended <- err
	}()
	to, err := os.OpenFile(in, os.O_WRONLY, 0) // when cat is there
	must(t, err)
	from, err := os.Open(out)
	must(t, err)
	defer from.Close()
	cancel()
	is(t, <-ended, context.Canceled, "Run")
	_, _ = to.WriteString("x")
	must(t, to.Close())
	if got, err := io.ReadAll(from); err != nil || len(got) > 0 {
		t.Errorf("what it started lives on, and says %q, %v", got, err)
	}
}

func TestADaemonThatKeepsTheOutputIsNotWaitedFor(t *testing.T) {
	in, _ := pipes(t)
	got, err := NewLocal(DialRules{}).Run(t.Context(), Command{Argv: []string{"sh", "-c", "cat <" + in + " & echo started"}})
	if err != nil || got.Exit != 0 || string(got.Output) != "started\n" {
		t.Errorf("%d, %q, %v", got.Exit, got.Output, err)
	}
	to, err := os.OpenFile(in, os.O_WRONLY, 0) // it ends with this
	must(t, err)
	must(t, to.Close())
}
