package docker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
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
		Key: containerevents.Key{Host: s.host, Address: s.engine.Address, Credentials: s.who}, Get: s.engine.Stream, Now: s.clock,
	}, func(c containerevents.Container) bool { return concerns(c.Name) || concerns(c.Was) }, changed)
	if known := (*patchbay.Error)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s tells nothing more of its containers: %s", s.engine.URL, driver.Quoted(err.Error())).AsTransient()
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
	if s.beside {
		return time.Now(), nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/_ping", nil)
	if err != nil {
		return time.Time{}, err
	}
	response, err := s.engine.Do(request)
	if err != nil {
		return time.Time{}, s.engine.Fault(err)
	}
	_ = response.Body.Close()
	at, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return time.Time{}, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine at %s does not say what time it is", s.engine.URL)
	}
	return at, nil
}
