package identity

import (
	"net/netip"
	"sync"
	"time"

	"patchbay.dev/patchbay/internal/recent"
)

// How failed sign-ins are slowed down. Secrets can't be guessed; what a flood
// costs is the hashes, and the attention of whoever reads the log.
const (
	freeFailures  = 5   // of one client from one network, before the first delay
	freeOfNetwork = 50  // of one network, whichever client it names
	freeOfClient  = 100 // of one client, over all networks
	firstDelay    = time.Second
	longestDelay  = 5 * time.Minute
	networkDelay  = 10 * time.Second // at most, of a network: many may share it
	brakeMemory   = time.Hour        // what is older is forgotten
	brakeEntries  = 20_000           // of each group
	clientDelay   = time.Second      // at most, of a client
)

// brake counts failed sign-ins, and delays the next ones.
//
// What others do, from a network or to a client, delays strangers, and apart
// from them those whose secret begins as one of the client's: so nobody who
// doesn't know that can lock the client's owner out. A stranger that is delayed
// could tell that it is one, and so try beginnings; therefore a delay counts as
// a failure of that client at that network, whose delays are everybody's there.
type brake struct {
	mu       sync.Mutex
	failures *recent.Map[*failures]
}

type failures struct {
	count int
	until time.Time // nothing is tried before
	last  time.Time
}

// attempt is one sign-in.
type attempt struct {
	client, network string
	// stranger says that the secret is none of the client's, as is seen without
	// computing a hash.
	stranger bool
}

// group is what attempts of its kind are remembered in.
func (a attempt) group() string {
	if a.stranger {
		return "strangers"
	}
	return "secrets"
}

// key is where failures are counted.
type key struct{ group, name string }

func (a attempt) both() key      { return key{"both", a.network + " " + a.client} }
func (a attempt) ofNetwork() key { return key{a.group(), "network " + a.network} }
func (a attempt) ofClient() key  { return key{a.group(), "client " + a.client} }

func newBrake() *brake { return &brake{failures: recent.New[*failures](brakeEntries)} }

// networkOf is what one attacker calls from: an address, or the /64 of IPv6.
func networkOf(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Is4() {
		return address
	}
	p, err := a.Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

// wait is how long it has to wait; 0: not at all.
func (b *brake) wait(a attempt, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if own := b.left(a.both(), now); own > 0 {
		return own
	}
	others := max(b.left(a.ofNetwork(), now), b.left(a.ofClient(), now))
	if others > 0 {
		b.refuse(a, now)
	}
	return others
}

func (b *brake) left(k key, now time.Time) time.Duration {
	f := b.look(k, now)
	if f == nil {
		return 0
	}
	// A clock that went back must not make a delay longer than any is.
	return max(0, min(f.until.Sub(now), longestDelay))
}

// refused counts one that was not looked at because of what others do.
func (b *brake) refused(a attempt, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse(a, now)
}

func (b *brake) refuse(a attempt, now time.Time) {
	if a.stranger {
		b.count(a.both(), freeFailures, longestDelay, now)
	}
}

// failed counts one that failed.
func (b *brake) failed(a attempt, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count(a.both(), freeFailures, longestDelay, now)
	b.count(a.ofNetwork(), freeOfNetwork, networkDelay, now)
	b.count(a.ofClient(), freeOfClient, clientDelay, now)
}

// count counts a failure; each beyond those that are free doubles the delay.
func (b *brake) count(k key, free int, longest time.Duration, now time.Time) {
	f := b.look(k, now)
	if f == nil {
		f = &failures{}
		b.failures.Put(k.group, k.name, f)
	}
	f.count++
	f.last = now
	if beyond := f.count - free; beyond > 0 {
		f.until = now.Add(min(firstDelay<<min(beyond-1, 16), longest))
	}
}

// succeeded forgets the failures of a client at a network.
func (b *brake) succeeded(a attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := a.both()
	b.failures.Delete(k.group, k.name)
}

// look finds failures that are not too old.
func (b *brake) look(k key, now time.Time) *failures {
	f, ok := b.failures.Get(k.group, k.name)
	if !ok {
		return nil
	}
	if now.Sub(f.last) > brakeMemory {
		b.failures.Delete(k.group, k.name)
		return nil
	}
	return f
}
