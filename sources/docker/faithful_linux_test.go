package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// change is what a connection writes.
func change(generation int64, settings ...string) driver.Change {
	c := driver.Change{Mark: driver.Mark{UID: "7k2m9q4a", Generation: generation, Connection: testID.Linker("orders")}, Name: "orders"}
	for i := 0; i < len(settings); i += 2 {
		c.Set = append(c.Set, patchbay.Setting{Name: settings[i], Value: patchbay.NewSecret(settings[i+1]), Secret: true})
	}
	return c
}

func gone(c driver.Change) driver.Change {
	return driver.Change{Mark: c.Mark, Name: c.Name, Had: c.Set}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// apply is an operation: everything until the release.
func apply(t testing.TB, s *source, c driver.Change) driver.Snapshot {
	t.Helper()
	must(t, s.CheckChange(t.Context(), c))
	before, err := s.ReadSettings(t.Context())
	must(t, err)
	_, err = s.WriteSettings(t.Context(), c, before.Version)
	must(t, err)
	must(t, s.Restart(t.Context()))
	return before
}

// post makes a request of the engine's API, for what its command line has no words
// for.
func (w *world) post(path string, body any, answer any) error {
	b, _ := json.Marshal(body)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.Socket)
	}}}
	response, err := client.Post("http://engine/v1.41"+path, "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s: %d %s", path, response.StatusCode, said)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(said, answer)
}

// dockerLives are containers with all that can be said of one.
func dockerLives(t *testing.T, w *world) map[string]func(t *testing.T, name string) {
	image := w.Image(t, "rich", "ENV FROM_IMAGE=1 LANG=C", "VOLUME /data", "EXPOSE 9000", "LABEL image=1", `HEALTHCHECK --interval=200ms CMD ["/app","health"]`, "WORKDIR /w", `CMD ["serve"]`)
	plain := w.Image(t, testdocker.App)
	w.Must(t, "network", "create", "--subnet", "10.21.0.0/24", "n1")
	w.Must(t, "network", "create", "--subnet", "10.22.0.0/24", "n2")
	w.Must(t, "run", "-d", "--name", "db", "--network", "n1", plain)
	w.Must(t, "run", "-d", "--name", "olddb", plain)
	dir := t.TempDir()
	run := func(args ...string) func(*testing.T, string) {
		return func(t *testing.T, name string) { w.Must(t, append([]string{"run", "-d", "--name", name}, args...)...) }
	}
	return map[string]func(*testing.T, string){
		"image's defaults": run(image),
		"everything": run("--hostname", "webby", "--domainname", "example.org", "--restart", "always", "-e", "A=1", "-e", "B=2", "-e", "LANG=C", "-e", "FROM_IMAGE=",
			"-p", "127.0.0.1:8081:8080", "-p", "127.0.0.1:8082-8083:8082-8083/udp", "--expose", "7000",
			"-v", "named:/v", "-v", dir+":/host:ro", "-v", "/anonymous", "--tmpfs", "/t:size=1m", "--mount", "type=tmpfs,destination=/t2,tmpfs-size=1048576", "--mount", "type=volume,destination=/anonymous2",
			"--mount", "type=bind,source="+dir+",destination=/host2,bind-propagation=private",
			"--memory", "64m", "--memory-reservation", "32m", "--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "--pids-limit", "100", "--oom-score-adj", "100", "--blkio-weight", "0",
			"--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined",
			"--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "max-file=2", "--ulimit", "nofile=512:1024", "--ulimit", "core=0", "--sysctl", "net.ipv4.ip_forward=1",
			"--dns", "9.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:2", "--add-host", "x:1.2.3.4", "--init", "--shm-size", "32m", "--stop-signal", "INT", "--stop-timeout", "3",
			"--label", "l=1", "--label", "image=2", "--device", "/dev/null:/dev/mynull:rw", "--group-add", "7", "--user", "0:0", "-w", "/", "--read-only", "--ipc", "shareable", "--runtime", "runc",
			"--health-interval", "300ms", "--health-retries", "5", "--entrypoint", "/app", image, "serve", "--more"),
		"networks": func(t *testing.T, name string) {
			run("--network", "n1", "--ip", "10.21.0.9", "--network-alias", "w1", "--link", "db:database", plain)(t, name)
			w.Must(t, "network", "connect", "--ip", "10.22.0.9", "--alias", "w2", "n2", name)
		},
		"a hardware address": func(t *testing.T, name string) {
			var made struct{ ID string }
			must(t, w.post("/containers/create?name="+name, map[string]any{"Image": plain, "MacAddress": "02:11:22:33:44:55", "HostConfig": map[string]any{"NetworkMode": "n1"}}, &made))
			w.Must(t, "start", name)
		},
		"the host's network": run("--network", "host", "--pid", "host", "--uts", "host", "-e", "PORT=8099", plain),
		"no network":         run("--network", "none", "--cgroupns", "private", "--userns", "host", plain),
		"parts of others":    run("--link", "olddb:database", "--link", "olddb", "--volumes-from", "db:ro", "--volumes-from", "olddb", "--no-healthcheck", "--entrypoint", "", image, "/app", "serve"),
		"all ports":          run("-P", "--cgroup-parent", "/"+filepath.Base(filepath.Dir(w.Socket))+"/more", "--restart", "on-failure:3", "-t", "-i", image),
		"never started": func(t *testing.T, name string) {
			w.Must(t, "create", "--name", name, "--privileged", "--restart", "unless-stopped", image) // root may have no right to start it
		},
		"left its network": func(t *testing.T, name string) {
			run("--network", "n1", plain)(t, name)
			w.Must(t, "network", "connect", "n2", name)
			w.Must(t, "network", "disconnect", "n1", name)
		},
		"stopped, and its tag moved": func(t *testing.T, name string) {
			w.Must(t, "tag", plain, "moved:1")
			run("--restart", "always", "moved:1")(t, name)
			w.Must(t, "stop", "-t", "5", name)
			w.Must(t, "tag", image, "moved:1")
		},
	}
}

// podmanLives are what Podman tells of, and takes again.
func podmanLives(t *testing.T, w *world) map[string]func(t *testing.T, name string) {
	image := w.Image(t, "rich", "ENV FROM_IMAGE=1 LANG=C", "VOLUME /data", "LABEL image=1", `CMD ["serve"]`)
	plain := w.Image(t, testdocker.App)
	for i, network := range []string{"n1", "n2"} {
		if _, err := w.Podman("network", "create", "--subnet", fmt.Sprintf("10.3%d.0.0/24", i), network); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	run := func(args ...string) func(*testing.T, string) {
		return func(t *testing.T, name string) {
			if _, err := w.Podman(append([]string{"run", "-d", "--name", name}, args...)...); err != nil {
				t.Fatal(err)
			}
		}
	}
	return map[string]func(*testing.T, string){
		"image's defaults": run(image),
		"everything": run("--hostname", "webby", "--restart", "always", "-e", "A=1", "-e", "B=2", "-p", "127.0.0.1:8081:8080", "-v", "named:/v", "-v", dir+":/host:ro", "-v", "/anonymous", "--tmpfs", "/t:size=1m",
			"--memory", "64m", "--cpus", "0.5", "--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--security-opt", "no-new-privileges", "--ulimit", "nofile=512:1024", "--ulimit", "nproc=1024:1024", "--dns", "9.9.9.9", "--add-host", "x:1.2.3.4",
			"--shm-size", "32m", "--stop-signal", "INT", "--stop-timeout", "3", "--label", "l=1", "--user", "0:0", "-w", "/", image, "serve", "--more"),
		"networks": func(t *testing.T, name string) {
			run("--network", "n1", "--network-alias", "w1", plain)(t, name)
			if _, err := w.Podman("network", "connect", "--alias", "w2", "n2", name); err != nil {
				t.Fatal(err)
			}
		},
		"the host's network": run("--network", "host", "-e", "PORT=8098", plain),
		"no network":         run("--network", "none", plain),
	}
}

// TestAContainerIsWhatItWas compares, field by field and through the engine's own
// command line, a container before with what it is with a connection, without it
// again, and after a change that was taken back.
func TestAContainerIsWhatItWas(t *testing.T) {
	for _, engine := range testdocker.Engines {
		t.Run(engine, func(t *testing.T) {
			w := &world{Engine: testdocker.Start(t, engine)}
			lives := dockerLives
			if engine == testdocker.Podman {
				lives = podmanLives
			}
			n := 0
			for what, start := range lives(t, w) {
				if what != "everything" && !sampled(what) {
					continue
				}
				n++
				name := fmt.Sprintf("web%d", n)
				t.Run(what, func(t *testing.T) {
					start(t, name)
					t.Cleanup(func() { _, _ = w.Docker("rm", "--force", name) })
					w.lives(t, name, what)
				})
			}
		})
	}
}

func (w *world) lives(t *testing.T, name, what string) {
	s := w.open(t, name)
	look := func() string {
		t.Helper()
		text, err := w.portrait(t, name)
		must(t, err)
		return text
	}
	before := look()
	volumes := w.Must(t, "volume", "ls", "--quiet")
	if _, err := s.Inspect(t.Context()); err != nil {
		t.Fatalf("Inspect: %v", err)
	}

	// A change that is taken back: the very container is back.
	status := w.Must(t, "inspect", "--format", "{{.State.Status}}", name)
	id := w.Must(t, "inspect", "--format", "{{.Id}}", name)
	first := change(1, "PB_A", "1", "LANG", "ours")
	snapshot := apply(t, s, first)
	must(t, s.RestoreSettings(t.Context(), first, snapshot))
	must(t, s.Restart(t.Context()))
	if now := w.Must(t, "inspect", "--format", "{{.Id}} {{.State.Status}}", name); now != id+" "+status {
		t.Errorf("after an undo there is %s, want %s %s", now, id, status)
	}
	compare(t, "after an undo", before, look(), "", what)

	// A connection, and none any more.
	first = change(2, "PB_A", "1")
	apply(t, s, first)
	must(t, s.Release(t.Context(), first))
	compare(t, "with a connection", before, look(), "PB_A=1", what)
	if now := w.Must(t, "inspect", "--format", "{{.State.Running}}", name); now != fmt.Sprint(status == "running") {
		t.Errorf("it was %s, and runs: %s", status, now)
	}
	apply(t, s, gone(first))
	must(t, s.Release(t.Context(), gone(first)))
	compare(t, "without it", before, look(), "", what)
	if now := w.Must(t, "volume", "ls", "--quiet"); now != volumes {
		t.Errorf("the volumes were\n%s\nand are\n%s", volumes, now)
	}
	if left := w.ours(t, name); len(left) != 1 {
		t.Errorf("there are %v", left)
	}
}

// compare fails for everything that differs between two portraits, except for the
// one variable and its mark, and that volumes without a name are attached by the one
// that the engine gave them.
func compare(t *testing.T, when, before, now, added, what string) {
	t.Helper()
	list := func(text string) map[string]string {
		var c map[string]any
		must(t, json.Unmarshal([]byte(text), &c))
		config := c["Config"].(map[string]any)
		env, _ := config["Env"].([]any)
		config["Env"] = slices.DeleteFunc(env, func(e any) bool { return added != "" && e == added })
		labels, _ := config["Labels"].(map[string]any)
		maps.DeleteFunc(labels, func(name string, _ any) bool { return added != "" && strings.HasPrefix(name, "patchbay.dev/") })
		host := c["HostConfig"].(map[string]any)
		asked, _ := host["Mounts"].([]any)
		asked = slices.DeleteFunc(asked, func(m any) bool {
			source, _ := m.(map[string]any)["Source"].(string)
			if m.(map[string]any)["Type"] == "volume" && len(source) == 64 {
				delete(m.(map[string]any), "Source")
			}
			return m.(map[string]any)["VolumeOptions"] != nil
		})
		host["Mounts"] = asked
		links, _ := host["Links"].([]any) // the engine keeps them in no order
		slices.SortFunc(links, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		mounts, _ := c["Mounts"].([]any)
		for _, m := range mounts {
			if name, _ := m.(map[string]any)["Name"].(string); len(name) == 64 {
				delete(m.(map[string]any), "Mode")
			}
		}
		slices.SortFunc(mounts, func(a, b any) int {
			return strings.Compare(a.(map[string]any)["Destination"].(string), b.(map[string]any)["Destination"].(string))
		})
		flat := map[string]string{}
		flatten("", c, flat)
		if what == "stopped, and its tag moved" { // the name is another image's now
			delete(flat, ".Config.Image")
		}
		return flat
	}
	was, is := list(before), list(now)
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if was[path] != is[path] {
			t.Errorf("%s %s is %s, and was %s", when, path, is[path], was[path])
		}
	}
}

// flatten lists all values of a tree by where they are.
func flatten(at string, value any, into map[string]string) {
	switch value := value.(type) {
	case map[string]any:
		for name, v := range value {
			flatten(at+"."+name, v, into)
		}
	case []any:
		for i, v := range value {
			flatten(fmt.Sprintf("%s.%d", at, i), v, into)
		}
	case nil:
	default:
		into[at] = fmt.Sprint(value)
	}
}
