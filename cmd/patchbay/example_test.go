package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"patchbay.dev/patchbay/driver/drivertest"
)

// Whoever writes a driver of their own copies examples/driver, which is a module of its
// own: it builds, passes its suite and connects an application, with nothing but what its
// go.mod and go.sum say, and without a network.
func TestTheExampleOfADriverWorks(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it builds a program and runs a server")
	}
	t.Parallel()
	_ = drivertest.ErrRefused // the suite that it runs: a change of that is a reason to run again
	module := filepath.Join("..", "..", "examples", "driver")
	// go test sees what is read here, and does not answer from its cache after a change.
	err := filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "./...")
	cmd.Dir, cmd.Env = module, append(os.Environ(), "GOFLAGS=-mod=readonly", "GOPROXY=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
