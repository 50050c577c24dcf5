package hostile

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// common are what can be done in every protocol.
var common = []evil{
	{name: "silence", do: func(*line, []byte) error { return nil }},
	{name: "goodbye", do: func(*line, []byte) error { return io.EOF }},
	{name: "truncated", do: func(l *line, answer []byte) error {
		_, _ = l.Write(answer[:len(answer)/2])
		return io.EOF
	}},
	{name: "one-byte-a-second", do: func(l *line, answer []byte) error { return l.slowly(answer) }},
	{name: "the-answer-for-ever", do: func(l *line, answer []byte) error { return l.forever(answer) }},
	{name: "zeros-for-ever", do: func(l *line, _ []byte) error { return l.forever([]byte{0}) }},
	{name: "ones-for-ever", do: func(l *line, _ []byte) error { return l.forever([]byte{0xff}) }},
	{name: "letters-for-ever", do: func(l *line, _ []byte) error { return l.forever([]byte("A")) }},
	{name: "noise", do: func(l *line, _ []byte) error {
		_, err := l.Write(noise(1, 1<<20))
		return err
	}},
	{name: "the-answer-and-noise", do: func(l *line, answer []byte) error {
		_, err := l.Write(append(bytes.Clone(answer), noise(2, 1<<20)...))
		return err
	}},
}

// endless is enough for every memory, and what a loop is cut off at.
const endless = 64 << 30

var errEnough = errors.New("nobody took it all")

// forever says the same over and over.
func (l *line) forever(what []byte) error {
	chunk := bytes.Repeat(what, max(1, 64<<10/max(1, len(what))))
	for sent := 0; sent < endless; sent += max(1, len(chunk)) {
		select {
		case <-l.gone:
			return errEnough
		default:
		}
		if _, err := l.Write(chunk); err != nil {
			return err
		}
	}
	return errEnough
}

// growing says what is different each time, for ever.
func (l *line) growing(what func(n int) []byte) error {
	for n := 0; ; {
		var chunk []byte
		for ; len(chunk) < 64<<10; n++ {
			chunk = append(chunk, what(n)...)
		}
		if _, err := l.Write(chunk); err != nil {
			return err
		}
	}
}

// slowly says it a byte a second.
func (l *line) slowly(what []byte) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range what {
		select {
		case <-l.gone:
			return errEnough
		case <-tick.C:
		}
		if _, err := l.Write(what[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// say is an evil that is a few bytes, whatever the honest answer is.
func say(name string, what string, stages ...string) evil {
	return evil{name: name, stages: stages, do: func(l *line, _ []byte) error {
		_, err := io.WriteString(l, what)
		return err
	}}
}

// flood is a beginning, and then the same for ever.
func flood(name string, head, what string, stages ...string) evil {
	return evil{name: name, stages: stages, do: func(l *line, _ []byte) error {
		if _, err := io.WriteString(l, head); err != nil {
			return err
		}
		return l.forever([]byte(what))
	}}
}

// noise is the same bytes for the same seed.
func noise(seed uint64, n int) []byte {
	b, r := make([]byte, n), rand.New(rand.NewPCG(seed, seed))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// sorted puts evils in an order that stays.
func sorted(evils []evil) []evil {
	slices.SortFunc(evils, func(a, b evil) int { return strings.Compare(a.name, b.name) })
	return evils
}
