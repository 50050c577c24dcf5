package drivertest

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"patchbay.dev/patchbay/driver"
)

// watching is somebody who is told of a source's changes.
type watching struct {
	c     *sourceCase
	ticks chan struct{}
	count atomic.Int64
	ended chan error
	stop  func() // and fails unless it ends so
}

// watch begins to watch, and returns when nothing is missed any more.
func (c *sourceCase) watch(source driver.Source, what string) *watching {
	c.Helper()
	watcher, ok := source.(driver.Watcher)
	if !ok {
		c.Fatal("it is no Watcher")
	}
	ctx, cancel := context.WithCancel(c.Context())
	w := &watching{c: c, ticks: make(chan struct{}, 1), ended: make(chan error, 1)}
	w.stop = func() {
		c.Helper()
		cancel()
		select {
		case err := <-w.ended:
			if w.ended <- err; err != nil && !errors.Is(err, context.Canceled) {
				c.Errorf("Watch, told to end: %v", err)
			} else if err != nil {
				c.Errorf("Watch ends with its context's error: it returns nil")
			}
		case <-c.patience():
			c.Fatal("Watch does not end with its context")
		}
	}
	go func() {
		w.ended <- watcher.Watch(ctx, func() {
			w.count.Add(1)
			select {
			case w.ticks <- struct{}{}:
			default:
			}
		})
	}()
	c.Cleanup(cancel)
	w.next(what + ": that it has begun")
	return w
}

// patience ends when there is none any more.
func (c *sourceCase) patience() <-chan struct{} {
	ctx, cancel := context.WithTimeout(c.Context(), cmp.Or(c.suite.Patience, limit))
	c.Cleanup(cancel)
	return ctx.Done()
}

// next waits until it is told of something.
func (w *watching) next(what string) {
	w.c.Helper()
	select {
	case <-w.ticks:
	case err := <-w.ended:
		w.ended <- err
		w.c.Fatalf("%s is not told: Watch = %v", what, err)
	case <-w.c.patience():
		w.c.Fatalf("%s is not told", what)
	}
}

// told: each change is told to who has seen no other one.
func (s *sourceSuite) told(t *testing.T) {
	if !s.Watches {
		return // inspect has looked whether that is so
	}
	c := s.start(t)
	each := func(what string, do func()) {
		t.Helper()
		w := c.watch(c.source, what)
		other := c.watch(c.open(), what)
		do()
		w.next(what)
		other.stop()
		w.stop()
	}
	change := c.change("orders", 1, newUID(), "PB_A", "canary-a")
	each("somebody else's edit", func() { c.set("THEIRS", "1") })
	each("another edit", func() { c.set("THEIRS", "2") })
	each("a write of ours", func() { c.write(change) })
	c.release(change)
	if restarter, ok := c.source.(driver.Restarter); ok && c.Bounce != nil {
		each("a restart of ours", func() {
			if err := restarter.Restart(c.ctx()); err != nil {
				t.Fatalf("Restart: %v", err)
			}
		})
	}
	if c.Bounce != nil {
		each("somebody else's restart", func() { must(t, c.Bounce()) })
	}
	each("a delete of ours", func() { c.delete(change) })
	if c.Remove == nil || c.Make == nil {
		return
	}
	all := c.watch(c.source, "all that follows")
	each("its end", func() { must(t, c.Remove()) })
	each("its return", func() { must(t, c.Make()) })
	each("an edit of what has been made again", func() { c.set("THEIRS", "3") })
	all.next("all of that")
	must(t, c.Remove())
	all.next("its second end")
	must(t, c.Make())
	all.next("its second return")
	all.stop()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reading: who is told looks, and would be told of that, and look.
func (s *sourceSuite) reading(t *testing.T) {
	if !s.Watches {
		return
	}
	c := s.start(t)
	change := c.change("orders", 1, newUID(), "PB_A", "canary-a")
	w := c.watch(c.source, "reading")
	look := func() {
		if _, err := c.source.Inspect(c.ctx()); err != nil {
			t.Fatalf("Inspect: %v", err)
		}
		c.snapshot()
		if err := c.source.CheckChange(c.ctx(), change); err != nil {
			t.Fatalf("CheckChange: %v", err)
		}
		if _, err := c.source.Owned(c.ctx()); err != nil {
			t.Fatalf("Owned: %v", err)
		}
		v, ok := c.source.(driver.Vantage)
		if !ok {
			return
		}
		if _, err := v.Egress(c.ctx(), netip.Addr{}); err != nil {
			t.Fatalf("Egress: %v", err)
		}
		if d, err := v.Dialer(c.ctx()); err == nil {
			if err := d.Close(); err != nil {
				t.Errorf("Close of the dialer: %v", err)
			}
		}
	}
	// A platform that has just made a source may have something to tell of it for a
	// while; of a look that is told there is no end.
	const rounds = 12
	for range rounds {
		before := w.count.Load()
		look()
		c.watch(c.open(), "who comes later").stop() // as long as it takes to be told of something
		for range 1000 {                            // on a busy machine nobody comes in at once
			runtime.Gosched()
		}
		if w.count.Load() == before {
			w.stop()
			return
		}
	}
	w.stop()
	t.Errorf("each of %d looks at the source is told as a change", rounds)
}

// leaves: no goroutine and nothing open is left of who has watched.
func (s *sourceSuite) leaves(t *testing.T) {
	if !s.Watches {
		return
	}
	c := s.start(t)
	goroutines, open := goleak.IgnoreCurrent(), opened()
	source, err := s.Driver.Open(c.ctx(), completed(c.Config))
	must(t, err)
	for range 3 {
		first, second := c.watch(source, "one"), c.watch(source, "another one")
		first.stop()
		second.stop()
	}
	if err := source.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := goleak.Find(goroutines); err != nil {
		t.Errorf("after watching: %v", err)
	}
	for fd := range opened() {
		if !open[fd] {
			t.Errorf("after watching %s is still open", fd)
		}
	}
}

// opened are the files and sockets that this process has open, where the system shows
// them.
func opened() map[string]bool {
	all := map[string]bool{}
	names, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil {
			all[name+" "+to] = true
		}
	}
	return all
}
