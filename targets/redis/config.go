package redis

import (
	"cmp"
	"crypto/tls"
	"net"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	defaultPort = 6379
	defaultUser = "default"
	maxServers  = 32

	nodesAll    = "all"
	nodesListed = "listed"
)

// modes are those of a protocol that begins with TLS, or does without.
var modes = []driver.TLSMode{driver.TLSRequire, driver.TLSVerifyCA, driver.TLSVerifyFull}

// properties are as the description has them.
type properties struct {
	Nodes string `json:"nodes,omitempty"`
	TLS   struct {
		Mode       driver.TLSMode `json:"mode,omitempty"`
		CA         string         `json:"ca,omitempty"`
		ServerName string         `json:"serverName,omitempty"`
	} `json:"tls,omitzero"`
}

// config is a registration that was checked.
type config struct {
	servers []string // host:port, those of the endpoint
	listed  bool     // no others
	tls     driver.TLS
	secured *tls.Config // nil: in the clear
	dialer  driver.Dialer
	admin   driver.UserPassword
}

// form is what its endpoints look like. What has no scheme is secured, as it is where
// nobody administers the server.
var form = driver.EndpointForm{Schemes: map[string]uint16{"": defaultPort, "redis": defaultPort, "rediss": defaultPort}, Servers: maxServers}

// parse checks what a registration says of the servers. Which of them are the same one
// nobody knows yet.
func parse(c driver.Config) (config, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	e, err := form.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return config{}, err
	}
	parsed := config{dialer: c.Dialer, listed: p.Nodes == nodesListed}
	clear := e.Servers[0].Scheme == "redis"
	for _, s := range e.Servers {
		if (s.Scheme == "redis") != clear {
			return config{}, invalid("the endpoint has servers with TLS and servers without")
		}
		parsed.servers = append(parsed.servers, s.Address())
	}
	parsed.tls = driver.TLS{Mode: cmp.Or(p.TLS.Mode, driver.TLSVerifyFull), CA: p.TLS.CA, ServerName: p.TLS.ServerName}
	if clear {
		if p.TLS.Mode != "" || p.TLS.CA != "" || p.TLS.ServerName != "" {
			return config{}, invalid("the endpoint is redis://, which is without TLS, but the properties say something of TLS").
				WithFix("write the endpoint as rediss://, or leave tls out")
		}
		parsed.tls.Mode = driver.TLSDisable
	}
	parsed.secured, err = parsed.tls.Config("")
	return parsed, err
}

// parseAdmin reads the administrator's login.
func (c *config) parseAdmin(admin driver.Secrets) error {
	if err := driver.CheckAdmin(description, admin); err != nil {
		return err
	}
	c.admin = driver.UserPassword{Username: cmp.Or(admin["username"].Reveal(), defaultUser), Password: admin["password"]}
	if strings.ContainsAny(c.admin.Username, " \x00\r\n\t") {
		return invalid("the administrator's name has a space or a control character")
	}
	return nil
}

// values are what an application's settings are made of.
func (c *config) values() map[string]string {
	host, port, _ := net.SplitHostPort(c.servers[0])
	v := map[string]string{"host": host, "port": port, "ssl": strconv.FormatBool(c.secured != nil)}
	for name, value := range map[string]string{"ca": c.tls.CA, "serverName": c.tls.ServerName} {
		if value != "" {
			v[name] = value
		}
	}
	return v
}

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}
