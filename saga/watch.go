package saga

import (
	"context"
	"sync"
	"time"

	"patchbay.dev/patchbay"
)

// pollEvery is how often a waiter asks the store by itself: for operations
// that another process drives.
const pollEvery = time.Second

// watchers wake who waits for an operation that this process drives.
type watchers struct {
	mu sync.Mutex
	of map[string]map[*watcher]struct{}
}

// watcher is one waiter. latest is the newest state that it has not seen.
type watcher struct {
	woken  chan struct{}
	mu     sync.Mutex
	latest patchbay.Operation
}

func (w *watchers) add(id string) *watcher {
	n := &watcher{woken: make(chan struct{}, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[string]map[*watcher]struct{}{}
	}
	if w.of[id] == nil {
		w.of[id] = map[*watcher]struct{}{}
	}
	w.of[id][n] = struct{}{}
	return n
}

func (w *watchers) remove(id string, n *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.of[id], n)
	if len(w.of[id]) == 0 {
		delete(w.of, id)
	}
}

// publish tells the waiters of op that it has been committed in this state.
func (w *watchers) publish(op patchbay.Operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := range w.of[op.ID] {
		n.mu.Lock()
		if op.Version > n.latest.Version {
			n.latest = op
		}
		n.mu.Unlock()
		select {
		case n.woken <- struct{}{}:
		default:
		}
	}
}

// known is the operation as this process last wrote it, when it drives it, and
// as it is stored otherwise.
func (e *Engine) known(ctx context.Context, id string) (patchbay.Operation, error) {
	e.mu.Lock()
	h := e.held[id]
	e.mu.Unlock()
	if h != nil {
		if op := h.latest.Load(); op != nil {
			return *op, nil
		}
	}
	return e.Get(ctx, id)
}

// Wait answers when the operation's version is above version or it has ended;
// when ctx ends before, with what is known and no error. An unknown operation
// is ResourceNotFound.
func (e *Engine) Wait(ctx context.Context, id string, version int64) (patchbay.Operation, error) {
	w := e.watch.add(id)
	defer e.watch.remove(id, w)
	op, err := e.known(ctx, id)
	if err != nil {
		return op, err
	}
	var poll *time.Timer
	for op.Version <= version && !op.State.Ended() {
		if poll == nil {
			poll = time.NewTimer(pollEvery)
			defer poll.Stop()
		}
		select {
		case <-ctx.Done():
			return op, nil
		case <-w.woken:
			w.mu.Lock()
			if w.latest.Version > op.Version {
				op = w.latest
			}
			w.mu.Unlock()
		case <-poll.C:
			poll.Reset(pollEvery)
			if now, err := e.Get(ctx, id); err == nil && now.Version > op.Version {
				op = now
			}
		}
	}
	return op, nil
}
