package postgres

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
)

// A server lets in some hundred sessions, and they are the applications'. So an
// administrator has a few at once, whatever the number of databases: a session is
// bound to one, and is ended to make room for one in another. It is kept for a
// moment, because operations come in groups, and no longer, because it is in the way
// of DROP DATABASE and CREATE DATABASE … TEMPLATE, which wait five seconds.
const (
	idleFor = 2 * time.Second
	// turnFor is how long a call waits for a session; it has to do something then,
	// in what is left of [driver.DefaultTimeout].
	turnFor    = 20 * time.Second
	signInFor  = 10 * time.Second
	goodbyeFor = time.Second
)

// line is what administrators have open on one server, and who waits for a session,
// in order. The registrations of one address share it: each opens no session while
// there are as many as it may have.
//
// Nobody waits in it who has a session, so that there is no deadlock; and nobody
// overtakes but those who wait for the turn of another database.
type line struct {
	targets int // guarded by lines

	mu       sync.Mutex
	open     int // sessions of ours on the server
	ending   int // of them, those that say goodbye
	idle     []*kept
	waiting  []*turn
	changing map[string]bool // databases that somebody changes
}

// kept is a session that nobody uses.
type kept struct {
	t        *target
	database string
	conn     *pgx.Conn
	since    time.Time
	end      *time.Timer
}

// turn is a wait for a session in a database, and then the right to it.
type turn struct {
	t        *target
	database string
	// change says that it is to be the only one that changes the database. Others
	// would wait for the database's lock, with a session each.
	change bool
	ready  chan struct{}
	given  bool
	kept   *kept // nil: it signs in itself
}

var lines = struct {
	sync.Mutex
	at map[string]*line
}{at: map[string]*line{}}

func joinLine(address string) *line {
	lines.Lock()
	defer lines.Unlock()
	address = strings.ToLower(address)
	l := lines.at[address]
	if l == nil {
		l = &line{changing: map[string]bool{}}
		lines.at[address] = l
	}
	l.targets++
	return l
}

func (l *line) leave(address string) {
	lines.Lock()
	defer lines.Unlock()
	if l.targets--; l.targets == 0 {
		delete(lines.at, strings.ToLower(address))
	}
}

// acquire is an administrator's session in the named database, "" for the
// maintenance database, until release. A changing one is the only one of the
// database.
func (t *target) acquire(ctx context.Context, database string, change bool) (s *session, release func(), err error) {
	database = cmp.Or(database, t.settings.Database)
	w, err := t.line.wait(ctx, &turn{t: t, database: database, change: change, ready: make(chan struct{})})
	if err != nil {
		return nil, nil, err
	}
	var conn *pgx.Conn
	if k := w.kept; k != nil {
		// The server, or somebody there, may have ended it meanwhile.
		if conn = k.conn; time.Since(k.since) > idleFor/4 && conn.Ping(ctx) != nil {
			_ = conn.Close(ctx)
			conn = nil
		}
	}
	if conn == nil {
		if conn, err = t.signIn(ctx, database); err != nil {
			t.line.back(w, nil)
			return nil, nil, notEntered{err}
		}
	}
	end := pgconnect.BeginCall(ctx, conn)
	return &session{t: t, conn: conn}, func() { end(); t.line.back(w, conn) }, nil
}

// signIn opens a session. Whether it is the server that answers, or a pooler, which
// may give each transaction to another session, is seen in the first one: until
// then, and behind a pooler, no statement is kept for the next.
func (t *target) signIn(ctx context.Context, database string) (*pgx.Conn, error) {
	c, err := t.settings.Config(database, t.settings.Admin, t.settings.Dialer)
	if err != nil {
		return nil, err
	}
	keeps := link(t.link.Load()) == direct
	if keeps {
		c.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	}
	signing, cancel := context.WithTimeout(ctx, signInFor)
	defer cancel()
	conn, err := pgx.ConnectConfig(signing, c)
	if err != nil {
		return nil, t.signInError(ctx, database, err)
	}
	conn.PgConn().CustomData()[keepsKey] = keeps
	return conn, nil
}

const keepsKey = "patchbay.keeps-statements"

// link is what is between us and the server.
type link int32

const (
	unknown link = iota
	direct
	pooler
)

// seen notes whose process a transaction ran in: a pooler answers a sign-in with an
// id of its own.
func (t *target) seen(conn *pgx.Conn, pid uint32) {
	found := direct
	if conn.PgConn().PID() != pid {
		found = pooler
	}
	t.link.Store(int32(found))
}

// wait waits for the turn of w.
func (l *line) wait(ctx context.Context, w *turn) (*turn, error) {
	l.mu.Lock()
	l.waiting = append(l.waiting, w)
	l.admit()
	l.mu.Unlock()
	timer := time.NewTimer(turnFor)
	defer timer.Stop()
	select {
	case <-w.ready:
		return w, nil
	case <-ctx.Done():
	case <-timer.C:
	}
	l.mu.Lock()
	if w.given && ctx.Err() == nil { // in the same moment
		l.mu.Unlock()
		return w, nil
	}
	busy := w.change && l.changing[w.database]
	if !w.given {
		l.waiting = slices.DeleteFunc(l.waiting, func(other *turn) bool { return other == w })
		l.admit()
	}
	l.mu.Unlock()
	if w.given {
		l.back(w, nil)
	}
	at := w.t.settings.Address()
	if err := w.t.settings.Lost(ctx, ctx.Err()); err != nil {
		return nil, err
	}
	if busy {
		return nil, patchbay.Errorf(patchbay.Timeout, "others have been changing the logins of the database %s on %s for %s", driver.Quoted(w.database), at, turnFor).
			WithFix("ask again when they have ended: patchbay operation list").AsTransient()
	}
	return nil, patchbay.Errorf(patchbay.Timeout, "all %d sessions that may be opened on %s have been in use for %s", w.t.settings.Sessions, at, turnFor).
		WithFix("ask again when what uses them has ended; or, if its max_connections has room, register the server with more: --max-sessions").AsTransient()
}

// admit gives to those in front what there is. l.mu is held.
func (l *line) admit() {
	for i := 0; i < len(l.waiting); {
		w := l.waiting[i]
		if w.change && l.changing[w.database] {
			i++
			continue
		}
		most := w.t.settings.Sessions
		at := slices.IndexFunc(l.idle, func(k *kept) bool { return k.t == w.t && k.database == w.database })
		switch {
		case at >= 0:
			w.kept = l.idle[at]
			w.kept.end.Stop()
			l.idle = slices.Delete(l.idle, at, at+1)
		case l.open < most:
			l.open++
		default:
			for n := l.open - l.ending - (most - 1); n > 0 && len(l.idle) > 0; n-- {
				k := l.idle[0]
				l.idle = l.idle[1:]
				k.end.Stop()
				l.goodbye(k.conn)
			}
			return
		}
		l.waiting = slices.Delete(l.waiting, i, i+1)
		if w.change {
			l.changing[w.database] = true
		}
		w.given = true
		close(w.ready)
	}
}

// back ends a turn. conn is nil when there is no session of it that could serve
// another.
func (l *line) back(w *turn, conn *pgx.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.change {
		delete(l.changing, w.database)
	}
	if conn == nil && w.kept != nil && !w.kept.conn.IsClosed() {
		conn = w.kept.conn
	}
	switch {
	case conn == nil:
		l.open--
	case conn.IsClosed(), conn.PgConn().TxStatus() != 'I', w.t.closed.Load(), w.t.outgrown(conn):
		l.goodbye(conn)
	default:
		k := &kept{t: w.t, database: w.database, conn: conn, since: time.Now()}
		k.end = time.AfterFunc(idleFor, func() { l.end(func(other *kept) bool { return other == k }) })
		l.idle = append(l.idle, k)
	}
	l.admit()
}

// outgrown reports that the session keeps no statements, and could.
func (t *target) outgrown(conn *pgx.Conn) bool {
	return link(t.link.Load()) == direct && conn.PgConn().CustomData()[keepsKey] != true
}

// end ends idle sessions.
func (l *line) end(which func(*kept) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = slices.DeleteFunc(l.idle, func(k *kept) bool {
		if which(k) {
			k.end.Stop()
			l.goodbye(k.conn)
			return true
		}
		return false
	})
}

// goodbye ends a session, which counts until the server has ended it too. l.mu is
// held.
func (l *line) goodbye(conn *pgx.Conn) {
	l.ending++
	go func() {
		farewell(conn)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		l.ending--
		l.admit()
	}()
}

// farewell returns when the server has closed its end too: then the session is none
// any more.
func farewell(conn *pgx.Conn) {
	if conn.IsClosed() { // in the midst of something: the library tells the server
		select {
		case <-conn.PgConn().CleanupDone():
		case <-time.After(goodbyeFor):
		}
		return
	}
	h, err := conn.PgConn().Hijack()
	if err != nil {
		_ = conn.Close(context.Background())
		return
	}
	defer func() { _ = h.Conn.Close() }()
	_ = h.Conn.SetDeadline(time.Now().Add(goodbyeFor))
	h.Frontend.Send(&pgproto3.Terminate{})
	if h.Frontend.Flush() == nil {
		_, _ = io.Copy(io.Discard, h.Conn)
	}
}

// Close ends the sessions, and returns when they have ended. None is in use.
func (t *target) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	l := t.line
	l.mu.Lock()
	var ours []*kept
	l.idle = slices.DeleteFunc(l.idle, func(k *kept) bool {
		if k.t == t {
			k.end.Stop()
			ours = append(ours, k)
		}
		return k.t == t
	})
	l.ending += len(ours)
	l.mu.Unlock()
	var all sync.WaitGroup
	for _, k := range ours {
		all.Go(func() { farewell(k.conn) })
	}
	all.Wait()
	l.mu.Lock()
	l.open -= len(ours)
	l.ending -= len(ours)
	l.admit()
	l.mu.Unlock()
	l.leave(t.settings.Address())
	return nil
}

// notEntered is an error of signing in to a database: nothing has happened there.
type notEntered struct{ error }

func (e notEntered) Unwrap() error { return e.error }
