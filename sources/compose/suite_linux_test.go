package compose

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/hosts"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
	"patchbay.dev/patchbay/sources/docker"
)

var hard = []string{
	"one\ntwo\n", "\n", "\n\n", "it's\n\"two\"\n", "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n",
	"cr\rlf\r\n", "\r", "a\\\nb", "#\n#", "K=1\nPB_AFTER=stolen", "\x01\x7f", "\u0085\u2028\u202e\ufeff", "null", "true", "1e3", "- a", "{{.X}}", "${A:?no}", "\\$", "$$$",
	"\\n$\\\"", "! x", "& x", "|", ">", "%", "@", "---", "...", "a: b", "a:\tb", strings.Repeat("x", 100_000),
}

// all of it takes minutes: each value, each death is a container that is made anew.
var all = flag.Bool("whole", false, "run everything, as make test-compose does")

func whole(t testing.TB) {
	t.Helper()
	if !*all {
		t.Skip("make test-compose runs it")
	}
}

func TestSourceSuite(t *testing.T) {
	for _, deliver := range []string{byOverride, byEnvFile} {
		t.Run(deliver, func(t *testing.T) {
			if deliver == byEnvFile { // nor has the other all cases
				whole(t)
			}
			w := start(t)
			w.deliver = deliver
			cases := []string{"Inspect", "ValuesComeThroughExactly", "WhatCantBeHeldIsRefused", "StaleVersionIsRefused", "RepeatedWriteIsOne",
				"OthersSettingsStay", "RestoreIsByteForByte", "OwnedIsExact", "Restart", "CanceledContext", "GoneSource",
				"ChangesAreTold", "ReadingIsNotTold", "WatchingLeavesNothing"}
			if *all {
				cases = nil
			}
			drivertest.Source(t, drivertest.SourceHarness{
				Driver: Driver(docker.Driver()), New: w.place, Values: hard, Sample: !*all, Cases: cases, Watches: true,
				Refused: map[string]patchbay.Setting{
					"longer than Linux takes": {Name: "A", Value: patchbay.NewSecret(strings.Repeat("canary", 30_000))},
					"no UTF-8":                {Name: "A", Value: patchbay.NewSecret("canary\xff")},
					"quote":                   {Name: "A'", Value: patchbay.NewSecret("canary")},
				},
			})
		})
	}
}

// world is an engine, Compose's program, and eyes of their own on both.
type world struct {
	*testdocker.Engine
	program string
	image   string
	deliver string
	names   atomic.Int64
}

func start(t testing.TB) *world {
	t.Helper()
	program := testdocker.Compose(t)
	e := testdocker.Start(t, testdocker.Docker)
	return &world{Engine: e, program: program, image: e.Image(t, testdocker.App), deliver: byOverride}
}

// shop is a project with one service, web.
type shop struct {
	*world
	dir, name string
	env       map[string]string // of the project's own file
	more      string            // lines of the service
	rest      string            // of the file
	args      []string          // of docker compose, where its user needs some
}

func (w *world) shop(t testing.TB) *shop {
	t.Helper()
	name := "shop" + strconv.FormatInt(w.names.Add(1), 10)
	s := &shop{world: w, name: name, dir: filepath.Join(t.TempDir(), name), env: map[string]string{}}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.save(t)
	t.Cleanup(func() {
		_, _ = s.Docker("rm", "--force", "--volumes", strings.Join(s.ids(), " "))
		_, _ = s.compose("--project-name", s.name, "down", "--timeout", "0", "--volumes", "--remove-orphans")
	})
	return s
}

// save writes the project's own file.
func (s *shop) save(t testing.TB) {
	t.Helper()
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) write() error {
	var b strings.Builder
	fmt.Fprintf(&b, "services:\n  web:\n    image: %s\n%s", s.image, s.more)
	if s.deliver == byEnvFile {
		b.WriteString("    env_file: [{path: ./theirs.env, required: false}, {path: ./web.patchbay.env, required: false}]\n")
	}
	if len(s.env) > 0 && s.deliver != byEnvFile {
		b.WriteString("    environment:\n")
		for _, name := range slices.Sorted(maps.Keys(s.env)) {
			text, _ := json.Marshal(strings.ReplaceAll(s.env[name], "$", "$$"))
			fmt.Fprintf(&b, "      %s: %s\n", name, text)
		}
	}
	b.WriteString(s.rest)
	if s.deliver == byEnvFile {
		var theirs strings.Builder
		for _, name := range slices.Sorted(maps.Keys(s.env)) {
			text, _ := json.Marshal(s.env[name])
			fmt.Fprintf(&theirs, "%s=%s\n", name, strings.ReplaceAll(string(text), "$", `\$`))
		}
		if err := os.WriteFile(filepath.Join(s.dir, "theirs.env"), []byte(theirs.String()), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(s.dir, "compose.yaml"), []byte(b.String()), 0o600)
}

// compose is the user's: in the project's directory, as a rule without an option that
// says which files there are.
func (s *shop) compose(args ...string) (string, error) {
	cmd := exec.Command(s.program, slices.Concat([]string{"--ansi", "never", "--progress", "plain"}, s.args, args)...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "DOCKER_HOST=unix://" + s.Socket}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker compose %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (s *shop) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.compose(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ids are the project's containers.
func (s *shop) ids() []string {
	out, _ := s.Docker("ps", "--all", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project="+s.name)
	ids := strings.Fields(out)
	slices.Sort(ids)
	return ids
}

// settled fails unless Compose, run by the user, finds nothing to do.
func (s *shop) settled(t testing.TB) {
	t.Helper()
	before := s.ids()
	out := s.must(t, "up", "--detach")
	if after := s.ids(); !slices.Equal(before, after) {
		t.Errorf("docker compose up has made containers anew:\n%s", out)
	}
}

// config is the registration; steady is short: nothing is tried here that ends late by
// itself.
func (s *shop) config(more map[string]any) driver.Config {
	all := map[string]any{
		"engine": "unix://" + s.Socket, "program": s.program, "service": "web", "deliver": s.deliver,
		"wait": map[string]string{"limit": "20s", "steady": "20ms"},
	}
	maps.Copy(all, more)
	properties, _ := json.Marshal(all)
	return driver.Config{ID: testID, Endpoint: s.dir, Properties: properties, Host: hosts.NewLocal(hosts.DialRules{})}
}

func (s *shop) open(t testing.TB, more map[string]any) *source {
	t.Helper()
	opened, err := Driver(docker.Driver()).Open(t.Context(), s.config(more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened.(*source)
}

func (w *world) place(t testing.TB) drivertest.SourcePlace {
	s := w.shop(t)
	s.must(t, "up", "--detach")
	read := s.environ
	if strings.HasSuffix(t.Name(), "/ReadersSeeAllOrNothing") {
		read = s.resolved // nothing is applied there: it is asked what a new container would have
	}
	return drivertest.SourcePlace{
		Config: s.config(nil),
		Apply: func() error {
			_, err := s.compose("up", "--detach", "--timeout", "0")
			return err
		},
		Read:    read,
		Content: s.content,
		Set: func(key, value string) error {
			s.env[key] = value
			if s.deliver == byEnvFile && s.ours(key) {
				return s.edit(key, value)
			}
			return s.write()
		},
		Leftovers: func() ([]string, error) { return filepath.Glob(filepath.Join(s.dir, ".*")) },
		Remove: func() error {
			if _, err := s.compose("down", "--timeout", "0"); err != nil {
				return err
			}
			return os.RemoveAll(s.dir)
		},
		Make: func() error {
			clear(s.env)
			if err := errors.Join(os.Mkdir(s.dir, 0o700), s.write()); err != nil {
				return err
			}
			_, err := s.compose("up", "--detach")
			return err
		},
		Bounce: func() error {
			_, err := s.compose("restart", "--timeout", "0", "web")
			return err
		},
		Restarts: func() (int, error) {
			log, err := s.Docker("events", "--since", "1h", "--until", strconv.FormatInt(time.Now().Unix()+1, 10), "--filter", "event=start", "--filter", "label=com.docker.compose.project="+s.name, "--format", "{{.ID}}")
			return len(strings.Fields(log)) - 1, err
		},
	}
}

// ours reports whether our env file has a name: whoever sets it otherwise does so there,
// where it counts.
func (s *shop) ours(name string) bool {
	text, _ := os.ReadFile(filepath.Join(s.dir, "web.patchbay.env"))
	return strings.Contains(string(text), "\n"+name+"=")
}

func (s *shop) edit(name, value string) error {
	path := filepath.Join(s.dir, "web.patchbay.env")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, name+"=") {
			lines[i] = name + "=" + value
		}
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600)
}

// content is every file of the project.
func (s *shop) content() (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		fmt.Fprintf(&b, "%s %s\n%s\n", info.Mode(), strings.TrimPrefix(path, s.dir), text)
		return err
	})
	return b.String(), err
}

// environ is what the process of the service really has.
func (s *shop) environ() (map[string]string, error) {
	id, err := s.Docker("ps", "--quiet", "--filter", "label=com.docker.compose.project="+s.name, "--filter", "label=com.docker.compose.service=web")
	if err != nil {
		return nil, err
	}
	return s.Environ(id)
}

// resolved is what Compose would give a new container.
func (s *shop) resolved() (map[string]string, error) {
	out, err := s.compose("config", "--format", "json")
	if err != nil {
		return nil, err
	}
	var m struct {
		Services map[string]struct{ Environment map[string]string }
	}
	err = json.Unmarshal([]byte(strings.ReplaceAll(out, "$$", "$")), &m)
	return m.Services["web"].Environment, err
}
