package hostile

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Call is a question to an administering driver.
type Call struct {
	Name string
	Ask  func(context.Context, *driver.GuardedTarget) error
}

// Calls ask everything that a driver asks a target.
func Calls(sub string, r driver.LoginRequest) []Call {
	return []Call{
		{"Inspect", func(ctx context.Context, t *driver.GuardedTarget) error { _, err := t.Inspect(ctx, sub); return err }},
		{"EnsureLogin", func(ctx context.Context, t *driver.GuardedTarget) error { return t.EnsureLogin(ctx, r) }},
		{"InspectLogin", func(ctx context.Context, t *driver.GuardedTarget) error {
			_, err := t.InspectLogin(ctx, r)
			return err
		}},
		{"RemoveLogin", func(ctx context.Context, t *driver.GuardedTarget) error { return t.RemoveLogin(ctx, r) }},
		{"Owned", func(ctx context.Context, t *driver.GuardedTarget) error { _, err := t.Owned(ctx); return err }},
	}
}

// Bounds on a call: for one that an attack leaves waiting, and for one that has
// to find out.
const (
	waiting = time.Second
	finding = time.Minute
)

// Administer asks a server that attacks whoever administers it, each question
// through a target of its own. A call has to end with its context; its error has
// a code, and a length that can be kept. Of attacks whose names end with one of
// found, sign-in/notices or notices, the code is TargetMisbehaved.
//
// It is for a test that is [Confined]: what a driver takes too much of ends it.
func Administer(t *testing.T, attacks []Attack, open func(address string) (*driver.GuardedTarget, error), calls []Call, found ...string) {
	t.Helper()
	const atOnce = 4
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	defer all.Wait()
	for _, a := range attacks {
		address := Listen(t, a.Serve)
		misbehaves, limit := slices.ContainsFunc(found, a.is), waiting
		if misbehaves {
			limit = finding
		}
		for _, call := range calls {
			places <- struct{}{}
			all.Go(func() {
				defer func() { <-places }()
				code, err := ask(open, address, call, limit)
				if code == patchbay.Internal || misbehaves && code != patchbay.TargetMisbehaved {
					t.Errorf("%s: %s says %s: %.200v", a.Name, call.Name, code, err)
				}
				if err != nil && len(err.Error()) > 8<<10 {
					t.Errorf("%s: %s says %d bytes", a.Name, call.Name, len(err.Error()))
				}
			})
		}
	}
}

// Answer has a server answer a driver's questions about itself: any code will
// do, when there is an end.
func Answer(t *testing.T, serve func(net.Conn), open func(address string) (*driver.GuardedTarget, error)) {
	t.Helper()
	const enough = 200 * time.Millisecond
	for _, call := range []Call{
		{"Inspect", func(ctx context.Context, t *driver.GuardedTarget) error { _, err := t.Inspect(ctx, ""); return err }},
		{"Owned", func(ctx context.Context, t *driver.GuardedTarget) error { _, err := t.Owned(ctx); return err }},
	} {
		if code, err := ask(open, Listen(t, serve), call, enough); code == patchbay.Internal {
			t.Errorf("%s says %.200v", call.Name, err)
		}
	}
}

func ask(open func(string) (*driver.GuardedTarget, error), address string, call Call, limit time.Duration) (patchbay.Code, error) {
	target, err := open(address)
	if err != nil {
		return patchbay.Internal, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- call.Ask(ctx, target)
		_ = target.Close() // which may wait for the server a while longer
	}()
	select {
	case err := <-done:
		return patchbay.CodeOf(err), err
	case <-time.After(limit + finding):
		return patchbay.Internal, fmt.Errorf("it does not end with its context")
	}
}
