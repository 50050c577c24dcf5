package mongodb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	// callLimit bounds a call whose context has no deadline.
	callLimit = 30 * time.Second
	// handshakeLimit is how long a server may take to agree on TLS, and helloLimit to say
	// what it is: the next one may answer.
	handshakeLimit, helloLimit = 5 * time.Second, 5 * time.Second
	// leastWire is the protocol of MongoDB 4.4, which libraries of today ask for too.
	leastWire, leastVersion = 9, "4.4"
)

// link is a connection to one server, for one call of the driver.
type link struct {
	conn     net.Conn
	at       string
	tls      driver.TLS
	protocol string // of TLS; "" in the clear
	asked    bool   // by the server, for a certificate
	budget   *driver.Budget
	release  func() bool
	id       int32
	who      login
	refusal  patchbay.Code // of a sign-in that is refused
	hello    hello
}

// hello is what a server says of itself.
type hello struct {
	Primary  bool     `bson:"isWritablePrimary"`
	Message  string   `bson:"msg"`
	Set      string   `bson:"setName"`
	Leader   string   `bson:"primary"`
	Me       string   `bson:"me"`
	Hosts    []string `bson:"hosts"`
	Passives []string `bson:"passives"`
	MaxWire  int      `bson:"maxWireVersion"`
	Mechs    []string `bson:"saslSupportedMechs"`
}

// router reports whether it is a mongos.
func (h hello) router() bool { return h.Message == "isdbgrid" }

// within bounds a call that nobody bounded.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callLimit)
}

// connect opens a connection that ends with ctx, and has the server say what it is.
// Nobody has signed in yet.
func connect(ctx context.Context, c *config, d driver.Dialer, at string, who login, refusal patchbay.Code) (*link, error) {
	l := &link{at: at, tls: c.tls, who: who, refusal: refusal, budget: driver.NewBudget(at, driver.CallBytes)}
	l.budget.Renew(ctx)
	conn, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		l.budget.End()
		return nil, l.lost(ctx, err)
	}
	l.release = context.AfterFunc(ctx, func() { _ = conn.Close() })
	l.conn = l.budget.Conn(conn)
	if c.secured != nil {
		if err := l.secure(ctx, c.secured); err != nil {
			l.close()
			return nil, err
		}
	}
	if err := l.greet(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) secure(ctx context.Context, settings *tls.Config) error {
	host, _, _ := net.SplitHostPort(l.at)
	settings = driver.TLSTo(settings, host)
	if own := settings.Certificates; len(own) > 0 {
		settings.Certificates = nil
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own[0], nil }
	} else {
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			l.asked = true
			return &tls.Certificate{}, nil
		}
	}
	secured := tls.Client(l.conn, settings)
	shaking, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	if err := secured.HandshakeContext(shaking); err != nil {
		e := l.lost(shaking, err)
		if ctx.Err() != nil {
			e = l.lost(ctx, err)
		}
		if driver.HopOf(e) == driver.HopTLS || driver.HopOf(e) == driver.HopEnd || e.Code == patchbay.Timeout {
			e.Fix = "where it has no TLS, and whoever is in between may read new passwords, register it with the property sslmode disable"
		}
		return e
	}
	l.protocol = tls.VersionName(secured.ConnectionState().Version)
	l.conn = secured
	return nil
}

func (l *link) greet(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, helloLimit)
	defer cancel()
	stop := context.AfterFunc(asking, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	ask := bson.D{{Key: "hello", Value: 1}, {Key: "client", Value: bson.D{
		{Key: "application", Value: bson.D{{Key: "name", Value: "patchbay"}}},
		{Key: "driver", Value: bson.D{{Key: "name", Value: "patchbay"}, {Key: "version", Value: "1"}}}, // of link.go
		{Key: "os", Value: bson.D{{Key: "type", Value: "unknown"}}},
	}}}
	if !l.who.certificate && l.who.Username != "" {
		ask = append(ask, bson.E{Key: "saslSupportedMechs", Value: l.who.database + "." + l.who.Username})
	}
	err := l.run(asking, adminDatabase, ask, &l.hello)
	if !stop() && ctx.Err() == nil {
		return patchbay.Errorf(patchbay.Timeout, "%s takes connections and does not answer", l.at).AsTransient()
	}
	var said *refused
	switch {
	case passing(err):
		return l.fault("greet the server", err)
	case errors.As(err, &said):
		return patchbay.Errorf(patchbay.NotSupported, "%s does not know the command hello: it is older than MongoDB %s, or none", l.at, leastVersion)
	case err != nil:
		return err
	case l.hello.MaxWire < leastWire:
		return patchbay.Errorf(patchbay.NotSupported, "%s is older than MongoDB %s", l.at, leastVersion)
	}
	return nil
}

func (l *link) close() {
	l.release()
	_ = l.conn.Close()
	l.budget.End()
}

// signIn proves who we are.
func (l *link) signIn(ctx context.Context) error {
	if l.who.certificate {
		err := l.run(ctx, external, bson.D{{Key: "authenticate", Value: 1}, {Key: "mechanism", Value: x509Mechanism}}, nil)
		return l.judgeSignIn(err)
	}
	mechanism := sha256Mechanism
	if !l.who.strong && !slices.Contains(l.hello.Mechs, sha256Mechanism) && slices.Contains(l.hello.Mechs, sha1Mechanism) {
		mechanism = sha1Mechanism // a user of an older time
	}
	s := newSCRAM(mechanism, l.who.Username, l.who.Password.Reveal())
	var told struct {
		ID      any    `bson:"conversationId"`
		Done    bool   `bson:"done"`
		Payload []byte `bson:"payload"`
	}
	err := l.run(ctx, l.who.database, bson.D{{Key: "saslStart", Value: 1}, {Key: "mechanism", Value: mechanism},
		{Key: "payload", Value: s.begin()}, {Key: "options", Value: bson.D{{Key: "skipEmptyExchange", Value: true}}}}, &told)
	if err != nil {
		return l.judgeSignIn(err)
	}
	proof, err := s.prove(told.Payload)
	if err != nil {
		return l.strange("a challenge")
	}
	next := func(payload []byte) error {
		if _, isNumber := told.ID.(int32); !isNumber {
			return l.strange("a conversation")
		}
		return l.run(ctx, l.who.database, bson.D{{Key: "saslContinue", Value: 1}, {Key: "conversationId", Value: told.ID}, {Key: "payload", Value: payload}}, &told)
	}
	if err := next(proof); err != nil {
		return l.judgeSignIn(err)
	}
	if !s.proven(told.Payload) {
		return patchbay.Errorf(patchbay.TargetMisbehaved, "%s does not prove that it knows %s: it is another server, or somebody is in between", l.at, l.name()).
			WithFix("see what listens on %s", l.at)
	}
	if !told.Done { // one that does not skip what is empty
		if err := next([]byte{}); err != nil {
			return l.judgeSignIn(err)
		}
	}
	if !told.Done {
		return l.strange("the end of a sign-in")
	}
	return nil
}

// judgeSignIn says what a refusal of a sign-in means.
func (l *link) judgeSignIn(err error) error {
	var said *refused
	if !errors.As(err, &said) {
		return err
	}
	switch said.Code {
	case codeAuthenticationFailed, codeUnauthorized, codeUserNotFound, codeMechanismUnavailable, codeBadValue, codeProtocolError, codeNotImplemented, codeCommandNotFound:
	default:
		return l.fault("sign in", err)
	}
	e := patchbay.Errorf(l.refusal, "%s refuses %s", l.at, l.name())
	if l.refusal == patchbay.AdminRefused {
		e = e.WithSaid(said.Message).WithFix("register it again with the administrator's name, password and database; its authentication restrictions have to let this machine in, and it needs %s", sha256Mechanism)
	}
	return e
}

// name is who signs in, for people.
func (l *link) name() string {
	if l.who.certificate {
		return "the administrator's certificate"
	}
	return driver.Quoted(fmt.Sprintf("%q of the database %q", l.who.Username, l.who.database))
}

// run has the server do a command, and unpacks what it answers into reply, which may be
// nil. What the server refuses is a [*refused]; any other error is of the connection.
func (l *link) run(ctx context.Context, database string, command bson.D, reply any) error {
	l.id++
	message, err := encode(l.id, database, command)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "a command can't be written: %w", err)
	}
	if _, err := l.conn.Write(message); err != nil {
		return l.lost(ctx, err)
	}
	answer, err := decode(l.conn, l.id, l.budget.Left())
	if err != nil {
		return l.lost(ctx, err)
	}
	var state struct {
		OK      any    `bson:"ok"`
		Code    int32  `bson:"code"`
		Message string `bson:"errmsg"`
		Concern *struct {
			Code    int32  `bson:"code"`
			Message string `bson:"errmsg"`
		} `bson:"writeConcernError"`
	}
	if err := bson.Unmarshal(answer, &state); err != nil {
		return l.strange("an answer")
	}
	switch ok, isNumber := number(state.OK); {
	case !isNumber:
		return l.strange("an answer")
	case ok != 1:
		return &refused{state.Code, state.Message}
	case state.Concern != nil:
		return &refused{state.Concern.Code, state.Concern.Message}
	case reply == nil:
		return nil
	}
	if err := bson.Unmarshal(answer, reply); err != nil {
		return l.strange("an answer")
	}
	return nil
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int32:
		return float64(n), true
	case int64:
		return float64(n), true
	case bool: // as some proxies have it
		if n {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// majority is what has a change of users survive a primary that steps down.
func majority() bson.E {
	return bson.E{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}, {Key: "wtimeout", Value: 10_000}}}
}
