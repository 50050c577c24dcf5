package notify

import (
	"context"
	"time"
)

// Round is one look at the outbox, for tests that have no time to wait.
func (n *Notifier) Round(ctx context.Context) time.Duration { return n.round(ctx) }

// The bounds that tests reckon with.
const (
	FirstPause  = firstPause
	MaxDelay    = maxDelay
	MaxPause    = maxPause
	LookAgain   = lookAgain
	MaxRefusals = maxRefusals
)

// RetryAfter reads the header.
var RetryAfter = retryAfter
