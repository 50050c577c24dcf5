package driver

import (
	"maps"
	"slices"
	"sync"
	"time"

	"patchbay.dev/patchbay"
)

// Pools keeps what is opened for a name (the sessions in a database), and no more
// than a number of them: a server may name as many databases as it likes. The one
// that was not asked for the longest gives way.
type Pools[P any] struct {
	open func(name string) (P, error)
	shut func(P)
	most int

	mu     sync.Mutex
	kept   map[string]*kept[P]
	closed bool
}

type kept[P any] struct {
	pool P
	used time.Time // when it was last asked for
}

// NewPools opens with open, which reaches nothing, and closes with shut, which
// may wait until what is in use has come back: nobody waits for it. At most so
// many are kept.
func NewPools[P any](most int, open func(name string) (P, error), shut func(P)) *Pools[P] {
	return &Pools[P]{open: open, shut: shut, most: most, kept: map[string]*kept[P]{}}
}

// Get is the named one.
func (p *Pools[P]) Get(name string) (pool P, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return pool, patchbay.Errorf(patchbay.Internal, "the target is closed")
	}
	if k := p.kept[name]; k != nil {
		k.used = time.Now()
		return k.pool, nil
	}
	if pool, err = p.open(name); err != nil {
		return pool, err
	}
	if len(p.kept) >= p.most {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(p.kept)), func(a, b string) int { return p.kept[a].used.Compare(p.kept[b].used) })
		go p.shut(p.kept[oldest].pool)
		delete(p.kept, oldest)
	}
	p.kept[name] = &kept[P]{pool, time.Now()}
	return pool, nil
}

// Close closes them all, and waits for them. Nothing is opened any more.
func (p *Pools[P]) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, k := range p.kept {
		p.shut(k.pool)
	}
	p.kept = nil
}
