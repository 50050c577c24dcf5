package sqlite

import (
	"context"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
)

// line is the writes that wait for the lane, each in the queue of whoever it is
// for. A batch takes one of each in turn: who writes much fills the places that
// others leave, and nobody waits for more than two commits.
type line struct {
	mu     sync.Mutex
	queues map[string][]*job
	turns  []string // whose queues are not empty; the first is next
	closed bool
	wake   chan struct{} // has a value when there may be something to take
}

func newLine() *line { return &line{queues: map[string][]*job{}, wake: make(chan struct{}, 1)} }

// add queues j for whose; false when the line is closed.
func (l *line) add(whose string, j *job) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if len(l.queues[whose]) == 0 {
		l.turns = append(l.turns, whose)
	}
	l.queues[whose] = append(l.queues[whose], j)
	l.signal()
	return true
}

func (l *line) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// close lets nothing be added any more; what waits is still taken.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.signal()
}

// take waits for a batch: at most maxBatch jobs, and maxShare of one. It is empty
// when the line is closed and nothing waits.
func (l *line) take(batch []*job) []*job {
	for {
		l.mu.Lock()
		taken := map[string]int{}
		for full := 0; len(batch) < maxBatch && full < len(l.turns); {
			whose := l.turns[0]
			l.turns = l.turns[1:]
			if taken[whose] == maxShare {
				l.turns = append(l.turns, whose)
				full++
				continue
			}
			queue := l.queues[whose]
			j := queue[0]
			if queue = queue[1:]; len(queue) == 0 {
				delete(l.queues, whose)
			} else {
				l.queues[whose] = queue
				l.turns = append(l.turns, whose)
			}
			if j.err = j.ctx.Err(); j.err != nil { // nobody waits for it any more
				close(j.done)
				continue
			}
			taken[whose]++
			batch = append(batch, j)
		}
		closed := l.closed && len(l.turns) == 0
		l.mu.Unlock()
		if len(batch) > 0 || closed {
			return batch
		}
		<-l.wake
	}
}

type writerKey struct{}

// writtenFor says whose write it is that ctx goes into.
func writtenFor(ctx context.Context, share []string) context.Context {
	if len(share) == 0 {
		return ctx
	}
	return context.WithValue(ctx, writerKey{}, share[0])
}

// writer is whose write ctx is: that of an operation is its tenant's, another
// that of the caller's.
func writer(ctx context.Context) string {
	if whose, ok := ctx.Value(writerKey{}).(string); ok {
		return whose
	}
	return strings.ToLower(patchbay.ActOf(ctx).Tenant)
}
