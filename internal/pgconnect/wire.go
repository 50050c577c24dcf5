package pgconnect

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"patchbay.dev/patchbay/driver"
)

// Bounds on what a server may send, beside [driver.CallBytes]. The client
// library makes room for a message as soon as its length is announced, and keeps
// some of what it was told for as long as the session lasts.
const (
	maxRow     = 16 << 20 // bytes of a row
	maxNotice  = 1 << 20  // of an error or a notice
	maxMessage = 64 << 10 // of everything else
	maxStatus  = 8 << 10  // of a parameter's value, which is kept
	// maxMessages is for one call: a row of a few bytes is a hundred of memory.
	maxMessages = 250_000
	// maxParameters are how many parameters of its own a server may report;
	// PostgreSQL has some fifteen.
	maxParameters = 100
	// maxSignIn bounds what is asked and answered until a session is there.
	maxSignIn = 8
	// maxIterations bounds the work that a server has us do for SCRAM: this many
	// are a third of a second, that nothing interrupts. The default is 4,096. More
	// than fewIterations are made for a few at once.
	maxIterations = 1_000_000
	fewIterations = 20_000
)

// wire is what one session receives, with bounds on it. It stands between TLS
// and the client library.
type wire struct {
	budget *driver.Budget
	gate   gate
	from   io.Reader
	// head is as much of a message's type and length as has come, body what is
	// read of those messages that are looked into, left what is still to come.
	head []byte
	body []byte
	left int

	messages   int
	signIn     int
	way        Auth // that the server asked for; "" when it did not ask
	parameters map[string]bool
}

// watch puts bounds on the sessions that are opened with c; it is for one
// session alone.
func watch(c *pgx.ConnConfig, g gate, d driver.Dialer) {
	w := &wire{budget: driver.NewBudget(g.address, driver.CallBytes), gate: g}
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		w.budget.Renew(ctx) // the sign-in is a call too
		return w.budget.Conn(conn), nil
	}
	c.BuildFrontend = func(r io.Reader, out io.Writer) *pgproto3.Frontend {
		w.from, w.head, w.body, w.left, w.signIn, w.way, w.parameters = r, nil, nil, 0, 0, "", map[string]bool{}
		return pgproto3.NewFrontend(w, outlet{out, g})
	}
	c.AfterConnect = func(_ context.Context, conn *pgconn.PgConn) error {
		conn.CustomData()[wireKey] = w
		return nil
	}
	// The library would keep every notification until somebody asks for it.
	c.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {}
}

const wireKey = "patchbay.wire"

// BeginCall begins a call on a session; what ends it is to be called before the session
// goes to the next.
func BeginCall(ctx context.Context, c *pgx.Conn) (end func()) {
	w, ok := c.PgConn().CustomData()[wireKey].(*wire)
	if !ok {
		return func() {}
	}
	w.budget.Renew(ctx)
	w.messages = 0
	return w.budget.End
}

// Asked is how the server asked for the password of a session; "" when it asked for none,
// and any would have done.
func Asked(c *pgx.Conn) Auth {
	if w, ok := c.PgConn().CustomData()[wireKey].(*wire); ok {
		return w.way
	}
	return ""
}

// Misbehaved is what the server did in the session that no bound allows.
func Misbehaved(c *pgx.Conn) error {
	if w, ok := c.PgConn().CustomData()[wireKey].(*wire); ok && w.budget.Fault() != nil {
		return w.budget.Fault()
	}
	return nil
}

// Read implements [io.Reader]. Nothing of what has a refused message in it is
// handed on.
func (w *wire) Read(p []byte) (int, error) {
	if err := w.budget.Fault(); err != nil {
		return 0, err
	}
	n, err := w.from.Read(p)
	if fault := w.look(p[:n]); fault != nil {
		return 0, fault
	}
	return n, err
}

// look follows the messages in what came.
func (w *wire) look(b []byte) error {
	const headLength = 5 // a type and a length
	for len(b) > 0 {
		if w.left == 0 {
			n := min(headLength-len(w.head), len(b))
			w.head, b = append(w.head, b[:n]...), b[n:]
			if len(w.head) < headLength {
				return nil
			}
			if err := w.begin(w.head[0], int(int32(binary.BigEndian.Uint32(w.head[1:])))-4); err != nil {
				return err
			}
		}
		n := min(w.left, len(b))
		if looksInto(w.head[0]) {
			w.body = append(w.body, b[:n]...)
		}
		if w.left, b = w.left-n, b[n:]; w.left > 0 {
			return nil
		}
		if err := w.check(w.head[0], w.body); err != nil {
			return err
		}
		w.head, w.body = w.head[:0], w.body[:0]
	}
	return nil
}

// begin judges a message by what it announces.
func (w *wire) begin(kind byte, length int) error {
	most := maxMessage
	switch kind {
	case 'D':
		most = maxRow
	case 'E', 'N':
		most = maxNotice
	case 'S':
		most = maxStatus
	}
	if length < 0 || length > most {
		return w.budget.Refuse("announces a message %q of %d bytes", kind, length)
	}
	if w.messages++; w.messages > maxMessages {
		return w.budget.Refuse("sent more than %d messages for one question", maxMessages)
	}
	w.left = length
	return nil
}

// looksInto says which messages are read: sign-in and parameters.
func looksInto(kind byte) bool { return kind == 'R' || kind == 'S' }

func (w *wire) check(kind byte, body []byte) error {
	switch kind {
	case 'S':
		name, _, _ := bytes.Cut(body, []byte{0})
		if w.parameters[string(name)] = true; len(w.parameters) > maxParameters {
			return w.budget.Refuse("reports more than %d parameters", maxParameters)
		}
	case 'R':
		if w.signIn++; w.signIn > maxSignIn {
			return w.budget.Refuse("does not come to an end with the sign-in")
		}
		if len(body) < 4 || binary.BigEndian.Uint32(body) != pgproto3.AuthTypeSASLContinue {
			if way := wayOf(body); way != "" {
				w.way = way
			}
			return w.gate.asked(body)
		}
		// r=nonce,s=salt,i=iterations (RFC 5802, section 5.1)
		fields := bytes.SplitN(body[4:], []byte(","), 3)
		count, _ := bytes.CutPrefix(fields[len(fields)-1], []byte("i="))
		switch n, err := strconv.Atoi(string(count)); {
		case err == nil && n > maxIterations:
			return w.budget.Refuse("asks for %d rounds of SCRAM, and more than %d are not made", n, maxIterations)
		case err == nil && n > fewIterations:
			return w.budget.Large()
		case err == nil:
			return w.gate.rounds(n)
		}
	}
	return nil
}
