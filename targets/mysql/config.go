package mysql

import (
	"cmp"
	"net"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// properties are as the description has them.
type properties struct {
	SSLMode        string `json:"sslmode,omitempty"`
	CA             string `json:"ca,omitempty"`
	TLSServerName  string `json:"tlsServerName,omitempty"`
	WeakestAuth    string `json:"weakestAuth,omitempty"`
	PasswordPlugin string `json:"passwordPlugin,omitempty"`
	MaxSessions    string `json:"maxSessions,omitempty"`
}

// auth is a way to sign in with a password.
type auth string

const (
	authProof    auth = "proof"    // a digest over what the server made up
	authPassword auth = "password" // the password itself, in TLS or encrypted for whoever asks
)

var auths = []auth{authPassword, authProof}

// How passwords are kept, in the servers' words.
const (
	pluginNative = "mysql_native_password"
	pluginSHA2   = "caching_sha2_password"
)

// How many sessions an administrator may have at once, when nothing is said, and at
// most.
const (
	usualSessions = 3
	mostSessions  = 50
)

var form = driver.EndpointForm{Schemes: map[string]uint16{"": 3306, "mysql": 3306, "mariadb": 3306}, Query: true}

// server is a registered server, its [driver.Config] checked.
type server struct {
	host     string
	port     uint16
	tls      driver.TLS // Mode is never ""
	weakest  auth
	plugin   string // "": the usual one of the product
	sessions int
	security map[string]string // what of it the application's settings should have, too
	dialer   driver.Dialer
	admin    driver.UserPassword
}

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}

// parse checks a registration, the admin credential included.
func parse(c driver.Config) (*server, error) {
	if c.Dialer == nil {
		return nil, patchbay.Errorf(patchbay.Internal, "no dialer to reach the MySQL server through")
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
func parsePlace(c driver.Config) (*server, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return nil, err
	}
	e, err := form.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return nil, err
	}
	for name, values := range e.Query {
		if name != "sslmode" || p.SSLMode != "" && p.SSLMode != values[0] {
			return nil, invalid("the endpoint's parameter %q can't be used; sslmode is the only one, and agrees with the properties", driver.Quoted(name))
		}
		p.SSLMode = values[0]
	}
	s := &server{host: e.Servers[0].Host, port: e.Servers[0].Port, plugin: p.PasswordPlugin, security: map[string]string{}}
	s.tls = driver.TLS{Mode: driver.TLSMode(cmp.Or(p.SSLMode, string(driver.TLSPrefer))), CA: p.CA, ServerName: p.TLSServerName}
	if _, err := s.tls.Config(s.host); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"ca": p.CA, "serverName": p.TLSServerName} {
		if value != "" {
			s.security[name] = value
		}
	}
	if s.weakest = auth(p.WeakestAuth); s.weakest == "" {
		s.weakest = authProof
		if s.tls.Verified() {
			s.weakest = authPassword
		}
	}
	s.sessions = usualSessions
	if p.MaxSessions != "" {
		if s.sessions, err = strconv.Atoi(p.MaxSessions); err != nil || s.sessions < 1 || s.sessions > mostSessions {
			return nil, invalid("maxSessions is %.20q, and can be 1 to %d", p.MaxSessions, mostSessions)
		}
	}
	return s, nil
}

// address is host:port.
func (s *server) address() string {
	return net.JoinHostPort(s.host, strconv.Itoa(int(s.port)))
}

// insists reports whether nobody is to speak to the server in the clear.
func (s *server) insists() bool {
	return s.tls.Mode != driver.TLSDisable && s.tls.Mode != driver.TLSPrefer
}

// local reports whether what is said to the server leaves no machine.
func (s *server) local() bool {
	a := net.ParseIP(s.host)
	return a != nil && a.IsLoopback() || strings.EqualFold(s.host, "localhost")
}
