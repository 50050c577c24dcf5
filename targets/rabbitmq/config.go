package rabbitmq

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
	clearPort, securePort           = 5672, 5671
	clearManagement, secureManaging = 15672, 15671
	maxServers                      = 16
)

// properties are as the description has them.
type properties struct {
	Management string `json:"management,omitempty"`
	SSLMode    string `json:"sslmode,omitempty"`
	CA         string `json:"ca,omitempty"`
	ServerName string `json:"tlsServerName,omitempty"`
}

// config is a registration that was checked.
type config struct {
	servers    []driver.Server // that speak AMQP
	secure     bool            // with TLS, all of them
	management []string        // URLs of the API, without a slash at the end
	tls        driver.TLS
}

// The forms of what says where it is. An endpoint without a scheme has TLS: whoever
// has none says so.
var (
	endpointForm   = driver.EndpointForm{Schemes: map[string]uint16{"": securePort, "amqps": securePort, "amqp": clearPort}, Servers: maxServers}
	managementForm = driver.EndpointForm{Schemes: map[string]uint16{"http": clearManagement, "https": secureManaging}, Servers: maxServers, Path: true}
)

// parseConfig checks what a registration says of the servers.
func parseConfig(c driver.Config) (config, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	e, err := endpointForm.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return config{}, err
	}
	cfg := config{servers: e.Servers, secure: e.Servers[0].Scheme != "amqp"}
	for _, s := range e.Servers {
		if (s.Scheme != "amqp") != cfg.secure {
			return config{}, patchbay.Errorf(patchbay.InvalidArgument, "the endpoint has servers in the clear and with TLS")
		}
	}
	if err := cfg.parseManagement(p.Management); err != nil {
		return config{}, err
	}
	cfg.tls = driver.TLS{Mode: driver.TLSMode(cmp.Or(p.SSLMode, string(driver.TLSVerifyFull))), CA: p.CA, ServerName: p.ServerName}
	if !cfg.secure && !strings.HasPrefix(cfg.management[0], "https:") && (p.CA != "" || p.ServerName != "" || p.SSLMode != "") {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "the endpoint is in the clear, and it is said how TLS is checked").
			WithFix("give the endpoint as amqps://")
	}
	if !cfg.tls.Verified() {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "sslmode verify-ca proves nothing without an authority: everybody gets a certificate of the system's").
			WithFix("give the authority as the property ca")
	}
	_, err = cfg.tls.Config("")
	return cfg, err
}

func (c *config) parseManagement(text string) error {
	if text == "" {
		scheme, port := "http", clearManagement
		if c.secure {
			scheme, port = "https", secureManaging
		}
		for _, s := range c.servers {
			c.management = append(c.management, scheme+"://"+net.JoinHostPort(s.Host, strconv.Itoa(port)))
		}
		return nil
	}
	e, err := managementForm.Parse("the property management", text)
	if err != nil {
		return err
	}
	for _, s := range e.Servers {
		if s.Scheme != e.Servers[0].Scheme {
			return patchbay.Errorf(patchbay.InvalidArgument, "the property management has servers in the clear and with TLS")
		}
		c.management = append(c.management, s.URL()+strings.TrimRight(e.Path, "/"))
	}
	return nil
}

// encryption is for a connection to host, as strict as the application's library too;
// nil in the clear.
func (c *config) encryption(host string, r driver.Reading) (*tls.Config, error) {
	if !c.secure {
		return nil, nil
	}
	return c.tls.ReadBy(r).Config(host)
}

// address is what a message calls the servers that speak AMQP.
func (c *config) address() string {
	all := make([]string, len(c.servers))
	for i, s := range c.servers {
		all[i] = s.Address()
	}
	return strings.Join(all, ",")
}

// vhostOf is the virtual host that the child of a target id names ([driver.NameIn]).
func vhostOf(sub string) (string, error) {
	name, err := driver.NameIn(sub)
	if err != nil {
		return "", err
	}
	invalid := func(why string) error {
		return patchbay.Errorf(patchbay.InvalidArgument, "the virtual host's name %s %s", driver.Quoted(strconv.Quote(short(name))), why)
	}
	switch {
	case name == "":
		return "", invalid("is empty: the default one is ~2F")
	case len(name) > 255:
		return "", invalid("is longer than 255 bytes")
	case strings.ToValidUTF8(name, "") != name || strings.ContainsRune(name, 0):
		return "", invalid("is no text")
	case name == "." || name == "..":
		return "", invalid("can't be said to the management API, which takes it for a path")
	}
	return name, nil
}

// short is what is shown of a name.
func short(name string) string {
	const most = 60
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}
