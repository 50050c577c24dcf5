package envfile

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func withReload(t *testing.T, dir string, argv ...string) driver.Source {
	t.Helper()
	path := filepath.Join(dir, "env")
	must(t, os.WriteFile(path, []byte("URL='postgres://app:hunter2hunter2@db/orders'\nPW='s3cr3t-s3cr3t'\n"), 0o600))
	p, err := json.Marshal(map[string]any{"reload": map[string]any{"command": argv}})
	must(t, err)
	return opened(t, path, string(p))
}

func TestReloadCommandsThatFailSaySoWithoutSecrets(t *testing.T) {
	tests := []struct {
		script string
		want   []string // in the message
		not    []string
	}{
		{"exit 3", []string{"exit code 3"}, nil},
		{"echo first; echo a; echo b; echo 'no such unit' >&2; exit 5", []string{"exit code 5", "no such unit"}, []string{"first"}},
		{"echo \"login failed for hunter2hunter2, PW=s3cr3t-s3cr3t.\"; exit 1", []string{"login failed for"}, nil},
		{"echo 'postgres://app:hunter2hunter2@db/orders is bad'; exit 1", []string{"is bad"}, nil},
		{"echo 'part: (\"s3cr3t-s3\")'; exit 1", []string{"part"}, []string{"s3cr3t-s3"}},
		{"kill -TERM $$", []string{"exit code 143"}, nil},
		{"head -c 1000000 /dev/zero | tr '\\0' x; exit 1", []string{"…"}, nil},
		{"printf 'a\\377b\\033[31m'; exit 1", []string{"exit code 1"}, nil},
	}
	for _, tt := range tests {
		err := restart(t, withReload(t, t.TempDir(), "sh", "-c", tt.script))
		code(t, err, patchbay.RestartFailed, tt.script)
		e := patchbay.AsError(err)
		for _, want := range tt.want {
			if !strings.Contains(e.Message, want) {
				t.Errorf("%q: %q does not say %q", tt.script, e.Message, want)
			}
		}
		for _, not := range append(tt.not, "hunter2hunter2", "s3cr3t-s3cr3t") {
			if strings.Contains(err.Error()+e.Fix, not) {
				t.Errorf("%q: %q says %q", tt.script, e.Message, not)
			}
		}
		if len(e.Message) > 400 || e.Fix == "" {
			t.Errorf("%q: a message of %d bytes, fix %q", tt.script, len(e.Message), e.Fix)
		}
	}
	err := restart(t, withReload(t, t.TempDir(), "/nowhere/reload"))
	code(t, err, patchbay.RestartFailed, "a command that is not there")
	must(t, restart(t, withReload(t, t.TempDir(), "true")))
}

func TestReloadIsNoShell(t *testing.T) {
	dir := t.TempDir()
	must(t, restart(t, withReload(t, dir, "touch", filepath.Join(dir, "$(id);x"))))
	if _, err := os.Stat(filepath.Join(dir, "$(id);x")); err != nil {
		t.Error(err)
	}
}

// TestReloadEndsWithItsContext: with all that it has started.
func TestReloadEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	must(t, exec.Command("mkfifo", fifo).Run())
	ctx, cancel := context.WithCancel(t.Context())
	s := withReload(t, dir, "sh", "-c", `sleep 1000 > "$1" & wait`, "sh", fifo)
	done := make(chan error, 1)
	go func() { done <- s.(driver.Restarter).Restart(ctx) }()
	f, err := os.Open(fifo) // returns when the child runs
	must(t, err)
	defer f.Close()
	cancel()
	code(t, <-done, patchbay.RestartFailed, "a reload that is stopped")
	if n, err := f.Read(make([]byte, 1)); n != 0 || err == nil { // EOF: the child is gone
		t.Errorf("the child still holds the FIFO: %d, %v", n, err)
	}
}

func TestPidFilesThatCantBeMeant(t *testing.T) {
	for what, text := range map[string]string{
		"empty": "", "word": "nginx", "init": "1", "zero": "0", "group": "-1234", "two": "12 13", "plus": "+5",
		"large": "99999999999999999999", "long": strings.Repeat("1", 100), "NUL": "12\x00",
	} {
		dir := t.TempDir()
		pid := filepath.Join(dir, "pid")
		must(t, os.WriteFile(pid, []byte(text), 0o600))
		err := restart(t, opened(t, filepath.Join(dir, "env"), `{"reload":{"pidFile":"`+pid+`"}}`))
		code(t, err, patchbay.RestartFailed, what)
		if err == nil || patchbay.AsError(err).Fix == "" {
			t.Errorf("%s: no fix in %v", what, err)
		}
	}
	dir := t.TempDir()
	err := restart(t, opened(t, filepath.Join(dir, "env"), `{"reload":{"pidFile":"`+dir+`"}}`))
	code(t, err, patchbay.RestartFailed, "a directory as pid file")
}

func TestAnApplicationThatDoesNotRunNeedsNoSignal(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	s := opened(t, filepath.Join(dir, "env"), `{"reload":{"pidFile":"`+pid+`"}}`)
	must(t, restart(t, s))
	// No system has ids of 31 bits. That of a process which has just ended could
	// be somebody else's by now.
	must(t, os.WriteFile(pid, []byte("2147483647\n"), 0o600))
	must(t, restart(t, s))
}

// A process that a signal ends has not come up with its new settings; one that a
// supervisor starts anew has, when it goes on.
func TestAProcessMustGoOnAfterItsSignal(t *testing.T) {
	for what, tt := range map[string]struct {
		script string
		fails  bool
	}{
		"it goes on":                {`trap : USR1; echo $$ > "$1"; echo; while :; do sleep 0.02; done`, false},
		"it ends":                   {`trap 'exit 1' USR1; echo $$ > "$1"; echo; while :; do sleep 0.02; done`, true},
		"it ends a little later":    {`trap 'sleep 0.1; exit 1' USR1; echo $$ > "$1"; echo; while :; do sleep 0.02; done`, true},
		"another takes its place":   {`(trap : USR1; while :; do sleep 0.02; done) & trap "echo $! > '$1'; exit" USR1; echo $$ > "$1"; echo; while :; do sleep 0.02; done`, false},
		"it takes its file with it": {`trap 'rm "$1"; exit' USR1; echo $$ > "$1"; echo; while :; do sleep 0.02; done`, true},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			pid := filepath.Join(dir, "pid")
			cmd := exec.Command("sh", "-c", tt.script, "sh", pid)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			t.Cleanup(func() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = cmd.Wait()
			})
			_, err = out.Read(make([]byte, 1)) // it is there
			must(t, err)
			reaped := make(chan struct{})
			go func() { defer close(reaped); _, _ = cmd.Process.Wait() }() // or it would be there as a zombie
			err = restart(t, opened(t, filepath.Join(dir, "env"), `{"reload":{"pidFile":"`+pid+`","signal":"USR1"},"wait":{"steady":"400ms"}}`))
			if tt.fails {
				code(t, err, patchbay.RestartFailed, what)
				return
			}
			must(t, err)
		})
	}
}

// restart tells the application of a source that has a reload.
func restart(t testing.TB, s driver.Source) error {
	t.Helper()
	r, ok := s.(driver.Restarter)
	if !ok {
		t.Fatal("the source has no way to tell its application")
	}
	return r.Restart(t.Context())
}
