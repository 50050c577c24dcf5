package azurestorage

import (
	"encoding/base64"
	"net"
	"net/url"
	"regexp"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// properties are as the description has them.
type properties struct {
	Account   string `json:"account,omitempty"`
	Container string `json:"container,omitempty"`
	Queue     string `json:"queue,omitempty"`
	Table     string `json:"table,omitempty"`
	Share     string `json:"share,omitempty"`
	Endpoints struct {
		Queue string `json:"queue,omitempty"`
		Table string `json:"table,omitempty"`
		File  string `json:"file,omitempty"`
	} `json:"endpoints"`
	TLS struct {
		CA string `json:"ca,omitempty"`
	} `json:"tls"`
}

// config is a registration that was checked.
type config struct {
	account  string
	at       map[string]place // of services, by their names
	defaults map[string]string
	tls      driver.TLS
}

// place is where a service of the account is.
type place struct {
	server driver.Server
	path   string // before everything; an emulator has the account there
}

// url is the place as clients are told it. Without a slash at its end it is never the
// one that Azure's own names stand for, so that settings always have it: some of Azure's
// libraries take a signature only together with it.
func (p place) url() string {
	s := p.server
	if s.Port == ports[s.Scheme] {
		s.Port = 0
	}
	return s.URL() + p.path
}

var (
	ports       = map[string]uint16{"https": 443, "http": 80}
	form        = driver.EndpointForm{Schemes: map[string]uint16{"https": 443, "http": 80}, Path: true}
	accountForm = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
)

func parseConfig(c driver.Config) (config, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	cfg := config{account: p.Account, at: map[string]place{}, defaults: map[string]string{}, tls: driver.TLS{CA: p.TLS.CA}}
	if cfg.account == "" {
		cfg.account = strings.ToLower(c.ID.Name())
	}
	if !accountForm.MatchString(cfg.account) {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "%s is not the name of a storage account: 3 to 24 lower-case letters and digits", driver.Quoted(cfg.account)).
			WithFix("give it as the property account")
	}
	endpoint := c.Endpoint
	if endpoint == "" {
		endpoint = "https://" + cfg.account + ".blob.core.windows.net"
	}
	blobs, err := parsePlace("the endpoint", endpoint)
	if err != nil {
		return config{}, err
	}
	cfg.at["blob"] = blobs
	secured := blobs.server.Scheme == "https"
	for name, text := range map[string]string{"queue": p.Endpoints.Queue, "table": p.Endpoints.Table, "file": p.Endpoints.File} {
		if text == "" {
			if host, ok := strings.CutPrefix(blobs.server.Host, cfg.account+".blob."); ok {
				at := blobs
				at.server.Host = cfg.account + "." + name + "." + host
				cfg.at[name] = at
			}
			continue
		}
		if cfg.at[name], err = parsePlace("the property endpoints."+name, text); err != nil {
			return config{}, err
		}
		secured = secured || cfg.at[name].server.Scheme == "https"
	}
	if p.TLS.CA != "" && !secured {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "the scheme is http, which has no TLS, and an authority for its certificate is given").
			WithFix("register it with https://, or without the authority")
	}
	if _, err := cfg.tls.Config(""); err != nil {
		return config{}, err
	}
	for _, s := range services {
		name := map[string]string{optionContainer: p.Container, optionQueue: p.Queue, optionTable: p.Table, optionShare: p.Share}[s.option]
		if name == "" {
			continue
		}
		if err := s.check(name); err != nil {
			return config{}, err
		}
		cfg.defaults[s.name] = name
	}
	return cfg, nil
}

func parsePlace(what, text string) (place, error) {
	e, err := form.Parse(what, text)
	if err != nil {
		return place{}, err
	}
	path := strings.TrimRight(e.Path, "/")
	if strings.Contains(path, "//") || path != (&url.URL{Path: path}).EscapedPath() {
		return place{}, patchbay.Errorf(patchbay.InvalidArgument, "%s has a path that no storage account is at", what)
	}
	return place{server: e.Servers[0], path: path}, nil
}

// parseKey reads a key of the account.
func parseKey(key patchbay.Secret) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key.Reveal()))
	if err != nil || len(raw) == 0 {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the account's key is none: they are base64").
			WithFix("az storage account keys list --account-name NAME shows them")
	}
	return raw, nil
}

// loopback reports whether a server is on this machine.
func loopback(s driver.Server) bool {
	ip := net.ParseIP(s.Host)
	return s.Host == "localhost" || ip != nil && ip.IsLoopback()
}
