package envfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// again runs this test in a process of its own, with job in its environment,
// and gives what it said.
func again(t *testing.T, job string, change ...func(*exec.Cmd)) (string, error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PATCHBAY_TEST_JOB="+job)
	for _, f := range change {
		f(cmd)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func job() string { return os.Getenv("PATCHBAY_TEST_JOB") }

// addKeys adds settings one after the other, each as a connection of its own,
// as the engine does: read, write, and again when somebody else was faster.
func addKeys(s driver.Source, who string, n int) error {
	for i := range n {
		name := fmt.Sprintf("%s_%d", who, i)
		for {
			now, err := s.ReadSettings(context.Background())
			if err != nil {
				return err
			}
			_, err = s.WriteSettings(context.Background(), connect(strings.ToLower(name), 1, name, who), now.Version)
			if err == nil {
				break
			}
			if patchbay.CodeOf(err) != patchbay.SettingsChanged {
				return err
			}
		}
	}
	return nil
}

// TestProcessesAndGoroutinesLoseNothing: real writers, several in each of
// several processes.
func TestProcessesAndGoroutinesLoseNothing(t *testing.T) {
	const processes, writers, keys = 2, 3, 8
	write := func(path, process string) error {
		var group sync.WaitGroup
		failures := make([]error, writers)
		for w := range writers {
			s := opened(t, path, "")
			group.Go(func() { failures[w] = addKeys(s, fmt.Sprintf("P%s_W%d", process, w), keys) })
		}
		group.Wait()
		return errors.Join(failures...)
	}
	if job() != "" {
		path, process, _ := strings.Cut(job(), "|")
		must(t, write(path, process))
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "env")
	must(t, os.WriteFile(path, []byte("# theirs\nTHEIRS=1\n"), 0o600))
	var group sync.WaitGroup
	for p := range processes {
		group.Go(func() {
			if out, err := again(t, path+"|"+strconv.Itoa(p+1)); err != nil {
				t.Errorf("process %d: %v\n%s", p+1, err, out)
			}
		})
	}
	if err := write(path, "0"); err != nil {
		t.Error(err)
	}
	group.Wait()
	got, err := independent("dotenv", path)
	must(t, err)
	if want := 1 + (processes+1)*writers*keys; len(got) != want {
		t.Errorf("%d settings are left of %d", len(got), want)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

// killing is a host whose process dies at an instant of a replacement, as in a
// power cut: nothing is cleaned up.
type killing struct {
	hosts.Host
	at string
}

func (k killing) die(at string) {
	if k.at == at {
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			_ = p.Kill()
		}
		select {}
	}
}

func (k killing) ReplaceFile(ctx context.Context, r hosts.Replacement) error {
	ready := r.Ready
	r.Ready = func(ctx context.Context) error {
		k.die("before-rename")
		return ready(ctx)
	}
	err := k.Host.ReplaceFile(ctx, r)
	k.die("after-rename")
	return err
}

func (k killing) PublishDir(ctx context.Context, dir string, p hosts.Published) error {
	err := k.Host.PublishDir(ctx, dir, p)
	k.die("after-publish")
	return err
}

// TestKilledWriters: whenever a writer dies, the file is the old one or the
// new, no secret stays in a temporary file after the next look, and both ways,
// again and back, lead to the end.
func TestKilledWriters(t *testing.T) {
	change := connect("orders", 1, "PASSWORD", "canary-secret", "password", "canary-secret")
	change.Set[1].File = true
	properties := func(dir string) string { return `{"bindingRoot":"` + filepath.Join(dir, "b") + `"}` }
	if job() != "" {
		at, dir, _ := strings.Cut(job(), "|")
		s := openedOn(t, killing{hosts.NewLocal(hosts.DialRules{}), at}, filepath.Join(dir, "env"), properties(dir))
		written(t, s, change)
		t.Fatal("still alive")
	}
	for _, at := range []string{"after-publish", "before-rename", "after-rename"} {
		for _, then := range []string{"again", "back"} {
			dir := t.TempDir()
			path := filepath.Join(dir, "env")
			must(t, os.Mkdir(filepath.Join(dir, "b"), 0o700))
			must(t, os.WriteFile(path, []byte("THEIRS=1"), 0o640))
			s := opened(t, path, properties(dir))
			before, err := s.ReadSettings(t.Context())
			must(t, err)
			empty, err := tree(dir)
			must(t, err)
			out, err := again(t, at+"|"+dir)
			if err == nil || strings.Contains(out, "still alive") {
				t.Fatalf("%s: the writer did not die: %v\n%s", at, err, out)
			}
			text := content(t, path)
			if isOld := text == "THEIRS=1"; isOld != (at != "after-rename") {
				t.Errorf("%s: the file holds %q", at, text)
			}
			if info, err := os.Stat(filepath.Join(dir, ".env.patchbay-orders.tmp")); (err == nil) != (at == "before-rename") {
				t.Errorf("%s: the temporary file: %v", at, err)
			} else if err == nil && info.Mode() != 0o640 {
				t.Errorf("%s: the temporary file has %v", at, info.Mode())
			}
			if _, err := s.Owned(t.Context()); err != nil {
				t.Errorf("%s: Owned: %v", at, err)
			}
			if _, err := os.Stat(filepath.Join(dir, ".env.patchbay-orders.tmp")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the temporary file is still there: %v", at, err)
			}
			if then == "again" {
				got, err := s.WriteSettings(t.Context(), change, before.Version)
				if err != nil || got != version(t, s) {
					t.Errorf("%s: the same write again = %q, %v", at, got, err)
				}
				if values, err := independent("dotenv", path); err != nil || values["PASSWORD"] != "canary-secret" {
					t.Errorf("%s: after the same write again the file has %q, %v", at, values, err)
				}
			}
			must(t, s.RestoreSettings(t.Context(), change, before))
			if now, err := tree(dir); err != nil || now != empty {
				t.Errorf("%s, %s: after RestoreSettings\n%s\nwant\n%s", at, then, now, empty)
			}
		}
	}
}

// TestSnapshotsSurviveStorage: a plan keeps them, sealed, across processes.
func TestSnapshotsSurviveStorage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	must(t, os.WriteFile(path, []byte("A='é\n🔑'\r\nB=1"), 0o600))
	s := opened(t, path, "")
	before, err := s.ReadSettings(t.Context())
	must(t, err)
	if shown := fmt.Sprintf("%v %+v %#v", before, before, before); strings.Contains(shown, "🔑") {
		t.Errorf("a snapshot shows what is in it: %s", shown)
	}
	stored := []byte(before.Content.Reveal())
	if !json.Valid(stored) {
		t.Errorf("the content is %q", stored)
	}
	change := connect("orders", 1, "A", "x")
	written(t, s, change)
	before.Content = patchbay.NewSecret(string(bytes.Clone(stored)))
	must(t, opened(t, path, "").RestoreSettings(t.Context(), change, before))
	if got := content(t, path); got != "A='é\n🔑'\r\nB=1" {
		t.Errorf("restored %q", got)
	}
	code(t, s.RestoreSettings(t.Context(), change, driver.Snapshot{}), patchbay.Internal, "RestoreSettings of nothing")
}
