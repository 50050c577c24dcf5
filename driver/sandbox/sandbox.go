// Package sandbox runs the probes of drivers in child processes: the client
// library that meets a hostile server may end the process that it is in.
//
// A child is the same program, started with [Command]. It has no key, token or
// database, no administrator's credential, no network and (where the kernel has
// Landlock) no file; its memory, processor time and open files are bounded. What
// it has is a login, and connections that this process opened, from where the
// application runs, to the addresses that the target's driver named. Each of
// their bytes goes through this process, which counts them.
//
// A child serves one probe at a time. One whose probe went well serves the next
// of the same tenant; every other is ended.
package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/fairshare"
)

// Command is the argument with which the program is a child; see [Main].
const Command = "probe-child"

// Bounds on one child, and on one probe. docs/security.md lists them.
const (
	maxChildren = 12               // at once; a tenant has at most half of those that are free
	maxMemory   = 128 << 20        // bytes, beside what the program has when it starts
	maxCPU      = 5 * time.Second  // of the child's life
	maxFiles    = 24               // open ones, its own pipes included
	maxReceived = 16 << 20         // bytes that all servers of one probe send
	maxDials    = 16               // connections of one probe
	dialLimit   = 5 * time.Second  // for one connection
	maxProbes   = 64               // of one child
	idleLimit   = 15 * time.Second // that a child waits for the next probe
	maxMessage  = 1 << 20          // bytes of what a child answers
)

// Options are what a [Sandbox] is made of.
type Options struct {
	Command []string // starts a child: a program and its arguments
	// Children is how many there are at once; 0 is the default.
	Children int
	Log      *slog.Logger // nil: slog.Default
}

// Sandbox starts children and gives them probes. Make one with [New].
type Sandbox struct {
	command []string
	places  *fairshare.Pool
	log     *slog.Logger

	mu     sync.Mutex
	idle   map[string][]*child // by tenant
	closed bool
}

var _ driver.Isolator = (*Sandbox)(nil)

// New makes a sandbox. It starts no child before the first probe.
func New(o Options) *Sandbox {
	if o.Children == 0 {
		o.Children = maxChildren
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Sandbox{command: o.Command, places: fairshare.New(o.Children, 0), log: o.Log, idle: map[string][]*child{}}
}

// Close ends the children that wait. Nothing may be probed any more.
func (s *Sandbox) Close() {
	s.mu.Lock()
	idle := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, children := range idle {
		for _, c := range children {
			c.end()
		}
	}
}

// Probe implements [driver.Isolator]. The first connection is made before a
// child is taken. A server that can't be reached costs none, and says nothing that
// could hurt: what that means, the driver says in this process.
func (s *Sandbox) Probe(ctx context.Context, name string, d driver.TargetDriver, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	p := newProbe(ctx, r)
	defer p.end()
	if len(r.Servers) == 1 { // of several, the client chooses
		switch err := p.dialAhead(ctx, r.Servers[0]); {
		case ctx.Err() != nil:
			return driver.ProbeResult{}, outOfTime(ctx)
		case err != nil:
			r.Dialer = closed{err}
			return d.Probe(ctx, c, r)
		}
	}
	release, err := s.places.Acquire(ctx, r.Share...)
	if err != nil {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.Timeout, "too many probes run at this moment: %w", err).AsTransient()
	}
	defer release()
	tenant := slices.Concat(r.Share, []string{""})[0]
	worker, err := s.take(tenant)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	result, err := worker.run(ctx, p, newRequest(ctx, name, c, r))
	if err == nil && s.putBack(tenant, worker) {
		return result, nil
	}
	p.cancel()
	why := worker.end()
	var said *patchbay.Error
	switch {
	case err == nil:
		return result, nil
	case p.excess():
		return driver.ProbeResult{}, misbehaved(c, "it sends more than %d MiB to somebody who signs in", maxReceived>>20)
	case errors.As(err, &said):
		return driver.ProbeResult{}, said
	case ctx.Err() != nil:
		return driver.ProbeResult{}, outOfTime(ctx)
	}
	s.log.WarnContext(ctx, "a probe ended its process", "driver", name, "resource", c.ID, "why", why)
	return driver.ProbeResult{}, misbehaved(c, "what it answers ends the client that signs in (%s)", why)
}

// outOfTime is the error of a probe whose context ended.
func outOfTime(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &patchbay.Error{Code: patchbay.Canceled, Message: "the sign-in was stopped", Transient: true, Err: context.Canceled}
	}
	return patchbay.Errorf(patchbay.Timeout, "the sign-in did not end in time").AsTransient()
}

func misbehaved(c driver.Config, format string, args ...any) error {
	at := cmp.Or(c.Endpoint, c.ID.Name())
	return patchbay.Errorf(patchbay.TargetMisbehaved, "%s does not behave as such a service does: %s", at, fmt.Sprintf(format, args...)).
		WithFix("look at what answers at %s: no service of this kind does that", at)
}

// take gives a child that serves the tenant alone.
func (s *Sandbox) take(tenant string) (*child, error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, patchbay.Errorf(patchbay.Internal, "the server is stopping").AsTransient()
		}
		waiting := s.idle[tenant]
		if len(waiting) == 0 {
			s.mu.Unlock()
			return start(s.command)
		}
		c := waiting[len(waiting)-1]
		s.forget(tenant, c)
		s.mu.Unlock()
		if c.wakeUp() {
			return c, nil
		}
		c.end()
	}
}

// forget takes c off the list of those that wait. s.mu is held.
func (s *Sandbox) forget(tenant string, c *child) bool {
	i := slices.Index(s.idle[tenant], c)
	if i < 0 {
		return false
	}
	if s.idle[tenant] = slices.Delete(s.idle[tenant], i, i+1); len(s.idle[tenant]) == 0 {
		delete(s.idle, tenant)
	}
	return true
}

// putBack keeps a child for the tenant's next probe, for a while.
func (s *Sandbox) putBack(tenant string, c *child) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || c.probes >= maxProbes {
		return false
	}
	s.idle[tenant] = append(s.idle[tenant], c)
	c.rest = time.AfterFunc(idleLimit, func() {
		s.mu.Lock()
		waits := s.forget(tenant, c)
		s.mu.Unlock()
		if waits {
			c.end()
		}
	})
	return true
}
