package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Properties are what a resource's properties may say.
type Properties struct {
	// SSLMode is how far TLS is insisted on, in libpq's words: disable, prefer
	// (the default), require, verify-ca, verify-full.
	SSLMode string `json:"sslmode,omitempty"`
	// CA holds the authorities that the server's certificate may be of, PEM. By
	// default the system's.
	CA string `json:"ca,omitempty"`
	// TLSServerName is the name in the server's certificate, when it is not the
	// endpoint's host.
	TLSServerName string `json:"tlsServerName,omitempty"`
	// Database is where the administrator works on what belongs to no database;
	// the default is postgres.
	Database string `json:"database,omitempty"`
}

var sslModes = []string{"disable", "prefer", "require", "verify-ca", "verify-full"}

// settings are a [driver.Config], checked.
type settings struct {
	properties Properties
	host       string
	port       uint16
	database   string
	sslmode    string
	tls        *tls.Config // nil: never
	dialer     driver.Dialer
	admin      login
}

// login is what a session signs in with.
type login struct {
	username string
	password patchbay.Secret
}

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}

// parseSettings checks a registration, the admin credential included.
func parseSettings(c driver.Config) (*settings, error) {
	if c.Dialer == nil {
		return nil, patchbay.Errorf(patchbay.Internal, "no dialer to reach the PostgreSQL server through")
	}
	s, err := parsePlace(c)
	if err != nil {
		return nil, err
	}
	s.dialer = c.Dialer
	cert, key, err := s.parseAdmin(c.Admin)
	if err != nil {
		return nil, err
	}
	return s, s.parseTLS(cert, key)
}

// parsePlace checks what a registration says of the server.
func parsePlace(c driver.Config) (*settings, error) {
	var p Properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	s := &settings{properties: p, sslmode: p.SSLMode, database: p.Database}
	if err := s.parseEndpoint(c.Endpoint); err != nil {
		return nil, err
	}
	if s.database == "" {
		s.database = "postgres"
	}
	if s.sslmode == "" {
		s.sslmode = "prefer"
	}
	if !slices.Contains(sslModes, s.sslmode) {
		return nil, invalid("sslmode %q is not one of %s", s.sslmode, strings.Join(sslModes, ", "))
	}
	return s, nil
}

func (s *settings) parseAdmin(admin driver.Secrets) (cert, key string, err error) {
	if err := driver.CheckAdmin(description, admin); err != nil {
		return "", "", err
	}
	s.admin = login{username: admin["username"].Reveal(), password: admin["password"]}
	return admin["clientCert"].Reveal(), admin["clientKey"].Reveal(), nil
}

// parseEndpoint takes host, host:port, or a postgres:// URL without a
// password.
func (s *settings) parseEndpoint(endpoint string) error {
	authority := endpoint
	if strings.Contains(endpoint, "://") {
		u, err := url.Parse(endpoint)
		switch {
		case err != nil: // its text would show the whole URL, a password included
			return invalid("the endpoint is not a URL that can be read")
		case u.Scheme != "postgres" && u.Scheme != "postgresql":
			return invalid("the endpoint's scheme is %q, not postgres", u.Scheme)
		case u.User != nil:
			return invalid("the endpoint must not hold a login").WithFix("give it as the admin credential: username, password")
		}
		authority = u.Host
		if db := strings.Trim(u.Path, "/"); db != "" && s.database == "" {
			s.database = db
		}
		query, err := url.ParseQuery(u.RawQuery)
		if err != nil {
			return invalid("the endpoint's query can't be read")
		}
		for name, values := range query {
			if name != "sslmode" || s.sslmode != "" && s.sslmode != values[0] {
				return invalid("the endpoint's parameter %q can't be used; sslmode is the only one, and agrees with the properties", name)
			}
			s.sslmode = values[0]
		}
	}
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host, port = strings.Trim(authority, "[]"), "5432"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return invalid("the endpoint's port is not a number from 1 to 65535")
	}
	if host == "" || strings.ContainsAny(host, "/@ \t\r\n\x00,") {
		return invalid("the endpoint is not of the form host:port")
	}
	s.host, s.port = host, uint16(n)
	return nil
}

func (s *settings) parseTLS(cert, key string) error {
	p := s.properties
	if s.sslmode == "disable" {
		if p.CA != "" || cert != "" || key != "" {
			return invalid("sslmode is disable, but certificates are given")
		}
		return nil
	}
	// #nosec G402 -- sslmode prefer and require are not about who answers.
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.host, InsecureSkipVerify: true}
	if p.TLSServerName != "" {
		s.tls.ServerName = p.TLSServerName
	}
	var roots *x509.CertPool
	if p.CA != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(p.CA)) {
			return invalid("the property ca holds no certificate in PEM")
		}
	}
	mode := s.sslmode
	if mode == "require" && roots != nil {
		mode = "verify-ca" // as libpq does
	}
	switch mode {
	case "verify-full":
		s.tls.InsecureSkipVerify = false
		s.tls.RootCAs = roots
	case "verify-ca":
		s.tls.VerifyConnection = func(state tls.ConnectionState) error {
			intermediates := x509.NewCertPool()
			for _, c := range state.PeerCertificates[1:] {
				intermediates.AddCert(c)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
			if err != nil {
				return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
			}
			return nil
		}
	}
	if cert != "" || key != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			return invalid("the admin credential's clientCert and clientKey are not a certificate and its key, in PEM")
		}
		s.tls.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// connect is how a session is opened in that database. Nothing of it comes
// from PG… variables of this process, its password file or its home.
func (s *settings) connect(database string, l login, d driver.Dialer) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig("host=localhost port=5432 user=x password=x database=x sslmode=disable sslnegotiation=postgres target_session_attrs=any connect_timeout=0")
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the environment has PostgreSQL settings that can't be used")
	}
	c.Host, c.Port, c.Database = s.host, s.port, database
	c.User, c.Password = l.username, l.password.Reveal()
	c.TLSConfig, c.Fallbacks = nil, nil
	if s.tls != nil {
		c.TLSConfig = s.tls.Clone()
	}
	if l != s.admin && c.TLSConfig != nil {
		c.TLSConfig.Certificates = nil // the administrator's
	}
	if s.sslmode == "prefer" {
		c.Fallbacks = []*pgconn.FallbackConfig{{Host: s.host, Port: s.port}}
	}
	c.ValidateConnect = nil
	c.RuntimeParams = map[string]string{"application_name": "patchbay", "client_encoding": "UTF8"}
	watch(c, s.address(), d)
	c.ConnectTimeout = driver.DefaultTimeout // a pool goes on with a sign-in that its caller gave up
	// The dialer looks names up: from where it stands they may mean another
	// address.
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.KerberosSrvName, c.KerberosSpn, c.RequireAuth = "", "", ""
	c.SSLCertMode, c.ChannelBinding = "allow", "prefer"
	return c, nil
}

// tlsVersion names the protocol of a session, "" when it is in the clear.
func tlsVersion(c *pgx.Conn) string {
	if t, ok := c.PgConn().Conn().(*tls.Conn); ok {
		return tls.VersionName(t.ConnectionState().Version)
	}
	return ""
}

func (s *settings) address() string {
	return net.JoinHostPort(s.host, fmt.Sprint(s.port))
}
