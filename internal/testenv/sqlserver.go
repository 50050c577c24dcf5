package testenv

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// SQLServerModel says what a [SQLServer] is.
const SQLServerModel = "a model after Microsoft's reference, not proven on the product"

// SQLServer is a model of SQL Server and of Azure SQL Database. It knows the statements
// that the driver sends, and some that applications do, one by one; what it does not know
// fails the test. What they mean, who may use them, and with which error they are refused
// is taken from Microsoft's reference, and nobody has seen it beside the product:
//
//	CREATE, ALTER, DROP LOGIN, USER, ROLE    learn.microsoft.com/sql/t-sql/statements/{create,alter,drop}-{login,user,role}-transact-sql
//	GRANT, REVOKE, what implies what         …/grant-database-permissions-transact-sql, …/grant-schema-permissions-transact-sql
//	ALTER AUTHORIZATION                      …/alter-authorization-transact-sql
//	EXECUTE AS, who can't be dropped         …/execute-as-clause-transact-sql
//	KILL                                     learn.microsoft.com/sql/t-sql/language-elements/kill-transact-sql
//	extended properties                      learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-addextendedproperty-transact-sql
//	sp_getapplock                            …/sp-getapplock-transact-sql
//	HAS_PERMS_BY_NAME, IS_ROLEMEMBER,
//	SERVERPROPERTY, LOGINPROPERTY            learn.microsoft.com/sql/t-sql/functions/…
//	the catalogue's columns                  learn.microsoft.com/sql/relational-databases/system-catalog-views/…
//	sys.dm_exec_sessions and _requests       …/system-dynamic-management-views/…
//	the errors' numbers                      …/errors-events/database-engine-events-and-errors
type SQLServer struct {
	Admin, Super, Password string
	CA                     []byte // PEM; nil without TLS

	t      testing.TB
	azure  bool
	tls    *tls.Config
	listen net.Listener
	lines  sync.WaitGroup

	mu        sync.Mutex
	changed   *sync.Cond // locks, and the end
	ended     bool
	databases map[string]*sqlDatabase // by name in lower case
	logins    map[string]*sqlLogin    // by name in lower case
	sessions  map[int]*sqlSession
	next      int
	said      []string // the batches of the administrator, and of logins of ours
	fail      func(batch string) (number int)
	elsewhere string // where a gateway sends on to, host:port
}

// SQLServerOptions are what a server may have.
type SQLServerOptions struct {
	TLS   bool
	Azure bool // SQL Database: no logins, all databases are contained
}

type sqlLogin struct {
	name, password, sid string
	disabled, locked    bool
	rights              []sqlGrant // of the server's
	roles               []string
}

type sqlDatabase struct {
	name                string
	contained, readOnly bool
	state               string
	next                int
	principals          []*sqlPrincipal
	schemas             map[string]*sqlThing // by name
	objects             map[string]*sqlThing // by schema.name
	grants              []sqlGrant
	members             [][2]int // role, member
	locks               map[string]*sqlSession
}

type sqlPrincipal struct {
	id                  int
	name, kind          string // S, R
	auth                int
	sid, password, mark string
	marked              bool
}

// sqlThing is a schema, or something in one.
type sqlThing struct {
	schema, name, kind string // of a thing in a schema: table, view, procedure…
	owner              int    // 0: the schema's
	runsAs             int
}

// sqlGrant is a right on a database, a schema, an object or a column.
type sqlGrant struct {
	to, by         int
	class          string // DATABASE, SCHEMA, OBJECT_OR_COLUMN, DATABASE_PRINCIPAL
	schema, object string
	column         string
	right, state   string // G, W, D
}

type sqlSession struct {
	id       int
	line     *tdsLine
	login    string // as it signed in
	sid      string
	server   *sqlLogin // nil for a user of a database
	database *sqlDatabase
	user     *sqlPrincipal // nil: in master, or no user
	ended    chan struct{}
}

// sqlError is one of the product's errors.
type sqlError struct {
	number int
	text   string
	first  *sqlError // that came before
}

func (e *sqlError) Error() string { return fmt.Sprintf("error %d: %s", e.number, e.text) }

func refused(number int, format string, args ...any) *sqlError {
	return &sqlError{number: number, text: fmt.Sprintf(format, args...)}
}

// errUnknown is a statement that the model does not know.
var errUnknown = errors.New("the model does not know this statement")

// StartSQLServer starts a server that ends with the test. It has no database; the
// administrator is no sysadmin, and has what docs/security.md asks for on the server.
func StartSQLServer(t testing.TB, o SQLServerOptions) *SQLServer {
	t.Helper()
	s := &SQLServer{Admin: "patchbay_admin", Super: "sa", Password: "P-" + randomHex(16), t: t, azure: o.Azure,
		databases: map[string]*sqlDatabase{}, logins: map[string]*sqlLogin{}, sessions: map[int]*sqlSession{}, next: 51}
	s.changed = sync.NewCond(&s.mu)
	s.logins[s.Super] = &sqlLogin{name: s.Super, password: s.Password, sid: "0x01", roles: []string{"sysadmin"}}
	admin := &sqlLogin{name: s.Admin, password: s.Password, sid: newSID()}
	for _, right := range []string{"CONNECT SQL", "ALTER ANY LOGIN", "ALTER ANY CONNECTION", "VIEW SERVER STATE"} {
		admin.rights = append(admin.rights, sqlGrant{right: right, state: "G"})
	}
	s.logins[s.Admin] = admin
	if o.TLS {
		a, err := newAuthority()
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := a.issue("sqlserver", []string{"sqlserver.test"}, []net.IP{net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		s.CA, s.tls = a.pem, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	var err error
	if s.listen, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	s.lines.Go(s.serve)
	t.Cleanup(s.stop)
	return s
}

func newSID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("0x%X", b)
}

// Addr is host:port.
func (s *SQLServer) Addr() string { return s.listen.Addr().String() }

func (s *SQLServer) stop() {
	_ = s.listen.Close()
	s.mu.Lock()
	s.ended = true
	for _, session := range s.sessions {
		_ = session.line.raw.Close()
	}
	s.changed.Broadcast()
	s.mu.Unlock()
	s.lines.Wait()
}

// Database makes a database with the tables dbo.items and dbo.notes, a view, a procedure
// and a table-valued type, in which the administrator is a db_owner.
func (s *SQLServer) Database(name string, contained bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &sqlDatabase{name: name, contained: contained, state: "ONLINE", next: 5, schemas: map[string]*sqlThing{}, objects: map[string]*sqlThing{}, locks: map[string]*sqlSession{}}
	role := func(id int, name string) {
		d.principals = append(d.principals, &sqlPrincipal{id: id, name: name, kind: "R"})
	}
	role(0, "public")
	d.principals = append(d.principals, &sqlPrincipal{id: 1, name: "dbo", kind: "S", auth: 1, sid: "0x01"}, &sqlPrincipal{id: 2, name: "guest", kind: "S", sid: "0x00"})
	for i, name := range []string{"db_owner", "db_accessadmin", "db_securityadmin", "db_ddladmin", "", "db_backupoperator", "db_datareader", "db_datawriter", "db_denydatareader", "db_denydatawriter"} {
		if name != "" {
			role(16384+i, name)
		}
	}
	d.schemas["dbo"] = &sqlThing{name: "dbo", owner: 1}
	for name, kind := range map[string]string{"items": "table", "notes": "table", "names": "view", "work": "procedure", "list": "type"} {
		d.objects["dbo."+name] = &sqlThing{schema: "dbo", name: name, kind: kind}
	}
	admin := d.add(s.Admin, "S", 1, s.logins[s.Admin].sid)
	d.members = append(d.members, [2]int{16384, admin.id})
	s.databases[strings.ToLower(name)] = d
}

// DropDatabase drops one.
func (s *SQLServer) DropDatabase(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.databases, strings.ToLower(name))
}

// Set changes what a database is: ONLINE, OFFLINE, READ_ONLY, READ_WRITE.
func (s *SQLServer) Set(name, word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch d := s.databases[strings.ToLower(name)]; word {
	case "READ_ONLY", "READ_WRITE":
		d.readOnly = word == "READ_ONLY"
	default:
		d.state = word
	}
}

// Await returns when so many sessions of a login are left: a connection that was closed
// is gone a moment later.
func (s *SQLServer) Await(login string, sessions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.ended {
		n := 0
		for _, session := range s.sessions {
			if session.login == login {
				n++
			}
		}
		if n <= sessions {
			return
		}
		s.changed.Wait()
	}
}

// Lock locks a login, as many wrong passwords do.
func (s *SQLServer) Lock(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.logins[strings.ToLower(login)]; l != nil {
		l.locked = true
	}
}

// Refuse has the administrator's batches fail with the error whose number f gives, before
// they have an effect; 0 is none. A nil f ends it.
func (s *SQLServer) Refuse(f func(batch string) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// SendOn has the server tell who signs in that another is to be asked, as a gateway of
// Azure's does.
func (s *SQLServer) SendOn(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.elsewhere = address
}

// Said are the batches that the administrator and its logins (pb_…) have sent since the
// last call.
func (s *SQLServer) Said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said
	s.said = nil
	return said
}

// Exec runs statements as a sysadmin in a database, "" for master.
func (s *SQLServer) Exec(database string, statements ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.databases[strings.ToLower(database)]
	if d == nil && database != "" {
		return fmt.Errorf("no database %q", database)
	}
	as := &sqlSession{login: s.Super, server: s.logins[s.Super], database: d, ended: make(chan struct{})}
	if d != nil {
		as.user = d.principal("dbo")
	}
	for _, statement := range statements {
		if _, err := s.batch(as, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// Principals lists the users and logins whose names begin so, with what they have: what
// a test compares.
func (s *SQLServer) Principals(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, l := range s.logins {
		if strings.HasPrefix(l.name, prefix) {
			all = append(all, fmt.Sprintf("login %s %s %s disabled=%t %v %v", l.name, l.sid, l.password, l.disabled, l.rights, l.roles))
		}
	}
	for _, d := range s.databases {
		for _, p := range d.principals {
			if strings.HasPrefix(p.name, prefix) {
				all = append(all, fmt.Sprintf("user %s.%s auth=%d %s %s %v %v", d.name, p.name, p.auth, p.password, p.mark, d.grantsOf(p.id), d.rolesOf(p.id)))
			}
		}
	}
	slices.Sort(all)
	return all
}

func (d *sqlDatabase) add(name, kind string, auth int, sid string) *sqlPrincipal {
	p := &sqlPrincipal{id: d.next, name: name, kind: kind, auth: auth, sid: sid}
	d.next++
	d.principals = append(d.principals, p)
	if kind == "S" {
		d.grants = append(d.grants, sqlGrant{to: p.id, by: 1, class: "DATABASE", right: "CONNECT", state: "G"})
	}
	return p
}

// principal is one of that name; names are compared as under a collation that ignores
// case.
func (d *sqlDatabase) principal(name string) *sqlPrincipal {
	for _, p := range d.principals {
		if strings.EqualFold(p.name, name) {
			return p
		}
	}
	return nil
}

func (d *sqlDatabase) byID(id int) *sqlPrincipal {
	for _, p := range d.principals {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (d *sqlDatabase) grantsOf(id int) (all []sqlGrant) {
	for _, g := range d.grants {
		if g.to == id {
			all = append(all, g)
		}
	}
	return all
}

func (d *sqlDatabase) rolesOf(id int) (all []string) {
	for _, m := range d.members {
		if m[1] == id {
			all = append(all, d.byID(m[0]).name)
		}
	}
	return all
}

// clone is what a transaction goes back to.
func (d *sqlDatabase) clone() *sqlDatabase {
	c := *d
	c.principals = nil
	for _, p := range d.principals {
		q := *p
		c.principals = append(c.principals, &q)
	}
	things := func(m map[string]*sqlThing) map[string]*sqlThing {
		n := map[string]*sqlThing{}
		for k, v := range m {
			w := *v
			n[k] = &w
		}
		return n
	}
	c.schemas, c.objects = things(d.schemas), things(d.objects)
	c.grants, c.members = slices.Clone(d.grants), slices.Clone(d.members)
	return &c
}

// impliedBy are the rights on a database that include another, from the least.
func impliedBy(right string) []string {
	all := []string{right}
	switch right {
	case "CONTROL":
		return all
	case "CREATE SCHEMA":
		all = append(all, "ALTER ANY SCHEMA", "ALTER")
	case "CREATE ROLE":
		all = append(all, "ALTER ANY ROLE", "ALTER")
	default:
		if strings.HasPrefix(right, "CREATE ") || strings.HasPrefix(right, "ALTER ANY ") {
			all = append(all, "ALTER")
		}
	}
	return append(all, "CONTROL")
}

// ofRole are the rights that fixed roles have.
var ofRole = map[string][]string{
	"db_owner":          {"CONTROL"},
	"db_datareader":     {"SELECT"},
	"db_datawriter":     {"INSERT", "UPDATE", "DELETE"},
	"db_securityadmin":  {"ALTER ANY ROLE", "CREATE SCHEMA", "VIEW DEFINITION"},
	"db_accessadmin":    {"ALTER ANY USER", "CREATE SCHEMA"},
	"db_backupoperator": {"BACKUP DATABASE"},
	"db_ddladmin": {"ALTER ANY ASSEMBLY", "ALTER ANY CERTIFICATE", "ALTER ANY DATABASE DDL TRIGGER", "ALTER ANY SCHEMA", "CREATE FUNCTION", "CREATE PROCEDURE", "CREATE SYNONYM",
		"CREATE TABLE", "CREATE TYPE", "CREATE VIEW", "REFERENCES"},
}

// everybodyOf are a principal and the roles that it is in.
func (d *sqlDatabase) everybodyOf(id int) []int {
	all := []int{id, 0}
	for i := 0; i < len(all); i++ {
		for _, m := range d.members {
			if m[1] == all[i] && !slices.Contains(all, m[0]) {
				all = append(all, m[0])
			}
		}
	}
	return all
}

// may reports whether a session has a right: on the database, or on a thing in it.
func (s *SQLServer) may(as *sqlSession, right string, on *sqlThing) bool {
	if as.user == nil || as.user.id == 1 {
		return as.user != nil
	}
	d := as.database
	who := d.everybodyOf(as.user.id)
	wanted := impliedBy(right)
	held := func(g sqlGrant) bool {
		if !slices.Contains(who, g.to) {
			return false
		}
		switch g.class {
		case "DATABASE":
			if on != nil && right == "ALTER" && g.right == "ALTER ANY SCHEMA" {
				return true
			}
			return slices.Contains(wanted, g.right)
		case "SCHEMA":
			return on != nil && strings.EqualFold(g.schema, on.schema) && slices.Contains([]string{right, "CONTROL"}, g.right)
		case "OBJECT_OR_COLUMN":
			return on != nil && strings.EqualFold(g.schema, on.schema) && strings.EqualFold(g.object, on.name) && g.column == "" && slices.Contains([]string{right, "CONTROL"}, g.right)
		}
		return false
	}
	has := false
	for _, g := range d.grants {
		if held(g) {
			if g.state == "D" {
				return false
			}
			has = true
		}
	}
	for _, id := range who {
		p := d.byID(id)
		if p == nil { // a session of a user that was dropped
			return false
		}
		role := p.name
		if role == "db_denydatareader" && right == "SELECT" {
			return false
		}
		for _, r := range ofRole[role] {
			has = has || slices.Contains(wanted, r) || on != nil && right == "ALTER" && r == "ALTER ANY SCHEMA"
		}
	}
	if on != nil && d.schemas[strings.ToLower(on.schema)] != nil {
		owner := cmp.Or(on.owner, d.schemas[strings.ToLower(on.schema)].owner)
		has = has || slices.Contains(who, owner)
	}
	return has
}

func (s *SQLServer) mayServer(as *sqlSession, right string) bool {
	if as.server == nil {
		return false
	}
	if slices.Contains(as.server.roles, "sysadmin") {
		return true
	}
	return slices.ContainsFunc(as.server.rights, func(g sqlGrant) bool { return g.right == right && g.state != "D" })
}

// enter makes a session of who signs in.
func (s *SQLServer) enter(l *tdsLine, in signingIn) (*sqlSession, error) {
	no := refused(18456, "Login failed for user '%s'.", in.user)
	d := s.databases[strings.ToLower(in.database)]
	master := in.database == "" || strings.EqualFold(in.database, "master")
	as := &sqlSession{id: s.next, line: l, login: in.user, database: d, ended: make(chan struct{})}
	s.next++
	cannot := refused(18456, "%s", no.text)
	cannot.first = refused(4060, "Cannot open database \"%s\" requested by the login. The login failed.", in.database)
	if d != nil && (d.contained || s.azure) {
		if p := d.principal(in.user); p != nil && p.auth == 2 {
			if p.password != in.password || d.state != "ONLINE" {
				return nil, no
			}
			as.user, as.sid = p, p.sid
			if !s.may(as, "CONNECT", nil) {
				return nil, cannot
			}
			return as, nil
		}
	}
	login := s.logins[strings.ToLower(in.user)]
	connects := login != nil && (slices.Contains(login.roles, "sysadmin") || slices.ContainsFunc(login.rights, func(g sqlGrant) bool { return g.right == "CONNECT SQL" && g.state == "G" }))
	switch {
	case login == nil, login.password != in.password, login.locked, !connects:
		return nil, no
	case login.disabled:
		return nil, refused(18470, "Login failed for user '%s'. Reason: The account is disabled.", in.user)
	}
	as.server, as.sid, as.login = login, login.sid, login.name
	if master {
		return as, nil
	}
	if d == nil || d.state != "ONLINE" {
		return nil, cannot
	}
	if as.user = d.of(login); as.user == nil || !s.may(as, "CONNECT", nil) {
		return nil, cannot
	}
	return as, nil
}

// of is a login's user.
func (d *sqlDatabase) of(l *sqlLogin) *sqlPrincipal {
	if slices.Contains(l.roles, "sysadmin") {
		return d.byID(1)
	}
	for _, p := range d.principals {
		if p.auth == 1 && p.sid == l.sid {
			return p
		}
	}
	return nil
}

// serve takes connections until the listener is closed.
func (s *SQLServer) serve() {
	for {
		conn, err := s.listen.Accept()
		if err != nil {
			return
		}
		s.lines.Go(func() {
			defer func() { _ = conn.Close() }()
			s.talk(&tdsLine{Conn: conn, raw: conn})
		})
	}
}

// talk is one connection, until either side ends it.
func (s *SQLServer) talk(l *tdsLine) {
	if l.greet(s.tls) != nil {
		return
	}
	kind, body, err := l.read()
	if err != nil || kind != tdsLogin {
		return
	}
	in, err := readLogin(body)
	if err != nil {
		return
	}
	s.mu.Lock()
	if to := s.elsewhere; to != "" {
		s.mu.Unlock()
		var out tdsOut
		out.sendOn(to)
		_ = l.write(tdsAnswer, out.b)
		return
	}
	as, err := s.enter(l, in)
	if s.ended {
		s.mu.Unlock()
		return
	}
	var out tdsOut
	if err == nil {
		s.sessions[as.id] = as
		name := "master"
		if as.database != nil {
			name = as.database.name
		}
		out.signedIn(name)
	} else {
		out.failed(err)
	}
	s.mu.Unlock()
	if l.write(tdsAnswer, out.b) != nil || err != nil {
		if as != nil && err == nil {
			s.leave(as)
		}
		return
	}
	defer s.leave(as)
	for {
		kind, body, err := l.read()
		if err != nil {
			return
		}
		var out tdsOut
		switch kind {
		case tdsAttention:
			out.done(0xfd, doneAttention, 0)
		case tdsBatch, tdsRPC:
			text, err := statementOf(kind, body)
			if err != nil {
				s.t.Errorf("the model of SQL Server: %v", err)
				return
			}
			if !s.answer(&out, as, text) {
				return
			}
		default:
			s.t.Errorf("the model of SQL Server: a message of kind %#x", kind)
			return
		}
		if l.write(tdsAnswer, out.b) != nil {
			return
		}
	}
}

func (s *SQLServer) leave(as *sqlSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(as)
}

// end is what a kill does, and the end of a connection.
func (s *SQLServer) end(as *sqlSession) {
	if s.sessions[as.id] != as {
		return
	}
	delete(s.sessions, as.id)
	close(as.ended)
	_ = as.line.raw.Close()
	if as.database != nil {
		for name, by := range as.database.locks {
			if by == as {
				delete(as.database.locks, name)
			}
		}
	}
	s.changed.Broadcast()
}

func (o *tdsOut) failed(err error) {
	var e *sqlError
	if !errors.As(err, &e) {
		e = refused(50000, "%v", err)
	}
	if e.first != nil {
		o.message(0xaa, e.first.number, 14, e.first.text)
	}
	o.message(0xaa, e.number, 14, e.text)
	o.done(0xfd, doneError, 0)
}

// answer runs a batch; false ends the connection.
func (s *SQLServer) answer(o *tdsOut, as *sqlSession, text string) bool {
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(text)), "waitfor delay ") { // as long as somebody does not end it
		<-as.ended
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if as.login == s.Admin || strings.HasPrefix(as.login, "pb_") {
		s.said = append(s.said, text)
	}
	if as.login == s.Admin && s.fail != nil {
		if number := s.fail(text); number != 0 {
			o.failed(refused(number, "made up by the test"))
			return true
		}
	}
	sets, err := s.batch(as, text)
	for _, set := range sets {
		if set == nil { // a procedure
			o.bytes(0x79, 0, 0, 0, 0)
			o.done(0xfe, doneMore, 0)
			continue
		}
		o.rowSet(set)
	}
	if errors.Is(err, errUnknown) {
		s.t.Errorf("the model of SQL Server does not know: %s", text)
	}
	if err != nil {
		o.failed(err)
		return true
	}
	o.done(0xfd, 0, 0)
	return true
}

// batch runs statements until one fails, which undoes the transaction that it is in.
func (s *SQLServer) batch(as *sqlSession, text string) (sets []*rowSet, err error) {
	tokens, err := sqlTokens(text)
	if err != nil {
		return nil, err
	}
	var before *sqlDatabase
	var logins map[string]*sqlLogin
	run := &sqlRun{server: s, as: as, variables: map[string]string{}}
	for len(tokens) > 0 {
		end := slices.IndexFunc(tokens, func(t sqlToken) bool { return t.kind == ';' })
		if end < 0 {
			end = len(tokens)
		}
		run.rest = tokens[:end]
		tokens = tokens[min(end+1, len(tokens)):]
		if len(run.rest) == 0 {
			continue
		}
		switch {
		case run.accept("begin", "transaction"):
			if as.database != nil {
				before = as.database.clone()
			}
			logins = map[string]*sqlLogin{}
			for name, l := range s.logins {
				c := *l
				logins[name] = &c
			}
			continue
		case run.accept("commit", "transaction"):
			before, logins = nil, nil
			continue
		}
		set, err := run.statement()
		if err == nil && len(run.rest) > 0 {
			err = fmt.Errorf("%w: what is behind it is not", errUnknown)
		}
		if err != nil {
			if before != nil {
				locks := as.database.locks
				*as.database = *before
				as.database.locks = locks
			}
			if logins != nil {
				s.logins = logins
			}
			return sets, err
		}
		sets = append(sets, set...)
	}
	if before != nil || logins != nil {
		return sets, fmt.Errorf("%w: a transaction without an end", errUnknown)
	}
	return sets, nil
}
