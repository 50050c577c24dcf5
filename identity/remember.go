package identity

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/recent"
)

// rememberedSecrets is how many of each tenant's secrets are remembered.
const rememberedSecrets = 4096

// remembered knows the secrets that were right before, so that who signs in
// again needs no hash and waits for nobody. It keeps, beside a stored hash, a
// MAC of the secret that the hash was made of, under a key of this process.
// That stays true for ever; whether the secret still counts is asked of the
// principal's record each time, and one that was taken away is not in it.
type remembered struct {
	key  []byte
	mu   sync.Mutex
	macs *recent.Map[[]byte] // by tenant and stored hash
}

func newRemembered() *remembered {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return &remembered{key: key, macs: recent.New[[]byte](rememberedSecrets)}
}

func (m *remembered) mac(secret string) []byte {
	h := hmac.New(sha256.New, m.key)
	_, _ = h.Write([]byte(secret)) // never fails
	return h.Sum(nil)
}

// knows reports whether the secret is the one that c's hash was made of, as far
// as is remembered.
func (m *remembered) knows(tenant string, c patchbay.ClientSecret, secret string) bool {
	m.mu.Lock()
	mac, ok := m.macs.Get(tenant, c.Hash)
	m.mu.Unlock()
	return ok && hmac.Equal(mac, m.mac(secret))
}

func (m *remembered) add(tenant string, c patchbay.ClientSecret, secret string) {
	mac := m.mac(secret)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.macs.Put(tenant, c.Hash, mac)
}
