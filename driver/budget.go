package driver

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/fairshare"
)

// CallBytes is how much an administering driver takes from a target in one
// call. A catalogue of ten thousand tables tells a fifth of it.
const CallBytes = 64 << 20

// Hundreds of calls are in flight at once, and each keeps what it was told until
// it ends. Those that are told more than smallCall, and what a driver says is
// large, go on a few at a time.
const (
	smallCall  = 256 << 10
	largeCalls = 4
)

var large = fairshare.New(largeCalls, 0)

// Budget bounds what a target may send. A client library takes whatever comes:
// an endless answer would fill the memory of the process, and with it end every
// tenant's operations.
//
// All connections of a budget share it. It holds for a call: Renew begins one.
// What comes between two calls counts to the first.
type Budget struct {
	at    string
	limit int64
	came  atomic.Int64
	fault atomic.Pointer[patchbay.Error]
	call  atomic.Pointer[call]
}

// call is what one call takes of what all calls share.
type call struct {
	ctx  context.Context // until it ends
	end  context.CancelFunc
	mu   sync.Mutex
	held bool
}

// enter waits for a place among the large calls; until the call ends, it is its.
func (c *call) enter() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held || c.ctx.Err() != nil {
		return nil
	}
	who, _ := c.ctx.Value(callerKey{}).([]string)
	leave, err := large.Acquire(c.ctx, who...)
	if err != nil {
		return err
	}
	c.held = true
	context.AfterFunc(c.ctx, leave)
	return nil
}

// callerKey is where a [Guard] says in whose share a call is.
type callerKey struct{}

// NewBudget is a budget of so many bytes a call, for what is at an address.
func NewBudget(at string, limit int64) *Budget { return &Budget{at: at, limit: limit} }

// Renew begins a call, which is over when ctx is or End is called.
func (b *Budget) Renew(ctx context.Context) {
	b.came.Store(0)
	next := &call{}
	next.ctx, next.end = context.WithCancel(ctx)
	if last := b.call.Swap(next); last != nil {
		last.end()
	}
}

// End ends the call: a session that many use has to, before it goes to the next.
func (b *Budget) End() {
	if last := b.call.Swap(nil); last != nil {
		last.end()
	}
}

// Large waits for a place among the calls that take much of this process, unless
// the call has one. Between two calls there is nothing to wait for.
func (b *Budget) Large() error {
	if now := b.call.Load(); now != nil {
		return now.enter()
	}
	return nil
}

// Left is how many bytes may still come in this call.
func (b *Budget) Left() int64 { return max(0, b.limit-b.came.Load()) }

// Fault is what the target did first that no budget allows; nil when it did
// nothing of the kind. Some client libraries forget what a connection said.
func (b *Budget) Fault() *patchbay.Error { return b.fault.Load() }

// Refuse notes that the target misbehaved, and is the error that says so. No
// connection of the budget receives anything any more.
func (b *Budget) Refuse(format string, args ...any) error {
	e := patchbay.Errorf(patchbay.TargetMisbehaved, "%s %s", b.at, fmt.Sprintf(format, args...)).
		WithFix("see what listens on %s: it is not what it should be, or has more in it than Patchbay can administer", b.at)
	b.fault.CompareAndSwap(nil, e)
	return b.Fault()
}

// Conn is conn with the budget on what it receives.
func (b *Budget) Conn(conn net.Conn) net.Conn { return &budgeted{conn, b} }

type budgeted struct {
	net.Conn
	budget *Budget
}

func (c *budgeted) Read(p []byte) (int, error) {
	if err := c.budget.Fault(); err != nil {
		return 0, err
	}
	if c.budget.came.Load() > smallCall {
		if err := c.budget.Large(); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(p)
	if c.budget.came.Add(int64(n)) > c.budget.limit {
		return 0, c.budget.Refuse("sent more than %d MiB for one question", c.budget.limit>>20)
	}
	return n, err
}
