package eventstreams

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// platform is what tells: each who has its stream open gets what is sent.
type platform struct {
	events chan *int
	breaks chan error
	opened int
}

func (p *platform) open(ctx context.Context, tell func(*int)) error {
	p.opened++
	tell(nil)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-p.events:
			tell(e)
		case err := <-p.breaks:
			return err
		}
	}
}

type watcher struct {
	cancel context.CancelFunc
	count  int
	ended  chan error
}

func (p *platform) watch(t *testing.T, s *Streams[string, int], wanted int) *watcher {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		w.ended <- s.Watch(ctx, "key", p.open, func(e int) bool { return e == wanted }, func() { w.count++ })
	}()
	synctest.Wait()
	return w
}

func counts(t *testing.T, what string, want map[*watcher]int) {
	t.Helper()
	synctest.Wait()
	for w, n := range want {
		if w.count != n {
			t.Errorf("%s: told %d times, want %d", what, w.count, n)
		}
	}
}

func TestOneStreamServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := &platform{events: make(chan *int), breaks: make(chan error)}, &Streams[string, int]{}
		one, two, three := 1, 2, 3
		a, b, c := p.watch(t, s, 1), p.watch(t, s, 2), p.watch(t, s, 2)
		counts(t, "the beginning", map[*watcher]int{a: 1, b: 1, c: 1})
		p.events <- &one
		p.events <- &three
		counts(t, "an event of the first", map[*watcher]int{a: 2, b: 1, c: 1})
		p.events <- &two
		counts(t, "an event of the others", map[*watcher]int{a: 2, b: 2, c: 2})
		if p.opened != 1 {
			t.Errorf("it is open %d times", p.opened)
		}
		// The one who has it open leaves: another one has, and all look once.
		a.cancel()
		if err := <-a.ended; err != nil {
			t.Errorf("Watch = %v", err)
		}
		counts(t, "handed on", map[*watcher]int{a: 2, b: 3, c: 3})
		p.events <- &two
		counts(t, "an event afterwards", map[*watcher]int{a: 2, b: 4, c: 4})
		if p.opened != 2 {
			t.Errorf("it was opened %d times", p.opened)
		}
		// It breaks: everybody knows, and who begins anew has one of his own.
		broken := errors.New("broken")
		p.breaks <- broken
		for _, w := range []*watcher{b, c} {
			if err := <-w.ended; !errors.Is(err, broken) {
				t.Errorf("Watch = %v", err)
			}
		}
		d := p.watch(t, s, 1)
		counts(t, "anew", map[*watcher]int{d: 1})
		d.cancel()
		if err := <-d.ended; err != nil || len(s.all) != 0 {
			t.Errorf("Watch = %v, and %d streams are left", err, len(s.all))
		}
	})
}

func TestTogetherTheLastToBeginHasTheFirstWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		begin, breaks := make(chan struct{}), make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		count, ended := 0, make(chan error, 1)
		quick := func(ctx context.Context, changed func()) error {
			changed()
			<-ctx.Done()
			return nil
		}
		slow := func(ctx context.Context, changed func()) error {
			<-begin
			changed()
			select {
			case err := <-breaks:
				return err
			case <-ctx.Done():
				return nil
			}
		}
		go func() { ended <- Together(ctx, func() { count++ }, quick, slow) }()
		if synctest.Wait(); count != 0 {
			t.Error("it has begun before its last part")
		}
		begin <- struct{}{}
		if synctest.Wait(); count != 1 {
			t.Errorf("told %d times, want once", count)
		}
		breaks <- broken
		if err := <-ended; !errors.Is(err, broken) {
			t.Errorf("Together = %v", err)
		}
		go func() { ended <- Together(ctx, func() {}, quick, quick) }()
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Together, told to end: %v", err)
		}
	})
}
