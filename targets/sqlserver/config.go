package sqlserver

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// properties are as the description has them.
type properties struct {
	SSLMode       string `json:"sslmode,omitempty"`
	CA            string `json:"ca,omitempty"`
	TLSServerName string `json:"tlsServerName,omitempty"`
	MaxSessions   string `json:"maxSessions,omitempty"`
}

// tlsModes are the ones that there are: a server always has a certificate, be it one that
// it made itself, so that nothing is to be preferred.
var tlsModes = []driver.TLSMode{driver.TLSDisable, driver.TLSRequire, driver.TLSVerifyCA, driver.TLSVerifyFull}

// How many sessions an administrator may have at once, when nothing is said, and at
// most.
const (
	usualSessions = 3
	mostSessions  = 50
)

// maxName is how long names are at most (sysname), in UTF-16 units.
const maxName = 128

var form = driver.EndpointForm{Schemes: map[string]uint16{"": 1433, "sqlserver": 1433, "mssql": 1433}}

// server is a registered server, its [driver.Config] checked.
type server struct {
	host     string
	port     uint16
	tls      driver.TLS // Mode is never ""
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
		return nil, patchbay.Errorf(patchbay.Internal, "no dialer to reach the SQL Server through")
	}
	s, err := parsePlace(c)
	if err != nil {
		return nil, err
	}
	s.dialer = c.Dialer
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	s.admin, err = userPassword(c.Admin)
	return s, err
}

// userPassword is a login that can be told to a server.
func userPassword(s driver.Secrets) (driver.UserPassword, error) {
	l, err := s.UserPassword()
	switch {
	case err != nil:
		return l, err
	case l.Password.IsZero():
		return l, invalid("the login has no password")
	case !isName(l.Username) || !isText(l.Password.Reveal()):
		return l, invalid("the login can't be one of SQL Server: a name and a password have 128 characters at most, of 16 bits each")
	case strings.ContainsAny(l.Username, `\`):
		return l, patchbay.Errorf(patchbay.NotSupported, "a login with a backslash is one of Windows, which signs in by Kerberos").
			WithFix("make one with a password: CREATE LOGIN patchbay_admin WITH PASSWORD = …")
	}
	return l, nil
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
	s := &server{host: e.Servers[0].Host, port: e.Servers[0].Port, security: map[string]string{}}
	s.tls = driver.TLS{Mode: driver.TLSMode(cmp.Or(p.SSLMode, string(driver.TLSVerifyFull))), CA: p.CA, ServerName: p.TLSServerName}
	if !slices.Contains(tlsModes, s.tls.Mode) {
		return nil, invalid("sslmode is %.20q, and can be %s", p.SSLMode, strings.Join(driver.Words(tlsModes), ", "))
	}
	if _, err := s.tls.Config(s.host); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"ca": p.CA, "serverName": p.TLSServerName} {
		if value != "" {
			s.security[name] = value
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
