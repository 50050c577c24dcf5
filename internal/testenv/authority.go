package testenv

import "net"

// Authority signs certificates for a test's servers and clients.
type Authority struct{ a *authority }

// NewAuthority makes one that nobody else trusts.
func NewAuthority() (*Authority, error) {
	a, err := newAuthority()
	return &Authority{a}, err
}

// PEM is its own certificate.
func (a *Authority) PEM() []byte { return a.a.pem }

// Issue makes a certificate and its key, in PEM, for those names and addresses.
func (a *Authority) Issue(commonName string, names []string, addresses []net.IP) (cert, key []byte, err error) {
	return a.a.issue(commonName, names, addresses)
}
