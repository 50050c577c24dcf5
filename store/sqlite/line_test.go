package sqlite

import (
	"context"
	"errors"
	"slices"
	"testing"

	"patchbay.dev/patchbay"
)

func waiting(ctx context.Context) *job { return &job{ctx: ctx, done: make(chan struct{})} }

// However many writes of one tenant wait, another's is in the next commit.
func TestAFloodOfOneTenantsWritesDelaysNobodyElse(t *testing.T) {
	l := newLine()
	for range 1000 {
		l.add("a", waiting(t.Context()))
	}
	b := waiting(t.Context())
	l.add("b", b)
	batch := l.take(nil)
	if len(batch) != maxShare+1 || slices.Index(batch, b) != 1 {
		t.Fatalf("a batch of %d, and the other's is at %d", len(batch), slices.Index(batch, b))
	}
	for taken := len(batch); taken < 1001; taken += len(batch) {
		if batch = l.take(nil); len(batch) > maxShare {
			t.Fatalf("%d of one tenant", len(batch))
		}
	}
	l.close()
	if batch := l.take(nil); len(batch) > 0 || l.add("c", b) || len(l.queues) > 0 {
		t.Fatalf("%d writes in a line that is closed", len(batch))
	}
}

func TestWhatNobodyWaitsForIsNotWritten(t *testing.T) {
	l := newLine()
	ctx, cancel := context.WithCancel(t.Context())
	var left []*job
	for range 1000 {
		left = append(left, waiting(ctx))
		l.add("a", left[len(left)-1])
	}
	last := waiting(t.Context())
	l.add("a", last)
	cancel()
	if batch := l.take(nil); len(batch) != 1 || batch[0] != last {
		t.Fatalf("a batch of %d", len(batch))
	}
	for _, j := range left {
		<-j.done
		if !errors.Is(j.err, context.Canceled) {
			t.Fatal(j.err)
		}
	}
}

// An operation's writes are its tenant's, whoever makes them; others are the
// caller's.
func TestWhoseWriteItIs(t *testing.T) {
	asked := patchbay.WithAct(t.Context(), patchbay.Act{Tenant: "CALLERS"})
	for _, c := range []struct {
		ctx   context.Context
		share []string
		want  string
	}{
		{t.Context(), nil, ""}, {asked, nil, "callers"}, {asked, []string{"owners", "target"}, "owners"}, {t.Context(), []string{"owners"}, "owners"},
	} {
		if got := writer(writtenFor(c.ctx, c.share)); got != c.want {
			t.Errorf("%v: %q, want %q", c.share, got, c.want)
		}
	}
}
