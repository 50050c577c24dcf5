package sqlserver

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// A session is kept for a moment, because operations come in groups.
const (
	idleFor    = 2 * time.Second
	turnFor    = 20 * time.Second // a call waits for a session
	lockFor    = 10_000           // milliseconds; a login's lock, and those of the catalogue
	goodbyeFor = time.Second
)

// session is a sign-in to one database. Nobody else uses it until it is given back.
type session struct {
	server   *server
	database string // that was asked for; "" is the login's own
	conn     sqldriver.Conn
	wire     *wire
	product  product
	since    time.Time
	broken   bool
}

// reach is what the client library dials with.
type reach struct {
	server *server
	dialer driver.Dialer
	budget *driver.Budget
	wire   *wire
	dials  int
	until  context.Context // signing in ends with it
	stop   func() bool
	failed error
}

// DialContext reaches the server, or where a gateway of Azure's has sent us: that is
// another name, which its certificate has to be for.
func (r *reach) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	if r.dials++; r.dials > maxDials {
		return nil, r.budget.Refuse("sends us elsewhere again and again")
	}
	if r.wire != nil {
		r.stop()
		_ = r.wire.Close()
	}
	w, err := dialWire(ctx, r.server, r.dialer, r.budget, address)
	if err != nil {
		r.failed = err
		return nil, err
	}
	r.wire, r.stop = w, w.until(r.until)
	return w, nil
}

// HostName has the library hand names to us: they are looked up where it is spoken from.
func (r *reach) HostName() string { return r.server.host }

// signIn opens a session as l, in that database; "" is the login's own.
func (s *server) signIn(ctx context.Context, d driver.Dialer, l driver.UserPassword, database, program string) (opened *session, err error) {
	c, err := msdsn.Parse("sqlserver://localhost")
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the client of SQL Server can't be set up")
	}
	c.Host, c.Port, c.Instance, c.Database, c.User, c.Password = s.host, uint64(s.port), "", database, l.Username, l.Password.Reveal()
	c.Protocols, c.DisableRetry, c.AppName, c.Workstation = []string{"tcp"}, true, program, "patchbay"
	c.Encryption, c.TLSConfig, c.LogFlags = msdsn.EncryptionDisabled, nil, 0 // the wire has its own
	c.DialTimeout, c.ConnTimeout, c.KeepAlive = -1, 0, 0                     // ctx bounds it
	r := &reach{server: s, dialer: d, budget: driver.NewBudget(s.address(), driver.CallBytes), until: ctx}
	r.budget.Renew(ctx)
	connector := mssql.NewConnectorConfig(c)
	connector.Dialer = r
	opened = &session{server: s, database: database}
	defer func() {
		// The library trusts what it is told in a few places.
		if met := recover(); met != nil {
			err = s.misbehaved()
		}
		if r.stop != nil && !r.stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			switch {
			case r.failed != nil:
				err = r.failed
			case r.wire != nil && r.wire.failed != nil:
				err = r.wire.failed
			}
			if r.wire != nil {
				_ = r.wire.Close()
			}
			opened = nil
		}
	}()
	if opened.conn, err = connector.Connect(ctx); err != nil {
		return opened, err
	}
	opened.wire = r.wire
	return opened, nil
}

func (s *server) misbehaved() error {
	return patchbay.Errorf(patchbay.TargetMisbehaved, "%s sends what is no answer of a SQL Server", s.address()).
		WithFix("see what listens on %s: it is not what it should be", s.address())
}

// table is what one statement gave, as text, with NULL as "".
type table [][]string

// ask runs one batch. In it are as many answers as statements that give rows; each has
// so many columns.
func (s *session) ask(ctx context.Context, batch string, columns ...int) (all []table, err error) {
	stop := s.wire.until(ctx)
	defer func() {
		if met := recover(); met != nil {
			err = s.server.misbehaved()
		}
		if !stop() || err != nil && numberOf(err) == 0 {
			s.broken = true
		}
		if err != nil && s.wire.failed != nil {
			err = s.wire.failed
		}
		if err == nil && ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	statement, err := s.conn.Prepare(batch) // says nothing to the server
	if err != nil {
		return nil, err
	}
	defer func() { _ = statement.Close() }()
	asker, ok := statement.(sqldriver.StmtQueryContext)
	if !ok {
		return nil, errors.New("the library can't ask")
	}
	found, err := asker.QueryContext(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closed := found.Close(); err == nil {
			err = closed
		}
	}()
	for more := true; more; {
		if width := len(found.Columns()); width > 0 {
			t, err := rowsOf(found, width)
			if err != nil {
				return all, err
			}
			if len(all) == len(columns) || width != columns[len(all)] {
				return all, s.server.misbehaved()
			}
			all = append(all, t)
		} else if err := found.Next(nil); err != nil && !errors.Is(err, io.EOF) {
			return all, err
		}
		next, ok := found.(sqldriver.RowsNextResultSet)
		if !ok {
			break
		}
		switch err := next.NextResultSet(); {
		case errors.Is(err, io.EOF):
			more = false
		case err != nil:
			return all, err
		}
	}
	if len(all) != len(columns) {
		return all, s.server.misbehaved()
	}
	return all, nil
}

func rowsOf(found sqldriver.Rows, width int) (table, error) {
	var all table
	values := make([]sqldriver.Value, width)
	for {
		err := found.Next(values)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		row := make([]string, width)
		for i, v := range values {
			switch v := v.(type) {
			case nil:
			case string:
				row[i] = v
			case []byte:
				row[i] = string(v)
			default:
				row[i] = fmt.Sprint(v)
			}
		}
		all = append(all, row)
	}
}

// exec runs a batch that gives nothing.
func (s *session) exec(ctx context.Context, batch string) error {
	_, err := s.ask(ctx, batch)
	return err
}

// prepare makes the session's settings our own, whatever the server's are, and asks what
// it is. What fails in a batch ends it, and undoes what it has begun.
func (s *session) prepare(ctx context.Context) error {
	all, err := s.ask(ctx, `set nocount on; set xact_abort on; set lock_timeout `+strconv.Itoa(lockFor)+`;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()`, 6, 4)
	if err != nil {
		return err
	}
	if len(all[0]) != 1 || len(all[1]) > 1 {
		return s.server.misbehaved()
	}
	r := all[0][0]
	p := product{version: r[0], login: r[2], user: r[3], database: r[4]}
	p.owner = r[5] == "1" || strings.EqualFold(p.user, "dbo") // as who a sysadmin comes in
	p.edition, _ = strconv.Atoi(r[1])
	major, _, _ := strings.Cut(p.version, ".")
	p.major, _ = strconv.Atoi(major)
	p.contained = p.azure()
	for _, d := range all[1] {
		p.readOnly, p.collation, p.grouped = strings.EqualFold(d[1], "READ_ONLY"), d[2], d[3] == "1"
		if d[0] == "1" && !p.contained {
			// Its users sign in only where the server lets them.
			on, err := s.ask(ctx, "select cast(c.value_in_use as int) from sys.configurations c where c.name = N'contained database authentication'", 1)
			if err != nil {
				return err
			}
			p.contained = len(on[0]) == 1 && on[0][0][0] == "1"
		}
	}
	s.product = p
	return p.unfit(s.server.address())
}

// product is what a server is, and the database of a session.
type product struct {
	version   string
	major     int
	edition   int    // in the server's numbers
	login     string // as who the session signed in
	user      string // who that is in the database
	database  string // in the server's spelling
	owner     bool   // the user is a db_owner
	contained bool   // users of the database sign in to it
	readOnly  bool
	grouped   bool // of an availability group
	collation string
}

// The editions of the engine that are other products.
// https://learn.microsoft.com/sql/t-sql/functions/serverproperty-transact-sql
const (
	editionAzure      = 5
	editionSynapse    = 6
	editionServerless = 11
	editionFabric     = 12
)

// azure reports whether the server is one of Azure SQL Database, where there is nothing
// of the server's to ask and to change from within a database.
func (p product) azure() bool { return p.edition == editionAzure }

// unfit is why a server can't be administered, nil when it can.
func (p product) unfit(address string) error {
	if slices.Contains([]int{editionSynapse, editionServerless, editionFabric}, p.edition) {
		return patchbay.Errorf(patchbay.NotSupported, "%s is Azure Synapse or Fabric, whose users and rights are made by other statements", address).
			WithFix("register it as external, for logins that you make yourself")
	}
	if !p.azure() && p.major < 13 {
		return patchbay.Errorf(patchbay.NotSupported, "%s is SQL Server %s, and 2016 (13) is needed", address, driver.Quoted(p.version)).
			WithFix("upgrade it; or register it as external, for logins that you make yourself")
	}
	return nil
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

// acquire is a session of the administrator in that database, until release.
func (t *target) acquire(ctx context.Context, database string) (s *session, release func(), err error) {
	timer := time.NewTimer(turnFor)
	defer timer.Stop()
	select {
	case t.pool.places <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, t.adminError(ctx, ctx.Err())
	case <-timer.C:
		return nil, nil, patchbay.Errorf(patchbay.Timeout, "all %d sessions that may be opened on %s have been in use for %s", t.server.sessions, t.server.address(), turnFor).
			WithFix("ask again when what uses them has ended; or register the server with more: --max-sessions").AsTransient()
	}
	if s, err = t.session(ctx, database); err != nil {
		<-t.pool.places
		return nil, nil, err
	}
	return s, func() {
		s.wire.budget.End()
		t.back(s)
		<-t.pool.places
	}, nil
}

// session is one that is idle, or a new one. Its error is as it came.
func (t *target) session(ctx context.Context, database string) (*session, error) {
	for {
		t.pool.mu.Lock()
		var s *session
		if i := slices.IndexFunc(t.pool.idle, func(s *session) bool { return s.database == database }); i >= 0 {
			s = t.pool.idle[i]
			t.pool.idle = slices.Delete(t.pool.idle, i, i+1)
		}
		t.pool.mu.Unlock()
		if s == nil {
			break
		}
		s.wire.budget.Renew(ctx)
		// The server, or somebody there, may have ended it meanwhile; and what the
		// administrator may do is asked anew.
		if err := s.prepare(ctx); err == nil {
			return s, nil
		}
		s.close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	s, err := t.server.signIn(ctx, t.server.dialer, t.server.admin, database, "patchbay")
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// back keeps a session for the next call, for a moment.
func (t *target) back(s *session) {
	t.pool.mu.Lock()
	if s.broken || t.pool.closed || len(t.pool.idle) >= t.server.sessions {
		t.pool.mu.Unlock()
		s.close()
		return
	}
	s.since = time.Now()
	t.pool.idle = append(t.pool.idle, s)
	t.pool.mu.Unlock()
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

// locked runs f while the session holds the login's lock: one changes it at a time,
// whichever Patchbay. Only a db_owner can hold it, so that no application is in the way.
func (s *session) locked(ctx context.Context, name string, f func() error) error {
	lock := "@Resource = " + literal("patchbay/"+name) + ", @LockOwner = N'Session', @DbPrincipal = N'db_owner'"
	got, err := s.ask(ctx, "declare @got int; exec @got = sys.sp_getapplock "+lock+", @LockMode = N'Exclusive', @LockTimeout = "+strconv.Itoa(lockFor)+"; select @got", 1)
	if err != nil {
		return err
	}
	if len(got[0]) != 1 {
		return s.server.misbehaved()
	}
	switch number := got[0][0][0]; {
	case number == "-999": // only a db_owner can have it
		if err := s.checkAdmin(ctx); err != nil {
			return err
		}
		return patchbay.Errorf(patchbay.Conflict, "%s does not give the lock of the login %s", s.server.address(), name).AsTransient()
	case strings.HasPrefix(number, "-"):
		return patchbay.Errorf(patchbay.Timeout, "others have been changing the login %s on %s for %d seconds", name, s.server.address(), lockFor/1000).
			WithFix("ask again when they have ended: patchbay operation list; who holds the lock is in sys.dm_tran_locks, resource_type APPLICATION").AsTransient()
	}
	defer func() {
		// Whoever lost the session lost the lock with it.
		if s.broken || ctx.Err() != nil {
			s.broken = true
			return
		}
		if err := s.exec(ctx, "exec sys.sp_releaseapplock "+lock); err != nil {
			s.broken = true
		}
	}()
	return f()
}
