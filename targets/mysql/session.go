package mysql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// A session is kept for a moment, because operations come in groups.
const (
	idleFor    = 2 * time.Second
	turnFor    = 20 * time.Second // a call waits for a session
	lockFor    = 10               // seconds; a login's lock, and a table's
	goodbyeFor = time.Second
)

// session is a sign-in. Nobody else uses it until it is given back.
type session struct {
	server  *server
	conn    sqldriver.Conn
	wire    *wire
	product product
	since   time.Time
	broken  bool
}

// quiet is for a library that would write to standard error.
type quiet struct{}

func (quiet) Print(...any) {}

// signIn opens a session as l, in that database; "" is none.
func (s *server) signIn(ctx context.Context, d driver.Dialer, l driver.UserPassword, database, program string) (opened *session, err error) {
	opened = &session{server: s}
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName, c.Net, c.Addr = l.Username, l.Password.Reveal(), database, "tcp", s.address()
	c.Collation, c.ConnectionAttributes = "utf8mb4_general_ci", "program_name:"+program
	c.AllowNativePasswords, c.AllowCleartextPasswords, c.AllowOldPasswords = true, false, false
	c.MultiStatements, c.Logger = true, quiet{}
	c.DialFunc = func(ctx context.Context, _, _ string) (_ net.Conn, err error) {
		opened.wire, err = dialWire(ctx, s, d, l)
		if err != nil {
			return nil, err
		}
		return opened.wire, nil
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, invalid("the login can't be one of MySQL")
	}
	defer func() {
		// The library trusts what it is told in a few places.
		if met := recover(); met != nil {
			err = opened.misbehaved()
		}
		if err != nil {
			if opened.wire != nil {
				_ = opened.wire.Close()
				if opened.wire.failed != nil {
					err = opened.wire.failed
				}
			}
			opened = nil
		}
	}()
	if opened.conn, err = connector.Connect(ctx); err != nil {
		return opened, err
	}
	return opened, nil
}

func (s *session) misbehaved() error {
	return patchbay.Errorf(patchbay.TargetMisbehaved, "%s sends what is no answer of a MySQL server", s.server.address()).
		WithFix("see what listens on %s: it is not what it should be", s.server.address())
}

// answer is what a statement gave, as text, with NULL as "".
type answer struct {
	columns []string // in lower case
	rows    [][]string
}

// of are the rows in which that column is exactly so, each by its columns: trailing
// spaces don't count where the server compares.
func (a answer) of(column, value string) []map[string]string {
	var all []map[string]string
	for _, row := range a.rows {
		m := map[string]string{}
		for i, c := range a.columns {
			m[c] = row[i]
		}
		if m[strings.ToLower(column)] == value {
			all = append(all, m)
		}
	}
	return all
}

// ask runs statements in one round trip. Along with an error come the answers to those
// before the one that failed.
func (s *session) ask(ctx context.Context, statements ...string) (all []answer, err error) {
	defer func() {
		if met := recover(); met != nil {
			err = s.misbehaved()
		}
		var said *mysql.MySQLError
		if err != nil && !errors.As(err, &said) {
			s.broken = true
			if s.wire.failed != nil {
				err = s.wire.failed
			}
		}
	}()
	asker, ok := s.conn.(sqldriver.QueryerContext)
	if !ok {
		return nil, errors.New("the library can't ask")
	}
	found, err := asker.QueryContext(ctx, strings.Join(statements, "; "), nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	for {
		var a answer
		for _, c := range found.Columns() {
			a.columns = append(a.columns, strings.ToLower(c))
		}
		values := make([]sqldriver.Value, len(a.columns))
		for {
			err := found.Next(values)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return all, err
			}
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = text(v)
			}
			a.rows = append(a.rows, row)
		}
		all = append(all, a)
		more, ok := found.(sqldriver.RowsNextResultSet)
		if !ok || len(all) == len(statements) {
			return all, nil
		}
		switch err := more.NextResultSet(); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return all, err
		}
	}
}

// query runs one statement.
func (s *session) query(ctx context.Context, statement string) ([][]string, error) {
	all, err := s.ask(ctx, statement)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0].rows, nil
}

func text(v sqldriver.Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	case string:
		return v
	}
	return fmt.Sprint(v)
}

// exec runs one statement. Where there are args, it is a format.
func (s *session) exec(ctx context.Context, statement string, args ...any) error {
	if len(args) > 0 {
		statement = fmt.Sprintf(statement, args...)
	}
	_, err := s.ask(ctx, statement)
	return err
}

// one is the only value of the only row, "" where there is none.
func (s *session) one(ctx context.Context, statement string) (string, error) {
	rows, err := s.query(ctx, statement)
	if err != nil || len(rows) == 0 || len(rows[0]) == 0 {
		return "", err
	}
	return rows[0][0], nil
}

// prepare makes the session's settings our own, whatever the server's are.
func (s *session) prepare(ctx context.Context) error {
	rows, err := s.query(ctx, "select @@version, @@version_comment, @@lower_case_table_names, @@global.read_only, user(), current_user()")
	if err != nil {
		return err
	}
	if len(rows) != 1 || len(rows[0]) != 6 {
		return s.misbehaved()
	}
	r := rows[0]
	s.product = parseProduct(r[0])
	s.product.foldsNames, s.product.readOnly = r[2] != "0", r[3] != "0"
	s.product.seenAs, s.product.admin = r[4], r[5]
	mode := "NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES"
	if s.product.mariadb {
		mode += ",NO_AUTO_CREATE_USER" // GRANT makes no account
	}
	return s.exec(ctx, "set session sql_mode = '%s', lock_wait_timeout = %d, innodb_lock_wait_timeout = %d, sql_select_limit = default, autocommit = 1", mode, lockFor, lockFor)
}

// close says goodbye.
func (s *session) close() {
	_ = s.wire.SetDeadline(time.Now().Add(goodbyeFor))
	_ = s.conn.Close()
}

// pool is an administrator's sessions.
type pool struct {
	places chan struct{}
	mu     sync.Mutex
	idle   []*session
	closed bool
}

// acquire is a session of the administrator until release.
func (t *target) acquire(ctx context.Context) (s *session, release func(), err error) {
	timer := time.NewTimer(turnFor)
	defer timer.Stop()
	select {
	case t.pool.places <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, t.adminError(ctx, "", ctx.Err())
	case <-timer.C:
		return nil, nil, patchbay.Errorf(patchbay.Timeout, "all %d sessions that may be opened on %s have been in use for %s", t.server.sessions, t.server.address(), turnFor).
			WithFix("ask again when what uses them has ended; or, if its max_connections has room, register the server with more: --max-sessions").AsTransient()
	}
	if s, err = t.session(ctx); err != nil {
		<-t.pool.places
		return nil, nil, t.adminError(ctx, "", err)
	}
	end := s.wire.begin(ctx)
	return s, func() {
		end()
		t.back(s)
		<-t.pool.places
	}, nil
}

// session is one that is idle, or a new one.
func (t *target) session(ctx context.Context) (*session, error) {
	t.pool.mu.Lock()
	var s *session
	if n := len(t.pool.idle); n > 0 {
		s = t.pool.idle[n-1]
		t.pool.idle = t.pool.idle[:n-1]
	}
	t.pool.mu.Unlock()
	if s != nil {
		// The server, or somebody there, may have ended it meanwhile.
		if p, ok := s.conn.(sqldriver.Pinger); ok && p.Ping(ctx) == nil {
			return s, nil
		}
		s.close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	s, err := t.server.signIn(ctx, t.server.dialer, t.server.admin, "", "patchbay")
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, err
	}
	if err := s.product.tooOld(t.server.address()); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// back keeps a session for the next call, for a moment.
func (t *target) back(s *session) {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if s.broken || t.pool.closed {
		s.close()
		return
	}
	s.since = time.Now()
	t.pool.idle = append(t.pool.idle, s)
	time.AfterFunc(idleFor, func() { t.expire(time.Now().Add(-idleFor)) })
}

// expire ends the sessions that have been idle since before then.
func (t *target) expire(then time.Time) {
	t.pool.mu.Lock()
	var old []*session
	kept := t.pool.idle[:0]
	for _, s := range t.pool.idle {
		if s.since.After(then) {
			kept = append(kept, s)
		} else {
			old = append(old, s)
		}
	}
	t.pool.idle = kept
	t.pool.mu.Unlock()
	for _, s := range old {
		s.close()
	}
}

// Close ends the sessions. None is in use.
func (t *target) Close() error {
	t.pool.mu.Lock()
	t.pool.closed = true
	t.pool.mu.Unlock()
	t.expire(time.Now())
	return nil
}

// change runs f in a session that holds the login's lock: one changes it at a time,
// whichever Patchbay.
func (t *target) change(ctx context.Context, r driver.LoginRequest, f func(*session) error) error {
	s, release, err := t.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	name := literal("patchbay/" + account(r.Name))
	got, err := s.one(ctx, "select get_lock("+name+", "+strconv.Itoa(lockFor)+")")
	switch {
	case err != nil:
		return t.adminError(ctx, "", err)
	case got != "1":
		return patchbay.Errorf(patchbay.Timeout, "others have been changing the login %s on %s for %d seconds", r.Name, t.server.address(), lockFor).
			WithFix("ask again when they have ended: patchbay operation list; who holds the lock is: SELECT IS_USED_LOCK(%s)", name).AsTransient()
	}
	defer func() {
		// Whoever lost the session lost the lock with it.
		if s.broken || ctx.Err() != nil {
			s.broken = true
			return
		}
		if _, err := s.one(ctx, "select release_lock("+name+")"); err != nil {
			s.broken = true
		}
	}()
	err = f(s)
	if mayNot(err) {
		// Which right it was is known to whoever has them looked through.
		if all, looked := s.lacks(ctx, r.Sub); looked == nil && len(all) > 0 {
			return s.lacking(all).WithSaid(err.Error())
		}
	}
	return t.adminError(ctx, "", err)
}

// product is what a server is.
type product struct {
	version      string
	mariadb      bool
	major, minor int
	patch        int
	foldsNames   bool // names of databases are in lower case
	readOnly     bool
	seenAs       string // whom the server takes us for: name@address
	admin        string // the account that let us in: name@host
}

func parseProduct(version string) product {
	p := product{version: version, mariadb: strings.Contains(strings.ToLower(version), "mariadb")}
	numbers := strings.TrimPrefix(version, "5.5.5-") // what MariaDB tells old replicas
	for i, into := range []*int{&p.major, &p.minor, &p.patch} {
		parts := strings.SplitN(numbers, ".", 3)
		if i < len(parts) {
			digits := parts[i]
			if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
				digits = digits[:end]
			}
			*into, _ = strconv.Atoi(digits)
		}
	}
	return p
}

func (p product) name() string {
	if p.mariadb {
		return "MariaDB"
	}
	return "MySQL"
}

func (p product) least(major, minor, patch int) bool {
	if p.major != major {
		return p.major > major
	}
	if p.minor != minor {
		return p.minor > minor
	}
	return p.patch >= patch
}

// tooOld is why a server can't be administered, nil when it can.
func (p product) tooOld(address string) error {
	needed := "8.0.21"
	if p.mariadb {
		needed = "10.5"
	}
	if p.mariadb && p.least(10, 5, 0) || !p.mariadb && p.least(8, 0, 21) {
		return nil
	}
	return patchbay.Errorf(patchbay.NotSupported, "%s is %s %s, and %s is needed: older ones can't lock an account, or keep a mark on it", address, p.name(), driver.Quoted(p.version), needed).
		WithFix("upgrade it to %s or later; or register it as external, for logins that you make yourself", needed)
}

// plugin is how the passwords of logins are kept.
func (s *session) plugin() string {
	switch {
	case s.server.plugin != "":
		return s.server.plugin
	case s.product.mariadb:
		return pluginNative
	}
	return pluginSHA2
}

// secret reports whether nobody listens to what is said in the session.
func (s *session) secret() bool { return s.wire.secured || s.server.local() }
