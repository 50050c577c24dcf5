package etcd

import (
	"cmp"
	"net"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	defaultPort = 2379
	maxServers  = 32
)

// properties are as the description has them.
type properties struct {
	Prefixes []string `json:"prefixes,omitempty"`
	URL      string   `json:"url,omitempty"`
	TLS      struct {
		CA         string `json:"ca,omitempty"`
		ServerName string `json:"serverName,omitempty"`
	} `json:"tls"`
}

// config is a registration that was checked.
type config struct {
	servers    []driver.Server // that this process connects to
	advertised []driver.Server // that clients connect to
	prefixes   []string
	tls        driver.TLS // to the servers
	clientTLS  driver.TLS // to the advertised ones
}

// form is what its endpoints look like.
var form = driver.EndpointForm{Schemes: map[string]uint16{"": defaultPort, "https": defaultPort, "http": defaultPort}, Servers: maxServers}

func parseConfig(c driver.Config) (config, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	cfg := config{tls: driver.TLS{CA: p.TLS.CA, ServerName: p.TLS.ServerName}}
	var err error
	if cfg.servers, err = parseServers("the endpoint", c.Endpoint); err != nil {
		return config{}, err
	}
	cfg.advertised, cfg.clientTLS = cfg.servers, cfg.tls
	if p.URL != "" {
		cfg.clientTLS.ServerName = "" // it is where Patchbay goes another way
		if cfg.advertised, err = parseServers("the client url", p.URL); err != nil {
			return config{}, err
		}
	}
	if !secured(cfg.servers) && !secured(cfg.advertised) && (p.TLS.CA != "" || p.TLS.ServerName != "") {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "the scheme is http, which has no TLS, and an authority or a name for its certificate is given").
			WithFix("register it with https://, or without them")
	}
	if _, err := cfg.tls.Config(""); err != nil {
		return config{}, err
	}
	cfg.prefixes, err = checkPrefixes(p.Prefixes)
	return cfg, err
}

// parseServers are an endpoint's servers. Without a scheme they are https: what is in
// the clear has to be said.
func parseServers(what, text string) ([]driver.Server, error) {
	e, err := form.Parse(what, text)
	if err != nil {
		return nil, err
	}
	for i := range e.Servers {
		if e.Servers[i].Scheme = cmp.Or(e.Servers[i].Scheme, "https"); e.Servers[i].Scheme != e.Servers[0].Scheme {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s has servers with TLS and without; clients take one for all", what)
		}
	}
	return e.Servers, nil
}

// secured reports whether the servers speak TLS: all of them do, or none.
func secured(servers []driver.Server) bool { return servers[0].Scheme == "https" }

// urls is what clients are told.
func urls(servers []driver.Server) string {
	all := make([]string, len(servers))
	for i, s := range servers {
		all[i] = s.Scheme + "://" + net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
	}
	return strings.Join(all, ",")
}

// loopback reports whether a server is on this machine.
func loopback(s driver.Server) bool {
	ip := net.ParseIP(s.Host)
	return s.Host == "localhost" || ip != nil && ip.IsLoopback()
}
