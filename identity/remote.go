package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/client"

	"patchbay.dev/patchbay"
)

const (
	fetchTimeout = 10 * time.Second
	// remoteFresh is how old a provider's keys may be before they are fetched
	// again, in the background; remotePause is the least time between two
	// fetches, whatever tokens come.
	remoteFresh = time.Hour
	remotePause = 15 * time.Second
)

// remoteKeys are a provider's keys. They are kept when it is down: its tokens
// of before go on, and expire by themselves.
type remoteKeys struct {
	service  *Service
	provider *provider

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time     // the last success
	tried   time.Time     // the last attempt
	flight  chan struct{} // closed when the fetch that runs has ended; nil: none runs
	failure error         // of the last attempt
}

// find gives the keys that a token with that head may be signed with. A key
// that is not known is looked for at the provider, not too often.
func (k *remoteKeys) find(ctx context.Context, id, algorithm string) ([]jose.JSONWebKey, error) {
	found, flight := k.look(id, algorithm)
	if len(found) > 0 || flight == nil {
		return k.result(found)
	}
	select {
	case <-flight:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.resultLocked(k.match(id, algorithm))
}

// look finds keys, and begins a fetch when it is time for one.
func (k *remoteKeys) look(id, algorithm string) (found []jose.JSONWebKey, flight <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found = k.match(id, algorithm)
	now := k.service.now()
	fresh := now.Sub(k.fetched)
	due := len(found) == 0 || fresh < 0 || fresh > remoteFresh
	if since := now.Sub(k.tried); due && k.flight == nil && (since < 0 || since >= remotePause) {
		k.begin(now)
	}
	return found, k.flight
}

// begin starts a fetch that doesn't end with the request that needed it:
// others wait for it too.
func (k *remoteKeys) begin(now time.Time) {
	done := make(chan struct{})
	k.flight, k.tried = done, now
	k.service.work.Go(func() {
		keys, err := k.download(k.service.ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.flight, k.failure = nil, err
		if err == nil {
			k.keys, k.fetched = keys, now
		} else if k.service.ctx.Err() == nil {
			k.service.log.LogAttrs(k.service.ctx, slog.LevelWarn, "the keys of an OpenID Connect provider can't be fetched",
				slog.String("provider", k.provider.Name), slog.String("error", err.Error()))
		}
		close(done)
	})
}

// fetch fetches now, and waits.
func (k *remoteKeys) fetch(ctx context.Context) error {
	k.mu.Lock()
	if k.flight == nil {
		k.begin(k.service.now())
	}
	flight := k.flight
	k.mu.Unlock()
	select {
	case <-flight:
	case <-ctx.Done():
		return ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure
}

// match finds keys by id; a provider that gives its keys no ids has those of
// the algorithm's kind tried.
func (k *remoteKeys) match(id, algorithm string) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for _, key := range k.keys {
		if key.Use != "" && key.Use != "sig" || key.Algorithm != "" && key.Algorithm != algorithm {
			continue
		}
		if key.KeyID == id || id == "" || key.KeyID == "" {
			found = append(found, key)
		}
	}
	return found
}

func (k *remoteKeys) result(found []jose.JSONWebKey) ([]jose.JSONWebKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.resultLocked(found)
}

func (k *remoteKeys) resultLocked(found []jose.JSONWebKey) ([]jose.JSONWebKey, error) {
	switch {
	case len(found) > 0:
		return found, nil
	case len(k.keys) == 0:
		e := patchbay.Errorf(patchbay.Unauthenticated, "the token can't be checked: the keys of the provider %s are not known yet, and it does not answer", k.provider.Name)
		return nil, e.WithFix("try again in a moment; the server's log says why")
	}
	return nil, badToken("it was signed with a key that its provider does not publish")
}

// download reads the provider's configuration and its key set.
func (k *remoteKeys) download(ctx context.Context) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	config, err := client.Discover(ctx, k.provider.Issuer, k.provider.http)
	if err != nil {
		return nil, fmt.Errorf("its configuration: %w", err)
	}
	if err := checkURL(config.JwksURI); err != nil {
		return nil, fmt.Errorf("the URL of its keys %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.JwksURI, nil)
	if err != nil {
		return nil, err
	}
	res, err := k.provider.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its keys: HTTP %d", res.StatusCode)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}

// parseKeys takes the public keys of a set that can verify signatures. What it
// doesn't understand it leaves out: providers publish keys for other ends too.
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("its keys are not a key set: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil && key.Valid() && key.IsPublic() {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("its key set has no public key")
	}
	return keys, nil
}
