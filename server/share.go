package server

import (
	"context"
	"runtime"
	"strings"
	"time"

	"patchbay.dev/patchbay/internal/fairshare"
)

// cost is what a request takes that all requests have to share. A tenant has
// its share of it, in a tenant each caller, and the operator has one too.
type cost int

const (
	light    cost = iota // nothing: its rate is enough
	lists                // reads records by the page
	dials                // speaks to a target or a source before it is answered
	wholeLog             // reads the whole audit log
	waits                // waits for an operation
)

// How many requests of a cost are answered at once, by all callers. Who is alone
// has half of them, and whoever comes next waits for nobody.
const (
	dialsAtOnce = 64
	logsAtOnce  = 4
	waitsAtOnce = 1024

	// How many requests of a tenant wait for its share, and how long.
	inLine  = 64
	logLine = 2
	maxLine = 10 * time.Second
)

// listsAtOnce leaves a processor to whoever lists nothing; the records have
// more readers than that.
func listsAtOnce() int { return max(2, runtime.GOMAXPROCS(0)) }

type shares map[cost]*fairshare.Pool

func newShares() shares {
	return shares{
		lists: fairshare.New(listsAtOnce(), inLine), dials: fairshare.New(dialsAtOnce, inLine),
		wholeLog: fairshare.New(logsAtOnce, logLine), waits: fairshare.New(waitsAtOnce, 1),
	}
}

// sharer is whose share a request takes.
func (x *exchange) sharer() []string {
	who := x.caller.subject
	if who.Operator {
		return []string{"operator"}
	}
	return []string{strings.ToLower(who.Tenant), who.ID}
}

// enter waits for a place of that cost, in exchange for the one that the
// request has. When too many wait already, or nobody lets go, it is
// TooManyRequests.
func (x *exchange) enter(c cost) error {
	x.leave()
	pool := x.server.shares[c]
	if pool == nil {
		return nil
	}
	// A body that comes slowly takes nobody's place.
	if _, err := x.body(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(x.ctx, maxLine)
	defer cancel()
	stop := context.AfterFunc(x.server.stopping, cancel)
	defer stop()
	leave, err := pool.Acquire(ctx, x.sharer()...)
	switch {
	case err == nil:
		x.place = leave
		return nil
	case x.ctx.Err() != nil:
		return x.ctx.Err()
	case x.server.stopping.Err() != nil:
		return context.Canceled
	}
	err = tooMany(x.w, time.Second, "too many requests like this one, of the caller's own tenant, are being answered")
	x.server.limitedCaller(x, err)
	return err
}

// leave gives the request's place back. What is left to do is to send the
// answer, which its reader may take as long as it likes for.
func (x *exchange) leave() {
	if x.place != nil {
		x.place()
		x.place = nil
	}
}

// wait takes a place among those who wait for an operation, if there is one
// now. Who gets none is not kept waiting for it.
func (x *exchange) wait() (leave func(), ok bool) {
	now, cancel := context.WithCancel(x.ctx)
	cancel()
	leave, err := x.server.shares[waits].Acquire(now, x.sharer()...)
	return leave, err == nil
}

// tooManyWait is the answer to a caller whose tenant waits too often already.
func tooManyWait(x *exchange) error {
	err := tooMany(x.w, time.Second, "too many requests of the caller's own tenant wait for operations")
	x.server.limitedCaller(x, err)
	return err
}
