package fairshare

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkAPlaceBesideALongLine is a place taken and given back by one tenant
// while many of another's, each of a target of its own, wait, and go one by one.
func BenchmarkAPlaceBesideALongLine(b *testing.B) {
	for _, waiting := range []int{0, 1000, 10000} {
		b.Run(fmt.Sprint(waiting, " waiting"), func(b *testing.B) {
			p := New(256, 0)
			ctx, stop := context.WithCancel(b.Context())
			for p.Held("a") < 128 {
				if _, err := p.Acquire(ctx, "a", fmt.Sprint(p.Held("a"))); err != nil {
					b.Fatal(err)
				}
			}
			ended := make(chan struct{})
			for i := range waiting {
				go func() {
					_, _ = p.Acquire(ctx, "a", fmt.Sprint("waits ", i))
					ended <- struct{}{}
				}()
			}
			for p.Waiting() < waiting {
			}
			for b.Loop() {
				turnover(b, p)
			}
			stop()
			for range waiting {
				<-ended
			}
		})
	}
}

// turnover gives one of the flood's places back, which the next of its line
// takes, and takes one for somebody else.
func turnover(b *testing.B, p *Pool) {
	p.mu.Lock()
	var of *node
	for _, of = range p.root.children["a"].children {
		if of.held > 0 {
			break
		}
	}
	p.giveBack(of)
	p.mu.Unlock()
	release, err := p.Acquire(b.Context(), "b", "target")
	if err != nil {
		b.Fatal(err)
	}
	release()
}
