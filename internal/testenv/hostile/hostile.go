// Package hostile answers clients like a server of each protocol, up to some
// point of a real conversation, and then attacks them: with announced lengths,
// endless streams, truncated frames, slow bytes, and what is particular to the
// protocol.
//
// [Attacks] are all of them, and [Fuzz] makes more. What a client does about one
// is tried in a process of its own, see [Confined]: some of them end it, or take
// all the memory that there is.
package hostile

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Attack is one way to answer.
type Attack struct {
	// Name says the protocol, when it happens and what: redis/question/map-of-2^46.
	Name string
	// Kinds are those of the settings table whose clients speak the protocol.
	Kinds []string
	// Serve talks to one client until it goes, or for a minute.
	Serve func(net.Conn)
}

// patience is how long an attack lasts when the client does not end it.
const patience = time.Minute

// protocols are what there are attacks on. They are some dozens of mebibytes, which
// a process that attacks nobody does without.
var protocols = sync.OnceValue(func() []protocol {
	return []protocol{postgres(), mysql(), sqlServer(), redis(), mongo(), cassandra(), kafka(), nats(), mqtt(), web(), s3()}
})

// Attacks are all attacks, in an order that stays.
func Attacks() []Attack {
	var all []Attack
	for _, p := range protocols() {
		for _, stage := range p.stages {
			for _, e := range append(slices.Clone(common), p.evils...) {
				if !e.at(stage) {
					continue
				}
				all = append(all, Attack{
					Name:  p.name + "/" + stage + "/" + e.name,
					Kinds: p.kinds,
					Serve: func(c net.Conn) { p.serve(c, stage, e.do) },
				})
			}
		}
	}
	return append(all, tlsAttacks()...)
}

// Against are the attacks on clients of a kind.
func Against(kind string) []Attack {
	return slices.DeleteFunc(Attacks(), func(a Attack) bool { return !slices.Contains(a.Kinds, kind) })
}

// Some are every so many-th of attacks, and those with the names.
func Some(attacks []Attack, every int, names ...string) []Attack {
	var some []Attack
	for i, a := range attacks {
		if i%every == 0 || slices.ContainsFunc(names, a.is) {
			some = append(some, a)
		}
	}
	return some
}

// is reports whether the attack has that name, or one that ends so.
func (a Attack) is(name string) bool { return a.Name == name || strings.HasSuffix(a.Name, "/"+name) }

// protocol is how a server of some kinds talks.
type protocol struct {
	name  string
	kinds []string
	// stages are the points at which it can go wrong, in their order.
	stages []string
	// begin starts a conversation.
	begin func() talk
	// evils are what is particular to the protocol.
	evils []evil
}

// The stages. Not every protocol has each.
const (
	greeting = "greeting"
	signIn   = "sign-in"
	question = "question"
)

// talk reads what the client says next and gives the answer of an honest server,
// and the stage that it belongs to. An error ends the conversation.
type talk func(r *bufio.Reader) (stage string, answer []byte, err error)

// evil is what is said instead of an honest answer.
type evil struct {
	name   string
	stages []string // nil: all
	// do says it; the answer is the honest one. The connection stays open
	// afterwards, until the client goes; an error closes it.
	do func(c *line, answer []byte) error
}

func (e evil) at(stage string) bool { return e.stages == nil || slices.Contains(e.stages, stage) }

// line is a connection to a client.
type line struct {
	*bufio.Reader
	io.Writer
	gone chan struct{} // closed when the attack has lasted long enough
}

// serve is honest up to a stage.
func (p protocol) serve(c net.Conn, stage string, do func(*line, []byte) error) {
	p.converse(c, func(at string, answer []byte, l *line) (bool, error) {
		if at == stage {
			return true, do(l, answer)
		}
		_, err := l.Write(answer)
		return false, err
	})
}

// converse plays a conversation; each says what is sent for an answer, and
// whether that was the last word.
func (p protocol) converse(c net.Conn, each func(stage string, answer []byte, l *line) (last bool, err error)) {
	_ = c.SetDeadline(time.Now().Add(patience)) // a connection that can't have one ends with its client
	l := &line{Reader: bufio.NewReader(c), Writer: c, gone: make(chan struct{})}
	over := time.AfterFunc(patience, func() { close(l.gone) })
	defer over.Stop()
	next := p.begin()
	for {
		stage, answer, err := next(l.Reader)
		if err != nil {
			return
		}
		last, err := each(stage, answer, l)
		if err != nil {
			return
		}
		if last {
			_, _ = io.Copy(io.Discard, l.Reader) // until the client goes
			return
		}
	}
}

// Listen has serve talk to everybody who connects to the address that it
// returns, until the test ends.
func Listen(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	talks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			talks.Go(func() {
				serve(c)
				_ = c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		talks.Wait()
	})
	return l.Addr().String()
}
