package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
)

func TestWhatADialerRefusedIsNotTriedAgain(t *testing.T) {
	no := patchbay.Errorf(patchbay.InvalidArgument, "not there")
	e := DialError(&net.OpError{Op: "dial", Net: "tcp", Err: no}, "10.0.0.1:1")
	if e.Code != patchbay.InvalidArgument || e.Transient {
		t.Errorf("%+v", e)
	}
}

// Whatever the form in which package net, or a library that wraps it, tells it.
func TestAnUnknownNameDoesNotTellTheNameServer(t *testing.T) {
	const server = "10.1.2.3:53"
	at := &net.UDPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 53}
	dns := &net.DNSError{Err: "no such host", Name: "db.example.corp.internal", Server: server, IsNotFound: true}
	asked := &net.DNSError{Err: "read udp 10.0.0.7:4711->" + server + ": i/o timeout", Name: "db.example", Server: server, IsTimeout: true}
	refused := &net.DNSError{Err: "dial udp " + server + ": connect: connection refused", Name: "db.example", UnwrapErr: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		err       error
		code      patchbay.Code
		transient bool
	}{
		{dns, patchbay.NameNotResolved, false},
		{asked, patchbay.NameNotResolved, true},
		{refused, patchbay.NameNotResolved, false},
		{&net.OpError{Op: "dial", Net: "tcp", Err: dns}, patchbay.NameNotResolved, false},
		{fmt.Errorf("connect to db.example: %w", asked), patchbay.NameNotResolved, true},
		{errors.Join(errors.New("first"), fmt.Errorf("second: %w", refused)), patchbay.NameNotResolved, false},
		{errors.New(dns.Error()), patchbay.TargetUnreachable, true},
		{errors.New("no servers available: " + asked.Error()), patchbay.TargetUnreachable, true},
		{&net.OpError{Op: "dial", Net: "udp", Addr: at, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, patchbay.PortClosed, true},
		{&net.OpError{Op: "read", Net: "udp", Addr: at, Err: os.ErrDeadlineExceeded}, patchbay.TargetUnreachable, true},
	} {
		e := DialError(tt.err, "db.example:1")
		if e.Code != tt.code || e.Transient != tt.transient {
			t.Errorf("%v: %+v", tt.err, e)
		}
		all := fmt.Sprintf("%+v %#v %v", e, *e, errors.Unwrap(e))
		if strings.Contains(all, "10.1.2.3") || strings.Contains(all, "corp") || !strings.Contains(e.Message, "db.example") {
			t.Errorf("%v: %s", tt.err, all)
		}
	}
}

func TestAConnectionThatFailsIsToldInOurWords(t *testing.T) {
	const canary = "CANARY"
	cert := &x509.Certificate{Subject: pkix.Name{CommonName: canary}, DNSNames: []string{canary}, Issuer: pkix.Name{CommonName: canary}}
	remote := func(err error) error { return &net.OpError{Op: "remote error", Err: err} }
	for _, tt := range []struct {
		err  error
		code patchbay.Code
	}{
		{x509.UnknownAuthorityError{Cert: cert}, patchbay.CertificateInvalid},
		{x509.HostnameError{Certificate: cert, Host: "db.example"}, patchbay.CertificateInvalid},
		{x509.CertificateInvalidError{Cert: cert, Reason: x509.Expired, Detail: canary}, patchbay.CertificateInvalid},
		{&tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{cert}, Err: errors.New(canary)}, patchbay.CertificateInvalid},
		{tls.RecordHeaderError{Msg: canary}, patchbay.CertificateInvalid},
		{remote(errors.New("tls: " + canary)), patchbay.CertificateInvalid},
		{errors.New("tls: server chose " + canary), patchbay.CertificateInvalid},
		{fmt.Errorf("%s: %w", canary, syscall.ECONNREFUSED), patchbay.PortClosed},
		{fmt.Errorf("%s: %w", canary, context.DeadlineExceeded), patchbay.TargetUnreachable},
		{fmt.Errorf("%s: %w", canary, syscall.EHOSTUNREACH), patchbay.TargetUnreachable},
		{fmt.Errorf("%s: %w", canary, io.ErrUnexpectedEOF), patchbay.TargetUnreachable},
		{errors.New(canary), patchbay.TargetUnreachable},
	} {
		e := DialError(tt.err, "db.example:1")
		if e.Code != tt.code || strings.Contains(fmt.Sprintf("%+v %#v", e, *e), canary) {
			t.Errorf("%v: %+v", tt.err, e)
		}
	}
}

func TestWhatIsWrongWithACertificateIsSaid(t *testing.T) {
	cert := &x509.Certificate{}
	verification := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	for _, tt := range []struct {
		err error
		why string
	}{
		{verification(x509.UnknownAuthorityError{}), "no authority that is trusted here"},
		{verification(x509.HostnameError{Certificate: cert}), "for another name"},
		{verification(x509.CertificateInvalidError{Cert: cert, Reason: x509.Expired}), "has expired"},
		{verification(x509.CertificateInvalidError{Cert: cert, Reason: x509.TooManyIntermediates}), "can't be verified"},
		{verification(errors.New("something else")), "can't be verified"},
		{tls.RecordHeaderError{}, "does not speak TLS"},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, "does not agree on TLS"},
	} {
		if e := DialError(tt.err, "db.example:1"); !strings.Contains(e.Message, tt.why) || e.Code != patchbay.CertificateInvalid || e.Transient {
			t.Errorf("%v: %+v", tt.err, e)
		}
	}
}

// The hop is a word of ours, and goes through what takes causes out of errors.
func TestAFailureNamesItsHop(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, tt := range []struct {
		err error
		hop Hop
	}{
		{&net.DNSError{IsNotFound: true}, HopName},
		{dial(&net.DNSError{IsTimeout: true}), HopName},
		{dial(os.NewSyscallError("connect", syscall.EPERM)), HopOwn},
		{dial(os.NewSyscallError("connect", syscall.EACCES)), HopOwn},
		{&net.OpError{Op: "dial", Net: "unix", Err: syscall.EACCES}, ""}, // a socket's mode, and no network's
		{dial(syscall.ENETUNREACH), HopRoute},
		{dial(syscall.EHOSTUNREACH), HopHost},
		{dial(context.DeadlineExceeded), HopSilence},
		{dial(syscall.ETIMEDOUT), HopSilence},
		// Of several addresses, the one that leads the furthest.
		{dial(errors.Join(dial(syscall.ENETUNREACH), dial(os.ErrDeadlineExceeded))), HopSilence},
		{dial(errors.Join(dial(os.ErrDeadlineExceeded), dial(syscall.ECONNREFUSED))), HopPort},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}, ""}, // it was made
		{context.DeadlineExceeded, ""}, // of what, nobody knows
		{dial(syscall.ECONNREFUSED), HopPort},
		{io.EOF, HopEnd},
		{tls.RecordHeaderError{}, HopTLS},
		{x509.HostnameError{Certificate: &x509.Certificate{}}, HopTLSName},
		{x509.UnknownAuthorityError{}, HopAuthority},
		{x509.CertificateInvalidError{Reason: x509.Expired}, HopExpired},
		{errors.New("whatever"), ""},
	} {
		e := DialError(tt.err, "db.example:1")
		if got := HopOf(e); got != tt.hop || got.OfTLS() != (e.Code == patchbay.CertificateInvalid) {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.hop)
		}
		if got := HopOf(Guard{}.redact(e, nil)); got != tt.hop {
			t.Errorf("%v, guarded: %q, want %q", tt.err, got, tt.hop)
		}
		if tt.hop != "" && !slices.Contains(Hops, tt.hop) {
			t.Errorf("%q is not among all", tt.hop)
		}
	}
}

// A name that the registration has is shown; one that came from elsewhere, a name
// server's answer say, is not.
func TestWhichNameWasAskedForIsSaidWhereItIsOurs(t *testing.T) {
	cert := &x509.Certificate{DNSNames: []string{"CANARY"}}
	for _, tt := range []struct {
		t             TLS
		asked, expect string
	}{
		{TLS{}, "db.example", "it is for another name than db.example"},
		{TLS{}, "DB.example", "it is for another name than DB.example"},
		{TLS{ServerName: "orders.internal"}, "orders.internal", "it is for another name than orders.internal"},
		{TLS{}, "shard-0.CANARY", "it is for another name"},
	} {
		e := tt.t.DialError(&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: cert, Host: tt.asked}}, "db.example:5432")
		if !strings.HasSuffix(e.Message, tt.expect) || strings.Contains(e.Message, "CANARY") {
			t.Errorf("%s: %s", tt.asked, e.Message)
		}
	}
	e := TLS{}.DialError(x509.HostnameError{Certificate: cert, Host: "fd00::5"}, "[fd00::5]:5432")
	if !strings.HasSuffix(e.Message, "than fd00::5") {
		t.Error(e)
	}
}

// What helps against one fault of a certificate does not against another.
func TestTheFixOfACertificateIsForWhatIsWrongWithIt(t *testing.T) {
	for _, tt := range []struct {
		err       error
		has, lack string
	}{
		{x509.HostnameError{Certificate: &x509.Certificate{}}, "NAME", "AUTHORITY"},
		{x509.UnknownAuthorityError{}, "AUTHORITY", "NAME"},
		{x509.CertificateInvalidError{Reason: x509.Expired}, "renew", "AUTHORITY"},
		{x509.CertificateInvalidError{}, "AUTHORITY", "renew"},
	} {
		if fix := CertificateFix(DialError(tt.err, "db:1"), "NAME", "AUTHORITY"); !strings.Contains(fix, tt.has) || strings.Contains(fix, tt.lack) {
			t.Errorf("%v: %s", tt.err, fix)
		}
	}
	for ca, want := range map[string][2]string{"": {"none was registered", "give the authority"}, "PEM": {"the authority that was registered did not", "see who answers"}} {
		e := TLS{CA: ca}.DialError(x509.UnknownAuthorityError{}, "db:1")
		if !strings.Contains(e.Message, want[0]) || !strings.Contains(CertificateFix(e, "NAME", "AUTHORITY"), want[1]) {
			t.Errorf("%q: %s; %s", ca, e.Message, CertificateFix(e, "NAME", "AUTHORITY"))
		}
	}
}

func TestWhatAMomentMayMendIsTriedAgain(t *testing.T) {
	for _, err := range []error{
		syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, os.ErrDeadlineExceeded, errors.New("whatever"),
	} {
		if e := DialError(&net.OpError{Op: "dial", Err: err}, "db.example:1"); !e.Transient {
			t.Errorf("%v: %+v", err, e)
		}
	}
}
