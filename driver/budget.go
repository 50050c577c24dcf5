package driver

import (
	"fmt"
	"net"
	"sync/atomic"

	"patchbay.dev/patchbay"
)

// CallBytes is how much an administering driver takes from a target in one
// call. A catalogue of ten thousand tables tells a fifth of it.
const CallBytes = 64 << 20

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
}

// NewBudget is a budget of so many bytes a call, for what is at an address.
func NewBudget(at string, limit int64) *Budget { return &Budget{at: at, limit: limit} }

// Renew begins a call.
func (b *Budget) Renew() { b.came.Store(0) }

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
	n, err := c.Conn.Read(p)
	if c.budget.came.Add(int64(n)) > c.budget.limit {
		return 0, c.budget.Refuse("sent more than %d MiB for one question", c.budget.limit>>20)
	}
	return n, err
}
