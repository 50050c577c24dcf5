package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// Behind are the attacks of a protocol in the middle of a conversation with a
// real server, whose address is given, in the clear: the client's questions are
// handed on, and so are the answers, up to so many; the next one is not.
func Behind(kind, address string, answers int) []Attack {
	i := slices.IndexFunc(protocols(), func(p protocol) bool { return slices.Contains(p.kinds, kind) })
	if i < 0 {
		return nil
	}
	p := protocols()[i]
	var all []Attack
	for _, e := range append(slices.Clone(common), p.evils...) {
		if !e.at(question) {
			continue
		}
		all = append(all, Attack{
			Name: fmt.Sprintf("%s/behind-%d/%s", p.name, answers, e.name), Kinds: p.kinds,
			Serve: func(c net.Conn) { behind(c, address, answers, e.do) },
		})
	}
	return all
}

func behind(c net.Conn, address string, answers int, do func(*line, []byte) error) {
	real, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return
	}
	defer func() { _ = real.Close() }()
	over := time.Now().Add(patience)
	_, _ = c.SetDeadline(over), real.SetDeadline(over) // as in converse
	l := &line{Reader: bufio.NewReader(c), Writer: c, gone: make(chan struct{})}
	end := time.AfterFunc(patience, func() { close(l.gone) })
	defer end.Stop()
	var asked atomic.Bool
	questions := make(chan struct{})
	go func() {
		defer close(questions)
		defer func() { _ = real.Close() }()
		b := make([]byte, 64<<10)
		for {
			n, err := l.Read(b)
			if err != nil {
				return
			}
			asked.Store(true)
			_, _ = real.Write(b[:n]) // a server that is gone says so where it is read
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := real.Read(b)
		if err != nil {
			return
		}
		if asked.Swap(false) {
			if answers--; answers < 0 {
				if do(&line{Reader: bufio.NewReader(nobody{}), Writer: c, gone: l.gone}, b[:n]) == nil {
					<-questions // until the client goes
				}
				return
			}
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

// nobody says nothing more: what the client says goes to the real server.
type nobody struct{}

func (nobody) Read([]byte) (int, error) { return 0, io.EOF }
