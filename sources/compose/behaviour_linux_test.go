package compose

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect is an operation's way forward: what it wrote, and what was before.
func connect(t testing.TB, s *source, c driver.Change) driver.Snapshot {
	t.Helper()
	must(t, s.CheckChange(t.Context(), c))
	before, err := s.ReadSettings(t.Context())
	must(t, err)
	_, err = s.WriteSettings(t.Context(), c, before.Version)
	must(t, err)
	return before
}

func (s *shop) running(t testing.TB, service string) []string {
	t.Helper()
	return strings.Fields(s.Must(t, "ps", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project="+s.name, "--filter", "label=com.docker.compose.service="+service))
}

func (s *shop) has(t testing.TB, want map[string]string) {
	t.Helper()
	if got, err := s.environ(); err != nil || !maps.Equal(got, want) {
		t.Errorf("the service has %q (%v), want %q", got, err, want)
	}
}

func refused(t testing.TB, err error, code patchbay.Code, what string) {
	t.Helper()
	e := patchbay.AsError(err)
	if strings.Contains(fmt.Sprintf("%v %+v", err, e.Fix), "canary") {
		t.Errorf("the error shows a value: %v", err)
	}
	if patchbay.CodeOf(err) != code || !strings.Contains(e.Message+" "+e.Fix, what) {
		t.Errorf("%v (fix: %s), want %s with %q", err, patchbay.AsError(err).Fix, code, what)
	}
}

// TestALaterUpFindsNothingToDo: the service alone is made anew, by Compose, with all
// that the project gives it; who runs Compose in the directory changes nothing.
func TestALaterUpFindsNothingToDo(t *testing.T) {
	w := start(t)
	for _, deliver := range []string{byOverride, byEnvFile} {
		t.Run(deliver, func(t *testing.T) {
			w.deliver = deliver
			s := w.shop(t)
			s.more = `    hostname: the-web
    healthcheck: {test: ["CMD", "/app", "health"], interval: 200ms, retries: 3}
    depends_on: {db: {condition: service_started}}
    configs: [{source: c, target: /c}]
    secrets: [k]
    networks: [front, back]
    volumes: ["data:/data", "/anonymous"]
    labels: {their: label}
    stop_grace_period: 2s
    deploy: {resources: {limits: {memory: 64M}}}
    ports: ["127.0.0.1::8080"]
`
			s.rest = fmt.Sprintf(`  db:
    image: %s
    networks: [back]
  job:
    image: %[1]s
    profiles: [never]
networks: {front: {}, back: {}}
volumes: {data: {}}
configs: {c: {content: "of $$5"}}
secrets: {k: {file: ./k}}
`, s.image)
			must(t, os.WriteFile(filepath.Join(s.dir, "k"), []byte("key"), 0o600))
			s.env["THEIRS"] = "a $5 thing"
			s.save(t)
			s.must(t, "up", "--detach")
			db, web := s.running(t, "db"), s.running(t, "web")
			content, err := s.content()
			must(t, err)
			volumes := s.Must(t, "volume", "ls", "--quiet")

			source := s.open(t, nil)
			first := change("u1", "PB_A", "it's $1")
			connect(t, source, first)
			if got := s.running(t, "web"); !slices.Equal(got, web) {
				t.Error("a write alone makes the service anew")
			}
			must(t, source.Restart(t.Context()))
			s.has(t, map[string]string{"THEIRS": "a $5 thing", "PB_A": "it's $1"})
			s.settled(t)
			second := change("u1", "PB_A", "2")
			second.Mark.Generation, second.Had = 2, first.Set
			connect(t, source, second)
			must(t, source.Restart(t.Context()))
			s.has(t, map[string]string{"THEIRS": "a $5 thing", "PB_A": "2"})
			s.settled(t)
			if got := s.running(t, "db"); !slices.Equal(got, db) {
				t.Error("the service beside it was made anew")
			}
			if name := s.Must(t, "inspect", "--format", "{{.Name}} {{.State.Health.Status}} {{.HostConfig.Memory}}", s.running(t, "web")[0]); name != "/"+s.name+"-web-1 healthy 67108864" {
				t.Errorf("it is %s", name)
			}
			if on := s.Must(t, "inspect", "--format", "{{index .Config.Labels \"com.docker.compose.depends_on\"}}", s.running(t, "web")[0]); on != "db:service_started:false" {
				t.Errorf("who stops it without its files is told that it depends on %q", on)
			}
			if out := s.Must(t, "cp", s.running(t, "web")[0]+":/c", "-"); !strings.Contains(out, "of $5") {
				t.Errorf("its config is %q", out)
			}
			connect(t, source, gone(second))
			must(t, source.Restart(t.Context()))
			s.has(t, map[string]string{"THEIRS": "a $5 thing"})
			s.settled(t)
			if after, _ := s.content(); after != content {
				t.Errorf("after a delete the project is\n%s\nwant\n%s", after, content)
			}
			if after := s.Must(t, "volume", "ls", "--quiet"); after != volumes {
				t.Errorf("the volumes are %q, were %q", after, volumes)
			}
			if out, err := s.compose("ps", "--all", "job", "--quiet"); err == nil && strings.TrimSpace(out) != "" {
				t.Error("a service of another profile was started")
			}
		})
	}
}

// TestWhatDoesNotComeUpIsTakenBack: the error says what the application said and no
// value, and the undo has it run as before.
func TestWhatDoesNotComeUpIsTakenBack(t *testing.T) {
	whole(t)
	w := start(t)
	for what, tt := range map[string]struct {
		more string
		set  []string
		says string
	}{
		"ends":         {"", []string{"CRASH", "3", "LEAK", "PB_PASSWORD"}, "exit code 3"},
		"loops":        {"    restart: always\n", []string{"CRASH", "3", "LEAK", "PB_PASSWORD"}, "told to crash"},
		"is unhealthy": {"    healthcheck: {test: [\"CMD\", \"/app\", \"health\"], interval: 100ms, retries: 2}\n", []string{"UNHEALTHY", "1"}, "the database does not answer"},
	} {
		t.Run(what, func(t *testing.T) {
			s := w.shop(t)
			s.more = tt.more
			s.env["THEIRS"] = "1"
			s.save(t)
			s.must(t, "up", "--detach")
			content, err := s.content()
			must(t, err)
			source := s.open(t, map[string]any{"wait": map[string]string{"limit": "4s", "steady": "300ms"}})
			c := change("u1", append(tt.set, "PB_PASSWORD", "canary-5f2a")...)
			before := connect(t, source, c)
			err = source.Restart(t.Context())
			refused(t, err, patchbay.RestartFailed, tt.says)
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), "canary") {
				t.Errorf("the error shows a value: %v", err)
			}
			must(t, source.RestoreSettings(t.Context(), c, before))
			must(t, s.open(t, nil).Restart(t.Context()))
			s.has(t, map[string]string{"THEIRS": "1"})
			s.settled(t)
			if after, _ := s.content(); after != content {
				t.Errorf("after the undo the project is\n%s\nwant\n%s", after, content)
			}
		})
	}
}

// TestWhatIsStoppedStaysSo, and has the settings whoever starts it. What somebody took
// down is not started; what runs several times does so afterwards.
func TestWhatIsStoppedStaysSo(t *testing.T) {
	whole(t)
	w := start(t)
	s := w.shop(t)
	source := s.open(t, nil)
	c := change("u1", "PB_A", "1")
	connect(t, source, c)
	must(t, source.Restart(t.Context()))
	if len(s.ids()) != 0 {
		t.Error("a service that was never started is")
	}
	s.must(t, "up", "--detach", "--scale", "web=3")
	next := change("u1", "PB_A", "2")
	next.Had = c.Set
	connect(t, source, next)
	must(t, source.Restart(t.Context()))
	if got := s.running(t, "web"); len(got) != 3 {
		t.Errorf("it runs %d times", len(got))
	}
	for _, id := range s.running(t, "web") {
		if out := s.Must(t, "inspect", "--format", "{{.Config.Env}}", id); !strings.Contains(out, "PB_A=2") {
			t.Errorf("one of three has %s", out)
		}
	}
	s.must(t, "up", "--detach")
	s.must(t, "stop", "--timeout", "0")
	last := change("u1", "PB_A", "3")
	last.Had = next.Set
	connect(t, source, last)
	must(t, source.Restart(t.Context()))
	if len(s.running(t, "web")) != 0 {
		t.Error("what was stopped was started")
	}
	s.must(t, "start")
	s.has(t, map[string]string{"PB_A": "3"})
	s.settled(t)
	connect(t, source, gone(last))
	s.must(t, "down", "--timeout", "0")
	must(t, source.Restart(t.Context()))
	if len(s.ids()) != 0 {
		t.Error("what was taken down was started")
	}
}

// TestAnImageThatIsGone: nothing is done to what runs.
func TestAnImageThatIsGone(t *testing.T) {
	whole(t)
	w := start(t)
	s := w.shop(t)
	s.Must(t, "tag", s.image, "soon-gone:1")
	s.image = "soon-gone:1"
	s.save(t)
	s.must(t, "up", "--detach")
	s.image = w.image
	ran := s.running(t, "web")
	source := s.open(t, nil)
	c := change("u1", "PB_A", "1")
	before := connect(t, source, c)
	s.Must(t, "rmi", "soon-gone:1")
	refused(t, source.Restart(t.Context()), patchbay.RestartFailed, "pull web")
	refused(t, source.CheckChange(t.Context(), change("u2", "PB_B", "1")), patchbay.SettingsUnwritable, "pull web")
	must(t, source.RestoreSettings(t.Context(), c, before))
	must(t, source.Restart(t.Context()))
	if got := s.running(t, "web"); !slices.Equal(got, ran) {
		t.Error("the container was made anew")
	}
	s.has(t, map[string]string{})
}

// TestWhatIsRefused before anything is done, with what helps.
func TestWhatIsRefused(t *testing.T) {
	whole(t)
	w := start(t)
	c := change("u1", "PB_A", "canary-7c1d")
	try := func(name string, code patchbay.Code, says string, prepare func(t *testing.T, s *shop) map[string]any) {
		t.Run(name, func(t *testing.T) {
			s := w.shop(t)
			s.must(t, "up", "--detach")
			properties := prepare(t, s)
			ran := s.ids()
			before, err := s.content()
			must(t, err)
			refused(t, s.open(t, properties).CheckChange(t.Context(), c), code, says)
			if after, _ := s.content(); after != before {
				t.Error("something was written")
			}
			if !slices.Equal(s.ids(), ran) {
				t.Error("something was made anew")
			}
		})
	}
	put := func(t *testing.T, s *shop, name, text string) {
		t.Helper()
		must(t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o700))
	}
	try("an override of theirs", patchbay.NotSupported, "env_file: [{path: ./web.patchbay.env, required: false}]", func(t *testing.T, s *shop) map[string]any {
		put(t, s, "docker-compose.override.yml", "services: {web: {labels: {x: y}}}\n")
		return nil
	})
	try("COMPOSE_FILE", patchbay.NotSupported, "COMPOSE_FILE", func(t *testing.T, s *shop) map[string]any {
		put(t, s, ".env", "X=1\nexport COMPOSE_FILE='compose.yaml'\n")
		return nil
	})
	try("named files", patchbay.NotSupported, "--deliver env-file", func(t *testing.T, s *shop) map[string]any {
		put(t, s, "more.yaml", "services: {web: {labels: {x: y}}}\n")
		return map[string]any{"files": []string{"compose.yaml", "more.yaml"}}
	})
	try("started with other files", patchbay.NotSupported, "more.yaml", func(t *testing.T, s *shop) map[string]any {
		put(t, s, "more.yaml", "services: {web: {stop_grace_period: 1s}}\n")
		s.must(t, "--file", "compose.yaml", "--file", "more.yaml", "up", "--detach", "--no-recreate")
		s.must(t, "--file", "compose.yaml", "--file", "more.yaml", "up", "--detach", "--force-recreate", "--timeout", "0")
		return nil
	})
	try("no env file", patchbay.NotSupported, "web.patchbay.env, required: false", func(*testing.T, *shop) map[string]any {
		return map[string]any{"deliver": byEnvFile}
	})
	try("an env file that must be there", patchbay.NotSupported, "required: false", func(t *testing.T, s *shop) map[string]any {
		put(t, s, "web.patchbay.env", "")
		s.more = "    env_file: ./web.patchbay.env\n"
		s.save(t)
		return map[string]any{"deliver": byEnvFile}
	})
	try("what the environment sets", patchbay.NotSupported, "sets PB_A where no env file can change it", func(t *testing.T, s *shop) map[string]any {
		s.more = "    env_file: [{path: ./web.patchbay.env, required: false}]\n"
		s.env["PB_A"] = "theirs"
		s.save(t)
		s.must(t, "up", "--detach", "--timeout", "0")
		return map[string]any{"deliver": byEnvFile}
	})
	try("another service has its network", patchbay.NotSupported, "side", func(t *testing.T, s *shop) map[string]any {
		s.rest = "  side: {image: app, network_mode: \"service:web\"}\n"
		s.save(t)
		return nil
	})
	try("no such service", patchbay.SourceNotFound, "web", func(*testing.T, *shop) map[string]any {
		return map[string]any{"service": "wbe"}
	})
	try("an edit that nobody has started", patchbay.SettingsUnwritable, "up --detach web", func(t *testing.T, s *shop) map[string]any {
		s.more = "    labels: {another: one}\n"
		s.save(t)
		return nil
	})
	try("another name", patchbay.NotSupported, "is called", func(t *testing.T, s *shop) map[string]any {
		return map[string]any{"project": "renamed"}
	})
	try("a value that Compose can't read", patchbay.SettingsUnreadable, "web.environment.PASSWORD", func(t *testing.T, s *shop) map[string]any {
		put(t, s, "compose.yaml", "services: \n  web:\n    image: app\n    environment:\n      PASSWORD: \"s3cr3t-${x-canary\"\n")
		return nil
	})
	try("a project that is broken", patchbay.SettingsUnreadable, "config --quiet", func(t *testing.T, s *shop) map[string]any {
		put(t, s, "compose.yaml", "services: {web: {image: app, imago: b}}\n")
		return nil
	})
	try("Compose of before", patchbay.NotSupported, "1.29.2", func(t *testing.T, s *shop) map[string]any {
		put(t, s, "docker-compose", "#!/bin/sh\necho 1.29.2\n")
		return map[string]any{"program": filepath.Join(s.dir, "docker-compose")}
	})
	try("no Compose", patchbay.NotSupported, "--program", func(t *testing.T, s *shop) map[string]any {
		return map[string]any{"program": filepath.Join(s.dir, "nothing")}
	})
}

// TestAPortThatIsTaken: the old container was stopped for it, and is back.
func TestAPortThatIsTaken(t *testing.T) {
	whole(t)
	w := start(t)
	s := w.shop(t)
	s.must(t, "up", "--detach")
	s.Must(t, "run", "--detach", "--name", "thief", "--publish", "127.0.0.1:18099:8080", s.image)
	source := s.open(t, nil)
	c := change("u1", "PB_A", "1")
	before := connect(t, source, c)
	s.more = "    ports: [\"127.0.0.1:18099:8080\"]\n"
	s.save(t)
	refused(t, source.Restart(t.Context()), patchbay.RestartFailed, "who has that port")
	s.more = ""
	s.save(t)
	must(t, source.RestoreSettings(t.Context(), c, before))
	must(t, source.Restart(t.Context()))
	s.has(t, map[string]string{})
	s.settled(t)
}

// TestAFullDisk: nothing is written, and nothing of it is left.
func TestAFullDisk(t *testing.T) {
	whole(t)
	w := start(t)
	s := w.shop(t)
	text, err := os.ReadFile(filepath.Join(s.dir, "compose.yaml"))
	must(t, err)
	if err := syscall.Mount("tmpfs", s.dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no small disk can be made here: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(s.dir, syscall.MNT_DETACH)) })
	must(t, os.WriteFile(filepath.Join(s.dir, "compose.yaml"), text, 0o600))
	s.must(t, "up", "--detach")
	must(t, os.WriteFile(filepath.Join(s.dir, "rest"), make([]byte, 48<<10), 0o600))
	before, err := s.content()
	must(t, err)
	source := s.open(t, nil)
	now, err := source.ReadSettings(t.Context())
	must(t, err)
	_, err = source.WriteSettings(t.Context(), change("u1", "PB_A", strings.Repeat("x", 30<<10)), now.Version)
	refused(t, err, patchbay.SettingsUnwritable, "df "+s.dir)
	if after, _ := s.content(); after != before {
		t.Error("something is left")
	}
}

// TestABrokenProjectIsTakenBackAllTheSame: an undo does not need the rest of the project.
func TestABrokenProjectIsTakenBackAllTheSame(t *testing.T) {
	whole(t)
	w := start(t)
	s := w.shop(t)
	source := s.open(t, nil)
	c := change("u1", "PB_A", "canary")
	before := connect(t, source, c)
	must(t, os.WriteFile(filepath.Join(s.dir, "compose.yaml"), []byte("services: ["), 0o600))
	refused(t, source.Restart(t.Context()), patchbay.SettingsUnreadable, "does not read the project")
	must(t, source.RestoreSettings(t.Context(), c, before))
	if _, err := os.Stat(filepath.Join(s.dir, ourOverride)); !os.IsNotExist(err) {
		t.Errorf("the override is there: %v", err)
	}
}

// TestAHandEditStays in our file, whatever the connection does.
func TestAHandEditStays(t *testing.T) {
	whole(t)
	w := start(t)
	s := w.shop(t)
	s.must(t, "up", "--detach")
	source := s.open(t, nil)
	c := change("u1", "PB_A", "1", "PB_B", "1")
	connect(t, source, c)
	path := filepath.Join(s.dir, ourOverride)
	text, err := os.ReadFile(path)
	must(t, err)
	edited := strings.Replace(string(text), "PB_B: \"1\"", "PB_B: edited\n      HAND: made", 1) + "    labels:\n      by: hand\n"
	must(t, os.WriteFile(path, []byte(edited), 0o600))
	s.must(t, "up", "--detach", "--timeout", "0")
	next := change("u1", "PB_A", "2")
	next.Had = c.Set
	connect(t, source, next)
	must(t, source.Restart(t.Context()))
	s.has(t, map[string]string{"PB_A": "2", "PB_B": "edited", "HAND": "made"})
	connect(t, source, gone(next))
	must(t, source.Restart(t.Context()))
	s.has(t, map[string]string{"PB_B": "edited", "HAND": "made"})
	s.settled(t)
	if by := s.Must(t, "inspect", "--format", "{{.Config.Labels.by}}", s.running(t, "web")[0]); by != "hand" {
		t.Errorf("the label is %q", by)
	}
}

// TestWhereverItDies the next call goes on: one container runs, under its own name, with
// what it is to have; forward, and when it is taken back.
func TestWhereverItDies(t *testing.T) {
	whole(t)
	w := start(t)
	s := w.shop(t)
	s.more = "    stop_grace_period: 1s\n    volumes: [/anonymous]\n"
	s.save(t)
	s.must(t, "up", "--detach")
	source, d := s.open(t, nil), w.Death(t)
	had, value, deaths := driver.Change{}, "", 0
	for _, after := range []bool{false, true} {
		for undo := range 2 {
			for at := 1; ; at++ {
				c := change("u1", "PB_A", fmt.Sprintf("%t %d %d", after, undo, at))
				c.Mark.Generation, c.Had = int64(at), had.Set
				before := connect(t, source, c)
				d.Arm(testdocker.Moment{Call: at, After: after})
				err := s.open(t, map[string]any{"engine": "unix://" + d.Socket}).Restart(t.Context())
				if undo == 1 {
					must(t, source.RestoreSettings(t.Context(), c, before))
				} else {
					had, value = c, c.Set[0].Value.Reveal()
				}
				must(t, source.Restart(t.Context()))
				s.has(t, map[string]string{"PB_A": value})
				if names := s.Must(t, "ps", "--all", "--format", "{{.Names}}"); names != s.name+"-web-1" {
					t.Fatalf("after %d calls (%v) there are %q", at, err, names)
				}
				s.settled(t)
				if left, _ := filepath.Glob(filepath.Join(s.dir, ".*")); len(left) > 0 {
					t.Fatalf("after %d calls there is %q", at, left)
				}
				if err == nil {
					break
				}
				deaths++
			}
		}
	}
	if deaths < 12 {
		t.Errorf("it died %d times", deaths)
	}
	t.Logf("it died %d times", deaths)
}

// TestTwoServicesOfOneProject share the one override, and take turns.
func TestTwoServicesOfOneProject(t *testing.T) {
	whole(t)
	w := start(t)
	s := w.shop(t)
	s.rest = "  worker: {image: app}\n"
	s.save(t)
	s.must(t, "up", "--detach")
	content, err := s.content()
	must(t, err)
	web, worker := s.open(t, nil), s.open(t, map[string]any{"service": "worker"})
	failed := make(chan error, 2)
	for i, source := range []*source{web, worker} {
		go func() {
			c := change(fmt.Sprintf("u%d", i), "PB_A", fmt.Sprint(i))
			failed <- func() error {
				for {
					before, err := source.ReadSettings(t.Context())
					if err != nil {
						return err
					}
					if _, err = source.WriteSettings(t.Context(), c, before.Version); err == nil {
						return source.Restart(t.Context())
					}
					if patchbay.CodeOf(err) != patchbay.SettingsChanged {
						return err
					}
				}
			}()
		}()
	}
	must(t, <-failed)
	must(t, <-failed)
	for service, want := range map[string]string{"web": "PB_A=0", "worker": "PB_A=1"} {
		if out := s.Must(t, "inspect", "--format", "{{.Config.Env}}", s.running(t, service)[0]); !strings.Contains(out, want) {
			t.Errorf("%s has %s", service, out)
		}
	}
	s.settled(t)
	for source, uid := range map[*source]string{web: "u0", worker: "u1"} {
		if owned, err := source.Owned(t.Context()); err != nil || len(owned) != 1 || owned[0].Mark.UID != uid {
			t.Errorf("owned: %v, %v", owned, err)
		}
	}
	all := s.open(t, map[string]any{"service": ""})
	if owned, err := all.Owned(t.Context()); err != nil || len(owned) != 2 {
		t.Errorf("owned of all: %v, %v", owned, err)
	}
	_, err = all.ReadSettings(t.Context())
	refused(t, err, patchbay.InvalidArgument, "web, worker")
	connect(t, web, gone(change("u0", "PB_A", "0")))
	connect(t, worker, gone(change("u1", "PB_A", "1")))
	must(t, web.Restart(t.Context()))
	must(t, worker.Restart(t.Context()))
	if after, _ := s.content(); after != content {
		t.Errorf("without both the project is\n%s", after)
	}
}

// TestSpokenFromInsideOfAService: its neighbour's name is known there alone.
func TestSpokenFromInsideOfAService(t *testing.T) {
	w := start(t)
	s := w.shop(t)
	s.rest = "  db: {image: app}\n"
	s.save(t)
	s.must(t, "up", "--detach")
	d, err := s.open(t, nil).Dialer(t.Context())
	must(t, err)
	conn, err := d.DialContext(t.Context(), "tcp", "db:8080")
	must(t, err)
	must(t, conn.Close())
	must(t, d.Close())
}
