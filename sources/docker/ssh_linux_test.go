package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/hosts/ssh"
	"patchbay.dev/patchbay/internal/testenv"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
	"patchbay.dev/patchbay/internal/testenv/sshd"
)

// signIn is the machine at that address, whose host key is the one that it has now.
func signIn(t *testing.T, m *sshd.Machine, address, login string) hosts.Remote {
	t.Helper()
	properties, err := json.Marshal(map[string]any{"user": login, "hostKeys": []string{m.HostKey.Public}})
	must(t, err)
	host, err := ssh.Open(t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/hosts/web1", Endpoint: address, Properties: properties, Dialer: &net.Dialer{},
		Admin: driver.Secrets{"key": patchbay.NewSecret(m.Key.Private)},
	})
	must(t, err)
	t.Cleanup(func() { _ = host.Close() })
	return host
}

func (w *world) openOn(t *testing.T, host hosts.Host, name string) *source {
	t.Helper()
	c := w.config(name)
	c.Host = host
	opened, err := Driver().Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() { _ = opened.Close() })
	return opened.(*source)
}

// TestAnEngineOnAnotherMachine has its socket there, and is reached by SSH; a helper
// speaks from the container.
func TestAnEngineOnAnotherMachine(t *testing.T) {
	for _, engine := range testdocker.Engines {
		t.Run(engine, func(t *testing.T) {
			if engine == testdocker.Podman && !*whole {
				t.Skip("NOT CHECKED: Podman on another machine, which takes its time: make test-containers does it")
			}
			onAnotherMachine(t, engine)
		})
	}
}

func onAnotherMachine(t *testing.T, engine string) {
	w := &world{Engine: testdocker.Start(t, engine)}
	m := sshd.Start(t, sshd.Options{})
	host := signIn(t, m, m.Address, "root")

	image := w.Image(t, testdocker.App)
	w.Must(t, "network", "create", "n1")
	w.Must(t, "run", "-d", "--name", "db", "--hostname", "the-database", "--network", "n1", "--network-alias", "database", image)
	w.Must(t, "run", "-d", "--name", "web", "--hostname", "the-web", "--network", "n1", "--add-host", "by-file:127.0.0.1", image)
	s := w.openOn(t, host, "web")

	ticks, stop := watches(t, s) // with its engine's clock, which shows seconds
	w.Must(t, "restart", "--time", "0", "web")
	<-ticks
	stop()

	first := change(1, "PB_A", "1")
	apply(t, s, first)
	must(t, s.Release(t.Context(), first))
	if got, err := w.Environ("web"); err != nil || got["PB_A"] != "1" {
		t.Errorf("the application has %v, %v", got, err)
	}
	second := change(2, "PB_A", "2")
	second.Had = first.Set
	before := apply(t, s, second)
	must(t, s.RestoreSettings(t.Context(), second, before))
	must(t, s.Restart(t.Context()))
	if got, err := w.Environ("web"); err != nil || got["PB_A"] != "1" {
		t.Errorf("after the undo the application has %v, %v", got, err)
	}

	relayProgram = staticRelay(t)
	d, err := s.Dialer(t.Context())
	must(t, err)
	speaks(t, d)
	must(t, d.Close())
	if left := w.Must(t, "ps", "--all", "--quiet", "--filter", "label="+helperLabel); left != "" {
		t.Errorf("a helper is left: %s", left)
	}
}

// again does a step as whoever drives it: what is transient is tried once more.
func again(t *testing.T, step func() error) {
	t.Helper()
	var err error
	until(t, func() bool {
		err = step()
		if err != nil && !patchbay.AsError(err).Transient {
			t.Fatalf("the step would fail for good: %v", err)
		}
		return err == nil
	})
}

// TestTheWayToAnEngine is what happens on it between two steps and in the middle of
// them: the machine is booted, has another host key, or the connection is cut.
func TestTheWayToAnEngine(t *testing.T) {
	w := &world{Engine: testdocker.Start(t, testdocker.Docker)}
	m := sshd.Start(t, sshd.Options{})
	wire := testenv.NewWire(t, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", m.Address)
	})
	image := w.Image(t, testdocker.App)
	w.Must(t, "run", "-d", "--name", "web", "--restart", "always", "-e", "A=1", image)
	id := w.Must(t, "inspect", "--format", "{{.Id}}", "web")
	was, err := w.portrait(t, "web")
	must(t, err)
	c := change(1, "PB_A", "1")
	back := func(t *testing.T, when string) {
		t.Helper()
		w.unharmed(t, when, "web", id, 1)
		now, err := w.portrait(t, "web")
		must(t, err)
		compare(t, when, was, now, "", "")
	}
	life := func(t *testing.T, s *source, between func()) {
		t.Helper()
		before, err := s.ReadSettings(t.Context())
		must(t, err)
		for _, step := range []func() error{
			func() error { _, err := s.WriteSettings(t.Context(), c, before.Version); return err },
			func() error { return s.Restart(t.Context()) },
			func() error {
				if got, err := w.Environ("web"); err != nil || got["PB_A"] != "1" {
					t.Errorf("the application has %v, %v", got, err)
				}
				return nil
			},
			func() error { return s.RestoreSettings(t.Context(), c, before) },
			func() error { return s.Restart(t.Context()) },
		} {
			between()
			again(t, step)
		}
	}

	t.Run("the machine is booted", func(t *testing.T) {
		s := w.openOn(t, signIn(t, m, wire.Address, "root"), "web")
		life(t, s, func() {
			m.StopServer()
			m.KillAll()
			must(t, w.Down())
			must(t, w.Up())
			m.StartServer()
		})
		back(t, "after five boots")
	})

	t.Run("its host key changes", func(t *testing.T) {
		s := w.openOn(t, signIn(t, m, wire.Address, "root"), "web")
		before, err := s.ReadSettings(t.Context())
		must(t, err)
		_, err = s.WriteSettings(t.Context(), c, before.Version)
		must(t, err)
		m.ChangeHostKey()
		for _, step := range []func() error{
			func() error { return s.Restart(t.Context()) },
			func() error { return s.RestoreSettings(t.Context(), c, before) },
		} {
			wantRefusal(t, "another host key", step(), "HAS CHANGED", "ssh-keygen -lf")
		}
		if got := w.Must(t, "inspect", "--format", "{{.Id}}", "web"); got != id {
			t.Error("the container was replaced all the same")
		}
		s = w.openOn(t, signIn(t, m, wire.Address, "root"), "web") // registered anew
		again(t, func() error { return s.RestoreSettings(t.Context(), c, before) })
		again(t, func() error { return s.Restart(t.Context()) })
		back(t, "undone")
	})

	t.Run("it is cut wherever it is", func(t *testing.T) {
		s := w.openOn(t, signIn(t, m, wire.Address, "root"), "web")
		wire.CutAt(0)
		life(t, s, func() {})
		pieces := wire.CutAt(0)
		stride := pieces
		if *whole {
			stride = max(1, pieces/60)
		}
		for at := 1 + rand.IntN(stride); at <= pieces; at += stride {
			wire.CutAt(at)
			life(t, s, func() {})
			back(t, fmt.Sprintf("cut at %d", at))
		}
		t.Logf("%d pieces are carried, each %d-th was the last", pieces, stride)
	})
}

// TestPodmanOfAnUnprivilegedLogin is rootless Podman on another machine: its socket is
// the login's own, and nobody is root.
func TestPodmanOfAnUnprivilegedLogin(t *testing.T) {
	for _, program := range []string{"podman", "newuidmap", "slirp4netns"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT CHECKED: rootless Podman: there is no %s: tools/deps.sh engines installs it", program)
		}
	}
	m := sshd.Start(t, sshd.Options{Setup: `
		printf '` + sshd.User + `:7000000:65536\n' > "$1/ids"
		for f in subuid subgid; do mount --bind "$1/ids" /etc/$f; done
		mount -t tmpfs -o mode=755 tmpfs /dev/net
		mknod -m 666 /dev/net/tun c 10 200`})
	run := filepath.Join(m.Home, "run")
	socket := filepath.Join(run, "podman.sock")
	as := func(ctx context.Context, argv ...string) *exec.Cmd {
		id := strconv.Itoa(sshd.UID)
		cmd := m.Command(ctx, append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "env", "-i", "-C", m.Home,
			"HOME=" + m.Home, "XDG_RUNTIME_DIR=" + run, "USER=" + sshd.User, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, argv...)...)
		return cmd
	}
	does := func(argv ...string) string {
		t.Helper()
		cmd := as(t.Context(), argv...)
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v: %s%s", argv, err, out, &said)
		}
		return strings.TrimSpace(string(out))
	}
	config := filepath.Join(m.Home, ".config", "containers")
	does("mkdir", "-p", "-m", "700", run, config)
	conf := "[containers]\nlog_driver=\"k8s-file\"\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\n[engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\nruntime=\"runc\"\n"
	must(t, os.WriteFile(filepath.Join(config, "containers.conf"), []byte(conf), 0o644))
	t.Cleanup(func() {
		for _, argv := range [][]string{{"podman", "rm", "--all", "--force", "--time", "0"}, {"podman", "system", "migrate"}} {
			if out, err := as(context.Background(), argv...).CombinedOutput(); err != nil {
				t.Errorf("%q: %v: %s", argv, err, out)
			}
		}
	})
	service := as(context.Background(), "podman", "system", "service", "--time=0", "unix://"+socket)
	must(t, service.Start())
	t.Cleanup(func() {
		_ = service.Process.Kill()
		_ = service.Wait()
	})
	app := as(t.Context(), "podman", "import", "--change", `ENTRYPOINT ["/app"]`, "-", "app")
	app.Stdin = testdocker.Tar("app", 0o755, testdocker.Program(t))
	if out, err := app.CombinedOutput(); err != nil {
		t.Fatalf("import: %v: %s", err, out)
	}
	does("podman", "run", "--detach", "--name", "web", "--env", "A=1", "app")
	id := does("podman", "inspect", "--format", "{{.Id}}", "web")
	m.Until("test", "-S", socket)

	properties, err := json.Marshal(map[string]any{"engine": "unix://" + socket, "wait": map[string]string{"limit": "20s", "steady": "20ms"}})
	must(t, err)
	opened, err := Driver().Open(t.Context(), driver.Config{ID: testID, Endpoint: "web", Properties: properties, Host: signIn(t, m, m.Address, sshd.User)})
	must(t, err)
	t.Cleanup(func() { _ = opened.Close() })
	s := opened.(*source)
	info, err := s.Inspect(t.Context())
	must(t, err)
	if !strings.Contains(strings.Join(info.Warnings, "\n"), "ulimit -a") {
		t.Errorf("Inspect warns of %q", info.Warnings)
	}
	does("podman", "run", "--detach", "--name", "limited", "--ulimit", "nofile=512:1000", "app")
	limited, err := Driver().Open(t.Context(), driver.Config{ID: testID, Endpoint: "limited", Properties: properties, Host: s.host})
	must(t, err)
	t.Cleanup(func() { _ = limited.Close() })
	if _, err := limited.Inspect(t.Context()); patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(err.Error(), "--ulimit") {
		t.Errorf("one with limits of its own: %v", err)
	}
	does("podman", "rm", "--force", "--time", "0", "limited")
	c := change(1, "PB_A", "it's $ \"one\"")
	before := apply(t, s, c)
	if has := does("podman", "exec", "web", "/app", "once"); !strings.Contains(has+"\n", "PB_A=it's $ \"one\"\n") || !strings.Contains(has, "A=1") {
		t.Errorf("the application has %s", has)
	}
	must(t, s.RestoreSettings(t.Context(), c, before))
	must(t, s.Restart(t.Context()))
	if got := does("podman", "inspect", "--format", "{{.Id}} {{.State.Running}}", "web"); got != id+" true" {
		t.Errorf("after the undo it is %s, and was %s", got, id)
	}
	apply(t, s, c)
	must(t, s.Release(t.Context(), c))
	apply(t, s, gone(c))
	must(t, s.Release(t.Context(), gone(c)))
	if left := does("podman", "ps", "--all", "--format", "{{.Names}}"); left != "web" {
		t.Errorf("in the end there are %s", left)
	}
}
