package docker

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	containers "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"patchbay.dev/patchbay/internal/dockerapi"
)

// engine is what containers are asked of, read and created in the engine's own JSON.
type engine struct{ *dockerapi.Engine }

// summary is what the list of containers says of one.
type summary struct {
	ID     string `json:"Id"`
	Names  []string
	State  string
	Labels map[string]string
}

func (e *engine) list(ctx context.Context) ([]summary, error) {
	var all []summary
	err := e.Call(ctx, http.MethodGet, "/containers/json", url.Values{"all": {"1"}}, nil, &all)
	return all, err
}

// inspect is a container, nil when there is none.
func (e *engine) inspect(ctx context.Context, id string) (*container, error) {
	c := &container{}
	err := e.Call(ctx, http.MethodGet, "/containers/"+url.PathEscape(id)+"/json", nil, nil, c)
	switch {
	case dockerapi.IsMissing(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	if e.Podman {
		c.settings.Env = podmanEnv(c)
	}
	return c, nil
}

func (e *engine) image(ctx context.Context, id string) (*image, error) {
	i := &image{}
	err := e.Call(ctx, http.MethodGet, "/images/"+id+"/json", nil, nil, i)
	if dockerapi.IsMissing(err) {
		return nil, nil
	}
	return i, err
}

func (e *engine) create(ctx context.Context, name string, body map[string]any) (id string, err error) {
	var made struct{ ID string }
	err = e.Call(ctx, http.MethodPost, "/containers/create", url.Values{"name": {name}}, body, &made)
	return made.ID, err
}

func (e *engine) connect(ctx context.Context, network, id string, endpoint map[string]any) error {
	return e.Call(ctx, http.MethodPost, "/networks/"+url.PathEscape(network)+"/connect", nil, map[string]any{"Container": id, "EndpointConfig": endpoint}, nil)
}

func (e *engine) network(ctx context.Context, name string) (network.Inspect, error) {
	result, err := e.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	return result.Network, e.Fault(err)
}

func (e *engine) rename(ctx context.Context, id, name string) error {
	if err := e.Greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: name})
	return e.Fault(err)
}

// remove removes a container with none of its volumes. Absent is success.
func (e *engine) remove(ctx context.Context, id string) error {
	if err := e.Greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
	if dockerapi.IsMissing(err) || errdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		return nil
	}
	return e.Fault(err)
}

func (e *engine) start(ctx context.Context, id string) error {
	if err := e.Greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return e.Fault(err)
}

// stop lets a container end in its own time, as its configuration says.
func (e *engine) stop(ctx context.Context, id string) error {
	if err := e.Greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerStop(ctx, id, client.ContainerStopOptions{})
	return e.Fault(err)
}

func (e *engine) restart(ctx context.Context, id string) error {
	if err := e.Greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerRestart(ctx, id, client.ContainerRestartOptions{})
	return e.Fault(err)
}

// setPolicy says whether the engine starts a container by itself. Podman's, in the
// versions that answer this API, can't be changed.
func (e *engine) setPolicy(ctx context.Context, id string, p policy) error {
	if e.Podman {
		return nil
	}
	_, err := e.ContainerUpdate(ctx, id, client.ContainerUpdateOptions{RestartPolicy: &containers.RestartPolicy{
		Name: containers.RestartPolicyMode(p.Name), MaximumRetryCount: p.MaximumRetryCount,
	}})
	return e.Fault(err)
}

// lastLog is the end of what a container said.
func (e *engine) lastLog(ctx context.Context, c *container) []byte {
	var out []byte
	logs, err := e.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: "10"})
	if err != nil {
		return nil // a log driver that can't be read
	}
	defer func() { _ = logs.Close() }()
	b, _ := io.ReadAll(io.LimitReader(logs, 64<<10))
	if c.tty {
		return b
	}
	for len(b) >= 8 { // one frame after the other, each with a header
		size := int(b[4])<<24 | int(b[5])<<16 | int(b[6])<<8 | int(b[7])
		end := min(8+max(size, 0), len(b))
		out = append(out, b[8:end]...)
		b = b[end:]
	}
	return out
}

// runtimeFiles are what engines put into every container's layer.
var runtimeFiles = []string{
	"/dev", "/proc", "/sys", "/run", "/var/run", "/tmp", "/var/tmp", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/.dockerenv", "/etc/passwd", "/etc/group",
}

// changedFiles are the paths that differ from the image's in the container's own
// layer, without the directories that they are in and what is temporary by its name.
func (e *engine) changedFiles(ctx context.Context, c *container) ([]string, error) {
	if err := e.Greet(ctx); err != nil {
		return nil, err
	}
	result, err := e.ContainerDiff(ctx, c.ID, client.ContainerDiffOptions{})
	if err != nil {
		return nil, e.Fault(err)
	}
	ignored := slices.Clone(runtimeFiles)
	for _, m := range c.Mounts {
		ignored = append(ignored, m.Destination)
	}
	for target := range c.tmpfs {
		ignored = append(ignored, target)
	}
	var all []string
	for _, change := range result.Changes {
		if !slices.ContainsFunc(ignored, func(dir string) bool { return change.Path == dir || strings.HasPrefix(change.Path, dir+"/") }) {
			all = append(all, change.Path)
		}
	}
	slices.Sort(all)
	parent := func(dir string) bool {
		holds := func(p string) bool { return p != dir && strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") }
		return slices.ContainsFunc(all, holds) || slices.ContainsFunc(ignored, holds)
	}
	return slices.DeleteFunc(slices.Clone(all), parent), nil
}
