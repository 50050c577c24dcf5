package mosquitto

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// The ports that the product's documentation gives to each way.
const (
	plainPort  = 1883
	securePort = 8883
)

// properties are as the description has them.
type properties struct {
	Topics    []string `json:"topics,omitempty"`
	Websocket string   `json:"websocket,omitempty"`
	TLS       struct {
		Mode       string `json:"mode,omitempty"`
		CA         string `json:"ca,omitempty"`
		ServerName string `json:"serverName,omitempty"`
	} `json:"tls,omitzero"`
}

// config is a registration that was checked.
type config struct {
	host      string
	port      uint16
	tls       driver.TLS
	topics    []string // sorted; none: connections say theirs
	websocket string
	admin     driver.UserPassword
	dialer    driver.Dialer
}

// address is host:port.
func (c config) address() string { return net.JoinHostPort(c.host, strconv.Itoa(int(c.port))) }

func (c config) secure() bool { return c.tls.Mode != driver.TLSDisable }

// form is what its endpoints look like. A port is the mode's where none is said.
var form = driver.EndpointForm{Schemes: map[string]uint16{"": 0, "mqtt": 0, "mqtts": 0, "tcp": 0, "ssl": 0, "tls": 0}}

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}

// parseConfig checks what a registration says of the broker.
func parseConfig(c driver.Config) (config, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	e, err := form.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return config{}, err
	}
	cfg := config{
		host: e.Servers[0].Host, port: e.Servers[0].Port, dialer: c.Dialer, websocket: p.Websocket,
		tls: driver.TLS{Mode: driver.TLSMode(p.TLS.Mode), CA: p.TLS.CA, ServerName: p.TLS.ServerName},
	}
	if cfg.tls.Mode == "" {
		cfg.tls.Mode = driver.TLSVerifyFull
	}
	if cfg.port == 0 {
		cfg.port = securePort
		if !cfg.secure() {
			cfg.port = plainPort
		}
	}
	if err := cfg.checkTLS(e.Servers[0].Scheme); err != nil {
		return config{}, err
	}
	if p.Websocket != "" {
		u, err := url.Parse(p.Websocket)
		if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" || u.User != nil || strings.ContainsFunc(p.Websocket, hidden) {
			return config{}, invalid("websocket is not the URL of a WebSocket without a login in it").WithFix("ws://HOST:PORT/PATH, or wss://HOST:PORT/PATH")
		}
	}
	cfg.topics, err = filters("the property topics", p.Topics)
	return cfg, err
}

// checkTLS holds what was said of TLS to the scheme.
func (c config) checkTLS(scheme string) error {
	if !slices.Contains(modes, c.tls.Mode) {
		return invalid("the property tls.mode can be %s", strings.Join(driver.Words(modes), ", "))
	}
	clear := slices.Contains([]string{"mqtt", "tcp"}, scheme)
	switch {
	case clear && c.secure():
		return invalid("the endpoint says %s://, where passwords go in the clear, and nothing says that they may", scheme).
			WithFix("mqtts://%s where it has TLS; or let whoever is in between read the passwords: --property tls.mode=disable", c.host)
	case !clear && scheme != "" && !c.secure():
		return invalid("tls.mode is disable, and the endpoint says %s://", scheme).WithFix("mqtt://%s", c.host)
	case c.tls.Mode == driver.TLSDisable && c.tls.ServerName != "":
		return invalid("tls.mode is disable, and a name is given for the certificate")
	case c.secure() && !c.tls.Verified(): // of any name, by anybody
		return invalid("tls.mode is %s, and no authority is given: anybody has a certificate of some name", c.tls.Mode).WithFix("give the authority as the property tls.ca, or leave tls.mode out")
	}
	_, err := c.tls.Config(c.host)
	return err
}

// hidden reports characters that end a line or a word in some protocol.
func hidden(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' || r == '\uFEFF' }
