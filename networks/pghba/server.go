package pghba

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
)

// admin is a session of the target's administrator.
type admin struct {
	server *pgconnect.Server
	conn   *pgx.Conn
	end    func()
}

// signInFor bounds a sign-in, settleFor what the server is waited for: to read its
// rules, to end a session.
const (
	signInFor = 10 * time.Second
	settleFor = 5 * time.Second
)

func signIn(ctx context.Context, s *pgconnect.Server) (*admin, error) {
	c, err := s.Config(s.Database, s.Admin, s.Dialer)
	if err != nil {
		return nil, err
	}
	signing, cancel := context.WithTimeout(ctx, signInFor)
	defer cancel()
	conn, err := pgx.ConnectConfig(signing, c)
	if err != nil {
		return nil, (&admin{server: s}).failed(ctx, err)
	}
	return &admin{server: s, conn: conn, end: pgconnect.BeginCall(ctx, conn)}, nil
}

func (a *admin) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = a.conn.Close(ctx)
	a.end()
}

// failed says what err means.
func (a *admin) failed(ctx context.Context, err error) error {
	if a.conn != nil {
		if e := pgconnect.Misbehaved(a.conn); e != nil {
			return e
		}
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		return e
	}
	if e := a.server.Lost(ctx, err); e != nil {
		return e
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return a.server.Unreachable(err)
	}
	at, name, text := a.server.Address(), a.server.Admin.Username, driver.SQLState(pg.Code)
	e := a.server.Refusal(pg, text)
	switch pg.Code {
	case "28P01", "28000":
		e = patchbay.Errorf(patchbay.AdminRefused, "%s does not let the administrator %q in: %s", at, name, text).
			WithFix("%s", pgconnect.HBAFix(pg, name, "register the server again with an admin credential that signs in"))
	case "3D000":
		e = patchbay.Errorf(patchbay.ChildMissing, "there is no database %s on %s", driver.Quoted(a.server.Database), at)
	case "42501":
		e = patchbay.Errorf(patchbay.Forbidden, "the administrator %q may not do what is needed on %s: %s", name, at, text).
			WithFix("GRANT pg_signal_backend, pg_read_all_stats TO %s; sessions of a superuser only a superuser ends", ident(name))
	}
	return e.WithSaid(pg.Message)
}

func ident(name string) string { return pgx.Identifier{name}.Sanitize() }

// ask runs queries in a transaction of their own, in which no name means what somebody
// else has set.
func (a *admin) ask(ctx context.Context, queries *pgx.Batch) error {
	b := &pgx.Batch{}
	b.Queue("begin isolation level read committed read only")
	b.Queue("set local search_path = ''")
	b.Queue("set local statement_timeout = '20s'")
	b.QueuedQueries = append(b.QueuedQueries, queries.QueuedQueries...)
	b.Queue("commit")
	if err := a.conn.SendBatch(ctx, b).Close(); err != nil {
		return a.failed(ctx, err)
	}
	return nil
}

// abilities are what the server says of itself and of its administrator.
type abilities struct {
	version int
	path    string // of its pg_hba.conf
	ssl     bool
	cuts    bool // the administrator sees and ends the sessions of others
}

// A right is asked for by the server's own functions. Those of a function and a view
// hold in one database.
const abilityQuery = `select pg_catalog.current_setting('server_version_num')::int / 10000, pg_catalog.current_setting('ssl') = 'on',
	pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE'),
	pg_catalog.has_table_privilege('pg_catalog.pg_hba_file_rules', 'SELECT') and pg_catalog.has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE'),
	pg_catalog.has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE'),
	pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') and pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')`

// able finds out what there is to work with: Forbidden, and the grants that lack.
func (a *admin) able(ctx context.Context) (abilities, error) {
	var able abilities
	var settings, rules, reload bool
	b := &pgx.Batch{}
	b.Queue(abilityQuery).QueryRow(func(row pgx.Row) error {
		return row.Scan(&able.version, &able.ssl, &settings, &rules, &reload, &able.cuts)
	})
	if err := a.ask(ctx, b); err != nil {
		return able, err
	}
	name := ident(a.server.Admin.Username)
	var lacks, grants []string
	if !settings {
		lacks, grants = append(lacks, "see where pg_hba.conf is"), append(grants, "GRANT pg_read_all_settings TO "+name)
	}
	if !rules {
		lacks, grants = append(lacks, "read pg_hba_file_rules"), append(grants, "GRANT SELECT ON pg_hba_file_rules TO "+name, "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO "+name)
	}
	if !reload {
		lacks, grants = append(lacks, "call pg_reload_conf"), append(grants, "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO "+name)
	}
	if len(lacks) > 0 {
		return able, patchbay.Errorf(patchbay.Forbidden, "the administrator %q of %s may not %s", a.server.Admin.Username, a.server.Address(), strings.Join(lacks, ", nor ")).
			WithFix("as a superuser, in the database %s: %s", driver.Quoted(a.server.Database), strings.Join(grants, "; "))
	}
	b = &pgx.Batch{}
	b.Queue("select pg_catalog.current_setting('hba_file')").QueryRow(func(row pgx.Row) error { return row.Scan(&able.path) })
	return able, a.ask(ctx, b)
}

// The server reads its files for each such query: what it answers is what is in
// them, not what it goes by. Lines come in the order in which they are tried.
const (
	entryQuery   = `select %s, line_number, coalesce(type, ''), coalesce(database, '{}'), coalesce(user_name, '{}'), coalesce(address, ''), coalesce(netmask, ''), coalesce(auth_method, ''), coalesce(error, '') from pg_catalog.pg_hba_file_rules`
	groupQuery   = `select coalesce(pg_catalog.array_agg(g.rolname::text), '{}') from pg_catalog.pg_roles l join pg_catalog.pg_roles g on pg_catalog.pg_has_role(l.oid, g.oid, 'MEMBER') where l.rolname = $1`
	fileColumn   = "coalesce(file_name, '')"
	noFileColumn = "''::text"
)

// rules are the entries as the files have them now, and the roles that login is a
// member of.
func (a *admin) rules(ctx context.Context, able abilities, login string) (entries []entry, groups []string, err error) {
	column := noFileColumn
	if able.version >= includes {
		column = fileColumn
	}
	b := &pgx.Batch{}
	b.Queue(strings.Replace(entryQuery, "%s", column, 1)).Query(func(rows pgx.Rows) error {
		defer rows.Close()
		for rows.Next() {
			var e entry
			var address, mask string
			var number *int
			if err := rows.Scan(&e.file, &number, &e.kind, &e.databases, &e.users, &address, &mask, &e.method, &e.broken); err != nil {
				return err
			}
			if number != nil {
				e.number = *number
			}
			if e.from = prefix(address, mask); !e.from.IsValid() {
				e.address = address
			}
			if e.file == "" {
				e.file = able.path
			}
			entries = append(entries, e)
		}
		return rows.Err()
	})
	b.Queue(groupQuery, login).QueryRow(func(row pgx.Row) error { return row.Scan(&groups) })
	err = a.ask(ctx, b)
	if patchbay.CodeOf(err) == patchbay.Forbidden { // the administrator may: able has asked
		said := patchbay.AsError(err).Said
		err = patchbay.Errorf(patchbay.Forbidden, "the server itself may not read %s", able.path).
			WithFix("give it back to the user that the server runs as: ls -l %s", shell(able.path)).WithSaid(said)
	}
	return entries, groups, err
}

// prefix is an address and its mask; invalid when it is said otherwise.
func prefix(address, mask string) netip.Prefix {
	a, err1 := netip.ParseAddr(address)
	m, err2 := netip.ParseAddr(mask)
	if err1 != nil || err2 != nil || a.Is4() != m.Is4() {
		return netip.Prefix{}
	}
	bits := 0
	for _, b := range m.AsSlice() {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
		if b != 0 {
			return netip.Prefix{} // no network: the bits have gaps
		}
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// reload makes the server go by its files, and returns when it does. It tells its
// sessions to read their configuration before it reads the rules itself, and takes
// nobody in meanwhile: so a session that was told proves that it has begun, and one that
// begins after that, that it is done. The first is a new one too: one that was there may
// be told late of a reload before.
func reload(ctx context.Context, s *pgconnect.Server) error {
	if err := reloading(ctx, s); err != nil {
		return err
	}
	a, err := signIn(ctx, s)
	if err != nil {
		return err
	}
	a.close()
	return nil
}

func reloading(ctx context.Context, s *pgconnect.Server) error {
	a, err := signIn(ctx, s)
	if err != nil {
		return err
	}
	defer a.close()
	var asked time.Time
	var sent bool
	if err := a.conn.QueryRow(ctx, "select pg_catalog.clock_timestamp(), pg_catalog.pg_reload_conf()").Scan(&asked, &sent); err != nil {
		return a.failed(ctx, err)
	}
	const fix = "its postgresql.conf may have an error, and then the time of a reload is not known: SELECT sourcefile, sourceline, error FROM pg_file_settings WHERE error IS NOT NULL; else look at the server's log"
	return a.until(ctx, "has not read its configuration", fix, func() (done bool, err error) {
		err = a.conn.QueryRow(ctx, "select pg_catalog.pg_conf_load_time() operator(pg_catalog.>) $1", asked).Scan(&done)
		return done, err
	})
}

// until asks again and again, as long as a server may take.
func (a *admin) until(ctx context.Context, what, fix string, done func() (bool, error)) error {
	limit := time.NewTimer(settleFor)
	defer limit.Stop()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		ok, err := done()
		if err != nil {
			return a.failed(ctx, err)
		}
		if ok {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-limit.C:
			timer.Stop()
			return patchbay.Errorf(patchbay.Timeout, "%s %s within %s", a.server.Address(), what, settleFor).
				WithFix("%s", fix).AsTransient()
		case <-ctx.Done():
			timer.Stop()
			return a.failed(ctx, ctx.Err())
		}
	}
}

const cutQuery = `select pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) operator(pg_catalog.=) 0 from pg_catalog.pg_stat_activity
where usename operator(pg_catalog.=) $1 and datname operator(pg_catalog.=) $2 and backend_type operator(pg_catalog.=) 'client backend'
	and client_addr operator(pg_catalog.<<=) any($3::text[]::pg_catalog.inet[]) and not client_addr operator(pg_catalog.<<=) any($4::text[]::pg_catalog.inet[])`

// cut ends the sessions that only closing let in, and returns when they have ended.
func (a *admin) cut(ctx context.Context, closing mark, rest document) error {
	stay := []string{}
	for _, r := range rest {
		if r.Login == closing.Login && r.Database == closing.Database {
			for _, l := range r.lines {
				stay = append(stay, l.from.String())
			}
		}
	}
	away := []string{}
	for _, from := range closing.Closing {
		away = append(away, from.String())
	}
	return a.until(ctx, "has not ended the sessions of "+driver.Quoted(closing.Login), "see what they wait for: SELECT pid, state, wait_event FROM pg_stat_activity", func() (done bool, err error) {
		err = a.conn.QueryRow(ctx, cutQuery, closing.Login, closing.Database, away, stay).Scan(&done)
		return done, err
	})
}

// turns lets one change at a time sign in to a server: its sessions are the
// applications'.
var turns = struct {
	sync.Mutex
	at map[string]chan struct{}
}{at: map[string]chan struct{}{}}

// turn waits until nobody else of this process changes the rules of that server.
func turn(ctx context.Context, s *pgconnect.Server) (done func(), err error) {
	turns.Lock()
	at := strings.ToLower(s.Address())
	one := turns.at[at]
	if one == nil {
		one = make(chan struct{}, 1)
		turns.at[at] = one
	}
	turns.Unlock()
	select {
	case one <- struct{}{}:
		return func() { <-one }, nil
	case <-ctx.Done():
		return nil, s.Lost(ctx, ctx.Err())
	}
}

// equal reports whether the server reads a line as it was meant.
func (e entry) equal(other entry) bool {
	return e.kind == other.kind && slices.Equal(e.databases, other.databases) && slices.Equal(e.users, other.users) &&
		e.from == other.from && e.address == other.address && e.method == other.method
}
