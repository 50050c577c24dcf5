package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"patchbay.dev/patchbay"
)

// The files of the local authority in the data directory.
const (
	CAFile         = "ca.crt" // what clients trust
	caKeyFile      = "ca.key"
	serverCertFile = "server.crt"
	serverKeyFile  = "server.key"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	// renewBefore leaves a month to notice a clock that is wrong.
	renewBefore = 30 * 24 * time.Hour
	// backdate lets clients whose clock is a little slow trust a new certificate.
	backdate = time.Hour
)

// authority is the local certificate authority and the server's certificate of
// it.
type authority struct {
	dir   string
	names []string
	now   patchbay.Clock
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey

	mu      sync.Mutex
	leaf    *tls.Certificate
	expires time.Time
}

// openAuthority reads the authority, or makes it at the first start, and makes
// sure of a server certificate for names.
func openAuthority(dir string, names []string, now patchbay.Clock) (*authority, error) {
	a := &authority{dir: dir, names: names, now: now}
	certPath, keyPath := filepath.Join(dir, CAFile), filepath.Join(dir, caKeyFile)
	certPEM, err := os.ReadFile(certPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := a.make(certPath, keyPath); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, patchbay.Errorf(patchbay.Internal, "read the local authority: %w", err)
	default:
		keyPEM, err := readPrivate(keyPath)
		if err != nil {
			return nil, patchbay.Errorf(patchbay.Internal, "read the local authority's key: %w", err).WithFix("%s", fixOf(err))
		}
		if a.cert, a.key, err = parsePair(certPEM, keyPEM); err != nil || !a.cert.IsCA {
			return nil, patchbay.Errorf(patchbay.CertificateInvalid, "%s and %s are not an authority and its key", certPath, keyPath).
				WithFix("rm %s %s, start again, and give clients the new %s", certPath, keyPath, CAFile)
		}
	}
	if now().After(a.cert.NotAfter) {
		return nil, patchbay.Errorf(patchbay.CertificateInvalid, "the local authority %s ended on %s", certPath, a.cert.NotAfter.Format(time.DateOnly)).
			WithFix("rm %s %s, start again, and give clients the new %s", certPath, keyPath, CAFile)
	}
	a.load()
	if _, err := a.certificate(); err != nil {
		return nil, err
	}
	return a, nil
}

func fixOf(err error) string {
	if e := patchbay.AsError(err); e.Fix != "" {
		return e.Fix
	}
	return "restore it from a backup, or rm " + CAFile + " and start again with a new authority"
}

func (a *authority) make(certPath, keyPath string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "make the local authority's key: %w", err)
	}
	now := a.now()
	host, _ := os.Hostname()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: strings.TrimSpace("Patchbay local authority " + host)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "make the local authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return patchbay.Errorf(patchbay.Internal, "make the local authority: %w", err)
	}
	a.key = key
	// The certificate is written last: its absence is what makes a first start.
	return writePair(certPath, keyPath, [][]byte{der}, key)
}

// load takes the server's certificate of an earlier start. One that is not
// usable is left to be replaced.
func (a *authority) load() {
	certPEM, err := os.ReadFile(filepath.Join(a.dir, serverCertFile))
	if err != nil {
		return
	}
	keyPEM, err := readPrivate(filepath.Join(a.dir, serverKeyFile))
	if err != nil {
		return
	}
	cert, key, err := parsePair(certPEM, keyPEM)
	if err != nil || cert.CheckSignatureFrom(a.cert) != nil || !slices.Equal(namesOf(cert), a.names) {
		return
	}
	a.leaf = &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	a.expires = cert.NotAfter
}

// certificate is the server's certificate, a new one when the old one ends
// soon. A renewal that can't be stored is served all the same.
func (a *authority) certificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.leaf != nil && now.Add(renewBefore).Before(a.expires) {
		return a.leaf, nil
	}
	if a.leaf != nil && a.expires.Equal(a.cert.NotAfter) && now.Before(a.expires) {
		return a.leaf, nil // as long as its authority; a new one would be no longer
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "make the server's key: %w", err)
	}
	ends := now.Add(leafLife)
	if ends.After(a.cert.NotAfter) {
		ends = a.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Patchbay"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              ends,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range a.names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "make the server's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "make the server's certificate: %w", err)
	}
	first := a.leaf == nil
	a.leaf = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}
	a.expires = cert.NotAfter
	err = writePair(filepath.Join(a.dir, serverCertFile), filepath.Join(a.dir, serverKeyFile), [][]byte{der}, key)
	if err != nil && first {
		return nil, err
	}
	return a.leaf, nil
}

// config is the TLS of the server: the certificate is looked at with every
// handshake, so a server that runs for months renews it by itself.
func (a *authority) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.certificate() },
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

// certificateNames are the names that the server's certificate is for, sorted:
// the loopback ones, the machine's, those of the listener and public URL, and
// the configured.
func certificateNames(o Options, public string) []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, o.Names...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	if host, _, err := net.SplitHostPort(o.Address); err == nil {
		names = append(names, host)
	}
	if u, err := url.Parse(public); err == nil {
		names = append(names, u.Hostname())
	}
	set := map[string]bool{}
	for _, n := range names {
		n = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(n), "."))
		if ip := net.ParseIP(n); ip != nil {
			if ip.IsUnspecified() {
				continue
			}
			n = ip.String()
		} else if !dnsName(n) {
			continue
		}
		set[n] = true
	}
	list := make([]string, 0, len(set))
	for n := range set {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// dnsName reports whether a certificate can hold n: what a kernel lets a host
// be called is more.
func dnsName(n string) bool {
	return n != "" && len(n) <= 253 && !strings.ContainsFunc(n, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '*' || r == '_')
	})
}

func namesOf(c *x509.Certificate) []string {
	list := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	slices.Sort(list)
	return list
}

func serial() *big.Int {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	raw[0] &= 0x7f
	return new(big.Int).SetBytes(raw)
}

func writePair(certPath, keyPath string, chain [][]byte, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "encode %s: %w", keyPath, err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := renameio.WriteFile(keyPath, keyPEM, 0o600, renameio.IgnoreUmask()); err != nil {
		return patchbay.Errorf(patchbay.Internal, "write %s: %w", keyPath, err)
	}
	var certPEM []byte
	for _, c := range chain {
		certPEM = append(certPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	if err := renameio.WriteFile(certPath, certPEM, 0o644); err != nil {
		return patchbay.Errorf(patchbay.Internal, "write %s: %w", certPath, err)
	}
	return nil
}

func parsePair(certPEM, keyPEM []byte) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("not an ECDSA key")
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	return cert, key, err
}
