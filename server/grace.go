package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

// defaultGrace is how long a request that began an operation waits for its
// end. A fast target is done by then, and its client never polls: az is as
// fast as its own start-up.
const defaultGrace = 250 * time.Millisecond

// skipDelay tells HashiCorp's SDK, which otherwise waits 10 seconds before it
// looks at a resource that was answered finished, to look at once.
const skipDelay = "X-Go-Azure-Sdk-Skip-Polling-Delay"

// pollAtOnce is when azure-core polls, in milliseconds, where there is no
// Retry-After. Others don't know it, and would wait for seconds.
const pollAtOnce = "x-ms-retry-after-ms"

// readsTwice reports whether the client is Azure's SDK for Python, as az is. It
// reads a finished answer twice, and the first time takes away what says of
// which type targetService and authInfo are: its result, and what az prints,
// would lack them. So it is sent to poll, which it does at once, and then reads
// the resource anew.
func readsTwice(r *http.Request) bool {
	return strings.Contains(r.Header.Get("User-Agent"), "azsdk-python-")
}

// patience is how long the request waits: what it prefers itself, or usual.
func (x *exchange) patience(usual time.Duration) time.Duration {
	p := preferenceOf(x.r.Header)
	switch {
	case p.waiting:
		x.w.Header().Add("Preference-Applied", "wait="+strconv.Itoa(int(p.wait/time.Second)))
		usual = p.wait
	case p.async:
		usual = 0
	}
	if p.async {
		x.w.Header().Add("Preference-Applied", "respond-async")
	}
	return max(usual, 0)
}

// done waits for the operation to do what was asked, at most so long. It is
// false when it has not ended by then, and when it failed: then the client
// polls, and the status tells it why.
func (x *exchange) done(op patchbay.Operation, patience time.Duration) (patchbay.Operation, bool) {
	if patience > 0 {
		op = x.await(op, patience)
	}
	return op, patience > 0 && op.State == patchbay.Done
}

func (x *exchange) await(op patchbay.Operation, patience time.Duration) patchbay.Operation {
	leave, ok := x.wait()
	if !ok {
		return op // the client polls
	}
	defer leave()
	ctx, cancel := context.WithTimeout(x.ctx, patience)
	defer cancel()
	// A stop ends the wait: what was begun goes on after the restart.
	release := context.AfterFunc(x.server.stopping, cancel)
	defer release()
	for !op.State.Ended() && ctx.Err() == nil {
		now, err := x.server.api.Wait(ctx, op.ID, op.Version)
		if err != nil {
			return op
		}
		op = now
	}
	return op
}

// wrote answers a PUT or PATCH that became an operation. One that is done
// within the grace is answered with the resource as it is now, 201 when it is
// new. One that goes on is answered with the status of the method and where to
// poll, and never a Location (contract section 11, 6 and 7).
func (x *exchange) wrote(b connector.Begun, goesOn int) error {
	if b.Operation.ID == "" {
		// What made it what it is has been retired, and there is nothing to do.
		x.etag(b.Connection.ETag)
		return x.json(http.StatusOK, arm.Linker(x.version, b.Connection))
	}
	if op, done := x.done(b.Operation, x.patience(x.server.grace)); done {
		c, err := x.server.api.Get(x.ctx, b.Connection.ID)
		// Another request may have begun something since: then this is no answer.
		if err == nil && c.State == patchbay.Succeeded && c.Operation == op.ID {
			x.w.Header().Set(skipDelay, "true")
			if readsTwice(x.r) {
				x.w.Header().Set("Azure-AsyncOperation", x.statusURL(op, c.Location))
				x.w.Header().Set(pollAtOnce, "1")
			}
			x.etag(c.ETag)
			status := http.StatusOK
			if b.Created {
				status = http.StatusCreated
			}
			return x.json(status, arm.Linker(x.version, c))
		}
	}
	x.etag(b.Connection.ETag)
	x.poll(x.statusURL(b.Operation, b.Connection.Location), false)
	return x.json(goesOn, arm.Linker(x.version, b.Connection))
}

// deleteConnection begins a DELETE, and waits for its end as long as is usual.
func (x *exchange) deleteConnection(usual time.Duration) error {
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	begun, err := x.server.api.Delete(x.ctx, x.path.Linker, x.caller.Caller, tag)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		x.w.Header().Set(skipDelay, "true")
		return x.empty(http.StatusNoContent)
	}
	if err != nil {
		return err
	}
	if _, done := x.done(begun.Operation, x.patience(usual)); done {
		x.w.Header().Set(skipDelay, "true")
		return x.empty(http.StatusOK)
	}
	return x.began(begun)
}

// validates answers a validation: with its result when it is there already.
func (x *exchange) validates(b connector.Begun) error {
	if op, done := x.done(b.Operation, x.patience(x.server.grace)); done {
		x.w.Header().Set(skipDelay, "true")
		return x.json(http.StatusOK, arm.ValidateResult(op))
	}
	return x.began(b)
}

// began answers a DELETE or POST that became an operation.
func (x *exchange) began(b connector.Begun) error {
	x.poll(x.statusURL(b.Operation, b.Connection.Location), true)
	return x.json(http.StatusAccepted, nil)
}

func (x *exchange) statusURL(op patchbay.Operation, location string) string {
	return x.base() + arm.StatusPath(op, location)
}

// poll says where to ask again and when. Without Retry-After az and the Go SDK
// wait 30 seconds.
func (x *exchange) poll(url string, location bool) {
	h := x.w.Header()
	h.Set("Azure-AsyncOperation", url)
	if location {
		h.Set("Location", url)
	}
	h.Set("Retry-After", "1")
}
