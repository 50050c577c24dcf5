package nats

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"patchbay.dev/patchbay"
)

// editLimit is how often an edit begins again because somebody else's push
// came between.
const editLimit = 16

// turns orders the edits of one account in this process, whichever target they
// come through, and remembers what is known of the last changes of owners.
type turns struct {
	turn chan struct{}
	ops  map[owner]op
	// unsure are connections that were lost with a push under way.
	unsure []connection
}

// connection is what a server knows a connection of ours by.
type connection struct {
	server string
	id     uint64
}

// op is the last change of an owner: whether it has a login since.
type op struct {
	Has bool  `json:"has"`
	At  int64 `json:"at"` // when the edit began that made it, in nanoseconds
}

// manyOps bounds what is remembered: what is older than that many changes is no
// longer on its way.
const manyOps = 4096

// accounts has the turns of every account that was opened in this process: two
// resources, or two openings of one, may name the same account.
var accounts sync.Map

func newTurns() *turns {
	return &turns{turn: make(chan struct{}, 1), ops: map[owner]op{}}
}

func turnsOf(account string) *turns {
	t, _ := accounts.LoadOrStore(account, newTurns())
	return t.(*turns)
}

// learn reports whether a change is the last one of its owner that is known. It
// may be known already and yet be missing in what an edit began with.
func (t *turns) learn(o owner, news op) bool {
	if known, ok := t.ops[o]; ok && known.At > news.At {
		return false
	}
	if len(t.ops) >= manyOps {
		clear(t.ops)
	}
	t.ops[o] = news
	return true
}

// edit changes what the account has of one owner: change edits what it is
// given, reports whether it had to, and is called again on whatever the account
// has become meanwhile.
//
// The product has no compare-and-swap. So every edit is read back, and all
// that others push while it is under way is watched: ours may have overwritten
// it, and then brings it back. Of another Patchbay that is what its push says
// that it does to logins. Of anybody else it is what their push changed of
// the state that it differs least from, our logins aside: those a copy that
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
	if err := s.settle(ctx, t.turns); err != nil {
		return err
	}
	if err := s.watch.begin(ctx); err != nil {
		return err
	}
	mine := op{At: t.now().UnixNano()}
	var h *history
	for range editLimit {
		token, err := s.lookup(ctx)
		if err != nil {
			return err
		}
		current := h.state(token)
		if current == nil {
			if current, err = s.open(token); err != nil {
				return err
			}
		}
		others, err := s.watch.look(ctx)
		if err != nil {
			return err
		}
		if h == nil {
			if h, err = newHistory(token, current); err != nil {
				return err
			}
			// What came before the one that was read is in it, or was replaced by
			// who pushed over it. What a Patchbay says holds all the same: it may
			// have been on its way to us before it was on the server's disk.
			at := slices.IndexFunc(others, func(p push) bool { return p.token == token })
			for i := range max(at, 0) {
				others[i].past = true
			}
		}
		for _, p := range append(others, push{token: token}) {
			if h.knows(p) {
				continue
			}
			// What the server does not trust it has not applied.
			if a, err := s.open(p.token); err == nil {
				if err := h.saw(p, a, t.turns); err != nil {
					return err
				}
			}
		}
		changed, err := change(h.merged)
		if err != nil {
			return err
		}
		if !changed && (h.is == token || distance(h.merged.content(), current.content()) == 0) {
			s.watch.end(token)
			return nil
		}
		next, err := h.merged.sign(t.operator, t.now())
		if err != nil {
			return patchbay.Errorf(patchbay.Internal, "%s: sign it: %w", what, err)
		}
		mine.Has = h.merged.has(o)
		t.turns.learn(o, mine)
		h.does[o] = mine
		if err := s.push(ctx, next, h.does); err != nil {
			t.turns.unsure = append(t.turns.unsure, s.connection)
			return err
		}
		h.pushed(next)
	}
	return patchbay.Errorf(patchbay.Conflict, "the account %s changes too often to be edited", t.account).AsTransient()
}

// settle waits until no push of ours whose answer was lost can be under way any
// more: it would undo what is done now. The server has read all that a
// connection sent before it forgets the connection.
func (s *session) settle(ctx context.Context, t *turns) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for len(t.unsure) > 0 {
		if t.unsure[0] != s.connection { // on one connection, everything has its order
			open, err := s.knows(ctx, t.unsure[0])
			if err != nil {
				return err
			}
			if open {
				// It may hang in a network that forgot it: the server need not wait.
				_ = s.nc.Publish(fmt.Sprintf(serverKick, t.unsure[0].server), fmt.Appendf(nil, `{"cid":%d}`, t.unsure[0].id))
				select {
				case <-ctx.Done():
					return fault(ctx, "wait for an earlier edit of the account", ctx.Err(), nil, patchbay.AdminRefused)
				case <-time.After(settlePause):
				}
				continue
			}
		}
		t.unsure = t.unsure[1:]
	}
	return nil
}

const (
	settleLimit = 5 * time.Second
	settlePause = 5 * time.Millisecond
)

// history is what an edit has seen of its account.
type history struct {
	merged *account            // everybody's changes, ours too
	is     string              // the token that says the same as merged, if there is one
	states map[string]*account // that were merged, or are ours, by token
	order  []*account          // the same, as they came
	heard  map[string]bool     // tokens that were merged with their header
	does   map[owner]op        // the changes of owners that are in merged
}

func newHistory(token string, a *account) (*history, error) {
	h := &history{
		merged: &account{issued: a.issued}, is: token,
		states: map[string]*account{}, heard: map[string]bool{}, does: map[owner]op{},
	}
	h.remember(token, a)
	return h, h.merged.load(a.content())
}

// state is what a token says, nil when it is not known.
func (h *history) state(token string) *account {
	if h == nil {
		return nil
	}
	return h.states[token]
}

func (h *history) remember(token string, a *account) {
	h.states[token] = a
	h.order = append(h.order, a)
}

// knows reports whether there is nothing new in a push. A state may be read
// before the push that made it comes, with its header.
func (h *history) knows(p push) bool {
	return h.states[p.token] != nil && (p.does == nil || h.heard[p.token])
}

// saw merges a state that somebody else pushed, and what its header says.
func (h *history) saw(p push, a *account, known *turns) error {
	h.is = ""
	if !p.past && h.states[p.token] == nil {
		content := a.others()
		nearest, least := h.order[0], -1
		for _, state := range h.order {
			if d := distance(state.others(), content); least < 0 || d <= least {
				nearest, least = state, d
			}
		}
		h.remember(p.token, a)
		if err := h.merged.absorb(nearest, a); err != nil {
			return err
		}
	}
	h.states[p.token] = a
	h.heard[p.token] = p.does != nil
	for o, op := range p.does {
		if !known.learn(o, op) {
			continue
		}
		h.does[o] = op
		h.merged.drop(o)
		for _, k := range a.keys {
			if op.Has && k.note.of(o) {
				h.merged.keys = append(h.merged.keys, k)
			}
		}
	}
	return nil
}

// pushed remembers a state that is ours: what is merged now.
func (h *history) pushed(token string) {
	h.is = token
	h.remember(token, h.merged.snapshot())
}

// editsHeader says, on a push of a Patchbay's, which changes of owners it knows
// to be in it. The other logins in it are as they were, and may have changed
// since.
const editsHeader = "Patchbay-Edits"

type edit struct {
	owner
	op
}

// maxUID is longer than any connection's uid.
const maxUID = 64

func writeEdits(does map[owner]op) string {
	var edits []edit
	for o, op := range does {
		edits = append(edits, edit{o, op})
	}
	text, _ := json.Marshal(edits) // strings and numbers
	return string(text)
}

func readEdits(text string) map[owner]op {
	var edits []edit
	if json.Unmarshal([]byte(text), &edits) != nil {
		return nil // nothing that a Patchbay says
	}
	does := map[owner]op{}
	for _, e := range edits {
		if len(e.UID) > maxUID {
			return nil // it would be remembered
		}
		does[e.owner] = e.op
	}
	return does
}

// push is an account JWT that somebody else pushed, and what a Patchbay says
// that it does.
type push struct {
	token string
	does  map[owner]op
	past  bool // it was seen before the state that an edit began with
}

// watch sees the account JWTs that others push, from the moment on that a
// session begins: a push that the server took before it knew of us, and has
// not yet stored, would be in nothing that we read.
type watch struct {
	s      *session
	subs   []*natsgo.Subscription
	seen   chan *natsgo.Msg
	pushes []push // since the end of the last edit
}

// watchRoom is how many pushes may come between two looks.
const watchRoom = 64

func newWatch(ctx context.Context, s *session) (*watch, error) {
	w := &watch{s: s, seen: make(chan *natsgo.Msg, watchRoom)}
	for _, subject := range []string{claimsUpdate, fmt.Sprintf(accountUpdate, s.account), fmt.Sprintf(accountUpdateOld, s.account)} {
		sub, err := s.nc.ChanSubscribe(subject, w.seen)
		if err != nil {
			return nil, s.lost(ctx, "watch the account", err)
		}
		w.subs = append(w.subs, sub)
	}
	return w, w.flush(ctx)
}

// flush returns when everything has come that the server sent before.
func (w *watch) flush(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer w.s.nc.during(ctx)()
	if err := w.s.nc.FlushWithContext(ctx); err != nil {
		return w.s.lost(ctx, "watch the account", err)
	}
	return nil
}

// missed reports whether more came than there was room for.
func (w *watch) missed() bool {
	return slices.ContainsFunc(w.subs, func(s *natsgo.Subscription) bool {
		n, err := s.Dropped()
		return err != nil || n > 0
	})
}

// begin makes the watch whole again after a time in which nobody looked.
func (w *watch) begin(ctx context.Context) error {
	if !w.missed() {
		return nil
	}
	for _, sub := range w.subs {
		_ = sub.Unsubscribe()
	}
	again, err := newWatch(ctx, w.s)
	if err != nil {
		return err
	}
	*w = *again
	return nil
}

// look returns all pushes since the end of the last edit.
func (w *watch) look(ctx context.Context) ([]push, error) {
	if err := w.flush(ctx); err != nil {
		return nil, err
	}
	if w.missed() {
		return nil, patchbay.Errorf(patchbay.Conflict, "the accounts of the NATS server change faster than can be followed").AsTransient()
	}
	for {
		select {
		case m := <-w.seen:
			w.pushes = append(w.pushes, push{token: string(m.Data), does: readEdits(m.Header.Get(editsHeader))})
		default:
			// Edits that fail leave what they saw to the next one.
			w.pushes = w.pushes[max(0, len(w.pushes)-watchRoom):]
			return slices.Clone(w.pushes), nil
		}
	}
}

// end forgets what the account now holds.
func (w *watch) end(token string) { w.pushes = []push{{token: token}} }
