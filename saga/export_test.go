package saga

import (
	"context"
	"errors"
	"time"
)

// Sequence makes an engine do one thing after the other, on the goroutine that
// calls it, without waiting between attempts: what a simulation needs to stop
// it at every instant.
type Sequence struct {
	*Engine
	queue []func()
}

// Sequential takes the place of [Engine.Run].
func Sequential(ctx context.Context, e *Engine) *Sequence {
	s := &Sequence{Engine: e}
	e.spawn = func(f func()) { s.queue = append(s.queue, f) }
	e.pause = func(ctx context.Context, h *hold, d time.Duration) error {
		select {
		case <-ctx.Done():
			return errStopping
		case <-h.poke:
			return errAsked
		default:
			if d == untilAsked {
				return errStopping
			}
			return nil
		}
	}
	if err := e.renew(ctx); err != nil {
		panic(errors.Join(errors.New("renew"), err))
	}
	return s
}

// Begin is what is done before the first sweep.
func (s *Sequence) Begin(ctx context.Context) {
	queue := s.spawn
	s.spawn = func(f func()) { f() }
	s.isolate(ctx, ctx)
	s.spawn = queue
	s.open(ctx)
}

// Sweep is one look for what was forgotten.
func (s *Sequence) Sweep(ctx context.Context) { s.sweep(ctx) }

// Drain runs what was started, until nothing is left to run.
func (s *Sequence) Drain() (ran int) {
	for len(s.queue) > 0 {
		f := s.queue[0]
		s.queue = s.queue[1:]
		f()
		ran++
	}
	return ran
}

// Forget makes the engine forget what it drives: half of a seeded bug.
func (s *Sequence) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.held)
}

// LifeOf is the engine's life as its store sees it.
func LifeOf(e *Engine) Life { return e.life }

// Suspects is how many operations wait for their turn.
func Suspects(e *Engine) int { return e.turns.Waiting() }
