package nats

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	adminOperator = "operatorSeed"
	adminSystem   = "systemCreds"

	defaultPort = 4222
	maxServers  = 32
)

// properties are as the description has them.
type properties struct {
	Account  string   `json:"account"`
	Subjects []string `json:"subjects,omitempty"`
	Streams  []string `json:"streams,omitempty"`
	Buckets  []string `json:"buckets,omitempty"`
	Objects  []string `json:"objects,omitempty"`
	URL      string   `json:"url,omitempty"`
	TLS      string   `json:"tls,omitempty"`
	CA       string   `json:"ca,omitempty"`
	Inbox    string   `json:"inbox,omitempty"`
}

// config is a registration that was checked.
type config struct {
	servers    []string // URLs that this process connects to
	advertised []string // URLs that clients connect to
	account    string
	scope      scope
	secure     bool // TLS whatever the server says
	clear      bool // no TLS unless the server insists, passwords included
	tlsFirst   bool
	ca         string
	tls        *tls.Config
	private    bool // inboxes
	operator   nkeys.KeyPair
	issuer     string // operator's public key
	system     login
	dialer     driver.Dialer
}

// parseConfig checks what a registration says of the servers.
func parseConfig(c driver.Config) (config, error) {
	cfg := config{dialer: c.Dialer}
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	var err error
	if cfg.servers, err = parseServers("endpoint", c.Endpoint); err != nil {
		return config{}, err
	}
	cfg.advertised = cfg.servers
	if p.URL != "" {
		if cfg.advertised, err = parseServers("url", p.URL); err != nil {
			return config{}, err
		}
	}
	if !nkeys.IsValidPublicAccountKey(p.Account) {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "account %q is not the public key of an account (A…)", p.Account).
			WithFix("nsc describe account --field sub")
	}
	cfg.account = p.Account
	streams, err := streamsOf(p.Streams, p.Buckets, p.Objects)
	if err != nil {
		return config{}, err
	}
	if cfg.scope, err = newScope(p.Subjects, streams); err != nil {
		return config{}, err
	}
	cfg.private = p.Inbox == "private"
	return cfg, cfg.parseTLS(p)
}

func (c *config) parseTLS(p properties) (err error) {
	c.clear, c.tlsFirst = p.TLS == "off", p.TLS == "first"
	c.secure = c.tlsFirst || p.TLS == "require"
	// natsgo takes a scheme of one server for all of them.
	if c.clear && (p.CA != "" || wantsTLS(c.servers) || wantsTLS(c.advertised)) {
		return patchbay.Errorf(patchbay.InvalidArgument, "tls is off, but the scheme tls or certificates are given")
	}
	if c.secure { // as clients are told to, too
		c.advertised = slices.Clone(c.advertised)
		for i, url := range c.advertised {
			if server, plain := strings.CutPrefix(url, "nats://"); plain {
				c.advertised[i] = "tls://" + server
			}
		}
	}
	c.ca = p.CA
	c.tls, err = driver.TLS{CA: p.CA}.Config("")
	return err
}

// wantsTLS reports whether TLS is insisted on by a scheme.
func wantsTLS(servers []string) bool {
	return slices.ContainsFunc(servers, func(url string) bool { return strings.HasPrefix(url, "tls://") })
}

// parseAdmin says what is wrong with a secret without showing any of it.
func (c *config) parseAdmin(admin driver.Secrets) error {
	if err := driver.CheckAdmin(description, admin); err != nil {
		return err
	}
	seed := []byte(strings.TrimSpace(admin[adminOperator].Reveal()))
	pair, err := nkeys.FromSeed(seed)
	if err == nil {
		c.issuer, err = pair.PublicKey()
	}
	if err != nil || !nkeys.IsValidPublicOperatorKey(c.issuer) {
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is not the seed of an operator's identity or signing key (SO…)", adminOperator).
			WithFix("nsc export keys --operator")
	}
	c.operator = pair
	c.system, err = parseCreds(admin[adminSystem].Reveal())
	if err != nil {
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is not the content of a creds file", adminSystem).
			WithFix("nsc generate creds --account SYS --name patchbay")
	}
	return nil
}

// form is what its endpoints look like.
var form = driver.EndpointForm{Schemes: map[string]uint16{"": defaultPort, "nats": defaultPort, "tls": defaultPort}, Servers: maxServers}

// parseServers are the URLs of an endpoint's servers.
func parseServers(what, list string) ([]string, error) {
	e, err := form.Parse(what, list)
	if err != nil {
		return nil, err
	}
	var servers []string
	for _, s := range e.Servers {
		s.Scheme = cmp.Or(s.Scheme, "nats")
		servers = append(servers, s.URL())
	}
	return servers, nil
}

// login is what signs in: a JWT and the seed of its user, or a user name and
// password, or a token.
type login struct {
	jwt, seed          string
	username, password string
	token              string
}

// parseCreds reads the content of a creds file.
func parseCreds(content string) (login, error) {
	token, err := jwt.ParseDecoratedJWT([]byte(content))
	if err != nil {
		return login{}, err
	}
	if _, err := jwt.DecodeUserClaims(token); err != nil {
		return login{}, err
	}
	pair, err := jwt.ParseDecoratedUserNKey([]byte(content))
	if err != nil {
		return login{}, err
	}
	seed, err := pair.Seed()
	if err != nil {
		return login{}, err
	}
	return login{jwt: token, seed: string(seed)}, nil
}
