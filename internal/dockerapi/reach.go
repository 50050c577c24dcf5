package dockerapi

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// DefaultURL is where an engine is when nothing is said.
const DefaultURL = "unix:///run/docker.sock"

// The parts of an engine's admin credential.
const (
	AdminCert = "clientCert"
	AdminKey  = "clientKey"
)

// Registration is what a resource says of its engine. Its fields in a description are
// [Fields] and [Admin].
type Registration struct {
	Driver         string // whose description explains it
	URL            string // "" for [DefaultURL]
	CA, ServerName string
	Host           string // found by the control plane
}

// Fields are those of an engine, in the properties of a description.
func Fields() []patchbay.Field {
	return []patchbay.Field{
		{Name: "engine", Type: patchbay.TextField, Form: "URL", About: "where the engine answers Docker's API: unix://SOCKET on the host, or tcp://HOST:PORT", Default: DefaultURL, Example: "unix:///run/podman/podman.sock"},
		{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the engine's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tls.serverName", Type: patchbay.TextField, About: "the name in the engine's certificate, where it is another than in its URL"},
		driver.HostField(),
	}
}

// Admin are the fields of its admin credential.
func Admin() []patchbay.Field {
	return []patchbay.Field{
		{Name: AdminCert, Type: patchbay.FileField, About: "certificate that an engine behind TCP knows us by, in PEM", Secret: true},
		{Name: AdminKey, Type: patchbay.FileField, About: "its private key, in PEM", Secret: true},
	}
}

// Open checks where an engine is, and prepares a client. It reaches nothing.
func Open(ctx context.Context, c driver.Config, r Registration) (*Engine, error) {
	if r.URL == "" {
		r.URL = DefaultURL
	}
	dial, address, err := dialerTo(ctx, c, r)
	if err != nil {
		return nil, err
	}
	return newEngine(r.URL, address, dial)
}

// Local reports whether the engine is one of this very machine's.
func Local(c driver.Config, e *Engine) bool {
	_, local := c.Host.(*hosts.Local)
	return local && strings.HasPrefix(e.URL, "unix:")
}

type dialFunc func(ctx context.Context) (net.Conn, error)

// dialerTo is how an engine is reached, and a word that tells it from others.
func dialerTo(ctx context.Context, c driver.Config, p Registration) (dialFunc, string, error) {
	invalid := func(format string, args ...any) error {
		return patchbay.Errorf(patchbay.InvalidArgument, format, args...).WithFix("patchbay driver show %s", p.Driver)
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsFunc(p.URL, func(r rune) bool { return r < ' ' }) {
		return nil, "", invalid("the engine is no URL such as %s or tcp://10.0.0.5:2376, without a login", DefaultURL)
	}
	secure := p.CA != "" || p.ServerName != "" || len(c.Admin) > 0
	switch u.Scheme {
	case "unix":
		switch {
		case u.Host != "" || !path.IsAbs(u.Path) || path.Clean(u.Path) != u.Path:
			return nil, "", invalid("the engine's socket %.80q is no absolute path", u.Host+u.Path)
		case secure:
			return nil, "", invalid("certificates are for engines behind tcp://; a socket has none")
		}
		if err := c.Host.CheckPath(ctx, u.Path); err != nil {
			return nil, "", invalid("the engine's socket %s leads to what is Patchbay's own", u.Path)
		}
		return func(ctx context.Context) (net.Conn, error) { return c.Host.DialContext(ctx, "unix", u.Path) }, p.Host + " " + u.Path, nil
	case "tcp", "https":
		if u.Port() == "" || u.Hostname() == "" || u.Path != "" && u.Path != "/" {
			return nil, "", invalid("the engine %.80q is not tcp://HOST:PORT", p.URL)
		}
		conf, err := driver.TLS{CA: p.CA, ServerName: p.ServerName, ClientCert: c.Admin[AdminCert], ClientKey: c.Admin[AdminKey]}.Config(u.Hostname())
		if err != nil {
			return nil, "", err
		}
		return func(ctx context.Context) (net.Conn, error) {
			conn, err := c.Host.DialContext(ctx, "tcp", u.Host)
			if err != nil {
				return nil, err
			}
			encrypted := tls.Client(conn, conf)
			if err := encrypted.HandshakeContext(ctx); err != nil {
				_ = conn.Close()
				if distrust := distrusted(p.URL, err); distrust != nil {
					return nil, distrust // before net/http has words of its own for it
				}
				return nil, err
			}
			return encrypted, nil
		}, p.Host + " " + u.Host, nil
	}
	return nil, "", invalid("the engine %.80q is neither unix:// nor tcp://", p.URL)
}

// locks has one lock a container, for this process: the engine of operations lets
// none overlap, and nobody else can be kept from an engine.
var locks sync.Map

// Lock waits for a container's turn, or for that of whatever has that name.
func (e *Engine) Lock(ctx context.Context, name string) (unlock func(), err error) {
	l, _ := locks.LoadOrStore(e.Address+" "+name, make(chan struct{}, 1))
	held := l.(chan struct{})
	select {
	case held <- struct{}{}:
		return func() { <-held }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Platform is what its containers' [driver.Peer] says.
const Platform = "docker"

// Place tells an engine from all others. Podman has no id that stays: there it is where this
// server reaches it.
func (e *Engine) Place(ctx context.Context) (string, error) {
	if err := e.Greet(ctx); err != nil {
		return "", err
	}
	if e.Podman {
		return "podman at " + e.Address, nil
	}
	e.probe.Lock()
	known := e.place
	e.probe.Unlock()
	if known != "" {
		return known, nil
	}
	var info struct{ ID string }
	if err := e.Call(ctx, http.MethodGet, "/info", nil, nil, &info); err != nil {
		return "", err
	}
	if info.ID == "" {
		return "", patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s has no id", e.URL)
	}
	e.probe.Lock()
	e.place = info.ID
	e.probe.Unlock()
	return info.ID, nil
}

// Beside reports whether a container of that name is the application's, or one that
// Patchbay has beside it for a change's sake.
func Beside(application, name string) bool {
	return name == application || strings.HasPrefix(name, application+BesideMark)
}

// BesideMark stands between the name of an application's container and what is said of one
// that is beside it.
const BesideMark = ".patchbay-"
