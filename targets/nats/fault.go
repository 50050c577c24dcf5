package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"syscall"

	natsgo "github.com/nats-io/nats.go"

	"patchbay.dev/patchbay"
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

// fault says what err of a connection means. dialed is what the dialer or the
// bounds said, which the client library may have forgotten. refusal is the code for a
// sign-in that the server refuses.
func fault(ctx context.Context, what string, err, dialed error, refusal patchbay.Code) *patchbay.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return patchbay.Errorf(patchbay.Canceled, "%s: %w", what, context.Canceled)
	}
	if e := known(dialed); e != nil {
		return e
	}
	if errors.Is(err, natsgo.ErrMaxAccountConnectionsExceeded) || errors.Is(err, natsgo.ErrMaxConnectionsExceeded) {
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s: the server has as many connections as it allows", what).AsTransient()
	}
	if refused(err) {
		return patchbay.Errorf(refusal, "%s: the server refuses the credential (%w)", what, err)
	}
	if e := certificateFault(what, err); e != nil {
		return e
	}
	if dialed != nil {
		err = dialed
	}
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return patchbay.Errorf(patchbay.NameNotResolved, "%s: %w", what, err).AsTransient()
	case errors.Is(err, syscall.ECONNREFUSED):
		return patchbay.Errorf(patchbay.PortClosed, "%s: %w", what, err).AsTransient()
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, natsgo.ErrTimeout),
		errors.As(err, &timeout) && timeout.Timeout():
		return patchbay.Errorf(patchbay.Timeout, "%s: the server does not answer", what).AsTransient()
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s: %w", what, err).AsTransient()
}

func certificateFault(what string, err error) *patchbay.Error {
	var verification *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, natsgo.ErrSecureConnWanted):
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s: TLS is required, and the server does not offer it", what)
	case errors.As(err, &verification), errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid),
		errors.As(err, &alert), errors.As(err, &record):
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s: %w", what, err)
	case err != nil && strings.HasPrefix(err.Error(), "tls: "):
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s: %w", what, err)
	}
	return nil
}
