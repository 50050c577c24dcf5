package clienttest

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
)

// requestLog keeps what the server logs, and tells of every request that it has
// answered: how a test knows that a client has begun to poll.
type requestLog struct {
	slog.Handler
	mu       sync.Mutex
	text     bytes.Buffer
	answered []request
	changed  chan struct{}
}

// request is a line of the access log.
type request struct {
	method, route, path string
	status              int64
}

func newRequestLog() *requestLog {
	l := &requestLog{changed: make(chan struct{})}
	l.Handler = slog.NewTextHandler(&l.text, &slog.HandlerOptions{Level: slog.LevelDebug})
	return l
}

// Handle implements [slog.Handler].
func (l *requestLog) Handle(ctx context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Message == "request" {
		var q request
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "method":
				q.method = a.Value.String()
			case "route":
				q.route = a.Value.String()
			case "path":
				q.path = a.Value.String()
			case "status":
				q.status = a.Value.Int64()
			}
			return true
		})
		l.answered = append(l.answered, q)
		close(l.changed)
		l.changed = make(chan struct{})
	}
	return l.Handler.Handle(ctx, r)
}

// await returns when count requests that match have been answered since the
// server's start, or ctx has ended.
func (l *requestLog) await(ctx context.Context, count int, match func(request) bool) error {
	for {
		n, changed := l.count(match)
		if n >= count {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *requestLog) count(match func(request) bool) (n int, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.answered {
		if match(q) {
			n++
		}
	}
	return n, l.changed
}

// String is everything that was logged.
func (l *requestLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *requestLog) tail(n int) string {
	s := l.String()
	return s[max(0, len(s)-n):]
}

func isPoll(q request) bool { return q.method == "GET" && q.route == "operationStatuses/{id}" }

// WithAttrs implements [slog.Handler]: whoever derives a logger is still heard.
func (l *requestLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements [slog.Handler].
func (l *requestLog) WithGroup(string) slog.Handler { return l }
