package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// idleFor is how long the server is left alone before its memory is read.
const idleFor = 5 * time.Second

// benchMemory is the memory of the served program when nothing happens, as the
// operating system counts it.
func benchMemory(ctx context.Context, out io.Writer, dir string) (err error) {
	program := filepath.Join(dir, "patchbay")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "patchbay.dev/patchbay/cmd/patchbay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, text)
	}
	serve := exec.CommandContext(ctx, program, "serve", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
	if err := serve.Start(); err != nil {
		return err
	}
	defer func() {
		_ = serve.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, serve.Wait())
	}()
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return ctx.Err()
	}
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", serve.Process.Pid))
	if err != nil {
		return fmt.Errorf("only Linux says how much memory a process has: %w", err)
	}
	defer func() { err = errors.Join(err, status.Close()) }()
	t := newTable(out, "idle server", "memory")
	names := map[string]string{"VmRSS": "resident", "RssAnon": "of it its own", "RssFile": "of it the program's file"}
	for lines := bufio.NewScanner(status); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var kB float64
		if _, err := fmt.Sscanf(strings.TrimSpace(value), "%f kB", &kB); err == nil && names[name] != "" {
			t.row(names[name], fmt.Sprintf("%.1f MB", kB/1000))
		}
	}
	return t.flush()
}
