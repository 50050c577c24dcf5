package mongodb

import (
	"context"
	"errors"
	"fmt"
	"net"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Codes of MongoDB's errors (src/mongo/base/error_codes.yml).
const (
	codeBadValue             = 2
	codeUserNotFound         = 11
	codeUnauthorized         = 13
	codeProtocolError        = 17
	codeAuthenticationFailed = 18
	codeNamespaceNotFound    = 26
	codeRoleNotFound         = 31
	codeCommandNotFound      = 59
	codeNotImplemented       = 238
	codeMechanismUnavailable = 334
	codeAtlas                = 8000
	codeUserExists           = 51003
)

// refused is what a server says no with.
type refused struct {
	Code    int32
	Message string
}

// Error is for the case that it is shown as it is, which it is not.
func (r *refused) Error() string { return fmt.Sprintf("error %d", r.Code) }

// is reports whether the server refused with one of these.
func is(err error, codes ...int32) bool {
	var said *refused
	if !errors.As(err, &said) {
		return false
	}
	for _, code := range codes {
		if said.Code == code {
			return true
		}
	}
	return false
}

// passing reports that a moment may mend it: a primary steps down, a server ends or is
// still starting, members are too few, a time-out of the server's own.
func passing(err error) bool {
	return is(err, 6, 7, 43, 50, 64, 89, 91, 100, 112, 133, 134, 150, 175, 189, 202, 216, 237, 262, 317, 10058, 10107, 11600, 11602, 13435, 13436)
}

// steppedDown reports that the server is no primary any more.
func steppedDown(err error) bool { return is(err, 189, 10058, 10107, 11602, 13435, 13436) }

// fault says what a refusal means for what was tried, in our words.
func (l *link) fault(what string, err error) error {
	var said *refused
	if !errors.As(err, &said) {
		return err
	}
	admin := l.refusal == patchbay.AdminRefused
	var e *patchbay.Error
	switch {
	case steppedDown(err):
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s is not the primary any more", what, l.at).AsTransient()
	case passing(err):
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s can't at the moment (error %d)", what, l.at, said.Code).AsTransient()
	case said.Code == codeUnauthorized && admin:
		e = patchbay.Errorf(patchbay.AdminRights, "%s: %s may not do that on %s", what, l.name(), l.at).
			WithFix("give it the role userAdmin on the database: db.getSiblingDB(%q).grantRolesToUser(NAME, [{role: \"userAdmin\", db: \"DATABASE\"}])", l.who.database)
	case said.Code == codeUnauthorized:
		e = patchbay.Errorf(patchbay.RightsMissing, "%s: %s may not do that on %s", what, l.name(), l.at)
	case said.Code == codeAtlas:
		e = patchbay.Errorf(patchbay.NotSupported, "%s: %s is of a provider whose API makes users", what, l.at).
			WithFix("register it as external, and give connections a login that was made there")
	case said.Code == codeBadValue, said.Code == codeCommandNotFound, said.Code == codeNotImplemented, said.Code == 9, said.Code == 14, said.Code == 72, said.Code == 73, said.Code == 115, said.Code == 40414, said.Code == 40415:
		e = patchbay.Errorf(patchbay.NotSupported, "%s: %s does not take the command as MongoDB does (error %d)", what, l.at, said.Code).
			WithFix("if it is no MongoDB, but something that speaks like it, register it as external")
	default:
		e = patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s refuses it (error %d)", what, l.at, said.Code).AsTransient()
	}
	if admin {
		e = e.WithSaid(said.Message)
	}
	return e
}

// strange is an answer that no MongoDB gives.
func (l *link) strange(what string) error {
	return patchbay.Errorf(patchbay.TargetMisbehaved, "%s gives %s in a form that MongoDB does not have", l.at, what).
		WithFix("see what listens on %s", l.at)
}

// lost says what an error of the connection means.
func (l *link) lost(ctx context.Context, err error) *patchbay.Error {
	var already *patchbay.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	case l.budget.Fault() != nil:
		copied := *l.budget.Fault()
		return &copied
	case errors.As(err, &already):
		return already
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return patchbay.Errorf(patchbay.Timeout, "no answer from %s in time", l.at).AsTransient()
	case errors.Is(err, errNoMongo):
		return patchbay.AsError(l.strange("an answer"))
	}
	e := l.tls.DialError(err, l.at)
	switch host, _, _ := net.SplitHostPort(l.at); {
	case l.asked && driver.HopOf(e).OfTLS(), l.asked && driver.HopOf(e) == driver.HopEnd:
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s wants a certificate of its clients, and the login has none", l.at).
			WithFix("set net.tls.allowConnectionsWithoutCertificates on the server: applications have none either")
	case e.Code == patchbay.NameNotResolved: // it was registered, so it will have an address again
		e = e.AsTransient().WithFix("look it up where the connection is made from: getent hosts %s", host)
	case e.Code == patchbay.PortClosed:
		e.Fix = "see that the server runs, and its net.bindIp and net.port"
	case e.Code == patchbay.CertificateInvalid && e.Fix == "":
		e.Fix = driver.CertificateFix(e, "a name of the endpoint that is in it", "the property ca")
	}
	if driver.HopOf(e) == driver.HopEnd && l.protocol == "" && l.tls.Mode == driver.TLSDisable {
		e.Fix = "if the server insists on TLS, register it without sslmode disable"
	}
	return e
}
