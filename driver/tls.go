package driver

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// TLSMode is how far TLS is insisted on, and how far it is checked who answers, in
// the words that PostgreSQL's library made common.
type TLSMode string

// The modes, from the least to the most. Nobody in the middle is kept out by the
// first three: what they ask for in TLS, anybody can give.
const (
	TLSDisable    TLSMode = "disable"     // never
	TLSPrefer     TLSMode = "prefer"      // where the server has it; whoever answers
	TLSRequire    TLSMode = "require"     // always; whoever answers, or with a CA the same as verify-ca
	TLSVerifyCA   TLSMode = "verify-ca"   // a certificate of the authority, for whichever name
	TLSVerifyFull TLSMode = "verify-full" // a certificate of the authority, for the server's name
)

// TLSModes are all of them.
var TLSModes = []TLSMode{TLSDisable, TLSPrefer, TLSRequire, TLSVerifyCA, TLSVerifyFull}

// TLS is what a registration says of the encryption of its connections.
type TLS struct {
	Mode TLSMode // "" is verify-full
	// CA are the authorities that a server's certificate may be of, in PEM; "" is
	// the system's.
	CA string
	// ServerName is the name in the certificate, where that is not the one that is
	// connected to.
	ServerName string
	// ClientCert and ClientKey, in PEM, are what the administrator signs in with,
	// or both zero.
	ClientCert, ClientKey patchbay.Secret
}

// Reading is what a client library makes of the settings that are written for it.
type Reading struct {
	Mode  TLSMode `json:"mode,omitempty"`  // "": as it was registered
	Named bool    `json:"named,omitempty"` // it was told the server's name
}

// ReadBy is t as strict as r: what is tried must not succeed where the application
// will fail. It is never less strict than t.
func (t TLS) ReadBy(r Reading) TLS {
	if r.Mode == "" {
		return t
	}
	if slices.Index(TLSModes, r.Mode) > slices.Index(TLSModes, t.mode()) {
		t.Mode = r.Mode
	}
	if r.Mode == TLSVerifyFull && !r.Named {
		t.ServerName = ""
	}
	return t
}

// Verified reports whether who answers was proven to be who was asked, so that
// what is told there is told to nobody else. A certificate of whichever name
// proves nothing where the authorities are the system's: anybody gets one.
func (t TLS) Verified() bool {
	switch t.mode() {
	case TLSVerifyFull:
		return true
	case TLSVerifyCA:
		return t.CA != ""
	}
	return false
}

// mode is the effective one.
func (t TLS) mode() TLSMode {
	switch {
	case t.Mode == "":
		return TLSVerifyFull
	case t.Mode == TLSRequire && t.CA != "":
		return TLSVerifyCA
	}
	return t.Mode
}

// Config is for connections to host (TLS 1.2 at least), and nil in mode disable.
// Without a host, [TLSTo] sets it for each connection. What is wrong with the
// registration is InvalidArgument, and shows no secret.
func (t TLS) Config(host string) (*tls.Config, error) {
	if !slices.Contains(TLSModes, t.mode()) {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the TLS mode is %s, and can be %s", Quoted(fmt.Sprintf("%q", string(t.Mode))), strings.Join(Words(TLSModes), ", "))
	}
	hasCert := !t.ClientCert.IsZero() || !t.ClientKey.IsZero()
	if t.mode() == TLSDisable {
		if t.CA != "" || hasCert {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "TLS is off, but certificates are given")
		}
		return nil, nil
	}
	if t.ServerName != "" {
		if !IsHost(t.ServerName) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the name of the server in its certificate can't be one")
		}
		host = t.ServerName
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the authority (ca) holds no certificate in PEM")
		}
	}
	switch t.mode() {
	case TLSPrefer, TLSRequire:
		c.InsecureSkipVerify = true // #nosec G402 -- these modes are not about who answers
	case TLSVerifyCA:
		c.InsecureSkipVerify = true // #nosec G402 -- all but the name is verified here
		c.VerifyConnection = ofAuthority(c.RootCAs)
	}
	if hasCert {
		pair, err := tls.X509KeyPair([]byte(t.ClientCert.Reveal()), []byte(t.ClientKey.Reveal()))
		if err != nil {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the client certificate and its key are not a pair, in PEM")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// TLSTo is a copy of c for a connection to host, unless c names its server.
func TLSTo(c *tls.Config, host string) *tls.Config {
	c = c.Clone()
	if c.ServerName == "" {
		c.ServerName = host
	}
	return c
}

// ofAuthority verifies a certificate but for its name. roots may be nil: the
// system's.
func ofAuthority(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			between.AddCert(c)
		}
		if _, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
		}
		return nil
	}
}
