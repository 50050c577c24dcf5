// Package pgconnect signs in to a PostgreSQL server as its registration says, for
// whatever administers it: how far TLS is insisted on, which ways to sign in are
// answered, how much the server may send, and what its refusals mean.
package pgconnect

import (
	"cmp"
	"context"
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

// ApplicationName is what our sessions call themselves.
const ApplicationName = "patchbay"

// How many sessions an administrator may have on a server at once, when nothing is
// said, as many as superuser_reserved_connections keeps free, and at most.
const (
	UsualSessions = 3
	mostSessions  = 50
)

// Registration is what a PostgreSQL server is registered with.
var Registration = patchbay.Driver{
	Name: "postgres", Noun: "PostgreSQL server",
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where it is", Form: "HOST:PORT", Example: "10.0.0.5:5432", Required: true},
		Port:  "5432", Schemes: []string{"postgres", "postgresql"},
	},
	Properties: []patchbay.Field{
		{Name: "sslmode", Type: patchbay.TextField, About: "how far TLS is insisted on, in libpq's words", Words: driver.Words(driver.TLSModes), Default: "prefer"},
		{Name: "ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tlsServerName", Type: patchbay.TextField, About: "the name in the server's certificate", Default: "the endpoint's host"},
		{Name: "weakestAuth", Type: patchbay.TextField, About: "the weakest way to sign in that is answered", Words: driver.Words(Auths), Default: "password where the certificate proves who asks, scram-sha-256-plus where TLS proves nothing, else scram-sha-256"},
		{Name: "database", Type: patchbay.TextField, About: "where the administrator works on what belongs to no database", Default: "postgres"},
		{Name: "maxSessions", Type: patchbay.TextField, Form: "N", About: "sessions that are opened on it at once to administer it, whatever the number of databases", Default: strconv.Itoa(UsualSessions)},
	},
	Admin: []patchbay.Field{
		{Name: "username", Type: patchbay.TextField, About: "the administrator's name", Example: "postgres"},
		{Name: "password", Flag: "admin-password", Type: patchbay.TextField, About: "the administrator's password", Secret: true},
		{Name: "clientCert", Flag: "admin-cert", Type: patchbay.FileField, About: "the administrator's client certificate, in PEM", Secret: true},
		{Name: "clientKey", Flag: "admin-key", Type: patchbay.FileField, About: "the key of that certificate, in PEM", Secret: true},
	},
	AdminForms: [][]string{{"username"}},
}

// form is what its endpoints look like.
var form = driver.EndpointForm{Schemes: map[string]uint16{"": 5432, "postgres": 5432, "postgresql": 5432}, Path: true, Query: true}

// Server is a registered server, its [driver.Config] checked.
type Server struct {
	Host     string
	Port     uint16
	Database string     // where the administrator works on what belongs to no database
	TLS      driver.TLS // Mode is never ""
	Weakest  Auth
	Security map[string]string // what of it the application's settings should have, too
	Dialer   driver.Dialer
	Admin    driver.UserPassword
	Sessions int // that are opened on it at once to administer it
}

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}

// Parse checks a registration, the admin credential included.
func Parse(c driver.Config) (*Server, error) {
	if c.Dialer == nil {
		return nil, patchbay.Errorf(patchbay.Internal, "no dialer to reach the PostgreSQL server through")
	}
	s, err := ParsePlace(c)
	if err != nil {
		return nil, err
	}
	s.Dialer = c.Dialer
	if err := driver.CheckAdmin(Registration, c.Admin); err != nil {
		return nil, err
	}
	if s.Admin, err = c.Admin.UserPassword(); err != nil {
		return nil, err
	}
	s.TLS.ClientCert, s.TLS.ClientKey = c.Admin["clientCert"], c.Admin["clientKey"]
	_, err = s.TLS.Config(s.Host)
	return s, err
}

// ParsePlace checks what a registration says of the server.
func ParsePlace(c driver.Config) (*Server, error) {
	var p Properties
	if err := driver.DecodeProperties(Registration, c.Properties, &p); err != nil {
		return nil, err
	}
	e, err := form.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return nil, err
	}
	s := &Server{Host: e.Servers[0].Host, Port: e.Servers[0].Port, Database: cmp.Or(p.Database, strings.Trim(e.Path, "/"), "postgres")}
	for name, values := range e.Query {
		if name != "sslmode" || p.SSLMode != "" && p.SSLMode != values[0] {
			return nil, invalid("the endpoint's parameter %q can't be used; sslmode is the only one, and agrees with the properties", driver.Quoted(name))
		}
		p.SSLMode = values[0]
	}
	s.TLS = driver.TLS{Mode: driver.TLSMode(cmp.Or(p.SSLMode, string(driver.TLSPrefer))), CA: p.CA, ServerName: p.TLSServerName}
	if _, err := s.TLS.Config(s.Host); err != nil {
		return nil, err
	}
	s.Security = map[string]string{}
	for name, value := range map[string]string{"ca": p.CA, "serverName": p.TLSServerName, "weakestAuth": p.WeakestAuth} {
		if value != "" {
			s.Security[name] = value
		}
	}
	if s.Sessions, err = parseSessions(p.MaxSessions); err != nil {
		return nil, err
	}
	s.Weakest, err = parseAuth(p.WeakestAuth, s.TLS)
	return s, err
}

func parseSessions(text string) (int, error) {
	if text == "" {
		return UsualSessions, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostSessions {
		return 0, invalid("maxSessions is %.20q, and can be 1 to %d", text, mostSessions)
	}
	return n, nil
}

// gate is what is answered to who asks us to sign in.
func (s *Server) gate() gate {
	return gate{address: s.Address(), weakest: s.Weakest, verified: s.TLS.Verified()}
}

// Config is how a session is opened in that database. Nothing of it comes
// from PG… variables of this process, its password file or its home.
func (s *Server) Config(database string, l driver.UserPassword, d driver.Dialer) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig("host=localhost port=5432 user=x password=x database=x sslmode=disable sslnegotiation=postgres target_session_attrs=any connect_timeout=0")
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "the environment has PostgreSQL settings that can't be used")
	}
	c.Host, c.Port, c.Database = s.Host, s.Port, database
	c.User, c.Password = l.Username, l.Password.Reveal()
	encryption := s.TLS
	if l != s.Admin {
		encryption.ClientCert, encryption.ClientKey = patchbay.Secret{}, patchbay.Secret{} // the administrator's
	}
	if c.TLSConfig, err = encryption.Config(s.Host); err != nil {
		return nil, err
	}
	c.Fallbacks = nil
	if s.TLS.Mode == driver.TLSPrefer && s.Weakest != AuthBound { // nothing is bound in the clear
		c.Fallbacks = []*pgconn.FallbackConfig{{Host: s.Host, Port: s.Port}}
	}
	c.ValidateConnect = nil
	c.RuntimeParams = map[string]string{"application_name": ApplicationName, "client_encoding": "UTF8"}
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

// Address is host:port.
func (s *Server) Address() string {
	return net.JoinHostPort(s.Host, fmt.Sprint(s.Port))
}
