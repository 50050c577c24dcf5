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

// idleFor is how long a server is left alone before its memory is read.
const idleFor = 5 * time.Second

// benchMemory is the memory of the served program when nothing happens, as the
// operating system counts it, beside that of the least program that could serve.
func benchMemory(ctx context.Context, out io.Writer, dir string) error {
	base, err := memoryOf(ctx, dir, least, filepath.Join(dir, "records"))
	if err != nil {
		return err
	}
	server, err := memoryOf(ctx, dir, program, "serve", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	t := newTable(out, "idle server", "least", "patchbay", "ratio")
	for _, part := range []struct{ field, name string }{
		{"Rss", "resident"}, {"Pss", "its share of what is resident"}, {"Anonymous", "of it its own"},
	} {
		a, b := base[part.field], server[part.field]
		t.row(part.name, fmt.Sprintf("%.1f MB", a), fmt.Sprintf("%.1f MB", b), fmt.Sprintf("%.1f", b/a))
	}
	return t.flush()
}

// memoryOf builds a program, runs it, and reads the memory that it has when it is
// left alone: the fields of /proc/PID/smaps_rollup, in MB.
func memoryOf(ctx context.Context, dir, pkg string, args ...string) (fields map[string]float64, err error) {
	file := filepath.Join(dir, filepath.Base(pkg))
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, text)
	}
	// As after a start of the machine: a program that was written a moment ago is in
	// memory as a whole, and counts as such.
	if text, err := exec.CommandContext(ctx, "dd", "of="+file, "oflag=nocache", "conv=notrunc,fdatasync", "count=0").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("dd: %w\n%s", err, text)
	}
	serve := exec.CommandContext(ctx, file, args...)
	if err := serve.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = serve.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, serve.Wait())
	}()
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	rollup, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", serve.Process.Pid))
	if err != nil {
		return nil, fmt.Errorf("only Linux says how much memory a process has: %w", err)
	}
	defer func() { err = errors.Join(err, rollup.Close()) }()
	fields = map[string]float64{}
	lines := bufio.NewScanner(rollup)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		var kB float64
		if _, err := fmt.Sscanf(strings.TrimSpace(value), "%f kB", &kB); err == nil {
			fields[name] = kB * 1024 / 1e6
		}
	}
	return fields, lines.Err()
}
