package crashtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv/docker"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

// startEngine starts a container engine, whose containers are sources. The program
// runs in its network, as on the engine's machine.
func startEngine(name string) func(*testing.T) site {
	return func(t *testing.T) site {
		e, at := startContainers(t, name)
		var names atomic.Int64
		at.source = func(t *testing.T, _ string) source {
			one := names.Add(1)
			return newContainer(t, e, at.network.(*netns.Network), fmt.Sprintf("web%d", one), addressOf(one))
		}
		return at
	}
}

// startContainers starts an engine with a network that both ends of a connection are
// in.
func startContainers(t *testing.T, name string) (*docker.Engine, site) {
	e := docker.Start(t, name)
	n := netns.Of(t, e.Pid())
	image := e.Image(t, docker.App)
	e.Must(t, "network", "create", "--subnet", "10.61.0.0/16", "--gateway", "10.61.0.1", "shop")
	// A bridge is there for as long as something is on it.
	e.Must(t, "run", "--detach", "--name", "theirs", "--network", "shop", image)
	return e, site{network: n, gateway: "10.61.0.1", expose: n.Expose}
}

// addressOf is one of that network for each application: those that find the instants
// are there until the end.
func addressOf(one int64) string { return fmt.Sprintf("10.61.%d.%d", 1+one/200, 10+one%200) }

// container is an application in one, with an address, volumes and limits.
type container struct {
	engine  *docker.Engine
	client  *http.Client
	name    string
	address string
	before  string
}

// containerOf is one that is there, or will be.
func containerOf(e *docker.Engine, n *netns.Network, name, address string) *container {
	return &container{engine: e, name: name, address: address, client: &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true},
	}}
}

func newContainer(t *testing.T, e *docker.Engine, n *netns.Network, name, address string) *container {
	c := containerOf(e, n, name, address)
	args := []string{"run", "--detach", "--name", name, "--network", "shop", "--env", "A=1", "--env", "B=x y", "--label", "theirs=1",
		"--volume", "/anonymous", "--memory", "64m", "--cap-drop", "MKNOD", "--restart", "unless-stopped"}
	if e.Name == docker.Docker { // Podman tells nobody that it was asked for these
		args = append(args, "--ip", c.address, "--log-opt", "max-size=1m")
	} else {
		c.address = ""
	}
	e.Must(t, append(args, docker.App)...)
	t.Cleanup(func() {
		for _, one := range c.siblings() {
			_, _ = e.Docker("rm", "--force", "--volumes", one)
		}
	})
	c.before = c.content()
	return c
}

func (c *container) resource() (string, map[string]any) {
	return "Microsoft.App/containerApps/web", map[string]any{"properties": map[string]any{
		"driver": "docker", "endpoint": c.name, "engine": "unix://" + c.engine.Socket, "wait": map[string]any{"limit": "20s", "steady": "50ms"},
	}}
}

// siblings are the containers whose names begin with the application's.
func (c *container) siblings() (names []string) {
	out, _ := c.engine.Docker("ps", "--all", "--format", "{{.Names}}")
	for name := range strings.FieldsSeq(out) {
		if name == c.name || strings.HasPrefix(name, c.name+".") {
			names = append(names, name)
		}
	}
	return names
}

// settings are what the one container that runs answers with.
func (c *container) settings() (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer, err := c.ask(ctx)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for err != nil && ctx.Err() == nil { // it may have been started just now
		<-tick.C
		answer, err = c.ask(ctx)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	env := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok && strings.HasPrefix(name, "AZURE_") {
			env[name] = value
		}
	}
	return env, err
}

func (c *container) ask(ctx context.Context) (*http.Response, error) {
	address := c.address
	if address == "" {
		found, err := c.engine.Docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", c.name)
		if err != nil {
			return nil, err
		}
		address = strings.TrimSpace(found)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+":8080/", nil)
	if err != nil {
		return nil, err
	}
	return c.client.Do(request)
}

// identity matches what another container of the same configuration has otherwise.
var identity = regexp.MustCompile(`[0-9a-f]{64}|[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-][0-9:]+)|/(proc|run)/[^"]*`)

// content is what the engine says of the container, without what two that are alike
// do not share.
func (c *container) content() string {
	text, err := c.engine.Docker("inspect", c.name)
	if err != nil {
		return err.Error()
	}
	var list []map[string]any
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) != 1 {
		return fmt.Sprintf("%v: %s", err, text)
	}
	one := list[0]
	if state, ok := one["State"].(map[string]any); ok {
		one["State"] = state["Status"]
	}
	for _, name := range []string{"RestartCount", "GraphDriver", "SizeRootFs", "ExecIDs"} {
		delete(one, name)
	}
	if config, ok := one["Config"].(map[string]any); ok {
		if labels, ok := config["Labels"].(map[string]any); ok { // which one it came in the place of
			delete(labels, "com.docker.compose.replace")
		}
		env, _ := config["Env"].([]any)
		sorted(env)
	}
	// A volume without a name is attached by the one that the engine gave it.
	if host, ok := one["HostConfig"].(map[string]any); ok {
		delete(host, "Mounts")
	}
	mounts, _ := one["Mounts"].([]any)
	sorted(mounts)
	for _, m := range mounts {
		delete(m.(map[string]any), "Mode")
	}
	if networks, ok := one["NetworkSettings"].(map[string]any); ok {
		maps.DeleteFunc(networks, func(name string, _ any) bool { return name != "Networks" && name != "Ports" })
		all, _ := networks["Networks"].(map[string]any)
		for _, n := range all {
			delete(n.(map[string]any), "DNSNames")
			aliases, _ := n.(map[string]any)["Aliases"].([]any)
			sorted(aliases)
			if c.address == "" { // what nobody asked for may be another
				delete(n.(map[string]any), "IPAddress")
				delete(n.(map[string]any), "MacAddress")
			}
		}
	}
	out, _ := json.MarshalIndent(one, "", " ") // of what was JSON
	return identity.ReplaceAllString(string(out), "‹own›")
}

// sorted sorts what has an order that means nothing.
func sorted(list []any) {
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

func (c *container) kept() error {
	now := c.content()
	for _, part := range []string{`"A=1"`, `"B=x y"`, `"theirs": "1"`, `"Destination": "/anonymous"`, `"Memory": 67108864`, `"Status": "running"`, c.address} {
		if part == `"Status": "running"` {
			part = `"State": "running"`
		}
		if !strings.Contains(now, part) {
			return fmt.Errorf("the container is without %s:\n%s", part, now)
		}
	}
	return nil
}

func (c *container) untouched() error {
	if now := c.content(); now != c.before {
		return fmt.Errorf("the container is\n%s\nand was\n%s", now, c.before)
	}
	return nil
}

func (c *container) beside() error {
	if all := c.siblings(); len(all) != 1 {
		return fmt.Errorf("there are the containers %q", all)
	}
	return nil
}

func (c *container) holds(string) bool { return false }
