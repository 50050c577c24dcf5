package nats

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	natsgo "github.com/nats-io/nats.go"

	"patchbay.dev/patchbay"
)

// editLimit is how often an edit begins again because somebody else's push
// came between.
const editLimit = 16

// turns orders the edits of one account in this process, whichever target they
// come through, and remembers the JWTs that they pushed.
type turns struct {
	turn   chan struct{}
	pushed map[[sha256.Size]byte]bool
}

// accounts has the turns of every account that was opened in this process: two
// resources, or two openings of one, may name the same account.
var accounts sync.Map

func turnsOf(account string) *turns {
	t, _ := accounts.LoadOrStore(account, &turns{turn: make(chan struct{}, 1), pushed: map[[sha256.Size]byte]bool{}})
	return t.(*turns)
}

// push remembers a token as our own. A late copy of one is nobody else's edit.
func (t *turns) push(token string) {
	const many = 1024
	if len(t.pushed) >= many {
		clear(t.pushed)
	}
	t.pushed[sha256.Sum256([]byte(token))] = true
}

// edit changes the account: change edits what it is given, reports whether it
// had to, and is called again on whatever the account has become meanwhile.
//
// The product has no compare-and-swap. So every edit is read back, and all
// that others push while it is under way is watched: a push that ours may
// have overwritten becomes what our change is made to once more. An edit has
// ended when the account as the server has it needs no change and nobody
// pushed meanwhile.
func (t *target) edit(ctx context.Context, change func(*account) (bool, error)) error {
	const what = "edit the account"
	select {
	case t.turns.turn <- struct{}{}:
		defer func() { <-t.turns.turn }()
	case <-ctx.Done():
		return fault(ctx, what, ctx.Err(), nil, patchbay.AdminRefused)
	}
	s, err := t.admin.session(ctx)
	if err != nil {
		return err
	}
	w, err := s.watch(ctx)
	if err != nil {
		return err
	}
	defer w.stop()
	for range editLimit {
		current, err := s.lookup(ctx)
		if err != nil {
			return err
		}
		base := current
		others, err := w.others(ctx, t.turns)
		if err != nil {
			return err
		}
		for _, token := range others {
			// What was pushed before the current one has been replaced by its
			// author's own will; what came after, or is nowhere to be seen, is
			// newer, or was overwritten by ours. What the server does not trust
			// it has not applied.
			if token == current {
				base = current
			} else if _, err := s.open(token); err == nil {
				base = token
			}
		}
		a, err := s.open(base)
		if err != nil {
			return err
		}
		changed, err := change(a)
		if err != nil {
			return err
		}
		if !changed && base == current {
			return nil
		}
		next := base
		if changed {
			if next, err = a.sign(t.operator, t.now()); err != nil {
				return patchbay.Errorf(patchbay.Internal, "%s: sign it: %w", what, err)
			}
		}
		t.turns.push(next)
		if err := s.push(ctx, next); err != nil {
			return err
		}
	}
	return patchbay.Errorf(patchbay.Conflict, "the account %s changes too often to be edited", t.account).AsTransient()
}

// watch sees the account JWTs that others push.
type watch struct {
	s    *session
	subs []*natsgo.Subscription
	seen chan *natsgo.Msg
}

// watchRoom is how many pushes may come between two looks. A cluster's
// administrators push by hand.
const watchRoom = 256

func (s *session) watch(ctx context.Context) (*watch, error) {
	w := &watch{s: s, seen: make(chan *natsgo.Msg, watchRoom)}
	for _, subject := range []string{claimsUpdate, fmt.Sprintf(accountUpdate, s.account), fmt.Sprintf("$SYS.ACCOUNT.%s.CLAIMS.UPDATE", s.account)} {
		sub, err := s.nc.ChanSubscribe(subject, w.seen)
		if err != nil {
			w.stop()
			return nil, s.lost(ctx, "watch the account", err)
		}
		w.subs = append(w.subs, sub)
	}
	// What was pushed before is in what is looked up next.
	if err := w.flush(ctx); err != nil {
		w.stop()
		return nil, err
	}
	w.drain()
	return w, nil
}

func (w *watch) stop() {
	for _, sub := range w.subs {
		_ = sub.Unsubscribe()
	}
}

// flush returns when everything that the server sent us up to now has arrived.
func (w *watch) flush(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := w.s.nc.FlushWithContext(ctx); err != nil {
		return w.s.lost(ctx, "watch the account", err)
	}
	return nil
}

func (w *watch) drain() []string {
	var tokens []string
	for {
		select {
		case m := <-w.seen:
			tokens = append(tokens, string(m.Data))
		default:
			return tokens
		}
	}
}

// others are the tokens that were pushed since the last look, without this
// process's own.
func (w *watch) others(ctx context.Context, own *turns) ([]string, error) {
	if err := w.flush(ctx); err != nil {
		return nil, err
	}
	var tokens []string
	for _, token := range w.drain() {
		if !own.pushed[sha256.Sum256([]byte(token))] {
			tokens = append(tokens, token)
		}
	}
	return tokens, nil
}
