package sqlserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	mssql "github.com/microsoft/go-mssqldb"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Errors of a server that mean something to us.
// https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
const (
	errRunsModules = 15136 // a user is what procedures, functions or notifications run as
	errSignIn      = 18456
	errNoDatabase  = 4060
)

var (
	// admitNot are the errors of a sign-in that is refused: a wrong name or password; of
	// another domain, disabled, locked, expired, to be changed; denied by the firewall.
	admitNot = []int32{errSignIn, 18452, 18470, 18486, 18487, 18488, 18461, 40532, 40615}
	// denied are those of a right that lacks; 15151 and 15247 say that, or that the thing
	// is not there.
	denied = []int32{229, 230, 262, 297, 300, 916, 6102, 15151, 15247, 15406, 15517, 4613, 2760}
	// absent are those of a database that one does not get into.
	absent = []int32{errNoDatabase, 911, 916, 942, 927, 924, 922, 945, 952, 976, 983}
	// errsInUse are those of a user that can't be dropped because it owns something, has
	// granted something, or is what modules run as.
	errsInUse = []int32{errRunsModules, 15138, 15183, 15184, 15284, 15421, 15352}
	// errsNoSession are those of a session that is gone, or goes.
	errsNoSession = []int32{6106, 6107, 6111}
	// policy are those of a password that the server does not take.
	policy = []int32{15113, 15114, 15115, 15116, 15117, 15118, 15119}
	// readOnly are those of a database that nobody writes to.
	readOnly = []int32{3906, 3908, 3924, 10751}
)

// passing are those that a moment may mend.
var passing = map[int32]patchbay.Code{
	1205:  patchbay.Conflict,          // deadlock
	1222:  patchbay.Timeout,           // a lock
	3960:  patchbay.Conflict,          // an update under snapshot isolation
	15023: patchbay.Conflict,          // somebody made the user meanwhile
	15025: patchbay.Conflict,          // or the login
	15063: patchbay.Conflict,          // the login has another user
	15434: patchbay.Conflict,          // the login is signed in: a session that undoes what it did
	233:   patchbay.TargetUnreachable, // no connection is taken
	4221:  patchbay.TargetUnreachable, // a replica that waits
	6005:  patchbay.TargetUnreachable, // shutdown
	6104:  patchbay.Conflict,
	10928: patchbay.TargetUnreachable, // limits of Azure's
	10929: patchbay.TargetUnreachable,
	17142: patchbay.TargetUnreachable, // paused
	18401: patchbay.TargetUnreachable, // script upgrade mode
	18451: patchbay.TargetUnreachable, // shutdown
	40197: patchbay.TargetUnreachable, // failover
	40501: patchbay.TargetUnreachable, // busy
	40544: patchbay.TargetUnreachable,
	40549: patchbay.TargetUnreachable,
	40613: patchbay.TargetUnreachable, // the database is not available
	42108: patchbay.TargetUnreachable, // paused
	42109: patchbay.TargetUnreachable, // resuming
	49918: patchbay.TargetUnreachable, // no resources for it
	49919: patchbay.TargetUnreachable,
	49920: patchbay.TargetUnreachable,
}

// numbersOf are the numbers of the server's errors, in its order; none when it said none.
func numbersOf(err error) []int32 {
	var e mssql.Error
	if !errors.As(err, &e) {
		return nil
	}
	var all []int32
	for _, one := range e.All {
		all = append(all, one.Number)
	}
	if len(all) == 0 {
		all = []int32{e.Number}
	}
	return all
}

// numberOf is the number of the first error that the server said, 0 for none: what
// follows is what came of it.
func numberOf(err error) int32 {
	if all := numbersOf(err); len(all) > 0 {
		return all[0]
	}
	return 0
}

// said is what the server said, as it came.
func said(err error) string {
	var e mssql.Error
	if !errors.As(err, &e) {
		return ""
	}
	if len(e.All) > 0 {
		return e.All[0].Message
	}
	return e.Message
}

// oneOf reports whether the server said one of these.
func oneOf(err error, numbers []int32) bool {
	return slices.ContainsFunc(numbersOf(err), func(n int32) bool { return slices.Contains(numbers, n) })
}

// mayNot reports whether a right was lacking.
func mayNot(err error) bool { return oneOf(err, denied) }

// notThere reports whether a sign-in failed for the database's sake.
func notThere(err error) bool { return oneOf(err, absent) }

// gone is the same of a statement about another database.
func gone(err error) bool { return oneOf(err, absent) }

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
	switch {
	case errors.Is(err, errEncryption):
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s insists on TLS, and sslmode disable has none; nothing was told to it", s.address()).
			WithFix("register it with sslmode verify-full")
	case errors.Is(err, errNoEncryption):
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s does not speak TLS, and sslmode %s insists on it; nothing was told to it", s.address(), s.tls.Mode).
			WithFix("a SQL Server always has a certificate: see what listens there, and what is in between")
	}
	e := s.tls.DialError(err, s.address())
	switch e.Code {
	case patchbay.NameNotResolved:
		return e.AsTransient().WithFix("look it up where the connection is made from: getent hosts %s", s.host)
	case patchbay.PortClosed:
		return e.WithFix("see that the server runs, that TCP/IP is on in its network configuration, and its port; a named instance has one of its own")
	case patchbay.CertificateInvalid:
		return e.WithFix("%s", driver.CertificateFix(e, "the property tlsServerName", "the property ca"))
	}
	return e
}

func (s *server) noDatabase() error {
	return patchbay.Errorf(patchbay.ChildMissing, "there is no such database on %s", s.address())
}

func (s *server) readOnly() *patchbay.Error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "the database on %s is read-only", s.address()).
		WithFix("register the primary, if it is a replica; otherwise: ALTER DATABASE CURRENT SET READ_WRITE")
}

// explained says of a right that lacked which one it was: that is known to whoever has
// them looked through.
func (t *target) explained(ctx context.Context, s *session, err error) error {
	if mayNot(err) {
		if now := s.prepare(ctx); now == nil {
			if all, looked := s.lacks(ctx); looked == nil && len(all) > 0 {
				return s.lacking(all).WithSaid(said(err))
			}
		}
	}
	return t.adminError(ctx, err)
}

// adminError says what err means when the administrator met it. What the server said is
// beside it: a connection's caller, who sees the errors of its steps, does not administer
// the server.
func (t *target) adminError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		return err
	}
	if e := t.server.lost(ctx, err); e != nil {
		return e
	}
	number := numberOf(err)
	if number == 0 {
		return t.server.unreachable(err)
	}
	text, at, admin := fmt.Sprintf("error %d", number), t.server.address(), t.server.admin.Username
	var e *patchbay.Error
	switch {
	case oneOf(err, transient()):
		for _, n := range numbersOf(err) {
			if code, ok := passing[n]; ok {
				e = patchbay.Errorf(code, "%s: error %d", at, n).AsTransient()
				break
			}
		}
	case notThere(err):
		e = patchbay.Errorf(patchbay.AdminRights, "the administrator %q does not get into the database on %s: %s", admin, at, text).
			WithFix("see that the database is there and online (sys.databases), and that the administrator has a user in it: CREATE USER … FOR LOGIN …")
	case oneOf(err, admitNot):
		e = patchbay.Errorf(patchbay.AdminRefused, "%s does not let the administrator %q in: %s", at, admin, text).
			WithFix("register the server again with an admin credential that signs in from here; the server's log has the reason (SQL Server and Windows Authentication mode has to be on; on Azure, the firewall has to let this address in)")
	case oneOf(err, readOnly):
		e = t.server.readOnly()
	case oneOf(err, policy):
		e = patchbay.Errorf(patchbay.AdminRights, "%s does not take a password of 40 letters, digits and signs: %s", at, text).
			WithFix("see the machine's password policy and its password filters (15119): the policy's greatest length or its history may be in the way")
	case oneOf(err, errsInUse):
		e = patchbay.Errorf(patchbay.Conflict, "%s does not drop a user that owns something still: %s", at, text).
			WithFix("see what it owns (roles, certificates, keys, assemblies, services: the catalogue's principal_id and owning_principal_id), and give it to another: ALTER AUTHORIZATION ON … TO …")
	case mayNot(err):
		e = patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not do what is needed on %s, or it is not there: %s", admin, at, text).
			WithFix("see what it has: SELECT * FROM fn_my_permissions(NULL, 'DATABASE'); what it needs is in docs/security.md, SQL Server")
	default:
		e = patchbay.Errorf(patchbay.Internal, "%s: %s", at, text)
	}
	return e.WithSaid(said(err))
}

// transient are the numbers in passing.
func transient() []int32 {
	all := make([]int32, 0, len(passing))
	for n := range passing {
		all = append(all, n)
	}
	return all
}

// roleError says why a role could not be given.
func (s *session) roleError(err error, role string) error {
	if !mayNot(err) {
		return err
	}
	return patchbay.Errorf(patchbay.AdminRights, "there is no role %s in the database on %s, or the administrator %q may not give it", driver.Quoted(ident(role)), s.server.address(), s.server.admin.Username).
		WithFix("see which there are: SELECT name FROM sys.database_principals WHERE type = 'R'").WithSaid(said(err))
}
