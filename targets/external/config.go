package external

import (
	"maps"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// properties are as the package documents them.
type properties struct {
	Values    map[string]string `json:"values,omitempty"`
	Endpoints map[string]string `json:"endpoints,omitempty"`
	TLS       struct {
		CA         string `json:"ca,omitempty"`
		ServerName string `json:"serverName,omitempty"`
		Off        bool   `json:"off,omitempty"`
	} `json:"tls,omitzero"`
}

// config is a registration that was checked.
type config struct {
	id        patchbay.ID
	location  string
	serves    []string // kinds; never empty
	endpoint  address  // zero: where Azure has it
	endpoints map[string]address
	values    map[string]string
	admin     driver.Secrets
	dialer    driver.Dialer
	tls       driver.TLS // its Mode is said by a value: see encryption
	noTLS     bool
}

// The parts of an admin credential that every kind has.
const (
	adminName   = "username"
	adminSecret = "secret"
)

const maxValue = 4096

func (c catalogue) parse(cfg driver.Config) (config, error) {
	parsed := config{id: cfg.ID, location: cfg.Location, dialer: cfg.Dialer, admin: cfg.Admin, endpoints: map[string]address{}}
	if parsed.serves = c.served(cfg.ID, cfg.Kind); len(parsed.serves) == 0 {
		return config{}, patchbay.Errorf(patchbay.TargetTypeNotSupported, "nothing is known of resources of type %s", clip(cfg.ID.Type())).
			WithFix("use the type of the product, or %s and a kind: %s", ownTypes, strings.Join(slices.Sorted(maps.Keys(c.kinds)), ", "))
	}
	var p properties
	if err := driver.DecodeProperties(describe(nil), cfg.Properties, &p); err != nil {
		return config{}, err
	}
	for _, check := range []func(*config, properties, driver.Config) error{c.parseEndpoints, c.parseValues, c.parseAdmin, c.parseTLS} {
		if err := check(&parsed, p, cfg); err != nil {
			return config{}, err
		}
	}
	return parsed, nil
}

func (c catalogue) parseEndpoints(parsed *config, p properties, cfg driver.Config) error {
	var err error
	if cfg.Endpoint != "" {
		if parsed.endpoint, err = parseAddress("the endpoint", cfg.Endpoint); err != nil {
			return err
		}
		if !slices.ContainsFunc(parsed.serves, func(kind string) bool { return parsed.endpoint.fits(c.service(kind)) == nil }) {
			return parsed.endpoint.fits(c.service(parsed.serves[0]))
		}
	}
	for kind, text := range p.Endpoints {
		if !slices.Contains(parsed.serves, kind) {
			return invalid("endpoints has %q; the kinds of %s are %s", clip(kind), cfg.ID.Name(), strings.Join(parsed.serves, ", "))
		}
		a, err := parseAddress("the endpoint of "+kind, text)
		if err == nil {
			err = a.fits(c.service(kind))
		}
		if err != nil {
			return err
		}
		parsed.endpoints[kind] = a
	}
	// Somewhere it must be.
	for _, kind := range parsed.serves {
		_, own := parsed.endpoints[kind]
		if own || parsed.endpoint.host != "" || c.service(kind).host != "" || p.Values["host"] != "" || c.hasDefault(kind, "host") {
			return nil
		}
	}
	return invalid("%s has no endpoint, and nothing says where a service of its kind is", cfg.ID.Name()).WithFix("--endpoint HOST:PORT")
}

// hasDefault reports whether the settings table has a default for the value.
func (c catalogue) hasDefault(kind, value string) bool {
	return slices.ContainsFunc(c.kinds[kind].Values, func(v patchbay.TargetValue) bool { return v.Name == value && v.Default != "" })
}

func (c catalogue) parseValues(parsed *config, p properties, _ driver.Config) error {
	known := c.names(parsed.serves, false)
	parsed.values = map[string]string{}
	merge := func(from string, values map[string]string) error {
		for name, value := range values {
			v, ok := known[name]
			if !ok {
				return invalid("%s has %q, which is no value of %s; there are %s", from, clip(name),
					strings.Join(parsed.serves, ", "), strings.Join(slices.Sorted(maps.Keys(known)), ", ")).
					WithFix("give secrets as the admin credential")
			}
			if err := checkValue(v, value); err != nil {
				return err
			}
			parsed.values[name] = value
		}
		return nil
	}
	query := map[string]string{}
	for name, values := range parsed.endpoint.query {
		query[name] = values[len(values)-1]
	}
	if err := merge("the endpoint's query", query); err != nil {
		return err
	}
	return merge("values", p.Values)
}

// names are the values of these kinds, secret or not.
func (c catalogue) names(kinds []string, secret bool) map[string]patchbay.TargetValue {
	known := map[string]patchbay.TargetValue{}
	for _, kind := range kinds {
		for _, v := range c.kinds[kind].Values {
			if v.Secret == secret && !v.Told {
				known[v.Name] = v
			}
		}
	}
	return known
}

func checkValue(v patchbay.TargetValue, value string) error {
	switch {
	case value == "" || len(value) > maxValue:
		return invalid("the value %s is empty, or longer than %d bytes", v.Name, maxValue)
	case hostile(value):
		return invalid("the value %s has control characters", v.Name)
	case len(v.Words) > 0 && !slices.Contains(v.Words, value):
		return invalid("the value %s is %q, and can be %s", v.Name, clip(value), strings.Join(v.Words, ", "))
	}
	return nil
}

// hostile reports characters that end a line or a word in some protocol.
func hostile(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}

func (c catalogue) parseAdmin(parsed *config, _ properties, cfg driver.Config) error {
	known := map[string]bool{adminName: true, adminSecret: true}
	for _, kind := range parsed.serves {
		if l := c.service(kind).login; l.name != "" {
			known[l.name] = true
		}
	}
	for name := range c.names(parsed.serves, true) {
		if name != "clientSecret" { // an identity's, which a connection is given
			known[name] = true
		}
	}
	for name, secret := range cfg.Admin {
		if !known[name] {
			return invalid("the admin credential has an unknown part %q; of %s it may have %s", clip(name),
				strings.Join(parsed.serves, ", "), strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if secret.IsZero() {
			return invalid("the admin credential's %s is empty", name)
		}
	}
	// What is wrong with it is said now, and not to the first who connects.
	if len(cfg.Admin) == 0 || len(parsed.serves) > 1 {
		return nil
	}
	t := &target{catalogue: c, config: *parsed}
	_, err := t.registered(parsed.serves[0], "")
	return err
}

func (c catalogue) parseTLS(parsed *config, p properties, _ driver.Config) error {
	parsed.tls, parsed.noTLS = driver.TLS{CA: p.TLS.CA, ServerName: p.TLS.ServerName}, p.TLS.Off
	if parsed.noTLS && (p.TLS.CA != "" || p.TLS.ServerName != "") {
		return invalid("tls is off, but says how to check the certificate")
	}
	if _, err := parsed.tls.Config(""); err != nil {
		return err
	}
	for _, kind := range parsed.serves {
		if value := switchOf(c.kinds[kind]); value != "" && parsed.noTLS {
			return invalid("tls.off is for kinds that have no value for it; %s has %s", kind, value)
		}
	}
	return nil
}

// switchOf is the value of a kind that turns TLS off.
func switchOf(k patchbay.TargetKind) string {
	for _, v := range k.Values {
		if v.Name == "ssl" || v.Name == "sslmode" {
			return v.Name
		}
	}
	return ""
}

// encryption is what was said of TLS. A mode counts when somebody chose it: the
// default of the settings, require, checks all here.
func (c config) encryption() driver.TLS {
	t := c.tls
	t.Mode = driver.TLSMode(c.values["sslmode"])
	return t
}
