package postgres

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
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
	// WeakestAuth is the weakest way to sign in that is answered, in
	// PostgreSQL's words: scram-sha-256-plus, scram-sha-256, md5 or password. By
	// default it is password where the certificate proves who asks (verify-full; a
	// ca with verify-ca or require), scram-sha-256-plus where TLS is insisted on
	// and proves nothing, and else scram-sha-256.
	WeakestAuth string `json:"weakestAuth,omitempty"`
	// Database is where the administrator works on what belongs to no database;
	// the default is postgres.
	Database string `json:"database,omitempty"`
	// MaxSessions is how many sessions are opened on the server at once to
	// administer it, in all its databases; the default is 3.
	MaxSessions string `json:"maxSessions,omitempty"`
}

// applicationName is what our sessions call themselves.
const applicationName = "patchbay"

// form is what its endpoints look like.
var form = driver.EndpointForm{Schemes: map[string]uint16{"": 5432, "postgres": 5432, "postgresql": 5432}, Path: true, Query: true}

// settings are a [driver.Config], checked.
type settings struct {
	host     string
	port     uint16
	database string
	tls      driver.TLS // Mode is never ""
	weakest  auth
	dialer   driver.Dialer
	admin    driver.UserPassword
	sessions int
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
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	if s.admin, err = c.Admin.UserPassword(); err != nil {
		return nil, err
	}
	s.tls.ClientCert, s.tls.ClientKey = c.Admin["clientCert"], c.Admin["clientKey"]
	_, err = s.tls.Config(s.host)
	return s, err
}

// parsePlace checks what a registration says of the server.
func parsePlace(c driver.Config) (*settings, error) {
	var p Properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	e, err := form.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return nil, err
	}
	s := &settings{host: e.Servers[0].Host, port: e.Servers[0].Port, database: cmp.Or(p.Database, strings.Trim(e.Path, "/"), "postgres")}
	for name, values := range e.Query {
		if name != "sslmode" || p.SSLMode != "" && p.SSLMode != values[0] {
			return nil, invalid("the endpoint's parameter %q can't be used; sslmode is the only one, and agrees with the properties", driver.Quoted(name))
		}
		p.SSLMode = values[0]
	}
	s.tls = driver.TLS{Mode: driver.TLSMode(cmp.Or(p.SSLMode, string(driver.TLSPrefer))), CA: p.CA, ServerName: p.TLSServerName}
	if _, err := s.tls.Config(s.host); err != nil {
		return nil, err
	}
	if s.sessions, err = parseSessions(p.MaxSessions); err != nil {
		return nil, err
	}
	s.weakest, err = parseAuth(p.WeakestAuth, s.tls)
	return s, err
}

func parseSessions(text string) (int, error) {
	if text == "" {
		return usualSessions, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostSessions {
		return 0, invalid("maxSessions is %.20q, and can be 1 to %d", text, mostSessions)
	}
	return n, nil
}

// gate is what is answered to who asks us to sign in.
func (s *settings) gate() gate {
	return gate{address: s.address(), weakest: s.weakest, verified: s.tls.Verified()}
}

// connect is how a session is opened in that database. Nothing of it comes
// from PG… variables of this process, its password file or its home.
func (s *settings) connect(database string, l driver.UserPassword, d driver.Dialer) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig("host=localhost port=5432 user=x password=x database=x sslmode=disable sslnegotiation=postgres target_session_attrs=any connect_timeout=0")
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the environment has PostgreSQL settings that can't be used")
	}
	c.Host, c.Port, c.Database = s.host, s.port, database
	c.User, c.Password = l.Username, l.Password.Reveal()
	encryption := s.tls
	if l != s.admin {
		encryption.ClientCert, encryption.ClientKey = patchbay.Secret{}, patchbay.Secret{} // the administrator's
	}
	if c.TLSConfig, err = encryption.Config(s.host); err != nil {
		return nil, err
	}
	c.Fallbacks = nil
	if s.tls.Mode == driver.TLSPrefer && s.weakest != authBound { // nothing is bound in the clear
		c.Fallbacks = []*pgconn.FallbackConfig{{Host: s.host, Port: s.port}}
	}
	c.ValidateConnect = nil
	c.RuntimeParams = map[string]string{"application_name": applicationName, "client_encoding": "UTF8"}
	watch(c, s.gate(), d)
	// In one round trip, and nothing is left in the session: a pooler may give the
	// next transaction to another one.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
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
