package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// SQLSTATEs that mean something to us (PostgreSQL manual, appendix A).
const (
	invalidPassword       = "28P01"
	invalidAuthorization  = "28000" // no such login, NOLOGIN, pg_hba.conf
	invalidCatalogName    = "3D000" // no such database
	insufficientPrivilege = "42501"
	readOnlyTransaction   = "25006"
	featureNotSupported   = "0A000" // of a transaction that is to write: the server is a standby
	lockTimeout           = "55P03"
	tooManyConnections    = "53300"
	notInState            = "55000" // at a sign-in: the database takes none
	dependentObjects      = "2BP01"
)

// passing are the SQLSTATEs of what a moment may mend.
var passing = map[string]patchbay.Code{
	tooManyConnections: patchbay.TargetUnreachable,
	"53200":            patchbay.TargetUnreachable, // out of memory
	"57P01":            patchbay.TargetUnreachable, // admin shutdown
	"57P02":            patchbay.TargetUnreachable, // crash shutdown
	"57P03":            patchbay.TargetUnreachable, // starting up
	"57P05":            patchbay.TargetUnreachable, // idle session timeout
	"40001":            patchbay.Conflict,          // serialization failure
	"40P01":            patchbay.Conflict,          // deadlock
	"42710":            patchbay.Conflict,          // somebody made the role meanwhile
	"23505":            patchbay.Conflict,          // the same, seen by the index
	"42704":            patchbay.Conflict,          // somebody dropped an object meanwhile
	"42P01":            patchbay.Conflict,          // a table
	"42883":            patchbay.Conflict,          // a function
	"3F000":            patchbay.Conflict,          // a schema
	"55006":            patchbay.Conflict,          // object in use
	"55P03":            patchbay.Timeout,           // lock timeout
	"57014":            patchbay.Timeout,           // statement timeout
	"25P03":            patchbay.Timeout,           // idle in a transaction
	"25P04":            patchbay.Timeout,           // transaction timeout
}

// adminError says what err means when the administrator met it. What the server
// said is beside it: a connection's caller, who sees the errors of its steps, does
// not administer the server.
func (t *target) adminError(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		return err
	}
	if e := t.settings.lost(ctx, err); e != nil {
		return e
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return t.settings.unreachable(err)
	}
	admin := t.settings.admin
	text := driver.SQLState(pg.Code)
	if what != "" {
		text = what + ": " + text
	}
	e := t.settings.refusal(pg, text)
	switch pg.Code {
	case invalidPassword, invalidAuthorization:
		e = patchbay.Errorf(patchbay.AdminRefused, "%s does not let the administrator %q in: %s", t.settings.address(), admin.Username, text).
			WithFix("%s", hbaFix(pg, admin.Username, "register the server again with an admin credential that signs in"))
	case invalidCatalogName:
		e = patchbay.Errorf(patchbay.ChildMissing, "there is no such database on %s", t.settings.address())
	case dependentObjects:
		e = patchbay.Errorf(patchbay.AdminRights, "%s does not drop a role that something depends on: %s", t.settings.address(), text).
			WithFix("see what: select pg_describe_object(classid, objid, objsubid), dbid from pg_shdepend where refobjid = '{role}'::regrole; as a superuser, in the database with that oid: DROP OWNED BY {role}")
	case insufficientPrivilege:
		e = patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not do what is needed on %s: %s", admin.Username, t.settings.address(), text).
			WithFix(lacksRights)
	case readOnlyTransaction:
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s lets nobody write: %s", t.settings.address(), text).
			WithFix("see what keeps it from writing: a standby, a disk that is full, a pooler's setting")
	case tooManyConnections:
		e = e.WithFix("see who has them: select datname, usename, count(*) from pg_stat_activity group by 1, 2; max_connections, and the CONNECTION LIMIT of the database and of %s, have to leave room for %d of ours (maxSessions)", admin.Username, t.settings.sessions)
	}
	if strings.HasPrefix(pg.Code, "08") && strings.Contains(pg.Message, "statement pooling") {
		e = patchbay.Errorf(patchbay.NotSupported, "the connection pooler at %s allows no transactions, and logins are made in transactions", t.settings.address()).
			WithFix("register the server itself; or set pool_mode to transaction or session in pgbouncer.ini, for these databases or for the user %s", admin.Username)
	}
	if name := codeOf(pg); name != "" {
		e = patchbay.Errorf(patchbay.AdminRights, "code of the database's own, %s, fails on what Patchbay does: %s", driver.Quoted(name), text).
			WithFix("an event trigger runs it (list them: \\dy): let it pass the administrator %q; or, if it finds no name, give it its own path: ALTER FUNCTION … SET search_path = …", admin.Username)
	}
	return e.WithSaid(pg.Message)
}

// codeIn finds the function in an error's context.
var codeIn = regexp.MustCompile(`(?m)^(?:PL/|SQL )\S* ?function (.{1,200}?)(?: line | statement | during |$)`)

// codeOf is the function in which an error came up, "" when it was the statement's
// own. No statement of ours calls one that is not PostgreSQL's.
func codeOf(pg *pgconn.PgError) string {
	if m := codeIn.FindStringSubmatch(pg.Where); m != nil {
		return strings.Trim(m[1], `"`)
	}
	return ""
}

// signInError says why the administrator can't sign in to a database.
func (t *target) signInError(ctx context.Context, database string, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != notInState {
		return t.adminError(ctx, "sign in", err)
	}
	shut := shuts["closed"]
	if strings.Contains(pg.Hint, "DROP DATABASE") {
		shut = shuts["invalid"]
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "the database %s on %s %s", driver.Quoted(database), t.settings.address(), shut.why).
		WithFix(shut.fix, ident(database)).WithSaid(pg.Message)
}

// refusal is for what no rule is about.
func (s *settings) refusal(pg *pgconn.PgError, text string) *patchbay.Error {
	code, ok := passing[pg.Code]
	if !ok && strings.HasPrefix(pg.Code, "08") {
		code, ok = patchbay.TargetUnreachable, true
	}
	// Two writers of one catalogue row; it has no SQLSTATE of its own.
	if !ok && pg.Code == "XX000" && strings.HasPrefix(pg.Message, "tuple concurrently") {
		code, ok = patchbay.Conflict, true
	}
	if !ok {
		return patchbay.Errorf(patchbay.Internal, "%s: %s", s.address(), text)
	}
	return patchbay.Errorf(code, "%s: %s", s.address(), text).AsTransient()
}

// lost is about the caller's own context: who canceled wants to hear that, and
// who ran out of time does not know what happened.
func (s *settings) lost(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &patchbay.Error{Code: patchbay.Canceled, Message: "canceled while talking to " + s.address(), Err: context.Canceled}
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		e := patchbay.Errorf(patchbay.Timeout, "%s did not answer in time", s.address()).AsTransient()
		e.Err = context.DeadlineExceeded
		return e
	}
	return nil
}

// unreachable says why there is no talking to the server.
func (s *settings) unreachable(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() && !errors.As(err, new(*net.DNSError)) {
		return patchbay.Errorf(patchbay.Timeout, "%s did not answer in time", s.address()).AsTransient()
	}
	if s.tls.Mode != driver.TLSPrefer && strings.Contains(err.Error(), "server refused TLS") {
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s does not speak TLS, and sslmode %s insists on it", s.address(), s.tls.Mode).
			WithFix("turn ssl on in postgresql.conf, or register the server with sslmode prefer")
	}
	e := driver.DialError(err, s.address())
	switch e.Code {
	case patchbay.NameNotResolved:
		return e.AsTransient().WithFix("look it up where the connection is made from: getent hosts %s", s.host)
	case patchbay.PortClosed:
		return e.WithFix("see that the server runs, and its listen_addresses and port")
	case patchbay.CertificateInvalid:
		return e.WithFix("give its authority as the property ca, and its name as tlsServerName when it is not %s", s.host)
	}
	return e
}

// hbaFix is what to do about a refused sign-in.
func hbaFix(pg *pgconn.PgError, username, otherwise string) string {
	if strings.Contains(pg.Message, "pg_hba.conf") {
		return fmt.Sprintf("let it in, in pg_hba.conf: host <database> %s <address> scram-sha-256, then: SELECT pg_reload_conf()", username)
	}
	return otherwise
}
