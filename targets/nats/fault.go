package nats

import (
	"context"
	"errors"
	"net"

	natsgo "github.com/nats-io/nats.go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// refused reports whether err is the server's no to a sign-in.
func refused(err error) bool {
	for _, e := range []error{
		natsgo.ErrAuthorization, natsgo.ErrAuthExpired, natsgo.ErrAuthRevoked, natsgo.ErrAccountAuthExpired,
		natsgo.ErrNkeysNotSupported, natsgo.ErrMaxAccountConnectionsExceeded,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// fault says what err of a connection means, in our words. dialed is what the
// dialer's failure means, or what the bounds refused, which the client library may
// have forgotten. refusal is the code for a sign-in that the server refuses: AdminRefused where it is the
// administrator's, who hears what was said too.
func fault(ctx context.Context, what string, err error, dialed *patchbay.Error, refusal patchbay.Code) *patchbay.Error {
	e := meaning(ctx, err, dialed, refusal)
	e.Message = what + ": " + e.Message
	if err != nil && refusal == patchbay.AdminRefused {
		e.Said = err.Error()
	}
	return e
}

func meaning(ctx context.Context, err error, dialed *patchbay.Error, refusal patchbay.Code) *patchbay.Error {
	const server = "the NATS server"
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	case dialed != nil && dialed.Code == patchbay.TargetMisbehaved:
		e := *dialed
		return &e
	case errors.Is(err, natsgo.ErrMaxAccountConnectionsExceeded), errors.Is(err, natsgo.ErrMaxConnectionsExceeded):
		return patchbay.Errorf(patchbay.TargetUnreachable, "the server has as many connections as it allows").AsTransient()
	case errors.Is(err, natsgo.ErrAuthExpired), errors.Is(err, natsgo.ErrAccountAuthExpired):
		return patchbay.Errorf(refusal, "the server refuses the credential, which has expired")
	case errors.Is(err, natsgo.ErrAuthRevoked):
		return patchbay.Errorf(refusal, "the server refuses the credential, which was revoked")
	case refused(err):
		return patchbay.Errorf(refusal, "the server refuses the credential")
	case errors.Is(err, natsgo.ErrSecureConnWanted):
		return patchbay.Errorf(patchbay.CertificateInvalid, "TLS is required, and the server does not offer it")
	}
	said := driver.DialError(err, server)
	switch {
	case said.Code == patchbay.CertificateInvalid && dialed != nil && dialed.Code == said.Code:
		e := *dialed // which knows whom it dialed
		return &e
	case said.Code == patchbay.CertificateInvalid:
		return said
	case ctx.Err() == nil && dialed != nil:
		e := *dialed
		e.Transient = e.Transient || e.Code == patchbay.NameNotResolved // it was registered, so it will have one again
		return &e
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, natsgo.ErrTimeout),
		errors.As(err, &timeout) && timeout.Timeout():
		return patchbay.Errorf(patchbay.Timeout, "the server does not answer").AsTransient()
	}
	return said
}

// unreadable is an answer that is not what was asked for.
func unreadable(what string, err error) *patchbay.Error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s: the answer can't be read", what).WithSaid(err.Error())
}
