package docker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// TestWhatCantBeMadeAnewIsRefused, with the reason, before anything happens.
func TestWhatCantBeMadeAnewIsRefused(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, testdocker.App)
	w.Must(t, "run", "-d", "--name", "other", image)
	tests := []struct {
		what, says string
		code       patchbay.Code
		args       []string
		then       func(name string)
	}{
		{what: "compose", says: "Compose", args: []string{"--label", "com.docker.compose.project=shop"}},
		{what: "swarm", says: "Swarm", args: []string{"--label", "com.docker.swarm.service.name=shop"}},
		{what: "kubernetes", says: "Kubernetes", args: []string{"--label", "io.kubernetes.pod.name=shop"}},
		{what: "a unit", says: "shop.service", args: []string{"--label", "PODMAN_SYSTEMD_UNIT=shop.service"}},
		{what: "rm", says: "--rm", args: []string{"--rm"}},
		{what: "another's network", says: "NetworkMode", args: []string{"--network", "container:other", "-e", "PORT=9000"}},
		{what: "another's processes", says: "PidMode", args: []string{"--pid", "container:other"}},
		{what: "its network shared", says: "shares its namespace", then: func(name string) {
			w.Must(t, "run", "-d", "--name", name+"-x", "-e", "PORT=9000", "--network", "container:"+name, image)
		}},
		{what: "its ipc shared", says: "shares its namespace", args: []string{"--ipc", "shareable"}, then: func(name string) {
			w.Must(t, "run", "-d", "--name", name+"-x", "--ipc", "container:"+name, image)
		}},
		{what: "linked to", says: "--link", then: func(name string) {
			w.Must(t, "run", "-d", "--name", name+"-x", "--link", name+":web", image)
		}},
		{what: "paused", says: "paused", code: patchbay.SettingsUnwritable, then: func(name string) { w.Must(t, "pause", name) }},
	}
	for i, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			name := fmt.Sprintf("web%d", i)
			w.Must(t, append(append([]string{"run", "-d", "--name", name}, tt.args...), image)...)
			t.Cleanup(func() { _, _ = w.Docker("rm", "-f", name, name+"-x") })
			if tt.then != nil {
				tt.then(name)
			}
			w.refuses(t, name, tt.says, tt.code)
		})
	}
	t.Run("its image is gone", func(t *testing.T) {
		layer := w.Image(t, "layer", "LABEL of=its.own")
		w.Must(t, "create", "--name", "web", layer) // of one that runs it can't be removed
		w.Must(t, "rmi", "-f", layer)
		w.refuses(t, "web", "not on the engine", patchbay.SettingsUnwritable)
	})
}

func TestWhatPodmanDoesNotTellIsRefused(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Podman)}
	image := w.Image(t, testdocker.App)
	if _, err := w.Podman("network", "create", "--subnet", "10.41.0.0/24", "n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Podman("pod", "create", "--infra=false", "--name", "pod1"); err != nil {
		t.Fatal(err)
	}
	for i, args := range [][]string{
		{"--sysctl", "net.ipv4.ip_forward=1"}, {"--network", "n1", "--ip", "10.41.0.9"}, {"--network=n1:ip=10.41.0.10"}, {"--mac-address", "02:11:22:33:44:55"}, {"-dit", "--annotation", "a=b"}, {"--log-opt", "max-size=1m"},
		{"--pod", "pod1"},
	} {
		if !sampled(args[0]) {
			continue
		}
		name := fmt.Sprintf("web%d", i)
		if _, err := w.Podman(append(append([]string{"run", "-d", "--name", name}, args...), image)...); err != nil {
			t.Errorf("%v: %v", args, err)
			continue
		}
		says := strings.SplitN(args[len(args)-2+len(args)%2], "=", 2)[0]
		if args[0] == "-dit" {
			says = "--annotation"
		}
		if args[0] == "--pod" {
			says = "pod"
		}
		if len(args) == 4 {
			says = "--ip"
		}
		w.refuses(t, name, says, "")
	}
}

func (w *world) refuses(t *testing.T, name, says string, code patchbay.Code) {
	t.Helper()
	if code == "" {
		code = patchbay.NotSupported
	}
	s := w.open(t, name)
	before := w.Must(t, "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}")
	c := change(1, "PB_A", "1")
	_, inspected := s.Inspect(t.Context())
	checked := s.CheckChange(t.Context(), c)
	now, err := s.ReadSettings(t.Context())
	must(t, err)
	_, written := s.WriteSettings(t.Context(), c, now.Version)
	for what, err := range map[string]error{"Inspect": inspected, "CheckChange": checked, "WriteSettings": written} {
		if what == "Inspect" && says == "--link" {
			continue // asked for a change
		}
		if err == nil || patchbay.CodeOf(err) != code || !strings.Contains(err.Error(), says) || patchbay.AsError(err).Fix == "" {
			t.Errorf("%s of %s: %v, want %s that says %q, and a fix", what, name, err, code, says)
		}
	}
	if after := w.Must(t, "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}"); after != before {
		t.Errorf("there was\n%s\nand is\n%s", before, after)
	}
}

// TestAnApplicationThatDoesNotComeUp fails with what it last said, less what could be
// a setting, and the old one is back as it was.
func TestAnApplicationThatDoesNotComeUp(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, testdocker.App)
	healthy := w.Image(t, "healthy", `HEALTHCHECK --interval=100ms --retries=2 CMD ["/app","health"]`)
	tests := []struct {
		what, image string
		policy      string
		settings    []string
		says        []string
		meanwhile   func(name string) func()
	}{
		{what: "crashes", image: image, policy: "no", settings: []string{"CRASH", "7", "LEAK", "TOKEN", "TOKEN", "canary-in-the-log"}, says: []string{"exit code 7", "told to crash"}},
		{what: "crashes always", image: image, policy: "always", settings: []string{"CRASH", "8"}, says: []string{"exit code 8", "told to crash"}},
		{what: "unhealthy", image: healthy, policy: "no", settings: []string{"UNHEALTHY", "1"}, says: []string{"unhealthy", "the database does not answer"}},
		{what: "its port is taken", image: image, policy: "no", settings: []string{"PB_A", "1"}, says: []string{"can't be started", "127.0.0.1:8321", "in use"}},
	}
	for i, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			name := fmt.Sprintf("web%d", i)
			args := []string{"run", "-d", "--name", name, "--restart", tt.policy, "-v", "/data"}
			taken := tt.what == "its port is taken"
			if taken {
				args = append(args, "-p", "127.0.0.1:8321:8080")
			}
			w.Must(t, append(args, tt.image)...)
			t.Cleanup(func() { _, _ = w.Docker("rm", "-fv", name) })
			s := w.open(t, name)
			// A program that ends at once takes a moment to, on a busy machine.
			s.limit, s.steady = s.limit/4, time.Second
			was, err := w.portrait(t, name)
			must(t, err)
			id := w.Must(t, "inspect", "--format", "{{.Id}}", name)
			c := change(1, tt.settings...)
			before, err := s.ReadSettings(t.Context())
			must(t, err)
			_, err = s.WriteSettings(t.Context(), c, before.Version)
			must(t, err)
			if taken {
				// In the moment in which nobody has it.
				w.Must(t, "stop", name)
				w.Must(t, "run", "-d", "--name", "thief", "-p", "127.0.0.1:8321:8080", image)
				w.Must(t, "rename", name, name+"-aside")
				w.Must(t, "rename", name+"-aside", name)
			}
			err = s.Restart(t.Context())
			if taken && err == nil {
				// It was stopped by somebody, and stays so; whoever starts it is told.
				err = s.notStarted(t.Context(), must1(s.look(t.Context())), s.engine.start(t.Context(), name))
			}
			if patchbay.CodeOf(err) != patchbay.RestartFailed {
				t.Fatalf("Restart: %v", err)
			}
			for _, says := range tt.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("Restart: %v; it does not say %q", err, says)
				}
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("Restart shows a setting: %v", err)
			}
			if taken {
				w.Must(t, "rm", "-f", "thief")
			}
			must(t, s.RestoreSettings(t.Context(), c, before))
			must(t, s.Restart(t.Context()))
			want := id + " running"
			if taken {
				want = id + " exited"
			}
			if now := w.Must(t, "inspect", "--format", "{{.Id}} {{.State.Status}}", name); now != want {
				t.Errorf("there is %s, want %s", now, want)
			}
			now, err := w.portrait(t, name)
			must(t, err)
			compare(t, "after the undo", was, now, "", "")
			if left := w.ours(t, name); len(left) != 1 {
				t.Errorf("there are %v", left)
			}
		})
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSomebodyElseRedeploys between any two calls: theirs stays.
func TestSomebodyElseRedeploys(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, testdocker.App)
	for i, when := range []string{"before the restart", "after the restart", "removed after the restart"} {
		t.Run(when, func(t *testing.T) {
			name := fmt.Sprintf("web%d", i)
			w.Must(t, "run", "-d", "--name", name, "-e", "THEIRS=1", image)
			t.Cleanup(func() { _, _ = w.Docker("rm", "-fv", name) })
			s, c := w.open(t, name), change(1, "PB_A", "1")
			before, err := s.ReadSettings(t.Context())
			must(t, err)
			_, err = s.WriteSettings(t.Context(), c, before.Version)
			must(t, err)
			if when != "before the restart" {
				must(t, s.Restart(t.Context()))
			}
			w.Must(t, "rm", "-f", name)
			if !strings.HasPrefix(when, "removed") {
				w.Must(t, "run", "-d", "--name", name, "-e", "THEIRS=2", image)
				must(t, s.Restart(t.Context()))
			}
			must(t, s.RestoreSettings(t.Context(), c, before))
			must(t, s.Restart(t.Context()))
			want := "2"
			if strings.HasPrefix(when, "removed") {
				want = "1" // what was kept is all that there is of it
			}
			if got, err := w.Environ(name); err != nil || got["THEIRS"] != want || got["PB_A"] != "" {
				t.Errorf("it has %v, %v", got, err)
			}
			if left := w.ours(t, name); len(left) != 1 {
				t.Errorf("there are %v", left)
			}
		})
	}
}

// TestWhatIsLostIsSaid: what a container wrote into its own layer.
func TestWhatIsLostIsSaid(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	image := w.Image(t, testdocker.App)
	w.Must(t, "run", "-d", "--name", "web", "-p", "127.0.0.1::8080", "-v", "/data", image)
	file := filepath.Join(t.TempDir(), "orders.db")
	must(t, os.WriteFile(file, []byte("x"), 0o600))
	s := w.open(t, "web")
	info, err := s.Inspect(t.Context())
	must(t, err)
	if len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "8080/tcp") {
		t.Errorf("the warnings are %q", info.Warnings)
	}
	for _, dir := range []string{"/data", "/", "/tmp"} {
		_, err := w.Docker("cp", file, "web:"+dir)
		if err != nil && dir != "/tmp" {
			t.Fatal(err)
		}
	}
	advice, err := s.Advise(t.Context(), change(1, "PB_A", "1"))
	must(t, err)
	if len(advice) != 1 || !strings.Contains(advice[0], "/orders.db") || strings.Contains(advice[0], "/data") {
		t.Errorf("the advice is %q", advice)
	}
}
