package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	engines "patchbay.dev/patchbay/internal/testenv/docker"
	clusters "patchbay.dev/patchbay/internal/testenv/kubernetes"
	managers "patchbay.dev/patchbay/internal/testenv/systemd"
	"patchbay.dev/patchbay/sources/compose"
	"patchbay.dev/patchbay/sources/docker"
	"patchbay.dev/patchbay/sources/kubernetes"
	"patchbay.dev/patchbay/sources/systemd"
)

// application is one that runs, and the two ways in which it comes to have a setting.
type application struct {
	driver driver.SourceDriver
	// register gives its registration, with the properties that all kinds have.
	register func(all map[string]any) driver.Config
	// byHand does with the platform's own tool what a careful person does, who waits
	// until the application is up. isUp looks once more, and undo takes it back.
	byHand, isUp, undo func() error
}

const (
	settingName  = "AZURE_POSTGRESQL_CONNECTIONSTRING"
	settingValue = "host=10.0.0.5 port=5432 dbname=orders sslmode=verify-full user=pb_orders password=correct-horse-battery"
	setting      = settingName + "=" + settingValue + "\n"
)

// benchSources is what a create does to the source, its waiting included, on each
// platform that can run here, beside the same by hand. The two take turns on one
// application, which is made to go back in between. Both wait until it is up, and then
// for the same time that it stays so: once for none at all, once for the default.
func benchSources(ctx context.Context, out io.Writer, rounds int) error {
	table := newTable(out, "the source's part of a create", "median", "by hand", "ratio", "plan", "write", "restart", "verify", "release")
	var notChecked []string
	for _, p := range []struct {
		name   string
		rounds int // at most, without waiting
		start  func(t testing.TB) application
	}{
		{"systemd", 50, unit},
		{"Docker", 15, func(t testing.TB) application { return container(t, engines.Docker) }},
		{"Podman", 15, func(t testing.TB) application { return container(t, engines.Podman) }},
		{"Compose", 12, service},
		{"Kubernetes", 12, deployment},
	} {
		why, err := withServers(func(t testing.TB) error {
			a := p.start(t)
			for _, steady := range []time.Duration{0, 3 * time.Second} {
				rounds, name := min(rounds, p.rounds), p.name
				if steady > 0 {
					rounds, name = min(rounds, 5), fmt.Sprintf("%s, up for %s", p.name, steady)
				}
				times, err := a.measure(ctx, rounds, steady)
				if err != nil {
					return err
				}
				median := func(step string) time.Duration { return quantile(times[step], .5) }
				table.row(name, ms(median("create")), ms(median("by hand")), fmt.Sprintf("%.2f", float64(median("create"))/float64(median("by hand"))),
					ms(median("plan")), ms(median("write")), ms(median("restart")), ms(median("verify")), ms(median("release")))
			}
			return nil
		})
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", p.name, err)
		case why != "":
			notChecked = append(notChecked, fmt.Sprintf("NOT CHECKED: %s: %s", p.name, why))
		}
	}
	if err := table.flush(); err != nil {
		return err
	}
	for _, line := range notChecked {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

// measure is how long each takes.
func (a application) measure(ctx context.Context, rounds int, steady time.Duration) (times map[string][]time.Duration, err error) {
	registered := a.register(map[string]any{"wait": map[string]string{"limit": "60s", "steady": steady.String()}})
	source, err := driver.Guard{}.OpenSource(ctx, a.driver, registered)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	times = map[string][]time.Duration{}
	const warmUp = 2
	for i := range rounds + warmUp {
		if i == warmUp {
			clear(times)
		}
		c := driver.Change{
			Mark: driver.Mark{UID: fmt.Sprintf("bench-%d", i), Generation: 1, Connection: registered.ID.Linker("orders")}, Name: "orders",
			Set: []patchbay.Setting{{Name: settingName, Value: patchbay.NewSecret(settingValue), Secret: true}},
		}
		if err := create(ctx, source, c, times); err != nil {
			return nil, fmt.Errorf("create: %w", err)
		}
		if err := remove(ctx, source, c); err != nil {
			return nil, fmt.Errorf("delete: %w", err)
		}
		start := time.Now()
		err := a.byHand()
		if err == nil && steady > 0 {
			select {
			case <-time.After(steady):
				err = a.isUp()
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			return nil, fmt.Errorf("by hand: %w", err)
		}
		times["by hand"] = append(times["by hand"], time.Since(start))
		if err := a.undo(); err != nil {
			return nil, fmt.Errorf("undone by hand: %w", err)
		}
	}
	return times, nil
}

// create does what the steps of a create ask of a source, in their order.
func create(ctx context.Context, s *driver.GuardedSource, c driver.Change, times map[string][]time.Duration) error {
	var before driver.Snapshot
	began := time.Now()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"plan", func() (err error) {
			ctx := driver.OneLook(ctx)
			if _, err = s.Inspect(ctx); err != nil {
				return err
			}
			if before, err = s.ReadSettings(ctx); err != nil {
				return err
			}
			if err = s.CheckChange(ctx, c); err != nil {
				return err
			}
			_, err = s.Advise(ctx, c)
			return err
		}},
		{"write", func() error {
			_, err := s.WriteSettings(ctx, c, before.Version)
			return err
		}},
		{"restart", func() error { return s.Restart(ctx) }},
		{"verify", func() error {
			now, err := s.ReadSettings(ctx)
			if err == nil && now.Settings[settingName].Reveal() != settingValue {
				err = errors.New("the application has not the setting")
			}
			return err
		}},
		{"release", func() error { return s.Release(ctx, c) }},
	} {
		start := time.Now()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		times[step.name] = append(times[step.name], time.Since(start))
	}
	times["create"] = append(times["create"], time.Since(began))
	return nil
}

func remove(ctx context.Context, s *driver.GuardedSource, c driver.Change) error {
	gone := driver.Change{Mark: c.Mark, Name: c.Name, Had: c.Set}
	now, err := s.ReadSettings(ctx)
	if err != nil {
		return err
	}
	if _, err := s.WriteSettings(ctx, gone, now.Version); err != nil {
		return err
	}
	if err := s.Restart(ctx); err != nil {
		return err
	}
	return s.Release(ctx, gone)
}

// registration is one with the properties of its kind, and those that all have.
func registration(endpoint string, properties, all map[string]any) driver.Config {
	maps.Copy(properties, all)
	text, err := json.Marshal(properties)
	if err != nil {
		panic(err) // texts
	}
	here := hosts.NewLocal(hosts.DialRules{})
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web",
		Endpoint: endpoint, Properties: text, Host: here, Dialer: here,
	}
}

// unit is one of a user's manager.
func unit(t testing.TB) application {
	program, units := managers.Application(t), managers.User(t)
	const name = "bench.service"
	dropins := filepath.Join(units, name+".d")
	systemctl := func(args ...string) func() error {
		return func() error { return run(exec.Command("systemctl", append([]string{"--user"}, args...)...)) }
	}
	text := "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart=" + program + "\n[Install]\nWantedBy=" + managers.Target + "\n"
	must(t, os.WriteFile(filepath.Join(units, name), []byte(text), 0o600))
	must(t, inOrder(systemctl("daemon-reload"), systemctl("start", name)))
	return application{
		driver: systemd.Driver(),
		register: func(all map[string]any) driver.Config {
			return registration(name, map[string]any{"manager": "user"}, all)
		},
		byHand: func() error {
			env := filepath.Join(dropins, "hand.env")
			return inOrder(
				func() error { return os.Mkdir(dropins, 0o755) },
				func() error { return os.WriteFile(env, []byte(setting), 0o600) },
				func() error {
					return os.WriteFile(filepath.Join(dropins, "hand.conf"), []byte("[Service]\nEnvironmentFile="+env+"\n"), 0o600)
				},
				systemctl("daemon-reload"), systemctl("restart", name), systemctl("is-active", name))
		},
		isUp: systemctl("is-active", name),
		undo: func() error {
			return inOrder(func() error { return os.RemoveAll(dropins) }, systemctl("daemon-reload"), systemctl("restart", name))
		},
	}
}

// container is one of an engine, whose own tool is the one by hand.
func container(t testing.TB, engine string) application {
	e := engines.Start(t, engine)
	image := e.Image(t, engines.App)
	env := filepath.Join(t.TempDir(), "hand.env")
	tool := func(args ...string) func() error {
		return func() error {
			command := e.Docker
			if engine == engines.Podman {
				command = e.Podman
			}
			out, err := command(args...)
			if err == nil && args[0] == "inspect" && !strings.HasPrefix(out, "true 0") {
				err = fmt.Errorf("the container is not up: %s", out)
			}
			return err
		}
	}
	must(t, tool("run", "--detach", "--name", "web", image)())
	isUp := tool("inspect", "--format", "{{.State.Running}} {{.RestartCount}}", "web")
	return application{
		driver: docker.Driver(),
		register: func(all map[string]any) driver.Config {
			return registration("web", map[string]any{"engine": "unix://" + e.Socket}, all)
		},
		byHand: func() error {
			return inOrder(
				func() error { return os.WriteFile(env, []byte(setting), 0o600) },
				tool("stop", "web"), tool("rename", "web", "web-old"),
				tool("run", "--detach", "--name", "web", "--env-file", env, image),
				isUp, tool("rm", "web-old"))
		},
		isUp: isUp,
		undo: func() error {
			return inOrder(tool("rm", "--force", "web"), tool("run", "--detach", "--name", "web", image))
		},
	}
}

// service is one of a Compose project.
func service(t testing.TB) application {
	program := engines.Compose(t)
	e := engines.Start(t, engines.Docker)
	dir := filepath.Join(t.TempDir(), "shop")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte("services:\n  web:\n    image: "+e.Image(t, engines.App)+"\n"), 0o600))
	override := filepath.Join(dir, "compose.override.yaml")
	tool := func(args ...string) func() error {
		return func() error {
			cmd := exec.Command(program, args...)
			cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "DOCKER_HOST=unix://" + e.Socket}
			return run(cmd)
		}
	}
	up := tool("up", "--detach", "--wait", "web")
	must(t, up())
	return application{
		driver: compose.Driver(docker.Driver()),
		register: func(all map[string]any) driver.Config {
			return registration(dir, map[string]any{"engine": "unix://" + e.Socket, "program": program, "service": "web"}, all)
		},
		byHand: func() error {
			text := fmt.Sprintf("services:\n  web:\n    environment:\n      %s: %q\n", settingName, settingValue)
			return inOrder(func() error { return os.WriteFile(override, []byte(text), 0o600) }, up)
		},
		isUp: tool("ps", "web"),
		undo: func() error { return inOrder(func() error { return os.Remove(override) }, up) },
	}
}

// deployment is one of a cluster with a node.
func deployment(t testing.TB) application {
	c := clusters.Start(t, clusters.Options{Node: true})
	env := filepath.Join(t.TempDir(), "hand.env")
	kubectl := func(args ...string) func() error {
		return func() error {
			_, err := c.Kubectl(args...)
			return err
		}
	}
	_, err := c.KubectlIn(fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: %s
        imagePullPolicy: Never
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
`, clusters.Image), "apply", "-f", "-")
	must(t, err)
	status := kubectl("rollout", "status", "deployment/web")
	must(t, status())
	return application{
		driver: kubernetes.Driver(),
		register: func(all map[string]any) driver.Config {
			r := registration(c.Server(), map[string]any{"namespace": "default", "name": "web", "tls": map[string]string{"ca": string(c.CA)}}, all)
			r.Admin, r.Dialer = driver.Secrets{"token": patchbay.NewSecret(c.Token)}, c
			return r
		},
		byHand: func() error {
			return inOrder(
				func() error { return os.WriteFile(env, []byte(setting), 0o600) },
				kubectl("create", "secret", "generic", "orders", "--from-env-file="+env),
				kubectl("set", "env", "deployment/web", "--from=secret/orders"), status)
		},
		isUp: status,
		undo: func() error {
			return inOrder(kubectl("set", "env", "deployment/web", settingName+"-"), status, kubectl("delete", "secret", "orders"))
		},
	}
}

// inOrder does one after the other, until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// outsideTests is what the servers of tests are started with, where there is no test.
type outsideTests struct {
	*testing.B
	said []string
}

// withServers runs f, and ends what it has started. notRun is why that can't run here.
func withServers(f func(t testing.TB) error) (notRun string, err error) {
	testing.Init()
	var t *outsideTests
	testing.Benchmark(func(b *testing.B) {
		t = &outsideTests{B: b}
		if err = f(t); err == nil {
			t.said = nil
		}
		b.Skip("once is enough")
	})
	said := strings.Join(t.said, "\n")
	if t.Failed() && err == nil {
		err = errors.New(said)
	}
	return said, err
}

func (t *outsideTests) say(text string) { t.said = append(t.said, strings.TrimSpace(text)) }

func (t *outsideTests) Log(args ...any)                 { t.say(fmt.Sprintln(args...)) }
func (t *outsideTests) Logf(format string, args ...any) { t.say(fmt.Sprintf(format, args...)) }
func (t *outsideTests) Error(args ...any)               { t.Log(args...); t.Fail() }
func (t *outsideTests) Errorf(format string, args ...any) {
	t.Logf(format, args...)
	t.Fail()
}
func (t *outsideTests) Fatal(args ...any)                 { t.Log(args...); t.FailNow() }
func (t *outsideTests) Fatalf(format string, args ...any) { t.Logf(format, args...); t.FailNow() }
func (t *outsideTests) Skip(args ...any)                  { t.Log(args...); t.B.Skip(args...) }
func (t *outsideTests) Skipf(format string, args ...any) {
	t.Logf(format, args...)
	t.B.Skipf(format, args...)
}
