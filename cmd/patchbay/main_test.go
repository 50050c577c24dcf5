package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv"
)

var dir string // of the program

func TestMain(m *testing.M) {
	code := m.Run()
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

var built = sync.OnceValues(func() (string, error) {
	var err error
	if dir, err = os.MkdirTemp("", "patchbay-program-"); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "patchbay")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

func build(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// The README's first command, in a temporary directory of its own, so that
// what it leaves can be seen.
func TestTheDemonstrationIsAsItSaysAndLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts servers and an application")
	}
	t.Parallel()
	program := build(t)
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	if err := pg.Exec(t.Context(), "postgres", "CREATE DATABASE shop"); err != nil {
		t.Fatal(err)
	}
	t.Run("demo", func(t *testing.T) {
		for name, args := range map[string][]string{
			"NATS":                {"demo"},
			"NATS and PostgreSQL": {"demo", "--postgres", pg.URL("shop")},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scratch := t.TempDir()
				cmd := exec.CommandContext(t.Context(), program, args...)
				cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), "Everything was as it said") {
					t.Fatalf("it ended with %v\n%s", err, out)
				}
				empty(t, scratch)
			})
		}
	})
	conn, err := pg.Connect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var left int
	if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'pb\_%') + (SELECT count(*) FROM pg_class WHERE relname LIKE 'patchbay%')`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d roles and tables are left (%v)", left, err)
	}
}

func TestAnInterruptedDemonstrationLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it starts servers and an application")
	}
	t.Parallel()
	program, scratch := build(t), t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, "demo", "--keep")
	cmd.Env = append(os.Environ(), "TMPDIR="+scratch)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(said.String(), "Rotate the credential") {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("it ended before the rotation: %v\n%s", err, said.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			if _, err := out.Read(buf); err != nil {
				return
			}
		}
	}()
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ends is not the point
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatal("it does not end when it is interrupted")
	}
	empty(t, scratch)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("it leaves %s", e.Name())
	}
}
