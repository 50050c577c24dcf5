package identity

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// How failed sign-ins are slowed down. Secrets can't be guessed; what a flood
// costs is the hashes, and the attention of whoever reads the log.
const (
	freeFailures   = 5   // of one client from one address, before the first delay
	freeOfAddress  = 50  // of one address, whichever client it names
	freeOfClient   = 100 // of one client, over all addresses
	firstDelay     = time.Second
	longestDelay   = 5 * time.Minute
	addressDelay   = 10 * time.Second // at most, of an address: many may share it
	brakeMemory    = time.Hour        // what is older is forgotten
	brakeEntries   = 20_000
	strangersEvery = time.Second // beyond freeOfClient, one of an unknown address at a time
)

// brake counts failed sign-ins. A client that is under attack from many
// addresses stays open to those that it has signed in from lately, and to one
// other attempt a second: nobody can lock its owner out.
type brake struct {
	mu    sync.Mutex
	byKey map[string]*list.Element
	order *list.List // the last used in front
}

type brakeEntry struct {
	key      string
	failures int
	until    time.Time // nothing is tried before
	last     time.Time
	good     time.Time // the last success
}

func newBrake() *brake { return &brake{byKey: map[string]*list.Element{}, order: list.New()} }

func keysOf(client, address string) (both, addr, all string) {
	network := networkOf(address)
	return "both " + network + " " + client, "address " + network, "client " + client
}

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

// wait is how long the client may not try from the address; 0: now.
func (b *brake) wait(client, address string, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	both, addr, all := keysOf(client, address)
	own := b.look(both, now)
	if own != nil && !own.good.IsZero() {
		return left(own, now)
	}
	return max(left(own, now), left(b.look(addr, now), now), left(b.look(all, now), now))
}

func left(e *brakeEntry, now time.Time) time.Duration {
	if e == nil {
		return 0
	}
	// A clock that went back must not make a delay longer than any is.
	return max(0, min(e.until.Sub(now), longestDelay))
}

// failed counts one that failed.
func (b *brake) failed(client, address string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	both, addr, all := keysOf(client, address)
	for key, free := range map[string]int{both: freeFailures, addr: freeOfAddress, all: freeOfClient} {
		e := b.entry(key, now)
		e.failures++
		e.last = now
		beyond := e.failures - free
		switch {
		case beyond <= 0:
		case key == all:
			e.until = now.Add(strangersEvery)
		case key == addr:
			e.until = now.Add(min(firstDelay<<min(beyond-1, 16), addressDelay))
		default:
			e.until = now.Add(min(firstDelay<<min(beyond-1, 16), longestDelay))
		}
	}
}

// succeeded forgets the failures of a client at an address.
func (b *brake) succeeded(client, address string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	both, _, _ := keysOf(client, address)
	e := b.entry(both, now)
	*e = brakeEntry{key: both, last: now, good: now}
}

// look finds an entry that is not too old.
func (b *brake) look(key string, now time.Time) *brakeEntry {
	el := b.byKey[key]
	if el == nil {
		return nil
	}
	e := el.Value.(*brakeEntry)
	if now.Sub(e.last) > brakeMemory {
		b.order.Remove(el)
		delete(b.byKey, key)
		return nil
	}
	b.order.MoveToFront(el)
	return e
}

func (b *brake) entry(key string, now time.Time) *brakeEntry {
	if e := b.look(key, now); e != nil {
		return e
	}
	if b.order.Len() >= brakeEntries {
		last := b.order.Back()
		b.order.Remove(last)
		delete(b.byKey, last.Value.(*brakeEntry).key)
	}
	e := &brakeEntry{key: key, last: now}
	b.byKey[key] = b.order.PushFront(e)
	return e
}
