package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/store"
)

const (
	// signingAlgorithm is ES256: to the clients an access token is opaque, and a
	// key is made in no time.
	signingAlgorithm = jose.ES256

	// keyLead is how long a key is published before it signs: whoever caches the
	// key set has it by then.
	keyLead = time.Hour
	// keyRefresh is how often the stored keys are read again, and keyRetry how
	// often at most for a key that is not known: another process may have made it.
	keyRefresh = time.Minute
	keyRetry   = time.Second
)

// signingKeys are the built-in issuer's keys. The store has them, so that a
// restart and a second process go on with the same.
type signingKeys struct {
	directory store.Directory
	ring      *keyring.Keyring
	rotation  time.Duration
	keep      time.Duration // how long a retired key is needed: as long as its last token
	now       patchbay.Clock
	log       *slog.Logger

	mu     sync.Mutex
	keys   []openKey // oldest first
	read   time.Time // when they were read last
	missed time.Time // when an unknown key made us read last
	lost   map[string]bool
}

type openKey struct {
	patchbay.SigningKey
	private *ecdsa.PrivateKey
}

func keyContext(id string) string { return "signing key " + id }

// signer is the key that signs now. It makes one when there is none, and the
// next one in time.
func (k *signingKeys) signer(ctx context.Context) (openKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refresh(ctx); err != nil {
		return openKey{}, err
	}
	return k.current(k.now())
}

// public is the key set as it is published: the keys that sign, that signed
// what is still good, and that will sign.
func (k *signingKeys) public(ctx context.Context) (jose.JSONWebKeySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.refresh(ctx); err != nil {
		return jose.JSONWebKeySet{}, err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range k.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.private.Public(), KeyID: key.ID, Algorithm: key.Algorithm, Use: "sig"})
	}
	return set, nil
}

// verifier is the public key of that id; ok is false when there is none.
func (k *signingKeys) verifier(ctx context.Context, id string) (key *ecdsa.PublicKey, ok bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.find(id); ok {
		return key, true, nil
	}
	now := k.now()
	if age := now.Sub(k.missed); age >= 0 && age < keyRetry {
		return nil, false, nil
	}
	k.missed = now
	if err := k.load(ctx); err != nil {
		return nil, false, err
	}
	key, ok = k.find(id)
	return key, ok, nil
}

func (k *signingKeys) find(id string) (*ecdsa.PublicKey, bool) {
	for _, key := range k.keys {
		if key.ID == id && (key.Retired.IsZero() || k.now().Before(key.Retired.Add(k.keep+2*keyRefresh))) {
			return &key.private.PublicKey, true
		}
	}
	return nil, false
}

// refresh reads the keys when it is time to, and moves the rotation on.
func (k *signingKeys) refresh(ctx context.Context) error {
	now := k.now()
	if age := now.Sub(k.read); len(k.keys) > 0 && age >= 0 && age < keyRefresh {
		return nil
	}
	if err := k.load(ctx); err != nil {
		return err
	}
	if err := k.make(ctx, now); err != nil {
		return err
	}
	return k.retire(ctx, now)
}

// load reads the keys. One that can't be opened is left alone: its tokens are
// not known until its sealing key is back, and another signs.
func (k *signingKeys) load(ctx context.Context) error {
	stored, err := k.directory.SigningKeys(ctx)
	if err != nil {
		return err
	}
	keys := make([]openKey, 0, len(stored))
	for _, s := range stored {
		private, err := k.open(s)
		if err != nil {
			if !k.lost[s.ID] {
				k.log.LogAttrs(ctx, slog.LevelError, "a signing key can't be opened; its tokens are no longer known, and another signs",
					slog.String("key", s.ID), slog.String("error", err.Error()))
				if k.lost == nil {
					k.lost = map[string]bool{}
				}
				k.lost[s.ID] = true
			}
			continue
		}
		keys = append(keys, openKey{s, private})
	}
	slices.SortStableFunc(keys, func(a, b openKey) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	k.keys, k.read = keys, k.now()
	return nil
}

func (k *signingKeys) open(s patchbay.SigningKey) (*ecdsa.PrivateKey, error) {
	plain, err := k.ring.Open(s.Sealed, keyContext(s.ID))
	if err != nil {
		return nil, err
	}
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "a signing key is not one that was made here")
	}
	key, ok := private.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() || s.Algorithm != string(signingAlgorithm) {
		return nil, patchbay.Errorf(patchbay.Internal, "a signing key is of an algorithm that is not used here")
	}
	return key, nil
}

// make makes the first key, and the next one when the newest will have signed
// for long enough. A key of the future, of a clock that was wrong, counts as new.
func (k *signingKeys) make(ctx context.Context, now time.Time) error {
	lead := k.lead()
	for _, key := range k.keys {
		if key.Retired.IsZero() && now.Sub(key.Created) < k.rotation-lead {
			return nil
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "make a signing key: %w", err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "encode a signing key: %w", err)
	}
	id := uuid.NewString()
	key := patchbay.SigningKey{
		ID: id, Algorithm: string(signingAlgorithm), Created: now.UTC(), Sealed: k.ring.Seal(plain, keyContext(id)),
	}
	if err := k.directory.PutSigningKey(ctx, key); err != nil {
		return err
	}
	k.log.LogAttrs(ctx, slog.LevelInfo, "a signing key is made", slog.String("key", id))
	return k.load(ctx)
}

func (k *signingKeys) lead() time.Duration { return min(keyLead, k.rotation/4) }

// current is the newest key that was published for long enough, and else the
// oldest that has not retired: it is the most widely known.
func (k *signingKeys) current(now time.Time) (openKey, error) {
	var found *openKey
	for i := range k.keys {
		key := &k.keys[i]
		if key.Retired.IsZero() && (found == nil || now.Sub(key.Created) >= k.lead()) {
			found = key
		}
	}
	if found == nil {
		return openKey{}, patchbay.Errorf(patchbay.Internal, "there is no signing key")
	}
	return *found, nil
}

// retire notes that the keys before the current one sign no more, and removes
// those whose last token has expired.
func (k *signingKeys) retire(ctx context.Context, now time.Time) error {
	current, err := k.current(now)
	if err != nil {
		return err
	}
	changed := false
	for _, key := range k.keys {
		switch {
		case key.Retired.IsZero() && key.Created.Before(current.Created):
			key.Retired = now.UTC()
			err = k.directory.PutSigningKey(ctx, key.SigningKey)
		// A process that has read the keys a while ago may have signed with it until
		// it read them again.
		case !key.Retired.IsZero() && now.Sub(key.Retired) > k.keep+2*keyRefresh:
			err = k.directory.DeleteSigningKey(ctx, key.ID)
		default:
			continue
		}
		if err != nil && patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			return err
		}
		changed = true
	}
	if changed {
		return k.load(ctx)
	}
	return nil
}
