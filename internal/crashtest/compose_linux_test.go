package crashtest

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay/internal/testenv/docker"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

var composeAsked = flag.Bool("compose", false, "kill with an application in a Compose project, too")

// projects are the grounds of Compose: by each way in which a service gets settings.
func projects(t *testing.T) []ground {
	if !*composeAsked {
		t.Skip("each step makes containers anew: make test-compose, or -compose, runs it")
	}
	return []ground{
		{start: startPostgres, site: startCompose("override"), on: "Compose", fails: []string{"verify/before-do", "settings/after-do", "restart/after-do"}},
		{start: startPostgres, site: startCompose("env-file"), on: "Compose, env file", fails: []string{"verify/before-do", "restart/after-do"}},
	}
}

// TestAKillLosesNothingInCompose: the application is a service of a project.
func TestAKillLosesNothingInCompose(t *testing.T) { killed(t, projects(t)) }

// TestRotationHasNoGapInCompose: Compose makes the application anew each time.
func TestRotationHasNoGapInCompose(t *testing.T) { rotated(t, projects(t)) }

// startCompose starts an engine whose sources are services of Compose projects, which
// get their settings in that way.
func startCompose(deliver string) func(*testing.T) site {
	return func(t *testing.T) site {
		program := docker.Compose(t)
		e, at := startContainers(t, docker.Docker)
		n := at.network.(*netns.Network)
		var names atomic.Int64
		at.source = func(t *testing.T, _ string) source {
			one := names.Add(1)
			return newProject(t, e, n, program, deliver, fmt.Sprintf("shop%d", one), addressOf(one))
		}
		return at
	}
}

// project is an application in a service of a Compose project, beside another one.
type project struct {
	*container
	program, deliver string
	project          string
	dir              string
	beginning        string // content, before anything is connected
	neighbour        []string
	volumes          string
	socket           string // of the engine, as the driver is told
}

const composeFile = `# kept
services:
  web:
    image: app
    hostname: the-web
    labels: {theirs: "1"}
    networks: {shop: {ipv4_address: %s, aliases: [web-of-theirs]}}
    volumes: [/anonymous, "data:/data"]
    configs: [{source: told, target: /told}]
    secrets: [key]
    depends_on: {db: {condition: service_started}}
    mem_limit: 64m
    cap_drop: [MKNOD]
    restart: unless-stopped
    stop_grace_period: 1s
    logging: {options: {max-size: 1m}}
%s
  db: {image: app, networks: [shop]}
networks: {shop: {external: true}}
volumes: {data: {}}
configs: {told: {content: "what they say"}}
secrets: {key: {file: ./key}}
`

// theirEnvironment is how the service has its own variables, by the way in which it
// gets ours.
var theirEnvironment = map[string]string{
	"override": `    environment: {A: "1", B: "x y"}`,
	"env-file": `    env_file: [{path: ./theirs.env}, {path: ./web.patchbay.env, required: false}]`,
}

func newProject(t *testing.T, e *docker.Engine, n *netns.Network, program, deliver, name, address string) *project {
	p := &project{
		container: containerOf(e, n, name+"-web-1", address), program: program, deliver: deliver,
		project: name, dir: filepath.Join(t.TempDir(), name), socket: e.Socket,
	}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"compose.yaml": fmt.Sprintf(composeFile, address, theirEnvironment[deliver]), "key": "their key", "theirs.env": "A=1\nB=x y\n",
	} {
		if err := os.WriteFile(filepath.Join(p.dir, file), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = p.compose("down", "--timeout", "0", "--volumes", "--remove-orphans") })
	if _, err := p.compose("up", "--detach"); err != nil {
		t.Fatal(err)
	}
	p.neighbour, p.volumes, p.beginning = p.ids("db"), p.mounted(), p.content()
	return p
}

// compose is the user's: in the project's directory, without an option that says which
// files there are.
func (p *project) compose(args ...string) (string, error) {
	cmd := exec.Command(p.program, append([]string{"--ansi", "never", "--progress", "plain"}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "DOCKER_HOST=unix://" + p.engine.Socket}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("docker compose %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (p *project) resource() (string, map[string]any) {
	return "Microsoft.App/containerApps/web", map[string]any{"properties": map[string]any{
		"driver": "compose", "endpoint": p.dir, "service": "web", "deliver": p.deliver, "program": p.program, "engine": "unix://" + p.socket,
		"wait": map[string]any{"limit": "20s", "steady": "50ms"},
	}}
}

// ids are the containers of a service, or of all.
func (p *project) ids(service string) []string {
	args := []string{"ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", "label=com.docker.compose.project=" + p.project}
	if service != "" {
		args = append(args, "--filter", "label=com.docker.compose.service="+service)
	}
	out, err := p.engine.Docker(args...)
	if err != nil {
		return []string{err.Error()}
	}
	all := strings.Split(out, "\n")
	slices.Sort(all)
	return all
}

// mounted are the volumes that the application has, by their names: what it keeps in
// them is in no other one.
func (p *project) mounted() string {
	out, err := p.engine.Docker("inspect", "--format", `{{range .Mounts}}{{if eq .Type "volume"}}{{.Destination}} {{.Name}},{{end}}{{end}}`, p.name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(out, ",")
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// content is every file of the project, and what the engine says of the container.
func (p *project) content() string {
	entries, err := os.ReadDir(p.dir)
	var b strings.Builder
	for _, entry := range entries {
		info, infoErr := entry.Info()
		text, readErr := os.ReadFile(filepath.Join(p.dir, entry.Name()))
		if err := errors.Join(infoErr, readErr); err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "%s %v\n%s\n", entry.Name(), info.Mode(), text)
	}
	return fmt.Sprintf("%s%v\n%s", b.String(), err, p.container.content())
}

// same says what is not as it is for as long as the project is: the volumes, what
// Compose puts into the container, the service beside it, and that Compose, run by the
// user, finds nothing to do.
func (p *project) same() error {
	var err error
	if now := p.mounted(); now != p.volumes {
		err = fmt.Errorf("the volumes are\n%s\nand were\n%s", now, p.volumes)
	}
	for path, text := range map[string]string{"/told": "what they say", "/run/secrets/key": "their key"} {
		if out, copied := p.engine.Docker("cp", p.name+":"+path, "-"); copied != nil || !strings.Contains(out, text) {
			err = errors.Join(err, fmt.Errorf("the application has no %s: %q, %w", path, out, copied))
		}
	}
	before := p.ids("")
	out, up := p.compose("up", "--detach")
	if after := p.ids(""); up != nil || !slices.Equal(before, after) {
		err = errors.Join(err, up, fmt.Errorf("docker compose up found something to do: the containers were %q, and are %q\n%s", before, after, out))
	}
	if now := p.ids("db"); !slices.Equal(now, p.neighbour) {
		err = errors.Join(err, fmt.Errorf("the service beside it is %q, and was %q", now, p.neighbour))
	}
	return err
}

func (p *project) kept() error { return errors.Join(p.container.kept(), p.same()) }

func (p *project) untouched() error {
	if now := p.content(); now != p.beginning {
		return fmt.Errorf("the project is\n%s\nand was\n%s", now, p.beginning)
	}
	return p.same()
}

func (p *project) beside() error {
	entries, err := os.ReadDir(p.dir)
	for _, entry := range entries {
		if !slices.Contains([]string{"compose.yaml", "key", "theirs.env", "compose.override.yaml", "web.patchbay.env"}, entry.Name()) {
			err = errors.Join(err, fmt.Errorf("beside the project's files there is %s", entry.Name()))
		}
	}
	if all := p.ids("web"); len(all) != 1 || !strings.HasSuffix(all[0], " "+p.name) {
		err = errors.Join(err, fmt.Errorf("of the service there are the containers %q", all))
	}
	return err
}

// maxCalls is more than Compose has for one operation.
const maxCalls = 9

// TestAKillWhileComposeWorksLosesNothing: the program is killed while Compose is at work
// for it, at one of its calls of the engine that has an effect. Compose dies with it, as
// when the machine does, or goes on by itself.
func TestAKillWhileComposeWorksLosesNothing(t *testing.T) {
	g := projects(t)[0]
	place, tg := g.open(t)
	n, killed := 0, 0
	for _, op := range operations {
		for _, with := range []bool{true, false} {
			for at, more := 1, true; more && at <= maxCalls; at++ {
				if n++; n%*every != 0 {
					continue
				}
				c := scenario{tg.name() + ", " + g.on + " at work", op, "", fmt.Sprintf("call %d (Compose dies: %t)", at, with)}
				t.Run(c.String(), func(t *testing.T) {
					w := g.world(t, place, tg.in(t))
					p := w.source.(*project)
					d := p.engine.Death(t)
					p.socket = d.Socket
					s := w.boot("", "")
					old := w.prepare(s, op)
					s.kill()
					before := w.source.content()

					s = w.boot("", "")
					d.Arm(docker.Moment{Call: at, Upon: s.kill, Alone: !with})
					status := op.begin(s, w)
					s.settle()
					more = s.dead()
					d.Arm(docker.Moment{})
					if !more { // it has no such call
						w.cleanUp(s)
						return
					}
					killed++
					w.comesBack(c, status, before, old)
				})
			}
		}
	}
	if killed == 0 {
		t.Skip("NOT CHECKED: no call that was tried is one that Compose makes: another -every tries others")
	}
	t.Logf("killed %d times", killed)
}
