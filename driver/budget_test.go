package driver_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

type saying struct {
	net.Conn
	io.Reader
}

func (s saying) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func TestABudgetIsForACallAndForAllConnections(t *testing.T) {
	b := driver.NewBudget("db.test:5432", 10)
	one, other := b.Conn(saying{Reader: strings.NewReader(strings.Repeat("x", 8))}), b.Conn(saying{Reader: strings.NewReader(strings.Repeat("x", 20))})
	if _, err := io.ReadAll(one); err != nil {
		t.Fatal(err)
	}
	if left := b.Left(); left != 2 {
		t.Errorf("%d bytes are left", left)
	}
	b.Renew(t.Context())
	buffer := make([]byte, 8)
	if n, err := other.Read(buffer); n != 8 || err != nil {
		t.Fatalf("%d bytes of the next call: %v", n, err)
	}
	n, err := other.Read(buffer)
	if n != 0 || patchbay.CodeOf(err) != patchbay.TargetMisbehaved || patchbay.IsTransient(err) {
		t.Errorf("%d bytes beyond it: %v", n, err)
	}
	if left := b.Left(); left != 0 {
		t.Errorf("%d bytes are left", left)
	}
	b.Renew(t.Context())
	if _, err := one.Read(buffer); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
		t.Errorf("who misbehaved is listened to again: %v", err)
	}
	if patchbay.CodeOf(b.Fault()) != patchbay.TargetMisbehaved {
		t.Error("it is forgotten")
	}
}

// What came first is why; what follows from it is not.
func TestTheFirstFaultIsToldOfABudget(t *testing.T) {
	b := driver.NewBudget("db.test:5432", 10)
	first := b.Refuse("sent what nobody asked for")
	if second := b.Refuse("ended"); second.Error() != first.Error() || b.Fault().Error() != first.Error() || !strings.Contains(first.Error(), "db.test:5432 sent") {
		t.Errorf("%v, %v, %v", first, second, b.Fault())
	}
}

// verbose is a target that tells much, and does not come to an end.
type verbose struct {
	driver.Administrator
	told   *atomic.Int64
	enough <-chan struct{}
}

func (v verbose) Inspect(ctx context.Context, _ string) (driver.TargetInfo, error) {
	b := driver.NewBudget("db.test:5432", driver.CallBytes)
	b.Renew(ctx)
	if _, err := io.Copy(io.Discard, b.Conn(saying{Reader: strings.NewReader(strings.Repeat("x", 1<<20))})); err != nil {
		return driver.TargetInfo{}, err
	}
	v.told.Add(1)
	<-v.enough
	return driver.TargetInfo{}, nil
}

// What is told is in memory for as long as the call lasts: who may register a
// target has as many calls as it likes.
func TestFewCallsAreToldMuchAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var one, other atomic.Int64
		enough := make(chan struct{})
		calls := func(ctx context.Context, n int, tenant string, told *atomic.Int64) {
			target := driver.Guard{Share: []string{tenant, "target"}}.Target(driver.TargetDriver{}, driver.Config{}, verbose{told: told, enough: enough})
			for range n {
				go func() { _, _ = target.Inspect(ctx, "") }()
			}
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		calls(ctx, 20, "one", &one)
		calls(t.Context(), 1, "other", &other)
		if one.Load() != 2 || other.Load() != 1 {
			t.Errorf("%d calls of one are told much, and %d of the other", one.Load(), other.Load())
		}
		enough <- struct{}{}
		enough <- struct{}{}
		synctest.Wait()
		if n := one.Load() + other.Load(); n != 4 {
			t.Errorf("%d calls were told much when two had ended", n)
		}
		cancel()
		close(enough)
		synctest.Wait()
		if n := one.Load(); n > 4 {
			t.Errorf("%d calls were told much, some after they had ended", n)
		}
	})
}

// A session outlives its calls: what one of them took is given back when it is over.
func TestACallThatIsOverGivesItsPlaceToAnother(t *testing.T) {
	for what, over := range map[string]func(context.Context, *driver.Budget){
		"it ends":           func(_ context.Context, b *driver.Budget) { b.End() },
		"another begins":    func(ctx context.Context, b *driver.Budget) { b.Renew(ctx) },
		"one ends, another": func(ctx context.Context, b *driver.Budget) { b.End(); b.Renew(ctx) },
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			first := driver.NewBudget("db.test:5432", 10)
			first.Renew(ctx)
			if err := first.Large(); err != nil {
				t.Fatal(err)
			}
			var have atomic.Int64
			for range 10 {
				go func() {
					b := driver.NewBudget("db.test:5432", 10)
					b.Renew(ctx)
					if b.Large() == nil {
						have.Add(1)
					}
				}()
			}
			synctest.Wait()
			before := have.Load()
			over(ctx, first)
			synctest.Wait()
			if now := have.Load(); before == 10 || now != before+1 {
				t.Errorf("%s: %d calls had a place, and %d have", what, before, now)
			}
			cancel()
			synctest.Wait()
		})
	}
}
