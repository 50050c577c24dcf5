// Package keyring seals what is secret before it is stored, under a key that
// lives in a file of its own.
//
// The cipher is XChaCha20-Poly1305, whose nonces are long enough to be drawn at
// random for ever. The context that a secret is sealed for (the record's
// identity) is authenticated, so a ciphertext moved to another record does not
// open there.
package keyring

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"patchbay.dev/patchbay"
)

const (
	formatV1  = 1 // first byte of every ciphertext
	keyIDSize = 4 // then the first bytes of the key's SHA-256
	fileMode  = 0o600
)

// Keyring seals under its first key and opens under any of them. It is safe
// for concurrent use.
type Keyring struct {
	keys []key
}

type key struct {
	id   [keyIDSize]byte
	raw  []byte
	aead cipher.AEAD
}

// Load reads the key file at path, or makes one with a new key when there is
// none. The file holds one base64 key a line; the first seals, so a key is
// rotated by putting a new line on top. A file that others can read is refused.
func Load(path string) (*Keyring, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if data, err = create(path); err != nil {
			return nil, patchbay.Errorf(patchbay.Internal, "the key file %s can't be made: %w", path, err)
		}
	case err != nil:
		return nil, patchbay.Errorf(patchbay.Internal, "the key file %s can't be read: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the key file %s can't be read: %w", path, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, patchbay.Errorf(patchbay.Internal, "the key file %s has mode %04o: others can read it", path, info.Mode().Perm()).
			WithFix("chmod 600 %s", path)
	}
	return parse(data)
}

// create writes a new key so that it is either wholly there or not at all: a
// second process that lost the race reads the winner's.
func create(path string) ([]byte, error) {
	raw := make([]byte, chacha20poly1305.KeySize)
	_, _ = rand.Read(raw) // never fails
	line := []byte(base64.StdEncoding.EncodeToString(raw) + "\n")
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	if _, err = tmp.Write(line); err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		return os.ReadFile(path)
	}
	return line, err
}

func parse(data []byte) (*Keyring, error) {
	k := &Keyring{}
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil || len(raw) != chacha20poly1305.KeySize {
			return nil, patchbay.Errorf(patchbay.Internal, "line %d of the key file is not a base64 key of %d bytes", i+1, chacha20poly1305.KeySize)
		}
		aead, err := chacha20poly1305.NewX(raw)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(raw)
		k.keys = append(k.keys, key{id: [keyIDSize]byte(sum[:]), raw: raw, aead: aead})
	}
	return k, nil
}

// Seal encrypts plain for context.
func (k *Keyring) Seal(plain []byte, context string) patchbay.Sealed {
	first := k.keys[0]
	out := make([]byte, 0, 1+keyIDSize+chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	out = append(out, formatV1)
	out = append(out, first.id[:]...)
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	_, _ = rand.Read(nonce) // never fails
	out = append(out, nonce...)
	return first.aead.Seal(out, nonce, plain, []byte(context))
}

// Open decrypts what Seal gave for the same context. It fails when the key is
// not in the file, and when a byte of either was changed.
func (k *Keyring) Open(sealed patchbay.Sealed, context string) ([]byte, error) {
	const head = 1 + keyIDSize + chacha20poly1305.NonceSizeX
	if len(sealed) < head || sealed[0] != formatV1 {
		return nil, errors.New("keyring: not a sealed value")
	}
	for _, key := range k.keys {
		if !bytes.Equal(key.id[:], sealed[1:1+keyIDSize]) {
			continue
		}
		plain, err := key.aead.Open(nil, sealed[1+keyIDSize:head], sealed[head:], []byte(context))
		if err != nil {
			return nil, fmt.Errorf("keyring: %s: the sealed value was changed or belongs to another record", context)
		}
		return plain, nil
	}
	return nil, patchbay.Errorf(patchbay.Internal, "the key that sealed %s is not in the key file", context).
		WithFix("put the old key back as a further line of the key file")
}

// MAC tells equal messages from unequal ones without being a place to try
// guesses at the secrets in them.
func (k *Keyring) MAC(message []byte) []byte {
	// The last key is the oldest: it stays the same when a new one is put on top.
	mac := hmac.New(sha256.New, k.keys[len(k.keys)-1].raw)
	mac.Write([]byte("patchbay request\x00"))
	mac.Write(message)
	return mac.Sum(nil)
}
