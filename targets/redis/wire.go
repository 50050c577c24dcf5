package redis

import (
	"bytes"
	"net"
	"strconv"

	"patchbay.dev/patchbay/driver"
)

// Bounds on what a server may send, beside [driver.CallBytes]. The client library
// makes room for an answer as soon as its size is announced, and calls itself for
// each list in a list: where that fails, the process ends.
const (
	maxBulk   = 16 << 20 // bytes of one text; a thousand clients are 0.4 MB
	maxLine   = 64 << 10
	maxItems  = 1 << 17 // of one list
	maxValues = 1 << 20 // of all that one connection tells
	maxDepth  = 8
)

// wire follows what a server says in version 2 of its protocol, and hands on what is
// within the bounds.
type wire struct {
	net.Conn
	budget *driver.Budget
	line   []byte // as much of a line as has come
	body   int    // what is still to come of a text, its end of line included
	lists  []int  // how many items are still to come of each list, the innermost last
	values int
	err    error
}

// Read implements [net.Conn]. Nothing of what has something refused in it is handed on.
func (w *wire) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.Conn.Read(p)
	if w.err = w.look(p[:n]); w.err != nil {
		return 0, w.err
	}
	return n, err
}

func (w *wire) look(b []byte) error {
	for len(b) > 0 {
		if w.body > 0 {
			n := min(w.body, len(b))
			if w.body, b = w.body-n, b[n:]; w.body == 0 {
				w.ended()
			}
			continue
		}
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if w.line = append(w.line, line...); len(w.line) > maxLine {
			return w.budget.Refuse("sent a line of more than %d bytes", maxLine)
		}
		if !whole {
			return w.spoken()
		}
		if err := w.announced(w.line); err != nil {
			return err
		}
		w.line, b = w.line[:0], rest
	}
	return nil
}

// spoken refuses a line that does not begin as one can: who speaks otherwise may never
// end it.
func (w *wire) spoken() error {
	if len(w.line) > 0 && !bytes.ContainsRune([]byte("+-:$*"), rune(w.line[0])) {
		return w.budget.Refuse("does not speak the protocol of Redis")
	}
	return nil
}

// announced judges a line, which the library may read in a looser way: what is not as
// the protocol has it is refused.
func (w *wire) announced(line []byte) error {
	if err := w.spoken(); err != nil {
		return err
	}
	text, ended := bytes.CutSuffix(line, []byte("\r"))
	if !ended || len(text) == 0 || bytes.ContainsRune(text, '\r') {
		return w.budget.Refuse("does not speak the protocol of Redis")
	}
	if w.values++; w.values > maxValues {
		return w.budget.Refuse("tells more than %d values", maxValues)
	}
	kind, number := text[0], string(text[1:])
	if kind != '$' && kind != '*' || number == "-1" {
		w.ended()
		return nil
	}
	most, what := maxBulk, "a text of %s bytes"
	if kind == '*' {
		most, what = maxItems, "a list of %s"
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || int(n) > most || kind == '$' && int64(n) > w.budget.Left() {
		return w.budget.Refuse("announces "+what, driver.Quoted(number[:min(len(number), 20)]))
	}
	switch {
	case kind == '$':
		w.body = int(n) + len("\r\n")
	case n == 0:
		w.ended()
	case len(w.lists) == maxDepth:
		return w.budget.Refuse("sends more than %d lists in each other", maxDepth)
	default:
		w.lists = append(w.lists, int(n))
	}
	return nil
}

// ended counts a value that is there in whole.
func (w *wire) ended() {
	for last := len(w.lists) - 1; last >= 0; last-- {
		if w.lists[last]--; w.lists[last] > 0 {
			return
		}
		w.lists = w.lists[:last]
	}
}
