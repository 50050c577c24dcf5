package notify

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"patchbay.dev/patchbay"
)

// Bounds of keys: of bytes, as Standard Webhooks has them; of keys, so that the
// header stays one.
const (
	keyPrefix = "whsec_"
	newKey    = 32
	minKey    = 24
	maxKey    = 64
	maxKeys   = 4
	maxFile   = 4096
)

// makeKey is how a person makes one.
const makeKey = `echo "whsec_$(head -c 32 /dev/urandom | base64)" >%s`

// Keys sign events: each makes a signature, so that a receiver that has one of
// them is satisfied.
type Keys []*webhooks.Webhook

// ReadKeys reads a key file: a key a line, whsec_ and base64. It is refused when
// others may read it.
func ReadKeys(path string) (Keys, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadableKeys(path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, patchbay.Errorf(patchbay.Internal, "the file %s, with the keys that sign events, has mode %04o: others can read it", path, mode).
			WithFix("chmod 600 %s", path)
	}
	if info.Size() > maxFile {
		return nil, patchbay.Errorf(patchbay.Internal, "the file %s, with the keys that sign events, is larger than %d bytes", path, maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, unreadableKeys(path, err)
	}
	return parseKeys(path, string(data))
}

func unreadableKeys(path string, err error) error {
	// The cause has the path in it, which is said already.
	var cause *fs.PathError
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return patchbay.Errorf(patchbay.Internal, "the file %s, with the keys that sign events, can't be read: %w", path, err).
		WithFix("give a file with a line %s…, mode 0600, or leave --events-key-file out: then the server makes a key", keyPrefix)
}

func parseKeys(path, text string) (Keys, error) {
	var keys Keys
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(line, keyPrefix))
		if err != nil || len(raw) < minKey || len(raw) > maxKey {
			return nil, patchbay.Errorf(patchbay.Internal, "line %d of %s is no key that signs events: one is %s and %d to %d bytes in base64", i+1, path, keyPrefix, minKey, maxKey).
				WithFix(makeKey, path)
		}
		key, err := webhooks.NewWebhookRaw(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, patchbay.Errorf(patchbay.Internal, "the file %s has no key that signs events", path).WithFix(makeKey, path)
	case len(keys) > maxKeys:
		return nil, patchbay.Errorf(patchbay.Internal, "the file %s has %d keys that sign events; it takes up to %d", path, len(keys), maxKeys).
			WithFix("keep the newest two, which are on top")
	}
	return keys, nil
}

// MakeKeys is [ReadKeys] of a file that is made, with one new key, when there is none.
func MakeKeys(path string) (Keys, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, newKey)
		_, _ = rand.Read(raw) // never fails
		line := keyPrefix + base64.StdEncoding.EncodeToString(raw) + "\n"
		if err := renameio.WriteFile(path, []byte(line), 0o600, renameio.IgnoreUmask()); err != nil {
			return nil, patchbay.Errorf(patchbay.Internal, "the file %s, with a key that signs events, can't be made: %w", path, err)
		}
	}
	return ReadKeys(path)
}

// sign is the value of webhook-signature.
func (k Keys) sign(id string, at time.Time, body []byte) (string, error) {
	all := make([]string, len(k))
	for i, key := range k {
		var err error
		if all[i], err = key.Sign(id, at, body); err != nil {
			return "", err
		}
	}
	return strings.Join(all, " "), nil
}
