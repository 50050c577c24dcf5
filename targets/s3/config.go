package s3

import (
	"cmp"
	"net"
	"regexp"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	apiVersity    = "versitygw"
	apiMinIO      = "minio"
	defaultRegion = "us-east-1"
)

// properties are as the description has them.
type properties struct {
	API    string `json:"api,omitempty"`
	Admin  string `json:"admin,omitempty"`
	Region string `json:"region,omitempty"`
	TLS    struct {
		CA string `json:"ca,omitempty"`
	} `json:"tls"`
}

// config is a registration that was checked.
type config struct {
	api      string
	endpoint driver.Server
	admin    driver.Server // the admin API's
	region   string
	tls      driver.TLS
}

var (
	form       = driver.EndpointForm{Schemes: map[string]uint16{"": 443, "https": 443, "http": 80}}
	regionForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	bucketForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)
)

func parseConfig(c driver.Config) (config, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return config{}, err
	}
	cfg := config{api: p.API, region: cmp.Or(p.Region, defaultRegion), tls: driver.TLS{CA: p.TLS.CA}}
	var err error
	if cfg.endpoint, err = parseServer("the endpoint", c.Endpoint); err != nil {
		return config{}, err
	}
	cfg.admin = cfg.endpoint
	if p.Admin != "" {
		if cfg.admin, err = parseServer("the property admin", p.Admin); err != nil {
			return config{}, err
		}
	}
	if !regionForm.MatchString(cfg.region) {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "the region is no name of one: letters, digits, - and _")
	}
	if p.TLS.CA != "" && !secured(cfg.endpoint) && !secured(cfg.admin) {
		return config{}, patchbay.Errorf(patchbay.InvalidArgument, "the scheme is http, which has no TLS, and an authority is given").
			WithFix("register it with https://, or without the authority")
	}
	_, err = cfg.tls.Config("")
	return cfg, err
}

// parseServer is where something is. Without a scheme it is https: what is in the clear
// has to be said.
func parseServer(what, text string) (driver.Server, error) {
	e, err := form.Parse(what, text)
	if err != nil {
		return driver.Server{}, err
	}
	s := e.Servers[0]
	s.Scheme = cmp.Or(s.Scheme, "https")
	return s, nil
}

func secured(s driver.Server) bool { return s.Scheme == "https" }

// loopback reports whether a server is on this machine.
func loopback(s driver.Server) bool {
	ip := net.ParseIP(s.Host)
	return s.Host == "localhost" || ip != nil && ip.IsLoopback()
}

// bucketOf is the bucket that a target id's child names.
func bucketOf(sub string) (string, error) {
	if !bucketForm.MatchString(sub) {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "%.60q is no name of a bucket", sub).
			WithFix("name the bucket behind the server: SERVER/BUCKET")
	}
	return sub, nil
}
