// Package eventstreams has several who watch one thing share one stream of its events: one of
// them has it open for all, and hands it on when it leaves.
package eventstreams

import (
	"context"
	"sync"
)

// Streams are streams of events E, by what they are of. The zero value has none.
type Streams[K comparable, E any] struct {
	mu  sync.Mutex
	all map[K]*stream[E]
}

// Open follows a stream until ctx ends or it breaks, which is an error. It calls tell
// with each event, and with nil when it begins, or may have missed some.
type Open[E any] func(ctx context.Context, tell func(*E)) error

// stream is one that somebody has open, or is about to.
type stream[E any] struct {
	listeners []*listener[E] // the first one has it open
	begun     bool
}

type listener[E any] struct {
	match  func(E) bool
	wake   chan struct{}
	lead   chan struct{}
	failed chan error
}

// Watch calls changed for the events that match, once for those that come while it does,
// and at first when none is missed any more. It returns nil when ctx ends, or what open
// fails with, whoever had called it.
func (s *Streams[K, E]) Watch(ctx context.Context, key K, open Open[E], match func(E) bool, changed func()) error {
	me := &listener[E]{match: match, wake: make(chan struct{}, 1), lead: make(chan struct{}, 1), failed: make(chan error, 1)}
	st := s.join(key, me)
	defer s.leave(key, st, me)
	opened, end := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-me.failed:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-me.lead:
			running.Go(func() {
				err := open(opened, func(e *E) { s.tell(st, e) })
				if opened.Err() == nil {
					s.fail(key, st, err)
				}
			})
		case <-me.wake:
			changed()
		}
	}
}

func (s *Streams[K, E]) join(key K, me *listener[E]) *stream[E] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[K]*stream[E]{}
	}
	st := s.all[key]
	if st == nil {
		st = &stream[E]{}
		s.all[key] = st
	}
	st.listeners = append(st.listeners, me)
	switch {
	case len(st.listeners) == 1:
		me.lead <- struct{}{}
	case st.begun:
		me.tell()
	}
	return st
}

func (s *Streams[K, E]) leave(key K, st *stream[E], me *listener[E]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range st.listeners {
		if l != me {
			continue
		}
		st.listeners = append(st.listeners[:i:i], st.listeners[i+1:]...)
		if s.all[key] != st { // it has failed: those who are left begin anew
			return
		}
		switch {
		case len(st.listeners) == 0:
			delete(s.all, key)
		case i == 0: // the next one opens it; what happens meanwhile, the beginning tells
			st.begun = false
			st.listeners[0].lead <- struct{}{}
		}
		return
	}
}

func (s *Streams[K, E]) tell(st *stream[E], e *E) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.begun = true
	for _, l := range st.listeners {
		if e == nil || l.match(*e) {
			l.tell()
		}
	}
}

func (s *Streams[K, E]) fail(key K, st *stream[E], err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[key] == st {
		delete(s.all, key)
	}
	for _, l := range st.listeners {
		select {
		case l.failed <- err:
		default:
		}
	}
}

func (l *listener[E]) tell() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Together runs several watches as one: the first word is that of the last of them to
// begin, changed is called by one at a time, and all end when one does. It returns nil
// when ctx ends.
func Together(ctx context.Context, changed func(), parts ...func(ctx context.Context, changed func()) error) error {
	within, end := context.WithCancel(ctx)
	defer end()
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		begun   = map[int]bool{}
		first   error
		failed  bool
	)
	for i, part := range parts {
		running.Go(func() {
			err := part(within, func() {
				mu.Lock()
				defer mu.Unlock()
				if begun[i] = true; len(begun) == len(parts) {
					changed()
				}
			})
			mu.Lock()
			defer mu.Unlock()
			if !failed {
				first, failed = err, true
			}
			end()
		})
	}
	running.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return first
}
