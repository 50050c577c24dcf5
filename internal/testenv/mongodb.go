package testenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// MongoModel says what a [MongoSet] is.
const MongoModel = "a model of this repository, which speaks MongoDB's protocol and keeps its users, roles and rights as MongoDB's manual has them"

// MongoOptions say how a model is. The zero value is one server that stands alone, in the
// clear, with access control.
type MongoOptions struct {
	TLS bool // and nothing else
	// ClientCerts has it want a certificate of each client, with TLS.
	ClientCerts bool
	NoAuth      bool // access control is off
	// Members makes it a replica set of so many; 0 is a server alone.
	Members int
	// Names are what the members call each other, instead of their addresses.
	Names  []string
	Router bool // it is a mongos
	// Version is what it says; "" is 7.0.0.
	Version string
}

// MongoSet is a model of MongoDB in this process: one server, or the members of a replica
// set, with an administrator and a super user. What it refuses, it refuses because
// MongoDB's manual says so. Its limits:
//
//   - Members share what they keep: there is no delay between them, and a write concern
//     is met or not as [MongoSet.Fail] says.
//   - A collection is a list. A query compares top-level fields; an update knows $set and
//     $inc. There are no indexes, transactions, change streams or cursors that go on.
//   - Privileges are those of the roles read, readWrite, dbAdmin, userAdmin and dbOwner on
//     a database, the *AnyDatabase ones, clusterMonitor, hostManager, root, and roles that
//     are made. System collections other than admin's users are unknown.
//   - A query with $where sleeps for as many milliseconds as it says, until it is ended.
//   - It has no memory of rights: what changes holds from the next command on, everywhere.
type MongoSet struct {
	Servers  []*MongoServer
	Admin    string // may administer users everywhere, end operations and see them
	Super    string // root
	Password string // of both
	CA       []byte // PEM; nil without TLS
	options  MongoOptions
	issuer   *authority

	mu      sync.Mutex
	users   map[string]*mongoUser // by database.name
	roles   map[mongoRole][]mongoPrivilege
	data    map[string]map[string][]bson.D
	primary int
	ids     int
	fails   []mongoFailure
	killed  map[int]bool // operations
}

// mongoFailure is an answer that somebody wished for.
type mongoFailure struct {
	command string
	times   int
	before  func() error
	after   bool // it is done, and then refused
	err     *mongoError
	reply   bson.D // beside what is answered
}

// MongoServer is one member.
type MongoServer struct {
	set      *MongoSet
	index    int
	listener net.Listener
	tls      *tls.Config
	mu       sync.Mutex
	open     map[*mongoConn]bool
	done     sync.WaitGroup
	down     bool
}

// Addr is where it listens.
func (s *MongoServer) Addr() string { return s.listener.Addr().String() }

// name is what the set calls it.
func (s *MongoServer) name() string {
	if s.index < len(s.set.options.Names) {
		return s.set.options.Names[s.index]
	}
	return s.Addr()
}

// Mongo starts a model that ends with the test.
func Mongo(t testing.TB, o MongoOptions) *MongoSet {
	t.Helper()
	set, err := StartMongo(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Stop)
	return set
}

// StartMongo starts a model; the caller stops it.
func StartMongo(o MongoOptions) (*MongoSet, error) {
	set := &MongoSet{
		Admin: "patchbay-admin", Super: "root", Password: randomHex(16), options: o,
		users: map[string]*mongoUser{}, roles: map[mongoRole][]mongoPrivilege{}, data: map[string]map[string][]bson.D{}, killed: map[int]bool{},
	}
	set.roles[mongoRole{"patchbay", "admin"}] = []mongoPrivilege{{cluster: true, actions: []string{"inprog", "killAnySession", "killop", "listDatabases", "viewUser"}}}
	set.put(set.Super, "admin", set.Password, mongoRole{"root", "admin"})
	set.put(set.Admin, "admin", set.Password, mongoRole{"userAdminAnyDatabase", "admin"}, mongoRole{"patchbay", "admin"})
	var certificate tls.Certificate
	var authorities *x509.CertPool
	if o.TLS {
		a, err := newAuthority()
		if err != nil {
			return nil, err
		}
		set.CA, set.issuer = a.pem, a
		cert, key, err := a.issue("mongod", []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, err
		}
		if certificate, err = tls.X509KeyPair(cert, key); err != nil {
			return nil, err
		}
		authorities = x509.NewCertPool()
		authorities.AppendCertsFromPEM(a.pem)
	}
	for i := range max(o.Members, 1) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			set.Stop()
			return nil, err
		}
		s := &MongoServer{set: set, index: i, listener: listener, open: map[*mongoConn]bool{}}
		if o.TLS {
			s.tls = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: authorities, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS12}
			if o.ClientCerts {
				s.tls.ClientAuth = tls.RequireAndVerifyClientCert
			}
		}
		set.Servers = append(set.Servers, s)
	}
	for _, s := range set.Servers {
		s.done.Go(s.serve)
	}
	return set, nil
}

// Stop ends all of it.
func (set *MongoSet) Stop() {
	for _, s := range set.Servers {
		_ = s.listener.Close()
		s.Cut()
		s.done.Wait()
	}
}

// Cut ends the connections of a member; new ones are made as before.
func (s *MongoServer) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.end()
	}
}

// Primary is the member that takes writes.
func (set *MongoSet) Primary() *MongoServer {
	set.mu.Lock()
	defer set.mu.Unlock()
	return set.Servers[max(set.primary, 0)]
}

// Addr is the first member's.
func (set *MongoSet) Addr() string { return set.Servers[0].Addr() }

// StepDown makes another member the primary; -1: none.
func (set *MongoSet) StepDown(next int) {
	set.mu.Lock()
	defer set.mu.Unlock()
	set.primary = next
}

// Down has a member end every connection and take no new one, or take them again.
func (s *MongoServer) Down(down bool) {
	s.mu.Lock()
	s.down = down
	s.mu.Unlock()
	if down {
		s.Cut()
	}
}

// Fail has the next so many commands of that name refused with a code; after: when they
// are done already.
func (set *MongoSet) Fail(command string, times int, code int32, after bool) {
	set.mu.Lock()
	defer set.mu.Unlock()
	set.fails = append(set.fails, mongoFailure{command: command, times: times, after: after, err: &mongoError{code, "as the test wishes"}})
}

// FailConcern has the next command of that name done, and answered with a write concern
// that was not met.
func (set *MongoSet) FailConcern(command string, code int32) {
	set.mu.Lock()
	defer set.mu.Unlock()
	set.fails = append(set.fails, mongoFailure{command: command, times: 1, reply: bson.D{{Key: "writeConcernError", Value: bson.D{
		{Key: "code", Value: code}, {Key: "errmsg", Value: "as the test wishes"}}}}})
}

// Before calls do once, before the next command of that name; an error ends its
// connection.
func (set *MongoSet) Before(command string, do func() error) {
	set.mu.Lock()
	defer set.mu.Unlock()
	set.fails = append(set.fails, mongoFailure{command: command, times: 1, before: do})
}

// failure is the one that is wished for a command.
func (set *MongoSet) failure(command string) (mongoFailure, bool) {
	set.mu.Lock()
	defer set.mu.Unlock()
	for i := range set.fails {
		if f := &set.fails[i]; f.command == command && f.times > 0 {
			f.times--
			return *f, true
		}
	}
	return mongoFailure{}, false
}

// Do is a command as the super user, without a connection.
func (set *MongoSet) Do(database string, command bson.D) (bson.D, error) {
	raw, err := bson.Marshal(command) // as if it had come by the wire
	if err != nil {
		return nil, err
	}
	var came bson.D
	if err := bson.Unmarshal(raw, &came); err != nil {
		return nil, err
	}
	c := &mongoConn{server: set.Primary(), users: []string{"admin." + set.Super}, super: true}
	reply, refusal := c.do(database, came)
	if refusal != nil {
		return nil, refusal
	}
	return reply, nil
}

// Certificate is one for a client, of the server's authority; a user of that name on
// $external signs in with it.
func (set *MongoSet) Certificate(name string) (cert, key []byte, err error) {
	if set.issuer == nil {
		return nil, nil, errors.New("the model has no TLS")
	}
	cert, key, err = set.issuer.issue(name, nil, nil)
	if err == nil {
		set.put("CN="+name, "$external", "", mongoRole{"userAdminAnyDatabase", "admin"}, mongoRole{"patchbay", "admin"})
	}
	return cert, key, err
}

func (s *MongoServer) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.down {
			s.mu.Unlock()
			_ = conn.Close()
			continue
		}
		if s.tls != nil {
			conn = tls.Server(conn, s.tls)
		}
		s.set.mu.Lock()
		s.set.ids++
		c := &mongoConn{Conn: conn, server: s, id: s.set.ids, ended: make(chan struct{})}
		s.set.mu.Unlock()
		s.open[c] = true
		s.mu.Unlock()
		s.done.Go(func() {
			c.serve()
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
		})
	}
}

// mongoConn is one connection, and who is signed in on it.
type mongoConn struct {
	net.Conn
	server *MongoServer
	id     int
	super  bool
	once   sync.Once
	ended  chan struct{}

	mu     sync.Mutex
	users  []string // database.name
	uids   []int    // of these users: one that was made anew is another
	active int      // the operation that runs; 0: none
	scram  *mongoScram
}

func (c *mongoConn) end() {
	c.once.Do(func() {
		close(c.ended)
		_ = c.Close()
	})
}

func (c *mongoConn) serve() {
	defer c.end()
	for {
		m, err := readMongo(c.Conn)
		if err != nil {
			return
		}
		name := ""
		if len(m.command) > 0 {
			name = m.command[0].Key
		}
		failure, wished := c.server.set.failure(name)
		if wished && failure.before != nil && failure.before() != nil {
			return
		}
		var reply bson.D
		refusal := failure.err
		if refusal == nil || failure.after {
			var e *mongoError
			if reply, e = c.do(m.database, m.command); e != nil {
				refusal = e
			}
		}
		if refusal != nil {
			reply = bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: refusal.message}, {Key: "code", Value: refusal.code}, {Key: "codeName", Value: refusal.name()}}
		} else {
			reply = append(append(reply, failure.reply...), bson.E{Key: "ok", Value: 1.0})
		}
		if m.unanswered {
			continue
		}
		if err := m.answer(c.Conn, reply); err != nil {
			return
		}
	}
}

// sleep is an operation that takes its time, until somebody ends it.
func (c *mongoConn) sleep(d time.Duration) *mongoError {
	set := c.server.set
	set.mu.Lock()
	set.ids++
	id := set.ids
	set.mu.Unlock()
	c.mu.Lock()
	c.active = id
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.active = 0
		c.mu.Unlock()
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	over := time.After(d)
	for {
		select {
		case <-tick.C:
			set.mu.Lock()
			killed := set.killed[id]
			set.mu.Unlock()
			if killed {
				return &mongoError{11601, "operation was interrupted"}
			}
		case <-over:
			return nil
		case <-c.ended:
			return &mongoError{11600, "the connection ended"}
		}
	}
}

// Sleeping waits until so many operations run.
func (set *MongoSet) Sleeping(ctx context.Context, n int) error {
	for {
		running := 0
		for _, c := range set.connections() {
			c.mu.Lock()
			if c.active != 0 {
				running++
			}
			c.mu.Unlock()
		}
		if running == n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d operations run: %w", running, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// connections are those of all members.
func (set *MongoSet) connections() []*mongoConn {
	var all []*mongoConn
	for _, s := range set.Servers {
		all = append(all, s.connections()...)
	}
	return all
}

func (s *MongoServer) connections() []*mongoConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*mongoConn
	for c := range s.open {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *mongoConn) int { return a.id - b.id })
	return all
}

// mongoError is what the model refuses with.
type mongoError struct {
	code    int32
	message string
}

// Error implements error.
func (e *mongoError) Error() string { return strconv.Itoa(int(e.code)) + ": " + e.message }

func (e *mongoError) name() string {
	return map[int32]string{2: "BadValue", 9: "FailedToParse", 11: "UserNotFound", 13: "Unauthorized", 18: "AuthenticationFailed", 26: "NamespaceNotFound",
		31: "RoleNotFound", 59: "CommandNotFound", 10107: "NotWritablePrimary", 11601: "Interrupted", 51003: "Location51003"}[e.code]
}
