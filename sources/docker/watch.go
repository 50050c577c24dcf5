package docker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/sources/internal/containerevents"
)

var _ driver.Watcher = (*source)(nil)

// Watch implements [driver.Watcher], by the engine's events: of the container that has
// the application's name, and of those of ours beside it.
func (s *source) Watch(ctx context.Context, changed func()) error {
	concerns := func(name string) bool {
		_, is := parseLabel(name, s.name)
		return is || name == s.name
	}
	err := containerevents.Watch(ctx, containerevents.Engine{
		Key: containerevents.Key{Host: s.host, Address: s.engine.address, Credentials: s.who}, Get: s.engine.stream, Now: s.clock,
	}, func(c containerevents.Container) bool { return concerns(c.Name) || concerns(c.Was) }, changed)
	if known := (*patchbay.Error)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s tells nothing more of its containers: %s", s.engine.url, driver.Quoted(err.Error())).AsTransient()
}

// sumOf tells one registration's way to an engine from another's, by all that it signs in
// with and insists on.
func sumOf(c driver.Config, p properties) [32]byte {
	all := map[string]string{"ca": p.TLS.CA, "serverName": p.TLS.ServerName}
	for name, secret := range c.Admin {
		all["admin."+name] = secret.Reveal()
	}
	text, _ := json.Marshal(all) // texts
	return sha256.Sum256(text)
}

// clock is the engine's: to the second, or this machine's.
func (s *source) clock(ctx context.Context) (time.Time, error) {
	if s.local && s.socket {
		return time.Now(), nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return time.Time{}, err
	}
	response, err := s.engine.http.Do(request)
	if err != nil {
		return time.Time{}, s.engine.fault(err)
	}
	_ = response.Body.Close()
	at, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return time.Time{}, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s does not say what time it is", s.engine.url)
	}
	return at, nil
}

// stream asks for what has no end; the caller closes it.
func (e *engine) stream(ctx context.Context, at string, query url.Values) (io.ReadCloser, error) {
	if err := e.greet(ctx); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "http", Host: "engine", Path: path.Join("/v"+e.ClientVersion(), at), RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := e.http.Do(request)
	if err != nil {
		return nil, e.fault(err)
	}
	if response.StatusCode >= 300 {
		defer func() { _ = response.Body.Close() }()
		var said struct {
			Message string `json:"message"`
		}
		b, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		_ = json.Unmarshal(b, &said)
		return nil, e.fault(&statusError{response.StatusCode, said.Message})
	}
	return response.Body, nil
}
