package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"syscall"

	"patchbay.dev/patchbay"
)

// DialError says what a failed connection to address means, in the codes that
// every driver shares. What a moment may mend is transient.
func DialError(err error, address string) *patchbay.Error {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		timeout     net.Error
		known       *patchbay.Error
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known): // the dialer refused
		return known
	case errors.As(err, &dns):
		plain := *dns
		plain.Server = "" // where this machine asks for names is not the caller's to know
		e := patchbay.Errorf(patchbay.NameNotResolved, "the name %s has no address: %w", dns.Name, &plain)
		e.Transient = dns.IsTemporary || dns.IsTimeout
		return e
	case errors.As(err, &certificate), errors.As(err, &authority), errors.As(err, &hostname):
		return patchbay.Errorf(patchbay.CertificateInvalid, "the certificate of %s is not one to trust: %w", address, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return patchbay.Errorf(patchbay.PortClosed, "nothing listens on %s: %w", address, err).AsTransient()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return patchbay.Errorf(patchbay.TargetUnreachable, "no answer from %s in time: %w", address, err).AsTransient()
	default:
		return patchbay.Errorf(patchbay.TargetUnreachable, "no connection to %s: %w", address, err).AsTransient()
	}
}
