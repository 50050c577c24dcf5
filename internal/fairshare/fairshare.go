// Package fairshare divides a bounded number of places among those who want
// one, so that who wants many leaves room for who wants few.
//
// Nobody may hold more places than are free. Who is alone has half of them; the
// other half is there, at once, for whoever comes next, who has half of that.
// So idle places are lent, nothing has to be taken back, and nobody waits for
// the steps of others to end. (Switches share their buffers so: Choudhury and
// Hahne, Dynamic queue length thresholds, 1998.)
package fairshare

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrLine is the error of who would wait behind more than may.
var ErrLine = errors.New("fairshare: too many wait already")

// Pool has places. Make one with [New].
type Pool struct {
	places int
	line   int

	mu    sync.Mutex
	root  node
	turns uint64 // counts waits and places, so that who waits the longest is known
}

// node is one who holds or waits, and is made of others: a tenant of targets.
type node struct {
	parent   *node
	key      string
	held     int
	waiting  int
	last     uint64    // when it was given a place
	queue    []*waiter // of itself
	children map[string]*node
}

type waiter struct {
	since uint64
	ready chan struct{} // closed when it has a place
	given bool
}

// New makes a pool of so many places. line bounds how many wait for each of the
// outermost names; 0 is no bound.
func New(places, line int) *Pool { return &Pool{places: max(places, 1), line: line} }

// Acquire waits for a place for who, named from the outside in: a tenant, a
// target of it. release gives the place back, and may be called twice. It fails
// with ErrLine, or as ctx does.
func (p *Pool) Acquire(ctx context.Context, who ...string) (release func(), err error) {
	p.mu.Lock()
	n := p.find(who)
	if n.waiting == 0 && p.room(n) {
		p.take(n)
		p.mu.Unlock()
		return p.release(n), nil
	}
	if outer := p.outermost(n); p.line > 0 && outer.waiting >= p.line {
		p.tidy(n)
		p.mu.Unlock()
		return nil, ErrLine
	}
	w := &waiter{since: p.turns, ready: make(chan struct{})}
	p.turns++
	n.queue = append(n.queue, w)
	n.each(func(n *node) { n.waiting++ })
	// A place may be free that those in front of it in the line may not have.
	p.admit()
	p.mu.Unlock()
	select {
	case <-w.ready:
		return p.release(n), nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.given { // in the same moment
		p.giveBack(n)
		return nil, context.Cause(ctx)
	}
	n.queue = slices.DeleteFunc(n.queue, func(other *waiter) bool { return other == w })
	n.each(func(n *node) { n.waiting-- })
	p.tidy(n)
	return nil, context.Cause(ctx)
}

// Held is how many places are held by who; without a name, by all.
func (p *Pool) Held(who ...string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.find(who)
	defer p.tidy(n)
	return n.held
}

// Waiting is how many wait for a place for who; without a name, all.
func (p *Pool) Waiting(who ...string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.find(who)
	defer p.tidy(n)
	return n.waiting
}

func (p *Pool) release(n *node) func() {
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.giveBack(n)
	})
}

func (p *Pool) giveBack(n *node) {
	n.each(func(n *node) { n.held-- })
	p.admit()
	p.tidy(n)
}

func (p *Pool) take(n *node) {
	p.turns++
	n.each(func(n *node) { n.held++; n.last = p.turns })
}

// find gives the node of that name, and makes it where there is none.
func (p *Pool) find(who []string) *node {
	n := &p.root
	for _, key := range who {
		child := n.children[key]
		if child == nil {
			child = &node{parent: n, key: key}
			if n.children == nil {
				n.children = map[string]*node{}
			}
			n.children[key] = child
		}
		n = child
	}
	return n
}

// each calls f for n and all that it is in.
func (n *node) each(f func(*node)) {
	for ; n != nil; n = n.parent {
		f(n)
	}
}

// tidy forgets who neither holds nor waits.
func (p *Pool) tidy(n *node) {
	for ; n.parent != nil && n.held == 0 && n.waiting == 0 && len(n.children) == 0; n = n.parent {
		delete(n.parent.children, n.key)
	}
}

func (p *Pool) outermost(n *node) *node {
	for n.parent != nil && n.parent != &p.root {
		n = n.parent
	}
	return n
}

// room reports whether n may have a place more.
func (p *Pool) room(n *node) bool { return p.left(n) > 0 }

// left is how many places are left to n: of those that are left to what it is
// in, as many more as it does not hold.
func (p *Pool) left(n *node) int {
	if n.parent == nil {
		return p.places - n.held
	}
	free := p.left(n.parent)
	if free > 0 && n.held == 0 {
		return free
	}
	return free - n.held
}

// admit gives places to those who wait, as long as there are any for them.
func (p *Pool) admit() {
	for p.admitOne(&p.root) {
	}
}

// admitOne gives a place to the one below n who holds the fewest.
func (p *Pool) admitOne(n *node) bool {
	if n.waiting == 0 || p.left(n) <= 0 {
		return false
	}
	if len(n.queue) > 0 {
		w := n.queue[0]
		n.queue = n.queue[1:]
		w.given = true
		n.each(func(n *node) { n.waiting-- })
		p.take(n)
		close(w.ready)
		return true
	}
	below := make([]*node, 0, len(n.children))
	for _, child := range n.children {
		if child.waiting > 0 {
			below = append(below, child)
		}
	}
	for len(below) > 0 { // the first of them is the one as a rule: they are not sorted
		next := slices.MinFunc(below, func(a, b *node) int {
			if a.held != b.held {
				return cmp.Compare(a.held, b.held)
			}
			return cmp.Compare(a.turn(), b.turn())
		})
		if p.left(next) <= 0 {
			return false // nor is there one for who holds more
		}
		if p.admitOne(next) {
			return true
		}
		below = slices.DeleteFunc(below, func(n *node) bool { return n == next })
	}
	return false
}

// turn is since when it is n's turn: a long line does not go before a short one
// only because it began earlier.
func (n *node) turn() uint64 { return max(n.first(), n.last) }

// first is when the longest wait at or below n began.
func (n *node) first() uint64 {
	since := ^uint64(0)
	if len(n.queue) > 0 {
		since = n.queue[0].since
	}
	for _, child := range n.children {
		if child.waiting > 0 {
			since = min(since, child.first())
		}
	}
	return since
}
