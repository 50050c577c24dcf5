package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/time/rate"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/fairshare"
)

// How a secret is hashed: 19 MiB, two passes. A secret of 256 random bits can't
// be guessed whatever the hash; the hash costs so much in case somebody brings
// a secret of their own into a store.
const (
	hashMemory  = 19 * 1024 // KiB
	hashPasses  = 2
	hashThreads = 1
	hashBytes   = 32
	saltBytes   = 16

	// Bounds on the parameters in a stored hash: a changed row must not take all
	// memory.
	maxMemory = 256 * 1024 // KiB
	maxPasses = 16

	hashesAtOnce = 2   // so many hashes are computed at a time
	hashesInLine = 128 // and so many wait, of each tenant and of the strangers
	// So many a second, and at once, are computed for strangers, who fail anyway:
	// a processor has more to do.
	strangersASecond = 10
	strangersAtOnce  = 50
	secretBytes      = 32
	hintLength       = 3
)

// newSecret makes a client secret. It never begins with a dash, which a
// command line would take for a flag.
func newSecret() patchbay.Secret {
	raw := make([]byte, secretBytes)
	for {
		_, _ = rand.Read(raw) // never fails
		if text := base64.RawURLEncoding.EncodeToString(raw); text[0] != '-' {
			return patchbay.NewSecret(text)
		}
	}
}

func hintOf(secret string) string {
	if len(secret) < hintLength {
		return ""
	}
	return secret[:hintLength]
}

// hasher computes hashes, a few at a time: each takes memory. Every tenant has
// its share of them.
type hasher struct {
	pool      *fairshare.Pool
	strangers *rate.Limiter
	// dummy is compared with where there is nothing to compare with, so that an
	// unknown client takes as long as a wrong secret. It is the hash of none.
	dummy params
}

func newHasher() *hasher {
	h := &hasher{
		pool: fairshare.New(hashesAtOnce, hashesInLine), strangers: rate.NewLimiter(strangersASecond, strangersAtOnce),
		dummy: newParams(),
	}
	h.dummy.sum = make([]byte, hashBytes)
	_, _ = rand.Read(h.dummy.sum) // never fails
	return h
}

// enter waits for a turn of who, in a share of the tenant's. leave has to be
// called when it gives no error.
func (h *hasher) enter(ctx context.Context, tenant, who string) (leave func(), err error) {
	leave, err = h.pool.Acquire(ctx, tenant, who)
	if errors.Is(err, fairshare.ErrLine) {
		return nil, crowded()
	}
	return leave, err
}

// enterStranger waits for a turn of one who can't be right.
func (h *hasher) enterStranger(ctx context.Context, network string, now time.Time) (leave func(), err error) {
	if !h.strangers.AllowN(now, 1) {
		return nil, crowded()
	}
	return h.enter(ctx, strangers, network)
}

func crowded() error {
	e := patchbay.Errorf(patchbay.TooManyRequests, "too many callers sign in at this moment")
	e.Transient = true
	return e
}

// hash hashes a new secret of a tenant's principal.
func (h *hasher) hash(ctx context.Context, tenant string, secret patchbay.Secret) (string, error) {
	leave, err := h.enter(ctx, tenant, "new secrets")
	if err != nil {
		return "", err
	}
	defer leave()
	return hashSecret(secret.Reveal()), nil
}

func hashSecret(secret string) string {
	p := newParams()
	p.sum = p.compute(secret)
	return p.String()
}

// newParams are those of a hash that is made today.
func newParams() params {
	p := params{memory: hashMemory, passes: hashPasses, threads: hashThreads, salt: make([]byte, saltBytes), size: hashBytes}
	_, _ = rand.Read(p.salt) // never fails
	return p
}

// params are a hash with what it was made with, in the form that argon2's own
// tools write: $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
type params struct {
	memory, passes uint32
	threads        uint8
	salt, sum      []byte
	size           uint32
}

func (p params) String() string {
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.threads, enc.EncodeToString(p.salt), enc.EncodeToString(p.sum))
}

func (p params) compute(secret string) []byte {
	return argon2.IDKey([]byte(secret), p.salt, p.passes, p.memory, p.threads, p.size)
}

func (p params) matches(secret string) bool {
	return subtle.ConstantTimeCompare(p.compute(secret), p.sum) == 1
}

func parseHash(s string) (params, error) {
	bad := patchbay.Errorf(patchbay.Internal, "a stored secret's hash is not one that was made here")
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return params{}, bad
	}
	var p params
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.threads); err != nil || n != 3 {
		return params{}, bad
	}
	var err error
	if p.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return params{}, bad
	}
	if p.sum, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil {
		return params{}, bad
	}
	if p.memory < 8 || p.memory > maxMemory || p.passes == 0 || p.passes > maxPasses || p.threads == 0 || p.threads > 16 ||
		len(p.salt) < 8 || len(p.salt) > 64 || len(p.sum) < 16 || len(p.sum) > 64 {
		return params{}, bad
	}
	p.size = uint32(len(p.sum))
	return p, nil
}
