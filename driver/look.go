package driver

import (
	"context"
	"sync"
)

// OneLook is ctx for deciding: with it a [Source] is looked at once, so that all that is
// decided is decided of the same moment, and in the time of one look. What is done
// then looks for itself.
func OneLook(ctx context.Context) context.Context {
	return context.WithValue(ctx, lookKey{}, &sync.Map{})
}

type lookKey struct{}

// seenKey is one thing that is looked at.
type seenKey[T any] struct{ of any }

// Look gives what look finds. With a context of [OneLook] it is what was found the
// first time that of, a driver's own source, was looked at in this way. It is shared:
// nobody may change it.
func Look[T any](ctx context.Context, of any, look func(context.Context) (T, error)) (T, error) {
	seen, once := ctx.Value(lookKey{}).(*sync.Map)
	if !once {
		return look(ctx)
	}
	if found, ok := seen.Load(seenKey[T]{of}); ok {
		return found.(T), nil
	}
	found, err := look(ctx)
	if err == nil {
		seen.Store(seenKey[T]{of}, found)
	}
	return found, err
}
