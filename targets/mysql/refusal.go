package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/go-sql-driver/mysql"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Errors of a server that mean something to us.
// https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
const (
	errDatabaseDenied  = 1044
	errAccessDenied    = 1045
	errNoSuchDatabase  = 1049
	errNoSuchColumn    = 1054
	errNoSuchThread    = 1094
	errHostDenied      = 1130
	errTableDenied     = 1142
	errColumnDenied    = 1143
	errNoSuchTable     = 1146
	errPrivilegeNeeded = 1227
	errReadOnly        = 1290
	errRoutineDenied   = 1370
	errPasswordPolicy  = 1819
	errExpired         = 1862
	errNoSuchRole      = 3523
	errNoSuchRoleMaria = 1959
)

// admitNot are the errors of a sign-in that is refused.
var admitNot = []uint16{errAccessDenied, 1698, errHostDenied, 1251, 3118, 4151, errExpired, 1820, 3159}

// passing are those that a moment may mend.
var passing = map[uint16]patchbay.Code{
	1040: patchbay.TargetUnreachable, // too many connections
	1203: patchbay.TargetUnreachable, // too many of one user
	1053: patchbay.TargetUnreachable, // shutdown
	1927: patchbay.TargetUnreachable, // connection killed
	1158: patchbay.TargetUnreachable,
	1159: patchbay.TargetUnreachable,
	1160: patchbay.TargetUnreachable,
	1161: patchbay.TargetUnreachable,
	1317: patchbay.TargetUnreachable, // query interrupted
	1205: patchbay.Timeout,           // lock wait timeout
	1213: patchbay.Conflict,          // deadlock
	1396: patchbay.Conflict,          // somebody made or dropped the account meanwhile
	1133: patchbay.Conflict,          // somebody dropped it
	1410: patchbay.Conflict,          // the same, in MySQL's words
	1141: patchbay.Conflict,          // somebody revoked it
	1147: patchbay.Conflict,
	1269: patchbay.Conflict, // can't revoke all of it: it is gone
}

// numberOf is the number of the server's error, 0 when it is none.
func numberOf(err error) uint16 {
	var said *mysql.MySQLError
	if errors.As(err, &said) {
		return said.Number
	}
	return 0
}

// mayNot reports whether a right was lacking.
func mayNot(err error) bool {
	return slices.Contains([]uint16{errDatabaseDenied, errTableDenied, errColumnDenied, errPrivilegeNeeded, errRoutineDenied, 1095, 1145}, numberOf(err))
}

// lost is about the caller's own context: who canceled wants to hear that, and who ran
// out of time does not know what happened.
func (s *server) lost(ctx context.Context, err error) error {
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
func (s *server) unreachable(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() && !errors.As(err, new(*net.DNSError)) {
		return patchbay.Errorf(patchbay.Timeout, "%s did not answer in time", s.address()).AsTransient()
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn == nil && record.Msg == "no TLS" {
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s does not speak TLS, and sslmode %s insists on it", s.address(), s.tls.Mode).
			WithFix("give the server a certificate (ssl_cert, ssl_key), or register it with sslmode prefer")
	}
	if errors.Is(err, mysql.ErrUnknownPlugin) || errors.Is(err, mysql.ErrOldPassword) || errors.Is(err, mysql.ErrCleartextPassword) || errors.Is(err, mysql.ErrNativePassword) {
		return patchbay.Errorf(patchbay.NotSupported, "%s asks to sign in in a way that is not known here", s.address()).
			WithFix("give the account a plugin that is: mysql_native_password, caching_sha2_password or ed25519")
	}
	e := s.tls.DialError(err, s.address())
	switch e.Code {
	case patchbay.NameNotResolved:
		return e.AsTransient().WithFix("look it up where the connection is made from: getent hosts %s", s.host)
	case patchbay.PortClosed:
		return e.WithFix("see that the server runs, and its bind_address and port")
	case patchbay.CertificateInvalid:
		return e.WithFix("%s", driver.CertificateFix(e, "the property tlsServerName", "the property ca"))
	}
	return e
}

func (s *server) noDatabase() error {
	return patchbay.Errorf(patchbay.ChildMissing, "there is no such database on %s", s.address())
}

func (s *server) readOnly(text string) *patchbay.Error {
	if text != "" {
		text = ": " + text
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s lets nobody write (read_only)%s", s.address(), text).
		WithFix("register the primary, if it is a replica; otherwise: SET GLOBAL read_only = 0")
}

// adminError says what err means when the administrator met it. What the server said
// is beside it: a connection's caller, who sees the errors of its steps, does not
// administer the server.
func (t *target) adminError(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		return err
	}
	if e := t.server.lost(ctx, err); e != nil {
		return e
	}
	var said *mysql.MySQLError
	if !errors.As(err, &said) {
		return t.server.unreachable(err)
	}
	text := fmt.Sprintf("error %d", said.Number)
	if what != "" {
		text = what + ": " + text
	}
	at, admin := t.server.address(), t.server.admin.Username
	var e *patchbay.Error
	switch {
	case slices.Contains(admitNot, said.Number):
		e = patchbay.Errorf(patchbay.AdminRefused, "%s does not let the administrator %q in: %s", at, admin, text).
			WithFix("register the server again with an admin credential that signs in from here; which accounts there are: SELECT user, host FROM mysql.user")
	case said.Number == errNoSuchDatabase:
		return t.server.noDatabase()
	case said.Number == errReadOnly, said.Number == 1836:
		e = t.server.readOnly(text)
	case said.Number == errPasswordPolicy:
		e = patchbay.Errorf(patchbay.AdminRights, "%s takes no password that it can't look at: %s", at, text).
			WithFix("register it with sslmode require or stricter, so that it can be told one in TLS; or: SET GLOBAL strict_password_validation = OFF")
	case said.Number == 4006 || said.Number == 4007 || said.Number == 3894 || said.Number == 3895:
		e = patchbay.Errorf(patchbay.Conflict, "%s does not drop an account that something has just been made to run as: %s", at, text).AsTransient()
	case said.Number == errNoSuchRole, said.Number == errNoSuchRoleMaria:
		e = patchbay.Errorf(patchbay.AdminRights, "there is no such role on %s, or the administrator %q may not grant it: %s", at, admin, text).
			WithFix("see which there are: SELECT * FROM information_schema.applicable_roles; as who made it: GRANT role TO %s WITH ADMIN OPTION", admin)
	case mayNot(err):
		e = patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not do what is needed on %s: %s", admin, at, text).
			WithFix("see what it has: SHOW GRANTS; what it needs is in docs/security.md, MySQL")
	default:
		code, ok := passing[said.Number]
		if !ok {
			e = patchbay.Errorf(patchbay.Internal, "%s: %s", at, text)
			break
		}
		e = patchbay.Errorf(code, "%s: %s", at, text).AsTransient()
		if said.Number == 1040 || said.Number == 1203 {
			e = e.WithFix("see who has them: SELECT user, count(*) FROM information_schema.processlist GROUP BY 1; max_connections has to leave room for %d of ours (maxSessions)", t.server.sessions)
		}
	}
	return e.WithSaid(said.Message)
}

// roleError says why a role could not be granted.
func (s *session) roleError(err error, role string) error {
	if !mayNot(err) && numberOf(err) != errAccessDenied && numberOf(err) != 1698 {
		return err
	}
	return patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not grant the role %s on %s", s.server.admin.Username, driver.Quoted(role), s.server.address()).
		WithFix("as who may: GRANT %s TO %s WITH ADMIN OPTION", driver.Quoted(role), s.adminName())
}
