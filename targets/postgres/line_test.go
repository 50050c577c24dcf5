package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
)

func atServer(address string, sessions int) *target {
	s := &pgconnect.Server{Host: address, Port: 5432, Database: "postgres", Sessions: sessions}
	return &target{settings: s, line: joinLine(s.Address())}
}

func (t *target) turn(database string, change bool) *turn {
	return &turn{t: t, database: database, change: change, ready: make(chan struct{})}
}

// later is some time of the bubble's clock later.
func later(most time.Duration) { <-time.NewTimer(rand.N(most)).C }

// Everybody comes to their turn, whoever they are, and never are there more sessions
// than whoever opens one may have, nor two that change one database.
func TestEverybodyComesToTheirTurn(t *testing.T) {
	for _, limits := range [][]int{{1}, {3}, {1, 3}, {2, 2, 5}} {
		synctest.Test(t, func(t *testing.T) {
			var targets []*target
			for _, n := range limits {
				targets = append(targets, atServer("Server.test", n))
			}
			var mu sync.Mutex
			open, served, changing, of := 0, 0, map[string]bool{}, map[*target]int{}
			const calls = 300
			var all sync.WaitGroup
			for i := range calls {
				all.Go(func() {
					one := targets[i%len(targets)]
					database, change := fmt.Sprint("db", rand.N(5)), rand.N(3) > 0
					later(5 * time.Second)
					w, err := one.line.wait(t.Context(), one.turn(database, change))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					of[one]++
					if open++; open > slices.Max(limits) || of[one] > one.settings.Sessions {
						t.Errorf("%d sessions, %d of one that may have %d", open, of[one], one.settings.Sessions)
					}
					if change && changing[database] {
						t.Errorf("two change %s", database)
					}
					changing[database] = changing[database] || change
					mu.Unlock()
					later(50 * time.Millisecond)
					mu.Lock()
					open--
					of[one]--
					served++
					if change {
						changing[database] = false
					}
					mu.Unlock()
					one.line.back(w, nil)
				})
			}
			all.Wait()
			if served != calls {
				t.Errorf("%d of %d were served", served, calls)
			}
			for _, one := range targets {
				if err := one.Close(); err != nil {
					t.Error(err)
				}
			}
			if len(lines.at) != 0 {
				t.Error("a line is there that nobody uses")
			}
		})
	}
}

func TestAWaitForASessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := atServer("busy.test", 2)
		defer func() { _ = one.Close() }()
		var held []*turn
		for _, w := range []*turn{one.turn("orders", true), one.turn("bills", false)} {
			w, err := one.line.wait(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, w)
		}
		for want, w := range map[string]*turn{
			"all 2 sessions that may be opened on busy.test:5432": one.turn("others", false),
			"changing the logins of the database orders":          one.turn("orders", true),
		} {
			_, err := one.line.wait(t.Context(), w)
			if e := patchbay.AsError(err); e == nil || e.Code != patchbay.Timeout || !e.Transient || e.Fix == "" || !strings.Contains(e.Message, want) {
				t.Errorf("%v (fix: %s), want %q", err, e.Fix, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := one.line.wait(ctx, one.turn("others", false)); patchbay.CodeOf(err) != patchbay.Canceled {
			t.Errorf("%v, want Canceled", err)
		}
		for _, w := range held {
			one.line.back(w, nil)
		}
		if one.line.open != 0 || len(one.line.waiting) != 0 {
			t.Errorf("%d sessions are open, and %d wait", one.line.open, len(one.line.waiting))
		}
	})
}

func TestSessionsAreANumber(t *testing.T) {
	for properties, want := range map[string]int{``: pgconnect.UsualSessions, `{"maxSessions":"1"}`: 1, `{"maxSessions":"50"}`: 50, `{"maxSessions":"0"}`: 0, `{"maxSessions":"many"}`: 0, `{"maxSessions":"51"}`: 0} {
		s, err := pgconnect.ParsePlace(driver.Config{Endpoint: "h", Properties: []byte(properties)})
		if err == nil && s.Sessions != want || (err == nil) != (want > 0) || err != nil && patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", properties, err)
		}
	}
}
