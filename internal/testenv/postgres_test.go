package testenv

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestPostgresRunsAndLeavesNothing(t *testing.T) {
	s, err := StartPostgres(t.Context(), PostgresOptions{TLS: true, Settings: map[string]string{"log_statement": "'all'"}})
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop() }()
	if err := s.Exec(t.Context(), "postgres", "select 'in the log'"); err != nil {
		t.Fatal(err)
	}
	if err := s.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), "postgres", "select 1"); err != nil {
		t.Fatal(err)
	}
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log, "in the log") || strings.Contains(log, s.Password) {
		t.Errorf("the log lacks a statement, or has the password:\n%s", log)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("%s is left", s.dir)
	}
}

// The child of this test is killed, and its server must end with it.
func TestPostgresEndsWithItsProcess(t *testing.T) {
	if os.Getenv("PATCHBAY_TESTENV_CHILD") != "" {
		s, err := StartPostgres(t.Context(), PostgresOptions{})
		if err != nil {
			t.Fatal(err)
		}
		// What the server holds open tells the parent when it is gone.
		_, _ = os.Stdout.WriteString("started " + s.dir + "\n")
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	if len(PostgresVersions()) == 0 {
		t.Skip("no PostgreSQL is installed")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPostgresEndsWithItsProcess$")
	cmd.Env = append(os.Environ(), "PATCHBAY_TESTENV_CHILD=1")
	out, _ := cmd.Output()
	_, rest, ok := strings.Cut(string(out), "started ")
	dir := strings.TrimSpace(rest)
	if !ok {
		t.Fatalf("the child did not start a server: %s", out)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// A postmaster that runs holds its socket; wait until none answers.
	awaitGone(t, dir)
}

func awaitGone(t *testing.T, dir string) {
	t.Helper()
	for {
		found := false
		procs, err := os.ReadDir("/proc")
		if err != nil {
			t.Skip("no /proc to look into")
		}
		for _, p := range procs {
			cmdline, _ := os.ReadFile("/proc/" + p.Name() + "/cmdline")
			found = found || strings.Contains(string(cmdline), dir)
		}
		if !found {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the server outlives its process")
		}
	}
}
