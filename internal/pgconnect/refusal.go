package pgconnect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// passing are the SQLSTATEs of what a moment may mend.
var passing = map[string]patchbay.Code{
	"53300": patchbay.TargetUnreachable, // too many connections
	"53200": patchbay.TargetUnreachable, // out of memory
	"57P01": patchbay.TargetUnreachable, // admin shutdown
	"57P02": patchbay.TargetUnreachable, // crash shutdown
	"57P03": patchbay.TargetUnreachable, // starting up
	"57P05": patchbay.TargetUnreachable, // idle session timeout
	"40001": patchbay.Conflict,          // serialization failure
	"40P01": patchbay.Conflict,          // deadlock
	"42710": patchbay.Conflict,          // somebody made the role meanwhile
	"23505": patchbay.Conflict,          // the same, seen by the index
	"42704": patchbay.Conflict,          // somebody dropped an object meanwhile
	"42P01": patchbay.Conflict,          // a table
	"42883": patchbay.Conflict,          // a function
	"3F000": patchbay.Conflict,          // a schema
	"55006": patchbay.Conflict,          // object in use
	"55P03": patchbay.Timeout,           // lock timeout
	"57014": patchbay.Timeout,           // statement timeout
	"25P03": patchbay.Timeout,           // idle in a transaction
	"25P04": patchbay.Timeout,           // transaction timeout
}

// Refusal is for what no rule is about.
func (s *Server) Refusal(pg *pgconn.PgError, text string) *patchbay.Error {
	code, ok := passing[pg.Code]
	if !ok && strings.HasPrefix(pg.Code, "08") {
		code, ok = patchbay.TargetUnreachable, true
	}
	// Two writers of one catalogue row; it has no SQLSTATE of its own.
	if !ok && pg.Code == "XX000" && strings.HasPrefix(pg.Message, "tuple concurrently") {
		code, ok = patchbay.Conflict, true
	}
	if !ok {
		return patchbay.Errorf(patchbay.Internal, "%s: %s", s.Address(), text)
	}
	return patchbay.Errorf(code, "%s: %s", s.Address(), text).AsTransient()
}

// Lost is about the caller's own context: who canceled wants to hear that, and
// who ran out of time does not know what happened.
func (s *Server) Lost(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &patchbay.Error{Code: patchbay.Canceled, Message: "canceled while talking to " + s.Address(), Err: context.Canceled}
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		e := patchbay.Errorf(patchbay.Timeout, "%s did not answer in time", s.Address()).AsTransient()
		e.Err = context.DeadlineExceeded
		return e
	}
	return nil
}

// Unreachable says why there is no talking to the server.
func (s *Server) Unreachable(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() && !errors.As(err, new(*net.DNSError)) {
		return patchbay.Errorf(patchbay.Timeout, "%s did not answer in time", s.Address()).AsTransient()
	}
	if s.TLS.Mode != driver.TLSPrefer && strings.Contains(err.Error(), "server refused TLS") {
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s does not speak TLS, and sslmode %s insists on it", s.Address(), s.TLS.Mode).
			WithFix("turn ssl on in postgresql.conf, or register the server with sslmode prefer")
	}
	e := s.TLS.DialError(err, s.Address())
	switch e.Code {
	case patchbay.NameNotResolved:
		return e.AsTransient().WithFix("look it up where the connection is made from: getent hosts %s", s.Host)
	case patchbay.PortClosed:
		return e.WithFix("see that the server runs, and its listen_addresses and port")
	case patchbay.CertificateInvalid:
		return e.WithFix("%s", driver.CertificateFix(e, "the property tlsServerName", "the property ca"))
	}
	return e
}

// HBAFix is what to do about a refused sign-in.
func HBAFix(pg *pgconn.PgError, username, otherwise string) string {
	if strings.Contains(pg.Message, "pg_hba.conf") {
		return fmt.Sprintf("let it in, in pg_hba.conf: host <database> %s <address> scram-sha-256, then: SELECT pg_reload_conf()", username)
	}
	return otherwise
}
