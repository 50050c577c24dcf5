package docker

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	containers "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// engine is Docker's API of an engine. Containers are read and created in the
// engine's own JSON: what the library's types don't know would be lost with them.
type engine struct {
	*client.Client
	url       string // as it was registered
	address   string // tells it from others
	transport *http.Transport
	http      http.Client
	probe     sync.Mutex
	known     bool // what follows is
	podman    bool
	rootless  bool // Podman of a login that is not root
}

// maxAnswer bounds an answer of the engine, in bytes.
const maxAnswer = 16 << 20

func newEngine(u, address string, dial dialFunc) (*engine, error) {
	e := &engine{url: u, address: address, transport: &http.Transport{
		MaxIdleConns: 4, IdleConnTimeout: 30 * time.Second,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}
	e.http.Transport = e.transport
	var err error
	// The address is the dialer's; the library has a form for it.
	e.Client, err = client.New(client.WithHost("tcp://engine:1"), client.WithUserAgent("patchbay"),
		client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("the engine's client: %w", err)
	}
	return e, nil
}

func (e *engine) close() error {
	e.transport.CloseIdleConnections()
	return e.Client.Close()
}

// greet finds out once who answers, and in which version of the API.
func (e *engine) greet(ctx context.Context) error {
	e.probe.Lock()
	defer e.probe.Unlock()
	if e.known {
		return nil
	}
	// The library would not say what keeps it from connecting.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return err
	}
	response, err := e.http.Do(request)
	if err != nil {
		return e.fault(err)
	}
	_ = response.Body.Close()
	if _, err := e.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return e.fault(err)
	}
	// Its version would say so too, and makes Podman ask the package manager of its
	// machine for a second or so.
	e.podman = response.Header.Get("Libpod-API-Version") != ""
	if e.podman {
		if e.rootless, err = e.isRootless(ctx); err != nil {
			return err
		}
	}
	e.known = true
	return nil
}

// isRootless asks Podman in its own words: Docker's have none for it.
func (e *engine) isRootless(ctx context.Context) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v4.0.0/libpod/info", nil)
	if err != nil {
		return false, err
	}
	response, err := e.http.Do(request)
	if err != nil {
		return false, e.fault(err)
	}
	defer func() { _ = response.Body.Close() }()
	var info struct {
		Host struct{ Security struct{ Rootless bool } }
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&info); err != nil {
		return false, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s does not answer as Podman does: %s", e.url, driver.Quoted(err.Error()))
	}
	return info.Host.Security.Rootless, nil
}

// call is one request whose body and answer are JSON as they stand.
func (e *engine) call(ctx context.Context, method, at string, query url.Values, body any, answer any) error {
	if err := e.greet(ctx); err != nil {
		return err
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	u := url.URL{Scheme: "http", Host: "engine", Path: path.Join("/v"+e.ClientVersion(), at), RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), content)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := e.http.Do(request)
	if err != nil {
		return e.fault(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return e.fault(err)
	}
	if response.StatusCode >= 300 {
		var said struct {
			Message string `json:"message"`
			Cause   string `json:"cause"`
		}
		_ = json.Unmarshal(b, &said)
		return e.fault(&statusError{response.StatusCode, said.Message})
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s does not answer as Docker's API does: %s", e.url, driver.Quoted(err.Error()))
	}
	return nil
}

// statusError is an answer that the engine refused something with.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return fmt.Sprintf("%s (%d)", e.message, e.status) }

func (e *statusError) Is(target error) bool {
	switch e.status {
	case http.StatusNotFound:
		return target == errdefs.ErrNotFound
	case http.StatusConflict:
		return target == errdefs.ErrConflict
	case http.StatusForbidden:
		return target == errdefs.ErrPermissionDenied
	}
	return false
}

// isMissing reports whether the engine has no such thing. Podman says so of a container
// that goes meanwhile as if something in it had failed.
func isMissing(err error) bool {
	return errdefs.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "no such container")
}

// fault is what a failed call means. What the engine said is in Said, and as the
// cause for those who look for its kind.
func (e *engine) fault(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without a URL that nobody knows
	}
	var known *patchbay.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if distrust := distrusted(e.url, err); distrust != nil {
		return distrust
	}
	var op *net.OpError
	switch {
	case errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || client.IsErrConnectionFailed(err):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine does not answer at %s: %w", e.url, err).
			WithFix("docker --host %s version   (on that machine; does the engine run, and may Patchbay's user use its socket?)", e.url).AsTransient()
	case isMissing(err):
		return patchbay.Errorf(patchbay.SourceNotFound, "the engine at %s has no such thing: %w", e.url, err)
	}
	failed := patchbay.Errorf(patchbay.SettingsUnwritable, "the engine at %s refuses: %w", e.url, &quoted{err})
	if strings.Contains(err.Error(), "no space left on device") {
		failed = failed.WithFix("docker system df   (on that machine: its engine has no room left; docker system prune gives some back)")
	}
	if status := (*statusError)(nil); errors.As(err, &status) && status.status >= 500 || errdefs.IsInternal(err) || errdefs.IsUnavailable(err) {
		failed = failed.AsTransient()
	}
	return failed
}

// distrusted is what it means that TLS does not come about, nil for all else. Nobody has
// proven to be the engine at that URL, or the engine does not take us for whom it serves.
func distrusted(url string, err error) error {
	if errors.As(err, new(*statusError)) {
		return nil // the engine's own words
	}
	said := driver.DialError(err, url)
	if said.Code != patchbay.CertificateInvalid {
		return nil
	}
	var op *net.OpError
	switch {
	case errors.As(err, new(tls.RecordHeaderError)):
		return said.WithFix("have it speak TLS (dockerd --tlsverify --tlscacert … --tlscert … --tlskey …), or name its socket instead: --engine unix:///run/docker.sock --host NAME")
	case errors.As(err, &op) && op.Op == "remote error":
		return patchbay.Errorf(patchbay.CertificateInvalid, "the engine at %s does not take the client certificate that it is shown, or is shown none: %s", url, driver.Quoted(op.Err.Error())).
			WithFix("register it with one that its --tlscacert has signed: --client-cert-file and --client-key-file")
	case errors.As(err, new(x509.HostnameError)):
		return said.WithFix("register it with the name that is in its certificate: --tls-server-name NAME")
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return said.WithFix("register it with the authority that signed its --tlscert: --ca-file FILE")
	}
	return said.WithFix("openssl s_client -connect %s   (shows what it speaks, and its certificate)", strings.TrimPrefix(strings.TrimPrefix(url, "tcp://"), "https://"))
}

// quoted is an error whose text is harmless where it is shown.
type quoted struct{ err error }

func (q *quoted) Error() string { return driver.Quoted(q.err.Error()) }
func (q *quoted) Unwrap() error { return q.err }

// summary is what the list of containers says of one.
type summary struct {
	ID     string `json:"Id"`
	Names  []string
	State  string
	Labels map[string]string
}

func (e *engine) list(ctx context.Context) ([]summary, error) {
	var all []summary
	err := e.call(ctx, http.MethodGet, "/containers/json", url.Values{"all": {"1"}}, nil, &all)
	return all, err
}

// inspect is a container, nil when there is none.
func (e *engine) inspect(ctx context.Context, id string) (*container, error) {
	c := &container{}
	err := e.call(ctx, http.MethodGet, "/containers/"+url.PathEscape(id)+"/json", nil, nil, c)
	switch {
	case isMissing(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	if e.podman {
		c.settings.Env = podmanEnv(c)
	}
	return c, nil
}

func (e *engine) image(ctx context.Context, id string) (*image, error) {
	i := &image{}
	err := e.call(ctx, http.MethodGet, "/images/"+id+"/json", nil, nil, i)
	if isMissing(err) {
		return nil, nil
	}
	return i, err
}

func (e *engine) create(ctx context.Context, name string, body map[string]any) (id string, err error) {
	var made struct{ ID string }
	err = e.call(ctx, http.MethodPost, "/containers/create", url.Values{"name": {name}}, body, &made)
	return made.ID, err
}

func (e *engine) connect(ctx context.Context, network, id string, endpoint map[string]any) error {
	return e.call(ctx, http.MethodPost, "/networks/"+url.PathEscape(network)+"/connect", nil, map[string]any{"Container": id, "EndpointConfig": endpoint}, nil)
}

func (e *engine) network(ctx context.Context, name string) (network.Inspect, error) {
	result, err := e.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	return result.Network, e.fault(err)
}

func (e *engine) rename(ctx context.Context, id, name string) error {
	if err := e.greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: name})
	return e.fault(err)
}

// remove removes a container with none of its volumes. Absent is success.
func (e *engine) remove(ctx context.Context, id string) error {
	if err := e.greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
	if isMissing(err) || errdefs.IsConflict(err) && strings.Contains(err.Error(), "already in progress") {
		return nil
	}
	return e.fault(err)
}

func (e *engine) start(ctx context.Context, id string) error {
	if err := e.greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return e.fault(err)
}

// stop lets a container end in its own time, as its configuration says.
func (e *engine) stop(ctx context.Context, id string) error {
	if err := e.greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerStop(ctx, id, client.ContainerStopOptions{})
	return e.fault(err)
}

func (e *engine) restart(ctx context.Context, id string) error {
	if err := e.greet(ctx); err != nil {
		return err
	}
	_, err := e.ContainerRestart(ctx, id, client.ContainerRestartOptions{})
	return e.fault(err)
}

// setPolicy says whether the engine starts a container by itself. Podman's, in the
// versions that answer this API, can't be changed.
func (e *engine) setPolicy(ctx context.Context, id string, p policy) error {
	if e.podman {
		return nil
	}
	_, err := e.ContainerUpdate(ctx, id, client.ContainerUpdateOptions{RestartPolicy: &containers.RestartPolicy{
		Name: containers.RestartPolicyMode(p.Name), MaximumRetryCount: p.MaximumRetryCount,
	}})
	return e.fault(err)
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
	if err := e.greet(ctx); err != nil {
		return nil, err
	}
	result, err := e.ContainerDiff(ctx, c.ID, client.ContainerDiffOptions{})
	if err != nil {
		return nil, e.fault(err)
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
