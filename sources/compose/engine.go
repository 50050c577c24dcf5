package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// engine is Docker's API at a socket of a project's machine: what of a service runs,
// and what it last said. Compose changes it.
type engine struct {
	socket    string
	transport *http.Transport
	http      http.Client
}

// maxAnswer bounds an answer of the engine, in bytes.
const maxAnswer = 16 << 20

func newEngine(host hosts.Host, socket string) *engine {
	e := &engine{socket: socket, transport: &http.Transport{
		MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return host.DialContext(ctx, "unix", socket) },
	}}
	e.http.Transport = e.transport
	return e
}

func (e *engine) close() { e.transport.CloseIdleConnections() }

var errAbsent = errors.New("there is no such thing")

// answer is what the engine answers, whose body the caller closes.
func (e *engine) answer(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "engine", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := e.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine does not answer at %s: %w", e.socket, errors.Unwrap(err)).
			WithFix("docker --host unix://%s version   (on that machine; does the engine run, and may Patchbay's user use its socket?)", e.socket).AsTransient()
	}
	return response, nil
}

func (e *engine) request(ctx context.Context, method, path string, query url.Values) ([]byte, error) {
	response, err := e.answer(ctx, method, path, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s stopped in the middle of an answer: %w", e.socket, err).AsTransient()
	case response.StatusCode == http.StatusNotFound:
		return nil, errAbsent
	case response.StatusCode >= 300:
		return nil, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s refuses: %s", e.socket, driver.Quoted(string(body[:min(len(body), 200)])))
	}
	return body, nil
}

func (e *engine) get(ctx context.Context, path string, query url.Values, answer any) error {
	body, err := e.request(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s does not answer as Docker's API does", e.socket)
	}
	return nil
}

// container is what the engine says of one.
type container struct {
	ID           string `json:"Id"`
	Name         string
	Image        string // its id
	RestartCount int
	State        struct {
		Running, Paused, Restarting, OOMKilled bool
		ExitCode                               int
		StartedAt                              time.Time
		Health                                 *struct {
			Status string
			Log    []struct {
				ExitCode int
				Output   string
			}
		}
	}
	Config struct {
		Env    []string
		Labels map[string]string
		Tty    bool
	}
}

const labelPrefix = "com.docker.compose."

// files are those that Compose made it of.
func (c *container) files() []string { return configFiles(c.label("project.config_files")) }

// configFiles are the files of Compose's label: absolute paths with commas between
// them, and perhaps in them.
func configFiles(label string) []string {
	files := strings.Split(label, ",/")
	for i := range files[1:] {
		files[i+1] = "/" + files[i+1]
	}
	return files
}

func (c *container) label(name string) string { return c.Config.Labels[labelPrefix+name] }

func (c *container) running() bool { return c.State.Running || c.State.Restarting }

// values are the variables that it has.
func (c *container) values() map[string]string { return variables(c.Config.Env) }

func variables(env []string) map[string]string {
	all := map[string]string{}
	for _, entry := range env {
		if name, value, ok := strings.Cut(entry, "="); ok {
			all[name] = value
		}
	}
	return all
}

type listed struct {
	ID     string `json:"Id"`
	Labels map[string]string
}

func (e *engine) list(ctx context.Context, labels ...string) ([]listed, error) {
	filter, _ := json.Marshal(map[string][]string{"label": labels})
	var all []listed
	err := e.get(ctx, "/containers/json", url.Values{"all": {"1"}, "filters": {string(filter)}}, &all)
	return slices.DeleteFunc(all, func(l listed) bool { return l.Labels[labelPrefix+"oneoff"] == "True" }), err
}

// containers are those of a service, in the order of their numbers.
func (e *engine) containers(ctx context.Context, project, service string) ([]*container, error) {
	all, err := e.list(ctx, labelPrefix+"project="+project, labelPrefix+"service="+service)
	if err != nil {
		return nil, err
	}
	var list []*container
	for _, l := range all {
		c := &container{}
		err := e.get(ctx, "/containers/"+l.ID+"/json", nil, c)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.Name = strings.TrimPrefix(c.Name, "/")
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *container) int {
		if n := strings.Compare(fmt.Sprintf("%9s", a.label("container-number")), fmt.Sprintf("%9s", b.label("container-number"))); n != 0 {
			return n
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list, nil
}

// projectAt is the name of the project that a service's containers were made of in a
// directory, "" when there are none.
func (e *engine) projectAt(ctx context.Context, dir, service string) (string, error) {
	all, err := e.list(ctx, labelPrefix+"project.working_dir="+dir, labelPrefix+"service="+service)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0].Labels[labelPrefix+"project"], nil
}

// image is what the engine says of one.
type image struct {
	ID     string `json:"Id"`
	Config struct{ Env []string }
}

// image is nil when there is none.
func (e *engine) image(ctx context.Context, name string) (*image, error) {
	i := &image{}
	err := e.get(ctx, "/images/"+name+"/json", nil, i)
	if errors.Is(err, errAbsent) {
		return nil, nil
	}
	return i, err
}

// remove removes a container that never ran, and none of its volumes.
func (e *engine) remove(ctx context.Context, id string) error {
	_, err := e.request(ctx, http.MethodDelete, "/containers/"+id, nil)
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

func (e *engine) rename(ctx context.Context, id, name string) error {
	_, err := e.request(ctx, http.MethodPost, "/containers/"+id+"/rename", url.Values{"name": {name}})
	return err
}

// lastLog is the end of what a container said.
func (e *engine) lastLog(ctx context.Context, c *container) []byte {
	b, err := e.request(ctx, http.MethodGet, "/containers/"+c.ID+"/logs", url.Values{"stdout": {"1"}, "stderr": {"1"}, "tail": {"10"}})
	if err != nil || c.Config.Tty {
		return b // nothing, where a log driver can't be read
	}
	var out []byte
	for len(b) >= 8 { // one frame after the other, each with a header
		size := int(b[4])<<24 | int(b[5])<<16 | int(b[6])<<8 | int(b[7])
		end := min(8+max(size, 0), len(b))
		out = append(out, b[8:end]...)
		b = b[end:]
	}
	return out
}

// changed are the paths that a container wrote outside of its volumes.
func (e *engine) changed(ctx context.Context, c *container) ([]string, error) {
	var all []struct{ Path string }
	if err := e.get(ctx, "/containers/"+c.ID+"/changes", nil, &all); err != nil && !errors.Is(err, errAbsent) {
		return nil, err
	}
	var paths []string
	for _, change := range all {
		paths = append(paths, change.Path)
	}
	return paths, nil
}
