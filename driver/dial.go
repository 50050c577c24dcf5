package driver

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
)

// Hop is where on its way a connection failed. [DialError] keeps it as the cause of
// what it gives: it is a word of ours, and goes wherever the error goes.
type Hop string

const (
	HopName      Hop = "the name is not resolved"
	HopOwn       Hop = "it is forbidden where it is made"
	HopRoute     Hop = "there is no route"
	HopHost      Hop = "the machine is not reached"
	HopSilence   Hop = "nobody answers"
	HopPort      Hop = "it is refused"
	HopEnd       Hop = "it is ended"
	HopTLS       Hop = "TLS is not agreed on"
	HopTLSName   Hop = "the certificate is for another name"
	HopAuthority Hop = "the certificate is of no authority that is trusted"
	HopAnother   Hop = "the certificate is of another authority than the one that was registered"
	HopExpired   Hop = "the certificate is not valid at this time"
)

// Hops are all of them.
var Hops = []Hop{HopName, HopOwn, HopRoute, HopHost, HopSilence, HopPort, HopEnd, HopTLS, HopTLSName, HopAuthority, HopAnother, HopExpired}

// OfTLS reports whether the connection was there, and TLS did not come about.
func (h Hop) OfTLS() bool {
	return h == HopTLS || h == HopTLSName || h == HopAuthority || h == HopAnother || h == HopExpired
}

// Error makes it a cause.
func (h Hop) Error() string { return string(h) }

// HopOf is the hop that err names, "" when it names none.
func HopOf(err error) Hop {
	var h Hop
	errors.As(err, &h)
	return h
}

// DialError says what a failed connection to address means, in the codes that
// every driver shares, and in our words alone. err's own may be whatever somebody
// at the other end put into a certificate or an answer, or name the server where
// this machine looks names up; so err is not kept as a cause, but a [Hop]. What a
// moment may mend is transient.
func DialError(err error, address string) *patchbay.Error { return dialError(err, address, nil) }

// DialError is the function of that name for connections that t secures: of a
// certificate it knows more to say.
func (t TLS) DialError(err error, address string) *patchbay.Error { return dialError(err, address, &t) }

func dialError(err error, address string, t *TLS) *patchbay.Error {
	var known *patchbay.Error
	var dns *net.DNSError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known): // the dialer refused
		return known
	case errors.As(err, &dns):
		return nameError(dns, address)
	}
	if hop, why := certificateWhy(err, address, t); hop != "" {
		return failedAt(hop, patchbay.CertificateInvalid, "the certificate of %s is not to be trusted: %s", address, why)
	}
	var op *net.OpError
	dials := errors.As(err, &op) && op.Op == "dial" && strings.HasPrefix(op.Net, "tcp")
	switch {
	case errors.As(err, new(tls.RecordHeaderError)):
		return failedAt(HopTLS, patchbay.CertificateInvalid, "%s does not speak TLS", address)
	case disagreed(err):
		return failedAt(HopTLS, patchbay.CertificateInvalid, "%s does not agree on TLS", address)
	case errors.Is(err, syscall.ECONNREFUSED):
		return failedAt(HopPort, patchbay.PortClosed, "nothing listens on %s, or a packet filter rejects the connection", address).AsTransient()
	case timedOut(err):
		if !dials { // it may have been made, and nobody answers behind it
			return patchbay.Errorf(patchbay.TargetUnreachable, "no answer from %s in time", address).AsTransient()
		}
		return failedAt(HopSilence, patchbay.TargetUnreachable, "no answer from %s in time: a packet filter drops the connection, the address is wrong, or the machine is down", address).AsTransient()
	case errors.Is(err, syscall.EHOSTUNREACH):
		return failedAt(HopHost, patchbay.TargetUnreachable, "the machine of %s is not reached: it is down, its address is wrong, or a packet filter rejects the connection", address).AsTransient()
	case errors.Is(err, syscall.ENETUNREACH):
		return failedAt(HopRoute, patchbay.TargetUnreachable, "there is no route to %s", address).AsTransient()
	case dials && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)):
		return failedAt(HopOwn, patchbay.TargetUnreachable, "a connection to %s is forbidden where it is made, by a route or another rule of that machine", address).AsTransient()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return failedAt(HopEnd, patchbay.TargetUnreachable, "%s ends the connection", address).AsTransient()
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "no connection to %s", address).AsTransient()
}

// timedOut reports whether an attempt did, of those that err is of: the others say
// less of where the way ends.
func timedOut(err error) bool {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return slices.ContainsFunc(several.Unwrap(), timedOut)
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // one after the other
		return true
	}
	next := errors.Unwrap(err)
	return next != nil && timedOut(next)
}

func failedAt(hop Hop, code patchbay.Code, format string, args ...any) *patchbay.Error {
	e := patchbay.Errorf(code, format, args...)
	e.Err = hop
	return e
}

func nameError(dns *net.DNSError, address string) *patchbay.Error {
	host := hostOf(address)
	if dns.IsNotFound {
		return failedAt(HopName, patchbay.NameNotResolved, "the name %s has no address", host)
	}
	e := failedAt(HopName, patchbay.NameNotResolved, "the name %s can't be looked up: no name server gives an answer", host)
	e.Transient = dns.IsTemporary || dns.IsTimeout
	return e
}

// hostOf is the host of host:port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// certificateWhy says what is wrong with a certificate; hop is "" when err is not
// about one. t is what checked it, nil where that is not known.
func certificateWhy(err error, address string, t *TLS) (hop Hop, why string) {
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		switch {
		case t == nil:
			return HopAuthority, "no authority that is trusted here signed it"
		case t.CA == "":
			return HopAuthority, "no authority that the system trusts signed it, and none was registered"
		}
		return HopAnother, "the authority that was registered did not sign it"
	case errors.As(err, &name):
		// The name that was asked for may be a name server's word. One that the
		// registration has is shown.
		why = "it is for another name"
		if asked := name.Host; asked != "" && (strings.EqualFold(asked, hostOf(address)) || t != nil && asked == t.ServerName) {
			why += " than " + asked
		}
		return HopTLSName, why
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return HopExpired, "it has expired, or is not valid yet"
	case errors.As(err, &invalid), errors.As(err, new(*tls.CertificateVerificationError)):
		return HopTLS, "it can't be verified"
	}
	return "", ""
}

// CertificateFix is what helps where [DialError] found a certificate wrong. name and
// authority are where a registration says them, as "the property ca".
func CertificateFix(err error, name, authority string) string {
	switch HopOf(err) {
	case HopTLSName:
		return "give the name that its certificate is for as " + name + ", or give the server a certificate for the name that was asked for"
	case HopAuthority:
		return "give the authority that signed it as " + authority
	case HopAnother:
		return "see who answers there: it is another server than the one that was registered; or give its new authority as " + authority
	case HopExpired:
		return "renew the server's certificate; or set the clock right of the machine where Patchbay runs"
	}
	return "give its authority as " + authority + ", and its name as " + name + " when it is another"
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
