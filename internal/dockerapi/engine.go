// Package dockerapi speaks Docker's API to a registered engine, Docker's or Podman's, for
// whatever changes something there: how it is reached, who answers, what its refusals mean,
// and whose turn it is at a container.
package dockerapi

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
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Engine is Docker's API of an engine. What has to be kept as it is goes in and out in the
// engine's own JSON ([Engine.Call]): what the library's types don't know would be lost with
// them.
type Engine struct {
	*client.Client
	URL     string // as it was registered
	Address string // tells it from others, for this process
	// Podman says that it is none of Docker's, and Rootless that it is Podman of a login
	// that is not root. Both are known after the first call.
	Podman, Rootless bool

	transport *http.Transport
	http      http.Client
	probe     sync.Mutex
	known     bool // who answers is
	place     string
}

// maxAnswer bounds an answer of the engine, in bytes.
const maxAnswer = 16 << 20

func newEngine(u, address string, dial dialFunc) (*Engine, error) {
	e := &Engine{URL: u, Address: address, transport: &http.Transport{
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

// Close lets go of connections.
func (e *Engine) Close() error {
	e.transport.CloseIdleConnections()
	return e.Client.Close()
}

// Greet finds out once who answers, and in which version of the API.
func (e *Engine) Greet(ctx context.Context) error {
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
		return e.Fault(err)
	}
	_ = response.Body.Close()
	if _, err := e.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return e.Fault(err)
	}
	// Its version would say so too, and makes Podman ask the package manager of its
	// machine for a second or so.
	e.Podman = response.Header.Get("Libpod-API-Version") != ""
	if e.Podman {
		if e.Rootless, err = e.isRootless(ctx); err != nil {
			return err
		}
	}
	e.known = true
	return nil
}

// Do sends a request of one's own, to http://engine, and bounds no answer.
func (e *Engine) Do(request *http.Request) (*http.Response, error) {
	return e.http.Do(request)
}

// isRootless asks Podman in its own words: Docker's have none for it.
func (e *Engine) isRootless(ctx context.Context) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v4.0.0/libpod/info", nil)
	if err != nil {
		return false, err
	}
	response, err := e.http.Do(request)
	if err != nil {
		return false, e.Fault(err)
	}
	defer func() { _ = response.Body.Close() }()
	var info struct {
		Host struct{ Security struct{ Rootless bool } }
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswer)).Decode(&info); err != nil {
		return false, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s does not answer as Podman does: %s", e.URL, driver.Quoted(err.Error()))
	}
	return info.Host.Security.Rootless, nil
}

// Call is one request whose body and answer are JSON as they stand.
func (e *Engine) Call(ctx context.Context, method, at string, query url.Values, body any, answer any) error {
	if err := e.Greet(ctx); err != nil {
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
		return e.Fault(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return e.Fault(err)
	}
	if response.StatusCode >= 300 {
		var said struct {
			Message string `json:"message"`
			Cause   string `json:"cause"`
		}
		_ = json.Unmarshal(b, &said)
		return e.Fault(&statusError{response.StatusCode, said.Message})
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s does not answer as Docker's API does: %s", e.URL, driver.Quoted(err.Error()))
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

// IsMissing reports whether the engine has no such thing. Podman says so of a container
// that goes meanwhile as if something in it had failed.
func IsMissing(err error) bool {
	return errdefs.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "no such container")
}

// Fault is what a failed call means. What the engine said is in Said, and as the
// cause for those who look for its kind.
func (e *Engine) Fault(err error) error {
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
	if distrust := distrusted(e.URL, err); distrust != nil {
		return distrust
	}
	var op *net.OpError
	switch {
	case errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || client.IsErrConnectionFailed(err):
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine does not answer at %s: %w", e.URL, err).
			WithFix("docker --host %s version   (on that machine; does the engine run, and may Patchbay's user use its socket?)", e.URL).AsTransient()
	case IsMissing(err):
		return patchbay.Errorf(patchbay.SourceNotFound, "the engine at %s has no such thing: %w", e.URL, err)
	}
	failed := patchbay.Errorf(patchbay.SettingsUnwritable, "the engine at %s refuses: %w", e.URL, &quoted{err})
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
