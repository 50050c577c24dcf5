package etcd

import (
	"context"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// maxSessions are the connections of one administrator, who signs in once on each: the
// server takes a tenth of a second of its processor for a password.
const maxSessions = 3

// admin keeps a few sessions of the administrator.
type admin struct {
	config
	user   driver.UserPassword
	dialer driver.Dialer
	places chan struct{} // as many as there may be sessions in use

	mu   sync.Mutex
	idle []*link
	done bool
}

func newAdmin(c config, user driver.UserPassword, d driver.Dialer) *admin {
	return &admin{config: c, user: user, dialer: d, places: make(chan struct{}, maxSessions)}
}

func (a *admin) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = true
	for _, l := range a.idle {
		l.close()
	}
	a.idle = nil
}

// session is one of the administrator's for a call.
type session struct {
	*link
	what string
}

// fail says what went wrong for the administrator.
func (s session) fail(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return s.fault(ctx, s.what, err, patchbay.AdminRefused)
}

// use runs f with a session that answered a moment ago.
func (a *admin) use(ctx context.Context, what string, f func(context.Context, session) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		e := over(ctx)
		e.Message = what + ": " + e.Message
		return e
	}
	l, err := a.take(ctx, what)
	if err != nil {
		return err
	}
	s := session{l, what}
	err = s.fail(ctx, f(ctx, s))
	l.budget.End()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done || l.conn.broke.Load() != nil || l.budget.Fault() != nil || ctx.Err() != nil {
		l.close()
		return err
	}
	a.idle = append(a.idle, l)
	return err
}

// take is a session that nobody else has.
func (a *admin) take(ctx context.Context, what string) (*link, error) {
	for {
		a.mu.Lock()
		if a.done {
			a.mu.Unlock()
			return nil, patchbay.Errorf(patchbay.Internal, "%s: the target was closed", what)
		}
		if len(a.idle) == 0 {
			a.mu.Unlock()
			l, _, err := connect(ctx, what, a.servers, a.tls, a.dialer, a.user, patchbay.AdminRefused)
			return l, err
		}
		l := a.idle[len(a.idle)-1]
		a.idle = a.idle[:len(a.idle)-1]
		a.mu.Unlock()
		l.budget.Renew(ctx)
		// A server that was started anew, or lost its leader, is found before anything
		// has an effect.
		state, err := l.status(ctx)
		if err == nil {
			err = l.meets(state)
		}
		if err == nil {
			return l, nil
		}
		l.close()
		if e := over(ctx); e != nil {
			e.Message = what + ": " + e.Message
			return nil, e
		}
	}
}
