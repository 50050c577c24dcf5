package mongodb

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"

	"patchbay.dev/patchbay/driver"
)

const (
	defaultPort   = 27017
	maxServers    = 32
	adminDatabase = "admin"
	// external is where users are that a certificate proves.
	external = "$external"
)

// modes are those of a protocol that begins with TLS, or does without.
var modes = []driver.TLSMode{driver.TLSDisable, driver.TLSRequire, driver.TLSVerifyCA, driver.TLSVerifyFull}

// properties are as the description has them.
type properties struct {
	SSLMode driver.TLSMode `json:"sslmode,omitempty"`
	CA      string         `json:"ca,omitempty"`
	Direct  bool           `json:"directConnection,omitempty"`
}

// config is a registration that was checked.
type config struct {
	servers []string // host:port, those of the endpoint
	direct  bool
	tls     driver.TLS
	secured *tls.Config // nil: in the clear
	dialer  driver.Dialer
	admin   login
}

// login is who signs in, and where the user is kept.
type login struct {
	driver.UserPassword
	database    string
	certificate bool // it signs in by that of its connection
	// strong has the login of the newest mechanism alone, as ours are.
	strong bool
}

// form is what its endpoints look like.
var form = driver.EndpointForm{Schemes: map[string]uint16{"": defaultPort, "mongodb": defaultPort}, Servers: maxServers}

func parse(c driver.Config) (config, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	if strings.HasPrefix(c.Endpoint, "mongodb+srv://") {
		return config{}, invalid("the endpoint is mongodb+srv://, which a name server turns into servers").
			WithFix("name the servers: dig +short SRV _mongodb._tcp.HOST, and mongodb://SERVER:PORT,SERVER:PORT")
	}
	e, err := form.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return config{}, err
	}
	cfg := config{dialer: c.Dialer, direct: p.Direct, tls: driver.TLS{Mode: cmp.Or(p.SSLMode, driver.TLSVerifyFull), CA: p.CA}}
	for _, s := range e.Servers {
		if !slices.Contains(cfg.servers, s.Address()) {
			cfg.servers = append(cfg.servers, s.Address())
		}
	}
	if cfg.direct && len(cfg.servers) > 1 {
		return config{}, invalid("a direct connection is to one server, and the endpoint has %d", len(cfg.servers))
	}
	if !slices.Contains(modes, cfg.tls.Mode) {
		return config{}, invalid("sslmode is one of %s", strings.Join(driver.Words(modes), ", "))
	}
	if cfg.tls.Mode == driver.TLSRequire && p.CA != "" {
		return config{}, invalid("sslmode require does not check certificates, and an authority for them is given").
			WithFix("leave sslmode out: certificates are then checked")
	}
	cfg.secured, err = cfg.tls.Config("")
	return cfg, err
}

// parseAdmin reads the administrator's login.
func (c *config) parseAdmin(admin driver.Secrets) error {
	if err := driver.CheckAdmin(description, admin); err != nil {
		return err
	}
	c.tls.ClientCert, c.tls.ClientKey = admin["clientCert"], admin["clientKey"]
	var err error
	if c.secured, err = c.tls.Config(""); err != nil {
		return err
	}
	c.admin = login{database: cmp.Or(admin["database"].Reveal(), adminDatabase)}
	if admin["password"].IsZero() {
		if c.secured == nil {
			return invalid("a certificate signs in through TLS alone, and sslmode is disable")
		}
		if name := admin["username"].Reveal(); name != "" {
			return invalid("the administrator has a name and no password; a certificate has its name in it")
		}
		c.admin.database, c.admin.certificate = external, true
		return nil
	}
	if strings.ContainsAny(c.admin.database, "/\\. \"\x00") || len(c.admin.database) > maxName {
		return invalid("the administrator's database can't be one of MongoDB")
	}
	c.admin.UserPassword, err = admin.UserPassword()
	return err
}

// values are what an application's settings are made of.
func (c *config) values(set string) map[string]string {
	v := map[string]string{"servers": strings.Join(c.servers, ","), "sslmode": string(c.tls.Mode)}
	switch {
	case c.direct:
		v["directConnection"] = "true"
	case set != "":
		v["replicaSet"] = set
	}
	if c.tls.CA != "" {
		v["ca"] = c.tls.CA
	}
	return v
}
