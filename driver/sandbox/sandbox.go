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
// of the same tenant; every other is ended. What an earlier server may have left in
// a child is not held against a later one: when the child dies then, another tries
// again.
package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
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
	maxChildren = 12               // at once, and as many may wait; a tenant has at most half of those that are free
	maxMemory   = 256 << 20        // bytes, stacks of threads among them, beside what the program has when it starts
	maxCPU      = 3 * time.Second  // of the child's life
	maxFiles    = 24               // open ones, its own pipes included
	niceness    = 10               // a tenth of a processor, where all are busy
	maxReceived = 16 << 20         // bytes that all servers of one probe send
	maxDials    = 16               // connections of one probe
	dialLimit   = 5 * time.Second  // for one connection
	maxProbes   = 64               // of one child
	idleLimit   = 15 * time.Second // that a child waits for the next probe
	maxMessage  = 4 << 20          // bytes of a request, and of an answer
)

// fresh is for how long a connection that was made before its child was there is
// used: a server is right to hang up on who says nothing.
var fresh = time.Second

// Options are what a [Sandbox] is made of.
type Options struct {
	Command []string // starts a child; nil: this program, with [Command]
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
	most   int
	idle   []*child // at most so many; the one that waits the longest first
	closed bool
}

var _ driver.Isolator = (*Sandbox)(nil)

// New makes a sandbox. It starts no child before the first probe.
func New(o Options) (*Sandbox, error) {
	if o.Command == nil {
		program, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this program, to start processes that probe: %w", err)
		}
		if runtime.GOOS == "linux" {
			program = "/proc/self/exe" // by its name it may be another by then: an upgrade
		}
		o.Command = []string{program, Command}
	}
	if o.Children == 0 {
		o.Children = maxChildren
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Sandbox{command: o.Command, places: fairshare.New(o.Children, 0), most: o.Children, log: o.Log}, nil
}

// Close ends the children that wait. Nothing may be probed any more.
func (s *Sandbox) Close() {
	s.mu.Lock()
	idle := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, c := range idle {
		_ = c.end()
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
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return driver.ProbeResult{}, outOfTime(ctx)
	case err != nil:
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.Timeout, "too many probes run at this moment: %w", err).AsTransient()
	}
	defer release()
	worker, err := s.take(slices.Concat(r.Share, []string{""})[0])
	if err != nil {
		return driver.ProbeResult{}, err
	}
	var died death
	result, err := s.probeIn(ctx, worker, p, name, c, r)
	if errors.As(err, &died) && worker.probes > 1 {
		if worker, err = start(s.command, worker.tenant); err != nil {
			return driver.ProbeResult{}, err
		}
		p = newProbe(ctx, r)
		defer p.end()
		result, err = s.probeIn(ctx, worker, p, name, c, r)
	}
	if errors.As(err, &died) {
		s.log.WarnContext(ctx, "a probe ended its process", "driver", name, "resource", c.ID, "why", died.Error())
		if died.byItself {
			return driver.ProbeResult{}, misbehaved(c, "what it answers ends the client that signs in (%s)", died.how)
		}
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.Internal, "the process that signs in was ended from outside (%s)", died.how).
			WithFix("see that the machine, or what the server may use of it, has memory enough").AsTransient()
	}
	return result, err
}

// probeIn has a child probe, and ends it unless it can probe again. A child that
// died gives its [death].
func (s *Sandbox) probeIn(ctx context.Context, worker *child, p *probe, name string, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	result, err := worker.run(p, newRequest(ctx, name, c, r))
	if err == nil && s.putBack(worker) {
		return result, nil
	}
	p.cancel()
	died := worker.end()
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
	return driver.ProbeResult{}, died
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
		var c *child
		for _, c = range slices.Backward(s.idle) {
			if c.tenant == tenant {
				break
			}
			c = nil
		}
		s.forget(c)
		s.mu.Unlock()
		if c == nil {
			return start(s.command, tenant)
		}
		if c.wakeUp() {
			return c, nil
		}
		_ = c.end()
	}
}

// forget takes c off the list of those that wait, if it is there. s.mu is held.
func (s *Sandbox) forget(c *child) bool {
	i := slices.Index(s.idle, c)
	if i >= 0 {
		s.idle = slices.Delete(s.idle, i, i+1)
	}
	return i >= 0
}

// putBack keeps a child for the tenant's next probe, for a while. When too many
// wait, the one that waits the longest is ended.
func (s *Sandbox) putBack(c *child) bool {
	s.mu.Lock()
	if s.closed || c.probes >= maxProbes {
		s.mu.Unlock()
		return false
	}
	c.rest = time.AfterFunc(idleLimit, func() {
		s.mu.Lock()
		waits := s.forget(c)
		s.mu.Unlock()
		if waits {
			_ = c.end()
		}
	})
	s.idle = append(s.idle, c)
	var over *child
	if len(s.idle) > s.most {
		over = s.idle[0]
		s.forget(over)
	}
	s.mu.Unlock()
	if over != nil {
		_ = over.end()
	}
	return true
}
