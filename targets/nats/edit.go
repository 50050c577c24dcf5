package nats

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
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
	pushed map[string]bool // digests
}

// accounts has the turns of every account that was opened in this process: two
// resources, or two openings of one, may name the same account.
var accounts sync.Map

func newTurns() *turns {
	return &turns{turn: make(chan struct{}, 1), pushed: map[string]bool{}}
}

func turnsOf(account string) *turns {
	t, _ := accounts.LoadOrStore(account, newTurns())
	return t.(*turns)
}

// push remembers a token as our own. A late copy of one is nobody else's edit.
func (t *turns) push(token string) {
	const many = 1024
	if len(t.pushed) >= many {
		clear(t.pushed)
	}
	t.pushed[digest(token)] = true
}

// edit changes what the account has of one owner: change edits what it is
// given, reports whether it had to, and is called again on whatever the account
// has become meanwhile.
//
// The product has no compare-and-swap. So every edit is read back, and all
// that others push while it is under way is watched: ours may have overwritten
// it, and then brings it back. Of another Patchbay that is what its push
// says that it does to principals. Of anybody else it is what their push changed of
// the state that it differs least from, our principals aside: those a copy that
// is a moment old would take away. An edit has ended when the account, as the
// server has it, is what it should be and nobody pushed meanwhile.
func (t *target) edit(ctx context.Context, o owner, change func(*account) (bool, error)) error {
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
	var h *history
	for range editLimit {
		token, err := s.lookup(ctx)
		if err != nil {
			return err
		}
		current, err := s.open(token)
		if err != nil {
			return err
		}
		others, err := w.others(ctx, t.turns)
		if err != nil {
			return err
		}
		if h == nil {
			if h, err = newHistory(token, current); err != nil {
				return err
			}
			// What came before the one that was read is in it, or was replaced by
			// who pushed over it, who sees that.
			if i := slices.IndexFunc(others, func(p push) bool { return p.token == token }); i >= 0 {
				others = others[i:]
			}
		}
		for _, p := range append(others, push{token: token}) {
			// What the server does not trust it has not applied.
			if a, err := s.open(p.token); err == nil {
				if err := h.saw(p, a); err != nil {
					return err
				}
			}
		}
		changed, err := change(h.merged)
		if err != nil {
			return err
		}
		if !changed && (h.is == token || distance(h.merged.content(), current.content()) == 0) {
			return nil
		}
		next, err := h.merged.sign(t.operator, t.now())
		if err != nil {
			return patchbay.Errorf(patchbay.Internal, "%s: sign it: %w", what, err)
		}
		h.does[o] = h.merged.has(o)
		t.turns.push(next)
		if err := s.push(ctx, next, h.does); err != nil {
			return err
		}
		if err := h.pushed(next, t.account); err != nil {
			return err
		}
	}
	return patchbay.Errorf(patchbay.Conflict, "the account %s changes too often to be edited", t.account).AsTransient()
}

// history is what an edit has seen of its account.
type history struct {
	merged *account // everybody's changes, ours too
	is     string   // the token that says the same as merged, if there is one
	tokens map[string]bool
	states []*account
	// does says of the owners that this edit knows a change of whether they have
	// a principal.
	does map[owner]bool
}

func newHistory(token string, a *account) (*history, error) {
	h := &history{
		merged: &account{issued: a.issued}, is: token,
		tokens: map[string]bool{token: true}, states: []*account{a}, does: map[owner]bool{},
	}
	return h, h.merged.load(a.content())
}

// saw merges a state that somebody else pushed, once.
func (h *history) saw(p push, a *account) error {
	if h.tokens[p.token] {
		return nil
	}
	content := a.others()
	nearest, least := h.states[0], -1
	for _, state := range h.states {
		if d := distance(state.others(), content); least < 0 || d <= least {
			nearest, least = state, d
		}
	}
	h.is = ""
	h.tokens[p.token] = true
	h.states = append(h.states, a)
	if err := h.merged.absorb(nearest, a); err != nil {
		return err
	}
	for o, has := range p.does {
		h.does[o] = has
		h.merged.drop(o)
		for _, k := range a.keys {
			if has && k.note.of(o) {
				h.merged.keys = append(h.merged.keys, k)
			}
		}
	}
	return nil
}

// pushed remembers a state that is ours.
func (h *history) pushed(token, subject string) error {
	a, err := parseAccount(token, subject)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "what was pushed can't be read: %w", err)
	}
	h.is = token
	h.tokens[token] = true
	h.states = append(h.states, a)
	return nil
}

// editsHeader says, on a push of a Patchbay's, of which owners it knows that
// they have a principal afterwards, or have none any more. The other principals
// in it are as they were, and may have changed since.
const editsHeader = "Patchbay-Edits"

type edit struct {
	owner
	Has bool `json:"has"`
}

func writeEdits(does map[owner]bool) string {
	var edits []edit
	for o, has := range does {
		edits = append(edits, edit{o, has})
	}
	text, _ := json.Marshal(edits) // strings and numbers
	return string(text)
}

func readEdits(text string) map[owner]bool {
	var edits []edit
	if json.Unmarshal([]byte(text), &edits) != nil {
		return nil // nothing that a Patchbay says
	}
	does := map[owner]bool{}
	for _, e := range edits {
		does[e.owner] = e.Has
	}
	return does
}

func digest(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// watch sees the account JWTs that others push.
type watch struct {
	s    *session
	subs []*natsgo.Subscription
	seen chan *natsgo.Msg
}

// push is an account JWT that somebody else pushed, and what a Patchbay says
// that it does.
type push struct {
	token string
	does  map[owner]bool
}

// watchRoom is how many pushes may come between two looks.
const watchRoom = 1024

func (s *session) watch(ctx context.Context) (*watch, error) {
	w := &watch{s: s, seen: make(chan *natsgo.Msg, watchRoom)}
	for _, subject := range []string{claimsUpdate, fmt.Sprintf(accountUpdate, s.account), fmt.Sprintf(accountUpdateOld, s.account)} {
		sub, err := s.nc.ChanSubscribe(subject, w.seen)
		if err != nil {
			w.stop()
			return nil, s.lost(ctx, "watch the account", err)
		}
		w.subs = append(w.subs, sub)
	}
	// What was pushed before is in what is looked up next.
	if _, err := w.others(ctx, newTurns()); err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

func (w *watch) stop() {
	for _, sub := range w.subs {
		_ = sub.Unsubscribe()
	}
}

// others are the pushes since the last look, without this process's own.
func (w *watch) others(ctx context.Context, own *turns) ([]push, error) {
	// With the answer to this, everything that the server sent before has come.
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := w.s.nc.FlushWithContext(ctx); err != nil {
		return nil, w.s.lost(ctx, "watch the account", err)
	}
	var pushes []push
	for {
		select {
		case m := <-w.seen:
			if token := string(m.Data); !own.pushed[digest(token)] {
				pushes = append(pushes, push{token, readEdits(m.Header.Get(editsHeader))})
			}
		default:
			return pushes, nil
		}
	}
}
