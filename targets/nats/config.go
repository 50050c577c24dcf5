package nats

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	adminOperator = "operatorSeed"
	adminSystem   = "systemCreds"

	defaultPort = "4222"
	maxServers  = 32
)

// properties are as the description has them.
type properties struct {
	Account  string   `json:"account"`
	Subjects []string `json:"subjects,omitempty"`
	Streams  []string `json:"streams,omitempty"`
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
	tlsFirst   bool
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
	if cfg.scope, err = newScope(p.Subjects, p.Streams); err != nil {
		return config{}, err
	}
	cfg.private = p.Inbox == "private"
	return cfg, cfg.parseTLS(p)
}

func (c *config) parseTLS(p properties) error {
	c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if p.CA != "" {
		c.tls.RootCAs = x509.NewCertPool()
		if !c.tls.RootCAs.AppendCertsFromPEM([]byte(p.CA)) {
			return patchbay.Errorf(patchbay.InvalidArgument, "ca holds no certificate in PEM")
		}
	}
	c.tlsFirst = p.TLS == "first"
	c.secure = c.tlsFirst || p.TLS == "require"
	return nil
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

// parseServers checks a comma-separated list of host:port or URLs and returns
// URLs. Credentials do not belong there.
func parseServers(what, list string) ([]string, error) {
	var servers []string
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		text := item
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" || len(item) > 512 || strings.ContainsAny(u.Hostname(), " \"'\\`{}<>") {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s is not host:port or nats://host:port", what)
		}
		switch {
		case u.User != nil:
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s holds a credential; credentials are given on their own", what)
		case u.Scheme != "nats" && u.Scheme != "tls":
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s has the scheme %q, and can have nats or tls", what, u.Scheme)
		case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s has something behind host and port", what)
		}
		port := u.Port()
		if port == "" {
			port = defaultPort
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s has the port %q", what, port)
		}
		servers = append(servers, u.Scheme+"://"+net.JoinHostPort(u.Hostname(), port))
	}
	if len(servers) > maxServers {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s has more than %d servers", what, maxServers)
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
