package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
)

// DialError says what a failed connection to address means, in the codes that
// every driver shares, and in our words alone. err's own may be whatever somebody
// at the other end put into a certificate or an answer, or name the server where
// this machine looks names up; so err is not even kept as a cause. What a moment
// may mend is transient.
func DialError(err error, address string) *patchbay.Error {
	var known *patchbay.Error
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known): // the dialer refused
		return known
	case errors.As(err, &dns):
		return nameError(dns, address)
	case certificateWhy(err) != "":
		return patchbay.Errorf(patchbay.CertificateInvalid, "the certificate of %s is not to be trusted: %s", address, certificateWhy(err))
	case errors.As(err, new(tls.RecordHeaderError)):
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s does not speak TLS", address)
	case disagreed(err):
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s does not agree on TLS", address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return patchbay.Errorf(patchbay.PortClosed, "nothing listens on %s", address).AsTransient()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return patchbay.Errorf(patchbay.TargetUnreachable, "no answer from %s in time", address).AsTransient()
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return patchbay.Errorf(patchbay.TargetUnreachable, "there is no route to %s", address).AsTransient()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s ends the connection", address).AsTransient()
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "no connection to %s", address).AsTransient()
}

func nameError(dns *net.DNSError, address string) *patchbay.Error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if dns.IsNotFound {
		return patchbay.Errorf(patchbay.NameNotResolved, "the name %s has no address", host)
	}
	e := patchbay.Errorf(patchbay.NameNotResolved, "the name %s can't be looked up", host)
	e.Transient = dns.IsTemporary || dns.IsTimeout
	return e
}

// certificateWhy says what is wrong with a certificate; "" when err is not about
// one.
func certificateWhy(err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "no authority that is trusted here signed it"
	case errors.As(err, new(x509.HostnameError)):
		return "it is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired, or is not valid yet"
	case errors.As(err, &invalid), errors.As(err, new(*tls.CertificateVerificationError)):
		return "it can't be verified"
	}
	return ""
}

// disagreed reports whether err is an alert, or what package tls says of a server
// that does not keep to the protocol: it has types for neither.
func disagreed(err error) bool {
	var op *net.OpError
	return errors.As(err, new(tls.AlertError)) || errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") ||
		strings.HasPrefix(err.Error(), "tls: ")
}

// KeptOpen is a dialer that holds nothing, as one that can be closed.
func KeptOpen(d Dialer) ClosingDialer { return keptOpen{d} }

type keptOpen struct{ Dialer }

func (keptOpen) Close() error { return nil }
