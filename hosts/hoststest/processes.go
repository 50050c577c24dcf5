package hoststest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay/hosts"
)

func (s suite) runTellsExitOutputAndFailure(t *testing.T) {
	h := s.New(t)
	tests := []struct {
		argv []string
		exit int
		out  string
	}{
		{[]string{"sh", "-c", "echo out"}, 0, "out\n"},
		{[]string{"sh", "-c", "echo err >&2"}, 0, "err\n"},
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{[]string{"printf", "%s", "$(id) *"}, 0, "$(id) *"},
		{[]string{"sh", "-c", "printf '%2000s' end"}, 0, strings.Repeat(" ", 97) + "end"},
	}
	for _, tt := range tests {
		got, err := h.Run(t.Context(), hosts.Command{Argv: tt.argv, MaxOutput: 100})
		// A shell may say that somebody was killed.
		if err != nil || got.Exit != tt.exit || string(got.Output) != tt.out && tt.exit < 128 {
			t.Errorf("Run(%q) = %d, %q, %v", tt.argv, got.Exit, got.Output, err)
		}
	}
	for _, argv := range [][]string{nil, {""}, {"/nowhere/x"}, {s.Dir(t)}} {
		if _, err := h.Run(t.Context(), hosts.Command{Argv: argv}); err == nil {
			t.Errorf("Run(%q) succeeds", argv)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Run(ctx, hosts.Command{Argv: []string{"true"}})
	is(t, err, context.Canceled, "Run with a context that has ended")
}

func (s suite) signalsReachOneProcess(t *testing.T) {
	if !s.Signals {
		t.Skip("this machine's processes are not the test's")
	}
	h := s.New(t)
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	must(t, cmd.Start())
	must(t, h.Signal(t.Context(), cmd.Process.Pid, "TERM"))
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("the process ended with %v", err)
	}
	is(t, h.Signal(t.Context(), 1<<31-1, "HUP"), hosts.ErrNoProcess, "Signal to nobody")
	// -1 is everybody: WINCH, so that nobody dies of a mistake.
	for _, pid := range []int{0, -1, -2} {
		if h.Signal(t.Context(), pid, "WINCH") == nil {
			t.Errorf("Signal to the group %d succeeds", pid)
		}
	}
	if slices.Contains(hosts.SignalNames(), "KILL") || h.Signal(t.Context(), os.Getpid(), "KILL") == nil {
		t.Error("KILL is a signal to send")
	}
}

func (s suite) ofACommandsOutputSoMuchIsKept(t *testing.T) {
	got, err := s.New(t).Run(t.Context(), hosts.Command{Argv: []string{"printf", "%100000s", "end"}})
	if err != nil || len(got.Output) != 64<<10 || !strings.HasSuffix(string(got.Output), "end") {
		t.Errorf("%d bytes, %v", len(got.Output), err)
	}
}

// pipes are two named ones, for a command to read and to write.
func (s suite) pipes(t *testing.T) (in, out string) {
	t.Helper()
	dir := s.Dir(t)
	in, out = filepath.Join(dir, "in"), filepath.Join(dir, "out")
	must(t, syscall.Mkfifo(in, 0o600))
	must(t, syscall.Mkfifo(out, 0o600))
	return in, out
}

// writer opens a named pipe when somebody reads it. Waiting in open would miss a
// reader that comes while the runtime signals this thread.
func writer(t *testing.T, pipe string) *os.File {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		f, err := os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			return f
		}
		if !errors.Is(err, syscall.ENXIO) {
			t.Fatal(err)
		}
		<-tick.C
	}
}

func (s suite) aCommandEndsWithAllThatItStarted(t *testing.T) {
	if !s.Kills {
		t.Skip("this machine lets nobody kill what runs there")
	}
	in, out := s.pipes(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := s.New(t).Run(ctx, hosts.Command{Argv: []string{"sh", "-c", "cat <" + in + " >" + out + " & wait"}})
		ended <- err
	}()
	to := writer(t, in) // when cat is there
	from, err := os.OpenFile(out, os.O_RDONLY|syscall.O_NONBLOCK, 0)
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

func (s suite) aDaemonThatKeepsTheOutputIsNotWaitedFor(t *testing.T) {
	in, _ := s.pipes(t)
	got, err := s.New(t).Run(t.Context(), hosts.Command{Argv: []string{"sh", "-c", "cat <" + in + " & echo started"}})
	if err != nil || got.Exit != 0 || string(got.Output) != "started\n" {
		t.Fatalf("%d, %q, %v", got.Exit, got.Output, err)
	}
	must(t, writer(t, in).Close()) // it ends with this
}

func (s suite) commandsReadWhatTheyAreGiven(t *testing.T) {
	h := s.New(t)
	long := strings.Repeat("0123456789\n", 20_000)
	for _, tt := range []struct{ stdin, want string }{{"", "0\n"}, {"a\x00b", "3\n"}, {long, "220000\n"}} {
		got, err := h.Run(t.Context(), hosts.Command{Argv: []string{"wc", "-c"}, Stdin: []byte(tt.stdin)})
		if err != nil || strings.TrimLeft(string(got.Output), " ") != tt.want {
			t.Errorf("of %d bytes it read %q, %v", len(tt.stdin), got.Output, err)
		}
	}
	// One that reads nothing of it is no failure.
	if got, err := h.Run(t.Context(), hosts.Command{Argv: []string{"true"}, Stdin: []byte(long)}); err != nil || got.Exit != 0 {
		t.Errorf("true = %+v, %v", got, err)
	}
}

// What a program is given is what it was meant to be given.
func (s suite) argumentsAreNoShells(t *testing.T) {
	h := s.New(t)
	argv := append([]string{"printf", `%s\0`, ""}, hostile...)
	got, err := h.Run(t.Context(), hosts.Command{Argv: argv})
	if want := "\x00" + strings.Join(hostile, "\x00") + "\x00"; err != nil || string(got.Output) != want {
		t.Errorf("they are\n%q, want\n%q; %v", got.Output, want, err)
	}
}

func (s suite) socketsAreDialed(t *testing.T) {
	h, path := s.New(t), filepath.Join(s.Dir(t), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	must(t, err)
	defer l.Close()
	must(t, os.Chmod(path, 0o777)) // #nosec G302 -- for whoever the machine is spoken to as
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	c, err := h.DialContext(t.Context(), "unix", path)
	must(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "hello")
	must(t, err)
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Errorf("it says %q, %v", b, err)
	}
	for _, address := range []string{"s", "", "@abstract", path + "2"} {
		if c, err := h.DialContext(t.Context(), "unix", address); err == nil {
			_ = c.Close()
			t.Errorf("%q is dialed", address)
		}
	}
}
