package fairshare

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
)

// take holds as many places for who as there are, at most limit.
func take(t *testing.T, p *Pool, limit int, who ...string) (releases []func()) {
	t.Helper()
	for len(releases) < limit {
		now, cancel := context.WithCancel(t.Context())
		cancel()
		release, err := p.Acquire(now, who...)
		if err != nil {
			return releases
		}
		releases = append(releases, release)
	}
	return releases
}

func TestWhoIsAloneHasHalfAndWhoComesNextWaitsForNobody(t *testing.T) {
	p := New(256, 0)
	for i, want := range []int{128, 64, 32, 16, 8, 4, 2, 1} {
		if got := len(take(t, p, 1000, fmt.Sprint("tenant ", i))); got != want {
			t.Errorf("tenant %d has %d places, want %d", i, got, want)
		}
	}
	if got := len(take(t, p, 1000, "one more")); got != 1 {
		t.Errorf("the last place went to %d", got)
	}
}

func TestOneTargetLeavesRoomForItsTenantsOthers(t *testing.T) {
	p := New(256, 0)
	dead := take(t, p, 1000, "a", "dead")
	if other := take(t, p, 1, "a", "other"); len(other) != 1 || len(dead) < 64 {
		t.Errorf("the dead target holds %d, and the tenant's other target %d", len(dead), len(other))
	}
	if len(take(t, p, 1, "b", "dead")) != 1 {
		t.Error("another tenant has no place")
	}
}

func TestASinglePlaceIsGivenInTurn(t *testing.T) {
	synctest.Test(t, inTurn)
}

func inTurn(t *testing.T) {
	p := New(1, 0)
	held := take(t, p, 1, "a")
	got := make(chan string, 4)
	for _, who := range []string{"a", "b", "a", "b"} {
		go func() {
			release, err := p.Acquire(t.Context(), who)
			if err != nil {
				t.Error(err)
				return
			}
			got <- who
			release()
		}()
		synctest.Wait()
	}
	held[0]()
	count := map[string]int{}
	for range 4 {
		count[<-got]++
	}
	if count["a"] != 2 || count["b"] != 2 || p.Held() != 0 || p.Waiting() != 0 || len(p.root.children) != 0 {
		t.Errorf("%v, %d held, %d wait, %d are remembered", count, p.Held(), p.Waiting(), len(p.root.children))
	}
}

func TestALongLineIsNotServedFirst(t *testing.T) {
	synctest.Test(t, longLine)
}

func longLine(t *testing.T) {
	p := New(1, 0)
	held := take(t, p, 1, "a")
	got := make(chan string, 7)
	for _, who := range []string{"a", "a", "a", "b", "c", "b"} {
		go func() {
			release, err := p.Acquire(t.Context(), who)
			if err != nil {
				t.Error(err)
				return
			}
			got <- who
			release()
		}()
		synctest.Wait()
	}
	held[0]()
	order := ""
	for range 6 {
		order += <-got
	}
	if order != "abcaba" {
		t.Errorf("they go in the order %s", order)
	}
}

func TestALineIsBoundedForEachOnItsOwn(t *testing.T) {
	synctest.Test(t, bounded)
}

func bounded(t *testing.T) {
	p := New(1, 1)
	take(t, p, 1, "a")
	waits, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _, _ = p.Acquire(waits, "a", "x") }()
	synctest.Wait()
	if _, err := p.Acquire(t.Context(), "a", "y"); !errors.Is(err, ErrLine) {
		t.Errorf("the second in line: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Acquire(ended, "b"); !errors.Is(err, context.Canceled) {
		t.Errorf("another's line is full too: %v", err)
	}
}

// Whatever is asked, given back and given up: nobody holds more than there is,
// and in the end everything is free.
func TestPlacesAreNeitherLostNorMade(t *testing.T) {
	const places = 7
	p := New(places, 0)
	var held, most int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1)) // #nosec G404 -- a test's choice
			for range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(4) == 0 {
					cancel()
				}
				release, err := p.Acquire(ctx, fmt.Sprint(r.IntN(4)), fmt.Sprint(r.IntN(4)))
				cancel()
				if err != nil {
					continue
				}
				mu.Lock()
				held++
				most = max(most, held)
				mu.Unlock()
				mu.Lock()
				held--
				mu.Unlock()
				release()
				release()
			}
		})
	}
	all.Wait()
	if most > places || p.Held() != 0 || p.Waiting() != 0 || len(p.root.children) != 0 {
		t.Errorf("%d of %d places were held at once; %d are held, %d wait, %d are remembered", most, places, p.Held(), p.Waiting(), len(p.root.children))
	}
}

func BenchmarkAPlaceIsTakenAndGivenBack(b *testing.B) {
	p := New(256, 0)
	for b.Loop() {
		release, err := p.Acquire(b.Context(), "tenant", "target")
		if err != nil {
			b.Fatal(err)
		}
		release()
	}
}
