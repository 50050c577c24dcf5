package driver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// certified is a certificate of an authority of its own, for db.test.
type certified struct{ ca, cert, key string }

func certify(t testing.TB) certified { return certifyBy(t, false) }

// certifyBy has one authority more in between, which the server sends along.
func certifyBy(t testing.TB, between bool) certified {
	t.Helper()
	block := func(kind string, der []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	issue := func(serial int64, ca bool, names []string) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: ca, BasicConstraintsValid: true, DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		}, key
	}
	authority, authorityKey := issue(1, true, nil)
	leaf, key := issue(2, false, []string{"db.test"})
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	c := certified{ca: block("CERTIFICATE", root, err)}
	chain := ""
	if between {
		second, secondKey := issue(3, true, nil)
		second.Subject.CommonName = "between"
		der, err := x509.CreateCertificate(rand.Reader, second, authority, secondKey.Public(), authorityKey)
		chain = block("CERTIFICATE", der, err)
		authority, authorityKey = second, secondKey
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), authorityKey)
	c.cert = block("CERTIFICATE", der, err) + chain
	der, err = x509.MarshalECPrivateKey(key)
	c.key = block("EC PRIVATE KEY", der, err)
	return c
}

// agree has a client with that configuration meet a server with that certificate.
func agree(t *testing.T, config *tls.Config, server certified) (clientCertificates int, err error) {
	t.Helper()
	return agreeOn(t, config, server, tls.VersionTLS12) // there the client hears the server's opinion
}

// agreeOn is with a server that knows nothing above a version of TLS.
func agreeOn(t *testing.T, config *tls.Config, server certified, version uint16) (clientCertificates int, err error) {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(server.cert), []byte(server.key))
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer func() { _ = ours.Close() }()
	s := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS10, MaxVersion: version}) // #nosec G402 -- the client is what is tried
	done := make(chan struct{})
	go func() { defer close(done); _ = s.HandshakeContext(t.Context()); _ = theirs.Close() }()
	err = tls.Client(ours, config).HandshakeContext(t.Context())
	_ = ours.Close()
	<-done
	return len(s.ConnectionState().PeerCertificates), err
}

func TestTLSModesCheckWhatTheySay(t *testing.T) {
	server, other := certify(t), certify(t)
	for _, c := range []struct {
		tls      driver.TLS
		host     string
		ok       bool
		verified bool
	}{
		{driver.TLS{}, "db.test", false, true}, // of no authority of the system's
		{driver.TLS{CA: server.ca}, "db.test", true, true},
		{driver.TLS{CA: server.ca}, "10.0.0.1", false, true},
		{driver.TLS{CA: server.ca, ServerName: "db.test"}, "10.0.0.1", true, true},
		{driver.TLS{CA: other.ca}, "db.test", false, true},
		{driver.TLS{Mode: driver.TLSVerifyFull, CA: server.ca + other.ca}, "db.test", true, true},
		{driver.TLS{Mode: driver.TLSVerifyCA, CA: server.ca}, "elsewhere.test", true, true},
		{driver.TLS{Mode: driver.TLSVerifyCA, CA: other.ca}, "db.test", false, true},
		{driver.TLS{Mode: driver.TLSVerifyCA}, "db.test", false, false}, // a name that anybody may have
		{driver.TLS{Mode: driver.TLSRequire, CA: server.ca}, "elsewhere.test", true, true},
		{driver.TLS{Mode: driver.TLSRequire, CA: other.ca}, "db.test", false, true},
		{driver.TLS{Mode: driver.TLSRequire}, "elsewhere.test", true, false},
		{driver.TLS{Mode: driver.TLSPrefer, CA: other.ca}, "elsewhere.test", true, false},
	} {
		config, err := c.tls.Config("")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := agree(t, driver.TLSTo(config, c.host), server); (err == nil) != c.ok || c.tls.Verified() != c.verified {
			t.Errorf("%+.20v to %s: %v, verified %v", c.tls, c.host, err, c.tls.Verified())
		}
	}
}

func TestTheAdministratorsCertificateIsShown(t *testing.T) {
	server, client := certify(t), certify(t)
	config, err := driver.TLS{CA: server.ca, ClientCert: patchbay.NewSecret(client.cert), ClientKey: patchbay.NewSecret(client.key)}.Config("db.test")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := agree(t, config, server); n != 1 || err != nil {
		t.Errorf("the server was shown %d certificates: %v", n, err)
	}
}

func TestTLSThatCantBe(t *testing.T) {
	server := certify(t)
	if c, err := (driver.TLS{Mode: driver.TLSDisable}).Config("h"); c != nil || err != nil {
		t.Errorf("disable = %v, %v", c, err)
	}
	for name, c := range map[string]driver.TLS{
		"mode": {Mode: "maybe\n"}, "off with a CA": {Mode: driver.TLSDisable, CA: server.ca},
		"off with a certificate": {Mode: driver.TLSDisable, ClientCert: patchbay.NewSecret("canary")}, "CA": {CA: "x"}, "name": {ServerName: "a b"},
		"key": {ClientKey: patchbay.NewSecret("canary")}, "pair": {ClientCert: patchbay.NewSecret(server.cert), ClientKey: patchbay.NewSecret(certify(t).key)},
	} {
		if _, err := c.Config("h"); patchbay.CodeOf(err) != patchbay.InvalidArgument || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSBefore12IsNone(t *testing.T) {
	server := certify(t)
	for _, mode := range driver.TLSModes[1:] {
		config, err := driver.TLS{Mode: mode, CA: server.ca}.Config("db.test")
		if err != nil {
			t.Fatal(err)
		}
		for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			if _, err := agreeOn(t, config, server, version); (err == nil) != ok {
				t.Errorf("%s, %s: %v", mode, tls.VersionName(version), err)
			}
		}
	}
}

func TestAnAuthorityInBetweenIsFollowed(t *testing.T) {
	server := certifyBy(t, true)
	for _, mode := range []driver.TLSMode{driver.TLSRequire, driver.TLSVerifyCA, driver.TLSVerifyFull} {
		config, err := driver.TLS{Mode: mode, CA: server.ca}.Config("db.test")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := agree(t, config, server); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// Who names an authority trusts that one, and none of the system's.
func TestANamedAuthorityIsTheOnlyOne(t *testing.T) {
	server := certify(t)
	config, err := driver.TLS{CA: server.ca}.Config("db.test")
	if err != nil {
		t.Fatal(err)
	}
	alone := x509.NewCertPool()
	if !alone.AppendCertsFromPEM([]byte(server.ca)) || !config.RootCAs.Equal(alone) {
		t.Error("there are others")
	}
	if config, err = (driver.TLS{}).Config("db.test"); err != nil || config.RootCAs != nil {
		t.Errorf("without one they are not the system's: %v", err)
	}
}

// One configuration serves connections to several servers.
func TestAServersNameIsItsConnectionsOwn(t *testing.T) {
	config, err := driver.TLS{}.Config("")
	if err != nil {
		t.Fatal(err)
	}
	one, other := driver.TLSTo(config, "a.test"), driver.TLSTo(config, "b.test")
	if one.ServerName != "a.test" || other.ServerName != "b.test" || config.ServerName != "" {
		t.Errorf("%q, %q, %q", one.ServerName, other.ServerName, config.ServerName)
	}
}

func TestWhatIsTriedIsNeverLessStrictThanTheRegistration(t *testing.T) {
	for _, registered := range driver.TLSModes {
		for _, read := range append([]driver.TLSMode{""}, driver.TLSModes...) {
			got := driver.TLS{Mode: registered, ServerName: "db.test"}.ReadBy(driver.Reading{Mode: read})
			want := registered
			if slices.Index(driver.TLSModes, read) > slices.Index(driver.TLSModes, registered) {
				want = read
			}
			if got.Mode != want {
				t.Errorf("%s, read as %q, is tried as %s", registered, read, got.Mode)
			}
			if told := got.ServerName != ""; told != (read != driver.TLSVerifyFull) {
				t.Errorf("%s, read as %q, looks for the name %q", registered, read, got.ServerName)
			}
		}
	}
	known := driver.TLS{Mode: driver.TLSRequire, CA: "PEM", ServerName: "db.test"}
	if got := known.ReadBy(driver.Reading{Mode: driver.TLSVerifyFull, Named: true}); got.Mode != driver.TLSVerifyFull || got.CA != "PEM" || got.ServerName != "db.test" {
		t.Errorf("with a name that was told it is %+v", got)
	}
	if got := (driver.TLS{}).ReadBy(driver.Reading{Mode: driver.TLSRequire}); got.Mode != "" {
		t.Errorf("verify-full, which is the default, became %q", got.Mode)
	}
}
