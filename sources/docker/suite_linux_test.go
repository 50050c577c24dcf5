package docker

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/hosts"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

const testID patchbay.ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/web"

var multiLine = []string{
	"one\ntwo\n", "\n", "\n\n", "it's\n\"two\"\n", "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n",
	"cr\rlf\r\n", "\r", "a\\\nb", "#\n#", "K=1\nPB_AFTER=stolen", "\x01\x7f", "\u2028\u202e",
	strings.Repeat("x", 100_000),
}

// whole has all run on Podman too, where it takes minutes.
var whole = flag.Bool("whole", false, "run everything, on Podman too")

// engines are those that what takes long is tried on: with -whole on all.
func engines() []string {
	if *whole {
		return testdocker.Engines
	}
	return []string{testdocker.Docker}
}

// sampled reports whether a case of many is tried: all with -whole, otherwise a third, by
// their names.
func sampled(what string) bool {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(what))
	return *whole || sum.Sum32()%3 == 0
}

func TestSourceSuite(t *testing.T) {
	for _, name := range testdocker.Engines {
		t.Run(name, func(t *testing.T) {
			if name == testdocker.Podman && !*whole {
				t.Skip("it takes minutes on Podman: make test-containers runs it")
			}
			w := &world{Engine: testdocker.Start(t, name)}
			drivertest.Source(t, drivertest.SourceHarness{
				Driver: Driver(), New: w.place, Values: multiLine, Sample: !*whole, Watches: true,
				Refused: map[string]patchbay.Setting{
					"longer than Linux takes": {Name: "A", Value: patchbay.NewSecret(strings.Repeat("canary", 30_000))},
					"no UTF-8":                {Name: "A", Value: patchbay.NewSecret("canary\xff")},
					"quote":                   {Name: "A'", Value: patchbay.NewSecret("canary")},
				},
			})
		})
	}
}

// world is an engine with applications, and eyes of its own on them.
type world struct {
	*testdocker.Engine
	names atomic.Int64
}

// config is the registration of a container; steady is short: nothing is tried here
// that ends late by itself.
func (w *world) config(name string) driver.Config {
	properties, _ := json.Marshal(map[string]any{"engine": "unix://" + w.Socket, "wait": map[string]string{"limit": "20s", "steady": "20ms"}})
	return driver.Config{ID: testID, Endpoint: name, Properties: properties, Host: hosts.NewLocal(hosts.DialRules{})}
}

func (w *world) open(t testing.TB, name string) *source {
	t.Helper()
	opened, err := Driver().Open(t.Context(), w.config(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened.(*source)
}

func (w *world) place(t testing.TB) drivertest.SourcePlace {
	name := "web" + strconv.FormatInt(w.names.Add(1), 10)
	image := w.Image(t, testdocker.App)
	w.Must(t, "run", "--detach", "--name", name, image)
	t.Cleanup(func() {
		for _, name := range w.ours(t, name) {
			_, _ = w.Docker("rm", "--force", "--volumes", name)
		}
	})
	started, restarts := w.Must(t, "inspect", "--format", "{{.State.StartedAt}}", name), 0
	s := w.open(t, name)
	apply := func() error {
		if all := w.ours(t, name); len(all) == 1 || !slices.Contains(all, name) {
			return nil // it has what was written, or is gone
		}
		return s.Restart(context.WithoutCancel(t.Context())) // also in a cleanup
	}
	return drivertest.SourcePlace{
		Config:  w.config(name),
		Apply:   apply,
		Read:    func() (map[string]string, error) { return w.Environ(name) },
		Content: func() (string, error) { return w.portrait(t, w.counts(t, name)) },
		Set: func(key, value string) error {
			if err := apply(); err != nil {
				return err
			}
			return w.redeploy(t, name, key+"="+value)
		},
		Leftovers: func() ([]string, error) {
			before := w.ours(t, name)
			if err := apply(); err != nil {
				return nil, err
			}
			left := slices.DeleteFunc(w.ours(t, name), func(other string) bool {
				// What this has just put out of its place nobody has released, nor what
				// the writers of one case have changed.
				return other == name || strings.Contains(other, "-kept-") &&
					(!slices.Contains(before, other) || strings.HasSuffix(t.Name(), "/ConcurrentWritersLoseNothing"))
			})
			return left, nil
		},
		Remove: func() error {
			_, err := w.Docker("rm", "--force", name)
			return err
		},
		Make: func() error {
			_, err := w.Docker("run", "--detach", "--name", name, image)
			return err
		},
		Bounce: func() error {
			_, err := w.Docker("restart", "--time", "0", name)
			return err
		},
		Restarts: func() (int, error) {
			at, err := w.Docker("inspect", "--format", "{{.State.StartedAt}}", name)
			if at != started {
				started, restarts = at, restarts+1
			}
			return restarts, err
		},
	}
}

// ours are the names of an application's container and of those beside it.
func (w *world) ours(t testing.TB, name string) []string {
	t.Helper()
	out, err := w.Docker("ps", "--all", "--format", "{{.Names}}")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(strings.Fields(out), func(other string) bool {
		return other != name && !strings.HasPrefix(other, name+".patchbay-")
	})
}

// counts is the name of the container whose settings count: the application's, or
// the one that is to take its place.
func (w *world) counts(t testing.TB, name string) string {
	t.Helper()
	out, err := w.Docker("inspect", "--format", "{{.Id}}", name)
	if err != nil {
		return name
	}
	found, best := name, 0
	for _, other := range w.ours(t, name) {
		if m := regexp.MustCompile(`-(?:next|back)(\d+)-` + out[:12] + `$`).FindStringSubmatch(other); m != nil {
			if n, _ := strconv.Atoi(m[1]); n > best {
				found, best = other, n
			}
		}
	}
	return found
}

// portrait is all that the engine says of a container, less what is its own: ids,
// times, addresses that were not asked for.
func (w *world) portrait(t testing.TB, name string) (string, error) {
	t.Helper()
	out, err := w.Docker("inspect", name)
	if err != nil {
		return "", err
	}
	var all []map[string]any
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return "", err
	}
	c := all[0]
	id := c["Id"].(string)
	for _, key := range []string{
		"Id", "Created", "Name", "State", "ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "RestartCount", "GraphDriver", "ExecIDs", "SizeRootFs", "SizeRw", "ProcessLabel", "MountLabel", "AppArmorProfile",
	} {
		delete(c, key)
	}
	config := c["Config"].(map[string]any)
	if config["Hostname"] == id[:12] {
		config["Hostname"] = "ID"
	}
	if w.Name == testdocker.Podman {
		env, _ := config["Env"].([]any)
		env = slices.DeleteFunc(env, func(e any) bool { return e == "HOSTNAME="+id[:12] || strings.HasPrefix(e.(string), "HOME=") })
		slices.SortFunc(env, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		config["Env"] = env
	}
	networks := map[string]any{}
	settings := c["NetworkSettings"].(map[string]any)
	for name, n := range settings["Networks"].(map[string]any) {
		n := n.(map[string]any)
		var aliases []string
		list, _ := n["Aliases"].([]any)
		for _, a := range list {
			if a != id[:12] && a != config["Hostname"] && !slices.Contains(aliases, a.(string)) {
				aliases = append(aliases, a.(string))
			}
		}
		slices.Sort(aliases)
		ipam := n["IPAMConfig"]
		if m, ok := ipam.(map[string]any); ok && len(m) == 0 {
			ipam = nil
		}
		networks[name] = map[string]any{"Aliases": aliases, "IPAMConfig": ipam, "Links": n["Links"]}
	}
	c["NetworkSettings"] = networks
	b, err := json.MarshalIndent(c, "", " ")
	return strings.ReplaceAll(string(b), id, "ID"), err
}

// redeploy is somebody who makes a container of these suites anew, by hand, with one
// more variable.
func (w *world) redeploy(t testing.TB, name, entry string) error {
	t.Helper()
	out, err := w.Docker("inspect", name)
	if err != nil {
		return err
	}
	var all []struct {
		Config struct {
			Env    []string
			Labels map[string]string
			Image  string
		}
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return err
	}
	args := []string{"run", "--detach", "--name", name}
	key, _, _ := strings.Cut(entry, "=")
	env := slices.DeleteFunc(all[0].Config.Env, func(e string) bool {
		other, _, _ := strings.Cut(e, "=")
		return slices.Contains([]string{"PATH", "HOSTNAME", "HOME", "TERM", "container", key}, other)
	})
	for _, e := range append(env, entry) {
		args = append(args, "--env", e)
	}
	for _, label := range slices.Sorted(maps.Keys(all[0].Config.Labels)) {
		args = append(args, "--label", label+"="+all[0].Config.Labels[label])
	}
	if _, err := w.Docker("rm", "--force", name); err != nil {
		return err
	}
	_, err = w.Docker(append(args, all[0].Config.Image)...)
	if err != nil {
		return fmt.Errorf("redeploy: %w", err)
	}
	return nil
}
