package kafka

import (
	"crypto/tls"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	defaultPort = 9092
	maxServers  = 32
)

// mechanism is a way to sign in.
type mechanism string

const (
	scram256 mechanism = "scram-sha-256"
	scram512 mechanism = "scram-sha-512"
	plainly  mechanism = "plain"
)

// mechanisms are those that logins may have.
var mechanisms = []mechanism{scram512, scram256}

// tlsModes are those that a client of Kafka's can have: it speaks TLS from the first
// byte, or never.
var tlsModes = []driver.TLSMode{driver.TLSVerifyFull, driver.TLSVerifyCA, driver.TLSRequire, driver.TLSDisable}

// number is what the protocol calls a mechanism, 0 for none of its credentials'.
func (m mechanism) number() int8 {
	switch m {
	case scram256:
		return 1
	case scram512:
		return 2
	}
	return 0
}

// name is what the product calls it.
func (m mechanism) name() string { return strings.ToUpper(string(m)) }

// properties are as the description has them.
type properties struct {
	Topics         []string       `json:"topics,omitempty"`
	Groups         []string       `json:"groups,omitempty"`
	Transactional  []string       `json:"transactional,omitempty"`
	Mechanism      mechanism      `json:"mechanism,omitempty"`
	AdminMechanism mechanism      `json:"adminMechanism,omitempty"`
	SSLMode        driver.TLSMode `json:"sslmode,omitempty"`
	CA             string         `json:"ca,omitempty"`
	TLSServerName  string         `json:"tlsServerName,omitempty"`
}

// config is a registration that was checked.
type config struct {
	servers   []string // host:port
	scope     scope
	mechanism mechanism
	secure    driver.TLS
	tls       *tls.Config // nil in the clear
	dialer    driver.Dialer
	admin     signIn
}

// signIn is who signs in, and how.
type signIn struct {
	mechanism mechanism
	driver.UserPassword
}

// form is what its endpoints look like.
var form = driver.EndpointForm{Schemes: map[string]uint16{"": defaultPort, "kafka": defaultPort}, Servers: maxServers}

// parseConfig checks what a registration says of the cluster.
func parseConfig(c driver.Config) (config, error) {
	cfg := config{dialer: c.Dialer}
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	e, err := form.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return config{}, err
	}
	for _, s := range e.Servers {
		if !slices.Contains(cfg.servers, s.Address()) {
			cfg.servers = append(cfg.servers, s.Address())
		}
	}
	if cfg.scope, err = newScope(p.Topics, p.Groups, p.Transactional); err != nil {
		return config{}, err
	}
	cfg.mechanism = p.Mechanism
	if cfg.mechanism == "" {
		cfg.mechanism = scram512
	}
	cfg.admin.mechanism = p.AdminMechanism
	if cfg.admin.mechanism == "" {
		cfg.admin.mechanism = cfg.mechanism
	}
	cfg.secure = driver.TLS{Mode: p.SSLMode, CA: p.CA, ServerName: p.TLSServerName}
	if cfg.secure.Mode == "" {
		cfg.secure.Mode = driver.TLSVerifyFull
	}
	if cfg.secure.Mode == driver.TLSDisable && p.TLSServerName != "" {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "sslmode is disable, but the name of a certificate is given")
	}
	if cfg.admin.mechanism == plainly && !cfg.secure.Verified() {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "with adminMechanism plain the administrator's password would be told to whoever answers: sslmode %s proves nobody", cfg.secure.Mode).
			WithFix("register it with sslmode verify-full, or with adminMechanism scram-sha-512 (kafka-configs --alter --add-config 'SCRAM-SHA-512=[password=…]' --entity-type users --entity-name NAME)")
	}
	cfg.tls, err = cfg.secure.Config("")
	return cfg, err
}

// parseAdmin says what is wrong with a secret without showing any of it.
func (c *config) parseAdmin(admin driver.Secrets) error {
	if err := driver.CheckAdmin(description, admin); err != nil {
		return err
	}
	var err error
	c.admin.UserPassword, err = admin.UserPassword()
	return err
}
